"""Inference: an image through the network in tiles, the same whatever the tiles, with bounded memory."""

from collections.abc import Callable

import numpy as np
import torch

from burst_denoise.arrays import Float
from burst_denoise.errors import DeviceError
from burst_denoise.frame.geometry import DIHEDRAL, Tile, dihedral, dihedral_inverse, plan_tiles, reflected
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.inference.engine import Engine, side_by_side
from burst_denoise.inference.low_bands import correct_low_bands
from burst_denoise.schemas import TILE, NoiseProfile
from burst_denoise.sensor.noise_model import stabilise, unstabilised_change

__all__ = ["augmented", "blend", "denoise_image", "image_change"]


def denoise_image(
    image: Float,
    mosaic: Mosaic,
    engine: Engine,
    profile: NoiseProfile,
    *,
    strength: float = 1.0,
    augment: bool = False,
    tile: int = TILE,
) -> Float:
    """Return the denoised image.

    Parameters
    ----------
    image : (H, W) or (3, H, W) float32 array, linear
        Not clipped; not modified.
    mosaic : Mosaic
        Of the image.
    engine : Engine
        What computes; from `burst_denoise.inference.engine.fastest_engine`.
    profile : NoiseProfile
        Of the sensor at the image's ISO.
    strength : float, 0 to 1
        Blend I in y = x + I (f(x) - x); 0 gives the image back as it is.
    augment : bool
        Average over the eight flips and rotations that keep the CFA phase; eight times the work.
    tile : int
        Side of a tile, photosites. Has no influence on the result beyond float rounding.

    Returns
    -------
    image of the same shape, linear
        Photosites at or above the white level come back unchanged: what they hid is not known.

    Raises
    ------
    DeviceError
        If the device has too little memory for a tile.
    ValueError
        If ``strength`` is outside 0 to 1.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength {strength} is outside 0 to 1")
    if strength == 0:
        return image.copy()
    change = image_change(image, mosaic, engine, profile, augment=augment, tile=tile)
    return blend(image, change, strength, out=change)


def image_change(
    image: Float,
    mosaic: Mosaic,
    engine: Engine,
    profile: NoiseProfile,
    *,
    augment: bool = False,
    tile: int = TILE,
    progress: Callable[[float], None] = lambda _: None,
) -> Float:
    """Return what the network changes in an image, f(x) - x: denoised at any strength, it follows by `blend`.

    Parameters
    ----------
    image, mosaic, engine, profile, augment, tile
        As for `denoise_image`.
    progress : callable
        Called with the share of the image that is done, 0 to 1, after every tile, from whatever thread did it.

    Returns
    -------
    image of the same shape, linear
        At or above the white level it has no meaning.

    Raises
    ------
    DeviceError
        If the device has too little memory for a tile.
    """
    step, margin = mosaic.period * engine.step, mosaic.period * (engine.margin + engine.step)
    result = np.empty_like(image)
    height, width = image.shape[-2:]
    plan = list(plan_tiles(height, width, tile, margin, step))
    done: list[Tile] = []

    def denoise(piece: Tile) -> None:
        tile_change = _change(reflected(image, piece.read), mosaic, engine, profile, augment=augment)
        # The engine took off all of the margin but a step.
        rows, columns = (slice(step, step + part.stop - part.start) for part in piece.write)
        result[..., *piece.write] = tile_change[..., rows, columns]
        done.append(piece)
        progress(len(done) / len(plan))

    side_by_side(engine, denoise, plan)
    if engine.low_bands is not None:
        correct_low_bands(image, result, mosaic, profile, engine.low_bands)
    return result


def blend(image: Float, change: Float, strength: float, *, out: Float | None = None) -> Float:
    """Return an image with a share of a change in it, y = x + I (f(x) - x).

    Parameters
    ----------
    image, change : (H, W) or (3, H, W) float32 arrays, linear
        From `image_change`, or the same window of both.
    strength : float, 0 to 1
        The share I.
    out : float32 array of that shape, optional
        Where to write it; ``change`` will do.

    Returns
    -------
    array of the same shape, linear
        Photosites at or above the white level come back unchanged.
    """
    share = change if strength == 1 else np.multiply(change, np.float32(strength), out=out)
    result: Float = np.add(image, share, out=out)
    np.copyto(result, image, where=image >= 1)
    return result


def augmented(planes: Float, mosaic: Mosaic, engine: Engine, shape: tuple[int, ...], inner: tuple[int, ...]) -> Float:
    """Return the mean of what a network makes of the eight flips and rotations of stabilised planes.

    Parameters
    ----------
    planes : (C, h, w) float32 array, stabilised
    mosaic : Mosaic
        Whose planes they are; flips and rotations keep its colours where they are.
    engine : Engine
    shape : tuple of int
        Of the image that the planes are of.
    inner : tuple of int
        Of its middle, which the engine gives back.

    Returns
    -------
    (C, h', w') float32 array, stabilised
        The planes of the middle.

    Raises
    ------
    DeviceError
        If the device has too little memory.
    """
    stabilised = mosaic.unpack(planes, shape)
    # float64: the sum of eight equal values must give that value back.
    total = np.zeros(inner, np.float64)
    across = (*inner[:-2], inner[-1], inner[-2])
    for k in DIHEDRAL:
        turned = dihedral(stabilised, k)
        seen = mosaic.turned(k, shape)
        output = seen.unpack(_run(engine, seen.pack(turned)), inner if k % 2 == 0 else across)
        total += dihedral_inverse(output, k)
    return mosaic.pack((total / len(DIHEDRAL)).astype(np.float32))


def _change(noisy: Float, mosaic: Mosaic, engine: Engine, profile: NoiseProfile, *, augment: bool) -> Float:
    """Return what the network changes in the middle of a tile, linear; exactly 0 where it changes nothing."""
    margin = engine.margin
    planes = stabilise(mosaic.pack(noisy), profile)
    height, width = (side - 2 * mosaic.period * margin for side in noisy.shape[-2:])
    shape = (*noisy.shape[:-2], height, width)
    denoised = augmented(planes, mosaic, engine, noisy.shape, shape) if augment else _run(engine, planes)
    change = unstabilised_change(planes[:, margin:-margin, margin:-margin], denoised, profile)
    return mosaic.unpack(change, shape)


def _run(engine: Engine, planes: Float) -> Float:
    channels, height, width = planes.shape
    try:
        output: Float = engine.run(torch.from_numpy(np.ascontiguousarray(planes))[None]).numpy()[0]
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError on a GPU; on a processor only words tell
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and "memory" not in str(error).lower():
            raise
        raise DeviceError(
            f"too little memory for a tile of {channels}x{height}x{width}; take a smaller --tile"
        ) from error
    return output
