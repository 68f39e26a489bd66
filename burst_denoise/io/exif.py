"""Written TIFFs and DNGs: one image with the camera, and an Exif directory with ISO, exposure, time and lens.

Raw converters look for these nowhere else.
"""

import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import tifffile

from burst_denoise.arrays import UInt16
from burst_denoise.files import atomic_write
from burst_denoise.io.tags import LENS_TAGS, FieldType, Tag
from burst_denoise.schemas import FrameInfo

__all__ = ["Field", "write_tiff"]

Field = tuple[int, str | Sequence[float]]
"""What a tag holds: field type, and text or numbers (rationals as numerator, denominator, ...)."""

EXIF_PLACE = Tag.EXIF_IFD + 1
"""A number that no program uses, next to the pointer's: see `_append_exif`."""


def write_tiff(
    path: Path, pixels: UInt16, info: FrameInfo, fields: Mapping[int, Field], notes: str, **layout: Any
) -> None:
    """Write one image as a little-endian TIFF that says about its shot what ``info`` says.

    Parameters
    ----------
    path : Path
        Must not exist.
    pixels : (H, W) or (H, W, 3) uint16 array
    info : FrameInfo
        Camera, orientation, time, exposure and lens.
    fields : mapping of tag number to Field
        Further tags of the first directory.
    notes : str
        How the picture was made, for the image description.
    **layout
        Photometric interpretation, compression, tiles, ... as `tifffile.imwrite` takes them.

    Raises
    ------
    OutputError
        If ``path`` exists or cannot be written; then nothing is left behind.
    """
    shot = {**_shot_fields(info), **fields}
    with atomic_write(path) as aside:
        tifffile.imwrite(aside, pixels, byteorder="<", bigtiff=False, metadata=None, software="burst-denoise",
                         description=notes.encode() or None,
                         extratags=[(tag, *_packed(*shot[tag]), True) for tag in sorted(shot)], **layout)  # fmt: skip
        _append_exif(aside, info)


def _shot_fields(info: FrameInfo) -> dict[int, Field]:
    """Return what the first directory says about a shot."""
    fields: dict[int, Field] = {
        Tag.ORIENTATION: (FieldType.SHORT, [info.orientation]),
        EXIF_PLACE: (FieldType.LONG, [0]),
    }
    if info.taken_at is not None:
        fields[Tag.DATE_TIME] = (FieldType.ASCII, _date(info.taken_at))
    if info.camera is not None:
        fields |= {Tag.MAKE: (FieldType.ASCII, info.camera.split()[0]), Tag.MODEL: (FieldType.ASCII, info.camera)}
        fields |= {tag.code: (tag.dtype, tag.value) for tag in info.dng_tags if tag.code in (Tag.MAKE, Tag.MODEL)}
    return fields


def _append_exif(path: Path, info: FrameInfo) -> None:
    """Append an Exif directory to a little-endian TIFF and let its first directory point to it.

    tifffile cannot write the directory and drops the pointer, so a LONG with the number `EXIF_PLACE` must have been
    written for it.
    """
    with tifffile.TiffFile(path) as tiff:
        pointer_at = tiff.pages.first.tags[EXIF_PLACE].offset
    entries = sorted(_exif_fields(info).items())
    with path.open("r+b") as file:
        start = file.seek(0, 2)
        start += file.write(b"\0" * (start % 2))  # a directory begins at an even place
        values_at = start + 2 + 12 * len(entries) + 4
        directory, values = struct.pack("<H", len(entries)), b""
        for tag, field in entries:
            dtype, count, value = _packed(*field)
            letter = "H" if dtype == FieldType.SHORT else "I"
            data = value if isinstance(value, bytes) else struct.pack(f"<{len(value)}{letter}", *value)
            inside = data if len(data) <= 4 else struct.pack("<I", values_at + len(values))
            directory += struct.pack("<HHI4s", tag, dtype, count, inside)
            if len(data) > 4:
                values += data + b"\0" * (len(data) % 2)
        file.write(directory + bytes(4) + values)
        file.seek(pointer_at)
        file.write(struct.pack("<HHII", Tag.EXIF_IFD, FieldType.LONG, 1, start))


def _packed(dtype: int, values: str | Sequence[float]) -> tuple[int, int, bytes | tuple[float, ...]]:
    """Return a field as tifffile takes it: field type, count, and text or bytes as they are, or numbers."""
    if isinstance(values, str):
        text = values.encode() + b"\0"
        return FieldType.ASCII, len(text), text
    if dtype in (FieldType.BYTE, FieldType.ASCII, FieldType.UNDEFINED):
        return dtype, len(values), bytes(int(value) for value in values)
    each = 2 if dtype in (FieldType.RATIONAL, FieldType.SRATIONAL) else 1
    return dtype, len(values) // each, tuple(values)


def _exif_fields(info: FrameInfo) -> dict[int, Field]:
    """Return what the Exif directory says: SHORT, LONG and RATIONAL numbers, text and bytes."""
    fields: dict[int, Field] = {Tag.EXIF_VERSION: (FieldType.UNDEFINED, b"0232")}
    if info.exposure_s:
        fields[Tag.EXPOSURE_TIME] = (FieldType.RATIONAL, _rational(info.exposure_s))
    if info.f_number:
        fields[Tag.F_NUMBER] = (FieldType.RATIONAL, _rational(info.f_number))
    if info.iso:
        iso = round(info.iso)
        fields[Tag.PHOTOGRAPHIC_SENSITIVITY] = (FieldType.SHORT, [min(iso, 65535)])
        if iso > 65535:  # too great for that tag: SensitivityType says to look at RecommendedExposureIndex
            fields[Tag.SENSITIVITY_TYPE] = (FieldType.SHORT, [2])
            fields[Tag.RECOMMENDED_EXPOSURE_INDEX] = (FieldType.LONG, [iso])
    if info.taken_at is not None:
        fields[Tag.DATE_TIME_ORIGINAL] = (FieldType.ASCII, _date(info.taken_at))
        fields[Tag.SUB_SEC_TIME_ORIGINAL] = (FieldType.ASCII, f"{round(info.taken_at * 1000) % 1000:03d}")
    return fields | {tag.code: (tag.dtype, tag.value) for tag in info.dng_tags if tag.code in LENS_TAGS}


def _date(taken_at: float) -> str:
    """Return seconds since 1970 as Exif writes a date; milliseconds are apart."""
    return datetime.fromtimestamp(round(taken_at * 1000) // 1000, UTC).strftime("%Y:%m:%d %H:%M:%S")


def _rational(value: float) -> tuple[int, int]:
    """Return a positive number as an Exif rational; times below a second as 1/n, as cameras write them."""
    if value >= 1:
        return Fraction(value).limit_denominator(10_000).as_integer_ratio()
    return (1 / Fraction(1 / value).limit_denominator(10_000)).as_integer_ratio()
