"""Photon transfer: what static stacks of frames reveal about the noise of their sensor.

Model: variance = S x + O at linear value x, per plane and ISO, as in `burst_denoise.sensor.noise`.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter

from burst_denoise.config import NoiseMeasurement, NoiseProfile
from burst_denoise.sensor.frame import pack
from burst_denoise.sensor.noise import SMALLEST_VARIANCE

__all__ = ["fit_measurements", "fit_noise_profile", "measure_noise"]

Float = npt.NDArray[np.float32]

BINS = 64
FEWEST_PER_BIN = 16


def fit_noise_profile(stacks: Iterable[Iterable[Float]], cfa: str | None, iso: float | None) -> NoiseProfile:
    """Fit variance = S x + O per plane to the temporal noise of one or more static stacks of frames.

    Parameters
    ----------
    stacks : iterable of iterables of (H, W) or (3, H, W) float32 arrays, linear
        Each stack holds at least two frames of one static scene at one light level, equal in mean brightness.
        Frames are read once, in order.
    cfa : str or None
        CFA phase of the frames.
    iso : float or None
        Copied to the profile.

    Returns
    -------
    NoiseProfile

    Raises
    ------
    ValueError
        If a stack has fewer than two frames, or no photosite is away from the white level.

    Notes
    -----
    The variance of a photosite is half the mean square of *consecutive* differences: slow drift cancels. Photosites
    are binned by the temporal mean around them; bins within three standard deviations of the white level are left out,
    because clipped noise has less variance; photosites whose variance is wildly beyond their bin (flickering defects)
    are dropped. The line is fitted by weights 1 / var(variance), iterated, since var(s^2) is proportional to s^4.
    """
    return fit_measurements([measure_noise(stack, cfa) for stack in stacks], iso)


def measure_noise(stack: Iterable[Float], cfa: str | None) -> NoiseMeasurement:
    """Return what one stack of frames says about noise; parameters and notes as for `fit_noise_profile`."""
    mean, variance, row_variance = _temporal_moments(stack, cfa)
    binned = (_binned(level, spread) for level, spread in zip(mean, variance, strict=True))
    return NoiseMeasurement(
        bins=tuple(tuple((float(x), float(v), float(n)) for x, v, n in rows.T) for rows in binned),
        row_noise_variance=tuple(float(v) for v in row_variance),
    )


def fit_measurements(measurements: Sequence[NoiseMeasurement], iso: float | None) -> NoiseProfile:
    """Fit one noise profile to several stacks of one sensor at one ISO.

    Together: a dark or evenly lit stack alone leaves the slope open, and a mean of lines would count it in full.

    Raises
    ------
    ValueError
        If there is no measurement, or no photosite is away from the white level.
    """
    if not measurements:
        raise ValueError("no stack given")
    planes = zip(*(measurement.bins for measurement in measurements), strict=True)
    lines = [_weighted_line(np.array([row for rows in plane for row in rows]).reshape(-1, 3).T) for plane in planes]
    rows = np.mean([measurement.row_noise_variance for measurement in measurements], axis=0)
    return NoiseProfile(
        iso=iso,
        shot_noise_scale=tuple(slope for slope, _ in lines),
        read_noise_variance=tuple(intercept for _, intercept in lines),
        row_noise_variance=tuple(float(v) for v in rows),
    )


def _temporal_moments(stack: Iterable[Float], cfa: str | None) -> tuple[Float, Float, npt.NDArray[np.float64]]:
    """Return temporal mean and variance per photosite as planes, and the row-noise variance per plane."""
    previous: Float | None = None
    count = 0
    total = np.zeros(())
    squares = np.zeros(())
    row_variance = np.zeros(())
    for image in stack:
        planes = pack(image, cfa)
        total = total + planes
        count += 1
        if previous is not None:
            difference = planes - previous
            squares = squares + difference * difference
            row_means = difference.mean(axis=2, dtype=np.float64)
            # The mean over a row still holds 1/width of the independent noise: take it off.
            independent = difference.var(axis=2, dtype=np.float64).mean(axis=1) / difference.shape[2]
            row_variance = row_variance + (row_means.var(axis=1) - independent) / 2
        previous = planes
    if count < 2:
        raise ValueError(f"a stack of {count} frame(s) has no temporal noise; 2 are needed")
    return (
        (total / count).astype(np.float32),
        (squares / (2 * (count - 1))).astype(np.float32),
        np.maximum(row_variance / (count - 1), 0.0),
    )


def _binned(mean: Float, variance: Float) -> npt.NDArray[np.float64]:
    """Return (3, bins): mean value, mean variance and photosites per bin, of equal population."""
    # Sorted by the mean of the *neighbourhood*: sorted by its own mean, a photosite whose noise was low by chance falls
    # into a darker bin, and the slope comes out too flat (12 % in a dark blue plane, measured). The line holds for the
    # averages of any set of photosites, so texture inside a bin does not matter.
    order = np.argsort(uniform_filter(mean, 5, mode="reflect"), axis=None)
    mean, variance = mean.ravel(), variance.ravel()
    rows = []
    for part in np.array_split(order, max(1, min(BINS, order.size // FEWEST_PER_BIN))):
        value, spread = mean[part], variance[part]
        # 25 times the typical variance is far outside any noise, heavy tails included: a defect.
        spread_typical = float(np.mean(spread[spread <= np.quantile(spread, 0.99)], dtype=np.float64))
        # A bin may straddle the edge of a clipped highlight, so each photosite must be away from white too.
        kept = (spread <= 25 * spread_typical) & (value + 3 * math.sqrt(spread_typical) < 1.0)
        if not kept.any():
            continue
        level = float(value[kept].mean(dtype=np.float64))
        bin_variance = float(spread[kept].mean(dtype=np.float64))
        if level + 3 * math.sqrt(bin_variance) < 1.0 and bin_variance > 0:
            rows.append((level, bin_variance, float(kept.sum())))
    return np.array(rows, np.float64).reshape(-1, 3).T


def _weighted_line(points: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Fit variance = S x + O through the bins; return (S, O), S not below 0."""
    level, variance, count = points
    if not len(level):
        raise ValueError("every photosite is at the white level; expose less")
    fitted = variance
    slope, intercept = 0.0, float(np.average(variance, weights=count))
    for _ in range(20):
        weight = count / np.maximum(fitted, SMALLEST_VARIANCE) ** 2
        centre = np.average(level, weights=weight)
        spread = np.average((level - centre) ** 2, weights=weight)
        if spread <= 0:
            break
        slope = float(
            np.average((level - centre) * (variance - np.average(variance, weights=weight)), weights=weight) / spread
        )
        slope = max(slope, 0.0)  # developed pictures have less noise in highlights; a flat line serves them best
        intercept = float(np.average(variance - slope * level, weights=weight))
        fitted = np.maximum(slope * level + intercept, 0.05 * variance)
    return slope, intercept
