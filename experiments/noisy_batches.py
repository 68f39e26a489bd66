"""Training batches of chunks under procedural noise, prefetched by worker processes.

A batch depends on the recipe and on its number alone, whatever the number of workers. These import no torch, are
spawned and not forked, and end with their parent, even one that is killed.
"""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from burst_denoise.arrays import Float, Picture
from experiments.chunks import split
from experiments.procedural_noise import procedural_noise, read_picture

__all__ = ["CHUNK_SIDES", "LOADED", "BatchRecipe", "NoisyBatch", "NoisyBatches", "batch_group"]

CHUNK_SIDES = (32, 48, 64)
"""Pixels; the source's choice."""
LOADED = 15
"""Times the chunks of a batch that are loaded before they are shuffled."""


@dataclass(frozen=True)
class BatchRecipe:
    """All that decides the batches."""

    files: tuple[Path, ...]
    """Clean pictures."""
    count: int = 200
    """Chunks of a batch."""
    side: int = 32
    """Of a chunk, pixels."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.side not in CHUNK_SIDES:
            raise ValueError(f"chunks of {self.side} pixels are not among {CHUNK_SIDES}")
        if not self.files or self.count < 1:
            raise ValueError(f"batches of {self.count} chunks from {len(self.files)} pictures; both need at least one")


class NoisyBatch(NamedTuple):
    """Chunks of side s: (count, 3, s, s)."""

    noisy: Float
    clean: Float
    intensity: Float
    """(count,) root mean square of the noise."""
    size: Float
    """(count,) mean side of its grains, pixels."""


def batch_group(recipe: BatchRecipe, group: int) -> list[NoisyBatch]:
    """Return the 15 batches whose chunks are loaded and shuffled together: number 15 x ``group`` and on."""
    rng = np.random.default_rng([recipe.seed, group])
    wanted = LOADED * recipe.count
    chunks: list[Picture] = []
    for path in _shuffled_for_ever(recipe.files, rng):
        chunks += split(read_picture(path), recipe.side)
        if len(chunks) >= wanted:
            break
    order = rng.permutation(len(chunks))[:wanted].reshape(LOADED, recipe.count)
    return [_batch([chunks[index] for index in indices], rng) for indices in order]


def _shuffled_for_ever(files: tuple[Path, ...], rng: np.random.Generator) -> Iterator[Path]:
    while True:
        for index in rng.permutation(len(files)):
            yield files[index]


def _batch(chunks: list[Picture], rng: np.random.Generator) -> NoisyBatch:
    clean = np.stack(chunks).astype(np.float32) / np.float32(255)
    made = [procedural_noise(chunk, rng) for chunk in clean]
    intensity, size = (np.array(known, np.float32) for known in zip(*(noisy[1:] for noisy in made), strict=True))
    return NoisyBatch(np.stack([noisy.picture for noisy in made]), clean, intensity, size)


class NoisyBatches:
    """The batches of a recipe by number, prefetched by ``workers`` processes; with 0 workers made when asked for.

    To be closed, which a ``with`` block does.
    """

    def __init__(self, recipe: BatchRecipe, workers: int = 1) -> None:
        self._recipe = recipe
        self._workers = workers
        self._ahead: dict[int, Future[list[NoisyBatch]]] = {}
        self._processes = (
            ProcessPoolExecutor(workers, get_context("spawn"), initializer=_end_with_parent) if workers else None
        )

    def __call__(self, step: int) -> NoisyBatch:
        """Return batch ``step``, 0 upwards; asking in order is quick, in any other order merely slower."""
        group, place = divmod(step, LOADED)
        wanted = range(group, group + 1 + self._workers)
        for index in [index for index in self._ahead if index not in wanted]:
            self._ahead.pop(index).cancel()
        try:
            for index in wanted:
                if index not in self._ahead:
                    self._ahead[index] = self._submit(index)
            return self._ahead[group].result()[place]
        except BrokenProcessPool as error:
            raise RuntimeError("a worker process that makes batches was killed; start the training again") from error

    def _submit(self, group: int) -> Future[list[NoisyBatch]]:
        if self._processes is not None:
            return self._processes.submit(batch_group, self._recipe, group)
        made: Future[list[NoisyBatch]] = Future()
        made.set_result(batch_group(self._recipe, group))
        return made

    def close(self) -> None:
        """End the workers, once each has finished what it is at."""
        if self._processes is not None:
            self._processes.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _end_with_parent() -> None:
    """Watch the parent, in a thread: a killed one cannot tell its workers to end, and they would wait for ever."""

    def watch() -> None:
        parent = parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()
