"""The source paper: its network and recipe, from leave-one-out means and from pairs of single frames.

Kovalenko and Demyanenko, "Unsupervised Training of Denoising Networks" (2021): pictures of series, random crops turned
by quarters and flipped, each frame against the mean of the others, RAdam, the picture denoised on a grid, and the same
turns and flips averaged at the end. Beside it its comparison with Noise2Noise as first proposed (Lehtinen et al., ICML
2018), which takes one other frame as the target instead of the mean of all others.

What differs: the paper's crops and learning rate are not stated, these are ours; the convolutions take no padding, so a
crop of 236 pixels teaches its centre of 128.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from burst_denoise.arrays import Float
from burst_denoise.frame.geometry import DIHEDRAL, dihedral, dihedral_inverse, plan_tiles, reflected
from burst_denoise.model.network import PaperNet
from experiments.pictures import DataSet, random_crops
from experiments.systems.initialisation import initialised
from experiments.systems.system import System

__all__ = ["NOISE2NOISE", "PAPER", "augmented", "on_a_grid", "valid_mse"]

REACH = 54
"""Pixels that the network takes off every side."""
CROP = 128 + 2 * REACH
BLOCK_START = 0.3
"""Share of the weights of the second convolution of every block at the start."""
TILE = 256
"""Side of a tile of the grid, pixels; has no influence on the result."""


def valid_mse(network: nn.Module, noisy: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error over the centre of crops, where the network sees no border."""
    return (_without_border(network, noisy) - target[..., REACH:-REACH, REACH:-REACH]).square().mean()


def on_a_grid(network: nn.Module, picture: Float, tile: int = TILE) -> Float:
    """Return a picture (3, H, W) denoised in tiles that see all that decides their pixels: equal to the whole."""
    height, width = picture.shape[1:]
    margin = PaperNet.margin
    result = np.empty_like(picture)
    for piece in plan_tiles(height, width, tile, margin):
        with torch.inference_mode():
            seen = torch.from_numpy(reflected(picture, piece.read))[None]
            result[:, *piece.write] = _without_border(network, seen, margin - REACH)[0].numpy()
    return result


def _without_border(network: nn.Module, noisy: Tensor, beyond: int = 0) -> Tensor:
    """Return what the network makes of a batch without any padding; the bands are cut by ``beyond`` on every side."""
    bands = (noisy, *network.split((noisy * network.grey).sum(1, keepdim=True)))
    rows, columns = (slice(beyond, size - beyond) for size in noisy.shape[2:])
    picture: Tensor = network.valid(*(band[..., rows, columns] for band in bands))
    return picture


def augmented(network: nn.Module, picture: Float, denoise: Callable[[nn.Module, Float], Float] = on_a_grid) -> Float:
    """Return the mean over the eight turns and flips of a picture, each denoised by itself."""
    turned = (dihedral_inverse(denoise(network, dihedral(picture, k)), k) for k in DIHEDRAL)
    total: Float = np.sum(list(turned), axis=0, dtype=np.float64)
    return (total / len(DIHEDRAL)).astype(np.float32)


def _leave_one_out(data: DataSet, rng: np.random.Generator) -> Sequence[Any]:
    return data.draw(1, CROP, rng)[:2]


def _two_frames(data: DataSet, rng: np.random.Generator) -> Sequence[Any]:
    scene = data.scenes[int(rng.integers(len(data.scenes)))]
    noisy, other = rng.choice(len(scene.noisy), 2, replace=False)
    return [crop[None].astype(np.float32) for crop in random_crops((scene.noisy[noisy], scene.noisy[other]), CROP, rng)]


@torch.no_grad()
def _network(_narrow: bool) -> nn.Module:
    """Return the paper's network, never narrowed: 511,390 parameters.

    The paper does not say where its weights start. From PyTorch's own start signals vanish on the way through forty
    layers; and a feature behind the last ReLU that is wanted with less of a colour is switched off for good. So signals
    keep their size, blocks start near the identity, and the last convolution, 1x1, starts non-negative.
    """
    network = initialised(PaperNet())
    nn.init.kaiming_normal_(network.fuse.weight, nonlinearity="relu")
    for name, weight in network.named_parameters():
        if name.endswith("second.weight"):
            weight.mul_(BLOCK_START)
    network.colour.weight.abs_()
    return network


PAPER = System(
    name="Kovalenko & Demyanenko 2021",
    build=_network,
    batch=_leave_one_out,
    loss=valid_mse,
    optimizer="radam",
    learning_rate=1e-3,
    gradient_norm=0.05,
    denoise=on_a_grid,
)
NOISE2NOISE = System(
    name="Noise2Noise pairs, the paper's network",
    build=_network,
    batch=_two_frames,
    loss=valid_mse,
    optimizer="radam",
    learning_rate=1e-3,
    gradient_norm=0.05,
    averaged=True,
    denoise=on_a_grid,
)
