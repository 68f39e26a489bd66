"""Pictures to TIFF and PNG: 16 bits, upright, with what the source file said about the shot."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import ImageCms

from burst_denoise.arrays import Float, UInt16
from burst_denoise.errors import OutputError
from burst_denoise.files import atomic_write
from burst_denoise.io.dng import rounded_dn
from burst_denoise.io.exif import write_tiff
from burst_denoise.io.raw import develop
from burst_denoise.schemas import FrameInfo

__all__ = ["write_developed", "write_picture"]


def write_developed(path: Path, source: Path, info: FrameInfo, mosaic: Float, *, notes: str = "") -> None:
    """Write a TIFF or PNG of a raw shot, 16 bits, sRGB, upright: LibRaw's development of the mosaic.

    Parameters
    ----------
    path : Path
        ``.tif``, ``.tiff`` or ``.png``; must not exist.
    source : Path
        The raw file that the mosaic was made from; its white balance and colours are used.
    info : FrameInfo
        Of the source.
    mosaic : (H, W) float32 array, linear
        The active area; rounded and clipped by `rounded_dn`.
    notes : str
        How the picture was made, for the image description of a TIFF.

    Raises
    ------
    OutputError
        If ``path`` exists, has another suffix or cannot be written.
    InputFileError
        If ``source`` can no longer be read.
    """
    writer = _picture_writer(path)
    writer(path, develop(source, rounded_dn(mosaic, info)), info, notes)


def write_picture(path: Path, info: FrameInfo, image: Float, *, notes: str = "") -> None:
    """Write an image of the picture domain (its values already developed) as TIFF or PNG, upright.

    Parameters
    ----------
    path : Path
        ``.tif``, ``.tiff`` or ``.png``; must not exist.
    info : FrameInfo
        Of the source picture; the stored rows are turned by its orientation.
    image : (3, H, W) or (H, W) float32 array, linear
        0 is written as 0 and 1 as 65535, which keeps what averaging and denoising gained on a source of 8 bits; values
        beyond are clipped.
    notes : str
        How the picture was made, for the image description of a TIFF.

    Raises
    ------
    OutputError
        If ``path`` exists, has another suffix or cannot be written.
    """
    writer = _picture_writer(path)
    values = np.clip(np.rint(image * np.float32(65535)), 0, 65535).astype(np.uint16)
    writer(path, _upright(values if values.ndim == 2 else np.moveaxis(values, 0, 2), info.orientation), info, notes)


def _picture_writer(path: Path) -> Callable[[Path, UInt16, FrameInfo, str], None]:
    writers = {".tif": _write_tiff, ".tiff": _write_tiff, ".png": _write_png}
    writer = writers.get(path.suffix.lower())
    if writer is None:
        raise OutputError(f"{path}: pictures are written as {', '.join(writers)}; name the output so")
    return writer


def _write_tiff(path: Path, pixels: UInt16, info: FrameInfo, notes: str) -> None:
    colour = pixels.ndim == 3
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() if colour else None
    upright = info.model_copy(update={"orientation": 1})
    write_tiff(path, pixels, upright, {}, notes, photometric="rgb" if colour else "minisblack",
               compression="zlib", predictor=True, iccprofile=profile, rowsperstrip=64)  # fmt: skip


def _write_png(path: Path, pixels: UInt16, _info: FrameInfo, _notes: str) -> None:
    _, encoded = cv2.imencode(".png", pixels if pixels.ndim == 2 else pixels[..., ::-1])
    with atomic_write(path) as aside:
        aside.write_bytes(encoded.tobytes())


def _upright(pixels: UInt16, orientation: int) -> UInt16:
    """Return stored rows as they are to be seen, by Exif orientation."""
    if orientation >= 5:
        pixels = np.swapaxes(pixels, 0, 1)
    rows, columns = ((1, 1), (1, -1), (-1, -1), (-1, 1), (1, 1), (1, -1), (-1, -1), (-1, 1))[orientation - 1]
    turned: UInt16 = pixels[::rows, ::columns]
    return turned
