"""The low bands of a denoised image, corrected: mottle in smooth areas, which the tiles' network leaves."""

from typing import Literal

import cv2
import numpy as np
import torch

from burst_denoise.arrays import Float
from burst_denoise.frame.geometry import row_bands
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.model.low_bands import CELL, MULTIPLE, LowBandNet
from burst_denoise.schemas import NoiseProfile
from burst_denoise.sensor.noise_model import noise_variance, stabilise

__all__ = ["cells", "correct_low_bands"]

LARGEST = 4.0
"""Noise standard deviations that one photosite counts at most: a hot one must not brighten what lies around it."""


def correct_low_bands(image: Float, change: Float, mosaic: Mosaic, profile: NoiseProfile, network: LowBandNet) -> None:
    """Correct what a network changes in an image, in place, where its low bands can be told better.

    Parameters
    ----------
    image : (H, W) or (3, H, W) float32 array, linear
        Noisy; not modified.
    change : float32 array of the same shape, linear
        What the network adds to it; left as it is if it is 0 everywhere.
    mosaic : Mosaic
    profile : NoiseProfile
        Of the image.
    network : LowBandNet
        For as many planes as the mosaic has.
    """
    if min(image.shape[-2:]) < mosaic.period:  # a plane is empty
        return
    if not change.any():  # by a network that has learnt nothing yet
        return
    profiles = [profile.of_plane(plane) for plane in range(profile.planes)]
    planes = list(zip(mosaic.parts(image), mosaic.parts(change), profiles, strict=True))
    residuals, pictures = [], []
    for noisy, added, of_plane in planes:
        bands = [_seen(noisy[rows], added[rows], of_plane) for rows in row_bands(len(noisy))]
        residual, picture = (np.concatenate(parts) for parts in zip(*bands, strict=True))
        residuals.append(residual)
        pictures.append(stabilise(picture[None], of_plane)[0])
    with torch.inference_mode():
        inputs = torch.from_numpy(_padded(residuals, "constant")), torch.from_numpy(_padded(pictures, "edge"))
        found = network(*(planes[None] for planes in inputs))[0].numpy() / CELL
    for (noisy, added, of_plane), correction in zip(planes, found, strict=True):
        for rows in row_bands(len(noisy)):
            part = added[rows]
            part += _finer(correction, rows, part.shape[1]) * _std(noisy[rows] + part, of_plane)


def cells(noisy: Float, denoised: Float, std: Float) -> tuple[Float, Float]:
    """Return the means over cells of the residual of a plane, and of the plane denoised, as the network sees them.

    Parameters
    ----------
    noisy, denoised : (H, W) float32 arrays, linear
        Photosites at or above the white level count for nothing in the residual.
    std : (H, W) float32 array, linear
        Of the noise.

    Returns
    -------
    residual, picture : (h, w) float32 arrays
        Of cells of `CELL` x `CELL`; in those at the border the plane is reflected, the residual 0. The residual is in
        units of the noise of such a mean, the picture linear, cut at the white level.
    """
    residual: Float = np.clip((noisy - denoised) / std, -LARGEST, LARGEST)
    residual *= noisy < 1
    # The noise of few photosites, repeated, would not average out.
    return CELL * _means(residual, cv2.BORDER_CONSTANT), _means(np.minimum(denoised, 1), cv2.BORDER_REFLECT)


def _means(values: Float, border: int) -> Float:
    bottom, right = (-size % CELL for size in values.shape)
    if bottom or right:
        values = np.asarray(cv2.copyMakeBorder(values, 0, bottom, 0, right, border), np.float32)
    size = values.shape[1] // CELL, values.shape[0] // CELL
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float32)


def _seen(noisy: Float, added: Float, profile: NoiseProfile) -> tuple[Float, Float]:
    denoised = noisy + added
    return cells(noisy, denoised, _std(denoised, profile))


def _std(plane: Float, profile: NoiseProfile) -> Float:
    return np.asarray(np.sqrt(noise_variance(plane[None], profile)[0]), np.float32)


def _finer(correction: Float, rows: slice, width: int) -> Float:
    """Return the rows of a correction of cells that lie on some rows of a plane, one value a pixel."""
    first, last = rows.start // CELL, -(-rows.stop // CELL)
    top, bottom = max(0, first - 1), min(len(correction), last + 1)  # what lies beside decides, too
    part = correction[top:bottom]
    fine = cv2.resize(part, (part.shape[1] * CELL, len(part) * CELL), interpolation=cv2.INTER_LINEAR)
    start = (first - top) * CELL
    return np.asarray(fine[start : start + rows.stop - rows.start, :width], np.float32)


def _padded(planes: list[Float], mode: Literal["constant", "edge"]) -> Float:
    """Return planes of cells as one array of a size that the network takes."""
    height, width = (max(-(-plane.shape[axis] // MULTIPLE) for plane in planes) * MULTIPLE for axis in (0, 1))
    return np.stack(
        [np.pad(plane, ((0, height - plane.shape[0]), (0, width - plane.shape[1])), mode=mode) for plane in planes]
    )
