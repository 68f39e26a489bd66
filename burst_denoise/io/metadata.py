"""What a picture or raw file says beside its pixels: Exif, DNG tags, and whether all of the file is there."""

import contextlib
import logging
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Self

import exifread
import numpy as np
import tifffile

from burst_denoise.errors import InputFileError
from burst_denoise.io.tags import CARRIED_TAGS, LENS_TAGS, FieldType, Tag
from burst_denoise.schemas import DngTag, Domain, FrameInfo, NoiseProfile

__all__ = [
    "DAMAGE",
    "DARK_MARK",
    "DENOISED_MARK",
    "TIFF_HEADS",
    "UNKNOWN_CAMERA",
    "DngMetadata",
    "Exif",
    "Header",
    "image_description",
    "is_denoised",
    "read_dng_metadata",
    "read_exif",
    "refuse_incomplete",
    "silenced",
]

DAMAGE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, struct.error)
"""What the parsers raise on damaged directories."""

DENOISED_MARK = "burst_denoise denoised this"
"""How the image description of our own results begins."""
DARK_MARK = "dark subtracted"
"""Stands in the description of results without the dark offsets of their shot."""
UNKNOWN_CAMERA = "unknown"
"""The UniqueCameraModel, which a DNG must have, of a shot that does not name its camera."""

TIFF_HEADS = (b"II*\0", b"MM\0*")
"""How a TIFF begins, and many a raw format made from it."""

SILENCE = threading.RLock()
"""Held while a library is silenced: shots are read and written at the same time."""


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
    lens: tuple[DngTag, ...] = ()
    """Focal length and lens, as Exif tags to carry over."""

    @property
    def camera(self) -> str | None:
        """Make and model, the make only once ("Canon EOS 700D", not "Canon Canon EOS 700D")."""
        if self.make is None or self.model is None:
            return self.model or self.make
        doubled = self.model.lower().startswith(self.make.split()[0].lower())
        return self.model if doubled else f"{self.make} {self.model}"


@dataclass(frozen=True)
class DngMetadata:
    """What the directories of a DNG, or LibRaw of another format, say about a mosaic."""

    tags: tuple[DngTag, ...]
    """Colour, lens and camera tags that a DNG made from this one takes over."""
    top: int
    """First row of the ActiveArea; black levels and CFA are counted from there."""
    left: int
    noise_profile: NoiseProfile | None = None
    """From the tag of that name, of unknown ISO; None where there is none that makes sense."""


def read_exif(path: Path) -> Exif:
    """Return what the Exif of a file says; all None where there is none or its format is unknown to exifread."""
    try:
        with silenced("exifread"), path.open("rb") as file:
            tags = exifread.process_file(file, details=False, extract_thumbnail=False)
    except DAMAGE:  # the picture itself may still be whole
        tags = {}

    def text(name: str) -> str | None:
        return str(tags[name].values).strip(" \0") or None if name in tags else None

    def number(name: str) -> float | None:
        try:
            return float(tags[name].values[0]) if name in tags else None
        except DAMAGE:  # 0/0 stands for "unknown"
            return 0.0

    iso = number("EXIF ISOSpeedRatings")
    if iso == 65535:  # the greatest that this tag can say
        iso = number("EXIF RecommendedExposureIndex") or iso
    orientation = int(number("Image Orientation") or 1)
    return Exif(
        make=text("Image Make"),
        model=text("Image Model"),
        iso=iso,
        exposure_s=number("EXIF ExposureTime"),
        f_number=number("EXIF FNumber"),
        taken_at=_seconds(text("EXIF DateTimeOriginal"), text("EXIF SubSecTimeOriginal")),
        written_at=_seconds(text("Image DateTime"), None),
        orientation=orientation if 1 <= orientation <= 8 else 1,
        lens=tuple(lens for tag in tags.values() if (lens := _lens_tag(tag)) is not None),
    )


def read_dng_metadata(path: Path) -> DngMetadata | None:
    """Return the tags of a DNG that a denoised DNG takes over, or None when the file is not a DNG.

    The colour tags are in the first directory, those of the mosaic in its own, which may be a sub-directory.
    """
    with _directories(path) as pages:
        if not pages or Tag.DNG_VERSION not in pages[0].tags:
            return None
        found = {tag.code: tag for page in pages for tag in page.tags if tag.code in CARRIED_TAGS}
        if Tag.LINEARIZATION_TABLE in pages[-1].tags:
            found.pop(Tag.OPCODE_LIST_1, None)  # it works on values before that table, which LibRaw has applied
        tags = (_carried(tag) for _, tag in sorted(found.items()))
        top, left, *_ = pages[-1].tags.valueof(Tag.ACTIVE_AREA, default=(0, 0, 0, 0))
        carried = tuple(tag for tag in tags if tag is not None)
        return DngMetadata(carried, int(top), int(left), _noise_profile(pages[-1]) or _noise_profile(pages[0]))


def is_denoised(path: Path) -> bool:
    """Return whether a file is a denoised picture that this program wrote: no shot, and nothing to calibrate on."""
    return image_description(path).startswith(DENOISED_MARK)


def image_description(path: Path) -> str:
    """Return the image description of a DNG or TIFF; empty where there is none, and for other files."""
    if path.suffix.lower() not in {".dng", ".tif", ".tiff"}:
        return ""
    with _directories(path) as pages:
        return str(pages[0].tags.valueof(Tag.IMAGE_DESCRIPTION, default="")) if pages else ""


def refuse_incomplete(path: Path) -> None:
    """Raise `InputFileError` unless ``path`` is a readable file with something in it, a TIFF (DNG, CR2, NEF) all of it.

    LibRaw and OpenCV fill what is missing at the end of some truncated files with zeros, without an error.
    """
    if path.is_dir():
        raise InputFileError(f"{path}: is a folder where a file is needed; name a file in it")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise InputFileError(f"{path}: cannot be read ({error.strerror}); check its name and rights") from error
    if size == 0:
        raise InputFileError(f"{path}: is empty (0 bytes); copy it from the camera again")
    if head in TIFF_HEADS:
        with _directories(path) as pages:
            parts = [part for page in pages[-1:] for part in zip(page.dataoffsets, page.databytecounts, strict=False)]
            end = max((start + count for start, count in parts), default=0)
        if not parts or end > size:
            there = f"{size} of at least {end} bytes are there" if parts else "its directory is cut off"
            raise InputFileError(f"{path}: is truncated ({there}); copy it from the camera again")


@contextlib.contextmanager
def silenced(name: str) -> Iterator[None]:
    """Keep a library's logger from writing about odd files to stderr."""
    logger = logging.getLogger(name)
    with SILENCE:
        before = logger.disabled
        logger.disabled = True
        try:
            yield
        finally:
            logger.disabled = before


@contextlib.contextmanager
def _directories(path: Path) -> Iterator[list[tifffile.TiffPage]]:
    """Give the first directory of a TIFF and the one of its main image; none when they cannot be parsed."""
    with silenced("tifffile"), contextlib.ExitStack() as stack:
        try:
            tiff = stack.enter_context(tifffile.TiffFile(path))
            pages = [page for page in tiff.pages if isinstance(page, tifffile.TiffPage)]
            pages += [sub for page in pages for sub in page.pages or () if isinstance(sub, tifffile.TiffPage)]
        except (tifffile.TiffFileError, OSError, *DAMAGE):
            pages = []
        cfa = tifffile.PHOTOMETRIC.CFA
        mosaics = [page for page in pages if page.tags.valueof(Tag.PHOTOMETRIC_INTERPRETATION) == cfa]
        main = max(mosaics or pages, key=lambda page: sum(page.databytecounts), default=None)
        yield [] if main is None else [pages[0], main]


def _lens_tag(tag: object) -> DngTag | None:
    """Return an Exif tag as a document when it is one of the lens's and can be told."""
    code, dtype, values = (getattr(tag, name, None) for name in ("tag", "field_type", "values"))
    if code not in LENS_TAGS or not values:
        return None
    if isinstance(values, str):
        text = values.strip(" \0")
        length = len(text) + 1
        return DngTag(code=code, dtype=FieldType.ASCII, count=length, value=text) if text.isascii() else None
    if dtype == FieldType.RATIONAL and all(isinstance(value, Fraction) for value in values):
        numbers = tuple(number for value in values for number in value.as_integer_ratio())
        return DngTag(code=code, dtype=dtype, count=len(values), value=numbers)
    return DngTag(code=code, dtype=dtype, count=1, value=(values[0],)) if dtype == FieldType.SHORT else None


def _carried(tag: tifffile.TiffTag) -> DngTag | None:
    """Return a tag as a document; None for a rational with denominator 0, which says nothing."""
    dtype, value = int(tag.dtype), tag.value
    if isinstance(value, str):
        return DngTag(code=tag.code, dtype=dtype, count=tag.count, value=value)
    numbers = tuple(value) if isinstance(value, bytes) else tuple(np.ravel(value).tolist())
    if dtype in (FieldType.RATIONAL, FieldType.SRATIONAL) and 0 in numbers[1::2]:
        return None
    return DngTag(code=tag.code, dtype=dtype, count=tag.count, value=numbers)


def _noise_profile(page: tifffile.TiffPage) -> NoiseProfile | None:
    """Return what a directory's NoiseProfile says: S and O of all planes, or of red, green and blue.

    Adobe, "Digital Negative (DNG) Specification", version 1.7.1; the colours are in the order of CFAPlaneColor.
    """
    try:
        values = np.asarray(page.tags.valueof(Tag.NOISE_PROFILE, default=()), float)
        pairs = np.broadcast_to(values.reshape(-1, 2), (3, 2))
        order = bytes(page.tags.valueof(Tag.CFA_PLANE_COLOR, default=b"\0\1\2"))
    except DAMAGE:
        return None
    if sorted(order) != [0, 1, 2] or not np.isfinite(pairs).all() or (pairs[:, 0] <= 0).any():
        return None
    red, green, blue = (pairs[order.index(colour)].tolist() for colour in range(3))
    scale, offset = zip(red, green, green, blue, strict=True)
    return NoiseProfile(iso=None, shot_noise_scale=scale, read_noise_variance=offset)


def _seconds(date: str | None, fraction: str | None) -> float | None:
    """Return an Exif date and its fraction as seconds since 1970; None when there is none or it is all zeros."""
    try:
        start = datetime.strptime(date or "", "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
    return start + (float(f"0.{fraction}") if fraction is not None and fraction.isdecimal() else 0.0)
