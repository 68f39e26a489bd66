"""Which noise profile serves a shot without a model, and in which words; real files throughout."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from burst_denoise.errors import ConfigError, InputFileError
from burst_denoise.frame.frame import Frame
from burst_denoise.frame.synthetic import SyntheticCamera
from burst_denoise.inference.engine import fastest_engine
from burst_denoise.inference.noise_source import (
    ShotNoise,
    estimated_noise,
    noise_figures,
    read_measured_noise,
    shot_noise,
)
from burst_denoise.io.noise_profile_export import write_dng_with_profile, write_profile
from burst_denoise.io.raw import read_raw
from burst_denoise.model.prior import load_prior
from burst_denoise.schemas import ChannelProfile, NoiseProfile
from tests.shots import burst_frames, stored, verdicts, write_frames
from tests.test_verdict import GOOD

Estimate = Callable[[Iterable[Frame]], ShotNoise]

CAMERA = SyntheticCamera()
SPAN = 15304 - 2048


def channels(iso: float | None = 1600, **changes: object) -> list[ChannelProfile]:
    known = {"camera": CAMERA.name, "iso": iso, "white_level_dn": 15304.0, "shot_noise_scale": (iso or 100) / 1e7}
    return [GOOD.model_copy(update=known | {"channel": name} | changes) for name in ("R", "G1", "G2", "B")]


def written(folder: Path, *measured: list[ChannelProfile]) -> Path:
    folder.mkdir(exist_ok=True)
    write_profile(folder / "sensor.json", [channel for one in measured for channel in one])
    return folder / "sensor.json"


def asked(frame: Frame, file: Path, *, any_sensor: bool = False) -> tuple[NoiseProfile, str, list[str]]:
    """Return the profile that a file has for a shot, its source, and what was told."""
    told: list[str] = []
    profile, words = read_measured_noise(file, told.append).profile_for(
        frame.info, frame.path.name, any_sensor=any_sensor
    )
    return profile, words, told


def changed(frame: Frame, **changes: object) -> Frame:
    return replace(frame, info=frame.info.model_copy(update=changes))


@pytest.fixture(scope="module")
def frame() -> Frame:
    return replace(burst_frames(1)[0], path=Path("IMG_1.dng"))


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory, frame: Frame) -> Frame:
    path = tmp_path_factory.mktemp("tagged") / "tagged.dng"
    write_dng_with_profile(path, frame, channels(shot_noise_scale=CAMERA.gain(1600) / SPAN))
    return read_raw(path)


@pytest.fixture(scope="module")
def estimate() -> Estimate:
    engine = fastest_engine(load_prior("bayer", torch.device("cpu")).network, torch.float32)
    return lambda frames: estimated_noise(frames, engine)


@pytest.fixture(scope="module")
def by_itself(tagged: Frame, estimate: Estimate) -> NoiseProfile:
    """What the shot says without its tag."""
    return shot_noise(tagged.with_profile(None), None, estimate).profile


STORED = NoiseProfile(iso=1600, shot_noise_scale=(3e-4,) * 4, read_noise_variance=(3e-6,) * 4)


def test_the_burst_goes_before_the_tag_and_the_tag_before_an_estimate(frame: Frame, tagged: Frame, estimate: Estimate):
    assert shot_noise(tagged, STORED, estimate) == ShotNoise(STORED, "as measured on its burst")
    noise = shot_noise(tagged, None, estimate)
    assert replace(noise, structure=None) == ShotNoise(tagged.noise_profile, "as its NoiseProfile tag says")
    noise = shot_noise(frame, None, estimate)
    assert noise.profile.shot_noise_scale[0] == pytest.approx(CAMERA.gain(1600) / SPAN, rel=0.3)
    assert (noise.source, noise.contradiction) == ("estimated from the shot itself", "")


def scaled(profile: NoiseProfile, factor: float) -> NoiseProfile:
    return NoiseProfile(
        iso=profile.iso,
        shot_noise_scale=tuple(factor * value for value in profile.shot_noise_scale),
        read_noise_variance=tuple(factor * value for value in profile.read_noise_variance),
    )


@pytest.mark.parametrize("factor", [0.01, 0.1, 10])
def test_a_tag_that_contradicts_the_shot_does_not_serve_and_is_told(
    tagged: Frame, estimate: Estimate, by_itself: NoiseProfile, factor: float
):
    tag = scaled(by_itself, factor)
    noise = shot_noise(tagged.with_profile(tag), None, estimate)
    assert noise.profile == by_itself
    assert noise.source == "estimated from the shot itself, which contradicts its NoiseProfile tag"
    told = f"its NoiseProfile tag says {factor**0.5:.2g} times as much ({noise_figures(tag)})"
    assert noise.contradiction == told


@pytest.mark.parametrize("factor", [0.6, 1.7])
def test_a_tag_serves_as_long_as_it_is_within_the_error_of_an_estimate(
    tagged: Frame, estimate: Estimate, by_itself: NoiseProfile, factor: float
):
    tag = scaled(by_itself, factor)
    assert shot_noise(tagged.with_profile(tag), None, estimate).profile == tag


def test_a_tag_serves_where_the_shot_cannot_tell_or_was_denoised(tagged: Frame, estimate: Estimate):
    white = replace(tagged.with_profile(STORED), dn=np.full_like(tagged.dn, 15304))
    assert shot_noise(white, None, estimate).profile == STORED
    tag = scaled(STORED, 0.01)
    assert shot_noise(replace(tagged.with_profile(tag), noise_reduction=1.0), None, estimate).profile == tag


def test_a_shot_of_unknown_iso_is_told_which_one_serves_it(tmp_path: Path, frame: Frame):
    silent = changed(frame, iso=None)
    words = asked(silent, written(tmp_path, channels(800)))[1]
    assert words == "from sensor.json, of ISO 800 (the shot does not say its own)"
    with pytest.raises(ConfigError, match=r"does not say its ISO, .* has ISO 800, 3200; give one of the shot's ISO al"):
        asked(silent, written(tmp_path / "two", channels(800), channels(3200)))


def test_isos_of_the_file_are_interpolated_and_beyond_it_scaled_and_told(tmp_path: Path, frame: Frame):
    file = written(tmp_path, channels(800), channels(3200))
    profile, words, _ = asked(frame, file)
    assert profile.iso == 1600
    assert profile.shot_noise_scale == pytest.approx((1.6e-4,) * 4)
    assert words == "from sensor.json"
    profile, words, _ = asked(changed(frame, iso=12800.0), file)
    assert profile.shot_noise_scale == pytest.approx((12.8e-4,) * 4)
    assert words == "from sensor.json, scaled to ISO 12800 from 800, 3200"


def test_what_earlier_versions_called_usable_and_cannot_be_true_is_left_out_and_told(tmp_path: Path, frame: Frame):
    good, negative = channels(1600), channels(3200, read_noise_variance=-1e-6)
    _, _, told = asked(frame, written(tmp_path / "one", good, negative))
    assert len(told) == 1
    assert "ISO 3200 is not usable and left out: no noise is left at black" in told[0]
    gains = [
        channel.model_copy(update={"gain_dn_per_e": gain, "gain_dn_per_e_interval": (gain - 0.2, gain + 0.2)})
        for channel, gain in zip(channels(1600), (20.0, 28.0, 28.0, 23.0), strict=True)
    ]
    with pytest.raises(ConfigError, match="holds no usable noise profile"):
        asked(frame, written(tmp_path / "two", gains))


def test_json_lines_do_as_well_as_the_list(tmp_path: Path, frame: Frame):
    lines = tmp_path / "sensor.jsonl"
    lines.write_text("".join(channel.model_dump_json() + "\n" for channel in channels()))
    assert asked(frame, lines)[0] == asked(frame, written(tmp_path, channels()))[0]


@pytest.mark.parametrize(
    "changes", [{"camera": "Nikon D5"}, {"camera": None}, {"white_level_dn": 4095.0, "black_level_dn": 256.0}]
)
def test_a_file_about_another_camera_or_mode_is_refused_unless_asked(
    tmp_path: Path, frame: Frame, changes: dict[str, object]
):
    file = written(tmp_path, channels(**changes))
    with pytest.raises(ConfigError, match=r"IMG_1\.dng: from Synthetic APS-C.*sensor\.json is about"):
        asked(frame, file)
    assert asked(frame, file, any_sensor=True)[0].shot_noise_scale == pytest.approx((1.6e-4,) * 4)


def test_two_unknown_cameras_pass_for_one_only_where_asked(tmp_path: Path, frame: Frame):
    unknown, file = changed(frame, camera=None), written(tmp_path, channels(camera=None))
    with pytest.raises(ConfigError, match=r"from an unknown camera .* is about an unknown camera .*--any-sensor"):
        asked(unknown, file)
    assert asked(unknown, file, any_sensor=True)[0].shot_noise_scale == pytest.approx((1.6e-4,) * 4)


def test_the_right_camera_of_several_serves(tmp_path: Path, frame: Frame):
    file = written(tmp_path, channels(camera="Nikon D5", shot_noise_scale=1e-3), channels())
    assert asked(frame, file, any_sensor=True)[0].shot_noise_scale == pytest.approx((1.6e-4,) * 4)


def test_a_file_about_pictures_serves_no_mosaic(tmp_path: Path, frame: Frame):
    file = written(tmp_path, [GOOD.model_copy(update={"channel": "mono"})])
    with pytest.raises(ConfigError, match=r"from Synthetic APS-C \(bayer"):
        asked(frame, file, any_sensor=True)


def test_an_iso_that_is_not_usable_is_left_out_and_told(tmp_path: Path, frame: Frame):
    file = written(tmp_path, channels(), channels(100, usable=False, reasons=("no light in it",)))
    assert asked(frame, file)[2] == [f"{file}: ISO 100 is not usable and left out: no light in it"]
    (tmp_path / "sensor.json").unlink()
    with pytest.raises(ConfigError, match="holds no usable noise profile"):
        asked(frame, written(tmp_path, channels(usable=False)))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        (b"", "holds no usable"),
        (b"not json", "is no noise profile"),
        (b'{"camera": "x"}', "is no noise profile"),
        (b"[1, 2]", "is no noise profile"),
        (b'{"a": 1,\n "b": 2}', "is no noise profile"),
        (b"\xff\xd8\xff\xe0", "is no noise profile"),
    ],
)
def test_a_file_that_is_missing_or_something_else_is_one_clear_line(tmp_path: Path, content: bytes | None, words: str):
    file = tmp_path / "sensor.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        read_measured_noise(file, pytest.fail)
    assert str(caught.value).startswith(str(file))
    assert "burst-denoise profile -o" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_shot_that_cannot_tell_its_noise_is_named(frame: Frame, estimate: Estimate):
    white = replace(frame, dn=np.full_like(frame.dn, 15304))
    with pytest.raises(InputFileError, match=r"IMG_1\.dng: its noise cannot be estimated"):
        shot_noise(white, None, estimate)


def test_a_stored_burst_remembers_the_tag_of_its_frames(tmp_path: Path):
    frames = burst_frames(3)
    for k, one in enumerate(frames):
        write_dng_with_profile(tmp_path / f"{k}.dng", one, channels())
    read = [read_raw(tmp_path / f"{k}.dng") for k in range(3)]
    burst = stored(tmp_path / "a.burst", "a", read, verdicts(read), 0.1, 0.001)
    assert burst.frame(1).info.noise_profile == read[0].info.noise_profile
    (again,) = write_frames(tmp_path / "again", read[:1])
    assert read_raw(again).info.noise_profile == read[0].info.noise_profile
