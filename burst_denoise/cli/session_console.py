"""What is seen of a session: a line a shot, where it stands, a table at the end; or the ledger's lines."""

import contextlib
import json
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Self

import typer
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column, Table

from burst_denoise.cli.console import (
    BAD,
    TOLD,
    Console,
    fail,
    note,
    printable,
    show,
    show_json,
    stderr_console,
    styled,
)
from burst_denoise.errors import JobError
from burst_denoise.session.progress import SessionProgress
from burst_denoise.session.steps import Outcome

__all__ = ["SessionConsole", "ended_by_signals", "progress_text"]

TOLD_EVERY_S = 60.0
GROUP = " of its camera and ISO"
"""What goes without saying in a table of cameras and ISOs."""
BROKEN_PIPE = 1
"""The exit code by which rich ends a program that nobody reads any more."""
STOPPED = "stopped; the shot in hand is dropped, and the same command goes on where this one was"
SIGNALS = {"SIGTERM": 143, "SIGHUP": 129}
"""Signals beside that of Ctrl-C that end a session, and the exit codes that say so."""


class SessionConsole(Console):
    """Shows a session, inside a ``with``.

    Parameters
    ----------
    as_json : bool
        Print the lines of the ledger instead of text.
    endless : bool
        More shots may come, so that what was wrong with a single one is not raised in the end.
    """

    def __init__(self, *, as_json: bool = False, endless: bool = False) -> None:
        self._json, self._endless = as_json, endless
        self._reads = True
        self._outcomes: dict[tuple[str, float], list[Outcome]] = defaultdict(list)
        self._said = time.monotonic()

    def __enter__(self) -> Self:
        """Begin to show where it stands: on a terminal below the lines, elsewhere now and then."""
        console = stderr_console()
        columns = (TextColumn("denoising"), BarColumn(), TextColumn("{task.description}"))
        self._bar = Progress(
            *columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False,
            disable=not (console.is_terminal and sys.stdout.isatty()),
        )  # fmt: skip
        self._task = self._bar.add_task("", total=None)
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away and print what there was of each camera and ISO."""
        self._bar.stop()
        outcomes = [outcome for group in self._outcomes.values() for outcome in group]
        if not self._json and len(outcomes) > 1 and any(outcome.error is None for outcome in outcomes):
            self._print(lambda: show(self._table()))

    def on_session(self, shots: int, megapixels: float, memory_bytes: float) -> None:
        """Print how large a session is."""
        if shots > 1:
            self.note(f"{shots} shots, {megapixels:,.0f} megapixels; at most {memory_bytes / 1e9:.1f} GB of memory")

    def on_shot(self, outcome: Outcome, standing: SessionProgress) -> None:
        """Print a line about a shot."""
        info = outcome.entry.info
        camera = "not read" if info is None else info.camera or "unknown camera"
        self._outcomes[camera, 0 if info is None else info.iso or 0].append(outcome)
        if self._json:
            self._print(lambda: show_json(json.dumps(outcome.entry.model_dump(mode="json"), allow_nan=False)))
        elif outcome.error is None:
            what = f"written to {outcome.target}" if outcome.how == "done" else outcome.how
            line = f"{standing.ended}/{standing.count} {outcome.shot.name}: {what}"
            if self._bar.live.is_started and sys.stdout.isatty():
                self._above_bar(line)
            else:
                self._print(lambda: show(line))
        if outcome.error is not None and (standing.count > 1 or self._endless):
            told = " ".join(str(outcome.error).splitlines())
            self._tell(told if outcome.shot.place.name in told else f"{outcome.shot.name}: {told}", BAD)
        text = progress_text(standing)
        self._bar.update(self._task, total=standing.count, completed=standing.ended, description=text)
        if self._bar.disable and time.monotonic() - self._said > TOLD_EVERY_S:
            self._said = time.monotonic()
            note(text)

    def note(self, text: str) -> None:
        """Print a line of text."""
        self._tell(text, TOLD)

    def _tell(self, text: str, style: str) -> None:
        if self._bar.live.is_started:
            self._above_bar(text, style)
        else:
            note(styled(text, style))

    def _above_bar(self, text: str, style: str = "") -> None:
        self._bar.console.print(styled(text, style), soft_wrap=True)

    def _print(self, printing: Callable[[], None]) -> None:
        """Print on stdout as long as somebody reads it: the session goes on without."""
        if not self._reads:
            return
        try:
            try:
                printing()
            except SystemExit as error:
                if error.code != BROKEN_PIPE:
                    raise
                raise BrokenPipeError from error
        except OSError:
            self._reads = False
            # What is still buffered must not fail a second time when Python ends.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _table(self) -> Table:
        table = Table(Column("camera", overflow="fold"), Column("ISO", justify="right"))
        for title in ("written", "there before", "failed"):
            table.add_column(title, justify="right")
        table.add_column("denoised by", overflow="fold")
        for (camera, iso), outcomes in sorted(self._outcomes.items()):
            hows = [outcome.how for outcome in outcomes]
            failed = hows.count("failed")
            written = hows.count("done")
            counts = [str(count) if count else "" for count in (written, len(hows) - written - failed, failed)]
            words = (camera, f"{iso:g}" if iso else "", *counts, "; ".join(_networks(outcomes)))
            table.add_row(*map(printable, words))
        return table


def progress_text(standing: SessionProgress) -> str:
    """Return in a line where a session stands."""
    parts = [f"{standing.ended} of {standing.count} shots"]
    if standing.megapixels_per_s is not None:
        parts.append(f"{standing.megapixels_per_s:.1f} megapixels/s")
    if standing.seconds_left:
        parts.append(f"{_in_words(standing.seconds_left)} left")
    parts.append(f"{standing.failed} failed")
    return ", ".join(parts)


@contextlib.contextmanager
def ended_by_signals(stopped: str = STOPPED) -> Iterator[None]:
    """End a session that is interrupted in one line, with the exit code of the signal, and one that failed in part."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(SIGNALS[signal.Signals(number).name])

    before = {}
    for name in SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            before[number] = signal.signal(number, end)
    try:
        yield
    except KeyboardInterrupt:
        note(stopped)
        raise typer.Exit(130) from None
    except SystemExit as error:
        if error.code in SIGNALS.values():
            note(stopped)
        raise
    except JobError as error:
        fail(f"error: {error}")  # each failure was told when it came
        raise typer.Exit(3) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _networks(outcomes: list[Outcome]) -> list[str]:
    """Return by which networks and with which noise shots were denoised."""
    found: dict[str, None] = {}
    for entry in (outcome.entry for outcome in outcomes if outcome.entry.network and outcome.error is None):
        kind, _, digest = str(entry.network).partition(" ")
        found[f"{kind} {digest[:12]}" if kind == "model" else f"{kind}, noise {entry.noise}".removesuffix(GROUP)] = None
    return list(found)


def _in_words(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
