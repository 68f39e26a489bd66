"""The report's page: what its template is given to draw, and the template's way to write a number."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined

from burst_denoise.arrays import Picture
from burst_denoise.burst.series import LARGEST_SIGMA, SeriesVerdict
from burst_denoise.reporting.figures import (
    CHANNEL_COLOURS,
    data_uri,
    deviation_chart,
    diverging,
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
    "render",
    "scores_part",
    "sensor_part",
    "series_part",
    "training_part",
]

Float = npt.NDArray[np.floating]
Part = dict[str, object]
"""What the template draws once, by the names that it knows; strings may hold any character."""

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
    page.filters.update(number=_number, digits=_digits, brief=_brief)
    page.globals.update(LIGHTS=LIGHTS, LARGEST_SIGMA=LARGEST_SIGMA, REFERENCE_METHOD=REFERENCE_METHOD)
    return page.get_template("page.html").render(parts)


def crop_part(crop: CropSet) -> Part:
    """Return the versions of a crop as pictures, and the residuals on one grey scale."""
    height, width = next(iter(crop.versions.values())).shape[:2]
    span = max((float(np.nanpercentile(np.abs(values), 99.5)) for values in crop.residuals.values()), default=0.0)
    residuals = {name: diverging(values, span, grey=True) for name, values in crop.residuals.items()}
    return {
        "shot": crop.shot,
        "width": width,
        "height": height,
        "versions": [(name, data_uri(picture)) for name, picture in crop.versions.items()],
        "residuals": [(name, data_uri(picture)) for name, picture in residuals.items()],
        "span": span,
        "unit": crop.residual_unit,
    }


def best_method(rows: Sequence[BenchmarkRow]) -> str | None:
    """Return the method with the highest mean corrected PSNR, those apart that average several frames."""
    scores: dict[str, list[float]] = {}
    for row in rows:
        if row.corrected_psnr_db is not None and not row.method.startswith("mean of"):
            scores.setdefault(row.method, []).append(row.corrected_psnr_db)
    return max(scores, key=lambda method: float(np.mean(scores[method]))) if scores else None


def scores_part(rows: Sequence[BenchmarkRow]) -> list[Part]:
    """Return for every burst its rows, the best method, and the scale of the bars."""
    return [_burst_scores(burst, list(group)) for burst, group in groupby(rows, key=lambda row: row.burst)]


def _burst_scores(burst: str, rows: list[BenchmarkRow]) -> Part:
    values = [value for row in rows for value in (row.corrected_psnr_db, *row.corrected_psnr_db_interval)]
    known = [value for value in values if value is not None]
    low, high = math.floor(min(known, default=0)), math.ceil(max(known, default=0) + 1e-9)
    first = rows[0]
    facts = f"{_iso(first.iso)}, frames {', '.join(map(str, first.frames))}, seed {first.seed}; bars {low} to {high} dB"
    if first.fixed_pattern_psnr_db is not None:
        facts += f"; the fixed pattern alone: {first.fixed_pattern_psnr_db:.1f} dB"
    if first.ssim_reference_psnr_db is not None:
        facts += f"; reference of SSIM: {first.ssim_reference_psnr_db:.1f} dB"
    return {"burst": burst, "facts": facts, "rows": rows, "best": best_method(rows), "low": low, "high": high}


def series_part(series: Sequence[JudgedSeries]) -> list[Part]:
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
    pictures = [*series.thumbnails, *[None] * (len(verdict.frames) - len(series.thumbnails))]
    return {
        "verdict": verdict,
        "facts": ", ".join(facts),
        "frames": [_frame(frame, picture) for frame, picture in zip(verdict.frames, pictures, strict=True)],
        "chart": deviation_chart(name, verdict, reach) if verdict.deviations else None,
    }


def _frame(frame: FrameVerdict, picture: Picture | None) -> Part:
    reasons = ", ".join(REASONS[reason] for reason in frame.reasons)
    outcome = "accepted" if frame.accepted else reasons or "left out"
    outcome += f" ({frame.detail})" if frame.detail and not frame.accepted else ""
    return {
        "accepted": frame.accepted,
        "reasons": reasons,
        "outcome": f"{frame.file}: {outcome}",
        "picture": None if picture is None else data_uri(picture, lossless=False),
    }


def sensor_part(channels: Sequence[MeasuredChannel]) -> list[Part]:
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
        "charts": [
            transfer_chart(f"transfer-{number}", drawn),
            transfer_misfit_chart(f"misfit-{number}", drawn),
        ]
        if drawn
        else [],
    }


def pattern_part(maps: Sequence[PatternMap], channels: Sequence[MeasuredChannel]) -> Part | None:
    """Return the channels by ISO where anything is known about their fixed pattern, and its maps; None without both."""
    known = [c for c in channels if (c.profile.prnu_percent, c.profile.dsnu_e, c.profile.defects) != (None, None, 0)]
    if not known and not maps:
        return None
    return {
        "settings": [(name, [channel.profile for channel in group]) for name, group in _by_setting(known)],
        "maps": [_map(one) for one in maps],
    }


def _map(pattern: PatternMap) -> Part:
    middle = float(np.nanmedian(pattern.values))
    centred = pattern.values - middle
    span = float(np.nanpercentile(np.abs(centred), 99.5))
    picture = data_uri(diverging(centred, span))
    return {
        "caption": pattern.caption,
        "picture": picture,
        "low": middle - span,
        "high": middle + span,
        "unit": pattern.unit,
    }


def training_part(record: TrainingRecord) -> Part:
    """Return where training came from, how far it got, and its curve."""
    return {"record": record, "chart": training_chart("training", record) if record.curve else None}


def _by_setting(channels: Sequence[MeasuredChannel]) -> list[tuple[str, list[MeasuredChannel]]]:
    groups = groupby(channels, key=lambda channel: (channel.profile.camera, channel.profile.iso))
    return [(f"{camera or 'unknown camera'}, {_iso(iso)}", list(group)) for (camera, iso), group in groups]


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
