"""Tone curves: a picture whose colour profile or gamma is not linear is known for developed."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from burst_denoise.io.picture import read_picture
from burst_denoise.io.tone_curve import has_tone_curve
from burst_denoise.model.prior import why_no_prior

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def profile(curve: bytes) -> bytes:
    """Return what of an ICC profile is read here: a head, one tag, its curve."""
    return bytes(128) + struct.pack(">I4sII", 1, b"kTRC", 144, len(curve)) + curve


def curve(*values: int) -> bytes:
    return struct.pack(f">4sII{len(values)}H", b"curv", 0, len(values), *values)


def picture(path: Path, icc: bytes | None = None, pnginfo: PngImagePlugin.PngInfo | None = None) -> Path:
    Image.fromarray(np.full((8, 8), 30000, np.uint16)).save(path, icc_profile=icc, pnginfo=pnginfo)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(
    ("icc", "curved"),
    [
        (None, False),
        (SRGB, True),
        (profile(curve()), False),
        (profile(curve(256)), False),
        (profile(curve(round(2.2 * 256))), True),
        (profile(curve(0, 32768, 65535)), False),
        (profile(curve(0, 14000, 65535)), True),
        (profile(struct.pack(">4sIHHi", b"para", 0, 0, 0, 65536)), False),
        (profile(struct.pack(">4sIHHi", b"para", 0, 0, 0, 144179)), True),
        (profile(curve(0, 1))[:-3], False),  # damaged
        (b"no profile", False),
    ],
)
def test_a_colour_profile_tells_whether_values_are_linear(tmp_path: Path, suffix: str, icc: bytes, curved: bool):
    assert read_picture(picture(tmp_path / f"a{suffix}", icc)).info.tone_curve == curved


def test_what_a_png_says_in_a_chunk_does_not_count(tmp_path: Path, shared_data: Path):
    chunk = PngImagePlugin.PngInfo()
    chunk.add(b"sRGB", b"\0")
    assert not read_picture(picture(tmp_path / "a.png", pnginfo=chunk)).info.tone_curve
    (linear,) = (shared_data / "emva_ccd12").glob("b_000_snap_001.png")
    with Image.open(linear) as png:
        assert png.info["gamma"] == 0.45455
    assert not read_picture(linear).info.tone_curve


def test_such_a_picture_of_16_bits_is_served_by_no_prior_and_that_is_said(tmp_path: Path):
    values = np.full((3, 8, 8), 30000, np.uint16)
    cv2.imwrite(str(tmp_path / "linear.tif"), np.moveaxis(values, 0, 2))
    assert not read_picture(tmp_path / "linear.tif").info.tone_curve
    info = read_picture(picture(tmp_path / "a.tif", SRGB)).info
    assert why_no_prior(info).startswith("is a developed picture (its colour profile has a tone curve), and without")


@pytest.mark.parametrize("damaged", [b"", b"no profile", bytes(131), SRGB[:200]])
def test_a_damaged_profile_says_nothing(damaged: bytes):
    assert not has_tone_curve(damaged)
