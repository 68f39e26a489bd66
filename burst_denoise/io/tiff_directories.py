"""The directories of TIFF files, whatever their suffix: which there are, and whether what they point to is there."""

import contextlib
import logging
import math
import struct
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import tifffile

from burst_denoise.errors import InputFileError
from burst_denoise.io.limits import refuse_claim, refuse_special_file
from burst_denoise.io.tags import Tag

__all__ = ["DAMAGE", "TIFF_HEADS", "main_directories", "refuse_incomplete", "silenced", "whole_directories"]

DAMAGE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, struct.error)
"""What the parsers raise on damaged directories."""

TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How a TIFF begins, and many a raw format made from it; the last two are BigTIFF."""

SIZED = frozenset((".dng", ".tif", ".tiff"))
"""Suffixes of TIFFs that say how they are packed; raw formats of makers may have a way of their own."""

MOST_DIRECTORIES = 64
CUT_OFF = "its directory is cut off"

SILENCE = threading.RLock()
"""Held while a library is silenced: shots are read and written at the same time."""


@contextlib.contextmanager
def silenced(name: str) -> Iterator[None]:
    """Keep a library's logger from writing about odd files to stderr."""
    logger = logging.getLogger(name)
    with SILENCE:
        before = logger.disabled
        logger.disabled = True
        try:
            yield
        finally:
            logger.disabled = before


@contextlib.contextmanager
def main_directories(path: Path) -> Iterator[list[tifffile.TiffPage]]:
    """Give the first directory of a TIFF and the one of its main image; none when they cannot be parsed."""
    with _directories(path) as pages:
        yield [pages[0], pages[-1]] if pages else []


@contextlib.contextmanager
def _directories(path: Path) -> Iterator[list[tifffile.TiffPage]]:
    """Give the directories of a TIFF, that of its main image once more at the end; none when they cannot be parsed."""
    with silenced("tifffile"), np.errstate(all="ignore"), contextlib.ExitStack() as stack:
        try:
            pages = _pages(stack.enter_context(tifffile.TiffFile(path)))
            cfa = tifffile.PHOTOMETRIC.CFA
            mosaics = [page for page in pages if page.tags.valueof(Tag.PHOTOMETRIC_INTERPRETATION) == cfa]
            pages.append(max(mosaics or pages, key=lambda page: sum(map(int, page.databytecounts))))
        except (tifffile.TiffFileError, OSError, *DAMAGE):
            pages = []
        yield pages


def _pages(tiff: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    """Return the directories of a TIFF and those that they point to, but not beyond number: they may form a ring."""
    pages = [page for page in islice(tiff.pages, MOST_DIRECTORIES) if isinstance(page, tifffile.TiffPage)]
    below = (islice(page.pages or (), MOST_DIRECTORIES) for page in pages)
    return pages + [page for found in below for page in found if isinstance(page, tifffile.TiffPage)]


def refuse_incomplete(path: Path, max_megapixels: float) -> None:
    """Raise `InputFileError` unless ``path`` is a whole file: see `whole_directories`."""
    with whole_directories(path, max_megapixels):
        pass


@contextlib.contextmanager
def whole_directories(path: Path, max_megapixels: float) -> Iterator[list[tifffile.TiffPage]]:
    """Give the `main_directories` of a readable file with something in it, of which all is there; none of no TIFF.

    LibRaw and OpenCV fill what is missing at the end of some truncated TIFFs (DNG, CR2, NEF) with zeros, without an
    error. No image of a TIFF, and no tile of one, may claim more megapixels than are to be read.
    """
    refuse_special_file(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise InputFileError(f"{path}: cannot be read ({error.strerror}); check its name and rights") from error
    if size == 0:
        raise InputFileError(f"{path}: is empty (0 bytes); copy it from the camera again")
    if head not in TIFF_HEADS:
        yield []
        return
    with _directories(path) as pages:
        try:
            for page in pages:
                refuse_claim(path, page.imagelength, page.imagewidth, max_megapixels)
                refuse_claim(path, page.tilelength, page.tilewidth, max_megapixels)
            missing = _missing(pages[-1], size, sized=path.suffix.lower() in SIZED)
        except DAMAGE:
            missing = CUT_OFF
        if missing:
            raise InputFileError(f"{path}: is truncated ({missing}); copy it from the camera again")
        yield [pages[0], pages[-1]]


def _missing(page: tifffile.TiffPage, size: int, *, sized: bool) -> str:
    """Return in words what of the image of a directory is not in a file of so many bytes; empty where all is there.

    Where the directory is ``sized``, an image that is not compressed takes all the bits that it says.
    """
    ends = [int(start) + int(count) for start, count in zip(page.dataoffsets, page.databytecounts, strict=False)]
    if not ends:
        return CUT_OFF
    end = max(ends)
    if sized and page.compression == tifffile.COMPRESSION.NONE:  # strips may lie over each other
        row = -(-int(page.imagewidth) * int(page.samplesperpixel) * int(page.bitspersample) // 8)
        end = max(end, int(page.imagelength) * row)
    if end > size:
        return f"{size} of at least {end} bytes are there"
    tiles = math.prod(page.chunked) if page.is_tiled else 0
    return f"{len(ends)} of {tiles} tiles are there" if len(ends) < tiles else ""
