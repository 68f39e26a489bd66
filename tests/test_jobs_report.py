"""The report as a job: one page from frames and a model, with everything on it that was measured."""

import re
from pathlib import Path

import numpy as np
import pytest

from burst_denoise.frame.synthetic import Fault, SyntheticCamera, shoot
from burst_denoise.jobs.ingest import ingest
from tests.command_line import Run
from tests.shots import SIZE, burst_frames, everything_in, write_frames, write_identity_model


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two series, one with a faulty frame, and dark frames."""
    folder = tmp_path_factory.mktemp("report")
    write_frames(folder / "series" / "one", burst_frames(6, faults={5: Fault(shift=(3, 2))}))
    write_frames(folder / "series" / "two", burst_frames(5, seed=1))
    write_frames(folder / "darks", shoot(SyntheticCamera(), np.zeros((*SIZE, 3), np.float32), 1600, 8, 3)[0])
    burst = ingest([folder / "series" / "one"], folder / "stored")[0]
    write_identity_model(folder / "model.safetensors", burst)
    return folder


def test_a_page_tells_verdicts_sensor_scores_and_where_they_come_from(run: Run, shots: Path, tmp_path: Path):
    before = everything_in(shots)
    page = tmp_path / "new" / "report.html"
    done = run("report", shots / "series", "-m", shots / "model.safetensors", "--darks", shots / "darks",
               "--frames", 2, "-o", page)  # fmt: skip
    assert done.code == 0, done.err
    assert "warning: model was trained on one; its score there proves nothing" in done.err
    text = page.read_text(encoding="utf-8")
    for told in (
        *("Synthetic APS-C", "frame_005.dng", "camera moved", "nlm-stabilised", "dark offset, mean of 8", "SHA-256"),
        *("burst-denoise report", "model was trained on one; its score there proves nothing"),
    ):
        assert told in text, told
    assert len(re.findall(r'class="crop"|<input type="range"', text)) >= 2
    assert not re.search(r'(src|href)="https?:', text)
    assert everything_in(shots) == before
    assert "exists already" in run("report", shots / "series", "-o", page).error


@pytest.mark.usefixtures("one_baseline")
def test_a_page_without_a_model_is_about_the_sensor_and_the_best_baseline(run: Run, shots: Path, tmp_path: Path):
    done = run("report", shots / "stored", "--frames", 1, "-o", tmp_path / "r.html")
    assert done.code == 0, done.err
    assert "which favours them" in done.err
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "One shot through" in text
    assert "which favours them" in text


def test_the_page_is_an_html_file_by_its_name(run: Run, shots: Path, tmp_path: Path):
    assert run("report", shots / "series", "-o", tmp_path / "report.pdf").code == 2
    assert not list(tmp_path.iterdir())
