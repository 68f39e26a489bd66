"""The command `watch`: shots denoised as they come into a folder."""

from pathlib import Path
from typing import Annotated

import typer

from burst_denoise.cli.options import (
    OUTPUT,
    AnySensor,
    Augment,
    Darks,
    Device,
    Format,
    Json,
    MaxMegapixels,
    Name,
    Profiles,
    QualityOption,
    SensorModels,
    Strength,
    Strict,
    calibration_files,
    session_denoisers,
)
from burst_denoise.errors import InputFileError

__all__ = ["watch_command"]


def watch_command(
    inputs: Annotated[list[Path], typer.Argument(metavar="FOLDERS", help="Searched recursively.", show_default=False)],
    output: Annotated[Path, typer.Option(*OUTPUT, metavar="FOLDER", help="Folder for the results.")],
    model: SensorModels = None,
    profile: Profiles = None,
    darks: Darks = None,
    format: Format = None,
    name: Name = "{stem}-denoised",
    quality: QualityOption = "fast",
    augment: Augment = False,
    strength: Strength = 1.0,
    as_json: Json = False,
    strict: Strict = False,
    any_sensor: AnySensor = False,
    max_megapixels: MaxMegapixels = 200.0,
    device: Device = "auto",
) -> None:
    """Denoise the shots in folders, and those that come, until Ctrl-C.

    A file is denoised when it has not changed for two seconds. Results, their
    names and burst-denoise.jsonl are those of denoise.

    Example: burst-denoise watch CARD -m my_camera.safetensors -o CLEAN
    """
    from burst_denoise.session.reader import shared_reader

    shared_reader().start()  # beside what takes longer to be imported
    from burst_denoise.cli.session_console import SessionConsole, ended_by_signals
    from burst_denoise.inference.denoiser import DenoiseSettings
    from burst_denoise.jobs.denoise import SessionSettings, watch_session

    for folder in inputs:
        if not folder.is_dir():
            raise InputFileError(f"{folder}: is no folder that could be watched; check the name, or use denoise")
    settings = SessionSettings(format, name, max_megapixels=max_megapixels)
    denoise_settings = DenoiseSettings(strength, quality, augment, any_sensor=any_sensor, device=device)
    with ended_by_signals(), SessionConsole(as_json=as_json, endless=True) as console:
        denoisers = session_denoisers(
            model, profile, calibration_files(darks, inputs), denoise_settings, console, strict=strict
        )
        watch_session(inputs, output, denoisers, settings, console)
