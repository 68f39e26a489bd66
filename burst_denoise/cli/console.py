"""What a person or a program gets to read: results on stdout, verdicts and progress on stderr, JSON lines."""

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn

if TYPE_CHECKING:
    from burst_denoise.burst.series import SeriesVerdict
    from burst_denoise.model.train import Progress as TrainProgress

__all__ = ["fail", "note", "show", "show_json", "show_verdict", "show_verdict_json", "training_bar"]

LOG_INTERVAL_S = 30.0
PIPED_WIDTH = 160
"""Columns where nobody's terminal sets them, so that a table in a file is not cut to 80."""


def show(result: RenderableType) -> None:
    """Print a result, text or table, on stdout."""
    _console().print(result)


def note(text: str) -> None:
    """Print how things stand on stderr."""
    _console(stderr=True).print(text)


def fail(text: str) -> None:
    """Print what went wrong on stderr, in one line."""
    _console(stderr=True).print(" ".join(text.splitlines()), style="red")


def show_json(text: str) -> None:
    """Print one line of JSON on stdout, at once, whatever reads it."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def show_verdict_json(verdict: "SeriesVerdict") -> None:
    """Print the verdict on a series as a line of JSON on stdout."""
    record = {
        "series": verdict.series,
        "camera": verdict.info.camera,
        "iso": verdict.info.iso,
        "accepted": verdict.accepted,
        "mu": verdict.mu if math.isfinite(verdict.mu) else None,
        "sigma": verdict.sigma if math.isfinite(verdict.sigma) else None,
        "frames": [frame.model_dump(mode="json", exclude={"detail"}) for frame in verdict.frames],
    }
    show_json(json.dumps(record, allow_nan=False))


def show_verdict(verdict: "SeriesVerdict", say: Callable[[str], None] = note) -> None:
    """Print the verdict on a series, and on each frame that was rejected, in words."""
    good = sum(frame.accepted for frame in verdict.frames)
    info = verdict.info
    about = f"{info.camera or 'unknown camera'}{f', ISO {info.iso:g}' if info.iso else ''}, {info.width}x{info.height}"
    text = f"{verdict.series} ({about}): {good} of {len(verdict.frames)} frames"
    if good > 2:
        text += f", mu {verdict.mu:.4f}, sigma {verdict.sigma:.5f}"
    say(f"{text}: " + ("accepted" if verdict.accepted else f"REJECTED, {verdict.detail}"))
    for frame in verdict.frames:
        if not frame.accepted:
            say(f"  {frame.file}: {', '.join(frame.reasons)}: {frame.detail}")


@contextlib.contextmanager
def training_bar() -> Iterator[Callable[["TrainProgress"], None]]:
    """Give a callback that shows training on stderr: a bar on a terminal, a line now and then in a log."""
    console = _console(stderr=True)
    columns = (TextColumn("training"), BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        tasks: list[TaskID] = []
        said = time.monotonic()

        def update(progress: "TrainProgress") -> None:
            nonlocal said
            text = (
                f"step {progress.step}, loss {progress.loss:.3f}, held-out PSNR {progress.psnr_db:.2f} dB "
                f"(start {progress.start_psnr_db:.2f}), {progress.seconds_left / 60:.1f} min left"
            )
            if console.is_terminal:
                tasks.extend([] if tasks else [bar.add_task("", total=1)])
                bar.update(tasks[0], completed=min(progress.done, 1), description=text)
            elif time.monotonic() - said > LOG_INTERVAL_S:
                said = time.monotonic()
                note(f"training: {text}")

        yield update


def _console(*, stderr: bool = False) -> Console:
    # Names of files are printed as they are: no [markup], no :emoji:, no colours by guess, no wrapped lines.
    console = Console(stderr=stderr, soft_wrap=True, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, PIPED_WIDTH)
    return console
