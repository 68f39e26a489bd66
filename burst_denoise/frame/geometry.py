"""Geometry of an image: the eight flips and rotations, blocks, and the tile plan."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from burst_denoise.arrays import Float

__all__ = [
    "BAND",
    "DIHEDRAL",
    "Tile",
    "Window",
    "blocks",
    "centre_window",
    "dihedral",
    "dihedral_inverse",
    "plan_tiles",
    "reflected",
    "row_bands",
    "spread_windows",
]

T = TypeVar("T", bound=np.generic)

Window = tuple[slice, slice]
"""Rows and columns of a part of an image."""

DIHEDRAL = range(8)
"""Transform k turns by k % 4 quarter turns counter-clockwise, after a left-right flip when k >= 4."""


BAND = 32
"""Rows worked on at a time, even, for a mosaic repeats in twos: what is computed for them stays in the cache."""


def row_bands(height: int) -> Iterator[slice]:
    """Yield the rows of an image in bands of `BAND`, from the top; the last may be smaller.

    To go through an image band by band takes no memory of its own, and where several steps follow each other half the
    time.
    """
    for top in range(0, height, BAND):
        yield slice(top, min(top + BAND, height))


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


def centre_window(shape: tuple[int, ...], side: int) -> Window:
    """Return the centre of an image (..., H, W), ``side`` wide and high at most.

    It begins at an even row and column, so that a mosaic keeps its phase.
    """
    rows, columns = (slice(start := max(0, size - side) // 4 * 2, start + min(size, side)) for size in shape[-2:])
    return rows, columns


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


def reflected(image: npt.NDArray[T], window: Window) -> npt.NDArray[T]:
    """Return a window of an image (..., H, W) that may reach beyond it on all sides, where the image is reflected.

    Parameters
    ----------
    image : (..., H, W) array
    window : (rows, columns) slices
        Counted from the top left of the image; what lies before is negative.

    Returns
    -------
    array
        As ``np.pad`` with ``mode="reflect"`` would have it; a view where nothing lies beyond.
    """
    part = image
    for axis, span in zip((-2, -1), window, strict=True):
        size = image.shape[axis]
        if span.start >= 0 and span.stop <= size:
            part = part[..., span, :] if axis == -2 else part[..., span]
        else:
            last = max(size - 1, 1)
            away = np.abs(np.arange(span.start, span.stop)) % (2 * last)
            part = part.take(np.minimum(last - np.abs(last - away), size - 1), axis)
    return part


@dataclass(frozen=True)
class Tile:
    """One tile of an image: what to read (with its halo), and what it contributes."""

    read: tuple[slice, slice]
    """Rows and columns in the image, which they may reach beyond; see `reflected`."""
    write: tuple[slice, slice]
    """Rows and columns in the image."""


def plan_tiles(height: int, width: int, tile: int, margin: int, step: int = 1) -> Iterator[Tile]:
    """Yield tiles that cover an image exactly once, each read with ``margin`` around it.

    Parameters
    ----------
    height, width : int
        Size of the image.
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
            below, right = (-(-size // step) * step + margin for size in (rows, columns))
            read = slice(top - margin, top + below), slice(left - margin, left + right)
            yield Tile(read, write=(slice(top, top + rows), slice(left, left + columns)))
