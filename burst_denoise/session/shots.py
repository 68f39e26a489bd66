"""The shots of a session: which ones the inputs name, and how each is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from burst_denoise.burst.burst import Burst, frame_file
from burst_denoise.burst.grouping import find_sources
from burst_denoise.burst.store import open_burst, split_inputs
from burst_denoise.errors import InputFileError
from burst_denoise.files import absolute
from burst_denoise.io.read import is_raw, is_video

__all__ = ["FoundShots", "Shot", "find_shots"]


@dataclass(frozen=True, eq=False)
class Shot:
    """One shot to denoise."""

    name: str
    """Path below the folder that was given."""
    root: Path
    """The folder that was given, or that of the file."""
    source: Path | None
    """Its file, which LibRaw may develop; None for a frame of a stored burst."""
    burst: Burst | None = None
    """The stored burst that it is a frame of."""
    index: int = 0
    """Index of the frame in its burst."""

    @property
    def place(self) -> Path:
        """Its file, or the array of the frame in the folder of its burst."""
        if self.burst is None:
            assert self.source is not None
            return self.source
        return absolute(self.burst.folder / frame_file(self.index))

    @property
    def is_raw(self) -> bool:
        """Whether it is a mosaic."""
        if self.burst is not None:
            return self.burst.info.cfa is not None
        return self.source is not None and is_raw(self.source)


@dataclass(frozen=True)
class FoundShots:
    """The shots that inputs name, and what else lies there."""

    shots: tuple[Shot, ...]
    passed_over: str = ""
    """In words, which files of folders are no shots."""


def find_shots(
    inputs: Sequence[Path],
    output: Path,
    not_shots: frozenset[Path] = frozenset(),
    *,
    pictures: bool = True,
    again: bool = False,
) -> FoundShots:
    """Return the shots that inputs name.

    Parameters
    ----------
    inputs : sequence of Path
        RAW and picture files, folders (searched recursively) or stored bursts.
    output : Path
        Where results go. If that lies inside a folder of inputs, what is in it is no input.
    not_shots : set of Path
        Dark frames, and results of earlier sessions.
    pictures : bool
        Whether pictures in folders are shots even where there are raw files.
    again : bool
        Whether what this program has denoised before is a shot, too.

    Raises
    ------
    InputFileError
        If an input is missing, or there is nothing but videos.
    """
    stored, loose = split_inputs(inputs)
    sources: dict[Path, Path] = {}
    for given in loose:
        for path in find_sources([given], results=again):
            # An earlier run may have put its results inside the folder of the shots; they are not shots.
            root = absolute(given) if given.is_dir() else path.parent
            own = absolute(output) in path.parents and absolute(output) not in (root, *root.parents)
            if not own and path not in not_shots:
                sources.setdefault(path, root)
    videos = [path for path in sources if is_video(path)]
    named = {absolute(given) for given in loose if given.is_file()}
    if refused := next((path for path in videos if path in named or len(videos) == len(sources)), None):
        raise InputFileError(f"{refused}: videos calibrate a model but are not denoised; name pictures or raw files")
    left = [path for path in sources if not (is_video(path) or is_raw(path) or path in named)]
    if pictures or not any(is_raw(path) for path in sources):
        left = []
    without = {*videos, *left}
    shots = [Shot(str(path.relative_to(root)), root, path) for path, root in sources.items() if path not in without]
    for burst in map(open_burst, stored):
        # clip.mp4#0003 is a frame of a video
        for index in range(len(burst)):
            name, _, number = burst.frame(index).path.name.partition("#")
            stem = Path(name).stem + (f"_{number}" if number else "")
            shots.append(Shot(f"{burst.name}/{stem}", burst.folder.parent, None, burst, index))
    told = {"pictures (among raw files)": len(left), "videos": len(videos)}
    words = " and ".join(f"{count} {what}" for what, count in told.items() if count)
    return FoundShots(tuple(shots), words)
