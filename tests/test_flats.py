"""Flats: what they say about a sensor, and which frames are none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from burst_denoise.burst.darks import read_darks
from burst_denoise.burst.flats import read_flat
from burst_denoise.errors import IncompatibleFramesError, TooFewFramesError
from burst_denoise.frame.frame import Frame
from burst_denoise.frame.synthetic import SyntheticCamera, shoot
from tests.shots import write_frames

CAMERA = SyntheticCamera(prnu=0.01, hot_fraction=0, cfa="GRBG")
SIZE = (256, 320)


def even(level: float, count: int, iso: float = 800) -> list[Frame]:
    return shoot(CAMERA, np.full((*SIZE, 3), level, np.float32), iso, count, round(100 * level))[0]


SHOT = even(0.5, 1)[0]


def test_uneven_response_is_measured_and_pictured_per_colour(tmp_path: Path):
    write_frames(tmp_path / "flats", even(0.5, 16))
    write_frames(tmp_path / "darks", even(0.0, 16))
    flat = read_flat([tmp_path / "flats"], SHOT, read_darks([tmp_path / "darks"]))
    assert [estimate.value for estimate in flat.response.fine] == pytest.approx([0.01] * 4, rel=0.1)
    for plane in CAMERA.mosaic.pack(flat.picture):
        assert plane.mean() == pytest.approx(1, abs=1e-3)  # no colour is seen as sensitivity
        assert plane.std() == pytest.approx(0.011, abs=0.002)  # its own noise included


def test_of_several_series_the_one_that_says_most_is_taken(tmp_path: Path):
    write_frames(tmp_path / "good", even(0.5, 16))
    write_frames(tmp_path / "poor", even(0.02, 4, iso=6400))
    both = read_flat([tmp_path], SHOT, [])
    assert both.response == read_flat([tmp_path / "good"], SHOT, []).response


def test_no_flats_say_nothing_and_too_few_are_refused(tmp_path: Path):
    write_frames(tmp_path, even(0.5, 3))
    assert read_flat([], SHOT, []) is None
    with pytest.raises(TooFewFramesError, match=r"frame_000\.dng: 3 flats, 4 needed; shoot 16"):
        read_flat([tmp_path], SHOT, [])


def test_flats_of_another_sensor_are_refused_and_those_of_an_unknown_camera_need_a_word(tmp_path: Path):
    write_frames(tmp_path / "other", even(0.5, 4), camera="Nikon D5")
    with pytest.raises(IncompatibleFramesError, match=r"frame_000\.dng: camera Nikon D5 instead of Synthetic APS-C"):
        read_flat([tmp_path / "other"], SHOT, [], any_sensor=True)
    write_frames(tmp_path / "unknown", even(0.5, 4), camera=None)
    shot = replace(SHOT, info=SHOT.info.model_copy(update={"camera": None}))
    with pytest.raises(IncompatibleFramesError, match=r"frame_000\.dng: camera unknown, .*--any-sensor"):
        read_flat([tmp_path / "unknown"], shot, [])
    assert read_flat([tmp_path / "unknown"], shot, [], any_sensor=True) is not None
