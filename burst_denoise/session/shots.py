"""The shots of a session: which ones the inputs name, how each is read, and where its result goes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from burst_denoise.burst.grouping import find_sources
from burst_denoise.burst.store import Burst, open_burst, split_inputs
from burst_denoise.errors import InputFileError, OutputError
from burst_denoise.files import absolute, refuse_existing
from burst_denoise.frame.frame import Frame
from burst_denoise.io.read import FRAME_SUFFIXES, is_raw, is_video, read_frame

__all__ = ["OutputFormat", "Shot", "find_shots"]

OutputFormat = Literal["dng", "tiff", "png"]
SUFFIXES = {"dng": ".dng", "tiff": ".tif", "png": ".png"}
FORMATS = {".dng": "dng", ".tif": "tiff", ".tiff": "tiff", ".png": "png"}


@dataclass(frozen=True)
class Shot:
    """One shot to denoise: how to read it and where its result goes."""

    name: str
    target: Path
    read: Callable[[], Frame]
    source: Path | None
    """Its file, which LibRaw may develop; None for a frame of a stored burst."""
    burst: Burst | None = None
    """The stored burst that it is a frame of."""

    @property
    def place(self) -> Path:
        """Its file, or the folder of its burst."""
        return self.source or (self.burst.folder if self.burst else Path(self.name))


def find_shots(
    inputs: Sequence[Path],
    output: Path,
    format: OutputFormat | None,
    dark_paths: set[Path],
    *,
    resume: bool,
    again: bool = False,
) -> list[Shot]:
    """Return the shots that inputs name, each with a target of its own that is free.

    Parameters
    ----------
    inputs : sequence of Path
        RAW and picture files, folders (searched recursively) or stored bursts.
    output : Path
        A file, for a single shot, if it has the suffix of a format; otherwise the folder for all results. If that lies
        inside a folder of inputs, what is in it is no input.
    format : OutputFormat or None
        None writes DNG for raw shots and TIFF for pictures.
    dark_paths : set of Path
        Dark frames, which are no shots.
    resume : bool
        Targets may exist.
    again : bool
        What this program has denoised before is a shot, too.

    Raises
    ------
    InputFileError
        If an input is missing or a video.
    OutputError
        If a target exists, is a shot itself or that of two shots, or ``output`` cannot be what it is named.
    """
    shots = list(_named(inputs, output, format, dark_paths, again))
    sources = {shot.source for shot in shots}
    targets: dict[Path, Path] = {}
    for shot in shots:
        if shot.target in targets:
            raise OutputError(
                f"{shot.target}: both {targets[shot.target]} and {shot.place} would go there; "
                "denoise their folders one at a time"
            )
        targets[shot.target] = shot.place
        if absolute(shot.target) in sources:
            raise OutputError(f"{shot.target}: is a shot to denoise itself; name another folder for the results")
        if not resume:
            refuse_existing(shot.target)
    return shots


def _named(
    inputs: Sequence[Path], output: Path, format: OutputFormat | None, dark_paths: set[Path], again: bool
) -> Iterator[Shot]:
    stored, loose = split_inputs(inputs)
    bursts = [open_burst(path) for path in stored]
    sources: dict[Path, Path] = {}
    for given in loose:
        for path in find_sources([given], results=again):
            # An earlier run may have put its results inside the folder of the shots; they are not shots.
            root = absolute(given) if given.is_dir() else path.parent
            own = absolute(output) in path.parents and absolute(output) not in (root, *root.parents)
            if not own and path not in dark_paths:
                sources.setdefault(path, root)
    single = _is_one_file(output, len(sources) + sum(map(len, bursts)), format)
    for path, root in sources.items():
        if is_video(path):
            raise InputFileError(f"{path}: videos calibrate a model but are not denoised; name pictures or raw files")
        suffix = SUFFIXES[format or ("dng" if is_raw(path) else "tiff")]
        target = output if single else output / path.parent.relative_to(root) / (path.stem + suffix)
        yield Shot(str(path.relative_to(root)), target, partial(read_frame, path), source=path)
    for burst in bursts:
        suffix = SUFFIXES[format or ("dng" if burst.info.cfa else "tiff")]
        for index in range(len(burst)):
            name, _, number = burst.frame(index).path.name.partition("#")  # clip.mp4#0003 is a frame of a video
            stem = Path(name).stem + (f"_{number}" if number else "")
            target = output if single else output / burst.folder.stem / (stem + suffix)
            yield Shot(f"{burst.name}/{stem}", target, partial(burst.frame, index), None, burst)


def _is_one_file(output: Path, shots: int, format: OutputFormat | None) -> bool:
    """Return whether ``output`` names a file, by its suffix; refuse a name that promises what will not be written."""
    suffix = output.suffix.lower()
    if output.is_file() and suffix not in FORMATS:
        refuse_existing(output)
    if output.is_dir() or suffix not in FRAME_SUFFIXES:
        return False
    if suffix not in FORMATS:
        raise OutputError(f"{output}: {suffix} is not written here; name a {', '.join(FORMATS)} file, or a folder")
    if shots != 1:
        raise OutputError(f"{output}: is the name of one file, but there are {shots} shots; name a folder")
    if format not in (None, FORMATS[suffix]):
        raise OutputError(f"{output}: is no {format} file by its name; rename it, or leave --format out")
    return True
