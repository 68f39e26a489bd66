"""What a picture or raw file says about its shot beside the pixels: who took it, when, how exposed; our own note."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Self

import tifffile

from burst_denoise.io.containers import read_tags
from burst_denoise.io.tags import GREATER_SENSITIVITIES, LENS_TAGS, SHOT_TAGS, Tag
from burst_denoise.io.tiff_directories import main_directories
from burst_denoise.schemas import DngTag, Domain, FrameInfo

__all__ = [
    "DARK_MARK",
    "DENOISED_MARK",
    "OWN_NAME",
    "REFUSED_AGAIN",
    "UNKNOWN_CAMERA",
    "Exif",
    "Header",
    "is_denoised",
    "possible",
    "processing_note",
    "processing_note_of",
    "read_exif",
]

DENOISED_MARK = "burst_denoise denoised this"
"""How the processing note of our own results begins."""
REFUSED_AGAIN = "was denoised by this program and is no shot; name the original, or denoise it again with --force"
DARK_MARK = "dark subtracted"
"""Stands in the processing note of results without the dark offsets of their shot."""
OWN_NAME = "burst_denoise"
"""Name by which a DNG says which program made its preview."""
CARRIED = SHOT_TAGS | LENS_TAGS | {Tag.XMP}
SMALLEST, LARGEST = 1e-7, 1e8
"""Range of plausible ISO, exposure in seconds and aperture."""
NOTE_TAGS = (Tag.PREVIEW_SETTINGS_NAME, Tag.IMAGE_DESCRIPTION)
UNKNOWN_CAMERA = "unknown"
"""The UniqueCameraModel, which a DNG must have, of a shot that does not name its camera."""


@dataclass(frozen=True)
class Header:
    """What a file says about its frame without decoding it; the fields are those of a `FrameInfo`."""

    domain: Domain
    camera: str | None
    height: int
    width: int
    iso: float | None
    exposure_s: float | None
    taken_at: float | None

    @classmethod
    def of(cls, info: FrameInfo) -> Self:
        """Return the header of a decoded frame."""
        return cls(info.domain, info.camera, info.height, info.width, info.iso, info.exposure_s, info.taken_at)


@dataclass(frozen=True)
class Exif:
    """What a file's Exif says about a shot: None where it says nothing, 0 where it says that it does not know."""

    make: str | None = None
    model: str | None = None
    iso: float | None = None
    exposure_s: float | None = None
    f_number: float | None = None
    taken_at: float | None = None
    """Seconds since 1970 by the camera's clock."""
    written_at: float | None = None
    """When the file was last written; of a raw file, when it was shot."""
    orientation: int = 1
    tags: tuple[DngTag, ...] = ()
    """All that it says about the shot, to carry over: words, rights, exposure, lens, dates, place, XMP, IPTC."""

    @property
    def camera(self) -> str | None:
        """Make and model, the make only once ("Canon EOS 700D", not "Canon Canon EOS 700D")."""
        if self.make is None or self.model is None:
            return self.model or self.make
        doubled = self.model.lower().startswith(self.make.split()[0].lower())
        return self.model if doubled else f"{self.make} {self.model}"

    @property
    def lens(self) -> tuple[DngTag, ...]:
        """Focal length and lens, among `tags`."""
        return tuple(tag for tag in self.tags if tag.code in LENS_TAGS and tag.directory != "gps")


def read_exif(path: Path) -> Exif:
    """Return what the Exif of a file says, whichever container holds it; all None where there is none."""
    found = {(tag.directory, tag.code): tag for tag in read_tags(path)}
    # TIFF/EP and CinemaDNG have exposure and lens in the first directory.
    values = {code: found.get(("exif", code)) or found.get(("image", code)) for _, code in found}
    orientation = int(_number(values, Tag.ORIENTATION) or 1)
    return Exif(
        make=_text(values, Tag.MAKE),
        model=_text(values, Tag.MODEL),
        iso=_iso(values),
        exposure_s=_number(values, Tag.EXPOSURE_TIME),
        f_number=_number(values, Tag.F_NUMBER),
        taken_at=_seconds(_text(values, Tag.DATE_TIME_ORIGINAL), _text(values, Tag.SUB_SEC_TIME_ORIGINAL)),
        written_at=_seconds(_text(values, Tag.DATE_TIME), None),
        orientation=orientation if 1 <= orientation <= 8 else 1,
        tags=tuple(tag for tag in found.values() if tag.directory != "image" or tag.code in CARRIED),
    )


def _text(tags: Mapping[int, DngTag | None], code: int) -> str | None:
    tag = tags.get(code)
    return tag.value.replace("\0", " ").strip() or None if tag is not None and isinstance(tag.value, str) else None


def _number(tags: Mapping[int, DngTag | None], code: int) -> float | None:
    """Return the first number of a tag, text or not; 0 where it says that it does not know, or something impossible."""
    tag = tags.get(code)
    if tag is None:
        return None
    number = 0.0
    if isinstance(tag.value, str):
        with contextlib.suppress(ValueError, ZeroDivisionError):
            number = float(Fraction(tag.value.strip()))  # "800", "1/60"
    elif tag.numbers:
        number = tag.numbers[0]
    return possible(number)


def possible(number: float) -> float:
    """Return what ISO, exposure or aperture is said to be, and 0 where it cannot be that."""
    return number if SMALLEST <= number <= LARGEST else 0.0


def _iso(tags: Mapping[int, DngTag | None]) -> float | None:
    """Return the ISO, which stands in one of three other tags where it is too great for the first."""
    iso = _number(tags, Tag.PHOTOGRAPHIC_SENSITIVITY)
    if iso in (None, 0, 65535):
        iso = next((other for code in GREATER_SENSITIVITIES if (other := _number(tags, code))), iso)
    return iso


def is_denoised(path: Path) -> bool:
    """Return whether a file is a denoised picture that this program wrote: no shot, and nothing to calibrate on."""
    return processing_note(path).startswith(DENOISED_MARK)


def processing_note(path: Path) -> str:
    """Return how a DNG or TIFF of ours was made; empty where nothing tells, and for other files.

    It stands where exiftool copies nothing from another file; up to version 0.4 it was the image description.
    """
    if path.suffix.lower() not in {".dng", ".tif", ".tiff"} or not path.is_file():
        return ""
    with main_directories(path) as pages:
        return processing_note_of(pages[0]) if pages else ""


def processing_note_of(first: tifffile.TiffPage) -> str:
    """Return the `processing_note` that the first directory of a file holds."""
    told = (str(first.tags.valueof(code, default="")) for code in NOTE_TAGS)
    return next((text for text in told if DENOISED_MARK in text), "")


def _seconds(date: str | None, fraction: str | None) -> float | None:
    """Return an Exif date and its fraction as seconds since 1970; None when there is none or it is all zeros."""
    try:
        start = datetime.strptime(date or "", "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
    return start + (float(f"0.{fraction}") if fraction is not None and fraction.isdecimal() else 0.0)
