"""A written DNG opens like its source everywhere; rounding and clipping happen once and exactly."""

import contextlib
import resource
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import exifread
import numpy as np
import pytest
import rawpy
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from burst_denoise.errors import OutputError
from burst_denoise.frame.frame import RawBorder, to_linear
from burst_denoise.frame.mosaic import BAYER_PHASES
from burst_denoise.io.dng import rounded_dn, write_dng
from burst_denoise.io.raw import read_raw
from burst_denoise.schemas import DngTag, FrameInfo, NoiseProfile
from tests.shots import frame_of
from tests.test_exiftool import with_exiftool

REAL_FILES = (
    "sim_canon700d/kodim01_iso1600/frame_000.dng",
    "seestar/ngc7023/*.dng",
    "raw_single/Blackmagic.dng",
    "raw_single/colorchart.dng",
)


def frame_info(shape: tuple[int, int] = (64, 96), cfa: str = "RGGB", **changes) -> FrameInfo:
    known = {
        "domain": "bayer",
        "camera": "SONY ILCE-7M3",
        "cfa": cfa,
        "height": shape[0],
        "width": shape[1],
        "black_level": (500.0, 520.0, 540.0, 560.0),
        "white_level": 15000.0,
        "iso": 1600.0,
        "exposure_s": 1 / 30,
        "f_number": 5.6,
        "taken_at": 1_700_000_000.25,
        "as_shot_neutral": (0.5, 1.0, 0.625),
    }
    return FrameInfo(**(known | changes))


def random_dn(shape: tuple[int, ...], dtype: type = np.uint16) -> np.ndarray:
    return np.random.default_rng(3).integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 4096), min_size=4, max_size=4), st.floats(4200, 65535), st.sampled_from(BAYER_PHASES))
def test_an_unchanged_value_rounds_to_the_dn_it_came_from(black: list[float], white: float, cfa: str):
    dn = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    info = frame_info((256, 256), cfa, black_level=tuple(black), white_level=white)
    np.testing.assert_array_equal(rounded_dn(frame_of(to_linear(dn, info), info).dn), dn)


def test_values_are_rounded_and_clipped_but_not_at_black_or_white():
    info = frame_info((1, 6), black_level=(1000.0,) * 4, white_level=11000.0)
    linear = np.array([[-0.05, -0.2, 0.50004, 0.50006, 1.2, 9.0]], np.float32)
    assert rounded_dn(frame_of(linear, info).dn).tolist() == [[500, 0, 6000, 6001, 13000, 65535]]


def test_stored_values_come_back_as_they_are():
    dn = random_dn((20, 20))
    assert np.array_equal(rounded_dn(dn), dn)
    assert rounded_dn(dn).dtype == np.uint16


@pytest.mark.parametrize("shape", [(22, 22), (23, 37), (64, 255), (257, 300)], ids=str)
@pytest.mark.parametrize("cfa", BAYER_PHASES)
def test_libraw_reads_what_was_written(tmp_path: Path, cfa: str, shape: tuple[int, int]):
    info, dn = frame_info(shape, cfa), random_dn(shape)
    write_dng(tmp_path / "a.dng", frame_of(to_linear(dn, info), info))
    with rawpy.imread(str(tmp_path / "a.dng")) as raw:
        np.testing.assert_array_equal(raw.raw_image, dn)
        assert "".join("RGBG"[colour] for colour in raw.raw_pattern.ravel()) == cfa
        assert raw.black_level_per_channel == [500, 520, 560, 540]  # LibRaw's order: R, G1, B, G2
        assert raw.white_level == 15000
        assert raw.camera_whitebalance == pytest.approx([2, 1, 1.6, 0])


def identical(source: rawpy.RawPy, written: rawpy.RawPy) -> None:
    for name in ("raw_image", "raw_pattern", "camera_whitebalance", "daylight_whitebalance", "color_matrix"):
        np.testing.assert_array_equal(getattr(source, name), getattr(written, name), err_msg=name)
    for name in ("sizes", "black_level_per_channel", "white_level", "color_desc", "num_colors"):
        assert getattr(source, name) == getattr(written, name), name


@pytest.mark.parametrize("name", REAL_FILES)
def test_a_shot_written_back_unchanged_is_the_same_shot(tmp_path: Path, shared_data: Path, name: str):
    path = sorted(shared_data.glob(name))[0]
    frame = read_raw(path)
    write_dng(tmp_path / "a.dng", frame)
    with rawpy.imread(str(path)) as source, rawpy.imread(str(tmp_path / "a.dng")) as written:
        identical(source, written)
        if "colorchart" not in name:  # it says 0/1000000 s, of which LibRaw makes 1 s
            assert source.other == written.other
        settings = {"use_camera_wb": True, "half_size": True}
        np.testing.assert_array_equal(source.postprocess(**settings), written.postprocess(**settings))
    back = read_raw(tmp_path / "a.dng")
    added = {tag.code for tag in back.info.dng_tags} - {tag.code for tag in frame.info.dng_tags}
    spelled_out = {271, 272, 306, 36864, 37521, 50719, 50720}
    assert added <= spelled_out, "only camera, date, Exif version and a full crop may be spelled out"
    same = tuple(tag for tag in back.info.dng_tags if tag.code not in added)
    assert back.info.model_copy(update={"dng_tags": same}) == frame.info


@pytest.mark.parametrize(
    ("make", "model", "suffix"), [("NIKON CORPORATION", "NIKON D800", ".nef"), ("SONY", "ILCE-7M3", ".arw")]
)
def test_a_shot_of_another_format_gets_libraws_colours_and_margins(tmp_path: Path, make: str, model: str, suffix: str):
    """A minimal NEF and ARW, as LibRaw takes them: it knows the D800's margin and both cameras' colours."""
    names = [(271, 2, 0, make, True), (272, 2, 0, model, True)]
    mosaic = [(33421, 3, 2, (2, 2), True), (33422, 1, 4, bytes((0, 1, 1, 2)), True)]
    dn = random_dn((600, 900)) // 5
    tifffile.imwrite(tmp_path / f"a{suffix}", dn, photometric=32803, metadata=None, extratags=names + mosaic)
    frame = read_raw(tmp_path / f"a{suffix}")
    assert frame.info.camera == (model if suffix == ".nef" else "SONY ILCE-7M3")
    assert (frame.border is not None) == (suffix == ".nef")
    write_dng(tmp_path / "a.dng", frame)
    with rawpy.imread(str(frame.path)) as source, rawpy.imread(str(tmp_path / "a.dng")) as written:
        np.testing.assert_array_equal(written.raw_image, dn)
        np.testing.assert_array_equal(written.raw_image_visible, source.raw_image_visible)
        assert written.sizes == source.sizes
        one_white = {"user_wb": [2, 1, 1.5, 1], "user_sat": 14000, "half_size": True}
        colours = source.postprocess(**one_white).astype(int), written.postprocess(**one_white).astype(int)
        assert np.abs(colours[0] - colours[1]).max() <= 1
    assert read_raw(tmp_path / "a.dng").info.camera == frame.info.camera


def test_the_dng_sdk_reads_what_was_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    dngpy = pytest.importorskip("dngpy", reason="no dngpy: pip install -e .[test]")
    whole = random_dn((300, 520))
    active = whole[20:290, 30:511]
    info = frame_info(active.shape, "GBRG")
    crop = (DngTag(code=50719, dtype=3, count=2, value=(8, 8)), DngTag(code=50720, dtype=3, count=2, value=(460, 250)))
    info = info.model_copy(update={"dng_tags": crop})
    border = RawBorder(whole, 20, 30)
    write_dng(tmp_path / "a.dng", frame_of(to_linear(active, info), info, border))
    dng = dngpy.Dng(str(tmp_path / "a.dng"))
    np.testing.assert_array_equal(np.squeeze(dng.raw_pixels), whole)
    assert (dng.image_info.width, dng.image_info.height) == (460, 250)
    output = capfd.readouterr()
    assert output.out + output.err == "", "the SDK has warnings"


@with_exiftool
def test_exiftool_has_no_complaint(tmp_path: Path):
    path = tmp_path / "a.dng"
    info = frame_info((300, 520))
    write_dng(path, frame_of(to_linear(random_dn((300, 520)), info), info, notes="burst-denoise 0.1"))
    told = subprocess.run(["exiftool", "-validate", "-warning", path], capture_output=True, text=True).stdout
    assert told.split(":")[1].strip() == "OK", told


@pytest.mark.skipif(shutil.which("dcraw") is None, reason="no dcraw to read the DNG: apt-get install dcraw")
def test_dcraw_reads_the_same_photosites(tmp_path: Path):
    path = tmp_path / "a.dng"
    info = frame_info((300, 520))
    write_dng(path, frame_of(to_linear(random_dn((300, 520)), info), info))
    told = subprocess.run(["dcraw", "-i", "-v", path], capture_output=True, text=True).stdout
    assert all(line in told for line in ("ISO speed: 1600", "Shutter: 1/30", "Filter pattern: RG/GB")), told
    subprocess.run(["dcraw", "-4", "-D", "-T", path], check=True)  # the photosites as a TIFF
    np.testing.assert_array_equal(tifffile.imread(path.with_suffix(".tiff")), random_dn((300, 520)))


def test_exposure_time_and_lens_are_where_programs_look_for_them(tmp_path: Path):
    lens = (
        DngTag(code=37386, dtype=5, count=1, value=(50, 1)),
        DngTag(code=42036, dtype=2, count=8, value="EF 50mm"),
        DngTag(code=50736, dtype=5, count=4, value=(50, 1, 50, 1, 9, 5, 9, 5)),
    )
    info = frame_info(dng_tags=lens)
    write_dng(tmp_path / "a.dng", frame_of(np.zeros((64, 96), np.float32), info))
    with rawpy.imread(str(tmp_path / "a.dng")) as raw:
        other, seen = raw.other, raw.lens
    assert (other.iso_speed, other.focal_length) == (1600, 50)
    assert (other.shutter_speed, other.aperture) == pytest.approx((1 / 30, 5.6))
    assert other.timestamp.isoformat() == "2023-11-14T22:13:20"
    assert (seen.model, seen.min_focal) == ("EF 50mm", 50)
    with (tmp_path / "a.dng").open("rb") as file:
        exif = exifread.process_file(file)
    wanted = {"EXIF ExposureTime": "1/30", "EXIF FNumber": "28/5", "EXIF ISOSpeedRatings": "1600",
              "EXIF SubSecTimeOriginal": "250", "EXIF FocalLength": "50", "EXIF ExifVersion": "0232"}  # fmt: skip
    assert {name: str(exif[name]) for name in wanted} == wanted
    read = {(tag.directory, tag.code): tag.value for tag in read_raw(tmp_path / "a.dng").info.dng_tags}
    assert (read["exif", 37386], read["exif", 42036], read["image", 50736]) == tuple(tag.value for tag in lens)


@pytest.mark.parametrize("seconds", [30.0, 2.5, 1.0, 0.3, 1 / 3, 1 / 60, 1 / 8000, 1 / 32000])
def test_exposures_come_back_exactly(tmp_path: Path, seconds: float):
    write_dng(tmp_path / "a.dng", frame_of(np.zeros((64, 96), np.float32), frame_info(exposure_s=seconds)))
    exposure = read_raw(tmp_path / "a.dng").info.exposure_s
    assert Fraction(exposure).limit_denominator(40_000) == Fraction(seconds).limit_denominator(40_000)


@pytest.mark.parametrize("iso", [50.0, 65535.0, 102400.0])
def test_iso_comes_back_even_beyond_the_old_tag(tmp_path: Path, iso: float):
    write_dng(tmp_path / "a.dng", frame_of(np.zeros((64, 96), np.float32), frame_info(iso=iso)))
    assert read_raw(tmp_path / "a.dng").info.iso == iso


def test_make_and_model_come_back(tmp_path: Path):
    write_dng(tmp_path / "a.dng", frame_of(np.zeros((64, 96), np.float32), frame_info()))
    assert read_raw(tmp_path / "a.dng").info.camera == "SONY ILCE-7M3"
    write_dng(
        tmp_path / "b.dng", frame_of(np.zeros((64, 96), np.float32), frame_info(camera="Caméra Ω"), notes="modèle")
    )
    assert read_raw(tmp_path / "b.dng").info.camera == "Caméra Ω"
    with tifffile.TiffFile(tmp_path / "a.dng") as tiff:
        tags = tiff.pages[0].tags
        assert (tags[271].value, tags[272].value, tags[50708].value) == ("SONY", "SONY ILCE-7M3", "SONY ILCE-7M3")


def test_without_a_colour_matrix_the_colours_are_those_of_srgb(tmp_path: Path):
    write_dng(tmp_path / "a.dng", frame_of(np.zeros((64, 96), np.float32), frame_info()))
    with rawpy.imread(str(tmp_path / "a.dng")) as raw:
        np.testing.assert_allclose(raw.color_matrix[:, :3], np.eye(3), atol=2e-3)


def test_a_noise_profile_becomes_a_tag_and_a_frame_without_one_gets_none(tmp_path: Path):
    plain = frame_of(np.zeros((64, 96), np.float32), frame_info())
    scale, offset = (1e-4, 2e-4, 2e-4, 3e-4), (1e-7, -2e-7, -2e-7, 0.0)
    known = NoiseProfile(iso=1600, shot_noise_scale=scale, read_noise_variance=offset)
    for name, profile in (("plain.dng", None), ("known.dng", known)):
        write_dng(tmp_path / name, plain.with_profile(profile))
        assert read_raw(tmp_path / name).noise_profile == profile


def test_a_dng_takes_a_mosaic_of_its_shape(tmp_path: Path):
    with pytest.raises(ValueError, match="64 x 96"):
        write_dng(tmp_path / "a.dng", frame_of(np.zeros((10, 10), np.float32), frame_info()))
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path):
    (tmp_path / "a.dng").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        write_dng(tmp_path / "a.dng", frame_of(np.zeros((64, 96), np.float32), frame_info()))
    assert (tmp_path / "a.dng").read_text() == "mine"


@contextlib.contextmanager
def no_file_beyond(size: int):
    """Let the system refuse to write files beyond ``size``, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path):
    info = frame_info((200, 200))
    with no_file_beyond(20_000), pytest.raises(OutputError, match="cannot be written") as error:
        write_dng(tmp_path / "a.dng", frame_of(to_linear(random_dn((200, 200)), info), info))
    assert str(error.value).startswith(f"{tmp_path / 'a.dng'}: ")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
