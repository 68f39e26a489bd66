"""The directories of TIFF files, whatever their suffix: which there are, and whether what they point to is there."""

import contextlib
import logging
import struct
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import tifffile

from burst_denoise.errors import InputFileError
from burst_denoise.io.tags import Tag

__all__ = ["DAMAGE", "TIFF_HEADS", "main_directories", "refuse_incomplete", "silenced"]

DAMAGE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, struct.error)
"""What the parsers raise on damaged directories."""

TIFF_HEADS = (b"II*\0", b"MM\0*")
"""How a TIFF begins, and many a raw format made from it."""

MOST_DIRECTORIES = 64

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
    with silenced("tifffile"), contextlib.ExitStack() as stack:
        try:
            pages = _pages(stack.enter_context(tifffile.TiffFile(path)))
            cfa = tifffile.PHOTOMETRIC.CFA
            mosaics = [page for page in pages if page.tags.valueof(Tag.PHOTOMETRIC_INTERPRETATION) == cfa]
            main = max(mosaics or pages, key=lambda page: sum(map(int, page.databytecounts)), default=None)
        except (tifffile.TiffFileError, OSError, *DAMAGE):
            main = None
        yield [] if main is None else [pages[0], main]


def _pages(tiff: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    """Return the directories of a TIFF and those that they point to, but not beyond number: they may form a ring."""
    pages = [page for page in islice(tiff.pages, MOST_DIRECTORIES) if isinstance(page, tifffile.TiffPage)]
    below = (islice(page.pages or (), MOST_DIRECTORIES) for page in pages)
    return pages + [page for found in below for page in found if isinstance(page, tifffile.TiffPage)]


def refuse_incomplete(path: Path) -> None:
    """Raise `InputFileError` unless ``path`` is a readable file with something in it, a TIFF (DNG, CR2, NEF) all of it.

    LibRaw and OpenCV fill what is missing at the end of some truncated files with zeros, without an error.
    """
    if path.is_dir():
        raise InputFileError(f"{path}: is a folder where a file is needed; name a file in it")
    if path.exists() and not path.is_file():
        raise InputFileError(f"{path}: is a pipe or a device where a file is needed; copy what it gives into a file")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise InputFileError(f"{path}: cannot be read ({error.strerror}); check its name and rights") from error
    if size == 0:
        raise InputFileError(f"{path}: is empty (0 bytes); copy it from the camera again")
    if head in TIFF_HEADS:
        with main_directories(path) as pages:
            parts = [part for page in pages[-1:] for part in zip(page.dataoffsets, page.databytecounts, strict=False)]
            try:
                end = max((int(start) + int(count) for start, count in parts), default=0)
            except DAMAGE:
                parts = []
        if not parts or end > size:
            there = f"{size} of at least {end} bytes are there" if parts else "its directory is cut off"
            raise InputFileError(f"{path}: is truncated ({there}); copy it from the camera again")
