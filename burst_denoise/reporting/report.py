"""Results to files: the report people look at, one page of HTML; rows as JSON lines. Nothing is computed anew here."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from burst_denoise.files import write_file
from burst_denoise.reporting.page import (
    LIGHTS,
    CropSet,
    JudgedSeries,
    MeasuredChannel,
    PatternMap,
    best_method,
    render,
)
from burst_denoise.schemas import TrainingRecord
from burst_denoise.score.benchmark import SINGLE_FRAME
from burst_denoise.score.rows import BenchmarkRow

__all__ = [
    "CropSet",
    "JudgedSeries",
    "MeasuredChannel",
    "PatternMap",
    "Report",
    "write_report",
    "write_rows",
]


@dataclass(frozen=True)
class Report:
    """All that a report shows, ready to be drawn; what is left out makes no section. Strings may hold any character."""

    title: str
    series: Sequence[JudgedSeries] = ()
    channels: Sequence[MeasuredChannel] = ()
    pattern_maps: Sequence[PatternMap] = ()
    training: TrainingRecord | None = None
    rows: Sequence[BenchmarkRow] = ()
    model: str | None = None
    """The method that the headline is about; without one it is about the best classical method."""
    cautions: Sequence[str] = ()
    """What a reader must know beside the numbers, such as that the model was trained on a scored burst."""
    crops: Sequence[CropSet] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Versions, hashes, command line, date, by name."""


def write_report(path: Path, report: Report) -> None:
    """Write a report as one HTML page that needs nothing beside it: no other file, no network.

    Parameters
    ----------
    path : Path
        File to write; must not exist.
    report : Report

    Raises
    ------
    OutputError
        If the file exists or cannot be written.

    Notes
    -----
    "Usable" stands for: at least one series was accepted and none rejected; every channel is usable and without a
    doubt; the 95 % interval of the model lies above OpenCV NLM on every burst, and there is no caution. "Not usable"
    for: no series, no channel, or a model worse than the noisy frame on a burst. All else is "usable with care".
    """
    page = render(headline=_headline(report), **vars(report))
    write_file(path, page.encode(errors="backslashreplace"))  # a file's name may hold any byte


def write_rows(path: Path, rows: Sequence[BenchmarkRow]) -> None:
    """Write rows as JSON lines; `OutputError` if the file exists or cannot be written."""
    write_file(path, "".join(row.model_dump_json() + "\n" for row in rows).encode())


def _headline(report: Report) -> dict[str, object] | None:
    """Return the word and the sentence to be read first, and what they rest on; None when there is nothing to judge."""
    lights = [
        (subject, *judge(report))
        for subject, given, judge in (
            ("Best classical method" if report.model is None else "Denoiser", report.rows, _denoiser_light),
            ("Frames", report.series, _frames_light),
            ("Noise profile", report.channels, _profile_light),
        )
        if given
    ]
    if not lights:
        return None
    worst = max((light for _, light, _ in lights), key=list(LIGHTS).index)
    return {"worst": worst, "sentence": _gain_in_words(report) or lights[0][2], "lights": lights}


def _frames_light(report: Report) -> tuple[str, str]:
    verdicts = [series.verdict for series in report.series]
    frames = [frame.accepted for verdict in verdicts for frame in verdict.frames]
    refused = [verdict.series for verdict in verdicts if not verdict.accepted]
    light = "good" if not refused else "care" if len(refused) < len(verdicts) else "bad"
    fact = f"{sum(frames)} of {len(frames)} frames accepted, {len(verdicts) - len(refused)} of {len(verdicts)} series."
    return light, fact + (f" Not: {', '.join(refused)}." if refused else "")


def _profile_light(report: Report) -> tuple[str, str]:
    profiles = [channel.profile for channel in report.channels]
    usable = sum(profile.usable for profile in profiles)
    doubtful = next((profile for profile in profiles if profile.reasons or not profile.usable), None)
    light = "good" if doubtful is None else "care" if usable else "bad"
    fact = f"{usable} of {len(profiles)} channels usable."
    if doubtful is None or not doubtful.reasons:
        return light, fact
    iso = "" if doubtful.iso is None else f" at ISO {doubtful.iso:g}"
    return light, f"{fact} {doubtful.channel}{iso}: {doubtful.reasons[0]}."


def _denoiser_light(report: Report) -> tuple[str, str]:
    rows, gains = _judged_rows(report)
    if report.model is None:
        return "care", "No model was given" + (f"; this is about {rows[0].method}." if rows else ".")
    if not gains:
        return "care", "Not scored on these bursts."
    if min(gains) <= 0:
        return "bad", "Worse than the noisy frame on a burst."
    over = [row.over_nlm_db_interval for row in rows]
    sure = sum(ends is not None and ends[0] > 0 for ends in over)
    fact = f"Better than OpenCV NLM on {sure} of {len(over)} bursts, beyond the 95 % interval."
    return "good" if sure == len(over) and not report.cautions else "care", fact


def _gain_in_words(report: Report) -> str:
    rows, gains = _judged_rows(report)
    if not gains:
        return ""
    worth = [row.worth_frames for row in rows if row.worth_frames is not None]
    classical = [row for row in report.rows if row.strength is not None and row.method != rows[0].method]
    over = _over_best(rows, classical)
    bar = "the best classical method" if report.model else "the best other classical method"
    text = "One denoised shot " if report.model else f"One shot through {rows[0].method} "
    text += f"is worth {_span(worth)} averaged frames: " if worth else "gains "
    text += f"{_span(gains)} dB over the noisy one"
    if not over:
        return text + "."
    if max(over) <= 0:
        return text + f", but no gain over {bar} ({_span(over)} dB)."
    return text + f", {_span(over)} dB over {bar}."


def _judged_rows(report: Report) -> tuple[list[BenchmarkRow], list[float]]:
    """Return the rows of the method that the headline is about, and by how many dB each is above the single frame."""
    name = report.model or best_method([row for row in report.rows if row.strength is not None])
    rows = [row for row in report.rows if row.method == name]
    return rows, _over_best(rows, [row for row in report.rows if row.method == SINGLE_FRAME])


def _over_best(rows: Sequence[BenchmarkRow], others: Sequence[BenchmarkRow]) -> list[float]:
    """Return by how many dB rows lie above the best of other rows of their burst, where both have a score."""
    best_db: dict[str, float] = {}
    for row in others:
        if row.corrected_psnr_db is not None:
            best_db[row.burst] = max(row.corrected_psnr_db, best_db.get(row.burst, -math.inf))
    pairs = [(row.corrected_psnr_db, best_db.get(row.burst)) for row in rows]
    return [ours - best for ours, best in pairs if ours is not None and best is not None]


def _span(values: Sequence[float]) -> str:
    low, high = (f"{round(end, 1) + 0.0:.1f}".replace("-", "−") for end in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"
