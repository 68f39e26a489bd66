"""The commands `calibrate` and `train`: a model of the sensor; `train` is `calibrate` with more to set."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from burst_denoise.cli.console import TrainingConsole, fail, note, show
from burst_denoise.cli.options import (
    AnySensor,
    Darks,
    Device,
    FromScratch,
    Inputs,
    Limit,
    MinutesOption,
    Pause,
    Seed,
    Verbose,
    calibration_files,
    rare,
    writes,
)
from burst_denoise.schemas import LONGEST_PAUSE_S, MOST_FRAMES, NetworkPreset, Quality
from burst_denoise.sensor.verdict import worth_frames

if TYPE_CHECKING:
    from burst_denoise.model.model_file import Model
    from burst_denoise.schemas import TrainSettings

__all__ = ["calibrate_command", "train_command"]

LEAST_GAIN_DB = 0.1
"""Over noisy frames, from which a training from scratch has gained something."""


def train_command(
    inputs: Inputs,
    output: Annotated[Path, writes("Model file to write.")],
    minutes: Annotated[float | None, MinutesOption] = None,
    darks: Darks = None,
    from_scratch: FromScratch = False,
    seed: Seed = 0,
    limit: Limit = MOST_FRAMES,
    pause: Pause = LONGEST_PAUSE_S,
    any_sensor: AnySensor = False,
    device: Device = "auto",
    steps: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", min=1, help="Steps of training, instead of minutes: reproducible to the bit."),
    ] = None,
    preset: Annotated[NetworkPreset, rare(help="Network; paper is the original one, RGB only, slow.")] = "fast",
    optimizer: Annotated[Literal["radam", "torch-radam", "adamw"], rare(help="Optimiser.")] = "radam",
    verbose: Verbose = False,
) -> None:
    """Train a model with more to set than calibrate has, for --minutes or --steps.

    Example: burst-denoise train tripod/ -o my_camera.safetensors --steps 2000 --seed 1
    """
    from burst_denoise.jobs.calibrate import calibrate
    from burst_denoise.jobs.ingest import IngestSettings
    from burst_denoise.model.device import choose_device
    from burst_denoise.schemas import TrainSettings

    if (minutes is None) == (steps is None):
        raise typer.BadParameter("give --minutes or --steps, one of them")
    settings = TrainSettings(
        preset=preset, optimizer=optimizer, minutes=minutes, steps=steps, seed=seed, from_scratch=from_scratch
    )
    dark_files, ingest = calibration_files(darks, inputs), IngestSettings(limit, any_sensor, pause_s=pause)
    try:
        with TrainingConsole(verbose=verbose) as console:
            model = calibrate(inputs, output, dark_files, settings, choose_device(device), ingest, console)
    except KeyboardInterrupt:
        fail("stopped; the same command goes on where it was")
        raise typer.Exit(130) from None
    _tell(output, model, settings, verbose=verbose)


def calibrate_command(
    inputs: Inputs,
    output: Annotated[Path, writes("Model file to write.")],
    minutes: Annotated[float, MinutesOption] = 5.0,
    quality: Annotated[
        Quality,
        typer.Option(help="Size of the network: best takes four times as long to denoise and to train, draft half."),
    ] = "fast",
    darks: Darks = None,
    from_scratch: FromScratch = False,
    seed: Seed = 0,
    limit: Limit = MOST_FRAMES,
    pause: Pause = LONGEST_PAUSE_S,
    any_sensor: AnySensor = False,
    device: Device = "auto",
    verbose: Verbose = False,
) -> None:
    """Make a model of your sensor from tripod bursts: checks, noise profile, training, in one call.

    Training stops when nothing is gained any more, after --minutes at the latest.
    The end tells whether it pays: how much better than the network that comes with
    the program, and what your sensor has that this network does not know.

    Example: burst-denoise calibrate tripod/ -o my_camera.safetensors
    """
    train_command(
        inputs, output, minutes, darks, from_scratch, seed, limit, pause, any_sensor, device,
        preset=quality, verbose=verbose,
    )  # fmt: skip


def _tell(output: Path, model: "Model", settings: "TrainSettings", *, verbose: bool) -> None:
    """Print what became of a calibration, in an owner's words; figures of the training where they are asked for."""
    record = model.header.training
    if record.prior_sha256 is None and not settings.from_scratch:
        note(f"no prior comes with the program for {settings.preset}, {model.header.domain}: trained from scratch")
    gain_db = record.best_psnr_db - record.start_psnr_db
    if record.prior_sha256 is None and gain_db < LEAST_GAIN_DB:
        note("warning: training has gained nothing yet; give it more time")
    isos = ", ".join(f"{profile.iso:g}" if profile.iso else "unknown" for profile in model.header.profiles)
    frames = f"a denoised shot is worth {worth_frames(gain_db):.1f} averaged frames"
    lines = model.verdict or [f"better than a single frame by {gain_db:.2f} dB; {frames}"]
    show(f"{output}: {model.header.camera or 'unknown camera'}, ISO {isos}")
    for line in lines:
        show(f"  {line}")
    if verbose:
        prior = "" if record.prior_psnr_db is None else f"{record.prior_psnr_db:.2f} dB by the prior, "
        show(
            f"  leave-one-out-corrected PSNR on photosites it never saw: {record.start_psnr_db:.2f} dB noisy, {prior}"
            f"{record.best_psnr_db:.2f} dB denoised; best of {record.steps_done} steps at {record.best_step}"
            + (f", {record.prior_share:.0%} prior" if record.prior_share else "")
        )
