"""A process of its own that does the work of the page, one task at a time; ended at any moment, it is started again.

It loads nothing that a visitor names by itself: files are read by the reader of the sessions, under its limits, and the
process itself has a limit of memory. What it tells on its way comes as it happens.
"""

import gc
import pickle
import shutil
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from burst_denoise.errors import BurstDenoiseError, DeviceError
from burst_denoise.session.child import (
    address_space,
    answers_alone,
    end_of,
    limit_resources,
    start_child,
    stop_child,
)
from burst_denoise.session.denoisers import Denoisers
from burst_denoise.session.reader import Reader, ReadLimits, UnforeseenError, shared_reader

__all__ = ["Bench", "StoppedError", "Task", "Worker", "serve"]

R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")


class StoppedError(BurstDenoiseError):
    """The task was stopped before it was done."""


@dataclass(frozen=True)
class Bench:
    """What a task works with."""

    denoisers: Denoisers
    reader: Reader
    limits: ReadLimits
    tell: Callable[[object], None]
    """Hands something to who has given the task, before its result; it must be picklable."""


class Task(Protocol[R_co]):
    """What a worker can be given; it must be picklable."""

    def do(self, bench: Bench) -> R_co:
        """Do it and return the result, which must be picklable, too."""


class Worker:
    """The process, and what may be asked of it by one thread at a time; any thread may stop it.

    Parameters
    ----------
    denoisers : Denoisers
        With the models and profiles that serve.
    limits : ReadLimits
        Of the files to read; the process has as much memory, beyond what it has when it is ready.
    temporary : Path
        Folder, of its own, for whatever it writes on the way; emptied when it ends.
    """

    def __init__(self, denoisers: Denoisers, limits: ReadLimits, temporary: Path) -> None:
        self._given = (denoisers, limits)
        self._temporary = temporary
        self._process: Any = None
        self._lock = threading.Lock()
        self._stopped = False

    def start(self) -> None:
        """Start the process, which takes a few seconds, while other things are done."""
        with self._lock:
            self._running()

    def run(self, task: Task[R], tell: Callable[[object], None]) -> R:
        """Have a task done and return its result.

        Parameters
        ----------
        task : Task
        tell : callable
            Is given what the task tells on its way.

        Raises
        ------
        StoppedError
            If `stop` was called meanwhile.
        DeviceError
            If the process died, of memory for one.
        BurstDenoiseError
            Whatever went wrong with the task.
        """
        with self._lock:
            self._stopped = False
            process = self._running()
        try:
            pickle.dump(task, process.stdin)
            process.stdin.flush()
            while True:
                kind, answer = pickle.load(process.stdout)
                if kind != "told":
                    break
                tell(answer)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            with self._lock:
                if self._stopped:
                    raise StoppedError("stopped") from error
                how = end_of(process)
                self._end()
            raise DeviceError(
                f"the process that was at work {how}; memory may have run out: try a smaller picture"
            ) from error
        if kind == "failed":
            raise answer
        result: R = answer
        return result

    def stop(self) -> None:
        """End the process and what it is at; the next task has a new one."""
        with self._lock:
            self._stopped = True
            self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            stop_child(process)
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _running(self) -> Any:
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._temporary.mkdir(exist_ok=True)
            self._process = start_child("burst_denoise.web.worker", self._temporary)
            pickle.dump(self._given, self._process.stdin)
            self._process.stdin.flush()
        return self._process


def serve() -> None:
    """Do tasks until there are no more: what the process does."""
    answers = answers_alone()
    denoisers, limits = pickle.load(sys.stdin.buffer)
    reader = shared_reader()
    reader.start()
    limit_resources(address_space() + limits.memory_bytes, None)
    lock = threading.Lock()

    def send(kind: str, answer: object) -> None:
        with lock:  # tiles end in several threads
            pickle.dump((kind, answer), answers, protocol=5)
            answers.flush()

    bench = Bench(denoisers, reader, limits, lambda told: send("told", told))
    while True:
        try:
            task = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            send("done", task.do(bench))
        except BurstDenoiseError as error:
            send("failed", error)
        except MemoryError:
            send("failed", DeviceError("this needs more memory than the page may take; use the command for it"))
        except Exception as error:  # noqa: BLE001 (one visitor's shot must not end the page for the others)
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            message = f"failed in a way that is not foreseen ({reason}); please report it"
            send("failed", UnforeseenError(message, traceback.format_exc()))
        del task
        gc.collect()  # denoisers and those they tell know each other, and engines are large
