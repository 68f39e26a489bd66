"""The four-layer CNN: a small convolutional denoiser of grey pictures, and its original study.

    python -m experiments.systems.four_layer_cnn --pictures FOLDER --output FOLDER [--widths 8 16 8 4] [--epochs 200]

The study shows three pictures under Gaussian noise of variance 0.01: noisy, clean, and denoised every 50 epochs. Two
slips of the original are not repeated: it dropped the last batch of an epoch where that was not full, and showed the
clean picture under the name of the noisy one.
"""

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

import burst_denoise as bd
from burst_denoise.arrays import Float
from burst_denoise.model.fit import Checkpoint, FitSettings, FitState, fit
from experiments.pictures import DataSet, random_crops
from experiments.procedural_noise import GAUSSIAN_VARIANCE, gaussian_noise, picture_files, read_picture
from experiments.systems.system import System, mean_squared_error

__all__ = ["FOUR_LAYER_CNN", "FourLayerCnn"]

WIDTHS = (8, 16, 8, 4)
BATCH = 8
SIDE = 128
LEARNING_RATE = 3e-4
TRAINING_PICTURES = 512
TEST_PICTURES = 32
SHOWN = 3
"""Test pictures of the figure."""
SHOW_EVERY = 50
"""Epochs."""


class FourLayerCnn(nn.Module):
    """Four convolutions 3x3 with ReLU and a linear one, 2,737 parameters, on each channel as a grey picture.

    Parameters
    ----------
    widths : sequence of int
        Channels of the hidden layers.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 3, padding="same") for inputs, outputs in pairwise((1, *widths, 1))
        )
        for layer in self.layers:
            nn.init.xavier_uniform_(layer.weight)  # as Keras begins
            nn.init.zeros_(layer.bias)

    def forward(self, picture: Tensor) -> Tensor:
        """Return the denoised picture, (B, C, H, W) as it came."""
        x = picture.flatten(0, 1)[:, None]
        for layer in self.layers[:-1]:
            x = functional.relu(layer(x))
        return self.layers[-1](x).view(picture.shape)


def grey_pairs(data: DataSet, rng: np.random.Generator) -> Sequence[Any]:
    """Return a training batch: one channel of each of 8 pairs, (8, 1, 128, 128)."""
    noisy, target, _std = data.draw(BATCH, SIDE, rng)
    channel = rng.integers(3, size=BATCH)
    return [picture[np.arange(BATCH), channel][:, None] for picture in (noisy, target)]


FOUR_LAYER_CNN = System("Four-layer CNN", lambda _narrow: FourLayerCnn(), grey_pairs, learning_rate=LEARNING_RATE)
"""Its full network is narrow enough for any proof."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True, help="folder of clean pictures")
    parser.add_argument("--output", type=Path, required=True, help="folder of the figures and the weights")
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS, help="channels of the hidden layers")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--training-pictures", type=int, default=TRAINING_PICTURES)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        training, _validation, test = picture_files(options.pictures)
    except bd.InputFileError as error:
        sys.exit(f"error: {error}")
    options.output.mkdir(parents=True, exist_ok=True)
    clean = grey_pictures(training, options.training_pictures, [options.seed, 0])
    tests = grey_pictures(test, TEST_PICTURES, [options.seed, 1])
    noisy = gaussian_noise(tests, np.random.default_rng([options.seed, 2])).picture
    epoch_steps = math.ceil(len(clean) / BATCH)

    def on_step(state: FitState) -> None:
        epoch, rest = divmod(state.step, epoch_steps)
        curve = state.notes.setdefault("curve", [])
        if rest or len(curve) > epoch:
            return
        with torch.inference_mode():
            denoised = state.average(torch.from_numpy(noisy))
        curve.append(float(np.square(denoised.numpy() - tests).mean()))
        if epoch % SHOW_EVERY == 0 or state.done >= 1:
            state.tensors[f"{epoch}"] = denoised[:SHOWN, 0].clone()
            print(f"epoch {epoch:3d}: MSE {curve[-1]:.6f} on test pictures", flush=True)

    torch.manual_seed(options.seed)
    told = {name: str(value) for name, value in vars(options).items() if name != "output"}
    state = fit(
        FourLayerCnn(options.widths),
        epoch_batches(clean, options.seed),
        mean_squared_error,
        FitSettings(
            steps=options.epochs * epoch_steps, optimizer="adam", learning_rate=LEARNING_RATE, gradient_norm=math.inf
        ),
        checkpoint=Checkpoint(
            options.output / "training.safetensors", hashlib.sha256(json.dumps(told).encode()).hexdigest()
        ),
        on_step=on_step,
    )
    shown = {"noisy": noisy[:SHOWN, 0], "clean": tests[:SHOWN, 0]}
    for epoch in sorted(map(int, state.tensors)):
        shown[f"epoch {epoch}"] = state.tensors[str(epoch)].numpy()
    _pictures(shown).savefig(options.output / "denoised.png")
    _curve(state.notes["curve"]).savefig(options.output / "curve.png")


def grey_pictures(files: Sequence[Path], count: int, seed: Sequence[int]) -> Float:
    """Return random crops of picture files in grey, (count, 1, 128, 128) float32, 0 to 1; each file gives its share."""
    rng = np.random.default_rng(seed)
    grey = [read_picture(path).mean(0, dtype=np.float32)[None] / np.float32(255) for path in files]
    return np.stack([random_crops((grey[index % len(grey)],), SIDE, rng)[0] for index in range(count)])


def epoch_batches(clean: Float, seed: int) -> Callable[[int], Sequence[Any]]:
    """Return what gives each step its noisy and clean batch: all pictures once an epoch, in a new order.

    The last batch of an epoch is smaller where the pictures do not fill it.
    """
    epoch_steps = math.ceil(len(clean) / BATCH)

    def batch(step: int) -> Sequence[Any]:
        epoch, place = divmod(step, epoch_steps)
        order = np.random.default_rng([seed, 3, epoch]).permutation(len(clean))
        target = clean[order[place * BATCH : (place + 1) * BATCH]]
        return gaussian_noise(target, np.random.default_rng([seed, 4, step])).picture, target

    return batch


def _pictures(columns: dict[str, Float]) -> Figure:
    figure = Figure(figsize=(1.6 * len(columns), 1.7 * SHOWN), dpi=110, layout="constrained")
    axes = figure.subplots(SHOWN, len(columns))
    for column, (title, pictures) in enumerate(columns.items()):
        axes[0, column].set_title(title, fontsize=9)
        for place, picture in zip(axes[:, column], pictures, strict=True):
            place.imshow(picture, cmap="gray", vmin=0, vmax=1)
            place.set(xticks=[], yticks=[])
    return figure


def _curve(errors: list[float]) -> Figure:
    figure = Figure(figsize=(5, 3), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.semilogy(errors, label="denoised")
    axes.axhline(GAUSSIAN_VARIANCE, color="0.5", linestyle="--", linewidth=0.8, label="noisy")
    axes.set(xlabel="epoch", ylabel="MSE on test pictures")
    axes.legend(fontsize=8)
    return figure


if __name__ == "__main__":
    main()
