"""Row and column noise: what all photosites of a line share in one frame, beside the noise of their own."""

import numpy as np

from burst_denoise.arrays import Double
from burst_denoise.sensor.intervals import row_groups

__all__ = ["line_noise"]


def line_noise(sums: list[tuple[Double, Double]], weight: Double) -> Double:
    """Return what the lines (rows or columns) of one plane say about the noise that all photosites of a line share.

    Parameters
    ----------
    sums : list of pairs of (L,) float64 arrays
        For every difference of two frames and each of L lines: sum of weight x difference; sum of squares of weight x
        difference, what lines share taken off.
    weight : (L,) float64 array
        Sum of the weights along each line. A weight is 1 / variance of a photosite in one frame, or 0 where it does not
        count.

    Returns
    -------
    (2, G) float64 array
        Numerator and denominator of the variance shared in one frame, by jackknife group.

    Notes
    -----
    The mean of a line varies by what its photosites share and by its part of their independent noise, which the squares
    tell and which is taken off. Lines are weighted by 1 / var(square of their mean), iterated.
    """
    lit = weight > 0
    weight = np.where(lit, weight, 1.0)
    means = np.array([total for total, _ in sums]) / weight
    independent = np.array([square for _, square in sums]) / weight**2
    shared, numerator, denominator = 0.0, np.zeros_like(weight), np.zeros_like(weight)
    for _ in range(5 if lit.sum() > 1 else 0):
        trust = lit / (2 * shared + 2 / weight) ** 2
        lines = trust.sum() ** 2 / (trust**2).sum()
        centred = means - (means @ trust / trust.sum())[:, None]
        numerator = trust * (centred**2 * lines / (lines - 1) - independent).sum(axis=0)
        denominator = trust * 2 * len(means)
        shared = max(numerator.sum() / denominator.sum(), 0.0)
    group = row_groups(len(weight), interleaved=True)
    return np.stack([np.bincount(group, terms) for terms in (numerator, denominator)])
