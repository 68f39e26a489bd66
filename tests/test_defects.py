"""Defective photosites: which are found, and what repairing them does, against known truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burst_denoise.frame.mosaic import BAYER_PHASES, MONO, RGGB
from burst_denoise.frame.synthetic import SyntheticCamera, scene_from_picture, shoot
from burst_denoise.schemas import NoiseProfile
from burst_denoise.sensor.defects import Repair, find_defects
from burst_denoise.sensor.fixed_pattern import master_dark
from burst_denoise.sensor.moments import frame_moments
from burst_denoise.sensor.prnu_from_scenes import SceneMean
from tests.sensors import mosaic

SIZE = (128, 160)
READ_STD = 0.002
SHOT = 2e-4
"""Of the noise: variance = SHOT x + READ_STD^2."""


def profile(planes: int) -> NoiseProfile:
    return NoiseProfile(iso=800, shot_noise_scale=(SHOT,) * planes, read_noise_variance=(READ_STD**2,) * planes)


def frames_of(scene: np.ndarray, count: int, seed: int, extra: np.ndarray | float = 0.0) -> list[np.ndarray]:
    """Return noisy frames; ``extra`` is the standard deviation of additional noise per photosite."""
    rng = np.random.default_rng(seed)
    std = np.sqrt(SHOT * np.maximum(scene, 0) + READ_STD**2 + np.square(extra))
    return [(scene + std * rng.standard_normal(scene.shape)).astype(np.float32) for _ in range(count)]


def scene(scene: np.ndarray, seed: int, extra: np.ndarray | float = 0.0, planes: int = 4) -> SceneMean:
    moments = frame_moments(frames_of(scene, 10, seed, extra))
    return SceneMean(moments.mean.astype(np.float32), 10, profile(planes), variance=moments.variance.astype(np.float32))


def waves(period: float, size: tuple[int, ...] = SIZE) -> np.ndarray:
    rows, columns = np.indices(size)[-2:]
    return 0.3 + 0.1 * np.sin(rows / period) * np.cos(columns / (period + 3))


def places(mask: np.ndarray) -> list[tuple[int, ...]]:
    return sorted(map(tuple, np.argwhere(mask).tolist()))


def isolated(frames: list[np.ndarray], noise: NoiseProfile, cfa: str | None) -> np.ndarray:
    mean = np.mean(frames, axis=0, dtype=np.float64).astype(np.float32)
    return find_defects(mosaic(cfa), scenes=[SceneMean(mean, len(frames), noise)])


def smooth_scene(side: int = 128) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] / side
    return (0.4 + 0.2 * np.sin(7 * rows) * np.cos(5 * columns)).astype(np.float32)


PROFILE = NoiseProfile(iso=100, shot_noise_scale=(1e-4,) * 4, read_noise_variance=(1e-6,) * 4)
MONO_NOISE = NoiseProfile(iso=100, shot_noise_scale=(1e-4,), read_noise_variance=(1e-6,))


@pytest.mark.parametrize("cfa", [*BAYER_PHASES, None])
def test_hot_and_dead_photosites_are_found_and_nothing_else(cfa: str | None):
    noise = MONO_NOISE if cfa is None else PROFILE
    rng = np.random.default_rng(3)
    scene = smooth_scene(101)  # odd size: planes are padded
    scene[40:, 60:] = 0.9  # an edge, a line and a star that covers two by two photosites are no defects
    scene[20, :] = 0.05
    scene[80:82, 20:22] += 0.4
    hot = [(10, 10), (33, 51), (70, 0), (100, 100), (50, 90)]
    scene_with_defects = scene.copy()
    for row, column in hot:
        scene_with_defects[row, column] += 0.3
    scene_with_defects[60, 30] = 0.0
    std = np.sqrt(1e-4 * scene_with_defects + 1e-6)
    frames = [scene_with_defects + std * rng.standard_normal(scene.shape, np.float32) for _ in range(8)]
    found = isolated(frames, noise, cfa)
    assert sorted(map(tuple, np.argwhere(found).tolist())) == sorted([*hot, (60, 30)])


def test_defects_of_a_picture_are_found_per_colour():
    frames = [np.full((3, 32, 32), 0.5, np.float32) for _ in range(3)]
    for frame in frames:
        frame[1, 9, 9] = 1
    noise = NoiseProfile(iso=None, shot_noise_scale=(0.0,) * 3, read_noise_variance=(1e-6,) * 3)
    assert np.argwhere(isolated(frames, noise, None)).tolist() == [[1, 9, 9]]


@pytest.mark.parametrize("place", [(0, 0), (1, 30), (2, 2), (60, 91), (63, 95), (44, 93)])
def test_a_hot_photosite_is_found_at_the_border_too(place):
    rng = np.random.default_rng(0)
    frames = [(0.1 + 0.005 * rng.standard_normal((64, 96))).astype(np.float32) for _ in range(6)]
    for frame in frames:
        frame[place] += 0.6
    noise = NoiseProfile(iso=100, shot_noise_scale=(0.0,) * 4, read_noise_variance=(2.5e-5,) * 4)
    found = isolated(frames, noise, "RGGB")
    assert found[place]
    assert found.sum() == 1


@pytest.mark.parametrize("cfa", [*BAYER_PHASES, None])
def test_small_hot_photosites_are_caught_in_darks_and_nothing_else(cfa: str | None):
    rng = np.random.default_rng(1)
    offset = 0.0003 * rng.standard_normal(SIZE)
    hot = [(0, 0), (5, 7), (64, 80), (90, 3), (127, 159)]
    for place in hot:
        offset[place] += 3.5 * READ_STD  # seldom told from noise in a single frame
    dark = master_dark(frames_of(offset, 16, 2), mosaic(cfa))
    assert places(find_defects(mosaic(cfa), [dark])) == hot


def test_darks_are_not_changed_by_looking_for_defects():
    dark = master_dark(frames_of(np.zeros(SIZE), 4, 0), MONO)
    before = dark.offset.copy()
    find_defects(MONO, [dark])
    assert np.array_equal(dark.offset, before)


@pytest.mark.parametrize("shape", [SIZE, (3, 96, 128)])
def test_flickering_photosites_are_found_in_darks_and_in_bursts(shape: tuple[int, ...]):
    extra = np.zeros(shape)
    flickering = [(7, 9), (50, 64)] if len(shape) == 2 else [(0, 7, 9), (2, 50, 64)]
    for place in flickering:
        extra[place] = 60 * READ_STD
    assert places(find_defects(MONO, [master_dark(frames_of(np.zeros(shape), 16, 3, extra), MONO)])) == flickering
    planes = 1 if len(shape) == 2 else 3
    assert places(find_defects(MONO, scenes=[scene(waves(9, shape), 4, extra, planes)])) == flickering


def test_what_moves_is_no_flicker():
    moving = np.zeros(SIZE)
    moving[40:44, 60:75] = 20 * READ_STD
    assert places(find_defects(RGGB, scenes=[scene(waves(9), 4, moving)])) == []


def test_a_weak_defect_is_found_where_two_scenes_agree():
    offset = np.zeros(SIZE)
    for place in ((31, 40), (80, 81), (100, 11)):
        offset[place] = 0.03
    textured = [
        waves(period) + 0.002 * np.random.default_rng(k).standard_normal(SIZE) for k, period in ((1, 5), (2, 9))
    ]
    bursts = [scene(picture + offset, k) for k, picture in enumerate(textured)]
    assert places(find_defects(RGGB, scenes=bursts)) == places(offset > 0)


def test_a_sharp_point_of_one_scene_is_no_defect_of_the_sensor():
    star = waves(5)
    star[60, 60] += 0.3
    alone = find_defects(RGGB, scenes=[scene(star, 1)])
    assert places(alone) == [(60, 60)]  # one burst cannot know better
    assert places(find_defects(RGGB, scenes=[scene(star, 1), scene(waves(9), 2)])) == []


@pytest.mark.parametrize("cfa", [*BAYER_PHASES, None])
@pytest.mark.parametrize("shape", [(40, 52), (41, 51)])
def test_a_lonely_defect_on_a_slope_gets_the_value_it_should_have(cfa: str | None, shape: tuple[int, int]):
    rows, columns = np.indices(shape)
    slope = (0.2 + 0.003 * rows - 0.002 * columns + 0.0001 * rows * columns).astype(np.float32)
    defects = np.zeros(shape, bool)
    defects[5:-5:7, 6:-6:9] = True
    broken = np.where(defects, np.float32(5), slope)
    assert Repair(defects, mosaic(cfa)).apply(broken) == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize(("cfa", "shape"), [("GRBG", (40, 52)), (None, (40, 52)), (None, (3, 20, 30))])
def test_repairing_touches_defects_alone_and_never_reads_one(cfa: str | None, shape: tuple[int, ...]):
    rng = np.random.default_rng(0)
    defects = rng.random(shape) < 0.1
    image = rng.random(shape).astype(np.float32)
    other = np.where(defects, np.float32(1e6), image)
    before = image.copy()
    repaired = Repair(defects, mosaic(cfa)).apply(image)
    assert np.array_equal(image, before)
    assert np.array_equal(repaired[~defects], image[~defects])
    assert np.array_equal(repaired, Repair(defects, mosaic(cfa)).apply(other))


def test_repairing_is_linear_and_keeps_constants():
    rng = np.random.default_rng(0)
    defects = rng.random((30, 40)) < 0.2
    repair = Repair(defects, RGGB)
    one, other = rng.random((2, 30, 40))
    assert repair.apply(2 * one + 3 * other) == pytest.approx(2 * repair.apply(one) + 3 * repair.apply(other))
    assert repair.apply(np.full((30, 40), 0.7)) == pytest.approx(0.7)


def test_a_hole_is_filled_from_its_own_colour_and_a_dead_image_is_left_alone():
    mosaic = np.zeros((40, 40), np.float32)
    mosaic[0::2, 0::2], mosaic[1::2, 1::2] = 1, 3  # red 1, green 0, blue 3
    defects = np.zeros((40, 40), bool)
    defects[10:17, 10:17] = True
    broken = np.where(defects, np.float32(9), mosaic)
    assert np.allclose(Repair(defects, RGGB).apply(broken), mosaic, atol=1e-6)
    assert np.array_equal(Repair(np.ones((4, 4), bool), MONO).apply(mosaic[:4, :4]), mosaic[:4, :4])


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_window_is_repaired_as_the_whole_is(data: st.DataObject):
    rng = np.random.default_rng(data.draw(st.integers(0, 5)))
    defects = rng.random((36, 44)) < data.draw(st.sampled_from([0.002, 0.05, 0.4]))
    image = rng.random((36, 44)).astype(np.float32)
    repair = Repair(defects, mosaic(data.draw(st.sampled_from(["RGGB", "GBRG", None]))))
    top, left = 2 * data.draw(st.integers(0, 17)), 2 * data.draw(st.integers(0, 21))
    near, across = max(0, top - repair.reach), max(0, left - repair.reach)
    window = repair.apply(image[near : top + 8 + repair.reach, across : left + 8 + repair.reach], near, across)
    expected = repair.apply(image)[top : top + 8, left : left + 8]
    assert np.array_equal(window[top - near :, left - across :][:8, :8], expected)


@pytest.mark.parametrize(("place", "limit"), [("red", 0.75), ("green", 0.6)])
def test_repair_has_much_less_error_than_plain_means_on_a_picture(place: str, limit: float):
    from skimage.data import coffee

    _, clean = shoot(SyntheticCamera(), scene_from_picture(coffee()), iso=100, n_frames=0, seed=0)
    defects = np.zeros(clean.shape, bool)
    defects[8:-8:8, 8 + (place == "green") : -8 : 8] = True
    steps = ((2, 0), (-2, 0), (0, 2), (0, -2)) if place == "red" else ((1, 1), (1, -1), (-1, 1), (-1, -1))
    means = sum(np.roll(clean, step, (0, 1)) for step in steps) / 4
    error = Repair(defects, RGGB).apply(np.where(defects, np.float32(0), clean))[defects] - clean[defects]
    assert np.sqrt(np.mean(error**2)) < limit * np.sqrt(np.mean((means - clean)[defects] ** 2))
