"""Baselines: constants come back, noise shrinks, each beats the noisy frame, strength is found without truth."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from burst_denoise.burst.burst import Burst
from burst_denoise.frame.frame import Frame, to_linear
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.frame.srgb import linear_to_srgb
from burst_denoise.frame.synthetic import SyntheticCamera, shoot
from burst_denoise.schemas import Domain, FrameInfo, NoiseProfile
from burst_denoise.score import baselines, tuning
from burst_denoise.score.baselines import (
    Baseline,
    baselines_for,
    bm3d,
    nl_means,
    nlm_16bit,
    nlm_colour_8bit,
    nlm_stabilised,
    total_variation,
    wavelet,
)
from burst_denoise.score.metrics import mean_squared_error, psnr_of_mse
from burst_denoise.score.tuning import tune, tuned_strengths
from tests.sensors import mosaic
from tests.shots import stored, verdicts

NLM = [nlm_stabilised, nlm_16bit, nlm_colour_8bit]
CLASSICAL = [total_variation, nl_means, wavelet]
CAMERA = SyntheticCamera(prnu=0.0, dark_offset_std_dn=0.0, hot_fraction=0.0)


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
    return stored(folder / f"{name}.burst", name, frames, verdicts(frames), 0.01, 0.001, clean)


@pytest.fixture(scope="module")
def shot() -> tuple[list[Frame], np.ndarray]:
    frames, clean_dn = shoot(CAMERA, discs(160), 3200, 6, 1)
    return frames, to_linear(clean_dn, frames[0].info)


@pytest.fixture(scope="module")
def of_discs(tmp_path_factory, shot) -> Burst:
    return burst_of(tmp_path_factory.mktemp("bursts"), *shot[:1], clean=shot[1])


def true_psnr(burst: Burst, baseline: Baseline, strength: float) -> float:
    frame, cfa = burst.linear(0), burst.info.cfa
    planes = baseline(mosaic(cfa).pack(frame), burst.info, burst.profile, strength)
    assert planes.dtype == np.float32
    return psnr_of_mse(mean_squared_error(mosaic(cfa).unpack(planes, frame.shape), burst.clean), peak=1)


@pytest.mark.parametrize(("baseline", "gain_db"), [(nlm_stabilised, 4.0), (nlm_16bit, 3.0), (nlm_colour_8bit, 1.5)])
def test_non_local_means_beats_the_noisy_frame(of_discs: Burst, baseline, gain_db: float):
    noisy = psnr_of_mse(mean_squared_error(of_discs.linear(0), of_discs.clean), peak=1)
    assert true_psnr(of_discs, baseline, tune(baseline, [of_discs])) > noisy + gain_db


@pytest.mark.parametrize("baseline", NLM)
def test_tuned_strength_is_the_one_that_known_truth_would_choose(of_discs: Burst, baseline):
    tuned = true_psnr(of_discs, baseline, tune(baseline, [of_discs]))
    best = max(true_psnr(of_discs, baseline, strength) for strength in np.geomspace(0.2, 3, 20))
    assert tuned > best - 0.1


def test_tuning_reads_no_clean_reference(tmp_path: Path, of_discs: Burst, shot):
    blind = burst_of(tmp_path, shot[0])
    assert blind.clean is None
    assert tune(nlm_stabilised, [blind]) == tune(nlm_stabilised, [of_discs])
    with pytest.raises(ValueError, match="no burst to tune on"):
        tune(nlm_stabilised, [])


@pytest.mark.parametrize("baseline", NLM)
def test_one_strength_serves_every_iso(tmp_path: Path, baseline):
    strengths = []
    for iso in (1600, 6400):
        frames, _ = shoot(CAMERA, discs(160), iso, 6, 2)
        strengths.append(tune(baseline, [burst_of(tmp_path, frames, str(iso))]))
    assert max(strengths) / min(strengths) < 1.8


def test_non_local_means_of_16_bits_clips_nothing():
    profile = profile_of(1, scale=1e-5, offset=1e-6)
    planes = np.full((1, 64, 64), -0.01, np.float32)
    planes[:, :, 32:] = 1.3
    info = info_of("mono")
    # The step lies far outside the noise, so both sides come back as they were, below black and above white.
    assert nlm_stabilised(planes, info, profile, 0.8) == pytest.approx(planes, abs=1e-4)
    assert nlm_16bit(planes, info, profile, 0.8) == pytest.approx(planes, abs=1e-4)


def test_stabilised_non_local_means_does_not_darken():
    rng = np.random.default_rng(4)
    level, scale, offset = 0.01, 4e-4, 2e-6
    profile = profile_of(1, scale, offset)
    noisy = scale * rng.poisson(level / scale, (1, 128, 128)) + offset**0.5 * rng.standard_normal((1, 128, 128))
    noisy = noisy.astype(np.float32)
    denoised = nlm_stabilised(noisy, info_of("mono"), profile, 1.5)
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
    info = info_of("rgb")
    profile = profile_of(3, scale=0.0, offset=1e-6)
    planes = np.full((3, 32, 32), -0.2, np.float32)
    planes[:, :, 16:] = 1.2
    back = nlm_colour_8bit(planes, info, profile, 0.5)
    assert back[:, :, :16].max() == pytest.approx(0, abs=0.01)
    assert back[:, :, 16:].min() == pytest.approx(1, abs=0.01)


def test_colours_of_a_picture_stay_in_their_order():
    profile = profile_of(3, scale=0.0, offset=1e-6)
    planes = np.stack([np.full((32, 32), level, np.float32) for level in (0.8, 0.5, 0.2)])
    developed = info_of("rgb").model_copy(update={"white_level": 255.0})
    assert nlm_colour_8bit(planes, developed, profile, 0.5) == pytest.approx(planes, abs=0.01)
    linear = nlm_colour_8bit(planes, info_of("rgb"), profile, 0.5)  # by way of the curve of sRGB
    assert linear_to_srgb(linear) == pytest.approx(linear_to_srgb(planes), abs=0.01)
    assert nlm_stabilised(planes, info_of("rgb"), profile, 0.5) == pytest.approx(planes, abs=0.001)


def test_frames_without_colours_have_no_coloured_baseline():
    assert list(baselines_for(info_of("mono")))[:2] == ["nlm-16bit", "nlm-stabilised"]
    assert list(baselines_for(info_of("rgb")))[:3] == ["nlm-colour-8bit", "nlm-16bit", "nlm-stabilised"]
    profile = profile_of(1, scale=0.0, offset=1e-6)
    with pytest.raises(ValueError, match="these frames are mono"):
        nlm_colour_8bit(np.zeros((1, 32, 32), np.float32), info_of("mono"), profile, 0.5)


@pytest.mark.parametrize("baseline", CLASSICAL)
@pytest.mark.parametrize(("domain", "planes"), [("bayer", 4), ("rgb", 3), ("mono", 1)])
def test_constants_below_black_and_above_white_come_back(baseline: Baseline, domain: Domain, planes: int):
    profile = profile_of(planes, scale=1e-8, offset=1e-6)  # so little shot noise that no mean of a root is corrected
    for level in (-0.01, 0.5, 1.3):
        given = np.full((planes, 40, 56), level, np.float32)
        back = baseline(given, info_of(domain), profile, 1.0)
        assert back.dtype == np.float32
        assert np.allclose(back, given, rtol=0, atol=2e-5)


@pytest.mark.parametrize("baseline", CLASSICAL)
@pytest.mark.parametrize(("domain", "planes"), [("bayer", 4), ("mono", 1)])
def test_noise_of_a_flat_field_shrinks_and_its_level_stays(baseline: Baseline, domain: Domain, planes: int):
    noisy = flat_field(planes, 0.05)
    denoised = baseline(noisy, info_of(domain), profile_of(planes), 3.0)
    assert denoised.std() < 0.4 * noisy.std()
    assert abs(denoised.mean() - noisy.mean()) < 0.05 * noisy.std()


@pytest.mark.parametrize("baseline", [*NLM, *CLASSICAL])
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
    assert np.allclose(nl_means(noisy, info_of(domain), profile_of(planes), 1.5), whole, rtol=0, atol=1e-6)


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


def test_one_wavelet_threshold_serves_pictures_of_any_size():
    noisy = flat_field(1, 0.05, 256)
    profile, info = profile_of(1), info_of("mono")
    small = wavelet(noisy[:, :64, :64], info, profile, 3.0)[:, 16:48, 16:48]
    large = wavelet(noisy, info, profile, 3.0)[:, 16:48, 16:48]
    assert np.abs(small - large).max() < 0.3 * noisy.std()


BM3D_MARKS = (pytest.mark.slow, pytest.mark.skipif(not find_spec("bm3d"), reason="bm3d is not installed"))


@pytest.mark.parametrize("baseline", [*CLASSICAL, pytest.param(bm3d, marks=BM3D_MARKS)])
def test_every_baseline_beats_the_noisy_frame(burst: Burst, baseline: Baseline):
    noisy = psnr_of_mse(mean_squared_error(burst.linear(0), burst.clean), peak=1)
    assert true_psnr(burst, baseline, 1.0 if baseline is bm3d else tune(baseline, [burst])) > noisy + 3


def test_only_baselines_that_are_installed_and_make_sense_are_offered(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(baselines, "find_spec", lambda name: None)
    assert list(baselines_for(info_of("mono"))) == ["nlm-16bit", "nlm-stabilised", "tv", "wavelet", "nl-means"]
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
    monkeypatch.setattr(tuning, "baselines_for", lambda info: {"bm3d": bm3d, "tv": total_variation})
    strengths = tuned_strengths([burst])
    assert strengths["bm3d"] == 1.0
    assert strengths["tv"] == tune(total_variation, [burst])
