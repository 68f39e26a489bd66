"""The denoising GAN: an over-complete convolutional autoencoder, trained against a discriminator.

The generator sees chunks of 32x32 pixels; a picture of any size is split and joined again. Training takes turns: first
both parts apart, then again and again two steps of the discriminator and three of the generator.

The source's own experiment: ``python -m experiments.systems.gan --pictures FOLDER --output FOLDER --epochs N``.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice, pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from burst_denoise.arrays import Float
from experiments.chunks import join, reflected, split
from experiments.pictures import DataSet
from experiments.systems.system import System

__all__ = [
    "GAN",
    "GAN_BCE",
    "DenoisingGan",
    "Discriminator",
    "Generator",
    "blended",
    "denoise_chunks",
    "gan_loss",
]

CHUNK = 32
"""Side of what the generator sees, pixels."""
DISCRIMINATOR_STEPS = 2
GENERATOR_STEPS = 3
BATCH = 64
"""Chunks of a step; the source's 200 take three times as long, 4 s on one core."""
LABEL_NOISE = 0.1
"""Labels are drawn between 0 and this for made pictures, between 1 less this and 1 for real ones."""
CHUNKS_AT_ONCE = 128
"""Denoised together: 128 MB for 256 channels."""
LARGEST_GRAIN = 3
"""Of the procedural noise, pixels."""
LEAK = 0.2
"""Slope of LeakyReLU below 0."""


class Generator(nn.Module):
    """A convolutional autoencoder of chunks: convolution, LeakyReLU, batch normalisation; dense latent; sigmoid.

    The first two convolutions halve the chunk, to 8x8, and no other does: with 64 channels there, no layer is smaller
    than a latent of 3,500 numbers for the 3,072 of a chunk, which is over-complete.

    Parameters
    ----------
    filters : sequence of int
        Channels of the encoder's convolutions, at least two; the decoder has them backwards.
    latent : int
        Numbers that a chunk is encoded in.
    inputs : int
        Channels of the input: 3 of the picture, 5 of the conditional variant.
    """

    def __init__(self, filters: Sequence[int] = (256, 128, 64), latent: int = 3500, inputs: int = 3) -> None:
        super().__init__()
        strides = [2, 2, *(1 for _ in filters[2:])]
        grid = (filters[-1], CHUNK // 4, CHUNK // 4)
        numbers = int(np.prod(grid))
        encoder: list[nn.Module] = []
        for (before, after), stride in zip(pairwise((inputs, *filters)), strides, strict=True):
            encoder += [nn.Conv2d(before, after, 3, stride, padding=1), *_activation(after)]
        decoder: list[nn.Module] = []
        backwards = filters[::-1]
        for (before, after), stride in zip(pairwise((filters[-1], *backwards)), strides[::-1], strict=True):
            up = nn.ConvTranspose2d(before, after, 3, stride, padding=1, output_padding=stride - 1)
            decoder += [up, *_activation(after)]
        self.encoder = nn.Sequential(*encoder, nn.Flatten(), nn.Linear(numbers, latent))
        self.decoder = nn.Sequential(
            nn.Linear(latent, numbers), nn.Unflatten(1, grid), *decoder, nn.Conv2d(filters[0], 3, 3, padding=1)
        )

    def forward(self, chunks: Tensor) -> Tensor:
        """Return the chunks (B, 3, 32, 32) that the latent numbers of the inputs stand for, 0 to 1."""
        return torch.sigmoid(self.decoder(self.encoder(chunks)))


def _activation(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.LeakyReLU(LEAK), nn.BatchNorm2d(channels)


class Discriminator(nn.Module):
    """Two convolutions of stride 2 and a dense layer that tell real chunks from made ones."""

    def __init__(self, filters: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, filters, 3, 2, padding=1),
            nn.LeakyReLU(LEAK),
            nn.Conv2d(filters, filters, 3, 2, padding=1),
            nn.LeakyReLU(LEAK),
            nn.Flatten(),
            nn.Linear(filters * (CHUNK // 4) ** 2, 1),
        )

    def logits(self, chunks: Tensor) -> Tensor:
        """Return (B,) log odds that chunks (B, 3, 32, 32) are real."""
        return self.layers(chunks)[:, 0]

    def forward(self, chunks: Tensor) -> Tensor:
        """Return (B,) probabilities that chunks are real; 0.5 on the generator's when it has won."""
        return torch.sigmoid(self.logits(chunks))


class DenoisingGan(nn.Module):
    """Generator and discriminator in one, with the count of steps that says whose turn it is.

    Parameters
    ----------
    generator : Generator
    discriminator : Discriminator
    pretraining : int
        Steps in which both learn apart, before they take turns.
    """

    step: Tensor

    def __init__(self, generator: Generator, discriminator: Discriminator, pretraining: int) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        self.pretraining = pretraining
        # With the weights, as batch normalisation keeps its count, so that a training resumed goes on in turn.
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    def forward(self, picture: Tensor) -> Tensor:
        """Return the denoised picture (B, 3, H, W) of inputs (B, 3 or 5, H, W) of any size, chunk by chunk."""
        batch, channels, height, width = picture.shape
        rows, columns = (torch.from_numpy(reflected(size, CHUNK)).to(picture.device) for size in (height, width))
        whole = picture[:, :, rows][..., columns]
        down, across = len(rows) // CHUNK, len(columns) // CHUNK
        chunks = whole.view(batch, channels, down, CHUNK, across, CHUNK).permute(0, 2, 4, 1, 3, 5)
        chunks = chunks.reshape(-1, channels, CHUNK, CHUNK)
        if self.training:  # batch normalisation wants all of the batch
            made = self.generator(chunks)
        else:
            made = torch.cat([self.generator(part) for part in chunks.split(CHUNKS_AT_ONCE)])
        made = made.view(batch, down, across, 3, CHUNK, CHUNK).permute(0, 3, 1, 4, 2, 5)
        return made.reshape(batch, 3, down * CHUNK, across * CHUNK)[..., :height, :width]


def conditioned(picture: Float, intensity: float, size: float) -> Float:
    """Return the input of the proposed conditional variant, (5, H, W): a picture, its noise's intensity and size.

    Parameters
    ----------
    picture : (3, H, W) float32 array
    intensity : float
        Root mean square of the noise.
    size : float
        Mean side of its grains, pixels.
    """
    conditions = np.array((intensity, size / LARGEST_GRAIN), np.float32)[:, None, None]
    return np.concatenate((picture, np.broadcast_to(conditions, (2, *picture.shape[1:]))))


def blended(picture: Float, denoised: Float, intensity: float) -> Float:
    """Return x + I (f(x) - x): the picture at intensity 0, the denoised one at 1.

    The source prints x - I (f(x) - x), which moves away from the denoised picture.
    """
    return picture + np.float32(intensity) * (denoised - picture)


def denoise_chunks(network: nn.Module, picture: Float, intensity: float = 1.0) -> Float:
    """Return the picture of (3, H, W) inputs, or (5, H, W) `conditioned` ones, denoised some chunks at a time.

    ``intensity`` is that of `blended`. What a picture needs in memory is itself and its result, up to any size.
    """
    device = next(network.parameters()).device

    def denoised() -> Iterator[Float]:
        chunks = split(picture, CHUNK)
        while group := list(islice(chunks, CHUNKS_AT_ONCE)):
            seen = np.stack(group)
            with torch.inference_mode():
                made = network(torch.from_numpy(seen).to(device)).float().cpu().numpy()
            yield from blended(seen[:, :3], made, intensity)

    return join(denoised(), (3, *picture.shape[-2:]), CHUNK)


def gan_batch(count: int, data: DataSet, rng: np.random.Generator) -> Sequence[Any]:
    """Return a training batch: noisy and clean chunks, and the noise (2, B) of the labels real and made."""
    noisy, clean, _std = data.draw(count, CHUNK, rng)
    return noisy, clean, rng.uniform(0, LABEL_NOISE, (2, count)).astype(np.float32)


def gan_loss(
    network: DenoisingGan,
    noisy: Tensor,
    clean: Tensor,
    label_noise: Tensor,
    *,
    pixel_weight: float = 1.0,
    adversarial_weight: float = 1.0,
) -> Tensor:
    """Return the loss of the part whose turn it is; the other part gets no gradient.

    Parameters
    ----------
    network : DenoisingGan
        Its count of steps goes on by one.
    noisy : (B, 3 or 5, 32, 32) tensor
    clean : (B, 3, 32, 32) tensor
    label_noise : (2, B) tensor
    pixel_weight, adversarial_weight : float
        Of the mean squared error and of the binary cross-entropy in the generator's loss.
    """
    turn = int(network.step) - network.pretraining
    network.step += 1
    if turn < 0:
        # Apart: neither term depends on the other part's weights.
        real_or_noisy = _discriminator_loss(network.discriminator, clean, noisy[:, :3], label_noise)
        return (network.generator(noisy) - clean).square().mean() + real_or_noisy
    if turn % (DISCRIMINATOR_STEPS + GENERATOR_STEPS) < DISCRIMINATOR_STEPS:
        with torch.no_grad():
            made = network.generator(noisy)
        return _discriminator_loss(network.discriminator, clean, made, label_noise)
    made = network.generator(noisy)
    with _frozen(network.discriminator):
        logits = network.discriminator.logits(made)
    fooled = functional.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
    return pixel_weight * (made - clean).square().mean() + adversarial_weight * fooled


def _discriminator_loss(discriminator: Discriminator, real: Tensor, made: Tensor, label_noise: Tensor) -> Tensor:
    logits = discriminator.logits(torch.cat((real, made)))
    labels = torch.cat((1 - label_noise[0], label_noise[1]))
    return functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))


@contextmanager
def _frozen(part: nn.Module) -> Iterator[None]:
    """Let gradients through a part, to its input, and none to its weights."""
    part.requires_grad_(False)
    try:
        yield
    finally:
        part.requires_grad_(True)


def _build(narrow: bool) -> DenoisingGan:
    if narrow:
        network = DenoisingGan(Generator((32, 64), 900), Discriminator(32), pretraining=60)
    else:
        network = DenoisingGan(Generator(), Discriminator(), pretraining=200)
    # A third faster on processors.
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


GAN = System(
    "Denoising GAN, MSE + BCE",
    _build,
    partial(gan_batch, BATCH),
    partial(gan_loss, adversarial_weight=0.01),
    optimizer="rmsprop",
    learning_rate=3e-4,
    denoise=denoise_chunks,
)
"""Its narrow network is the source's first, small GAN: 32-64 filters and a latent of 900.

The cross-entropy weighs 0.01: at the plain sum of the source it outweighs the squared error, a hundredth of it, and the
error nearly doubles within 100 steps of the pre-training's end.
"""
GAN_BCE = System(
    "Denoising GAN, BCE",
    _build,
    partial(gan_batch, BATCH),
    partial(gan_loss, pixel_weight=0.0),
    optimizer="adam",
    learning_rate=3e-4,
    denoise=denoise_chunks,
)
"""Nothing in its loss ties the result to the picture: after the pre-training the error grows again, twofold in 70 steps
of the narrow network. Weights are to be chosen by validation.
"""
