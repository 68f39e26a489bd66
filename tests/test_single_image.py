"""The noise of one shot, from its flattest places: against known truth, on easy pictures and on the worst."""

import json
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from burst_denoise.errors import InputFileError
from burst_denoise.frame.mosaic import MONO, RGGB
from burst_denoise.frame.synthetic import scene_from_picture
from burst_denoise.io.raw import read_raw
from burst_denoise.schemas import NoiseProfile
from burst_denoise.sensor.noise_model import SMALLEST_VARIANCE
from burst_denoise.sensor.single_image import estimate_noise
from tests.sensors import Sensor, measured_sensor, mosaic, seen_through

LEVELS = np.array([0.02, 0.1, 0.4])


def mosaic_of(name: str, cfa: str = "RGGB") -> np.ndarray:
    picture = getattr(data, name)()
    return seen_through(cfa, scene_from_picture(np.dstack([picture] * 3) if picture.ndim == 2 else picture))


def std_error(found: NoiseProfile, sensor: Sensor) -> np.ndarray:
    """Return by which share the noise std comes out too large at `LEVELS`; all planes must agree."""
    assert len(set(found.shot_noise_scale)) == len(set(found.read_noise_variance)) == 1
    truth = sensor.gain / sensor.span * LEVELS + sensor.read_variance / sensor.span**2
    variance = found.shot_noise_scale[0] * LEVELS + found.read_noise_variance[0]
    return np.sqrt(variance / truth) - 1


@pytest.mark.parametrize("iso", [1600, 6400])
@pytest.mark.parametrize("scene", ["kodim01", "kodim02", "kodim03"])
def test_simulated_canon_shots_are_known_within_an_eighth(shared_data: Path, scene: str, iso: int):
    folder = shared_data / "sim_canon700d" / f"{scene}_iso{iso}"
    truth = json.loads((folder / "truth.json").read_text())
    sensor = Sensor(
        truth["gain_dn_per_e"], truth["read_noise_tukey_scale_dn"], truth["tukey_shape"], truth["row_noise_std_dn"],
        truth["black"], truth["white"],
    )  # fmt: skip
    frame = read_raw(folder / "frame_000.dng")
    found = estimate_noise(frame.linear, frame.mosaic, frame.info.iso)
    assert found.iso == iso
    assert np.abs(std_error(found, sensor)).max() < 1 / 8


@pytest.mark.parametrize("picture", ["coffee", "rocket"])
@pytest.mark.parametrize(
    ("camera", "iso"),
    [("CanonEOS700D", 100), ("NikonD850", 400), ("SonyA7S2", 1600), ("CanonEOS700D", 6400), ("NikonD850", 12800)],
)
def test_measured_sensors_are_known_within_a_fifth(shared_data: Path, picture: str, camera: str, iso: int):
    sensor = measured_sensor(shared_data / "noise_params", camera, iso)
    (noisy,) = sensor.frames(mosaic_of(picture), 1, iso)
    assert np.abs(std_error(estimate_noise(noisy, RGGB), sensor)).max() < 1 / 5


@pytest.mark.parametrize("picture", ["grass", "gravel"])
def test_a_picture_that_is_all_texture_gives_too_much_noise_never_too_little(shared_data: Path, picture: str):
    for iso, most in ((100, 1.2), (12800, 0.4)):
        sensor = measured_sensor(shared_data / "noise_params", "CanonEOS700D" if iso == 100 else "NikonD850", iso)
        (noisy,) = sensor.frames(mosaic_of(picture), 1, 0)
        error = std_error(estimate_noise(noisy, RGGB), sensor)
        assert (error > -0.1).all()
        assert (error < most).all()


SENSOR = Sensor(7.2, 15.0, 0.14, 1.6, 2048, 15304)


@pytest.mark.parametrize("cfa", ["GRBG", "GBRG", "BGGR"])
def test_every_cfa_phase_and_odd_sizes_do(cfa: str):
    (noisy,) = SENSOR.frames(mosaic_of("coffee", cfa)[:-1, :-3], 1, 0)
    assert np.abs(std_error(estimate_noise(noisy, mosaic(cfa)), SENSOR)).max() < 0.1


def test_overexposed_parts_do_not_count():
    scene = mosaic_of("coffee")
    scene[:, : scene.shape[1] // 2] *= 4
    (noisy,) = SENSOR.frames(scene, 1, 0)
    assert (noisy >= 1).mean() > 0.05
    assert np.abs(std_error(estimate_noise(noisy, RGGB), SENSOR)).max() < 0.1


def test_hot_photosites_are_no_noise():
    (noisy,) = SENSOR.frames(mosaic_of("coffee"), 1, 0)
    noisy[np.random.default_rng(0).random(noisy.shape) < 1e-3] += 0.3
    assert np.abs(std_error(estimate_noise(noisy, RGGB), SENSOR)).max() < 0.1


def test_in_the_dark_all_of_it_is_read_noise():
    (noisy,) = SENSOR.frames(np.zeros((256, 256), np.float32), 1, 0)
    (offset, *_) = estimate_noise(noisy, RGGB).read_noise_variance
    assert offset == pytest.approx(SENSOR.read_variance / SENSOR.span**2, rel=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_what_the_dark_leaves_open_is_not_left_to_chance(seed: int):
    (noisy,) = SENSOR.frames(np.zeros((256, 256), np.float32), 1, seed)
    found = estimate_noise(noisy, RGGB)
    assert found.read_noise_variance[0] == pytest.approx(SENSOR.read_variance / SENSOR.span**2, rel=0.15)
    assert 0.5 < found.read_noise_variance[0] ** 0.5 / found.shot_noise_scale[0] < 10  # electrons, as sensors have


@pytest.mark.parametrize("seed", range(3))
def test_an_even_backdrop_is_known_at_its_level_and_beyond_as_far_as_sensors_are_alike(seed: int):
    scene = np.full((512, 768), 0.25, np.float32)
    scene[100:400, 200:600] = mosaic_of("coffee")[:300, :400]
    (noisy,) = SENSOR.frames(scene, 1, seed)
    at_002, at_01, at_04 = std_error(estimate_noise(noisy, RGGB), SENSOR)
    assert abs(at_002) < 0.2
    assert max(abs(at_01), abs(at_04)) < 0.06


@pytest.mark.parametrize("seed", range(3))
def test_a_night_sky_is_known_in_its_dark_and_by_half_in_its_stars(seed: int):
    scene = np.full((512, 512), 1e-3, np.float32)
    scene[tuple(np.random.default_rng(9).integers(0, 512, (2, 200)))] = 0.5
    (noisy,) = SENSOR.frames(scene, 1, seed)
    at_002, _, at_04 = std_error(estimate_noise(noisy, RGGB), SENSOR)
    assert abs(at_002) < 0.3
    assert abs(at_04) < 0.5


@pytest.mark.parametrize("cfa", [None, "RGGB"])
def test_a_shot_without_noise_has_the_smallest_there_is(cfa: str | None):
    found = estimate_noise(np.full((128, 128), 0.25, np.float32), mosaic(cfa))
    assert found.read_noise_variance[0] == SMALLEST_VARIANCE
    assert 0 <= found.shot_noise_scale[0] * 0.25 <= SMALLEST_VARIANCE


def test_the_colours_of_a_picture_are_told_apart():
    rng = np.random.default_rng(0)
    std = np.array([0.01, 0.02, 0.04])[:, None, None]
    ramp = np.linspace(0.1, 0.8, 256)[None, None] * np.ones((3, 256, 1))
    found = estimate_noise((ramp + std * rng.standard_normal(ramp.shape)).astype(np.float32), MONO)
    for plane in range(3):
        variance = found.shot_noise_scale[plane] * 0.45 + found.read_noise_variance[plane]
        assert variance == pytest.approx(std[plane, 0, 0] ** 2, rel=0.15)
    assert len(estimate_noise(ramp[0].astype(np.float32), MONO).shot_noise_scale) == 1


@pytest.mark.parametrize("image", [np.ones((64, 64)), np.zeros((8, 200)), np.zeros((2, 2)), np.zeros((24, 24))])
def test_a_picture_that_cannot_tell_is_refused_in_one_line(image: np.ndarray):
    with pytest.raises(InputFileError, match=r"its noise cannot be estimated: \d+ of the 16 blocks needed") as caught:
        estimate_noise(image.astype(np.float32), RGGB)
    assert "\n" not in str(caught.value)


def test_the_image_is_not_modified():
    (noisy,) = SENSOR.frames(mosaic_of("coffee")[:64, :64], 1, 0)
    before = noisy.copy()
    estimate_noise(noisy, RGGB)
    assert np.array_equal(noisy, before)
