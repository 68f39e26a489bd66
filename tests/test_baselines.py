"""Classical baselines: constants come back, noise shrinks, strips leave no seam, and each beats the noisy frame."""

from importlib.util import find_spec

import numpy as np
import pytest

from burst_denoise.burst.store import Burst
from burst_denoise.schemas import Domain, FrameInfo, NoiseProfile
from burst_denoise.score import baselines
from burst_denoise.score.baselines import (
    Baseline,
    baselines_for,
    bm3d,
    nl_means,
    nlm_colour_8bit,
    nlm_stabilised,
    total_variation,
    tune,
    tuned_strengths,
    wavelet,
)
from burst_denoise.score.metrics import mean_squared_error, psnr_of_mse
from tests.sensors import mosaic

needs_pywavelets = pytest.mark.skipif(not find_spec("pywt"), reason="PyWavelets is not installed")
RIVALS = [total_variation, nl_means, pytest.param(wavelet, marks=needs_pywavelets)]


def info_of(domain: Domain) -> FrameInfo:
    planes = {"bayer": 4, "rgb": 3, "mono": 1}[domain]
    return FrameInfo(
        domain=domain,
        camera=None,
        cfa="RGGB" if domain == "bayer" else None,
        height=64,
        width=64,
        black_level=(0.0,) * planes,
        white_level=4095.0,
    )


def profile_of(planes: int, scale: float = 4e-4, offset: float = 2e-6) -> NoiseProfile:
    return NoiseProfile(
        iso=None,
        shot_noise_scale=(scale,) * planes,
        read_noise_variance=(offset,) * planes,
    )


def flat_field(planes: int, level: float, side: int = 96) -> np.ndarray:
    """Return planes of Poisson and Gaussian noise that `profile_of` describes."""
    rng = np.random.default_rng(5)
    noisy = 4e-4 * rng.poisson(level / 4e-4, (planes, side, side)) + 2e-6**0.5 * rng.standard_normal((side, side))
    return noisy.astype(np.float32)


@pytest.mark.parametrize("baseline", RIVALS)
@pytest.mark.parametrize(("domain", "planes"), [("bayer", 4), ("rgb", 3), ("mono", 1)])
def test_constants_below_black_and_above_white_come_back(baseline: Baseline, domain: Domain, planes: int):
    profile = profile_of(planes, scale=1e-8, offset=1e-6)  # so little shot noise that no mean of a root is corrected
    for level in (-0.01, 0.5, 1.3):
        given = np.full((planes, 40, 56), level, np.float32)
        back = baseline(given, info_of(domain), profile, 1.0)
        assert back.dtype == np.float32
        assert back == pytest.approx(given, abs=2e-5)


@pytest.mark.parametrize("baseline", RIVALS)
@pytest.mark.parametrize(("domain", "planes"), [("bayer", 4), ("mono", 1)])
def test_noise_of_a_flat_field_shrinks_and_its_level_stays(baseline: Baseline, domain: Domain, planes: int):
    noisy = flat_field(planes, 0.05)
    denoised = baseline(noisy, info_of(domain), profile_of(planes), 3.0)
    assert denoised.std() < 0.4 * noisy.std()
    assert abs(denoised.mean() - noisy.mean()) < 0.05 * noisy.std()


@pytest.mark.parametrize("baseline", RIVALS)
def test_planes_given_stay_as_they_were(baseline: Baseline):
    noisy = flat_field(4, 0.05)
    before = noisy.copy()
    baseline(noisy, info_of("bayer"), profile_of(4), 1.0)
    assert np.array_equal(noisy, before)


@pytest.mark.parametrize("strip", [7, 24, 60])
@pytest.mark.parametrize("domain", ["rgb", "mono"])
def test_strips_leave_no_seam(monkeypatch: pytest.MonkeyPatch, strip: int, domain: Domain):
    planes = 3 if domain == "rgb" else 1
    noisy = flat_field(planes, 0.05, 61)
    whole = nl_means(noisy, info_of(domain), profile_of(planes), 1.5)
    monkeypatch.setattr(baselines, "STRIP", strip)
    assert nl_means(noisy, info_of(domain), profile_of(planes), 1.5) == pytest.approx(whole, abs=1e-6)


def test_non_local_means_is_the_formula_of_its_paper():
    rng = np.random.default_rng(6)
    noisy = rng.standard_normal((2, 21, 23)).astype(np.float32)
    noisy[:, :, 12:] += 3
    kernel = np.exp(-(np.arange(-1, 2) ** 2) / (2 * 0.5**2))
    kernel = np.outer(kernel, kernel) / kernel.sum() ** 2
    row, column, strength = 10, 11, 1.2
    total, weights = np.zeros(2), 0.0
    for down in range(-3, 4):
        for right in range(-3, 4):
            patch = noisy[:, row - 1 : row + 2, column - 1 : column + 2]
            there = noisy[:, row + down - 1 : row + down + 2, column + right - 1 : column + right + 2]
            distance = (kernel * ((patch - there) ** 2).mean(axis=0)).sum()
            weight = np.exp(-max(distance - 2, 0) / strength**2)
            total += weight * noisy[:, row + down, column + right]
            weights += weight
    # Black 0 and noise variance 1 at every level: stabilised planes are the planes.
    profile = profile_of(2, scale=0.0, offset=1.0)
    result = nl_means(noisy, info_of("mono"), profile, strength)
    assert result[:, row, column] == pytest.approx(total / weights, abs=1e-4)


def test_non_local_means_survives_a_step_far_outside_the_noise():
    planes = np.zeros((1, 40, 40), np.float32)
    planes[:, :, 20:] = 1e4
    back = nl_means(planes, info_of("mono"), profile_of(1, scale=0.0, offset=1.0), 0.3)
    assert np.array_equal(back, planes)


@needs_pywavelets
def test_one_wavelet_threshold_serves_pictures_of_any_size():
    noisy = flat_field(1, 0.05, 256)
    profile, info = profile_of(1), info_of("mono")
    small = wavelet(noisy[:, :64, :64], info, profile, 3.0)[:, 16:48, 16:48]
    large = wavelet(noisy, info, profile, 3.0)[:, 16:48, 16:48]
    assert np.abs(small - large).max() < 0.3 * noisy.std()


BM3D_MARKS = (pytest.mark.slow, pytest.mark.skipif(not find_spec("bm3d"), reason="bm3d is not installed"))


@pytest.mark.parametrize("baseline", [*RIVALS, pytest.param(bm3d, marks=BM3D_MARKS)])
def test_every_baseline_beats_the_noisy_frame(burst: Burst, baseline: Baseline):
    frame, cfa = burst.linear(0), burst.info.cfa
    noisy = psnr_of_mse(mean_squared_error(frame, burst.clean), peak=1)
    planes = baseline(
        mosaic(cfa).pack(frame), burst.info, burst.profile, 1.0 if baseline is bm3d else tune(baseline, [burst])
    )
    assert psnr_of_mse(mean_squared_error(mosaic(cfa).unpack(planes, frame.shape), burst.clean), peak=1) > noisy + 3


def test_only_baselines_that_are_installed_and_make_sense_are_offered(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(baselines, "find_spec", lambda name: None)
    assert list(baselines_for(info_of("mono"))) == ["nlm-16bit", "nlm-stabilised", "tv", "nl-means"]
    monkeypatch.setattr(baselines, "find_spec", lambda name: name)
    everything = baselines_for(info_of("bayer"))
    assert list(everything) == [
        *("nlm-colour-8bit", "nlm-16bit", "nlm-stabilised"),
        *("tv", "wavelet", "nl-means", "bm3d"),
    ]
    large = info_of("bayer").model_copy(update={"height": 4000, "width": 6000})
    assert list(baselines_for(large)) == list(everything)[:-1]
    assert everything["nlm-stabilised"] is nlm_stabilised
    assert everything["nlm-colour-8bit"] is nlm_colour_8bit


def test_bm3d_is_told_the_noise_and_never_tuned(burst: Burst, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(baselines, "baselines_for", lambda info: {"bm3d": bm3d, "tv": total_variation})
    strengths = tuned_strengths([burst])
    assert strengths["bm3d"] == 1.0
    assert strengths["tv"] == tune(total_variation, [burst])
