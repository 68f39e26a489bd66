"""Convolutional autoencoder: three convolutions with max-pooling, three deconvolutions, one convolution to RGB.

The baseline of a study that compares it with CBDNet, PRIDNet and RIDNet; trained there for 15 epochs on the mean
squared error. The widths are ours. It has no skip: what an eighth of the resolution does not hold is lost.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from experiments.systems.initialisation import initialised
from experiments.systems.padding import padded
from experiments.systems.system import System, pairs_of

__all__ = ["AUTOENCODER", "Autoencoder"]


class Autoencoder(nn.Module):
    """Encoder and decoder of three scales, without skips; the output is linear, since pictures are not clipped.

    Parameters
    ----------
    widths : tuple of int
        Channels of the three convolutions; the deconvolutions take the same way back.
    """

    def __init__(self, widths: tuple[int, int, int] = (64, 128, 256)) -> None:
        super().__init__()
        encoder: list[nn.Module] = []
        for inputs, outputs in pairwise((3, *widths)):
            encoder += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        decoder: list[nn.Module] = []
        for inputs, outputs in pairwise((*widths[::-1], widths[0])):
            decoder += [nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*encoder, *decoder, nn.Conv2d(widths[0], 3, 3, padding=1))
        initialised(self)

    def forward(self, noisy: Tensor) -> Tensor:
        """Return the denoised (B, 3, H, W) pictures."""
        height, width = noisy.shape[-2:]
        denoised: Tensor = self.layers(padded(noisy, 8))
        return denoised[..., :height, :width].float()


def _build(narrow: bool) -> nn.Module:
    network = Autoencoder((32, 64, 128)) if narrow else Autoencoder()
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


AUTOENCODER = System(
    name="Convolutional autoencoder",
    build=_build,
    batch=pairs_of(count=4, side=128),
    learning_rate=1e-3,
)
