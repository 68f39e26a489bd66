"""Denoised images to files: DNG, TIFF and PNG, with what the source file said about the shot.

The only place of the program where values are rounded and clipped.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import ImageCms

from burst_denoise.arrays import Float, UInt16
from burst_denoise.errors import OutputError
from burst_denoise.files import atomic_write
from burst_denoise.frame.frame import RawBorder, to_dn, unpack
from burst_denoise.io.exif import EXIF_CODES, EXIF_PLACE, append_exif, exif_date
from burst_denoise.io.metadata import UNKNOWN_CAMERA
from burst_denoise.io.raw import develop
from burst_denoise.schemas import FrameInfo

__all__ = ["rounded_dn", "write_developed", "write_dng", "write_picture"]

Pixels = npt.NDArray[np.uint8] | UInt16
Tag = tuple[int, int, int, object, bool]
"""What tifffile takes: code, TIFF type, count, value, "only on the first page"."""

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SRATIONAL = 1, 2, 3, 4, 5, 7, 10

TILE = 256
"""LibRaw, dcraw and RawTherapee decode only the first strip of lossless JPEG in strips; tiles all programs read."""

XYZ_TO_LINEAR_SRGB = (32405, -15371, -4985, -9693, 18760, 416, 556, -2040, 10572)
"""IEC 61966-2-1, D65, times 10000: the colour matrix of a camera whose primaries are those of sRGB."""

THIRD_ILLUMINANT = 52529
OPCODE_LISTS = {51008, 51009, 51022}


def rounded_dn(linear: Float, info: FrameInfo) -> UInt16:
    """Return a linear mosaic as the DN that a file stores: rounded, clipped to 0..65535.

    The black level stays, so noise below black keeps its sign. A value that came from a DN unchanged rounds to the
    same DN.

    Parameters
    ----------
    linear : (H, W) float32 array, linear
    info : FrameInfo
        Levels and CFA of the mosaic.

    Returns
    -------
    (H, W) uint16 array, DN
    """
    return np.clip(np.rint(to_dn(linear, info)), 0, 65535).astype(np.uint16)


def write_dng(
    path: Path,
    info: FrameInfo,
    mosaic: Float,
    *,
    border: RawBorder | None = None,
    compress: bool = True,
    notes: str = "",
) -> None:
    """Write a Bayer mosaic as a DNG that opens in raw converters like the shot it was made from.

    Parameters
    ----------
    path : Path
        Must not exist.
    info : FrameInfo
        Levels, CFA, exposure and the colour and lens tags of the source. Without a ``ColorMatrix1`` among its tags the
        colours are taken for linear sRGB: raw converters refuse a DNG without a matrix.
    mosaic : (H, W) float32 array, linear
        The active area; rounded and clipped by `rounded_dn`.
    border : RawBorder, optional
        The sensor array of the source; its masked photosites are kept around the active area.
    compress : bool
        Lossless JPEG (about 3/4 of the size), or plain values.
    notes : str
        How the picture was made, for the image description.

    Raises
    ------
    OutputError
        If ``path`` exists or cannot be written; then nothing is left behind.
    ValueError
        If ``info`` is not of a Bayer frame of the mosaic's shape.

    References
    ----------
    Adobe, "Digital Negative (DNG) Specification", version 1.7.1.
    """
    if info.cfa is None or mosaic.shape != (info.height, info.width):
        raise ValueError(f"a DNG takes a Bayer mosaic of {info.height} x {info.width}, not {mosaic.shape}")
    dn, top, left = rounded_dn(mosaic, info), 0, 0
    if border is not None:
        top, left, whole = border.top, border.left, border.dn.copy()
        whole[top : top + info.height, left : left + info.width] = dn
        dn = whole
    # LibRaw decodes a tile that is wider than the image wrongly, without an error; TIFF wants multiples of 16.
    tile = (TILE, min(TILE, dn.shape[1] // 16 * 16))
    # Predictor 1: darktable refuses the slightly better 6.
    lossless = {"lossless": True, "predictor": 1, "bitspersample": 16}
    layout = {"tile": tile, "compression": "jpeg", "bitspersample": 16, "compressionargs": lossless}
    tags = _source_tags(info) | _mosaic_tags(info, top, left)
    _write_tiff(path, dn, info, tags, notes, photometric=32803, **(layout if compress else {}))


def write_developed(path: Path, source: Path, info: FrameInfo, mosaic: Float, *, notes: str = "") -> None:
    """Write a TIFF or PNG of a raw shot, 16 bits, sRGB, upright: LibRaw's development of the mosaic.

    Parameters
    ----------
    path : Path
        ``.tif``, ``.tiff`` or ``.png``; must not exist.
    source : Path
        The raw file that the mosaic was made from; its white balance and colours are used.
    info : FrameInfo
        Of the source.
    mosaic : (H, W) float32 array, linear
        The active area; rounded and clipped by `rounded_dn`.
    notes : str
        How the picture was made, for the image description of a TIFF.

    Raises
    ------
    OutputError
        If ``path`` exists, has another suffix or cannot be written.
    InputFileError
        If ``source`` can no longer be read.
    """
    writer = _picture_writer(path)
    writer(path, develop(source, rounded_dn(mosaic, info)), info, notes)


def write_picture(path: Path, info: FrameInfo, image: Float, *, bits: int = 16, notes: str = "") -> None:
    """Write an image of the picture domain (its values already developed) as TIFF or PNG, upright.

    Parameters
    ----------
    path : Path
        ``.tif``, ``.tiff`` or ``.png``; must not exist.
    info : FrameInfo
        Of the source picture; the stored rows are turned by its orientation.
    image : (3, H, W) or (H, W) float32 array, linear
        0 is written as 0 and 1 as the greatest value; values beyond are clipped.
    bits : 8 or 16
        16 keeps what averaging and denoising gained on an 8-bit source.
    notes : str
        How the picture was made, for the image description of a TIFF.

    Raises
    ------
    OutputError
        If ``path`` exists, has another suffix or cannot be written.
    """
    writer = _picture_writer(path)
    peak, dtype = {8: (255, np.uint8), 16: (65535, np.uint16)}[bits]
    values = np.clip(np.rint(image * np.float32(peak)), 0, peak).astype(dtype)
    writer(path, _upright(values if values.ndim == 2 else np.moveaxis(values, 0, 2), info.orientation), info, notes)


def _picture_writer(path: Path) -> Callable[[Path, Pixels, FrameInfo, str], None]:
    writers = {".tif": _write_picture_tiff, ".tiff": _write_picture_tiff, ".png": _write_png}
    writer = writers.get(path.suffix.lower())
    if writer is None:
        raise OutputError(f"{path}: pictures are written as {', '.join(writers)}; name the output so")
    return writer


def _write_picture_tiff(path: Path, pixels: Pixels, info: FrameInfo, notes: str) -> None:
    tags = {code: tag for code, tag in _source_tags(info).items() if code in (271, 272)}  # Make, Model
    colour = pixels.ndim == 3
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() if colour else None
    upright = info.model_copy(update={"orientation": 1})
    _write_tiff(path, pixels, upright, tags, notes, photometric="rgb" if colour else "minisblack",
                compression="zlib", predictor=True, iccprofile=profile, rowsperstrip=64)  # fmt: skip


def _write_png(path: Path, pixels: Pixels, _info: FrameInfo, _notes: str) -> None:
    _, encoded = cv2.imencode(".png", pixels if pixels.ndim == 2 else pixels[..., ::-1])
    with atomic_write(path) as aside:
        aside.write_bytes(encoded.tobytes())


def _write_tiff(path: Path, pixels: Pixels, info: FrameInfo, tags: dict[int, Tag], notes: str, **layout: Any) -> None:
    """Write one image as a little-endian TIFF with an Exif directory."""
    extra = [tags[code] for code in sorted(tags)]
    extra += [(274, SHORT, 1, info.orientation, True), (EXIF_PLACE, LONG, 1, 0, True)]
    if info.taken_at is not None:
        extra.append((306, ASCII, 20, exif_date(info.taken_at), True))
    with atomic_write(path) as aside:
        tifffile.imwrite(aside, pixels, byteorder="<", bigtiff=False, metadata=None, software="burst-denoise",
                         description=notes.encode() or None, extratags=extra, **layout)  # fmt: skip
        append_exif(aside, info)


def _source_tags(info: FrameInfo) -> dict[int, Tag]:
    """Return the tags carried over from the source, and what a DNG needs beside them, by code."""
    camera = info.camera or UNKNOWN_CAMERA
    name = camera.encode() + b"\0"  # as bytes, for tifffile refuses letters beyond ASCII
    neutral = info.as_shot_neutral or (1.0, 1.0, 1.0)
    tags: dict[int, Tag] = {
        271: (271, ASCII, 0, camera.split()[0].encode() + b"\0", True),
        272: (272, ASCII, 0, name, True),
        50708: (50708, ASCII, 0, name, True),
        50719: (50719, LONG, 2, (0, 0), True),  # DefaultCropOrigin, from the top left of the active area
        50720: (50720, LONG, 2, (info.width, info.height), True),
        50728: (50728, RATIONAL, 3, _rationals(neutral, 1_000_000), True),  # AsShotNeutral
    }
    for tag in info.dng_tags:
        value = tag.value
        if tag.code in EXIF_CODES:
            continue
        if isinstance(value, str):
            tags[tag.code] = (tag.code, ASCII, 0, value.encode() + b"\0", True)
        elif tag.dtype in (BYTE, UNDEFINED):
            tags[tag.code] = (tag.code, tag.dtype, tag.count, bytes(int(number) for number in value), True)
        else:
            tags[tag.code] = (tag.code, tag.dtype, tag.count, value if len(value) > 1 else value[0], True)
    if info.camera is None:
        del tags[271], tags[272]  # but a DNG must have a UniqueCameraModel
    if 50721 not in tags:
        matrix = tuple(number for entry in XYZ_TO_LINEAR_SRGB for number in (entry, 10000))
        tags |= {50721: (50721, SRATIONAL, 9, matrix, True), 50778: (50778, SHORT, 1, 21, True)}  # D65
    if 50729 in tags:  # AsShotWhiteXY instead of AsShotNeutral: a DNG may hold only one of them
        del tags[50728]
    return tags


def _mosaic_tags(info: FrameInfo, top: int, left: int) -> dict[int, Tag]:
    """Return the tags of the mosaic itself; CFA and black levels are counted from the top left of the active area."""
    assert info.cfa is not None
    levels = np.broadcast_to(np.array(info.black_level, np.float32)[:, None, None], (4, 2, 2))
    black = unpack(levels, info.cfa, (2, 2)).ravel().tolist()
    codes = {tag.code for tag in info.dng_tags}
    version = (1, 6, 0, 0) if THIRD_ILLUMINANT in codes else (1, 4, 0, 0)
    readable_by = (1, 3, 0, 0) if codes & OPCODE_LISTS else (1, 1, 0, 0)
    return {
        50706: (50706, BYTE, 4, bytes(version), True),  # DNGVersion
        50707: (50707, BYTE, 4, bytes(readable_by), True),  # DNGBackwardVersion
        254: (254, LONG, 1, 0, True),  # NewSubfileType: the main image
        33421: (33421, SHORT, 2, (2, 2), True),  # CFARepeatPatternDim
        33422: (33422, BYTE, 4, bytes("RGB".index(colour) for colour in info.cfa), True),  # CFAPattern
        50710: (50710, BYTE, 3, bytes((0, 1, 2)), True),  # CFAPlaneColor
        50711: (50711, SHORT, 1, 1, True),  # CFALayout: rectangular
        50713: (50713, SHORT, 2, (2, 2), True),  # BlackLevelRepeatDim
        50714: (50714, RATIONAL, 4, _rationals(black, 1000), True),  # BlackLevel
        50717: (50717, LONG, 1, round(info.white_level), True),  # WhiteLevel
        50829: (50829, LONG, 4, (top, left, top + info.height, left + info.width), True),  # ActiveArea
    }


def _rationals(values: Sequence[float], denominator: int) -> tuple[int, ...]:
    fractions = (Fraction(value).limit_denominator(denominator) for value in values)
    return tuple(number for fraction in fractions for number in fraction.as_integer_ratio())


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Return stored rows as they are to be seen, by Exif orientation."""
    if orientation >= 5:
        pixels = np.swapaxes(pixels, 0, 1)
    rows, columns = ((1, 1), (1, -1), (-1, -1), (-1, 1), (1, 1), (1, -1), (-1, -1), (-1, 1))[orientation - 1]
    turned: Pixels = pixels[::rows, ::columns]
    return turned
