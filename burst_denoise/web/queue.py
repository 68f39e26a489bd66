"""One job at a time, a few waiting, each of which can be cancelled."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from burst_denoise.errors import BurstDenoiseError
from burst_denoise.web.worker import StoppedError, Task, Worker

__all__ = ["MOST_WAITING", "Job", "JobQueue", "Progress", "QueueFullError"]

MOST_WAITING = 8
SURE_SHARE = 0.02
"""Share of a job from which on the time left is told."""
STOPPED_S = 0.5
"""Until a stop is tried again: the worker may just have been about to begin."""

JobState = Literal["waiting", "running", "done", "failed", "cancelled"]


class QueueFullError(BurstDenoiseError):
    """So many jobs are waiting that no more are taken."""


@dataclass(frozen=True)
class Progress:
    """How far a job is."""

    stage: str
    share: float | None = None
    """Share of the whole job that is done, 0 to 1, where known."""


@dataclass(eq=False)
class Job:
    """A task on its way."""

    task: Task[Any]
    told: Callable[[object], None]
    """Is given what the task tells, progress apart."""
    state: JobState = "waiting"
    progress: Progress = Progress("waiting")
    result: Any = None
    error: BurstDenoiseError | None = None
    begun_at: float = 0.0
    seconds: float | None = None
    """That it took, once it is done."""
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def seconds_left(self) -> float | None:
        """How long it will take yet, if the rest goes on as the part that is done; None where that is not known."""
        share = self.progress.share
        if self.state != "running" or share is None or share < SURE_SHARE:
            return None
        return (time.monotonic() - self.begun_at) * (1 - share) / share


class JobQueue:
    """Has a worker do one job after the other.

    Parameters
    ----------
    worker : Worker
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._jobs: list[Job] = []
        self._change = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def submit(self, task: Task[Any], told: Callable[[object], None] = lambda _: None) -> Job:
        """Put a task in the queue.

        Raises
        ------
        QueueFullError
            If one is running and `MOST_WAITING` are waiting.
        """
        job = Job(task, told)
        with self._change:
            if len(self._jobs) > MOST_WAITING:
                raise QueueFullError(
                    f"{MOST_WAITING} others are waiting, and no more can; your files are kept: try again in a minute"
                )
            self._jobs.append(job)
            self._change.notify_all()
        return job

    def ahead_of(self, job: Job) -> int:
        """Return how many jobs will end before this one begins."""
        with self._change:
            return self._jobs.index(job) if job in self._jobs else 0

    def cancel(self, job: Job) -> None:
        """Take a job out of the queue, or stop it; nothing happens if it has ended."""
        while True:
            with self._change:  # no other job can begin meanwhile
                if job not in self._jobs:
                    return
                if job.state == "waiting":
                    self._jobs.remove(job)
                    self._end(job, "cancelled")
                    return
                self._worker.stop()
            if job.ended.wait(STOPPED_S):
                return

    def close(self) -> None:
        """Stop what is running, and take no more."""
        with self._change:
            self._closed = True
            waiting = [job for job in self._jobs if job.state == "waiting"]
            for job in waiting:
                self._jobs.remove(job)
                self._end(job, "cancelled")
            self._change.notify_all()
        while self._thread.is_alive():
            self._worker.stop()
            self._thread.join(STOPPED_S)

    def _work(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._jobs or self._closed)
                if self._closed:
                    return
                job = self._jobs[0]
                job.state, job.begun_at = "running", time.monotonic()
            try:
                job.result = self._worker.run(job.task, partial(self._tell, job))
            except StoppedError:
                state: JobState = "cancelled"
            except BurstDenoiseError as error:
                job.error, state = error, "failed"
            else:
                state, job.seconds = "done", time.monotonic() - job.begun_at
            with self._change:
                self._jobs.remove(job)
                self._end(job, state)

    def _tell(self, job: Job, told: object) -> None:
        if isinstance(told, Progress):
            job.progress = told
        else:
            job.told(told)

    def _end(self, job: Job, state: JobState) -> None:
        job.state = state
        job.ended.set()
