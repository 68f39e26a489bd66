"""The command line in tests: run in this process or in one of its own, what it gave, and a card to run it on."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.shots import everything_in

PROGRAM = (sys.executable, "-m", "burst_denoise")
SMALL = (96, 128)
PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of an error; fails if there is not exactly one and nothing else but verdicts before it."""
        lines = self.err.splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        assert "Traceback" not in self.err
        assert lines[-1:] == errors, self.err
        return errors[0]


Run = Callable[..., Done]


def in_a_process(*arguments: object, **environment: str) -> Done:
    """Run the command line in a process of its own, in a pipe."""
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False, env=os.environ | environment
    )
    return Done(done.returncode, done.stdout, done.stderr)


def experiment(folder: Path, name: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run a script of `experiments` in a folder, as from a clone beside it."""
    command = [sys.executable, "-m", f"experiments.{name}", *map(str, arguments)]
    where = os.environ | {"PYTHONPATH": str(PROJECT)}
    return subprocess.run(command, cwd=folder, env=where, capture_output=True, text=True, check=False)


def refused(run: Run, arguments: list[object], folder: Path) -> str:
    """Run a command that must be refused; return its error, having seen that nothing was written."""
    before = everything_in(folder)
    done = run(*arguments)
    assert done.code == 1
    assert done.out == ""
    assert everything_in(folder) == before
    return done.error


@dataclass(frozen=True)
class Shoot:
    """What most tests need; all of it is only read."""

    good: Path
    """Six frames, of which the fifth is shifted and the sixth too bright."""
    other_camera: Path
    bursts: Path
    model: Path
