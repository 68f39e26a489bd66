"""A file to a frame, or to the header of one, by the reader of its kind."""

from pathlib import Path

from burst_denoise.frame.frame import Frame
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
"""Of all files that hold frames, in lower case."""


def is_raw(path: Path) -> bool:
    """Return whether a file holds a mosaic, by its suffix."""
    return path.suffix.lower() in RAW_SUFFIXES


def is_video(path: Path) -> bool:
    """Return whether a file holds many frames, by its suffix; `read_video` decodes it."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def read_frame(path: Path) -> Frame:
    """Decode one raw or picture file.

    Raises
    ------
    InputFileError
        If it is missing, damaged or not supported.
    """
    return read_raw(path) if is_raw(path) else read_picture(path)


def read_header(path: Path) -> Header:
    """Return what a file says about its frames; only of a video is the first one decoded.

    Raises
    ------
    InputFileError
        If it is missing, damaged or not supported, as far as its header tells.
    """
    if is_video(path):
        return read_video_header(path)
    return read_raw_header(path) if is_raw(path) else read_picture_header(path)
