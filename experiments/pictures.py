"""The pictures that the earlier systems are trained and scored on: data sets of scenes, training pairs, validation.

A picture is a (3, H, W) float32 array, red, green and blue, 0 at black and 1 at white, neither clipped nor rounded.
Pictures of a raw burst are half its size: red, the mean of the two greens, blue, without any demosaicing. They are
encoded by the curve that makes their noise uniform, as `burst_denoise` itself does, which looks much as a gamma of 2
does: `encoded`. Developed pictures, such as camera JPEGs, are taken as they are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

import burst_denoise as bd
from burst_denoise.arrays import Float, Mask
from burst_denoise.frame.geometry import DIHEDRAL, centre_window, dihedral
from burst_denoise.schemas import NoiseProfile
from burst_denoise.sensor.noise_model import stabilise, unstabilise, unstabilise_mean

__all__ = [
    "MOST_SIDE",
    "SUFFIXES",
    "DataSet",
    "Pairs",
    "Scene",
    "ValidationPair",
    "centre",
    "decoded",
    "encoded",
    "noise_std",
    "random_crops",
    "random_pairs",
    "spread",
]


T = TypeVar("T", bound=np.generic)
U = TypeVar("U")

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Of the files of clean pictures."""
MOST_SIDE = 1024
"""Of a picture; what is larger is cut to its centre, which is enough to compare on and fits into memory."""


def centre(picture: npt.NDArray[T], side: int) -> npt.NDArray[T]:
    """Return the centre of a picture (3, H, W), no side longer than ``side``; a view."""
    return picture[:, *centre_window(picture.shape, side)]


def spread(items: Sequence[U], most: int) -> Sequence[U]:
    """Return at most so many of some items, evenly spread over all."""
    return items[:: -(-len(items) // most)]


def encoded(linear: Float, profile: NoiseProfile) -> Float:
    """Return a linear picture (3, H, W) on the curve that makes its noise uniform: black 0, white 1."""
    return stabilise(linear, profile) / _white(profile)


def decoded(picture: Float, profile: NoiseProfile, *, averaged: bool = False) -> Float:
    """Return the linear picture of an encoded one.

    ``averaged`` says that the picture estimates a mean of encoded noisy values, which the curve pulls down (Noise2Void
    and others trained on single frames), and not the encoded clean picture.
    """
    inverse = unstabilise_mean if averaged else unstabilise
    return inverse((picture * _white(profile)).astype(np.float32), profile)


def noise_std(profile: NoiseProfile) -> Float:
    """Return the standard deviation of the noise in each channel of an encoded picture, (3,)."""
    return 1 / _white(profile)[:, 0, 0]


def _white(profile: NoiseProfile) -> Float:
    return stabilise(np.ones((len(profile.shot_noise_scale), 1, 1), np.float32), profile)


@dataclass(frozen=True)
class Scene:
    """Noisy pictures of one scene, and what a network shall make of each."""

    name: str
    noisy: Float
    """(N, 3, H, W): N frames of a burst, or the one noisy picture of a pair."""
    target: Float
    """(N, 3, H, W): the mean of the *other* frames of the burst, averaged in linear light, or the pair's reference."""
    noise_std: Float
    """(3,) standard deviation of the noise, where it is uniform; not a number where it is not known."""


class Pairs(NamedTuple):
    """Training pairs, (B, 3, side, side) each."""

    noisy: Float
    target: Float
    noise_std: Float
    """(B, 3) of the noise in ``noisy``; not a number where it is not known."""


class ValidationPair(NamedTuple):
    """A picture that chooses among the weights of a training."""

    noisy: Float
    """(3, H, W)"""
    target: Float
    counts: Mask
    """(3, H, W) True where the error counts."""


@dataclass(frozen=True)
class DataSet:
    """What all systems of one table are trained with; the pictures they are scored on are not in it."""

    name: str
    draw: Callable[[int, int, np.random.Generator], Pairs]
    """(number of pairs, their side, source of all randomness) -> training pairs."""
    validation: tuple[ValidationPair, ...]
    scenes: tuple[Scene, ...] = ()
    """The scenes of the training; those of a burst have several frames. Empty where noise is made as training goes."""
    sha256: str = ""
    """Of the files that it was made from; a training goes on, and a row stays, with the same files only."""


def random_pairs(scenes: tuple[Scene, ...]) -> Callable[[int, int, np.random.Generator], Pairs]:
    """Return the `DataSet.draw` of scenes: random crops, turned by quarters and flipped at random."""

    def draw(count: int, side: int, rng: np.random.Generator) -> Pairs:
        drawn = []
        for _ in range(count):
            scene = scenes[int(rng.integers(len(scenes)))]
            index = int(rng.integers(len(scene.noisy)))
            drawn.append((*random_crops((scene.noisy[index], scene.target[index]), side, rng), scene.noise_std))
        return Pairs(*(np.stack(parts).astype(np.float32) for parts in zip(*drawn, strict=True)))

    return draw


def random_crops(pictures: tuple[Float, ...], side: int, rng: np.random.Generator) -> list[Float]:
    """Return the same random crop, (3, side, side), of pictures of one size, turned and flipped alike.

    Raises
    ------
    SeriesError
        If they are smaller than the crop.
    """
    height, width = pictures[0].shape[-2:]
    if min(height, width) < side:
        raise bd.SeriesError(
            f"pictures of {height}x{width} to train on, but patches are of {side}x{side}; take larger ones, or leave "
            "systems out"
        )
    top, left = (int(rng.integers(size - side + 1)) for size in (height, width))
    k = int(rng.integers(len(DIHEDRAL)))
    return [dihedral(picture[..., top : top + side, left : left + side], k) for picture in pictures]
