"""What is known of the fixed pattern of a burst, against a simulated camera whose pattern is known."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from burst_denoise.burst.burst import Burst
from burst_denoise.burst.flats import Flat
from burst_denoise.frame.frame import to_linear
from burst_denoise.frame.synthetic import SyntheticCamera, shoot
from burst_denoise.score.metrics import mean_squared_error, psnr_of_mse
from burst_denoise.score.pattern import ASSUMED_PRNU, BurstPattern, SensorPattern
from burst_denoise.score.unbiased import BurstScore
from burst_denoise.sensor.fixed_pattern import flat_field, photo_response, sensitivity
from burst_denoise.sensor.moments import frame_moments
from burst_denoise.sensor.prnu_from_scenes import prnu_from_scenes
from tests.shots import stored, verdicts

CAMERA = SyntheticCamera(prnu=0.008, dark_offset_std_dn=0.05, hot_fraction=0)
SIDE = 160


def scene(seed: int, std: float) -> np.ndarray:
    """Return blobs of a size, bright."""
    blobs = cv2.GaussianBlur(np.random.default_rng(seed).standard_normal((SIDE, SIDE)), (0, 0), std)
    grey = 0.45 + 0.1 * blobs / blobs.std()
    return (np.clip(grey, 0.05, 0.95)[..., None] * (0.6, 1.0, 0.65)).astype(np.float32)


def shot(folder: Path, seed: int, std: float) -> Burst:
    frames, clean = shoot(CAMERA, scene(seed, std), 800, 8, seed)
    return stored(
        folder / f"{seed}.burst", str(seed), frames, verdicts(frames), 0.01, 0.001, to_linear(clean, frames[0].info)
    )


@pytest.fixture(scope="module")
def soft(tmp_path_factory) -> Burst:
    return shot(tmp_path_factory.mktemp("soft"), 1, 20.0)


@pytest.fixture(scope="module")
def sharp(tmp_path_factory) -> Burst:
    return shot(tmp_path_factory.mktemp("sharp"), 2, 1.0)


@pytest.fixture(scope="module")
def flat() -> Flat:
    frames, _ = shoot(CAMERA, np.full((SIDE, SIDE, 3), 0.5, np.float32), 100, 32, 77)
    moments = frame_moments(frame.linear for frame in frames)
    mosaic = CAMERA.mosaic
    response, picture = photo_response(moments, None, mosaic), sensitivity(moments, None, mosaic)
    return Flat(response, picture, flat_field(moments, None, mosaic, response, picture))


def true_pattern(burst: Burst) -> float:
    offsets = CAMERA.dark_offset_std_dn * 8 / (CAMERA.white_level - CAMERA.black_level[0])
    return CAMERA.prnu**2 * float((burst.clean.astype(np.float64) ** 2).mean()) + offsets**2


def smooth(image: np.ndarray) -> np.ndarray:
    """Return every plane without noise, pattern and fine detail."""
    planes = CAMERA.mosaic.pack(image)
    return CAMERA.mosaic.unpack(np.stack([cv2.GaussianBlur(plane, (0, 0), 2.5) for plane in planes]), image.shape)


def score_of(burst: Burst, pattern: BurstPattern) -> tuple[BurstScore, float]:
    """Return the score of a method that smooths the pattern away, and its true PSNR."""
    score = BurstScore(
        pattern.reference, len(burst), ~burst.excluded, np.ones_like(pattern.variance), pattern.variance, pattern.least
    )
    results = [smooth(burst.linear(index)) for index in (0, 3, 6)]
    for index, result in zip((0, 3, 6), results, strict=True):
        score.add(result, (index,))
    true = float(np.mean([mean_squared_error(result, burst.clean) for result in results]))
    return score, psnr_of_mse(true, peak=1)


def test_a_soft_scene_tells_its_own_pattern(soft: Burst):
    pattern = BurstPattern(soft, SensorPattern())
    assert pattern.source == "burst"
    assert pattern.most == pytest.approx(true_pattern(soft), rel=0.15)
    assert pattern.variance.mean() == pytest.approx(pattern.most, rel=1e-3)
    assert pattern.least == 0


def test_in_a_sharp_scene_the_pattern_is_what_is_assumed(sharp: Burst):
    pattern = BurstPattern(sharp, SensorPattern())
    assert pattern.source == "assumed"
    assert pattern.most > ASSUMED_PRNU**2 * (sharp.clean**2).mean() > true_pattern(sharp)


def test_several_framings_bound_it_from_both_sides(sharp: Burst, tmp_path: Path):
    bursts = [sharp, *(shot(tmp_path, seed, 1.0) for seed in (3, 4, 5))]
    found = prnu_from_scenes([burst.scene() for burst in bursts], CAMERA.mosaic)
    pattern = BurstPattern(sharp, SensorPattern.of(None, found))
    assert pattern.source == "framings"
    assert 0.5 * true_pattern(sharp) < pattern.least < true_pattern(sharp) < pattern.most < 1.5 * true_pattern(sharp)
    # At an ISO that has not two scenes, PRNU is that of the others and DSNU assumed.
    other = replace(sharp, pooled=sharp.profile)
    alone = BurstPattern(other, SensorPattern(None, replace(found, left_out={})))
    assert alone.source == "framings"
    assert alone.most > true_pattern(sharp)


def test_a_method_that_removes_the_pattern_is_scored_too_low_and_its_bracket_says_by_how_much(soft: Burst):
    score, true = score_of(soft, BurstPattern(soft, SensorPattern()))
    assert score.psnr_db().value < true - 1
    low, high = score.psnr_db_bracket()
    assert low < true < high
    assert score.noise_kept() < 0.1


def test_flats_take_the_pattern_out_of_what_judges(soft: Burst, flat: Flat):
    pattern = BurstPattern(soft, SensorPattern.of(flat, None))
    assert pattern.source == "flats"
    assert 0 < pattern.least < pattern.most < 0.1 * true_pattern(soft)
    score, true = score_of(soft, pattern)
    assert score.psnr_db().value == pytest.approx(true, abs=0.1)
    low, high = score.psnr_db_bracket()
    assert low < true < high < low + 0.6


def test_flats_of_another_size_are_passed_over(soft: Burst, flat: Flat):
    cropped = replace(flat.field, sensitivity=flat.field.sensitivity[:-2])
    pattern = BurstPattern(soft, SensorPattern(cropped))
    assert pattern.source == "burst"
    assert np.array_equal(pattern.reference(0), soft.linear(0))
