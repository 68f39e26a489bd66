"""A measurement after the EMVA 1288 standard: its descriptor file says which picture shows which light level."""

import math
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath

from burst_denoise.errors import InputFileError
from burst_denoise.frame.frame import Frame
from burst_denoise.io.limits import read_document
from burst_denoise.io.picture import read_picture
from burst_denoise.schemas import FrameInfo

__all__ = ["DESCRIPTOR", "EmvaLevel", "read_emva"]

DESCRIPTOR = "EMVA1288_Data.txt"


@dataclass(frozen=True)
class EmvaLevel:
    """The frames of one light level."""

    dark: bool
    """Whether these are dark frames."""
    exposure_ns: float
    frames: tuple[Frame, ...]


def read_emva(folder: Path) -> list[EmvaLevel] | None:
    """Return the light levels of an EMVA 1288 measurement, or None where a folder holds no descriptor.

    Parameters
    ----------
    folder : Path
        Pictures that the descriptor ``EMVA1288_Data.txt`` names lie in it or where the descriptor says.

    Returns
    -------
    list of EmvaLevel
        In the order of the descriptor, those levels of which at least two pictures are there; white level
        2^bits - 1, as the descriptor says.

    Raises
    ------
    InputFileError
        If the descriptor cannot be understood, names no picture that is there, or a picture is damaged or of another
        size than it says.

    References
    ----------
    European Machine Vision Association, "Standard 1288", release 3.0; the format is that of its reference
    implementation: ``n bits width height``, ``b exposure photons`` and ``d exposure`` begin a bright and a dark level,
    ``i file`` names a picture of it.
    """
    path = folder / DESCRIPTOR
    if not path.is_file():
        return None
    bits = width = height = 0
    levels: list[EmvaLevel] = []
    for number, line in enumerate(read_document(path).decode(errors="replace").splitlines(), 1):
        kind, *values = line.split(maxsplit=1)[:2] if line.strip() else ("#",)
        try:
            if kind == "n":
                bits, width, height = (int(value) for value in values[0].split())
                if not 0 < bits <= 16:
                    raise ValueError
            elif kind in ("b", "d"):
                levels.append(EmvaLevel(kind == "d", float(values[0].split()[0]), ()))
                if not 0 <= levels[-1].exposure_ns < math.inf:
                    raise ValueError
            elif kind == "i":
                if not bits:
                    raise ValueError
                level, frame = levels[-1], _frame(folder, values[0], bits, width, height)
                if frame is not None:
                    levels[-1] = replace(level, frames=(*level.frames, frame))
            elif kind not in ("v", "#") and not kind.startswith("#"):
                raise ValueError
        except (ValueError, IndexError) as error:
            raise InputFileError(f"{path}: line {number} ({line[:40]!r}) is not of an EMVA 1288 descriptor") from error
    found = [level for level in levels if len(level.frames) > 1]
    if not found:
        raise InputFileError(f"{path}: of no light level two pictures are here; copy the pictures beside it")
    return found


def _frame(folder: Path, named: str, bits: int, width: int, height: int) -> Frame | None:
    """Return the picture that a descriptor names, or None where it was not copied along."""
    inside = PureWindowsPath(named)
    places = (folder / inside.name, folder.joinpath(*inside.parts))
    try:
        path = next((place for place in places if place.is_file()), None)
    except OSError:  # a name that no disk can hold
        return None
    if path is None:
        return None
    frame = read_picture(path)
    info: FrameInfo = frame.info
    if (info.domain, info.width, info.height) != ("mono", width, height):
        raise InputFileError(
            f"{path}: is {info.domain}, {info.width} x {info.height}; the descriptor says mono, {width} x {height}"
        )
    return replace(frame, info=info.model_copy(update={"white_level": float(2**bits - 1)}))
