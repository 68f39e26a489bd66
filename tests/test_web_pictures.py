"""What is shown of a layer: at any strength what the denoiser would give, the right part, upright."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from burst_denoise.frame.frame import Frame, to_linear
from burst_denoise.frame.geometry import dihedral
from burst_denoise.frame.srgb import developed
from burst_denoise.inference.network_change import NetworkChange, ProcessingNotes
from burst_denoise.io.tiff_png import UPRIGHT
from burst_denoise.schemas import FrameInfo, NoiseProfile
from burst_denoise.web.pictures import Layer, Part, image_at, part, save_layer, upright_size, whole
from tests.shots import burst_frames, frame_of

PROFILE = NoiseProfile(iso=1600, shot_noise_scale=(5e-4,) * 4, read_noise_variance=(4e-6,) * 4)


@pytest.fixture(scope="module")
def change() -> NetworkChange:
    """A frame, and as what a network changes in it a smoothing that puts the colours off."""
    frame = burst_frames(1, size=(160, 192))[0]
    image = frame.linear
    smooth = np.stack([cv2.GaussianBlur(plane, (0, 0), 1.5) for plane in frame.mosaic.pack(image)])
    clean = frame.mosaic.unpack(smooth * np.float32(1.004), image.shape)
    return NetworkChange(frame, image, clean - image, PROFILE, ProcessingNotes("by hand"))


@pytest.fixture(scope="module")
def layer(change: NetworkChange, tmp_path_factory: pytest.TempPathFactory) -> Layer:
    folder = tmp_path_factory.mktemp("layers")
    found = Layer("denoised", "denoised", folder, change.frame.info, change.factors, PROFILE)
    save_layer(found, change.image, change.change)
    return found


def pixels(content: bytes) -> np.ndarray:
    found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    return found if found.ndim == 2 else found[..., ::-1]


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.5, 1.0])
def test_at_any_strength_an_image_is_what_the_denoiser_gives(
    layer: Layer, change: NetworkChange, strength: float
) -> None:
    expected = to_linear(change.at(strength).dn, change.frame.info)
    largest = 2e-6 + strength * (1 - strength) * 0.006 * float(np.abs(change.change).max())
    found = image_at(layer, strength)
    assert np.allclose(found, expected, rtol=0, atol=largest)
    window = slice(20, 60), slice(32, 90)
    np.testing.assert_array_equal(image_at(layer, strength, window), found[window])


def test_a_part_is_developed_as_in_the_report_whatever_lies_around(layer: Layer, change: NetworkChange) -> None:
    everything = developed(to_linear(change.at(1).dn, change.frame.info), change.frame.info)
    seen = pixels(part(layer, Part(40, 30, 64, 50), 1.0)).astype(int)
    assert seen.shape == (50, 64, 3)
    assert np.abs(seen - everything[30:80, 40:104]).max() <= 1


@pytest.mark.parametrize("place", [Part(-50, -9, 64, 50), Part(1000, 1000, 64, 50), Part(0, 0, 9000, 9000),
                                   Part(3, 5, 0, -4)])  # fmt: skip
def test_a_part_outside_is_moved_and_cut(layer: Layer, place: Part) -> None:
    height, width = pixels(part(layer, place, 1.0)).shape[:2]
    assert 2 <= height <= 160
    assert 2 <= width <= 192


@pytest.mark.parametrize("orientation", range(1, 9))
def test_parts_and_the_whole_are_upright(tmp_path: Path, orientation: int) -> None:
    rng = np.random.default_rng(0)
    values = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (80, 60), interpolation=cv2.INTER_CUBIC)
    values = np.moveaxis(values, 2, 0).astype(np.float32) / 255
    info = FrameInfo(
        domain="rgb", camera=None, cfa=None, height=60, width=80, black_level=(0.0,) * 3, white_level=255.0,
        orientation=orientation,
    )  # fmt: skip
    layer = Layer("noisy", "as shot", tmp_path, info)
    save_layer(layer, values)
    stored = np.rint(values * 255).astype(np.uint8)
    upright = np.moveaxis(dihedral(stored, UPRIGHT[orientation - 1]), 0, 2)
    assert upright_size(info) == upright.shape[1::-1]
    np.testing.assert_array_equal(pixels(part(layer, Part(10, 16, 30, 20), 1.0)), upright[16:36, 10:40])
    shown = pixels(whole(layer, 1.0)).astype(int)
    assert shown.shape == upright.shape
    assert np.abs(shown - upright).mean() < 3, "as JPEG keeps it"


def test_the_residual_of_white_noise_is_as_strong_in_the_whole_as_in_a_part(tmp_path: Path) -> None:
    info = burst_frames(1, size=(64, 64))[0].info.model_copy(update={"height": 2000, "width": 3000})
    std, clean = 0.01, np.full((2000, 3000), 0.2, np.float32)
    noise = np.random.default_rng(1).normal(0, std, clean.shape).astype(np.float32)
    profile = NoiseProfile(iso=1600, shot_noise_scale=(0.0,) * 4, read_noise_variance=(std**2,) * 4)
    frame: Frame = frame_of(clean + noise, info)
    change = NetworkChange(frame, clean + noise, -noise, profile, ProcessingNotes("by hand"))
    layer = Layer("denoised", "denoised", tmp_path, info, change.factors, profile)
    save_layer(layer, change.image, change.change)
    for strength in (1.0, 0.5):
        for seen in (
            part(layer, Part(100, 100, 400, 300), strength, residual=True),
            whole(layer, strength, residual=True),
        ):
            grey = pixels(seen).astype(float)
            assert grey.mean() == pytest.approx(127.5, abs=1)
            assert grey.std() == pytest.approx(strength * 127.5 / 4, rel=0.06)
    assert max(pixels(whole(layer, 1.0)).shape) == 1400


def test_a_layer_that_no_network_has_seen_has_no_strength(layer: Layer, change: NetworkChange, tmp_path: Path) -> None:
    plain = Layer("noisy", "as shot", tmp_path, change.frame.info)
    save_layer(plain, change.image)
    assert not plain.has_strength
    assert layer.has_strength
    assert whole(plain, 0.2) == whole(plain, 1.0)
    np.testing.assert_array_equal(image_at(plain, 0.5), change.image)
