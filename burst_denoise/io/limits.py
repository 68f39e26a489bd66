"""What a file may be before it is read: a file at all, and no larger than what is to come of it may cost.

A few hundred bytes can claim gigabytes of pixels; the claim is checked before anything of that size is made.
"""

import math
from pathlib import Path

from burst_denoise.errors import InputFileError

__all__ = ["MAX_MEGAPIXELS", "read_document", "refuse_claim", "refuse_special_file"]

MAX_MEGAPIXELS = 200.0
"""Largest image that is read by default, megapixels: no sensor for photography has more than 151, a pixel-shifted
shot of one with 61 has 241."""
MOST_TEXT_BYTES = 64 << 20
"""Largest document, bytes: those of bursts of hundreds of frames have a megabyte."""


def refuse_claim(path: Path, height: float, width: float, max_megapixels: float) -> None:
    """Raise `InputFileError` when a file claims an image of more megapixels than are to be read."""
    megapixels = height * width / 1e6
    if not megapixels <= max_megapixels:
        raise InputFileError(
            f"{path}: claims {math.ceil(10 * megapixels) / 10:,.7g} megapixels, more than the {max_megapixels:,g} that "
            "are read; if it's right, lift the limit with --max-megapixels"
        )


def refuse_special_file(path: Path) -> None:
    """Raise `InputFileError` when a path is there but no file: opening a pipe would wait for ever."""
    if path.is_dir():
        raise InputFileError(f"{path}: is a folder where a file is needed; name a file in it")
    if path.exists() and not path.is_file():
        raise InputFileError(f"{path}: is a pipe or a device where a file is needed; copy what it gives into a file")


def read_document(path: Path) -> bytes:
    """Return what is in a document: a description of a measurement, a noise profile, a manifest.

    Raises
    ------
    InputFileError
        If the path is a folder, a pipe or a device, or the file too large for a document.
    OSError
        If it cannot be read.
    """
    refuse_special_file(path)
    if (size := path.stat().st_size) > MOST_TEXT_BYTES:
        raise InputFileError(f"{path}: has {size >> 20} MB, and no document is larger than {MOST_TEXT_BYTES >> 20}; "
                             "name another file")  # fmt: skip
    return path.read_bytes()
