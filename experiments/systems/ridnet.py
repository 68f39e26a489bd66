"""RIDNet (Anwar and Barnes, ICCV 2019): four enhancement attention modules between two convolutions.

1,499,347 parameters at 64 channels. Its channel attention averages over the whole input, so that what it makes of a
pixel depends on the tile: pictures are denoised in one piece.

What differs: a rate of 1e-3 instead of 1e-4, and 3 patches of 80 pixels a step instead of 32: in minutes the rate of
the paper hardly leaves the start.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.systems.initialisation import initialised, small
from experiments.systems.system import System, pairs_of

__all__ = ["RIDNET", "RIDNet", "mean_absolute_error"]

RGB_MEAN = (0.4488, 0.4371, 0.4040)
"""Of the pictures of DIV2K; subtracted at the entry, added at the end."""
ATTENTION_WIDTH = 4
"""Channels between the means of all channels and their weights: a sixteenth of 64."""


class RIDNet(nn.Module):
    """Head, enhancement attention modules, tail; the output is added to the noisy picture.

    Parameters
    ----------
    width : int
        Channels throughout.
    modules : int
        Enhancement attention modules, one after the other.
    """

    mean: Tensor

    def __init__(self, width: int = 64, modules: int = 4) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(RGB_MEAN)[None, :, None, None], persistent=False)
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.body = nn.Sequential(*(EnhancementAttention(width) for _ in range(modules)))
        self.tail = nn.Conv2d(width, 3, 3, padding=1)
        initialised(self)
        small(self.tail, 0.001)  # the signals grow with every residual block
        with torch.no_grad():
            self.tail.bias.copy_(-self.mean.flatten())  # what is added to the noisy picture starts near 0

    def forward(self, noisy: Tensor) -> Tensor:
        """Return the denoised (B, 3, H, W) pictures."""
        features = self.body(functional.relu(self.head(noisy - self.mean)))
        return noisy + (self.tail(features).float() + self.mean)


class EnhancementAttention(nn.Module):
    """Dilated branches joined, a residual block, an enhanced residual block, channel attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.near = nn.Sequential(
            _convolution(width, dilation=1), nn.ReLU(), _convolution(width, dilation=2), nn.ReLU()
        )
        self.far = nn.Sequential(_convolution(width, dilation=3), nn.ReLU(), _convolution(width, dilation=4), nn.ReLU())
        self.join = nn.Sequential(nn.Conv2d(2 * width, width, 3, padding=1), nn.ReLU())
        self.residual = nn.Sequential(_convolution(width), nn.ReLU(), _convolution(width))
        self.enhanced = nn.Sequential(
            _convolution(width), nn.ReLU(), _convolution(width), nn.ReLU(), nn.Conv2d(width, width, 1)
        )
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(width, ATTENTION_WIDTH, 1),
            nn.ReLU(),
            nn.Conv2d(ATTENTION_WIDTH, width, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the shape of the input, (B, C, H, W)."""
        x = x + self.join(torch.cat((self.near(x), self.far(x)), 1))
        x = functional.relu(x + self.residual(x))
        x = functional.relu(x + self.enhanced(x))
        attended: Tensor = x * self.attention(x)
        return attended


def _convolution(width: int, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)


def mean_absolute_error(network: nn.Module, noisy: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute error of a batch: the loss of RIDNet and PRIDNet."""
    return (network(noisy) - target).abs().mean()


def _build(narrow: bool) -> nn.Module:
    network = RIDNet(width=16, modules=2) if narrow else RIDNet()
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


RIDNET = System(
    name="RIDNet",
    build=_build,
    batch=pairs_of(count=3, side=80),
    loss=mean_absolute_error,
    learning_rate=1e-3,
    residual=True,
    proof_steps=800,  # on pictures with little noise it copies its input for the first 300 to 500
)
