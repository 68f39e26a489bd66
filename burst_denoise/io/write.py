"""A frame to a file of the format that its name says, with all that its source says about the shot."""

import os
from pathlib import Path

import numpy as np

from burst_denoise.errors import OutputError
from burst_denoise.frame.frame import Frame
from burst_denoise.io.dng import write_dng
from burst_denoise.io.exiftool import ExifTool
from burst_denoise.io.tiff_png import write_developed, write_picture

__all__ = ["refuse_unwritable", "write_frame"]


def write_frame(frame: Frame, target: Path, source: Path | None, exiftool: ExifTool | None = None) -> str | None:
    """Write a frame to a file of the format that its name says.

    Parameters
    ----------
    frame : Frame
    target : Path
        ``.dng``, ``.tif``, ``.tiff`` or ``.png``; must not exist.
    source : Path or None
        The file that it comes from: LibRaw may develop it to a picture, exiftool copies its tags, and the time of its
        last change becomes that of the target. None where there is none.
    exiftool : ExifTool, optional
        Without it the target has the tags that our own writers carry: a PNG none, a TIFF and a DNG all but maker notes
        and what else only exiftool can read.

    Returns
    -------
    str or None
        What exiftool warned about; None when all is well.

    Raises
    ------
    OutputError
        If ``target`` exists, cannot be written, or no frame of this kind can become one; if the frame has values that
        are not finite.
    """
    refuse_unwritable(frame, target, source)
    if not (np.isfinite(frame.dn.min()) and np.isfinite(frame.dn.max())):
        raise OutputError(f"{target}: not written, because some of its values are not finite: the noise profile or the "
                          "model is wrong; make it again, or report this")  # fmt: skip
    warning = None

    def finish(aside: Path) -> None:
        nonlocal warning
        if source is None or not source.is_file():
            return
        if exiftool is not None:
            warning = exiftool.copy_tags(source, aside)
        times = source.stat()
        os.utime(aside, ns=(times.st_atime_ns, times.st_mtime_ns))

    if target.suffix.lower() == ".dng":
        write_dng(target, frame, finish)
    elif frame.info.cfa is None:
        write_picture(target, frame, finish)
    elif source is not None:
        write_developed(target, frame, source, finish)
    return warning


def refuse_unwritable(frame: Frame, target: Path, source: Path | None) -> None:
    """Raise `OutputError` when no frame of this kind can become a file of the format; see `write_frame`."""
    raw, dng = frame.info.cfa is not None, target.suffix.lower() == ".dng"
    if dng and not raw:
        raise OutputError(f"{frame.path.name}: a developed picture cannot become a DNG; choose tiff or png")
    if raw and not dng and source is None:
        raise OutputError(
            f"{frame.path.name}: only a raw file can be developed to a picture, not a frame of a burst; write a DNG"
        )
