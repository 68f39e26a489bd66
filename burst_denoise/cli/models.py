"""Commands about models: make one, and denoise with it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from burst_denoise.cli.console import fail, note, show, show_verdict, training_bar
from burst_denoise.cli.options import Darks, Device, Inputs, Limit, MinutesOption, Seed, finite
from burst_denoise.schemas import MOST_FRAMES, TILE

__all__ = ["calibrate_command", "denoise_command", "train_command"]

FromScratch = Annotated[
    bool, typer.Option("--from-scratch", help="Do not start from the network that comes with the program.")
]


def train_command(
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
    from_scratch: FromScratch = False,
    seed: Seed = 0,
    darks: Darks = None,
    limit: Limit = MOST_FRAMES,
    device: Device = "auto",
) -> None:
    """Train a model with every setting at hand; calibrate is the short form."""
    if (minutes is None) == (steps is None):
        raise typer.BadParameter("give --minutes or --steps, one of them")
    settings = {"preset": preset, "optimizer": optimizer, "seed": seed, "minutes": minutes, "steps": steps}
    settings["from_scratch"] = from_scratch
    _calibrate(inputs, output, settings, darks or [], limit, device)


def calibrate_command(
    inputs: Inputs,
    output: Annotated[Path, typer.Option("--output", "-o", help="Model file to write.")],
    minutes: Annotated[float, MinutesOption] = 5.0,
    from_scratch: FromScratch = False,
    darks: Darks = None,
    seed: Seed = 0,
    limit: Limit = MOST_FRAMES,
    device: Device = "auto",
) -> None:
    """Make a model of your sensor from tripod bursts: checks, noise profile, training, in one call."""
    _calibrate(
        inputs, output, {"minutes": minutes, "seed": seed, "from_scratch": from_scratch}, darks or [], limit, device
    )


def _calibrate(
    inputs: list[Path], output: Path, settings: Mapping[str, object], darks: list[Path], limit: int, device: str
) -> None:
    from burst_denoise.jobs.calibrate import calibrate
    from burst_denoise.model.device import choose_device
    from burst_denoise.schemas import TrainSettings

    chosen = choose_device(device)
    try:
        with training_bar() as update:
            wanted = TrainSettings.model_validate(settings)
            model = calibrate(inputs, output, wanted, chosen, limit, show_verdict, update, darks, note)
    except KeyboardInterrupt:
        fail("stopped; the same command goes on where it was")
        raise typer.Exit(130) from None
    record = model.header.training
    if record.prior_sha256 is None and not wanted.from_scratch:
        note(f"no prior comes with the program for {wanted.preset}, {model.header.domain}: trained from scratch")
    if record.prior_sha256 is not None and record.best_step == 0:
        note("nothing better than the prior was found: the model is the prior, with the noise profile of your sensor")
    elif record.best_psnr_db < record.start_psnr_db + 0.1:
        note("warning: training has gained nothing yet; give it more time")
    prior = "" if record.prior_psnr_db is None else f"{record.prior_psnr_db:.2f} dB by the prior, "
    show(
        f"{output}: {model.header.camera or 'unknown camera'}, ISO "
        f"{', '.join(f'{p.iso:g}' if p.iso else 'unknown' for p in model.header.profiles)}; "
        f"{record.start_psnr_db:.2f} dB noisy, {prior}{record.best_psnr_db:.2f} dB denoised on photosites it never saw "
        f"(leave-one-out-corrected PSNR), best of {record.steps_done} steps at {record.best_step}"
    )


def denoise_command(
    inputs: Inputs,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the results, or a file for a single shot.")
    ],
    model: Annotated[Path | None, typer.Option("--model", "-m", help="Model file made by calibrate.")] = None,
    profile: Annotated[
        Path | None,
        typer.Option(
            help="Without a model: the noise of your sensor, a file made by profile -o; other ISOs are scaled."
        ),
    ] = None,
    format: Annotated[
        Literal["dng", "tiff", "png"] | None,
        typer.Option(help="dng keeps the mosaic (default for raw), tiff and png are developed by LibRaw, 16 bits."),
    ] = None,
    quality: Annotated[
        Literal["fast", "best"],
        typer.Option(help="best averages over 8 flips and rotations: a little better, about eight times slower."),
    ] = "fast",
    strength: Annotated[
        float, typer.Option(min=0, max=1, callback=finite, help="1 denoises fully, 0 gives the input back.")
    ] = 1.0,
    darks: Darks = None,
    any_sensor: Annotated[
        bool, typer.Option("--any-sensor", help="Use the model or profile on another camera or ISO all the same.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Pass over shots whose output exists.")] = False,
    tile: Annotated[int, typer.Option(min=32, help="Side of a tile in photosites; less takes less memory.")] = TILE,
    device: Device = "auto",
) -> None:
    """Denoise shots: RAW in, DNG (or TIFF, PNG) out. Best with a model of your camera, made by calibrate.

    Without a model the network that comes with the program serves. It takes the
    noise from --profile, the stored burst, the DNG's NoiseProfile tag or the shot
    itself, the first of these there is, and tells which.
    """
    from burst_denoise.inference.noise_source import WithoutModel
    from burst_denoise.jobs.denoise import DenoiseSettings, denoise_session
    from burst_denoise.model.device import choose_device
    from burst_denoise.model.model_file import load_model

    if model is not None and profile is not None:
        raise typer.BadParameter("a model brings its own; give one of the two", param_hint="--profile")
    settings = DenoiseSettings(strength, quality, tile, format, any_sensor, resume)

    def report(name: str, target: Path | None, number: int, count: int) -> None:
        show(f"{number}/{count} {name}: " + (f"written to {target}" if target else "done before"))

    serving = WithoutModel(device, profile) if model is None else load_model(model, choose_device(device))
    denoise_session(inputs, output, serving, settings, report, darks or [], note)
