"""Raw files come in as LibRaw sees them, every wrong file with one clear line."""

import contextlib
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rawpy
import tifffile

from burst_denoise.errors import InputFileError
from burst_denoise.frame.frame import Frame, RawBorder, to_linear
from burst_denoise.frame.mosaic import BAYER_PHASES
from burst_denoise.io.dng import write_dng
from burst_denoise.io.metadata import Exif, Header, is_denoised, read_exif
from burst_denoise.io.raw import RAW_SUFFIXES, develop, read_raw, read_raw_header
from burst_denoise.io.tags import FieldType, Tag
from burst_denoise.io.tiff_writer import TiffImage, write_tiff
from burst_denoise.schemas import DngTag, FrameInfo
from tests.shots import frame_of

BLACK = {"R": 500.0, "G1": 520.0, "G2": 540.0, "B": 560.0}


BLACKMAGIC = "Blackmagic Pocket Cinema Camera 4K"


def frame_info(shape: tuple[int, int] = (64, 96), cfa: str = "RGGB", **changes) -> FrameInfo:
    known = {
        "domain": "bayer",
        "camera": "Canon EOS 700D",
        "cfa": cfa,
        "height": shape[0],
        "width": shape[1],
        "black_level": tuple(BLACK.values()),
        "white_level": 15000.0,
        "iso": 1600.0,
        "exposure_s": 1 / 30,
        "f_number": 5.6,
        "taken_at": 1_700_000_000.25,
        "as_shot_neutral": (0.5, 1.0, 0.625),
    }
    return FrameInfo(**(known | changes))


def random_dn(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 16000, shape).astype(np.uint16)


def make_dng(path: Path, info: FrameInfo, dn: np.ndarray | None = None, border: RawBorder | None = None) -> np.ndarray:
    dn = random_dn((info.height, info.width)) if dn is None else dn
    write_dng(path, frame_of(to_linear(dn, info), info, border))
    return dn


def level_names(cfa: str, height: int, width: int, top: int = 0, left: int = 0) -> np.ndarray:
    """Name of the black level of every photosite of an array whose CFA starts at (top, left)."""
    red_row, red_column = divmod(cfa.index("R"), 2)
    names = np.array([["R", "G1"], ["G2", "B"]])
    rows = (np.arange(height) - top - red_row) % 2
    columns = (np.arange(width) - left - red_column) % 2
    return names[rows[:, None], columns[None, :]]


@pytest.mark.parametrize("shape", [(22, 22), (23, 22), (64, 97), (25, 261)], ids=str)
@pytest.mark.parametrize("cfa", BAYER_PHASES)
def test_every_phase_odd_size_and_black_level_is_read(tmp_path: Path, cfa: str, shape: tuple[int, int]):
    info = frame_info(shape, cfa)
    dn = make_dng(tmp_path / "a.dng", info)
    frame = read_raw(tmp_path / "a.dng")
    np.testing.assert_array_equal(frame.dn, dn)
    assert frame.dn.dtype == np.uint16
    assert frame.border is None
    assert frame.info.model_copy(update={"dng_tags": ()}) == info
    assert read_raw_header(tmp_path / "a.dng") == Header.of(frame.info)
    assert frame.path == tmp_path / "a.dng"


@pytest.mark.parametrize(("top", "left"), [(0, 4), (6, 2), (3, 4), (2, 5), (5, 7)])
@pytest.mark.parametrize("cfa", BAYER_PHASES)
def test_masked_margins_are_kept_apart_and_colours_stay_on_their_photosites(
    tmp_path: Path, cfa: str, top: int, left: int
):
    """LibRaw starts at the next even row and column; here the area is that of the file, in the right colours."""
    info = frame_info((40, 61), cfa)
    whole = random_dn((40 + top + 3, 61 + left))
    active = whole[top : top + 40, left : left + 61]
    make_dng(tmp_path / "a.dng", info, active, border=RawBorder(whole, top, left))
    frame = read_raw(tmp_path / "a.dng")

    assert frame.border is not None
    np.testing.assert_array_equal(frame.border.dn, whole)
    assert (frame.border.top, frame.border.left) == (top, left)
    assert (frame.info.height, frame.info.width) == (40, 61)
    np.testing.assert_array_equal(frame.dn, active)

    names = level_names(cfa, *whole.shape, top, left)[top : top + 40, left : left + 61]
    assert frame.info.cfa == cfa
    black = np.vectorize(BLACK.get)(names)
    np.testing.assert_allclose(
        frame.linear, (frame.dn - black) / (15000 - black), rtol=0, atol=1e-6, err_msg="black level on a wrong colour"
    )


# Headers


@pytest.fixture
def undecodable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rawpy give only what it gives without decoding, which `sizes` is."""

    class Opened:
        def __init__(self, raw: rawpy.RawPy):
            self.raw = raw

        def __enter__(self) -> "Opened":
            return self

        def __exit__(self, *error: object) -> None:
            self.raw.close()

        def __getattr__(self, name: str) -> object:
            assert name == "sizes", f"{name} decodes the photosites"
            return self.raw.sizes

    opened = rawpy.imread
    monkeypatch.setattr(rawpy, "imread", lambda path: Opened(opened(path)))


SILENT = {"camera": None, "iso": None, "exposure_s": None, "f_number": None, "taken_at": None}


@pytest.mark.parametrize("said", [{}, SILENT, {"iso": 204800.0, "exposure_s": 30.0}], ids=["all", "nothing", "much"])
@pytest.mark.parametrize("shape", [(22, 22), (25, 261), (64, 97)], ids=str)
@pytest.mark.parametrize("cfa", BAYER_PHASES)
def test_the_header_is_what_the_decoded_frame_says(tmp_path: Path, cfa: str, shape: tuple[int, int], said: dict):
    info = frame_info(shape, cfa, **said)
    make_dng(tmp_path / "a.dng", info)
    assert read_raw_header(tmp_path / "a.dng") == Header.of(read_raw(tmp_path / "a.dng").info) == Header.of(info)


@pytest.mark.parametrize(("top", "left"), [(6, 2), (5, 7)])
def test_the_header_holds_the_size_of_the_active_area(tmp_path: Path, top: int, left: int):
    whole = random_dn((40 + top + 3, 61 + left))
    border = RawBorder(whole, top, left)
    make_dng(tmp_path / "a.dng", frame_info((40, 61)), whole[top : top + 40, left : left + 61], border=border)
    assert read_raw_header(tmp_path / "a.dng") == Header.of(read_raw(tmp_path / "a.dng").info)


def test_the_header_of_a_dng_is_read_without_decoding(tmp_path: Path, undecodable: None):
    make_dng(tmp_path / "a.dng", frame_info())
    make_dng(tmp_path / "b.dng", frame_info(**SILENT))
    assert read_raw_header(tmp_path / "a.dng") == Header.of(frame_info())
    assert read_raw_header(tmp_path / "b.dng") == Header.of(frame_info(**SILENT))


def write_nef(path: Path, info: FrameInfo) -> None:
    """Write a minimal NEF, as LibRaw takes it."""
    mosaic = {
        Tag.CFA_REPEAT_PATTERN_DIM: (FieldType.SHORT, (2, 2)),
        Tag.CFA_PATTERN: (FieldType.BYTE, (0, 1, 1, 2)),
    }
    write_tiff(path, [TiffImage(random_dn((600, 900)), mosaic, {"photometric": "cfa"})], info, "")


def test_the_header_of_a_nef_that_says_all_is_read_without_decoding(tmp_path: Path, request: pytest.FixtureRequest):
    write_nef(tmp_path / "a.nef", frame_info(camera="NIKON D800"))
    expected = Header.of(read_raw(tmp_path / "a.nef").info)
    request.getfixturevalue("undecodable")
    assert read_raw_header(tmp_path / "a.nef") == expected
    assert (expected.camera, expected.iso, expected.taken_at) == ("NIKON D800", 1600, 1_700_000_000.25)
    assert (expected.height, expected.width) != (600, 900), "LibRaw knows the margins of that camera"


@pytest.mark.parametrize("unsaid", ["iso", "exposure_s", "taken_at"])
def test_what_exif_of_a_nef_leaves_unsaid_is_asked_of_libraw(tmp_path: Path, unsaid: str):
    write_nef(tmp_path / "a.nef", frame_info(camera="NIKON D800", **{unsaid: None}))
    assert read_raw_header(tmp_path / "a.nef") == Header.of(read_raw(tmp_path / "a.nef").info)


def test_the_time_is_that_of_the_file_where_exif_has_none(tmp_path: Path):
    write_plain_dng(tmp_path / "a.dng", random_dn((32, 48)), [(306, 2, 0, "2024:06:01 12:00:00", True)])
    header = read_raw_header(tmp_path / "a.dng")
    assert header.taken_at == 1_717_243_200
    assert header == Header.of(read_raw(tmp_path / "a.dng").info)
    assert header.camera == "Testcam One"


@pytest.mark.parametrize(
    "name", ["raw_single/*.dng", "raw_single/*.CRW", "sim_canon700d/*/frame_000.dng", "seestar/*/*.dng"]
)
def test_headers_of_real_files(shared_data: Path, name: str):
    paths = sorted(shared_data.glob(name))[:3]
    assert paths
    for path in paths:
        assert read_raw_header(path) == Header.of(read_raw(path).info)


# What a frame says


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_the_exif_one(tmp_path: Path, orientation: int):
    make_dng(tmp_path / "a.dng", frame_info(orientation=orientation))
    assert read_raw(tmp_path / "a.dng").info.orientation == orientation


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Canon", "Canon EOS 700D", "Canon EOS 700D"),
        ("NIKON CORPORATION", "NIKON D800", "NIKON D800"),
        ("SONY", "ILCE-7M3", "SONY ILCE-7M3"),
        (None, "ILCE-7M3", "ILCE-7M3"),
        ("SONY", None, "SONY"),
        (None, None, None),
    ],
)
def test_the_make_is_said_once(make: str | None, model: str | None, camera: str | None):
    assert Exif(make=make, model=model).camera == camera


def test_what_a_file_does_not_say_is_none(tmp_path: Path):
    make_dng(tmp_path / "a.dng", frame_info(**SILENT, as_shot_neutral=None))
    info = read_raw(tmp_path / "a.dng").info
    assert {name: getattr(info, name) for name in SILENT} == SILENT


def matrix_tag(code: int) -> tuple:
    return (code, 10, 9, tuple(number for entry in range(1, 10) for number in (entry, 100)), True)


def write_plain_dng(
    path: Path, dn: np.ndarray, extra: list, cfa: bytes = bytes((0, 1, 1, 2)), side: int = 2, **options
):
    """Write a DNG with tifffile alone; ``extra`` go with the mosaic."""
    tags = [
        (50706, 1, 4, bytes((1, 4, 0, 0)), True),
        (50708, 2, 0, "Testcam One", True),
        (33421, 3, 2, (side, side), True),
        (33422, 1, side * side, cfa, True),
        (50717, 4, 1, 15000, True),
        *extra,
    ]
    with tifffile.TiffWriter(path, **options) as writer:
        writer.write(dn, photometric=32803, metadata=None, extratags=tags)


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_colour_and_lens_tags_are_taken_over_verbatim(tmp_path: Path, byteorder: str):
    opcodes = struct.pack(">I", 0) + bytes(7)
    extra = [
        matrix_tag(50721), (50728, 5, 3, (1000, 1000, 2477, 1000, 1462, 1000), True), (50778, 3, 1, 17, True),
        (50940, 11, 4, (0.0, 0.0, 1.0, 1.0), True), (51009, 7, len(opcodes), opcodes, True),
        (50730, 10, 1, (0, 0), True), (51041, 12, 2, (1e-3, 1e-6), True), (50731, 5, 1, (1, 1), True),
    ]  # fmt: skip
    write_plain_dng(tmp_path / "a.dng", random_dn((32, 48)), extra, byteorder=byteorder)
    info = read_raw(tmp_path / "a.dng").info
    assert info.camera == "Testcam One"
    assert info.as_shot_neutral == pytest.approx((1000 / 2477, 1, 1462 / 2477))
    tags = {tag.code: tag for tag in info.dng_tags}
    assert tags[50721] == DngTag(code=50721, dtype=10, count=9, value=matrix_tag(50721)[3])
    assert tags[50728].value == (1000, 1000, 2477, 1000, 1462, 1000)
    assert tags[50778] == DngTag(code=50778, dtype=3, count=1, value=(17,))
    assert tags[50940].value == (0.0, 0.0, 1.0, 1.0)
    assert bytes(tags[51009].value) == opcodes
    assert 50730 not in tags, "0/0 says nothing"
    assert not {51041, 50731} & set(tags), "the noise profile is not that of the denoised shot"


def test_the_first_opcodes_are_dropped_with_a_linearization_table(tmp_path: Path):
    """They work on values before that table, which LibRaw has already applied."""
    opcodes, table = (51008, 7, 4, bytes(4), True), (50712, 3, 4096, tuple(range(0, 16384, 4)), True)
    write_plain_dng(tmp_path / "a.dng", random_dn((32, 48)) // 4, [opcodes])
    write_plain_dng(tmp_path / "b.dng", random_dn((32, 48)) // 4, [opcodes, table])
    assert 51008 in {tag.code for tag in read_raw(tmp_path / "a.dng").info.dng_tags}
    assert 51008 not in {tag.code for tag in read_raw(tmp_path / "b.dng").info.dng_tags}


def test_a_mosaic_in_a_sub_directory_is_found(tmp_path: Path):
    dn = random_dn((64, 96))
    first = [(50706, 1, 4, bytes((1, 4, 0, 0)), True), (50708, 2, 0, "Testcam Two", True), matrix_tag(50721),
             (271, 2, 0, "Testcam", True), (272, 2, 0, "Two", True),
             (50728, 5, 3, (1, 2, 1, 1, 1, 4), True)]  # fmt: skip
    mosaic = [(33421, 3, 2, (2, 2), True), (33422, 1, 4, bytes((1, 0, 2, 1)), True), (50717, 4, 1, 15000, True),
              (50714, 3, 1, 256, True), (50719, 4, 2, (4, 6), True), (50720, 4, 2, (80, 50), True)]  # fmt: skip
    with tifffile.TiffWriter(tmp_path / "a.dng") as writer:
        preview = np.zeros((16, 24, 3), np.uint8)
        writer.write(preview, photometric="rgb", subfiletype=1, subifds=1, metadata=None, extratags=first)
        writer.write(dn, photometric=32803, metadata=None, extratags=[(254, 4, 1, 0, True), *mosaic])
    frame = read_raw(tmp_path / "a.dng")
    np.testing.assert_array_equal(frame.dn, dn)
    assert (frame.info.cfa, frame.info.camera, frame.info.black_level) == ("GRBG", "Testcam Two", (256.0,) * 4)
    assert frame.info.as_shot_neutral == (0.5, 1.0, 0.25)
    assert {50721: matrix_tag(50721)[3], 50719: (4, 6), 50720: (80, 50)}.items() <= {
        tag.code: tag.value for tag in frame.info.dng_tags
    }.items()


def test_the_camera_clock_is_read_in_any_time_zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make_dng(tmp_path / "a.dng", frame_info())
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        assert read_raw(tmp_path / "a.dng").info.taken_at == 1_700_000_000.25
        assert read_raw_header(tmp_path / "a.dng").taken_at == 1_700_000_000.25
    finally:
        monkeypatch.undo()
        time.tzset()


def one_line(error: pytest.ExceptionInfo[InputFileError], path: Path) -> str:
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_missing_folder_empty_and_text_files_are_refused(tmp_path: Path):
    (tmp_path / "empty.dng").touch()
    (tmp_path / "text.dng").write_text("These are notes, not a raw file.\n" * 50)
    (tmp_path / "folder.dng").mkdir()
    wanted = {"none.dng": "No such file", "empty.dng": "empty", "text.dng": "not a raw file", "folder.dng": "a folder"}
    for name, reason in wanted.items():
        messages = set()
        for read in (read_raw, read_raw_header):
            with pytest.raises(InputFileError, match=reason) as error:
                read(tmp_path / name)
            messages.add(one_line(error, tmp_path / name))
        assert len(messages) == 1, "header and frame are refused in the same words"


@pytest.mark.parametrize("read", [read_raw, read_raw_header])
@pytest.mark.parametrize("packed", [True, False], ids=["jpeg", "plain"])
def test_a_truncated_file_is_refused_wherever_it_ends(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], packed: bool, read: Callable[[Path], object]
):
    info = frame_info((300, 520))
    whole = tmp_path / "whole.dng"
    make_dng(whole, info) if packed else write_plain_dng(whole, random_dn((300, 520)), [])
    expected = read(whole)
    data = whole.read_bytes()
    path = tmp_path / "cut.dng"
    cuts = {1, 3, 7, 9, 100, 250, 400, *np.linspace(500, len(data) - 1, 25).astype(int).tolist()}
    for cut in sorted(cuts | set(range(len(data) - 120, len(data), 7))):
        path.write_bytes(data[:cut])
        if cut <= len(data) - 120:
            with pytest.raises(InputFileError) as error:
                read(path)
            one_line(error, path)
        else:
            with contextlib.suppress(InputFileError):  # or only padding and Exif are lost
                found = read(path)
                if read is read_raw:
                    np.testing.assert_array_equal(found.dn, expected.dn)
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_at_once(tmp_path: Path):
    os.mkfifo(tmp_path / "a.dng")
    for read in (read_raw, read_raw_header):
        with pytest.raises(InputFileError, match="is a pipe or a device where a file is needed"):
            read(tmp_path / "a.dng")
    assert not is_denoised(tmp_path / "a.dng")


def test_mosaics_other_than_bayer_are_refused(tmp_path: Path):
    x_trans = bytes(
        (1, 1, 0, 1, 1, 2, 1, 1, 2, 1, 1, 0, 2, 0, 1, 0, 2, 1, 1, 1, 2, 1, 1, 0, 1, 1, 0, 1, 1, 2, 0, 2, 1, 2, 0, 1)
    )
    write_plain_dng(tmp_path / "x.dng", random_dn((60, 72)), [], x_trans, 6)
    with pytest.raises(InputFileError, match=r"6 x 6 photosites, as X-Trans.*only Bayer") as error:
        read_raw(tmp_path / "x.dng")
    one_line(error, tmp_path / "x.dng")


def test_a_film_scan_has_no_mosaic(shared_data: Path):
    path = shared_data / "raw_single" / "Nikon_uncompressed.nef"
    for read in (read_raw, read_raw_header):
        with pytest.raises(InputFileError, match=r"no colour mosaic; only Bayer") as error:
            read(path)
        one_line(error, path)


@pytest.mark.parametrize(
    ("name", "camera", "cfa", "shape", "whole", "black", "white", "iso"),
    [
        ("sim_canon700d/kodim01_iso1600/frame_000.dng", "Canon EOS 700D", "RGGB", (512, 768), None, 2048, 15304, 1600),
        ("seestar/m94/*.dng", "ZWO Seestar S50", "GRBG", (1920, 1080), None, 570, 65535, 80),
        ("raw_single/Blackmagic.dng", BLACKMAGIC, "RGGB", (2176, 4128), None, 512, 65535, None),
        ("raw_single/colorchart.dng", "Canon EOS Kiss X4", "RGGB", (1156, 1734), (1182, 1888), 2056, 15000, None),
    ],
)  # fmt: skip
def test_real_files(shared_data: Path, name, camera, cfa, shape, whole, black, white, iso):
    frame = read_raw(sorted(shared_data.glob(name))[0])
    info = frame.info
    assert (info.camera, info.cfa, frame.dn.shape, info.iso) == (camera, cfa, shape, iso)
    assert (info.black_level, info.white_level) == ((black,) * 4, white)
    assert (frame.border.dn.shape if frame.border else None) == whole
    with rawpy.imread(str(frame.path)) as raw:
        np.testing.assert_array_equal(frame.dn, raw.raw_image_visible)
        balance = np.array(raw.camera_whitebalance[:3])
    assert np.array(info.as_shot_neutral) == pytest.approx(balance[1] / balance, rel=1e-6)


def test_a_stated_unknown_exposure_is_none(shared_data: Path):
    """colorchart.dng says 0/1000000 s and f/0: LibRaw makes 1 second and f/1 of it."""
    info = read_raw(shared_data / "raw_single" / "colorchart.dng").info
    assert (info.exposure_s, info.f_number, info.taken_at) == (None, None, None)


def test_development_is_the_cameras_white_balance_under_the_srgb_curve(tmp_path: Path):
    """A grey card through the white balance (0.5, 1, 0.625) comes out grey, at the closed-form sRGB value."""
    info = frame_info((64, 96), "GBRG", black_level=(512.0,) * 4)
    level = {"R": 0.1, "G": 0.2, "B": 0.125}
    linear = np.tile(np.array([level[colour] for colour in "GBRG"], np.float32).reshape(2, 2), (32, 48))
    write_dng(tmp_path / "a.dng", frame_of(linear, info))
    frame = read_raw(tmp_path / "a.dng")
    rgb = develop(frame.path, frame.dn)
    assert (rgb.shape, rgb.dtype) == ((64, 96, 3), np.uint16)
    expected = 1.055 * 0.2 ** (1 / 2.4) - 0.055
    assert rgb[8:-8, 8:-8] / 65535 == pytest.approx(expected, abs=0.002)


def test_development_takes_the_given_photosites_and_turns_them_upright(tmp_path: Path):
    info = frame_info((64, 96), orientation=6, black_level=(512.0,) * 4)
    make_dng(tmp_path / "a.dng", info)
    half = np.full((64, 96), 512, np.uint16)
    half[:, 48:] = 6000
    half[10, 70] = 14000  # a single bright photosite must not change the brightness of the rest
    upright = develop(tmp_path / "a.dng", half)
    assert upright.shape == (96, 64, 3)
    assert upright[:40].max() == 0
    assert upright[56:].min() > 0
    half[10, 70] = 6000
    again = develop(tmp_path / "a.dng", half)
    np.testing.assert_array_equal(again[80:, :40], upright[80:, :40])


def test_development_refuses_another_shape(tmp_path: Path):
    make_dng(tmp_path / "a.dng", frame_info())
    with pytest.raises(ValueError, match="active area"):
        develop(tmp_path / "a.dng", np.zeros((10, 10), np.uint16))


def test_a_file_without_exif_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    (tmp_path / "a.bin").write_bytes(bytes(1000))
    assert read_exif(tmp_path / "a.bin") == Exif()
    assert capfd.readouterr().err == ""


def test_suffixes_are_lower_case():
    assert {".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".rw2", ".orf", ".pef", ".srw"} <= RAW_SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in RAW_SUFFIXES)


# The noise profile that a DNG says it has


def make_dng_saying(path: Path, values: tuple[float, ...]) -> None:
    write_plain_dng(path, random_dn((64, 96)), [(51041, 12, len(values), values, True)])


def test_a_noise_profile_of_three_colours_is_read_as_that_of_four_planes(tmp_path):
    make_dng_saying(tmp_path / "a.dng", (1e-4, 1e-7, 2e-4, 2e-7, 3e-4, -3e-7))
    found = read_raw(tmp_path / "a.dng").info.noise_profile
    assert found is not None
    assert found.shot_noise_scale == (1e-4, 2e-4, 2e-4, 3e-4)
    assert found.read_noise_variance == (1e-7, 2e-7, 2e-7, -3e-7)


def test_a_noise_profile_of_one_pair_holds_for_all_planes(tmp_path):
    make_dng_saying(tmp_path / "a.dng", (1e-4, 0.0))
    found = read_raw(tmp_path / "a.dng").info.noise_profile
    assert found is not None
    assert (found.iso, found.shot_noise_scale, found.read_noise_variance) == (None, (1e-4,) * 4, (0.0,) * 4)


@pytest.mark.parametrize(
    "values",
    [
        (float("nan"), 1e-7),
        (1e-4, float("inf")),
        (0.0, 1e-7),
        (-1e-4, 1e-7),
        (1e-4,),
        (1e-4, 1e-7, 1e-4, 1e-7),
        (1e-4, 1e-7, 0.0, 1e-7, 1e-4, 1e-7),
        (1e-4, 1e-7) * 4,
        (12.0, 81.0),
    ],
)
def test_a_noise_profile_that_makes_no_sense_is_ignored(tmp_path, values):
    make_dng_saying(tmp_path / "a.dng", values)
    assert read_raw(tmp_path / "a.dng").info.noise_profile is None


def test_the_noise_profile_may_lie_in_the_directory_of_the_mosaic_or_in_the_first(tmp_path):
    dn = random_dn((64, 96))
    for name, first, second in (("first", (1e-4, 1e-7), None), ("both", (1e-4, 1e-7), (2e-4, 2e-7))):
        with tifffile.TiffWriter(tmp_path / f"{name}.dng") as file:
            tags = [(50706, 1, 4, b"\1\4\0\0", True), (50708, 2, 0, b"Canon EOS 700D\0", True)]
            tags += [(51041, 12, 2, first, True)] if first else []
            preview = np.zeros((16, 24, 3), np.uint8)
            file.write(preview, photometric="rgb", subfiletype=1, subifds=1, extratags=tags, metadata=None)
            mosaic = [(33421, 3, 2, (2, 2), True), (33422, 1, 4, bytes((0, 1, 1, 2)), True)]
            mosaic += [(51041, 12, 2, second, True)] if second else []
            file.write(dn, photometric=32803, subfiletype=0, extratags=mosaic, metadata=None)
    first, both = (read_raw(tmp_path / f"{name}.dng") for name in ("first", "both"))
    assert np.array_equal(first.dn, dn)
    assert first.info.noise_profile.shot_noise_scale == (1e-4,) * 4
    assert both.info.noise_profile.shot_noise_scale == (2e-4,) * 4


def test_a_noise_profile_stays_with_the_frame_and_not_with_what_is_computed_from_it(tmp_path):
    make_dng_saying(tmp_path / "a.dng", (1e-4, 1e-7))
    frame = read_raw(tmp_path / "a.dng")
    write_dng(tmp_path / "same.dng", frame)
    write_dng(tmp_path / "computed.dng", Frame.of_linear(frame.linear, frame, ""))
    assert read_raw(tmp_path / "same.dng").noise_profile == frame.noise_profile is not None
    assert read_raw(tmp_path / "computed.dng").noise_profile is None


def test_what_was_stored_before_frames_had_a_noise_profile_still_opens():
    older = frame_info().model_dump(mode="json", exclude={"noise_profile"})
    assert FrameInfo.model_validate(older) == frame_info()


# Values that are unknown


@pytest.mark.parametrize("neutral", [None, (0, 1, 1, 1, 0, 1), (1, 2, 1, 1, 0, 1)], ids=["none", "zeros", "one zero"])
def test_an_unknown_white_balance_stays_unknown_and_develops_like_its_source(tmp_path: Path, neutral):
    tags = [matrix_tag(50721)] if neutral is None else [matrix_tag(50721), (50728, 5, 3, neutral, True)]
    tags[0] = (50721, 10, 9, tuple(n for m in CANON_MATRIX for n in (m, 10000)), True)
    write_plain_dng(tmp_path / "a.dng", random_dn((64, 96)), tags)
    frame = read_raw(tmp_path / "a.dng")
    assert frame.info.as_shot_neutral is None
    write_dng(tmp_path / "b.dng", frame)
    with tifffile.TiffFile(tmp_path / "b.dng") as tiff:
        assert 50728 not in tiff.pages.first.tags
    np.testing.assert_array_equal(develop(tmp_path / "b.dng", frame.dn), develop(tmp_path / "a.dng", frame.dn))
    with rawpy.imread(str(tmp_path / "a.dng")) as raw:
        daylight = np.array(raw.daylight_whitebalance[:3])
    neutral_patch = np.array([1000 / daylight[["RGB".index(c) for c in "RGGB"]]]).reshape(2, 2)
    grey = np.rint(np.tile(neutral_patch, (32, 48)) * 3).astype(np.uint16)
    rgb = develop(tmp_path / "b.dng", grey)[8:-8, 8:-8].reshape(-1, 3).mean(0)
    assert rgb / rgb.mean() == pytest.approx(1, abs=0.01), "daylight is neutral"


CANON_MATRIX = (7034, -804, -1014, -4420, 12564, 2058, -851, 1994, 5758)


@pytest.mark.parametrize(
    ("tags", "iso"),
    [
        ({34855: 65535, 34864: 2, 34866: 102400}, 102400),
        ({34855: 65535, 34864: 1, 34865: 204800}, 204800),
        ({34855: 65535, 34864: 3, 34867: 409600}, 409600),
        ({34864: 2, 34866: 800}, 800),
        ({34855: 0, 34866: 3200}, 3200),
        ({34855: 65535}, 65535),
        ({34855: 400, 34866: 800}, 400),
    ],
    ids=str,
)
def test_the_iso_is_that_of_the_tag_which_can_say_it(tmp_path: Path, tags: dict[int, int], iso: float):
    dtypes = {34855: 3, 34864: 3}
    carried = tuple(
        DngTag(directory="exif", code=code, dtype=dtypes.get(code, 4), count=1, value=(value,))
        for code, value in tags.items()
    )
    make_dng(tmp_path / "a.dng", frame_info(iso=None, dng_tags=carried))
    assert read_raw(tmp_path / "a.dng").info.iso == iso
    assert read_raw_header(tmp_path / "a.dng").iso == iso
    write_dng(tmp_path / "b.dng", read_raw(tmp_path / "a.dng"))
    with tifffile.TiffFile(tmp_path / "b.dng") as tiff:
        written = tiff.pages.first.tags["ExifTag"].value
    names = {34866: "RecommendedExposureIndex", 34865: "StandardOutputSensitivity"}
    for code, name in names.items():
        assert written.get(name) == tags.get(code)


def test_letters_of_all_alphabets_and_the_time_zone_come_through(tmp_path: Path):
    texts = {36881: "+09:00", 36880: "+08:00", 42035: "КМЗ", 42036: "Объектив 50mm f/2", 42033: "№ 17"}
    carried = [
        DngTag(directory="exif", code=code, dtype=2, count=len(text.encode()) + 1, value=text)
        for code, text in texts.items()
    ]
    carried.append(DngTag(code=315, dtype=2, count=16, value="Søren Ångström"))
    make_dng(tmp_path / "a.dng", frame_info(dng_tags=tuple(carried)))
    write_dng(tmp_path / "b.dng", read_raw(tmp_path / "a.dng"))
    found = {(tag.directory, tag.code): tag.value for tag in read_raw(tmp_path / "b.dng").info.dng_tags}
    assert {("exif", code): text for code, text in texts.items()}.items() <= found.items()
    assert found["image", 315] == "Søren Ångström"


def test_a_place_comes_through(tmp_path: Path):
    gps = [
        DngTag(directory="gps", code=0, dtype=1, count=4, value=(2, 3, 0, 0)),
        DngTag(directory="gps", code=1, dtype=2, count=2, value="N"),
        DngTag(directory="gps", code=2, dtype=5, count=3, value=(48, 1, 8, 1, 2313, 100)),
    ]
    make_dng(tmp_path / "a.dng", frame_info(dng_tags=tuple(gps)))
    frame = read_raw(tmp_path / "a.dng")
    write_dng(tmp_path / "b.dng", frame)
    for found in (frame, read_raw(tmp_path / "b.dng")):
        assert [tag for tag in found.info.dng_tags if tag.directory == "gps"] == gps


def test_an_old_canon_is_known_by_its_records_and_its_white_balance_is_not(shared_data: Path, tmp_path: Path):
    frame = read_raw(shared_data / "raw_single" / "canon_eos_d30.CRW")
    assert (frame.info.camera, frame.info.as_shot_neutral) == ("Canon EOS D30", None)
    assert frame.info.f_number == pytest.approx(5.66, abs=0.01)
    tags = {tag.code: tag.value for tag in frame.info.dng_tags}
    assert (tags[Tag.FOCAL_LENGTH][0] / tags[Tag.FOCAL_LENGTH][1], tags[Tag.BODY_SERIAL_NUMBER]) == (31, "1235-02474")
    write_dng(tmp_path / "a.dng", frame)
    ours, theirs = develop(tmp_path / "a.dng", frame.dn), develop(frame.path, frame.dn)
    assert ours.reshape(-1, 3).mean(0) == pytest.approx(theirs.reshape(-1, 3).mean(0), rel=0.005)
