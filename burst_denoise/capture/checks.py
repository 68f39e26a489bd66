"""The checks of the frames of a series, each frame against the mean of the *other* good ones.

Saturation, light, shift, focus, motion, in this order: what an earlier check explains is not held against a frame again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from burst_denoise.capture.alignment import align, grey_picture, tile_sums
from burst_denoise.config import Reason
from burst_denoise.sensor.frame import Frame, pack
from burst_denoise.sensor.noise import fit_noise_profile, noise_variance

__all__ = ["Findings", "check_all"]

Float = npt.NDArray[np.float32]
Double = npt.NDArray[np.float64]

LARGEST_SATURATED = 0.25
"""Share of photosites at white: they are masked from training, and a frame that loses a quarter teaches little."""
LARGEST_SATURATED_EXCESS = 0.10
"""The same above the median frame: a lamp switched on; 5 % more light stays below that in all pictures tried."""

LARGEST_LIGHT_CHANGE = 0.03
"""Real lamps and clouds drift (a Canon S95 burst by 2.4 %): corrected up to here, rejected beyond."""
LIGHT_BLOCK = 32

LARGEST_SHIFT = 0.25
"""Photosites: a mosaic shows residue at edges from 0.1 to 0.2 on; tripods stay within 0.13 (S95 burst)."""

LARGEST_FOCUS_LOSS = 0.08
"""Drop of the contrast of fine detail; a shift of 0.25 photosites, which is allowed, costs up to 4 %."""

FOCUS_PX = 1.0
"""Standard deviation of the blur that separates fine detail, grey pixels."""
FOCUS_TILE = 32

MOTION_BIN = 4
"""Photosites per side that are averaged before the chi-square, so that it sees objects rather than noise."""
MOTION_BLOCK = 32
LARGEST_CHI_SQUARE = 2.5
"""Of a block, relative to the same block in other frames or to the typical block, whichever is more."""
LARGEST_SQUARE = 36.0
"""A single flickering photosite must not pass for an object."""
MOTION_BLOCKS = 2
"""An object leaves one place and covers another; a single block may be a cosmic ray."""
LOCAL_LIGHT_CHANGE = 0.01
"""Part of the signal by which light may change locally: tone curves of developed pictures bend a global drift."""
NOISE_PIXELS = 4_000_000
NOISE_BAND = 64
"""The noise of larger images is measured on bands of so many rows."""
SIGMAS = 5.0
"""What is not this many standard errors beyond the normal is not held against a frame."""


@dataclass
class Findings:
    """What is known so far about each frame; the checks write into it one after another."""

    frames: Sequence[Frame]
    reasons: list[list[Reason]] = field(init=False)
    details: list[list[str]] = field(init=False)
    gains: Double = field(init=False)
    """nan where it could not be measured."""
    shifts: Double = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.frames)
        self.reasons = [[] for _ in range(count)]
        self.details = [[] for _ in range(count)]
        self.gains = np.full(count, np.nan)
        self.shifts = np.full(count, np.nan)

    def reject(self, k: int, reason: Reason, detail: str) -> None:
        self.reasons[k].append(reason)
        self.details[k].append(detail)

    def good(self, *forgiven: Reason) -> list[int]:
        """Return the frames without a reason, those in ``forgiven`` not counted."""
        return [k for k, reasons in enumerate(self.reasons) if not set(reasons) - set(forgiven)]

    def linear(self, k: int) -> Float:
        """Return frame ``k`` in linear units, brightness corrected where it is known."""
        gain = 1.0 if np.isnan(self.gains[k]) else self.gains[k]
        return self.frames[k].linear / np.float32(gain)


def check_all(frames: Sequence[Frame]) -> Findings:
    """Return what all checks find about frames of equal size, levels and exposure; the order does not matter."""
    found = Findings(frames)
    _check_saturation(found)
    _check_light(found)
    _check_shift(found)
    _check_focus(found)
    _check_motion(found)
    return found


def _check_saturation(found: Findings) -> None:
    shares = [float(np.mean(_saturated(frame))) for frame in found.frames]
    typical = float(np.median(shares))
    for k, share in enumerate(shares):
        if share > LARGEST_SATURATED or share > typical + LARGEST_SATURATED_EXCESS:
            found.reject(k, "saturation", f"{share:.0%} of it is overexposed, {typical:.0%} in the typical frame")


def _saturated(frame: Frame) -> npt.NDArray[np.bool_]:
    return frame.dn >= frame.info.white_level


def _check_light(found: Findings) -> None:
    """Measure the brightness of each frame against the median of the others, block by block."""
    good = found.good()
    if not good:
        return
    stack = [found.frames[k] for k in good]
    blocks = np.stack([_block_means(f.linear, LIGHT_BLOCK).ravel() for f in stack])
    white = np.stack([_block_means(_saturated(f).astype(np.float32), LIGHT_BLOCK).ravel() for f in stack])
    unclipped = ~white.any(axis=0)
    if unclipped.any():
        blocks = blocks[:, unclipped]
    gains = np.ones(len(good))
    errors = np.zeros(len(good))
    for _ in range(4):  # the others are brought to equal brightness by what the last round found
        level = blocks / gains[:, None]
        for k in range(len(good)):
            others = np.median(np.delete(level, k, axis=0), axis=0) if len(good) > 1 else level[k]
            gains[k], errors[k] = _ratio(blocks[k], others)
        gains /= np.median(gains)
    for k, gain, error in zip(good, gains, errors, strict=True):
        if not error * SIGMAS < LARGEST_LIGHT_CHANGE:
            continue  # too dark to tell, and then no harm either
        found.gains[k] = gain
        if abs(gain - 1) > LARGEST_LIGHT_CHANGE:
            found.reject(k, "light", f"{abs(gain - 1):.1%} {'brighter' if gain > 1 else 'darker'} than the series")


def _ratio(values: Double, reference: Double) -> tuple[float, float]:
    """Return the factor between sums that are mostly proportional, and its standard error.

    The median, weighted by ``reference``; the variance of a sum is taken to grow with it, as that of light does.
    """
    usable = reference > 0
    if not usable.any():
        return 1.0, float("inf")
    values, weights = values[usable], reference[usable]
    factor = _weighted_median(values / weights, weights)
    residual = (values - factor * weights) / np.sqrt(weights)
    spread = 1.4826 * float(np.median(np.abs(residual)))
    return factor, 1.25 * spread / float(np.sqrt(weights.sum()))  # a median errs 1.25 times as much as a mean


def _weighted_median(values: Double, weights: Double) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(total, total[-1] / 2)]])


def _block_means(image: Float, side: int) -> Double:
    """Return the means of square blocks of an image, its planes averaged."""
    flat = image.mean(axis=0) if image.ndim == 3 else image
    return tile_sums(flat, side) / (min(side, flat.shape[0]) * min(side, flat.shape[1]))


def _check_shift(found: Findings) -> None:
    usable = found.good("light")
    if len(usable) < 2:
        return
    greys = [grey_picture(found.linear(k), found.frames[k].info.cfa) for k in usable]
    alignment = align(greys, LARGEST_SHIFT)
    for place, k in enumerate(usable):
        distance = float(np.hypot(*alignment.shifts[place]))
        found.shifts[k] = distance
        if place not in alignment.together:
            found.reject(k, "shift", f"moved by {distance:.2f} px against the series")


def _check_focus(found: Findings) -> None:
    """Compare the contrast of fine detail with that of the mean of the others.

    The slope of a frame's fine detail over the mean's is not changed by noise, because their noises are independent.
    """
    good = found.good()
    if len(good) < 2:
        return
    total = np.zeros(())
    for k in good:
        total = total + _fine_detail(found, k)
    slopes, errors = np.zeros(len(good)), np.zeros(len(good))
    for place, k in enumerate(good):
        detail = _fine_detail(found, k)
        others = ((total - detail) / (len(good) - 1)).astype(np.float32)
        shared = tile_sums(detail * others, FOCUS_TILE).ravel()
        energy = tile_sums(others * others, FOCUS_TILE).ravel()
        slopes[place], errors[place] = _ratio(shared, energy)
    typical = float(np.median(slopes))
    for slope, error, k in zip(slopes, errors, good, strict=True):
        loss = 1 - slope / typical if typical > 0 else 0.0
        if loss > LARGEST_FOCUS_LOSS and loss * typical > SIGMAS * error:
            found.reject(k, "focus", f"fine detail has {loss:.0%} less contrast than in the series")


def _fine_detail(found: Findings, k: int) -> Float:
    grey, _ = grey_picture(found.linear(k), found.frames[k].info.cfa)
    detail: Float = grey - cv2.GaussianBlur(grey, (0, 0), FOCUS_PX)
    return detail


def _check_motion(found: Findings) -> None:
    """Compare blocks with the mean of the others in units of expected noise, until no frame stands out any more."""
    while True:
        good = found.good()
        if len(good) < 2:
            return
        squares = _block_chi_squares(found, good)
        if squares is None:
            return
        moved = _moving_blocks(squares)
        if not (moved >= MOTION_BLOCKS).any():
            return
        for k, blocks in zip(good, moved, strict=True):
            if blocks >= MOTION_BLOCKS:
                found.reject(k, "motion", f"something moved: {blocks} blocks of {MOTION_BLOCK} px differ from the series")


def _moving_blocks(squares: Double) -> npt.NDArray[np.intp]:
    """Return for each frame in how many blocks it differs from all others by more than they do among themselves."""
    typical = float(np.median(squares))
    # With two frames nobody can tell which one moved: both differ from the typical block.
    usual = np.stack([np.median(np.delete(squares, k, axis=0), axis=0) for k in range(len(squares))])
    level = squares / (np.maximum(usual, typical) if len(squares) > 2 else typical)
    spread = 1.4826 * float(np.median(np.abs(level - np.median(level))))
    beyond = level > max(LARGEST_CHI_SQUARE, 1 + 8 * spread)
    # What moved in one frame is in the mean that the others are compared with: only the worst frame is at fault.
    worst = squares == squares.max(axis=0)
    counts: npt.NDArray[np.intp] = (beyond & worst).sum(axis=1)
    return counts


def _block_chi_squares(found: Findings, good: Sequence[int]) -> Double | None:
    """Return the reduced chi-square (frames, blocks) of each frame against the mean of the others.

    The variance is that of the noise, of the shift that is allowed, and of the local change of light that is allowed;
    None where the noise cannot be measured.
    """
    info = found.frames[good[0]].info
    try:
        profile = fit_noise_profile([(_some_rows(found.linear(k)) for k in good)], info.cfa, info.iso)
    except ValueError:
        return None  # every photosite at the white level, or no noise at all
    total = np.zeros(())
    for k in good:
        total = total + _binned(found, k)
    mean = (total / len(good)).astype(np.float32)
    step = MOTION_BIN // 2 if len(mean) == 4 else MOTION_BIN  # plane pixels that are averaged
    slope = _squared_slope(mean) / MOTION_BIN**2
    noise = noise_variance(mean, profile) / step**2 * (1 + 1 / (len(good) - 1))
    variance = noise + LARGEST_SHIFT**2 * slope + (LOCAL_LIGHT_CHANGE * mean) ** 2
    side = MOTION_BLOCK // MOTION_BIN
    rows = []
    for k in good:
        binned = _binned(found, k)
        others = (total - binned) / (len(good) - 1)
        squares = np.minimum((binned - others) ** 2 / variance, LARGEST_SQUARE).astype(np.float32)
        rows.append(tile_sums(squares.mean(axis=0), side).ravel() / side**2)
    return np.stack(rows)


def _some_rows(image: Float) -> Float:
    """Return bands of rows of a large image, whole periods of the CFA: enough to know the noise."""
    every = -(-image.size // NOISE_PIXELS)
    chosen = np.arange(image.shape[-2]) // NOISE_BAND % every == 0
    return image[..., chosen, :]


def _binned(found: Findings, k: int) -> Float:
    """Return frame ``k`` as planes of means over ``MOTION_BIN`` x ``MOTION_BIN`` photosites."""
    planes = pack(found.linear(k), found.frames[k].info.cfa)
    step = MOTION_BIN // 2 if len(planes) == 4 else MOTION_BIN
    return np.stack([tile_sums(plane, step) / step**2 for plane in planes]).astype(np.float32)


def _squared_slope(planes: Float) -> Float:
    """Return the squared gradient of planes, per pixel; one-sided differences, which see detail of one pixel too."""
    slope = np.zeros_like(planes)
    for axis in (1, 2):
        squares = np.diff(planes, axis=axis) ** 2
        first, last = [(0, 0)] * 3, [(0, 0)] * 3
        first[axis], last[axis] = (1, 0), (0, 1)
        slope += (np.pad(squares, first) + np.pad(squares, last)) / 2
    return slope
