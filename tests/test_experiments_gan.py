"""The denoising GAN: whose turn it is and what learns in it, chunks of any picture, the blend, its experiment."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from burst_denoise.model.fit import Checkpoint, FitSettings, fit
from experiments.procedural_noise import bundled_pictures, gaussian_noise, noise_data
from experiments.rows import parameter_count
from experiments.systems.gan import (
    GAN,
    GAN_BCE,
    DenoisingGan,
    Discriminator,
    Generator,
    blended,
    conditioned,
    denoise_chunks,
    gan_loss,
)
from experiments.systems.gan.__main__ import main

PRETRAINING = 3


@pytest.fixture
def network():
    """A tiny GAN, made from a seed."""
    torch.manual_seed(0)
    return DenoisingGan(Generator((4, 6), 10), Discriminator(4), PRETRAINING)


def batch(step: int) -> list[np.ndarray]:
    rng = np.random.default_rng(step)
    clean = rng.random((4, 3, 32, 32), np.float32)
    return [clean + rng.normal(0, 0.1, clean.shape).astype(np.float32), clean, rng.random((2, 4), np.float32) / 10]


def learning(network: DenoisingGan, loss=gan_loss) -> tuple[bool, bool]:
    """Take a step's gradients: whether all of the generator has one, and all of the discriminator; else none of it."""
    network.zero_grad()
    loss(network, *map(torch.from_numpy, batch(0))).backward()
    found = []
    for part in (network.generator, network.discriminator):
        gradients = [weight.grad for weight in part.parameters()]
        found.append(gradients[0] is not None)
        if found[-1]:
            assert all(gradient.abs().max() > 0 for gradient in gradients)
        else:
            assert all(gradient is None for gradient in gradients)
    return tuple(found)


@pytest.mark.parametrize("loss", [gan_loss, partial(gan_loss, pixel_weight=0.0)])
def test_both_parts_learn_apart_then_two_steps_of_one_and_three_of_the_other(network, loss):
    apart, generator, discriminator = (True, True), (True, False), (False, True)
    turns = [learning(network, loss) for _ in range(PRETRAINING + 10)]
    assert turns == [apart] * PRETRAINING + ([discriminator] * 2 + [generator] * 3) * 2
    assert all(weight.requires_grad for weight in network.parameters())


def test_in_the_pretraining_no_part_depends_on_the_other(network):
    learning(network)
    before = [weight.grad.clone() for weight in network.discriminator.parameters()]
    nn.init.constant_(network.generator.decoder[-1].bias, 3.0)
    learning(network)
    for weight, gradient in zip(network.discriminator.parameters(), before, strict=True):
        torch.testing.assert_close(weight.grad, gradient, rtol=0, atol=0)


def test_the_losses_are_those_of_the_closed_form(network):
    noisy, clean, _labels = map(torch.from_numpy, batch(0))
    labels = torch.zeros(2, 4)
    nn.init.zeros_(network.discriminator.layers[-1].weight)
    nn.init.zeros_(network.discriminator.layers[-1].bias)  # it gives 0.5, whose cross-entropy is log 2
    with torch.no_grad():
        error = (network.generator(noisy) - clean).square().mean()
    log2 = torch.log(torch.tensor(2.0))
    torch.testing.assert_close(gan_loss(network, noisy, clean, labels), error + log2)
    network.step.fill_(PRETRAINING)
    torch.testing.assert_close(gan_loss(network, noisy, clean, labels), log2)
    network.step.fill_(PRETRAINING + 2)
    torch.testing.assert_close(gan_loss(network, noisy, clean, labels, adversarial_weight=0.1), error + 0.1 * log2)
    network.step.fill_(PRETRAINING + 2)
    torch.testing.assert_close(gan_loss(network, noisy, clean, labels, pixel_weight=0.0), log2)


def test_the_turn_goes_on_where_a_training_stopped(tmp_path):
    def trained(steps_of_first_run: int | None) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        network = DenoisingGan(Generator((4, 6), 10), Discriminator(4), PRETRAINING)
        path = tmp_path / f"{steps_of_first_run}.safetensors"

        def on_step(state):
            if state.step == steps_of_first_run and not state.notes.get("stopped"):
                raise KeyboardInterrupt

        how = FitSettings(steps=9, optimizer="rmsprop", learning_rate=1e-3)
        run = partial(fit, network, batch, gan_loss, how, checkpoint=Checkpoint(path, "here", every_s=-1))
        if steps_of_first_run is not None:
            with pytest.raises(KeyboardInterrupt):
                run(on_step=on_step)
        return run().average.state_dict()

    whole, stopped = trained(None), trained(4)
    assert int(whole["step"]) == 9
    for name, value in whole.items():
        torch.testing.assert_close(stopped[name], value, rtol=0, atol=0)


@pytest.mark.parametrize(("narrow", "count"), [(True, 7_466_024), (False, 29_629_616)])
def test_the_generators_are_those_of_the_source(narrow, count):
    network = GAN.build(narrow)
    assert parameter_count(network) == count
    generator = network.generator
    filters = [layer.out_channels for layer in generator.encoder if isinstance(layer, nn.Conv2d)]
    dense = generator.encoder[-1]
    assert filters == ([32, 64] if narrow else [256, 128, 64])
    assert dense.out_features == (900 if narrow else 3500)
    # Over-complete: the full latent has more numbers than a chunk, and so has the layer before it.
    assert narrow or dense.in_features > dense.out_features > 3 * 32 * 32


def test_the_discriminator_has_two_times_128_filters():
    # 3x3x3x128 + 128, 3x3x128x128 + 128, 8x8x128 + 1
    assert sum(weight.numel() for weight in Discriminator().parameters()) == 3584 + 147_584 + 8193
    output = Discriminator(2)(torch.rand(5, 3, 32, 32))
    assert output.shape == (5,)
    assert ((output > 0) & (output < 1)).all()


@pytest.mark.parametrize("size", [(1, 1), (5, 71), (32, 32), (100, 33)])
def test_pictures_of_any_size_keep_it(network, size):
    network.eval()
    picture = np.random.default_rng(0).random((3, *size), np.float32)
    with torch.no_grad():
        whole = network(torch.from_numpy(picture)[None])[0].numpy()
    assert whole.shape == picture.shape
    np.testing.assert_allclose(denoise_chunks(network, picture), whole, atol=1e-6)


def test_a_chunk_is_denoised_the_same_wherever_it_lies(network):
    network.eval()
    tiled = torch.rand(1, 3, 32, 32).tile(2, 1, 3, 2)
    made = network(tiled)
    torch.testing.assert_close(made, made[:1, :, :32, :32].tile(2, 1, 3, 2))


def test_the_blend_leads_from_the_picture_to_the_denoised_one(network):
    picture, denoised = np.float32([0.2, 0.8]), np.float32([0.4, 0.6])
    np.testing.assert_array_equal(blended(picture, denoised, 0), picture)
    np.testing.assert_allclose(blended(picture, denoised, 1), denoised, rtol=1e-6)
    np.testing.assert_allclose(blended(picture, denoised, 0.25), [0.25, 0.75], rtol=1e-6)
    network.eval()
    picture = np.random.default_rng(0).random((3, 40, 40), np.float32)
    half = (picture + denoise_chunks(network, picture)) / 2
    np.testing.assert_allclose(denoise_chunks(network, picture, intensity=0.5), half, atol=1e-6)


def test_the_conditional_variant_sees_intensity_and_size():
    torch.manual_seed(0)
    network = DenoisingGan(Generator((4, 6), 10, inputs=5), Discriminator(4), 0).eval()
    picture = np.random.default_rng(0).random((3, 40, 50), np.float32)
    inputs = conditioned(picture, 0.1, 3.0)
    assert inputs.shape == (5, 40, 50)
    assert (inputs[3] == np.float32(0.1)).all()
    assert (inputs[4] == 1).all()
    denoised = denoise_chunks(network, inputs)
    assert denoised.shape == picture.shape
    for other in (conditioned(picture, 0.2, 3.0), conditioned(picture, 0.1, 1.0)):
        assert np.abs(denoise_chunks(network, other) - denoised).max() > 0


def test_label_noise_comes_with_the_batch():
    data = noise_data("bundled", bundled_pictures(), gaussian_noise, 0.1)
    noisy, clean, labels = GAN_BCE.batch(data, np.random.default_rng(0))
    assert noisy.shape == clean.shape == (64, 3, 32, 32)
    assert labels.shape == (2, 64)
    assert 0 <= labels.min() < labels.max() <= 0.1


@pytest.fixture
def experiment(tmp_path):
    """A folder of 16 pictures and the options of a tiny experiment on them."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    levels = np.random.default_rng(0).integers(256, size=(16, 130, 140, 3), dtype=np.uint8)
    for index, picture in enumerate(levels):
        Image.fromarray(picture).save(pictures / f"{index:02d}.png")
    options = "--epochs 2 --steps 2 --pretraining 1 --batch 4 --filters 4 6 --latent 10 --discriminator 4 --workers 0"
    return ["--pictures", str(pictures), *options.split()]


def test_the_experiment_draws_its_figures_and_keeps_the_weights_of_every_epoch(experiment, tmp_path, capsys):
    output = tmp_path / "out"
    arguments = [*experiment, "--output", str(output), "--latents", "5", "10"]
    main(arguments)
    for figure in ("latent_sizes.png", "evolution.png", "curves.png"):
        with Image.open(output / figure) as image:
            assert image.width > 100
    assert len(list((output / "evolution").iterdir())) == 3
    kept = sorted((output / "weights").iterdir())
    assert [int(load_file(path)["step"]) for path in kept] == [0, 2, 4]
    printed = capsys.readouterr().out
    assert printed.count("latent ") == 2
    assert printed.count("epoch ") == 3


def test_the_experiment_begins_with_kept_weights(experiment, tmp_path):
    arguments = [*experiment, "--latents", "--conditional", "--loss", "bce", "--output"]
    main([*arguments, str(tmp_path / "first")])
    start = tmp_path / "first" / "weights" / "epoch_002.safetensors"
    main([*arguments, str(tmp_path / "second"), "--start", str(start)])
    begun, kept = load_file(tmp_path / "second" / "weights" / "epoch_000.safetensors"), load_file(start)
    for name, value in kept.items():
        torch.testing.assert_close(begun[name], value)


@pytest.mark.slow
def test_its_error_halves_in_a_seeded_minute():
    data = noise_data("bundled", bundled_pictures(), gaussian_noise, 0.1)
    torch.manual_seed(0)
    network = GAN.build(True)
    (pair,) = data.validation

    def error(network):
        return float(np.square(GAN.denoise(network, pair.noisy) - pair.target).mean())

    first = error(network.eval())
    state = fit(
        network,
        lambda step: GAN.batch(data, np.random.default_rng([0, step])),
        GAN.loss,
        FitSettings(steps=120, optimizer=GAN.optimizer, learning_rate=GAN.learning_rate),
    )
    assert error(state.average) < first / 2
