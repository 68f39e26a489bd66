"""What systems make of the centre of pictures that are scored on: kept beside their rows, for figures drawn later.

A table is gathered over several runs, and the weights of one are gone in the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import burst_denoise as bd
from burst_denoise.arrays import Float, Picture
from burst_denoise.files import atomic_write
from burst_denoise.frame.srgb import linear_to_srgb
from burst_denoise.score.metrics import psnr
from experiments.entries import Made
from experiments.pictures import centre
from experiments.rows import NARROWED
from experiments.scoring import SeriesTest

__all__ = ["SIDE", "Crop", "crop_of", "crops_of", "first_frame", "kept_crops", "save_crops", "shown"]

SIDE = 120
"""Of a crop, pixels."""


@dataclass(frozen=True)
class Crop:
    """The centre of a picture as one system makes it."""

    system: str
    burst: str
    """Name of the burst whose first frame it shows."""
    minutes: float
    """Training of the system; of several crops the longest is kept."""
    psnr_db: float
    """PSNR of the whole picture."""
    picture: Picture
    """(SIDE, SIDE, 3) uint8, sRGB."""


def shown(linear: Float, burst: bd.Burst) -> Picture:
    """Return a linear picture (3, H, W) as it is looked at: white balance, curve of sRGB; a developed one as it is."""
    if burst.info.as_shot_neutral is None:
        return np.rint(255 * np.clip(np.moveaxis(linear, 0, -1), 0, 1)).astype(np.uint8)
    red, green, blue = burst.info.as_shot_neutral
    balanced = np.moveaxis(linear, 0, -1) * np.array([green / red, 1, green / blue], np.float32)
    return np.rint(255 * linear_to_srgb(balanced)).astype(np.uint8)


def crop_of(system: str, minutes: float, denoised: Float, burst: bd.Burst) -> Crop:
    """Return the crop of the first frame of a burst of pictures, (3, H, W) linear, denoised by a system."""
    clean = burst.leave_one_out_mean(0) if burst.clean is None else burst.clean
    return Crop(system, burst.name, minutes, psnr(denoised, clean, peak=1.0), shown(centre(denoised, SIDE), burst))


def first_frame(burst: bd.Burst) -> bd.Frame:
    """Return the first frame of a burst, with its noise."""
    return burst.frame(0).with_profile(burst.profile)


def crops_of(made: Sequence[Made], test: SeriesTest) -> list[Crop]:
    """Return what systems make of the first frames of the first and the last burst that is scored on."""
    found = []
    for row, method_for in made:
        name = row.system + NARROWED * row.narrow
        for burst in (test.bursts[0], test.bursts[-1]):
            if method_for is not None:
                denoised = method_for(burst)(burst.linear(0), first_frame(burst))
                found.append(crop_of(name, row.minutes or 0.0, denoised, burst))
    return found


def save_crops(path: Path, crops: Sequence[Crop]) -> None:
    """Write crops that were made together."""
    with atomic_write(path, overwrite=True) as aside, aside.open("wb") as out:
        np.savez_compressed(
            out,
            system=[crop.system for crop in crops],
            burst=[crop.burst for crop in crops],
            minutes=[crop.minutes for crop in crops],
            psnr_db=[crop.psnr_db for crop in crops],
            picture=[crop.picture for crop in crops],
        )


def kept_crops(folder: Path, burst: str) -> list[Crop]:
    """Return the crops of a burst in a folder, of each system that of the longest training, the best first.

    A narrowed network is left out where there is the whole one.
    """
    found: dict[str, Crop] = {}
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as kept:
            columns = [kept[name].tolist() for name in ("system", "burst", "minutes", "psnr_db")]
            for *fields, picture in zip(*columns, kept["picture"], strict=True):
                crop = Crop(*fields, picture)
                system = crop.system.removesuffix(NARROWED)
                if crop.burst == burst and (system not in found or _rank(found[system]) < _rank(crop)):
                    found[system] = crop
    return sorted(found.values(), key=lambda crop: crop.psnr_db, reverse=True)


def _rank(crop: Crop) -> tuple[bool, float]:
    return not crop.system.endswith(NARROWED), crop.minutes
