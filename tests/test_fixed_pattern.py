"""Fixed pattern: what is found of it, against known truth."""

import numpy as np
import pytest

from burst_denoise.config import NoiseProfile
from burst_denoise.sensor.fixed_pattern import isolated_defects
from burst_denoise.sensor.frame import BAYER_PHASES
from burst_denoise.sensor.metrics import frame_moments


def smooth_scene(side: int = 128) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] / side
    return (0.4 + 0.2 * np.sin(7 * rows) * np.cos(5 * columns)).astype(np.float32)


PROFILE = NoiseProfile(
    iso=100, shot_noise_scale=(1e-4,) * 4, read_noise_variance=(1e-6,) * 4, row_noise_variance=(0.0,) * 4
)
MONO = NoiseProfile(iso=100, shot_noise_scale=(1e-4,), read_noise_variance=(1e-6,), row_noise_variance=(0.0,))


@pytest.mark.parametrize("cfa", [*BAYER_PHASES, None])
def test_hot_and_dead_photosites_are_found_and_nothing_else(cfa: str | None):
    profile = MONO if cfa is None else PROFILE
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
    found = isolated_defects(frame_moments(frames), profile, cfa)
    assert sorted(map(tuple, np.argwhere(found).tolist())) == sorted([*hot, (60, 30)])


def test_defects_of_a_picture_are_found_per_colour():
    frames = [np.full((3, 32, 32), 0.5, np.float32) for _ in range(3)]
    for frame in frames:
        frame[1, 9, 9] = 1
    profile = NoiseProfile(
        iso=None, shot_noise_scale=(0.0,) * 3, read_noise_variance=(1e-6,) * 3, row_noise_variance=()
    )
    assert np.argwhere(isolated_defects(frame_moments(frames), profile, None)).tolist() == [[1, 9, 9]]


@pytest.mark.parametrize("place", [(0, 0), (1, 30), (2, 2), (60, 91), (63, 95), (44, 93)])
def test_a_hot_photosite_is_found_at_the_border_too(place):
    rng = np.random.default_rng(0)
    frames = [(0.1 + 0.005 * rng.standard_normal((64, 96))).astype(np.float32) for _ in range(6)]
    for frame in frames:
        frame[place] += 0.6
    profile = NoiseProfile(
        iso=100, shot_noise_scale=(0.0,) * 4, read_noise_variance=(2.5e-5,) * 4, row_noise_variance=(0.0,) * 4
    )
    found = isolated_defects(frame_moments(frames), profile, "RGGB")
    assert found[place]
    assert found.sum() == 1
