"""The steps of one shot: taken, read, denoised, written and told to the ledger.

Reading, denoising and writing need a `WorkerContext` alone, so that any process may do them for the one that took it.
"""

import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from burst_denoise import __version__
from burst_denoise.errors import BurstDenoiseError, DeviceError, InputFileError, OutputError
from burst_denoise.files import atomic_write, digest_of, free_bytes
from burst_denoise.frame.frame import Frame
from burst_denoise.inference.noise_source import ShotNoise
from burst_denoise.io.exiftool import ExifTool
from burst_denoise.io.metadata import is_denoised
from burst_denoise.io.read import is_raw
from burst_denoise.io.sidecars import copy_sidecars
from burst_denoise.io.write import refuse_unwritable, write_frame
from burst_denoise.schemas import FrameInfo, ShotEntry
from burst_denoise.session.denoisers import Denoisers
from burst_denoise.session.ledger import Claim, FileState, Ledger, was_written
from burst_denoise.session.noise import SessionNoise
from burst_denoise.session.reader import Reader, ReadLimits, UnforeseenError
from burst_denoise.session.shots import Shot

__all__ = [
    "Outcome",
    "SessionContext",
    "ShotFailedError",
    "Work",
    "WorkerContext",
    "close",
    "denoise",
    "entry_of",
    "is_current",
    "read",
    "read_shot",
    "step",
    "take",
    "take_sidecars",
    "write",
]

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
class WorkerContext:
    """What a process reads, denoises and writes shots with."""

    denoisers: Denoisers
    limits: ReadLimits
    reader: Reader
    exiftool: ExifTool | None
    note: Callable[[str], None]
    """Told what went wrong with tags and sidecars, which does not spoil a result."""
    alone: bool = False
    """There is one shot, which is refused where no given model fits."""


@dataclass(frozen=True)
class SessionContext:
    """What shots are denoised with, and whose they are."""

    ledger: Ledger
    noise: SessionNoise
    worker: WorkerContext
    overwrite: bool = False


@dataclass
class Work:
    """A shot on its way; it can be pickled before it is read."""

    shot: Shot
    target: Path
    output: str
    """What the ledger calls the target."""
    state: FileState
    claim: Claim
    replaces: bool = False
    """The result that is there, which the ledger knows or nobody needs."""
    replaced: str | None = None
    """SHA-256 of the result that may be replaced; None where any may."""
    must_equal: bool = False
    """What is there in its place may stay only if it is the very result."""
    frame: Frame | None = None
    clean: Frame | None = None
    info: FrameInfo | None = None
    digest: str | None = None
    network: str | None = None
    noise: str | None = None
    settings: dict[str, str | float | bool | None] = field(default_factory=dict)
    seconds: float = 0.0
    error: BurstDenoiseError | None = None
    entry: ShotEntry | None = None

    @property
    def outcome(self) -> Outcome:
        """What became of it, once it has an entry."""
        assert self.entry is not None
        return Outcome(self.shot, self.target, self.entry, self.entry.outcome, self.error)


def read_shot(shot: Shot, reader: Reader, limits: ReadLimits) -> tuple[Frame, str]:
    """Return the frame of a shot, and the SHA-256 of its file."""
    if shot.burst is not None:
        return shot.burst.frame(shot.index), shot.burst.manifest.sha256[shot.index]
    return reader.frame(shot.place, limits)


def is_current(shot: Shot, target: Path, context: SessionContext) -> bool:
    """Return whether the result of a shot is there, made of the shot as it is by what would serve it now.

    Raises
    ------
    OutputError
        If it is there and was changed since, or is that of another shot, so that it must not be replaced.
    """
    ledger, worker = context.ledger, context.worker
    entry = ledger.done(target)
    if entry is None or not os.path.lexists(target):
        return False
    recent = ledger.of_this_session(target)
    if context.overwrite:
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
        serving = worker.denoisers.serving(entry.info, shot.place.name, alone=worker.alone)
    except BurstDenoiseError:
        return False  # it will be named when its turn comes
    return (entry.network, entry.settings) == (serving.network, serving.settings)


def take(
    shot: Shot, target: Path, context: SessionContext, known_error: BurstDenoiseError | None
) -> Work | Outcome | None:
    """Return what is to be done about a shot, what became of it before, or None where another process is at it.

    Parameters
    ----------
    shot : Shot
    target : Path
        Where its result goes.
    context : SessionContext
    known_error : BurstDenoiseError or None
        What is wrong with it; it is reported in its turn.
    """
    ledger = context.ledger
    name = ledger.name_of(target)
    refused: BurstDenoiseError | None = None
    outcome: Outcome | None = None

    def settled() -> Outcome | None:
        recent = ledger.of_this_session(target)
        if recent is not None and recent.outcome == "failed":
            if FileState.of(shot.place) != FileState(recent.input_bytes, recent.input_mtime_ns):
                return None
            error = ShotFailedError(recent.error or "failed")
            return Outcome(shot, target, recent, "failed", error)
        if is_current(shot, target, context):
            entry = ledger.done(target)
            assert entry is not None
            return Outcome(shot, target, entry, "done before" if recent is None else "done by another process")
        return None

    def open_still() -> bool:
        nonlocal refused, outcome
        outcome = None
        try:
            outcome = settled()
        except (BurstDenoiseError, OSError) as error:
            refused = error if isinstance(error, BurstDenoiseError) else InputFileError(f"{shot.place}: {error}")
        return outcome is None

    if not open_still():
        if outcome is not None and outcome.how == "done before" and outcome.entry.input != _in_utf8(str(shot.place)):
            # The folder of shots was moved: the next run knows where it is.
            state = FileState.of(shot.place)
            moved = {"input": _in_utf8(str(shot.place)), "input_mtime_ns": state.mtime_ns}
            ledger.append(outcome.entry.model_copy(update=moved))
        return outcome
    claim = ledger.claim(name, open_still)
    if claim is None:
        return outcome  # of another process, or none as yet
    try:
        state = FileState.of(shot.place)
    except OSError as error:
        state = FileState(0, 0)
        refused = refused or InputFileError(
            f"{shot.place}: cannot be read ({error.strerror}); check its name and rights"
        )
    work = Work(shot, target, name, state, claim)
    if claim.before is not None and claim.before.output == name and was_written(claim.before, target):
        # Its process was killed between the result and this line of the ledger.
        take_sidecars(work, context.worker)
        ledger.append(claim.before)
        claim.intend(None)
        if refused is None and not open_still():
            ledger.release(claim)
            return Outcome(shot, target, claim.before, "done before")
    done = ledger.done(target)
    work.replaces = context.overwrite or done is not None
    work.replaced = None if context.overwrite or done is None else done.output_sha256
    if refused is None and not work.replaces and os.path.lexists(target):
        # A damaged ledger may have lost its line: then it is what will be made again.
        work.must_equal = is_denoised(target)
        if not work.must_equal:
            refused = _foreign(target)
    work.error = refused or known_error
    return work


def read(work: Work, worker: WorkerContext) -> None:
    """Read a shot."""
    work.frame, work.digest = read_shot(work.shot, worker.reader, worker.limits)
    work.info = work.frame.info.model_copy(update={"dng_tags": (), "noise_profile": None})


def denoise(work: Work, worker: WorkerContext, noise: Callable[[FrameInfo], ShotNoise | None]) -> None:
    """Denoise a shot that was read, where nothing measured its noise with that of its camera and ISO."""
    frame, work.frame = work.frame, None
    assert frame is not None
    refuse_unwritable(frame, work.target, work.shot.source)  # before the work, not after it
    _refuse_full_disk(work.target, frame.dn.size)
    serving = worker.denoisers.serving(frame.info, frame.path.name, alone=worker.alone)
    work.network, work.settings = serving.network, serving.settings
    estimated = None if serving.measured or work.shot.burst is not None else noise(frame.info)
    work.clean = serving.denoiser(frame, work.shot.burst, estimated)
    work.noise = _noise_source(work.clean)


def write(work: Work, worker: WorkerContext) -> None:
    """Write the result of a shot; the claim knows of it before it has its name."""
    clean, work.clean = work.clean, None
    assert clean is not None
    try:
        with atomic_write(work.target, overwrite=work.replaces or work.must_equal) as aside:
            warning = write_frame(clean, aside, work.shot.source, worker.exiftool)
            if warning is not None and EXIFTOOL_FAILED in warning:
                raise OutputError(f"{aside}: exiftool cannot write its tags; free the disk or choose another place")
            written, digest = FileState.of(aside), digest_of(aside)
            if work.must_equal and digest != digest_of(work.target):
                raise _foreign(work.target)
            if work.replaced is not None and work.target.exists() and digest_of(work.target) != work.replaced:
                raise OutputError(f"{work.target}: was changed meanwhile and is left as it is; {FORCED}")
            if not work.claim.is_held():
                raise OutputError(f"{work.target}: is not written, as another process has taken the shot over")
            work.entry = entry_of(work).model_copy(
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
        worker.note(f"{work.shot.name}: exiftool: {warning}")
    take_sidecars(work, worker)


def _foreign(target: Path) -> OutputError:
    return OutputError(f"{target}: exists already and is no result of this session; delete it, or {FORCED}")


def _refuse_full_disk(target: Path, size: int) -> None:
    """Raise `OutputError` where a result of so many bytes, or more, has no room."""
    free = free_bytes(target)
    if free < size:
        raise OutputError(
            f"{target}: cannot be written (needs {size / 1e6:.2f} MB at least, {free / 1e6:.2f} MB are free); free the "
            "disk or choose another place"
        )


def take_sidecars(work: Work, worker: WorkerContext) -> None:
    """Copy what lies beside a shot to its result."""
    # The develop settings of a raw file are not for a picture developed from it.
    source, target = work.shot.source, work.target
    if source is None or is_raw(source) != (target.suffix.lower() == ".dng"):
        return
    try:
        copies = copy_sidecars(source, target, denoised=worker.denoisers.settings.strength > 0)
    except BurstDenoiseError as error:
        worker.note(str(error))
    else:
        for path in copies.left:
            worker.note(f"{path}: was there before and is left as it is")


def close(work: Work, context: SessionContext) -> None:
    """Write a shot's line to the ledger and give it free."""
    entry = work.entry = entry_of(work)
    # A mistake with one shot, told at once, leaves nothing behind.
    if work.error is None or not context.worker.alone:
        context.ledger.append(entry)
    context.ledger.release(work.claim)


def entry_of(work: Work) -> ShotEntry:
    """Return the line for the ledger about a shot, as it was made where it ended."""
    outcome: Literal["done", "failed"] = "done" if work.error is None else "failed"
    if work.entry is not None and work.entry.outcome == outcome:
        return work.entry
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
        output=work.output,
        outcome=outcome,
        error=None if work.error is None else _in_utf8(str(work.error)),
        kind=None if work.error is None else type(work.error).__name__,
        traceback=work.error.traceback if isinstance(work.error, UnforeseenError) else None,
        seconds=round(work.seconds, 3),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
    )


def step(
    do: Callable[[Work], None], last: Callable[[Work], None] = lambda _: None
) -> Callable[[Work | Outcome], Work | Outcome]:
    """Return a step that is taken with a shot unless something was wrong with it; ``last`` is done in any case."""

    def taken(work: Work | Outcome) -> Work | Outcome:
        if isinstance(work, Outcome):
            return work
        begun = time.monotonic()
        if work.error is None:
            try:
                do(work)
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
