"""The command `merge`: one clean frame from a burst."""

from pathlib import Path
from typing import Annotated

from burst_denoise.cli.console import Console, show
from burst_denoise.cli.options import AnySensor, Darks, Inputs, Limit, Pause, calibration_files, writes
from burst_denoise.schemas import LONGEST_PAUSE_S, MOST_FRAMES

__all__ = ["merge_command"]


def merge_command(
    inputs: Inputs,
    output: Annotated[Path, writes("DNG file to write; TIFF or PNG for pictures.")],
    darks: Darks = None,
    limit: Limit = MOST_FRAMES,
    pause: Pause = LONGEST_PAUSE_S,
    any_sensor: AnySensor = False,
) -> None:
    """Merge one burst: the mean of its accepted frames, as a DNG with the noise profile of what is left.

    Example: burst-denoise merge tripod/kitchen/ -o kitchen.dng
    """
    from burst_denoise.jobs.ingest import IngestSettings
    from burst_denoise.jobs.merge import merge

    settings = IngestSettings(limit, any_sensor, pause_s=pause)
    merged = merge(inputs, output, calibration_files(darks, inputs), settings, Console())
    show(f"{output}: {merged.notes.split('; ', 1)[1]}")
