"""The Exif directory of a written TIFF or DNG: ISO, exposure, time and lens, where raw converters look for them."""

import struct
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

from burst_denoise.schemas import FrameInfo

__all__ = ["EXIF_CODES", "EXIF_PLACE", "append_exif", "exif_date"]

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED = 1, 2, 3, 4, 5, 7

EXIF_CODES = range(33434, 42241)
"""Tags with these numbers belong into the Exif directory, all others of a `FrameInfo` into the first one."""

EXIF_POINTER = 34665
EXIF_PLACE = 34666
"""A number that no program uses, next to the pointer's: see `append_exif`."""


def append_exif(path: Path, info: FrameInfo) -> None:
    """Append an Exif directory to a little-endian TIFF and let its first directory point to it.

    LibRaw and raw converters look for ISO and exposure nowhere else. tifffile cannot write the directory and drops the
    pointer (tag 34665), so a LONG with the number `EXIF_PLACE` must have been written for it.
    """
    entries = _entries(info)
    with path.open("r+b") as file:
        start = file.seek(0, 2)
        start += file.write(b"\0" * (start % 2))  # a directory begins at an even place
        values_at = start + 2 + 12 * len(entries) + 4
        directory, values = struct.pack("<H", len(entries)), b""
        for code, dtype, count, value in entries:
            directory += struct.pack("<HHI", code, dtype, count)
            if len(value) <= 4:
                directory += value.ljust(4, b"\0")
            else:
                directory += struct.pack("<I", values_at + len(values))
                values += value + b"\0" * (len(value) % 2)
        file.write(directory + bytes(4) + values)

        file.seek(4)
        (first,) = struct.unpack("<I", file.read(4))
        file.seek(first)
        (count,) = struct.unpack("<H", file.read(2))
        codes = struct.unpack("<" + "H10x" * count, file.read(12 * count))
        file.seek(first + 2 + 12 * codes.index(EXIF_PLACE))
        file.write(struct.pack("<HHII", EXIF_POINTER, LONG, 1, start))


def exif_date(taken_at: float) -> str:
    """Return seconds since 1970 as Exif writes a date; milliseconds are apart."""
    return datetime.fromtimestamp(round(taken_at * 1000) // 1000, UTC).strftime("%Y:%m:%d %H:%M:%S")


def _entries(info: FrameInfo) -> list[tuple[int, int, int, bytes]]:
    """Return code, TIFF type, count and little-endian value of the directory's entries, ascending."""
    entries = {36864: (UNDEFINED, 4, b"0232")}  # ExifVersion
    if info.exposure_s:
        entries[33434] = (RATIONAL, 1, _rational(info.exposure_s))
    if info.f_number:
        entries[33437] = (RATIONAL, 1, _rational(info.f_number))
    if info.iso:
        iso = round(info.iso)
        entries[34855] = (SHORT, 1, struct.pack("<H", min(iso, 65535)))
        if iso > 65535:  # too great for that tag: SensitivityType says to look at RecommendedExposureIndex
            entries |= {34864: (SHORT, 1, struct.pack("<H", 2)), 34866: (LONG, 1, struct.pack("<I", iso))}
    if info.taken_at is not None:
        milliseconds = f"{round(info.taken_at * 1000) % 1000:03d}\0"
        entries[36867] = (ASCII, 20, exif_date(info.taken_at).encode() + b"\0")  # DateTimeOriginal
        entries[37521] = (ASCII, 4, milliseconds.encode())  # SubSecTimeOriginal
    for tag in info.dng_tags:
        if tag.code in EXIF_CODES and isinstance(tag.value, str):
            text = tag.value.encode() + b"\0"
            entries[tag.code] = (ASCII, len(text), text)
        elif tag.code in EXIF_CODES and tag.dtype in (SHORT, LONG, RATIONAL):
            letter = "H" if tag.dtype == SHORT else "I"
            entries[tag.code] = (tag.dtype, tag.count, struct.pack(f"<{len(tag.value)}{letter}", *tag.value))
    return [(code, *entry) for code, entry in sorted(entries.items())]


def _rational(value: float) -> bytes:
    """Return a positive number as an Exif rational; times below a second as 1/n, as cameras write them."""
    if value >= 1:
        fraction = Fraction(value).limit_denominator(10_000)
    else:
        fraction = 1 / Fraction(1 / value).limit_denominator(10_000)
    return struct.pack("<II", *fraction.as_integer_ratio())
