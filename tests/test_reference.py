"""The error against a clean reference: its value exact, its interval true in repeated simulations."""

import math

import numpy as np
import pytest

from burst_denoise.score.metrics import psnr
from burst_denoise.score.reference import ReferenceScore, reference_difference_db

SHAPE = (64, 96)


def scored(clean: np.ndarray, results: list[np.ndarray], mask: np.ndarray | None = None) -> ReferenceScore:
    score = ReferenceScore(clean, np.ones(clean.shape, np.bool_) if mask is None else mask)
    for result in results:
        score.add(result)
    return score


def scene(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a clean image, and the bias of a method that blurs more in some rows than in others."""
    rng = np.random.default_rng(seed)
    clean = rng.random(SHAPE, np.float32)
    bias = (0.03 * np.linspace(0, 1, SHAPE[0])[:, None] * rng.standard_normal(SHAPE)).astype(np.float32)
    return clean, bias


def noise(rng: np.random.Generator, clean: np.ndarray) -> np.ndarray:
    """Return shot noise, and row noise that a row shares."""
    rows = 0.01 * rng.standard_normal((SHAPE[0], 1))
    return (np.sqrt(0.002 * clean + 1e-5) * rng.standard_normal(SHAPE) + rows).astype(np.float32)


def test_psnr_is_that_of_the_mean_squared_error_where_the_mask_is_true():
    clean, bias = scene()
    mask = np.random.default_rng(1).random(SHAPE) < 0.7
    mask[:20] = False
    found = scored(clean, [clean + bias], mask).psnr_db()
    assert found.value == pytest.approx(psnr(clean + bias, clean, peak=1, mask=mask), abs=1e-9)
    assert found.low < found.value < found.high


def test_of_several_results_the_errors_are_averaged_before_they_become_db():
    clean, bias = scene()
    found = scored(clean, [clean + bias, clean + 3 * bias]).psnr_db().value
    assert found == pytest.approx(scored(clean, [clean + bias]).psnr_db().value - 10 * math.log10(5), abs=1e-4)


@pytest.mark.parametrize("frames", [2, 3, 8])
def test_95_of_100_intervals_hold_the_expected_error(frames: int):
    """The truth is the bias and the variance of the noise, known in closed form."""
    clean, bias = scene()
    truth = -10 * math.log10(float((bias.astype(float) ** 2).mean() + (0.002 * clean + 1e-5).mean() + 0.01**2))
    rng = np.random.default_rng(7)
    trials = 400
    inside, widths = 0, []
    for _ in range(trials):
        found = scored(clean, [clean + bias + noise(rng, clean) for _ in range(frames)]).psnr_db()
        inside += found.low <= truth <= found.high
        widths.append(found.high - found.low)
    assert 0.92 <= inside / trials <= 0.985
    assert np.mean(widths) < {2: 1.0, 3: 0.8, 8: 0.45}[frames]


def test_the_interval_of_a_single_result_is_not_too_narrow():
    """The spread over blocks takes differences of content for noise, so it holds the truth more often than not."""
    clean, bias = scene()
    truth = -10 * math.log10(float((bias.astype(float) ** 2).mean() + (0.002 * clean + 1e-5).mean() + 0.01**2))
    rng = np.random.default_rng(8)
    found = [scored(clean, [clean + bias + noise(rng, clean)]).psnr_db() for _ in range(200)]
    assert np.mean([one.low <= truth <= one.high for one in found]) >= 0.95


def test_paired_differences_are_surer_than_the_scores_themselves():
    clean, bias = scene()
    rng = np.random.default_rng(9)
    noisy = [clean + noise(rng, clean) for _ in range(3)]
    a, b = scored(clean, [one + bias for one in noisy]), scored(clean, noisy)
    difference = reference_difference_db(a, b)
    assert difference is not None
    assert difference.value == pytest.approx(a.psnr_db().value - b.psnr_db().value)
    assert difference.high - difference.low < 0.5 * (b.psnr_db().high - b.psnr_db().low)
    same = reference_difference_db(a, a)
    assert same is not None
    assert (same.low, same.value, same.high) == (0, 0, 0)


def test_a_method_without_error_scores_infinity_and_has_no_difference():
    clean, bias = scene()
    perfect, other = scored(clean, [clean]), scored(clean, [clean + bias])
    assert perfect.psnr_db().value == perfect.psnr_db().low == math.inf
    assert reference_difference_db(perfect, other) is None


def test_a_single_result_in_a_single_block_has_no_interval():
    clean = np.zeros((6, 6), np.float32)
    found = scored(clean, [clean + 0.1]).psnr_db()
    assert found.value == pytest.approx(20, abs=1e-4)
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_what_cannot_be_scored_is_refused():
    clean = np.zeros((8, 8), np.float32)
    with pytest.raises(ValueError, match="the mask leaves no value"):
        ReferenceScore(clean, np.zeros((8, 8), np.bool_))
    with pytest.raises(ValueError, match="no result to score"):
        scored(clean, []).psnr_db()
    with pytest.raises(ValueError, match=r"image of shape \(8, 9\) against a reference of shape \(8, 8\)"):
        scored(clean, [np.zeros((8, 9), np.float32)])
