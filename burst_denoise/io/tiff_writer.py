"""Written TIFFs and DNGs: images with what is known of their shot, and Exif and GPS directories.

Raw converters look for exposure, lens and place nowhere else.
"""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from burst_denoise import __version__
from burst_denoise.files import atomic_write
from burst_denoise.io.metadata import OWN_NAME
from burst_denoise.io.tags import GREATER_SENSITIVITIES, LENS_TAGS, SHOT_TAGS, FieldType, Tag
from burst_denoise.schemas import FrameInfo, TagDirectory

__all__ = ["OWN_PREVIEW", "Field", "TiffImage", "carried_fields", "write_tiff"]

Field = tuple[int, str | Sequence[float]]
"""What a tag holds: field type, and text or numbers (rationals as numerator, denominator, ...)."""

POINTERS: dict[int, int] = {Tag.EXIF_IFD: Tag.EXIF_IFD + 1, Tag.GPS_IFD: Tag.GPS_IFD + 1}
"""Tags that point to directories, and a number next to it that no program uses: see `_append_directories`."""

OWN_PREVIEW: dict[int, Field] = {
    Tag.PREVIEW_APPLICATION_NAME: (FieldType.ASCII, OWN_NAME),
    Tag.PREVIEW_APPLICATION_VERSION: (FieldType.ASCII, __version__),
}
"""Who made the pictures of a file."""


@dataclass(frozen=True)
class TiffImage:
    """An image of a TIFF."""

    pixels: npt.NDArray[Any] | Iterator[bytes]
    """(H, W) or (H, W, 3) uint8 or uint16, or what it is encoded to; then the layout tells shape and dtype."""
    fields: Mapping[int, Field] = field(default_factory=dict)
    """Tags of its directory, beside those of the layout."""
    layout: Mapping[str, Any] = field(default_factory=dict)
    """Photometric interpretation, compression, tiles, ... as `tifffile.TiffWriter.write` takes them."""


def write_tiff(
    path: Path,
    images: Sequence[TiffImage],
    info: FrameInfo,
    notes: str,
    finish: Callable[[Path], None] = lambda _: None,
) -> None:
    """Write a little-endian TIFF that says about its shot what ``info`` says.

    Parameters
    ----------
    path : Path
        Must not exist.
    images : sequence of TiffImage
        The first has the tags of the shot, the others are its sub-images.
    info : FrameInfo
        Camera, orientation, time, exposure and all else that its tags say about the shot.
    notes : str
        How the picture was made.
    finish : callable
        Given the whole file under its temporary name, before it gets its own: the place for last changes.

    Raises
    ------
    OutputError
        If ``path`` exists or cannot be written; then nothing is left behind.
    """
    first, *others = images
    directories = {int(Tag.EXIF_IFD): _exif_fields(info)}
    if place := carried_fields(info, "gps"):
        directories[Tag.GPS_IFD] = place
    places: dict[int, Field] = {POINTERS[pointer]: (FieldType.LONG, [0]) for pointer in directories}
    shot = {**_shot_fields(info, notes), **first.fields, **places}
    with atomic_write(path) as aside:
        with tifffile.TiffWriter(aside, byteorder="<", bigtiff=False) as tiff:
            for image, fields in ((first, shot), *((other, other.fields) for other in others)):
                tiff.write(
                    image.pixels,
                    metadata=None,
                    software=False,
                    subifds=len(others) if image is first else 0,
                    extratags=[(tag, *_packed(*fields[tag]), True) for tag in sorted(fields)],
                    **image.layout,
                )
        _append_directories(aside, directories)
        finish(aside)


def carried_fields(info: FrameInfo, directory: TagDirectory) -> dict[int, Field]:
    """Return what the source says in a directory; the lens belongs into that of Exif, wherever it was."""
    return {
        tag.code: (tag.dtype, tag.value)
        for tag in info.dng_tags
        if (tag.directory if tag.code not in LENS_TAGS else "exif") == directory
    }


def _shot_fields(info: FrameInfo, notes: str) -> dict[int, Field]:
    """Return what the first directory says about a shot, and how the picture was made from it.

    The latter in DNG's words about previews: cameras do not use them, and exiftool copies none over them.
    """
    fields = OWN_PREVIEW | {Tag.ORIENTATION: (FieldType.SHORT, [info.orientation])}
    if notes:
        fields[Tag.PREVIEW_SETTINGS_NAME] = (FieldType.ASCII, notes)
    if info.taken_at is not None:
        fields[Tag.DATE_TIME] = (FieldType.ASCII, _date(info.taken_at))
    if info.camera is not None:
        fields |= {Tag.MAKE: (FieldType.ASCII, info.camera.split()[0]), Tag.MODEL: (FieldType.ASCII, info.camera)}
    return fields | {code: value for code, value in carried_fields(info, "image").items() if code in SHOT_TAGS}


def _append_directories(path: Path, directories: Mapping[int, Mapping[int, Field]]) -> None:
    """Append directories to a little-endian TIFF and let its first one point to them.

    tifffile cannot write these and drops pointers to them, so a LONG with the number beside each, see `POINTERS`, must
    have been written for it.
    """
    with tifffile.TiffFile(path) as tiff:
        first = tiff.pages.first
        entries: dict[int, int] = {tag.code: tag.offset for tag in first.tags}
        images = [(page.offset, len(page.tags)) for page in first.pages or () if isinstance(page, tifffile.TiffPage)]
    with path.open("r+b") as file:
        for pointer, fields in directories.items():
            start = file.seek(0, 2)
            start += file.write(b"\0" * (start % 2))  # a directory begins at an even place
            file.write(_directory(fields, start))
            file.seek(entries[POINTERS[pointer]])
            file.write(struct.pack("<HHII", pointer, FieldType.LONG, 1, start))
        # tifffile makes sub-images a chain beside, and calls their pointers IFD; a DNG has it otherwise.
        for start, count in images:
            file.seek(start + 2 + 12 * count)
            file.write(bytes(4))
        if images:
            file.seek(entries[Tag.SUB_IFDS] + 2)
            file.write(struct.pack("<H", FieldType.LONG))


def _directory(fields: Mapping[int, Field], start: int) -> bytes:
    """Return a directory as it is stored from a place of the file on."""
    values_at = start + 2 + 12 * len(fields) + 4
    directory, values = struct.pack("<H", len(fields)), b""
    for tag in sorted(fields):
        dtype, count, value = _packed(*fields[tag])
        data = value if isinstance(value, bytes) else np.array(value).astype(ELEMENTS[FieldType(dtype)]).tobytes()
        inside = data if len(data) <= 4 else struct.pack("<I", values_at + len(values))
        directory += struct.pack("<HHI4s", tag, dtype, count, inside)
        if len(data) > 4:
            values += data + b"\0" * (len(data) % 2)
    return directory + bytes(4) + values


ELEMENTS = {
    FieldType.BYTE: "<u1", FieldType.SHORT: "<u2", FieldType.LONG: "<u4", FieldType.RATIONAL: "<u4",
    FieldType.SBYTE: "<i1", FieldType.SSHORT: "<i2", FieldType.SLONG: "<i4", FieldType.SRATIONAL: "<i4",
    FieldType.FLOAT: "<f4", FieldType.DOUBLE: "<f8",
}  # fmt: skip
"""How the numbers of a field type are stored."""


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
    """Return what the Exif directory says: what the source says, and what else is known."""
    carried = carried_fields(info, "exif")
    fields: dict[int, Field] = {Tag.EXIF_VERSION: (FieldType.UNDEFINED, b"0232")}
    if info.exposure_s:
        fields[Tag.EXPOSURE_TIME] = (FieldType.RATIONAL, _rational(info.exposure_s))
    if info.f_number:
        fields[Tag.F_NUMBER] = (FieldType.RATIONAL, _rational(info.f_number))
    if info.iso:
        iso = round(info.iso)
        fields[Tag.PHOTOGRAPHIC_SENSITIVITY] = (FieldType.SHORT, [min(iso, 65535)])
        # What is too great for that tag stands in one of three others, and SensitivityType says in which.
        if iso > 65535 and not carried.keys() & {*GREATER_SENSITIVITIES}:
            fields[Tag.SENSITIVITY_TYPE] = (FieldType.SHORT, [2])
            fields[Tag.RECOMMENDED_EXPOSURE_INDEX] = (FieldType.LONG, [iso])
    if info.taken_at is not None:
        fields[Tag.DATE_TIME_ORIGINAL] = (FieldType.ASCII, _date(info.taken_at))
        if milliseconds := round(info.taken_at * 1000) % 1000:
            fields[Tag.SUB_SEC_TIME_ORIGINAL] = (FieldType.ASCII, f"{milliseconds:03d}")
    return fields | carried


def _date(taken_at: float) -> str:
    """Return seconds since 1970 as Exif writes a date; milliseconds are apart."""
    return datetime.fromtimestamp(round(taken_at * 1000) // 1000, UTC).strftime("%Y:%m:%d %H:%M:%S")


def _rational(value: float) -> tuple[int, int]:
    """Return a positive number as an Exif rational; times below a second as 1/n, as cameras write them."""
    if value >= 1:
        return Fraction(value).limit_denominator(10_000).as_integer_ratio()
    return (1 / Fraction(1 / value).limit_denominator(10_000)).as_integer_ratio()
