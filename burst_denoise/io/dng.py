"""A mosaic to a DNG that opens in raw converters like the shot it was made from.

Here and in the writers of pictures, and nowhere else in the program, values are rounded and clipped.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
import tifffile

from burst_denoise.arrays import UInt16
from burst_denoise.frame.frame import Dn, Frame
from burst_denoise.frame.geometry import row_bands
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.io.metadata import UNKNOWN_CAMERA
from burst_denoise.io.preview import encode_jpeg, render, thumbnail
from burst_denoise.io.sidecars import without_denoising
from burst_denoise.io.tags import D65, DNG_TAGS, MOSAIC_TAGS, OPCODE_LISTS, FieldType, Tag
from burst_denoise.io.tiff_writer import OWN_PREVIEW, Field, TiffImage, carried_fields, write_tiff
from burst_denoise.schemas import FrameInfo

__all__ = ["rounded_dn", "write_dng"]

TILE = 256
"""LibRaw, dcraw and RawTherapee decode only the first strip of lossless JPEG in strips; tiles all programs read."""

PREVIEW = {"subfiletype": tifffile.FILETYPE.REDUCEDIMAGE}
SRGB_PREVIEW: dict[int, Field] = {Tag.PREVIEW_COLOR_SPACE: (FieldType.LONG, [2])}

XYZ_TO_LINEAR_SRGB = (32405, -15371, -4985, -9693, 18760, 416, 556, -2040, 10572)
"""IEC 61966-2-1, D65, times 10000: the colour matrix of a camera whose primaries are those of sRGB."""


def rounded_dn(dn: Dn) -> UInt16:
    """Return DN as a file stores them: rounded, clipped to 0..65535.

    The black level is in them, so noise below black keeps its sign. Stored values come back as they are.

    Parameters
    ----------
    dn : (H, W) array, DN
        Of a frame, as stored or computed.

    Returns
    -------
    (H, W) uint16 array, DN
    """
    rounded = np.empty(dn.shape, np.uint16)
    for rows in row_bands(dn.shape[-2]):
        rounded[..., rows, :] = np.clip(np.rint(dn[..., rows, :]), 0, 65535)
    return rounded


def write_dng(path: Path, frame: Frame, finish: Callable[[Path], None] = lambda _: None) -> None:
    """Write a Bayer frame as a DNG that opens in raw converters like the shot it was made from.

    Parameters
    ----------
    path : Path
        Must not exist.
    frame : Frame
        Stored or computed; rounded and clipped by `rounded_dn`. The masked photosites of its border are kept around the
        active area, its noise profile becomes the tag ``NoiseProfile``, its notes the image description. Without a
        ``ColorMatrix1`` among its tags the colours are taken for linear sRGB: raw converters refuse a DNG without a
        matrix.
    finish : callable
        Given the whole file under its temporary name, before it gets its own.

    Raises
    ------
    OutputError
        If ``path`` exists or cannot be written; then nothing is left behind.
    ValueError
        If the frame has no Bayer mosaic, or not the shape that its information says.

    Notes
    -----
    Lossless JPEG, about 3/4 of the size of plain values.

    References
    ----------
    Adobe, "Digital Negative (DNG) Specification", version 1.7.1.
    """
    info, border = frame.info, frame.border
    if info.cfa is None or frame.dn.shape != (info.height, info.width):
        raise ValueError(f"a DNG takes a Bayer mosaic of {info.height} x {info.width}, not {frame.dn.shape}")
    dn, top, left = rounded_dn(frame.dn), 0, 0
    if border is not None:
        top, left, whole = border.top, border.left, border.dn.copy()
        whole[top : top + info.height, left : left + info.width] = dn
        dn = whole
    picture = render(frame)
    small = thumbnail(picture)
    images = (
        TiffImage(small, _colour_fields(info) | _xmp_fields(frame), PREVIEW | {"photometric": "rgb"}),
        TiffImage(
            dn,
            _mosaic_fields(frame, top, left),
            {
                "photometric": "cfa",
                "compression": "jpeg",
                # darktable refuses predictor 6
                "compressionargs": {"lossless": True, "predictor": 1, "bitspersample": 16},
            }
            | _in_parts(dn.shape),
        ),
        TiffImage(
            iter([encode_jpeg(picture)]),
            OWN_PREVIEW | SRGB_PREVIEW,
            PREVIEW
            | {
                "photometric": "ycbcr",
                "compression": "jpeg",
                "subsampling": (2, 2),
                "shape": picture.shape,
                "dtype": picture.dtype,
                "rowsperstrip": len(picture),  # one JPEG, which programs take out as it is
            },
        ),
    )
    write_tiff(path, images, info, frame.notes, finish)


def _in_parts(shape: tuple[int, ...]) -> dict[str, object]:
    """Return how a mosaic is cut for compression.

    LibRaw decodes a tile that is wider than the image wrongly, without an error, and TIFF wants multiples of 16.
    """
    height, width = shape
    return {"rowsperstrip": height} if width < 16 else {"tile": (TILE, min(TILE, width // 16 * 16))}


def _colour_fields(info: FrameInfo) -> dict[int, Field]:
    """Return what a DNG says in its first directory: tags carried over from the source, and what must be beside."""
    tags = {tag.code for tag in info.dng_tags if tag.directory == "image"}
    version = (1, 6, 0, 0) if Tag.CALIBRATION_ILLUMINANT_3 in tags else (1, 4, 0, 0)
    readable_by = (1, 3, 0, 0) if tags & OPCODE_LISTS else (1, 1, 0, 0)
    fields = SRGB_PREVIEW | {
        Tag.DNG_VERSION: (FieldType.BYTE, version),
        Tag.DNG_BACKWARD_VERSION: (FieldType.BYTE, readable_by),
        Tag.UNIQUE_CAMERA_MODEL: (FieldType.ASCII, info.camera or UNKNOWN_CAMERA),
    }
    if info.as_shot_neutral is not None:
        neutral = _rationals(info.as_shot_neutral, 1_000_000)
        fields[Tag.AS_SHOT_NEUTRAL] = (FieldType.RATIONAL, neutral)
    fields |= _carried(info, DNG_TAGS - MOSAIC_TAGS)
    if Tag.COLOR_MATRIX_1 not in fields:
        matrix = tuple(number for entry in XYZ_TO_LINEAR_SRGB for number in (entry, 10000))
        fields[Tag.COLOR_MATRIX_1] = (FieldType.SRATIONAL, matrix)
        fields[Tag.CALIBRATION_ILLUMINANT_1] = (FieldType.SHORT, [D65])
    if Tag.AS_SHOT_WHITE_XY in fields:  # instead of AsShotNeutral: a DNG may hold only one of them
        fields.pop(Tag.AS_SHOT_NEUTRAL, None)
    return fields


def _xmp_fields(frame: Frame) -> dict[int, Field]:
    """Return the XMP of the source, whole; of a denoised frame with noise reduction and sharpening switched off."""
    fields = _carried(frame.info, frozenset((Tag.XMP,)))
    if frame.noise_reduction:
        for code, (dtype, packet) in fields.items():
            fields[code] = (dtype, [*without_denoising(bytes(int(each) for each in packet))])
    return fields


def _mosaic_fields(frame: Frame, top: int, left: int) -> dict[int, Field]:
    """Return the tags of the mosaic itself; CFA and black levels are counted from the top left of the active area."""
    info = frame.info
    assert info.cfa is not None
    black = np.broadcast_to(Mosaic.of(info).spread(info.black_level, (2, 2)), (2, 2)).ravel().tolist()
    area = (top, left, top + info.height, left + info.width)
    fields: dict[int, Field] = {
        Tag.NEW_SUBFILE_TYPE: (FieldType.LONG, [0]),  # the main image
        Tag.CFA_REPEAT_PATTERN_DIM: (FieldType.SHORT, (2, 2)),
        Tag.CFA_PATTERN: (FieldType.BYTE, ["RGB".index(colour) for colour in info.cfa]),
        Tag.CFA_PLANE_COLOR: (FieldType.BYTE, (0, 1, 2)),
        Tag.CFA_LAYOUT: (FieldType.SHORT, [1]),  # rectangular
        Tag.BLACK_LEVEL_REPEAT_DIM: (FieldType.SHORT, (2, 2)),
        Tag.BLACK_LEVEL: (FieldType.RATIONAL, _rationals(black, 1000)),
        Tag.WHITE_LEVEL: (FieldType.LONG, [round(info.white_level)]),
        Tag.ACTIVE_AREA: (FieldType.LONG, area),
    }
    if frame.border is not None:  # without these, a crop of the size of the whole array is understood
        fields[Tag.DEFAULT_CROP_ORIGIN] = (FieldType.LONG, (0, 0))  # from the top left of the active area
        fields[Tag.DEFAULT_CROP_SIZE] = (FieldType.LONG, (info.width, info.height))
    if info.noise_profile is not None:
        fields[Tag.NOISE_PROFILE] = (FieldType.DOUBLE, [*chain.from_iterable(info.noise_profile.colours)])
    if frame.noise_reduction:
        fields[Tag.NOISE_REDUCTION_APPLIED] = (FieldType.RATIONAL, _rationals((frame.noise_reduction,), 1000))
    return fields | _carried(info, MOSAIC_TAGS)


def _carried(info: FrameInfo, codes: frozenset[int]) -> dict[int, Field]:
    return {code: field for code, field in carried_fields(info, "image").items() if code in codes}


def _rationals(values: Sequence[float], denominator: int) -> tuple[int, ...]:
    fractions = (Fraction(value).limit_denominator(denominator) for value in values)
    return tuple(chain.from_iterable(fraction.as_integer_ratio() for fraction in fractions))
