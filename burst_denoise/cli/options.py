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
FEWEST_FILES = 4
"""Of a set of dark frames or flats."""


def finite(value: float | None) -> float | None:
    """Return the number, or end in a usage error if it is nan or infinite."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a number one can work with")
    return value


Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="INPUTS",
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
Models = Annotated[
    list[Path] | None, typer.Option("--model", "-m", metavar="FILE", help="Model to score. May be repeated.")
]
TuneOn = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="PATH",
        help="Other bursts or frames of the sensor to tune the baselines on; by default they are as tuned when the "
        "model was made. May be repeated.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON lines instead of text.")]
MinutesOption = typer.Option(metavar="NUMBER", min=0.01, callback=finite, help="Minutes of training.")
Limit = Annotated[
    int,
    typer.Option(
        metavar="NUMBER",
        min=3,
        help="Frames used per series at most: sensors warm up in long bursts.",
        rich_help_panel=RARE,
    ),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda", "mps"],
    typer.Option(help="Where to compute; auto takes the fastest.", rich_help_panel=RARE),
]
Seed = Annotated[
    int,
    typer.Option(metavar="NUMBER", min=0, help="Decides everything that is random.", rich_help_panel=RARE),
]
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


def Output(text: str, metavar: str = "FILE") -> typer.models.OptionInfo:
    """Return the option that names what is written."""
    option: typer.models.OptionInfo = typer.Option("--output", "-o", metavar=metavar, help=text)
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
        path = Path(text).expanduser()  # the shell leaves ~ alone in quotes
        if path.exists() or not any(mark in text for mark in "*?["):
            files.append(path)
            continue
        found = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
        if not found:
            raise InputFileError(f"{text}: no file matches this pattern; check the folder")
        files += found
    _refuse_expanded_pattern(files, inputs)
    return files


def _refuse_expanded_pattern(files: list[Path], inputs: list[Path]) -> None:
    """Raise `InputFileError` when a shell has expanded a pattern, so that only its first file reached the option.

    The others would pass for frames of a scene. So few files make no set of calibration frames anyway.
    """
    if len(files) >= FEWEST_FILES or not all(path.is_file() for path in files):
        return
    folders = {path.resolve().parent: path for path in files}
    for path in inputs:
        first = folders.get(path.resolve().parent)
        if first is not None and path.is_file():
            raise InputFileError(
                f"{path}: is given as a frame of a scene, but lies beside {first.name}, a calibration frame; if the "
                f"shell has expanded a pattern, write it in quotes, '{first.parent / f'*{first.suffix}'}', or name the "
                "folder"
            )


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
