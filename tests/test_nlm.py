"""Baselines: what OpenCV's non-local means makes of a simulated burst, and how its strength is found."""

from pathlib import Path

import numpy as np
import pytest

from burst_denoise.burst.store import Burst
from burst_denoise.frame.frame import Frame, to_linear
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.frame.synthetic import SyntheticCamera, shoot
from burst_denoise.schemas import FrameInfo, FrameVerdict, NoiseProfile
from burst_denoise.score.baselines import baselines_for, nlm_16bit, nlm_colour_8bit, nlm_stabilised, tune
from burst_denoise.score.metrics import mean_squared_error, psnr_of_mse
from tests.sensors import mosaic
from tests.shots import stored

CAMERA = SyntheticCamera(prnu=0.0, dark_offset_std_dn=0.0, hot_fraction=0.0)


def discs(side: int, neutral: tuple[float, float, float] = CAMERA.as_shot_neutral) -> np.ndarray:
    """Return grey and coloured discs on a ramp, (H, W, 3) linear camera RGB."""
    rows, columns = np.mgrid[:side, :side] / side
    rng = np.random.default_rng(0)
    picture = np.repeat((0.1 + 0.3 * columns)[..., None], 3, axis=2)
    for _ in range(12):
        row, column, radius = rng.uniform([0, 0, 0.05], [1, 1, 0.2])
        picture[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = rng.uniform(0.05, 0.8, 3)
    return (picture * neutral).astype(np.float32)


def burst_of(folder: Path, frames: list[Frame], name: str = "discs", clean: np.ndarray | None = None) -> Burst:
    verdicts = [FrameVerdict(file=str(f.path), accepted=True, reasons=(), gain=1.0, shift_px=0.0) for f in frames]
    return stored(folder / f"{name}.burst", name, frames, verdicts, 0.01, 0.001, clean)


@pytest.fixture(scope="module")
def shot() -> tuple[list[Frame], np.ndarray]:
    frames, clean_dn = shoot(CAMERA, discs(160), 3200, 6, 1)
    return frames, to_linear(clean_dn, frames[0].info)


@pytest.fixture(scope="module")
def burst(tmp_path_factory, shot) -> Burst:
    return burst_of(tmp_path_factory.mktemp("bursts"), *shot[:1], clean=shot[1])


def true_psnr(burst: Burst, baseline, strength: float) -> float:
    frame, cfa = burst.linear(0), burst.info.cfa
    planes = baseline(mosaic(cfa).pack(frame), burst.info, burst.profile, strength)
    assert planes.dtype == np.float32
    return psnr_of_mse(mean_squared_error(mosaic(cfa).unpack(planes, frame.shape), burst.clean), peak=1)


@pytest.mark.parametrize(("baseline", "gain_db"), [(nlm_stabilised, 4.0), (nlm_16bit, 3.0), (nlm_colour_8bit, 1.5)])
def test_non_local_means_beats_the_noisy_frame(burst: Burst, baseline, gain_db: float):
    noisy = psnr_of_mse(mean_squared_error(burst.linear(0), burst.clean), peak=1)
    assert true_psnr(burst, baseline, tune(baseline, [burst])) > noisy + gain_db


@pytest.mark.parametrize("baseline", [nlm_stabilised, nlm_16bit, nlm_colour_8bit])
def test_tuned_strength_is_the_one_that_known_truth_would_choose(burst: Burst, baseline):
    tuned = true_psnr(burst, baseline, tune(baseline, [burst]))
    best = max(true_psnr(burst, baseline, strength) for strength in np.geomspace(0.2, 3, 20))
    assert tuned > best - 0.1


def test_tuning_reads_no_clean_reference(tmp_path: Path, burst: Burst, shot):
    blind = burst_of(tmp_path, shot[0])
    assert blind.clean is None
    assert tune(nlm_stabilised, [blind]) == tune(nlm_stabilised, [burst])
    with pytest.raises(ValueError, match="no burst to tune on"):
        tune(nlm_stabilised, [])


@pytest.mark.parametrize("baseline", [nlm_stabilised, nlm_16bit, nlm_colour_8bit])
def test_one_strength_serves_every_iso(tmp_path: Path, baseline):
    strengths = []
    for iso in (1600, 6400):
        frames, _ = shoot(CAMERA, discs(160), iso, 6, 2)
        strengths.append(tune(baseline, [burst_of(tmp_path, frames, str(iso))]))
    assert max(strengths) / min(strengths) < 1.8


@pytest.mark.parametrize("baseline", [nlm_stabilised, nlm_16bit, nlm_colour_8bit])
def test_planes_given_stay_as_they_were(burst: Burst, baseline):
    planes = burst.mosaic.pack(burst.linear(0))
    before = planes.copy()
    baseline(planes, burst.info, burst.profile, 0.5)
    assert np.array_equal(planes, before)


def test_non_local_means_of_16_bits_clips_nothing():
    profile = NoiseProfile(iso=None, shot_noise_scale=(1e-5,), read_noise_variance=(1e-6,))
    planes = np.full((1, 64, 64), -0.01, np.float32)
    planes[:, :, 32:] = 1.3
    info = mono_info()
    # The step lies far outside the noise, so both sides come back as they were, below black and above white.
    assert nlm_stabilised(planes, info, profile, 0.8) == pytest.approx(planes, abs=1e-4)
    assert nlm_16bit(planes, info, profile, 0.8) == pytest.approx(planes, abs=1e-4)


def test_stabilised_non_local_means_does_not_darken():
    rng = np.random.default_rng(4)
    level, scale, offset = 0.01, 4e-4, 2e-6
    profile = NoiseProfile(iso=None, shot_noise_scale=(scale,), read_noise_variance=(offset,))
    noisy = scale * rng.poisson(level / scale, (1, 128, 128)) + offset**0.5 * rng.standard_normal((1, 128, 128))
    noisy = noisy.astype(np.float32)
    denoised = nlm_stabilised(noisy, mono_info(), profile, 1.5)
    assert denoised.std() < 0.3 * noisy.std()
    assert abs(denoised.mean() - noisy.mean()) < 0.05 * (scale * level + offset) ** 0.5


@pytest.mark.parametrize("neutral", [None, (0.5, 1.0, 0.65)])
def test_developed_picture_comes_back_as_the_mosaic_it_was(neutral: tuple[float, float, float] | None):
    frames, clean_dn = shoot(CAMERA, discs(64, neutral or (1.0, 1.0, 1.0)), 100, 1, 3)
    info = frames[0].info.model_copy(update={"as_shot_neutral": neutral})
    planes = Mosaic.of(info).pack(to_linear(clean_dn, info))
    silent = NoiseProfile(iso=100, shot_noise_scale=(0.0,) * 4, read_noise_variance=(1e-9,) * 4)
    back = nlm_colour_8bit(planes, info, silent, 0.5)
    # 8 bits of an sRGB curve, and the way through OpenCV's 8-bit Lab: a few levels of 255.
    assert np.abs(np.sqrt(back) - np.sqrt(planes)).max() < 0.02
    assert np.sqrt(np.mean((back - planes) ** 2)) < 0.005


def test_eight_bits_cut_off_what_lies_below_black_and_above_white():
    info = rgb_info()
    profile = NoiseProfile(iso=None, shot_noise_scale=(0.0,) * 3, read_noise_variance=(1e-6,) * 3)
    planes = np.full((3, 32, 32), -0.2, np.float32)
    planes[:, :, 16:] = 1.2
    back = nlm_colour_8bit(planes, info, profile, 0.5)
    assert back[:, :, :16].max() == pytest.approx(0, abs=0.01)
    assert back[:, :, 16:].min() == pytest.approx(1, abs=0.01)


def test_colours_of_a_picture_stay_in_their_order():
    profile = NoiseProfile(iso=None, shot_noise_scale=(0.0,) * 3, read_noise_variance=(1e-6,) * 3)
    planes = np.stack([np.full((32, 32), level, np.float32) for level in (0.8, 0.5, 0.2)])
    assert nlm_colour_8bit(planes, rgb_info(), profile, 0.5) == pytest.approx(planes, abs=0.01)
    assert nlm_stabilised(planes, rgb_info(), profile, 0.5) == pytest.approx(planes, abs=0.001)


def test_frames_without_colours_have_no_coloured_baseline():
    assert list(baselines_for(mono_info()))[:2] == ["nlm-16bit", "nlm-stabilised"]
    assert list(baselines_for(rgb_info()))[:3] == ["nlm-colour-8bit", "nlm-16bit", "nlm-stabilised"]
    profile = NoiseProfile(iso=None, shot_noise_scale=(0.0,), read_noise_variance=(1e-6,))
    with pytest.raises(ValueError, match="these frames are mono"):
        nlm_colour_8bit(np.zeros((1, 32, 32), np.float32), mono_info(), profile, 0.5)


def mono_info() -> FrameInfo:
    return FrameInfo(domain="mono", camera=None, cfa=None, height=64, width=64, black_level=(0.0,), white_level=4095.0)


def rgb_info() -> FrameInfo:
    return FrameInfo(
        domain="rgb", camera=None, cfa=None, height=32, width=32, black_level=(0.0,) * 3, white_level=255.0
    )
