"""Procedural noise: its kinds, their bounds and combinations, and data sets of clean pictures under it.

A picture is (3, H, W) float32, 0 at black and 1 at white; the noisy one is neither clipped nor rounded.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

import burst_denoise as bd
from burst_denoise.arrays import Float, Picture
from burst_denoise.frame.srgb import linear_to_srgb
from burst_denoise.model.content import VALIDATION_PICTURES, content_pictures
from experiments.pictures import (
    MOST_SIDE,
    SUFFIXES,
    DataSet,
    Pairs,
    Scene,
    ValidationPair,
    centre,
    random_crops,
    spread,
)

__all__ = [
    "KINDS",
    "MIXTURE",
    "Bounds",
    "CleanPictures",
    "Noise",
    "NoiseModel",
    "Noisy",
    "bundled_pictures",
    "folder_pictures",
    "gaussian_noise",
    "held_out_scenes",
    "noise_data",
    "picture_files",
    "procedural_noise",
    "random_noise",
    "read_picture",
]

GAUSSIAN_VARIANCE = 0.01
"""Of the study of the four-layer CNN."""
MOST_KINDS = 3
"""At most so many kinds of noise are combined."""
MOST_PICTURES = 500
"""Clean pictures that are kept in memory, 3 MB each at most, evenly spread over all."""
VALIDATION_SIDE = 256
"""The middle of a validation picture, pixels."""


def _gaussian(clean: Float, strength: float, size: int, rng: np.random.Generator) -> Float:
    return clean + np.float32(strength) * _grains(clean.shape, size, rng.standard_normal)


def _poisson(clean: Float, strength: float, size: int, rng: np.random.Generator) -> Float:
    step = strength**2  # of one count: variance = step x mean, which at white is the square of the strength
    mean = np.maximum(clean[..., ::size, ::size], 0)
    return clean + _grains(clean.shape, size, lambda _shape: step * rng.poisson(mean / step) - mean)


def _speckle(clean: Float, strength: float, size: int, rng: np.random.Generator) -> Float:
    return clean * (1 + np.float32(strength) * _grains(clean.shape, size, rng.standard_normal))


def _salt(clean: Float, strength: float, _size: int, _rng: np.random.Generator) -> Float:
    return clean + np.float32(strength) * (1 - clean)


def _salt_and_pepper(clean: Float, strength: float, size: int, rng: np.random.Generator) -> Float:
    white = _grains(clean.shape, size, lambda shape: rng.integers(2, size=shape))
    return clean + np.float32(strength) * (white - clean)


def _grains(shape: tuple[int, ...], size: int, draw: Callable[[tuple[int, ...]], npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Return a random field of ``shape`` in which squares of ``size`` pixels share one drawn value."""
    *channels, height, width = shape
    coarse = draw((*channels, -(-height // size), -(-width // size))).astype(np.float32)
    return coarse.repeat(size, -2).repeat(size, -1)[..., :height, :width]


KINDS: Mapping[str, Callable[[Float, float, int, np.random.Generator], Float]] = MappingProxyType(
    {
        "gaussian": _gaussian,
        "poisson": _poisson,
        "speckle": _speckle,
        "salt": _salt,
        "salt and pepper": _salt_and_pepper,
    }
)
"""Noise everywhere in a picture: (clean, strength, grain size, source of all randomness) -> noisy."""


@dataclass(frozen=True)
class Noise:
    """One kind of noise, of one strength, grain size and quantity."""

    kind: str
    """A name in `KINDS`."""
    strength: float
    """Standard deviation (gaussian), that at white (poisson, speckle); share of the way to white or black (salt)."""
    size: int
    """Side of a grain, pixels: so many pixels a side share one random value."""
    quantity: float
    """Share of the pixels that are noisy, 0 to 1."""

    def add(self, clean: Float, rng: np.random.Generator) -> Float:
        """Return the picture with this noise, (3, H, W) float32."""
        noisy = KINDS[self.kind](clean, self.strength, self.size, rng)
        where = _grains(clean.shape, self.size, lambda shape: rng.random(shape) < self.quantity)
        return np.where(where > 0, noisy, clean).astype(np.float32)


@dataclass(frozen=True)
class Bounds:
    """Between what a kind of noise is drawn, uniformly, both ends included."""

    strength: tuple[float, float]
    size: tuple[int, int]
    quantity: tuple[float, float]


MIXTURE: Mapping[str, Bounds] = MappingProxyType(
    {
        "gaussian": Bounds((0.02, 0.15), (1, 3), (0.5, 1)),
        "poisson": Bounds((0.02, 0.2), (1, 3), (0.5, 1)),
        "speckle": Bounds((0.05, 0.3), (1, 3), (0.5, 1)),
        "salt": Bounds((0.5, 1), (1, 2), (0.002, 0.04)),
        "salt and pepper": Bounds((0.5, 1), (1, 2), (0.002, 0.06)),
    }
)


def random_noise(
    rng: np.random.Generator, bounds: Mapping[str, Bounds] = MIXTURE, most: int = MOST_KINDS
) -> tuple[Noise, ...]:
    """Return a combination of one to ``most`` kinds of noise, each drawn within its bounds."""
    count = int(rng.integers(1, min(most, len(bounds)) + 1))
    kinds = rng.choice(list(bounds), count, replace=False)
    return tuple(
        Noise(
            str(kind),
            rng.uniform(*bounds[kind].strength),
            int(rng.integers(*bounds[kind].size, endpoint=True)),
            rng.uniform(*bounds[kind].quantity),
        )
        for kind in kinds
    )


class Noisy(NamedTuple):
    """A noisy picture, and its noise in two numbers that a network may be conditioned on."""

    picture: Float
    intensity: float
    """Root mean square of the noise."""
    size: float
    """Mean side of a grain, pixels."""


NoiseModel = Callable[[Float, np.random.Generator], Noisy]
"""(clean picture, source of all randomness) -> noisy picture."""


def procedural_noise(clean: Float, rng: np.random.Generator) -> Noisy:
    """Return a picture with a random combination of kinds of noise within the bounds of `MIXTURE`."""
    layers = random_noise(rng)
    noisy = clean
    for layer in layers:
        noisy = layer.add(noisy, rng)
    return Noisy(noisy, math.sqrt(np.square(noisy - clean).mean()), sum(layer.size for layer in layers) / len(layers))


def gaussian_noise(clean: Float, rng: np.random.Generator) -> Noisy:
    """Return a picture with Gaussian noise of variance 0.01, that of the four-layer CNN's study."""
    strength = math.sqrt(GAUSSIAN_VARIANCE)
    return Noisy(_gaussian(clean, strength, 1, rng), strength, 1)


@dataclass(frozen=True)
class CleanPictures:
    """Clean pictures, (3, H, W) uint8 each, by what they are for; no picture is in two of them."""

    training: tuple[Picture, ...]
    validation: tuple[Picture, ...]
    test: tuple[Picture, ...]


def picture_files(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Return the pictures of a folder, sorted by name: for training, validation (every 32nd) and test (every 16th).

    Raises
    ------
    InputFileError
        If the folder is missing or has fewer than 16.
    """
    found = folder.iterdir() if folder.is_dir() else ()
    files = sorted(path for path in found if path.suffix.lower() in SUFFIXES)
    if len(files) < 16:
        raise bd.InputFileError(f"{folder}: has {len(files)} pictures ({', '.join(SUFFIXES)}); at least 16 are needed")
    test, validation = files[::16], files[8::32]
    return [path for path in files if path not in {*test, *validation}], validation, test


def read_picture(path: Path) -> Picture:
    """Return a picture file as (3, H, W) uint8 in sRGB."""
    with Image.open(path) as image:
        return np.ascontiguousarray(np.moveaxis(np.asarray(image.convert("RGB")), 2, 0))


def folder_pictures(folder: Path) -> CleanPictures:
    """Return pictures of a folder, each held out or trained on as `picture_files` says, at most `MOST_PICTURES` each.

    What is larger than `MOST_SIDE` is cut to its centre.
    """
    parts = (spread(files, MOST_PICTURES) for files in picture_files(folder))
    return CleanPictures(*(tuple(_middle(read_picture(path)) for path in files) for files in parts))


def _middle(picture: Picture) -> Picture:
    return np.array(centre(picture, MOST_SIDE))  # a view would keep all of it


def bundled_pictures() -> CleanPictures:
    """Return the pictures that come with scikit-image; `burst_denoise` never trains on those held out either."""
    training, held_out = (
        tuple(np.rint(255 * np.moveaxis(linear_to_srgb(picture), 2, 0)).astype(np.uint8) for picture in pictures)
        for pictures in (content_pictures(), content_pictures(VALIDATION_PICTURES))
    )
    return CleanPictures(training, held_out[:1], held_out[1:])


def noise_data(
    name: str, clean: CleanPictures, noise: NoiseModel = procedural_noise, noise_std: float = math.nan, *, seed: int = 0
) -> DataSet:
    """Return the data set of clean pictures with synthetic noise, fresh for every pair; its validation pairs are fixed.

    Parameters
    ----------
    name : str
        Of the data set.
    clean : CleanPictures
    noise : callable
        `procedural_noise` or `gaussian_noise`.
    noise_std : float
        Standard deviation of the noise where it is uniform, 0.1 for `gaussian_noise`; otherwise not a number.
    seed : int
        Of the noise of the validation pairs.
    """

    def draw(count: int, side: int, rng: np.random.Generator) -> Pairs:
        targets = [_random_crop(clean.training, side, rng) for _ in range(count)]
        noisy = [noise(target, rng).picture for target in targets]
        return Pairs(np.stack(noisy), np.stack(targets), np.full((count, 3), noise_std, np.float32))

    validation = []
    for index, picture in enumerate(clean.validation):
        target = _unit(centre(picture, VALIDATION_SIDE))
        noisy = noise(target, np.random.default_rng([seed, 0, index])).picture
        validation.append(ValidationPair(noisy, target, np.ones(target.shape, np.bool_)))
    return DataSet(name, draw, tuple(validation))


def held_out_scenes(clean: CleanPictures, most: int, noise: NoiseModel = procedural_noise) -> tuple[Scene, ...]:
    """Return test pictures, ``most`` of them, with fixed noise: scenes of one noisy frame whose target is clean.

    What is larger than `MOST_SIDE` is cut to its centre.
    """
    unknown, scenes = np.full(3, np.nan, np.float32), []
    for index, picture in enumerate(clean.test[:most]):
        target = _unit(centre(picture, MOST_SIDE))
        noisy = noise(target, np.random.default_rng([0, 1, index])).picture
        scenes.append(Scene(f"test {index}", noisy[None], target[None], unknown))
    return tuple(scenes)


def _random_crop(pictures: Sequence[Picture], side: int, rng: np.random.Generator) -> Float:
    (crop,) = random_crops((pictures[int(rng.integers(len(pictures)))],), side, rng)  # type: ignore[arg-type]
    return _unit(crop)


def _unit(levels: npt.NDArray[Any]) -> Float:
    return np.ascontiguousarray(levels, np.float32) / np.float32(255)
