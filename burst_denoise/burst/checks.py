"""The checks of the frames of a series, each frame against the mean of the *other* good ones.

Saturation, shift, light, focus, motion, in this order. A frame gets the first reason that applies: what has moved has
other detail, other brightness here and there, and other blocks, for one and the same reason.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from burst_denoise.arrays import Double, Float
from burst_denoise.burst.alignment import Alignment, align, grey_picture, tile_sums
from burst_denoise.burst.flicker import band_amplitudes
from burst_denoise.burst.motion import MOTION_BLOCK, moving_blocks
from burst_denoise.frame.frame import Frame
from burst_denoise.schemas import Reason

__all__ = ["Findings", "check_all"]


LARGEST_SATURATED = 0.25
"""Share of photosites at white: they are masked from training, and a frame that loses a quarter teaches little."""
LARGEST_SATURATED_EXCESS = 0.10
"""The same above the median frame: a lamp in the picture, not a little more light."""

LARGEST_LIGHT_CHANGE = 0.03
"""Real lamps and clouds drift (a Canon S95 burst by 2.4 %): corrected up to here, rejected beyond."""
LARGEST_COLOUR_CHANGE = 0.10
"""Change of one colour relative to that of all light: the blue of the S95 burst drifts by 6 %. Beyond, the white
balance was set anew."""
LARGEST_BAND = 0.01
"""Amplitude of bands across the frame, relative to the brightness: what motion allows light to change at a place."""
LIGHT_BLOCK = 32
EXCESS_SIGMA = 2.0
"""Standard errors by which a change of the light must exceed the largest: in a dark scene at ISO 6400 2 % read as 3."""

LARGEST_SHIFT = 0.25
"""Photosites: a mosaic shows residue at edges from 0.1 to 0.2 on; tripods stay within 0.13 (S95 burst)."""

LARGEST_FOCUS_LOSS = 0.08
"""Drop of the contrast of fine detail. Measured: a shift of 0.25 photosites, which is allowed, costs 2 %, a blur of 0.4
photosites 3 %, of 0.6 10 to 16 %, of 1.2 35 to 48 %."""
FOCUS_PX = 1.0
"""Standard deviation of the blur that separates fine detail, grey pixels."""
FOCUS_TILE = 16
LEAST_DETAIL = 0.3
"""Share of the mean's fine detail that is not noise; below that (dark, flat) there is nothing to be in focus."""

MOTION_BLOCKS = 2
"""An object leaves one place and covers another; a single block may be a cosmic ray."""
SIGMAS = 5.0
"""What is not this many standard errors beyond the normal is not held against a frame."""


class Findings:
    """What is known so far about each frame; the checks write into it one after another."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = frames
        self.reasons: list[Reason | None] = [None] * len(frames)
        self.details = [""] * len(frames)
        self.gains = np.full(len(frames), np.nan)
        """Gain of each frame, all colours together; nan where it could not be measured."""
        self.gain_errors = np.zeros(len(frames))
        """Standard errors of ``gains``."""
        self.balances = np.full((len(frames), len(frames[0].mosaic.plane_names)), np.nan)
        """Brightness of each plane relative to the series; nan where it could not be measured."""
        self.shifts = np.full(len(frames), np.nan)

    def reject(self, k: int, reason: Reason, detail: str) -> None:
        """Note the reason against frame ``k``, and the finding in words."""
        self.reasons[k] = reason
        self.details[k] = detail

    def good(self) -> list[int]:
        """Return the frames that nothing was found against so far."""
        return [k for k, reason in enumerate(self.reasons) if reason is None]

    def plane_gains(self, k: int) -> tuple[float, ...] | None:
        """Return the brightness of each plane of frame ``k``, of all light where it is not known, None if that is not.

        A plane too dark to tell has the brightness of all.
        """
        if np.isnan(self.gains[k]):
            return None
        return tuple(float(own) for own in np.where(np.isnan(self.balances[k]), self.gains[k], self.balances[k]))

    def linear(self, k: int) -> Float:
        """Return frame ``k`` in linear units, brightness and colour corrected where they are known."""
        frame, gains = self.frames[k], self.plane_gains(k)
        return frame.linear if gains is None else frame.mosaic.evened(frame.linear, gains)


def check_all(frames: Sequence[Frame]) -> Findings:
    """Return what all checks find about frames of equal size, levels and exposure; the order does not matter."""
    found = Findings(frames)
    _check_saturation(found)
    _measure_gains(found)
    _check_shift(found)
    _check_light(found)
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


def _measure_gains(found: Findings) -> None:
    """Measure the brightness of each frame and its planes against the median of the others, block by block."""
    good = found.good()
    if not good:
        return
    planes = np.stack([_block_means(found.frames[k], found.frames[k].linear) for k in good])
    white = np.stack([_block_means(found.frames[k], _saturated(found.frames[k]).astype(np.float32)) for k in good])
    unclipped = ~white.any(axis=(0, 1))
    if unclipped.any():
        planes = planes[..., unclipped]
    found.gains[good], found.gain_errors[good] = _relative_brightness(planes.mean(axis=1))
    for plane in range(planes.shape[1]):
        found.balances[good, plane], _ = _relative_brightness(planes[:, plane])


def _relative_brightness(blocks: Double) -> tuple[Double, Double]:
    """Return the brightness of frames (N, blocks) relative to their median, and its standard errors.

    nan where it is too dark to tell.
    """
    gains, errors = np.ones(len(blocks)), np.zeros(len(blocks))
    for _ in range(4):  # the others are brought to equal brightness by what the last round found
        level = blocks / gains[:, None]
        for k in range(len(blocks)):
            others = np.median(np.delete(level, k, axis=0), axis=0) if len(blocks) > 1 else level[k]
            gains[k], errors[k] = _ratio(blocks[k], others, others)
        gains /= np.median(gains)
    # Unknown where it is too dark to tell, and then no harm either.
    return np.where(errors * SIGMAS < LARGEST_LIGHT_CHANGE, gains, np.nan), errors


def _ratio(values: Double, reference: Double, weights: Double) -> tuple[float, float]:
    """Return the factor between sums that are mostly proportional, their weighted median, and its standard error.

    The variance of a sum is taken to grow with ``reference``, as that of light does.
    """
    usable = reference > 0
    if not usable.any():
        return 1.0, float("inf")
    values, reference, weights = values[usable], reference[usable], weights[usable]
    ratios = values / reference
    order = np.argsort(ratios)
    total = np.cumsum(weights[order])
    factor = float(ratios[order[np.searchsorted(total, total[-1] / 2)]])
    spread = 1.4826 * float(np.median(np.abs(ratios - factor) * np.sqrt(reference)))
    share = weights / weights.sum()
    # A median errs 1.25 times as much as a mean.
    return factor, 1.25 * spread * float(np.sqrt(np.sum(share**2 / reference)))


def _block_means(frame: Frame, image: Float) -> Double:
    """Return the means (C, blocks) of square blocks of the planes of an image of a frame."""
    planes = frame.mosaic.pack(image)
    side = LIGHT_BLOCK // frame.mosaic.period
    high, wide = (min(side, size) for size in planes.shape[1:])
    means: Double = np.stack([tile_sums(plane, side).ravel() for plane in planes]) / (high * wide)
    return means


def _check_shift(found: Findings) -> None:
    usable = found.good()
    if len(usable) < 2:
        return
    greys = (grey_picture(found.linear(k), found.frames[k].mosaic) for k in usable)
    alignment = align(greys, LARGEST_SHIFT)
    found.shifts[usable] = np.hypot(*alignment.shifts.T)
    for place, k in enumerate(usable):
        if place not in alignment.inliers:
            found.reject(k, "shift", _movement(alignment, place))


def _movement(alignment: Alignment, place: int) -> str:
    """Return in words how a frame moved that does not agree with the others."""
    distance, (outwards, around) = float(np.hypot(*alignment.shifts[place])), np.abs(alignment.corners[place])
    if not alignment.inliers:
        return f"not static: no two frames agree; this one lies {distance:.2f} px from the one compared with"
    if not np.hypot(outwards, around) > LARGEST_SHIFT:
        return f"moved by {distance:.2f} px against the series"
    cause = "zoomed, as a lens does that focuses anew" if outwards > around else "turned"
    text = f"{cause}: its corners moved by {np.hypot(outwards, around):.2f} px against the series"
    return f"moved by {distance:.2f} px and {text}" if distance > LARGEST_SHIFT else text


def _check_light(found: Findings) -> None:
    good = found.good()
    for k in good:
        gain = found.gains[k]
        balance = np.asarray(found.plane_gains(k) or 1.0) / (1.0 if np.isnan(gain) else gain)
        if abs(gain - 1) > LARGEST_LIGHT_CHANGE + EXCESS_SIGMA * found.gain_errors[k]:
            found.reject(k, "light", f"{abs(gain - 1):.1%} {'brighter' if gain > 1 else 'darker'} than the series")
        elif np.abs(balance - 1).max() > LARGEST_COLOUR_CHANGE:
            plane = int(np.abs(balance - 1).argmax())
            name = found.frames[k].mosaic.plane_names[plane]
            found.reject(k, "light", f"of another colour than the series: {name} {balance[plane] - 1:+.0%}")
    if len(good) > 1:
        amplitudes = band_amplitudes(found.linear, good, found.frames[good[0]].mosaic)
        for k in (k for k, amplitude in zip(good, amplitudes, strict=True) if amplitude > LARGEST_BAND):
            if found.reasons[k] is None:
                found.reject(k, "light", "bands of brightness move from frame to frame (flicker)")


def _check_focus(found: Findings) -> None:
    """Compare the contrast of fine detail with that of the mean of the others.

    The slope of a frame's fine detail over the mean's is not changed by noise, because their noises are independent.
    """
    good = found.good()
    if len(good) < 2:
        return
    total = sum((_fine_detail(found, k) for k in good), np.zeros(()))
    slopes, errors = np.zeros(len(good)), np.zeros(len(good))
    for place, k in enumerate(good):
        detail = _fine_detail(found, k)
        others = ((total - detail) / (len(good) - 1)).astype(np.float32)
        shared = tile_sums(detail * others, FOCUS_TILE).ravel()
        energy = tile_sums(others * others, FOCUS_TILE).ravel()
        # Capped, so that a sharp object that moved does not decide for a soft scene.
        weights = np.minimum(energy, np.quantile(energy, 0.75))
        slopes[place], errors[place] = _ratio(shared, energy, weights)
    typical = float(np.median(slopes))
    if typical < LEAST_DETAIL:
        return
    for slope, error, k in zip(slopes, errors, good, strict=True):
        loss = 1 - slope / typical
        if loss > LARGEST_FOCUS_LOSS and loss * typical > SIGMAS * error:
            found.reject(k, "focus", f"fine detail has {loss:.0%} less contrast than in the series")


def _fine_detail(found: Findings, k: int) -> Float:
    grey, _ = grey_picture(found.linear(k), found.frames[k].mosaic)
    return grey - cv2.GaussianBlur(grey, (0, 0), FOCUS_PX)


def _check_motion(found: Findings) -> None:
    """Look for blocks that differ from the mean of the others, until no frame stands out any more."""
    while True:
        good = found.good()
        if len(good) < 2:
            return
        moving = moving_blocks(found.linear, good, found.frames[good[0]].info, LARGEST_SHIFT)
        if max(moving) < MOTION_BLOCKS:
            return
        for k, blocks in zip(good, moving, strict=True):
            # The worst go first: what moved in them spoils the mean and the noise model for the others in this round.
            if blocks >= max(MOTION_BLOCKS, max(moving) / 4):
                detail = f"something moved: {blocks} blocks of {MOTION_BLOCK} px differ from the series"
                found.reject(k, "motion", detail)
