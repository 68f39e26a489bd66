"""The synthetic camera obeys its closed forms, and its faults do what they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burst_denoise.frame.mosaic import BAYER_PHASES
from burst_denoise.frame.synthetic import Fault, SyntheticCamera, scene_from_picture, shoot
from tests.sensors import mosaic

FLAWLESS = {"prnu": 0.0, "dark_offset_std_dn": 0.0, "hot_fraction": 0.0}


def ramp(height: int = 64, width: int = 96) -> np.ndarray:
    """Return a scene whose three colours rise from left to right, differently."""
    across = np.linspace(0.05, 0.6, width, dtype=np.float32)
    return np.stack([np.tile(across * share, (height, 1)) for share in (0.5, 1.0, 0.7)], axis=-1)


def texture(seed: int = 0, height: int = 128, width: int = 160) -> np.ndarray:
    """Return a scene of random coloured blobs that a sensor can resolve."""
    picture = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return scene_from_picture(picture.repeat(4, axis=0).repeat(4, axis=1), blur_px=1.5)


def test_mean_and_temporal_variance_follow_the_closed_form() -> None:
    camera = SyntheticCamera(**FLAWLESS, row_noise_std_dn=0.2)
    iso, n = 3200, 400
    scene = np.full((32, 40, 3), 0.2, np.float32)
    frames, clean = shoot(camera, scene, iso, n, seed=1)
    dn = np.stack([frame.dn for frame in frames]).astype(np.float64)
    x = clean - 2048
    expected = camera.gain(iso) * x + camera.read_noise_variance_dn(iso) + (0.2 * 32) ** 2 + 1 / 12
    spread = float(np.sqrt(expected.mean() / dn.size + 6.4**2 / n / 32))
    assert dn.mean() == pytest.approx(float(clean.mean()), abs=5 * spread)
    # var(s^2) = 2 s^4 / (n - 1); rows share a part of their noise, hence the generous 3 % (the five sigma are 1.6 %)
    assert dn.var(axis=0, ddof=1).mean() == pytest.approx(float(expected.mean()), rel=0.03)


def test_row_noise_is_shared_by_a_row_and_redrawn_for_every_frame() -> None:
    camera = SyntheticCamera(**FLAWLESS, row_noise_std_dn=10.0)
    frames, _ = shoot(camera, np.zeros((200, 400, 3), np.float32), 100, 2, seed=0)
    first, second = (frame.dn.mean(axis=1) for frame in frames)
    assert first.std() == pytest.approx(10, rel=0.2)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.35


def test_fixed_pattern_belongs_to_the_camera_and_stays_from_shot_to_shot() -> None:
    camera = SyntheticCamera(prnu=0.02, hot_fraction=1e-3, seed=5)
    scene = np.full((100, 100, 3), 0.4, np.float32)

    def residual(copy: SyntheticCamera, seed: int) -> np.ndarray:
        frames, clean = shoot(copy, scene, 100, 30, seed)
        return (np.mean([frame.dn for frame in frames], axis=0) - clean).ravel()

    same = np.corrcoef(residual(camera, 1), residual(camera, 2))[0, 1]
    other = np.corrcoef(residual(camera, 1), residual(SyntheticCamera(prnu=0.02, hot_fraction=1e-3, seed=6), 2))[0, 1]
    assert same > 0.9
    assert abs(other) < 0.1


@pytest.mark.parametrize("cfa", BAYER_PHASES)
def test_every_phase_puts_each_colour_in_its_plane(cfa: str) -> None:
    camera = SyntheticCamera(**FLAWLESS, cfa=cfa, black_level=(100.0, 200.0, 300.0, 400.0))
    scene = np.broadcast_to(np.array([0.1, 0.3, 0.6], np.float32), (31, 37, 3))
    frames, clean = shoot(camera, scene, 100, 4, seed=0)
    linear = np.mean([frame.linear for frame in frames], axis=0)
    means = mosaic(cfa).pack(linear.astype(np.float32)).mean(axis=(1, 2))
    np.testing.assert_allclose(means, [0.1, 0.3, 0.3, 0.6], rtol=0.01)
    assert frames[0].info.cfa == cfa
    assert clean.shape == frames[0].dn.shape == (31, 37)


def test_the_same_seed_gives_the_same_frames_and_a_longer_burst_begins_with_the_shorter() -> None:
    camera = SyntheticCamera()
    first, clean = shoot(camera, ramp(), 1600, 2, seed=7)
    again, clean_again = shoot(camera, ramp(), 1600, 3, seed=7)
    other, _ = shoot(camera, ramp(), 1600, 2, seed=8)
    for one, two in zip(first, again, strict=False):
        np.testing.assert_array_equal(one.dn, two.dn)
    np.testing.assert_array_equal(clean, clean_again)
    assert not np.array_equal(first[0].dn, first[1].dn)
    assert not np.array_equal(first[0].dn, other[0].dn)


def test_frames_say_what_a_file_would_say() -> None:
    frames, _ = shoot(SyntheticCamera(name="Test 1"), ramp(), 800, 3, seed=0)
    assert [frame.path.name for frame in frames] == ["frame_000.dng", "frame_001.dng", "frame_002.dng"]
    info = frames[1].info
    assert (info.camera, info.iso, info.height, info.width) == ("Test 1", 800, 64, 96)
    assert info.taken_at is not None
    assert frames[0].info.taken_at == info.taken_at - 1


def test_a_full_photosite_gives_the_white_level() -> None:
    frames, clean = shoot(SyntheticCamera(), np.full((20, 20, 3), 2.0, np.float32), 100, 1, seed=0)
    assert (frames[0].dn == 15304).all()
    assert clean.min() > 15304


@given(st.floats(0.5, 1.5))
@settings(max_examples=10, deadline=None)
def test_light_multiplies_the_scene(factor: float) -> None:
    np.testing.assert_allclose(Fault(light=factor).strike(ramp()), ramp() * np.float32(factor), rtol=1e-6)


def test_a_shift_of_whole_photosites_moves_the_scene_right_and_down() -> None:
    moved = Fault(shift=(3.0, 2.0)).strike(texture())
    np.testing.assert_allclose(moved[12:-10, 13:-10], texture()[10:-12, 10:-13], atol=1e-4)


def test_two_half_shifts_make_a_whole_one() -> None:
    half = Fault(shift=(0.5, 0.0))
    twice = half.strike(half.strike(texture()))
    np.testing.assert_allclose(twice[10:-10, 11:-10], texture()[10:-10, 10:-11], atol=0.01)


def test_lost_focus_keeps_the_light_and_loses_detail() -> None:
    blurred = Fault(focus=1.2).strike(texture())
    assert blurred.mean() == pytest.approx(texture().mean(), rel=1e-3)
    assert np.diff(blurred, axis=0).std() < 0.8 * np.diff(texture(), axis=0).std()


def test_an_object_moves_and_the_rest_stays() -> None:
    scene = texture()
    changed = (Fault(motion=20, object_size=32).strike(scene) != scene).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert changed.sum() > 900
    assert np.ptp(rows) < 32
    assert np.ptp(columns) < 32
    with pytest.raises(ValueError, match="cannot move"):
        Fault(motion=200).strike(scene)


def test_saturation_fills_the_stated_share() -> None:
    frames, _ = shoot(SyntheticCamera(), texture(), 100, 1, 0, {0: Fault(saturation=0.25)})
    assert np.mean(frames[0].dn == 15304) == pytest.approx(0.25, abs=0.01)


def test_faults_strike_only_their_frame() -> None:
    plain, clean = shoot(SyntheticCamera(), texture(), 1600, 3, seed=0)
    struck, clean_struck = shoot(SyntheticCamera(), texture(), 1600, 3, 0, {1: Fault(light=1.05)})
    np.testing.assert_array_equal(plain[0].dn, struck[0].dn)
    np.testing.assert_array_equal(plain[2].dn, struck[2].dn)
    np.testing.assert_array_equal(clean, clean_struck)
    assert (struck[1].linear.mean() / plain[1].linear.mean()) == pytest.approx(1.05, abs=0.005)


def test_a_scene_undoes_the_srgb_curve_and_the_white_balance() -> None:
    grey = np.full((8, 8, 3), 188, np.uint8)  # sRGB 188 is half the light
    scene = scene_from_picture(grey, (0.5, 1.0, 0.8), exposure=1.0)
    np.testing.assert_allclose(scene, np.broadcast_to([0.2514, 0.5029, 0.4023], scene.shape), atol=1e-3)


def test_an_unknown_phase_is_refused() -> None:
    with pytest.raises(ValueError, match="RGBG"):
        SyntheticCamera(cfa="RGBG")
