"""The channels of a calibrated sensor: usable or not and why, at ISOs in between, as a table and in words."""

import math
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from burst_denoise.config import ChannelProfile, Estimate
from burst_denoise.errors import SeriesError
from burst_denoise.sensor.transfer_interval import estimate_at

__all__ = ["in_words", "profile_between", "sensor_table", "weaknesses"]

FEWEST_FRAMES = 8
WIDEST_GAIN = 0.05
"""Half an interval over its value: twice the precision that other programs' noise profiles show between copies."""
WIDEST_READ_NOISE = 0.15
LARGEST_CORRELATION = 0.05
"""Raw noise of neighbours of one colour is independent; 0.65 was measured in pictures developed by a camera."""
LARGEST_MISFIT = 0.05
"""Share by which the variance may depart from a straight line in the signal."""
LARGEST_DRIFT = 0.05
COARSEST_READ_NOISE_DN = 0.5
"""Below half a step of the converter, rounding is no longer noise of variance 1/12."""


def weaknesses(channel: ChannelProfile, *, developed: bool, misfit: float, drift: float) -> tuple[bool, list[str]]:
    """Return whether a channel's noise profile may be used, and what is wrong with it or to beware of.

    Parameters
    ----------
    channel : ChannelProfile
        Its ``usable`` and ``reasons`` are not looked at.
    developed : bool
        Whether the frames are pictures that a camera or program has developed.
    misfit : float
        Relative departure of the variance from a straight line, beyond chance.
    drift : float
        Share of the temporal variance that is slow drift.

    Returns
    -------
    usable : bool
    reasons : list of str
        Sentences for a photographer, the grave ones first; empty for a calibration without fault.
    """
    grave, mild = [], []
    if developed:
        grave.append("developed pictures: filtered and bent by a tone curve, they do not tell the sensor's own noise")
    elif channel.noise_correlation > LARGEST_CORRELATION:
        grave.append(
            f"the noise of neighbours is alike (correlation {channel.noise_correlation:.2f}): the camera has filtered "
            "it; switch its noise reduction off"
        )
    if misfit > LARGEST_MISFIT:
        grave.append(
            f"the noise does not grow in a straight line with the light ({misfit:.0%} off): "
            "lossy compression, noise reduction or a wrong black level"
        )
    gain_width = _half_width(channel.gain_dn_per_e_interval, channel.gain_dn_per_e)
    if not math.isfinite(gain_width):
        grave.append("the gain cannot be measured: nothing brighter than black is in the frames")
    elif gain_width > WIDEST_GAIN:
        grave.append(
            f"the gain is known only to {gain_width:.0%}: shoot a scene with both shadows and bright parts, more frames"
        )
    elif channel.read_noise_variance <= 0:
        grave.append(
            "no noise is left at black: the black level is wrong, or nothing dark is in the picture; add lens-cap "
            "frames (--darks)"
        )
    read_width = _half_width(channel.read_noise_std_dn_interval, channel.read_noise_std_dn)
    if channel.read_noise_variance > 0 and read_width > WIDEST_READ_NOISE:
        mild.append(
            f"the read noise is known only to {read_width:.0%}: shoot a scene with deep shadows, or add lens-cap "
            "frames (--darks)"
        )
    if 0 < channel.read_noise_std_dn < COARSEST_READ_NOISE_DN:
        mild.append(
            f"the read noise of {channel.read_noise_std_dn:.2f} DN is finer than the steps of the converter: it is "
            "known only roughly"
        )
    if drift > LARGEST_DRIFT:
        mild.append(f"the light drifted during the burst ({drift:.0%} of the variance); it was taken out")
    if channel.frames < FEWEST_FRAMES:
        mild.append(f"only {channel.frames} frames; {FEWEST_FRAMES} or more make the intervals narrower")
    return not grave, grave + mild


def profile_between(channels: Sequence[ChannelProfile], iso: float) -> list[ChannelProfile]:
    """Return the channels of a sensor at an ISO between two calibrated ones, with the uncertainty of interpolating.

    Raises
    ------
    SeriesError
        If ``iso`` lies outside the calibrated span.
    """
    known = sorted({channel.iso for channel in channels if channel.iso is not None})
    if not known or not known[0] < iso < known[-1]:
        raise SeriesError(
            f"ISO {iso:g} is outside the calibrated span ({', '.join(f'{value:g}' for value in known) or 'unknown'}); "
            "calibrate below and above it"
        )
    low_iso = max(value for value in known if value <= iso)
    high_iso = min(value for value in known if value >= iso)
    lows = [channel for channel in channels if channel.iso == low_iso]
    highs = [channel for channel in channels if channel.iso == high_iso]
    return [_between(low, high, low_iso, high_iso, iso) for low, high in zip(lows, highs, strict=True)]


def _between(low: ChannelProfile, high: ChannelProfile, low_iso: float, high_iso: float, iso: float) -> ChannelProfile:
    changes: dict[str, Any] = {"iso": iso, "frames": min(low.frames, high.frames)}
    for name in ("gain_dn_per_e", "read_noise_std_dn", "row_noise_std_dn", "column_noise_std_dn"):
        ends = [
            Estimate(
                value=getattr(end, name),
                low=getattr(end, f"{name}_interval")[0],
                high=getattr(end, f"{name}_interval")[1],
            )
            for end in (low, high)
        ]
        found = estimate_at(low_iso, ends[0], high_iso, ends[1], iso, power=1)
        changes |= {name: found.value, f"{name}_interval": (max(found.low, 0.0), found.high)}
    span = low.white_level_dn - low.black_level_dn
    changes["shot_noise_scale"] = changes["gain_dn_per_e"] / span
    changes["read_noise_variance"] = (changes["read_noise_std_dn"] / span) ** 2
    changes["usable"] = low.usable and high.usable
    changes |= {"dsnu_e": None, "dsnu_e_interval": None, "dsnu_left_e": None}
    grave = [reason for end in (low, high) if not end.usable for reason in end.reasons]
    changes["reasons"] = (f"interpolated between ISO {low_iso:g} and {high_iso:g}", *dict.fromkeys(grave))
    return low.model_copy(update=changes)


def sensor_table(channels: Sequence[ChannelProfile]) -> Table:
    """Return channels as a table for the terminal, each value with half its 95 % interval."""
    result = Table()
    result.add_column("ISO", justify="right")
    result.add_column("channel")
    for title in ("gain DN/e-", "read noise DN", "row noise DN", "column noise DN", "PRNU %", "DSNU e-", "defects"):
        result.add_column(title, justify="right")
    previous: object = None
    for channel in channels:
        if previous not in (None, channel.iso):
            result.add_section()
        result.add_row(
            "-" if channel.iso is None else f"{channel.iso:g}",
            channel.channel,
            _with_interval(channel.gain_dn_per_e, channel.gain_dn_per_e_interval),
            _with_interval(channel.read_noise_std_dn, channel.read_noise_std_dn_interval),
            _with_interval(channel.row_noise_std_dn, channel.row_noise_std_dn_interval),
            _with_interval(channel.column_noise_std_dn, channel.column_noise_std_dn_interval),
            _with_interval(channel.prnu_percent, channel.prnu_percent_interval),
            _with_interval(channel.dsnu_e, channel.dsnu_e_interval),
            str(channel.defects),
        )
        previous = channel.iso
    return result


def in_words(channels: Sequence[ChannelProfile]) -> str:
    """Return the verdict on a sensor calibration as a paragraph: usable or not, because; each reason said once."""
    lines = []
    for iso in dict.fromkeys(channel.iso for channel in channels):
        found = [channel for channel in channels if channel.iso == iso]
        usable = all(channel.usable for channel in found)
        title = f"{found[0].camera or 'unknown camera'}{'' if iso is None else f', ISO {iso:g}'}"
        lines.append(f"{title}: {'usable' if usable else 'NOT usable'}")
        told: dict[str, list[str]] = {}
        for channel in found:
            for reason in channel.reasons:
                told.setdefault(reason, []).append(channel.channel)
        for reason, names in told.items():
            lines.append(f"  {'' if len(names) == len(found) else ', '.join(names) + ': '}{reason}")
    return "\n".join(lines)


def _with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None or interval is None:
        return "-"
    if interval[0] <= 0 <= value:
        return f"below {interval[1]:.2g}"
    half = (interval[1] - interval[0]) / 2
    decimals = max(0, 1 - int(f"{half:.1e}".partition("e")[2])) if half > 0 else 3  # two digits of the interval
    return f"{value:.{decimals}f} ± {half:.{decimals}f}"


def _half_width(interval: tuple[float, float], value: float) -> float:
    low, high = interval
    return (high - low) / 2 / value if value > 0 else float("inf")
