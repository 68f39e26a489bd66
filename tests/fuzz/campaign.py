"""Opens mutated inputs in a worker process, with bounds of memory and time, and keeps what went wrong.

Right is a result, or a `BurstDenoiseError` of one line. All else is a finding: another exception, a crash, a hang, too
much memory, a line on stderr.
"""

import ctypes
import multiprocessing
import os
import random
import resource
import signal
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from burst_denoise.cli.console import quiet_libraries
from burst_denoise.errors import BurstDenoiseError
from tests.fuzz.kinds import KINDS, Kind
from tests.fuzz.mutator import Files, mutate

__all__ = ["Campaign", "replay"]

MOST_BYTES = 2 << 30
"""Of memory that one input may cost."""
MOST_SECONDS = 20.0
OUTCOMES = ("opened", "refused", "traceback", "noise", "memory", "crash", "hang")


class Campaign:
    """A run over many inputs; the same seed makes the same inputs."""

    def __init__(self, seed: int, keep: Path, kinds: Sequence[Kind] = KINDS) -> None:
        self.seed, self.keep, self.kinds = seed, keep, kinds
        self._seeds = {kind.name: kind.seeds() for kind in kinds}
        self._shared = multiprocessing.RawArray(ctypes.c_double, 2)
        """The input that is open, and since when."""
        self._counts = multiprocessing.RawArray(ctypes.c_long, len(kinds) * len(OUTCOMES))
        self._peaks = multiprocessing.RawArray(ctypes.c_double, len(kinds))
        self._place = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)

    def input(self, number: int) -> tuple[Kind, Files]:
        """Return an input of the campaign."""
        rng = random.Random(f"{self.seed} {number}")
        kind = self.kinds[number % len(self.kinds)]
        files = mutate(rng.choice(self._seeds[kind.name]), rng)
        return kind, kind.sealed(files) if rng.random() < 0.7 else files

    def run(self, count: int) -> dict[str, Counter[str]]:
        """Open so many inputs and return how they ended, per kind."""
        start = 0
        while start < count:
            self._shared[:] = (start, time.monotonic())
            worker = os.fork()  # and not multiprocessing: rawpy would warn of it
            if not worker:
                self._work(start, count)
            ended = self._watched(worker)
            if not ended:
                break
            number = int(self._shared[0])
            kind, files = self.input(number)
            self._count(kind, ended)
            self._keep(number, kind, files, ended)
            start = number + 1
        return {
            kind.name: Counter({name: self._counts[at * len(OUTCOMES) + k] for k, name in enumerate(OUTCOMES)})
            for at, kind in enumerate(self.kinds)
        }

    def peak_mb(self, kind: str) -> float:
        """Return the most memory that an input of a kind has cost, megabytes."""
        return max(peak for each, peak in zip(self.kinds, self._peaks, strict=True) if each.name == kind) / 1e6

    def _watched(self, worker: int) -> str:
        """Wait for a worker and return how the input that it had open ended it; empty where it came to its end."""
        while True:
            done, status = os.waitpid(worker, os.WNOHANG)
            if done:
                return "crash" if status else ""
            if time.monotonic() - self._shared[1] > MOST_SECONDS:
                os.kill(worker, signal.SIGKILL)
                os.waitpid(worker, 0)
                return "hang"
            time.sleep(0.1)

    def _work(self, start: int, count: int) -> NoReturn:
        """Open the inputs from one on, in a process of its own, which a damaged input may take down; and end it."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + 2 * MOST_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        warnings.simplefilter("always")
        with tempfile.TemporaryFile() as noise:
            os.dup2(noise.fileno(), 2)
            quiet_libraries()  # as the command line does
            for number in range(start, count):
                self._shared[:] = (number, time.monotonic())
                kind, files = self.input(number)
                ended, told, grown = _opened(kind, files, Path(self._place.name), noise.fileno())
                self._count(kind, ended)
                self._peaks[self.kinds.index(kind)] = max(self._peaks[self.kinds.index(kind)], grown)
                if ended not in ("opened", "refused"):
                    self._keep(number, kind, files, told)
        os._exit(0)  # without the exit handlers of the parent's libraries

    def _count(self, kind: Kind, ended: str) -> None:
        self._counts[self.kinds.index(kind) * len(OUTCOMES) + OUTCOMES.index(ended)] += 1

    def _keep(self, number: int, kind: Kind, files: Files, told: str) -> None:
        folder = self.keep / f"{kind.name}-{self.seed}-{number}"
        _write(folder / "input", files)
        (folder / "told.txt").write_text(told, encoding="utf-8", errors="replace")


def replay(folder: Path) -> None:
    """Open a kept input again, in this process."""
    name = folder.name.split("-")[0]
    next(kind for kind in KINDS if kind.name == name).open(folder / "input")


def _opened(kind: Kind, files: Files, place: Path, noise: int) -> tuple[str, str, int]:
    """Open an input and return how it ended, what is to be told about it, and the memory it cost, bytes."""
    folder = place / "input"
    _write(folder, files)
    Path("/proc/self/clear_refs").write_text("5")  # begins the peak of resident memory anew
    before = _resident()
    told, ended = "", "opened"
    os.ftruncate(noise, 0)
    try:
        kind.open(folder)
    except BurstDenoiseError as error:
        told, ended = str(error), "refused"
        if len(told.splitlines()) != 1 or len(told) > 2000:
            ended = "traceback"
            told = f"not one line: {told}"
    except BaseException:  # noqa: BLE001 (whatever it is, it is a finding)
        told, ended = traceback.format_exc(), "traceback"
    finally:
        for path in folder.rglob("*"):
            if path.is_file():
                path.unlink()
    os.lseek(noise, 0, os.SEEK_END)
    if (grown := _resident() - before) > MOST_BYTES:
        ended, told = "memory", f"{grown >> 20} MB; {told}"
    elif ended != "traceback" and (length := os.fstat(noise).st_size):
        ended, told = "noise", os.pread(noise, min(length, 4000), 0).decode(errors="replace")
    return ended, told, grown


def _resident() -> int:
    """Return the peak of resident memory, bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status[status.index("VmHWM:") + 6 :].split(maxsplit=1)[0]) << 10


def _write(folder: Path, files: Files) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
