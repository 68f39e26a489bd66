"""The job `inspect`: every series judged, nothing written."""

from collections.abc import Sequence
from pathlib import Path

from burst_denoise.burst.grouping import find_sources, group_series
from burst_denoise.burst.series import SeriesVerdict, check_series
from burst_denoise.burst.store import open_burst, split_inputs
from burst_denoise.jobs.listener import Listener
from burst_denoise.schemas import MOST_FRAMES

__all__ = ["inspect"]


def inspect(inputs: Sequence[Path], limit: int = MOST_FRAMES, listener: Listener = Listener()) -> list[SeriesVerdict]:
    """Judge every series in files and folders; of stored bursts, return the verdict stored with them.

    Parameters
    ----------
    inputs : sequence of Path
        RAW, picture and video files, folders that hold them, and stored bursts.
    limit : int
        Frames of a series looked at.
    listener : Listener
        Hears the verdict on each series as soon as it is known.

    Raises
    ------
    InputFileError
        If an input is missing, empty, damaged or of no known kind.
    BurstStoreError
        If a stored burst is damaged.
    """
    stored, loose = split_inputs(inputs)
    verdicts: list[SeriesVerdict] = []
    for path in stored:
        burst = open_burst(path)
        verdicts.append(burst.verdict)
        listener.on_series(burst.verdict, [burst.frame(index) for index in range(len(burst))])
    for series in group_series(find_sources(loose)) if loose or not stored else ():
        verdict, frames = check_series(series, limit)
        verdicts.append(verdict)
        listener.on_series(verdict, frames)
    return verdicts
