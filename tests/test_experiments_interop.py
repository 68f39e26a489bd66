"""Other programs develop our DNGs like their sources: see `experiments.interop`, of which this is a part."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments.interop import DEVELOPERS, compared, families, row
from tests.test_exiftool import with_exiftool

PROGRAMS = [name for name in DEVELOPERS if name == "LibRaw" or shutil.which(name)]
AT_ONCE = {"odd ActiveArea and crop", "no white balance", "orientation 6"}
MISREAD = {("BlackLevelDeltaH", "LibRaw"), ("BlackLevelDeltaH", "dcraw")}
"""Sources whose black levels a program averages; ours then develop better."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return dict(families(tmp_path_factory.mktemp("families")))


def names() -> list[object]:
    known = [
        "CFA RGGB",
        "CFA GRBG",
        "CFA GBRG",
        "CFA BGGR",
        "four black levels",
        "BlackLevelDeltaH",
        "BlackLevelDeltaV",
        "LinearizationTable",
    ]
    known += ["AsShotWhiteXY", "two illuminants", "AnalogBalance, baseline exposure", "lossless JPEG", "big-endian"]
    known += [*(f"orientation {number}" for number in (2, 3, 4, 5, 7, 8)), "odd size", "lens corrections"]
    return [*sorted(AT_ONCE), *(pytest.param(name, marks=pytest.mark.slow) for name in known)]


@with_exiftool
@pytest.mark.parametrize("family", names())
def test_programs_develop_a_result_like_its_source(tmp_path: Path, sources: dict[str, Path], family: str) -> None:
    cells, holds = row(family, sources[family], tmp_path, PROGRAMS)
    assert cells[-2:] == ["none", "none"], "the DNG SDK and exiftool have new warnings"
    by_program = dict(zip(PROGRAMS, cells[1:-2], strict=True))
    misread = {program for program in PROGRAMS if (family, program) in MISREAD}
    assert {program for program, cell in by_program.items() if "**" in cell} == misread
    assert holds == (not misread)


@pytest.mark.parametrize("program", [name for name in DEVELOPERS if name != "LibRaw"])
def test_the_programs_are_here(program: str) -> None:
    if program not in PROGRAMS:
        pytest.skip(f"{program} is not installed, so that nothing was developed by it: apt-get install it")


def test_every_family_is_tested(sources: dict[str, Path]) -> None:
    assert sources.keys() == {getattr(name, "values", (name,))[0] for name in names()}


def test_a_picture_that_moved_or_changed_its_colour_does_not_pass() -> None:
    picture = np.random.default_rng(0).random((64, 80, 3))
    assert compared(picture, picture).holds
    assert not compared(picture, picture * [1, 1, 1.006]).holds
    assert not compared(picture, np.roll(picture, 1, axis=1)).holds
    assert not compared(picture, picture[:-1]).holds
