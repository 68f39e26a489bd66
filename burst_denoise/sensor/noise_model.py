"""The noise of a sensor: what its profile says at a light level and an ISO, and the transform that makes it uniform.

Model: variance = S x + O at linear value x, per plane and ISO (S `shot_noise_scale`, O `read_noise_variance`,
the two terms of the DNG NoiseProfile tag).
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from burst_denoise.arrays import Float
from burst_denoise.frame.exposure import same_setting
from burst_denoise.schemas import NoiseProfile

__all__ = [
    "SMALLEST_VARIANCE",
    "extrapolate_profile",
    "interpolate_profile",
    "noise_variance",
    "scaled_profile",
    "stabilise",
    "unstabilise",
    "unstabilise_mean",
    "unstabilised_change",
]


SMALLEST_VARIANCE = 1e-12
"""Floor of a variance, linear units squared: a fifteenth of the quantisation noise of 16 bits."""


def noise_variance(planes: Float, profile: NoiseProfile) -> Float:
    """Return the variance S x + O expected at clean linear values ``planes`` (C, H, W); never below a floor."""
    scale = _column(profile.shot_noise_scale)
    offset = _column(profile.read_noise_variance)
    variance: Float = np.maximum(scale * np.maximum(planes, 0) + offset, np.float32(SMALLEST_VARIANCE))
    return variance


def scaled_profile(profile: NoiseProfile, factor: float) -> NoiseProfile:
    """Return the noise profile of a variance that is ``factor`` times that of another profile, of every plane."""
    return profile.model_copy(
        update={
            "shot_noise_scale": tuple(factor * scale for scale in profile.shot_noise_scale),
            "read_noise_variance": tuple(factor * variance for variance in profile.read_noise_variance),
        }
    )


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
    # In place: fresh memory for every step costs as much as the arithmetic.
    denominator = np.maximum(light, 0)
    denominator *= scale
    denominator += root * root
    np.sqrt(denominator, out=denominator)
    denominator += root
    light *= 2
    light /= denominator
    return light


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
    bias = scale / 4 / (root + scale * np.maximum(stabilised, 0) / 2)
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


def _column(values: npt.ArrayLike) -> Float:
    return np.asarray(values, np.float32)[:, None, None]


def interpolate_profile(profiles: Sequence[NoiseProfile], iso: float | None) -> NoiseProfile:
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
    if len(profiles) == 1 and (iso is None or profiles[0].iso is None):
        return profiles[0]
    measured = [profile for profile in profiles if iso is not None and same_setting(profile.iso, iso)]
    if measured:
        return measured[0]
    known = [(p.iso, p) for p in profiles if p.iso is not None]
    if iso is None or not known or not known[0][0] <= iso <= known[-1][0]:
        span = ", ".join("unknown" if p.iso is None else f"{p.iso:g}" for p in profiles)
        raise ValueError(f"ISO {'unknown' if iso is None else f'{iso:g}'} is outside the calibrated span ({span})")
    for (low_iso, low), (high_iso, high) in zip(known, known[1:] or known, strict=False):
        if low_iso <= iso <= high_iso:
            share = 0.0 if high_iso == low_iso else math.log(iso / low_iso) / math.log(high_iso / low_iso)
            return NoiseProfile(
                iso=iso,
                shot_noise_scale=_between(low.shot_noise_scale, high.shot_noise_scale, share),
                read_noise_variance=_between(low.read_noise_variance, high.read_noise_variance, share),
            )
    raise ValueError(f"profiles are not in ascending order of ISO: {[p.iso for p in profiles]}")


def extrapolate_profile(profiles: Sequence[NoiseProfile], iso: float | None) -> NoiseProfile:
    """Return the noise profile at an ISO, also outside the span of the measured ones.

    Parameters
    ----------
    profiles : sequence of NoiseProfile, ascending in ISO
    iso : float or None
        None is served only by a single profile.

    Returns
    -------
    NoiseProfile
        Within the span as `interpolate_profile` says.

    Raises
    ------
    ValueError
        If the ISO is unknown while there are several profiles, or theirs are.

    Notes
    -----
    Assumed is that ISO is analogue gain: S is in proportion to it, starting from the nearest measured ISO. Read noise
    that arises before the gain has a variance in proportion to ISO^2, what arises after it does not change. The two
    nearest measured ISOs tell how much there is of each: O = after + before ISO^2, neither negative. A single one
    cannot tell; upwards all is then taken to lie before the gain (ISO^2: what lies there wins in the end), downwards
    the middle between both, ISO^1. Dual-gain sensors and ISOs that only multiply numbers depart from this.
    """
    known = [(profile.iso, profile) for profile in profiles if profile.iso is not None]
    if iso is None or not known or known[0][0] <= iso <= known[-1][0]:
        return interpolate_profile(profiles, iso)
    (near_iso, near), *others = known if iso < known[0][0] else known[::-1]
    ratio = iso / near_iso
    if others:
        other_iso, other = others[0]
        terms = zip(near.read_noise_variance, other.read_noise_variance, strict=True)
        offset = tuple(_read_noise_at(ratio**2, own, (other_iso / near_iso) ** 2, theirs) for own, theirs in terms)
    else:
        # A negative O is S times a black level that was not subtracted: it goes with S.
        powers = ((value, 2 if ratio > 1 and value > 0 else 1) for value in near.read_noise_variance)
        offset = tuple(value * ratio**power for value, power in powers)
    return NoiseProfile(
        iso=iso,
        shot_noise_scale=tuple(scale * ratio for scale in near.shot_noise_scale),
        read_noise_variance=offset,
    )


def _read_noise_at(power: float, near: float, other_power: float, other: float) -> float:
    """Return O at a squared gain ``power``, given O at 1 and at ``other_power``: after + before times power."""
    before = min(max((other - near) / (other_power - 1), 0.0), max(near, 0.0))
    return near + before * (power - 1)


def _between(low: tuple[float, ...], high: tuple[float, ...], share: float) -> tuple[float, ...]:
    return tuple(
        math.exp((1 - share) * math.log(a) + share * math.log(b)) if a > 0 and b > 0 else (1 - share) * a + share * b
        for a, b in zip(low, high, strict=True)
    )
