"""What a person or a program gets to read: results on stdout, verdicts and progress on stderr, JSON lines."""

import contextlib
import json
import math
import os
import sys
import time
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from rich.console import Console as RichConsole
from rich.console import RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from burst_denoise.jobs.listener import Listener

if TYPE_CHECKING:
    from burst_denoise.burst.series_verdict import SeriesVerdict
    from burst_denoise.frame.frame import Frame
    from burst_denoise.model.train import Progress as TrainProgress

__all__ = [
    "BAD",
    "GOOD",
    "TOLD",
    "Console",
    "TrainingConsole",
    "fail",
    "json_verdict",
    "note",
    "printable",
    "quiet_libraries",
    "show",
    "show_json",
    "stderr_console",
    "styled",
    "verdict_text",
]

GOOD, BAD, TOLD = "green", "red", "yellow"
"""Colours on a terminal: of what is accepted, of what is not, and of what one must know of either."""
LOG_INTERVAL_S = 30.0
LIBRARIES_STDERR = 2
"""The file descriptor that libraries in C know."""
PIPED_WIDTH = 160
"""Columns where nobody's terminal sets them, so that a table in a file is not cut to 80."""


def quiet_libraries() -> None:
    """Send what C libraries write to stderr about damaged files nowhere: our own errors name the file.

    LibRaw and libjpeg write to the file descriptor itself; what Python writes goes on to where it went.
    """
    try:
        descriptor = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # none, or not a file
        return
    if descriptor == LIBRARIES_STDERR:
        sys.stderr = os.fdopen(os.dup(descriptor), "w", encoding=sys.stderr.encoding, errors=sys.stderr.errors)
        sys.stderr.reconfigure(line_buffering=True)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def show(result: RenderableType, *, wrapped: bool = False) -> None:
    """Print a result, text or table, on stdout; ``wrapped`` between words where a terminal is too narrow."""
    console = _console()
    shown = printable(result) if isinstance(result, str) else result
    console.print(shown, soft_wrap=not (wrapped and console.is_terminal))


def note(text: RenderableType) -> None:
    """Print how things stand on stderr."""
    _tell(printable(text) if isinstance(text, str) else text)


def fail(text: str) -> None:
    """Print what went wrong on stderr, in one line."""
    _tell(printable(" ".join(text.splitlines())), BAD)


def printable(text: str) -> str:
    """Return a text in which control and formatting characters are spelled: names may hold a terminal's own."""
    return "".join(repr(c)[1:-1] if unicodedata.category(c) in ("Cc", "Cf") and c != "\n" else c for c in text)


def styled(text: str, style: str = "") -> Text:
    """Return a text in a style, printable."""
    return Text(printable(text), style)


def show_json(text: str) -> None:
    """Print one line of JSON on stdout, at once, whatever reads it."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def json_verdict(verdict: "SeriesVerdict") -> str:
    """Return the verdict on a series as a line of JSON."""
    record = {
        "series": verdict.series,
        "camera": verdict.info.camera,
        "iso": verdict.info.iso,
        "accepted": verdict.accepted,
        "mu": verdict.mu if math.isfinite(verdict.mu) else None,
        "sigma": verdict.sigma if math.isfinite(verdict.sigma) else None,
        "frames": [frame.model_dump(mode="json", exclude={"detail", "plane_gains"}) for frame in verdict.frames],
        "detail": verdict.detail,
        "notes": verdict.notes,
    }
    return json.dumps(record, allow_nan=False)


def verdict_text(verdict: "SeriesVerdict") -> Text:
    """Return the verdict on a series, on each rejected frame, and what else is to be told, a line each."""
    good = sum(frame.accepted for frame in verdict.frames)
    info = verdict.info
    iso = "ISO unknown" if info.iso is None else f"ISO {info.iso:g}"
    text = f"{verdict.series} ({info.camera or 'unknown camera'}, {iso}, {info.width}x{info.height}): "
    text += f"{good} of {len(verdict.frames)} frames"
    if good > 2:
        text += f", mu {verdict.mu:.4f}, sigma {verdict.sigma:.5f}"
    rejected = [frame for frame in verdict.frames if not frame.accepted]
    lines = [styled(f"{text}: ")]
    lines[0].append(
        "accepted" if verdict.accepted else f"REJECTED, {verdict.detail}", GOOD if verdict.accepted else BAD
    )
    lines += [styled(f"  {frame.file}: {', '.join(frame.reasons)}: {frame.detail}", BAD) for frame in rejected]
    lines += [styled(f"  {told}", TOLD) for told in verdict.notes]
    return Text("\n").join(lines)


class Console(Listener):
    """Tells a person: verdicts and notes on stderr."""

    def on_series(self, verdict: "SeriesVerdict", frames: "Sequence[Frame]") -> None:  # noqa: ARG002
        """Print the verdict on a series; lone shots are summed up at the end."""
        if not verdict.lone:
            note(verdict_text(verdict))

    def note(self, text: str) -> None:
        """Print a line of text."""
        note(styled(text, TOLD))


class TrainingConsole(Console):
    """Shows training on stderr too, inside a ``with``: a bar on a terminal, a line now and then in a log.

    Parameters
    ----------
    verbose : bool
        Whether to show step, loss and PSNR beside the gain.
    """

    def __init__(self, *, verbose: bool = False) -> None:
        self._verbose = verbose

    def __enter__(self) -> Self:
        """Begin to show training."""
        self._stderr = stderr_console()
        columns = (TextColumn("training"), BarColumn(), TextColumn("{task.description}"))
        self._bar = Progress(*columns, console=self._stderr, transient=True, disable=not self._stderr.is_terminal)
        self._tasks: list[TaskID] = []
        self._said = time.monotonic()
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._bar.stop()

    def on_progress(self, progress: "TrainProgress") -> None:
        """Show where the training stands."""
        text = f"better by {progress.gain_db:.2f} dB so far, {progress.seconds_left / 60:.1f} min left at most"
        if self._verbose:
            text += (
                f"; step {progress.step}, loss {progress.loss:.3f}, held-out PSNR {progress.psnr_db:.2f} dB "
                f"(start {progress.start_psnr_db:.2f})"
            )
        if self._stderr.is_terminal:
            if not self._tasks:
                self._tasks.append(self._bar.add_task("", total=1))
            self._bar.update(self._tasks[0], completed=min(progress.done, 1), description=text)
        elif time.monotonic() - self._said > LOG_INTERVAL_S:
            self._said = time.monotonic()
            note(f"training: {text}")


def stderr_console() -> RichConsole:
    """Return the console of verdicts and progress."""
    return _console(stderr=True)


def _tell(text: RenderableType, style: str | None = None) -> None:
    """Print on stderr as long as somebody reads it or there is room: the work goes on without."""
    try:
        stderr_console().print(text, style=style)
    except OSError:
        # What is still buffered must not fail a second time when Python ends.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


class _Console(RichConsole):
    """Raises `BrokenPipeError` where nobody reads stderr; that of rich closes stdout and ends the program."""

    def on_broken_pipe(self) -> None:
        if self.stderr:
            raise BrokenPipeError
        super().on_broken_pipe()


def _console(*, stderr: bool = False) -> RichConsole:
    # Names of files are printed as they are: no [markup], no :emoji:, no colours by guess, no wrapped lines.
    console = _Console(stderr=stderr, soft_wrap=True, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, PIPED_WIDTH)
    return console
