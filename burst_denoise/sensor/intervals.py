"""Confidence intervals, all by the delete-a-group jackknife: rows in groups, groups left out, Student's t."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from burst_denoise.arrays import Double, Index
from burst_denoise.schemas import Estimate

__all__ = [
    "band_sums",
    "equal_groups",
    "group_influences",
    "interval",
    "jackknife",
    "leave_one_out",
    "root_of_variance",
    "row_blocks",
    "row_groups",
]


CONFIDENCE = 0.95
MOST_GROUPS = 32
BAND = 8
"""Rows of a plane that stay together, where there are enough: noise that neighbours share stays inside a group."""

SMALLEST_BLOCK, LARGEST_BLOCK = 8, 32
BLOCKS = 16
"""Rows of a block, and blocks of an image where its rows suffice."""


def row_blocks(height: int) -> list[slice]:
    """Return the rows of an image in blocks, for scores: whole rows, because row noise is shared along them."""
    rows = min(max(height // BLOCKS // 2 * 2, SMALLEST_BLOCK), LARGEST_BLOCK)
    return [slice(top, top + rows) for top in range(0, height, rows)]


def row_groups(rows: int, *, interleaved: bool) -> Index:
    """Return the jackknife group of each row (or column) of a plane; groups are numbered from 0, and none is empty.

    Parameters
    ----------
    rows : int, at least 1
    interleaved : bool
        Whether the bands of a group lie apart, so that every group sees all parts of the scene; otherwise each group is
        one band.

    Notes
    -----
    Temporal noise asks for interleaved bands: the light on the sensor is no sample of anything, and a scene that gets
    darker from top to bottom would leave the read noise to the few groups of its shadows. Fixed pattern asks for single
    bands: it differs from one region of a sensor to another, which groups that see all regions do not show.
    """
    groups = min(MOST_GROUPS, max(rows // BAND, 2), rows)
    row = np.arange(rows)
    return row // min(BAND, rows // groups) % groups if interleaved else row * groups // rows


def band_sums(plane: npt.NDArray[np.generic]) -> Double:
    """Return the sums of a plane (rows, columns) over single bands of whole rows, because rows share noise: (G,)."""
    rows = plane.sum(axis=1, dtype=np.float64)
    return np.asarray(np.bincount(row_groups(len(rows), interleaved=False), rows), np.float64)


def equal_groups(stacks: Sequence[Double]) -> list[Double]:
    """Return the sums (..., G) of several stacks in as many groups each as the smallest of them has."""
    groups = min(sums.shape[-1] for sums in stacks)
    return [np.stack([sums[..., group::groups].sum(axis=-1) for group in range(groups)], axis=-1) for sums in stacks]


def leave_one_out(sums: Double) -> Double:
    """Return sums (..., G) without each group in turn, then with all: (..., G + 1)."""
    total = sums.sum(axis=-1, keepdims=True)
    return np.concatenate([total - sums, total], axis=-1)


def jackknife(values: Double) -> Estimate:
    """Return an estimate with its 95 % interval, from (G + 1,) values found as `leave_one_out` gives the sums."""
    return interval(float(values[-1]), group_influences(values))


def group_influences(values: Double) -> Double:
    """Return the influence of each group, (G,), from (G + 1,) values: their squares add up to the variance."""
    left_out, groups = values[:-1], len(values) - 1
    scaled: Double = (left_out - left_out.mean()) * math.sqrt((groups - 1) / groups)
    return scaled


def interval(value: float, influences: Double, degrees: int = 1) -> Estimate:
    """Return a value with its 95 % interval.

    Parameters
    ----------
    value : float
    influences : (G,) or (parts, G) array
        Of every group, or of every independent part of the data in every group; their squares add up to the variance.
    degrees : int
        Of freedom, of the variance of one group.

    Returns
    -------
    Estimate
        Without ends where one degree of freedom is all there is.

    References
    ----------
    Tukey, "Bias and confidence in not-quite large samples", Annals of Mathematical Statistics 29, 1958 (jackknife).
    Satterthwaite, "An approximate distribution of estimates of variance components", Biometrics Bulletin 2, 1946.
    """
    variances = (np.atleast_2d(influences) ** 2).sum(axis=0)
    variance, most = float(variances.sum()), degrees * len(variances)
    half = math.sqrt(variance) if most > 1 else math.inf
    if 0 < half < math.inf:
        # Where few groups decide (the only shadows, say), there are as many degrees of freedom. The square of a
        # variance of d degrees is (d + 2) / d too large on average. One degree goes to the mean of the groups.
        deciding = variance**2 / float((variances**2).sum())
        freedom = min((degrees + 2) * deciding, most) - 1
        half *= float(stdtrit(max(freedom, 1), (1 + CONFIDENCE) / 2))
    return Estimate(value=value, low=value - half, high=value + half)


def root_of_variance(variance: Estimate) -> Estimate:
    """Return the standard deviation of a variance, which chance may have put below 0."""
    low, value, high = (math.sqrt(max(end, 0.0)) for end in (variance.low, variance.value, variance.high))
    return Estimate(value=value, low=low, high=high)
