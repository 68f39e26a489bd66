"""The network of the low bands: what a denoising network leaves of the noise on a scale of 16 to 128 photosites.

There it sees too little of the picture to tell noise from shading, and leaves most of the noise, or a brightness of its
own: mottle in skies and walls. What it took away is known, and noise has the mean 0; so this network looks at means of
it, and of what is left, over more and more pixels.
"""

from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from burst_denoise.frame.mosaic import Mosaic

__all__ = ["CELL", "MULTIPLE", "LowBandNet", "load_low_bands"]

CELL = 8
"""Side of what is averaged for the finest scale, plane pixels."""
SCALES = 4
"""Each of twice the side of the one before: 8, 16, 32 and 64 plane pixels."""
MULTIPLE = 2**SCALES
"""Multiple of cells that sides must have, so that the coarsest scale has an even number of values."""
WIDTH = 24
"""Channels."""
FIRST_GATE = -1.0
"""Logit of the share of the residual that is given back before anything is learnt: a quarter."""


class LowBandNet(nn.Module):
    """A pyramid from coarse to fine; at each scale a share of the residual is given back, and a term of its own.

    Parameters
    ----------
    planes : int
    """

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(_Scale(planes) for _ in range(SCALES))

    def forward(self, residual: Tensor, denoised: Tensor) -> Tensor:
        """Return what is to be added to denoised planes.

        Parameters
        ----------
        residual : (B, C, h, w) tensor
            Means over cells of noisy minus denoised values, in units of the noise of such a mean. ``h`` and ``w`` are
            multiples of `MULTIPLE`.
        denoised : (B, C, h, w) tensor
            Means over cells of the denoised planes, stabilised.

        Returns
        -------
        (B, C, h, w) tensor
            In units of the noise of the mean over a cell.
        """
        residuals, pictures = [residual], [denoised]
        for _ in range(SCALES - 1):
            residuals.append(2 * functional.avg_pool2d(residuals[-1], 2))  # the noise stays one unit
            pictures.append(functional.avg_pool2d(pictures[-1], 2))
        found: Tensor | None = None
        features: Tensor | None = None
        for number in reversed(range(SCALES)):
            picture, left = pictures[number], residuals[number]
            if found is not None:
                found = _finer(found) / 2
                left = left - found
            # What the picture has at this scale alone, in units of the noise.
            detail = (picture - _finer(functional.avg_pool2d(picture, 2))) * (CELL * 2**number)
            level = torch.log1p(picture.clamp(min=0))
            seen = [_compressed(detail), _compressed(left), level]
            change, features = self.scales[number](torch.cat(seen, 1), left, features)
            found = change if found is None else found + change
        assert found is not None
        return found


class _Scale(nn.Module):
    """Three convolutions of 3x3 and one that makes a gate and a term of them."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.planes = planes
        self.head = nn.Conv2d(3 * planes + WIDTH, WIDTH, 3, padding=1)
        self.first = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.second = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.tail = nn.Conv2d(WIDTH, 2 * planes, 3, padding=1)
        for parameter in (*self.second.parameters(), *self.tail.parameters()):
            nn.init.zeros_(parameter)
        nn.init.constant_(self.tail.bias[:planes], FIRST_GATE)  # type: ignore[index]

    def forward(self, seen: Tensor, left: Tensor, coarser: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the change at this scale, and features for the next finer one."""
        if coarser is None:
            below = seen.new_zeros(len(seen), WIDTH, *seen.shape[2:])
        else:
            below = functional.interpolate(coarser, scale_factor=2, mode="nearest")
        features = self.head(torch.cat((seen, below), 1))
        features = features + self.second(functional.relu(self.first(functional.relu(features))))
        gate, term = self.tail(functional.relu(features)).split(self.planes, 1)
        return torch.sigmoid(gate) * left + term, features


def _finer(values: Tensor) -> Tensor:
    return functional.interpolate(values, scale_factor=2, mode="bilinear", align_corners=False)


def _compressed(values: Tensor) -> Tensor:
    """Return values that are themselves where small, and grow as their logarithm where a picture is far from smooth."""
    return 2 * torch.asinh(values / 2)


@cache
def load_low_bands(planes: int) -> LowBandNet | None:
    """Read the network for so many planes; None where none comes with the package: it does for Bayer mosaics."""
    if planes != len(Mosaic.PLANES["bayer"]):
        return None
    network = LowBandNet(planes)
    network.load_state_dict(load_file(Path(__file__).with_name("low_bands_bayer.safetensors")))
    return network.eval()
