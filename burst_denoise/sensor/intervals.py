"""The jackknife behind all intervals: by leaving out groups of rows; and, for scores, frames within blocks of rows."""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from burst_denoise.arrays import Double, Mask
from burst_denoise.schemas import Estimate

__all__ = ["LEAST_REFERENCES", "Results", "Sums", "left_out_estimate", "root_of_variance"]


LEAST_REFERENCES = 2
CONFIDENCE = 0.95


def left_out_estimate(values: Double) -> Estimate:
    """Return an estimate with its 95 % interval from what is found when one group of the data is left out.

    Parameters
    ----------
    values : (G + 1,) array
        Found without each of G independent groups in turn, then with all.

    References
    ----------
    Tukey, "Bias and confidence in not-quite large samples", Annals of Mathematical Statistics 29, 1958.
    """
    value, groups = float(values[-1]), len(values) - 1
    squares = (values[:-1] - values[:-1].mean()) ** 2
    if groups < 2:
        return Estimate(value=value, low=-math.inf, high=math.inf)
    # Where few groups decide (the only shadows, say), there are as many degrees of freedom. Gaussian squares scatter
    # so that sum^2 / (sum of squares) is a third of their number.
    deciding = 3 * squares.sum() ** 2 / (squares**2).sum() if squares.any() else groups
    quantile = float(stdtrit(max(min(deciding, groups) - 1, 1), (1 + CONFIDENCE) / 2))
    half = quantile * math.sqrt((groups - 1) / groups * squares.sum())
    return Estimate(value=value, low=value - half, high=value + half)


def root_of_variance(variance: Estimate) -> Estimate:
    """Return the standard deviation of a variance, which chance may have put below 0."""
    low, value, high = (math.sqrt(max(end, 0.0)) for end in (variance.low, variance.value, variance.high))
    return Estimate(value=value, low=low, high=high)


class Sums(NamedTuple):
    """A quantity that adds up over B blocks, and how it reacts to each independent part of the data.

    References
    ----------
    Tukey, 1958 (jackknife); Efron and Stein, "The jackknife estimate of variance", Annals of Statistics 9(3), 1981.
    """

    blocks: Double
    """(B,): what each block adds to the quantity."""
    influences: Double
    """(parts, B): how it changes when a part is left out, scaled so that the squares add up to the variance."""
    interactions: Double
    """(parts, parts, B): products of two parts' noise in it, which the squares of the influences count too often."""
    degrees: int
    """Of freedom, of the variance of one block."""

    @property
    def value(self) -> float:
        """The quantity."""
        return float(self.blocks.sum())

    @property
    def half_width(self) -> float:
        """Half the 95 % interval: the variances of the blocks added up, their degrees of freedom pooled."""
        each = (self.influences**2).sum(axis=0)
        once, product = float(each.sum()), float((self.interactions**2).sum()) / 2
        if not 0 < once < math.inf:
            return math.sqrt(once)
        # Leaving out one of n parts counts a product of two 2 (n - 1) / (n - 2) times: twice at least, so one goes off.
        variance = max(once - product, once / 3)
        # Welch-Satterthwaite; the square of a variance measured with d degrees is (d + 2) / d too large on average.
        pooled = once**2 / float((each**2).sum()) * (self.degrees + 2)
        return math.sqrt(variance) * float(stdtrit(pooled, (1 + CONFIDENCE) / 2))

    def combined(self, weight: float, other: "Sums", other_weight: float) -> "Sums":
        """Return ``weight * self + other_weight * other``."""
        return Sums(
            weight * self.blocks + other_weight * other.blocks,
            weight * self.influences + other_weight * other.influences,
            weight * self.interactions + other_weight * other.interactions,
            self.degrees,
        )

    def estimate(self) -> Estimate:
        """Return the quantity and its 95 % interval."""
        return Estimate(value=self.value, low=self.value - self.half_width, high=self.value + self.half_width)


class Results(NamedTuple):
    """Sums of products of the distances of n results to the N frames, and what each result was made from."""

    products: Double
    """(n, B, N, N): mean over counted photosites of (f - y_k)(f - y_l), split into the shares of the blocks."""
    used: Mask
    """(n, N): the frames in each result; no frame is in two."""

    def error(self) -> Sums:
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
        count = references.sum(axis=1)
        together = np.einsum("ij,ik,i->jk", references, references, 2 / (results * count * (count - 1)))
        own = self._result_interactions() * (2 / (results * kept))
        interactions = self._frame_interactions(together) - own - own.transpose(1, 0, 2)
        return Sums(blocks, influences, interactions, results - 1)

    def noise(self) -> Sums:
        """Return the mean temporal variance of a frame."""
        frames = self.used.shape[1]
        blocks = _noise(self.products[0], np.ones(frames, np.bool_))
        if not self._can_leave_out:
            return _spread(blocks)
        without = np.array([_noise(self.products[0], np.arange(frames) != frame) for frame in range(frames)])
        influences = self._parts @ ((blocks - without) * math.sqrt((frames - 1) / frames))
        together = np.full((frames, frames), -2 / (frames * (frames - 1)))
        return Sums(blocks, influences, self._frame_interactions(together), len(self.used) - 1)

    def _frame_interactions(self, weights: Double) -> Double:
        """Return the products of two frames' noise, times weights (N, N), added up over parts: (parts, parts, B)."""
        alone = np.eye(len(weights))
        first, second = np.triu_indices(len(weights), 1)
        own = np.einsum("bkk->bk", self.products[0])
        # |y_k - y_l|^2 = |y_k - f|^2 + |y_l - f|^2 - 2 (y_k - f)(y_l - f)
        distances = own[:, first] + own[:, second] - 2 * self.products[0][:, first, second]
        products = np.zeros_like(self.products[0])
        products[:, first, second] = _interaction_term(distances / -2, alone[first] + alone[second])
        products = (products + products.transpose(0, 2, 1)) * weights
        found: Double = np.einsum("uj,bjk,vk->uvb", self._parts, products, self._parts)
        found[np.diag_indices(len(found))] = 0
        return found

    def _result_interactions(self) -> Double:
        """Return the products of a result's noise with that of frames of other parts: (parts, parts, B)."""
        result, frame = np.nonzero(~self.used)
        singles = np.concatenate([np.eye(len(self.used))[result], np.eye(self.used.shape[1])[frame]], axis=1)
        distances = np.einsum("ibkk->bik", self.products)[:, result, frame]
        products = np.zeros((len(distances), len(self._parts), self.used.shape[1]))
        products[:, result, frame] = _interaction_term(distances / -2, singles)
        found: Double = np.einsum("buk,vk->uvb", products, self._parts)
        return found

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


def _interaction_term(values: Double, singles: Double) -> Double:
    """Return (B, pairs) values less what is due to single members, scaled up for what that takes with it.

    ``singles`` (pairs, members) is 1 where a member belongs to a pair.
    """
    rest = np.eye(len(singles)) - singles @ np.linalg.pinv(singles)
    freedom = max(float(np.trace(rest)), 1.0)
    pure: Double = values @ rest * math.sqrt(len(singles) / freedom)
    return pure


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


def _spread(blocks: Double) -> Sums:
    """Return a quantity whose variance is judged by how its blocks differ, content and all."""
    count = len(blocks)
    if count < 2:
        return Sums(blocks, np.full((1, count), math.inf), np.zeros((1, 1, count)), 1)
    differences = (blocks - blocks.mean())[None] * math.sqrt(count / (count - 1))
    return Sums(blocks, differences, np.zeros((1, 1, count)), 1)
