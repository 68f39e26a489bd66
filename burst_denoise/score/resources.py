"""What a method costs: seconds and memory; and the versions of what computed."""

import platform
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import NamedTuple

import cv2
import psutil

from burst_denoise import __version__
from burst_denoise.arrays import Float
from burst_denoise.schemas import FrameInfo

__all__ = ["Measured", "costs_of", "measured", "versions"]

MEMORY_INTERVAL_S = 0.005


class Measured(NamedTuple):
    """The result of a method and what it cost."""

    result: Float
    seconds: float
    peak_bytes: int
    """Highest resident memory of the whole process meanwhile."""


def measured(compute: Callable[[], Float]) -> Measured:
    """Call a function and return its result with what it cost."""
    process = psutil.Process()
    memory = [process.memory_info().rss]
    done = threading.Event()

    def sample() -> None:
        ended = False
        while not ended:
            ended = done.wait(MEMORY_INTERVAL_S)
            memory.append(process.memory_info().rss)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    began = time.perf_counter()
    try:
        result = compute()
        seconds = time.perf_counter() - began
    finally:
        done.set()
        sampler.join()
    return Measured(result, seconds, max(memory))


def costs_of(results: Sequence[Measured], info: FrameInfo) -> dict[str, float | None]:
    """Return what a row says about costs: the median of the seconds, the highest memory; null where nothing ran."""
    megapixels = info.height * info.width / 1e6
    return {
        "seconds_per_megapixel": statistics.median(one.seconds for one in results) / megapixels if results else None,
        "peak_memory_mb": max(one.peak_bytes for one in results) / 1e6 if results else None,
    }


def versions() -> dict[str, str]:
    """Return the versions of what computes, without importing what is not loaded."""
    found = {"burst-denoise": __version__, "python": platform.python_version(), "opencv": cv2.__version__}
    return found | {package: version(package) for package in ("numpy", "torch", "scikit-image")}
