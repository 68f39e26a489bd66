"""The parts of the report's page: data as HTML, every string from outside escaped."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import groupby

import numpy as np
import numpy.typing as npt

from burst_denoise.arrays import Picture
from burst_denoise.burst.series import LARGEST_SIGMA, SeriesVerdict
from burst_denoise.reporting.charts import interval_bar, measured, number, table, table_line
from burst_denoise.reporting.figures import (
    CHANNEL_COLOURS,
    data_uri,
    deviation_chart,
    diverging,
    pattern_figure,
    training_chart,
    transfer_chart,
    transfer_misfit_chart,
)
from burst_denoise.schemas import ChannelProfile, FrameVerdict, TrainingRecord
from burst_denoise.score.benchmark import REFERENCE_METHOD
from burst_denoise.score.rows import BenchmarkRow

__all__ = [
    "LIGHTS",
    "CropSet",
    "JudgedSeries",
    "MeasuredChannel",
    "PatternMap",
    "best_method",
    "crop_part",
    "pattern_part",
    "record_part",
    "scores_part",
    "sensor_part",
    "series_part",
    "training_part",
]

Float = npt.NDArray[np.floating]

LIGHTS = {"good": "Usable", "care": "Usable with care", "bad": "Not usable"}
"""Class of the style sheet, and the word; from best to worst."""
REASONS = {
    "shift": "camera moved", "light": "light changed", "motion": "subject moved", "focus": "out of focus",
    "saturation": "overexposed", "incompatible": "other settings",
}  # fmt: skip


@dataclass(frozen=True)
class JudgedSeries:
    """A series of frames: what the checks found, and how the frames look."""

    verdict: SeriesVerdict
    thumbnails: Sequence[Picture | None] = ()
    """(h, w, 3) uint8, sRGB, some 120 wide; in the order of the verdict's frames, None where there is none."""


@dataclass(frozen=True)
class MeasuredChannel:
    """The noise of one channel at one ISO, and the points it was fitted to."""

    profile: ChannelProfile
    bins: Float | None = None
    """(3, B): mean value and variance (linear units), number of photosites."""


@dataclass(frozen=True)
class PatternMap:
    """A picture of what is the same in every frame."""

    caption: str
    values: Float
    """(h, w), at most some 400 wide; coloured about their median."""
    unit: str


@dataclass(frozen=True)
class CropSet:
    """One crop of one shot under several treatments, developed."""

    shot: str
    versions: Mapping[str, Picture]
    """Two or more, by name: (h, w, 3) uint8, sRGB, of equal size, at most some 400 wide. The first two are shown
    at first, on the left and on the right."""
    residuals: Mapping[str, Float] = field(default_factory=dict)
    """(h, w), noisy minus denoised, by name."""
    residual_unit: str = "noise standard deviations"


def crop_part(crop: CropSet) -> str:
    """Return a slider between two versions of a crop, and the residuals on one grey scale."""
    height, width = next(iter(crop.versions.values())).shape[:2]
    sides = ("left", "right", *[""] * (len(crop.versions) - 2))
    images = "".join(
        f'<img class="{side}" src="{data_uri(picture)}" alt="{escape(name)}">'
        for side, (name, picture) in zip(sides, crop.versions.items(), strict=True)
    )
    choices = "".join(
        f'<select aria-label="{side} picture">{_options(crop.versions, chosen)}</select>'
        for chosen, side in enumerate(sides[:2])
    )
    span = max((float(np.nanpercentile(np.abs(values), 99.5)) for values in crop.residuals.values()), default=0.0)
    scale = f'<span>−{span:.2g}</span><span class="scale grey"></span>{span:.2g} {escape(crop.residual_unit)}'
    residuals = "".join(
        f'<figure class="residual"><img class="full" src="{data_uri(diverging(values, span, grey=True))}" '
        f'alt="Residual of {escape(name)}"><figcaption>Taken away by {escape(name)}<br>{scale}</figcaption></figure>'
        for name, values in crop.residuals.items()
    )
    return (
        f'<div class="crop"><h3>{escape(crop.shot)}</h3><div class="row">'
        f'<div class="compare" style="--width:{width}px;--height:{height}px"><div class="choice">{choices}</div>'
        f'<div class="stage">{images}<input type="range" min="0" max="100" value="50" step="1" '
        f'aria-label="Place of the line between left and right"></div></div>{residuals}</div></div>'
    )


def _options(names: Iterable[str], chosen: int) -> str:
    return "".join(
        f"<option{' selected' if number == chosen else ''}>{escape(name)}</option>" for number, name in enumerate(names)
    )


def best_method(rows: Sequence[BenchmarkRow]) -> str | None:
    """Return the method with the highest mean corrected PSNR, those apart that average several frames."""
    scores: dict[str, list[float]] = {}
    for row in rows:
        if row.corrected_psnr_db is not None and not row.method.startswith("mean of"):
            scores.setdefault(row.method, []).append(row.corrected_psnr_db)
    return max(scores, key=lambda method: float(np.mean(scores[method]))) if scores else None


def scores_part(rows: Sequence[BenchmarkRow]) -> str:
    """Return the rows as a table, burst by burst, with error bars."""
    titles = (
        "method", "corrected PSNR, dB<br>95 % interval", "over NLM<br>dB", "worth<br>frames",
        "residual<br>correlation", "signal<br>leak", "true PSNR<br>dB",
        "stabilised<br>dB", "uPSNR<br>dB", "SSIM", "s/MP<br>memory",
    )  # fmt: skip
    groups = []
    for burst, group in groupby(rows, key=lambda row: row.burst):
        of_burst = list(group)
        values = [value for row in of_burst for value in (row.corrected_psnr_db, *row.corrected_psnr_db_interval)]
        known = [value for value in values if value is not None]
        scale = (math.floor(min(known, default=0)), math.ceil(max(known, default=0) + 1e-9))
        first, best = of_burst[0], best_method(of_burst)
        facts = f"ISO {first.iso:g}, " if first.iso is not None else ""
        facts += f"frames {', '.join(map(str, first.frames))}, seed {first.seed}; bars {scale[0]} to {scale[1]} dB"
        if first.fixed_pattern_psnr_db is not None:
            facts += f"; the fixed pattern alone: {first.fixed_pattern_psnr_db:.1f} dB"
        if first.ssim_reference_psnr_db is not None:
            facts += f"; reference of SSIM: {first.ssim_reference_psnr_db:.1f} dB"
        lines = [_score_line(row, row.method == best, scale) for row in of_burst]
        groups.append((f"{escape(burst)} <small>{facts}</small>", lines))
    return table("Scores", titles, groups)


def _score_line(row: BenchmarkRow, best: bool, scale: tuple[float, float]) -> str:
    score, interval = row.corrected_psnr_db, row.corrected_psnr_db_interval
    cells = [
        number(score, 2, interval) + ("" if score is None else interval_bar(score, interval, scale)),
        "reference"
        if row.method == REFERENCE_METHOD
        else number(row.over_nlm_db, 2, row.over_nlm_db_interval, sign="+"),
        number(row.worth_frames, 1, row.worth_frames_interval),
        number(row.residual_correlation, 2),
        number(row.signal_leak, 2),
        number(row.true_psnr_db, 2),
        number(row.stabilised_psnr_db, 2, row.stabilised_psnr_db_interval),
        number(row.upsnr_db, 2),
        number(row.ssim, 3),
        f"{row.seconds_per_megapixel:.2f}<small>{row.peak_memory_mb:,.0f} MB</small>",
    ]
    strength = "" if row.strength is None else f"<small>strength {row.strength:.2f}</small>"
    return table_line(f"{'★ ' if best else ''}{escape(row.method)}{strength}", cells, "best" if best else "")


def series_part(series: Sequence[JudgedSeries]) -> str:
    """Return a card for every series: verdict, strip of frames, reasons, density of the deviations."""
    spreads = [s.verdict.sigma for s in series if s.verdict.accepted] or [
        s.verdict.sigma for s in series if math.isfinite(s.verdict.sigma)
    ]
    reach = 4 * max([*spreads, 1e-6])
    return "\n".join(_series_card(one, reach) for one in series)


def _series_card(series: JudgedSeries, reach: float) -> str:
    verdict, info = series.verdict, series.verdict.info
    good = sum(frame.accepted for frame in verdict.frames)
    facts = [info.camera or "camera not named"]
    facts += [f"ISO {info.iso:g}"] if info.iso is not None else []
    facts += [f"{info.width} × {info.height}", f"{good} of {len(verdict.frames)} frames accepted"]
    facts += [f"{verdict.left_out} beyond the limit, not looked at"] if verdict.left_out else []
    pictures = [*series.thumbnails, *[None] * (len(verdict.frames) - len(series.thumbnails))]
    strip = "".join(_strip_frame(n, frame, pictures[n]) for n, frame in enumerate(verdict.frames))
    found = "".join(f"<li>{n}, {escape(_why(f))}</li>" for n, f in enumerate(verdict.frames, 1) if not f.accepted)
    light = "good" if verdict.accepted else "bad"
    card = (
        f'<article><header><h3>{escape(verdict.series)}</h3><span class="light {light}">{LIGHTS[light]}</span></header>'
    )
    card += f'<p class="fact">{escape(", ".join(facts))}</p>'
    card += f"<p>{escape(verdict.detail)}</p>" if verdict.detail else ""
    card += f'<ol class="strip">{strip}</ol>' + (f'<ul class="found">{found}</ul>' if found else "")
    if verdict.deviations:
        caption = f"<figcaption>μ = {verdict.mu:.4f}, σ = {verdict.sigma:.5f}, at most {LARGEST_SIGMA}</figcaption>"
        card += f"<figure>{deviation_chart(verdict, reach)}{caption}</figure>"
    return card + "</article>"


def _strip_frame(number: int, frame: FrameVerdict, picture: Picture | None) -> str:
    why = escape(_why(frame))
    shown = f'<img src="{data_uri(picture, lossless=False)}" alt="{why}">' if picture is not None else ""
    shown = shown or '<span class="none"></span>'
    words = ", ".join(REASONS[reason] for reason in frame.reasons)
    return f'<li title="{why}"{"" if frame.accepted else " class=out"}>{shown}{number + 1} {words}</li>'


def _why(frame: FrameVerdict) -> str:
    if frame.accepted:
        return f"{frame.file}: accepted"
    words = ", ".join(REASONS[reason] for reason in frame.reasons) or "left out"
    return f"{frame.file}: {words}" + (f" ({frame.detail})" if frame.detail else "")


def sensor_part(channels: Sequence[MeasuredChannel]) -> str:
    """Return the noise of every channel as a table, and the photon-transfer charts of every ISO."""
    titles = (
        "channel", "verdict", "gain<br>DN/e⁻", "read noise<br>DN", "row noise<br>DN", "column noise<br>DN",
        "correlation", "frames",
    )  # fmt: skip
    groups, doubts, charts = [], "", ""
    for name, group in _by_setting(channels):
        groups.append((name, [_channel_line(channel.profile) for channel in group]))
        reasons = dict.fromkeys(reason for channel in group for reason in channel.profile.reasons)
        for reason in reasons:
            doubted = ", ".join(one.profile.channel for one in group if reason in one.profile.reasons)
            doubts += f"<li>{name}, {escape(doubted)}: {escape(reason)}</li>"
        drawn = [(channel.profile, channel.bins) for channel in group if channel.bins is not None and channel.bins.size]
        if drawn:
            keys = "".join(f"<span>{_key(profile.channel)}</span>" for profile, _ in drawn)
            figures = f"<figure>{transfer_chart(drawn)}</figure><figure>{transfer_misfit_chart(drawn)}</figure>"
            charts += (
                f'<article><h3>{name}</h3><small class="keys">{keys}</small><div class="grid">{figures}</div></article>'
            )
    return (
        table("Noise of the sensor", titles, groups) + (f'<ul class="found">{doubts}</ul>' if doubts else "") + charts
    )


def _by_setting(channels: Sequence[MeasuredChannel]) -> list[tuple[str, list[MeasuredChannel]]]:
    groups = groupby(channels, key=lambda channel: (channel.profile.camera, channel.profile.iso))
    return [
        (
            escape(camera or "camera not named") + (", ISO not named" if iso is None else f", ISO {iso:g}"),
            list(group),
        )
        for (camera, iso), group in groups
    ]


def _key(channel: str) -> str:
    return f'<span class="key {CHANNEL_COLOURS.get(channel, "c0")}"></span>{escape(channel)}'


def _channel_line(profile: ChannelProfile) -> str:
    light = "bad" if not profile.usable else "care" if profile.reasons else "good"
    cells = [
        f'<span class="light {light}">{LIGHTS[light]}</span>',
        measured(profile.gain_dn_per_e, profile.gain_dn_per_e_interval),
        measured(profile.read_noise_std_dn, profile.read_noise_std_dn_interval),
        measured(profile.row_noise_std_dn, profile.row_noise_std_dn_interval),
        measured(profile.column_noise_std_dn, profile.column_noise_std_dn_interval),
        number(profile.noise_correlation, 2),
        f"{profile.frames}",
    ]
    return table_line(escape(profile.channel), cells)


def pattern_part(maps: Sequence[PatternMap], channels: Sequence[MeasuredChannel]) -> str:
    """Return the figures of the fixed pattern, where anything is known about it, and its maps."""
    known = [c for c in channels if (c.profile.prnu_percent, c.profile.dsnu_e, c.profile.defects) != (None, None, 0)]
    groups = [
        (name, [
            table_line(escape(p.channel), [
                measured(p.prnu_percent, p.prnu_percent_interval), measured(p.dsnu_e, p.dsnu_e_interval),
                number(p.residual_dsnu_e, 2), f"{p.defects:,}",
            ])
            for p in (channel.profile for channel in group)
        ])
        for name, group in _by_setting(known)
    ]  # fmt: skip
    figures = (
        table("Fixed pattern", ("channel", "PRNU<br>%", "DSNU<br>e⁻", "DSNU<br>left, e⁻", "defects"), groups)
        if groups
        else ""
    )
    figures += "".join(pattern_figure(one.caption, one.values, one.unit) for one in maps)
    return f'<div class="row">{figures}</div>' if figures else ""


def training_part(record: TrainingRecord) -> str:
    """Return the training curve, and in words where it came from and how far it got."""
    words = (
        f"From {record.start_psnr_db:.2f} dB, the noisy frames themselves, to {record.best_psnr_db:.2f} dB at step "
        f"{record.best_step:,} of {record.steps_done:,}, in {record.seconds / 60:.1f} minutes, on {len(record.bursts)} "
        f"bursts: {', '.join(record.bursts)}."
    )
    legend = "<figcaption>Dashed: the noisy frames themselves. Dot: the model that was kept.</figcaption>"
    return f"<p>{escape(words)}</p>" + (f"<figure>{training_chart(record)}{legend}</figure>" if record.curve else "")


def record_part(provenance: Mapping[str, str]) -> str:
    """Return names and values as a table."""
    lines = [
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in provenance.items()
    ]
    return f'<div class="scroll"><table class="record"><tbody>{"".join(lines)}</tbody></table></div>' if lines else ""
