"""The networks: Butterworth split, residual blocks; `TwoScaleNet` in three sizes, `PaperNet`.

Input and output are stabilised planes (noise standard deviation 1), (B, C, H, W). ``paper`` is the network of
Kovalenko and Demyanenko, "Unsupervised Training of Denoising Networks" (2021), for RGB pictures; ``draft``, ``fast``
and ``best`` are the same idea at prices a laptop pays, for any number of planes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from burst_denoise.schemas import NetworkPreset, Quality

__all__ = [
    "SIZES",
    "FrequencySplit",
    "FrequencySplitResNet",
    "PaperNet",
    "Size",
    "TwoScaleNet",
    "build_network",
    "butterworth_kernel",
]

CUT_OFF = 0.141
"""Cycles per pixel at which the low-pass gain is 1/2 (the value of the source paper)."""
KERNEL_RADIUS = 8
"""The kernel's tail beyond this radius holds 0.3 % of its mass at the paper's cut-off."""
FOLD = 16
"""Neighbours in a row that the split takes as the channels of one convolution; at least the radius."""


def butterworth_kernel(cut_off: float = CUT_OFF, radius: int = KERNEL_RADIUS) -> Tensor:
    """Return the spatial kernel of a first-order Butterworth low-pass filter, bounded so that tiles equal the whole.

    Parameters
    ----------
    cut_off : float
        Cycles per pixel at which the gain 1 / (1 + (f / cut_off)^2) is 1/2.
    radius : int
        The kernel has 2 * radius + 1 rows and columns.

    Returns
    -------
    (2 * radius + 1, 2 * radius + 1) float32 tensor
        Sums to 1: a constant picture passes unchanged.
    """
    grid = 256  # fine enough that the periodic copies of the kernel do not meet
    frequency = np.fft.fftfreq(grid)
    squared = frequency[:, None] ** 2 + frequency[None, :] ** 2
    kernel = np.fft.fftshift(np.fft.ifft2(1 / (1 + squared / cut_off**2)).real)
    centre = slice(grid // 2 - radius, grid // 2 + radius + 1)
    bounded = kernel[centre, centre]
    return torch.from_numpy((bounded / bounded.sum()).astype(np.float32))


class FrequencySplit(nn.Module):
    """Split planes into a low and a high band that sum exactly to them: ``high = x - low``."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", _folded(butterworth_kernel()), persistent=False)

    def forward(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """Return (low, high), each (B, C, H, W) float32; the border is extended by reflection."""
        # In fp32 even under autocast: a stabilised highlight is 200, where bf16 rounds by half a noise deviation.
        with torch.autocast(planes.device.type, enabled=False):
            x = planes.float().contiguous()
            batch, channels, height, width = x.shape
            padded = functional.pad(x, (KERNEL_RADIUS,) * 4, mode="reflect")
            padded = functional.pad(padded, (FOLD - KERNEL_RADIUS, FOLD - KERNEL_RADIUS + -width % FOLD, 0, 0))
            runs = padded.reshape(batch * channels, height + 2 * KERNEL_RADIUS, -1, FOLD).permute(0, 3, 1, 2)
            low = functional.conv2d(runs, self.kernel).permute(0, 2, 3, 1).reshape(batch, channels, height, -1)
            low = low[..., :width]
            return low, x - low


def _folded(kernel: Tensor) -> Tensor:
    """Return a filter of one channel as a convolution whose channels are ``FOLD`` neighbours in a row.

    A convolution of one channel leaves a processor's vectors empty; this one is the same sums as a matrix product, two
    to three times as fast although most of its weights are zero.
    """
    side, radius = kernel.shape[0], kernel.shape[0] // 2
    folded = torch.zeros(FOLD, 3 * FOLD, side)
    for to in range(FOLD):
        folded[to, FOLD + to - radius : FOLD + to + radius + 1] = kernel.T
    blocks = folded.reshape(FOLD, 3, FOLD, side).permute(0, 2, 3, 1)
    return blocks.contiguous(memory_format=torch.channels_last)


class FrequencySplitResNet(nn.Module):
    """A denoiser of stabilised planes that sees their low and high band apart."""

    margin: int
    """Receptive radius in plane pixels, rounded up to a multiple of `step`: what a tile needs around it."""
    step: int
    """Tiles must begin at multiples of this."""
    planes: int
    """Number of planes taken and given."""

    def forward(self, planes: Tensor) -> Tensor:
        """Return the denoised (B, C, H, W) stabilised planes."""
        raise NotImplementedError


class _Block(nn.Module):
    """conv 3x3, ReLU, conv 3x3, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = _zeroed(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        # Added in place: a new array of every sum would cost a tenth of the network's time in fresh memory.
        result: Tensor = self.second(functional.relu(self.first(x), inplace=True)).add_(x)
        return result


@dataclass(frozen=True)
class Size:
    """How large a `TwoScaleNet` is."""

    widths: tuple[int, int]
    """Channels on the fine scale and on the coarse one, half of it."""
    blocks: tuple[int, int, int]
    """Residual blocks in the order of computation: fine, coarse, fine."""


SIZES: Mapping[Quality, Size] = {
    "draft": Size((16, 64), (0, 3, 0)),
    "fast": Size((32, 64), (1, 6, 4)),
    "best": Size((48, 96), (1, 12, 8)),
}
"""Multiply-adds for each photosite of a Bayer mosaic: 15,000, 53,000 and 225,000."""


class TwoScaleNet(FrequencySplitResNet):
    """Residual blocks of 3x3 convolutions on two scales, predicting the noise: all presets but ``paper``.

    Starts as the identity: the last convolution is zero. No normalisation layers, so the result of a photosite depends
    on nothing outside its receptive field.

    Parameters
    ----------
    planes : int
        A single one is folded to the four of its photosites at even and odd rows and columns: it costs what a Bayer
        mosaic of its size does.
    size : Size
    """

    def __init__(self, planes: int, size: Size = SIZES["fast"]) -> None:
        super().__init__()
        fine, coarse = size.widths
        self.planes = planes
        self.fold = 2 if planes == 1 else 1
        self.step = 2 * self.fold
        channels = planes * self.fold**2
        self.split = FrequencySplit()
        self.head = nn.Conv2d(2 * channels, fine, 3, padding=1)
        self.fine_in = _blocks(fine, size.blocks[0])
        self.down = nn.Conv2d(fine, coarse, 2, stride=2)
        self.coarse = _blocks(coarse, size.blocks[1])
        self.up = nn.ConvTranspose2d(coarse, fine, 2, stride=2)
        self.fine_out = _blocks(fine, size.blocks[2])
        self.tail = _zeroed(nn.Conv2d(fine, channels, 3, padding=1))
        convolutions = 2 + 2 * (size.blocks[0] + 2 * size.blocks[1] + size.blocks[2])  # their radius in pixels
        reach = KERNEL_RADIUS + self.fold * (convolutions + 2)  # resampling misaligns by a pixel each way at most
        self.margin = math.ceil(reach / self.step) * self.step

    def forward(self, planes: Tensor) -> Tensor:
        """Return the denoised (B, C, H, W) float32 stabilised planes."""
        height, width = planes.shape[2:]
        low, high = (self.folded(band) for band in self.split(planes))
        noise = self.unfolded(self.noise(low, high).float())
        return planes - noise[:, :, :height, :width]

    def folded(self, band: Tensor) -> Tensor:
        """Return a band (B, C, H, W) as the convolutions take it, extended by reflection to a multiple of `step`."""
        height, width = band.shape[2:]
        if height % self.step or width % self.step:
            band = functional.pad(band, (0, -width % self.step, 0, -height % self.step), mode="reflect")
        return functional.pixel_unshuffle(band, self.fold) if self.fold > 1 else band  # by 1 it would copy

    def unfolded(self, noise: Tensor) -> Tensor:
        """Return the noise in planes from what `noise` gives."""
        return functional.pixel_shuffle(noise, self.fold) if self.fold > 1 else noise

    def noise(self, low: Tensor, high: Tensor) -> Tensor:
        """Return the noise in these `folded` bands, of the same shape: every convolution there is, and no more."""
        # The low band reaches 200, the network wants numbers about 1; noise in the low band is about 0.2.
        x = torch.cat((low / 16, high), 1)
        with torch.autocast(x.device.type, enabled=False):
            x = self.head(x.float())  # the low band, rounded to bf16, would cost smooth highlights 0.05 dB
        fine = self.fine_in(x)
        coarse = self.coarse(self.down(fine))
        fine = self.fine_out(self.up(coarse).add_(fine))
        noise: Tensor = self.tail(fine)
        return noise


def _zeroed(convolution: nn.Conv2d) -> nn.Conv2d:
    """Return a convolution that gives 0 until it is trained."""
    for parameter in convolution.parameters():
        nn.init.zeros_(parameter)
    return convolution


def _blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(_Block(width) for _ in range(count)))


class _ValidBlock(nn.Module):
    """The paper's residual block: conv 5x5, ReLU, conv 5x5, add the centre of the input, ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 5, bias=False)
        self.second = nn.Conv2d(width, width, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.second(functional.relu(self.first(x))) + x[..., 4:-4, 4:-4])


def _valid_branch(inputs: int, widths: tuple[int, ...], outputs: int) -> nn.Sequential:
    """Return the paper's branch: a conv 5x5 + ReLU to each width, five residual blocks, a conv 5x5."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Conv2d(inputs, width, 5, bias=False), nn.ReLU()]
        inputs = width
    blocks = [_ValidBlock(inputs) for _ in range(5)]
    return nn.Sequential(*layers, *blocks, nn.Conv2d(inputs, outputs, 5, bias=False))


class PaperNet(FrequencySplitResNet):
    """The ``paper`` preset: the network of Kovalenko and Demyanenko (2021), 511,390 parameters, RGB.

    Convolutions take no padding; `forward` extends its input by reflection, so that the output has its size. It needs
    days of GPU, not minutes of CPU.
    """

    margin = 54 + KERNEL_RADIUS
    step = 1
    planes = 3
    grey: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.split = FrequencySplit()
        self.register_buffer("grey", torch.tensor([0.299, 0.587, 0.114])[None, :, None, None], persistent=False)
        self.image = _valid_branch(3, (15, 20, 35), 15)
        self.high = _valid_branch(1, (5, 10, 15), 5)
        self.low = _valid_branch(1, (5, 10, 15), 5)
        self.fuse = nn.Conv3d(1, 15, (25, 5, 5), bias=False)
        self.tail = _valid_branch(15, (10,), 5)
        self.colour = nn.Conv2d(5, 3, 1, bias=False)

    def forward(self, planes: Tensor) -> Tensor:
        """Return the denoised (B, 3, H, W) picture, computed in float32: there is no residual that could be exact."""
        with torch.autocast(planes.device.type, enabled=False):
            low, high = self.split((planes * self.grey).sum(1, keepdim=True))
            reach = (54,) * 4
            return self.valid(*(functional.pad(x, reach, mode="reflect") for x in (planes, low, high)))

    def valid(self, image: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return the picture 108 pixels smaller than the three inputs, as the paper defines it."""
        features = self.image(image)
        stacked = torch.cat((features, self.high(high), self.low(low)), 1)
        fused = functional.relu(self.fuse(functional.relu(stacked)[:, None])[:, :, 0])
        joined = functional.relu(fused + features[..., 2:-2, 2:-2])
        picture: Tensor = self.colour(functional.relu(self.tail(joined)))
        return picture


def build_network(preset: NetworkPreset, planes: int) -> FrequencySplitResNet:
    """Return the untrained network of a preset.

    Raises
    ------
    ValueError
        If the ``paper`` preset is asked for anything but three planes.
    """
    if preset != "paper":
        # A third faster on processors; the Conv3d of the paper has no such layout.
        network = TwoScaleNet(planes, SIZES[preset])
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
    if planes != 3:
        raise ValueError(f"the paper preset is for RGB pictures, not for {planes} planes; use the fast preset")
    return PaperNet()
