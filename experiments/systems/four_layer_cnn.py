"""The four-layer CNN: a small convolutional denoiser of grey pictures, and its original study.

    python -m experiments.systems.four_layer_cnn --pictures FOLDER --output FOLDER [--widths 8 16 8 4] [--epochs 200]

The study shows three pictures under Gaussian noise of variance 0.01: noisy, clean, and denoised every 50 epochs. Two
slips of the original are not repeated: it dropped the last batch of an epoch where that was not full, and showed the
clean picture under the name of the noisy one.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from experiments.pictures import DataSet
from experiments.systems.system import System

__all__ = ["FOUR_LAYER_CNN", "FourLayerCnn"]

WIDTHS = (8, 16, 8, 4)
BATCH = 8
SIDE = 128


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


FOUR_LAYER_CNN = System("Four-layer CNN", lambda _narrow: FourLayerCnn(), grey_pairs, learning_rate=3e-4)
"""Its full network is narrow enough for any proof."""
