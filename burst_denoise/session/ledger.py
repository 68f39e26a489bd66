"""The ledger of a session: one line of JSON a shot as it ends, and who is at work on which.

``burst-denoise.jsonl`` lies in the folder of the results. Any number of processes, on any machines that share the
folder, work on one ledger: each line is written under a lock of the file, and a shot is denoised by the process whose
claim, a file of its own, was there first. Before a result gets its name the claim holds the line that will be written,
so that whoever is killed between the two leaves no result that nobody knows.
"""

import contextlib
import hashlib
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, FiniteFloat, ValidationError

from burst_denoise.errors import OutputError
from burst_denoise.files import absolute, created_parents, digest_of, disk_refusals, is_running, write_file
from burst_denoise.schemas import Document, NoiseEntry, ShotEntry

__all__ = ["LEDGER_NAME", "Claim", "FileState", "Ledger", "was_written"]

LEDGER_NAME = "burst-denoise.jsonl"
CLAIMS_NAME = ".burst-denoise-claims"

HEARTBEAT_S = 30.0
SILENCE_S = 600.0
"""A claim of another machine that was not renewed for so long is that of a dead process."""


@dataclass(frozen=True)
class FileState:
    """What a file is recognised by without reading it."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> "FileState":
        """Return that of a file; `OSError` where there is none."""
        found = path.stat()
        return cls(found.st_size, found.st_mtime_ns)


class _ClaimRecord(Document):
    """Who has a claim."""

    node: str
    process: int = Field(gt=0, lt=1 << 31)
    started_at: FiniteFloat
    """When it was seen running, seconds since 1970."""
    entry: ShotEntry | None = None
    """What will be written to the ledger when the result has its name."""

    def is_dead(self, silent_s: float) -> bool:
        """Return whether it is known, or by its silence to be taken, for dead."""
        if self.node == platform.node():
            return not is_running(self.process, self.started_at)
        return silent_s > SILENCE_S


class Claim:
    """The right to work on one shot, until it is released; renewed while it is held.

    It can be pickled: another process may do the work, while this one answers for it.
    """

    def __init__(self, place: Path, holder: _ClaimRecord, before: ShotEntry | None) -> None:
        self.place = place
        self.before = before
        """What a process that died with this claim was about to write to the ledger."""
        self._holder = holder
        self.intend(None)

    def is_held(self) -> bool:
        """Return whether it stands on the disk, as seen by this process, and is still that of its holder."""
        holder = _record_at(self.place)
        return holder is not None and holder.model_copy(update={"entry": None}) == self._holder

    def intended(self) -> ShotEntry | None:
        """Return the line that whoever did the work before has kept, if any."""
        holder = _record_at(self.place)
        return None if holder is None else holder.entry

    def intend(self, entry: ShotEntry | None) -> None:
        """Keep the line that will be written to the ledger when the result has its name."""
        holder = self._holder.model_copy(update={"entry": entry})
        write_file(self.place, json.dumps(holder.model_dump(mode="json")).encode(), overwrite=True)

    def release(self) -> None:
        """Give the shot free, unless it was taken over meanwhile."""
        if self.is_held():
            with contextlib.suppress(OSError):
                self.place.unlink()


class Ledger:
    """What became of the shots of a folder of results, as all processes that work there have written it.

    Parameters
    ----------
    folder : Path
        Of the results. It is made with the first line.

    Raises
    ------
    OutputError
        If there is a ledger that cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / LEDGER_NAME
        self._offset = 0
        self._last: dict[str, tuple[ShotEntry, bool]] = {}
        self._done: dict[str, ShotEntry] = {}
        self._of_input: dict[str, ShotEntry] = {}
        self._noise: dict[tuple[str, float, int, int], tuple[NoiseEntry, bool]] = {}
        self._session = False
        self._held: dict[Path, Claim] = {}
        self._own: set[float] = set()
        self._thread_lock = threading.RLock()
        self._made: list[Path] = []
        self._beating: threading.Thread | None = None
        self._closed = threading.Event()
        self.damaged_lines = 0
        """Lines that are no entries; the last of a process that was killed may be one."""
        self.refresh()
        self._session = True

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        """Release what is still held, and take the folder of claims away if nobody has one."""
        self._closed.set()
        if self._beating is not None:
            self._beating.join()
        for claim in list(self._held.values()):
            self.release(claim)
        with contextlib.suppress(OSError, OutputError):
            self._sweep()
        with contextlib.suppress(OSError):
            (self.folder / CLAIMS_NAME).rmdir()
        self._remove_if_empty()

    def refresh(self) -> None:
        """Read what was written since the last time."""
        with self._thread_lock:
            try:
                if self.path.is_fifo():  # opening it would wait for ever
                    raise OutputError(f"{self.path}: is a pipe where the ledger belongs; take it away")
                with self.path.open("rb") as file:
                    file.seek(self._offset)
                    text = file.read()
            except (FileNotFoundError, NotADirectoryError):
                return
            except OSError as error:
                raise OutputError(f"{self.path}: cannot be read ({error.strerror}); check its rights") from error
            lines = text.split(b"\n")
            for line in lines[:-1]:  # behind the last end of a line there is nothing, or what was broken off
                self._take(line)
            self._offset += len(text) - len(lines[-1])

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            found = json.loads(line)
            kind = NoiseEntry if isinstance(found, dict) and found.get("record") == "noise" else ShotEntry
            entry = kind.model_validate_json(line)
        except (ValueError, RecursionError, ValidationError):
            self.damaged_lines += 1
            return
        if isinstance(entry, NoiseEntry):
            self._noise[entry.camera, entry.iso, entry.height, entry.width] = entry, self._session
        else:
            self._last[entry.output] = entry, self._session
            if entry.outcome == "done":
                self._done[entry.output] = self._of_input[entry.input] = entry

    def of_this_session(self, target: Path) -> ShotEntry | None:
        """Return the last line about a result that was written, by any process, since this ledger was opened."""
        entry, recent = self._last.get(self.name_of(target), (None, False))
        return entry if recent else None

    def done(self, target: Path) -> ShotEntry | None:
        """Return the line about a result as it was written last."""
        return self._done.get(self.name_of(target))

    def of_input(self, path: Path) -> ShotEntry | None:
        """Return the line about the result of a shot, by its file."""
        return self._of_input.get(str(path))

    def results(self) -> frozenset[Path]:
        """Return where the results lie, from the root."""
        return frozenset(absolute(self.folder / output) for output in self._done)

    def noise(
        self, camera: str, iso: float, size: tuple[int, int], *, of_this_session: bool = False
    ) -> NoiseEntry | None:
        """Return the noise of a camera at an ISO, in shots of a height and width."""
        found = self._noise.get((camera, iso, *size))
        return found[0] if found is not None and (found[1] or not of_this_session) else None

    def name_of(self, target: Path) -> str:
        """Return how the ledger calls a result."""
        return Path(os.path.relpath(target, self.folder)).as_posix().encode("utf-8", "backslashreplace").decode()

    def append(self, entry: ShotEntry | NoiseEntry) -> None:
        """Write a line and have it on the disk.

        Raises
        ------
        OutputError
            If the disk refuses.
        """
        line = json.dumps(entry.model_dump(mode="json"), allow_nan=False).encode() + b"\n"
        with self._locked():
            with disk_refusals(self.path), self.path.open("r+b") as file:
                end = file.seek(0, os.SEEK_END)
                if end and _last_byte(self.path) != b"\n":
                    line = b"\n" + line  # whoever was at the last line was killed
                try:
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    with contextlib.suppress(OSError):
                        file.truncate(end)  # half a line is nobody's
                    raise
            self.refresh()

    def claim(self, subject: str, still_wanted: Callable[[], bool] = lambda: True) -> Claim | None:
        """Return the right to work on something, or None where another process has it, or it is wanted no more.

        Parameters
        ----------
        subject : str
            The name of a result, by `name_of`, or another name that all processes have for it.
        still_wanted : callable
            Asked when the ledger is up to date and nobody else can write to it.
        """
        place = self.folder / CLAIMS_NAME / f"{hashlib.sha256(subject.encode()).hexdigest()[:24]}.json"
        with self._locked():
            self.refresh()
            if not still_wanted():
                return None
            before = None
            with contextlib.suppress(FileNotFoundError):
                before, dead = _left_by(place)
                if not dead:
                    return None
            holder = _ClaimRecord(node=platform.node(), process=os.getpid(), started_at=time.time())
            self._own.add(holder.started_at)  # before it is on the disk: Ctrl-C may come at any moment
            with created_parents(place):
                claim = Claim(place, holder, before)
            self._held[place] = claim
        self._beat()
        return claim

    def release(self, claim: Claim) -> None:
        """Give something free."""
        claim.release()
        with self._thread_lock:
            self._held.pop(claim.place, None)

    def _sweep(self) -> None:
        """Take away what dead processes held, but for results without a line: their turn comes with their shots."""
        if not (self.folder / CLAIMS_NAME).is_dir():
            return
        with self._locked():
            for place in (self.folder / CLAIMS_NAME).iterdir():
                with contextlib.suppress(FileNotFoundError):
                    before, dead = _left_by(place, self._own)
                    known = before is None or self._done.get(before.output) == before
                    if dead and (before is None or known or not was_written(before, self.folder / before.output)):
                        place.unlink()

    def _remove_if_empty(self) -> None:
        """Take a ledger away in which nobody wrote a line, and the folders that were made for it."""
        with contextlib.suppress(OSError, OutputError):
            if self.path.stat().st_size == 0:
                with self._locked():
                    if self.path.stat().st_size == 0:
                        self.path.unlink()
                for folder in self._made:
                    folder.rmdir()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other threads and processes from writing."""
        with self._thread_lock, contextlib.ExitStack() as stack:
            while True:
                missing = [folder for folder in (self.folder, *self.folder.parents) if not folder.exists()]
                stack.enter_context(created_parents(self.path))
                self._made = self._made or missing
                with disk_refusals(self.path):
                    handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
                stack.callback(os.close, handle)  # and with it the lock
                with disk_refusals(self.path):
                    _lock(handle)
                    if self.path.exists() and os.path.samestat(self.path.stat(), os.fstat(handle)):
                        break  # and not a file that was taken away while we waited
            yield

    def _beat(self) -> None:
        if self._beating is None:
            self._beating = threading.Thread(target=self._renew, name="claims", daemon=True)
            self._beating.start()

    def _renew(self) -> None:
        while not self._closed.wait(HEARTBEAT_S):
            with self._thread_lock:
                held = list(self._held)
            for place in held:
                with contextlib.suppress(OSError):
                    os.utime(place)


def was_written(entry: ShotEntry, target: Path) -> bool:
    """Return whether the result that a line announces has its name."""
    try:
        return FileState.of(target).size == entry.output_bytes and digest_of(target) == entry.output_sha256
    except OSError:
        return False


def _record_at(place: Path) -> _ClaimRecord | None:
    """Return who has a claim, or None where no file says so."""
    with contextlib.suppress(OSError, ValueError):
        if place.is_file():
            return _ClaimRecord.model_validate_json(place.read_bytes())
    return None


def _left_by(place: Path, ended: Set[float] = frozenset()) -> tuple[ShotEntry | None, bool]:
    """Return what the holder of a claim intends to write, and whether that is a dead process.

    Claims of this process that were taken at the times ``ended`` count as those of a dead one.
    """
    silent_s = time.time() - place.stat().st_mtime
    holder = _record_at(place)
    if holder is None:
        return None, True  # damaged
    own = holder.process == os.getpid() and holder.started_at in ended
    return holder.entry, own or holder.is_dead(silent_s)


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)


def _lock(handle: int) -> None:
    """Wait for the lock of an open file; the system takes it back when the file is closed or its process dies."""
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined]
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX)
