"""Frames of a camera that was moved by whole pairs of photosites: of the same colours there, so they can be merged."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from burst_denoise.arrays import Float, Mask
from burst_denoise.burst.alignment import displacement, grey_picture
from burst_denoise.burst.burst import Burst
from burst_denoise.burst.checks import LARGEST_LIGHT_CHANGE, LARGEST_SHIFT
from burst_denoise.errors import SeriesError
from burst_denoise.files import disk_refusals
from burst_denoise.frame.frame import Frame

__all__ = ["MovedFrame", "move_into_place"]

Shifted = TypeVar("Shifted", Float, Mask)

LEAST_OVERLAP = 0.5
"""Share of the scene that a frame must show."""


@dataclass(frozen=True)
class MovedFrame:
    """A frame in the place of those of a burst; its arrays are mapped from disk."""

    name: str
    """Name of its file."""
    down: int
    """Photosites by which its picture had moved."""
    right: int
    linear: Float
    """(H, W) or (3, H, W), dark subtracted and as bright as the burst; not a number where it is defective or shows
    nothing."""
    saturated: Mask
    """Same shape: where it is at the white level."""


def move_into_place(frame: Frame, burst: Burst, mean: Float, folder: Path) -> MovedFrame:
    """Move a frame to where the frames of a burst stand, by whole periods of the mosaic.

    Parameters
    ----------
    frame : Frame
        As it was shot, equal to those of the burst in sensor, ISO and exposure.
    burst : Burst
    mean : (H, W) or (3, H, W) float32 array, linear
        Of the burst.
    folder : Path
        Where its arrays wait on disk.

    Raises
    ------
    SeriesError
        If it moved by anything else, its light is another, or it shows less than half of the scene: in words.
    """
    linear = frame.linear
    if burst.dark is not None:
        linear -= burst.dark
    if burst.repair is not None:
        burst.repair.mend(linear)
    found = displacement(grey_picture(mean, burst.mosaic), grey_picture(linear, burst.mosaic), LARGEST_SHIFT)
    if found is None:
        raise SeriesError("where it stands cannot be measured")
    (right, down), corners = found
    period = burst.mosaic.period
    steps = [period * round(float(moved) / period) for moved in (down, right)]
    if max(np.hypot(down - steps[0], right - steps[1]), np.hypot(*corners)) > LARGEST_SHIFT:
        raise SeriesError(f"moved by ({down:.2f}, {right:.2f}) px, which is no whole number of pairs of photosites")
    saturated = frame.dn >= frame.info.white_level
    if burst.defects is not None:
        linear[burst.defects] = np.nan
        saturated &= ~burst.defects
    linear, saturated = _shifted(linear, steps, np.nan), _shifted(saturated, steps, False)
    shown = np.isfinite(linear) & ~saturated & ~burst.excluded
    if shown.mean() < LEAST_OVERLAP:
        raise SeriesError(f"shows {shown.mean():.0%} of the scene")
    pairs = zip(*(burst.mosaic.parts(np.where(shown, image, 0)) for image in (linear, mean)), strict=True)
    gains = [float(own.sum(dtype=np.float64) / of_burst.sum(dtype=np.float64)) for own, of_burst in pairs]
    if not np.abs(np.array(gains) - 1).max() <= LARGEST_LIGHT_CHANGE:
        raise SeriesError("its light is another")
    places = [folder / f"{frame.path.name}.{part}.npy" for part in ("linear", "saturated")]
    with disk_refusals(folder):
        for place, image in zip(places, (burst.mosaic.evened(linear, gains), saturated), strict=True):
            np.save(place, image)
    mapped = (np.load(place, mmap_mode="r") for place in places)
    return MovedFrame(frame.path.name, steps[0], steps[1], *mapped)


def _shifted(image: Shifted, steps: Sequence[int], beyond: float) -> Shifted:
    """Return an image moved back up and left by ``steps``, filled with ``beyond``."""
    moved = np.full_like(image, beyond)
    here, there = (
        [
            slice(max(0, sign * step), size - max(0, -sign * step))
            for step, size in zip(steps, image.shape[-2:], strict=True)
        ]
        for sign in (-1, 1)
    )
    moved[..., here[0], here[1]] = image[..., there[0], there[1]]
    return moved
