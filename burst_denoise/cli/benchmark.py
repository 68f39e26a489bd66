"""The command `benchmark`: methods scored on bursts."""

from pathlib import Path
from typing import Annotated

import typer

from burst_denoise.cli.console import Console, show, show_json
from burst_denoise.cli.options import (
    INPUTS,
    AnySensor,
    Device,
    Flats,
    Json,
    Limit,
    Models,
    OutputFolders,
    Pairs,
    Pause,
    Seed,
    TuneOn,
    calibration_files,
    load_models,
    named_folders,
    writes,
)
from burst_denoise.files import temporary_folder
from burst_denoise.schemas import LONGEST_PAUSE_S, MOST_FRAMES

__all__ = ["AugmentOption", "FramesOption", "benchmark_command"]

AugmentOption = typer.Option("--augment", help="Also score models with 8-fold augmentation.")
FramesOption = typer.Option(metavar="NUMBER", min=1, help="Frames scored per burst and method.")


def benchmark_command(
    context: typer.Context,
    inputs: Annotated[list[Path] | None, INPUTS] = None,
    pairs: Pairs = None,
    model: Models = None,
    outputs: OutputFolders = None,
    tune_on: TuneOn = None,
    flats: Flats = None,
    augment: Annotated[bool, AugmentOption] = False,
    frames: Annotated[int, FramesOption] = 3,
    output: Annotated[Path | None, writes("JSON lines file to write.")] = None,
    csv: Annotated[Path | None, writes("CSV file to write, for a spreadsheet.", "--csv")] = None,
    latex: Annotated[Path | None, writes("LaTeX table to write, for a paper.", "--latex")] = None,
    as_json: Json = False,
    seed: Seed = 0,
    limit: Limit = MOST_FRAMES,
    pause: Pause = LONGEST_PAUSE_S,
    any_sensor: AnySensor = False,
    device: Device = "auto",
) -> None:
    """Score models beside OpenCV NLM, wavelets, TV and averaging, without a clean picture, with 95 % intervals.

    Example: burst-denoise benchmark other_bursts/ -m my_camera.safetensors --csv scores.csv
    """
    if bool(inputs) == (pairs is not None):
        raise typer.BadParameter("name frames, folders or bursts, or else --pairs FOLDER", param_hint="INPUTS")
    if pairs is not None:
        if flats:
            raise typer.BadParameter(
                "is for bursts; the clean picture of a pair is its reference", param_hint="--flats"
            )
        for option in ("frames", "limit"):
            source = context.get_parameter_source(option)
            if source is not None and source.name != "DEFAULT":
                raise typer.BadParameter("is for bursts; a pair has one noisy picture", param_hint=f"--{option}")
    folders = named_folders(outputs)
    from burst_denoise.cli.tables import score_table
    from burst_denoise.io.pairs import read_pairs
    from burst_denoise.jobs.benchmark import BenchmarkSettings, ScoredMethod, benchmark
    from burst_denoise.jobs.benchmark_pairs import benchmark_pairs
    from burst_denoise.reporting.report import write_rows
    from burst_denoise.score.outputs import Outputs
    from burst_denoise.score.rows import BenchmarkRows, mean_rows

    methods: dict[str, ScoredMethod] = {**load_models(model, device)}
    if taken := methods.keys() & folders.keys():
        raise typer.BadParameter(f"{min(taken)} is the name of a model", param_hint="--outputs")
    methods |= {name: Outputs(folder) for name, folder in folders.items()}
    lit = calibration_files(flats, inputs or [])
    settings = BenchmarkSettings(augment, frames, seed, limit, any_sensor, device, pause, lit)
    found = []
    with temporary_folder() as folder:
        if pairs is None:
            rows = benchmark(inputs or [], methods, tune_on or [], settings, Path(folder), Console())
        else:
            tuning = [pair for other in tune_on or [] for pair in read_pairs(other)]
            rows = benchmark_pairs(read_pairs(pairs), methods, tuning, settings, Console())
        for row in rows:
            found.append(row)
            if as_json:
                show_json(row.model_dump_json())
    shown = found if pairs is None else mean_rows(found)
    if not as_json:
        show(score_table(shown))
    if output is not None:
        write_rows(output, found)
    if csv is not None:
        BenchmarkRows.of(found).to_csv(csv)
    if latex is not None:
        BenchmarkRows.of(shown).to_latex(latex)
