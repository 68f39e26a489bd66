"""A preview looks like LibRaw's development of the same photosites, and is right where truth is known."""

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import rawpy
import tifffile
from PIL import Image

from burst_denoise.frame.frame import Frame, to_dn
from burst_denoise.frame.mosaic import BAYER_PHASES, Mosaic
from burst_denoise.frame.srgb import linear_to_srgb
from burst_denoise.frame.synthetic import SyntheticCamera, shoot
from burst_denoise.io.dng import write_dng
from burst_denoise.io.preview import encode_jpeg, render, thumbnail
from burst_denoise.io.raw import develop, read_raw
from burst_denoise.io.tags import FieldType
from burst_denoise.schemas import DngTag, FrameInfo

NEUTRAL = (0.5, 1.0, 0.625)
SIZES = [(2, 2), (2, 5), (3, 2), (31, 33), (32, 70), (101, 64)]

CANON = (0.6461, -0.1164, -0.0857, -0.3825, 1.1597, 0.2534, -0.0416, 0.1540, 0.6039)
BLACKMAGIC = (0.9495, -0.4550, 0.0283, -0.3570, 1.3227, 0.1950, -0.0463, 0.1549, 0.7350)
CALIBRATIONS = {
    "CameraCalibration1": (1.1, 0.05, -0.02, 0.03, 0.95, 0.02, -0.04, 0.01, 1.2),
    "CameraCalibration2": (0.9, -0.05, 0.02, -0.03, 1.05, -0.02, 0.04, -0.01, 0.8),
}
MATRICES = {"ColorMatrix1": CANON, "ColorMatrix2": BLACKMAGIC}
STANDARD_A, D50, D55, D65 = 17, 23, 20, 21
BALANCE = {"AnalogBalance": (1.2, 1.0, 0.8)}


def lights(first: int, second: int) -> dict[str, int]:
    return {"CalibrationIlluminant1": first, "CalibrationIlluminant2": second}


CAMERAS = {
    "no matrix": {},
    "one matrix": {"ColorMatrix1": CANON},
    "analog balance": {"ColorMatrix1": CANON} | BALANCE,
    "calibrated": {"ColorMatrix1": CANON, "CameraCalibration1": CALIBRATIONS["CameraCalibration1"]} | BALANCE,
    "lights unknown": MATRICES,
    "one light unknown": MATRICES | lights(D65, 0),
    "D65 second": MATRICES | CALIBRATIONS | BALANCE | lights(STANDARD_A, D65),
    "D65 first": MATRICES | CALIBRATIONS | BALANCE | lights(D65, STANDARD_A),
    "D65 and D55": MATRICES | lights(D55, D65),
    "D55 first": MATRICES | lights(D55, STANDARD_A),
    "D50 second": MATRICES | lights(STANDARD_A, D50),
    "no daylight": MATRICES | lights(STANDARD_A, 18),
}


def dng_tag(name: str, value: int | tuple[float, ...]) -> DngTag:
    code = tifffile.TIFF.TAGS[name]
    if isinstance(value, int):
        return DngTag(code=code, dtype=FieldType.SHORT, count=1, value=(value,))
    rational = FieldType.SRATIONAL if "Calibration" in name or "Matrix" in name else FieldType.RATIONAL
    pairs = tuple(number for entry in value for number in (round(entry * 10000), 10000))
    return DngTag(code=code, dtype=rational, count=len(value), value=pairs)


def frame_info(shape: tuple[int, int], cfa: str = "RGGB", tags: dict | None = None, **changes) -> FrameInfo:
    known = {
        "domain": "bayer",
        "camera": "Testcam One",
        "cfa": cfa,
        "height": shape[0],
        "width": shape[1],
        "black_level": (500.0, 500.0, 500.0, 500.0),
        "white_level": 15000.0,
        "as_shot_neutral": NEUTRAL,
        "dng_tags": tuple(dng_tag(name, value) for name, value in (tags or {}).items()),
    }
    return FrameInfo(**(known | changes))


def frame_of(camera_rgb: np.ndarray, info: FrameInfo, dtype: type = np.float32) -> Frame:
    """Return the frame of a scene (H, W, 3) of linear camera RGB."""
    plane = Mosaic.of(info).plane_of((info.height, info.width))
    linear = np.take_along_axis(camera_rgb, np.array([0, 1, 1, 2])[plane][..., None], axis=2)[..., 0]
    dn = to_dn(linear.astype(np.float32), info)
    return Frame(np.rint(dn).astype(dtype) if dtype == np.uint16 else dn, info, Path("a.dng"))


def flat(colour: tuple[float, float, float], info: FrameInfo, dtype: type = np.float32) -> Frame:
    return frame_of(np.broadcast_to(np.asarray(colour), (info.height, info.width, 3)), info, dtype)


def in_eight_bits(linear: np.ndarray | float) -> np.ndarray:
    return np.rint(linear_to_srgb(np.asarray(linear, np.float32)) * 255)


# Known truth


@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize("cfa", BAYER_PHASES)
def test_grey_is_grey_and_has_the_value_of_srgb(cfa: str, shape: tuple[int, int]):
    for level, value in ((0.01, 25), (0.18, 118), (0.5, 188), (1.0, 255)):
        info = frame_info(shape, cfa, CAMERAS["D65 second"])
        picture = render(flat(tuple(level * part for part in NEUTRAL), info))
        assert picture.shape == (*shape, 3)
        assert picture.dtype == np.uint8
        assert (picture == value).all(), f"linear {level}"


@pytest.mark.parametrize("cfa", BAYER_PHASES)
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_slopes_of_colour_come_out_as_they_are(cfa: str, dtype: type):
    """Bilinear interpolation is exact on them, so a wrong phase, a shift or a seam of any kind shows."""
    shape = (101, 75)
    y, x = np.mgrid[: shape[0], : shape[1]]
    balanced = np.stack([0.05 + 0.004 * y + 0.001 * x, 0.9 - 0.008 * x, 0.4 + 0.003 * x - 0.002 * y], axis=2)
    info = frame_info(shape, cfa, black_level=(500.0, 520.0, 540.0, 560.0))
    picture = render(frame_of(balanced * NEUTRAL, info, dtype))
    wrong = np.abs(picture - in_eight_bits(balanced))
    assert wrong[1:-1, 1:-1].max() <= 1, "16 and 14 bits are rounded"
    assert wrong.max() <= 3, "at the edge the slopes are continued by reflection"


@pytest.mark.parametrize("cfa", BAYER_PHASES)
def test_what_is_saturated_is_white_and_what_is_below_black_is_black(cfa: str):
    info = frame_info((8, 9), cfa, CAMERAS["D65 second"], black_level=(500.0, 520.0, 540.0, 560.0))
    for level, value in ((1.0, 255), (1.7, 255), (-0.001, 0), (-2.0, 0)):
        assert (render(flat((level,) * 3, info)) == value).all(), f"linear {level}"


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_the_frame_is_left_as_it_is(dtype: type):
    frame = flat((0.2, 0.3, 0.4), frame_info((40, 50)), dtype)
    before = frame.dn.copy()
    render(frame)
    np.testing.assert_array_equal(frame.dn, before)


def test_without_a_matrix_or_with_a_damaged_one_the_colours_are_those_of_srgb():
    damaged = (CANON[:3] * 3, tuple(-entry for entry in CANON), CANON[:6])
    for tags in ({}, *({"ColorMatrix1": matrix} for matrix in damaged)):
        for neutral in (None, (1.0, 1.0, 1.0)):
            picture = render(flat((0.2, 0.4, 0.6), frame_info((8, 8), tags=tags, as_shot_neutral=neutral)))
            np.testing.assert_allclose(picture.reshape(-1, 3), np.tile(in_eight_bits([0.2, 0.4, 0.6]), (64, 1)), atol=1)


def test_a_white_balance_may_be_told_as_the_chromaticity_of_the_light():
    x, y = 0.44, 0.40
    tags = {"ColorMatrix1": CANON, "AsShotWhiteXY": (x, y)} | BALANCE
    seen = np.diag(BALANCE["AnalogBalance"]) @ np.reshape(CANON, (3, 3)) @ (x, y, 1 - x - y)
    picture = render(flat(tuple(0.5 * seen / seen.max()), frame_info((8, 8), tags=tags, as_shot_neutral=None)))
    assert (picture == in_eight_bits(0.5)).all()


def test_a_frame_without_a_mosaic_is_refused():
    info = FrameInfo(domain="mono", camera=None, cfa=None, height=8, width=8, black_level=(0.0,), white_level=255.0)
    with pytest.raises(ValueError, match="mono"):
        render(Frame(np.zeros((8, 8), np.uint8), info, Path("a.png")))


# The crop


def crop(left: float, top: float, width: float, height: float) -> dict[str, tuple[float, float]]:
    return {"DefaultCropOrigin": (left, top), "DefaultCropSize": (width, height)}


def test_the_default_crop_is_shown():
    shape = (90, 75)
    colours = np.random.default_rng(0).random((*shape, 3))
    whole = render(frame_of(colours, frame_info(shape)))
    assert whole.shape == (90, 75, 3)
    for left, top, width, height in ((4, 6, 60, 70), (5, 7, 41, 33), (0, 0, 75, 90), (74, 89, 1, 1)):
        picture = render(frame_of(colours, frame_info(shape, tags=crop(left, top, width, height))))
        np.testing.assert_array_equal(picture, whole[top : top + height, left : left + width])


@pytest.mark.parametrize("wrong", [(4, 6, 72, 20), (4, 80, 20, 11), (4, 4, 0, 20), (4, 4, 20, 0)], ids=str)
def test_a_crop_that_is_not_inside_is_no_crop(wrong: tuple[int, int, int, int]):
    assert render(flat(NEUTRAL, frame_info((90, 75), tags=crop(*wrong)))).shape == (90, 75, 3)


# As LibRaw develops it


def assert_same_picture(picture: np.ndarray, developed: np.ndarray) -> None:
    developed = developed / 257
    assert picture.shape == developed.shape
    np.testing.assert_allclose(picture.mean(axis=(0, 1)), developed.mean(axis=(0, 1)), rtol=0.02)
    # OpenCV is half a pixel off where it has to enlarge a picture to an odd size.
    rows, columns = (slice(1 << size.bit_length() - 1) for size in picture.shape[:2])
    shift, _ = cv2.phaseCorrelate(picture[rows, columns, 1].astype(float), developed[rows, columns, 1])
    assert np.hypot(*shift) < 0.1


@pytest.mark.parametrize("shape", [(96, 128), (97, 131)], ids=str)
@pytest.mark.parametrize("cfa", BAYER_PHASES)
def test_a_shot_looks_like_its_development(tmp_path: Path, cfa: str, shape: tuple[int, int]):
    coarse = np.random.default_rng(1).random((12, 16, 3)).astype(np.float32)
    scene = np.clip(cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC), 0.02, 1.2) * np.float32(NEUTRAL)
    (shot,), _ = shoot(SyntheticCamera(cfa=cfa, as_shot_neutral=NEUTRAL), scene, 200, 1, seed=0)
    tags = tuple(dng_tag(name, value) for name, value in CAMERAS["D65 second"].items())
    write_dng(tmp_path / "a.dng", Frame(shot.dn, shot.info.model_copy(update={"dng_tags": tags}), shot.path))
    frame = read_raw(tmp_path / "a.dng")
    assert_same_picture(render(frame), develop(frame.path, frame.dn))


@pytest.mark.parametrize(
    "name",
    [
        "raw_single/colorchart.dng",
        pytest.param("raw_single/Blackmagic.dng", marks=pytest.mark.slow),  # 9 megapixels
        "seestar/m94/*.dng",
        "sim_canon700d/*iso1600/*_000.dng",
    ],
)
def test_a_real_shot_looks_like_its_development(shared_data: Path, name: str):
    path = sorted(shared_data.glob(name))[0]
    frame = read_raw(path)
    tags = tuple(tag for tag in frame.info.dng_tags if tag.code != tifffile.TIFF.TAGS["DefaultCropSize"])
    whole = Frame(frame.dn, frame.info.model_copy(update={"dng_tags": tags}), path)
    assert_same_picture(render(whole), develop(path, frame.dn))


def test_a_real_shot_is_cut_to_its_default_crop(shared_data: Path):
    assert render(read_raw(shared_data / "raw_single/Blackmagic.dng")).shape == (2160, 4096, 3)


def patches(tags: dict, **changes) -> Frame:
    """Return a frame of six colours, 24 photosites wide."""
    colours = np.random.default_rng(1).uniform(0.05, 0.6, (1, 6, 3))
    info = frame_info((48, 144), tags=tags, **changes)
    return frame_of(np.repeat(np.repeat(colours, 24, axis=1), 48, axis=0), info, np.uint16)


def in_the_middle(picture: np.ndarray) -> np.ndarray:
    """Return the six colours of a picture of `patches`, away from the edges between them."""
    return picture.reshape(48, 6, 24, 3)[8:40, :, 8:16].mean(axis=(0, 2))


@pytest.mark.parametrize("camera", CAMERAS)
def test_libraw_takes_the_same_matrix(tmp_path: Path, camera: str):
    frame = patches(CAMERAS[camera])
    write_dng(tmp_path / "a.dng", frame)
    developed = in_the_middle(develop(tmp_path / "a.dng", frame.dn) / 257)
    assert np.ptp(developed) > 100
    np.testing.assert_allclose(in_the_middle(render(frame)), developed, atol=0.7)  # 8 bits, and LibRaw's curve


@pytest.mark.parametrize("camera", CAMERAS)
def test_without_a_white_balance_the_light_is_libraws_daylight(tmp_path: Path, camera: str):
    frame = patches(CAMERAS[camera], as_shot_neutral=None)
    write_dng(tmp_path / "a.dng", frame)
    with rawpy.imread(str(tmp_path / "a.dng")) as raw:
        red, green, blue = (1 / multiplier for multiplier in raw.daylight_whitebalance[:3])
    told = patches(CAMERAS[camera], as_shot_neutral=(red / green, 1.0, blue / green))
    np.testing.assert_allclose(in_the_middle(render(frame)), in_the_middle(render(told)), atol=1)


# Small, and as JPEG


@pytest.mark.parametrize(
    ("shape", "small"),
    [
        ((4000, 6000), (171, 256)),
        ((6000, 4001), (256, 171)),
        ((300, 6000), (13, 256)),
        ((6000, 300), (256, 13)),
        ((2, 6000), (1, 256)),
        ((257, 257), (256, 256)),
        ((256, 100), (256, 100)),
        ((3, 2), (3, 2)),
    ],
    ids=str,
)
def test_a_thumbnail_is_small_and_never_empty(shape: tuple[int, int], small: tuple[int, int]):
    assert thumbnail(np.full((*shape, 3), 7, np.uint8)).shape == (*small, 3)
    assert (thumbnail(np.full((*shape, 3), 7, np.uint8)) == 7).all()


def test_a_pixel_of_a_thumbnail_is_the_mean_of_what_it_stands_for():
    picture = np.random.default_rng(0).integers(0, 256, (512, 1024, 3), np.uint8)
    means = picture.reshape(128, 4, 256, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(thumbnail(picture), means, atol=0.51)


def test_a_jpeg_is_what_a_dng_may_hold():
    """Baseline, three components of which two have half the resolution, nothing of Exif; and the same picture."""
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    picture = cv2.resize(coarse, (243, 187), interpolation=cv2.INTER_CUBIC)
    for shown in (picture, picture[5:100, 3:201]):
        jpeg = encode_jpeg(shown)
        with Image.open(BytesIO(jpeg)) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")
            assert "progressive" not in image.info
            assert "exif" not in image.info
            assert [sampling for _, *sampling in image.layer] == [[2, 2, 0], [1, 1, 1], [1, 1, 1]]
            decoded = np.asarray(image)
        assert b"\xff\xc0" in jpeg, "baseline"
        assert np.abs(decoded.astype(int) - shown).mean() < 3
