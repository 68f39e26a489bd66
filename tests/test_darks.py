"""Dark frames: which may be averaged, which may be subtracted, and what is refused in one line."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from burst_denoise.burst.darks import DarkFramesMet, dark_for, read_darks, refuse_other_sensor
from burst_denoise.errors import BurstDenoiseError, IncompatibleFramesError, InputFileError, TooFewFramesError
from burst_denoise.sensor.identity import Sensor
from tests.shots import burst_frames, dark_frames, write_frames

SMALL = (48, 64)


def test_no_darks_are_no_error():
    assert read_darks([]) == []


def test_darks_of_each_iso_are_averaged_apart_and_serve_their_own_frames(tmp_path: Path):
    for iso in (1600, 6400):
        write_frames(tmp_path / str(iso), dark_frames(6, iso=iso, size=SMALL))
    found = read_darks([tmp_path])
    assert sorted((dark.info.iso, dark.master.count) for dark in found) == [(1600, 6), (6400, 6)]
    frame = dark_frames(6, iso=1600, size=SMALL)
    mean = np.mean([f.linear for f in frame], axis=0)
    info = frame[0].info
    master = dark_for(found, info)
    assert master is not None
    assert master.mean == pytest.approx(mean, abs=1e-6)
    for change in ({"iso": 800.0}, {"exposure_s": 1.0}, {"camera": "Other"}, {"height": 46}):
        assert dark_for(found, info.model_copy(update=change)) is None
    assert dark_for(found, info.model_copy(update={"taken_at": 0.0, "orientation": 6})) is master


def test_darks_shot_in_two_goes_are_averaged_together(tmp_path: Path):
    frames = dark_frames(6, size=SMALL)
    write_frames(tmp_path, frames[:3])
    for frame in frames[3:]:
        write_frames(tmp_path, [frame], taken_at=frame.info.taken_at + 3600)
    (found,) = read_darks([tmp_path])
    assert found.master.count == 6


def test_darks_of_an_unknown_raw_camera_serve_only_where_the_user_says_so(tmp_path: Path):
    write_frames(tmp_path, dark_frames(4, size=SMALL), camera=None)
    found = read_darks([tmp_path])
    unknown = found[0].info
    assert unknown.camera is None
    for camera in (None, "Synthetic APS-C"):
        info = unknown.model_copy(update={"camera": camera})
        assert dark_for(found, info) is None
        assert dark_for(found, info, any_sensor=True) is found[0].master
    sensor = Sensor.of(unknown)
    said = r"shot\.dng: camera unknown, so nothing tells whether the sensor is that of dark\.dng; .*--any-sensor"
    with pytest.raises(IncompatibleFramesError, match=said):
        refuse_other_sensor(Path("shot.dng"), sensor, Path("dark.dng"), sensor, any_sensor=False)
    refuse_other_sensor(Path("shot.dng"), sensor, Path("dark.dng"), sensor, any_sensor=True)


def test_decoded_darks_are_kept_for_a_second_look_where_a_folder_is_given(tmp_path: Path):
    frames = dark_frames(6, size=SMALL)
    write_frames(tmp_path / "darks", frames[:4])
    write_frames(tmp_path / "darks", frames[4:], taken_at=frames[4].info.taken_at + 3600)
    (tmp_path / "kept").mkdir()
    (found,) = read_darks([tmp_path / "darks"], keep=tmp_path / "kept")
    (gone,) = read_darks([tmp_path / "darks"])
    assert list(gone.stacks()) == []
    stacks = [list(stack) for stack in found.stacks()]
    assert [len(stack) for stack in stacks] == [4, 2]
    for image, frame in zip([*stacks[0], *stacks[1]], frames, strict=True):
        assert np.array_equal(image, frame.linear)


def mixed_exposures(folder: Path) -> None:
    frames = dark_frames(8, size=SMALL)
    write_frames(folder, frames[:4])
    write_frames(folder, frames[4:], exposure_s=2.0)


def one_other_exposure(folder: Path) -> None:
    frames = dark_frames(8, size=SMALL)
    write_frames(folder, frames[:7])
    write_frames(folder, frames[7:], exposure_s=2.0)


def pictures(folder: Path) -> None:
    write_frames(folder, burst_frames(5, size=SMALL))


def a_picture_among_darks(folder: Path) -> None:
    write_frames(folder, dark_frames(5, size=SMALL))
    write_frames(folder, burst_frames(6, size=SMALL)[5:])


def two_cameras(folder: Path) -> None:
    write_frames(folder / "a", dark_frames(4, size=SMALL))
    write_frames(folder / "b", dark_frames(4, size=SMALL), camera="Nikon D5")


def two_black_levels(folder: Path) -> None:
    frames = dark_frames(5, size=SMALL)
    write_frames(folder, frames[:4])
    write_frames(folder, frames[4:], black_level=(2000.0,) * 4)


def too_few(folder: Path) -> None:
    write_frames(folder, dark_frames(3, size=SMALL))


def a_video(folder: Path) -> None:
    import cv2

    folder.mkdir()
    writer = cv2.VideoWriter(str(folder / "dark.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(5):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()


@pytest.mark.parametrize(
    ("bad", "error", "said"),
    [
        (mixed_exposures, IncompatibleFramesError, r"frame_004\.dng: dark frame of 2 s, but .*frame_000\.dng has"),
        (
            one_other_exposure,
            IncompatibleFramesError,
            r"frame_007\.dng: exposure time 2 instead of .* among the dark",
        ),
        (pictures, InputFileError, r"frame_000\.dng: is no dark frame: its bright parts reach .* of white, 5%"),
        (a_picture_among_darks, InputFileError, r"frame_005\.dng: is no dark frame"),
        (
            two_cameras,
            IncompatibleFramesError,
            r"camera Nikon D5 instead of Synthetic.*, which .* has; darks, flats",
        ),
        (two_black_levels, IncompatibleFramesError, r"frame_004\.dng: black level .* instead of .*frame_000\.dng has"),
        (too_few, TooFewFramesError, r"frame_000\.dng: 3 dark frames at ISO 1600, 4 different ones needed"),
        (a_video, InputFileError, r"dark\.avi: is a video"),
    ],
)
def test_what_makes_no_master_dark_is_said_in_one_line(tmp_path: Path, bad, error: type[BurstDenoiseError], said: str):
    bad(tmp_path / "darks")
    with pytest.raises(error, match=said) as caught:
        read_darks([tmp_path / "darks"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("of_darks", "of_shot", "serves"),
    [
        ({"exposure_s": 60.002}, {"exposure_s": 60.001}, True),
        ({"exposure_s": 1 / 60}, {"exposure_s": 0.0167}, True),
        ({"iso": 1600.0}, {"iso": 1608.0}, True),
        ({"exposure_s": 60.0}, {"exposure_s": 61.0}, False),
        ({"iso": 1600.0}, {"iso": 1800.0}, False),
    ],
)
def test_exposures_that_are_measured_or_rounded_serve_each_other(
    tmp_path: Path, of_darks: dict[str, float], of_shot: dict[str, float], serves: bool
):
    frames = dark_frames(4, size=SMALL)
    write_frames(tmp_path, frames, **of_darks)
    found = read_darks([tmp_path])
    info = frames[0].info.model_copy(update=of_darks | of_shot)
    assert (dark_for(found, info) is found[0].master) is serves


def test_bulb_darks_are_averaged_together(tmp_path: Path):
    for k, frame in enumerate(dark_frames(6, size=SMALL)):
        write_frames(tmp_path, [frame], exposure_s=119.8 + 0.08 * k, taken_at=1000.0 + 130 * k)
    (found,) = read_darks([tmp_path])
    assert found.master.count == 6


def test_copies_of_dark_frames_have_no_noise_of_their_own(tmp_path: Path):
    for path in write_frames(tmp_path / "four", dark_frames(4, size=SMALL)):
        path.with_name(f"copy_{path.name}").write_bytes(path.read_bytes())
    (found,) = read_darks([tmp_path / "four"])
    assert (found.master.count, len(found.paths)) == (4, 8)
    for path in write_frames(tmp_path / "three", dark_frames(3, size=SMALL)):
        path.with_name(f"copy_{path.name}").write_bytes(path.read_bytes())
    with pytest.raises(TooFewFramesError, match="3 dark frames at ISO 1600, 4 different ones needed"):
        read_darks([tmp_path / "three"])


def test_dark_frames_met_among_shots_are_averaged_by_iso_and_exposure(tmp_path: Path):
    met, notes = DarkFramesMet(tmp_path), []
    frames = dark_frames(9, size=SMALL)
    for frame in frames[:3]:
        met.add(frame)
    met.begin_series()
    for frame in frames[3:6]:
        met.add(frame)
    other = [replace(frame, info=frame.info.model_copy(update={"exposure_s": 2.0})) for frame in frames[6:]]
    for frame in other:
        met.add(frame)
    (found,) = met.sets(notes.append)
    assert (len(met), found.master.count) == (9, 6)
    assert [len(list(stack)) for stack in found.stacks()] == [3, 3]
    assert found.master.mean == pytest.approx(np.mean([frame.linear for frame in frames[:6]], axis=0), abs=1e-6)
    assert notes == [
        "3 dark frames among the shots (ISO 1600 at 2 s) left out: frame_006.dng; 4 at least make a master dark, 16 "
        "are better"
    ]
