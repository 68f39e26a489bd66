"""Pairs of noisy and clean pictures: found in every layout, and what is wrong with a set is said in one line."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from burst_denoise.errors import InputFileError
from burst_denoise.io.pairs import read_pairs


def write(folder: Path, *names: str, size: tuple[int, int] = (24, 32), value: int = 90) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((*size, 3), value, np.uint8))


SIDD = "Data/0052_002_S6_01600_01000_5500_N"
LAYOUTS = {
    "CC60": (
        ["CC_Noisy_Nikon_A1_12.png", "CC_Mean_Nikon_A1_12.png", "CC_Noisy_Nikon_A1_3.png", "CC_Mean_Nikon_A1_3.png"],
        [("CC_Noisy_Nikon_A1_12", "Nikon_A1", 0, 1), ("CC_Noisy_Nikon_A1_3", "Nikon_A1", 2, 3)],
    ),
    "PolyU": (
        ["Canon_3200_chair_11_mean.JPG", "Canon_3200_chair_11_real.JPG", "toy_real.JPG", "toy_mean.JPG"],
        [("Canon_3200_chair_11_real", "Canon_3200_chair", 1, 0), ("toy_real", "toy", 2, 3)],
    ),
    "SIDD": (
        [f"{SIDD}/NOISY_SRGB_010.PNG", f"{SIDD}/GT_SRGB_010.PNG", f"{SIDD}/NOISY_SRGB_011.PNG",
         f"{SIDD}/GT_SRGB_011.PNG", "Data/0053_002_IP_x/NOISY_SRGB_010.PNG", "Data/0053_002_IP_x/GT_SRGB_010.PNG"],
        [("0052_002_S6_01600_01000_5500_N/NOISY_SRGB_010", "002", 0, 1), ("NOISY_SRGB_011", "002", 2, 3),
         ("0053_002_IP_x/NOISY_SRGB_010", "002", 4, 5)],
    ),
    "SIDD medium": (
        ["0001_001_S6_L/0001_NOISY_SRGB_010.PNG", "0001_001_S6_L/0001_GT_SRGB_010.PNG"],
        [("0001_NOISY_SRGB_010", "001", 0, 1)],
    ),
    "RENOIR": (
        ["Mi3/Batch_001/IMG_1Noisy.bmp", "Mi3/Batch_001/IMG_2Noisy.bmp", "Mi3/Batch_001/IMG_7Reference.bmp",
         "Mi3/Batch_001/IMG_7full.bmp"],
        [("IMG_1Noisy", "Batch_001", 0, 2), ("IMG_2Noisy", "Batch_001", 1, 2)],
    ),
    "two folders": (
        ["noisy/a_1.png", "gt/a_1.tif", "noisy/kitchen/b.png", "gt/kitchen/b.png"],
        [("a_1", "a_1", 0, 1), ("b", "kitchen", 2, 3)],
    ),
    "scenes of two folders each": (
        ["s1/noisy/1.png", "s1/clean/1.png", "s1/noisy/2.png", "s1/clean/2.png", "day/s2/Noisy/1.png",
         "day/s2/mean/1.png", "day/s2/Noisy/x/1.png", "day/s2/mean/x/1.png"],
        [("s1/1", "s1", 0, 1), ("s1/2", "s1", 2, 3), ("day/s2/1", "day/s2", 4, 5), ("day/s2/x/1", "day/s2", 6, 7)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_known_by_its_names(tmp_path: Path, layout: str):
    files, expected = LAYOUTS[layout]
    write(tmp_path, *files)
    (tmp_path / "notes.txt").write_text("not a picture")
    found = [(pair.name, pair.scene, pair.noisy_file, pair.clean_file) for pair in read_pairs(tmp_path)]
    assert sorted(found) == sorted(
        (name, scene, tmp_path / files[noisy], tmp_path / files[clean]) for name, scene, noisy, clean in expected
    )


def test_a_single_batch_of_renoir_or_instance_of_sidd_may_be_named(tmp_path: Path):
    for layout in ("SIDD", "RENOIR"):
        files, _ = LAYOUTS[layout]
        write(tmp_path / layout, *files)
    assert [pair.scene for pair in read_pairs(tmp_path / "SIDD" / SIDD)] == ["002", "002"]
    assert [pair.scene for pair in read_pairs(tmp_path / "RENOIR" / "Mi3" / "Batch_001")] == ["Batch_001"] * 2


def test_a_folder_that_is_a_scene_itself_is_named_with_those_in_it(tmp_path: Path):
    for scene in ("set", "set/set", "set/s1"):
        write(tmp_path / scene, "noisy/1.png", "clean/1.png")
    found = [(pair.name, pair.scene) for pair in read_pairs(tmp_path / "set")]
    assert sorted(found) == [("set/1", "set"), ("set/s1/1", "set/s1"), ("set/set/1", "set/set")]


def test_names_are_unique_however_files_lie(tmp_path: Path):
    write(tmp_path / "renoir", *(f"{camera}/Batch_001/{name}.bmp" for camera in ("Mi3", "T3i")
                                 for name in ("IMG_1Noisy", "IMG_7Reference")))  # fmt: skip
    write(tmp_path / "suffixes", "noisy/a.png", "noisy/a.jpg", "clean/a.png", "noisy/b.png", "clean/b.png")
    names = {folder: sorted(pair.name for pair in read_pairs(tmp_path / folder)) for folder in ("renoir", "suffixes")}
    assert names == {
        "renoir": ["Mi3/Batch_001/IMG_1Noisy", "T3i/Batch_001/IMG_1Noisy"],
        "suffixes": ["b", "suffixes/noisy/a.jpg", "suffixes/noisy/a.png"],
    }


def test_pictures_are_decoded_when_asked_for(tmp_path: Path):
    write(tmp_path, "noisy/a.bmp", value=70)
    write(tmp_path, "clean/a.png", value=80)
    (pair,) = read_pairs(tmp_path)
    assert (pair.noisy.dn.max(), pair.clean.dn.max()) == (70, 80)
    assert pair.noisy.linear.shape == (3, 24, 32)
    pair.clean_file.unlink()
    with pytest.raises(InputFileError, match=r"a\.png: cannot be read"):
        _ = pair.clean


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["CC_Noisy_A1_1.png"], "CC_Noisy_A1_1.png: has no clean partner; add it, or take this file away"),
        (["noisy/a.png", "gt/a.png", "gt/b.png"], "b.png: has no noisy partner; add it, or take this file away"),
        (["noisy/a.png", "gt/a.png", "mean/a.png"], "mean/a.png: is a clean picture as a.png is; leave one"),
        (["x.png", "y.png"], "no noisy and clean pictures in a layout known here; name them like CC_Noisy_X_1.png"),
        (["noise.txt"], "no noisy and clean pictures in a layout known here"),
        ([f"{SIDD}/NOISY_RAW_010.MAT"], "holds .MAT files only, as SIDD's raw pairs; name the sRGB ones"),
    ],
)
def test_what_is_wrong_with_a_set_is_one_line_that_names_the_file(tmp_path: Path, files: list[str], message: str):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(InputFileError, match=re.escape(message)) as caught:
        read_pairs(tmp_path)
    assert "\n" not in str(caught.value)


def test_pictures_of_two_sizes_are_no_pair(tmp_path: Path):
    write(tmp_path, "noisy/a.png")
    write(tmp_path, "clean/a.png", size=(24, 33))
    message = r"noisy/a\.png: 32 x 24, rgb, while a\.png has 33 x 24, rgb; the pictures of a pair must agree"
    with pytest.raises(InputFileError, match=message):
        read_pairs(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(InputFileError, match="nowhere: no such folder; name one that holds noisy and clean pictures"):
        read_pairs(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("folder", "count", "scenes"), [("cc60_d800_iso3200", 27, 5), ("polyu_canon", 40, 11)], ids=["CC60", "PolyU"]
)
def test_the_published_sets_are_read(shared_data: Path, folder: str, count: int, scenes: int):
    pairs = read_pairs(shared_data / folder)
    assert len(pairs) == len({pair.name for pair in pairs}) == count
    assert len({pair.scene for pair in pairs}) == scenes
