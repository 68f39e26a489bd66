"""The command line: each command parses, makes one call into a room, and prints."""

import math
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import typer

from burst_denoise import __version__
from burst_denoise.config import MOST_FRAMES
from burst_denoise.errors import BurstDenoiseError, JobError
from burst_denoise.screen import fail, note, show, show_json, show_verdict, show_verdict_json, training_bar

__all__ = ["app", "main"]

app = typer.Typer(
    help="Turn tripod RAW bursts into a denoiser calibrated to your camera's sensor, and prove what it gains.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a number one can work with")
    return value


Inputs = Annotated[
    list[Path],
    typer.Argument(
        help="Frames (RAW, PNG, TIFF, JPEG, video), folders of them (searched recursively), or stored bursts."
    ),
]
Limit = Annotated[int, typer.Option(min=3, help="Frames used per series at most; sensors warm up in long bursts.")]
Device = Annotated[
    Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where to compute; auto takes the fastest.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON lines on stdout instead of text.")]
MinutesOption = typer.Option(min=0.01, callback=_finite, help="Training time.")
Seed = Annotated[int, typer.Option(min=0, help="Decides everything that is random.")]
AnySensor = Annotated[bool, typer.Option("--any-sensor", help="Use the model on another camera or ISO all the same.")]


def main() -> None:
    """Run the command line; a user's mistake ends in one line and exit code 1, a partly failed batch in 3."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(args=arguments)
    except (BurstDenoiseError, OSError) as error:
        if debug:
            raise
        failures = error.failures if isinstance(error, JobError) else {}
        for item, failure in failures.items():
            fail(str(failure) if item in str(failure) else f"{item}: {failure}")
        fail(f"error: {error}")
        sys.exit(3 if failures else 1)
    except UnicodeEncodeError as error:  # LibRaw, safetensors and JSON take names in UTF-8 only
        if debug:
            raise
        fail(f"error: {error.object!a}: this name is not UTF-8; rename the file or folder")
        sys.exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        show(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    """Options of all commands."""


@app.command("inspect")
def _inspect_command(
    inputs: Inputs,
    limit: Limit = MOST_FRAMES,
    plot: Annotated[Path | None, typer.Option(help="PNG file to draw the density curves of the series to.")] = None,
    as_json: Json = False,
) -> None:
    """Judge every series: which frames are usable, and why the others are not. Writes nothing but --plot."""
    from burst_denoise.capture.series import SeriesVerdict
    from burst_denoise.files import refuse_existing
    from burst_denoise.judge.report import draw_quality
    from burst_denoise.run.ingest import inspect

    if plot is not None:
        if plot.suffix.lower() != ".png":
            raise typer.BadParameter(f"{plot} is not the name of a PNG file", param_hint="--plot")
        refuse_existing(plot)
    show_one = show_verdict_json if as_json else partial(show_verdict, say=show)
    verdicts: list[SeriesVerdict] = []

    def report(verdict: SeriesVerdict) -> None:
        show_one(verdict)
        verdicts.append(verdict)

    inspect(inputs, limit, report)
    if plot is not None:
        draw_quality(plot, verdicts)


@app.command("ingest")
def _ingest_command(
    inputs: Inputs,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the stored bursts.")],
    limit: Limit = MOST_FRAMES,
) -> None:
    """Judge every series and store the accepted ones as bursts, with their noise profile."""
    from burst_denoise.run.ingest import ingest

    for burst in ingest(inputs, output, limit, show_verdict):
        gains = ", ".join(
            f"{s * (burst.info.white_level - b):.3g}"
            for s, b in zip(burst.profile.shot_noise_scale, burst.info.black_level, strict=True)
        )
        show(f"{burst.folder}: {len(burst)} frames, gain {gains} DN/e-")


@app.command("train")
def _train_command(
    inputs: Inputs,
    output: Annotated[Path, typer.Option("--output", "-o", help="Model file to write.")],
    minutes: Annotated[float | None, MinutesOption] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps, instead of minutes: reproducible to the bit.")
    ] = None,
    preset: Annotated[
        Literal["fast", "paper"], typer.Option(help="Network; paper is the original one, RGB only, slow.")
    ] = "fast",
    optimizer: Annotated[Literal["radam", "torch-radam", "adamw"], typer.Option(help="Optimiser.")] = "radam",
    seed: Seed = 0,
    limit: Limit = MOST_FRAMES,
    device: Device = "auto",
) -> None:
    """Train a model with every setting at hand; calibrate is the short form."""
    if (minutes is None) == (steps is None):
        raise typer.BadParameter("give --minutes or --steps, one of them")
    settings = {"preset": preset, "optimizer": optimizer, "seed": seed, "minutes": minutes, "steps": steps}
    _calibrate(inputs, output, settings, limit, device)


@app.command("calibrate")
def _calibrate_command(
    inputs: Inputs,
    output: Annotated[Path, typer.Option("--output", "-o", help="Model file to write.")],
    minutes: Annotated[float, MinutesOption] = 8.0,
    seed: Seed = 0,
    limit: Limit = MOST_FRAMES,
    device: Device = "auto",
) -> None:
    """Make a model of your sensor from tripod bursts: checks, noise profile, training, in one call."""
    _calibrate(inputs, output, {"minutes": minutes, "seed": seed}, limit, device)


def _calibrate(inputs: list[Path], output: Path, settings: Mapping[str, object], limit: int, device: str) -> None:
    from burst_denoise.config import TrainSettings
    from burst_denoise.learn.device import choose_device
    from burst_denoise.run.calibrate import calibrate

    chosen = choose_device(device)
    try:
        with training_bar() as update:
            wanted = TrainSettings.model_validate(settings)
            model = calibrate(inputs, output, wanted, chosen, limit, show_verdict, update)
    except KeyboardInterrupt:
        fail("stopped; the same command goes on where it was")
        raise typer.Exit(130) from None
    record = model.header.training
    if record.best_psnr_db < record.start_psnr_db + 0.1:
        note("warning: training has gained nothing yet; give it more time")
    show(
        f"{output}: {model.header.camera or 'unknown camera'}, ISO "
        f"{', '.join(f'{p.iso:g}' if p.iso else 'unknown' for p in model.header.profiles)}; "
        f"{record.start_psnr_db:.2f} dB noisy, {record.best_psnr_db:.2f} dB denoised on photosites it never saw "
        f"(leave-one-out-corrected PSNR), best of {record.steps_done} steps at {record.best_step}"
    )


@app.command("denoise")
def _denoise_command(
    inputs: Inputs,
    model: Annotated[Path, typer.Option("--model", "-m", help="Model file made by calibrate.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the results, or a file for a single shot.")
    ],
    format: Annotated[
        Literal["dng", "tiff", "png"] | None,
        typer.Option(help="dng keeps the mosaic (default for raw), tiff and png are developed by LibRaw, 16 bits."),
    ] = None,
    strength: Annotated[
        float, typer.Option(min=0, max=1, callback=_finite, help="1 denoises fully, 0 gives the input back.")
    ] = 1.0,
    augment: Annotated[
        bool, typer.Option(help="Average over 8 flips and rotations: a little better, 8 times slower.")
    ] = False,
    tile: Annotated[int, typer.Option(min=32, help="Side of a tile in photosites; less takes less memory.")] = 1024,
    any_sensor: AnySensor = False,
    resume: Annotated[bool, typer.Option("--resume", help="Pass over shots whose output exists.")] = False,
    device: Device = "auto",
) -> None:
    """Denoise shots with a calibrated model: RAW in, DNG (or TIFF, PNG) out."""
    from burst_denoise.learn.device import choose_device
    from burst_denoise.learn.model_file import load_model
    from burst_denoise.run.session import DenoiseSettings, denoise_session

    settings = DenoiseSettings(strength, augment, tile, format, any_sensor, resume)

    def report(name: str, target: Path | None, number: int, count: int) -> None:
        show(f"{number}/{count} {name}: " + (f"written to {target}" if target else "done before"))

    denoise_session(inputs, output, load_model(model, choose_device(device)), settings, report)


@app.command("benchmark")
def _benchmark_command(
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


@app.command("demo")
def _demo_command(
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
