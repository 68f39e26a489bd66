"""Bands of brightness are measured, whichever way they run; what is no band is not taken for one."""

from collections.abc import Sequence

import numpy as np
import pytest
from skimage.data import astronaut

from burst_denoise.burst.flicker import band_amplitudes
from burst_denoise.frame.frame import Frame
from burst_denoise.frame.synthetic import Fault, SyntheticCamera, scene_from_picture, shoot

SCENE = scene_from_picture(astronaut()[:256, :320])
ROW, COLUMN = np.mgrid[:256, :320]


def shot_under(lights: Sequence[np.ndarray | float], iso: float = 800) -> list[Frame]:
    """Shoot the scene under one light (factors, broadcast over (H, W)) per frame."""
    scenes = [SCENE * np.broadcast_to(np.asarray(light, np.float32), ROW.shape)[..., None] for light in lights]
    return [shoot(SyntheticCamera(), scene, iso, 1, seed)[0][0] for seed, scene in enumerate(scenes)]


def bands(share: float, place: np.ndarray, period: float, step: float, count: int = 10) -> list[np.ndarray]:
    """Return lights in bands of a relative amplitude that move on by ``step`` periods a frame."""
    return [1 + share * np.sin(2 * np.pi * (place / period + step * k)) for k in range(count)]


def measured(frames: Sequence[Frame]) -> np.ndarray:
    return band_amplitudes(lambda k: frames[k].linear, range(len(frames)), frames[0].mosaic)


@pytest.mark.parametrize("share", [0.02, 0.03, 0.06])
@pytest.mark.parametrize(("place", "period"), [(ROW, 80), (ROW, 30), (COLUMN, 100), (COLUMN, 25)])
def test_bands_along_rows_or_columns_are_measured_to_a_fifth(share: float, place: np.ndarray, period: float) -> None:
    found = measured(shot_under(bands(share, place, period, 0.37)))
    # The others are no even light either: their median leaves a part of the bands.
    assert np.median(found) == pytest.approx(share, rel=0.2)
    assert found.min() > 0.7 * share


def test_bands_that_move_slowly_are_seen_where_they_moved_far() -> None:
    found = measured(shot_under(bands(0.03, ROW, 80, 0.03, 12)))
    assert min(found[0], found[-1]) > 0.015
    assert max(found[5], found[6]) < 0.01


@pytest.mark.parametrize("iso", [100, 1600, 12800, 51200])
def test_a_lamp_that_flickers_evenly_makes_no_bands(iso: float) -> None:
    lights = np.random.default_rng(0).uniform(0.985, 1.015, 10)
    assert measured(shot_under([float(light) for light in lights], iso)).max() == 0


def test_a_lamp_that_lights_a_part_of_the_scene_makes_no_bands() -> None:
    spot = np.exp(-((ROW - 90.0) ** 2 + (COLUMN - 200.0) ** 2) / 80**2)
    assert measured(shot_under([1 + 0.01 * (k % 3) * spot for k in range(9)])).max() == 0


def test_an_object_that_moved_makes_no_bands() -> None:
    frames, _ = shoot(SyntheticCamera(), SCENE, 800, 8, 0, {3: Fault(motion=40)})
    assert measured(frames).max() == 0


def test_in_the_dark_nothing_flickers() -> None:
    frames, _ = shoot(SyntheticCamera(row_noise_std_dn=1.0), np.zeros_like(SCENE), 3200, 6, 0)
    assert measured(frames).max() == 0
