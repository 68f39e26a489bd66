"""Who took a shot, when and with which lens: the tags of every container that keeps them, raw file or picture.

Nearly all containers hold the blocks of a TIFF; what differs is where. One function each finds them: `_tiff` (DNG, CR2,
NEF, ARW, ORF, PEF, ...), `_rw2`, `_jpeg`, `_png`, `_raf`, `_mrw`, `_cr3`. The oldest Canons (`_crw`) have records
of their own.

The directories are read here and not by exifread, which knows half of the containers, cuts long values, and loops for
as long as a damaged maker note tells it to. What is damaged is passed over, and only what is asked for is read: the
rest of a raw file is large.

References
----------
Adobe, "TIFF", revision 6.0; CIPA DC-008, "Exif", version 2.32; Adobe, "XMP Specification Part 3"; ISO/IEC 14496-12;
Canon, "CIFF: Camera Image File Format", version 1.0 revision 4; for what makers keep to themselves, the tag tables of
P. Harvey, "ExifTool".
"""

import contextlib
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, NamedTuple

import tifffile

from burst_denoise.io.tags import FieldType, Tag
from burst_denoise.schemas import DngTag, TagDirectory

__all__ = ["read_tags"]

POINTERS: dict[int, TagDirectory] = {Tag.EXIF_IFD: "exif", Tag.GPS_IFD: "gps"}
"""Tags of the first directory that say where the others are."""

LEFT_OUT_NAMES = """
NewSubfileType SubfileType ImageWidth ImageLength BitsPerSample Compression PhotometricInterpretation Thresholding
CellWidth CellLength FillOrder StripOffsets SamplesPerPixel RowsPerStrip StripByteCounts MinSampleValue
MaxSampleValue PlanarConfiguration FreeOffsets FreeByteCounts Predictor ColorMap TileWidth TileLength TileOffsets
TileByteCounts SubIFDs ExtraSamples SampleFormat SMinSampleValue SMaxSampleValue JPEGTables JPEGProc
JPEGInterchangeFormat JPEGInterchangeFormatLength JPEGRestartInterval YCbCrCoefficients YCbCrSubSampling
YCbCrPositioning ReferenceBlackWhite CFARepeatPatternDim CFAPattern
ExifTag GPSTag InteroperabilityTag MakerNote
"""
LEFT_OUT = frozenset(tifffile.TIFF.TAGS[name] for name in LEFT_OUT_NAMES.split())
"""How the stored image is laid out, where other directories are, and maker notes, whose inner offsets do not travel."""

BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">", b"IIU\0": "<", b"IIRO": "<", b"IIRS": "<", b"MMOR": ">"}
"""How a TIFF begins, and Panasonic's and Olympus's kinds of it; for each, its byte order as `struct` writes it."""

NUMBERS = {
    FieldType.BYTE: "B",
    FieldType.ASCII: "s",
    FieldType.SHORT: "H",
    FieldType.LONG: "I",
    FieldType.RATIONAL: "II",
    FieldType.SBYTE: "b",
    FieldType.UNDEFINED: "B",
    FieldType.SSHORT: "h",
    FieldType.SLONG: "i",
    FieldType.SRATIONAL: "ii",
    FieldType.FLOAT: "f",
    FieldType.DOUBLE: "d",
    FieldType.IFD: "I",
}
"""The numbers that make up one value of each field type, as `struct` writes them."""

PANASONIC_OWN = frozenset((*range(Tag.NEW_SUBFILE_TYPE), *range(280, 296)))
"""What means another thing in the first directory of an RW2 than in TIFF: sensor, JPEG, lens corrections."""
PANASONIC_ISO = 0x17
PANASONIC_JPEG = 0x2E

MOST_BYTES = 4 << 20
"""Largest size of the values of a directory together, bytes: XMP and the tables of a profile have some 100 KB; what has
more is damaged."""

DAMAGE = (struct.error, ArithmeticError, RecursionError)
"""What reading damaged bytes raises: some are missing, numbers are absurd, boxes hold boxes without end."""

JPEG_APP1 = b"\xff\xe1"
JPEG_APP13 = b"\xff\xed"
JPEG_SCAN = b"\xff\xda"
XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\0"
RESOURCES_SEGMENT = b"Photoshop 3.0\0"
IPTC_RESOURCE = 0x0404
XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
CANON_BOX = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
CANON_BLOCKS: dict[bytes, TagDirectory] = {b"CMT1": "image", b"CMT2": "exif", b"CMT4": "gps"}

MOST_HEAPS = 100
"""In a CRW, which has about ten, and records in each, which are about thirty: a damaged heap may hold itself."""


def read_tags(path: Path) -> tuple[DngTag, ...]:
    """Return the tags of a file's image, Exif and GPS directories, whichever container holds them.

    Parameters
    ----------
    path : Path
        A raw file (DNG, CR2, CR3, CRW, NEF, ARW, RAF, RW2, ORF, PEF, MRW, ...) or picture.

    Returns
    -------
    tuple of DngTag
        By directory and code, each once, its numbers as stored; XMP as bytes in the image directory. Empty where there
        are none. Without maker notes, thumbnails, and how the stored image is laid out; of a damaged file, those that
        can be read.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    found: dict[tuple[str, int], DngTag] = {}
    with path.open("rb") as file, contextlib.suppress(*DAMAGE):
        for tag in _tags(_Part(file, 0, file.seek(0, 2))):
            found.setdefault((tag.directory, tag.code), tag)
    return tuple(found[key] for key in sorted(found))


@dataclass(frozen=True)
class _Part:
    """Some bytes of a file: a container, or a block in one."""

    file: BinaryIO
    start: int
    size: int

    def read(self, at: int = 0, count: int = MOST_BYTES) -> bytes:
        """Return ``count`` bytes from ``at`` on, or as many as there are."""
        part = self.part(at, count)
        self.file.seek(part.start)
        return self.file.read(part.size)

    def part(self, at: int, size: int | None = None) -> "_Part":
        """Return ``size`` bytes from ``at`` on as a part, or as many as there are."""
        at = min(at, self.size)
        rest = self.size - at
        return _Part(self.file, self.start + at, rest if size is None else max(0, min(size, rest)))


class _Field(NamedTuple):
    """A tag as a directory has it: its value not yet read."""

    dtype: FieldType
    data: _Part


def _tags(file: _Part) -> Iterator[DngTag]:
    """Give the tags of any container; where two have the same code, the first counts."""
    head = file.read(0, 16)
    if head.startswith(b"\xff\xd8"):
        return _jpeg(file)
    if head.startswith(b"\x89PNG"):
        return _png(file)
    if head.startswith(b"FUJIFILMCCD-RAW"):
        return _raf(file)
    if head.startswith(b"\0MRM"):
        return _mrw(file)
    if head[4:12] == b"ftypcrx ":
        return _cr3(file)
    if head[6:14] == b"HEAPCCDR":
        return _crw(file)
    if head.startswith(b"IIU\0"):
        return _rw2(file)
    return _tiff(file)


def _tiff(tiff: _Part, first: TagDirectory = "image", own: frozenset[int] = frozenset()) -> Iterator[DngTag]:
    """Give the tags of a TIFF's first directory, but for the maker's ``own``, and of those it points to."""
    order = BYTE_ORDERS.get(tiff.read(0, 4))
    if order is None:
        return
    with contextlib.suppress(*DAMAGE):  # the container may have another block
        fields = _fields(tiff, order, 4)
        yield from _decoded({code: fields[code] for code in fields if code not in own}, order, first)
        for pointer, directory in POINTERS.items():
            if pointer in fields:
                yield from _decoded(_fields(tiff, order, fields[pointer].data.start - tiff.start), order, directory)


def _fields(tiff: _Part, order: str, pointer_at: int) -> dict[int, _Field]:
    """Return the fields of a directory whose values lie within the file; ``pointer_at`` is where its place stands."""
    (at,) = struct.unpack(order + "I", tiff.read(pointer_at, 4))
    (entries,) = struct.unpack(order + "H", tiff.read(at, 2))
    table = tiff.read(at + 2, 12 * entries)
    fields: dict[int, _Field] = {}
    for index in range(len(table) // 12):
        code, dtype, count, place = struct.unpack_from(order + "HHII", table, 12 * index)
        size = count * struct.calcsize("=" + NUMBERS.get(dtype, ""))
        if size <= 4:  # then the value stands where its place would
            place = at + 2 + 12 * index + 8
        if 0 < size <= tiff.size - place:
            fields.setdefault(code, _Field(FieldType(dtype), tiff.part(place, size)))
    return fields


def _decoded(fields: dict[int, _Field], order: str, directory: TagDirectory) -> Iterator[DngTag]:
    """Give the tags of a directory that say something about the shot."""
    room = MOST_BYTES
    for code, (dtype, data) in fields.items():
        if code in LEFT_OUT or dtype == FieldType.IFD or data.size > room:
            continue
        room -= data.size
        if dtype == FieldType.ASCII:
            yield from _text(directory, code, data.read())
        else:
            letter = NUMBERS[dtype][0]
            value = struct.unpack(f"{order}{data.size // struct.calcsize(letter)}{letter}", data.read())
            if all(map(math.isfinite, value)):  # others no document can hold
                yield _tag(directory, code, dtype, *value)


def _tag(directory: TagDirectory, code: int, dtype: FieldType, *numbers: float) -> DngTag:
    count = len(numbers) // len(NUMBERS[dtype])
    return DngTag(directory=directory, code=code, dtype=dtype, count=count, value=numbers)


def _text(directory: TagDirectory, code: int, data: bytes) -> Iterator[DngTag]:
    """Give a text up to its first NUL, unless that is nothing: UTF-8, or else every byte is a letter of Latin-1."""
    data = data.split(b"\0", 1)[0]
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    if text:
        dtype = FieldType.ASCII
        yield DngTag(directory=directory, code=code, dtype=dtype, count=len(text.encode()) + 1, value=text)


def _xmp(packet: _Part) -> Iterator[DngTag]:
    if 0 < packet.size <= MOST_BYTES:
        yield _tag("image", Tag.XMP, FieldType.BYTE, *packet.read())


def _jpeg(picture: _Part) -> Iterator[DngTag]:
    """Give the tags of a JPEG: Exif and XMP are each in an APP1 segment, IPTC in an APP13, before the scan."""
    at = 2
    while len(head := picture.read(at, 4)) == 4:
        marker, size = struct.unpack(">2sH", head)
        if marker[:1] != b"\xff" or marker == JPEG_SCAN or at + 2 + size > picture.size:
            return
        segment = picture.part(at + 4, size - 2)
        if marker == JPEG_APP1 and segment.read(0, 6) == b"Exif\0\0":
            yield from _tiff(segment.part(6))
        elif marker == JPEG_APP1 and segment.read(0, len(XMP_SEGMENT)) == XMP_SEGMENT:
            yield from _xmp(segment.part(len(XMP_SEGMENT)))
        elif marker == JPEG_APP13 and segment.read(0, len(RESOURCES_SEGMENT)) == RESOURCES_SEGMENT:
            yield from _iptc(segment.part(len(RESOURCES_SEGMENT)))
        at += 2 + size


def _iptc(resources: _Part) -> Iterator[DngTag]:
    """Give the IPTC record among Photoshop's image resources: each has a number, a name, a size and bytes."""
    at = 0
    while len(head := resources.read(at, 7)) == 7:
        kind, number, length = struct.unpack(">4sHB", head)
        at += 6 + (length + 2) // 2 * 2  # the name with its length is padded to even, and so are the bytes
        (size,) = struct.unpack(">I", resources.read(at, 4))
        if kind != b"8BIM":
            return
        if number == IPTC_RESOURCE and size:
            yield _tag("image", Tag.IPTC_NAA, FieldType.UNDEFINED, *resources.read(at + 4, size))
        at += 4 + size + size % 2


def _png(picture: _Part) -> Iterator[DngTag]:
    """Give the tags of a PNG: Exif is in a chunk; each has its size, its name and, at its end, a checksum."""
    for name, chunk in _chunks(picture.part(8), size_first=True, after=4):
        if name == b"eXIf":
            yield from _tiff(chunk)


def _chunks(whole: _Part, *, size_first: bool, after: int) -> Iterator[tuple[bytes, _Part]]:
    """Give the chunks that follow each other, each with its name; ``after`` bytes follow each.

    A chunk without a name, as on a card that was not written to its end, is the last.
    """
    at = 0
    while len(head := whole.read(at, 8)) == 8:
        size, name = (head[:4], head[4:]) if size_first else (head[4:], head[:4])
        if not name.strip(b"\0"):
            return
        yield name, whole.part(at + 8, int.from_bytes(size))
        at += 8 + int.from_bytes(size) + after


def _raf(raf: _Part) -> Iterator[DngTag]:
    """Give the tags of a Fujifilm raw file: those of its JPEG."""
    yield from _jpeg(raf.part(*struct.unpack(">II", raf.read(84, 8))))


def _mrw(mrw: _Part) -> Iterator[DngTag]:
    """Give the tags of a Minolta raw file: its TTW block is a TIFF; each has its name and its size."""
    blocks = mrw.part(8, *struct.unpack(">I", mrw.read(4, 4)))
    for name, block in _chunks(blocks, size_first=False, after=0):
        if name == b"\0TTW":
            yield from _tiff(block)


def _cr3(whole: _Part) -> Iterator[DngTag]:
    """Give the tags of a Canon CR3, or of a box in it: each directory is a TIFF in a box of its own."""
    for name, box in _boxes(whole):
        if name in (b"moov", CANON_BOX):
            yield from _cr3(box)
        elif name in CANON_BLOCKS:
            yield from _tiff(box, CANON_BLOCKS[name])
        elif name == XMP_BOX:
            yield from _xmp(box)


def _boxes(whole: _Part) -> Iterator[tuple[bytes, _Part]]:
    """Give the boxes of an ISO base media file, or in one of its boxes, each with its name or UUID."""
    at = 0
    while len(head := whole.read(at, 32)) >= 8:
        size, name = struct.unpack(">I4s", head[:8])
        start = 8
        if size == 1:
            (size,) = struct.unpack(">Q", head[8:16])
            start = 16
        elif size == 0:  # the last one, up to the end
            size = whole.size - at
        if name == b"uuid":
            name = head[start : start + 16]
            start += 16
        if not start <= size <= whole.size - at:
            return
        yield name, whole.part(at + start, size - start)
        at += size


def _rw2(rw2: _Part) -> Iterator[DngTag]:
    """Give the tags of a Panasonic or Leica raw file: its own, those of its JPEG, and its ISO where neither has it."""
    yield from _tiff(rw2, own=PANASONIC_OWN)
    fields = _fields(rw2, "<", 4)
    if PANASONIC_JPEG in fields:
        yield from _jpeg(fields[PANASONIC_JPEG].data)
    if PANASONIC_ISO in fields:
        yield from _decoded({Tag.PHOTOGRAPHIC_SENSITIVITY: fields[PANASONIC_ISO]}, "<", "exif")


def _crw(crw: _Part) -> Iterator[DngTag]:
    """Give the records of a Canon CRW as the tags of Exif that say the same."""
    order = ">" if crw.read(0, 2) == b"MM" else "<"
    (start,) = struct.unpack(order + "I", crw.read(2, 4))
    records = _records(crw.part(start), order)

    def data(code: int) -> bytes:
        return records[code].read(0, 1024) if code in records else b""

    def numbers(code: int, letter: str) -> tuple[int, ...]:
        count = len(data(code)) // struct.calcsize(letter)
        return struct.unpack_from(f"{order}{count}{letter}", data(code))

    make, _, model = data(0x080A).partition(b"\0")
    yield from _text("image", Tag.MAKE, make)
    yield from _text("image", Tag.MODEL, model)
    yield from _text("image", Tag.SOFTWARE, data(0x080B))
    yield from _text("exif", Tag.CAMERA_OWNER_NAME, data(0x0810))
    match numbers(0x180B, "I"):
        case (serial, *_) if serial and b"EOS" in model:  # of others it is not the serial number
            printed = f"{serial >> 16:x}-{serial & 0xFFFF:05d}" if b"EOS D30" in model else f"{serial:010d}"
            yield from _text("exif", Tag.BODY_SERIAL_NUMBER, printed.encode())
    match numbers(0x180E, "i"):
        case (taken, zone, flags, *_) if taken > 0:  # by the clock of that zone, if any
            date = datetime.fromtimestamp(taken, UTC)
            yield from _text("exif", Tag.DATE_TIME_ORIGINAL, f"{date:%Y:%m:%d %H:%M:%S}".encode())
            if flags < 0 and abs(zone) < 24 * 3600:  # the top bit says that the zone is set
                hours, minutes = divmod(abs(zone) // 60, 60)
                offset = f"{'-' if zone < 0 else '+'}{hours:02d}:{minutes:02d}"
                yield from _text("exif", Tag.OFFSET_TIME_ORIGINAL, offset.encode())
    settings = numbers(0x102D, "H")
    if len(settings) > 29:
        longest, shortest, per_mm = settings[23:26]
        if shortest and longest and per_mm:  # the apertures are unknown
            lens = (shortest, per_mm, longest, per_mm, 0, 0, 0, 0)
            yield _tag("exif", Tag.LENS_SPECIFICATION, FieldType.RATIONAL, *lens)
        match numbers(0x1029, "H"):
            case (_, focal_length, *_) if focal_length and per_mm:
                yield _tag("exif", Tag.FOCAL_LENGTH, FieldType.RATIONAL, focal_length, per_mm)
        yield _tag("exif", Tag.FLASH, FieldType.SHORT, int(settings[29] != 0))
    shot = numbers(0x102A, "h")
    if len(shot) > 22:
        auto_gain, base, aperture, time = (_stops(shot[index]) for index in (1, 2, 21, 22))
        yield from _positive_rational(Tag.EXPOSURE_TIME, 2**-time)
        if aperture:
            yield from _positive_rational(Tag.F_NUMBER, 2 ** (aperture / 2))
        iso = round(100 / 32 * 2**base * 2**auto_gain)
        if base and iso:
            yield _tag("exif", Tag.PHOTOGRAPHIC_SENSITIVITY, FieldType.SHORT, min(iso, 0xFFFF))


def _records(whole: _Part, order: str) -> dict[int, _Part]:
    """Return the records of a CIFF heap and of the heaps in it: the table of each stands where its last 4 bytes say."""
    records: dict[int, _Part] = {}
    heaps = [whole]
    for heap in heaps:  # which grows meanwhile
        if heap.size < 6:
            continue
        (at,) = struct.unpack(order + "I", heap.read(heap.size - 4, 4))
        (entries,) = struct.unpack(order + "H", heap.read(at, 2).ljust(2, b"\0"))
        table = heap.read(at + 2, 10 * min(entries, MOST_HEAPS))
        for index in range(len(table) // 10):
            code, size, place = struct.unpack_from(order + "HII", table, 10 * index)
            if code & 0x4000:  # a small record stands in the table itself
                records.setdefault(code ^ 0x4000, heap.part(at + 2 + 10 * index + 2, 8))
            elif code & 0x3800 not in (0x2800, 0x3000):
                records.setdefault(code, heap.part(place, size))
            elif len(heaps) < MOST_HEAPS:
                heaps.append(heap.part(place, size))
    return records


def _stops(value: int) -> float:
    """Return Canon's 32nds of a stop in stops; 12 and 20 stand for thirds."""
    whole, part = divmod(abs(value), 32)
    return math.copysign(whole + {12: 1 / 3, 20: 2 / 3}.get(part, part / 32), value)


def _positive_rational(code: Tag, value: float) -> Iterator[DngTag]:
    numbers = Fraction(value).limit_denominator(10_000).as_integer_ratio()
    if 0 < numbers[0] < 1 << 32:
        yield _tag("exif", code, FieldType.RATIONAL, *numbers)
