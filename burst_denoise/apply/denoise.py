"""Inference: an image through the network in tiles, the same whatever the tiles, with bounded memory."""

import numpy as np
import numpy.typing as npt
import torch

from burst_denoise.config import NoiseProfile
from burst_denoise.errors import DeviceError
from burst_denoise.learn.network import FrequencySplitResNet
from burst_denoise.sensor.defects import Repair
from burst_denoise.sensor.frame import pack, unpack
from burst_denoise.sensor.geometry import DIHEDRAL, dihedral, dihedral_cfa, dihedral_inverse, plan_tiles
from burst_denoise.sensor.noise import stabilise, unstabilised_change

__all__ = ["TILE", "denoise_image"]

Float = npt.NDArray[np.float32]

TILE = 1024
"""Photosites along a side of a tile: small enough for a gigabyte, large enough that its margin costs little."""


def denoise_image(
    image: Float,
    cfa: str | None,
    network: FrequencySplitResNet,
    profile: NoiseProfile,
    *,
    dtype: torch.dtype,
    strength: float = 1.0,
    augment: bool = False,
    tile: int = TILE,
    dark: Float | None = None,
    repair: Repair | None = None,
) -> Float:
    """Return the denoised image.

    Parameters
    ----------
    image : (H, W) or (3, H, W) float32 array, linear
        Not clipped; not modified.
    cfa : str or None
        CFA phase of a mosaic.
    network : FrequencySplitResNet
        On the device to compute on.
    profile : NoiseProfile
        Of the sensor at the image's ISO.
    dtype : torch.dtype
        Precision of the convolutions, from `burst_denoise.learn.device.compute_dtype`.
    strength : float, 0 to 1
        Blend I in y = x + I (f(x) - x), with x the input after subtraction and repair; 0 gives the input back as it is.
    augment : bool
        Average over the eight flips and rotations that keep the CFA phase; eight times the work.
    tile : int
        Side of a tile, photosites. Has no influence on the result beyond float rounding.
    dark : array of the shape of the image, optional
        Dark offsets to subtract first, where the image is below the white level; linear.
    repair : Repair, optional
        Repairs the defects of images of this shape, before the network would take them for picture.

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
    if dark is not None:
        image = np.where(image >= 1, image, image - dark)
    if repair is not None:
        image = repair.apply(image)
    period = 1 if cfa is None else 2
    step, margin = period * network.step, period * (network.margin + network.step)
    height, width = image.shape[-2:]
    sides = [(margin, margin + -size % step) for size in (height, width)]
    extended = np.pad(image, [(0, 0)] * (image.ndim - 2) + sides, mode="reflect")
    result = np.empty_like(image)
    for piece in plan_tiles(height, width, tile, margin, step):
        noisy = extended[..., *piece.read]
        change = _change(noisy, cfa, network, profile, dtype, DIHEDRAL if augment else DIHEDRAL[:1])
        result[..., *piece.write] = image[..., *piece.write] + np.float32(strength) * change[..., *piece.keep]
    return np.where(image >= 1, image, result)


def _change(
    noisy: Float,
    cfa: str | None,
    network: FrequencySplitResNet,
    profile: NoiseProfile,
    dtype: torch.dtype,
    transforms: range,
) -> Float:
    """Return what the network changes in a tile, linear; exactly 0 where it changes nothing."""
    planes = stabilise(pack(noisy, cfa), profile)
    stabilised = unpack(planes, cfa, noisy.shape)
    # float64: the sum of eight equal values must give that value back.
    total = np.zeros(noisy.shape, np.float64)
    for k in transforms:
        turned = dihedral(stabilised, k)
        turned_cfa = dihedral_cfa(cfa, k, stabilised.shape)
        output = _run(network, pack(turned, turned_cfa), dtype)
        total += dihedral_inverse(unpack(output, turned_cfa, turned.shape), k)
    denoised = pack((total / len(transforms)).astype(np.float32), cfa)
    return unpack(unstabilised_change(planes, denoised, profile), cfa, noisy.shape)


@torch.inference_mode()
def _run(network: FrequencySplitResNet, planes: Float, dtype: torch.dtype) -> Float:
    device = next(network.parameters()).device
    channels, height, width = planes.shape
    try:
        x = torch.from_numpy(np.ascontiguousarray(planes))[None].to(device)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            y = network(x.contiguous(memory_format=torch.channels_last))
        output: Float = y[0].float().cpu().numpy()
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"{device}: too little memory for a tile of {channels}x{height}x{width}; take a smaller --tile"
        ) from error
    return output
