"""Geometry of an image: the eight flips and rotations, blocks, and the tile plan."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from burst_denoise.arrays import Float

__all__ = ["DIHEDRAL", "Tile", "Window", "blocks", "dihedral", "dihedral_inverse", "plan_tiles", "spread_windows"]

T = TypeVar("T", bound=np.generic)

Window = tuple[slice, slice]
"""Rows and columns of a part of an image."""

DIHEDRAL = range(8)
"""Transform k turns by k % 4 quarter turns counter-clockwise, after a left-right flip when k >= 4."""


def dihedral(image: npt.NDArray[T], k: int) -> npt.NDArray[T]:
    """Return one of the eight flips and rotations of the last two axes of an image (a view where possible)."""
    flipped = image[..., ::-1] if k >= 4 else image
    return np.rot90(flipped, k % 4, axes=(-2, -1))


def dihedral_inverse(image: Float, k: int) -> Float:
    """Return the image whose `dihedral` transform ``k`` is ``image``."""
    turned = np.rot90(image, -(k % 4), axes=(-2, -1))
    return turned[..., ::-1] if k >= 4 else turned


def blocks(image: npt.NDArray[T], height: int, width: int) -> npt.NDArray[T]:
    """Return the whole blocks of an image (..., H, W) as (..., rows, height, columns, width); the rest is cut off."""
    rows, columns = image.shape[-2] // height, image.shape[-1] // width
    whole = image[..., : rows * height, : columns * width]
    return whole.reshape(*image.shape[:-2], rows, height, columns, width)


def spread_windows(shape: tuple[int, ...], side: int, most: int) -> list[Window]:
    """Return windows spread evenly over an image: all of it where that takes few, else a sample.

    Parameters
    ----------
    shape : (..., H, W)
        Of the image.
    side : int
        Of a window, even; an image smaller than that is one window.
    most : int
        How many windows there are at most, about.

    Returns
    -------
    list of windows
        They begin at even rows and columns, so each has the colour filter array of the image.
    """
    height, width = shape[-2:]
    rows, columns = -(-height // side), -(-width // side)
    share = min(1.0, (most / (rows * columns)) ** 0.5)

    def begins(size: int, count: int) -> list[int]:
        spread = np.linspace(0, max(size - side, 0), max(1, round(count * share)))
        return [int(begin) // 2 * 2 for begin in spread]

    return [
        (slice(top, top + side), slice(left, left + side))
        for top in begins(height, rows)
        for left in begins(width, columns)
    ]


@dataclass(frozen=True)
class Tile:
    """One tile of an image: what to read (with its halo), and what it contributes."""

    read: tuple[slice, slice]
    """Rows and columns in the image extended by `margin` on all sides."""
    write: tuple[slice, slice]
    """Rows and columns in the image."""


def plan_tiles(height: int, width: int, tile: int, margin: int, step: int = 1) -> Iterator[Tile]:
    """Yield tiles that cover an image exactly once, each read with ``margin`` around it.

    Parameters
    ----------
    height, width : int
        Size of the image. It must have been extended by ``margin`` on all four sides, and at the bottom and right by
        what brings it to a multiple of ``step``.
    tile : int
        Side of what a tile contributes; rounded up to a multiple of ``step``.
    margin : int
        At least the receptive radius of what runs on the tile, a multiple of ``step``: then the result does not depend
        on ``tile``.
    step : int
        Tiles begin at multiples of it, so that a network that halves its planes sees the same grid in every tile.

    Raises
    ------
    ValueError
        If ``margin`` is not a multiple of ``step``.
    """
    if margin % step:
        raise ValueError(f"margin {margin} is not a multiple of step {step}")
    side = -(-tile // step) * step
    for top in range(0, height, side):
        for left in range(0, width, side):
            rows, columns = min(side, height - top), min(side, width - left)
            read_rows, read_columns = (-(-size // step) * step + 2 * margin for size in (rows, columns))
            read = slice(top, top + read_rows), slice(left, left + read_columns)
            yield Tile(read, write=(slice(top, top + rows), slice(left, left + columns)))
