"""`Frame`: one decoded exposure; DN to linear and back; mosaic to planes and back.

An *image* here is an array of photosites: (H, W) for a Bayer mosaic or a mono picture, (3, H, W) for an RGB picture.
*Linear* means (DN - black level) / (white level - black level), float32, never clipped: values below 0 and above 1
are information.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from burst_denoise.arrays import Float
from burst_denoise.schemas import Domain, FrameInfo

__all__ = ["BAYER_PHASES", "PLANES", "Frame", "RawBorder", "pack", "plane_count", "to_dn", "to_linear", "unpack"]

BAYER_PHASES = ("RGGB", "GRBG", "GBRG", "BGGR")
PLANES: Mapping[Domain, tuple[str, ...]] = {
    "bayer": ("R", "G1", "G2", "B"),
    "rgb": ("R", "G", "B"),
    "mono": ("mono",),
}
"""Names of the planes that `pack` makes of a frame, in its order."""

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
    def linear(self) -> Float:
        """The frame in linear units, float32, unclipped; same shape as ``dn``."""
        return to_linear(self.dn, self.info)


def plane_count(domain: Domain) -> int:
    """Return how many planes `pack` makes of a frame: 4 for Bayer, 1 for mono, 3 for rgb."""
    return len(PLANES[domain])


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
    black = np.asarray(info.black_level, np.float32)
    if info.cfa is not None and not (black == black[0]).all():
        height, width = shape
        r, g1, g2, b = _plane_offsets(info.cfa)
        tile = np.empty((2, 2), np.float32)
        for value, (row, column) in zip(black, (r, g1, g2, b), strict=True):
            tile[row, column] = value
        black = np.tile(tile, ((height + 1) // 2, (width + 1) // 2))[:height, :width]
    elif info.domain == "rgb":
        black = black[:, None, None]
    else:
        black = black[:1]
    return black, np.float32(info.white_level) - black


def pack(image: npt.NDArray[np.float32], cfa: str | None) -> Float:
    """Return the planes of an image; a Bayer mosaic gives R, G1, G2, B whatever its phase.

    Parameters
    ----------
    image : (H, W) or (3, H, W) float32 array
    cfa : "RGGB", "GRBG", "GBRG", "BGGR" or None
        Colours of the top left 2x2 photosites; None for mono and rgb.

    Returns
    -------
    (C, h, w) float32 array
        Bayer: G1 is the green in the rows of red, G2 the green in the rows of blue. A mosaic whose phase is not RGGB or
        whose size is odd is extended by reflection (which keeps the CFA phase), so every photosite is in a plane;
        h = ceil((H + row offset of red) / 2). `unpack` takes the extension off again.
    """
    if cfa is None:
        return image[None] if image.ndim == 2 else image
    top, left = _red_padding(cfa)
    height, width = image.shape
    padded = np.pad(image, ((top, (height + top) % 2), (left, (width + left) % 2)), mode="reflect")
    planes: Float = np.stack([padded[row::2, column::2] for row, column in ((0, 0), (0, 1), (1, 0), (1, 1))])
    return planes


def unpack(planes: Float, cfa: str | None, shape: tuple[int, ...]) -> Float:
    """Return the image of ``shape`` whose `pack` is ``planes``: the exact inverse."""
    if cfa is None:
        return planes.reshape(shape)
    top, left = _red_padding(cfa)
    _, height, width = planes.shape
    mosaic = np.empty((2 * height, 2 * width), planes.dtype)
    for plane, (row, column) in zip(planes, ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True):
        mosaic[row::2, column::2] = plane
    return mosaic[top : top + shape[0], left : left + shape[1]]


def _plane_offsets(cfa: str) -> tuple[tuple[int, int], ...]:
    """Return the (row, column) in the 2x2 period of R, G1 (row of red), G2 (row of blue), B."""
    red_row, red_column = divmod(cfa.index("R"), 2)
    return (
        (red_row, red_column),
        (red_row, 1 - red_column),
        (1 - red_row, red_column),
        (1 - red_row, 1 - red_column),
    )


def _red_padding(cfa: str) -> tuple[int, int]:
    """Return how many rows and columns to put before a mosaic so that it starts with red."""
    if cfa not in BAYER_PHASES:
        raise ValueError(f"cfa {cfa!r} is not one of {BAYER_PHASES}")
    return divmod(cfa.index("R"), 2)
