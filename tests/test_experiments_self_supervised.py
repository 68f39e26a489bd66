"""Systems that learn from single noisy pictures: what they hide, what they count, and that their error falls."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from skimage.data import astronaut
from torch import nn

from burst_denoise.arrays import Float
from burst_denoise.model.fit import FitSettings, fit, masked_mse
from experiments.pictures import DataSet, Scene, random_pairs
from experiments.systems import noise2self, noise2void
from experiments.systems.deep_image_prior import STEPS, denoise_picture, skip_net
from experiments.systems.noise2self import NOISE2SELF, BabyUNet, grid, masked_by_means
from experiments.systems.noise2void import NOISE2VOID, EachColour, UNet, masked_by_neighbours, one_colour
from experiments.systems.system import System

SYSTEMS = [NOISE2VOID, NOISE2SELF]
NOISE = 0.03


def clean_picture(height: int = 128, width: int = 192) -> Float:
    return np.moveaxis(astronaut()[:height, 150 : 150 + width], 2, 0).astype(np.float32) / 255


def noisy_frames(clean: Float, count: int, noise: float = NOISE) -> Float:
    drawn = np.random.default_rng(1).standard_normal((count, *clean.shape), np.float32)
    return clean + np.float32(noise) * drawn


def data_set(clean: Float) -> DataSet:
    noisy = noisy_frames(clean, 4)
    scene = Scene("astronaut", noisy, noisy[::-1].copy(), np.full(3, NOISE, np.float32))
    return DataSet("one scene", random_pairs((scene,)), (), (scene,))


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def convolution(side: int, inputs: int, outputs: int) -> int:
    return side * side * inputs * outputs + outputs


def normalised(*widths: int) -> int:
    """Parameters of 3x3 convolutions from width to width, each with a batch normalisation."""
    return sum(convolution(3, a, b) + 2 * b for a, b in pairwise(widths))


def error(picture: Float, clean: Float) -> float:
    return float(np.square(picture - clean).mean())


@pytest.mark.parametrize(("channels", "count"), [(1, 333_729), (4, 334_692)])
def test_the_unet_of_noise2void_has_its_published_size(channels: int, count: int) -> None:
    blocks = normalised(channels, 32, 32) + normalised(32, 64, 64) + normalised(64, 128, 64)
    blocks += normalised(128, 64, 32) + normalised(64, 32, 32)
    assert parameters(UNet(channels)) == blocks + convolution(1, 32, channels) == count


@pytest.mark.parametrize(("channels", "count"), [(1, 72_353), (3, 72_675)])
def test_the_unet_of_noise2self_has_its_published_size(channels: int, count: int) -> None:
    blocks = normalised(channels, 16, 16) + normalised(16, 32, 32) + normalised(32, 32, 32)
    blocks += normalised(64, 32, 32) + normalised(48, 16, 16)
    assert parameters(BabyUNet(channels)) == blocks + convolution(1, 16, channels) == count


def test_the_skip_network_has_its_published_size() -> None:
    count = convolution(1, 128, 3)
    for inputs in (32, 128, 128, 128, 128):
        count += normalised(inputs, 128, 128)  # down
        count += convolution(1, inputs, 4) + 2 * 4  # short cut
        count += 2 * 132 + normalised(132, 128) + convolution(1, 128, 128) + 2 * 128  # up
    assert parameters(skip_net(narrow=False)) == count == 2_217_831
    assert parameters(skip_net(narrow=True)) == 572_827


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
@pytest.mark.parametrize("narrow", [False, True])
def test_any_size_comes_back_and_gradients_reach_every_weight(system: System, narrow: bool) -> None:
    network = system.build(narrow)
    pictures = torch.rand(2, 3, 37, 51)
    result = network(pictures)
    assert result.shape == pictures.shape
    result.square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert all(parameter.grad.abs().sum() > 0 for name, parameter in network.named_parameters() if "weight" in name)


@pytest.mark.parametrize("narrow", [False, True])
def test_the_skip_network_takes_any_size(narrow: bool) -> None:
    network = skip_net(narrow)
    result = network(torch.rand(1, network.inputs, 41, 70))
    assert result.shape == (1, 3, 41, 70)
    assert 0 < result.min() < result.max() < 1
    result.mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_one_pixel_of_each_box_of_each_channel_is_masked() -> None:
    noisy = np.random.default_rng(0).random((2, 3, 64, 64), np.float32)
    masked, mask = masked_by_neighbours(noisy, np.random.default_rng(1))
    box = noise2void.BOX
    per_box = mask.reshape(2, 3, 64 // box, box, 64 // box, box).sum((3, 5))
    assert (per_box == 1).all()
    assert mask.mean() == pytest.approx(0.0156, abs=1e-4)
    assert not (mask[:, 0] == mask[:, 1]).all()
    np.testing.assert_array_equal(masked[~mask], noisy[~mask])


def test_masked_pixels_show_a_neighbour_of_their_own_channel() -> None:
    noisy = np.arange(2 * 3 * 64 * 64, dtype=np.float32).reshape(2, 3, 64, 64)  # the value tells the place
    masked, mask = masked_by_neighbours(noisy, np.random.default_rng(1))
    shown, own = (np.stack(np.unravel_index(values[mask].astype(int), noisy.shape)) for values in (masked, noisy))
    distance = np.abs(shown - own)
    assert (distance[:2] == 0).all()
    assert distance[2:].max() == noise2void.RADIUS
    assert (distance[2:].max(axis=0) > 0).all()
    assert not mask[tuple(shown)].any()


def test_the_grids_cover_every_pixel_once() -> None:
    grids = np.stack([grid(number, (10, 13)) for number in range(noise2self.GRIDS)])
    assert (grids.sum(axis=0) == 1).all()


def test_each_colour_is_a_grey_picture_of_its_own() -> None:
    pictures = np.random.default_rng(0).random((5, 3, 8, 8), np.float32)
    drawn = one_colour(pictures, np.random.default_rng(1))
    assert drawn.shape == (5, 1, 8, 8)
    assert all((pictures[k] == drawn[k]).all((1, 2)).any() for k in range(5))
    network = UNet(first=8).eval()
    whole = EachColour(network)(torch.from_numpy(pictures))
    torch.testing.assert_close(whole[:, 1:2], network(torch.from_numpy(pictures[:, 1:2])))


def test_pixels_of_a_grid_show_the_weighted_mean_of_their_neighbours() -> None:
    noisy = np.random.default_rng(0).random((2, 3, 12, 12), np.float32)
    mask = np.broadcast_to(grid(5, (12, 12)), noisy.shape)
    masked = masked_by_means(noisy, mask)
    np.testing.assert_array_equal(masked[~mask], noisy[~mask])
    assert mask[1, 0, 5, 5]
    around = noisy[1, 0, 4:7, 4:7]
    sides = around[0, 1] + around[1, 0] + around[1, 2] + around[2, 1]
    corners = around[0, 0] + around[0, 2] + around[2, 0] + around[2, 2]
    assert masked[1, 0, 5, 5] == pytest.approx((sides + corners / 2) / 6, abs=1e-6)


def test_noise2void_shows_nothing_of_the_values_it_masks() -> None:
    noisy = noisy_frames(clean_picture(64, 64), 2)
    masked, mask = masked_by_neighbours(noisy, np.random.default_rng(5))
    again, _ = masked_by_neighbours(np.where(mask, noisy + 1, noisy), np.random.default_rng(5))
    np.testing.assert_array_equal(masked, again)


def test_noise2self_shows_nothing_of_the_values_it_masks() -> None:
    noisy = noisy_frames(clean_picture(64, 64), 1)[0]
    mask = np.broadcast_to(grid(7, noisy.shape[1:]), noisy.shape)
    masked = masked_by_means(noisy, mask)
    np.testing.assert_array_equal(masked, masked_by_means(np.where(mask, noisy + 1, noisy), mask))


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_only_masked_pixels_count(system: System) -> None:
    masked, noisy, mask = (
        torch.from_numpy(part) for part in system.batch(data_set(clean_picture()), np.random.default_rng(2))
    )
    assert system.loss is masked_mse
    network = nn.Identity()
    loss = system.loss(network, masked, noisy, mask)
    assert loss.item() == pytest.approx((masked - noisy)[mask].square().mean().item(), rel=1e-5)
    elsewhere = torch.where(mask, noisy, noisy + 7)
    assert system.loss(network, masked, elsewhere, mask).item() == pytest.approx(loss.item())


def test_deep_image_prior_keeps_the_output_nearest_to_another_frame() -> None:
    clean = clean_picture(40, 40)
    noisy, other = noisy_frames(clean, 2)
    picture, record = denoise_picture(noisy, other, steps=3, narrow=True)
    assert picture.shape == clean.shape
    assert record.steps == 3
    assert 1 <= record.kept_step <= 3
    assert record.cpu_seconds > 0
    again, _ = denoise_picture(noisy, other, steps=3, narrow=True)
    np.testing.assert_array_equal(picture, again)
    shorter, _ = denoise_picture(noisy, None, steps=3, narrow=True)
    assert error(picture, other) <= error(shorter, other)


def test_deep_image_prior_counts_its_steps_by_processor_time() -> None:
    noisy = noisy_frames(clean_picture(40, 40), 1)[0]
    _, record = denoise_picture(noisy, None, seconds=0.8, narrow=True)
    assert record.kept_step == record.steps > 1
    assert 0.2 < record.cpu_seconds < 3
    assert STEPS[False] == 3000


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_a_minute_of_training_lowers_the_error_to_the_clean_picture(system: System) -> None:
    clean = clean_picture(256, 256)
    data = data_set(clean)
    torch.manual_seed(0)
    network = system.build(True)
    first = error(system.denoise(network.eval(), data.scenes[0].noisy[0]), clean)
    settings = FitSettings(
        steps=300, optimizer=system.optimizer, learning_rate=system.learning_rate, dtype=torch.float32
    )
    state = fit(network, lambda step: system.batch(data, np.random.default_rng([0, step])), system.loss, settings)
    assert error(system.denoise(state.average, data.scenes[0].noisy[0]), clean) < first / 2


@pytest.mark.slow
def test_a_minute_of_deep_image_prior_lowers_the_error_to_the_clean_picture() -> None:
    clean = clean_picture()
    noisy, other = noisy_frames(clean, 2, noise=0.1)
    first, _ = denoise_picture(noisy, other, steps=1, narrow=True)
    picture, _ = denoise_picture(noisy, other, steps=500, narrow=True)
    assert error(picture, clean) < min(error(first, clean) / 2, error(noisy, clean))
