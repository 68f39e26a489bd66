"""Where something moved by itself in a static series: blocks that differ by more than noise explains."""

from collections.abc import Callable, Sequence

import numpy as np

from burst_denoise.arrays import Double, Float
from burst_denoise.burst.alignment import tile_sums
from burst_denoise.frame.geometry import blocks
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.schemas import FrameInfo
from burst_denoise.sensor.noise_model import noise_variance
from burst_denoise.sensor.photon_transfer import fit_noise_profile

__all__ = ["MOTION_BLOCK", "moving_blocks"]


MOTION_BIN = 4
"""Photosites per side that are averaged before the chi-square, so that it sees objects rather than noise."""
MOTION_BLOCK = 32
LARGEST_CHI_SQUARE, SPREADS = 4.0, 15.0
"""A block stands out beyond both, the second in robust standard deviations of all blocks. In static bursts the worst
block reached 2.5 (raw) and 13 spreads (S95 JPEGs, whose noise is blotchy); an object that moved has 25 to 90."""
STRAY_BINS = 2
"""The largest squares of each plane of a block are dropped: a flickering photosite must not pass for an object."""
TONE_LEVELS = 32
LOCAL_LIGHT_CHANGE = 0.01
"""Part of the signal by which light may change locally: two lamps that flicker differently are no motion."""
NOISE_PIXELS = 4_000_000
NOISE_BAND = 64
"""The noise of larger images is measured on bands of so many rows."""


def moving_blocks(
    linear: Callable[[int], Float], frames: Sequence[int], info: FrameInfo, allowed_shift: float
) -> list[int]:
    """Return for each frame in how many blocks it differs from all others by more than they do among themselves.

    Parameters
    ----------
    linear : callable
        Gives frame k in linear units, brightness corrected; frames are held in memory one at a time.
    frames : sequence of int, at least 2
        The frames to compare, each with the mean of the others.
    info : FrameInfo
        Of all of them.
    allowed_shift : float
        Photosites by which frames may have moved as a whole: edges may differ by so much of their slope.

    Notes
    -----
    The measure is the reduced chi-square of a block. The noise model comes from the frames themselves; but each block
    is also compared with the same block of the other frames, so a wrong model (camera JPEGs have correlated noise)
    gives no false positives.
    """
    squares = _block_chi_squares(linear, frames, info, allowed_shift)
    if squares is None:
        return [0] * len(frames)
    level = squares / max(float(np.median(squares)), 1.0)
    if len(frames) > 2:  # with two, nobody can tell which one moved: then the typical block has to do
        others = [np.median(np.delete(level, k, axis=0), axis=0) for k in range(len(level))]
        level = level / np.maximum(np.stack(others), 1.0)
    spread = 1.4826 * float(np.median(np.abs(level - np.median(level))))
    beyond = level > max(LARGEST_CHI_SQUARE, 1 + SPREADS * spread)
    # What moved in one frame is in the mean that the others are compared with: only the worst frame is at fault.
    worst = squares == squares.max(axis=0)
    return [int(count) for count in (beyond & worst).sum(axis=1)]


def _block_chi_squares(
    linear: Callable[[int], Float], frames: Sequence[int], info: FrameInfo, allowed_shift: float
) -> Double | None:
    """Return the reduced chi-square (frames, blocks) of each frame against the mean of the others.

    The variance is that of the noise, of the shift that is allowed, and of the local change of light that is allowed;
    None where the noise cannot be measured.
    """
    try:
        profile = fit_noise_profile([(_some_rows(linear(k)) for k in frames)], Mosaic.of(info), info.iso)
    except ValueError:
        return None  # every photosite at the white level, or no noise at all
    total = sum((_binned(linear(k), info) for k in frames), np.zeros(()))
    mean = (total / len(frames)).astype(np.float32)
    noise = noise_variance(mean, profile) / (MOTION_BIN // Mosaic.of(info).period) ** 2 * (1 + 1 / (len(frames) - 1))
    slope = _squared_slope(mean) / MOTION_BIN**2
    variance = (noise + allowed_shift**2 * slope + (LOCAL_LIGHT_CHANGE * mean) ** 2).astype(np.float32)
    rows = []
    for k in frames:
        binned = _binned(linear(k), info)
        difference = (binned - (total - binned) / (len(frames) - 1)).astype(np.float32)
        if info.domain == "rgb":
            difference -= _tone_change(difference, mean)
        rows.append(_block_typical(difference**2 / variance))
    return np.stack(rows)


def _tone_change(difference: Float, mean: Float) -> Float:
    """Return the part of a difference that depends on the level alone; (C, h, w) each.

    A tone curve bends a change of light: where the lamp of the S95 burst gave 2 % more, its shadows rose by 10 %.
    """
    change = np.zeros_like(difference)
    for plane, level, out in zip(difference, mean, change, strict=True):
        parts = np.array_split(np.argsort(level, axis=None), TONE_LEVELS)
        levels = [float(np.median(level.flat[part])) for part in parts if len(part)]
        out += np.interp(level, levels, [float(np.median(plane.flat[part])) for part in parts if len(part)])
    return change


def _block_typical(squares: Float) -> Double:
    """Return the mean of each block of (C, h, w) squares, the largest ``STRAY_BINS`` of each plane left out."""
    side = min(MOTION_BLOCK // MOTION_BIN, *squares.shape[1:])
    flat = blocks(squares, side, side).transpose(1, 3, 0, 2, 4).reshape(-1, len(squares), side * side)
    kept = max(side * side - STRAY_BINS, 1)
    means: Double = np.partition(flat, kept - 1, axis=-1)[..., :kept].mean(axis=(1, 2), dtype=np.float64)
    return means


def _some_rows(image: Float) -> Float:
    """Return bands of rows of a large image, whole periods of the CFA: enough to know the noise."""
    every = -(-image.size // NOISE_PIXELS)
    chosen = np.arange(image.shape[-2]) // NOISE_BAND % every == 0
    return image[..., chosen, :]


def _binned(image: Float, info: FrameInfo) -> Float:
    """Return an image as planes of means over ``MOTION_BIN`` x ``MOTION_BIN`` photosites."""
    mosaic = Mosaic.of(info)
    side = MOTION_BIN // mosaic.period
    return np.stack([tile_sums(plane, side) / side**2 for plane in mosaic.pack(image)]).astype(np.float32)


def _squared_slope(planes: Float) -> Float:
    """Return the squared gradient of planes, per pixel; one-sided differences, which see detail of one pixel too."""
    slope = np.zeros_like(planes)
    for axis in (1, 2):
        before = np.diff(planes, axis=axis, prepend=planes.take([0], axis))
        after = np.diff(planes, axis=axis, append=planes.take([-1], axis))
        slope += (before**2 + after**2) / 2
    return slope
