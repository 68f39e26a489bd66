"""The sRGB tone curve and its inverse, for pictures people look at; nothing in the raw pipeline uses them."""

import numpy as np
import numpy.typing as npt

__all__ = ["linear_to_srgb", "srgb_to_linear"]

Float = npt.NDArray[np.float32]


def linear_to_srgb(linear: Float) -> Float:
    """Return linear light, 0 to 1, on the sRGB curve, 0 to 1; values outside are clipped, as in any picture file.

    References
    ----------
    IEC 61966-2-1: 12.92 x up to 0.0031308, then 1.055 x^(1/2.4) - 0.055.
    """
    x = np.clip(linear, np.float32(0), np.float32(1))
    curve: Float = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** np.float32(1 / 2.4) - 0.055).astype(np.float32)
    return curve


def srgb_to_linear(encoded: npt.NDArray[np.uint8] | Float) -> Float:
    """Return the linear light, 0 to 1 float32, of sRGB values: uint8 0 to 255, or float 0 to 1."""
    x = encoded.astype(np.float32) / 255 if encoded.dtype == np.uint8 else encoded
    light: Float = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** np.float32(2.4)).astype(np.float32)
    return light
