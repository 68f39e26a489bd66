"""Which files are frames, and which frames belong together: inputs -> sources -> series."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from burst_denoise.errors import InputFileError
from burst_denoise.files import absolute
from burst_denoise.frame.frame import Frame
from burst_denoise.io.metadata import is_denoised
from burst_denoise.io.picture import (
    PICTURE_SUFFIXES,
    VIDEO_SUFFIXES,
    read_picture,
    read_picture_info,
    read_video,
)
from burst_denoise.io.raw import RAW_SUFFIXES, read_raw, read_raw_info
from burst_denoise.schemas import FrameInfo, FrameVerdict

__all__ = ["Series", "find_sources", "group_series", "linear_frames", "read_frames"]

CLEAN_REFERENCE = "clean_mosaic_dn.tif"
"""The known clean image of a simulated burst lies beside its frames and is none of them."""
STORED_BURST_SUFFIX = ".burst"
LONGEST_PAUSE_S = 60.0
"""A longer pause between two frames, exposures apart, is a new series: light and scene have had time to change."""
LARGEST_BLACK_CHANGE = 5e-4
"""Share of the white level: cameras and LibRaw measure black for every shot anew (a Seestar's moved by 3 of 65535)."""
ENOUGH_FRAMES = 3
"""So many frames of one kind are a series of their own; fewer amid a larger one are incompatible frames."""


@dataclass(frozen=True)
class Series:
    """Files that were shot as one series, before anyone looked at their pixels."""

    name: str
    """Unique among the series found together; made of folder and, where needed, file name."""
    paths: tuple[Path, ...]
    """In the order shot; a single path for a video."""
    info: FrameInfo
    """Of the first frame."""
    incompatible: tuple[FrameVerdict, ...] = ()
    """Frames shot among these that cannot belong to them: other camera, size, levels, ISO or exposure."""


def find_sources(inputs: Sequence[Path]) -> list[Path]:
    """Return the RAW, picture and video files that inputs name; folders are searched with all folders in them.

    In folders, hidden files, stored bursts, clean references (``clean_mosaic_dn.tif``), our own results and the
    pictures that a camera wrote beside its RAW files are passed over.

    Raises
    ------
    InputFileError
        If an input is missing, a folder holds no frames, or a file is of a kind that cannot be read.
    """
    sources: dict[Path, None] = {}
    for given in inputs:
        if given.is_dir():
            found = [path for path in sorted(given.rglob("*")) if path.is_file() and _is_frame(path, given)]
            raws = {path.with_suffix("") for path in found if path.suffix.lower() in RAW_SUFFIXES}
            found = [path for path in found if path.suffix.lower() in RAW_SUFFIXES or path.with_suffix("") not in raws]
            if not found:
                raise InputFileError(
                    f"{given}: no RAW, picture or video files of a camera in this folder; name one that holds frames"
                )
        elif not given.exists():
            raise InputFileError(f"{given}: no such file or folder; check the name")
        elif given.suffix.lower() not in RAW_SUFFIXES | PICTURE_SUFFIXES | VIDEO_SUFFIXES:
            raise InputFileError(
                f"{given}: {given.suffix or 'no suffix'} is not a RAW, picture or video file known here"
            )
        elif is_denoised(given):
            raise InputFileError(f"{given}: was denoised by this program and is no shot; name the original")
        else:
            found = [given]
        sources.update(dict.fromkeys(absolute(path) for path in found))
    if not sources:
        raise InputFileError("no frames given; name RAW, picture or video files, or folders that hold them")
    return list(sources)


def _is_frame(path: Path, root: Path) -> bool:
    inside = path.relative_to(root)
    return (
        path.suffix.lower() in RAW_SUFFIXES | PICTURE_SUFFIXES | VIDEO_SUFFIXES
        and path.name != CLEAN_REFERENCE
        and not is_denoised(path)
        and not any(part.startswith(".") or part.endswith(STORED_BURST_SUFFIX) for part in inside.parts)
    )


def group_series(sources: Sequence[Path]) -> list[Series]:
    """Return the series that files make, by folder, camera, size, levels, ISO, exposure and pauses.

    Files that do not say when they were shot go together by folder and by name without its trailing number
    (``b_003_snap_001.png``, ``b_003_snap_002.png``). A video is a series of its own.

    Raises
    ------
    InputFileError
        If a file is damaged or not supported.
    """
    videos = [path for path in sources if path.suffix.lower() in VIDEO_SUFFIXES]
    infos = {path: _read_info(path) for path in sources if path not in videos}
    found: list[tuple[list[Path], list[FrameVerdict]]] = []
    for run in _runs(infos):
        found.extend(_split_run(run, infos))
    names = _unique_names([paths[0] for paths, _ in found], videos)
    series = [
        Series(names[paths[0]], tuple(paths), infos[paths[0]], tuple(incompatible)) for paths, incompatible in found
    ]
    series.extend(Series(names[path], (path,), read_video(path, 1)[0].info) for path in videos)
    return sorted(series, key=lambda s: _natural(s.name))


def read_frames(series: Series, limit: int) -> tuple[list[Frame], int]:
    """Return the first frames of a series, and the number of files beyond ``limit`` that were not read.

    How many frames of a video were left out is not known without decoding it; it counts as none.

    Raises
    ------
    InputFileError
        If a file is damaged.
    """
    first = series.paths[0]
    if first.suffix.lower() in VIDEO_SUFFIXES:
        return read_video(first, limit), 0
    read = read_raw if first.suffix.lower() in RAW_SUFFIXES else read_picture
    return [read(path) for path in series.paths[:limit]], max(len(series.paths) - limit, 0)


def linear_frames(series: Series) -> Iterator[npt.NDArray[np.float32]]:
    """Give the frames of a series of picture or raw files in linear units, each read when it is asked for."""
    for path in series.paths:
        (frame,), _ = read_frames(replace(series, paths=(path,)), 1)
        yield frame.linear


def _read_info(path: Path) -> FrameInfo:
    return read_raw_info(path) if path.suffix.lower() in RAW_SUFFIXES else read_picture_info(path)


def _runs(infos: dict[Path, FrameInfo]) -> list[list[Path]]:
    """Return files shot without a long pause, in the order shot."""
    timed: dict[Path, list[tuple[float, Path]]] = defaultdict(list)
    untimed: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for path in sorted(infos, key=lambda p: _natural(str(p))):
        taken_at = infos[path].taken_at
        if taken_at is None:
            untimed[path.parent, re.sub(r"\W*\d+\W*$", "", path.stem)].append(path)
        else:
            timed[path.parent].append((taken_at, path))
    runs = list(untimed.values())
    for shots in timed.values():
        before = float("-inf")
        for taken_at, path in sorted(shots, key=lambda shot: shot[0]):
            if taken_at - before > LONGEST_PAUSE_S + 2 * (infos[path].exposure_s or 0):
                runs.append([])
            runs[-1].append(path)
            before = taken_at
    return runs


def _split_run(run: Sequence[Path], infos: dict[Path, FrameInfo]) -> list[tuple[list[Path], list[FrameVerdict]]]:
    """Return the series in a run, each with the incompatible frames reported with it."""
    kinds: list[list[Path]] = []
    for path in run:
        kind = next((kind for kind in kinds if not _differences(infos[path], infos[kind[0]])), None)
        if kind is None:
            kinds.append([path])
        else:
            kind.append(path)
    largest = max(kinds, key=len)
    enough = min(ENOUGH_FRAMES, len(largest)) if len(largest) > 1 else len(run)
    series = [paths for paths in kinds if len(paths) >= enough or paths is largest]
    others = [path for paths in kinds if paths not in series for path in paths]
    verdicts = [_incompatible(path, _differences(infos[path], infos[largest[0]])) for path in others]
    return [(paths, verdicts if paths is largest else []) for paths in series]


def _differences(info: FrameInfo, usual: FrameInfo) -> list[str]:
    """Return in words what keeps a frame from being in a series with another."""
    pairs = {
        "camera": (info.camera, usual.camera),
        "kind": (info.domain, usual.domain),
        "size": (f"{info.width} x {info.height}", f"{usual.width} x {usual.height}"),
        "CFA": (info.cfa, usual.cfa),
        "white level": (info.white_level, usual.white_level),
        "ISO": (info.iso, usual.iso),
        "exposure time": (info.exposure_s, usual.exposure_s),
    }
    differing = [
        f"{word} {value} instead of {expected}" for word, (value, expected) in pairs.items() if value != expected
    ]
    if not differing:
        apart = max(abs(a - b) for a, b in zip(info.black_level, usual.black_level, strict=True))
        if apart > LARGEST_BLACK_CHANGE * usual.white_level:
            differing.append(f"black level {info.black_level} instead of {usual.black_level}")
    return differing


def _incompatible(path: Path, differing: Sequence[str]) -> FrameVerdict:
    return FrameVerdict(
        file=path.name, accepted=False, reasons=("incompatible",), gain=None, shift_px=None, detail=", ".join(differing)
    )


def _unique_names(firsts: Sequence[Path], videos: Sequence[Path]) -> dict[Path, str]:
    """Return a name for the series that starts with each path."""
    paths = [*firsts, *videos]
    folders = {path.parent for path in paths}
    names: dict[Path, str] = {}
    for path in paths:
        name = _folder_name(path.parent, folders)
        if path in videos or sum(other.parent == path.parent for other in paths) > 1:
            name = f"{name}-{path.stem}"
        if any(other != path and (other.parent, other.stem) == (path.parent, path.stem) for other in paths):
            name += f"-{path.suffix[1:].lower()}"
        names[path] = name
    return names


def _folder_name(folder: Path, folders: set[Path]) -> str:
    """Return as much of the end of a folder's path as tells it from the other folders."""
    for depth in range(1, len(folder.parts)):
        end = folder.parts[-depth:]
        if sum(other.parts[-depth:] == end for other in folders) == 1:
            return "-".join(end)
    return "-".join(folder.parts[1:]) or "series"


def _natural(text: str) -> list[tuple[int, str]]:
    """Return a sort key by which frame_2 comes before frame_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]
