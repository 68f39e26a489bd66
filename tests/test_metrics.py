"""Scores: PSNR and SSIM against outside values, the corrected error against known truth."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burst_denoise.frame.srgb import linear_to_srgb
from burst_denoise.schemas import PLANES, FrameInfo
from burst_denoise.score.metrics import corrected_mse, mean_squared_error, psnr, psnr_of_mse, rendering, ssim
from burst_denoise.sensor.moments import frame_moments

SIGMA = 0.02


def smooth_scene(side: int = 128) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] / side
    return (0.4 + 0.2 * np.sin(7 * rows) * np.cos(5 * columns)).astype(np.float32)


def noisy_frames(scene: np.ndarray, count: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [scene + SIGMA * rng.standard_normal(scene.shape, np.float32) for _ in range(count)]


def nlm(frame: np.ndarray) -> np.ndarray:
    levels = np.rint(np.clip(frame, 0, 1) * 65535).astype(np.uint16)
    out = cv2.fastNlMeansDenoising(levels, [0.8 * SIGMA * 65535], None, 5, 11, cv2.NORM_L1)
    return out.astype(np.float32) / 65535


def test_psnr_of_a_tenth_of_the_peak_is_20_db():
    image = np.full((8, 8), 0.5, np.float32)
    assert psnr(image + np.float32(0.1), image, peak=1) == pytest.approx(20, abs=1e-5)
    assert psnr(1000 * image + 100, 1000 * image, peak=1000) == pytest.approx(20, abs=1e-5)


def test_psnr_equals_that_of_scikit_image():
    from skimage.metrics import peak_signal_noise_ratio

    scene = smooth_scene()
    noisy = noisy_frames(scene, 1, 0)[0]
    assert psnr(noisy, scene, peak=3) == pytest.approx(peak_signal_noise_ratio(scene, noisy, data_range=3), abs=1e-4)


def test_psnr_of_an_error_too_small_to_measure_is_infinite():
    assert psnr_of_mse(0.0, peak=1) == math.inf
    assert psnr_of_mse(-1e-9, peak=1) == math.inf


def test_masked_values_count_for_nothing():
    image = np.zeros((4, 6), np.float32)
    image[2, 3] = 99
    mask = np.ones((4, 6), bool)
    mask[2, 3] = False
    assert mean_squared_error(image, np.zeros((4, 6)), mask) == 0


@pytest.mark.parametrize(
    ("shape", "mask", "message"),
    [
        ((5, 4), None, r"image of shape \(4, 4\) against a reference of shape \(5, 4\)"),
        ((4, 4), np.ones((4, 5), bool), r"mask of shape \(4, 5\) for values of shape \(4, 4\)"),
        ((4, 4), np.zeros((4, 4), bool), "the mask leaves no value to score"),
    ],
)
def test_unfit_shapes_and_masks_are_refused(shape: tuple[int, int], mask: np.ndarray | None, message: str):
    with pytest.raises(ValueError, match=message):
        mean_squared_error(np.zeros((4, 4), np.float32), np.zeros(shape), mask)


def test_ssim_is_that_of_wang_2004_averaged_over_planes():
    from skimage.metrics import structural_similarity

    scene = np.stack([smooth_scene(48), 1 - smooth_scene(48)])
    noisy = scene + SIGMA * np.random.default_rng(1).standard_normal(scene.shape).astype(np.float32)
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = [structural_similarity(a, b, data_range=1.0, **wang) for a, b in zip(noisy, scene, strict=True)]
    assert ssim(noisy, scene, peak=1) == pytest.approx(np.mean(expected), abs=1e-6)
    assert ssim(scene, scene, peak=1) == pytest.approx(1)
    with_defect = noisy.copy()
    with_defect[0, 20, 20] = 5
    mask = np.ones(scene.shape, bool)
    mask[0, 12:29, 12:29] = False
    assert ssim(with_defect, scene, peak=1, mask=mask) == pytest.approx(ssim(noisy, scene, peak=1, mask=mask))


def test_ssim_refuses_planes_smaller_than_its_window():
    with pytest.raises(ValueError, match="at least 11 x 11"):
        ssim(np.zeros((1, 10, 20), np.float32), np.zeros((1, 10, 20)), peak=1)


def info(domain: str, cfa: str | None = None, neutral: tuple[float, float, float] | None = None) -> FrameInfo:
    return FrameInfo(
        domain=domain, camera=None, cfa=cfa, height=8, width=8, black_level=(0.0,) * PLANES[domain], white_level=1.0,
        as_shot_neutral=neutral,
    )  # fmt: skip


@pytest.mark.parametrize("cfa", ["RGGB", "GBRG"])
def test_a_mosaic_of_a_neutral_patch_is_rendered_grey(cfa: str):
    colours = {"R": 0.1, "G": 0.2, "B": 0.12}
    mosaic = np.tile(np.array([[colours[c] for c in cfa[:2]], [colours[c] for c in cfa[2:]]], np.float32), (4, 4))
    shown = rendering(mosaic, info("bayer", cfa, (0.5, 1.0, 0.6)))
    assert shown.shape[0] == 1
    assert shown == pytest.approx(0.4845, abs=1e-3)  # 0.2 on the curve of sRGB


def test_a_picture_is_rendered_as_its_luma_clipped_first():
    picture = np.linspace(-0.5, 1.5, 3 * 64).reshape(3, 8, 8).astype(np.float32)
    before = picture.copy()
    red, green, blue = np.clip(picture, 0, 1)
    assert rendering(picture, info("rgb"))[0] == pytest.approx(0.2126 * red + 0.7152 * green + 0.0722 * blue, abs=1e-6)
    np.testing.assert_array_equal(picture, before)
    assert rendering(picture[0], info("mono")).shape == (1, 8, 8)
    linear = info("rgb").model_copy(update={"white_level": 65535.0})
    assert rendering(picture, linear) == pytest.approx(rendering(linear_to_srgb(picture), info("rgb")), abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(3, 9), taken=st.integers(1, 2), seed=st.integers(0, 2**32 - 1), level=st.sampled_from([0, 1e3])
)
def test_moments_without_a_frame_are_the_moments_of_the_others(count: int, taken: int, seed: int, level: float):
    frames = list(np.random.default_rng(seed).normal(level, 1, (count, 3, 4)).astype(np.float32))
    less = frame_moments(frames).without(*frames[:taken])
    rest = np.array(frames[taken:], np.float64)
    assert less.count == count - taken
    np.testing.assert_allclose(less.mean, rest.mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(less.squares, rest.var(axis=0) * len(rest), rtol=1e-6, atol=1e-9)


def test_moments_need_frames():
    one = np.zeros((2, 2), np.float32)
    with pytest.raises(ValueError, match="no frame given"):
        frame_moments([])
    with pytest.raises(ValueError, match="1 frame has no temporal variance; 2 are needed"):
        _ = frame_moments([one]).variance
    with pytest.raises(ValueError, match="one must remain"):
        frame_moments([one, one]).without(one, one)


def identity(frame: np.ndarray) -> np.ndarray:
    return frame


@pytest.mark.parametrize("count", [4, 8, 14])
@pytest.mark.parametrize("denoise", [identity, nlm], ids=["identity", "nlm"])
def test_corrected_mse_is_the_true_one_whatever_the_method(count: int, denoise):
    scene = smooth_scene()
    true, corrected, naive, full = [], [], [], []
    for seed in range(8):
        frames = noisy_frames(scene, count, seed)
        moments = frame_moments(frames)
        denoised = denoise(frames[0])
        others = moments.without(frames[0])
        true.append(mean_squared_error(denoised, scene))
        corrected.append(corrected_mse(denoised, others))
        naive.append(mean_squared_error(denoised, others.mean))
        full.append(mean_squared_error(denoised, moments.mean))
    per_seed = np.array(corrected) - np.array(true)
    error_of_mean = per_seed.std(ddof=1) / math.sqrt(len(per_seed))
    assert abs(per_seed.mean()) < 4 * error_of_mean
    assert np.mean(corrected) == pytest.approx(np.mean(true), rel=0.02)
    # Closed form: without the correction the reference's own noise is added, whatever the method.
    assert np.mean(naive) - np.mean(true) == pytest.approx(SIGMA**2 / (count - 1), rel=0.03)
    if denoise is identity:
        assert np.mean(true) == pytest.approx(SIGMA**2, rel=0.01)
        # The mean of all frames holds 1/N of the input's noise: doing nothing looks better than it is.
        assert np.mean(full) == pytest.approx(SIGMA**2 * (1 - 1 / count), rel=0.01)
    else:
        assert np.mean(true) < 0.3 * SIGMA**2
        assert np.mean(full) > 1.05 * np.mean(true)  # and a good denoiser looks worse


@pytest.mark.parametrize("averaged", [2, 4])
def test_mean_of_k_frames_is_scored_against_the_frames_not_in_it(averaged: int):
    scene = smooth_scene()
    scores = []
    for seed in range(6):
        frames = noisy_frames(scene, 10, seed)
        others = frame_moments(frames).without(*frames[:averaged])
        scores.append(corrected_mse(np.mean(frames[:averaged], axis=0), others))
    assert np.mean(scores) == pytest.approx(SIGMA**2 / averaged, rel=0.02)


def test_corrected_mse_of_a_perfect_result_is_zero_within_its_noise():
    scene = smooth_scene()
    scores = [corrected_mse(scene, frame_moments(noisy_frames(scene, 8, seed))) for seed in range(12)]
    assert min(scores) < 0 < max(scores)
    assert abs(np.mean(scores)) < 0.003 * SIGMA**2


def test_corrected_mse_takes_fixed_pattern_for_scene():
    scene = smooth_scene()
    pattern = 0.01 * np.random.default_rng(99).standard_normal(scene.shape, np.float32)
    others = frame_moments(noisy_frames(scene + pattern, 8, 1))
    assert corrected_mse(scene + pattern, others) == pytest.approx(0, abs=1e-6)
    assert corrected_mse(scene, others) == pytest.approx(1e-4, rel=0.05)
