"""The command `denoise`: shots in, clean files out."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from burst_denoise.cli.console import Console
from burst_denoise.cli.options import OUTPUT, AnySensor, Darks, Device, Inputs, calibration_files, finite, rare
from burst_denoise.schemas import TILE

__all__ = ["denoise_command"]


def denoise_command(
    inputs: Inputs,
    output: Annotated[
        Path, typer.Option(*OUTPUT, metavar="PATH", help="Folder for the results, or a file for a single shot.")
    ],
    model: Annotated[
        Path | None, typer.Option("--model", "-m", metavar="FILE", help="Model of the camera, made by calibrate.")
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Without a model: the noise of your sensor, made by profile -o; other ISOs are scaled."
        ),
    ] = None,
    darks: Darks = None,
    format: Annotated[
        Literal["dng", "tiff", "png"] | None,
        typer.Option(
            help="dng keeps the mosaic of raw files; tiff and png, 16 bits, are developed by LibRaw. By default raw "
            "files become dng, pictures tiff."
        ),
    ] = None,
    quality: Annotated[
        Literal["fast", "best"],
        typer.Option(help="best averages over 8 flips and rotations: a little better, about eight times slower."),
    ] = "fast",
    strength: Annotated[
        float,
        typer.Option(metavar="NUMBER", min=0, max=1, callback=finite, help="1 denoises fully, 0 gives the input back."),
    ] = 1.0,
    resume: Annotated[bool, typer.Option("--resume", help="Pass over shots whose output exists.")] = False,
    any_sensor: AnySensor = False,
    force: Annotated[bool, typer.Option("--force", help="Denoise again what this program has denoised.")] = False,
    tile: Annotated[
        int, rare(metavar="NUMBER", min=32, help="Side of a tile in photosites; less takes less memory.")
    ] = TILE,
    device: Device = "auto",
) -> None:
    """Denoise shots: RAW in, DNG (or TIFF, PNG) out. Best with a model of your camera, made by calibrate.

    Without a model the network that comes with the program serves, with the noise
    that --profile tells, the stored burst, the DNG's NoiseProfile tag or the shot
    itself, the first of these there is.

    Example: burst-denoise denoise shots/ -m my_camera.safetensors -o clean
    """
    if model is not None and profile is not None:
        raise typer.BadParameter("a model brings the noise of its sensor; give one of the two", param_hint="--profile")

    from burst_denoise.burst.darks import read_darks
    from burst_denoise.inference.denoiser import Denoiser, DenoiseSettings
    from burst_denoise.inference.noise_source import read_measured_noise
    from burst_denoise.jobs.denoise import SessionSettings, denoise_session
    from burst_denoise.model.device import choose_device
    from burst_denoise.model.model_file import load_model

    console = Console()
    sets = read_darks(calibration_files(darks, inputs))
    denoiser = Denoiser(
        None if model is None else load_model(model, choose_device(device)),
        None if profile is None else read_measured_noise(profile, console.note),
        sets,
        DenoiseSettings(strength, quality, tile, any_sensor, force, device),
        console.note,
    )
    denoise_session(inputs, output, denoiser, sets, SessionSettings(format, resume), console)
