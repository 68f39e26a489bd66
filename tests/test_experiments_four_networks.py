"""The networks of the study of four and its recipe: sizes, losses by closed forms, and that their error falls."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

import burst_denoise as bd
from burst_denoise.model.fit import FitSettings, fit
from burst_denoise.score.metrics import psnr
from experiments.pictures import DataSet, Scene, random_pairs
from experiments.systems import cbdnet, four_networks
from experiments.systems.autoencoder import AUTOENCODER, Autoencoder
from experiments.systems.cbdnet import CBDNET, CBDNET_MSE, CBDNet, asymmetric_loss, cbdnet_loss, total_variation
from experiments.systems.four_networks import (
    EPOCHS,
    LOSSES,
    StudyPair,
    as_trained,
    non_local_means,
    patches_of,
    split_by_picture,
    study_pair,
    train_network,
)
from experiments.systems.initialisation import initialised
from experiments.systems.padding import padded
from experiments.systems.pridnet import PRIDNET, PRIDNET_SHARED, PRIDNet, UNet
from experiments.systems.ridnet import RIDNET, EnhancementAttention, RIDNet, mean_absolute_error
from experiments.systems.system import mean_squared_error
from tests.command_line import experiment

NOISE = 0.1
SYSTEMS = [AUTOENCODER, CBDNET, CBDNET_MSE, PRIDNET, PRIDNET_SHARED, RIDNET]
by_name = pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def scene(number, side=160):
    y, x = np.mgrid[:side, :side]
    grey = 0.45 + 0.2 * np.sin(x / (7 + number)) * np.cos(y / 11) + 0.2 * ((x + y) % 60 > 30)
    clean = (grey * np.array([0.8, 1, 0.7])[:, None, None]).astype(np.float32)
    noisy = clean + NOISE * np.random.default_rng(number).standard_normal(clean.shape, np.float32)
    return Scene(f"scene {number}", noisy[None], clean[None], np.full(3, NOISE, np.float32))


TRAINING = tuple(scene(number) for number in range(4))
DATA = DataSet("scenes", random_pairs(TRAINING), (), TRAINING)


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (Autoencoder, 778_307),
        (CBDNet, 4_365_382),
        (lambda: CBDNet().noise_level, 29_507),
        (RIDNet, 1_499_347),
        (lambda: EnhancementAttention(64), 373_956),
        (PRIDNet, 74_225_723),
        (lambda: PRIDNet(shared=True), 14_898_991),
        (lambda: UNet(32), 14_831_683),
    ],
)
def test_a_network_has_its_published_number_of_parameters(network, count):
    with torch.device("meta"):
        assert parameters(network()) == count


@by_name
def test_any_size_comes_back_and_gradients_reach_every_parameter(system):
    torch.manual_seed(0)
    network = system.build(True)
    noisy, target = torch.rand(2, 3, 67, 45), torch.rand(2, 3, 67, 45)
    assert network(noisy).shape == noisy.shape
    system.loss(network, noisy, target, *[torch.full((2, 3), NOISE)][: system.loss is cbdnet_loss]).backward()
    silent = [name for name, each in network.named_parameters() if each.grad is None or not each.grad.any()]
    assert silent == []


@by_name
def test_a_batch_is_what_the_loss_takes(system):
    network = system.build(True)
    batch = system.batch(DATA, np.random.default_rng(0))
    assert batch[0].shape == batch[1].shape
    with torch.inference_mode():
        assert system.loss(network, *map(torch.from_numpy, batch)).shape == ()


@by_name
def test_a_residual_network_starts_near_the_noisy_picture(system):
    torch.manual_seed(0)
    noisy = torch.from_numpy(TRAINING[0].noisy)
    with torch.inference_mode():
        change = float((system.build(True)(noisy) - noisy).square().mean())
    assert (change < 0.05 * NOISE**2) == system.residual


def test_small_pictures_are_reflected_as_often_as_it_takes():
    picture = torch.arange(3.0)[None, None, None, :].repeat(1, 1, 2, 1)
    expected = np.pad(picture[0, 0].numpy(), ((0, 6), (0, 5)), mode="reflect")
    assert padded(picture, 8)[0, 0].numpy() == pytest.approx(expected)
    assert padded(torch.zeros(1, 1, 16, 8), 8).shape == (1, 1, 16, 8)


@pytest.mark.parametrize("layer", [torch.nn.Conv2d(64, 64, 3), torch.nn.ConvTranspose2d(64, 64, 2, stride=2)])
@pytest.mark.parametrize("slope", [0.0, 0.2])
@torch.no_grad()
def test_initialised_convolutions_keep_the_size_of_signals(layer, slope):
    torch.manual_seed(0)
    x = torch.nn.functional.leaky_relu(torch.randn(2, 64, 32, 32), slope)
    y = torch.nn.functional.leaky_relu(initialised(layer, slope)(x), slope)
    assert float(y.square().mean() / x.square().mean()) == pytest.approx(1, rel=0.25)


def test_an_under_estimated_noise_level_weighs_seven_thirds_of_an_over_estimated_one():
    true = torch.full((1, 3), 0.2)
    assert float(asymmetric_loss(torch.full((1, 3, 4, 4), 0.1), true)) == pytest.approx(0.7 * 0.1**2)
    assert float(asymmetric_loss(torch.full((1, 3, 4, 4), 0.3), true)) == pytest.approx(0.3 * 0.1**2)


def test_a_noise_level_that_is_not_known_costs_nothing_and_gives_no_gradient():
    level = torch.full((2, 3, 4, 4), 0.1, requires_grad=True)
    true = torch.tensor([[torch.nan] * 3, [0.2] * 3])
    loss = asymmetric_loss(level, true)
    loss.backward()
    assert loss.item() == pytest.approx(0.7 * 0.1**2 / 2)
    assert not level.grad[0].any()
    assert level.grad[1].isfinite().all()
    assert level.grad[1].all()


def test_total_variation_of_a_ramp_is_its_squared_slopes():
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(7.0), indexing="ij")
    assert float(total_variation((0.1 * y + 0.2 * x)[None, None])) == pytest.approx(0.1**2 + 0.2**2)


def test_the_loss_of_cbdnet_adds_its_three_parts():
    torch.manual_seed(0)
    network = CBDNet(4, 4)
    noisy, target, noise_std = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8), torch.full((2, 3), NOISE)
    with torch.inference_mode():
        denoised, level = network.with_noise_level(noisy)
        mse = (denoised - target).square().mean()
        expected = mse + 0.5 * asymmetric_loss(level, noise_std) + 0.05 * total_variation(level)
        assert float(cbdnet_loss(network, noisy, target, noise_std)) == pytest.approx(float(expected))
        assert level.min() >= 0
        assert float(level.mean()) == pytest.approx(cbdnet.FIRST_LEVEL, rel=0.2)


def test_the_mean_absolute_error_of_the_identity_is_that_of_its_input():
    assert (
        float(mean_absolute_error(torch.nn.Identity(), torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), -0.5))) == 0.5
    )


def test_the_study_trains_for_15_30_30_and_25_epochs():
    assert [(system.name, epochs) for system, epochs in EPOCHS.items()] == [
        ("Convolutional autoencoder", 15),
        ("CBDNet, MSE alone", 30),
        ("PRIDNet", 30),
        ("RIDNet", 25),
    ]


@pytest.mark.parametrize("shape", [(3, 500, 500), (3, 1500, 1200)])
def test_pictures_are_brought_to_the_size_of_the_study(shape):
    pair = study_pair("x", np.full(shape, 0.2, np.float32), np.full(shape, 1.2, np.float32))
    assert pair.noisy.shape == pair.clean.shape == (3, 1024, 1024)
    assert (pair.noisy == 51).all()
    assert (pair.clean == 255).all()


def test_sixteen_patches_hold_every_pixel_of_a_picture_once():
    picture = np.random.default_rng(0).integers(0, 256, (3, 1024, 1024), np.uint8)
    patches = patches_of(picture)
    assert patches.shape == (16, 3, 256, 256)
    assert (patches[6] == picture[:, 256:512, 512:768]).all()
    rows = [np.concatenate(patches[4 * row : 4 * row + 4], axis=2) for row in range(4)]
    assert (np.concatenate(rows, axis=1) == picture).all()


def empty_pair(name):
    return StudyPair(name, *np.zeros((2, 3, 0, 0), np.uint8))


@pytest.mark.parametrize(("count", "held_out"), [(2, 1), (10, 2), (27, 5)])
def test_a_fifth_of_the_pictures_is_held_out(count, held_out):
    pairs = [empty_pair(str(number)) for number in range(count)]
    training, scored = split_by_picture(pairs)
    assert len(scored) == held_out
    assert sorted(pair.name for pair in training + scored) == sorted(pair.name for pair in pairs)
    assert split_by_picture(pairs) == (training, scored)


def test_a_single_picture_is_refused():
    with pytest.raises(bd.SeriesError, match="1 pair; training and scoring need one each"):
        split_by_picture([empty_pair("one")])


def test_an_epoch_shows_every_patch_once(monkeypatch):
    levels = np.repeat(np.arange(16, dtype=np.uint8), 256 * 256).reshape(4, 4, 256, 256)
    picture = np.broadcast_to(levels.transpose(0, 2, 1, 3).reshape(1, 1024, 1024), (3, 1024, 1024))
    seen = []

    def fit_nothing(network, batches, loss, settings):
        seen.extend(batches(step)[0][:, 0, 0, 0] * 255 for step in range(settings.steps))
        return fit(network, batches, loss, FitSettings(steps=1))

    monkeypatch.setattr(four_networks, "fit", fit_nothing)
    system = replace(CBDNET_MSE, loss=lambda network, noisy, target: network.last.weight.sum())
    train_network(system, [StudyPair("x", picture, picture)], 2, 6, narrow=True)
    assert [len(batch) for batch in seen] == [6, 6, 4] * 2
    for epoch in (seen[:3], seen[3:]):
        assert sorted(np.rint(np.concatenate(epoch))) == list(range(16))


def test_the_study_takes_the_mean_squared_error_and_the_papers_their_own():
    assert {as_trained(system, "study").loss for system in EPOCHS} == {mean_squared_error}
    assert [as_trained(system, "own").loss for system in EPOCHS] == [
        mean_squared_error,
        cbdnet_loss,
        mean_absolute_error,
        mean_absolute_error,
    ]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("system", EPOCHS, ids=lambda system: system.name)
def test_either_loss_is_given_patches_and_cbdnet_an_unknown_noise_level(system, loss, monkeypatch):
    noisy, clean = (np.full((3, 1024, 1024), value, np.uint8) for value in (51, 102))
    given = []

    def fit_nothing(network, batches, loss, settings):
        given.append(batches(0))
        return fit(network, lambda step: [part[..., :64, :64] for part in batches(step)[:2]] + list(batches(step)[2:]),
                   loss, FitSettings(steps=1, dtype=torch.float32))  # fmt: skip

    monkeypatch.setattr(four_networks, "fit", fit_nothing)
    trained = as_trained(system, loss)
    _, state = train_network(trained, [StudyPair("x", noisy, clean)], 1, 4, narrow=True)
    assert np.isfinite(state.loss)
    ((first, second, *level),) = given
    assert first.shape == second.shape == (4, 3, 256, 256)
    assert (first.mean(), second.mean()) == pytest.approx((0.2, 0.4), abs=1e-4)
    assert [part.shape for part in level] == ([(4, 3)] if trained.loss is cbdnet_loss else [])
    assert all(np.isnan(part).all() for part in level)


def test_non_local_means_brings_a_picture_nearer_to_the_clean_one():
    noisy, clean = TRAINING[0].noisy[0], TRAINING[0].target[0]
    denoised = non_local_means(noisy, 20)
    assert denoised.shape == noisy.shape
    assert psnr(denoised, clean, peak=1.0) > psnr(noisy, clean, peak=1.0) + 2


@pytest.mark.slow
@by_name
def test_in_a_minute_of_training_the_error_to_the_clean_picture_falls(system):
    torch.manual_seed(0)
    network = system.build(True)
    held_out = scene(9)

    def error(network):
        return float(((system.denoise(network, held_out.noisy[0]) - held_out.target[0]) ** 2).mean())

    first = error(network.eval())
    settings = FitSettings(
        steps=60,
        optimizer=system.optimizer,
        learning_rate=system.learning_rate,
        gradient_norm=1.0,
        dtype=torch.float32,
    )
    state = fit(network, lambda step: system.batch(DATA, np.random.default_rng(step)), system.loss, settings)
    assert error(state.average) < (0.8 * NOISE**2 if system.residual else first / 2)


@pytest.mark.slow
def test_the_study_is_one_command_that_explores_trains_scores_and_draws(tmp_path):
    for number in range(3):
        for kind, picture in (("noisy", scene(number).noisy[0]), ("clean", scene(number).target[0])):
            (tmp_path / "pairs" / kind).mkdir(parents=True, exist_ok=True)
            pixels = np.rint(255 * np.moveaxis(picture, 0, -1).clip(0, 1)).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "pairs" / kind / f"scene{number}.png"), pixels)
    arguments = ["--pairs", "pairs", "--output", "out", "--narrow", "--epochs-share", "0.004", "--batch", "2"]

    def run():
        return experiment(tmp_path, "systems.four_networks", *arguments)

    first = run()
    assert first.returncode == 0, first.stdout + first.stderr
    assert "2 pictures to train on, 1 held out" in first.stdout
    lines = (tmp_path / "out" / "results.md").read_text().splitlines()
    methods = [line.split("|")[1].split(",")[0].strip() for line in lines if line.startswith("| ")][1:]
    assert methods == [
        "Noisy",
        "Non-local means",
        "Convolutional autoencoder (narrowed)",
        "CBDNet",
        "PRIDNet (narrowed)",
        "RIDNet (narrowed)",
    ]
    drawn = {path.stem for path in (tmp_path / "out").glob("*.png")}
    explored = {"pairs", "patches", "histograms", "means", "psnr_before", "ssim_before"}
    assert drawn >= explored | {"scores"}
    assert any(name.startswith("result_") for name in drawn)
    assert len(list((tmp_path / "out").glob("*.safetensors"))) == 4
    assert "out: " in run().stderr, "nothing is overwritten"
