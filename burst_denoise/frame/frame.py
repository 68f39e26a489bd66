"""`Frame`: one decoded exposure; DN to linear and back.

An *image* here is an array of photosites: (H, W) for a Bayer mosaic or a mono picture, (3, H, W) for an RGB picture.
*Linear* means (DN - black level) / (white level - black level), float32, never clipped: values below 0 and above 1
are information.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from burst_denoise.arrays import Float
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.schemas import FrameInfo

__all__ = ["Frame", "RawBorder", "to_dn", "to_linear"]

Dn = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@dataclass(frozen=True)
class RawBorder:
    """The whole sensor array around a frame's active area, so that a written DNG keeps its masked photosites."""

    dn: npt.NDArray[np.uint16]
    """(H, W) uint16, DN: the array as stored, active area included."""
    top: int
    left: int


@dataclass(frozen=True)
class Frame:
    """One decoded exposure: its photosites, what its file says about it, and where it came from."""

    dn: Dn
    """(H, W) or (3, H, W) uint8 or uint16, DN as stored, active area only."""
    info: FrameInfo
    path: Path
    border: RawBorder | None = None

    @property
    def mosaic(self) -> Mosaic:
        """The frame's colour filter array."""
        return Mosaic.of(self.info)

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
    black, scale = _levels(dn.shape, info)
    linear: Float = (dn.astype(np.float32) - black) / scale
    return linear


def to_dn(linear: Float, info: FrameInfo) -> Float:
    """Return linear values as DN, neither rounded nor clipped; the inverse of `to_linear`."""
    black, scale = _levels(linear.shape, info)
    dn: Float = linear * scale + black
    return dn


def _levels(shape: tuple[int, ...], info: FrameInfo) -> tuple[Float, Float]:
    """Return black level and (white - black) as arrays that broadcast over an image of ``shape``."""
    black = Mosaic.of(info).spread(info.black_level, shape)
    return black, np.float32(info.white_level) - black
