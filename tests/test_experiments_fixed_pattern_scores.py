"""The experiment on fixed pattern and scores: its brackets hold the truth on a few bursts, and its report says so."""

from pathlib import Path

import numpy as np
import pytest

from experiments.fixed_pattern_scores import METHODS, WAYS, outcomes, report


@pytest.mark.slow
def test_the_truth_is_inside_the_bracket_and_flats_leave_little(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    found = [one for seed in (14, 20) for one in outcomes(seed, tmp_path / str(seed))]  # soft and sharp, both bright
    assert len(found) == 2 * len(METHODS) * len(WAYS)
    assert sum(one.held for one in found) >= 0.95 * len(found)
    off = [abs(one.corrected_db - one.true_db) for one in found if one.way == "flats and darks"]
    assert np.median(off) < 0.1
    report(found)
    assert "inside the bracket" in capsys.readouterr().out
