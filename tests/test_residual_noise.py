"""The second pass of the noise of one shot: right on texture, on coded raw files, and on what the first got right."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from scipy.ndimage import gaussian_filter

from burst_denoise.frame.frame import to_linear
from burst_denoise.frame.mosaic import MONO, RGB, RGGB, Mosaic
from burst_denoise.frame.synthetic import SyntheticCamera, scene_from_picture, shoot
from burst_denoise.inference.engine import Engine, fastest_engine
from burst_denoise.inference.residual_noise import refine_noise
from burst_denoise.inference.tiles import denoise_image
from burst_denoise.io.raw import read_raw
from burst_denoise.model.content import content_pictures
from burst_denoise.model.device import compute_dtype
from burst_denoise.model.prior import load_prior
from burst_denoise.schemas import NoiseProfile
from burst_denoise.sensor.noise_model import noise_variance
from burst_denoise.sensor.single_image import estimate_noise
from tests.sensors import Sensor, measured_sensor, mosaic, seen_through
from tests.test_single_image import mosaic_of, std_error

CPU = torch.device("cpu")
SENSOR = Sensor(7.2, 15.0, 0.14, 1.6, 2048, 15304)


def slow(*case: object) -> object:
    """Return a case for `make test-slow`: one of a kind is enough for every run."""
    return pytest.param(*case, marks=pytest.mark.slow)


SENSORS = [
    ("CanonEOS700D", 100),
    slow("NikonD850", 400),
    slow("SonyA7S2", 1600),
    slow("CanonEOS700D", 6400),
    ("NikonD850", 12800),
]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return fastest_engine(load_prior("bayer", CPU).network, compute_dtype(CPU))


def std_factor(found: NoiseProfile, sensor: Sensor) -> np.ndarray:
    """Return how many times the noise std is told too large at `LEVELS`; all planes must agree."""
    return 1 + std_error(found, sensor)


def true_profile(sensor: Sensor) -> NoiseProfile:
    offset = sensor.read_variance / sensor.span**2
    return NoiseProfile(iso=None, shot_noise_scale=(sensor.gain / sensor.span,) * 4, read_noise_variance=(offset,) * 4)


def estimate(noisy: np.ndarray, engine: Engine, cfa: str = "RGGB") -> NoiseProfile:
    return refine_noise(noisy, mosaic(cfa), engine, estimate_noise(noisy, mosaic(cfa)))[0]


def gain_db(noisy: np.ndarray, clean: np.ndarray, profile: NoiseProfile, engine: Engine) -> float:
    """Return by how many dB denoising with a profile brings a shot nearer to the clean one."""
    denoised = denoise_image(noisy, RGGB, engine, profile)
    return float(10 * np.log10(np.mean((noisy - clean) ** 2) / np.mean((denoised - clean) ** 2)))


@pytest.mark.parametrize("picture", ["grass", slow("gravel"), slow("brick")])
@pytest.mark.parametrize(("camera", "iso"), SENSORS)
def test_texture_from_edge_to_edge_is_told_from_noise(
    shared_data: Path, engine: Engine, picture: str, camera: str, iso: int
):
    sensor = measured_sensor(shared_data / "noise_params", camera, iso)
    clean = mosaic_of(picture)
    (noisy,) = sensor.frames(clean, 1, iso)
    found = estimate(noisy, engine)
    factor = std_factor(found, sensor)
    assert (factor > 1 / 1.35).all()
    assert (factor < 1.35).all()
    assert gain_db(noisy, clean, found, engine) > 0.5


def fractal(seed: int) -> np.ndarray:
    """Return a scene of 1/f amplitudes, as of foliage far away."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(512), np.fft.fftfreq(512)))
    frequency[0, 0] = 1
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((512, 512))) / frequency**1.3).real
    return np.clip(0.2 * (1 + 0.5 * noise / noise.std()), 0.02, 0.5)


def stones(seed: int) -> np.ndarray:
    """Return a scene of overlapping discs, each with a grain of its own."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:512, :512]
    scene = np.full((512, 512), 0.05)
    for _ in range(4000):
        top, left, radius = rng.uniform(0, 512), rng.uniform(0, 512), rng.uniform(3, 10)
        box = tuple(slice(max(int(at - 11), 0), int(at + 12)) for at in (top, left))
        inside = np.hypot(y[box] - top, x[box] - left) < radius
        scene[box][inside] = rng.uniform(0.05, 0.5)
    return scene * (1 + 0.1 * gaussian_filter(rng.standard_normal(scene.shape), 0.8))


@pytest.mark.slow
@pytest.mark.parametrize("drawn", [fractal, stones])
@pytest.mark.parametrize(("camera", "iso"), SENSORS[::2])
def test_drawn_textures_are_told_from_noise_and_never_harmed(
    shared_data: Path, engine: Engine, drawn: Callable[[int], np.ndarray], camera: str, iso: int
):
    sensor = measured_sensor(shared_data / "noise_params", camera, iso)
    light = gaussian_filter(drawn(iso)[..., None] * np.array((0.5, 1, 0.65)), (0.7, 0.7, 0))
    clean = seen_through("RGGB", light)
    (noisy,) = sensor.frames(clean, 1, iso)
    found = estimate(noisy, engine)
    factor = std_factor(found, sensor)[1:]  # no scene here has the lowest level
    assert (factor > 1 / 1.5).all()
    assert (factor < 1.5).all()
    assert gain_db(noisy, clean, found, engine) > 0


@pytest.mark.parametrize("picture", ["coffee", slow("rocket"), slow("astronaut")])
@pytest.mark.parametrize(("camera", "iso"), SENSORS)
def test_pictures_are_known_within_a_tenth(shared_data: Path, engine: Engine, picture: str, camera: str, iso: int):
    sensor = measured_sensor(shared_data / "noise_params", camera, iso)
    (noisy,) = sensor.frames(mosaic_of(picture), 1, iso)
    assert std_factor(estimate(noisy, engine), sensor) == pytest.approx(1, abs=0.1)


@pytest.mark.slow
def test_what_is_estimated_denoises_as_well_as_what_is_measured(shared_data: Path, engine: Engine):
    behind = []
    for folder in sorted((shared_data / "sim_canon700d").glob("*_iso*")):
        truth = json.loads((folder / "truth.json").read_text())
        sensor = Sensor(
            truth["gain_dn_per_e"], truth["read_noise_tukey_scale_dn"], truth["tukey_shape"],
            truth["row_noise_std_dn"], truth["black"], truth["white"],
        )  # fmt: skip
        frame = read_raw(folder / "frame_000.dng")
        clean = read_clean(folder / "clean_mosaic_dn.tif", sensor)
        profiles = true_profile(sensor), estimate(frame.linear, engine)
        best, found = (gain_db(frame.linear, clean, profile, engine) for profile in profiles)
        behind.append(best - found)
    assert len(behind) == 6
    assert np.mean(behind) < 0.05
    assert max(behind) < 0.08


def read_clean(file: Path, sensor: Sensor) -> np.ndarray:
    return ((tifffile.imread(file).astype(np.float64) - sensor.black) / sensor.span).astype(np.float32)


def coded_with_losses(noisy: np.ndarray, step: float) -> np.ndarray:
    """Return a mosaic whose planes went through one level of a Haar wavelet with a dead zone, as raw files coded so."""
    coded = noisy.copy()
    for row in (0, 1):
        for column in (0, 1):
            plane = coded[row::2, column::2]
            a, b, c, d = plane[::2, ::2], plane[::2, 1::2], plane[1::2, ::2], plane[1::2, 1::2]
            bands = np.array([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d]) / 2
            for band, width in zip(bands[1:], (step / 2, step / 2, step), strict=True):
                band[:] = np.sign(band) * np.floor(np.abs(band) / width) * width
            low, across, down, both = bands
            plane[::2, ::2], plane[::2, 1::2] = (low + across + down + both) / 2, (low - across + down - both) / 2
            plane[1::2, ::2], plane[1::2, 1::2] = (low + across - down - both) / 2, (low - across - down + both) / 2
    return coded


@pytest.mark.parametrize("picture", ["coffee", slow("rocket")])
@pytest.mark.parametrize("steps_per_std", [slow(0.7), slow(1.5), 3.0])
def test_a_raw_file_coded_with_losses_still_shows_its_noise(engine: Engine, picture: str, steps_per_std: float):
    """Losses take the finest bands; what is left must not pass for all there was."""
    clean = mosaic_of(picture)[:400]
    (noisy,) = SENSOR.frames(clean, 1, 0)
    std = np.sqrt(SENSOR.gain / SENSOR.span * 0.1 + SENSOR.read_variance / SENSOR.span**2)
    coded = coded_with_losses(noisy, steps_per_std * std)
    found = estimate(coded, engine)
    assert (std_factor(found, SENSOR) > 0.75).all()
    assert gain_db(coded, clean, found, engine) > gain_db(coded, clean, true_profile(SENSOR), engine) - 1


def blurred_stars() -> np.ndarray:
    scene = np.full((512, 512), 1e-3)
    scene[tuple(np.random.default_rng(9).integers(0, 512, (2, 200)))] = 4
    return gaussian_filter(scene, 1.0)


@pytest.mark.parametrize("scene", [np.full((512, 512), 1e-3), np.full((512, 512), 0.1), blurred_stars()])
def test_flat_fields_and_night_skies_are_known_at_their_level(engine: Engine, scene: np.ndarray):
    (noisy,) = SENSOR.frames(scene, 1, 0)
    found, level = estimate(noisy, engine), float(np.median(scene))
    truth = SENSOR.gain / SENSOR.span * level + SENSOR.read_variance / SENSOR.span**2
    variance = found.shot_noise_scale[0] * level + found.read_noise_variance[0]
    assert np.sqrt(variance / truth) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("cfa", [slow("RGGB"), "GRBG", slow("GBRG"), "BGGR"])
def test_every_cfa_phase_and_odd_sizes_do(engine: Engine, cfa: str):
    (noisy,) = SENSOR.frames(mosaic_of("coffee", cfa)[:-1, :-3], 1, 0)
    assert std_factor(estimate(noisy, engine, cfa), SENSOR) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("size", [(64, 64), (50, 66), (200, 70)])
def test_crops_do(engine: Engine, size: tuple[int, int]):
    (noisy,) = SENSOR.frames(mosaic_of("coffee")[40 : 40 + size[0], 40 : 40 + size[1]], 1, 0)
    assert std_factor(estimate(noisy, engine), SENSOR) == pytest.approx(1, abs=0.3)


def test_defects_and_overexposed_parts_are_no_noise(engine: Engine):
    scene = mosaic_of("coffee")
    scene[:, : scene.shape[1] // 2] *= 4
    (noisy,) = SENSOR.frames(scene, 1, 0)
    noisy[np.random.default_rng(0).random(noisy.shape) < 1e-3] += 0.3
    before = noisy.copy()
    assert std_factor(estimate(noisy, engine), SENSOR) == pytest.approx(1, abs=0.12)
    assert np.array_equal(noisy, before)


def test_where_nothing_can_be_told_the_first_estimate_stays(engine: Engine):
    first = true_profile(SENSOR)
    assert refine_noise(np.ones((256, 256), np.float32), RGGB, engine, first)[0] == first


PATCHES = np.array([
    (115, 82, 68), (194, 150, 130), (98, 122, 157), (87, 108, 67), (133, 128, 177), (103, 189, 170), (214, 126, 44),
    (80, 91, 166), (193, 90, 99), (94, 60, 108), (157, 188, 64), (224, 163, 46), (56, 61, 150), (70, 148, 73),
    (175, 54, 60), (231, 199, 31), (187, 86, 149), (8, 133, 161), (243, 243, 242), (200, 200, 200), (160, 160, 160),
    (122, 122, 121), (85, 85, 85), (52, 52, 52),
], np.uint8)  # fmt: skip
"""sRGB of the ColorChecker of 1976, as its maker published them."""


@pytest.mark.slow
def test_denoising_by_the_estimate_leaves_the_colours_of_24_patches(engine: Engine):
    """What denoising changes in their means, over several shots, is less than two standard errors of those of one."""
    camera, shots, iso = SyntheticCamera(hot_fraction=0), 8, 6400
    chart = PATCHES.reshape(4, 6, 3).repeat(128, axis=0).repeat(128, axis=1)
    frames, clean_dn = shoot(camera, scene_from_picture(chart), iso, shots, 0)

    def means(image: np.ndarray) -> np.ndarray:
        return RGGB.pack(image.astype(np.float64)).reshape(4, 4, 64, 6, 64).mean((2, 4))

    clean = means(to_linear(clean_dn, frames[0].info))
    change = []
    for frame in frames:
        found = estimate(frame.linear, engine)
        change.append(means(denoise_image(frame.linear, RGGB, engine, found)) - means(frame.linear))
    span = camera.white_level - camera.black_level[0]
    variance = clean * camera.gain(iso) / span + camera.read_noise_variance_dn(iso) / span**2
    row_variance = (camera.row_noise_std_dn * iso / 100 / span) ** 2
    tolerance = np.maximum(0.003 * clean, 2 * np.sqrt(variance / 64**2 + row_variance / 64))
    assert (np.abs(np.mean(change, axis=0)) < tolerance).all()


@pytest.mark.parametrize("mosaic_of_picture", [MONO, RGB], ids=lambda mosaic: mosaic.domain)
@pytest.mark.parametrize("scale", [slow(2e-4), 2e-3])
def test_the_noise_of_grey_and_rgb_frames_is_told_plane_by_plane(mosaic_of_picture: Mosaic, scale: float):
    rng = np.random.default_rng(0)
    colours = 0.6 * np.moveaxis(content_pictures(("stereo_motorcycle",))[0][:384, :384], 2, 0)
    clean = colours[1] if mosaic_of_picture is MONO else colours
    scales = scale * np.array([0.5, 1, 2] if mosaic_of_picture is RGB else [1])[:, None, None]  # RGB has been balanced
    noisy = rng.poisson(clean / scales) * scales + 3 * scales * rng.standard_normal(clean.shape)
    noisy = noisy.astype(np.float32).reshape(clean.shape)
    network = fastest_engine(load_prior(mosaic_of_picture.domain, CPU).network, compute_dtype(CPU))
    found, _ = refine_noise(noisy, mosaic_of_picture, network, estimate_noise(noisy, mosaic_of_picture))
    level = np.full((found.planes, 1, 1), 0.1, np.float32)
    truth = (scales * 0.1 + (3 * scales) ** 2).ravel()
    factor = np.sqrt(noise_variance(level, found).ravel() / truth)
    assert (factor > 1 / 1.2).all()
    assert (factor < 1.2).all()
