"""The command `inspect`: which frames are usable, and why the others are not."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from burst_denoise.cli.console import Console, json_verdict, show, show_json, verdict_lines
from burst_denoise.cli.options import Inputs, Json, Limit, writes
from burst_denoise.schemas import MOST_FRAMES

if TYPE_CHECKING:
    from burst_denoise.burst.series import SeriesVerdict
    from burst_denoise.frame.frame import Frame

__all__ = ["inspect_command"]


def inspect_command(
    inputs: Inputs,
    plot: Annotated[
        Path | None, writes("PNG file to write: the density curves of the series.", "--plot", suffixes=(".png",))
    ] = None,
    as_json: Json = False,
    limit: Limit = MOST_FRAMES,
) -> None:
    """Judge every series: which frames are usable, and why the others are not. Writes nothing but --plot.

    Example: burst-denoise inspect tripod/
    """
    from burst_denoise.jobs.inspect import inspect
    from burst_denoise.reporting.figures import draw_quality

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
