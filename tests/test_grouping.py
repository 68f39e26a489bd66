"""Inputs become sources, and sources become series."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from burst_denoise.burst.grouping import Series, find_sources, group_series, pictures_beside_raw, read_series
from burst_denoise.errors import InputFileError
from burst_denoise.frame.synthetic import SyntheticCamera, shoot
from burst_denoise.io.dng import write_dng
from burst_denoise.io.metadata import DENOISED_MARK
from burst_denoise.schemas import FrameInfo
from tests.shots import burst_frames, dark_frames, frame_of, write_frames

BASE = FrameInfo(
    domain="bayer",
    camera="Canon EOS 700D",
    cfa="RGGB",
    height=32,
    width=32,
    black_level=(2048.0,) * 4,
    white_level=15304.0,
    iso=1600.0,
    exposure_s=0.02,
    taken_at=1_767_268_800.0,
)


def shot(folder: Path, name: str, **changes: object) -> Path:
    """Write a real DNG with other metadata than `BASE` where told."""
    info = BASE.model_copy(update=changes)
    folder.mkdir(parents=True, exist_ok=True)
    write_dng(folder / name, frame_of(np.full((info.height, info.width), 0.1, np.float32), info))
    return folder / name


def run(folder: Path, first: int, count: int, start: float = 0.0, **changes: object) -> None:
    assert BASE.taken_at is not None
    for k in range(first, first + count):
        shot(folder, f"IMG_{k}.dng", taken_at=BASE.taken_at + start + k, **changes)


def picture(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / name), np.full((40, 40), 100, np.uint8))
    return folder / name


def summary(series: list[Series]) -> dict[str, list[str]]:
    return {one.name: [path.name for path in one.paths] for one in series}


def test_folders_are_searched_and_what_is_no_frame_is_passed_over(tmp_path: Path) -> None:
    wanted = [picture(tmp_path / "a" / "b", "x.PNG"), picture(tmp_path, "y.jpg")]
    for name in (".hidden.png", "clean_mosaic_dn.tif", "sub.burst/frame.png", ".thumbs/z.png"):
        picture((tmp_path / name).parent, (tmp_path / name).name)
    (tmp_path / "notes.txt").write_text("not a frame")
    assert sorted(find_sources([tmp_path])) == sorted(wanted)
    assert len(find_sources([tmp_path, wanted[0], tmp_path / "a"])) == 2


@pytest.mark.parametrize("case", ["missing", "empty folder", "suffix"])
def test_an_input_without_frames_is_one_clear_line(tmp_path: Path, case: str) -> None:
    (tmp_path / "notes.txt").write_text("x")
    given, words = {
        "missing": (tmp_path / "nowhere", "no such file"),
        "empty folder": (tmp_path, "no RAW, picture or video files"),
        "suffix": (tmp_path / "notes.txt", ".txt is not"),
    }[case]
    with pytest.raises(InputFileError, match=words) as caught:
        find_sources([given])
    assert str(given) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_long_pause_starts_a_new_series(tmp_path: Path) -> None:
    run(tmp_path / "shoot", 1, 3)
    run(tmp_path / "shoot", 4, 3, start=61.0)
    found = group_series(find_sources([tmp_path]))
    assert [len(one.paths) for one in found] == [3, 3]
    assert [one.name for one in found] == ["shoot-IMG_1", "shoot-IMG_4"]


def test_long_exposures_allow_longer_pauses(tmp_path: Path) -> None:
    run(tmp_path, 1, 3, exposure_s=30.0)
    run(tmp_path, 4, 3, start=100.0, exposure_s=30.0)
    assert [len(one.paths) for one in group_series(find_sources([tmp_path]))] == [6]


def test_two_isos_in_one_run_are_two_series(tmp_path: Path) -> None:
    run(tmp_path / "scene", 1, 3)
    run(tmp_path / "scene", 4, 3, iso=6400.0)
    found = group_series(find_sources([tmp_path]))
    assert [(one.header.iso, len(one.paths), one.incompatible) for one in found] == [(1600.0, 3, ()), (6400.0, 3, ())]


def test_another_exposure_is_incompatible_and_the_detail_says_why(tmp_path: Path) -> None:
    run(tmp_path / "scene", 1, 4)
    run(tmp_path / "scene", 5, 1, exposure_s=0.5)
    (one,) = group_series(find_sources([tmp_path]))
    (verdict,) = one.incompatible
    assert (one.name, len(one.paths)) == ("scene", 4)
    assert (verdict.file, verdict.accepted, verdict.reasons) == ("IMG_5.dng", False, ("incompatible",))
    assert verdict.detail == "exposure time 0.5 instead of 0.02"


def test_another_camera_and_size_are_both_named(tmp_path: Path) -> None:
    run(tmp_path, 1, 3)
    run(tmp_path, 4, 1, camera="Nikon D5", width=48)
    (one,) = group_series(find_sources([tmp_path]))
    assert one.incompatible[0].detail == "camera Nikon D5 instead of Canon EOS 700D, size 48 x 32 instead of 32 x 32"


def test_a_black_level_that_breathes_is_the_same_series(tmp_path: Path) -> None:
    run(tmp_path, 1, 2)
    run(tmp_path, 3, 2, black_level=(2050.0,) * 4)
    run(tmp_path, 5, 1, black_level=(2148.0,) * 4)
    (one,) = group_series(find_sources([tmp_path]))
    read = read_series(one, 20)
    assert [frame.path.name for frame in read.frames] == [f"IMG_{k}.dng" for k in range(1, 5)]
    (verdict,) = read.incompatible
    assert (verdict.file, verdict.reasons) == ("IMG_5.dng", ("incompatible",))
    assert verdict.detail == "black level 2148 instead of 2048"


def test_the_frames_that_most_agree_in_levels_and_colours_stay(tmp_path: Path) -> None:
    run(tmp_path, 1, 1, cfa="GBRG")
    run(tmp_path, 2, 2)
    run(tmp_path, 4, 1, white_level=16383.0)
    (one,) = group_series(find_sources([tmp_path]))
    read = read_series(one, 20)
    assert [frame.path.name for frame in read.frames] == ["IMG_2.dng", "IMG_3.dng"]
    assert {verdict.file: verdict.detail for verdict in read.incompatible} == {
        "IMG_1.dng": "CFA GBRG instead of RGGB",
        "IMG_4.dng": "white level 16383 instead of 15304",
    }


def test_an_unknown_camera_iso_or_exposure_is_called_so(tmp_path: Path) -> None:
    run(tmp_path, 1, 3)
    run(tmp_path, 4, 1, camera=None, iso=None, exposure_s=None)
    (one,) = group_series(find_sources([tmp_path]))
    assert one.incompatible[0].detail == (
        "camera unknown instead of Canon EOS 700D, ISO unknown instead of 1600, exposure time unknown instead of 0.02"
    )


def test_two_frames_of_different_exposure_are_one_series_of_one_and_an_incompatible_frame(tmp_path: Path) -> None:
    run(tmp_path, 1, 1)
    run(tmp_path, 2, 1, exposure_s=1.0)
    (one,) = group_series(find_sources([tmp_path]))
    assert (len(one.paths), len(one.incompatible)) == (1, 1)


def test_pictures_without_a_date_go_by_name_without_the_trailing_number(tmp_path: Path) -> None:
    for name in ("b_003_snap_001", "b_003_snap_002", "b_006_snap_001", "b_006_snap_002"):
        picture(tmp_path / "emva", f"{name}.png")
    assert summary(group_series(find_sources([tmp_path]))) == {
        "emva-b_003_snap_001": ["b_003_snap_001.png", "b_003_snap_002.png"],
        "emva-b_006_snap_001": ["b_006_snap_001.png", "b_006_snap_002.png"],
    }


def test_frame_10_comes_after_frame_9(tmp_path: Path) -> None:
    for k in (10, 9, 1):
        picture(tmp_path, f"frame{k}.png")
    (one,) = group_series(find_sources([tmp_path]))
    assert [path.stem for path in one.paths] == ["frame1", "frame9", "frame10"]


def test_folders_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    for parent in ("monday", "tuesday"):
        run(tmp_path / parent / "kitchen", 1, 3)
    assert sorted(summary(group_series(find_sources([tmp_path])))) == ["monday-kitchen", "tuesday-kitchen"]


def test_a_video_is_a_series_of_its_own(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for k in range(6):
        writer.write(np.full((48, 64, 3), 100 + k, np.uint8))
    writer.release()
    picture(tmp_path, "still_1.png")
    found = {one.name: one for one in group_series(find_sources([tmp_path]))}
    video = found[f"{tmp_path.name}-clip"]
    read = read_series(video, 4)
    assert (len(found), len(read.frames), read.left_out) == (2, 4, 0)
    assert (video.header.width, video.header.height, video.header.domain) == (64, 48, "rgb")


def test_frames_beyond_the_limit_are_counted_not_read(tmp_path: Path) -> None:
    run(tmp_path, 1, 5)
    (one,) = group_series(find_sources([tmp_path]))
    read = read_series(one, 3)
    assert [frame.path.name for frame in read.frames] == ["IMG_1.dng", "IMG_2.dng", "IMG_3.dng"]
    assert (read.incompatible, read.left_out) == ((), 2)


def test_pictures_beside_their_raw_files_and_our_own_results_are_passed_over(tmp_path: Path) -> None:
    frames = shoot(SyntheticCamera(), np.full((32, 48, 3), 0.3, np.float32), 800, 2, 0)[0]
    for frame in frames:
        write_dng(tmp_path / frame.path.name, frame)
        cv2.imwrite(str(tmp_path / frame.path.with_suffix(".jpg").name), np.zeros((32, 48, 3), np.uint8))
    result = tmp_path / "done" / "frame_000.dng"
    write_dng(result, replace(frames[0], notes=f"{DENOISED_MARK}: version 1"))
    assert [path.name for path in find_sources([tmp_path])] == ["frame_000.dng", "frame_001.dng"]
    with pytest.raises(InputFileError, match="was denoised by this program and is no shot"):
        find_sources([result])


def test_names_stay_unique_where_folders_and_files_spell_the_same(tmp_path: Path) -> None:
    run(tmp_path / "a", 1, 3)
    run(tmp_path / "a", 11, 3, start=1000)
    run(tmp_path / "a-IMG_11", 1, 3)
    for folder in ("q/r", "z/r", "q-r"):
        run(tmp_path / folder, 1, 3)
    found = group_series(find_sources([tmp_path]))
    names = [series.name for series in found]
    assert len(names) == len(set(names)) == 6


def test_bulb_exposures_are_measured_and_make_one_series(tmp_path: Path) -> None:
    assert BASE.taken_at is not None
    for k, seconds in enumerate((119.8, 120.2, 119.95, 120.1, 120.0)):
        shot(tmp_path, f"IMG_{k}.dng", taken_at=BASE.taken_at + 125 * k, exposure_s=seconds)
    (one,) = group_series(find_sources([tmp_path]))
    assert (len(one.paths), one.incompatible) == (5, ())
    assert len(read_series(one, 20).frames) == 5


def test_an_iso_that_is_rounded_otherwise_is_the_same_and_another_setting_is_not(tmp_path: Path) -> None:
    run(tmp_path, 1, 3)
    run(tmp_path, 4, 1, iso=1612.0)
    run(tmp_path, 5, 1, iso=1800.0)
    (one,) = group_series(find_sources([tmp_path]))
    assert [path.name for path in one.paths] == [f"IMG_{k}.dng" for k in range(1, 5)]
    assert one.incompatible[0].detail == "ISO 1800 instead of 1600"


def test_a_series_after_a_pause_says_what_joins_it_to_the_one_before(tmp_path: Path) -> None:
    run(tmp_path / "shoot", 1, 3)
    run(tmp_path / "shoot", 4, 3, start=74.0)
    first, second = group_series(find_sources([tmp_path]))
    assert first.pause is None
    assert str(second.pause) == "begins 75 s after the last frame of shoot-IMG_1; --pause 120 joins them"
    (joined,) = group_series(find_sources([tmp_path]), pause_s=120)
    assert (len(joined.paths), joined.pause) == (6, None)


@pytest.mark.parametrize("what", ["other ISO", "other folder", "an hour later"])
def test_a_pause_is_not_told_where_more_parts_two_series(tmp_path: Path, what: str) -> None:
    run(tmp_path / "a", 1, 3)
    run(
        tmp_path / ("b" if what == "other folder" else "a"),
        4,
        3,
        start=3600.0 if what == "an hour later" else 80.0,
        iso=3200.0 if what == "other ISO" else 1600.0,
    )
    assert [series.pause for series in group_series(find_sources([tmp_path]))] == [None, None]


def test_frames_75_s_apart_are_one_series_where_the_pause_is_allowed(tmp_path: Path) -> None:
    assert BASE.taken_at is not None
    for k in range(4):
        shot(tmp_path, f"IMG_{k}.dng", taken_at=BASE.taken_at + 75 * k)
    assert [len(one.paths) for one in group_series(find_sources([tmp_path]))] == [1] * 4
    assert [len(one.paths) for one in group_series(find_sources([tmp_path]), pause_s=120)] == [4]


def copied(folder: Path) -> None:
    """Copy files as a file manager does."""
    for path in write_frames(folder, burst_frames(5, size=(48, 64))):
        (folder / f"{path.stem} (1).dng").write_bytes(path.read_bytes())


def written_again(folder: Path) -> None:
    """Write the same photosites to files of other names and dates, as a converter does."""
    for frame in burst_frames(5, size=(48, 64)):
        write_frames(folder, [frame])
        again = replace(frame, path=Path(f"z_{frame.path.name}"))
        write_frames(folder, [again], taken_at=(frame.info.taken_at or 0) + 20)


def pictures_copied(folder: Path) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(5):
        cv2.imwrite(str(folder / f"p_{k}.png"), rng.integers(90, 110, (40, 40), np.uint8))
    for k in range(5):
        (folder / f"p_{k + 5}.png").write_bytes((folder / f"p_{k}.png").read_bytes())


@pytest.mark.parametrize("copying", [copied, written_again, pictures_copied])
def test_copies_are_no_frames_and_each_is_named_with_its_original(tmp_path: Path, copying) -> None:
    copying(tmp_path / "in")
    (one,) = group_series(find_sources([tmp_path / "in"]))
    read = read_series(one, 20)
    assert (len(one.paths), len(read.frames), len(read.copies), read.left_out) == (10, 5, 5, 0)
    originals = [frame.path.name for frame in read.frames]
    assert sorted(original for _, original in read.copies) == sorted(originals)
    assert {copy for copy, _ in read.copies} == {path.name for path in one.paths} - set(originals)


def test_reading_goes_on_until_there_are_enough_different_frames(tmp_path: Path) -> None:
    copied(tmp_path)
    (one,) = group_series(find_sources([tmp_path]))
    read = read_series(one, 3)
    assert [frame.path.name for frame in read.frames] == ["frame_000.dng", "frame_001.dng", "frame_002.dng"]
    assert len(read.frames) + len(read.copies) + read.left_out == 10
    assert len(read.copies) == 2


def test_frames_overexposed_everywhere_are_no_copies_of_each_other(tmp_path: Path) -> None:
    for k in range(3):
        picture(tmp_path, f"w_{k}.png")
    (one,) = group_series(find_sources([tmp_path]))
    read = read_series(one, 20)
    assert (len(read.frames), read.copies) == (3, ())


def test_dark_frames_among_the_frames_of_a_series_are_handed_over_and_do_not_count(tmp_path: Path) -> None:
    frames = burst_frames(4) + [
        replace(frame, path=Path(f"frame_{10 + k}.dng")) for k, frame in enumerate(dark_frames(3))
    ]
    write_frames(tmp_path, frames)
    (one,) = group_series(find_sources([tmp_path]))
    met: list[str] = []
    read = read_series(one, 20, on_dark=lambda frame: met.append(frame.path.name))
    assert (len(one.paths), len(read.frames), read.darks) == (7, 4, 3)
    assert sorted(met) == ["frame_10.dng", "frame_11.dng", "frame_12.dng"]


def test_a_damaged_file_costs_only_itself_where_it_may_be_left_out(tmp_path: Path) -> None:
    shots = write_frames(tmp_path, burst_frames(5, size=(48, 64)))
    shots[1].write_bytes(shots[1].read_bytes()[:3000])
    told: list[Path] = []
    with pytest.raises(InputFileError, match="frame_001"):
        group_series(find_sources([tmp_path]))
    (one,) = group_series(find_sources([tmp_path]), leave_out=lambda path, error: told.append(path))
    shots[2].write_bytes(b"damaged after its header was read")
    read = read_series(one, 20, lambda path, error: told.append(path))
    assert [frame.path.name for frame in read.frames] == ["frame_000.dng", "frame_003.dng", "frame_004.dng"]
    assert told == [shots[1], shots[2]]


def test_pictures_beside_raw_files_are_counted(tmp_path: Path) -> None:
    for path in write_frames(tmp_path, burst_frames(2, size=(48, 64))):
        picture(tmp_path, path.with_suffix(".JPG").name)
    picture(tmp_path, "other.jpg")
    assert pictures_beside_raw([tmp_path, tmp_path / "other.jpg"]) == 2
