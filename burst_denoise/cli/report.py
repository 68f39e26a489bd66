"""The command `report`: one HTML page."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

from burst_denoise.cli.benchmark import AugmentOption, FramesOption
from burst_denoise.cli.console import Console, show
from burst_denoise.cli.options import (
    AnySensor,
    Darks,
    Device,
    Flats,
    Inputs,
    Limit,
    Models,
    Pause,
    Seed,
    TuneOn,
    calibration_files,
    load_models,
    writes,
)
from burst_denoise.schemas import LONGEST_PAUSE_S, MOST_FRAMES

__all__ = ["report_command"]


def report_command(
    inputs: Inputs,
    output: Annotated[Path, writes("HTML file to write.", suffixes=(".html", ".htm"))],
    model: Models = None,
    tune_on: TuneOn = None,
    darks: Darks = None,
    flats: Flats = None,
    augment: Annotated[bool, AugmentOption] = False,
    frames: Annotated[int, FramesOption] = 3,
    seed: Seed = 0,
    limit: Limit = MOST_FRAMES,
    pause: Pause = LONGEST_PAUSE_S,
    any_sensor: AnySensor = False,
    device: Device = "auto",
) -> None:
    """Write one HTML page: verdicts, sensor, scores with intervals, crops with a before/after slider.

    Example: burst-denoise report other_bursts/ -m my_camera.safetensors -o report.html
    """
    from burst_denoise.jobs.benchmark import BenchmarkSettings
    from burst_denoise.jobs.report import ReportSources, report

    sources = ReportSources(inputs, tune_on or [], calibration_files(darks, inputs), calibration_files(flats, inputs))
    settings = BenchmarkSettings(augment, frames, seed, limit, any_sensor, device, pause)
    command = shlex.join(["burst-denoise", *sys.argv[1:]])
    report(sources, output, load_models(model, device), settings, command, Console())
    show(f"{output}: open it in any browser")
