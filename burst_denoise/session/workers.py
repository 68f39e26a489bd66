"""Shots read, denoised and written, one beside the other: a process reads, this one computes, a thread writes.

Never more than three shots are in memory: one being read, one being denoised and one being written.
"""

import os
import shutil
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar

from burst_denoise import __version__
from burst_denoise.errors import BurstDenoiseError, DeviceError, InputFileError, OutputError
from burst_denoise.files import atomic_write
from burst_denoise.frame.frame import Frame
from burst_denoise.io.exiftool import ExifTool
from burst_denoise.io.metadata import is_denoised
from burst_denoise.io.read import is_raw
from burst_denoise.io.sidecars import copy_sidecars
from burst_denoise.io.write import refuse_unwritable, write_frame
from burst_denoise.schemas import FrameInfo, ShotEntry
from burst_denoise.session.denoisers import Denoisers
from burst_denoise.session.ledger import Claim, FileState, Ledger, digest_of
from burst_denoise.session.noise import SessionNoise
from burst_denoise.session.reader import Reader, ReadLimits, UnforeseenError
from burst_denoise.session.shots import Shot

__all__ = ["Outcome", "ShotFailedError", "Workshop", "denoise_shots", "is_current", "read_shot"]

T = TypeVar("T")
R = TypeVar("R")

WAIT_S = 0.3
FORCED = "--overwrite makes it anew"
EXIFTOOL_FAILED = "Error writing"
"""How exiftool says that the disk refused: what it copies must not be missing in a result that counts as done."""


class ShotFailedError(BurstDenoiseError):
    """A shot that another process failed at."""


@dataclass(frozen=True)
class Outcome:
    """What became of a shot."""

    shot: Shot
    target: Path
    entry: ShotEntry
    how: Literal["done", "done before", "done by another process", "failed"]
    error: BurstDenoiseError | None = None


@dataclass(frozen=True)
class Workshop:
    """What shots are denoised with."""

    ledger: Ledger
    denoisers: Denoisers
    noise: SessionNoise
    reader: Reader
    limits: ReadLimits
    exiftool: ExifTool | None
    note: Callable[[str], None]
    """Told what went wrong with tags and sidecars, which does not spoil a result."""
    overwrite: bool = False
    alone: bool = False
    """There is one shot, which is refused where no given model fits."""


@dataclass
class _Work:
    """A shot on its way."""

    shot: Shot
    target: Path
    state: FileState
    claim: Claim
    replaces: bool
    """The result that is there, which the ledger knows or nobody needs."""
    must_equal: bool = False
    """What is there in its place may stay only if it is the very result."""
    known_error: BurstDenoiseError | None = None
    frame: Frame | None = None
    clean: Frame | None = None
    info: FrameInfo | None = None
    digest: str | None = None
    network: str | None = None
    noise: str | None = None
    settings: dict[str, str | float | bool | None] = field(default_factory=dict)
    seconds: float = 0.0
    error: BurstDenoiseError | None = None
    traceback: str | None = None
    entry: ShotEntry | None = None


def read_shot(shot: Shot, reader: Reader, limits: ReadLimits) -> tuple[Frame, str]:
    """Return the frame of a shot, and the SHA-256 of its file."""
    if shot.burst is not None:
        return shot.burst.frame(shot.index), shot.burst.manifest.sha256[shot.index]
    return reader.frame(shot.place, limits)


def is_current(shot: Shot, target: Path, with_what: Workshop) -> bool:
    """Return whether the result of a shot is there, made of the shot as it is by what would serve it now.

    Raises
    ------
    OutputError
        If it is there and was changed since, or is that of another shot, so that it must not be replaced.
    """
    ledger = with_what.ledger
    entry = ledger.done(target)
    if entry is None or not os.path.lexists(target):
        return False
    recent = ledger.of_this_session(target)
    if with_what.overwrite:
        return recent is not None and recent.outcome == "done"
    if FileState.of(target) != FileState(entry.output_bytes or 0, entry.output_mtime_ns or 0) and (
        digest_of(target) != entry.output_sha256
    ):
        raise OutputError(f"{target}: was changed since it was written and is left as it is; {FORCED}")
    its_own = entry.input == _in_utf8(str(shot.place))
    untouched = its_own and FileState.of(shot.place) == FileState(entry.input_bytes, entry.input_mtime_ns)
    if not untouched and digest_of(shot.place) != entry.input_sha256:
        if not its_own:
            raise OutputError(f"{target}: exists already, made of {entry.input}; name another output, or {FORCED}")
        return False
    if entry.info is None:
        return False
    try:
        serving = with_what.denoisers.serving(entry.info, shot.place.name, alone=with_what.alone)
    except BurstDenoiseError:
        return False  # it will be named when its turn comes
    return (entry.network, entry.settings) == (serving.network, serving.settings)


def denoise_shots(
    targets: dict[Shot, Path], failed: dict[Shot, BurstDenoiseError], with_what: Workshop
) -> Iterator[Outcome]:
    """Denoise shots that no other process has done or is at, and give what became of each.

    Parameters
    ----------
    targets : dict of Shot to Path
        Where the result of each goes.
    failed : dict of Shot to BurstDenoiseError
        What is known to be wrong with some.
    with_what : Workshop

    Yields
    ------
    Outcome
        As they end. When this ends early, the shot being written is written to its end.
    """
    waiting = list(targets)
    while waiting:
        of_others: list[Shot] = []
        yield from _run(((shot, targets[shot]) for shot in waiting), failed, of_others, with_what)
        waiting = of_others
        if waiting:
            time.sleep(WAIT_S)


def _run(
    shots: Iterable[tuple[Shot, Path]],
    failed: dict[Shot, BurstDenoiseError],
    of_others: list[Shot],
    with_what: Workshop,
) -> Iterator[Outcome]:
    def wanted() -> Iterator[_Work | Outcome]:
        for shot, target in shots:
            found = _take(shot, target, with_what)
            if found is None:
                of_others.append(shot)
                continue
            if isinstance(found, _Work):
                found.known_error = failed.get(shot)
            yield found

    def read(work: _Work) -> None:
        if work.known_error is not None:
            raise work.known_error
        work.frame, work.digest = read_shot(work.shot, with_what.reader, with_what.limits)
        work.info = work.frame.info.model_copy(update={"dng_tags": (), "noise_profile": None})

    def denoise(work: _Work) -> None:
        frame, work.frame = work.frame, None
        assert frame is not None
        refuse_unwritable(frame, work.target, work.shot.source)  # before the work, not after it
        _refuse_full_disk(work.target, frame.dn.size)
        serving = with_what.denoisers.serving(frame.info, frame.path.name, alone=with_what.alone)
        work.network, work.settings = serving.network, serving.settings
        estimated = None
        if not serving.measured and work.shot.burst is None:
            estimated = with_what.noise.estimate(frame.info, serving.denoiser)
        work.clean = serving.denoiser(frame, work.shot.burst, estimated)
        work.noise = _noise_source(work.clean)

    def write(work: _Work) -> None:
        clean, work.clean = work.clean, None
        assert clean is not None
        _write(work, clean, with_what)

    with closing(_ahead(_step(read), wanted())) as frames:
        try:
            for work in _ahead(_step(write, last=lambda work: _close(work, with_what)), map(_step(denoise), frames)):
                yield _outcome(work) if isinstance(work, _Work) else work
        except BaseException:
            with_what.reader.close()  # what it is at is no longer wanted, and nobody must wait for it
            raise


def _take(shot: Shot, target: Path, with_what: Workshop) -> _Work | Outcome | None:
    """Return what is to be done about a shot, what became of it before, or None where another process is at it."""
    ledger = with_what.ledger
    name = ledger.name_of(target)
    refused: BurstDenoiseError | None = None

    def settled() -> Outcome | None:
        recent = ledger.of_this_session(target)
        if recent is not None and recent.outcome == "failed":
            if FileState.of(shot.place) != FileState(recent.input_bytes, recent.input_mtime_ns):
                return None
            error = ShotFailedError(recent.error or "failed")
            return Outcome(shot, target, recent, "failed", error)
        if is_current(shot, target, with_what):
            entry = ledger.done(target)
            assert entry is not None
            return Outcome(shot, target, entry, "done before" if recent is None else "done by another process")
        return None

    def open_still() -> bool:
        nonlocal refused
        try:
            return settled() is None
        except (BurstDenoiseError, OSError) as error:
            refused = error if isinstance(error, BurstDenoiseError) else InputFileError(f"{shot.place}: {error}")
            return True

    if not open_still():
        return settled()
    claim = ledger.claim(name, open_still)
    if claim is None:
        return settled() if refused is None and not open_still() else None
    try:
        state = FileState.of(shot.place)
    except OSError as error:
        state = FileState(0, 0)
        refused = refused or InputFileError(
            f"{shot.place}: cannot be read ({error.strerror}); check its name and rights"
        )
    work = _Work(shot, target, state, claim, replaces=False)
    if claim.before is not None and claim.before.output == name and ledger.was_finished(claim.before):
        # Its process was killed between the result and this line of the ledger.
        _take_sidecars(work, with_what)
        ledger.append(claim.before)
        claim.intend(None)
        if refused is None and not open_still():
            ledger.release(claim)
            return Outcome(shot, target, claim.before, "done before")
    work.replaces = with_what.overwrite or ledger.done(target) is not None
    if refused is None and not work.replaces and os.path.lexists(target):
        # A damaged ledger may have lost its line: then it is what will be made again.
        work.must_equal = is_denoised(target)
        if not work.must_equal:
            refused = _foreign(target)
    work.error = refused
    return work


def _write(work: _Work, clean: Frame, with_what: Workshop) -> None:
    """Write the result of a shot; the claim knows of it before it has its name."""
    try:
        with atomic_write(work.target, overwrite=work.replaces or work.must_equal) as aside:
            warning = write_frame(clean, aside, work.shot.source, with_what.exiftool)
            if warning is not None and EXIFTOOL_FAILED in warning:
                raise OutputError(f"{aside}: exiftool cannot write its tags; free the disk or choose another place")
            written, digest = FileState.of(aside), digest_of(aside)
            if work.must_equal and digest != digest_of(work.target):
                raise _foreign(work.target)
            work.entry = _entry(work, with_what).model_copy(
                update={
                    "output_bytes": written.size,
                    "output_mtime_ns": written.mtime_ns,
                    "output_sha256": digest,
                }
            )
            work.claim.intend(work.entry)
    except OutputError as error:
        # The name aside is nobody's business.
        raise OutputError(str(error).replace(str(aside), str(work.target))) from error
    if warning is not None:
        with_what.note(f"{work.shot.name}: exiftool: {warning}")
    _take_sidecars(work, with_what)


def _foreign(target: Path) -> OutputError:
    return OutputError(f"{target}: exists already and is no result of this session; delete it, or {FORCED}")


def _refuse_full_disk(target: Path, size: int) -> None:
    """Raise `OutputError` where a result of so many bytes, or more, has no room."""
    there = next((folder for folder in target.parents if folder.is_dir()), None)
    free = size if there is None else shutil.disk_usage(there).free
    if free < size:
        raise OutputError(
            f"{target}: cannot be written (needs {size / 1e6:.2f} MB at least, {free / 1e6:.2f} MB are free); free the "
            "disk or choose another place"
        )


def _take_sidecars(work: _Work, with_what: Workshop) -> None:
    # The develop settings of a raw file are not for a picture developed from it.
    source, target = work.shot.source, work.target
    if source is None or is_raw(source) != (target.suffix.lower() == ".dng"):
        return
    try:
        copies = copy_sidecars(source, target, denoised=with_what.denoisers.settings.strength > 0)
    except BurstDenoiseError as error:
        with_what.note(str(error))
    else:
        for path in copies.left:
            with_what.note(f"{path}: was there before and is left as it is")


def _close(work: _Work, with_what: Workshop) -> None:
    """Write a shot's line to the ledger and give it free."""
    if work.error is not None or work.entry is None:
        work.entry = _entry(work, with_what)
    # A mistake with one shot, told at once, leaves nothing behind.
    if work.error is None or not with_what.alone:
        with_what.ledger.append(work.entry)
    with_what.ledger.release(work.claim)


def _entry(work: _Work, with_what: Workshop) -> ShotEntry:
    return ShotEntry(
        shot=_in_utf8(work.shot.name),
        input=_in_utf8(str(work.shot.place)),
        input_bytes=work.state.size,
        input_mtime_ns=work.state.mtime_ns,
        input_sha256=work.digest,
        info=work.info,
        network=work.network,
        noise=work.noise,
        settings=work.settings,
        output=with_what.ledger.name_of(work.target),
        outcome="done" if work.error is None else "failed",
        error=None if work.error is None else _in_utf8(str(work.error)),
        kind=None if work.error is None else type(work.error).__name__,
        traceback=work.traceback,
        seconds=round(work.seconds, 3),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
    )


def _outcome(work: _Work) -> Outcome:
    assert work.entry is not None
    return Outcome(work.shot, work.target, work.entry, "done" if work.error is None else "failed", work.error)


def _step(
    do: Callable[[_Work], None], last: Callable[[_Work], None] = lambda _: None
) -> Callable[[_Work | Outcome], _Work | Outcome]:
    """Return a step that is taken with a shot unless something was wrong with it; ``last`` is done in any case."""

    def taken(work: _Work | Outcome) -> _Work | Outcome:
        if isinstance(work, Outcome):
            return work
        begun = time.monotonic()
        if work.error is None:
            try:
                do(work)
            except UnforeseenError as error:
                work.error, work.traceback = error, error.traceback
            except BurstDenoiseError as error:
                work.error = error
            except MemoryError:
                work.error = DeviceError(
                    f"{work.shot.name}: needs more memory than there is; denoise it on a larger machine"
                )
            except Exception as error:  # noqa: BLE001 (one shot must not end a night's work; the ledger has the trace)
                told = traceback.format_exc()
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                work.error = UnforeseenError(
                    f"{work.shot.name}: failed in a way that is not foreseen ({reason}); please report it, with the "
                    "traceback in the ledger",
                    told,
                )
                work.traceback = told
        if work.error is not None:
            work.frame = work.clean = None
        work.seconds += time.monotonic() - begun
        last(work)
        return work

    return taken


def _noise_source(clean: Frame) -> str | None:
    """Return what the processing note says of the noise."""
    return next((part.removeprefix("noise ") for part in clean.notes.split("; ") if part.startswith("noise ")), None)


def _in_utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


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
