"""Shots read, denoised and written, one beside the other: a process reads, this one computes, a thread writes.

Never more than three shots are in memory: one being read, one being denoised and one being written.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from burst_denoise.errors import BurstDenoiseError
from burst_denoise.session.shots import Shot
from burst_denoise.session.steps import Outcome, SessionContext, Work, close, denoise, read, step, take, write

__all__ = ["Run", "denoise_shots", "until_all_ended"]

T = TypeVar("T")
R = TypeVar("R")

Run = Callable[[Iterator[Work | Outcome]], Iterator[Outcome]]
"""From shots to do, and what became of others before, to what became of each."""

WAIT_S = 0.3
TOLD_AFTER_S = 10.0


def denoise_shots(
    targets: dict[Shot, Path], failed: dict[Shot, BurstDenoiseError], context: SessionContext
) -> Iterator[Outcome]:
    """Denoise shots that no other process has done or is at, and give what became of each.

    Parameters
    ----------
    targets : dict of Shot to Path
        Where the result of each goes.
    failed : dict of Shot to BurstDenoiseError
        What is known to be wrong with some.
    context : SessionContext

    Yields
    ------
    Outcome
        As they end. When this ends early, the shot being written is written to its end.
    """
    worker = context.worker

    def run(items: Iterator[Work | Outcome]) -> Iterator[Outcome]:
        reading = step(lambda work: read(work, worker))
        denoising = step(lambda work: denoise(work, worker, context.noise.estimate))
        writing = step(lambda work: write(work, worker), last=lambda work: close(work, context))
        with closing(_ahead(reading, items)) as frames:
            try:
                for work in _ahead(writing, map(denoising, frames)):
                    yield work.outcome if isinstance(work, Work) else work
            except BaseException:
                worker.reader.close()  # what it is at is no longer wanted, and nobody must wait for it
                raise

    return until_all_ended(targets, failed, context, run)


def until_all_ended(
    targets: dict[Shot, Path], failed: dict[Shot, BurstDenoiseError], context: SessionContext, run: Run
) -> Iterator[Outcome]:
    """Take shots and run what is to be done, until nothing is left that other processes are at.

    Parameters
    ----------
    targets, failed, context
        As for `denoise_shots`.
    run : Run
        Called with the shots that nobody else is at, again and again.
    """
    waiting, told = list(targets), False
    alone_since = time.monotonic()
    while waiting:
        of_others: list[Shot] = []

        def found(shots: list[Shot] = waiting, others: list[Shot] = of_others) -> Iterator[Work | Outcome]:
            for shot in shots:
                item = take(shot, targets[shot], context, failed.get(shot))
                if item is None:
                    others.append(shot)
                else:
                    yield item

        for outcome in run(found()):
            alone_since = time.monotonic()
            yield outcome
        waiting = of_others
        if waiting:
            if not told and time.monotonic() - alone_since > TOLD_AFTER_S:
                told = True
                context.worker.note(f"{len(waiting)} shots are being denoised by other processes; waiting for them")
            time.sleep(WAIT_S)


def _ahead(work: Callable[[T], R], items: Iterable[T]) -> Generator[R, None, None]:
    """Give ``work(item)`` of each item in order, while a thread is at that of the next one, and no further.

    Closing the generator waits for the work that has begun.
    """
    with ThreadPoolExecutor(1) as thread:
        present = None
        for item in items:
            following = thread.submit(work, item)
            if present is not None:
                yield present.result()
            present = following
        if present is not None:
            yield present.result()
