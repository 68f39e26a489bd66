"""Which sensor a frame is of, what tells two of them apart, and what may serve a camera that nobody names."""

from dataclasses import replace

import pytest

from burst_denoise.frame.mosaic import MONO, RGB, Mosaic
from burst_denoise.schemas import FrameInfo
from burst_denoise.sensor.identity import LARGEST_BLACK_CHANGE, Sensor
from tests.shots import burst_frames

CANON = Sensor("Canon EOS 700D", Mosaic("bayer", "RGGB"), (3456, 5184), (2048.0,) * 4, 15304.0)
UNKNOWN = replace(CANON, camera=None)
PICTURE = Sensor(None, RGB, (1080, 1920), (0.0,) * 3, 255.0)


def test_a_frame_tells_its_sensor_whatever_its_exposure():
    info = burst_frames(1)[0].info
    sensor = Sensor.of(info)
    assert sensor == Sensor("Synthetic APS-C", Mosaic("bayer", "RGGB"), (160, 192), (2048.0,) * 4, 15304.0)
    assert Sensor.of(info.model_copy(update={"iso": 100.0, "exposure_s": 2.0, "taken_at": 0.0})) == sensor


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, []),
        ({"camera": "Nikon D5"}, ["camera Nikon D5 instead of Canon EOS 700D"]),
        ({"camera": None}, ["camera unknown instead of Canon EOS 700D"]),
        ({"size": (3456, 5182)}, ["size 5182 x 3456 instead of 5184 x 3456"]),
        ({"mosaic": Mosaic("bayer", "GBRG")}, ["CFA GBRG instead of RGGB"]),
        ({"white_level": 16383.0}, ["white level 16383 instead of 15304"]),
        ({"black_level": (1024.0,) * 4}, ["black level 1024 instead of 2048"]),
        (
            {"black_level": (2048.0, 2048.0, 2048.0, 2060.5)},
            ["black level 2048, 2048, 2048, 2060.5 instead of 2048"],
        ),
        (
            {"camera": "Nikon D5", "size": (100, 200), "white_level": 4095.0, "black_level": (0.0,) * 4},
            [
                "camera Nikon D5 instead of Canon EOS 700D",
                "size 200 x 100 instead of 5184 x 3456",
                "white level 4095 instead of 15304",
            ],  # levels of another camera say nothing more
        ),
    ],
)
def test_what_differs_is_said_in_words(change, words):
    assert replace(CANON, **change).differences(CANON) == words


def test_a_picture_is_of_another_kind_than_a_mosaic_and_that_comes_before_its_levels():
    developed = replace(PICTURE, camera=CANON.camera, size=CANON.size)
    assert developed.differences(CANON)[0] == "kind rgb instead of bayer"
    assert developed.refusals(CANON) == ["kind rgb instead of bayer", "white level 255 instead of 15304"]


def test_another_crop_of_the_sensor_is_the_same_sensor_where_a_crop_will_do():
    crop = replace(CANON, size=(3000, 4001), mosaic=Mosaic("bayer", "GRBG"))
    assert len(crop.differences(CANON)) == 2
    assert crop.differences(CANON, crop=True) == []
    assert crop.refusals(CANON) == []
    other = replace(crop, white_level=16383.0)
    assert other.differences(CANON, crop=True) == ["white level 16383 instead of 15304"]


def test_a_sensor_of_which_no_size_is_known_is_compared_without_size_and_phase():
    measured = replace(CANON, size=None, mosaic=Mosaic("bayer", "BGGR"))
    assert measured.differences(CANON) == CANON.differences(measured) == []
    assert replace(measured, camera="Nikon D5").differences(CANON) == ["camera Nikon D5 instead of Canon EOS 700D"]


@pytest.mark.parametrize(("share", "same"), [(0.99, True), (1.01, False)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_black_level_may_breathe_a_little(share: float, same: bool, sign: int):
    moved = 2048 + sign * share * LARGEST_BLACK_CHANGE * CANON.white_level
    breathing = replace(CANON, black_level=(2048.0, 2048.0, moved, 2048.0))
    assert (breathing.differences(CANON) == []) == same
    assert (breathing.refusals(CANON) == []) == same


@pytest.mark.parametrize("measured", [CANON, UNKNOWN])
def test_nothing_serves_a_raw_file_that_does_not_name_its_camera(measured: Sensor):
    (words,) = UNKNOWN.refusals(measured)
    assert words.startswith("camera unknown")
    assert not UNKNOWN.matched_without_camera(measured)


def test_nothing_of_an_unknown_raw_camera_serves_a_known_one():
    assert CANON.refusals(UNKNOWN) == ["camera Canon EOS 700D instead of unknown"]
    assert CANON.refusals(CANON) == []


@pytest.mark.parametrize("camera", [None, "Canon EOS 700D"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, []),
        ({"size": (1080, 1440)}, ["size 1440 x 1080 instead of 1920 x 1080"]),
        ({"white_level": 65535.0}, ["white level 65535 instead of 255"]),
        (
            {"mosaic": MONO, "black_level": (0.0,)},
            ["kind mono instead of rgb"],
        ),
    ],
)
def test_pictures_of_an_unknown_camera_must_agree_in_size_depth_and_kind(camera, change, words):
    for shot, measured in ((None, camera), (camera, None)):
        sensor, other = replace(PICTURE, camera=shot, **change), replace(PICTURE, camera=measured)
        assert sensor.matched_without_camera(other)
        assert sensor.refusals(other) == words


def test_pictures_of_known_cameras_go_by_the_camera_and_need_not_agree_in_size():
    named = replace(PICTURE, camera="Sony A7")
    assert replace(named, size=(720, 1280)).refusals(named) == []
    assert replace(named, camera="Canon R5").refusals(named) == ["camera Canon R5 instead of Sony A7"]
    assert not named.matched_without_camera(named)


def test_a_picture_of_an_unknown_camera_is_not_matched_with_a_mosaic():
    assert not PICTURE.matched_without_camera(UNKNOWN)
    assert "kind rgb instead of bayer" in PICTURE.refusals(UNKNOWN)
    assert "kind bayer instead of rgb" in UNKNOWN.refusals(PICTURE)


def test_a_video_says_nothing_of_its_camera_and_is_matched_by_what_it_is():
    info = FrameInfo(
        domain="rgb", camera=None, cfa=None, height=1080, width=1920, black_level=(0.0,) * 3, white_level=255.0
    )
    assert Sensor.of(info) == PICTURE
    assert Sensor.of(info).refusals(PICTURE) == []
