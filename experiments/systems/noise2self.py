"""Noise2Self: a network learns the pixels of a grid from all other pixels of the same noisy picture.

Batson and Royer, "Noise2Self: blind denoising by self-supervision", ICML 2019. The pixels of a grid with a spacing of
four are replaced by the weighted mean of their eight neighbours, sides 1 and corners 1/2; the loss is the squared error
there. There are 16 such grids. The source takes one after another; here a batch has 16 patches and each its own grid,
so that every step sees all. The network is the small U-Net of its program, all of whose blocks are used: there one is
computed and thrown away.

Each colour of a picture is a grey picture of its own, which is all that the source has. Pictures are scaled for the
network as in `noise2void`.

A picture is denoised by one pass with nothing masked, the source's cheaper way. The other, one pass for each grid with
every pixel taken from the one that hides it, costs 16 times as much and was 0.3 to 0.4 dB worse after 400 steps.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.ndimage import correlate
from torch import Tensor, nn
from torch.nn import functional

from burst_denoise.arrays import Float, Mask
from burst_denoise.model.fit import masked_mse
from experiments.pictures import DataSet
from experiments.systems.noise2void import EachColour, Normalisation, one_colour
from experiments.systems.padding import padded
from experiments.systems.system import System

__all__ = ["NOISE2SELF", "BabyUNet", "grid", "masked_by_means"]

SPACING = 4
GRIDS = SPACING**2
SIDE = 64
"""Of a patch; a batch has one patch for each grid."""
NEIGHBOURS = np.array([[0.5, 1, 0.5], [1, 0, 1], [0.5, 1, 0.5]], np.float32) / 6


class BabyUNet(nn.Module):
    """The small U-Net of Noise2Self: pairs of 3x3 convolutions with batch normalisation on three scales.

    72,353 parameters for one channel.

    Parameters
    ----------
    channels : int
        Of the pictures.
    width : int
        Features on the finest scale.
    """

    def __init__(self, channels: int = 1, width: int = 16) -> None:
        super().__init__()
        self.normalisation = Normalisation(channels)
        self.fine_in = _block(channels, width)
        self.middle_in = _block(width, 2 * width)
        self.coarse = _block(2 * width, 2 * width)
        self.middle_out = _block(4 * width, 2 * width)
        self.fine_out = _block(3 * width, width)
        self.last = nn.Conv2d(width, channels, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the denoised (B, C, H, W) pictures."""
        height, width = pictures.shape[-2:]
        fine = self.fine_in(self.normalisation(padded(pictures, 4)))
        middle = self.middle_in(functional.avg_pool2d(fine, 2))
        coarse = self.coarse(functional.avg_pool2d(middle, 2))
        middle = self.middle_out(torch.cat((_doubled(coarse), middle), 1))
        fine = self.fine_out(torch.cat((_doubled(middle), fine), 1))
        result: Tensor = self.normalisation.back(self.last(fine)[..., :height, :width])
        return result


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        layers += [nn.Conv2d(width, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _doubled(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)


def grid(number: int, shape: tuple[int, int]) -> Mask:
    """Return the pixels (H, W) of a grid, 0 to 15; each pixel is in one of the 16."""
    row, column = np.indices(shape)
    place: Mask = SPACING * (row % SPACING) + column % SPACING == number
    return place


def masked_by_means(noisy: Float, mask: Mask) -> Float:
    """Return pictures (..., C, H, W) whose masked pixels show the weighted mean of their eight neighbours."""
    kernel = NEIGHBOURS.reshape((1,) * (noisy.ndim - 2) + NEIGHBOURS.shape)
    masked: Float = np.where(mask, correlate(noisy, kernel, mode="mirror"), noisy)
    return masked


def _batch(data: DataSet, rng: np.random.Generator) -> Sequence[Float | Mask]:
    noisy = one_colour(data.draw(GRIDS, SIDE, rng).noisy, rng)
    mask = np.stack([grid(number, (SIDE, SIDE)) for number in range(GRIDS)])[:, None]
    return masked_by_means(noisy, mask), noisy, mask


def _build(narrow: bool) -> nn.Module:
    return EachColour(BabyUNet(width=8 if narrow else 16))


NOISE2SELF = System(
    "Noise2Self",
    _build,
    _batch,
    masked_mse,
    learning_rate=1e-3,
    averaged=True,
)
