"""A dark frame is told from everything that holds light, by level and by structure."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from burst_denoise.frame.synthetic import SyntheticCamera, scene_from_picture, shoot
from burst_denoise.io.read import read_frame
from burst_denoise.sensor.dark_frame import is_dark

ISOS = (100, 1600, 6400)
SIZES = ((96, 128), (480, 640))


def black(size: tuple[int, int]) -> np.ndarray:
    return np.zeros((*size, 3), np.float32)


def glow(size: tuple[int, int]) -> np.ndarray:
    """Return the glow of an amplifier in a corner, which fades over a sixth of the frame."""
    distance = np.hypot(*np.mgrid[: size[0], : size[1]])
    return black(size) + (0.003 * np.exp(-distance / (size[1] / 6)))[..., None].astype(np.float32)


def dim(size: tuple[int, int]) -> np.ndarray:
    """Return a picture at one hundredth of its exposure."""
    return scene_from_picture(cv2.resize(astronaut(), size[::-1])) * np.float32(0.0125)


def soft(size: tuple[int, int]) -> np.ndarray:
    return cv2.GaussianBlur(dim(size), (0, 0), size[1] / 16)


def flat(size: tuple[int, int]) -> np.ndarray:
    return black(size) + np.float32(0.01)


def stars(size: tuple[int, int]) -> np.ndarray:
    """Return 40 stars on a sky without light."""
    rng = np.random.default_rng(0)
    sky = np.zeros(size, np.float32)
    sky[rng.integers(0, size[0], 40), rng.integers(0, size[1], 40)] = 0.3
    return black(size) + cv2.GaussianBlur(sky, (0, 0), 1.2)[..., None]


def night(size: tuple[int, int]) -> np.ndarray:
    """Return three lit windows in the dark."""
    street = black(size)
    for k in range(3):
        street[20 + 20 * k : 28 + 20 * k, 30 + 20 * k : 36 + 20 * k] = (0.2, 0.15, 0.05)
    return street


@pytest.mark.parametrize("iso", ISOS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("hot", [1e-4, 1e-2])
def test_a_dark_frame_is_one_with_defects_and_row_noise(size: tuple[int, int], iso: int, hot: float) -> None:
    camera = SyntheticCamera(hot_fraction=hot, row_noise_std_dn=0.4)
    assert all(is_dark(frame) for frame in shoot(camera, black(size), iso, 3, 1)[0])


def test_slow_glow_is_no_structure() -> None:
    for size in SIZES:
        assert is_dark(shoot(SyntheticCamera(), glow(size), 1600, 1, 1)[0][0])


@pytest.mark.parametrize("seen", [dim, soft, flat, stars, night])
@pytest.mark.parametrize("iso", ISOS)
@pytest.mark.parametrize("size", SIZES)
def test_what_holds_light_is_no_dark_frame(seen, iso: int, size: tuple[int, int]) -> None:
    assert not any(is_dark(frame) for frame in shoot(SyntheticCamera(), seen(size), iso, 3, 1)[0])


def test_a_frame_without_any_noise_is_no_dark_frame() -> None:
    frame = shoot(SyntheticCamera(), black((96, 128)), 100, 1, 0)[0][0]
    assert not is_dark(replace(frame, dn=np.full_like(frame.dn, 2048)))


def test_real_stars_are_not_dark_and_real_dark_frames_are(shared_data: Path) -> None:
    lights = sorted((shared_data / "seestar").rglob("*.dng"))
    assert len(lights) == 7
    assert not any(is_dark(read_frame(path)) for path in lights)
    # A monochrome CCD, its photosites taken for a mosaic; its black level is nowhere but in its dark frames.
    darks = [read_frame(path) for path in sorted((shared_data / "emva_ccd12").glob("d_s_*.png"))]
    level = float(np.median(darks[0].dn))
    info = darks[0].info.model_copy(update={"domain": "bayer", "cfa": "RGGB", "black_level": (level,) * 4})
    assert all(is_dark(replace(frame, info=info)) for frame in darks)
    lit = sorted((shared_data / "emva_ccd12").glob("b_0*.png"))[2:]
    assert not any(is_dark(replace(read_frame(path), info=info)) for path in lit)
    assert not is_dark(darks[0])  # a picture does not say where black is
