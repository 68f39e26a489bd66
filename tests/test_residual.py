"""What was taken away: noise alone leaves no trace, a blur leaves the one its response says."""

import cv2
import numpy as np
import pytest

from burst_denoise.score.residual import ResidualScore
from tests.sensors import mosaic

STD = 0.01


def wave(period: float, side: int = 240) -> np.ndarray:
    """Return a wave that goes on as it is when reflected at a border."""
    x = np.arange(side) + 0.5
    return np.tile(0.4 + 0.1 * np.cos(2 * np.pi * x / period), (side, 1)).astype(np.float32)


def shoot(clean: np.ndarray, count: int = 8, seed: int = 0, blur_std: float = 0.0) -> list[np.ndarray]:
    """Return frames; ``blur_std`` correlates their noise, as a camera does that has filtered it."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((count, *clean.shape), np.float32)
    if blur_std:
        noise = np.stack([cv2.GaussianBlur(n, (0, 0), blur_std) for n in noise])
    return list((clean + STD * noise / noise.std()).astype(np.float32))


def judge(frames: list[np.ndarray], results: dict[int, np.ndarray], mask=None, cfa=None) -> tuple[float, float]:
    """Return correlation and leak over results by the number of their frame."""
    shape = frames[0].shape
    mask = np.ones(shape, bool) if mask is None else mask
    score = ResidualScore(lambda i: frames[i], len(frames), mask, np.full(shape, STD**2, np.float32), mosaic(cfa))
    sums = 0
    for index, image in results.items():
        others = np.mean([frame for k, frame in enumerate(frames) if k != index], axis=0).astype(np.float32)
        sums = sums + score.measure(frames[index], image, others)
    return score.correlation(sums), score.leak(sums)


def gaussian(image: np.ndarray, std: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (31, 31), std, borderType=cv2.BORDER_REFLECT)


def test_doing_nothing_takes_nothing_away():
    frames = shoot(wave(12))
    assert judge(frames, {i: frames[i] for i in (0, 4)}) == (0, 0)


@pytest.mark.parametrize("cfa", [None, "RGGB", "GBRG"])
@pytest.mark.parametrize("blur_std", [0, 0.7])
def test_a_perfect_result_takes_the_noise_and_nothing_else(cfa, blur_std: float):
    clean = wave(12)
    frames = shoot(clean, blur_std=blur_std)
    correlation, leak = judge(frames, dict.fromkeys((0, 4), clean), cfa=cfa)
    assert correlation < 0.01
    assert leak == pytest.approx(0, abs=0.002)


@pytest.mark.parametrize("period", [6, 10, 20])
@pytest.mark.parametrize("std", [0.6, 1.5])
def test_a_blur_leaks_what_its_response_at_the_wave_does_not_pass(period: float, std: float):
    frames = shoot(wave(period))
    _, leak = judge(frames, {i: gaussian(frames[i], std) for i in (0, 3, 6)})
    assert leak == pytest.approx(1 - np.exp(-2 * (np.pi * std / period) ** 2), abs=0.01)


def test_all_local_structure_gone_is_a_leak_of_one():
    frames = shoot(wave(6))
    flat = np.full_like(frames[0], 0.4)
    correlation, leak = judge(frames, {0: flat})
    assert leak == pytest.approx(1, abs=0.01)
    assert correlation > 0.5  # neighbours share the wave


def test_sharpening_is_a_leak_below_zero():
    frames = shoot(wave(10))
    _, leak = judge(frames, {0: 1.5 * frames[0] - 0.5 * gaussian(frames[0], 2)})
    assert leak < -0.1


def test_a_residual_of_blotches_is_correlated_as_its_closed_form_says():
    clean = np.full((256, 256), 0.4, np.float32)
    frames = shoot(clean)
    # Residual = noise blurred by 1/4, 1/2, 1/4 along the rows: its neighbours correlate by (1/4) / (3/8) = 2/3.
    kernel = np.array([[0.25, 0.5, 0.25]], np.float32)
    results = {i: frames[i] - cv2.filter2D(frames[i] - clean, -1, kernel) for i in (0, 4)}
    assert judge(frames, results)[0] == pytest.approx(2 / 3, abs=0.02)


def test_a_scene_without_structure_has_none_to_leak():
    frames = shoot(np.full((128, 128), 0.4, np.float32))
    assert judge(frames, {i: gaussian(frames[i], 1) for i in (0, 4)})[1] == 0


def test_photosites_that_do_not_count_leave_no_trace_around_them():
    clean = wave(12)
    frames = shoot(clean)
    mask = np.ones(clean.shape, bool)
    mask[20:24, 20:24] = mask[100, 50] = False
    hot = [frame + np.where(mask, 0, 0.5).astype(np.float32) for frame in frames]
    results = {i: gaussian(frames[i], 1) for i in (0, 4)}
    np.testing.assert_allclose(judge(hot, results, mask), judge(frames, results, mask), rtol=1e-5)


def test_planes_of_three_colours_are_judged_one_by_one():
    clean = np.stack([wave(8), wave(12), wave(8)])
    frames = shoot(clean)
    blurred = {0: np.stack([gaussian(plane, 0.8) for plane in frames[0]])}
    one = judge([frame[0] for frame in frames], {0: blurred[0][0]})[1]
    two = judge([frame[1] for frame in frames], {0: blurred[0][1]})[1]
    assert min(one, two) < judge(frames, blurred)[1] < max(one, two)
