"""Other programs develop our DNGs like their sources: see `experiments.interop`, of which this is a part."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments.interop import DEVELOPERS, compared, families, row

PROGRAMS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name != "LibRaw" and shutil.which(name) is None, reason=f"{name} is not installed: apt-get install it"
        ),
    )
    for name in DEVELOPERS
]
AT_ONCE = {"CFA GBRG", "odd ActiveArea and crop", "four black levels", "no white balance", "orientation 6"}
MISREAD = {("BlackLevelDeltaH", "LibRaw"), ("BlackLevelDeltaH", "dcraw")}
"""Sources whose black levels a program averages; ours then develop better."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return dict(families(tmp_path_factory.mktemp("families")))


def names() -> list[object]:
    known = ["CFA RGGB", "CFA GRBG", "CFA BGGR", "BlackLevelDeltaH", "BlackLevelDeltaV", "LinearizationTable"]
    known += ["AsShotWhiteXY", "two illuminants", "AnalogBalance, baseline exposure", "lossless JPEG", "big-endian"]
    known += [*(f"orientation {number}" for number in (2, 3, 4, 5, 7, 8)), "odd size", "lens corrections"]
    return [*sorted(AT_ONCE), *(pytest.param(name, marks=pytest.mark.slow) for name in known)]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("family", names())
def test_a_program_develops_a_result_like_its_source(
    tmp_path: Path, sources: dict[str, Path], family: str, program: str
) -> None:
    cells, holds = row(family, sources[family], tmp_path, [program])
    assert cells[2:] == ["none", "none"], "the DNG SDK and exiftool have new warnings"
    if (family, program) in MISREAD:
        assert not holds
    elif cells[1] != "does not read the source":  # RawTherapee 5.9 ends at odd sizes
        assert holds
        assert "**" not in cells[1]


def test_every_family_is_tested(sources: dict[str, Path]) -> None:
    assert sources.keys() == {getattr(name, "values", (name,))[0] for name in names()}


def test_a_picture_that_moved_or_changed_its_colour_does_not_pass() -> None:
    picture = np.random.default_rng(0).random((64, 80, 3))
    assert compared(picture, picture).holds
    assert not compared(picture, picture * [1, 1, 1.006]).holds
    assert not compared(picture, np.roll(picture, 1, axis=1)).holds
    assert not compared(picture, picture[:-1]).holds
