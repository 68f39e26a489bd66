"""The job for a shoot: every shot of a session denoised, each failure named, the rest done."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from burst_denoise.burst.darks import DarkSet
from burst_denoise.errors import BurstDenoiseError, DeviceError, JobError, OutputError
from burst_denoise.frame.frame import Frame
from burst_denoise.inference.denoiser import Denoiser
from burst_denoise.io.dng import write_dng
from burst_denoise.io.pictures import write_developed, write_picture
from burst_denoise.jobs.listener import Listener
from burst_denoise.session.shots import OutputFormat, Shot, find_shots

__all__ = ["SessionSettings", "denoise_session", "write_frame"]

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class SessionSettings:
    """Where the results of a session go and which there are."""

    format: OutputFormat | None = None
    """None writes DNG for raw shots and TIFF for pictures."""
    resume: bool = False
    """Pass over shots whose output is there already."""


def denoise_session(
    inputs: Sequence[Path],
    output: Path,
    denoiser: Denoiser,
    darks: Sequence[DarkSet] = (),
    settings: SessionSettings = SessionSettings(),
    listener: Listener = Listener(),
) -> None:
    """Denoise every shot that inputs name.

    Parameters
    ----------
    inputs : sequence of Path
        RAW and picture files, folders (searched recursively) or stored bursts.
    output : Path
        A file, for a single shot, if it has the suffix of a format; otherwise the folder for all results. If that lies
        inside a folder of inputs, what is in it is no input.
    denoiser : Denoiser
    darks : sequence of DarkSet
        Their frames are no shots.
    settings : SessionSettings
    listener : Listener
        Hears of every shot, in order.

    Raises
    ------
    OutputError
        If an output exists and ``settings.resume`` is off, or cannot be what it is named; found before any work.
    JobError
        If some of several shots failed; the others are done.
    BurstDenoiseError
        What went wrong with a single shot, or with the first if all failed.

    Notes
    -----
    The next shot is read and the last one written while one is denoised, in a thread each; never more than these three
    are in memory.
    """
    dark_paths = {path for dark in darks for path in dark.paths}
    shots = find_shots(inputs, output, settings.format, dark_paths, resume=settings.resume)
    failures: dict[str, BurstDenoiseError] = {}
    for number, (shot, result) in enumerate(_overlapped(shots, denoiser, resume=settings.resume), 1):
        if isinstance(result, BurstDenoiseError):
            failures[shot.name] = result
        else:
            listener.on_shot(shot.name, result, number, len(shots))
    if not failures:
        return
    first = next(iter(failures.values()))
    if len(shots) == 1:
        raise first
    if len(failures) == len(shots):
        raise type(first)(f"{first} (and the other {len(shots) - 1} shots failed too)") from first
    raise JobError(f"{len(failures)} of {len(shots)} shots failed; the rest is done", failures)


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
    _refuse_unwritable(frame, target, source)
    if target.suffix.lower() == ".dng":
        write_dng(target, frame)
    elif frame.info.domain != "bayer":
        write_picture(target, frame)
    elif source is not None:
        write_developed(target, frame, source)


def _refuse_unwritable(frame: Frame, target: Path, source: Path | None) -> None:
    """Raise `OutputError` when no frame of this kind can become a file of the format; see `write_frame`."""
    bayer, dng = frame.info.domain == "bayer", target.suffix.lower() == ".dng"
    if dng and not bayer:
        raise OutputError(f"{frame.path.name}: a developed picture cannot become a DNG; choose tiff or png")
    if bayer and not dng and source is None:
        raise OutputError(
            f"{frame.path.name}: only a raw file can be developed to a picture, not a frame of a burst; write a DNG"
        )


def _overlapped(
    shots: Sequence[Shot], denoiser: Denoiser, *, resume: bool
) -> Iterator[tuple[Shot, Path | BurstDenoiseError | None]]:
    """Denoise shots and give each, in order, with its result, what was wrong, or None where it was passed over.

    When this ends early, the shot being written is written to its end.
    """

    def denoise(shot: Shot, frame: Frame) -> Frame:
        _refuse_unwritable(frame, shot.target, shot.source)  # before the work, not after it
        return denoiser(frame, shot.burst)

    def write(shot: Shot, clean: Frame) -> Path:
        write_frame(clean, shot.target, shot.source)
        return shot.target

    wanted = ((shot, None if resume and shot.target.exists() else shot) for shot in shots)
    with closing(_ahead(partial(_step, lambda shot, _: shot.read()), wanted)) as frames:
        denoised = (_step(denoise, frame) for frame in frames)
        yield from _ahead(partial(_step, write), denoised)


def _step(
    work: Callable[[Shot, T], R], before: tuple[Shot, T | BurstDenoiseError | None]
) -> tuple[Shot, R | BurstDenoiseError | None]:
    """Do the next thing to a shot, unless it is passed over or something was wrong with it."""
    shot, value = before
    if value is None or isinstance(value, BurstDenoiseError):
        return shot, value
    try:
        return shot, work(shot, value)
    except BurstDenoiseError as error:
        return shot, error
    except MemoryError:
        return shot, DeviceError(f"{shot.name}: needs more memory than there is; denoise it on a larger machine")


def _ahead(work: Callable[[T], R], items: Iterable[T]) -> Generator[R, None, None]:
    """Give ``work(item)`` of each item in order, while a thread is at that of the next one, and no further.

    Closing the generator waits for the work that has begun.
    """
    with ThreadPoolExecutor(1) as thread:
        present = None
        for item in items:
            following = thread.submit(work, item)
            if present is not None:
                yield present.result()
            present = following
        if present is not None:
            yield present.result()
