"""Shots read, denoised and written, one beside the other."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

from burst_denoise.errors import BurstDenoiseError, DeviceError
from burst_denoise.frame.frame import Frame
from burst_denoise.inference.denoiser import Denoiser
from burst_denoise.io.exiftool import ExifTool
from burst_denoise.io.read import is_raw
from burst_denoise.io.sidecars import copy_sidecars
from burst_denoise.io.write import refuse_unwritable, write_frame
from burst_denoise.session.shots import Shot

__all__ = ["denoise_shots"]

T = TypeVar("T")
R = TypeVar("R")


def denoise_shots(
    shots: Sequence[Shot], denoiser: Denoiser, exiftool: ExifTool | None, note: Callable[[str], None], *, resume: bool
) -> Iterator[tuple[Shot, Path | BurstDenoiseError | None]]:
    """Denoise shots and give each, in order, with its result, what was wrong, or None where it was passed over.

    ``note`` is told what went wrong with tags and sidecars, which does not spoil a result. When this ends early, the
    shot being written is written to its end.
    """

    def denoise(shot: Shot, frame: Frame) -> Frame:
        refuse_unwritable(frame, shot.target, shot.source)  # before the work, not after it
        return denoiser(frame, shot.burst)

    def write(shot: Shot, clean: Frame) -> Path:
        warning = write_frame(clean, shot.target, shot.source, exiftool)
        if warning is not None:
            note(f"{shot.name}: exiftool: {warning}")
        take_sidecars(shot)
        return shot.target

    def take_sidecars(shot: Shot) -> None:
        # The develop settings of a raw file are not for a picture developed from it.
        if shot.source is None or is_raw(shot.source) != (shot.target.suffix.lower() == ".dng"):
            return
        try:
            copies = copy_sidecars(shot.source, shot.target, denoised=denoiser.settings.strength > 0)
        except BurstDenoiseError as error:
            note(str(error))
        else:
            for path in copies.left:
                note(f"{path}: was there before and is left as it is")

    def to_do(shot: Shot) -> Shot | None:
        if not (resume and shot.target.exists()):
            return shot
        take_sidecars(shot)  # we may have been killed before
        return None

    wanted = ((shot, to_do(shot)) for shot in shots)
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
