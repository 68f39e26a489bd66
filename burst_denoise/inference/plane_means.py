"""The mean of each plane of a frame, kept through denoising."""

import numpy as np

from burst_denoise.arrays import Float
from burst_denoise.frame.geometry import row_bands
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.schemas import NoiseProfile
from burst_denoise.sensor.noise_model import noise_variance

__all__ = ["keep_means", "mean_factors"]

SURE_MEAN = 1e-3
"""Relative standard error up to which the mean of a noisy plane is better known than what a network makes of it."""


def keep_means(noisy: Float, clean: Float, mosaic: Mosaic, profile: NoiseProfile) -> None:
    """Scale each plane of a denoised image to the mean of the noisy one, in place, where that is known to a thousandth.

    Noise has the mean 0, and over a whole frame its mean is as good as that; a network that was trained for minutes
    puts a colour off by half a per cent. Photosites at the white level keep their value.
    """
    factors = mean_factors(noisy, clean, mosaic, profile)
    for rows in row_bands(noisy.shape[-2]):
        light, band = noisy[..., rows, :] < 1, clean[..., rows, :]
        np.multiply(band, mosaic.spread(factors, band.shape), out=band, where=light)


def mean_factors(noisy: Float, clean: Float, mosaic: Mosaic, profile: NoiseProfile) -> Float:
    """Return the factors, one a plane, from the mean of a denoised image to that of the noisy one; 1 where unknown."""
    counts, before, after = np.zeros((3, len(mosaic.plane_names)))
    for rows in row_bands(noisy.shape[-2]):
        light = noisy[..., rows, :] < 1
        for sums, image in ((counts, light), (before, noisy[..., rows, :]), (after, clean[..., rows, :])):
            sums += [part.sum(dtype=np.float64) for part in mosaic.parts(image * light)]
    counts = np.maximum(counts, 1)
    variance = noise_variance((before / counts).astype(np.float32)[:, None, None], profile)[:, 0, 0]
    known = (np.sqrt(variance / counts) < SURE_MEAN * before / counts) & (after > 0)
    factors: Float = np.divide(before, after, out=np.ones_like(before), where=known).astype(np.float32)
    return factors
