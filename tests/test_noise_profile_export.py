"""Measured noise profiles in other programs' forms: what they read is what was measured."""

import json

import pytest
import rawpy
import tifffile

from burst_denoise.errors import OutputError
from burst_denoise.io.noise_profile_export import write_darktable_preset, write_dng_with_profile, write_profile
from burst_denoise.io.raw import read_raw
from burst_denoise.io.tags import Tag
from burst_denoise.schemas import ChannelProfile
from tests.shots import burst_frames
from tests.test_verdict import GOOD


def channels(iso: float | None = 1600, camera: str | None = "Canon EOS 700D") -> list[ChannelProfile]:
    terms = {"R": (1e-4, 1e-7), "G1": (2e-4, 2e-7), "G2": (4e-4, 4e-7), "B": (5e-4, 5e-7)}
    return [
        GOOD.model_copy(update={
            "iso": iso, "camera": camera, "channel": channel, "shot_noise_scale": s, "read_noise_variance": o,
        })
        for channel, (s, o) in terms.items()
    ]  # fmt: skip


def test_a_dng_carries_s_and_o_of_red_the_mean_green_and_blue_and_the_frame_unchanged(tmp_path):
    frame = burst_frames(1)[0]
    write_dng_with_profile(tmp_path / "shot.dng", frame, channels())
    with tifffile.TiffFile(tmp_path / "shot.dng") as file:
        value = file.pages[0].pages[0].tags[Tag.NOISE_PROFILE].value
    assert value == pytest.approx((1e-4, 1e-7, 3e-4, 3e-7, 5e-4, 5e-7), rel=1e-12)
    with rawpy.imread(str(tmp_path / "shot.dng")) as raw:
        assert (raw.raw_image_visible == frame.dn).all()
    profile = read_raw(tmp_path / "shot.dng").noise_profile
    assert profile.iso == 1600
    assert profile.shot_noise_scale == pytest.approx((1e-4, 3e-4, 3e-4, 5e-4))
    assert profile.read_noise_variance == pytest.approx((1e-7, 3e-7, 3e-7, 5e-7))


def test_a_picture_becomes_no_dng(tmp_path):
    frame = burst_frames(1)[0]
    picture = type(frame)(frame.dn, frame.info.model_copy(update={"domain": "mono", "cfa": None}), frame.path)
    with pytest.raises(OutputError, match="only raw frames with a Bayer mosaic become a DNG"):
        write_dng_with_profile(tmp_path / "shot.dng", picture, channels())


def test_the_darktable_preset_has_darktables_layout_one_entry_per_iso(tmp_path):
    write_darktable_preset(tmp_path / "noise.json", channels(1600) + channels(6400), (0.5, 1.0, 0.65))
    document = json.loads((tmp_path / "noise.json").read_text())
    (maker,) = document["noiseprofiles"]
    (model,) = maker["models"]
    assert (document["version"], maker["maker"], model["model"]) == (0, "Canon", "EOS 700D")
    assert [profile["iso"] for profile in model["profiles"]] == [1600, 6400]


def test_the_darktable_preset_says_what_darktables_own_tool_measures(tmp_path):
    # That procedure (diagonal Haar detail of demosaiced pixels) on raw noise of S = 5e-4 in all colours, neutral
    # (0.5, 1, 0.65), through darktable 4.2 with PPG: 0.1685, 0.0770 and 0.1349 of S.
    same = [channel.model_copy(update={"shot_noise_scale": 5e-4}) for channel in channels()]
    write_darktable_preset(tmp_path / "noise.json", same, (0.5, 1.0, 0.65))
    (maker,) = json.loads((tmp_path / "noise.json").read_text())["noiseprofiles"]
    profile = maker["models"][0]["profiles"][0]
    assert profile["a"] == pytest.approx([0.1685 * 5e-4, 0.0770 * 5e-4, 0.1349 * 5e-4], rel=0.03)
    assert profile["b"][1] == pytest.approx(0.078 * 3e-7)


@pytest.mark.parametrize(
    "found", [channels(None), channels(camera=None), [GOOD.model_copy(update={"channel": "mono"})]]
)
def test_darktable_needs_camera_iso_and_a_mosaic(tmp_path, found):
    with pytest.raises(OutputError, match="darktable needs raw frames that name their camera and ISO"):
        write_darktable_preset(tmp_path / "noise.json", found, None)
    assert not list(tmp_path.iterdir())


def test_the_json_file_is_a_list_of_what_was_measured_and_is_not_overwritten(tmp_path):
    write_profile(tmp_path / "sensor.json", channels())
    read = [ChannelProfile.model_validate(record) for record in json.loads((tmp_path / "sensor.json").read_text())]
    assert read == channels()
    with pytest.raises(OutputError, match="exists"):
        write_profile(tmp_path / "sensor.json", channels())
