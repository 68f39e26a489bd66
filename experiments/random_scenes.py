"""Random scenes: clean pictures through lens, white balance and exposure; even areas and stars, as skies have them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from skimage import data as bundled

from burst_denoise.arrays import Double, Float, Picture
from burst_denoise.frame.srgb import srgb_to_linear
from burst_denoise.model.content import PICTURES, rggb_planes
from burst_denoise.schemas import Domain
from experiments.data_folder import DATA

__all__ = [
    "COLLECTIONS",
    "DATA",
    "HELD_OUT",
    "OPTICS",
    "Shares",
    "clean_planes",
    "collection",
    "log_uniform",
    "photosites_along",
    "planes_of",
    "training_pictures",
]

COLLECTIONS = ("clean_train", "clean_train2")
HELD_OUT = slice(15, None, 31)
"""Of the first collection, left to validation: 8 of 248."""
LUMINANCE = np.array([0.2, 0.7, 0.1], np.float32)
LINEAR_OF_BYTE = srgb_to_linear(np.arange(256, dtype=np.uint8))

OPTICS = {
    "exposure": (0.03, 1.2),  # value of a white photosite of the green planes; log-uniform
    "neutral_red": (0.4, 0.7),  # what a white photosite of the red planes has of it
    "neutral_blue": (0.45, 0.8),
    "blur_px": (-0.6, 1.2),  # standard deviation of the lens's Gaussian blur, photosites; below 0 there is none
    "smaller": (1.0, 1.5),  # factor by which a picture is made smaller first, as far as its size allows; log-uniform
    "defocus_px": (4.0, 60.0),  # standard deviation of the blur of what is out of focus, photosites; log-uniform
    "even_level": (0.002, 0.8),  # of even areas and of the sky behind stars, linear; log-uniform
    "stars": (1e-4, 1e-2),  # for each photosite; log-uniform
    "star_fwhm_px": (1.4, 5.0),  # full width at half maximum, photosites; log-uniform
    "star_peak": (1e-3, 3.0),  # linear; the faint ones likeliest, see below
}
"""What scene and lens are drawn from."""


@dataclass(frozen=True)
class Shares:
    """How much of the training is no picture in focus."""

    even: float
    """Of a colour that is the same everywhere, but for shading."""
    defocused: float
    stars: float


@cache
def training_pictures() -> tuple[list[Picture], list[Picture], str]:
    """Return the pictures to train priors on and to validate them on, and the SHA-256 of all."""
    training = collection(COLLECTIONS[:1])
    held_out = training[HELD_OUT]
    del training[HELD_OUT]
    training += collection(COLLECTIONS[1:])
    more = [getattr(bundled, name)() for name in PICTURES]  # not those that validate calibrations
    training += [np.dstack([picture] * 3) if picture.ndim == 2 else picture for picture in more]
    digest = hashlib.sha256(b"".join(picture.tobytes() for picture in (*training, *held_out))).hexdigest()
    return training, held_out, digest


def collection(names: Sequence[str] = COLLECTIONS) -> list[Picture]:
    """Return the clean pictures of folders of the test data, (H, W, 3) uint8 sRGB, sorted by folder and name."""
    return [_picture(path) for name in names for path in sorted((DATA / name).glob("*.webp"))]


@cache
def _picture(path: Path) -> Picture:
    return np.asarray(Image.open(path).convert("RGB"))


def log_uniform(drawn_from: tuple[float, float], count: int, rng: np.random.Generator) -> Double:
    """Return numbers drawn so that every octave is as likely."""
    return np.exp(rng.uniform(*np.log(drawn_from), count))


def photosites_along(side: int, domain: Domain) -> int:
    """Return how many photosites lie along so many pixels of a plane."""
    return 2 * side if domain == "bayer" else side


def clean_planes(
    pictures: Sequence[Picture], side: int, shares: Shares, rng: np.random.Generator, domain: Domain = "bayer"
) -> Float:
    """Return the clean planes (C, side, side) of a random scene, linear: of a picture, one out of focus, or a sky."""
    kind = rng.random()
    mixture = rng.dirichlet((1, 2, 1)).astype(np.float32)
    photosites = photosites_along(side, domain)
    if kind < shares.even:
        return _planes(_even(photosites, rng), domain, mixture)
    if kind < shares.even + shares.stars:
        return _planes(_stars(photosites, rng), domain, mixture)
    picture = pictures[int(rng.integers(len(pictures)))]
    picture = np.rot90(picture[:, ::-1] if rng.random() < 0.5 else picture, int(rng.integers(4)))
    room = min(picture.shape[:2]) / photosites
    scale = min(max(room, 1.0), float(log_uniform(OPTICS["smaller"], 1, rng)[0]))
    needed = round(photosites * scale)
    missing = [(0, max(0, needed - size)) for size in picture.shape[:2]]
    picture = np.pad(picture, (*missing, (0, 0)), mode="symmetric")  # hardly any is so small
    top, left = (int(rng.integers(size - needed + 1)) for size in picture.shape[:2])
    white = np.array([rng.uniform(*OPTICS["neutral_red"]), 1, rng.uniform(*OPTICS["neutral_blue"])])
    white *= log_uniform(OPTICS["exposure"], 1, rng)
    blur = rng.uniform(*OPTICS["blur_px"])
    if kind > 1 - shares.defocused:
        blur = float(log_uniform(OPTICS["defocus_px"], 1, rng)[0])
    return _planes(_seen(picture[top:, left:], photosites, scale, blur, white), domain, mixture)


def planes_of(
    picture: Picture, side: int, scale: float, blur_px: float, white: Double, domain: Domain = "bayer"
) -> Float:
    """Return the clean planes (C, side, side) of the top left of a picture, made smaller, through a lens, linear."""
    return _planes(_seen(picture, photosites_along(side, domain), scale, blur_px, white), domain, LUMINANCE)


def _seen(picture: Picture, photosites: int, scale: float, blur_px: float, white: Double) -> Float:
    """Return the three colours (photosites, photosites, 3) of the top left of a picture, linear."""
    cut = round(photosites * scale)
    seen = LINEAR_OF_BYTE[picture[:cut, :cut]] * white.astype(np.float32)
    if cut > photosites:
        seen = cv2.resize(seen, (photosites, photosites), interpolation=cv2.INTER_AREA)
    if blur_px > 0:
        seen = cv2.GaussianBlur(seen, (0, 0), blur_px, borderType=cv2.BORDER_REFLECT)
    return np.asarray(seen, np.float32)


def _planes(seen: Float, domain: Domain, mixture: Float) -> Float:
    """Return the planes that a sensor makes of three colours; one without filters sees a mixture of them."""
    if domain == "bayer":
        return rggb_planes(seen)
    if domain == "rgb":
        return np.ascontiguousarray(np.moveaxis(seen, 2, 0))
    return np.ascontiguousarray((seen @ mixture)[None])


def _even(photosites: int, rng: np.random.Generator) -> Float:
    """Return the three colours of an area that is the same everywhere, but for shading."""
    down, right = np.mgrid[:photosites, :photosites] / photosites - 0.5
    terms = np.stack([down, right, down**2 + right**2, down * right])
    shading = np.maximum(1 + np.tensordot(rng.normal(0, 0.3, 4), terms, 1), 0.02)
    colour = log_uniform(OPTICS["even_level"], 1, rng) * np.exp(rng.normal(0, 0.25, 3))
    return np.asarray(shading[..., None] * colour, np.float32)


def _stars(photosites: int, rng: np.random.Generator) -> Float:
    """Return the three colours of a sky with stars of one width: Moffat profiles with centres between photosites."""
    sky = 0.2 * _even(photosites, rng)
    width = float(log_uniform(OPTICS["star_fwhm_px"], 1, rng)[0]) / (2 * (2 ** (1 / 2.5) - 1) ** 0.5)
    reach = int(6 * width) + 1
    least, most = OPTICS["star_peak"]
    for _ in range(int(photosites**2 * log_uniform(OPTICS["stars"], 1, rng)[0])):
        # In a volume filled evenly with equal suns the number above a brightness falls with its power of -3/2.
        peak = least * (1 - rng.random() * (1 - (most / least) ** -1.5)) ** (-1 / 1.5)
        colour = peak * np.exp(rng.normal(0, 0.2, 3))
        centre = rng.uniform(0, photosites, 2)
        first = np.maximum(centre.astype(int) - reach, 0)
        down, right = (
            np.arange(a, min(int(c) + reach + 1, photosites)) - c for a, c in zip(first, centre, strict=True)
        )
        profile = (1 + (down[:, None] ** 2 + right**2) / width**2) ** -2.5
        rows, columns = (slice(a, a + n) for a, n in zip(first, profile.shape, strict=True))
        sky[rows, columns] += (profile[..., None] * colour).astype(np.float32)
    return sky
