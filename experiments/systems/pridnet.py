"""PRIDNet (Zhao et al., VCIP 2019): channel attention, U-Nets on a pyramid of five scales, selection among kernels.

74,225,723 parameters for RGB with a U-Net of its own for each scale, as the authors' code has them; 14,898,991 with
one U-Net for all, as others built it. Counted from the code; the paper states no number. Both attentions average over
the whole input, so that what the network makes of a pixel depends on the tile: pictures are denoised in one piece.

What differs: a rate of 1e-3 instead of 1e-4, and patches of 128 pixels instead of 256, so that the coarsest scale sees
8 x 8 pixels while it is trained.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.systems.initialisation import initialised
from experiments.systems.padding import padded
from experiments.systems.ridnet import mean_absolute_error
from experiments.systems.system import System, pairs_of

__all__ = ["PRIDNET", "PRIDNET_SHARED", "PRIDNet"]

SCALES = (1, 2, 4, 8, 16)
"""Of the pyramid: the picture is averaged over squares of so many pixels."""
MULTIPLE = 16
"""Of the sides that a U-Net can halve four times, and of those that the pyramid can divide: 256 in all. Each pads what
it is given itself, so that the means over a picture see as little padding as can be."""
SLOPE = 0.2
"""Of the leaky ReLUs."""
MIDDLE = 4
"""Units between the mean of all channels and the weights of the kernels."""


class PRIDNet(nn.Module):
    """Three stages, each given all that came before; nothing is added to the noisy picture at the end.

    Parameters
    ----------
    width : int
        Channels of the first stage, and of the U-Nets at their full size; 16 times as many at their coarsest.
    shared : bool
        Whether one U-Net serves all scales.
    """

    def __init__(self, width: int = 32, *, shared: bool = False) -> None:
        super().__init__()
        self.features = _convolutions(3, *(width,) * 4)
        self.attention = ChannelAttention(width)
        self.reduce = _convolutions(width, 3)
        self.networks = nn.ModuleList(UNet(width) for _ in range(1 if shared else len(SCALES)))
        self.select = KernelSelection(7 * 3)
        self.last = nn.Conv2d(7 * 3, 3, 3, padding=1)
        initialised(self, SLOPE)

    def forward(self, noisy: Tensor) -> Tensor:
        """Return the denoised (B, 3, H, W) pictures."""
        height, width = noisy.shape[-2:]
        pictures = padded(noisy, MULTIPLE)
        known = torch.cat((pictures, self.reduce(self.attention(self.features(pictures)))), 1)  # (B, 6, H, W)
        seen = [known]
        for index, scale in enumerate(SCALES):
            network = self.networks[index % len(self.networks)]
            denoised = network(functional.avg_pool2d(known, scale))
            seen.append(functional.interpolate(denoised, pictures.shape[-2:], mode="bilinear"))
        denoised = self.last(self.select(torch.cat(seen, 1)))  # from (B, 21, H, W)
        return denoised[..., :height, :width].float()


class ChannelAttention(nn.Module):
    """Squeeze and excitation: every channel times a weight found from the means of all."""

    def __init__(self, width: int) -> None:
        super().__init__()
        middle = max(2, width // 16)
        self.weights = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, middle, 1), nn.ReLU(), nn.Conv2d(middle, width, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the shape of the input, (B, C, H, W)."""
        weighted: Tensor = x * self.weights(x)
        return weighted


class UNet(nn.Module):
    """Five scales, four convolutions each on the way down and three on the way up; 6 channels in, 3 out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        self.down = nn.ModuleList(_convolutions(inputs, *(outputs,) * 4) for inputs, outputs in pairwise((6, *widths)))
        coarse_to_fine = list(pairwise(widths[::-1]))
        self.enlarge = nn.ModuleList(
            nn.ConvTranspose2d(inputs, outputs, 2, stride=2, bias=False) for inputs, outputs in coarse_to_fine
        )
        self.up = nn.ModuleList(_convolutions(inputs, *(outputs,) * 3) for inputs, outputs in coarse_to_fine)
        self.last = nn.Conv2d(width, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the denoised (B, 3, H, W) pictures of (B, 6, H, W)."""
        height, width = x.shape[-2:]
        x = padded(x, MULTIPLE)
        skips: list[Tensor] = []
        for level, convolutions in enumerate(self.down):
            x = convolutions(functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for enlarge, convolutions in zip(self.enlarge, self.up, strict=True):
            x = convolutions(torch.cat((enlarge(x), skips.pop()), 1))
        denoised: Tensor = self.last(x)
        return denoised[..., :height, :width]


class KernelSelection(nn.Module):
    """Convolutions of 3, 5 and 7 pixels, mixed channel by channel with weights that the whole picture decides."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, side, padding=side // 2), nn.LeakyReLU(SLOPE)) for side in (3, 5, 7)
        )
        self.middle = nn.Sequential(nn.Linear(width, MIDDLE), nn.ReLU())
        self.weights = nn.ModuleList(nn.Linear(MIDDLE, width) for _ in self.branches)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the shape of the input, (B, C, H, W)."""
        branches = torch.stack([branch(x) for branch in self.branches])  # (3, B, C, H, W)
        middle = self.middle(branches.sum(0).mean((-2, -1)))
        weights = torch.stack([weights(middle) for weights in self.weights]).softmax(0)  # (3, B, C)
        return (branches * weights[..., None, None]).sum(0)


def _convolutions(*widths: int) -> nn.Sequential:
    """Return a convolution 3x3 and a leaky ReLU from each number of channels to the next."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.LeakyReLU(SLOPE, inplace=True)]
    return nn.Sequential(*layers)


def _build(narrow: bool, *, shared: bool) -> nn.Module:
    network = PRIDNet(width=8 if narrow else 32, shared=shared)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


PRIDNET = System(
    name="PRIDNet",
    build=lambda narrow: _build(narrow, shared=False),
    batch=pairs_of(count=2, side=128),
    loss=mean_absolute_error,
    learning_rate=1e-3,
)
PRIDNET_SHARED = System(
    name="PRIDNet, one U-Net for all scales",
    build=lambda narrow: _build(narrow, shared=True),
    batch=pairs_of(count=2, side=128),
    loss=mean_absolute_error,
    learning_rate=1e-3,
)
