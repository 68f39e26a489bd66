"""Commands that prove: score methods on bursts, the report, and the demo."""

import shlex
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from burst_denoise.cli.console import note, show, show_json, show_verdict, training_bar
from burst_denoise.cli.options import AnySensor, Darks, Device, Flats, Inputs, Json, Limit, Seed
from burst_denoise.schemas import MOST_FRAMES

if TYPE_CHECKING:
    from burst_denoise.model.model_file import Model

__all__ = ["benchmark_command", "demo_command", "report_command"]

Models = Annotated[list[Path] | None, typer.Option("--model", "-m", help="Model to score; may be repeated.")]
TuneOn = Annotated[
    list[Path] | None,
    typer.Option(
        help="Bursts or frames to tune the strengths of the baselines on; default: as tuned when the model was made."
    ),
]
Augment = Annotated[bool, typer.Option(help="Also score models with 8-fold augmentation.")]
Frames = Annotated[int, typer.Option(min=1, help="Frames scored per burst and method.")]


def benchmark_command(
    inputs: Inputs,
    model: Models = None,
    tune_on: TuneOn = None,
    augment: Augment = False,
    frames: Frames = 3,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON lines file to write.")] = None,
    as_json: Json = False,
    seed: Seed = 0,
    limit: Limit = MOST_FRAMES,
    device: Device = "auto",
    any_sensor: AnySensor = False,
) -> None:
    """Score models beside OpenCV NLM, wavelets, TV and averaging, without a clean picture, with 95 % intervals."""
    from burst_denoise.cli.tables import score_table
    from burst_denoise.files import refuse_existing
    from burst_denoise.jobs.benchmark import ScoreSettings, score
    from burst_denoise.reporting.report import write_rows

    if output is not None:
        refuse_existing(output)
    models = _load(model or [], device)
    settings = ScoreSettings(augment, frames, seed, limit, any_sensor, device)
    rows = []
    with TemporaryDirectory(prefix="burst_denoise_") as folder:
        for row in score(inputs, models, tune_on or [], settings, Path(folder), show_verdict, note):
            rows.append(row)
            if as_json:
                show_json(row.model_dump_json())
    if not as_json:
        show(score_table(rows))
    if output is not None:
        write_rows(output, rows)


def report_command(
    inputs: Inputs,
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")],
    model: Models = None,
    tune_on: TuneOn = None,
    darks: Darks = None,
    flats: Flats = None,
    augment: Augment = False,
    frames: Frames = 3,
    seed: Seed = 0,
    limit: Limit = MOST_FRAMES,
    device: Device = "auto",
    any_sensor: AnySensor = False,
) -> None:
    """Write one HTML page: verdicts, sensor, scores with intervals, crops with a before/after slider."""
    from burst_denoise.jobs.benchmark import ScoreSettings
    from burst_denoise.jobs.report import make_report

    if output.suffix.lower() not in (".html", ".htm"):
        raise typer.BadParameter(f"{output} is not the name of an HTML file", param_hint="--output")
    models = _load(model or [], device)
    settings = ScoreSettings(augment, frames, seed, limit, any_sensor, device)
    command = shlex.join(["burst-denoise", *sys.argv[1:]])
    make_report(inputs, output, models, tune_on or [], darks or [], flats or [], settings, command, show_verdict, note)
    show(f"{output}: open it in any browser")


def _load(paths: list[Path], device: str) -> "list[tuple[str, Model]]":
    """Return models by the names of their rows."""
    if not paths:
        return []
    from burst_denoise.model.device import choose_device
    from burst_denoise.model.model_file import load_model

    stems = [path.stem for path in paths]
    names = (
        ["model"]
        if len(paths) == 1
        else [f"model {path.stem if stems.count(path.stem) == 1 else path}" for path in paths]
    )
    chosen = choose_device(device)
    return [(name, load_model(path, chosen)) for name, path in zip(names, paths, strict=True)]


def demo_command(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for everything the demo makes.")] = Path(
        "demo"
    ),
    quick: Annotated[bool, typer.Option("--quick", help="A minute of training instead of four.")] = False,
    device: Device = "auto",
) -> None:
    """Shoot with a synthetic camera, then run the whole chain on its DNG files and show what it gained."""
    from burst_denoise.cli.tables import score_table
    from burst_denoise.jobs.demo import demo
    from burst_denoise.model.device import choose_device

    with training_bar() as update:
        result = demo(output, 1.0 if quick else 4.0, choose_device(device), note, show_verdict, update)
    show(score_table(result.rows))
    show(result.next_steps)
