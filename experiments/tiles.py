"""Pairs of monochrome tiles cut from pairs of pictures, and shuffled: in memory, or read from a file as they are drawn.

A pair of pictures is cut into squares from its top left, what is left over at the right and the bottom is not used, and
each colour channel is a tile of its own. Tiles are numbered by picture, row, column and channel; both tiles of a pair
have the same number. Shuffling is of numbers alone, so that pairs stay pairs and both ways of keeping them agree.
"""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from burst_denoise.arrays import Index, Picture

__all__ = ["TileFile", "TilesInMemory", "cut_tiles", "shuffled_split", "tile_count", "write_tiles"]

PicturePair = tuple[Picture, Picture]
"""Noisy and clean picture, (H, W, channels) each, of one size."""


def tile_count(height: int, width: int, side: int, pictures: int = 1, channels: int = 3) -> int:
    """Return how many pairs of tiles a number of pairs of pictures gives.

    Examples
    --------
    >>> tile_count(3456, 5184, 28, pictures=16)
    1092240
    """
    return (height // side) * (width // side) * channels * pictures


def cut_tiles(picture: Picture, side: int) -> npt.NDArray[np.uint8]:
    """Return the tiles (N, side, side) of a picture (H, W, channels), a view of it where possible."""
    rows, columns = (size // side for size in picture.shape[:2])
    whole = picture[: rows * side, : columns * side].reshape(rows, side, columns, side, -1)
    return whole.transpose(0, 2, 4, 1, 3).reshape(-1, side, side)


def shuffled_split(count: int, validation_share: float, rng: np.random.Generator) -> tuple[Index, Index]:
    """Return the numbers of the tiles of the training and of the validation: the same mixture of pictures in both."""
    numbers = rng.permutation(count)
    held_out = round(validation_share * count)
    return numbers[held_out:], numbers[:held_out]


class TilesInMemory:
    """All tiles of pairs of pictures, uint8: 16 pairs of 5184x3456 take 1.71 GB as tiles of 28 pixels."""

    def __init__(self, pairs: Iterable[PicturePair], side: int) -> None:
        self.tiles = np.concatenate([_paired_tiles(pair, side) for pair in pairs])

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, numbers: Index) -> npt.NDArray[np.uint8]:
        """Return pairs of tiles (N, 2, side, side) by their numbers: noisy, clean."""
        return self.tiles[numbers]


class TileFile:
    """The same tiles in a file that `write_tiles` wrote, each pair read when it is asked for.

    Writing those 1.71 GB and reading all of them, shuffled, takes a process of 137 MB.
    """

    def __init__(self, path: Path, side: int) -> None:
        self._shape = (2, side, side)
        self._bytes = 2 * side * side
        size = path.stat().st_size
        if size % self._bytes:
            raise ValueError(f"{path}: {size} bytes are no whole number of pairs of tiles of {side} pixels")
        self._count = size // self._bytes
        self._file = io.FileIO(path)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, numbers: Index) -> npt.NDArray[np.uint8]:
        """Return pairs of tiles (N, 2, side, side) by their numbers: noisy, clean."""
        tiles = np.empty((len(numbers), *self._shape), np.uint8)
        for tile, number in zip(tiles, numbers.tolist(), strict=True):
            self._file.seek(number * self._bytes)
            self._file.readinto(tile)
        return tiles

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def write_tiles(path: Path, pairs: Iterable[PicturePair], side: int) -> int:
    """Write the tiles of pairs of pictures to a file, one pair in memory at a time, and return how many there are."""
    count = 0
    with path.open("wb") as file:
        for pair in pairs:
            # One row of tiles after another: a whole picture cut at once would be a second copy of it.
            for top in range(0, pair[0].shape[0] // side * side, side):
                tiles = _paired_tiles([picture[top : top + side] for picture in pair], side)
                file.write(tiles.tobytes())
                count += len(tiles)
    return count


def _paired_tiles(pair: Sequence[Picture], side: int) -> npt.NDArray[np.uint8]:
    noisy, clean = pair
    if noisy.shape != clean.shape:
        raise ValueError(f"a pair of pictures has two sizes: {noisy.shape} and {clean.shape}")
    return np.stack([cut_tiles(picture, side) for picture in pair], axis=1)
