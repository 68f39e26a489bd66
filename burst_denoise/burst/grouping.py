"""Which files are frames, and which frames belong together: inputs -> sources -> series."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import TypeVar

from burst_denoise.errors import InputFileError
from burst_denoise.files import absolute
from burst_denoise.frame.frame import Frame
from burst_denoise.io.metadata import REFUSED_AGAIN, Header, is_denoised
from burst_denoise.io.picture import read_video
from burst_denoise.io.read import FRAME_SUFFIXES, is_raw, is_video, read_frame, read_header
from burst_denoise.schemas import FrameInfo, FrameVerdict
from burst_denoise.sensor.identity import Sensor

__all__ = [
    "BURST_SUFFIX",
    "CLEAN_REFERENCE",
    "Series",
    "SeriesFrames",
    "alike",
    "find_sources",
    "group_series",
    "passed_over",
    "read_series",
]

T = TypeVar("T")

CLEAN_REFERENCE = "clean_mosaic_dn.tif"
"""The known clean image of a simulated burst lies beside its frames and is none of them."""
BURST_SUFFIX = ".burst"
"""Of folders that hold stored bursts."""
LONGEST_PAUSE_S = 60.0
"""A longer pause between two frames, exposures apart, is a new series: light and scene have had time to change."""
ENOUGH_FRAMES = 3
"""So many frames of one kind are a series of their own; fewer amid a larger one are incompatible frames."""


@dataclass(frozen=True)
class Series:
    """Files that were shot as one series, before anyone looked at their pixels."""

    name: str
    """Unique among the series found together; made of folder and, where needed, file name."""
    paths: tuple[Path, ...]
    """In the order shot; a single path for a video."""
    header: Header
    """Of the first frame."""
    incompatible: tuple[FrameVerdict, ...] = ()
    """Frames shot among these that cannot belong to them: other camera, size, ISO or exposure."""


@dataclass(frozen=True)
class SeriesFrames:
    """The decoded frames of a series."""

    frames: tuple[Frame, ...]
    """Equal in sensor, ISO and exposure."""
    incompatible: tuple[FrameVerdict, ...]
    """Frames that cannot belong to them, those that only their levels or colours told among them."""
    left_out: int
    """Files beyond the limit, which were not read; of a video it is not known and counts as none."""


def find_sources(inputs: Sequence[Path], *, results: bool = False) -> list[Path]:
    """Return the RAW, picture and video files that inputs name; folders are searched with all folders in them.

    In folders, hidden files, stored bursts, clean references (``clean_mosaic_dn.tif``), the pictures that a camera
    wrote beside its RAW files and, unless ``results``, what this program denoised are passed over.

    Raises
    ------
    InputFileError
        If an input is missing, a folder holds no frames, or a file is of a kind that cannot be read or, unless
        ``results``, was denoised by this program.
    """
    sources: dict[Path, None] = {}
    for given in inputs:
        if given.is_dir():
            found = [path for path in sorted(given.rglob("*")) if path.is_file() and _is_frame(path, given, results)]
            raws = {path.with_suffix("") for path in found if is_raw(path)}
            found = [path for path in found if is_raw(path) or path.with_suffix("") not in raws]
            if not found:
                raise InputFileError(
                    f"{given}: no RAW, picture or video files of a camera in this folder; name one that holds frames"
                )
        elif not given.exists():
            raise InputFileError(f"{given}: no such file or folder; check the name")
        elif given.suffix.lower() not in FRAME_SUFFIXES:
            raise InputFileError(
                f"{given}: {given.suffix or 'no suffix'} is not a RAW, picture or video file known here"
            )
        elif not results and is_denoised(given):
            raise InputFileError(f"{given}: {REFUSED_AGAIN}")
        else:
            found = [given]
        sources.update(dict.fromkeys(absolute(path) for path in found))
    if not sources:
        raise InputFileError("no frames given; name RAW, picture or video files, or folders that hold them")
    return list(sources)


def _is_frame(path: Path, root: Path, results: bool) -> bool:
    return (
        path.suffix.lower() in FRAME_SUFFIXES
        and path.name != CLEAN_REFERENCE
        and (results or not is_denoised(path))
        and not passed_over(path, root, BURST_SUFFIX)
    )


def passed_over(path: Path, root: Path, suffix: str) -> bool:
    """Return whether a file in ``root``, or a folder that it is in there, is hidden or has a suffix."""
    return any(part.startswith(".") or part.endswith(suffix) for part in path.relative_to(root).parts)


def group_series(sources: Sequence[Path]) -> list[Series]:
    """Return the series that files make, by folder, camera, size, ISO, exposure and pauses; nothing is decoded.

    Files that do not say when they were shot go together by folder and by name without its trailing number
    (``b_003_snap_001.png``, ``b_003_snap_002.png``). A video is a series of its own.

    Raises
    ------
    InputFileError
        If a file is damaged or not supported, as far as its header tells.
    """
    headers = {path: read_header(path) for path in sources}
    runs = _runs({path: header for path, header in headers.items() if not is_video(path)})
    found = [part for run in runs for part in _split_run(run, headers)]
    found += [([path], []) for path in sources if is_video(path)]
    names = _unique_names([paths[0] for paths, _ in found])
    series = [
        Series(names[paths[0]], tuple(paths), headers[paths[0]], tuple(incompatible)) for paths, incompatible in found
    ]
    return sorted(series, key=lambda s: _natural(s.name))


def read_series(series: Series, limit: int) -> SeriesFrames:
    """Decode the first frames of a series, each file once.

    Levels and colours of the mosaic are known only now: the frames that most agree in them stay.

    Raises
    ------
    InputFileError
        If a file is damaged or not supported.
    """
    if is_video(series.paths[0]):
        return SeriesFrames(tuple(read_video(series.paths[0], limit)), series.incompatible, 0)
    frames = [read_frame(path) for path in series.paths[:limit]]
    kinds = alike(frames, lambda one, first: not _differences(one.info, first.info))
    largest = max(kinds, key=len)
    others = [frame for kind in kinds if kind is not largest for frame in kind]
    verdicts = [_incompatible(frame.path, _differences(frame.info, largest[0].info)) for frame in others]
    return SeriesFrames(tuple(largest), (*verdicts, *series.incompatible), max(len(series.paths) - limit, 0))


def alike(items: Iterable[T], same: Callable[[T, T], bool]) -> list[list[T]]:
    """Return items in groups, in the order met: each with the first group whose first item is the same."""
    groups: list[list[T]] = []
    for item in items:
        for group in groups:
            if same(item, group[0]):
                group.append(item)
                break
        else:
            groups.append([item])
    return groups


def _runs(headers: dict[Path, Header]) -> list[list[Path]]:
    """Return files shot without a long pause, in the order shot."""
    timed: dict[Path, list[tuple[float, Path]]] = defaultdict(list)
    untimed: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for path in sorted(headers, key=lambda p: _natural(str(p))):
        taken_at = headers[path].taken_at
        if taken_at is None:
            untimed[path.parent, re.sub(r"\W*\d+\W*$", "", path.stem)].append(path)
        else:
            timed[path.parent].append((taken_at, path))
    runs = list(untimed.values())
    for shots in timed.values():
        before = float("-inf")
        for taken_at, path in sorted(shots, key=lambda shot: shot[0]):
            if taken_at - before > LONGEST_PAUSE_S + 2 * (headers[path].exposure_s or 0):
                runs.append([])
            runs[-1].append(path)
            before = taken_at
    return runs


def _split_run(run: Sequence[Path], headers: dict[Path, Header]) -> list[tuple[list[Path], list[FrameVerdict]]]:
    """Return the series in a run, each with the incompatible frames reported with it."""
    kinds = alike(run, lambda one, first: not _header_differences(headers[one], headers[first]))
    largest = max(kinds, key=len)
    enough = min(ENOUGH_FRAMES, len(largest)) if len(largest) > 1 else len(run)
    series = [paths for paths in kinds if len(paths) >= enough or paths is largest]
    others = [path for paths in kinds if paths not in series for path in paths]
    verdicts = [_incompatible(path, _header_differences(headers[path], headers[largest[0]])) for path in others]
    return [(paths, verdicts if paths is largest else []) for paths in series]


def _header_differences(header: Header, usual: Header) -> list[str]:
    """Return in words what keeps a file from being in a series with another."""
    pairs = {
        "camera": (header.camera or "unknown", usual.camera or "unknown"),
        "kind": (header.domain, usual.domain),
        "size": (f"{header.width} x {header.height}", f"{usual.width} x {usual.height}"),
    }
    found = [f"{what} {own} instead of {others}" for what, (own, others) in pairs.items() if own != others]
    return found + _exposure_differences(header, usual)


def _differences(info: FrameInfo, usual: FrameInfo) -> list[str]:
    """Return in words what keeps a decoded frame from being in a series with another."""
    return Sensor.of(info).differences(Sensor.of(usual)) + _exposure_differences(info, usual)


def _exposure_differences(one: Header | FrameInfo, usual: Header | FrameInfo) -> list[str]:
    pairs = {"ISO": (one.iso, usual.iso), "exposure time": (one.exposure_s, usual.exposure_s)}
    return [
        f"{what} {'unknown' if own is None else f'{own:g}'} instead of {'unknown' if others is None else f'{others:g}'}"
        for what, (own, others) in pairs.items()
        if own != others
    ]


def _incompatible(path: Path, differing: Sequence[str]) -> FrameVerdict:
    return FrameVerdict(
        file=path.name, accepted=False, reasons=("incompatible",), gain=None, shift_px=None, detail=", ".join(differing)
    )


def _unique_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Return a name for the series that starts with each path."""
    folders = {path.parent for path in paths}
    names: dict[Path, str] = {}
    for path in paths:
        name = _folder_name(path.parent, folders)
        if is_video(path) or sum(other.parent == path.parent for other in paths) > 1:
            name = f"{name}-{path.stem}"
        if any(other != path and (other.parent, other.stem) == (path.parent, path.stem) for other in paths):
            name += f"-{path.suffix[1:].lower()}"
        numbered = (f"{name}-{number}" for number in count(2))
        names[path] = next(free for free in chain([name], numbered) if free not in names.values())
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
