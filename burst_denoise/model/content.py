"""Clean content for training: the pictures bundled with scikit-image, seen through a random camera.

A few scenes are too little content to learn pictures from: a network trained on them alone learns those scenes by heart
(two scenes: best after two minutes, then falling). So part of every batch shows the sensor's noise on other content.
"""

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from burst_denoise.arrays import Float
from burst_denoise.frame.srgb import srgb_to_linear
from burst_denoise.schemas import Domain

__all__ = [
    "PICTURES",
    "VALIDATION_PICTURES",
    "content_patch",
    "content_pictures",
    "rggb_planes",
    "training_content",
    "validation_content",
]


PICTURES = (
    "astronaut", "chelsea", "rocket", "hubble_deep_field", "immunohistochemistry", "retina",
    "brick", "grass", "coins", "moon", "page", "text",
)  # fmt: skip
"""Loaders of `skimage.data` whose pictures come with the package and are trained on."""
VALIDATION_PICTURES = ("stereo_motorcycle", "camera", "gravel")
"""Those that no training sees, neither that of a calibration nor that of a prior, for calibrations to be validated on.

``coffee`` is in neither: it is kept for the demo to be judged on.
"""
HELD_OUT_SHARE = 1 / 4
LEAST_HELD_OUT = 128
"""Of the columns of a picture, at its right end, no calibration sees this share, where that are so many."""


@cache
def content_pictures(names: Sequence[str] = PICTURES) -> tuple[Float, ...]:
    """Return clean pictures of scikit-image by name, (H, W, 3) float32 in linear light, 0 to 1."""
    from skimage import data

    loaded = [getattr(data, name)() for name in names]
    pictures: list[npt.NDArray[np.uint8]] = [p[0] if isinstance(p, tuple) else p for p in loaded]  # left eye of a pair
    return tuple(srgb_to_linear(np.dstack([p] * 3) if p.ndim == 2 else p) for p in pictures)


def training_content() -> tuple[Float, ...]:
    """Return the clean pictures that calibrations train on: `PICTURES` without their held-out columns."""
    return tuple(picture[:, : _held_out_from(picture)] for picture in content_pictures())


def validation_content() -> tuple[Float, ...]:
    """Return clean pictures that no calibration trains on: `VALIDATION_PICTURES`, and what is held out of the others.

    The more there are, the better is known what a calibration gains.
    """
    parts = (picture[:, _held_out_from(picture) :] for picture in content_pictures())
    return (*content_pictures(VALIDATION_PICTURES), *(part for part in parts if part.shape[1]))


def _held_out_from(picture: Float) -> int:
    """Return the first column of a picture that no calibration sees."""
    width: int = picture.shape[1]
    held_out = int(width * HELD_OUT_SHARE)
    return width - held_out if held_out >= LEAST_HELD_OUT else width


def content_patch(
    pictures: Sequence[Float], domain: Domain, patch: int, rng: np.random.Generator, *, developed: bool = False
) -> Float:
    """Return a random clean patch as the planes of a random camera, linear; of developed pictures, on their curve.

    Parameters
    ----------
    pictures : sequence of (H, W, 3) float32 arrays, linear light, 0 to 1
    domain : "bayer", "mono" or "rgb"
    patch : int
        Side in plane pixels.
    rng : numpy.random.Generator
        Decides picture, place, scale, flip, exposure, white balance and colours.
    developed : bool
        Whether it stands for developed pictures in colour: a plain square root stands for their tone curve.

    Returns
    -------
    (C, patch, patch) float32 array, at most 1
    """
    side = 2 * patch if domain == "bayer" else patch
    while True:
        picture = pictures[int(rng.integers(len(pictures)))]
        scale = 2.0 ** rng.uniform(-0.2, 1.3)  # from slightly soft, as real optics are, to very sharp
        cut = int(side * scale) + 1
        if min(picture.shape[:2]) >= cut:
            break
    top, left = (int(rng.integers(size - cut + 1)) for size in picture.shape[:2])
    sampling = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    colours = cv2.resize(picture[top : top + cut, left : left + cut], (side, side), interpolation=sampling)
    colours = np.rot90(colours[:, ::-1] if rng.random() < 0.5 else colours, int(rng.integers(4)))
    if rng.random() < 0.3:
        colours = colours[..., rng.permutation(3)]
    balance = np.array([2.0 ** rng.uniform(-1.6, 0.1), 1.0, 2.0 ** rng.uniform(-1.6, 0.1)], np.float32)
    exposure = np.float32(2.0 ** rng.uniform(-3.0, 0.2))
    colours = np.minimum(colours * balance * exposure, np.float32(1))
    if domain == "bayer":
        return rggb_planes(colours)
    if domain == "mono":
        return np.ascontiguousarray(colours[None, ..., 1])
    planes = np.ascontiguousarray(np.moveaxis(colours, 2, 0))
    return np.sqrt(planes) if developed else planes


def rggb_planes(picture: Float) -> Float:
    """Return what the photosites of an RGGB mosaic see of a picture (2h, 2w, 3): planes R, G1, G2, B, (4, h, w)."""
    red, green, blue = np.moveaxis(picture, 2, 0)
    return np.stack((red[0::2, 0::2], green[0::2, 1::2], green[1::2, 0::2], blue[1::2, 1::2]))
