"""The noise of a sensor: its profile, how a burst reveals it, and the transform that makes it uniform.

Model: variance = S x + O at linear value x, per plane and ISO (S `shot_noise_scale`, O `read_noise_variance`,
the two terms of the DNG NoiseProfile tag).
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter

from burst_denoise.config import NoiseMeasurement, NoiseProfile
from burst_denoise.sensor.frame import pack

__all__ = [
    "fit_measurements",
    "fit_noise_profile",
    "measure_noise",
    "noise_variance",
    "profile_at",
    "stabilise",
    "unstabilise",
    "unstabilise_mean",
    "unstabilised_change",
]

Float = npt.NDArray[np.float32]

BINS = 64
FEWEST_PER_BIN = 16
SMALLEST_VARIANCE = 1e-12
"""Floor of a variance, linear units squared: a fifteenth of the quantisation noise of 16 bits."""


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


def noise_variance(planes: Float, profile: NoiseProfile) -> Float:
    """Return the variance S x + O expected at clean linear values ``planes`` (C, H, W); never below a floor."""
    scale = np.asarray(profile.shot_noise_scale, np.float32)[:, None, None]
    offset = np.asarray(profile.read_noise_variance, np.float32)[:, None, None]
    variance: Float = np.maximum(scale * np.maximum(planes, 0) + offset, np.float32(SMALLEST_VARIANCE))
    return variance


def stabilise(planes: Float, profile: NoiseProfile) -> Float:
    """Return planes in units of their noise: standard deviation 1 at every light level, black at 0.

    Parameters
    ----------
    planes : (C, H, W) float32 array, linear
    profile : NoiseProfile
        Of C planes.

    Returns
    -------
    (C, H, W) float32 array, stabilised

    Notes
    -----
    The generalised Anscombe transform (2/S) sqrt(S x + c), c = O + 3/8 S^2, shifted so that black is 0 and written as
    2x / (sqrt(S x + c) + sqrt(c)), which also holds for S = 0. Below black it goes on as the straight line x / sqrt(c)
    instead of ending where the root does: noise below black must not be clipped. A negative O is the mark of a black
    level that was not subtracted; then the value at which the variance would be 0 takes the place of black.

    References
    ----------
    Makitalo and Foi, "Optimal inversion of the generalized Anscombe transformation for Poisson-Gaussian noise",
    IEEE Transactions on Image Processing 22(1), 2013.
    """
    scale, root, dark = _anscombe_terms(profile)
    light: Float = planes - dark
    denominator: Float = np.sqrt(scale * np.maximum(light, 0) + root * root) + root
    return 2 * light / denominator


def unstabilise(stabilised: Float, profile: NoiseProfile) -> Float:
    """Return linear planes from stabilised ones: the exact algebraic inverse of `stabilise`.

    Right for an estimate of ``stabilise(clean)``, which is what a network trained on stabilised means gives. An average
    of stabilised noisy values wants `unstabilise_mean`.
    """
    scale, root, dark = _anscombe_terms(profile)
    planes: Float = stabilised * root + scale / 4 * np.maximum(stabilised, 0) ** 2 + dark
    return planes


def unstabilised_change(before: Float, after: Float, profile: NoiseProfile) -> Float:
    """Return ``unstabilise(after) - unstabilise(before)`` so that equal values give exactly 0.

    The difference of the two inverses would carry the rounding of both.
    """
    scale, root, _ = _anscombe_terms(profile)
    bent = np.maximum(after, 0) ** 2 - np.maximum(before, 0) ** 2
    change: Float = (after - before) * root + scale / 4 * bent
    return change


def unstabilise_mean(stabilised: Float, profile: NoiseProfile) -> Float:
    """Return linear planes from *averages* of stabilised noisy values, which the root has pulled down.

    Notes
    -----
    Second order: the mean of f(x + noise) lies f''(x) variance / 2 below f(x). With f''= -S/2 / (S x + c)^(3/2) and
    variance S x + O this is S/4 / sqrt(S x + c) in stabilised units, where the root sqrt(S x + c) = root + S z / 2.
    """
    scale, root, _ = _anscombe_terms(profile)
    positive: Float = np.maximum(stabilised, 0)
    bias = scale / 4 / (root + scale * positive / 2)
    # The straight part below black has no bias; the bend at black is smoothed over one standard deviation.
    share = np.clip((stabilised + 1) / 2, 0, 1)
    return unstabilise((stabilised + bias * share).astype(np.float32), profile)


def _anscombe_terms(profile: NoiseProfile) -> tuple[Float, Float, Float]:
    """Return S, sqrt(O + 3/8 S^2) and the value that stands for black, as (C, 1, 1) arrays."""
    scale = np.asarray(profile.shot_noise_scale, np.float64)
    offset = np.asarray(profile.read_noise_variance, np.float64)
    dark = np.where((offset < 0) & (scale > 0), -offset / np.maximum(scale, SMALLEST_VARIANCE), 0.0)
    root = np.sqrt(np.maximum(offset, SMALLEST_VARIANCE) + 0.375 * scale**2)
    return _column(scale), _column(root), _column(dark)


def _column(values: npt.NDArray[np.float64]) -> Float:
    return values.astype(np.float32)[:, None, None]


def profile_at(profiles: Sequence[NoiseProfile], iso: float | None) -> NoiseProfile:
    """Return the noise profile at an ISO: a measured one, or one interpolated between its two neighbours.

    Parameters
    ----------
    profiles : sequence of NoiseProfile, ascending in ISO
    iso : float or None
        None is served only by a single profile.

    Raises
    ------
    ValueError
        If ``iso`` lies outside the span of ``profiles`` or is unknown while there are several.

    Notes
    -----
    S grows in proportion to the gain and O as a power of it, so both are interpolated as straight lines in
    log(ISO), log(term).
    """
    if len(profiles) == 1 and (iso is None or profiles[0].iso is None or iso == profiles[0].iso):
        return profiles[0]
    known = [(p.iso, p) for p in profiles if p.iso is not None]
    if iso is None or not known or not known[0][0] <= iso <= known[-1][0]:
        raise ValueError(f"ISO {iso} is outside the calibrated {[p.iso for p in profiles]}")
    for (low_iso, low), (high_iso, high) in zip(known, known[1:] or known, strict=False):
        if low_iso <= iso <= high_iso:
            share = 0.0 if high_iso == low_iso else math.log(iso / low_iso) / math.log(high_iso / low_iso)
            return NoiseProfile(
                iso=iso,
                shot_noise_scale=_between(low.shot_noise_scale, high.shot_noise_scale, share),
                read_noise_variance=_between(low.read_noise_variance, high.read_noise_variance, share),
                row_noise_variance=_between(low.row_noise_variance, high.row_noise_variance, share),
            )
    raise ValueError(f"profiles are not in ascending order of ISO: {[p.iso for p in profiles]}")


def _between(low: tuple[float, ...], high: tuple[float, ...], share: float) -> tuple[float, ...]:
    return tuple(
        math.exp((1 - share) * math.log(a) + share * math.log(b)) if a > 0 and b > 0 else (1 - share) * a + share * b
        for a, b in zip(low, high, strict=True)
    )
