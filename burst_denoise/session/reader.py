"""A process of its own that opens strangers' files: one that crashes, hangs or eats memory there costs one shot.

Requests and answers are pickled over its standard input and output. It is started at first need, again after it has
died, and serves all sessions of this process, one request at a time.
"""

import atexit
import contextlib
import pickle
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from burst_denoise.errors import BurstDenoiseError, InputFileError
from burst_denoise.files import digest_of
from burst_denoise.frame.frame import Frame
from burst_denoise.io.limits import MAX_MEGAPIXELS
from burst_denoise.io.metadata import Header
from burst_denoise.io.read import read_frame, read_header
from burst_denoise.session.child import (
    address_space,
    answers_alone,
    end_of,
    limit_resources,
    start_child,
    stop_child,
)

__all__ = ["ReadLimits", "Reader", "UnforeseenError", "serve", "shared_reader"]

T = TypeVar("T")

BYTES_PER_PIXEL = 16
"""Memory of a file while it is decoded, per pixel: stored, decoded, copied, and once as floats."""
BASE_BYTES = 1 << 30
START_S = 20.0
"""A shot on a card is read in less than one second; who takes so long, and no file is so large, hangs."""
BYTES_PER_S = 2e6
"""Rate of the slowest network share that files are still read from."""


@dataclass(frozen=True)
class ReadLimits:
    """What one file may cost the process that reads it."""

    max_megapixels: float = MAX_MEGAPIXELS

    @property
    def memory_bytes(self) -> int:
        """Memory allowed beyond what the process has when it is ready."""
        return BASE_BYTES + int(self.max_megapixels * 1e6 * BYTES_PER_PIXEL)

    def seconds_for(self, path: Path) -> float:
        """Return how long reading a file may take."""
        try:
            return START_S + path.stat().st_size / BYTES_PER_S
        except OSError:
            return START_S


class UnforeseenError(BurstDenoiseError):
    """Something nobody has foreseen, with the traceback that tells where."""

    def __init__(self, message: str, told: str) -> None:
        super().__init__(message, told)
        self.traceback = told

    def __str__(self) -> str:
        return str(self.args[0])


class Reader:
    """The process, and what may be asked of it; threads may share it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """Number of the process; None while there is none."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process, which takes half a second, while other things are done."""
        with self._lock:
            self._running()

    def frame(self, path: Path, limits: ReadLimits) -> tuple[Frame, str]:
        """Return a file's frame and the SHA-256 of the file.

        Raises
        ------
        InputFileError
            If the file cannot be read, or the process dies of it or goes beyond its limits.
        """
        return self._ask(_frame_and_digest, path, limits)

    def header(self, path: Path, limits: ReadLimits) -> Header:
        """Return what a file says about its frame; errors as of `frame`."""
        return self._ask(_header, path, limits)

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            stop_child(process)

    def _ask(self, work: Callable[[Path, ReadLimits], T], path: Path, limits: ReadLimits) -> T:
        with self._lock:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            seconds = limits.seconds_for(path)
            late = threading.Event()

            def stop() -> None:
                late.set()
                process.kill()

            watch = threading.Timer(seconds, stop)
            watch.daemon = True
            watch.start()
            try:
                pickle.dump((work, path, limits, seconds), process.stdin)
                process.stdin.flush()
                answer = pickle.load(process.stdout)
            except (EOFError, OSError, pickle.UnpicklingError):
                answer = InputFileError(f"{path}: {_end_of(process, late.is_set(), seconds)}")
                self.close()
            except BaseException:
                self.close()  # half an answer may be under way
                raise
            finally:
                watch.cancel()
        if isinstance(answer, BaseException):
            raise answer
        found: T = answer
        return found

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = start_child("burst_denoise.session.reader")
        return self._process


@cache
def shared_reader() -> Reader:
    """Return the reader of this process, which ends with it."""
    reader = Reader()
    atexit.register(reader.close)
    return reader


def serve() -> None:
    """Answer requests until there are no more: what the process does."""
    answers = answers_alone()
    base = address_space()
    while True:
        try:
            work, path, limits, seconds = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        limit_resources(base + limits.memory_bytes, seconds)
        answer = _answer(work, path, limits)
        with contextlib.suppress(OSError, ValueError):
            limit_resources(None, None)
        pickle.dump(answer, answers, protocol=5)
        answers.flush()


def _answer(work: Callable[[Path, ReadLimits], Any], path: Path, limits: ReadLimits) -> object:
    try:
        return work(path, limits)
    except BurstDenoiseError as error:
        return error
    except UnicodeEncodeError:  # LibRaw takes names in UTF-8 only
        return InputFileError(f"{str(path)!a}: this name is not UTF-8; rename the file or folder")
    except MemoryError:
        return InputFileError(
            f"{path}: needs more memory than the {limits.memory_bytes / 1e9:.1f} GB that reading a file may take; "
            "if it is so large, lift the limit by --max-megapixels"
        )
    except Exception as error:  # noqa: BLE001 (the last net under all that parses strangers' files)
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return UnforeseenError(f"{path}: cannot be read ({reason}); it is damaged, or of a kind not known here",
                               traceback.format_exc())  # fmt: skip


def _frame_and_digest(path: Path, limits: ReadLimits) -> tuple[Frame, str]:
    return read_frame(path, max_megapixels=limits.max_megapixels), digest_of(path)


def _header(path: Path, limits: ReadLimits) -> Header:
    return read_header(path, max_megapixels=limits.max_megapixels)


def _end_of(process: "subprocess.Popen[bytes]", late: bool, seconds: float) -> str:
    """Return in words how the process ended while it read a file."""
    if late:
        return f"was not read within {seconds:.0f} s and given up; it is damaged, or its disk hangs"
    return f"the process that read it {end_of(process)}; the file is damaged, or memory ran out: read it alone to see"
