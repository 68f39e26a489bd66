"""Whether a frame is a dark frame (lens capped): told by its level and by the absence of structure."""

import math

import cv2
import numpy as np

from burst_denoise.arrays import Float, Mask
from burst_denoise.frame.frame import Frame
from burst_denoise.sensor.fixed_pattern import from_median

__all__ = ["BRIGHTEST", "bright_parts", "is_dark"]


BRIGHTEST = 0.05
"""Share of white that the brightest parts of a dark frame may reach; in a picture of anything they reach more."""
LARGEST_LEVEL, LARGEST_LEVEL_SIGMA = 1e-3, 1.0
"""Distance of a plane's mean from black: in shares of white, for black levels are rounded, or in standard deviations of
the noise, for not every camera subtracts its dark current."""
LARGEST_COLOUR, LARGEST_COLOUR_SIGMA = 2e-4, 0.1
"""The same for the difference of two planes: most light is coloured, dark current is not."""
PARTS = ((4, 0.08), (16, 0.03))
"""Side of the parts of a frame that are compared, plane pixels, and how much they may differ from those around them,
beyond what independent noise explains, in standard deviations of a photosite's noise. A real CCD's dark frames: 0;
astronaut() at 1 % exposure: 0.10 at ISO 6400, 0.15 at 1600. Neighbours may be correlated a little."""
FEWEST_PARTS = 32
"""Along a side, for all but the smallest parts: slow glow of an amplifier is no structure."""
SPOT_SIGMA, MOST_SPOTS = 3.5, 2e-5
"""Three photosites of one cell of the mosaic that stand out by so much are a point of light, not hot photosites. So
large a share of the cells may: cosmic rays, clusters of defects; where one photosite in a hundred is hot, 4e-6 do."""
CLIP_SIGMA = 4.0
"""Where defects are cut off."""


def is_dark(frame: Frame) -> bool:
    """Return whether a raw frame was shot in the dark: nothing brighter than a capped lens shows, and no structure.

    Row and column noise, defects and the slow glow of an amplifier may be there. A picture is never one: its file does
    not say where black is.

    Notes
    -----
    What is looked for, beyond a level above black: a difference of colours; parts of the frame that differ from those
    around them by more than independent noise; points of light, seen in several colours at one place. Light of less
    than a third of an electron per photosite goes unseen in a single frame.
    """
    if frame.info.domain != "bayer":
        return False
    planes = frame.mosaic.pack(frame.linear)
    if abs(float(np.median(planes[:, ::8, ::8]))) > BRIGHTEST or bright_parts(frame.linear) > BRIGHTEST:
        return False
    levels, sigmas, residuals, standing_out = zip(*map(_noise, planes), strict=True)
    sigma = float(np.mean(sigmas))
    if (
        sigma == 0
        or max(map(abs, levels)) > max(LARGEST_LEVEL, LARGEST_LEVEL_SIGMA * sigma)
        or max(levels) - min(levels) > max(LARGEST_COLOUR, LARGEST_COLOUR_SIGMA * sigma)
    ):
        return False
    spots = np.sum(standing_out, axis=0) >= 3
    if spots.sum() > max(2, MOST_SPOTS * spots.size):
        return False
    grey = np.mean(residuals, axis=0)
    sides = [PARTS[0], *(part for part in PARTS[1:] if min(grey.shape) >= part[0] * FEWEST_PARTS)]
    return all(_structure(grey, side) <= largest * sigma for side, largest in sides)


def bright_parts(linear: Float) -> float:
    """Return what the brightest hundredth of the parts of a frame reach, linear; 16 x 16 average defects away."""
    height, width = linear.shape[-2:]
    size = (max(1, width // 16), max(1, height // 16))
    parts = [cv2.resize(layer, size, interpolation=cv2.INTER_AREA) for layer in linear.reshape(-1, height, width)]
    return float(np.quantile(np.stack(parts), 0.99))


def _noise(plane: Float) -> tuple[float, float, Float, Mask]:
    """Return mean, noise (standard deviation), the rest without lines and defects, and what stands out of a plane."""
    some = plane[:: max(1, len(plane) // 400)]
    steps = np.diff(some, axis=1).ravel()
    sigma = float(steps.std())
    for _ in range(6):
        inner = steps[np.abs(steps) < CLIP_SIGMA * sigma]
        sigma = float(inner.std()) if inner.size else 0.0
    reach = np.float32(CLIP_SIGMA * sigma)
    middle = np.median(some)
    for _ in range(3):
        middle = np.clip(some, middle - reach, middle + reach).mean(dtype=np.float64).astype(np.float32)
    # Defects depart from what is around them, not from the mean of a plane that may glow in a corner.
    away = from_median(plane)
    sigma /= 2**0.5
    rest = plane - away + np.clip(away, -CLIP_SIGMA * sigma, CLIP_SIGMA * sigma)
    rest -= rest.mean(axis=1, keepdims=True)
    rest -= rest.mean(axis=0, keepdims=True)
    return float(middle), sigma, rest, away > SPOT_SIGMA * sigma


def _structure(grey: Float, side: int) -> float:
    """Return by how much parts differ from their neighbours beyond independent noise, linear; 0 where they do not."""
    height, width = (size // side for size in grey.shape)
    if min(height, width) < 3:
        return 0.0
    noise = float(np.mean(np.diff(grey, axis=0) ** 2) + np.mean(np.diff(grey, axis=1) ** 2)) / 4
    parts = cv2.resize(grey[: height * side, : width * side], (width, height), interpolation=cv2.INTER_AREA)
    expected = noise / side**2 * 8 / 9  # a ninth goes with the mean of nine
    found = np.minimum((parts - cv2.blur(parts, (3, 3))) ** 2, 36 * expected)
    chance = 5 * expected * (2 / parts.size) ** 0.5
    excess = max(float(found.mean()) - expected - chance, 0.0)
    return math.sqrt(excess)
