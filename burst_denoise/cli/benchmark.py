"""The command `benchmark`: methods scored on bursts."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from burst_denoise.cli.console import Console, show, show_json
from burst_denoise.cli.options import (
    AnySensor,
    Device,
    Inputs,
    Json,
    Limit,
    Models,
    Seed,
    TuneOn,
    load_models,
    writes,
)
from burst_denoise.schemas import MOST_FRAMES

__all__ = ["AugmentOption", "FramesOption", "benchmark_command"]

AugmentOption = typer.Option("--augment", help="Also score models with 8-fold augmentation.")
FramesOption = typer.Option(metavar="NUMBER", min=1, help="Frames scored per burst and method.")


def benchmark_command(
    inputs: Inputs,
    model: Models = None,
    tune_on: TuneOn = None,
    augment: Annotated[bool, AugmentOption] = False,
    frames: Annotated[int, FramesOption] = 3,
    output: Annotated[Path | None, writes("JSON lines file to write.")] = None,
    csv: Annotated[Path | None, writes("CSV file to write, for a spreadsheet.", "--csv")] = None,
    latex: Annotated[Path | None, writes("LaTeX table to write, for a paper.", "--latex")] = None,
    as_json: Json = False,
    seed: Seed = 0,
    limit: Limit = MOST_FRAMES,
    any_sensor: AnySensor = False,
    device: Device = "auto",
) -> None:
    """Score models beside OpenCV NLM, wavelets, TV and averaging, without a clean picture, with 95 % intervals.

    Example: burst-denoise benchmark other_bursts/ -m my_camera.safetensors --csv scores.csv
    """
    from burst_denoise.cli.tables import score_table
    from burst_denoise.jobs.benchmark import BenchmarkSettings, benchmark
    from burst_denoise.reporting.report import write_rows
    from burst_denoise.score.rows import BenchmarkRows

    models = load_models(model, device)
    settings = BenchmarkSettings(augment, frames, seed, limit, any_sensor, device)
    found = []
    with TemporaryDirectory(prefix="burst_denoise_") as folder:
        for row in benchmark(inputs, models, tune_on or [], settings, Path(folder), Console()):
            found.append(row)
            if as_json:
                show_json(row.model_dump_json())
    if not as_json:
        show(score_table(found))
    rows = BenchmarkRows.of(found)
    if output is not None:
        write_rows(output, found)
    if csv is not None:
        rows.to_csv(csv)
    if latex is not None:
        rows.to_latex(latex)
