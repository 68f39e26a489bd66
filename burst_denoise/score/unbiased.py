"""`BurstScore`: the error of denoised frames without a clean reference, unbiased and with its interval.

A denoised frame f and frames y_j, y_k of the same static scene that it was not made from have independent noise, so
the mean of (f - y_j)(f - y_k) is the squared error of f, whatever the method. All scores of a burst follow from the
sums of these products over blocks of rows.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from burst_denoise.arrays import Double, Float, Mask
from burst_denoise.schemas import Estimate
from burst_denoise.score.metrics import psnr_of_mse
from burst_denoise.sensor.intervals import LEAST_REFERENCES, Results

__all__ = ["BurstScore", "paired_difference_db"]

Window = tuple[slice, slice]

SMALLEST_BLOCK, LARGEST_BLOCK = 8, 32
BLOCKS = 16
"""Rows of a block, and blocks of a frame where its rows suffice. Whole rows, because row noise is shared along them."""


class BurstScore:
    """The error of one method on the frames of one burst; `add` its results, then ask.

    Parameters
    ----------
    read : callable (index, (rows, columns)) -> float array, linear
        A window of a frame of the burst, as `burst_denoise.burst.store.Burst.linear` gives it.
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
    What the jackknife counts too often, products of two frames' noise, is measured and taken off. Still the interval is
    up to half too wide where all frames but one are scored (then score that one too) and for means of several frames.
    Where frames are too few to leave one out, the spread over blocks has to do.
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

    def _results(self, *, stabilised: bool = False, chosen: Sequence[int] | None = None) -> Results:
        """Return the sums of all results, or of those chosen."""
        if not self._used:
            raise ValueError("no result to score")
        numbers = range(len(self._used)) if chosen is None else chosen
        products = np.stack([self._products[number][int(stabilised)] for number in numbers]) / self._photosites
        used = np.array([[index in self._used[number] for index in range(self._count)] for number in numbers])
        return Results(products, used)


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
    error, bar = mine.error(), Results(other.products, mine.used).error()
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
