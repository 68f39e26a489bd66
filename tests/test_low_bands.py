"""Mottle: noise that the prior leaves on a large scale is taken away where the picture is smooth, and only there."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from burst_denoise.frame.geometry import row_bands
from burst_denoise.frame.mosaic import BAYER_PHASES, RGGB, Mosaic
from burst_denoise.inference.engine import fastest_engine
from burst_denoise.inference.low_bands import cells, correct_low_bands
from burst_denoise.inference.tiles import image_change
from burst_denoise.model.device import compute_dtype
from burst_denoise.model.low_bands import CELL, LowBandNet, load_low_bands
from burst_denoise.model.prior import load_prior
from burst_denoise.schemas import NoiseProfile
from burst_denoise.score.metrics import psnr
from tests.test_single_image import mosaic_of

SCALE, OFFSET = 1e-3, 1e-6
PROFILE = NoiseProfile(iso=800, shot_noise_scale=(SCALE,) * 4, read_noise_variance=(OFFSET,) * 4)
SIDE = 512


def shot(clean: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return a mosaic with the noise of `PROFILE`."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(clean.shape) * OFFSET**0.5
    return (rng.poisson(clean / SCALE) * SCALE + noise).astype(np.float32)


def flat(level: float) -> np.ndarray:
    """Return a noisy mosaic (SIDE, SIDE) of one brightness."""
    return shot(np.full((SIDE, SIDE), level))


def prior_change(image: np.ndarray) -> np.ndarray:
    """Return what the prior changes, nothing corrected."""
    device = torch.device("cpu")
    engine = fastest_engine(load_prior("bayer", device).network, compute_dtype(device))
    return image_change(image, RGGB, replace(engine, low_bands=None), PROFILE)


def corrected(image: np.ndarray, change: np.ndarray, mosaic: Mosaic = RGGB) -> np.ndarray:
    """Return the image with a change in it, its low bands corrected."""
    change = change.copy()
    correct_low_bands(image, change, mosaic, PROFILE, load_low_bands(4))
    return image + change


def mottle(image: np.ndarray, block: int) -> float:
    """Return the standard deviation of means over blocks of plane pixels."""
    planes = RGGB.pack(image)
    side = planes.shape[1] // block
    means = planes[:, : side * block, : side * block].reshape(4, side, block, side, block).mean((2, 4))
    return float(means.std(axis=(1, 2)).mean())


@pytest.mark.parametrize("level", [0.003, 0.1, 0.7])
def test_of_an_even_area_a_third_of_the_coarse_noise_is_left_where_the_prior_left_most(level: float):
    image = flat(level)
    change = prior_change(image)
    before, plain, after = (
        {block: mottle(each, block) for block in (16, 32)} for each in (image, image + change, corrected(image, change))
    )
    assert plain[16] > 0.5 * before[16]
    assert after[16] < 0.35 * before[16]
    assert after[32] < 0.5 * before[32]


@pytest.mark.parametrize("light", [0.03, 1.0])
def test_a_picture_loses_nothing(light: float):
    clean = light * mosaic_of("astronaut")[:384, :384]
    image = shot(clean)
    change = prior_change(image)
    assert psnr(corrected(image, change), clean, peak=1.0) > psnr(image + change, clean, peak=1.0) - 0.005


def test_what_is_right_already_is_hardly_touched():
    image = flat(0.1)
    away = corrected(image, 0.1 - image) - 0.1
    assert away.std() < 0.05 * SCALE**0.5 * 0.1**0.5


def test_one_hot_photosite_does_not_brighten_what_lies_around_it():
    image = flat(0.1)
    change = 0.1 - image
    hot = image.copy()
    hot[300, 300] += 1000 * (SCALE * 0.1) ** 0.5
    cool = corrected(image, change)
    warm = corrected(hot, 0.1 - hot)
    away = np.abs(warm - cool) / (SCALE * 0.1) ** 0.5
    assert away.max() < 0.05


def test_what_is_overexposed_counts_for_nothing():
    image, brighter = flat(0.1), flat(0.1)
    image[:, 512:] = 1.0
    brighter[:, 512:] = 1.5
    change = np.zeros_like(image)
    change[:, :512] = 0.1 - image[:, :512]
    assert np.array_equal(corrected(image, change)[:, :256], corrected(brighter, change)[:, :256])


@pytest.mark.parametrize("cfa", BAYER_PHASES)
@pytest.mark.parametrize("shape", [(1, 5), (2, 2), (3, 130), (129, 131), (300, 256)])
def test_images_of_any_size_and_phase_are_served(shape: tuple[int, int], cfa: str):
    image = flat(0.1)[: shape[0], : shape[1]]
    found = corrected(image, 0.1 - image, Mosaic("bayer", cfa))
    assert found.shape == shape
    assert np.abs(found - 0.1).max() < 0.5 * (SCALE * 0.1) ** 0.5


def test_the_network_sees_means_in_units_of_their_noise():
    rng = np.random.default_rng(0)
    noisy = 0.1 + 0.01 * rng.standard_normal((512, 640), np.float32)
    residual, picture = cells(noisy, np.full_like(noisy, 0.1), np.full_like(noisy, 0.01))
    assert residual.shape == picture.shape == (512 // CELL, 640 // CELL)
    assert residual.std() == pytest.approx(1, abs=0.02)
    assert residual[2, 3] == pytest.approx(CELL * ((noisy[16:24, 24:32] - 0.1) / 0.01).mean(), abs=1e-4)
    assert picture == pytest.approx(np.full_like(picture, 0.1))
    assert cells(noisy[:65, :63], noisy[:65, :63], noisy[:65, :63])[0].shape == (9, 8)


def test_untrained_a_quarter_of_the_residual_is_given_back_at_the_coarsest_scale():
    residual = torch.ones(1, 4, 16, 16)
    with torch.no_grad():
        found = LowBandNet(4)(residual, torch.zeros_like(residual))
    # A constant is 2, 4 and 8 units at the coarser scales; each gives a share back of what coarser ones have left.
    share = 1 / (1 + np.e)
    assert found.numpy() == pytest.approx(np.full((1, 4, 16, 16), 1 - (1 - share) ** 4), abs=1e-5)


def test_bands_of_rows_are_whole_cells():
    assert [rows.start % CELL for rows in row_bands(1000)] == [0] * len([*row_bands(1000)])


def test_only_bayer_mosaics_are_corrected():
    assert load_low_bands(3) is None
    assert load_low_bands(1) is None


def test_a_network_that_changes_nothing_is_not_corrected():
    image = flat(0.1)
    assert np.array_equal(corrected(image, np.zeros_like(image)), image)
