"""The command `ingest`: frames become stored bursts."""

from pathlib import Path
from typing import Annotated

import typer

from burst_denoise.cli.console import Console, show
from burst_denoise.cli.options import (
    OUTPUT,
    Darks,
    Inputs,
    Limit,
    Pause,
    calibration_files,
    rare,
)
from burst_denoise.schemas import LONGEST_PAUSE_S, MOST_FRAMES

__all__ = ["ingest_command"]


def ingest_command(
    inputs: Inputs,
    output: Annotated[Path, typer.Option(*OUTPUT, metavar="FOLDER", help="Folder for the stored bursts.")],
    darks: Darks = None,
    limit: Limit = MOST_FRAMES,
    pause: Pause = LONGEST_PAUSE_S,
    any_sensor: Annotated[
        bool, rare("--any-sensor", help="Let dark frames serve another camera, and files that do not name theirs.")
    ] = False,
) -> None:
    """Judge every series and store the accepted ones as bursts, with their noise profile.

    Example: burst-denoise ingest tripod/ -o bursts --darks darks/
    """
    from burst_denoise.burst.darks import read_darks
    from burst_denoise.jobs.ingest import IngestSettings, ingest

    settings = IngestSettings(limit, any_sensor, pause_s=pause)
    for burst in ingest(inputs, output, read_darks(calibration_files(darks, inputs)), settings, Console()):
        gains = ", ".join(
            f"{s * (burst.info.white_level - b):.3g}"
            for s, b in zip(burst.profile.shot_noise_scale, burst.info.black_level, strict=True)
        )
        show(f"{burst.folder}: {len(burst)} frames, gain {gains} DN/e-")
