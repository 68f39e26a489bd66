"""The report's page: what its template is given to draw, and the template's way to write a number."""

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, zip_longest

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from burst_denoise.arrays import Picture
from burst_denoise.burst.series_verdict import LARGEST_SIGMA, SeriesVerdict
from burst_denoise.reporting.figures import (
    CHANNEL_COLOURS,
    AnyFloat,
    data_uri,
    deviation_chart,
    diverging,
    training_chart,
    transfer_chart,
    transfer_misfit_chart,
)
from burst_denoise.schemas import ChannelProfile, FrameVerdict
from burst_denoise.score.benchmark import REFERENCE_METHOD
from burst_denoise.score.rows import ORDER_OPEN, BenchmarkRow, least_gain_db, order_open, wider_than_chance
from burst_denoise.sensor.verdict import calibration_verdict

__all__ = [
    "LIGHTS",
    "CropSet",
    "JudgedSeries",
    "MeasuredChannel",
    "PatternMap",
    "best_method",
    "render",
]

Part = dict[str, object]
"""What the template draws once, by the names that it knows; strings may hold any character."""

LIGHTS = {"good": "Usable", "care": "Usable with care", "bad": "Not usable"}
"""Class of the style sheet, and the word; from best to worst."""
REASONS = {
    "shift": "camera moved", "light": "light changed", "motion": "subject moved", "focus": "out of focus",
    "saturation": "overexposed", "incompatible": "other settings",
}  # fmt: skip
PATTERN_SOURCES = {
    "flats": "as flats have left it", "framings": "from several scenes", "burst": "what this scene has room for",
    "assumed": "assumed",
}  # fmt: skip
TRANSFER_CHARTS = {"transfer": transfer_chart, "misfit": transfer_misfit_chart}


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
    bins: AnyFloat | None = None
    """(3, B): mean value and variance (linear units), number of photosites."""


@dataclass(frozen=True)
class PatternMap:
    """A picture of what is the same in every frame."""

    caption: str
    values: AnyFloat
    """(h, w), at most some 400 wide; coloured about their median."""
    unit: str

    @property
    def median(self) -> float:
        """What is shown in the neutral colour."""
        return float(np.nanmedian(self.values))

    @property
    def span(self) -> float:
        """How far the colours reach on both sides of it."""
        return _reach(self.values - self.median)


@dataclass(frozen=True)
class CropSet:
    """One crop of one shot under several treatments, developed."""

    shot: str
    versions: Mapping[str, Picture]
    """Two or more, by name: (h, w, 3) uint8, sRGB, of equal size, at most some 400 wide. The first two are shown
    at first, on the left and on the right."""
    residuals: Mapping[str, AnyFloat] = field(default_factory=dict)
    """(h, w), noisy minus denoised, in standard deviations of the noise, by name."""

    @property
    def span(self) -> float:
        """How far the one grey scale of all residuals reaches on both sides of 0."""
        return max((_reach(residual) for residual in self.residuals.values()), default=0.0)


SCRIPT_DIGEST = "digest of the script"
"""Where that goes in the page, once the page is known."""


def render(**parts: object) -> str:
    """Return the page; of what is empty or None it makes no section.

    Parameters
    ----------
    **parts
        By the names that the template knows.
    """
    page = Environment(
        loader=PackageLoader("burst_denoise.reporting", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters.update(number=_number, digits=_digits, brief=_brief, data_uri=data_uri, diverging=diverging)
    page.filters.update(by_burst=_by_burst, cards=_cards, settings=_settings, known_pattern=_known_pattern)
    page.filters.update(reasons=_reasons, outcome=_outcome, verdict=calibration_verdict)
    page.globals.update(LIGHTS=LIGHTS, LARGEST_SIGMA=LARGEST_SIGMA, REFERENCE_METHOD=REFERENCE_METHOD)
    page.globals.update(training_chart=training_chart, ORDER_OPEN=ORDER_OPEN)
    page.tests.update(order_open=lambda row: order_open(vars(row)), wider=lambda row: wider_than_chance(vars(row)))
    html = page.get_template("page.html").render(parts, script_digest=SCRIPT_DIGEST)
    # No other script may run, whatever a file or a camera is called.
    script = html.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return html.replace(SCRIPT_DIGEST, f"sha256-{digest}", 1)


def best_method(rows: Sequence[BenchmarkRow]) -> str | None:
    """Return the method with the highest mean corrected PSNR, those apart that see several frames."""
    scores: dict[str, list[float]] = {}
    for row in rows:
        if row.corrected_psnr_db is not None and row.averaged == 1:
            scores.setdefault(row.method, []).append(row.corrected_psnr_db)
    return max(scores, key=lambda method: float(np.mean(scores[method]))) if scores else None


def _surely_best(rows: Sequence[BenchmarkRow]) -> str | None:
    """Return the best method of a burst where neither chance nor fixed pattern may put another first; else None."""
    best = best_method(rows)
    others = [row for row in rows if row.method != best and row.averaged == 1]
    leads = [least_gain_db(row, other) for row in rows if row.method == best for other in others]
    return best if all(lead is None or lead > 0 for lead in leads) else None


def _by_burst(rows: Sequence[BenchmarkRow]) -> list[Part]:
    """Return for every burst its rows, the best method, and the scale of the bars."""
    return [_burst_scores(burst, list(group)) for burst, group in groupby(rows, key=lambda row: row.burst)]


def _burst_scores(burst: str, rows: list[BenchmarkRow]) -> Part:
    values = [
        value
        for row in rows
        for value in (
            row.corrected_psnr_db,
            *row.corrected_psnr_db_interval,
            *(row.corrected_psnr_db_bracket or ()),
        )
    ]
    known = [value for value in values if value is not None]
    low, high = math.floor(min(known, default=0)), math.ceil(max(known, default=0) + 1e-9)
    first = rows[0]
    facts = f"{_iso(first.iso)}, frames {', '.join(map(str, first.frames))}, seed {first.seed}; bars {low} to {high} dB"
    if first.pattern_psnr_db_bracket is not None and first.pattern_psnr_db_bracket[0] is not None:
        source = PATTERN_SOURCES[first.pattern_source or "assumed"]
        facts += f"; the fixed pattern alone: at worst {first.pattern_psnr_db_bracket[0]:.1f} dB, {source}"
    if first.fixed_pattern_psnr_db is not None:
        facts += f", in truth {first.fixed_pattern_psnr_db:.1f} dB"
    if first.ssim_reference_psnr_db is not None:
        facts += f"; reference of SSIM: {first.ssim_reference_psnr_db:.1f} dB"
    return {"burst": burst, "facts": facts, "rows": rows, "best": _surely_best(rows), "low": low, "high": high}


def _cards(series: Sequence[JudgedSeries]) -> list[Part]:
    """Return for every series the verdict, what became of each frame, and the density of the deviations."""
    spreads = [s.verdict.sigma for s in series if s.verdict.accepted] or [
        s.verdict.sigma for s in series if math.isfinite(s.verdict.sigma)
    ]
    reach = 4 * max([*spreads, 1e-6])
    return [_series_card(f"deviations-{number}", one, reach) for number, one in enumerate(series)]


def _series_card(name: str, series: JudgedSeries, reach: float) -> Part:
    verdict, info = series.verdict, series.verdict.info
    good = sum(frame.accepted for frame in verdict.frames)
    facts = [info.camera or "unknown camera", _iso(info.iso), f"{info.width} × {info.height}"]
    facts += [f"{good} of {len(verdict.frames)} frames accepted"]
    facts += [f"{verdict.left_out} beyond the limit, not looked at"] if verdict.left_out else []
    return {
        "verdict": verdict,
        "facts": ", ".join(facts),
        "frames": list(zip_longest(verdict.frames, series.thumbnails)),
        "chart": deviation_chart(name, verdict, reach) if verdict.deviations else None,
    }


def _reasons(frame: FrameVerdict) -> str:
    return ", ".join(REASONS[reason] for reason in frame.reasons)


def _outcome(frame: FrameVerdict) -> str:
    outcome = "accepted" if frame.accepted else _reasons(frame) or "left out"
    detail = f" ({frame.detail})" if frame.detail and not frame.accepted else ""
    return f"{frame.file}: {outcome}{detail}"


def _settings(channels: Sequence[MeasuredChannel]) -> list[Part]:
    """Return for every ISO the channels, the doubts about them, and the photon-transfer charts."""
    return [_setting(number, name, group) for number, (name, group) in enumerate(_by_setting(channels))]


def _setting(number: int, name: str, channels: list[MeasuredChannel]) -> Part:
    profiles = [channel.profile for channel in channels]
    drawn = [(channel.profile, channel.bins) for channel in channels if channel.bins is not None and channel.bins.size]
    return {
        "name": name,
        "profiles": profiles,
        "doubts": [
            (", ".join(profile.channel for profile in profiles if reason in profile.reasons), reason)
            for reason in dict.fromkeys(reason for profile in profiles for reason in profile.reasons)
        ],
        "legend": [(profile.channel, CHANNEL_COLOURS.get(profile.channel, "c0")) for profile, _ in drawn],
        "charts": [chart(f"{kind}-{number}", drawn) for kind, chart in TRANSFER_CHARTS.items() if drawn],
    }


def _known_pattern(channels: Sequence[MeasuredChannel]) -> list[tuple[str, list[ChannelProfile]]]:
    """Return for every ISO the channels about whose fixed pattern anything is known."""
    known = [c for c in channels if (c.profile.prnu_percent, c.profile.dsnu_e, c.profile.defects) != (None, None, 0)]
    return [(name, [channel.profile for channel in group]) for name, group in _by_setting(known)]


def _by_setting(channels: Sequence[MeasuredChannel]) -> list[tuple[str, list[MeasuredChannel]]]:
    groups = groupby(channels, key=lambda channel: (channel.profile.camera, channel.profile.iso))
    return [(f"{camera or 'unknown camera'}, {_iso(iso)}", list(group)) for (camera, iso), group in groups]


def _reach(values: AnyFloat) -> float:
    """Return what the absolute values exceed in one place of 200 only: single outliers are to span no scale."""
    return float(np.nanpercentile(np.abs(values), 99.5))


def _iso(iso: float | None) -> str:
    return "ISO unknown" if iso is None else f"ISO {iso:g}"


def _number(value: float | None, digits: int, sign: str = "", unknown: str = "–") -> str:
    return unknown if value is None else f"{value:{sign}z,.{digits}f}".replace("-", "−")


def _digits(interval: tuple[float, float] | None) -> int:
    """Return how many digits after the point a value deserves that is known so well."""
    width = interval[1] - interval[0] if interval is not None else 0.0
    return min(max(-math.floor(math.log10(width / 6)), 0), 5) if width > 0 else 3


def _brief(value: float) -> str:
    return f"{value:.2g}".replace("-", "−")
