"""The mean of each plane survives denoising where noise leaves it known."""

import numpy as np
import pytest

from burst_denoise.frame.mosaic import RGGB
from burst_denoise.inference.plane_means import keep_means
from burst_denoise.schemas import NoiseProfile


def test_a_denoised_image_keeps_the_mean_of_each_plane_where_that_is_known() -> None:
    rng = np.random.default_rng(0)
    noise = NoiseProfile(iso=100, shot_noise_scale=(1e-4,) * 4, read_noise_variance=(1e-6,) * 4)
    noisy = (0.3 + 0.005 * rng.standard_normal((128, 128))).astype(np.float32)
    noisy[0, 0] = 1.0
    tint = RGGB.spread((0.99, 1.0, 1.0, 1.02), noisy.shape)
    clean = np.where(noisy < 1, np.float32(0.3) * tint, noisy)
    kept = clean.copy()
    keep_means(noisy, kept, RGGB, noise)
    light = RGGB.pack(np.where(noisy < 1, noisy, 0)).mean(axis=(1, 2))
    assert RGGB.pack(np.where(noisy < 1, kept, 0)).mean(axis=(1, 2)) == pytest.approx(light, rel=1e-5)
    assert kept[0, 0] == 1.0
    dark = noisy * np.float32(1e-3)  # its mean is not known to a thousandth
    kept = clean.copy()
    keep_means(dark, kept, RGGB, noise)
    assert np.array_equal(kept, clean)
