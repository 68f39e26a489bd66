"""EMVA 1288 descriptors: the levels they name, and what happens when they do not fit the pictures."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from burst_denoise.errors import InputFileError
from burst_denoise.io.emva1288 import DESCRIPTOR, read_emva

TEXT = """# a comment
v 3.0
n 12 24 16
b 40000.0 120.0
i images\\b_000_snap_001.png
i images\\b_000_snap_002.png
b 80000.0 240.0
i images\\b_001_snap_001.png
d 40000.0
i images\\d_000_snap_001.png
i images\\d_000_snap_002.png
"""
NAMES = ("b_000_snap_001.png", "b_000_snap_002.png", "b_001_snap_001.png", "d_000_snap_001.png", "d_000_snap_002.png")


def measurement(folder: Path, text: str = TEXT, inside: str = "", size: tuple[int, int] = (16, 24)) -> Path:
    (folder / inside).mkdir(exist_ok=True)
    for level, name in enumerate(NAMES):
        cv2.imwrite(str(folder / inside / name), np.full(size, 100 + level, np.uint16))
    (folder / DESCRIPTOR).write_text(text)
    return folder


@pytest.mark.parametrize("inside", ["", "images"])
def test_levels_with_two_pictures_are_read_with_the_white_level_of_the_descriptor(tmp_path, inside):
    bright, dark = read_emva(measurement(tmp_path, inside=inside))
    assert (bright.dark, dark.dark) == (False, True)
    assert bright.exposure_ns == 40000
    assert [frame.path.name for frame in bright.frames] == list(NAMES[:2])
    assert [int(frame.dn[0, 0]) for frame in dark.frames] == [103, 104]
    assert {frame.info.white_level for frame in bright.frames} == {4095}


def test_a_folder_without_descriptor_is_no_measurement(tmp_path):
    assert read_emva(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n 12 24\n", r"line 1 \('n 12 24'\) is not of an EMVA 1288 descriptor"),
        ("i b_000_snap_001.png\n", "line 1"),
        ("n 12 24 16\nb bright\n", "line 2"),
        ("<html>\n", "line 1"),
        ("n 12 24 16\nb 1 1\ni gone_1.png\ni gone_2.png\n", "of no light level two pictures are here"),
    ],
)
def test_a_descriptor_that_makes_no_sense_is_refused_by_line(tmp_path, text, message):
    with pytest.raises(InputFileError, match=message):
        read_emva(measurement(tmp_path, text))


def test_pictures_of_another_size_are_refused_by_name(tmp_path):
    with pytest.raises(
        InputFileError, match=r"b_000_snap_001.png: is mono, 30 x 16; the descriptor says mono, 24 x 16"
    ):
        read_emva(measurement(tmp_path, size=(16, 30)))


def test_a_real_measurement_has_its_17_pairs_and_two_long_stacks(shared_data):
    levels = read_emva(shared_data / "emva_ccd12")
    assert sorted(len(level.frames) for level in levels if not level.dark) == [2] * 17 + [20]
    assert sorted(len(level.frames) for level in levels if level.dark) == [2, 20]
