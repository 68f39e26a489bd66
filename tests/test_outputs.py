"""Files that other programs made: matched to their frames by name, read as they are, refused where they do not fit."""

import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from burst_denoise.burst.burst import Burst
from burst_denoise.errors import InputFileError
from burst_denoise.frame.frame import Frame
from burst_denoise.inference.denoiser import Denoiser
from burst_denoise.io.dng import write_dng
from burst_denoise.io.metadata import DARK_MARK, DENOISED_MARK
from burst_denoise.io.picture import read_picture
from burst_denoise.io.tags import Tag
from burst_denoise.score.benchmark import score_methods
from burst_denoise.score.outputs import Outputs, Source, read_output
from burst_denoise.score.rows import BenchmarkRow
from tests.shots import burst_frames, stored, verdicts

SIZE = (96, 128)


def touch(folder: Path, *names: str) -> Outputs:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return Outputs(folder)


def sources(*names: str, burst: str = "kitchen") -> list[Source]:
    return [(burst, name) for name in names]


# Names


@pytest.mark.parametrize("ending", ["", "-denoised", "_DxO_DeepPRIME", "-Enhanced-NR", " (1)", ".denoised"])
def test_an_output_is_named_as_its_frame_with_any_ending_that_begins_with_no_letter_or_digit(
    tmp_path: Path, ending: str
):
    found = touch(tmp_path, f"IMG_12{ending}.dng", "notes.txt", "other.dng").matched(sources("IMG_12.CR2", "IMG_1.CR2"))
    assert found.files == {("kitchen", "IMG_12.CR2"): tmp_path / f"IMG_12{ending}.dng"}


def test_the_longest_name_that_fits_counts(tmp_path: Path):
    frames = sources("a.dng", "a-1.dng", "a-1-2.dng")
    found = touch(tmp_path, "a-1-2.tif", "a-1-x.tif", "a-x.tif").matched(frames).files
    assert [found[frame].name for frame in frames] == ["a-x.tif", "a-1-x.tif", "a-1-2.tif"]


def test_outputs_of_several_bursts_lie_in_folders_of_their_names(tmp_path: Path):
    frames = sources("f_0.dng", burst="kitchen") + sources("f_0.dng", burst="garden") + sources("g.dng", burst="hall")
    found = touch(tmp_path, "kitchen/f_0.dng", "garden/f_0-x.dng", "g.dng").matched(frames).files
    assert [str(found[frame].relative_to(tmp_path)) for frame in frames] == [
        "kitchen/f_0.dng",
        "garden/f_0-x.dng",
        "g.dng",
    ]
    message = (
        "f_0.dng: may be made of f_0.dng of kitchen or of f_0.dng of garden; put the outputs of each into a folder"
    )
    with pytest.raises(InputFileError, match=re.escape(message)):
        touch(tmp_path / "flat", "f_0.dng").matched(frames)
    twice = "f_0.dng: may be made of either of two frames that are both f_0.dng of hall; score them one by one"
    with pytest.raises(InputFileError, match=re.escape(twice)):
        touch(tmp_path / "flat", "f_0.dng").matched(sources("f_0.dng", burst="hall") * 2)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["f_0.dng", "f_0-x.tif"], "f_0.dng: is made of f_0.dng, as f_0-x.tif is; leave one of them"),
        (
            ["IMG_7.dng"],
            "no file in it is named after a frame (f_0.dng, f_1.dng, ...); an output is named as its frame",
        ),
    ],
)
def test_what_cannot_be_matched_is_refused_in_one_line(tmp_path: Path, files: list[str], message: str):
    with pytest.raises(InputFileError, match=re.escape(message)) as caught:
        touch(tmp_path, *files).matched(sources("f_0.dng", "f_1.dng"))
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(InputFileError, match="nowhere: no such folder; name one that holds denoised frames"):
        Outputs(tmp_path / "nowhere").matched(sources("f_0.dng"))


# Contents


def test_an_output_is_linear_by_its_own_levels(tmp_path: Path):
    frame = burst_frames(1, size=SIZE)[0]
    brighter = frame.info.model_copy(update={"black_level": (100.0,) * 4, "white_level": 4195.0})
    dn = np.rint(100 + np.clip(frame.linear, 0, 1) * 4095).astype(np.uint16)
    write_dng(tmp_path / "a.dng", Frame(dn, brighter, frame.path))
    np.testing.assert_allclose(read_output(tmp_path / "a.dng", frame), np.clip(frame.linear, 0, 1), atol=1.3e-4)


def write_linear_dng(path: Path) -> None:
    """Write what other programs call a linear DNG: three colours at every photosite."""
    tags = [(Tag.DNG_VERSION, "B", 4, (1, 4, 0, 0), True), (Tag.UNIQUE_CAMERA_MODEL, "s", 0, "Some Camera", True)]
    rgb = np.full((*SIZE, 3), 900, np.uint16)
    tifffile.imwrite(path, rgb, photometric=34892, extratags=tags)


def test_of_a_raw_frame_only_a_mosaic_dng_is_taken(tmp_path: Path):
    frame = burst_frames(1, size=SIZE)[0]
    cv2.imwrite(str(tmp_path / "a.tif"), np.zeros((*SIZE, 3), np.uint16))
    write_linear_dng(tmp_path / "a.dng")
    for name, reason in (("a.tif", "is a developed picture"), ("a.dng", "is a linear DNG, already demosaiced")):
        with pytest.raises(
            InputFileError, match=rf"{name}: ({reason}).*a mosaic DNG is needed, neither demosaiced"
        ) as caught:
            read_output(tmp_path / name, frame)
        assert "\n" not in str(caught.value)


def test_size_and_mosaic_must_be_those_of_the_frame(tmp_path: Path):
    frame = burst_frames(1, size=SIZE)[0]
    for name, other in (
        ("small.dng", burst_frames(1, size=(80, 128))),
        ("turned.dng", burst_frames(1, size=SIZE, cfa="BGGR")),
    ):
        write_dng(tmp_path / name, other[0])
    message = "small.dng: has 128 x 80 RGGB, but frame_000.dng has 128 x 96 RGGB; export it uncropped, of the same kind"
    with pytest.raises(InputFileError, match=message):
        read_output(tmp_path / "small.dng", frame)
    with pytest.raises(InputFileError, match=r"turned\.dng: has 128 x 96 BGGR, but frame_000\.dng has 128 x 96 RGGB"):
        read_output(tmp_path / "turned.dng", frame)


def test_a_picture_may_have_another_depth(tmp_path: Path):
    values = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), values)
    cv2.imwrite(str(tmp_path / "a.tif"), values.astype(np.uint16) * 257)
    frame = read_picture(tmp_path / "a.png")
    np.testing.assert_allclose(read_output(tmp_path / "a.tif", frame), frame.linear, atol=1e-6)


# Scores


@pytest.fixture(scope="module")
def burst(tmp_path_factory: pytest.TempPathFactory) -> Burst:
    frames = burst_frames(6, size=SIZE)
    dark = np.full(SIZE, 2e-3, np.float32)
    defects = np.zeros(SIZE, np.bool_)
    defects[40, 50] = True
    gains = [1.0, 1.01, 1.0, 0.99, 1.0, 1.0]
    folder = tmp_path_factory.mktemp("bursts")
    return stored(folder / "k.burst", "k", frames, verdicts(frames, gains), 0.1, 1e-4, defects=defects, dark=dark)


def rows(burst: Burst, frames: int = 3, **methods: object) -> dict[str, BenchmarkRow]:
    found = score_methods([burst], methods, strengths={}, frames=frames)  # type: ignore[arg-type]
    return {row.method: row for row in found}


def matched(folder: Path, burst: Burst) -> object:
    return Outputs(folder).matched([(burst.name, burst.frame(index).path.name) for index in range(len(burst))])


def test_our_own_denoised_files_score_as_the_network_that_made_them(tmp_path: Path, burst: Burst):
    denoiser = Denoiser()
    for index in (0, 1, 3, 4):
        frame = burst.frame(index)
        result = denoiser(frame, burst)
        assert result.notes.startswith(DENOISED_MARK)
        assert DARK_MARK in result.notes
        write_dng(tmp_path / f"{frame.path.stem}-denoised.dng", result)
    found = rows(burst, prior=denoiser.image, ours=matched(tmp_path, burst))
    prior, ours = found["prior"], found["ours"]
    assert set(ours.frames) == set(prior.frames) == set(found["single frame"].frames) <= {0, 1, 3, 4}
    assert len(ours.frames) == 3
    # A shot has its hot photosites repaired, those too that the map of the burst does not know.
    assert -0.01 < ours.corrected_psnr_db - prior.corrected_psnr_db < 0.3
    assert ours.ssim == pytest.approx(prior.ssim, abs=1e-3)
    assert prior.corrected_psnr_db > found["single frame"].corrected_psnr_db + 2
    assert ours.seconds_per_megapixel is ours.peak_memory_mb is None
    assert prior.seconds_per_megapixel is not None


def test_the_frames_themselves_score_as_a_single_frame_dark_gain_and_defects_as_in_the_burst(
    tmp_path: Path, burst: Burst
):
    for index in range(len(burst)):
        write_dng(tmp_path / burst.frame(index).path.name, burst.frame(index))
    found = rows(burst, frames=6, copies=matched(tmp_path, burst))
    copies, single = found["copies"], found["single frame"]
    assert copies.corrected_psnr_db == pytest.approx(single.corrected_psnr_db, abs=1e-4)
    assert copies.brightness == pytest.approx(1, abs=1e-5)
    assert copies.residual_correlation == pytest.approx(0, abs=1e-3)


def test_another_brightness_is_told_and_counts_as_error(tmp_path: Path, burst: Burst):
    frame = burst.frame(2)
    write_dng(tmp_path / frame.path.name, Frame.of_linear(frame.linear * np.float32(1.1), frame, ""))
    brighter = rows(burst, brighter=matched(tmp_path, burst))["brighter"]
    assert brighter.brightness == pytest.approx(1.1, abs=0.01)
    assert brighter.frames == (2,)
    assert brighter.corrected_psnr_db < rows(burst, frames=1)["single frame"].corrected_psnr_db - 1


def test_frames_that_all_programs_have_are_scored_and_none_is_an_error(tmp_path: Path, burst: Burst):
    for name, numbers in (("a", (0, 1, 2)), ("b", (2, 3)), ("c", (5,))):
        (tmp_path / name).mkdir()
        for index in numbers:
            write_dng(tmp_path / name / burst.frame(index).path.name, burst.frame(index))
    a, b, c = (matched(tmp_path / name, burst) for name in "abc")
    assert {row.frames for row in rows(burst, a=a, b=b).values()} == {(2,)}
    with pytest.raises(InputFileError, match="k: no frame has an output of all of a, c; score them one by one"):
        rows(burst, a=a, c=c)


def test_outputs_of_other_bursts_have_no_row(tmp_path: Path, burst: Burst):
    write_dng(tmp_path / "frame_000.dng", burst.frame(0))
    other = replace(burst, manifest=burst.manifest.model_copy(update={"series": "other"}))
    assert "x" not in rows(other, x=matched(tmp_path, burst))
