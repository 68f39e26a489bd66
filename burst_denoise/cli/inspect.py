"""The command `inspect`: which frames are usable, and why the others are not."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from burst_denoise.cli.console import Console, json_verdict, show, show_json, verdict_lines
from burst_denoise.cli.options import Inputs, Json, Limit
from burst_denoise.schemas import MOST_FRAMES

if TYPE_CHECKING:
    from burst_denoise.burst.series import SeriesVerdict
    from burst_denoise.frame.frame import Frame

__all__ = ["inspect_command"]


def inspect_command(
    inputs: Inputs,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PNG file to write: the density curves of the series.")
    ] = None,
    as_json: Json = False,
    limit: Limit = MOST_FRAMES,
) -> None:
    """Judge every series: which frames are usable, and why the others are not. Writes nothing but --plot.

    Example: burst-denoise inspect tripod/
    """
    from burst_denoise.files import refuse_existing
    from burst_denoise.jobs.inspect import inspect
    from burst_denoise.reporting.figures import draw_quality

    if plot is not None:
        if plot.suffix.lower() != ".png":
            raise typer.BadParameter(f"{plot} is not the name of a PNG file", param_hint="--plot")
        refuse_existing(plot)
    verdicts = inspect(inputs, limit, _Results(as_json=as_json))
    if plot is not None:
        draw_quality(plot, verdicts)


class _Results(Console):
    """Verdicts are the result here, so they go to stdout."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def on_series(self, verdict: "SeriesVerdict", frames: "Sequence[Frame]") -> None:  # noqa: ARG002
        if self._as_json:
            show_json(json_verdict(verdict))
        else:
            for line in verdict_lines(verdict):
                show(line)
