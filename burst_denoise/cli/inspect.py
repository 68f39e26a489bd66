"""The command `inspect`: which frames are usable, why the others are not, and what to do next."""

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from burst_denoise.cli.console import BAD, GOOD, TOLD, Console, json_verdict, show, show_json, styled, verdict_text
from burst_denoise.cli.options import Inputs, Json, Limit, Pause, writes
from burst_denoise.schemas import LONGEST_PAUSE_S, MOST_FRAMES

if TYPE_CHECKING:
    from burst_denoise.burst.series_verdict import SeriesVerdict
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
        for line in _summary(found):
            show(line, wrapped=True)
        for line in _next_steps(found, inputs, limit, pause):
            show(line)  # whole, to be copied
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
            show(verdict_text(verdict), wrapped=True)

    def note(self, text: str) -> None:
        if not self._as_json:
            show(styled(text, TOLD), wrapped=True)


def _dark_record(dark: "DarkSeries") -> dict[str, str | float | None]:
    info = dark.info
    known = {"series": dark.series, "camera": info.camera, "iso": info.iso, "exposure_s": info.exposure_s}
    return known | {"accepted": False, "dark_frames": dark.count}


def _summary(found: "Inspection") -> list[Text]:
    """Return what to tell after the verdicts: dark frames, lone shots, and all in one line."""
    lines = [
        styled(f"{dark.series} ({dark.info.camera or 'unknown camera'}, {dark.info.exposure_in_words}): ").append(
            _counted(dark.count, "dark frame"), GOOD
        )
        for dark in found.darks
    ]
    lone = [verdict for verdict in found.verdicts if verdict.lone]
    shots = _frames(lone)
    if lone:
        joined, pause = _joined_by_pause(found)
        told = f"{_counted(shots, 'lone shot')}: 3 frames at least make a series"
        lines.append(styled(told + (f"; --pause {pause} joins {joined} of them" if joined else ""), TOLD))
    if found.videos_beside_raw:
        lines.append(styled("a video beside raw files is left out by calibrate, unless it is named by itself", TOLD))
    accepted = sum(frame.accepted for verdict in found.usable for frame in verdict.frames)
    series = len(found.verdicts) - len(lone)
    counts = {
        "lone shot": shots,
        "dark frame": sum(dark.count for dark in found.darks),
        "damaged or foreign file": len(found.left_out),
    }
    parts = [
        f"{len(found.usable)} of {series} series usable ({_counted(accepted, 'frame')})" if series else "no series"
    ]
    parts += [_counted(count, what) for what, count in counts.items() if count]
    parts += [f"{_counted(found.pictures_beside_raw, 'picture')} beside raw files"] * (found.pictures_beside_raw > 0)
    lines.append(styled(", ".join(parts), f"bold {GOOD if found.usable else BAD}"))
    return lines


def _joined_by_pause(found: "Inspection") -> tuple[int, int]:
    """Return how many lone shots a longer pause would join, and that pause in seconds; 0, 0 where not to a series."""
    lone = {verdict.series: verdict for verdict in found.verdicts if verdict.lone}
    parted = [verdict for verdict in lone.values() if verdict.pause]
    names = {name for verdict in parted if verdict.pause for name in (verdict.series, verdict.pause.after)}
    shots = _frames([lone[name] for name in names if name in lone])
    longest = max((verdict.pause.joined_by_s for verdict in parted if verdict.pause), default=0)
    return (shots, longest) if shots > 2 else (0, 0)


def _next_steps(found: "Inspection", inputs: Sequence[Path], limit: int, pause: float) -> list[Text]:
    """Return the next command to type, or one for each sensor."""
    options = [f"--limit {limit}"] * (limit != MOST_FRAMES) + [f"--pause {pause:g}"] * (pause != LONGEST_PAUSE_S)
    joined, longest = _joined_by_pause(found)
    if joined and not found.usable:
        return [styled(f"next: burst-denoise inspect {_quoted(inputs)} --pause {longest}", "bold")]
    if not found.usable:
        advice = "next: shoot 10 frames or more of a static scene from a tripod, with one camera, ISO and exposure"
        return [styled(advice, "bold")]
    if len(found.sensors) == 1:
        return [styled(f"next: {_calibrate(found.sensors[0][1], 'my_camera', options)}", "bold")]
    lines = [f"{len(found.sensors)} sensors are here, and a model belongs to one:"]
    names: list[str] = []
    for info, places in found.sensors:
        camera = info.camera or "unknown camera"
        names.append(re.sub(r"\W+", "_", camera).lower())
        name = names[-1] + (f"_{names.count(names[-1])}" if names.count(names[-1]) > 1 else "")
        step = _calibrate(places, name, options) if places else "put its frames in a folder of their own"
        lines.append(f"next, {camera}: {step}")
    return [styled(line, "bold") for line in lines]


def _calibrate(places: Sequence[Path], name: str, options: Sequence[str]) -> str:
    return " ".join(["burst-denoise calibrate", _quoted(places), *options, "-o", f"{name}.safetensors"])


def _quoted(paths: Sequence[Path]) -> str:
    return shlex.join(map(str, paths))


def _frames(verdicts: "Sequence[SeriesVerdict]") -> int:
    return sum(len(verdict.frames) for verdict in verdicts)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
