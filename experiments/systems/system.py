"""What every trained system of the table is: a network, its training pairs, its loss, and how it denoises a picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from burst_denoise.arrays import Float
from experiments.pictures import DataSet

__all__ = ["System", "mean_squared_error", "pairs_of", "whole_picture"]


def whole_picture(network: nn.Module, picture: Float) -> Float:
    """Return a picture (3, H, W) denoised by a network that takes any size, in one piece.

    In one piece, because networks that pool over the whole of their input (RIDNet, PRIDNet) depend on the tile.
    """
    with torch.inference_mode():
        batch = torch.from_numpy(np.ascontiguousarray(picture))[None].to(next(network.parameters()).device)
        result: Float = network(batch)[0].float().cpu().numpy()
    return result


def pairs_of(count: int, side: int) -> Callable[[DataSet, np.random.Generator], Sequence[Any]]:
    """Return the batches of a system that learns from noisy pictures and references alone: (noisy, target)."""

    def batch(data: DataSet, rng: np.random.Generator) -> Sequence[Any]:
        return data.draw(count, side, rng)[:2]

    return batch


def mean_squared_error(network: nn.Module, noisy: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error of a batch: the loss of most systems."""
    return (network(noisy) - target).square().mean()


@dataclass(frozen=True)
class System:
    """A system of the table, trained by the loop of the library, `burst_denoise.model.fit.fit`.

    What differs from the sources, in all of them: the learning rate falls with the cosine of the steps, gradients are
    cut, a running average of the weights is scored and the best validated one kept; batches and patches are of a size
    that a budget of minutes can pay.

    The network takes (B, 3, H, W) pictures of any size and gives the same size, whatever it must pad or cut inside.
    """

    name: str
    """Of its row."""
    build: Callable[[bool], nn.Module]
    """Called with whether the network shall be narrowed, for a quick proof; its weights come from torch's generator."""
    batch: Callable[[DataSet, np.random.Generator], Sequence[Any]]
    """The arrays of one training step, from the data set and the step's own generator."""
    loss: Callable[..., Tensor] = mean_squared_error
    """(network, *batch) -> scalar."""
    optimizer: str = "adam"
    """A name that `burst_denoise.model.fit.make_optimizer` knows."""
    learning_rate: float = 1e-4
    gradient_norm: float = 1.0
    """To which gradients are cut."""
    residual: bool = False
    """The network predicts a change of its input and so starts near the noisy picture."""
    proof_steps: int = 0
    """Steps that a quick proof of it takes at least, whatever its minutes buy."""
    averaged: bool = False
    """Learns means of noisy values; see `experiments.pictures.decoded`."""
    denoise: Callable[[nn.Module, Float], Float] = whole_picture
    """(network, picture) -> denoised picture."""
