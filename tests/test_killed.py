"""Jobs that are killed at random moments: nothing half-written under its name, nothing left, the same result."""

import random
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.command_line import PROGRAM
from tests.shots import burst_frames, dark_frames, everything_in, write_frames

JOBS = {
    "ingest": ["ingest", "card", "-o", "OUT/bursts"],
    "merge": ["merge", "card/scene", "--darks", "card/darks", "-o", "OUT/mean.dng"],
    "report": ["report", "card/scene", "-o", "OUT/report.html"],
}
TIMES = 10


def begin(folder: Path, job: Sequence[str], out: str) -> "subprocess.Popen[bytes]":
    arguments = [part.replace("OUT", out) for part in job]
    return subprocess.Popen([*PROGRAM, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.parametrize("name", JOBS)
def test_a_job_that_is_killed_leaves_nothing_and_the_next_run_makes_it_whole(tmp_path: Path, name: str) -> None:
    write_frames(tmp_path / "card" / "scene", burst_frames(6))
    write_frames(tmp_path / "card" / "darks", dark_frames(6))
    begun = time.monotonic()
    assert begin(tmp_path, JOBS[name], "whole").wait() == 0
    lasts_s = time.monotonic() - begun
    expected = everything_in(tmp_path / "whole")
    chance = random.Random(0)
    for _ in range(TIMES):
        process = begin(tmp_path, JOBS[name], "out")
        time.sleep(chance.uniform(0.2, 1.1) * lasts_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
        there = everything_in(tmp_path / "out") if (tmp_path / "out").exists() else {}
        finished = {path for path in there if not any(part.startswith(".") for part in Path(path).parts)}
        assert finished <= set(expected)
        if finished == set(expected):
            break
    else:
        assert begin(tmp_path, JOBS[name], "out").wait() == 0
    found = everything_in(tmp_path / "out")
    assert set(found) == set(expected), "nothing of the killed ones is left"
    if name != "report":  # which tells when it was made
        assert found == expected
