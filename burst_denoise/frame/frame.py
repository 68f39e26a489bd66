"""`Frame`: one decoded exposure; DN to linear and back.

An *image* here is an array of photosites: (H, W) for a Bayer mosaic or a mono picture, (3, H, W) for an RGB picture.
*Linear* means (DN - black level) / (white level - black level), float32, never clipped: values below 0 and above 1
are information.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from burst_denoise.arrays import Float
from burst_denoise.frame.geometry import BAND, row_bands
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.schemas import FrameInfo, NoiseProfile

__all__ = ["Dn", "Frame", "RawBorder", "to_dn", "to_linear"]

Dn = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | Float


@dataclass(frozen=True)
class RawBorder:
    """The whole sensor array around a frame's active area, so that a written DNG keeps its masked photosites."""

    dn: npt.NDArray[np.uint16]
    """(H, W) uint16, DN: the array as stored, active area included."""
    top: int
    left: int


@dataclass(frozen=True)
class Frame:
    """One exposure: its photosites, what its file says about it, and where it came from."""

    dn: Dn
    """(H, W) or (3, H, W), active area only: uint8 or uint16 DN as stored, or float32 DN of a computed frame (denoised,
    merged), neither rounded nor clipped."""
    info: FrameInfo
    path: Path
    border: RawBorder | None = None
    notes: str = ""
    """How a computed frame was made, as the processing note in its file says."""
    noise_reduction: float = 0.0
    """Share of the noise's standard deviation that was taken away, 0 to 1: DNG's NoiseReductionApplied."""

    @classmethod
    def of_linear(cls, linear: Float, source: "Frame", notes: str) -> "Frame":
        """Return the frame that was computed, in linear units, from a source; it has no noise profile of its own."""
        info = source.info.model_copy(update={"noise_profile": None})
        return cls(to_dn(linear, info), info, source.path, source.border, notes)

    def with_profile(self, profile: NoiseProfile | None) -> "Frame":
        """Return the same frame with another noise profile."""
        return replace(self, info=self.info.model_copy(update={"noise_profile": profile}))

    @property
    def mosaic(self) -> Mosaic:
        """The frame's colour filter array."""
        return Mosaic.of(self.info)

    @property
    def noise_profile(self) -> NoiseProfile | None:
        """Variance S x + O of the frame's noise per plane, linear units; None where it is not known."""
        return self.info.noise_profile

    @property
    def linear(self) -> Float:
        """The frame in linear units, float32, unclipped; same shape as ``dn``."""
        return to_linear(self.dn, self.info)


def to_linear(dn: npt.NDArray[np.generic], info: FrameInfo) -> Float:
    """Return DN as linear values, (dn - black) / (white - black), without clipping.

    Parameters
    ----------
    dn : (H, W) or (3, H, W) array, DN
        Its top left photosite must be that of the active area, or a whole number of CFA periods away from it.
    info : FrameInfo
        Black levels, white level and CFA.

    Returns
    -------
    (H, W) or (3, H, W) float32 array, linear
    """
    linear = np.empty(dn.shape, np.float32)
    for rows, black, scale in _levels(dn.shape, info):
        band = linear[..., rows, :]
        band[...] = dn[..., rows, :]
        band -= black
        band /= scale
    return linear


def to_dn(linear: Float, info: FrameInfo) -> Float:
    """Return linear values as DN, neither rounded nor clipped; the inverse of `to_linear`."""
    dn = np.empty(linear.shape, np.float32)
    for rows, black, scale in _levels(linear.shape, info):
        band = dn[..., rows, :]
        np.multiply(linear[..., rows, :], scale, out=band)
        band += black
    return dn


def _levels(shape: tuple[int, ...], info: FrameInfo) -> Iterator[tuple[slice, Float, Float]]:
    """Yield bands of rows of an image of ``shape``, with black level and (white - black), which broadcast over each."""
    *_, height, width = shape
    size = (min(BAND, height), width)
    black = Mosaic.of(info).spread(info.black_level, size)
    scale = np.float32(info.white_level) - black
    for rows in row_bands(height):
        if black.ndim == 2:  # they differ from row to row, and the last band has fewer
            yield rows, black[: rows.stop - rows.start], scale[: rows.stop - rows.start]
        else:
            yield rows, black, scale
