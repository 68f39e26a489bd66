"""The variance of a score equals its closed form where there is one, and adds up over blocks."""

import math

import numpy as np
import pytest

from burst_denoise.sensor.intervals import Results, Sums

SIDE, BLOCKS = 64, 8
PHOTOSITES = SIDE * SIDE


def results(images: list[np.ndarray], frames: np.ndarray, used: list[tuple[int, ...]]) -> Results:
    products = []
    for image in images:
        distances = (image - frames).reshape(len(frames), BLOCKS, -1).transpose(1, 0, 2)
        products.append(distances @ distances.transpose(0, 2, 1) / PHOTOSITES)
    return Results(np.stack(products), np.array([[k in own for k in range(len(frames))] for own in used]))


def variances(
    count: int, image_of, per_result: int = 1, runs: int = 80, quantity: str = "error"
) -> tuple[float, float]:
    """Return the mean of the estimated variances over runs of white noise, and the variance that the runs show."""
    estimated, values = [], []
    for seed in range(runs):
        frames = np.random.default_rng(seed).standard_normal((count, SIDE, SIDE))
        used = [tuple(range(first, first + per_result)) for first in range(0, count, per_result)]
        sums = getattr(results([image_of(frames[list(own)]) for own in used], frames, used), quantity)()
        estimated.append((sums.half_width / 2.0) ** 2)
        values.append(sums.value)
    return float(np.mean(estimated)), float(np.var(values, ddof=1))


def test_the_variance_of_an_average_frame_is_that_of_its_closed_form():
    # Mean of squares 2 / N, products of two frames 2 / (N (N - 1)): no frame's error, but its temporal variance.
    expected = (2 / 6 + 2 / (6 * 5)) / PHOTOSITES
    assert variances(6, lambda own: own[0])[0] == pytest.approx(expected, rel=0.2)
    assert variances(6, lambda own: own[0], quantity="noise")[0] == pytest.approx(expected, rel=0.2)


def test_products_of_two_frames_are_not_counted_twice():
    """The score of a perfect result consists of nothing else; left uncorrected, its variance comes out 2.5 fold."""
    expected = 2 / (6 * 5) / PHOTOSITES
    assert expected < variances(6, lambda own: 0 * own[0])[0] < 1.7 * expected


def test_means_of_frames_are_judged_with_caution():
    estimated, seen = variances(12, lambda own: own.mean(axis=0), per_result=2)
    assert seen < estimated < 2.5 * seen


def test_the_variance_adds_up_over_blocks_and_follows_a_combination():
    rng = np.random.default_rng(0)
    a, b = (Sums(rng.random(5), rng.standard_normal((7, 5)), np.zeros((7, 7, 5)), 100) for _ in range(2))
    both = a.combined(2, b, -3)
    assert both.value == pytest.approx(2 * a.value - 3 * b.value)
    std = math.sqrt(((2 * a.influences - 3 * b.influences) ** 2).sum())
    assert both.half_width == pytest.approx(1.96 * std, rel=0.02)
    assert both.estimate().high - both.value == pytest.approx(both.half_width)
    nothing = a.combined(1, a, -1)
    assert (nothing.value, nothing.half_width) == (0, 0)


def test_one_result_is_judged_by_how_its_blocks_differ():
    frames = np.random.default_rng(3).standard_normal((6, SIDE, SIDE))
    image = frames[0] + np.repeat([1.0, 3.0], SIDE // 2)[:, None]
    alone = results([image], frames, [(0,)]).error()
    spread = alone.blocks.std(ddof=1) * math.sqrt(BLOCKS)
    assert alone.half_width > 2 * spread
    assert alone.value == pytest.approx(1 + (1 + 9) / 2, rel=0.1)
