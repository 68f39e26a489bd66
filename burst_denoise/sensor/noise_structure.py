"""What noise has beside its variance: correlation between photosites, row and column noise, heavy tails."""

import math
from collections.abc import Iterable

import numpy as np

from burst_denoise.arrays import Double, Float, Mask
from burst_denoise.schemas import NoiseStructure

__all__ = ["noise_structure"]

NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0))
"""Rows and columns to the photosites compared: those that touch, and the next of the same colour on a mosaic."""
SMALLEST_RELATIVE_VARIANCE = 1e-6
"""Floor of the variance left when the means of lines are taken off, relative to that of the noise."""


def noise_structure(fields: Iterable[tuple[Float, Mask]]) -> NoiseStructure:
    """Return what noise has beside its variance.

    Parameters
    ----------
    fields : iterable of ((H, W) float32 array, (H, W) bool array)
        Noise of a frame or a window of one, in units of its standard deviation, photosites as they lie on the sensor
        whatever their colour; and which of them count.

    Returns
    -------
    NoiseStructure
        All 0 where nothing counts.

    Notes
    -----
    The mean of a line of n photosites varies by what they share and by 1/n of their own variance, which is taken off.
    Correlation and kurtosis are of the noise less the means of its lines.
    """
    found = [(int(counts.sum()), _terms(noise, counts)) for noise, counts in fields if counts.any()]
    if not found:
        return NoiseStructure(correlation=0, row_noise=0, column_noise=0, excess_kurtosis=0)
    weights, terms = zip(*found, strict=True)
    row, column, kurtosis, *correlations = np.average(terms, axis=0, weights=weights).tolist()
    return NoiseStructure(
        correlation=max(correlations, key=abs),
        row_noise=math.sqrt(max(row, 0.0)),
        column_noise=math.sqrt(max(column, 0.0)),
        excess_kurtosis=kurtosis,
    )


def _terms(noise: Float, counts: Mask) -> Double:
    """Return variances that rows and columns share, excess kurtosis, and correlations with `NEIGHBOURS`."""
    own = np.where(counts, noise, 0).astype(np.float64)
    own -= counts * (own.sum() / counts.sum())  # light that changed is no line
    shared = []
    photosites = [np.maximum(counts.sum(axis=axis, keepdims=True), 1) for axis in (0, 1)]
    for axis, across in ((1, 0), (0, 1)):
        means = own.sum(axis=axis, keepdims=True) / photosites[axis]
        # What the lines across share is in every mean alike, and makes them no more different.
        alone = own - counts * (own.sum(axis=across, keepdims=True) / photosites[across])
        independent = np.square(alone).sum(axis=axis, keepdims=True) / photosites[axis] ** 2
        shared.append(float((means**2 - independent).mean()))
        own -= means * counts
    variance, fourth = (float((own**power).sum() / counts.sum()) for power in (2, 4))
    variance = max(variance, SMALLEST_RELATIVE_VARIANCE)
    height, width = own.shape

    def product(image: Double, down: int, right: int) -> float:
        return float(np.vdot(image[: height - down, : width - right], image[down:, right:]))

    shares = counts.astype(np.float64)
    correlations = [
        product(own, *step) / max(variance * product(shares, *step), SMALLEST_RELATIVE_VARIANCE) for step in NEIGHBOURS
    ]
    return np.array([*shared, fourth / variance**2 - 3, *correlations])
