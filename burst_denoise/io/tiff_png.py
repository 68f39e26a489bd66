"""Pictures to TIFF and PNG: 16 bits, upright, with what the source file said about the shot."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import ImageCms

from burst_denoise.arrays import UInt16
from burst_denoise.errors import OutputError
from burst_denoise.files import atomic_write
from burst_denoise.frame.frame import Frame
from burst_denoise.frame.geometry import dihedral
from burst_denoise.io.dng import rounded_dn
from burst_denoise.io.raw import develop
from burst_denoise.io.tags import JPEG_TAGS, FieldType, Tag
from burst_denoise.io.tiff_writer import TiffImage, write_tiff
from burst_denoise.schemas import DngTag, FrameInfo

__all__ = ["UPRIGHT", "write_developed", "write_picture"]

SRGB = DngTag(directory="exif", code=Tag.COLOR_SPACE, dtype=FieldType.SHORT, count=1, value=(1,))
Finish = Callable[[Path], None]

UPRIGHT = (0, 4, 2, 6, 5, 3, 7, 1)
"""Which of the eight flips and rotations turns stored rows upright, for the Exif orientations 1 to 8."""


def write_developed(path: Path, frame: Frame, source: Path, finish: Finish = lambda _: None) -> None:
    """Write a TIFF or PNG of a raw shot, 16 bits, sRGB, upright: LibRaw's development of its mosaic.

    Parameters
    ----------
    path : Path
        ``.tif``, ``.tiff`` or ``.png``; must not exist.
    frame : Frame
        Stored or computed; rounded and clipped by `rounded_dn`. Its notes become the processing note of a TIFF.
    source : Path
        The raw file that it was made from; its white balance and colours are used.
    finish : callable
        Given the whole file under its temporary name, before it gets its own.

    Raises
    ------
    OutputError
        If ``path`` exists, has another suffix or cannot be written.
    InputFileError
        If ``source`` can no longer be read.
    """
    writer = _picture_writer(path)
    writer(path, develop(source, rounded_dn(frame.dn)), frame.info, frame.notes, finish)


def write_picture(path: Path, frame: Frame, finish: Finish = lambda _: None) -> None:
    """Write a frame of the domain rgb or mono, its values as they are, as TIFF or PNG of 16 bits, upright.

    Parameters
    ----------
    path : Path
        ``.tif``, ``.tiff`` or ``.png``; must not exist.
    frame : Frame
        Its white level is written as 65535, which keeps what averaging and denoising gained on a source of 8 bits;
        values beyond are clipped. The stored rows are turned by its orientation; its notes become the processing note
        of a TIFF.
    finish : callable
        Given the whole file under its temporary name, before it gets its own.

    Raises
    ------
    OutputError
        If ``path`` exists, has another suffix or cannot be written.
    """
    writer, info = _picture_writer(path), frame.info
    values = np.clip(np.rint(frame.linear * np.float32(65535)), 0, 65535).astype(np.uint16)
    upright = dihedral(values, UPRIGHT[info.orientation - 1])
    writer(path, upright if upright.ndim == 2 else np.moveaxis(upright, 0, 2), info, frame.notes, finish)


def _picture_writer(path: Path) -> Callable[[Path, UInt16, FrameInfo, str, Finish], None]:
    writers = {".tif": _write_tiff, ".tiff": _write_tiff, ".png": _write_png}
    writer = writers.get(path.suffix.lower())
    if writer is None:
        raise OutputError(f"{path}: pictures are written as {', '.join(writers)}; name the output so")
    return writer


def _write_tiff(path: Path, pixels: UInt16, info: FrameInfo, notes: str, finish: Finish) -> None:
    colour = pixels.ndim == 3
    srgb = info.developed or info.cfa is not None  # a raw shot, developed here; a picture in linear light stays that
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() if colour and srgb else None
    kept = (tag for tag in info.dng_tags if tag.code not in JPEG_TAGS)
    tags = (*kept, SRGB) if srgb else tuple(kept)
    upright = info.model_copy(update={"orientation": 1, "dng_tags": tags})
    layout = {"photometric": "rgb" if colour else "minisblack", "compression": "zlib", "predictor": True,
              "iccprofile": profile, "rowsperstrip": 64}  # fmt: skip
    write_tiff(path, [TiffImage(pixels, layout=layout)], upright, notes, finish)


def _write_png(path: Path, pixels: UInt16, _info: FrameInfo, _notes: str, finish: Finish) -> None:
    _, encoded = cv2.imencode(".png", pixels if pixels.ndim == 2 else pixels[..., ::-1])
    with atomic_write(path) as aside:
        aside.write_bytes(encoded.tobytes())
        finish(aside)
