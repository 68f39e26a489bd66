"""Written pictures are upright, exact, rounded and clipped once, and say what their source said."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps

from burst_denoise.errors import OutputError
from burst_denoise.frame.frame import to_linear
from burst_denoise.io.dng import rounded_dn, write_dng
from burst_denoise.io.picture import read_picture
from burst_denoise.io.raw import develop
from burst_denoise.io.tiff_png import write_developed, write_picture
from burst_denoise.schemas import FrameInfo
from tests.shots import frame_of
from tests.test_dng import frame_info, no_file_beyond, random_dn


def picture_info(values: np.ndarray, **changes) -> FrameInfo:
    """Return the info of (H, W) or (3, H, W) values."""
    channels = 1 if values.ndim == 2 else 3
    known = {
        "domain": "mono" if channels == 1 else "rgb",
        "camera": "Canon PowerShot S95",
        "cfa": None,
        "height": values.shape[-2],
        "width": values.shape[-1],
        "black_level": (0.0,) * channels,
        "white_level": float(np.iinfo(values.dtype).max),
    }
    return FrameInfo(**(known | changes))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_pictures_come_out_upright_and_exact(tmp_path: Path, suffix: str, orientation: int):
    """Strength 0 of an 8-bit picture is the picture, 257 times greater; Pillow says which way is up."""
    values = random_dn((3, 20, 33), np.uint8)
    info = picture_info(values, orientation=orientation)
    path = tmp_path / f"a{suffix}"
    write_picture(path, frame_of(to_linear(values, info), info))
    exif = Image.Exif()
    exif[274] = orientation
    stored = io.BytesIO()
    Image.fromarray(np.moveaxis(values, 0, 2)).save(stored, "png", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(stored)))
    np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1], upright * np.uint16(257))
    assert read_picture(path).info.orientation == 1


@pytest.mark.parametrize("suffix", [".tiff", ".PNG"])
def test_mono_pictures_are_rounded_and_clipped_once(tmp_path: Path, suffix: str):
    peak = 65535
    image = np.array([[-0.5, 0.0, 0.4 / peak, 0.6 / peak, 0.5, 1.0, 1.5]], np.float32)
    write_picture(tmp_path / f"a{suffix}", frame_of(image, picture_info(np.zeros((1, 7), np.uint8))))
    frame = read_picture(tmp_path / f"a{suffix}")
    assert frame.dn.tolist() == [[0, 0, 0, 1, (peak + 1) // 2, peak, peak]]
    assert frame.info.domain == "mono"


def test_a_tiff_says_its_colours_and_its_shot(tmp_path: Path):
    values = random_dn((3, 20, 33))
    info = picture_info(values, iso=3200, exposure_s=0.25, f_number=8, taken_at=1_600_000_000.5)
    write_picture(tmp_path / "a.tif", frame_of(to_linear(values, info), info, notes="made by a test"))
    frame = read_picture(tmp_path / "a.tif")
    np.testing.assert_array_equal(frame.dn, values)
    assert frame.info.model_copy(update={"dng_tags": ()}) == info  # linear light, as it was
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        tags = tiff.pages[0].tags
        assert (tags["PreviewSettingsName"].value, tags["PreviewApplicationName"].value) == (
            "made by a test",
            "burst_denoise",
        )
        assert tiff.pages[0].iccprofile is None


def test_a_tiff_of_a_developed_picture_says_so_and_is_known_for_one(tmp_path: Path):
    values = random_dn((3, 20, 33))
    info = picture_info(values, tone_curve=True)
    write_picture(tmp_path / "a.tif", frame_of(to_linear(values, info), info))
    assert read_picture(tmp_path / "a.tif").info.developed
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(tiff.pages[0].iccprofile))
    assert "sRGB" in ImageCms.getProfileDescription(profile)


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_a_developed_shot_is_libraws_own_development(tmp_path: Path, suffix: str):
    info = frame_info(orientation=8)
    frame = frame_of(to_linear(random_dn((64, 96)) // 5, info), info)
    write_dng(tmp_path / "shot.dng", frame_of(np.zeros((64, 96), np.float32), info))
    write_developed(tmp_path / f"a{suffix}", frame, tmp_path / "shot.dng")
    written = cv2.imread(str(tmp_path / f"a{suffix}"), cv2.IMREAD_UNCHANGED)[..., ::-1]
    assert written.shape == (96, 64, 3)
    np.testing.assert_array_equal(written, develop(tmp_path / "shot.dng", rounded_dn(frame.dn)))


def test_nothing_is_overwritten_and_other_suffixes_are_refused(tmp_path: Path):
    frame = frame_of(np.zeros((3, 8, 8), np.float32), picture_info(np.zeros((3, 8, 8), np.uint8)))
    for name in ("a.tif", "a.png"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(OutputError, match="exists already"):
            write_picture(tmp_path / name, frame)
    with pytest.raises(OutputError, match=r"a\.jpg: pictures are written as \.tif, \.tiff, \.png"):
        write_picture(tmp_path / "a.jpg", frame)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.tif": "mine", "a.png": "mine"}


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, name: str):
    values = random_dn((3, 200, 200))
    info = picture_info(values)
    with no_file_beyond(20_000), pytest.raises(OutputError, match="cannot be written") as error:
        write_picture(tmp_path / name, frame_of(to_linear(values, info), info))
    assert str(error.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
