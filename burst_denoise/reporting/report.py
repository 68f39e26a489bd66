"""Results to files: the report people look at, one page of HTML; rows as JSON lines. Nothing is computed anew here."""

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
from burst_denoise.score.rows import BenchmarkRow, least_gain_db, order_open

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
    doubt; the model lies above OpenCV NLM on every burst, chance and fixed pattern counted, and there is no caution.
    "Not usable" for: no series, no channel, or a model worse than the noisy frame on a burst. All else is "usable with
    care".
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
    rows, measured = _judged_rows(report)
    if report.model is None:
        return "care", "No model was given" + (f"; this is about {rows[0].method}." if rows else ".")
    if not measured:
        return "care", "Not scored on these bursts."
    if min(measured) <= 0:
        return "bad", "Worse than the noisy frame on a burst."
    over = [row.over_nlm_db_interval for row in rows]
    sure = sum(
        ends is not None and ends[0] > 0 and not order_open(vars(row)) for row, ends in zip(rows, over, strict=True)
    )
    fact = f"Better than OpenCV NLM on {sure} of {len(over)} bursts, beyond the 95 % interval and fixed pattern."
    return "good" if sure == len(over) and not report.cautions else "care", fact


def _gain_in_words(report: Report) -> str:
    """Return the gain as the ends of intervals and brackets that are worst for the method, on the worst burst first.

    Two numbers joined by "to" would pass for an interval, but are the worst and the best of several bursts.
    """
    rows, measured = _judged_rows(report)
    if not measured:
        return ""
    best = len(measured) > 1
    worth = [least for row in rows if (least := _least_worth(row)) is not None]
    gains = _least_gains(rows, [row for row in report.rows if row.method == SINGLE_FRAME])
    classical = [row for row in report.rows if row.strength is not None and row.method != rows[0].method]
    over = _least_gains(rows, classical)
    bar = "the best classical method" if report.model else "the best other classical method"
    text = "One denoised shot " if report.model else f"One shot through {rows[0].method} "
    text += f"is worth at least {_worst(worth, best=best)} averaged frames and " if worth else ""
    if min(gains) > 0:
        text += f"lies at least {_worst(gains, best=best, unit=' dB')} over the noisy one"
    else:
        text += "does not surely lie over the noisy one"
    if over and min(over) > 0:
        text += f", at least {_worst(over, best=best, unit=' dB')} over {bar}"
    elif over:
        text += f", but not surely over {bar}" + (" on every burst" if max(over) > 0 else "")
    return f"{text}. In brackets: the best of the {len(measured)} bursts." if best else f"{text}."


def _judged_rows(report: Report) -> tuple[list[BenchmarkRow], list[float]]:
    """Return the rows of the method that the headline is about, and by how many dB each was measured above a frame."""
    name = report.model or best_method([row for row in report.rows if row.strength is not None])
    rows = [row for row in report.rows if row.method == name]
    frames = {row.burst: row.corrected_psnr_db for row in report.rows if row.method == SINGLE_FRAME}
    pairs = [(row.corrected_psnr_db, frames.get(row.burst)) for row in rows]
    return rows, [ours - frame for ours, frame in pairs if ours is not None and frame is not None]


def _least_gains(rows: Sequence[BenchmarkRow], others: Sequence[BenchmarkRow]) -> list[float]:
    """Return by how many dB each row lies above all others of its burst at least, where both have a score."""
    leads = [
        [lead for other in others if other.burst == row.burst and (lead := least_gain_db(row, other)) is not None]
        for row in rows
    ]
    return [min(of_row) for of_row in leads if of_row]


def _least_worth(row: BenchmarkRow) -> float | None:
    """Return how many averaged frames a row is worth at least, chance and fixed pattern counted."""
    if row.worth_frames is None:
        return None
    least = row.worth_frames if row.worth_frames_interval is None else row.worth_frames_interval[0]
    bracket, ends = row.corrected_psnr_db_bracket, row.corrected_psnr_db_interval
    if bracket is None or bracket[0] is None or ends[0] is None:
        return least
    return least * 10 ** (min(bracket[0] - ends[0], 0.0) / 10)


def _worst(values: Sequence[float], *, best: bool, unit: str = "") -> str:
    """Return the least of values, and where there are several bursts the largest after it, in brackets."""
    low, high = (f"{end:.1f}{unit}" for end in (min(values), max(values)))
    return f"{low} ({high})" if best else low
