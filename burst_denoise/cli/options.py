"""The options that several commands share, each spelled once, and what is made of them."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from burst_denoise.errors import InputFileError

if TYPE_CHECKING:
    from burst_denoise.jobs.ingest import IngestSettings
    from burst_denoise.model.model_file import Model

__all__ = [
    "RARE",
    "AnySensor",
    "Darks",
    "Device",
    "Flats",
    "FromScratch",
    "Inputs",
    "Json",
    "Limit",
    "MinutesOption",
    "Models",
    "Output",
    "Seed",
    "TuneOn",
    "calibration_files",
    "finite",
    "ingest_settings",
    "load_models",
]

RARE = "Rarely needed"
"""Heading of the options that hardly anybody needs."""


def finite(value: float | None) -> float | None:
    """Return the number, or end in a usage error if it is nan or infinite."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a number one can work with")
    return value


Inputs = Annotated[
    list[Path],
    typer.Argument(
        help="Frames (RAW, PNG, TIFF, JPEG, video), folders of them (searched recursively), or stored bursts.",
        show_default=False,
    ),
]
Darks = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATH",
        help="Dark frames (lens capped) of the same camera, ISO and exposure, 16 or more: a folder, a file, or a "
        "pattern in quotes ('darks/*.dng'). May be repeated.",
    ),
]
Flats = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATH",
        help="Frames of an evenly lit surface, for the photo-response non-uniformity: a folder, a file, or a pattern "
        "in quotes. May be repeated.",
    ),
]
Models = Annotated[list[Path] | None, typer.Option("--model", "-m", help="Model to score. May be repeated.")]
TuneOn = Annotated[
    list[Path] | None,
    typer.Option(
        help="Bursts or frames to tune the strengths of the baselines on. By default as tuned when the model was made. "
        "May be repeated."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON lines instead of text.")]
MinutesOption = typer.Option(min=0.01, callback=finite, help="Training time.")
Limit = Annotated[
    int,
    typer.Option(min=3, help="Frames used per series at most: sensors warm up in long bursts.", rich_help_panel=RARE),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda", "mps"],
    typer.Option(help="Where to compute; auto takes the fastest.", rich_help_panel=RARE),
]
Seed = Annotated[int, typer.Option(min=0, help="Decides everything that is random.", rich_help_panel=RARE)]
FromScratch = Annotated[
    bool,
    typer.Option(
        "--from-scratch", help="Do not start from the network that comes with the program.", rich_help_panel=RARE
    ),
]
AnySensor = Annotated[
    bool,
    typer.Option(
        "--any-sensor",
        help="Let models, profiles and dark frames serve another camera or ISO, and files that do not name theirs.",
        rich_help_panel=RARE,
    ),
]


def Output(text: str) -> typer.models.OptionInfo:
    """Return the option that names what is written."""
    option: typer.models.OptionInfo = typer.Option("--output", "-o", help=text, show_default=False)
    return option


def ingest_settings(limit: int, *, any_sensor: bool = False) -> "IngestSettings":
    """Return how frames become bursts, as the options say."""
    from burst_denoise.jobs.ingest import IngestSettings

    return IngestSettings(limit, any_sensor)


def calibration_files(given: list[str] | None, inputs: list[Path]) -> list[Path]:
    """Return the files and folders that an option for calibration frames names; patterns are searched.

    Raises
    ------
    InputFileError
        If a pattern finds nothing, or a shell has spread the files of one over the inputs.
    """
    files: list[Path] = []
    for text in given or []:
        path = Path(text)
        if path.exists() or not any(mark in text for mark in "*?["):
            files.append(path)
            continue
        found = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
        if not found:
            raise InputFileError(f"{text}: no file matches this pattern; check the folder")
        files += found
    if files:
        from burst_denoise.burst.darks import refuse_expanded_pattern

        refuse_expanded_pattern(files, inputs)
    return files


def load_models(paths: list[Path] | None, device: str) -> "dict[str, Model]":
    """Return models by the names of their rows."""
    if not paths:
        return {}
    from burst_denoise.model.device import choose_device
    from burst_denoise.model.model_file import load_model

    stems = [path.stem for path in paths]
    if len(paths) == 1:
        names = ["model"]
    else:
        names = [f"model {path.stem if stems.count(path.stem) == 1 else path}" for path in paths]
    chosen = choose_device(device)
    return {name: load_model(path, chosen) for name, path in zip(names, paths, strict=True)}
