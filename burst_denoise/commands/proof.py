"""Commands that prove: score methods on bursts, and the demo."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from burst_denoise.commands.options import AnySensor, Device, Inputs, Json, Limit, Seed
from burst_denoise.config import MOST_FRAMES
from burst_denoise.screen import note, show, show_json, show_verdict, training_bar

__all__ = ["benchmark_command", "demo_command"]


def benchmark_command(
    inputs: Inputs,
    model: Annotated[list[Path] | None, typer.Option("--model", "-m", help="Model to score; may be repeated.")] = None,
    tune_on: Annotated[
        list[Path] | None,
        typer.Option(help="Bursts or frames to tune the NLM strengths on; default: as tuned when the model was made."),
    ] = None,
    augment: Annotated[bool, typer.Option(help="Also score the model with 8-fold augmentation.")] = False,
    frames: Annotated[int, typer.Option(min=1, help="Frames scored per burst.")] = 3,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON lines file to write.")] = None,
    as_json: Json = False,
    seed: Seed = 0,
    limit: Limit = MOST_FRAMES,
    device: Device = "auto",
    any_sensor: AnySensor = False,
) -> None:
    """Score models beside OpenCV NLM, the single frame and the mean of frames on bursts they never saw."""
    from burst_denoise.files import refuse_existing
    from burst_denoise.judge.report import write_rows
    from burst_denoise.judge.rows import table
    from burst_denoise.learn.device import choose_device
    from burst_denoise.learn.model_file import load_model
    from burst_denoise.run.calibrate import benchmark_model, seen_in_training, tuned_strengths
    from burst_denoise.run.ingest import open_inputs

    paths = model or []
    if not paths and not tune_on:
        raise typer.BadParameter("NLM needs a strength: give bursts to tune it on (--tune-on), or a model (--model)")
    if output is not None:
        refuse_existing(output)
    chosen = choose_device(device)
    stems = [path.stem for path in paths]
    names = (
        ["model"]
        if len(paths) == 1
        else [f"model {path.stem if stems.count(path.stem) == 1 else path}" for path in paths]
    )
    models = [(name, load_model(path, chosen)) for name, path in zip(names, paths, strict=True)]
    with TemporaryDirectory(prefix="burst_denoise_") as folder:
        bursts = open_inputs(inputs, Path(folder) / "scored", limit, show_verdict)
        if tune_on:
            strengths = tuned_strengths(open_inputs(tune_on, Path(folder) / "tuning", limit, show_verdict))
        else:
            strengths = models[0][1].header.training.nlm_strength
        for name, loaded in models:
            for burst in bursts:
                if seen_in_training(loaded, burst):
                    note(f"warning: {name} was trained on {burst.name}; its score there proves nothing")
        rows = []
        for row in benchmark_model(
            bursts, models, strengths, augment=augment, frames=frames, seed=seed, any_sensor=any_sensor
        ):
            rows.append(row)
            if as_json:
                show_json(row.model_dump_json())
    if not as_json:
        show(table(rows))
    if output is not None:
        write_rows(output, rows)


def demo_command(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for everything the demo makes.")] = Path(
        "demo"
    ),
    quick: Annotated[bool, typer.Option("--quick", help="A minute of training instead of four.")] = False,
    device: Device = "auto",
) -> None:
    """Shoot with a synthetic camera, then run the whole chain on its DNG files and show what it gained."""
    from burst_denoise.learn.device import choose_device
    from burst_denoise.run.demo import demo

    with training_bar() as update:
        result = demo(output, 1.0 if quick else 4.0, choose_device(device), note, show_verdict, update)
    show(result.table)
    show(result.next_steps)
