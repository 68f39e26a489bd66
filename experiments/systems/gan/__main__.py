"""The denoising GAN's own experiment on a folder of clean pictures under procedural noise.

    python -m experiments.systems.gan --pictures FOLDER --output FOLDER --epochs 20

First autoencoders of several latent sizes reproduce clean pictures: `latent_sizes.png`. Then the GAN is trained, and
after every epoch tells its pixel loss on test pictures, its discriminator's output on them (0.5 is the goal), and how
one picture evolves: `curves.png`, `evolution.png`. The weights of every epoch are kept in `weights`; the same
command goes on where it was stopped, and `--start` begins with kept weights.
"""

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import burst_denoise as bd
from burst_denoise.arrays import Float
from burst_denoise.model.fit import Checkpoint, FitSettings, FitState, fit
from experiments.noisy_batches import BatchRecipe, NoisyBatch, NoisyBatches
from experiments.procedural_noise import Noisy, picture_files, procedural_noise, read_picture
from experiments.systems.gan import (
    CHUNK,
    LABEL_NOISE,
    DenoisingGan,
    Discriminator,
    Generator,
    conditioned,
    denoise_chunks,
    gan_loss,
)

TEST_PICTURES = 8
TEST_SIDE = 128
SHOWN = 8
"""At most so many pictures in a row of a figure."""
CHECKPOINT_EVERY_S = 300.0
"""The full network's is 350 MB."""
LOSSES = {"mse+bce": (1.0, "rmsprop"), "bce": (0.0, "adam")}
"""Weight of the squared error beside the binary cross-entropy, and the optimiser."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    try:
        training, _validation, test = picture_files(options.pictures)
        clean = [_middle(read_picture(path)) for path in test[:TEST_PICTURES]]
    except bd.InputFileError as error:
        sys.exit(f"error: {error}")
    options.output.mkdir(parents=True, exist_ok=True)
    recipe = BatchRecipe(tuple(training), options.batch, CHUNK, options.seed)
    with NoisyBatches(recipe, options.workers) as batches:
        if options.latents:
            _compare_latents(options, batches, clean)
        _train(options, batches, clean)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True, help="folder of clean pictures")
    parser.add_argument("--output", type=Path, required=True, help="folder of the figures and weights")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=100, help="of an epoch")
    parser.add_argument("--pretraining", type=int, default=2, help="epochs in which both parts learn apart")
    parser.add_argument("--batch", type=int, default=200, help="chunks of 32x32 pixels")
    parser.add_argument("--filters", type=int, nargs="+", default=[256, 128, 64], help="32 64 is the first, small GAN")
    parser.add_argument("--latent", type=int, default=3500, help="900 with the small GAN")
    parser.add_argument("--discriminator", type=int, default=128, help="its filters")
    parser.add_argument("--loss", choices=LOSSES, default="mse+bce")
    parser.add_argument("--adversarial-weight", type=float, default=1.0, help="of the cross-entropy beside the error")
    parser.add_argument("--conditional", action="store_true", help="give the generator the noise's intensity and size")
    parser.add_argument("--latents", type=int, nargs="*", default=[900, 1750, 3500], help="none leaves these out")
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--workers", type=int, default=1, help="processes that make batches")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="weights to begin with, such as weights/epoch_003.safetensors")
    return parser


def _compare_latents(options: argparse.Namespace, batches: NoisyBatches, clean: list[Float]) -> None:
    """Train autoencoders of several latent sizes on clean chunks alone, and show what each makes of test pictures."""
    rows = {"clean": clean}
    for latent in options.latents:
        torch.manual_seed(options.seed)
        network = Generator(options.filters, latent).to(memory_format=torch.channels_last)
        checkpoint = _checkpoint(options, f"latent_{latent}")
        state = fit(
            network, lambda step: [batches(step).clean], _reproduction_error, _settings(options, "adam"),
            checkpoint=checkpoint,
        )  # fmt: skip
        whole = DenoisingGan(state.average, Discriminator(1), 0).eval()
        made = [denoise_chunks(whole, picture) for picture in clean]
        error = _mean_squared_error(made, clean)
        print(f"latent {latent:5d}: reproduces test pictures at {-10 * math.log10(error):.2f} dB", flush=True)
        rows[f"latent {latent}\n{-10 * math.log10(error):.2f} dB"] = made
    _picture_grid(rows, [""] * len(clean)).savefig(options.output / "latent_sizes.png")


def _reproduction_error(network: nn.Module, clean: Tensor) -> Tensor:
    return (network(clean) - clean).square().mean()


def _train(options: argparse.Namespace, batches: NoisyBatches, clean: list[Float]) -> None:
    pixel_weight, optimizer = LOSSES[options.loss]
    torch.manual_seed(options.seed)
    network = DenoisingGan(
        Generator(options.filters, options.latent, inputs=5 if options.conditional else 3),
        Discriminator(options.discriminator),
        options.pretraining * options.steps,
    ).to(memory_format=torch.channels_last)
    if options.start:
        network.load_state_dict(load_file(options.start))
    tests = [procedural_noise(picture, np.random.default_rng([options.seed, i])) for i, picture in enumerate(clean)]
    for folder in ("weights", "evolution"):
        (options.output / folder).mkdir(exist_ok=True)

    def batch(step: int) -> Sequence[Any]:
        made = batches(step)
        noise = np.random.default_rng([options.seed, 2, step]).uniform(0, LABEL_NOISE, (2, options.batch))
        return _inputs(made, conditional=options.conditional), made.clean, noise.astype(np.float32)

    def on_step(state: FitState) -> None:
        if state.step % options.steps == 0:
            _follow_epoch(state, options, tests, clean)

    state = fit(
        network,
        batch,
        partial(gan_loss, pixel_weight=pixel_weight, adversarial_weight=options.adversarial_weight),
        _settings(options, optimizer),
        checkpoint=_checkpoint(options, "training"),
        on_step=on_step,
    )
    curve = state.notes["curve"]
    _curves(curve, options.pretraining).savefig(options.output / "curves.png")
    _evolution(options, tests[0], clean[0], len(curve)).savefig(options.output / "evolution.png")


def _inputs(batch: NoisyBatch, *, conditional: bool) -> Float:
    if not conditional:
        return batch.noisy
    return np.stack([conditioned(*known) for known in zip(batch.noisy, batch.intensity, batch.size, strict=True)])


def _follow_epoch(state: FitState, options: argparse.Namespace, tests: list[Noisy], clean: list[Float]) -> None:
    """Note the scores of an epoch, show its picture, keep its weights; once, also in a training that goes on."""
    epoch = state.step // options.steps
    curve = state.notes.setdefault("curve", [])
    if len(curve) > epoch:
        return
    network = state.average
    assert isinstance(network, DenoisingGan)
    seen = [conditioned(*noisy) if options.conditional else noisy.picture for noisy in tests]
    made = [denoise_chunks(network, picture) for picture in seen]
    error = _mean_squared_error(made, clean)
    output, on_clean = (_discriminator_output(network.discriminator, pictures) for pictures in (made, clean))
    curve.append((error, output, on_clean))
    print(f"epoch {epoch:3d}: pixel loss {error:.5f}, discriminator {output:.3f} (clean {on_clean:.3f})", flush=True)
    Image.fromarray(_levels(made[0])).save(options.output / "evolution" / f"epoch_{epoch:03d}.png")
    kept = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(kept, options.output / "weights" / f"epoch_{epoch:03d}.safetensors")


def _discriminator_output(discriminator: Discriminator, pictures: list[Float]) -> float:
    """Return the mean probability that chunks of these pictures are real."""
    chunks = torch.from_numpy(np.stack(pictures)).unfold(2, CHUNK, CHUNK).unfold(3, CHUNK, CHUNK)
    with torch.inference_mode():
        return float(discriminator(chunks.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, CHUNK, CHUNK)).mean())


def _settings(options: argparse.Namespace, optimizer: str) -> FitSettings:
    return FitSettings(
        steps=options.epochs * options.steps,
        optimizer=optimizer,
        learning_rate=options.learning_rate,
        gradient_norm=math.inf,
    )


def _checkpoint(options: argparse.Namespace, name: str) -> Checkpoint:
    """Return where a training is kept; all options decide it but where results go and who makes the batches."""
    settings = {key: str(value) for key, value in vars(options).items() if key not in {"output", "workers", "latents"}}
    fingerprint = hashlib.sha256(json.dumps([name, settings]).encode()).hexdigest()
    return Checkpoint(options.output / f"{name}.safetensors", fingerprint, CHECKPOINT_EVERY_S)


def _mean_squared_error(made: list[Float], clean: list[Float]) -> float:
    return float(np.mean([np.square(a - b).mean() for a, b in zip(made, clean, strict=True)]))


def _middle(picture: np.ndarray) -> Float:
    if min(picture.shape[1:]) < TEST_SIDE:
        raise bd.InputFileError(
            f"a test picture of {picture.shape[1]}x{picture.shape[2]} pixels; it must have {TEST_SIDE}x{TEST_SIDE}"
        )
    top, left = ((size - TEST_SIDE) // 2 for size in picture.shape[1:])
    return picture[:, top : top + TEST_SIDE, left : left + TEST_SIDE].astype(np.float32) / np.float32(255)


def _levels(picture: Float) -> np.ndarray:
    return np.rint(255 * np.clip(np.moveaxis(picture, 0, 2), 0, 1)).astype(np.uint8)


def _picture_grid(rows: dict[str, list[Float]], titles: list[str]) -> Figure:
    figure = Figure(figsize=(1.3 * len(titles), 1.45 * len(rows) + 0.3), dpi=110, layout="constrained")
    axes = figure.subplots(len(rows), len(titles), squeeze=False)
    for places, (name, pictures) in zip(axes, rows.items(), strict=True):
        places[0].set_ylabel(name, fontsize=8)
        for place, picture in zip(places, pictures, strict=True):
            place.imshow(_levels(picture), interpolation="nearest")
            place.set(xticks=[], yticks=[])
    for place, title in zip(axes[0], titles, strict=True):
        place.set_title(title, fontsize=8)
    return figure


def _evolution(options: argparse.Namespace, noisy: Noisy, clean: Float, epochs: int) -> Figure:
    shown = np.unique(np.linspace(0, epochs - 1, SHOWN).round().astype(int))
    pictures = [noisy.picture, clean]
    for epoch in shown:
        with Image.open(options.output / "evolution" / f"epoch_{epoch:03d}.png") as image:
            pictures.append(np.moveaxis(np.asarray(image), 2, 0).astype(np.float32) / 255)
    return _picture_grid({"": pictures}, ["noisy", "clean", *(f"epoch {epoch}" for epoch in shown)])


def _curves(curve: list[tuple[float, float, float]], pretraining: int) -> Figure:
    pixel_loss, output, on_clean = np.array(curve).T
    figure = Figure(figsize=(7, 3), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.semilogy(pixel_loss, color="C0")
    left.set(xlabel="epoch", ylabel="pixel loss on test pictures (MSE)")
    right.plot(output, label="on denoised pictures")
    right.plot(on_clean, label="on clean pictures")
    right.axhline(0.5, color="0.5", linewidth=0.8, linestyle="--", label="goal")
    right.set(xlabel="epoch", ylabel="discriminator output", ylim=(0, 1))
    for axes in (left, right):
        axes.axvspan(0, pretraining, color="0.93", label="pre-training")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.legend(fontsize=7)
    return figure


if __name__ == "__main__":
    main()
