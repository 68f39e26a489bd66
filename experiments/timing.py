"""How long works take beside each other, and how fast the machine multiplies matrices."""

import statistics
import time
from collections.abc import Callable, Sequence

import torch

__all__ = ["Work", "in_turn", "matrix_product"]

Work = Callable[[], object]


def in_turn(
    works: Sequence[Work], rounds: int, choose: Callable[[list[float]], float] = statistics.median
) -> list[float]:
    """Return the seconds of each, timed one after the other, round by round; of several rounds after a warm-up.

    A machine with other work is not the same twice: what is to be compared must be measured in the same minute.
    """
    seconds: list[list[float]] = [[] for _ in works]
    for number in range(rounds + (rounds > 1)):
        for work, times in zip(works, seconds, strict=True):
            began = time.perf_counter()
            work()
            if number or rounds == 1:
                times.append(time.perf_counter() - began)
    return [choose(times) for times in seconds]


def matrix_product(side: int, dtype: torch.dtype) -> Work:
    """Return the product of two square matrices of a side: its side**3 multiply-adds are the measure of the machine."""
    a, b = torch.rand(2, side, side).to(dtype)
    return lambda: a @ b
