"""Fixed pattern from tripod bursts of several framings, without darks or flats: what their means share."""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from burst_denoise.config import Estimate, NoiseProfile
from burst_denoise.sensor.fixed_pattern import band_sums, jackknife, root_of_variance
from burst_denoise.sensor.frame import pack

__all__ = ["Framing", "FramingPattern", "framings_apart", "pattern_of_framings"]

Float = npt.NDArray[np.float32]
Double = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

SAME_FRAMING = 0.4
"""Correlation of coarse content from which two bursts show one scene; 0.9 and more at two ISOs, below 0.2 otherwise."""
NOISE_KERNEL = np.outer((1, -2, 1), (1, -2, 1)).astype(np.float32) / 6
"""High pass of unit power, blind to edges along rows or columns (Immerkaer, "Fast noise variance estimation", 1996)."""


@dataclass(frozen=True)
class Framing:
    """One tripod burst as the fixed pattern sees it."""

    mean: Float
    """(H, W) or (3, H, W), linear: mean of its frames."""
    count: int
    """Frames averaged."""
    profile: NoiseProfile
    """Of the burst; names its ISO."""
    variance: Float | None = None
    """Temporal variance of one frame per photosite as measured, linear units squared; None where unknown."""
    excluded: Mask | None = None
    """Saturated or defective photosites; None for none."""


@dataclass(frozen=True)
class FramingPattern:
    """The fixed pattern that bursts of different framings share."""

    framings: int
    """Different ones among the bursts."""
    prnu: tuple[Estimate, ...]
    """Per plane, relative to 1."""
    dsnu: dict[float | None, tuple[Estimate, ...]]
    """Per ISO of at least two framings: per plane, linear units."""


def pattern_of_framings(bursts: Sequence[Framing], cfa: str | None) -> FramingPattern | None:
    """Measure the fixed pattern without darks or flats: it is what the means of different scenes share.

    Parameters
    ----------
    bursts : sequence of Framing
        Of one sensor, in the same units and with the same corrections.
    cfa : str or None

    Returns
    -------
    FramingPattern or None
        None where there are not two framings.

    Notes
    -----
    High-passed, the means of two scenes at one photosite have the covariance P^2 x_a x_b + D_a D_b with P the PRNU,
    D the DSNU at each ISO and x the levels: scenes are independent, as is the noise of the bursts. A straight line is
    fitted over all photosites and all pairs of framings; P is common to all ISOs. Weights are the inverse of the
    product of the two local variances (texture and noise), taken around the photosite but without it, else they would
    depend on the very product. Offsets common to a row or column escape the high pass. Intervals by jackknife over
    bands of rows.
    """
    apart = framings_apart([burst.mean for burst in bursts], cfa)
    pairs = [(a, b) for a, b in itertools.combinations(range(len(bursts)), 2) if apart[a] != apart[b]]
    if not pairs:
        return None
    isos = [burst.profile.iso for burst in bursts]
    kinds = sorted({_kind(isos[a], isos[b]) for a, b in pairs}, key=str)
    within = {kind[0]: index for index, kind in enumerate(kinds, 1) if kind[0] == kind[1]}
    prnu, dsnu = [], defaultdict(list)
    for plane in range(len(pack(bursts[0].mean, cfa))):
        seen = [_high_passed(burst, cfa, plane) for burst in bursts]
        normal = sum(
            _normal_equations(seen[a], seen[b], kinds.index(_kind(isos[a], isos[b])), len(kinds)) for a, b in pairs
        )
        found = jackknife(np.asarray(normal), _solution)
        prnu.append(root_of_variance(found[0]))
        for iso, index in within.items():
            dsnu[iso].append(root_of_variance(found[index]))
    return FramingPattern(len(set(apart)), tuple(prnu), {iso: tuple(values) for iso, values in dsnu.items()})


def framings_apart(means: Sequence[Float], cfa: str | None) -> list[int]:
    """Return for each burst mean which framing it shows: equal numbers, equal scenes, whatever their ISO.

    Judged by the correlation of their content between 8 and 32 photosites, where fixed pattern has no say.
    """
    coarse: list[Float] = []
    framing: list[int] = []
    for mean in means:
        grey = pack(mean, cfa).mean(axis=0)
        period = 1 if cfa is None else 2
        content = cv2.GaussianBlur(grey, (0, 0), 4 / period) - cv2.GaussianBlur(grey, (0, 0), 16 / period)
        content = (content - content.mean()) / max(float(content.std()), 1e-12)
        alike = [k for k, other in enumerate(coarse) if float((content * other).mean()) > SAME_FRAMING]
        framing.append(framing[alike[0]] if alike else len(set(framing)))
        coarse.append(content)
    return framing


def _kind(iso: float | None, other: float | None) -> tuple[float | None, float | None]:
    return (iso, other) if str(iso) <= str(other) else (other, iso)


@dataclass(frozen=True)
class _HighPassed:
    """One plane of a burst mean: its level, its high pass, and the variance of that around each pixel."""

    level: Float
    fine: Float
    variance: Float
    counts: Mask


def _high_passed(burst: Framing, cfa: str | None, index: int) -> _HighPassed:
    plane = np.ascontiguousarray(pack(burst.mean, cfa)[index])
    fine: Float = cv2.filter2D(plane, -1, NOISE_KERNEL).astype(np.float32)
    power = fine * fine
    # Within two pixels the high pass of a neighbour knows the photosite itself.
    around = (81 * cv2.blur(power, (9, 9)) - 25 * cv2.blur(power, (5, 5))) / 56
    variance = np.maximum(around, np.float32(1e-3) * max(float(np.median(around)), 1e-18))
    counts = power < 36 * variance
    if burst.excluded is not None:
        excluded = pack(burst.excluded.astype(np.float32), cfa)[index]
        counts &= cv2.dilate(excluded, np.ones((3, 3), np.uint8)) == 0
    counts[[0, -1]] = counts[:, [0, -1]] = False
    return _HighPassed(cv2.blur(plane, (3, 3)).astype(np.float32), fine, variance, counts)


def _normal_equations(a: _HighPassed, b: _HighPassed, kind: int, kinds: int) -> Double:
    """Return, per band of rows, the weighted normal equations of fine_a fine_b = P^2 level + intercept of the kind.

    The result is (bands, unknowns, unknowns + 1); unknown 0 is P^2, the others are the intercepts.
    """
    weight = (a.counts & b.counts) / (a.variance * b.variance).astype(np.float64)
    level, product = a.level * b.level, a.fine * b.fine
    terms = {
        "1": band_sums(weight),
        "x": band_sums(weight * level),
        "xx": band_sums(weight * level * level),
        "y": band_sums(weight * product),
        "xy": band_sums(weight * level * product),
    }
    normal = np.zeros((len(terms["1"]), kinds + 1, kinds + 2))
    row = kind + 1
    normal[:, 0, 0], normal[:, row, row] = terms["xx"], terms["1"]
    normal[:, 0, row] = normal[:, row, 0] = terms["x"]
    normal[:, 0, -1], normal[:, row, -1] = terms["xy"], terms["y"]
    return normal


def _solution(normal: Double) -> Double:
    # Least squares, because a scene of one level leaves slope and intercept undecided.
    scale = np.sqrt(np.maximum(np.diag(normal[:, :-1]), 1e-300))
    solution: Double = np.linalg.lstsq(normal[:, :-1] / np.outer(scale, scale), normal[:, -1] / scale, rcond=1e-9)[0]
    return solution / scale
