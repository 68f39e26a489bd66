"""Photon transfer: what static stacks of frames reveal about the noise of their sensor.

Model: variance = S x + O at linear value x, per plane and ISO, as in `burst_denoise.sensor.noise_model`.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter

from burst_denoise.arrays import Double, Float, Index, Mask
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.schemas import NoiseMeasurement, NoiseProfile
from burst_denoise.sensor.intervals import row_groups
from burst_denoise.sensor.noise_model import SMALLEST_VARIANCE
from burst_denoise.sensor.row_noise import line_noise

__all__ = [
    "TransferSamples",
    "binned_points",
    "fit_line",
    "fit_measurements",
    "fit_noise_profile",
    "measure_noise",
    "measure_pair_noise",
    "ratio_of_sums",
    "transfer_samples",
]


BINS = 64
FEWEST_PER_BIN = 16
FAINT = 0.05
"""Mean linear value below which a change of brightness is not taken for a change of the light in full."""


@dataclass(frozen=True)
class TransferSamples:
    """What one static stack says about noise: sums over its photosites, kept apart by jackknife group.

    C planes, B bins of like brightness, G groups of row bands, G' groups of column bands.
    """

    bins: Double
    """(C, 5, B, G): photosites; sums of mean value, variance, its square, and variance about the mean of all frames."""
    rows: Double
    """(C, 2, G): numerator and denominator of the row-noise variance."""
    columns: Double
    """(C, 2, G'): numerator and denominator of the column-noise variance."""
    halves: Double
    """(C, 2, 2, G): ``rows`` of the darker and of the brighter half of the photosites."""
    levels: Double
    """(C, 2): mean linear value of these halves."""
    neighbours: Double
    """(C, 2): numerator and denominator of the correlation of neighbouring photosites."""


def fit_noise_profile(stacks: Iterable[Iterable[Float]], mosaic: Mosaic, iso: float | None) -> NoiseProfile:
    """Fit variance = S x + O per plane to the temporal noise of one or more static stacks of frames.

    Parameters
    ----------
    stacks : iterable of iterables of (H, W) or (3, H, W) float32 arrays, linear
        Each stack holds at least two frames of one static scene at one light level, equal in mean brightness.
        Frames are read once, in order.
    mosaic : Mosaic
        Of the frames.
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
    As for `transfer_samples`. The line is fitted by weights 1 / var(variance), iterated, since var(s^2) is proportional
    to s^4.
    """
    return fit_measurements([measure_noise(stack, mosaic) for stack in stacks], iso)


def measure_noise(stack: Iterable[Float], mosaic: Mosaic) -> NoiseMeasurement:
    """Return what one stack of frames says about noise; parameters and notes as for `fit_noise_profile`."""
    points = [binned_points(plane.sum(axis=-1)).T.tolist() for plane in transfer_samples(stack, mosaic).bins]
    return NoiseMeasurement(bins=tuple(tuple((x, v, n) for x, v, n in plane if n > 0) for plane in points))


def measure_pair_noise(noisy: Float, clean: Float, mosaic: Mosaic) -> NoiseMeasurement:
    """Return what a noisy image and the clean one of the same scene say about noise.

    Parameters
    ----------
    noisy, clean : (H, W) or (3, H, W) float32 arrays, linear
        The clean one counts as free of noise, so the variance of a photosite is the square of the whole difference,
        twice what `measure_noise` makes of two noisy frames.
    mosaic : Mosaic
        Of both.
    """
    halves = measure_noise([clean, noisy], mosaic)
    return NoiseMeasurement(bins=tuple(tuple((x, 2 * v, n) for x, v, n in plane) for plane in halves.bins))


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
    lines = [fit_line(np.array([row for rows in plane for row in rows]).reshape(-1, 3).T) for plane in planes]
    return NoiseProfile(
        iso=iso,
        shot_noise_scale=tuple(float(slope) for slope, _ in lines),
        read_noise_variance=tuple(float(intercept) for _, intercept in lines),
    )


def transfer_samples(stack: Iterable[Float], mosaic: Mosaic, *, darkest: float | None = None) -> TransferSamples:
    """Return what one static stack says about the noise of its sensor.

    Parameters
    ----------
    stack : iterable of (H, W) or (3, H, W) float32 arrays, linear
        At least two frames of one static scene, read once, in order; a few of them are in memory.
    mosaic : Mosaic
        Of the frames.
    darkest : float, optional
        Linear value of DN 0, where a file clips.

    Raises
    ------
    ValueError
        If there are fewer than two frames.

    Notes
    -----
    The variance of a photosite is half the mean square of *consecutive* differences, the two frames brought to equal
    mean: drift cancels. Photosites are binned by the mean of their neighbours in the first two frames. Bins and
    photosites within three standard deviations of white or of ``darkest`` are left out, because clipped noise has less
    variance; photosites whose variance is wildly beyond their bin (flickering defects) are dropped.

    Row noise is what row means of the differences vary beyond the share of independent noise in them; photosites are
    weighted by 1 / variance, or the shot noise of bright ones would drown it. Column noise likewise.
    """
    frames = map(mosaic.pack, stack)
    opening = list(itertools.islice(frames, 2))
    if len(opening) < 2:
        raise ValueError(f"a stack of {len(opening)} frame(s) has no temporal noise; 2 are needed")
    planes = [_PlaneSums(first, second, darkest) for first, second in zip(*opening, strict=True)]
    for packed in itertools.chain(opening[1:], frames):
        for plane, frame in zip(planes, packed, strict=True):
            plane.add(frame)
    return TransferSamples(
        bins=np.stack([plane.bins() for plane in planes]),
        rows=np.stack([line_noise(plane.lines[0], plane.line_weights[0]) for plane in planes]),
        columns=np.stack([line_noise(plane.lines[1], plane.line_weights[1]) for plane in planes]),
        halves=np.stack([plane.halves() for plane in planes]),
        levels=np.stack([plane.levels for plane in planes]),
        neighbours=np.stack([plane.neighbours for plane in planes]),
    )


class _PlaneSums:
    """The running sums of one plane over the frames of a stack."""

    def __init__(self, first: Float, second: Float, darkest: float | None) -> None:
        self.first = self.previous = first
        self.lowest = -math.inf if darkest is None else darkest
        self.steps = 0
        self.offset = np.zeros_like(first)
        self.offset_squares = np.zeros_like(first)
        self.squares = np.zeros_like(first)
        self.lines: tuple[list[tuple[Double, Double]], ...] = ([], [])
        self.neighbours = np.zeros(2)
        # Sorted by the mean of the *others* nearby: sorted by its own mean, a photosite whose noise was low by chance
        # falls into a darker bin, and the slope comes out too flat (12 % in a dark blue plane, measured; with itself
        # among 25, the read noise of half an electron still 0.7 % too high). The line holds for the averages of any set
        # of photosites, so texture inside a bin does not matter.
        both = (first + second) / 2
        order = np.argsort(25 * uniform_filter(both, 5, mode="reflect") - both, axis=None)
        index = np.empty(order.size, np.uint8)
        index[order] = np.arange(order.size) * max(1, min(BINS, order.size // FEWEST_PER_BIN)) // order.size
        self.index = index.reshape(first.shape)
        self.counts = np.bincount(index)
        step = _step(first, second)
        typical = _typical((step * step / np.float32(2)).ravel()[order], self.counts)
        clipped = (np.maximum(first, second) >= 1) | (np.minimum(first, second) <= self.lowest)
        # Clipped throughout, noise is so small that three standard deviations are no distance: count as well.
        counted = (typical > 0) & (np.bincount(index, clipped.ravel()) / self.counts < 0.01)
        counted &= self._unclipped(np.bincount(index, both.ravel()) / self.counts, typical)
        self.roots = np.sqrt(counted / np.where(counted, typical, 1)).astype(np.float32)
        weight = self.roots.astype(np.float64)[self.index] ** 2
        self.line_weights = weight.sum(axis=1), weight.sum(axis=0)
        used = np.flatnonzero(self.roots)
        self.bright = self.index >= (used[len(used) // 2] if len(used) else 0)
        self.bright_weight = (weight * self.bright).sum(axis=1)
        self.bright_lines: list[tuple[Double, Double]] = []
        self.levels = np.array(
            [
                np.average(both, weights=weight * half) if (weight * half).any() else 0.0
                for half in (~self.bright, self.bright)
            ]
        )

    def _unclipped(self, value: npt.NDArray[np.floating], variance: npt.NDArray[np.floating]) -> Mask:
        margin = 3 * np.sqrt(variance)
        unclipped: Mask = (value + margin < 1) & (value - margin > self.lowest)
        return unclipped

    def add(self, frame: Float) -> None:
        """Add the next frame."""
        step = _step(self.previous, frame)
        offset = frame - self.first
        self.offset += offset
        self.offset_squares += offset * offset
        self.squares += step * step
        self.previous = frame
        self.steps += 1
        root = self.roots[self.index]
        # In units of its noise, cut far outside of it: a defect must not make a row noisy.
        noise = np.clip(step * root, -8, 8)
        weighted = noise * root
        totals = [weighted.sum(axis=axis, dtype=np.float64) for axis in (1, 0)]
        row, column = (
            (total / np.where(weight > 0, weight, 1)).astype(np.float32)
            for total, weight in zip(totals, self.line_weights, strict=True)
        )
        noise -= root * (row[:, None] + column)
        noise += root * np.float32(totals[0].sum() / max(self.line_weights[0].sum(), SMALLEST_VARIANCE))
        height, width = noise.shape
        # The means taken off make neighbours opposite by 1/count and the rest smaller: put back.
        across, along = max(width - 1, 1), max(height - 1, 1)
        squares = float(np.vdot(noise, noise))
        products = (width * float(np.vdot(noise[:, 1:], noise[:, :-1])) + squares) / across
        products += (height * float(np.vdot(noise[1:], noise[:-1])) + squares) / along
        self.neighbours += (products / 2, squares)
        own = (noise * root) ** 2
        lost = width / across * height / along
        for axis, total, lines in zip((1, 0), totals, self.lines, strict=True):
            lines.append((total, own.sum(axis=axis, dtype=np.float64) * lost))
        bright = ((part * self.bright).sum(axis=1, dtype=np.float64) for part in (weighted, own * np.float32(lost)))
        self.bright_lines.append(tuple(bright))

    def halves(self) -> Double:
        """Return the ``halves`` of `TransferSamples` for this plane: (2, 2, G)."""
        dark_lines = [
            (total - bright, own - bright_own)
            for (total, own), (bright, bright_own) in zip(self.lines[0], self.bright_lines, strict=True)
        ]
        dark = line_noise(dark_lines, self.line_weights[0] - self.bright_weight)
        return np.stack([dark, line_noise(self.bright_lines, self.bright_weight)])

    def bins(self) -> Double:
        """Return the ``bins`` of `TransferSamples` for this plane: (5, B, G)."""
        mean = self.first + self.offset / (self.steps + 1)
        variance = self.squares / np.float32(2 * self.steps)
        total = (self.offset_squares - self.offset**2 / (self.steps + 1)) / self.steps
        # A deviation of ten standard deviations in one frame, or five in all, is outside any noise, heavy tails
        # included: a defect. A bin may straddle the edge of a clipped highlight, so each photosite must be away from
        # white too.
        ordered = variance.ravel()[np.argsort(self.index, axis=None, kind="stable")]
        typical = _typical(ordered, self.counts).astype(np.float32)[self.index]
        kept = (self.roots[self.index] > 0) & (variance <= max(25, 100 / self.steps) * typical)
        kept &= self._unclipped(mean, typical)
        group = row_groups(len(mean), interleaved=True)
        shape = len(self.roots), int(group.max()) + 1
        cell = (self.index * np.intp(shape[1]) + group[:, None])[kept]
        terms = None, mean[kept], variance[kept], variance[kept] ** 2, total[kept]
        sums = np.array([np.bincount(cell, each, math.prod(shape)) for each in terms], np.float64).reshape(5, *shape)
        level, bin_variance, _ = binned_points(sums.sum(axis=-1))
        used: Double = sums * ((bin_variance > 0) & self._unclipped(level, bin_variance))[:, None]
        return used


def _step(before: Float, after: Float) -> Float:
    """Return after minus before, both brought to the mean of the two: lamps flicker and clouds pass."""
    means = float(before.mean(dtype=np.float64)), float(after.mean(dtype=np.float64))
    change = np.float32((means[1] - means[0]) / max(sum(means), 2 * FAINT))
    return after * (1 - change) - before * (1 + change)


def _typical(variances: Float, counts: Index) -> Double:
    """Return the mean of the variances in every bin, the greatest hundredth left out: (B,), from them bin by bin."""
    parts = np.split(variances, np.cumsum(counts)[:-1])
    kept = [math.floor(0.99 * (len(part) - 1)) + 1 for part in parts]
    return np.array(
        [np.partition(part, k - 1)[:k].sum(dtype=np.float64) / k for part, k in zip(parts, kept, strict=True)]
    )


def ratio_of_sums(sums: Double) -> Double:
    """Return numerator / denominator along the first axis, 0 where nothing was summed."""
    ratio: Double = np.divide(sums[0], sums[1], out=np.zeros_like(sums[0]), where=sums[1] > 0)
    return ratio


def binned_points(sums: Double) -> Double:
    """Return mean linear value, variance and photosites of bins, (3, ...), from their sums."""
    return np.stack([ratio_of_sums(sums[[1, 0]]), ratio_of_sums(sums[[2, 0]]), sums[0]])


def fit_line(points: Double, *, falling: bool = False) -> tuple[Double, Double]:
    """Fit variance = S x + O through bins (3, ..., B); return (S, O), each (...); S not below 0 unless ``falling``."""
    level, variance, count = points
    if not count.any():
        raise ValueError("every photosite is at the white level (expose less) or clipped at black")
    fitted = variance
    for _ in range(20):
        weight = count / np.maximum(fitted, SMALLEST_VARIANCE) ** 2
        weight = weight / np.maximum(weight.sum(axis=-1, keepdims=True), SMALLEST_VARIANCE)
        level_mean = (weight * level).sum(axis=-1)
        variance_mean = (weight * variance).sum(axis=-1)
        apart = level - level_mean[..., None]
        spread = (weight * apart**2).sum(axis=-1)
        tilt = (weight * apart * variance).sum(axis=-1)
        slope = np.divide(tilt, spread, out=np.zeros_like(tilt), where=spread > 0)
        if not falling:  # developed pictures have less noise in highlights; best served by a flat line
            slope = np.maximum(slope, 0.0)
        intercept = variance_mean - slope * level_mean
        before, fitted = fitted, np.maximum(slope[..., None] * level + intercept[..., None], 0.05 * variance)
        if np.allclose(before, fitted, rtol=1e-6, atol=0):
            break
    return slope, intercept
