"""Commands about frames: are they usable, what do they say about the sensor, store them."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from burst_denoise.commands.options import Inputs, Json, Limit
from burst_denoise.config import MOST_FRAMES
from burst_denoise.screen import show, show_verdict, show_verdict_json

__all__ = ["ingest_command", "inspect_command"]


def inspect_command(
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


def ingest_command(
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
