"""A Python process of its own that answers pickled requests over its standard input and output, within limits."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

__all__ = ["address_space", "answers_alone", "end_of", "limit_resources", "start_child", "stop_child"]


def start_child(module: str, temporary: Path | None = None) -> "subprocess.Popen[bytes]":
    """Start the process that runs ``serve`` of a module of this package.

    Parameters
    ----------
    module : str
    temporary : Path, optional
        The folder for whatever it writes on the way; by default where the system has such.
    """
    # -P: what lies in the folder that the user is in is no module. Only the package itself must be found.
    code = f"import sys; sys.path.append({str(Path(__file__).parents[2])!r})"
    code += f"; from {module} import serve; serve()"
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # libraries write there about odd files
        env=None if temporary is None else {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))},
    )


def stop_child(process: "subprocess.Popen[bytes]") -> None:
    """End the process at once, whatever it is at."""
    process.kill()
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        with contextlib.suppress(OSError):  # what was not yet sent
            stream.close()
    process.wait()


def answers_alone() -> IO[bytes]:
    """Return where this process, the child, writes its answers, and nothing else does; Ctrl-C is not for it."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    return answers


def address_space() -> int:
    """Return the bytes of addresses that this process has; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def limit_resources(memory_bytes: int | None, seconds: float | None) -> None:
    """Limit memory, and the processor's time from now on, where the system can; None lifts the limits."""
    try:
        import resource
    except ImportError:  # Windows: the process that asks still watches the time
        return
    most = resource.RLIM_INFINITY
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (most if memory_bytes is None else memory_bytes, most))
    # Should the process that asks be killed while this one hangs, the system ends it.
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = most if seconds is None else int(used.ru_utime + used.ru_stime + 2 * seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, most))


def end_of(process: "subprocess.Popen[bytes]") -> str:
    """Return in words how the process ended, which it does now if it had not."""
    process.kill()
    process.wait()
    code = process.returncode
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
    return f"ended with code {code}"
