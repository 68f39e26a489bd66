"""Which files are frames, and which frames belong together: inputs -> sources -> series."""

import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count, pairwise
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np

from burst_denoise.burst.frames_on_disk import HeldFrames, KeptFrame
from burst_denoise.errors import InputFileError
from burst_denoise.files import absolute
from burst_denoise.frame.exposure import same_setting
from burst_denoise.frame.frame import Frame
from burst_denoise.io.metadata import REFUSED_AGAIN, Header, is_denoised
from burst_denoise.io.picture import read_video
from burst_denoise.io.read import FRAME_SUFFIXES, is_raw, is_video, read_frame, read_header
from burst_denoise.schemas import LONGEST_PAUSE_S, FrameInfo, FrameVerdict
from burst_denoise.sensor.dark_frame import is_dark
from burst_denoise.sensor.identity import Sensor

__all__ = [
    "BURST_SUFFIX",
    "CLEAN_REFERENCE",
    "LeaveOut",
    "Pause",
    "Series",
    "SeriesFrames",
    "alike",
    "decode",
    "find_sources",
    "group_series",
    "noise_digest",
    "passed_over",
    "pictures_beside_raw",
    "read_series",
    "refuse",
]

T = TypeVar("T")

CLEAN_REFERENCE = "clean_mosaic_dn.tif"
"""The known clean image of a simulated burst lies beside its frames and is none of them."""
BURST_SUFFIX = ".burst"
"""Suffix of folders that hold stored bursts."""
LONGEST_TOLD_S = 600.0
"""Longest pause between two series that is reported: after a longer one nobody takes them for one."""
ENOUGH_FRAMES = 3
"""So many frames of one kind are a series of their own; fewer amid a larger one are incompatible frames."""


LeaveOut = Callable[[Path, InputFileError], None]
"""What is done with a file that cannot be read: raise, or hear of it and let the rest go on."""


def refuse(path: Path, error: InputFileError) -> NoReturn:  # noqa: ARG001 (the error names it)
    """Raise the error of a file that cannot be read."""
    raise error


@dataclass(frozen=True)
class Pause:
    """The pause that parts a series from the one before it, of one camera, size, ISO and exposure."""

    after: str
    """Name of the series before."""
    seconds: float
    """Pause from the last frame of the one before to the first of this, seconds."""
    joined_by_s: int
    """The pause, in whole minutes, that would have to be allowed to make them one."""

    def __str__(self) -> str:
        return (
            f"begins {self.seconds:.0f} s after the last frame of {self.after}; --pause {self.joined_by_s} joins them"
        )


@dataclass(frozen=True)
class Series:
    """Files that were shot as one series, before anyone looked at their pixels."""

    name: str
    """Unique among the series found together; made of folder and, where needed, file name."""
    paths: tuple[Path, ...]
    """Files in the order shot; a single one for a video."""
    header: Header
    """Of the first frame."""
    incompatible: tuple[FrameVerdict, ...] = ()
    """Frames shot among these that cannot belong to them: other camera, size, ISO or exposure."""
    pause: Pause | None = None
    """What parts it from the series before, where that is all."""


@dataclass(frozen=True)
class SeriesFrames:
    """The decoded frames of a series."""

    frames: HeldFrames
    """Equal in sensor, ISO and exposure."""
    incompatible: tuple[FrameVerdict, ...]
    """Frames that cannot belong to them, those that only their levels or colours told among them."""
    left_out: int
    """Files beyond the limit, which were not read; of a video it is not known and counts as none."""
    darks: int = 0
    """How many dark frames there are among them, which are none of the series."""
    copies: tuple[tuple[str, str], ...] = ()
    """Files equal to the bit to an earlier one, which are no frames, each with the name of that."""


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


def pictures_beside_raw(inputs: Sequence[Path]) -> int:
    """Return how many pictures in folders are passed over because they lie beside raw files of the same name."""
    found: set[Path] = set()
    for given in inputs:
        files = [path for path in given.rglob("*") if not passed_over(path, given, BURST_SUFFIX)]
        raws = {path.with_suffix("") for path in files if is_raw(path)}
        found.update(
            absolute(path)
            for path in files
            if path.suffix.lower() in FRAME_SUFFIXES and not is_raw(path) and path.with_suffix("") in raws
        )
    return len(found)


def group_series(
    sources: Sequence[Path], pause_s: float = LONGEST_PAUSE_S, leave_out: LeaveOut = refuse
) -> list[Series]:
    """Return the series that files make, by folder, camera, size, ISO, exposure and pauses; nothing is decoded.

    Files that do not say when they were shot go together by folder and by name without its trailing number
    (``b_003_snap_001.png``, ``b_003_snap_002.png``). A video is a series of its own.

    Parameters
    ----------
    sources : sequence of Path
    pause_s : float
        Longest time between two frames of a series, beyond twice the exposure, in seconds.
    leave_out : callable
        Called with a file that is damaged or not supported, as far as its header tells, and with the `InputFileError`
        that says so; raises it by default.
    """
    headers: dict[Path, Header] = {}
    for path in sources:
        try:
            headers[path] = read_header(path)
        except InputFileError as error:
            leave_out(path, error)
    runs = _runs({path: header for path, header in headers.items() if not is_video(path)}, pause_s)
    found = [part for run in runs for part in _split_run(run, headers)]
    found += [([path], []) for path in headers if is_video(path)]
    names = _unique_names([paths[0] for paths, _ in found])
    series = {
        paths[0]: Series(names[paths[0]], tuple(paths), headers[paths[0]], tuple(incompatible))
        for paths, incompatible in found
    }
    for earlier, later in pairwise(runs):
        for one in [series[path] for path in later if path in series]:
            before = [series[path] for path in earlier if path in series and path.parent == one.paths[0].parent]
            series[one.paths[0]] = replace(one, pause=_pause(one, before, headers))
    return sorted(series.values(), key=lambda s: _natural(s.name))


def decode(path: Path, leave_out: LeaveOut = refuse) -> Frame | None:
    """Return the frame of a raw or picture file; None where ``leave_out`` has heard why it cannot be read."""
    try:
        return read_frame(path)
    except InputFileError as error:
        leave_out(path, error)
        return None


def read_series(
    series: Series,
    limit: int,
    leave_out: LeaveOut = refuse,
    on_dark: Callable[[Frame], None] = lambda frame: None,  # noqa: ARG005
    keep: Path | None = None,
) -> SeriesFrames:
    """Decode the first frames of a series, each file once; there may be none.

    Copies and dark frames are no frames of the series: reading goes on until there are ``limit`` others. Levels and
    colours of the mosaic are known only now: the frames that most agree in them stay.

    Parameters
    ----------
    series : Series
    limit : int
        Frames of it at most.
    leave_out : callable
        Called with a file that is damaged or not supported and the `InputFileError` that says so; raises it by default.
    on_dark : callable
        Called with each dark frame.
    keep : Path, optional
        Folder, which must exist, where the frames wait as soon as they are decoded; without it they stay in memory.
    """
    frames: list[Frame | KeptFrame] = []
    darks = 0
    copies: list[tuple[str, str]] = []
    seen: dict[bytes, str] = {}
    unread = iter(series.paths)
    while len(frames) < limit and (path := next(unread, None)) is not None:
        for frame in _frames_of(path, limit, leave_out):
            digest = noise_digest(frame)
            if digest in seen:
                copies.append((frame.path.name, seen[digest]))
                continue
            if digest is not None:
                seen[digest] = frame.path.name
            if is_dark(frame):
                darks += 1
                on_dark(frame)
            else:
                frames.append(frame if keep is None else KeptFrame.keep(frame, keep / f"{len(frames):04d}.dn"))
    kinds = alike(frames, lambda one, first: not _differences(one.info, first.info))
    largest = max(kinds, key=len, default=[])
    others = [frame for kind in kinds if kind is not largest for frame in kind]
    verdicts = [_incompatible(frame.path, _differences(frame.info, largest[0].info)) for frame in others]
    if keep is not None:
        HeldFrames(tuple(others)).discard()
    return SeriesFrames(
        HeldFrames(tuple(largest)), (*verdicts, *series.incompatible), len(list(unread)), darks, tuple(copies)
    )


def _frames_of(path: Path, limit: int, leave_out: LeaveOut) -> list[Frame]:
    if not is_video(path):
        frame = decode(path, leave_out)
        return [] if frame is None else [frame]
    try:
        return read_video(path, limit)
    except InputFileError as error:
        leave_out(path, error)
        return []


def noise_digest(frame: Frame) -> bytes | None:
    """Return what tells a frame from all but copies of it: noise is never the same twice; None where there is none."""
    if frame.dn.min() == frame.dn.max():  # overexposed everywhere, or nothing at all
        return None
    return hashlib.sha256(np.ascontiguousarray(frame.dn).data).digest()


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


def _runs(headers: dict[Path, Header], pause_s: float) -> list[list[Path]]:
    """Return files shot without a long pause, in the order shot; those of a folder one after another."""
    timed: dict[Path, list[tuple[float, Path]]] = defaultdict(list)
    untimed: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    # "IMG_1 (1)" is a copy of "IMG_1" and comes after it.
    for path in sorted(headers, key=lambda p: (_natural(str(p.with_suffix(""))), p.suffix)):
        taken_at = headers[path].taken_at
        if taken_at is None:
            untimed[path.parent, re.sub(r"\W*\d+\W*$", "", path.stem)].append(path)
        else:
            timed[path.parent].append((taken_at, path))
    runs = list(untimed.values())
    for shots in timed.values():
        before = float("-inf")
        for taken_at, path in sorted(shots, key=lambda shot: shot[0]):
            if taken_at - before > pause_s + 2 * (headers[path].exposure_s or 0):
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


def _pause(series: Series, before: Sequence[Series], headers: dict[Path, Header]) -> Pause | None:
    """Return the pause that parts a series from one of the run before; None where more than that does."""
    taken_at = series.header.taken_at
    for other in before:
        last = headers[other.paths[-1]].taken_at
        if taken_at is None or last is None or _header_differences(series.header, other.header):
            continue
        seconds = taken_at - last
        minutes = math.ceil((seconds - 2 * (series.header.exposure_s or 0)) / 60)
        return Pause(other.name, seconds, 60 * minutes) if seconds <= LONGEST_TOLD_S else None
    return None


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
        if not same_setting(own, others)
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
