"""What the directories of a DNG say about its mosaic: where it lies, its black levels, its noise, its tags.

Adobe, "Digital Negative (DNG) Specification", version 1.7.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import tifffile

from burst_denoise.arrays import Float, UInt16
from burst_denoise.io.metadata import processing_note_of
from burst_denoise.io.tags import DNG_TAGS, FieldType, Tag
from burst_denoise.io.tiff_directories import DAMAGE, whole_directories
from burst_denoise.schemas import DngTag, NoiseProfile

__all__ = ["Area", "BlackLevels", "DngHeader", "read_dng_header"]

VC_5 = 9
"""The compression of GoPro's GPR, which tifffile has under another name."""
LARGEST_NUMBER = 1 << 32
DEFLATES = (tifffile.COMPRESSION.ADOBE_DEFLATE, tifffile.COMPRESSION.DEFLATE)


class Area(NamedTuple):
    """Part of a sensor array, photosites."""

    top: int
    left: int
    height: int
    width: int

    def of(self, array: UInt16) -> UInt16:
        """Return that part of an array (H, W); a view."""
        return array[self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class BlackLevels:
    """Black levels of a mosaic, DN: the sum of a pattern that repeats, of a level per row and of one per column."""

    pattern: npt.NDArray[np.float64]
    """(R, C)"""
    rows: npt.NDArray[np.float64]
    """(H,), or (1,) for all."""
    columns: npt.NDArray[np.float64]
    """(W,), or (1,) for all."""

    def at(self, shape: tuple[int, int]) -> Float:
        """Return the black level of each photosite of the active area, (H, W) float32, DN."""
        height, width = shape
        tiles = -(-height // len(self.pattern)), -(-width // self.pattern.shape[1])
        each = np.tile(self.pattern.astype(np.float32), tiles)[:height, :width]
        return each + self.rows[:height, None].astype(np.float32) + self.columns[:width].astype(np.float32)

    def per_place(self) -> npt.NDArray[np.float64]:
        """Return the highest black level of each place of the 2x2 mosaic, (2, 2), DN."""
        corners = [[self._highest(row, column) for column in (0, 1)] for row in (0, 1)]
        return np.array(corners)

    def _highest(self, row: int, column: int) -> float:
        # Patterns repeat in twos or not: over two of their periods each place of the mosaic meets all it ever meets.
        pattern = np.tile(self.pattern, (2, 2))[row::2, column::2]
        return float(pattern.max() + _every_other(self.rows, row).max() + _every_other(self.columns, column).max())

    @property
    def vary(self) -> bool:
        """Whether photosites of one place of the 2x2 mosaic have different black levels."""
        pattern = np.tile(self.pattern, (2, 2))
        parts = [pattern[row::2, column::2] for row in (0, 1) for column in (0, 1)]
        parts += [_every_other(levels, start) for levels in (self.rows, self.columns) for start in (0, 1)]
        return any(np.ptp(part) > 0 for part in parts)

    def raised(self, shape: tuple[int, int]) -> UInt16 | None:
        """Return what to add to each photosite so that all of a place have `per_place`; None where that is nothing.

        Whole DN: what is left of the difference is at most half of one.
        """
        if not self.vary:
            return None
        target = np.tile(self.per_place().astype(np.float32), tuple(size // 2 + 1 for size in shape))
        lacking = target[: shape[0], : shape[1]] - self.at(shape)
        raised: UInt16 = np.rint(np.minimum(lacking, 65535)).astype(np.uint16)
        return raised


def _every_other(levels: npt.NDArray[np.float64], start: int) -> npt.NDArray[np.float64]:
    return levels[start::2] if len(levels) > 1 else levels


@dataclass(frozen=True)
class DngHeader:
    """What the directories of a DNG say."""

    tags: tuple[DngTag, ...]
    """Colour, lens and camera tags that a DNG made from this one takes over."""
    area: Area | None
    """ActiveArea: black levels, CFA and crops are counted from its top left; None where it is the whole array."""
    black: BlackLevels
    noise_profile: NoiseProfile | None
    """From the tag of that name, of unknown ISO; None where there is none that makes sense."""
    noise_reduction: float
    """NoiseReductionApplied, 0 to 1; 0 where that is unknown."""
    note: str
    """The `processing_note`, if this program made the file."""
    unread: str | None
    """Why its photosites are not read here, and what to do; None if they are."""

    @classmethod
    def of(cls, first: tifffile.TiffPage, mosaic: tifffile.TiffPage) -> Self:
        """Return what the first directory and that of the mosaic say."""
        found = {tag.code: tag for page in (first, mosaic) for tag in page.tags if tag.code in DNG_TAGS}
        if Tag.LINEARIZATION_TABLE in mosaic.tags:
            found.pop(Tag.OPCODE_LIST_1, None)  # it works on values before that table, which LibRaw has applied
        tags = (_carried(tag) for _, tag in sorted(found.items()))
        return cls(
            tuple(tag for tag in tags if tag is not None),
            _active_area(mosaic),
            _black_levels(mosaic),
            _noise_profile(mosaic) or _noise_profile(first),
            float(_levels(mosaic, Tag.NOISE_REDUCTION_APPLIED)[0]),
            processing_note_of(first),
            _unread(first, mosaic),
        )


def read_dng_header(path: Path, max_megapixels: float) -> DngHeader | None:
    """Return what the directories of a DNG say, or None when the file is not a DNG.

    The colour tags are in the first directory, those of the mosaic in its own, which may be a sub-directory.

    Raises
    ------
    InputFileError
        If it is no whole file, or claims more megapixels.
    """
    with whole_directories(path, max_megapixels) as pages:
        return DngHeader.of(*pages) if pages and Tag.DNG_VERSION in pages[0].tags else None


def _unread(first: tifffile.TiffPage, main: tifffile.TiffPage) -> str | None:
    """Return why a mosaic is not read here, and what to do; None if it is."""
    convert = "convert it to an uncompressed or losslessly compressed DNG"
    compression, photometric = (
        int(_levels(main, code)[0]) for code in (Tag.COMPRESSION, Tag.PHOTOMETRIC_INTERPRETATION)
    )
    linear = photometric == tifffile.PHOTOMETRIC.LINEAR_RAW
    if compression == tifffile.COMPRESSION.JPEGXL_DNG:
        return f"its compression, JPEG XL, is not read here; {convert}"
    if compression == VC_5:
        return f"is a GoPro GPR inside, whose compression (VC-5) is not read here; {convert} (gpr_tools)"
    if linear and main.samplesperpixel == 1:
        return "is from a monochrome sensor; only Bayer mosaics (2 x 2, red, green, blue) are supported"
    if linear:
        enhanced = any(Tag.ENHANCE_PARAMS in page.tags for page in (first, main))
        reduced = _levels(main, Tag.NOISE_REDUCTION_APPLIED)[0] > 0
        denoised = " and already denoised" if enhanced or reduced else ""
        return f"is a linear DNG, already demosaiced{denoised}; name the raw file that it was made from"
    if main.sampleformat == tifffile.SAMPLEFORMAT.IEEEFP:
        return "holds floating-point numbers, which are not read here; save it as a DNG of 16-bit whole numbers"
    if compression in DEFLATES:
        return f"its compression (deflate of whole numbers) is not read here; {convert}"
    return None


def _active_area(mosaic: tifffile.TiffPage) -> Area | None:
    try:
        top, left, bottom, right = (int(each) for each in mosaic.tags.valueof(Tag.ACTIVE_AREA, default=()))
        inside = 0 <= top < bottom <= mosaic.imagelength and 0 <= left < right <= mosaic.imagewidth
    except DAMAGE:
        return None
    return Area(top, left, bottom - top, right - left) if inside else None


def _black_levels(mosaic: tifffile.TiffPage) -> BlackLevels:
    area = _active_area(mosaic) or Area(0, 0, mosaic.imagelength, mosaic.imagewidth)
    pattern = _levels(mosaic, Tag.BLACK_LEVEL)
    try:
        rows, columns = (int(each) for each in _levels(mosaic, Tag.BLACK_LEVEL_REPEAT_DIM, (1.0, 1.0)))
        pattern = pattern.reshape(rows, columns)
    except DAMAGE:
        pattern = pattern[:1, None]
    by_row, by_column = _levels(mosaic, Tag.BLACK_LEVEL_DELTA_V), _levels(mosaic, Tag.BLACK_LEVEL_DELTA_H)
    return BlackLevels(
        pattern if pattern.size else np.zeros((1, 1)),
        by_row if len(by_row) == area.height else np.zeros(1),
        by_column if len(by_column) == area.width else np.zeros(1),
    )


def _levels(page: tifffile.TiffPage, code: Tag, default: Sequence[float] = (0.0,)) -> npt.NDArray[np.float64]:
    """Return the numbers of a tag; the default where it is missing, says nothing, or something impossible."""
    tag = page.tags.get(code)
    if tag is None:
        return np.array(default)
    try:
        values = np.ravel(tag.value).astype(float)
        rational = int(tag.dtype) in (FieldType.RATIONAL, FieldType.SRATIONAL)
        with np.errstate(all="ignore"):
            levels: npt.NDArray[np.float64] = values[::2] / values[1::2] if rational else values
    except DAMAGE:
        return np.array(default)
    possible = levels.size and np.isfinite(levels).all() and np.abs(levels).max() <= LARGEST_NUMBER
    return levels if possible else np.array(default)


def _carried(tag: tifffile.TiffTag) -> DngTag | None:
    """Return a tag as a document; None for numbers that say nothing, and for types of BigTIFF."""
    dtype, value = int(tag.dtype), tag.value
    if dtype > FieldType.DOUBLE:
        return None
    if isinstance(value, str):
        return DngTag(code=tag.code, dtype=FieldType.ASCII, count=len(value.encode()) + 1, value=value)
    try:
        values = tuple(value) if isinstance(value, bytes) else tuple(np.ravel(value).tolist())
        carried = DngTag(code=tag.code, dtype=dtype, count=tag.count, value=values)
    except DAMAGE:
        return None
    numbers = carried.numbers
    no_balance = tag.code == Tag.AS_SHOT_NEUTRAL and min(numbers, default=0) <= 0
    return carried if numbers and not no_balance else None


def _noise_profile(page: tifffile.TiffPage) -> NoiseProfile | None:
    """Return what a directory's NoiseProfile says: S and O of all planes, or of red, green and blue.

    The colours are in the order of CFAPlaneColor. Noise of a standard deviation above white, as of S and O in DN, is no
    noise profile.
    """
    try:
        values = np.asarray(page.tags.valueof(Tag.NOISE_PROFILE, default=()), float)
        pairs = np.broadcast_to(values.reshape(-1, 2), (3, 2))
        order = bytes(page.tags.valueof(Tag.CFA_PLANE_COLOR, default=b"\0\1\2"))
    except DAMAGE:
        return None
    if (
        sorted(order) != [0, 1, 2]
        or not np.isfinite(pairs).all()
        or (pairs[:, 0] <= 0).any()
        or (pairs.sum(1) >= 1).any()
    ):
        return None
    red, green, blue = (pairs[order.index(colour)].tolist() for colour in range(3))
    scale, offset = zip(red, green, green, blue, strict=True)
    return NoiseProfile(iso=None, shot_noise_scale=scale, read_noise_variance=offset)
