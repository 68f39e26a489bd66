"""The command `inspect`: which frames are usable, why the others are not, and what to do next."""

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from burst_denoise.cli.console import BAD, GOOD, TOLD, Console, json_verdict, show, show_json, verdict_text
from burst_denoise.cli.options import Inputs, Json, Limit, Pause, writes
from burst_denoise.schemas import LONGEST_PAUSE_S, MOST_FRAMES

if TYPE_CHECKING:
    from burst_denoise.burst.series import SeriesVerdict
    from burst_denoise.frame.frame import Frame
    from burst_denoise.jobs.inspect import DarkSeries, Inspection

__all__ = ["inspect_command"]


def inspect_command(
    inputs: Inputs,
    plot: Annotated[
        Path | None, writes("PNG file to write: the density curves of the series.", "--plot", suffixes=(".png",))
    ] = None,
    as_json: Json = False,
    limit: Limit = MOST_FRAMES,
    pause: Pause = LONGEST_PAUSE_S,
) -> None:
    """Judge every series: which frames are usable, why the others are not, what to do next. Writes nothing but --plot.

    Exit code 0 when any series is usable, 1 when none is.

    Example: burst-denoise inspect tripod/
    """
    from burst_denoise.jobs.ingest import IngestSettings
    from burst_denoise.jobs.inspect import inspect
    from burst_denoise.reporting.figures import draw_quality

    found = inspect(inputs, IngestSettings(limit, pause_s=pause), _Results(as_json=as_json))
    if as_json:
        for dark in found.darks:
            show_json(json.dumps(_dark_record(dark)))
        for path, error in found.left_out:
            show_json(json.dumps({"file": str(path), "error": str(error)}))
    else:
        for line in _summary(found, inputs, limit, pause):
            show(line)
    if plot is not None:
        draw_quality(plot, found.verdicts)
    if not found.usable:
        raise typer.Exit(1)


class _Results(Console):
    """Verdicts are the result here, so they go to stdout."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def on_series(self, verdict: "SeriesVerdict", frames: "Sequence[Frame]") -> None:  # noqa: ARG002
        if self._as_json:
            show_json(json_verdict(verdict))
        elif not verdict.lone:
            show(verdict_text(verdict))

    def note(self, text: str) -> None:
        if not self._as_json:
            show(Text(text, TOLD))


def _dark_record(dark: "DarkSeries") -> dict[str, object]:
    info = dark.info
    known = {"series": dark.series, "camera": info.camera, "iso": info.iso, "exposure_s": info.exposure_s}
    return known | {"accepted": False, "dark_frames": dark.count}


def _summary(found: "Inspection", inputs: Sequence[Path], limit: int, pause: float) -> list[Text]:
    """Return what to tell after the verdicts: dark frames, lone shots, all in one line, and the next command."""
    lines = [
        Text(f"{dark.series} ({dark.info.camera or 'unknown camera'}, {dark.info.exposure_in_words}): ").append(
            _counted(dark.count, "dark frame"), GOOD
        )
        for dark in found.darks
    ]
    lone = [verdict for verdict in found.verdicts if verdict.lone]
    joined = {verdict.series for verdict in lone if verdict.pause}
    joined |= {verdict.pause.after for verdict in lone if verdict.pause} & {verdict.series for verdict in lone}
    longest = max((verdict.pause.joined_by_s for verdict in lone if verdict.pause), default=0)
    shots = sum(len(verdict.frames) for verdict in lone)
    joined_shots = sum(len(verdict.frames) for verdict in lone if verdict.series in joined)
    if lone:
        told = f"{_counted(shots, 'lone shot')}: 3 frames at least make a series"
        told += f"; --pause {longest} joins {joined_shots} of them" if joined_shots > 2 else ""
        lines.append(Text(told, TOLD))
    usable, series = found.usable, len(found.verdicts) - len(lone)
    frames = sum(frame.accepted for verdict in usable for frame in verdict.frames)
    parts = [f"{len(usable)} of {series} series usable ({_counted(frames, 'frame')})"]
    counts = {
        "lone shot": shots,
        "dark frame": sum(dark.count for dark in found.darks),
        "damaged or foreign file": len(found.left_out),
        "picture beside its raw file": found.pictures_beside_raw,
    }
    parts += [_counted(count, what) for what, count in counts.items() if count]
    lines.append(Text(", ".join(parts), f"bold {GOOD if usable else BAD}"))
    options = [f"--limit {limit}"] * (limit != MOST_FRAMES) + [f"--pause {pause:g}"] * (pause != LONGEST_PAUSE_S)
    if usable:
        return lines + [Text(line, "bold") for line in _next_commands(found, options)]
    if joined_shots > 2:
        return [*lines, Text(f"next: burst-denoise inspect {_quoted(inputs)} --pause {longest}", "bold")]
    advice = "next: shoot 10 frames or more of a static scene from a tripod, with one camera, ISO and exposure"
    return [*lines, Text(advice, "bold")]


def _next_commands(found: "Inspection", options: list[str]) -> list[str]:
    if len(found.sensors) == 1:
        return [_calibrate(found.sensors[0][1], "my_camera", options)]
    lines = []
    names: list[str] = []
    for info, places in found.sensors:
        camera = info.camera or "unknown camera"
        name = re.sub(r"\W+", "_", camera).lower()
        names.append(name)
        name += f"_{names.count(name)}" if names.count(name) > 1 else ""
        command = _calibrate(places, name, options) if places else "put its frames in a folder of their own"
        lines.append(f"{command}  # {camera}" if places else f"next, for {camera}: {command}")
    return [f"{len(found.sensors)} sensors, and a model belongs to one", *lines]


def _calibrate(places: Sequence[Path], name: str, options: list[str]) -> str:
    return " ".join(["next: burst-denoise calibrate", _quoted(places), *options, "-o", f"{name}.safetensors"])


def _quoted(paths: Sequence[Path]) -> str:
    return shlex.join(map(str, paths))


def _counted(count: int, what: str) -> str:
    plural = (
        what.replace(" its raw file", " their raw files").replace("picture", "pictures")
        if "its" in what
        else f"{what}s"
    )
    return f"{count} {what if count == 1 else plural}"
