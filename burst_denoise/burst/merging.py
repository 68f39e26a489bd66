"""Merging: the mean of the frames of a burst, each left out where it shows something else than the scene.

A cosmic ray, a moth, a leaf that moved once: too small for the quality checks, they are outliers here, tested in each
frame against the mean of the others in units of the noise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.special import erfcx

from burst_denoise.arrays import Double, Float, Mask
from burst_denoise.burst.burst import Burst
from burst_denoise.burst.moved_frames import MovedFrame
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.schemas import NoiseProfile
from burst_denoise.sensor.noise_model import noise_variance, scaled_profile

__all__ = ["Merged", "merge_frames"]

FEWEST_TO_COMPARE = 3
"""Fewest frames that are compared: of two that differ nobody can tell which one is right."""
ROWS = 64
"""Rows merged at a time, of all frames."""
MARGIN = 16
"""Rows around them that the tests look at; even."""
POOLED = {4: 3, 3: 3, 1: 5}
"""Side, plane pixels, of the window over which the tests are pooled, by the number of planes."""
POOLED_SIGMA = 10.0
"""Standard deviations of the pooled squares of white noise beyond which a window is an outlier. Simulated bursts, whose
read noise has long tails and rows of its own, lose 0.1 % of their photosites at 6.5 and 0.002 to 0.006 % at 10."""
TAIL = 0.977
"""Quantile that lies two standard deviations above the middle."""
SINGLE_SIGMA = 6.0
"""Standard deviations of the noise beyond which a photosite alone is an outlier."""
ROUNDS = 3
"""The worst are left out first, for they spoil the mean that the others are compared with."""
CENSORED_ROUNDS = 40
"""Rounds of the estimate of what is overexposed in some frames; it moves by less than a thousandth of the noise at the
end."""


@dataclass(frozen=True)
class Merged:
    """What frames of one scene have become."""

    mean: Float
    """(H, W) or (3, H, W), linear. Photosites at the white level in every frame are at 1 or above."""
    count: int
    """Frames that most photosites are the mean of: the noise variance is that of one frame / count."""
    profile: NoiseProfile
    """Noise profile of the mean."""
    left_out: tuple[float, ...]
    """Share of the photosites of each frame that is not in the mean, because it shows something else."""


def merge_frames(burst: Burst, frames: Sequence[int] | None = None, moved: Sequence[MovedFrame] = ()) -> Merged:
    """Merge frames of a burst, or all of them, to one image.

    Parameters
    ----------
    burst : Burst
        Its dark is subtracted, its gains are evened out and its defects repaired.
    frames : sequence of int, optional
        Numbers of the frames; all by default.
    moved : sequence of MovedFrame
        More frames, which are none of the burst because the camera had moved.

    Returns
    -------
    Merged

    Notes
    -----
    Each frame k is compared with the mean of the *others*, which have no part in its noise: the squared difference,
    averaged over a window of all planes, against its expectation s^2 (1 + 1 / n), where s^2 is the noise variance of
    the profile or the temporal variance of the others there, whichever is larger; so a branch in the wind, which
    differs in all frames, stays what it is, blurred. With two frames nothing can be told and nothing is left out.

    Of a photosite that is overexposed in some frames the others would be a sample of the darker ones. So those count
    with what is expected beyond the white level (the maximum-likelihood estimate of a censored normal variable). One
    that is defective counts where a moved frame saw its place of the scene by another photosite, or else is repaired.

    References
    ----------
    Tobin, "Estimation of relationships for limited dependent variables", Econometrica 26, 1958 (censored values).
    """
    chosen = range(len(burst)) if frames is None else frames
    shape = burst.saturated.shape
    total = len(chosen) + len(moved)
    mean = np.empty(shape, np.float32)
    counts = np.zeros(total + 1, np.int64)
    outliers = np.zeros(total, np.int64)
    for top in range(0, shape[-2], ROWS):
        start, stop = max(0, top - MARGIN), min(shape[-2], top + ROWS + MARGIN)
        stack = _Stack.read(burst, chosen, moved, slice(start, stop))
        inner = slice(top - start, min(top + ROWS, shape[-2]) - start)
        apart = stack.outliers(burst.mosaic, burst.profile)[..., inner, :]
        mean[..., top : start + inner.stop, :], used = stack.rows(inner).mean(apart, burst.mosaic, burst.profile)
        counts += np.bincount(used.ravel(), minlength=total + 1)
        outliers += apart.reshape(total, -1).sum(axis=1)
    count = max(int(np.searchsorted(np.cumsum(counts), counts.sum() / 2)), 1)
    left_out = tuple(float(number) / mean.size for number in outliers)
    return Merged(mean, count, scaled_profile(burst.profile, 1 / count), left_out)


@dataclass(frozen=True)
class _Stack:
    """Rows of all frames, one above the other: (N, H, W) or (N, 3, H, W)."""

    linear: Float
    good: Mask
    """Neither at the white level, nor defective, nor beyond the border of a moved frame."""
    saturated: Mask
    """Photosites at the white level, defects apart: its value is the least that it may have been."""
    healthy: Mask
    """Where a value stands, repaired ones included."""

    @classmethod
    def read(cls, burst: Burst, chosen: Sequence[int], moved: Sequence[MovedFrame], rows: slice) -> "_Stack":
        linear, saturated = [], []
        for index in chosen:
            frame = burst.frame(index)
            linear.append(burst.linear(index, (rows, slice(None))))
            saturated.append(frame.dn[..., rows, :] >= frame.info.white_level)
        linear += [frame.linear[..., rows, :] for frame in moved]
        saturated += [frame.saturated[..., rows, :] for frame in moved]
        values, over = np.stack(linear), np.stack(saturated)
        healthy = np.isfinite(values)
        good = healthy & ~over
        if burst.defects is not None:  # of moved frames they are no values
            own, defects = slice(len(chosen)), burst.defects[..., rows, :]
            good[own] &= ~defects
            over[own] &= ~defects
        return cls(np.nan_to_num(values, copy=False), good, over & healthy, healthy)

    def rows(self, inner: slice) -> "_Stack":
        """Return some of the rows."""
        return _Stack(
            self.linear[..., inner, :],
            self.good[..., inner, :],
            self.saturated[..., inner, :],
            self.healthy[..., inner, :],
        )

    def outliers(self, mosaic: Mosaic, profile: NoiseProfile) -> Mask:
        """Return where each frame shows something else than the others, in the shape of the stack."""
        if len(self.linear) < FEWEST_TO_COMPARE:
            return np.zeros(self.good.shape, np.bool_)
        planes, good, saturated = (
            np.stack([mosaic.pack(frame) for frame in part]) for part in (self.linear, self.good, self.saturated)
        )
        apart = _outliers(planes, good, saturated, profile)
        return np.stack([mosaic.unpack(frame, self.good.shape[1:]) for frame in apart])

    def mean(self, apart: Mask, mosaic: Mosaic, profile: NoiseProfile) -> tuple[Float, npt.NDArray[np.int64]]:
        """Return the mean without what is an outlier, and of how many frames each photosite of it is."""
        used = self.good & ~apart
        count = used.sum(axis=0)
        total = np.where(used, self.linear, 0).sum(axis=0, dtype=np.float64)
        # Defective or overexposed in all frames: the mean of what there is, repaired values and white.
        lost = count == 0
        everything = np.where(self.healthy, self.linear, 0).sum(axis=0, dtype=np.float64)
        count = np.where(lost, self.healthy.sum(axis=0), count)
        mean: Float = (np.where(lost, everything, total) / np.maximum(count, 1)).astype(np.float32)
        censored = self.saturated & ~apart
        always = lost & censored.any(axis=0)
        mean[always] = np.maximum(mean[always], 1)  # gains and dark would bring it below the white level
        if (sometimes := ~lost & censored.any(axis=0)).any():
            variance = mosaic.unpack(noise_variance(mosaic.pack(mean), profile), mean.shape)[sometimes]
            known, below = used[:, sometimes], censored[:, sometimes]
            mean[sometimes] = _censored_mean(self.linear[:, sometimes], below, known, np.sqrt(variance))
        return mean, count


def _outliers(planes: Float, good: Mask, saturated: Mask, profile: NoiseProfile) -> Mask:
    """Return the outliers among planes (N, C, h, w) of N frames of one scene.

    The others are those that are ``good``; what is saturated is asked, too, and no outlier where the others are as high
    or higher.
    """
    side = POOLED[planes.shape[1]]
    white = 1 + POOLED_SIGMA * math.sqrt(2 / (side * side * planes.shape[1]))
    centre: Float = np.where(good, planes, 0).sum(axis=0) / np.maximum(good.sum(axis=0), 1)
    away = planes - centre  # or else squares of float32 would know nothing of the noise
    level = noise_variance(centre, profile)
    found = np.zeros(good.shape, np.bool_)
    for _ in range(ROUNDS):
        kept = good & ~found
        count = kept.sum(axis=0)
        total, squares = (np.where(kept, power, 0).sum(axis=0) for power in (away, away * away))
        pooled, alone = [], []
        for frame, here, asked, over in zip(away, kept, good | saturated, saturated, strict=True):
            rest = np.maximum(count - here, 1)
            others = (total - np.where(here, frame, 0)) / rest
            variance = (squares - np.where(here, frame * frame, 0) - rest * others**2) / np.maximum(rest - 1, 1)
            comparable = asked & (count - here >= FEWEST_TO_COMPARE - 1)
            share = _pooled(comparable.astype(np.float32), side)
            expected = np.maximum(_pooled(level * comparable, side), _pooled(variance * comparable, side))
            apart = np.where(over, np.maximum(frame - others, 0), frame - others)
            squared = np.where(comparable, apart**2 * rest / (rest + 1), 0)
            enough = share > 0.5 / side**2
            pooled.append(np.where(enough, _pooled(squared, side) / np.maximum(expected, 1e-18), 0))
            scale = np.maximum(np.maximum(level, variance), expected / np.maximum(share, 1e-6))
            alone.append(squared > SINGLE_SIGMA**2 * scale)
        worst = np.max(pooled, axis=0)
        limit = max(white, _upper_limit(pooled))
        around = np.ones((side, side), np.uint8)
        new = np.zeros_like(found)
        for number, ratio in enumerate(pooled):
            window = ((ratio > limit) & (ratio > worst / 2)).astype(np.uint8)
            new[number] = alone[number] | (cv2.dilate(window, around) > 0)
        new &= ~found
        if not new.any():
            break
        found |= new
    return found & (good | saturated)


def _upper_limit(pooled: Sequence[Float]) -> float:
    """Return the limit where noise is correlated, as that of camera JPEGs is: the pooled squares spread wider then.

    From the upper tail of a frame in the middle: what is in a few frames has no say.
    """
    middle, high = np.median([np.quantile(ratio[::2, ::2], (0.5, TAIL)) for ratio in pooled], axis=0)
    return float(middle + POOLED_SIGMA * (high - middle) / 2)


def _pooled(planes: Float, side: int) -> Float:
    """Return the means of (C, h, w) over all planes and a window of ``side`` x ``side``: (h, w)."""
    return np.asarray(cv2.blur(planes.mean(axis=0, dtype=np.float32), (side, side)), np.float32)


def _censored_mean(values: Float, censored: Mask, used: Mask, std: Float) -> Float:
    """Return the maximum-likelihood mean of normal values (N, K), of which those censored are known from below alone.

    By expectation maximisation: a censored value counts as the mean of the normal variable beyond its limit.
    """
    limits: Double = values.astype(np.float64)
    count = (used | censored).sum(axis=0)
    known = np.where(used, limits, 0).sum(axis=0)
    mean = (known + np.where(censored, limits, 0).sum(axis=0)) / count
    for _ in range(CENSORED_ROUNDS):
        # Hazard of the normal distribution, density over tail, by the scaled complement of the error function.
        hazard = math.sqrt(2 / math.pi) / erfcx((limits - mean) / (std * math.sqrt(2)))
        mean = (known + np.where(censored, mean + std * hazard, 0).sum(axis=0)) / count
    found: Float = mean.astype(np.float32)
    return found
