"""What the page shows of an image: the whole of it made smaller, parts at 1:1, what was taken away; at any strength.

A `Layer` lies on disk, as the worker left it; nothing is denoised again. Parts are read from memory maps, the small
whole is kept in linear light, so that a blend at another strength is one sum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from numpy.lib.format import open_memmap

from burst_denoise.arrays import Float, Picture
from burst_denoise.frame.geometry import Window, dihedral, row_bands
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.frame.srgb import developed, on_display_curve, white_balance
from burst_denoise.io.tiff_png import UPRIGHT
from burst_denoise.reporting.figures import diverging, one_layer
from burst_denoise.schemas import FrameInfo, NoiseProfile
from burst_denoise.sensor.noise_model import noise_variance

__all__ = ["RESIDUAL_SPAN", "Layer", "Part", "image_at", "part", "save_layer", "upright_size", "whole"]

WHOLE = (slice(None), slice(None))
WHOLE_SIDE = 1400
"""Pixels of the longer side of a whole picture: more than the widest column of the page."""
LONGEST_PART = 1600
"""Pixels of a side of a part at most."""
DEMOSAIC_REACH = 4
"""Photosites around a part that its demosaicing looks at; even."""
RESIDUAL_SPAN = 4.0
"""Noise standard deviations that black and white stand for."""
JPEG_QUALITY = 92


@dataclass(frozen=True)
class Layer:
    """An image on disk, and what a network changes in it where one has seen it."""

    key: str
    """Its name in addresses."""
    title: str
    folder: Path
    info: FrameInfo
    """Metadata of its frame, of which mosaic, white balance and orientation count."""
    factors: tuple[float, ...] = ()
    """Factors of its planes at full strength; empty where no network has seen it."""
    profile: NoiseProfile | None = None
    """Noise profile, where a network has seen it."""

    @property
    def has_strength(self) -> bool:
        """Whether a network has seen it."""
        return bool(self.factors)

    def file(self, what: str) -> Path:
        """Return where its ``image``, ``change``, ``small``, ``small-clean`` or ``small-residual`` lies."""
        return self.folder / f"{self.key}-{what}.npy"

    def array(self, what: str) -> Float:
        """Return one of them, as a map of the disk."""
        return open_memmap(self.file(what), mode="r")


@dataclass(frozen=True)
class Part:
    """Where a part lies in the whole picture, pixels of the upright picture."""

    left: int
    top: int
    width: int
    height: int


def save_layer(layer: Layer, image: Float, change: Float | None = None) -> None:
    """Write the arrays of a layer.

    Parameters
    ----------
    layer : Layer
    image : (H, W) or (3, H, W) float32 array, linear
    change : array of the same shape, optional
        What the network adds to it at full strength; the layer has factors and a profile then.
    """
    np.save(layer.file("image"), image)
    np.save(layer.file("small"), _small(image, layer.info))
    if change is not None:
        np.save(layer.file("change"), change)
        clean = np.empty_like(image)
        for rows in row_bands(image.shape[-2]):
            clean[..., rows, :] = _full_strength(layer, image[..., rows, :], change[..., rows, :])
        np.save(layer.file("small-clean"), _small(clean, layer.info))
        np.save(layer.file("small-residual"), _small_residual(layer, image, clean))


def upright_size(info: FrameInfo) -> tuple[int, int]:
    """Return width and height of the upright picture of a frame."""
    return (info.height, info.width) if UPRIGHT[info.orientation - 1] % 2 else (info.width, info.height)


def whole(layer: Layer, strength: float, *, residual: bool = False) -> bytes:
    """Return a layer as a picture whose longer side is at most `WHOLE_SIDE`, upright.

    Parameters
    ----------
    layer : Layer
    strength : float, 0 to 1
        Of no meaning where no network has seen it.
    residual : bool
        What was taken away instead, in units of the noise of as many photosites as a pixel stands for, grey.

    Returns
    -------
    bytes
        A JPEG file.
    """
    if residual:
        picture = diverging(strength * layer.array("small-residual"), RESIDUAL_SPAN, grey=True)
    else:
        picture = _curved(_blended_small(layer, strength), layer.info)
    return _encoded(picture, layer.info, ".jpg", (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))


def part(layer: Layer, place: Part, strength: float, *, residual: bool = False) -> bytes:
    """Return a part of a layer at 1:1, developed as in the report, upright.

    Parameters
    ----------
    layer : Layer
    place : Part
        Moved and cut to lie within the picture, on even rows and columns of the mosaic.
    strength, residual
        As for `whole`; the residual is in units of the noise.

    Returns
    -------
    bytes
        A PNG file.
    """
    rows, columns = _stored_window(place, layer.info)
    around_rows, around_columns = (
        slice(max(0, span.start - DEMOSAIC_REACH), min(size, span.stop + DEMOSAIC_REACH))
        for span, size in zip((rows, columns), (layer.info.height, layer.info.width), strict=True)
    )
    outer = around_rows, around_columns
    shown = image_at(layer, strength, outer)
    if residual:
        taken = np.asarray(layer.array("image")[..., *outer]) - shown
        relative = one_layer(taken / _noise_std(layer, image_at(layer, 1.0, outer)))
        picture: npt.NDArray[np.uint8] = diverging(relative, RESIDUAL_SPAN, grey=True)
    else:
        picture = developed(shown, layer.info)
    inner = tuple(
        slice(span.start - around.start, span.stop - around.start)
        for span, around in zip((rows, columns), outer, strict=True)
    )
    return _encoded(picture[inner], layer.info, ".png")


def image_at(layer: Layer, strength: float, window: Window = WHOLE) -> Float:
    """Return the image of a layer at a strength.

    Parameters
    ----------
    layer : Layer
    strength : float, 0 to 1
        Of no meaning where no network has seen it.
    window : (rows, columns) slices
        On a mosaic they must start on even rows and columns.

    Returns
    -------
    (h, w) or (3, h, w) float32 array, linear
        That of `burst_denoise.inference.network_change.NetworkChange.at` but for float rounding, and for a few
        thousandths of the change at strengths in between.
    """
    image = np.asarray(layer.array("image")[..., *window])
    if not layer.has_strength or strength == 0:
        return image
    clean = _full_strength(layer, image, np.asarray(layer.array("change")[..., *window]))
    return image + np.float32(strength) * (clean - image)


def _full_strength(layer: Layer, image: Float, change: Float) -> Float:
    """Return a window of a layer denoised fully; it must begin on an even row and column."""
    mosaic = Mosaic.of(layer.info)
    factors = mosaic.spread(layer.factors, image.shape)
    return np.where(image < 1, factors * (image + change), image).astype(np.float32)


def _noise_std(layer: Layer, clean: Float) -> Float:
    assert layer.profile is not None
    mosaic = Mosaic.of(layer.info)
    return mosaic.unpack(np.sqrt(noise_variance(mosaic.pack(clean), layer.profile)), clean.shape)


def _small_size(height: int, width: int) -> tuple[int, int]:
    """Return the width and height of an image made smaller, where it is too large."""
    scale = min(1.0, WHOLE_SIDE / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _small(image: Float, info: FrameInfo) -> Float:
    """Return an image as (h, w, 3) RGB, white balanced, not clipped: linear, or on its curve if it was developed."""
    mosaic = Mosaic.of(info)
    planes = mosaic.pack(image)
    colours = mosaic.colour_planes(planes * white_balance(info) if mosaic.cfa else planes)
    size = _small_size(*image.shape[-2:])
    layers = [
        cv2.resize(np.ascontiguousarray(colour), size, interpolation=_scaling(colour, size)) for colour in colours
    ]
    return np.dstack(layers).astype(np.float32)


def _scaling(plane: Float, size: tuple[int, int]) -> int:
    return cv2.INTER_AREA if plane.shape[1] >= size[0] else cv2.INTER_CUBIC


def _small_residual(layer: Layer, image: Float, clean: Float) -> Float:
    """Return noisy minus denoised, in units of the noise of as many photosites as a pixel stands for; (h, w)."""
    taken = one_layer((image - clean) / _noise_std(layer, clean))
    height, width = taken.shape
    size = _small_size(height, width)
    small = cv2.resize(taken, size, interpolation=cv2.INTER_AREA)
    variance = _variance_of_mean(height, size[1]) * _variance_of_mean(width, size[0])
    return np.asarray(small * np.sqrt((3 if image.ndim == 3 else 1) / variance), np.float32)


def _variance_of_mean(side: int, small: int) -> float:
    """Return the variance that white noise of variance 1 keeps where a side is made smaller by means over areas."""
    edges = np.arange(small + 1) * side / small
    low, high = edges[:-1], edges[1:]
    first, last = np.ceil(low), np.floor(high)  # photosites cut in two count in part
    squares = (first - low) ** 2 + (last - first) + (high - last) ** 2
    return float((squares / (high - low) ** 2).mean())


def _blended_small(layer: Layer, strength: float) -> Float:
    small = layer.array("small")
    if not layer.has_strength or strength == 0:
        return small
    return np.asarray(small + np.float32(strength) * (layer.array("small-clean") - small), np.float32)


def _curved(small: Float, info: FrameInfo) -> Picture:
    return np.rint(on_display_curve(small, info) * 255).astype(np.uint8)


def _encoded(picture: npt.NDArray[np.uint8], info: FrameInfo, kind: str, options: Sequence[int] = ()) -> bytes:
    """Return a stored picture, turned upright, as a file."""
    k = UPRIGHT[info.orientation - 1]
    axes = picture if picture.ndim == 2 else np.moveaxis(picture, 2, 0)
    upright = dihedral(axes, k)
    bgr = upright if picture.ndim == 2 else np.moveaxis(upright, 0, 2)[..., ::-1]
    _, data = cv2.imencode(kind, np.ascontiguousarray(bgr), options)
    return data.tobytes()


def _stored_window(place: Part, info: FrameInfo) -> tuple[slice, slice]:
    """Return the stored rows and columns of a part of the upright picture, beginning on even ones."""
    width, height = upright_size(info)
    wide, high = (
        max(2, min(size, most, LONGEST_PART)) for size, most in ((place.width, width), (place.height, height))
    )
    left, top = (
        max(0, min(at, most - size)) for at, most, size in ((place.left, width, wide), (place.top, height, high))
    )
    corners = [_stored_place(top, left, info), _stored_place(top + high, left + wide, info)]
    (y0, y1), (x0, x1) = (sorted(pair) for pair in zip(*corners, strict=True))
    return slice(y0 // 2 * 2, y1), slice(x0 // 2 * 2, x1)


def _stored_place(row: int, column: int, info: FrameInfo) -> tuple[int, int]:
    """Return the stored place of a corner between pixels of the upright picture."""
    width, height = upright_size(info)
    k = UPRIGHT[info.orientation - 1]
    for _ in range(k % 4):  # a quarter turn back, which turns the picture's sides too
        row, column, width, height = column, height - row, height, width
    return row, width - column if k >= 4 else column
