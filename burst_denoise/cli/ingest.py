"""The command `ingest`: frames become stored bursts."""

from pathlib import Path
from typing import Annotated

from burst_denoise.cli.console import Console, show
from burst_denoise.cli.options import (
    AnySensor,
    Darks,
    Inputs,
    Limit,
    Output,
    calibration_files,
    ingest_settings,
)
from burst_denoise.schemas import MOST_FRAMES

__all__ = ["ingest_command"]


def ingest_command(
    inputs: Inputs,
    output: Annotated[Path, Output("Folder for the stored bursts.", "FOLDER")],
    darks: Darks = None,
    limit: Limit = MOST_FRAMES,
    any_sensor: AnySensor = False,
) -> None:
    """Judge every series and store the accepted ones as bursts, with their noise profile.

    Example: burst-denoise ingest tripod/ -o bursts --darks darks/
    """
    from burst_denoise.burst.darks import read_darks
    from burst_denoise.jobs.ingest import ingest

    settings = ingest_settings(limit, any_sensor=any_sensor)
    for burst in ingest(inputs, output, read_darks(calibration_files(darks, inputs)), settings, Console()):
        gains = ", ".join(
            f"{s * (burst.info.white_level - b):.3g}"
            for s, b in zip(burst.profile.shot_noise_scale, burst.info.black_level, strict=True)
        )
        show(f"{burst.folder}: {len(burst)} frames, gain {gains} DN/e-")
