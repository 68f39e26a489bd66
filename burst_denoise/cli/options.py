"""The options that several commands share, each spelled once."""

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = ["AnySensor", "Darks", "Device", "Flats", "Inputs", "Json", "Limit", "MinutesOption", "Seed", "finite"]


def finite(value: float | None) -> float | None:
    """Return the number, or end in a usage error if it is nan or infinite."""
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
MinutesOption = typer.Option(min=0.01, callback=finite, help="Training time.")
Seed = Annotated[int, typer.Option(min=0, help="Decides everything that is random.")]
Darks = Annotated[
    list[Path] | None,
    typer.Option(help="Dark frames of the same camera, ISO and exposure (16 or more), or a folder of them."),
]
Flats = Annotated[
    list[Path] | None, typer.Option(help="Frames of an evenly lit surface, for the photo-response non-uniformity.")
]
AnySensor = Annotated[bool, typer.Option("--any-sensor", help="Use the model on another camera or ISO all the same.")]
