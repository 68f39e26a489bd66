import struct
import tracemalloc
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burst_denoise.io.containers import read_tags
from burst_denoise.io.tags import FieldType
from burst_denoise.schemas import DngTag, TagDirectory

LETTERS = {
    FieldType.BYTE: "B",
    FieldType.SHORT: "H",
    FieldType.LONG: "I",
    FieldType.RATIONAL: "I",
    FieldType.UNDEFINED: "B",
    FieldType.SRATIONAL: "i",
    FieldType.FLOAT: "f",
    FieldType.DOUBLE: "d",
}


def number(directory: TagDirectory, code: int, dtype: FieldType, *values: float) -> DngTag:
    count = len(values) // (2 if dtype in (FieldType.RATIONAL, FieldType.SRATIONAL) else 1)
    return DngTag(directory=directory, code=code, dtype=dtype, count=count, value=values)


def text(directory: TagDirectory, code: int, value: str) -> DngTag:
    return DngTag(directory=directory, code=code, dtype=FieldType.ASCII, count=len(value.encode()) + 1, value=value)


SHOT = (
    number("exif", 33434, FieldType.RATIONAL, 10, 2500),
    number("exif", 34855, FieldType.SHORT, 6400),
    number("exif", 37380, FieldType.SRATIONAL, -2, 3),
    number("exif", 37386, FieldType.RATIONAL, 500, 10),
    number("exif", 37510, FieldType.UNDEFINED, *range(200)),
    text("exif", 36867, "2026:03:01 12:00:07"),
    text("exif", 36881, "+09:00"),
    text("exif", 42033, "0012345"),
    text("exif", 42035, "КМЗ"),
    text("exif", 42036, "Объектив 50mm f/2"),
    number("gps", 0, FieldType.BYTE, 2, 3, 0, 0),
    text("gps", 1, "S"),
    number("gps", 2, FieldType.RATIONAL, 33, 1, 51, 1, 2531, 100),
    text("image", 271, "Zenit"),
    text("image", 272, "Zenit M"),
    number("image", 274, FieldType.SHORT, 6),
    number("image", 50721, FieldType.SRATIONAL, *(number for entry in range(9) for number in (-entry, 10000))),
    number("image", 51041, FieldType.DOUBLE, 1.5e-5, 2.0e-7),
    number("image", 51108, FieldType.FLOAT, 0.5),
)
XMP = b"<x:xmpmeta>" + bytes(range(256)) * 8 + b"</x:xmpmeta>"
XMP_TAG = number("image", 700, FieldType.BYTE, *XMP)
THUMBNAIL = number("image", 272, FieldType.SHORT, 1)


def ordered(*tags: DngTag) -> tuple[DngTag, ...]:
    return tuple(sorted(tags, key=lambda tag: (tag.directory, tag.code)))


def packed(order: str, tag: DngTag) -> bytes:
    if isinstance(tag.value, str):
        return tag.value.encode() + b"\0"
    return struct.pack(f"{order}{len(tag.value)}{LETTERS[FieldType(tag.dtype)]}", *tag.value)


def directory(order: str, tags: Sequence[DngTag], at: int, following: int = 0) -> bytes:
    """Return a directory that will stand at ``at`` of a TIFF, and behind it the values that it has no place for."""
    entries, values = struct.pack(order + "H", len(tags)), b""
    values_at = at + 2 + 12 * len(tags) + 4
    for tag in tags:
        data = packed(order, tag)
        place = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(order + "I", values_at + len(values))
        entries += struct.pack(order + "HHI4s", tag.code, tag.dtype, tag.count, place)
        values += data if len(data) > 4 else b""
    return entries + struct.pack(order + "I", following) + values


def tiff(order: str, tags: Sequence[DngTag], magic: bytes = b"") -> bytes:
    """Return a TIFF: Exif, GPS and thumbnail first, then the image directory, which points to them."""
    body, pointers = bytes(8), []
    for name, pointer in (("exif", 34665), ("gps", 34853)):
        inside = [tag for tag in tags if tag.directory == name]
        if inside:
            pointers.append(number("image", pointer, FieldType.LONG, len(body)))
            body += directory(order, inside, len(body))
    thumbnail_at = len(body)
    body += directory(order, [THUMBNAIL], thumbnail_at)
    first = [tag for tag in tags if tag.directory == "image"] + pointers
    magic = magic or {"<": b"II*\0", ">": b"MM\0*"}[order]
    return magic + struct.pack(order + "I", len(body)) + body[8:] + directory(order, first, len(body), thumbnail_at)


def single(order: str, tags: Sequence[DngTag], name: TagDirectory) -> bytes:
    """Return a TIFF whose first directory has the tags of one of three."""
    inside = [tag.model_copy(update={"directory": "image"}) for tag in tags if tag.directory == name]
    return tiff(order, inside)


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">HH", marker, 2 + len(data)) + data


def jpeg(order: str, tags: Sequence[DngTag], xmp: bytes = XMP) -> bytes:
    exif = segment(0xFFE1, b"Exif\0\0" + tiff(order, tags))
    packet = segment(0xFFE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp) if xmp else b""
    return b"\xff\xd8" + segment(0xFFE0, b"JFIF\0\1\1") + exif + packet + segment(0xFFDA, bytes(10)) + bytes(100)


def raf(order: str, tags: Sequence[DngTag]) -> bytes:
    picture = jpeg(order, tags)
    return b"FUJIFILMCCD-RAW 0201".ljust(84, b"\0") + struct.pack(">II", 160, len(picture)) + bytes(68) + picture


def mrw(order: str, tags: Sequence[DngTag]) -> bytes:
    parts = ((b"\0PRD", bytes(24)), (b"\0TTW", tiff(order, tags)), (b"\0WBG", bytes(12)))
    blocks = b"".join(struct.pack(">4sI", name, len(data)) + data for name, data in parts)
    return struct.pack(">4sI", b"\0MRM", len(blocks)) + blocks + bytes(500)


def box(name: bytes, data: bytes, *, large: bool = False) -> bytes:
    if large:
        return struct.pack(">I4sQ", 1, name, 16 + len(data)) + data
    return struct.pack(">I4s", 8 + len(data), name) + data


def cr3(order: str, tags: Sequence[DngTag], *, large: bool = False) -> bytes:
    names: tuple[tuple[bytes, TagDirectory], ...] = ((b"CMT1", "image"), (b"CMT2", "exif"), (b"CMT4", "gps"))
    blocks = b"".join(box(name, single(order, tags, inside)) for name, inside in names)
    canon = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48") + box(b"CMT3", single(order, tags, "gps")) + blocks
    packet = bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + XMP
    moov = box(b"moov", box(b"uuid", canon) + box(b"trak", bytes(40)), large=large)
    return box(b"ftyp", b"crx \0\0\0\1crx isom") + moov + box(b"uuid", packet) + struct.pack(">I4s", 0, b"mdat") + XMP


def rw2(own: Sequence[DngTag], picture: bytes) -> bytes:
    preview = number("image", 0x2E, FieldType.UNDEFINED, *picture)
    sensor = [number("image", code, FieldType.SHORT, 3724) for code in (0x02, 0x11A, 0x120)]
    return tiff("<", [*sensor, number("image", 0x17, FieldType.SHORT, 80), preview, *own], b"IIU\0")


def heap(order: str, records: Sequence[tuple[int, bytes]]) -> bytes:
    values, table = b"", struct.pack(order + "H", len(records))
    for code, data in records:
        if code & 0x4000:
            table += struct.pack(order + "H8s", code, data)
        else:
            table += struct.pack(order + "HII", code, len(data), len(values))
            values += data
    return values + table + struct.pack(order + "I", len(values))


def crw(order: str, model: bytes = b"Canon EOS D60", clock: tuple[int, int, int] = (0, 0, 0)) -> bytes:
    """Return the CRW of a shot at 1/8 s, f/4, ISO 200 and 35 mm with a lens of 28-135 mm and flash."""
    shot, camera = [0] * 30, [0] * 40
    shot[2], shot[21], shot[22] = 6 * 32, 4 * 32, 3 * 32
    camera[23], camera[24], camera[25], camera[29] = 1350, 280, 10, 8192
    specification = heap(order, [(0x580B, struct.pack(order + "I4x", 123456789)), (0x080B, b"Firmware 1.0.3\0")])
    camera_object = heap(order, [
        (0x080A, b"Canon\0" + model + b"\0junk"),
        (0x0810, "Анна\0".encode()),
        (0x3004, specification),
    ])  # fmt: skip
    exif = heap(order, [
        (0x1029, struct.pack(order + "4H", 2, 350, 0, 0)),
        (0x102A, struct.pack(order + "30h", *shot)),
        (0x102D, struct.pack(order + "40H", *camera)),
    ])  # fmt: skip
    properties = heap(order, [
        (0x180E, struct.pack(order + "IiI", *clock)),
        (0x2807, camera_object),
        (0x300B, exif),
    ])  # fmt: skip
    header = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "I", 26) + b"HEAPCCDR" + bytes(12)
    return header + heap(order, [(0x2005, bytes(200)), (0x300A, properties)])


Stored = Callable[[bytes], Path]


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    def write(data: bytes) -> Path:
        path = tmp_path / "shot.raw"
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize(
    ("magic", "order"),
    [(b"II*\0", "<"), (b"MM\0*", ">"), (b"IIRO", "<"), (b"IIRS", "<"), (b"MMOR", ">"), (b"IIU\0", "<")],
)
def test_tiff_family(stored: Stored, magic: bytes, order: str) -> None:
    assert read_tags(stored(tiff(order, SHOT, magic))) == ordered(*SHOT)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("container", [jpeg, raf, cr3])
def test_containers_with_xmp(stored: Stored, order: str, container: Callable[..., bytes]) -> None:
    assert read_tags(stored(container(order, SHOT))) == ordered(*SHOT, XMP_TAG)


@pytest.mark.parametrize("order", "<>")
def test_mrw(stored: Stored, order: str) -> None:
    assert read_tags(stored(mrw(order, SHOT))) == ordered(*SHOT)


def test_cr3_with_64_bit_sizes(stored: Stored) -> None:
    assert read_tags(stored(cr3("<", SHOT, large=True))) == ordered(*SHOT, XMP_TAG)


def test_rw2_without_exif_has_that_of_its_jpeg(stored: Stored) -> None:
    make = text("image", 271, "Panasonic")
    expected = ordered(make, *(tag for tag in SHOT if (tag.directory, tag.code) != ("image", 271)))
    assert read_tags(stored(rw2([make], jpeg("<", SHOT, xmp=b"")))) == expected


def test_rw2_with_exif_but_no_iso(stored: Stored) -> None:
    own = [tag for tag in SHOT if tag.code != 34855]
    assert read_tags(stored(rw2(own, b"no JPEG"))) == ordered(*own, number("exif", 34855, FieldType.SHORT, 80))


@pytest.mark.parametrize(
    ("zone", "flags", "offset"),
    [(32400, 1 << 31, "+09:00"), (-12600, 1 << 31, "-03:30"), (0, 1 << 31, "+00:00"), (32400, 0, None)],
)
@pytest.mark.parametrize("order", "<>")
def test_crw(stored: Stored, order: str, zone: int, flags: int, offset: str | None) -> None:
    clock = (1_068_485_966, zone, flags)
    assert read_tags(stored(crw(order, clock=clock))) == ordered(
        text("image", 271, "Canon"),
        text("image", 272, "Canon EOS D60"),
        text("image", 305, "Firmware 1.0.3"),
        number("exif", 33434, FieldType.RATIONAL, 1, 8),
        number("exif", 33437, FieldType.RATIONAL, 4, 1),
        number("exif", 34855, FieldType.SHORT, 200),
        text("exif", 36867, "2003:11:10 17:39:26"),
        *([text("exif", 36881, offset)] if offset else []),
        number("exif", 37385, FieldType.SHORT, 1),
        number("exif", 37386, FieldType.RATIONAL, 350, 10),
        text("exif", 42032, "Анна"),
        text("exif", 42033, "0123456789"),
        number("exif", 42034, FieldType.RATIONAL, 280, 10, 1350, 10, 0, 0, 0, 0),
    )


def test_crw_of_a_powershot_has_no_serial_number(stored: Stored) -> None:
    codes = {tag.code for tag in read_tags(stored(crw("<", model=b"Canon PowerShot G2")))}
    assert 42033 not in codes
    assert 36867 not in codes  # its clock was never set
    assert {271, 272, 37386} <= codes


def values(path: Path) -> dict[int, object]:
    return {tag.code: tag.value for tag in read_tags(path)}


@pytest.fixture
def header_samples(shared_data: Path) -> Path:
    folder = shared_data.parent / "cases" / "camera_unknown"
    if not folder.is_dir():
        pytest.skip(f"no headers of real files: {folder} is not there")
    return folder


def test_cr3_of_a_camera(header_samples: Path) -> None:
    tags = values(header_samples / "CanonRaw.cr3")
    assert (tags[271], tags[272]) == ("Canon", "Canon EOS M50")
    assert (tags[42036], tags[37386]) == ("EF-M15-45mm f/3.5-6.3 IS STM", (15, 1))
    assert (tags[36867], tags[36881]) == ("2018:02:21 12:08:56", "+00:00")
    assert tags[42033] == "613040000565"


def test_raf_of_a_camera(header_samples: Path) -> None:
    tags = values(header_samples / "FujiFilm.raf")
    assert (tags[271], tags[272]) == ("FUJIFILM", "FinePix S5Pro  ")
    assert (tags[37386], tags[36867]) == ((7000, 100), "2007:05:22 13:58:30")


def test_crw_of_a_camera(shared_data: Path) -> None:
    """What ExifTool 12.57 prints of the same file."""
    tags = values(shared_data / "raw_single" / "canon_eos_d30.CRW")
    assert (tags[271], tags[272]) == ("Canon", "Canon EOS D30")
    assert (tags[42032], tags[42033]) == ("Peter Wemmert/Kameratrollet", "1235-02474")
    assert (tags[36867], tags[34855], tags[37386], tags[37385]) == ("2018:01:01 13:03:32", (100,), (31, 1), (0,))
    assert tags[42034] == (16, 1, 35, 1, 0, 0, 0, 0)
    for code, expected in ((33434, 5.03968419957949), (33437, 5.65685424949238)):
        numerator, denominator = tags[code]
        assert numerator / denominator == pytest.approx(expected, rel=1e-6)


def test_what_belongs_to_the_stored_image_stays_there(stored: Stored) -> None:
    left_out = (
        *(number("image", code, FieldType.LONG, 9) for code in (254, 256, 257, 259, 262, 273, 279, 330, 33422)),
        *(number("exif", code, FieldType.LONG, 9) for code in (37500, 40965)),
    )
    assert read_tags(stored(tiff("<", (*SHOT, *left_out)))) == ordered(*SHOT)


def test_text_ends_at_its_first_nul(stored: Stored) -> None:
    junk = DngTag(directory="exif", code=42036, dtype=FieldType.ASCII, count=10, value="50mm\0junk")
    blank = DngTag(directory="exif", code=42035, dtype=FieldType.ASCII, count=1, value="")
    assert read_tags(stored(tiff("<", (junk, blank)))) == (text("exif", 42036, "50mm"),)


def test_text_that_is_not_utf_8_is_latin_1(stored: Stored) -> None:
    data = tiff("<", (text("image", 315, "Bj_rn Lidstr_m"),)).replace(b"_", "ö".encode("latin-1"))
    assert read_tags(stored(data)) == (text("image", 315, "Björn Lidström"),)


@pytest.mark.parametrize(
    ("dtype", "count", "place"),
    [
        (99, 1, 0),  # no such type
        (FieldType.SHORT, 1000, 0x7FFFFFFF),  # outside the file
        (FieldType.BYTE, 0x7FFFFFFF, 8),  # more than there is
        (FieldType.RATIONAL, 0, 8),  # nothing
        (FieldType.FLOAT, 1, 0x7FC00000),  # not a number
    ],
)
def test_damaged_value_is_left_out(stored: Stored, dtype: int, count: int, place: int) -> None:
    data = tiff("<", (number("image", 60000, FieldType.LONG, 12345), *SHOT))
    sound = struct.pack("<HHII", 60000, FieldType.LONG, 1, 12345)
    assert sound in data
    damaged = data.replace(sound, struct.pack("<HHII", 60000, dtype, count, place))
    assert read_tags(stored(damaged)) == ordered(*SHOT)


def test_damaged_block_leaves_the_others(stored: Stored) -> None:
    block = single("<", SHOT, "exif")
    damaged = cr3("<", SHOT).replace(block, block[:4] + b"\xff" * 4 + block[8:])
    assert read_tags(stored(damaged)) == ordered(XMP_TAG, *(tag for tag in SHOT if tag.directory != "exif"))


@pytest.mark.parametrize("data", [b"", b"II", b"II*\0", b"no picture", b"II\x2b\0\x08\0\0\0" + bytes(64)])
def test_other_files_have_none(stored: Stored, data: bytes) -> None:
    assert read_tags(stored(data)) == ()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        read_tags(tmp_path / "missing.dng")


def test_boxes_in_boxes_without_end(stored: Stored) -> None:
    depth = 5000
    boxes = b"".join(struct.pack(">I4s", 8 * (depth - index), b"moov") for index in range(depth))
    assert read_tags(stored(box(b"ftyp", b"crx \0\0\0\1") + boxes)) == ()


def test_heap_that_holds_itself(stored: Stored) -> None:
    names = b"Canon\0Canon EOS D60\0"
    inner = heap("<", [(0x080A, names), (0x300A, b"")])
    itself = inner.replace(struct.pack("<HII", 0x300A, 0, len(names)), struct.pack("<HII", 0x300A, len(inner), 0))
    assert itself != inner
    data = b"II" + struct.pack("<I", 26) + b"HEAPCCDR" + bytes(12) + itself
    assert values(stored(data)) == {271: "Canon", 272: "Canon EOS D60"}


def test_memory_is_bounded(tmp_path: Path) -> None:
    """Of a file of 1 GB, 60 of whose tags claim 3 MB each."""
    table = b"".join(struct.pack("<HHII", 60000 + index, FieldType.BYTE, 3 << 20, 4096) for index in range(60))
    path = tmp_path / "large.dng"
    with path.open("wb") as file:
        file.write(b"II*\0" + struct.pack("<IH", 8, 60) + table)
        file.truncate(1 << 30)
    tracemalloc.start()
    tags = read_tags(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(tags) == 1
    assert peak < 1 << 28


SOUND = [
    tiff("<", SHOT), tiff(">", SHOT), jpeg(">", SHOT), raf("<", SHOT), mrw(">", SHOT), cr3("<", SHOT),
    rw2(SHOT, jpeg("<", SHOT)), crw("<", clock=(1_068_485_966, 3600, 1 << 31)), crw(">"),
]  # fmt: skip


@settings(max_examples=300, deadline=timedelta(seconds=5))
@given(st.data())
def test_damaged_files_never_raise(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from(SOUND)))
    length = data.draw(st.integers(0, len(damaged)) | st.just(len(damaged)))
    places = st.tuples(st.integers(0, len(damaged) - 1), st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFF]))
    for place, value in data.draw(st.lists(places, max_size=20)):
        damaged[place] = value
    path = tmp_path_factory.getbasetemp() / "damaged.raw"
    path.write_bytes(damaged[:length])
    tags = read_tags(path)
    assert len({(tag.directory, tag.code) for tag in tags}) == len(tags)
    assert all(DngTag.parse(tag.to_json(), path.name) == tag for tag in tags)
