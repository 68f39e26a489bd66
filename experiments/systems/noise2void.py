"""Noise2Void: a network learns from single noisy pictures, because it must guess pixels that it does not see.

Krull, Buchholz and Jug, "Noise2Void - learning denoising from single noisy images", CVPR 2019. As in its program:
U-Net of depth 2, patches of 64 pixels, one pixel in every 8x8 box replaced by a neighbour of the 11x11 window around
it, the error counted there and nowhere else, Adam at 4e-4, batches of 16.

Each colour of a picture is a grey picture of its own, as in that program, which trains a network for each; here one
serves all. A network that sees the other colours guesses a masked pixel from them, and learns the colours of its
scenes: of a scene of other colours it made errors of 2 % (see DECISIONS).

What differs: a neighbour that is itself masked, the pixel included, is not drawn, so that no masked value is ever seen;
kernels are 3x3 and the error is squared, where that program by default takes 5x5 and the absolute error; the rate falls
with the cosine instead of on plateaus.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from burst_denoise.arrays import Float, Mask
from burst_denoise.model.fit import masked_mse
from experiments.pictures import DataSet
from experiments.systems.padding import padded
from experiments.systems.system import System

__all__ = ["NOISE2VOID", "EachColour", "Normalisation", "UNet", "masked_by_neighbours", "one_colour"]

PATCHES = (16, 64)
"""Patches of a batch, and their side."""
BOX = 8
"""One pixel of each box of this side is masked: 1.5 % of the pixels, rounded to whole boxes as that program does."""
RADIUS = 5
"""Of the window that a neighbour is drawn from."""


class Normalisation(nn.Module):
    """Shifts and scales pictures by mean and standard deviation of what training has shown, and results back.

    Parameters
    ----------
    channels : int
        Of the pictures; each has a mean and a deviation of its own.
    """

    batches: Tensor
    mean: Tensor
    square: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("batches", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("square", torch.ones(1, channels, 1, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the pictures as the network takes them."""
        if self.training:
            with torch.no_grad():
                self.batches += 1
                for kept, seen in ((self.mean, pictures), (self.square, pictures.square())):
                    kept += (seen.mean((0, 2, 3), keepdim=True) - kept) / self.batches
        return (pictures - self.mean) / self._std

    def back(self, results: Tensor) -> Tensor:
        """Return pictures from what the network gives."""
        return results * self._std + self.mean

    @property
    def _std(self) -> Tensor:
        return (self.square - self.mean.square()).clamp(min=1e-6).sqrt()


class UNet(nn.Module):
    """The U-Net of Noise2Void: 3x3 convolutions with batch normalisation, halved and doubled twice.

    333,729 parameters for one channel.

    Parameters
    ----------
    channels : int
        Of the pictures.
    first : int
        Features on the finest scale; twice as many on each coarser one.
    """

    def __init__(self, channels: int = 1, first: int = 32) -> None:
        super().__init__()
        fine, middle, coarse = first, 2 * first, 4 * first
        self.normalisation = Normalisation(channels)
        self.fine_in = _convolutions(channels, fine, fine)
        self.middle_in = _convolutions(fine, middle, middle)
        self.coarse = _convolutions(middle, coarse, middle)
        self.middle_out = _convolutions(2 * middle, middle, fine)
        self.fine_out = _convolutions(2 * fine, fine, fine)
        self.last = nn.Conv2d(fine, channels, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the denoised (B, C, H, W) pictures."""
        height, width = pictures.shape[-2:]
        fine = self.fine_in(self.normalisation(padded(pictures, 4)))
        middle = self.middle_in(functional.max_pool2d(fine, 2))
        coarse = self.coarse(functional.max_pool2d(middle, 2))
        middle = self.middle_out(torch.cat((_doubled(coarse), middle), 1))
        fine = self.fine_out(torch.cat((_doubled(middle), fine), 1))
        return self.normalisation.back(self.last(fine)[..., :height, :width])


def _convolutions(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _doubled(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2.0, mode="nearest")


class EachColour(nn.Module):
    """Gives each colour of pictures (B, C, H, W) to a network of grey pictures."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the (B, C, H, W) results."""
        result: Tensor = self.network(pictures.flatten(0, 1)[:, None])
        return result.view_as(pictures)


def one_colour(pictures: Float, rng: np.random.Generator) -> Float:
    """Return of each picture (B, C, H, W) one colour, drawn at random, (B, 1, H, W)."""
    count, channels = pictures.shape[:2]
    chosen: Float = pictures[np.arange(count), rng.integers(channels, size=count)][:, None]
    return chosen


def masked_by_neighbours(noisy: Float, rng: np.random.Generator) -> tuple[Float, Mask]:
    """Return pictures of which some pixels show the value of a neighbour, and which pixels those are.

    Parameters
    ----------
    noisy : (B, C, H, W) float32 array
        Of sides that `BOX` divides.
    rng : numpy.random.Generator

    Returns
    -------
    masked : (B, C, H, W) float32 array
        ``noisy`` but for one pixel of each box of each channel.
    mask : (B, C, H, W) bool array
        True at those pixels. ``masked`` does not depend on their values in ``noisy``.
    """
    height, width = noisy.shape[-2:]
    layers = noisy.reshape(-1, height, width)
    box = np.indices((len(layers), height // BOX, width // BOX)).reshape(3, -1)
    layer, row, column = box * [[1], [BOX], [BOX]] + [np.zeros_like(box[0]), *rng.integers(BOX, size=box[1:].shape)]
    mask = np.zeros(layers.shape, bool)
    mask[layer, row, column] = True
    from_row, from_column = row.copy(), column.copy()
    pending = np.arange(len(row))
    while len(pending):
        moved = rng.integers(-RADIUS, RADIUS + 1, (2, len(pending)))
        from_row[pending] = np.clip(row[pending] + moved[0], 0, height - 1)
        from_column[pending] = np.clip(column[pending] + moved[1], 0, width - 1)
        pending = pending[mask[layer[pending], from_row[pending], from_column[pending]]]
    masked = layers.copy()
    masked[layer, row, column] = layers[layer, from_row, from_column]
    return masked.reshape(noisy.shape), mask.reshape(noisy.shape)


def _batch(data: DataSet, rng: np.random.Generator) -> Sequence[Float | Mask]:
    noisy = one_colour(data.draw(*PATCHES, rng).noisy, rng)
    masked, mask = masked_by_neighbours(noisy, rng)
    return masked, noisy, mask


def _build(narrow: bool) -> nn.Module:
    return EachColour(UNet(first=8 if narrow else 32))


NOISE2VOID = System(
    "Noise2Void",
    _build,
    _batch,
    masked_mse,
    learning_rate=4e-4,
    averaged=True,
)
