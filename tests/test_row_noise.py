"""Row and column noise: shared variance against closed forms."""

import numpy as np
import pytest

from burst_denoise.sensor.row_noise import line_noise


def shared_variance(lines: int, photosites: np.ndarray, shared_std: float, seed: int) -> float:
    """Return the variance found in Gaussian differences of variance 2 with a shared part; lines of unequal length."""
    rng = np.random.default_rng(seed)
    sums = []
    for _ in range(20):
        noise = np.sqrt(2) * rng.standard_normal((lines, photosites.max()))
        noise += np.sqrt(2) * shared_std * rng.standard_normal((lines, 1))
        noise[np.arange(photosites.max()) >= photosites[:, None]] = 0
        total = noise.sum(axis=1)
        own = (noise**2).sum(axis=1) - total**2 / photosites
        sums.append((total, own * photosites / (photosites - 1)))
    numerator, denominator = line_noise(sums, photosites.astype(float)).sum(axis=1)
    return numerator / denominator


def test_shared_noise_is_told_from_independent_noise():
    lengths = np.where(np.arange(400) % 3, 200, 20)
    assert shared_variance(400, lengths, 0.1, 1) == pytest.approx(0.01, rel=0.05)
    assert abs(shared_variance(400, lengths, 0.0, 2)) < 2e-4


def test_lines_without_a_photosite_that_counts_say_nothing():
    sums = [(np.zeros(16), np.zeros(16))] * 3
    assert (line_noise(sums, np.zeros(16)) == 0).all()


def test_one_line_cannot_tell_shared_from_own_noise():
    assert (line_noise([(np.array([3.0]), np.array([9.0]))], np.array([40.0])) == 0).all()
