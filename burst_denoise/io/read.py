"""A file to a frame, or to the header of one, by the reader of its kind."""

from pathlib import Path

from burst_denoise.frame.frame import Frame
from burst_denoise.io.limits import MAX_MEGAPIXELS
from burst_denoise.io.metadata import Header
from burst_denoise.io.picture import (
    PICTURE_SUFFIXES,
    VIDEO_SUFFIXES,
    read_picture,
    read_picture_header,
    read_video_header,
)
from burst_denoise.io.raw import RAW_SUFFIXES, read_raw, read_raw_header

__all__ = ["FRAME_SUFFIXES", "is_raw", "is_video", "read_frame", "read_header"]

FRAME_SUFFIXES = RAW_SUFFIXES | PICTURE_SUFFIXES | VIDEO_SUFFIXES
"""Suffixes of all files that hold frames, in lower case."""


def is_raw(path: Path) -> bool:
    """Return whether a file holds a mosaic, by its suffix."""
    return path.suffix.lower() in RAW_SUFFIXES


def is_video(path: Path) -> bool:
    """Return whether a file holds many frames, by its suffix; `read_video` decodes it."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def read_frame(path: Path, *, max_megapixels: float = MAX_MEGAPIXELS) -> Frame:
    """Decode one raw or picture file.

    Parameters
    ----------
    path : Path
    max_megapixels : float
        A file that claims more is refused before anything of that size is made.

    Raises
    ------
    InputFileError
        If it is missing, damaged, not supported or too large.
    """
    read = read_raw if is_raw(path) else read_picture
    return read(path, max_megapixels=max_megapixels)


def read_header(path: Path, *, max_megapixels: float = MAX_MEGAPIXELS) -> Header:
    """Return what a file says about its frames; only of a video is the first one decoded.

    Parameters
    ----------
    path : Path
    max_megapixels : float
        As `read_frame`.

    Raises
    ------
    InputFileError
        If it is missing, damaged, not supported or too large, as far as its header tells.
    """
    if is_video(path):
        return read_video_header(path, max_megapixels=max_megapixels)
    read = read_raw_header if is_raw(path) else read_picture_header
    return read(path, max_megapixels=max_megapixels)
