"""The sRGB tone curve, its inverse and a plain development, for pictures people look at; no pipeline uses them."""

import cv2
import numpy as np
import numpy.typing as npt

from burst_denoise.arrays import Float
from burst_denoise.frame.mosaic import RGGB, Mosaic
from burst_denoise.schemas import FrameInfo

__all__ = [
    "DEMOSAIC_BORDER",
    "demosaiced",
    "developed",
    "linear_to_srgb",
    "on_display_curve",
    "srgb_to_linear",
    "white_balance",
]

DEMOSAIC_BORDER = 2
"""Photosites around a demosaiced picture: OpenCV leaves the outermost without colours of its own."""


def linear_to_srgb(linear: Float) -> Float:
    """Return linear light, 0 to 1, on the sRGB curve, 0 to 1; values outside are clipped, as in any picture file.

    References
    ----------
    IEC 61966-2-1: 12.92 x up to 0.0031308, then 1.055 x^(1/2.4) - 0.055.
    """
    x = np.clip(linear, np.float32(0), np.float32(1))
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** np.float32(1 / 2.4) - 0.055).astype(np.float32)


def srgb_to_linear(encoded: npt.NDArray[np.uint8] | Float) -> Float:
    """Return the linear light, 0 to 1 float32, of sRGB values: uint8 0 to 255, or float 0 to 1."""
    x = encoded.astype(np.float32) / 255 if encoded.dtype == np.uint8 else encoded
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** np.float32(2.4)).astype(np.float32)


def on_display_curve(values: Float, info: FrameInfo) -> Float:
    """Return the values of a frame as a display takes them, clipped to 0 and 1: linear ones on the curve of sRGB.

    Those of a developed picture are on such a curve already.
    """
    return np.clip(values, np.float32(0), np.float32(1)) if info.developed else linear_to_srgb(values)


def white_balance(info: FrameInfo) -> Float:
    """Return the factors (4, 1, 1) of R, G1, G2, B that make a neutral patch grey; 1 without a white balance."""
    red, green, blue = info.as_shot_neutral or (1.0, 1.0, 1.0)
    return np.array([green / red, 1.0, 1.0, green / blue], np.float32)[:, None, None]


def demosaiced(planes: Float) -> Float:
    """Return R, G1, G2, B planes as linear RGB, edge-aware, in 16 bits, clipped to 0 and 1, a border around it.

    Parameters
    ----------
    planes : (4, h, w) float32 array, linear

    Returns
    -------
    (2 h + 4, 2 w + 4, 3) float32 array, linear
    """
    whole = RGGB.unpack(planes, (2 * planes.shape[1], 2 * planes.shape[2]))
    levels = np.rint(np.clip(np.pad(whole, DEMOSAIC_BORDER, mode="reflect"), 0, 1) * 65535).astype(np.uint16)
    colour = cv2.demosaicing(levels, cv2.COLOR_BayerRGGB2RGB_EA)
    return colour.astype(np.float32) / np.float32(65535)


def developed(image: Float, info: FrameInfo) -> npt.NDArray[np.uint8]:
    """Return a picture to look at: white balance, edge-aware demosaicing, the curve of sRGB, 8 bits; no colour matrix.

    Parameters
    ----------
    image : (H, W) or (3, H, W) float32 array, linear
        A window of a mosaic must start on even rows and columns.
    info : FrameInfo
        Gives the domain, the CFA, the white balance, and whether the values are on a tone curve already.

    Returns
    -------
    (H, W, 3) uint8 array, sRGB
    """
    if info.cfa is not None:
        mosaic = Mosaic.of(info)
        colour = demosaiced(mosaic.pack(image) * white_balance(info))
        top, left = (DEMOSAIC_BORDER + first for first in mosaic.phase)
        height, width = image.shape
        colour = colour[top : top + height, left : left + width]
    else:
        colour = np.moveaxis(np.broadcast_to(image, (3, *image.shape[-2:])), 0, -1)
    return np.rint(on_display_curve(colour, info) * 255).astype(np.uint8)
