"""A frame to a file of the format that its name says."""

from pathlib import Path

from burst_denoise.errors import OutputError
from burst_denoise.frame.frame import Frame
from burst_denoise.io.dng import write_dng
from burst_denoise.io.tiff_png import write_developed, write_picture

__all__ = ["refuse_unwritable", "write_frame"]


def write_frame(frame: Frame, target: Path, source: Path | None) -> None:
    """Write a frame to a file of the format that its name says.

    Parameters
    ----------
    frame : Frame
    target : Path
        ``.dng``, ``.tif``, ``.tiff`` or ``.png``; must not exist.
    source : Path or None
        The raw file that LibRaw may develop to a picture; None where there is none.

    Raises
    ------
    OutputError
        If ``target`` exists, cannot be written, or no frame of this kind can become one.
    """
    refuse_unwritable(frame, target, source)
    if target.suffix.lower() == ".dng":
        write_dng(target, frame)
    elif frame.info.cfa is None:
        write_picture(target, frame)
    elif source is not None:
        write_developed(target, frame, source)


def refuse_unwritable(frame: Frame, target: Path, source: Path | None) -> None:
    """Raise `OutputError` when no frame of this kind can become a file of the format; see `write_frame`."""
    raw, dng = frame.info.cfa is not None, target.suffix.lower() == ".dng"
    if dng and not raw:
        raise OutputError(f"{frame.path.name}: a developed picture cannot become a DNG; choose tiff or png")
    if raw and not dng and source is None:
        raise OutputError(
            f"{frame.path.name}: only a raw file can be developed to a picture, not a frame of a burst; write a DNG"
        )
