"""Previews of a raw shot, which its DNG carries for file browsers: a quick development, small and as JPEG.

The colours are those of LibRaw's development (`burst_denoise.io.raw.develop`); the demosaicing is bilinear, which is
a good deal faster.
"""

import cv2
import imagecodecs
import numpy as np
import tifffile

from burst_denoise.arrays import Double, Picture, UInt16
from burst_denoise.frame.frame import Frame, to_linear
from burst_denoise.frame.geometry import BAND, row_bands
from burst_denoise.frame.srgb import linear_to_srgb
from burst_denoise.io.tags import D65
from burst_denoise.schemas import FrameInfo

__all__ = ["encode_jpeg", "render", "thumbnail"]

WHITE = 65535
"""Linear light of white in 16 bits, which is finer than any camera's."""
THUMBNAIL_SIDE = 256
JPEG_QUALITY = 90

OTHER_DAYLIGHTS = (1, 4, 20, 22, 23)
"""Exif's LightSource for daylight, flash, D55, D75 and D50."""
LINEAR_SRGB_TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375],
                               [0.2126729, 0.7151522, 0.0721750],
                               [0.0193339, 0.1191920, 0.9503041]])  # fmt: skip
"""IEC 61966-2-1: from its primaries and its white, D65."""
D65_XY = np.array([0.3127, 0.3290])


def render(frame: Frame) -> Picture:
    """Return a development of a Bayer frame, as bright and in the colours that LibRaw gives it.

    Parameters
    ----------
    frame : Frame
        Stored or computed; what is below black or above white is clipped.

    Returns
    -------
    (h, w, 3) uint8 array, sRGB, 0 to 255
        The default crop of a DNG where the frame has a valid one, else the whole active area; not turned upright.

    Raises
    ------
    ValueError
        If the frame has no Bayer mosaic.

    Notes
    -----
    Without a white balance daylight is neutral; without a colour matrix camera RGB is taken for linear sRGB.
    """
    info = frame.info
    if info.cfa is None:
        raise ValueError(f"a preview is rendered from a Bayer mosaic, not from a frame of domain {info.domain}")
    multipliers, matrix = _colours(info)
    # OpenCV names a phase by the second row's second and third photosites: with one around, by the frame's first two.
    phase = getattr(cv2, f"COLOR_Bayer{info.cfa[:2]}2RGB")
    mosaic = cv2.copyMakeBorder(_balanced(frame, multipliers), 1, 1, 1, 1, cv2.BORDER_REFLECT_101)
    curve = np.rint(linear_to_srgb(np.arange(65536, dtype=np.float32) / np.float32(WHITE)) * 255).astype(np.uint8)
    picture = np.empty((*frame.dn.shape, 3), np.uint8)
    for rows in row_bands(len(picture)):
        camera_rgb = cv2.demosaicing(mosaic[rows.start : rows.stop + 2], phase)[1:-1, 1:-1]
        srgb_light = np.asarray(cv2.transform(camera_rgb, matrix), np.uint16)  # clipped, too
        np.take(curve, srgb_light, out=picture[rows], mode="clip")  # "raise", the default, would buffer its output
    return picture[_default_crop(info)]


def thumbnail(picture: Picture) -> Picture:
    """Return a picture whose longest side is 256 pixels, each the mean of those that it stands for.

    Parameters
    ----------
    picture : (h, w, 3) uint8 array

    Returns
    -------
    (h, w, 3) uint8 array
        The shorter side is rounded, and at least 1; a picture that is small enough is returned as it is.
    """
    height, width, _ = picture.shape
    scale = THUMBNAIL_SIDE / max(height, width)
    if scale >= 1:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def encode_jpeg(picture: Picture) -> bytes:
    """Return a picture as baseline JPEG: YCbCr of 8 bits, colours at half the resolution, no Exif inside.

    Parameters
    ----------
    picture : (h, w, 3) uint8 array, sRGB
        Of at most 65500 pixels a side, as libjpeg writes them.

    Returns
    -------
    bytes
        The whole JPEG file.
    """
    return bytes(imagecodecs.jpeg8_encode(picture, level=JPEG_QUALITY, subsampling="420"))


def _balanced(frame: Frame, multipliers: Double) -> UInt16:
    """Return the mosaic in linear units, white balanced and clipped, 0 to 65535."""
    red, green, blue = multipliers * WHITE
    factors = frame.mosaic.spread([red, green, green, blue], (BAND, frame.dn.shape[1]))
    levels = np.empty(frame.dn.shape, np.uint16)
    for rows in row_bands(len(levels)):
        linear = to_linear(frame.dn[rows], frame.info)
        linear *= factors[: len(linear)]
        levels[rows] = np.rint(np.clip(linear, 0, WHITE, out=linear), out=linear)
    return levels


def _colours(info: FrameInfo) -> tuple[Double, Double]:
    """Return the white balance of R, G, B, at least 1, and the (3, 3) matrix from balanced RGB to linear sRGB.

    With multipliers of 1 and more, what is saturated in all channels is clipped to white: not pink.
    """
    camera_of_xyz = _camera_of_xyz(info)
    x, y = _numbers(info, "AsShotWhiteXY", D65_XY)
    neutral = np.array(info.as_shot_neutral or camera_of_xyz @ (x, y, 1 - x - y))
    camera_of_srgb = camera_of_xyz @ LINEAR_SRGB_TO_XYZ
    white = camera_of_srgb.sum(axis=1, keepdims=True)  # white stays white
    return neutral.max() / neutral, np.linalg.inv(camera_of_srgb / white)


def _camera_of_xyz(info: FrameInfo) -> Double:
    """Return the (3, 3) matrix from XYZ to camera RGB, for the light that LibRaw chooses: daylight if it can."""
    matrices = {n: _numbers(info, f"ColorMatrix{n}", np.zeros((3, 3))) for n in (1, 2)}
    lights = {n: int(_numbers(info, f"CalibrationIlluminant{n}", np.zeros(1))[0]) for n in (1, 2)}
    both_known = all(matrix.any() for matrix in matrices.values()) and all(lights.values())
    daylights = [n for kinds in ((D65,), OTHER_DAYLIGHTS) for n in (1, 2) if lights[n] in kinds and both_known]
    chosen = daylights[0] if daylights else 2 if matrices[2].any() else 1
    calibration = _numbers(info, f"CameraCalibration{chosen}", np.eye(3))
    balance = _numbers(info, "AnalogBalance", np.ones(3))
    camera_of_xyz: Double = np.diag(balance) @ calibration @ matrices[chosen]
    white = camera_of_xyz @ LINEAR_SRGB_TO_XYZ.sum(axis=1)
    usable = np.linalg.matrix_rank(camera_of_xyz) == 3 and white.min() > 0  # neither missing nor damaged
    return camera_of_xyz if usable else np.linalg.inv(LINEAR_SRGB_TO_XYZ)


def _default_crop(info: FrameInfo) -> tuple[slice, slice]:
    """Return the rows and columns of the default crop, or of all where there is none inside the active area."""
    left, top = _numbers(info, "DefaultCropOrigin", np.zeros(2)).round().astype(int)
    width, height = _numbers(info, "DefaultCropSize", np.array([info.width, info.height])).round().astype(int)
    inside = 0 <= left < left + width <= info.width and 0 <= top < top + height <= info.height
    return (slice(top, top + height), slice(left, left + width)) if inside else (slice(None), slice(None))


def _numbers(info: FrameInfo, name: str, default: Double) -> Double:
    """Return the values of a tag in the shape of its default, which it is where the tag is missing or damaged."""
    code = tifffile.TIFF.TAGS[name]
    found = next((tag.numbers for tag in info.dng_tags if (tag.directory, tag.code) == ("image", code)), ())
    return np.array(found).reshape(default.shape) if len(found) == default.size else default
