"""Work in a thread, one item ahead: files are read and written while the processor computes."""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["ahead"]

T = TypeVar("T")
R = TypeVar("R")


def ahead(work: Callable[[T], R], items: Iterable[T]) -> Generator[R, None, None]:
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
