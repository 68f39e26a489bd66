"""CBDNet (Guo et al., CVPR 2019): a network that estimates the noise level, and a U-Net that has the estimate as input.

4,365,382 parameters: noise level network 29,507, U-Net 4,335,875.

The loss of the paper weighs an under-estimated noise level more than an over-estimated one, since a denoiser that is
told too little leaves noise behind, while one that is told too much still does well. One public implementation has the
comparison the wrong way round; here it is as in the paper.

What differs: 2 patches of 128 pixels a step instead of 32. At the paper's rate of 1e-3 so few taught it nothing on one
data set of three (see RESULTS.md); at the 2e-4 of the public code it hardly leaves the start in minutes.
"""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.pictures import DataSet, Pairs
from experiments.systems.initialisation import initialised, small
from experiments.systems.padding import padded
from experiments.systems.system import System, mean_squared_error, pairs_of

__all__ = ["CBDNET", "CBDNET_MSE", "CBDNet", "asymmetric_loss", "cbdnet_loss", "total_variation"]

LEARNING_RATE = 1e-3
UNDER_ESTIMATION = 0.7
"""Weight of a squared error of the noise level below the true one; above it, the rest of 1."""
ASYMMETRIC_WEIGHT = 0.5
TOTAL_VARIATION_WEIGHT = 0.05
FIRST_LEVEL = 0.05
"""Noise level that an untrained network gives: behind a ReLU a level of 0 would have no gradient to leave it by."""


class CBDNet(nn.Module):
    """Noise level network and U-Net, whose output is added to the noisy picture.

    Parameters
    ----------
    width : int
        Channels of the U-Net at full size; two and four times as many below.
    noise_width : int
        Channels of the noise level network.
    """

    def __init__(self, width: int = 64, noise_width: int = 32) -> None:
        super().__init__()
        self.noise_level = _convolutions(3, *(noise_width,) * 4, 3)
        self.fine_in = _convolutions(6, width, width)
        self.middle_in = _convolutions(width, *(2 * width,) * 3)
        self.coarse = _convolutions(2 * width, *(4 * width,) * 6)
        self.up_to_middle = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.middle_out = _convolutions(*(2 * width,) * 4)
        self.up_to_fine = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.fine_out = _convolutions(*(width,) * 3)
        self.last = nn.Conv2d(width, 3, 1)
        initialised(self)
        small(self.last)
        nn.init.constant_(small(self.noise_level[-2]).bias, FIRST_LEVEL)

    def forward(self, noisy: Tensor) -> Tensor:
        """Return the denoised (B, 3, H, W) pictures."""
        return self.with_noise_level(noisy)[0]

    def with_noise_level(self, noisy: Tensor) -> tuple[Tensor, Tensor]:
        """Return the denoised pictures and the standard deviation of their noise as estimated, both (B, 3, H, W)."""
        height, width = noisy.shape[-2:]
        pictures = padded(noisy, 4)
        level = self.noise_level(pictures)
        fine = self.fine_in(torch.cat((pictures, level), 1))
        middle = self.middle_in(functional.avg_pool2d(fine, 2))
        coarse = self.coarse(functional.avg_pool2d(middle, 2))
        middle = self.middle_out(self.up_to_middle(coarse) + middle)
        fine = self.fine_out(self.up_to_fine(middle) + fine)
        change = self.last(fine)[..., :height, :width]
        return noisy + change.float(), level[..., :height, :width].float()


def _convolutions(*widths: int) -> nn.Sequential:
    """Return a convolution 3x3 and a ReLU from each number of channels to the next."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def asymmetric_loss(level: Tensor, noise_std: Tensor) -> Tensor:
    """Return the mean squared error of noise levels, an under-estimation weighing 0.7 and an over-estimation 0.3.

    Parameters
    ----------
    level : (B, 3, H, W) tensor
        Estimated standard deviations.
    noise_std : (B, 3) tensor
        True ones. Where they are not known, not a number, the loss is 0.
    """
    known = noise_std.isfinite()[..., None, None]
    error = torch.where(known, level - noise_std.nan_to_num()[..., None, None], 0)
    weight = torch.where(error < 0, UNDER_ESTIMATION, 1 - UNDER_ESTIMATION)
    return (weight * error.square()).mean()


def total_variation(level: Tensor) -> Tensor:
    """Return the mean squared difference of neighbours, rows and columns added: the level of noise is smooth.

    The paper sums instead of averaging, which makes its weight one for a single patch size.
    """
    return level.diff(dim=-2).square().mean() + level.diff(dim=-1).square().mean()


def cbdnet_loss(network: nn.Module, noisy: Tensor, target: Tensor, noise_std: Tensor) -> Tensor:
    """Return the loss of the paper: mean squared error + 0.5 asymmetric loss + 0.05 total variation of the level."""
    assert isinstance(network, CBDNet)
    denoised, level = network.with_noise_level(noisy)
    noise_loss = ASYMMETRIC_WEIGHT * asymmetric_loss(level, noise_std) + TOTAL_VARIATION_WEIGHT * total_variation(level)
    return (denoised - target).square().mean() + noise_loss


def _build(narrow: bool) -> nn.Module:
    network = CBDNet(width=16, noise_width=8) if narrow else CBDNet()
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _pairs_with_noise(data: DataSet, rng: np.random.Generator) -> Pairs:
    return data.draw(2, 128, rng)


CBDNET = System(
    name="CBDNet",
    build=_build,
    batch=_pairs_with_noise,
    loss=cbdnet_loss,
    learning_rate=LEARNING_RATE,
    residual=True,
    proof_steps=800,  # on pictures with little noise it copies its input for the first 300 to 500
)
CBDNET_MSE = System(
    name="CBDNet, MSE alone",
    build=_build,
    batch=pairs_of(count=2, side=128),
    loss=mean_squared_error,
    learning_rate=LEARNING_RATE,
    residual=True,
)
"""As the study of four networks trained it."""
