"""The four-layer CNN: its size, its channels apart, its study in small."""

import numpy as np
import pytest
import torch
from PIL import Image

from burst_denoise.model.fit import FitSettings, fit
from experiments.procedural_noise import bundled_pictures, gaussian_noise, noise_data
from experiments.systems.four_layer_cnn import FOUR_LAYER_CNN, FourLayerCnn, epoch_batches, grey_pictures, main


def test_it_has_the_2737_parameters_of_its_source():
    assert sum(weight.numel() for weight in FourLayerCnn().parameters()) == 2737


def test_its_widths_are_an_option():
    # 3x3 weights and a bias: 1 to 4, 4 to 4, 4 to 1.
    assert sum(weight.numel() for weight in FourLayerCnn((4, 4)).parameters()) == 40 + 148 + 37


@pytest.mark.parametrize("size", [(1, 1), (17, 31), (128, 128)])
def test_pictures_of_any_size_keep_it(size):
    assert FourLayerCnn()(torch.rand(2, 3, *size)).shape == (2, 3, *size)


def test_each_colour_is_a_grey_picture_of_its_own():
    network = FourLayerCnn()
    colours = torch.rand(1, 3, 20, 20)
    apart = torch.cat([network(colours[:, channel : channel + 1]) for channel in range(3)], 1)
    torch.testing.assert_close(network(colours), apart)


def test_its_last_layer_is_linear():
    network = FourLayerCnn()
    torch.nn.init.constant_(network.layers[-1].bias, -5)
    assert network(torch.rand(1, 3, 16, 16)).max() < 0


def test_every_weight_learns():
    torch.manual_seed(0)
    network = FourLayerCnn()
    noisy, target = (torch.rand(2, 1, 32, 32) for _ in range(2))
    FOUR_LAYER_CNN.loss(network, noisy, target).backward()
    assert all(weight.grad.abs().max() > 0 for weight in network.parameters())


def test_a_batch_is_eight_grey_pairs_of_one_channel():
    data = noise_data(
        "bundled", bundled_pictures(), lambda clean, _rng: gaussian_noise(clean, np.random.default_rng(0))
    )
    noisy, target = FOUR_LAYER_CNN.batch(data, np.random.default_rng(1))
    assert noisy.shape == target.shape == (8, 1, 128, 128)
    assert (noisy - target).std() == pytest.approx(0.1, rel=0.02)


@pytest.fixture
def folder(tmp_path):
    """Sixteen pictures of waves."""
    y, x = np.mgrid[:140, :150]
    for index in range(16):
        wave = 127 + 100 * np.sin(x / (5 + index)) * np.cos(y / 9)
        Image.fromarray(np.dstack([wave] * 3).astype(np.uint8)).save(tmp_path / f"{index:02d}.png")
    return tmp_path


def test_grey_pictures_come_from_every_file(folder):
    pictures = grey_pictures(sorted(folder.iterdir()), 32, [0])
    assert pictures.shape == (32, 1, 128, 128)
    assert len({round(float(picture.std()), 6) for picture in pictures[:16]}) == 16


def test_an_epoch_shows_every_picture_once_and_drops_none():
    clean = np.arange(11, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 8, 8), np.float32)
    batch = epoch_batches(clean, 0)
    for epoch in range(2):
        pairs = [batch(2 * epoch + place) for place in range(2)]
        assert [len(target) for _noisy, target in pairs] == [8, 3]
        assert sorted(target[0, 0, 0] for _noisy, targets in pairs for target in targets) == list(range(11))


def test_the_study_draws_its_figures_and_goes_on_where_it_stopped(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("experiments.systems.four_layer_cnn.TEST_PICTURES", 3)
    output = tmp_path / "out"
    arguments = ["--pictures", str(folder), "--output", str(output), "--training-pictures", "9", "--epochs", "2"]
    main(arguments)
    assert {path.name for path in output.iterdir()} == {"training.safetensors", "denoised.png", "curve.png"}
    first = capsys.readouterr().out.splitlines()
    assert [line[:9] for line in first] == ["epoch   0", "epoch   2"]
    main(arguments)
    assert capsys.readouterr().out.splitlines() == first[1:]


@pytest.mark.slow
def test_its_error_halves_in_a_seeded_minute():
    data = noise_data("bundled", bundled_pictures(), gaussian_noise, 0.1)
    torch.manual_seed(0)
    network = FOUR_LAYER_CNN.build(True)
    (pair,) = data.validation

    def error(network):
        return float(np.square(FOUR_LAYER_CNN.denoise(network, pair.noisy) - pair.target).mean())

    first = error(network)
    state = fit(
        network,
        lambda step: FOUR_LAYER_CNN.batch(data, np.random.default_rng([0, step])),
        FOUR_LAYER_CNN.loss,
        FitSettings(steps=150, optimizer=FOUR_LAYER_CNN.optimizer, learning_rate=FOUR_LAYER_CNN.learning_rate),
    )
    assert error(state.average) < first / 2
