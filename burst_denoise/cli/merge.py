"""The command `merge`: one clean frame from a burst."""

from pathlib import Path
from typing import Annotated

import typer

from burst_denoise.cli.console import Console, show
from burst_denoise.cli.options import (
    AnySensor,
    Darks,
    Device,
    Inputs,
    Limit,
    Pause,
    SensorModels,
    calibration_files,
    session_denoisers,
    writes,
)
from burst_denoise.schemas import LONGEST_PAUSE_S, MOST_FRAMES

__all__ = ["merge_command"]


def merge_command(
    inputs: Inputs,
    output: Annotated[Path, writes("DNG file to write, or TIFF or PNG: of raw files LibRaw's development.")],
    model: SensorModels = None,
    darks: Darks = None,
    no_denoise: Annotated[bool, typer.Option("--no-denoise", help="Leave the mean as it is.")] = False,
    limit: Limit = MOST_FRAMES,
    pause: Pause = LONGEST_PAUSE_S,
    any_sensor: AnySensor = False,
    device: Device = "auto",
) -> None:
    """Merge one burst: the mean of its frames, denoised, as one DNG.

    What shows something else in a single frame (a moth, a cosmic ray) is left out of the
    mean; frames of a camera that moved by whole pairs of photosites are moved back. The
    network that denoises the mean knows how little noise is left in it.

    Example: burst-denoise merge tripod/kitchen/ -o kitchen.dng
    """
    from burst_denoise.inference.denoiser import DenoiseSettings
    from burst_denoise.jobs.ingest import IngestSettings
    from burst_denoise.jobs.merge import merge

    listener = Console()
    settings = IngestSettings(limit, any_sensor, pause_s=pause)
    how = DenoiseSettings(any_sensor=any_sensor, device=device)
    denoisers = None if no_denoise else session_denoisers(model, None, [], how, listener, strict=False)
    merged = merge(inputs, output, denoisers, calibration_files(darks, inputs), settings, listener)
    show(f"{output}: {merged.notes.split('; ', 1)[1]}")
