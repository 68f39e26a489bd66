"""`BurstScore`: the error of denoised frames without a clean reference, unbiased and with its interval.

A denoised frame f and frames y_j, y_k of the same static scene that it was not made from have independent noise, so
the mean of (f - y_j)(f - y_k) is the squared error of f, whatever the method. All scores of a burst follow from the
sums of these products over blocks of rows.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from burst_denoise.config import Estimate
from burst_denoise.sensor.metrics import psnr_of_mse

__all__ = ["BurstScore", "paired_difference_db"]

Float = npt.NDArray[np.float32]
Double = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Window = tuple[slice, slice]

SMALLEST_BLOCK, LARGEST_BLOCK = 8, 32
BLOCKS = 16
"""Rows of a block, and blocks of a frame where its rows suffice. Whole rows, because row noise is shared along them."""
LEAST_REFERENCES = 2
CONFIDENCE = 0.95


class _Sums(NamedTuple):
    """A quantity that adds up over blocks, and how it reacts to each independent part of the data."""

    blocks: Double
    """(B,): what each block adds to the quantity."""
    influences: Double
    """(parts, B): their squares, added up, are the variance of the quantity."""
    degrees: int
    """Of freedom, of the variance of one block."""

    @property
    def value(self) -> float:
        return float(self.blocks.sum())

    @property
    def half_width(self) -> float:
        """Half the 95 % interval: the variances of the blocks added up, their degrees of freedom pooled."""
        variance = (self.influences**2).sum(axis=0)
        total = float(variance.sum())
        if not 0 < total < math.inf:
            return math.sqrt(total)
        # Welch-Satterthwaite; the square of a variance measured with d degrees is (d + 2) / d too large on average.
        pooled = total**2 / float((variance**2).sum()) * (self.degrees + 2)
        return math.sqrt(total) * float(student.ppf((1 + CONFIDENCE) / 2, pooled))

    def combined(self, weight: float, other: "_Sums", other_weight: float) -> "_Sums":
        """Return ``weight * self + other_weight * other``."""
        blocks = weight * self.blocks + other_weight * other.blocks
        return _Sums(blocks, weight * self.influences + other_weight * other.influences, self.degrees)

    def estimate(self) -> Estimate:
        return Estimate(value=self.value, low=self.value - self.half_width, high=self.value + self.half_width)


class _Results(NamedTuple):
    """Sums of products of the distances of n results to the N frames, and what each result was made from."""

    products: Double
    """(n, B, N, N): mean over counted photosites of (f - y_k)(f - y_l), split into the shares of the blocks."""
    used: Mask
    """(n, N): the frames in each result; no frame is in two."""

    def error(self) -> _Sums:
        """Return the mean squared error of the results."""
        results, frames = self.used.shape
        references = ~self.used
        each = np.stack([_error(p, r) for p, r in zip(self.products, references, strict=True)])
        blocks: Double = each.mean(axis=0)
        if not self._can_leave_out:
            return _spread(blocks)
        without = np.zeros((frames, len(blocks)))
        for frame in range(frames):
            others = references & (np.arange(frames) != frame)
            without[frame] = np.mean([_error(p, r) for p, r in zip(self.products, others, strict=True)], axis=0)
        kept = references.sum(axis=1).mean()
        influences = self._parts @ ((blocks - without) * math.sqrt((kept - 1) / kept))
        for i in range(results):
            for j in range(results):
                shared = references[i] & references[j]
                difference = _error(self.products[i], shared) - _error(self.products[j], shared)
                influences[i] += difference / results / math.sqrt(results * (results - 1))
        return _Sums(blocks, influences, results - 1)

    def noise(self) -> _Sums:
        """Return the mean temporal variance of a frame."""
        frames = self.used.shape[1]
        blocks = _noise(self.products[0], np.ones(frames, np.bool_))
        if not self._can_leave_out:
            return _spread(blocks)
        without = np.array([_noise(self.products[0], np.arange(frames) != frame) for frame in range(frames)])
        influences = self._parts @ ((blocks - without) * math.sqrt((frames - 1) / frames))
        return _Sums(blocks, influences, len(self.used) - 1)

    @property
    def _can_leave_out(self) -> bool:
        """Whether there are frames enough to leave some out."""
        most_used = int(self.used.sum(axis=1).max())
        return len(self.used) > 1 and self.used.shape[1] - max(2 * most_used, most_used + 1) >= LEAST_REFERENCES

    @property
    def _parts(self) -> Double:
        """(parts, N): the frames of each result, then every other frame alone; parts are independent of each other."""
        alone = np.eye(self.used.shape[1])[~self.used.any(axis=0)]
        return np.concatenate([self.used.astype(np.float64), alone])


def _error(products: Double, references: Mask) -> Double:
    """Return per block the mean product over pairs of different references, from (B, N, N) products."""
    chosen = products[:, references][:, :, references]
    count = int(references.sum())
    error: Double = (chosen.sum(axis=(1, 2)) - np.trace(chosen, axis1=1, axis2=2)) / (count * (count - 1))
    return error


def _noise(products: Double, frames: Mask) -> Double:
    """Return per block the unbiased temporal variance of the frames, from (B, N, N) products."""
    chosen = products[:, frames][:, :, frames]
    count = int(frames.sum())
    variance: Double = (np.trace(chosen, axis1=1, axis2=2) - chosen.sum(axis=(1, 2)) / count) / (count - 1)
    return variance


def _spread(blocks: Double) -> _Sums:
    """Return a quantity whose variance is judged by how its blocks differ, content and all."""
    count = len(blocks)
    if count < 2:
        return _Sums(blocks, np.full((1, count), math.inf), 1)
    return _Sums(blocks, (blocks - blocks.mean())[None] * math.sqrt(count / (count - 1)), 1)


class BurstScore:
    """The error of one method on the frames of one burst; `add` its results, then ask.

    Parameters
    ----------
    read : callable (index, (rows, columns)) -> float array, linear
        A window of a frame of the burst, as `burst_denoise.capture.store.Burst.linear` gives it.
    count : int
        Frames of the burst; at least two more than one result is made of.
    mask : (H, W) or (3, H, W) bool array
        True where a photosite counts; saturated ones must not, since clipped noise is not zero-mean.
    variance : float array of that shape, linear units squared
        Expected noise variance of one frame, the unit of the stabilised score.

    Raises
    ------
    ValueError
        If the mask leaves nothing.

    Notes
    -----
    The error is the mean over pairs j != k of (f - y_j)(f - y_k), which equals (f - m)^2 - s^2 / K with m and s^2 the
    mean and unbiased variance of the K frames that f was not made from. The scene includes the sensor's fixed pattern.

    The intervals are for the method's expected error on this very scene at this noise. The variance is that of a
    jackknife block by block, added up, because noise is independent between blocks while their content differs (a
    bootstrap over blocks takes content for noise: up to fifteen times too wide). In each block, a frame has two
    influences: as a result (against the other results, on the references they share), and as a reference (left out).
    The jackknife counts products of two frames' noise twice (Efron and Stein), so the intervals are 5 to 25 % too wide,
    up to 60 % with five frames or all but one scored. Where frames are too few to leave one out, the spread over
    blocks has to do.

    References
    ----------
    Tukey, 1958 (jackknife); Efron and Stein, "The jackknife estimate of variance", Annals of Statistics 9(3), 1981.
    """

    def __init__(self, read: Callable[[int, Window], Float], count: int, mask: Mask, variance: Float) -> None:
        if not mask.any():
            raise ValueError("the mask leaves no value to score")
        self._read, self._count, self._mask, self._variance = read, count, mask, variance
        height = mask.shape[-2]
        rows = min(max(height // BLOCKS // 2 * 2, SMALLEST_BLOCK), LARGEST_BLOCK)
        strips = [slice(top, top + rows) for top in range(0, height, rows)]
        self._strips = [strip for strip in strips if mask[..., strip, :].any()]
        self._photosites = int(mask.sum())
        self._used: list[frozenset[int]] = []
        self._products: list[Double] = []

    def add(self, denoised: Float, used: Sequence[int]) -> None:
        """Count a result in.

        Parameters
        ----------
        denoised : float array, linear
            Not modified.
        used : sequence of int
            Numbers of the frames it was made from; they never serve as its reference.

        Raises
        ------
        ValueError
            If shapes differ, fewer than two references remain, or a frame was used for another result already: then
            the results are not independent.
        """
        if denoised.shape != self._mask.shape:
            raise ValueError(f"image of shape {denoised.shape} against a burst of shape {self._mask.shape}")
        if self._count - len(set(used)) < LEAST_REFERENCES:
            raise ValueError(f"{len(set(used))} of {self._count} frames used; {LEAST_REFERENCES} must remain")
        if any(other & set(used) for other in self._used):
            raise ValueError(f"frames {sorted(set(used))}: one of them was used for another result")
        self._used.append(frozenset(used))
        self._products.append(np.stack([self._strip_products(denoised, strip) for strip in self._strips], axis=1))

    def _strip_products(self, denoised: Float, strip: slice) -> Double:
        """Return the sums of (f - y_k)(f - y_l) in a strip: (2, N, N), plain and in units of the noise variance."""
        counts = self._mask[..., strip, :]
        result = denoised[..., strip, :][counts].astype(np.float64)
        frames = (self._read(index, (strip, slice(None)))[counts] for index in range(self._count))
        distances = np.stack([result - frame for frame in frames])
        weighted = distances / self._variance[..., strip, :][counts]
        return np.stack([distances @ distances.T, weighted @ distances.T])

    def mse(self) -> Estimate:
        """Return the mean squared error over all results, linear units squared; unbiased, so it can be below zero."""
        return self._results().error().estimate()

    def psnr_db(self) -> Estimate:
        """Return the peak signal-to-noise ratio, dB, peak at white; ``inf`` is an error that may be nothing."""
        return _in_db(self.mse())

    def stabilised_psnr_db(self) -> Estimate:
        """Return the same with each squared difference divided by the expected variance: 0 dB is one frame's noise."""
        return _in_db(self._results(stabilised=True).error().estimate())

    def temporal_variance(self) -> Estimate:
        """Return the mean noise variance of one frame, linear units squared."""
        return self._results().noise().estimate()

    def worth_frames(self) -> Estimate:
        """Return how many averaged frames leave the same error: one frame's variance / the error; may be ``inf``."""
        error, noise = self._results().error(), self._results().noise()
        share = error.value / noise.value
        half = error.combined(1 / noise.value, noise, -share / noise.value).half_width
        return Estimate(value=_inverse(share), low=_inverse(share + half), high=_inverse(share - half))

    def upsnr_db(self) -> float | None:
        """Return uPSNR, for comparison: the same error measured with three frames besides each result; None without.

        References
        ----------
        Marcos-Morales, Leibovich, Mohan, Vincent, Haluptzok and Fernandez-Granda, "Evaluating unsupervised denoising
        requires unsupervised metrics", ICML 2023: the mean of (a - f)^2 - (b - c)^2 / 2.
        """
        errors = []
        for used, products in zip(self._used, self._products, strict=True):
            following = [(min(used) + step) % self._count for step in range(self._count)]
            free = [index for index in following if index not in used]
            if len(free) < 3:
                return None
            a, b, c = free[:3]
            total = products[0].sum(axis=0)
            errors.append(total[a, a] - (total[b, b] + total[c, c] - 2 * total[b, c]) / 2)
        return psnr_of_mse(float(np.mean(errors)) / self._photosites, peak=1.0)

    def _results(self, *, stabilised: bool = False, chosen: Sequence[int] | None = None) -> _Results:
        """Return the sums of all results, or of those chosen."""
        if not self._used:
            raise ValueError("no result to score")
        numbers = range(len(self._used)) if chosen is None else chosen
        products = np.stack([self._products[number][int(stabilised)] for number in numbers]) / self._photosites
        used = np.array([[index in self._used[number] for index in range(self._count)] for number in numbers])
        return _Results(products, used)


def paired_difference_db(a: BurstScore, b: BurstScore) -> Estimate | None:
    """Return how much higher the PSNR of one method is than that of another on the same frames, dB.

    Parameters
    ----------
    a, b : BurstScore
        On the same burst, mask and variance. A result of ``a`` is compared with the result of ``b`` that was made from
        the same frame, or from one of its frames if it was made from several; results without a partner do not count.

    Returns
    -------
    Estimate or None
        PSNR of ``a`` minus that of ``b``; None where one of the errors comes out as nothing.

    Raises
    ------
    ValueError
        If no result has a partner.
    """
    pairs = [(i, j) for i, mine in enumerate(a._used) for j, other in enumerate(b._used) if other <= mine]
    if not pairs:
        raise ValueError("the two scores have no frame in common")
    mine, other = a._results(chosen=[i for i, _ in pairs]), b._results(chosen=[j for _, j in pairs])
    error, bar = mine.error(), _Results(other.products, mine.used).error()
    if min(error.value, bar.value) <= 0:
        return None
    # The logarithm's slope: a relative error of 1 is 10 / ln 10 = 4.3 dB.
    decibels = 10 / math.log(10)
    half = bar.combined(decibels / bar.value, error, -decibels / error.value).half_width
    value = 10 * math.log10(bar.value / error.value)
    return Estimate(value=value, low=value - half, high=value + half)


def _in_db(mse: Estimate) -> Estimate:
    low, value, high = (psnr_of_mse(error, peak=1.0) for error in (mse.high, mse.value, mse.low))
    return Estimate(value=value, low=low, high=high)


def _inverse(share: float) -> float:
    return 1 / share if share > 0 else math.inf
