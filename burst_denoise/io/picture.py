"""Pictures (PNG, TIFF, JPEG, BMP) and videos as frames of the domains rgb and mono.

The only file that decodes pictures with OpenCV. Rows stay as stored, with their orientation noted; only those of a TIFF
are turned upright, by OpenCV.
"""

import contextlib
import os
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from burst_denoise.errors import InputFileError
from burst_denoise.frame.frame import Frame
from burst_denoise.io.limits import MAX_MEGAPIXELS, refuse_claim
from burst_denoise.io.metadata import Exif, Header, read_exif
from burst_denoise.io.tiff_directories import DAMAGE, TIFF_HEADS, refuse_incomplete, silenced
from burst_denoise.io.tone_curve import has_tone_curve
from burst_denoise.schemas import FrameInfo

__all__ = [
    "PICTURE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "read_picture",
    "read_picture_header",
    "read_video",
    "read_video_header",
]

PICTURE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff"})
VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".webm"})

JPEG_START, PNG_START, BMP_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"BM"
START_OF_SCAN, END_OF_IMAGE = 0xDA, b"\xff\xd9"
START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
"""What libjpeg goes on to, over bytes that belong to nothing."""

CHANNELS: dict[str, tuple[int, ...]] = {"L": (), "I;16": (), "I;16B": (), "RGB": (3,)}
"""Pillow's modes of the pictures that `read_picture` gives as they are: 8 and 16 bits, grey and RGB."""

NOT_DESCRIBED = (OSError, Image.DecompressionBombError, *DAMAGE)
"""What Pillow raises on files that are damaged, or of a kind that it does not know."""


def read_picture(path: Path, *, max_megapixels: float = MAX_MEGAPIXELS) -> Frame:
    """Return a picture as a frame: the values as stored, black 0, white the greatest value of its type.

    Parameters
    ----------
    path : Path
        PNG or TIFF of 8 or 16 bits, JPEG or BMP; grey or RGB.
    max_megapixels : float
        A picture that claims more is refused before anything of that size is made.

    Returns
    -------
    Frame
        ``dn`` is (3, H, W) for RGB and (H, W) for grey, uint8 or uint16.

    Raises
    ------
    InputFileError
        If the file is missing, empty, truncated, damaged, too large or not a picture, has an alpha channel, or values
        of another type.
    """
    refuse_incomplete(path, max_megapixels)
    data = path.read_bytes()
    refuse_claim(path, *_claimed_size(data), max_megapixels)
    _refuse_damaged(data, path)
    try:
        with _quiet_opencv():
            values: npt.NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise InputFileError(f"{path}: cannot be decoded ({error.err}); save it again as PNG or TIFF") from error
    if values is None:
        raise InputFileError(f"{path}: is damaged or not a picture; PNG, TIFF, JPEG and BMP can be read")
    if values.dtype not in (np.uint8, np.uint16):
        raise InputFileError(f"{path}: holds values of type {values.dtype}; save it with 8 or 16 bits per channel")
    if values.ndim == 3 and values.shape[2] != 3:
        raise InputFileError(f"{path}: has {values.shape[2]} channels (transparency?); save it as grey or RGB")
    dn = values if values.ndim == 2 else _channels_first(values)
    exif = read_exif(path)
    if data.startswith(TIFF_HEADS):
        exif = replace(exif, orientation=1)  # OpenCV has turned it
    info = _info(dn.shape, np.iinfo(dn.dtype).max, exif)
    try:
        with _described(BytesIO(data)) as picture:
            curved = has_tone_curve(picture.info.get("icc_profile") or b"")
    except NOT_DESCRIBED:
        curved = False
    return Frame(dn, info.model_copy(update={"tone_curve": curved}), path)


def read_picture_header(path: Path, *, max_megapixels: float = MAX_MEGAPIXELS) -> Header:
    """Return what a picture says about its frame without decoding its values.

    A picture that does not say at its start that it is grey or RGB (a palette, transparency, ...) is decoded after all,
    to see what becomes of it.

    Raises
    ------
    InputFileError
        As `read_picture`; but damage further on in the file only decoding tells.
    """
    refuse_incomplete(path, max_megapixels)
    try:
        with _described(path) as picture:
            shape = (*CHANNELS[picture.mode], picture.height, picture.width)
    except NOT_DESCRIBED:
        return Header.of(read_picture(path, max_megapixels=max_megapixels).info)
    refuse_claim(path, shape[-2], shape[-1], max_megapixels)
    return Header.of(_info(shape, 255, read_exif(path)))  # a header has no white level


def read_video(path: Path, limit: int, *, max_megapixels: float = MAX_MEGAPIXELS) -> list[Frame]:
    """Return the first frames of a video.

    Parameters
    ----------
    path : Path
        Any video that OpenCV's FFmpeg reads.
    limit : int
        At most so many frames.
    max_megapixels : float
        A video whose frames claim more is refused before one is decoded.

    Returns
    -------
    list of Frame
        ``dn`` is (3, H, W) uint8 RGB; the path of frame 3 of ``clip.mp4`` is ``clip.mp4#0003``.

    Raises
    ------
    InputFileError
        If the file is missing, empty, not a video, or too large.
    """
    refuse_incomplete(path, max_megapixels)
    frames: list[Frame] = []
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # else FFmpeg writes to stderr about damaged files
    with _quiet_opencv():
        video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        height, width = video.get(cv2.CAP_PROP_FRAME_HEIGHT), video.get(cv2.CAP_PROP_FRAME_WIDTH)
        refuse_claim(path, height, width, max_megapixels)
        while len(frames) < limit:
            read, bgr = video.read()
            if not read:
                break
            dn = _channels_first(bgr)
            info = _info(dn.shape, 255, Exif())
            frames.append(Frame(dn, info, path.with_name(f"{path.name}#{len(frames):04d}")))
    finally:
        video.release()
    if not frames:
        raise InputFileError(f"{path}: is damaged or not a video; extract its frames as PNG and name their folder")
    return frames


def read_video_header(path: Path, *, max_megapixels: float = MAX_MEGAPIXELS) -> Header:
    """Return what the first frame of a video says; that one is decoded.

    Raises
    ------
    InputFileError
        As `read_video`.
    """
    return Header.of(read_video(path, 1, max_megapixels=max_megapixels)[0].info)


def _channels_first(bgr: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return OpenCV's (H, W, 3) blue, green, red as (3, H, W) red, green, blue."""
    return np.ascontiguousarray(bgr[..., ::-1].transpose(2, 0, 1))


def _info(shape: tuple[int, ...], white_level: float, exif: Exif) -> FrameInfo:
    *channels, height, width = shape
    return FrameInfo(
        domain="rgb" if channels else "mono",
        camera=exif.camera,
        cfa=None,
        height=height,
        width=width,
        black_level=(0.0,) * (3 if channels else 1),
        white_level=white_level,
        iso=exif.iso or None,
        exposure_s=exif.exposure_s or None,
        f_number=exif.f_number or None,
        taken_at=exif.taken_at,
        orientation=exif.orientation,
        dng_tags=exif.tags,
    )


def _refuse_damaged(data: bytes, path: Path) -> None:
    """Raise `InputFileError` for a JPEG or BMP without its end, or a PNG without its end or with a wrong checksum.

    OpenCV fills what is missing with grey or black, without an error.
    """
    checks = {JPEG_START: _jpeg_has_end, PNG_START: _png_is_sound, BMP_START: _bmp_has_end}
    if not all(is_whole(data) for start, is_whole in checks.items() if data.startswith(start)):
        raise InputFileError(f"{path}: is truncated or damaged; copy it from the camera again")


def _claimed_size(data: bytes) -> tuple[int, int]:
    """Return the rows and columns that a PNG, BMP or JPEG claims to have; (0, 0) where it claims none."""
    if data.startswith(PNG_START) and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return height, width
    if data.startswith(BMP_START) and len(data) >= 26:
        width, height = struct.unpack_from("<HH" if data[14] == 12 else "<ii", data, 18)
        return abs(height), abs(width)
    return _jpeg_size(data) if data.startswith(JPEG_START) else (0, 0)


def _jpeg_size(data: bytes) -> tuple[int, int]:
    place = len(JPEG_START)
    while marker := JPEG_MARKER.search(data, place):
        place = marker.end()
        if marker[1][0] in START_OF_FRAME:
            height, width = struct.unpack(">HH", data[place + 3 : place + 7].ljust(4, b"\0"))
            return height, width
        if marker[1][0] == START_OF_SCAN:
            break
        if not 0xD0 <= marker[1][0] <= 0xD8 and marker[1][0] != 0x01:  # those have nothing behind them
            place += max(2, int.from_bytes(data[place : place + 2]))
    return 0, 0


def _jpeg_has_end(data: bytes) -> bool:
    place = len(JPEG_START)
    while place + 4 <= len(data) and data[place + 1] != START_OF_SCAN:  # over Exif, which may hold a whole thumbnail
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return data.find(END_OF_IMAGE, place) >= 0


def _bmp_has_end(data: bytes) -> bool:
    # The rows, of whole groups of four bytes, from the places of the file header and the information header.
    start, header = (int.from_bytes(data[at : at + 4], "little") for at in (10, 14))
    if len(data) < 54 or header < 40 or int.from_bytes(data[30:34], "little") not in (0, 3):
        return True  # old or packed: told by decoding
    width, height, bits = (
        int.from_bytes(data[at : at + size], "little", signed=True) for at, size in ((18, 4), (22, 4), (28, 2))
    )
    return len(data) >= start + (width * bits + 31) // 32 * 4 * abs(height)


def _png_is_sound(data: bytes) -> bool:
    place, kind = len(PNG_START), b""
    while kind != b"IEND" and place + 12 <= len(data):
        end = place + 8 + int.from_bytes(data[place : place + 4])
        kind = data[place + 4 : place + 8]
        if zlib.crc32(memoryview(data)[place + 4 : end]) != int.from_bytes(data[end : end + 4]):
            return False
        place = end + 4
    return kind == b"IEND"


@contextlib.contextmanager
def _described(file: Path | BytesIO) -> Iterator[Image.Image]:
    """Give what a picture says at its start, its values not decoded; raises one of `NOT_DESCRIBED`."""
    with (
        silenced("PIL.TiffImagePlugin"),
        warnings.catch_warnings(action="ignore"),
        Image.open(file, formats=("JPEG", "PNG", "TIFF", "BMP")) as picture,
    ):
        yield picture


@contextlib.contextmanager
def _quiet_opencv() -> Iterator[None]:
    """Keep OpenCV from writing to stderr about damaged files; our error says it in one line."""
    logging = cv2.utils.logging
    before = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)
