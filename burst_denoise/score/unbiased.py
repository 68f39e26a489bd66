"""`BurstScore`: the error of denoised frames without a clean reference, unbiased and with its interval.

A denoised frame f and frames y_j, y_k of the same static scene that it was not made from have independent noise, so
the mean of (f - y_j)(f - y_k) is the squared error of f, whatever the method. All scores of a burst follow from the
sums of these products over blocks of rows.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from burst_denoise.arrays import Double, Float, Index, Mask
from burst_denoise.burst.burst import Window
from burst_denoise.schemas import Estimate
from burst_denoise.score.bracket import difference_bracket_db, psnr_bracket_db, sure_change
from burst_denoise.score.metrics import psnr_of_mse
from burst_denoise.sensor.intervals import group_influences, interval, leave_one_out, row_blocks

__all__ = ["BurstScore", "paired_bracket_db", "paired_difference_db"]

LEAST_REFERENCES = 2


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
    pattern : float array of that shape, linear units squared, optional
        Largest variance of the fixed pattern in the frames as ``read`` gives them; none without it.
    pattern_least : float, linear units squared
        Least mean of that variance over the photosites that count.

    Raises
    ------
    ValueError
        If the mask leaves nothing.

    Notes
    -----
    The error is the mean over pairs j != k of (f - y_j)(f - y_k), which equals (f - m)^2 - s^2 / K with m and s^2 the
    mean and unbiased variance of the K frames that f was not made from. The scene includes the sensor's fixed pattern:
    `psnr_db_bracket` says what that may do to the score.

    The intervals are for the method's expected error on this very scene at this noise. The variance is that of a
    jackknife block by block, added up, because noise is independent between blocks while their content differs (a
    bootstrap over blocks takes content for noise: up to fifteen times too wide). In each block, a frame has two
    influences: as a result (against the other results, on the references they share), and as a reference (left out).
    What the jackknife counts too often, products of two frames' noise, is measured and taken off. Still the interval is
    up to half too wide where all frames but one are scored (then score that one too) and for means of several frames.
    Where frames are too few to leave one out, the spread over blocks has to do.
    """

    def __init__(
        self,
        read: Callable[[int, Window], Float],
        count: int,
        mask: Mask,
        variance: Float,
        pattern: Float | None = None,
        pattern_least: float = 0.0,
    ) -> None:
        if not mask.any():
            raise ValueError("the mask leaves no value to score")
        self._read = read
        self._count = count
        self._mask = mask
        self._variance = variance
        self._pattern = np.zeros_like(variance) if pattern is None else pattern
        most = float(self._pattern[mask].mean(dtype=np.float64))
        self.pattern_range = (min(pattern_least, most), most)
        self._strips = [strip for strip in row_blocks(mask.shape[-2]) if mask[..., strip, :].any()]
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
        """Return the sums of (f - y_k)(f - y_l) in a strip: (3, N, N).

        Plain, in units of the noise variance, and these times the variance of the fixed pattern.
        """
        counts = self._mask[..., strip, :]
        result = denoised[..., strip, :][counts].astype(np.float64)
        frames = (self._read(index, (strip, slice(None)))[counts] for index in range(self._count))
        distances = np.stack([result - frame for frame in frames])
        weighted = distances / self._variance[..., strip, :][counts]
        patterned = weighted * self._pattern[..., strip, :][counts]
        return np.stack([distances @ distances.T, weighted @ distances.T, patterned @ distances.T])

    def mse(self) -> Estimate:
        """Return the mean squared error over all results, linear units squared; unbiased, so it can be below zero.

        What a method surely loses by smoothing the references' fixed pattern away is taken off.
        """
        return _estimate(self._error())

    def psnr_db(self) -> Estimate:
        """Return the peak signal-to-noise ratio, dB, peak at white; ``inf`` is an error that may be nothing."""
        return _in_db(self.mse())

    def stabilised_psnr_db(self) -> Estimate:
        """Return the same with each squared difference divided by the expected variance: 0 dB is one frame's noise."""
        return _in_db(_estimate(self._results(stabilised=True).error()))

    def temporal_variance(self) -> Estimate:
        """Return the mean noise variance of one frame, linear units squared."""
        return _estimate(self._results().noise())

    def worth_frames(self) -> Estimate:
        """Return how many averaged frames leave the same error: one frame's variance / the error; may be ``inf``."""
        error, noise = self._error(), self._results().noise()
        value = error.value / noise.value
        share = _delta_method(value, (1 / noise.value, error), (-value / noise.value, noise))
        return Estimate(value=_inverse(share.value), low=_inverse(share.high), high=_inverse(share.low))

    def noise_kept(self) -> float:
        """Return the share of its frames' noise that the method keeps, each photosite weighted by its fixed pattern.

        1 for a frame and for means of frames, 0 where nothing is kept; 1 also where there is no pattern or no frame. It
        is the regression of the results on the noise of their frames; the noise of the mean m of the other frames,
        which both f - m and y - m hold, is taken off. By Stein's lemma it is the mean derivative of the result with
        respect to its frame, hence what is kept of any weak white pattern.

        References
        ----------
        Stein, "Estimation of the mean of a multivariate normal distribution", Annals of Statistics 9(6), 1981.
        """
        made_of_frames = [(used, sums) for used, sums in zip(self._used, self._products, strict=True) if used]
        if not self.pattern_range[1] > 0 or not made_of_frames:
            return 1.0
        shares = []
        for used, products in made_of_frames:
            own = np.isin(np.arange(self._count), list(used))
            mean_of_used, mean_of_others = own / own.sum(), ~own / (~own).sum()
            sums = products[2].sum(axis=0)
            # f - m and y - m in terms of the distances f - y_k.
            noise = mean_of_others - mean_of_used
            slope = float(mean_of_others @ sums @ noise) / float(noise @ sums @ noise)
            others_noise = own.sum() / (~own).sum()
            shares.append(slope * (1 + others_noise) - others_noise)
        return max(float(np.mean(shares)), 0.0)

    def psnr_db_bracket(self) -> tuple[float, float]:
        """Return where the PSNR against the scene without fixed pattern lies, dB: chance and the pattern counted.

        See `burst_denoise.score.bracket`; the upper end is ``inf`` where the pattern may be all of the error.
        """
        measured = _estimate(self._results().error())
        return psnr_bracket_db(measured.low, measured.high, self.noise_kept(), self.pattern_range)

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

    def _error(self) -> "_Sums":
        return self._changed(self._results().error())

    def _changed(self, sums: "_Sums") -> "_Sums":
        """Return an error less what is surely owed to the fixed pattern."""
        change = sure_change(self.noise_kept(), self.pattern_range)
        return sums._replace(blocks=sums.blocks + change / len(sums.blocks))

    def _results(self, *, stabilised: bool = False, chosen: Sequence[int] | None = None) -> "_Results":
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
    error, bar = a._changed(mine.error()), b._changed(_Results(other.products, mine.used).error())
    if min(error.value, bar.value) <= 0:
        return None
    # The logarithm's slope: a relative error of 1 is 10 / ln 10 = 4.3 dB.
    decibels = 10 / math.log(10)
    value = 10 * math.log10(bar.value / error.value)
    return _delta_method(value, (decibels / bar.value, bar), (-decibels / error.value, error))


def paired_bracket_db(a: BurstScore, b: BurstScore) -> tuple[float, float] | None:
    """Return where the difference of the PSNRs against the scene without fixed pattern lies, dB.

    Arguments are those of `paired_difference_db`; its interval is widened by what the pattern may do to both.
    """
    difference, measured = paired_difference_db(a, b), a.psnr_db().value - b.psnr_db().value
    if difference is None or not math.isfinite(measured):
        return None
    mine, other = ((score._results().error().value, score.noise_kept()) for score in (a, b))
    low, high = difference_bracket_db(mine, other, a.pattern_range)
    return difference.low + low - measured, difference.high + high - measured


class _Sums(NamedTuple):
    """A quantity that adds up over B blocks of rows, and how it reacts to each independent part of the data.

    References
    ----------
    Efron and Stein, "The jackknife estimate of variance", Annals of Statistics 9(3), 1981.
    """

    blocks: Double
    """(B,): what each block adds to the quantity."""
    influences: Double
    """(parts, B): of leaving a part out; their squares add up to the variance, each interaction counted twice."""
    interactions: Double
    """(parts, parts, B): interaction term of two parts, symmetric."""
    degrees: int
    """Degrees of freedom of the variance of one block."""

    @property
    def value(self) -> float:
        """The quantity."""
        return float(self.blocks.sum())


def _estimate(sums: _Sums) -> Estimate:
    return _delta_method(sums.value, (1.0, sums))


def _delta_method(value: float, *terms: tuple[float, _Sums]) -> Estimate:
    """Return a value with its 95 % interval from its derivatives with respect to sums, and these sums."""
    influences = np.sum([slope * sums.influences for slope, sums in terms], axis=0)
    interactions = np.sum([slope * sums.interactions for slope, sums in terms], axis=0)
    # The jackknife counts each interaction at least twice (of n parts 2 (n - 1) / (n - 2) times): subtract one
    # (Efron-Stein).
    counted, once = float((influences**2).sum()), float((interactions**2).sum()) / 2
    kept = max(1 - once / counted, 1 / 3) if counted > 0 else 1.0
    return interval(value, influences * math.sqrt(kept), terms[0][1].degrees)


class _Results(NamedTuple):
    """Products of the distances of n results to the N frames, and what each result was made from.

    A part of the data, independent of the others, is a result with the frames in it, or any other frame alone.
    """

    products: Double
    """(n, B, N, N): mean over counted photosites of (f - y_k)(f - y_l), split into the shares of the blocks."""
    used: Mask
    """(n, N): the frames in each result; no frame is in two."""

    def error(self) -> _Sums:
        """Return the mean squared error of the results."""
        results, references = len(self.used), ~self.used
        sums = self._with_influences(self.products, references, sign=1)
        if not self._can_leave_out:
            return sums
        # As a result, a frame acts against the other results, on the references that they share.
        for own, mine in enumerate(references):
            differences = _mean_over_pairs(self.products[own] - self.products, references & mine)
            sums.influences[own] += differences / math.sqrt(results * (results - 1))
        result, frame = np.nonzero(references)
        distances = np.einsum("nbkk->bnk", self.products)[:, result, frame]
        weights = np.full(len(result), -2 / len(result))
        with_results = self._interactions(result, results + frame, distances, weights)
        return sums._replace(interactions=sums.interactions + with_results)

    def noise(self) -> _Sums:
        """Return the mean temporal variance of a frame: half the mean squared distance of two."""
        everyone = np.ones((1, self.used.shape[1]), np.bool_)
        return self._with_influences(self._frame_distances[None] / 2, everyone, sign=-1)

    def _with_influences(self, products: Double, members: Mask, sign: int) -> _Sums:
        """Return the mean of products over pairs of members, and how it reacts to leaving each frame out of them.

        ``sign`` is that of the product of two frames' noise in ``products``.
        """
        results, frames = self.used.shape
        blocks = _mean_over_pairs(products, members)
        if not self._can_leave_out:
            # Judged by how the blocks differ, content and all.
            scale = len(blocks) / max(len(blocks) - 1, 1)
            return _Sums(blocks, group_influences(scale * leave_one_out(blocks))[None], np.zeros((1, 1, 1)), 1)
        alone = np.eye(frames, dtype=np.bool_)
        without = np.stack([_mean_over_pairs(products, members & ~frame) for frame in alone])
        kept = members.sum() / len(members)
        influences = self._parts @ ((blocks - without) * math.sqrt((kept - 1) / kept))
        first, second = np.triu_indices(frames, 1)
        weights = 2 * sign * _pair_weights(members).sum(axis=0)[first, second]
        distances = self._frame_distances[:, first, second]
        interactions = self._interactions(results + first, results + second, distances, weights)
        return _Sums(blocks, influences, interactions, results - 1)

    def _interactions(self, first: Index, second: Index, distances: Double, weights: Double) -> Double:
        """Return weights times the interaction terms of pairs, added up over their parts: (parts, parts, B).

        Parameters
        ----------
        first, second : (P,) int arrays
            The two of each pair: results are numbered from 0, frames from n.
        distances : (B, P) array
            Their squared distances, |a - b|^2, where the product of the noise of the two counts -2 times.
        weights : (P,) array
            Of that product.

        Notes
        -----
        Pairwise terms are projected on the complement of the effects of single results and frames, and rescaled for
        the lost degrees of freedom.
        """
        results, frames = self.used.shape
        alone = np.eye(results + frames)
        singles = alone[first] + alone[second]
        effects, _, rank, _ = np.linalg.lstsq(singles, distances.T, rcond=None)
        rescaled = math.sqrt(len(singles) / max(len(singles) - int(rank), 1))
        terms = (distances.T - singles @ effects) * rescaled * weights[:, None] / -2
        part = np.concatenate([np.arange(results), self._parts.argmax(axis=0)])
        found = np.zeros((len(self._parts), len(self._parts), len(distances)))
        np.add.at(found, (part[first], part[second]), terms)
        found[np.diag_indices(len(found))] = 0
        return found + found.transpose(1, 0, 2)

    @property
    def _frame_distances(self) -> Double:
        """(B, N, N): squared distances of the frames to each other."""
        # |y_k - y_l|^2 = |y_k - f|^2 + |y_l - f|^2 - 2 (y_k - f)(y_l - f)
        own = np.einsum("bkk->bk", self.products[0])
        distances: Double = own[:, :, None] + own[:, None, :] - 2 * self.products[0]
        return distances

    @property
    def _can_leave_out(self) -> bool:
        """Whether there are frames enough to leave some out."""
        most_used = int(self.used.sum(axis=1).max())
        return len(self.used) > 1 and self.used.shape[1] - max(2 * most_used, most_used + 1) >= LEAST_REFERENCES

    @property
    def _parts(self) -> Double:
        """(parts, N): the frames of each result, then every other frame alone."""
        alone = np.eye(self.used.shape[1])[~self.used.any(axis=0)]
        return np.concatenate([self.used.astype(np.float64), alone])


def _mean_over_pairs(products: Double, members: Mask) -> Double:
    """Return per block the mean of products (n, B, N, N) over all results and pairs of members (n, N): (B,)."""
    mean: Double = np.einsum("nbkl,nkl->b", products, _pair_weights(members))
    return mean


def _pair_weights(members: Mask) -> Double:
    """Return (n, N, N) weights of a mean over all results and pairs of different members."""
    pairs = members[:, :, None] & members[:, None, :] & ~np.eye(members.shape[1], dtype=np.bool_)
    weights: Double = pairs / (len(members) * pairs.sum(axis=(1, 2), keepdims=True))
    return weights


def _in_db(mse: Estimate) -> Estimate:
    low, value, high = (psnr_of_mse(error, peak=1.0) for error in (mse.high, mse.value, mse.low))
    return Estimate(value=value, low=low, high=high)


def _inverse(share: float) -> float:
    return 1 / share if share > 0 else math.inf
