"""One job at a time in a process of its own: what it dies of costs one job, and it can be stopped."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir

import numpy as np
import pytest

from burst_denoise.errors import DeviceError, InputFileError
from burst_denoise.session.denoisers import Denoisers
from burst_denoise.session.reader import ReadLimits, UnforeseenError
from burst_denoise.web.queue import MOST_WAITING, Job, JobQueue, Progress, QueueFullError
from burst_denoise.web.worker import Bench, Worker
from tests.web_server import wait_for

pytestmark = pytest.mark.system


@dataclass(frozen=True)
class Note:
    """Writes a line at its beginning and its end."""

    path: Path
    name: str
    seconds: float = 0.0

    def do(self, bench: Bench) -> str:
        with self.path.open("a") as log:
            log.write(f"{self.name} begins\n")
        bench.tell(Progress("at it", 0.5))
        bench.tell(f"told by {self.name}")
        time.sleep(self.seconds)
        with self.path.open("a") as log:
            log.write(f"{self.name} ends\n")
        return self.name


@dataclass(frozen=True)
class Litter(Note):
    """Writes to where temporary files go, too."""

    def do(self, bench: Bench) -> str:
        Path(gettempdir(), f"{self.name}-litter").write_text("left")
        return super().do(bench)


@dataclass(frozen=True)
class Mishap:
    """Goes wrong."""

    kind: str

    def do(self, bench: Bench) -> None:
        if self.kind == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.kind == "memory":
            np.ones(1 << 36)
        if self.kind == "bug":
            raise ZeroDivisionError("of nobody\nforeseen")
        raise InputFileError("a.dng: is damaged")


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobQueue]:
    found = JobQueue(Worker(Denoisers(), ReadLimits(50), tmp_path_factory.mktemp("worker")))
    yield found
    found.close()


def ended(job: Job) -> Job:
    assert job.ended.wait(60)
    return job


def test_jobs_are_done_in_order_one_at_a_time_and_tell_on_their_way(queue: JobQueue, tmp_path: Path) -> None:
    told: list[object] = []
    jobs = [queue.submit(Note(tmp_path / "log", name, 0.05), told.append) for name in "abc"]
    assert [ended(job).result for job in jobs] == ["a", "b", "c"]
    assert {job.state for job in jobs} == {"done"}
    assert told == ["told by a", "told by b", "told by c"]
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]
    assert jobs[0].seconds is not None


def test_eight_may_wait_and_the_next_is_refused(queue: JobQueue, tmp_path: Path) -> None:
    first = queue.submit(Note(tmp_path / "log", "first", 600))
    waiting = [queue.submit(Note(tmp_path / "log", str(number))) for number in range(MOST_WAITING)]
    with pytest.raises(QueueFullError, match=r"^8 others are waiting, and no more can; your files are kept: try again"):
        queue.submit(Note(tmp_path / "log", "one too many"))
    assert [queue.ahead_of(job) for job in waiting] == list(range(1, 9))
    for job in waiting[1:]:
        queue.cancel(job)
    wait_for(lambda: first.progress.stage == "at it")
    assert first.seconds_left == pytest.approx(time.monotonic() - first.begun_at, abs=0.5), "half of it is done"
    begun = time.monotonic()
    queue.cancel(first)
    assert time.monotonic() - begun < 5
    assert [job.state for job in (first, *waiting[1:])] == ["cancelled"] * 8
    assert ended(waiting[0]).result == "0"
    assert "first ends" not in (tmp_path / "log").read_text()
    queue.cancel(first)
    assert first.seconds_left is None


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("user", InputFileError, "^a.dng: is damaged$"),
        ("bug", UnforeseenError, r"^failed in a way that is not foreseen \(ZeroDivisionError: of nobody foreseen\)"),
        ("memory", DeviceError, "^this needs more memory than the page may take; use the command for it$"),
        ("crash", DeviceError, "^the process that was at work was ended by SIGSEGV; memory may have run out"),
    ],
)
def test_what_goes_wrong_is_told_and_costs_one_job(
    queue: JobQueue, tmp_path: Path, kind: str, error: type[Exception], words: str
) -> None:
    job = ended(queue.submit(Mishap(kind)))
    assert job.state == "failed"
    with pytest.raises(error, match=words):
        raise job.error  # type: ignore[misc]
    assert ended(queue.submit(Note(tmp_path / "log", "next"))).result == "next"


def test_a_queue_that_is_closed_leaves_no_process_and_nothing_that_it_wrote(tmp_path: Path) -> None:
    queue = JobQueue(Worker(Denoisers(), ReadLimits(50), tmp_path / "worker"))
    jobs = [queue.submit(Litter(tmp_path / "log", name, 600)) for name in "ab"]
    wait_for(lambda: jobs[0].progress.stage == "at it")
    assert [path.name for path in (tmp_path / "worker").iterdir()] == ["a-litter"]
    queue.close()
    assert [ended(job).state for job in jobs] == ["cancelled"] * 2
    assert not (tmp_path / "worker").exists()
