"""Shifts are measured to a hundredth of a photosite, whatever else goes on in the picture."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import affine_transform
from skimage.data import astronaut

from burst_denoise.burst.alignment import Alignment, align, grey_picture, tile_sums
from burst_denoise.frame.mosaic import MONO, RGGB
from burst_denoise.frame.synthetic import Fault, SyntheticCamera, scene_from_picture, shoot
from tests.sensors import mosaic


def shot(faults: dict[int, Fault], iso: float = 1600, n: int = 6, seed: int = 0, cfa: str = "RGGB") -> Alignment:
    scene = scene_from_picture(astronaut()[:256, :320])
    frames, _ = shoot(SyntheticCamera(cfa=cfa), scene, iso, n, seed, faults)
    return align([grey_picture(frame.linear, mosaic(cfa)) for frame in frames], 0.25)


@pytest.mark.parametrize("cfa", ["RGGB", "GRBG", "GBRG", "BGGR"])
def test_a_shift_is_measured_in_photosites(cfa: str) -> None:
    found = shot({4: Fault(shift=(2.3, -1.1))}, cfa=cfa)
    np.testing.assert_allclose(found.shifts[4], [2.3, -1.1], atol=0.05)
    np.testing.assert_allclose(np.delete(found.shifts, 4, axis=0), 0, atol=0.03)
    assert found.inliers == (0, 1, 2, 3, 5)


@given(right=st.floats(-1, 1), down=st.floats(-1, 1))
@settings(max_examples=12, deadline=None)
def test_fractions_are_measured(right: float, down: float) -> None:
    np.testing.assert_allclose(shot({1: Fault(shift=(right, down))}, n=4).shifts[1], [right, down], atol=0.05)


def test_the_picture_may_move_far() -> None:
    np.testing.assert_allclose(shot({0: Fault(shift=(-31.0, 18.0))}).shifts[0], [-31, 18], atol=0.1)


def test_an_object_that_moves_by_itself_is_no_shift() -> None:
    found = shot({5: Fault(motion=30, object_size=80)})
    assert np.hypot(*found.shifts[5]) < 0.06


def test_noise_does_not_pass_for_a_shift() -> None:
    found = shot({}, iso=25600)
    assert np.hypot(*found.shifts.T).max() < 0.1
    assert len(found.inliers) == 6


def test_the_many_are_right_and_the_few_have_moved() -> None:
    moved = Fault(shift=(1.0, 0.0))
    assert shot({0: moved, 3: moved}).inliers == (1, 2, 4, 5)


def test_when_no_two_agree_nobody_is_right() -> None:
    found = shot({k: Fault(shift=(0.6 * k, 0.0)) for k in range(1, 4)}, n=4)
    assert found.inliers == ()
    np.testing.assert_allclose(np.diff(found.shifts[:, 0]), 0.6, atol=0.05)


def test_without_texture_nothing_is_measured_and_nobody_has_moved() -> None:
    frames, _ = shoot(SyntheticCamera(prnu=0, hot_fraction=0), np.full((128, 128, 3), 0.3, np.float32), 1600, 4, 0)
    found = align([grey_picture(frame.linear, RGGB) for frame in frames], 0.25)
    assert np.isnan(found.shifts).all()
    assert found.inliers == (0, 1, 2, 3)


def warped(scene: np.ndarray, zoom: float, degrees: float) -> np.ndarray:
    """Return a scene magnified and turned around its centre, by a spline of order 3."""
    middle = (np.array(scene.shape[:2]) - 1) / 2
    sine, cosine = np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))
    back = np.array([[cosine, -sine], [sine, cosine]]) / zoom
    planes = [
        affine_transform(plane, back, middle - back @ middle, mode="reflect") for plane in np.moveaxis(scene, 2, 0)
    ]
    return np.stack(planes, axis=-1).astype(np.float32)


@pytest.mark.parametrize("pixels", [0.2, 0.4, 0.8])
@pytest.mark.parametrize("zooms", [True, False])
def test_zoom_and_rotation_are_measured_at_the_corners(pixels: float, zooms: bool) -> None:
    scene = scene_from_picture(astronaut())
    share = pixels / np.hypot(256, 256)
    other = warped(scene, 1 + share, 0) if zooms else warped(scene, 1, np.rad2deg(share))
    frames, _ = shoot(SyntheticCamera(), scene, 800, 5, 0)
    frames += shoot(SyntheticCamera(), other, 800, 1, 9)[0]
    found = align([grey_picture(frame.linear, frame.mosaic) for frame in frames], 0.25)
    expected = [pixels, 0] if zooms else [0, pixels]
    np.testing.assert_allclose(found.corners[5], expected, atol=0.03 + 0.05 * pixels)
    np.testing.assert_allclose(found.corners[:5], 0, atol=0.03)
    assert np.hypot(*found.shifts.T).max() < 0.05
    assert found.inliers == (0, 1, 2, 3, 4, *([5] if pixels < 0.25 else []))


def test_two_halves_of_a_burst_that_are_near_to_their_mean_agree() -> None:
    found = shot({k: Fault(shift=(0.4, 0.0)) for k in (3, 4, 5)})
    assert found.inliers == (0, 1, 2, 3, 4, 5)
    np.testing.assert_allclose(found.shifts[:, 0], [-0.2] * 3 + [0.2] * 3, atol=0.04)


def test_hot_photosites_are_levelled() -> None:
    mono = np.zeros((40, 40), np.float32)
    mono[20, 20] = 1.0
    grey, pitch = grey_picture(mono, MONO)
    assert (grey.max(), pitch) == (0, 1)


def test_tile_sums_leave_the_incomplete_tiles_out() -> None:
    picture = np.arange(35, dtype=np.float32).reshape(5, 7)
    np.testing.assert_array_equal(tile_sums(picture, 3), [[72, 99]])
    assert tile_sums(picture, 50) == picture.sum()
