"""What a DNG says about its mosaic: black levels of any pattern, and which DNGs are not read."""

import contextlib
import math
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from burst_denoise.errors import InputFileError
from burst_denoise.io.dng import write_dng
from burst_denoise.io.dng_header import Area, BlackLevels, read_dng_header
from burst_denoise.io.metadata import is_denoised
from burst_denoise.io.raw import develop, read_raw, read_raw_header
from tests.test_dng import random_dn
from tests.test_raw import write_plain_dng

SIGNAL = 3000
SHAPE = (60, 82)


def levels(rows: int, columns: int) -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(200, 1500), min_size=rows * columns, max_size=rows * columns)


def per_photosite(found: BlackLevels, shape: tuple[int, int]) -> np.ndarray:
    """The sum of all parts, photosite by photosite, as the specification says it."""
    pattern = found.pattern
    return np.array(
        [
            [
                pattern[row % len(pattern), column % pattern.shape[1]]
                + found.rows[row % len(found.rows)]
                + found.columns[column % len(found.columns)]
                for column in range(shape[1])
            ]
            for row in range(shape[0])
        ]
    )


@settings(deadline=None, max_examples=40)
@given(st.data(), st.integers(1, 5), st.integers(1, 5), st.booleans(), st.booleans())
def test_raised_to_one_level_a_place_the_signal_is_right_to_half_a_dn(data, rows, columns, per_row, per_column):
    shape = (11, 14)
    pattern = np.array(data.draw(levels(rows, columns))).reshape(rows, columns)
    deltas = [
        np.array(data.draw(st.lists(st.floats(-100, 100), min_size=size, max_size=size))) if each else np.zeros(1)
        for each, size in ((per_row, shape[0]), (per_column, shape[1]))
    ]
    black = BlackLevels(pattern, *deltas)
    truth = per_photosite(black, shape)
    np.testing.assert_allclose(black.at(shape), truth, atol=1e-3)
    raised = black.raised(shape)
    target = np.tile(black.per_place(), (6, 7))[:11]
    left = target - truth - (0 if raised is None else raised)
    assert np.abs(left).max() <= (1e-9 if raised is None else 0.501)


def test_a_pattern_of_the_mosaic_itself_needs_no_raising():
    for pattern in ([[5.0]], [[1.0, 2.0]], [[1.0], [2.0]], [[1.0, 2.0], [3.0, 4.0]], [[7.0] * 4] * 3):
        black = BlackLevels(np.array(pattern), np.zeros(1), np.tile([0.0, 48.0], 41))
        assert not black.vary
        assert black.raised(SHAPE) is None
    assert BlackLevels(np.array([[1.0, 2.0, 3.0]]), np.zeros(1), np.zeros(1)).vary


def black_tags(pattern: np.ndarray, rows: np.ndarray | None = None, columns: np.ndarray | None = None) -> list[tuple]:
    tags = [
        (50713, 3, 2, pattern.shape, True),
        (50714, 5, pattern.size, tuple(n for level in pattern.ravel() for n in (int(level * 100), 100)), True),
    ]
    for code, deltas in ((50715, columns), (50716, rows)):
        if deltas is not None:
            tags.append((code, 10, len(deltas), tuple(n for level in deltas for n in (int(level), 1)), True))
    return tags


RAMP = np.linspace(-120, 130, SHAPE[0]).round()
PARITY = np.tile([0, 48], SHAPE[1] // 2)


@pytest.mark.parametrize(
    ("pattern", "rows", "columns"),
    [
        (np.arange(16).reshape(4, 4) * 8 + 980.25, None, None),
        (np.arange(6).reshape(2, 3) * 40 + 300, None, None),
        (np.array([[1000]]), RAMP, None),
        (np.array([[1000]]), None, PARITY),
        (np.array([[1000]]), np.full(SHAPE[0], 24), None),
        (np.array([[1000, 1010], [1020, 1030]]), RAMP, PARITY),
    ],
    ids=["4x4", "2x3", "every row its own", "columns by twos", "all rows the same", "all of them"],
)
def test_every_black_level_of_a_dng_is_subtracted_and_written(tmp_path: Path, pattern, rows, columns):
    black = np.tile(pattern, (60, 82))[: SHAPE[0], : SHAPE[1]].astype(float)
    black += 0 if rows is None else rows[:, None]
    black += 0 if columns is None else columns
    dn = np.rint(black + SIGNAL).astype(np.uint16)
    write_plain_dng(tmp_path / "a.dng", dn, black_tags(pattern, rows, columns))
    frame = read_raw(tmp_path / "a.dng")
    span = 15000 - np.asarray(frame.info.black_level)
    for plane, scale in zip(frame.mosaic.pack(frame.linear), span, strict=True):
        np.testing.assert_allclose(plane * scale, SIGNAL, atol=1.01)
    assert max(frame.info.black_level) == pytest.approx(black.max(), abs=1e-2), "scaled as the specification says"
    write_dng(tmp_path / "b.dng", frame)
    np.testing.assert_allclose(read_raw(tmp_path / "b.dng").linear, frame.linear, atol=1e-6)


def test_saturated_photosites_stay_saturated_whatever_their_black_level(tmp_path: Path):
    dn = random_dn(SHAPE) % 14000 + 500
    dn[5:9, 7:30] = 15000
    write_plain_dng(tmp_path / "a.dng", dn, black_tags(np.array([[1000]]), RAMP))
    frame = read_raw(tmp_path / "a.dng")
    assert (frame.dn[5:9, 7:30] >= frame.info.white_level).all()


def test_development_takes_the_photosites_back_to_what_the_file_has(tmp_path: Path):
    """The mosaic of the frame has another black level than the file; undone, LibRaw develops what it would anyway."""
    dn = np.tile(np.linspace(1200, 14000, SHAPE[1]), (SHAPE[0], 1)).astype(np.uint16)
    write_plain_dng(tmp_path / "a.dng", dn, black_tags(np.array([[1000]]), RAMP))
    write_plain_dng(tmp_path / "b.dng", dn, black_tags(np.array([[1005]])))  # what LibRaw makes of it
    frame, other = read_raw(tmp_path / "a.dng"), read_raw(tmp_path / "b.dng")
    np.testing.assert_allclose(
        develop(frame.path, frame.dn).astype(int), develop(other.path, other.dn).astype(int), atol=40
    )


@pytest.mark.parametrize("tag", [(50713, 3, 2, (0, 0), True), (50713, 3, 2, (7, 9), True)], ids=str)
def test_a_damaged_pattern_is_its_first_level(tmp_path: Path, tag: tuple):
    write_plain_dng(tmp_path / "a.dng", random_dn(SHAPE), [tag, (50714, 5, 2, (512, 1, 600, 1), True)])
    header = read_dng_header(tmp_path / "a.dng", math.inf)
    assert header.black.per_place().tolist() == [[512, 512], [512, 512]]


def test_what_says_nothing_counts_as_nothing(tmp_path: Path):
    deltas = (50716, 10, SHAPE[0], (1, 0) * SHAPE[0], True)
    write_plain_dng(tmp_path / "a.dng", random_dn(SHAPE), [(50714, 5, 1, (512, 0), True), deltas])
    assert read_dng_header(tmp_path / "a.dng", math.inf).black.per_place().tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("area", [(0, 0, 61, 82), (-1, 0, 60, 82), (5, 5, 5, 82), (3, 4)], ids=str)
def test_an_active_area_that_is_none_is_the_whole(tmp_path: Path, area: tuple[int, ...]):
    write_plain_dng(tmp_path / "a.dng", random_dn(SHAPE), [(50829, 9, len(area), area, True)])
    assert read_dng_header(tmp_path / "a.dng", math.inf).area is None


def test_the_active_area_of_a_file_is_read_and_written_with_crops_and_corrections(tmp_path: Path):
    opcodes = bytes(4)
    extra = [
        (50829, 4, 4, (3, 5, 57, 80), True), (50719, 4, 2, (2, 1), True), (50720, 4, 2, (66, 50), True),
        (51009, 7, 4, opcodes, True), (51022, 7, 4, opcodes, True), (50830, 4, 4, (0, 0, 60, 4), True),
    ]  # fmt: skip
    write_plain_dng(tmp_path / "a.dng", random_dn(SHAPE), extra)
    frame = read_raw(tmp_path / "a.dng")
    header = read_raw_header(tmp_path / "a.dng")
    assert frame.dn.shape == (header.height, header.width) == (54, 75)
    write_dng(tmp_path / "b.dng", frame)
    assert read_dng_header(tmp_path / "b.dng", math.inf).area == Area(3, 5, 54, 75)
    with tifffile.TiffFile(tmp_path / "b.dng") as tiff:
        tags = tiff.pages.first.pages[0].tags
        assert tags[50829].value == (3, 5, 57, 80)
        assert (tags[50719].value, tags[50720].value, tags[50830].value) == ((2, 1), (66, 50), (0, 0, 60, 4))
        assert (tags[51009].value, tags[51022].value) == (opcodes, opcodes)


def write_other_dng(path: Path, pixels: np.ndarray, tags: list[tuple], **layout) -> None:
    """Write a DNG that is no mosaic of whole numbers, with tifffile alone."""
    known = [(50706, 1, 4, bytes((1, 4, 0, 0)), True), (50708, 2, 0, "Testcam One", True), *tags]
    if grey_linear := (layout == LINEAR and pixels.ndim == 2):  # which tifffile does not write
        layout = {"photometric": "minisblack"}
    tifffile.imwrite(path, pixels, metadata=None, extratags=known, **layout)
    if grey_linear:
        with tifffile.TiffFile(path, mode="r+b") as tiff:
            tiff.pages.first.tags["PhotometricInterpretation"].overwrite(LINEAR["photometric"])


CFA = [(33421, 3, 2, (2, 2), True), (33422, 1, 4, bytes((0, 1, 1, 2)), True)]
MOSAIC = {"photometric": 32803}
LINEAR = {"photometric": 34892}
COLOUR = np.zeros((*SHAPE, 3), np.uint16)


@pytest.mark.parametrize(
    ("pixels", "tags", "layout", "words"),
    [
        (
            random_dn((256, 256)) // 4,
            CFA,
            MOSAIC | {"compression": 52546, "tile": (256, 256), "compressionargs": {"lossless": True}},
            r"JPEG XL, is not read here; convert it to an uncompressed or losslessly compressed DNG",
        ),
        (random_dn(SHAPE), [], LINEAR, r"is from a monochrome sensor; only Bayer"),
        (random_dn(SHAPE), CFA, MOSAIC | {"compression": "zlib"}, r"compression \(deflate of whole numbers\) is not"),
        (random_dn(SHAPE).astype(np.float32), CFA, MOSAIC, r"holds floating-point numbers"),
        ((random_dn(SHAPE) / 65535).astype(np.float16), CFA, MOSAIC, r"holds floating-point numbers"),
        (COLOUR, [], LINEAR, r"is a linear DNG, already demosaiced; name the raw file"),
        (COLOUR, [(50935, 5, 1, (1, 1), True)], LINEAR, r"already demosaiced and already denoised; name the raw"),
        (COLOUR, [(51182, 2, 0, "Denoise=50", True)], LINEAR, r"already demosaiced and already denoised"),
    ],
    ids=["JPEG XL", "monochrome", "deflate", "float", "half", "linear", "denoised", "enhanced"],
)
def test_what_is_not_read_is_refused_by_name_before_decoding(tmp_path: Path, pixels, tags, layout, words):
    path = tmp_path / "a.dng"
    write_other_dng(path, pixels, tags, **layout)
    for read in (read_raw, read_raw_header):
        with pytest.raises(InputFileError, match=words) as error:
            read(path)
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)


def test_the_compression_of_gopro_is_refused_by_name_under_either_suffix(tmp_path: Path):
    write_plain_dng(tmp_path / "a.dng", random_dn(SHAPE), [])
    data = (tmp_path / "a.dng").read_bytes()
    entry = data.index(bytes((3, 1, 3, 0, 1, 0, 0, 0)))  # Compression, SHORT, one value
    (tmp_path / "a.dng").write_bytes(data[: entry + 8] + bytes((9, 0)) + data[entry + 10 :])
    (tmp_path / "b.GPR").write_bytes(b"II*\0" + bytes(500))
    wanted = {"a.dng": r"VC-5\) is not read here", "b.GPR": r"GoPro GPR is not read here; convert it to DNG"}
    for name, words in wanted.items():
        for read in (read_raw, read_raw_header):
            with pytest.raises(InputFileError, match=words):
                read(tmp_path / name)


# Damage


def test_directories_in_a_ring_are_read_once(tmp_path: Path):
    write_plain_dng(tmp_path / "a.dng", random_dn(SHAPE), [])
    data = bytearray((tmp_path / "a.dng").read_bytes())
    first = int.from_bytes(data[4:8], "little")
    after = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
    data[after : after + 4] = data[4:8]  # the next directory is this one
    (tmp_path / "a.dng").write_bytes(data)
    assert not is_denoised(tmp_path / "a.dng")
    np.testing.assert_array_equal(read_raw(tmp_path / "a.dng").dn, random_dn(SHAPE))


TEXT = (2, 0, "none", True)


@pytest.mark.parametrize(
    ("tags", "refused"),
    [
        ([(50714, 4, 1, 20000, True)], r"black level, 20000 DN, is not between 0 and its white level"),
        ([(50714, 3, 1, 100, True), (50715, 10, SHAPE[1], (-200, 1) * SHAPE[1], True)], "black level, -100 DN"),
        ([(50713, 3, 1, 2, True), (50714, 3, 2, (500, 600), True)], None),
        ([(50714, *TEXT)], None),
        ([(50728, 3, 6, (1, 0, 1, 1, 0, 1), True)], None),
        ([(50728, 3, 3, (1, 1, 0), True)], None),
        ([(50721, 11, 9, (float("nan"),) * 9, True)], None),
        ([(50721, 12, 9, (float("inf"),) * 9, True)], None),
        ([(50829, 4, 4, (10, 10, 10, 10), True)], None),
        ([(50719, *TEXT), (50720, *TEXT)], None),
        ([(271, 2, 0, "\t", True), (272, 2, 0, "\N{NO-BREAK SPACE}".encode(), True)], None),
        ([(33434, 12, 1, float("inf"), True), (33437, 12, 1, 1e-300, True), (34855, 12, 1, 1e300, True)], None),
        ([(33434, 2, 0, "1/60", True), (34855, 2, 0, "800", True)], None),
        ([(50708, 1, 3, b"abc", True)], None),
        ([(51041, *TEXT)], None),
    ],
    ids=str,
)
def test_tags_that_make_no_sense_are_left_out_or_refused_by_name(
    tmp_path: Path, tags: list[tuple], refused: str | None
):
    path = tmp_path / "a.dng"
    codes = {tag[0] for tag in tags}
    known = [(50708, 2, 0, "Testcam", True), (50706, 1, 4, bytes((1, 4, 0, 0)), True), (50717, 4, 1, 15000, True), *CFA]
    extra = [tag for tag in known if tag[0] not in codes] + tags
    tifffile.imwrite(path, random_dn(SHAPE) // 5 + 600, photometric=32803, metadata=None, extratags=extra)
    if refused is not None:
        with pytest.raises(InputFileError, match=refused):
            read_raw(path)
        return
    frame = read_raw(path)
    assert (frame.info.exposure_s, frame.info.iso) in ((None, None), (1 / 60, 800))
    write_dng(tmp_path / "b.dng", frame)
    again = read_raw(tmp_path / "b.dng")
    np.testing.assert_array_equal(again.dn, frame.dn)
    assert (again.info.black_level, again.info.white_level) == (frame.info.black_level, frame.info.white_level)


@pytest.mark.parametrize("code", [256, 257, 259, 262, 273, 279, 322, 324])
@pytest.mark.parametrize("dtype", [2, 5, 13, 99])
def test_a_directory_of_wrong_types_is_refused_or_read(tmp_path: Path, code: int, dtype: int):
    write_dng(tmp_path / "a.dng", read_raw(_plain(tmp_path)))
    with tifffile.TiffFile(tmp_path / "a.dng") as tiff:
        places = [page.tags[code].offset for page in (tiff.pages.first, *tiff.pages.first.pages) if code in page.tags]
    data = bytearray((tmp_path / "a.dng").read_bytes())
    for place in places:
        data[place + 2 : place + 4] = dtype.to_bytes(2, "little")
    (tmp_path / "a.dng").write_bytes(data)
    is_denoised(tmp_path / "a.dng")
    for read in (read_raw_header, read_raw):
        with contextlib.suppress(InputFileError):
            read(tmp_path / "a.dng")


def _plain(folder: Path) -> Path:
    write_plain_dng(folder / "plain.dng", random_dn(SHAPE), [])
    return folder / "plain.dng"


def test_damaged_files_of_bug_reports_end_in_a_named_error_or_a_frame(shared_data: Path):
    paths = sorted((shared_data.parent / "cases" / "damaged").glob("*.dng"))
    assert paths
    named = {}
    for path in paths:
        is_denoised(path)
        try:
            info = read_raw(path).info
        except InputFileError as error:
            named[path.stem] = str(error)
        else:
            assert info.iso is None or 0 < info.iso < 1e8
            assert info.exposure_s is None or np.isfinite(info.exposure_s)
    assert "is not between 0 and its white level" in named["black_ge_white"]
