"""Pictures in square chunks: split one of any size, join its chunks again, one chunk in memory at a time."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from burst_denoise.arrays import Index

__all__ = ["join", "reflected", "split"]

Array = npt.NDArray[Any]


def reflected(length: int, side: int) -> Index:
    """Return 0 to length - 1 and on by reflection to the next multiple of ``side``, as often as that takes."""
    return np.pad(np.arange(length), (0, -length % side), mode="reflect")


def split(picture: Array, side: int) -> Iterator[Array]:
    """Yield the chunks of a picture row by row; the last of a row or column goes on by reflection.

    Parameters
    ----------
    picture : (..., H, W) array
        Of any size, smaller than a chunk included; a memory map is read chunk by chunk.
    side : int
        Of a chunk, pixels.

    Yields
    ------
    (..., side, side) array
        A view of the picture where no reflection is needed.

    Raises
    ------
    ValueError
        If the picture has no pixels or ``side`` is less than 1.
    """
    height, width = picture.shape[-2:]
    if not picture.size or side < 1:
        raise ValueError(f"cannot split a picture of {height}x{width} into chunks of {side}; both need a pixel")
    every_row, every_column = reflected(height, side), reflected(width, side)
    for rows, columns in _places(height, width, side):
        if rows.stop - rows.start == columns.stop - columns.start == side:
            yield picture[..., rows, columns]
        else:
            chunk_rows = every_row[rows.start : rows.start + side]
            yield picture[..., chunk_rows[:, None], every_column[columns.start : columns.start + side]]


def join(chunks: Iterable[Array], shape: tuple[int, ...], side: int, *, out: Array | None = None) -> Array:
    """Return the picture of which `split` gave these chunks.

    Parameters
    ----------
    chunks : iterable of (..., side, side) arrays
        In the order of `split`.
    shape : tuple of int
        Of the picture, (..., H, W).
    side : int
    out : (..., H, W) array, optional
        Is written into and returned, such as a memory map; otherwise an array of the chunks' type.

    Raises
    ------
    ValueError
        If there are too few chunks or too many.
    """
    for (rows, columns), chunk in zip(_places(*shape[-2:], side), chunks, strict=True):
        if out is None:
            out = np.empty(shape, chunk.dtype)
        out[..., rows, columns] = chunk[..., : rows.stop - rows.start, : columns.stop - columns.start]
    if out is None:
        raise ValueError(f"a picture of {shape} has no pixels to join")
    return out


def _places(height: int, width: int, side: int) -> Iterator[tuple[slice, slice]]:
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield slice(top, min(top + side, height)), slice(left, min(left + side, width))
