"""What was found, in words: channels of a sensor, usable or not and why; noise that the prior does not know; a gain."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from burst_denoise.errors import SeriesError
from burst_denoise.schemas import ChannelProfile, Estimate, NoiseStructure, TrainingRecord
from burst_denoise.sensor.channel_fit import estimate_at

__all__ = [
    "PAYS_DB",
    "assess_channel",
    "calibration_verdict",
    "contradictions",
    "interpolate_channels",
    "unknown_noise",
    "unknown_noise_of_shot",
    "worth_frames",
]

FEWEST_FRAMES = 8
WIDEST_GAIN = 0.05
"""Half an interval over its value: twice the precision that other programs' noise profiles show between copies."""
WIDEST_READ_NOISE = 0.15
LARGEST_CORRELATION = 0.05
"""Raw noise of neighbours of one colour is independent; 0.65 was measured in pictures developed by a camera."""
LARGEST_MISFIT = 0.05
"""Share by which the variance may depart from a straight line in the signal."""
LARGEST_DRIFT = 0.05
LARGEST_FLICKER = 0.003
"""Relative flicker of the light: bands of half a per cent, which put the gain of a well exposed scene off by its
interval."""
LARGEST_GAIN_RATIO = 1.15
"""Ratio of the gains of two channels of one sensor, which share its converter; a maker may
scale red and blue a little."""
NOTHING_AT_BLACK = (
    "no noise is left at black (its variance comes out negative): the black level is wrong, the light flickered, or "
    "nothing dark is in the picture; add dark frames (--darks)"
)
LARGEST_NEIGHBOUR_CORRELATION = 0.03
"""Correlation of neighbours' noise on a sensor whose photosites are read one by one; 0.01 was measured."""
LARGEST_LINE_NOISE = 0.15
"""Standard deviation that the photosites of a line share, in units of the noise of one: the prior has met as much."""
LARGEST_KURTOSIS = 0.5
"""Excess kurtosis: the prior has met heavy-tailed read noise, but shot noise has covered it."""
LARGEST_LINE_NOISE_OF_SHOT = 0.1
"""The same in the residual of a single shot: up to 0.07 of ordinary noise on ten scenes."""
PAYS_DB = 0.05
"""Gain over the prior from which a calibration pays: less is not seen, and differs from scene to scene."""
COARSEST_READ_NOISE_DN = 0.5
"""Read noise, DN, below which rounding is no longer noise of variance 1/12."""


def assess_channel(
    channel: ChannelProfile, *, developed: bool, misfit: float, drift: float, flicker: float
) -> tuple[bool, list[str]]:
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
    flicker : float
        Standard deviation of rows in the lights beyond that in the darks, relative to the light.

    Returns
    -------
    usable : bool
    reasons : list of str
        Sentences for a photographer, the errors ones first; empty for a calibration without fault.
    """
    alike = channel.noise_correlation
    read_noise = channel.read_noise_std_dn
    below_a_step = 0 < read_noise < COARSEST_READ_NOISE_DN
    frames = channel.frames
    gain_width = _half_width(_measured(channel, "gain_dn_per_e"))
    read_width = _half_width(_measured(channel, "read_noise_std_dn"))
    errors = {
        "developed pictures: filtered and bent by a tone curve, they do not tell the sensor's own noise": developed,
        f"the noise of neighbours is alike (correlation {alike:.2f}): the camera has filtered it; switch its noise "
        "reduction off": alike > LARGEST_CORRELATION and not developed,
        f"the noise does not grow in a straight line with the light ({misfit:.0%} off): lossy compression, noise "
        "reduction or a wrong black level": misfit > LARGEST_MISFIT,
        "the gain cannot be measured: nothing brighter than black is in the frames": not math.isfinite(gain_width),
        f"the gain is known only to {gain_width:.0%}: shoot a scene with both shadows and bright parts, more "
        "frames": WIDEST_GAIN < gain_width < math.inf,
        f"rows are noisier in the lights than in the darks (by {flicker:.1%} of the light): a lamp flickers in bands; "
        "shoot in steady light": flicker > LARGEST_FLICKER,
        NOTHING_AT_BLACK: channel.read_noise_variance <= 0 and gain_width <= WIDEST_GAIN,
    }
    warnings = {
        f"the read noise is known only to {read_width:.0%}: shoot a scene with deep shadows, or add dark frames "
        "(--darks)": channel.read_noise_variance > 0 and read_width > WIDEST_READ_NOISE,
        f"the read noise of {read_noise:.2f} DN is finer than the steps of the converter: it is known only "
        "roughly": below_a_step,
        f"the light drifted during the burst ({drift:.0%} of the variance); it was taken out": drift > LARGEST_DRIFT,
        f"only {frames} frames; {FEWEST_FRAMES} or more make the intervals narrower": frames < FEWEST_FRAMES,
    }
    return not any(errors.values()), [sentence for sentence, holds in (errors | warnings).items() if holds]


def contradictions(channels: Sequence[ChannelProfile]) -> list[str]:
    """Return why the channels of a sensor at one ISO cannot be true together; empty where they can.

    What `assess_channel` finds is in a profile's ``reasons``; this is asked of profiles that others made, too.
    """
    found = [NOTHING_AT_BLACK] if any(channel.read_noise_variance < 0 for channel in channels) else []
    if any(channel.shot_noise_scale < 0 for channel in channels):
        found.append("the noise falls with the light, which no sensor's does")
    low, high = (by(channels, key=lambda channel: channel.gain_dn_per_e) for by in (min, max))
    apart = low.gain_dn_per_e_interval[1] < high.gain_dn_per_e_interval[0]
    if apart and high.gain_dn_per_e > LARGEST_GAIN_RATIO * low.gain_dn_per_e:
        gains = ", ".join(f"{channel.channel} {channel.gain_dn_per_e:.3g}" for channel in channels)
        found.append(
            f"the channels disagree about the gain ({gains} DN/e-) by more than their intervals allow: the light "
            "flickered, or something moved"
        )
    return found


def unknown_noise(structure: NoiseStructure) -> list[str]:
    """Return in words what noise has that the prior does not know; empty where it is ordinary."""
    alike, tails, error = structure.correlation, structure.excess_kurtosis, structure.black_error_dn
    found = []
    if abs(alike) > LARGEST_NEIGHBOUR_CORRELATION:
        found.append(f"neighbouring photosites have like noise (correlation {alike:.2f})")
    found += _banding({"row noise": structure.row_noise, "column noise": structure.column_noise}, LARGEST_LINE_NOISE)
    if tails > LARGEST_KURTOSIS:
        found.append(f"outliers are frequent (excess kurtosis {tails:.1f})")
    if error:
        side = "above" if error > 0 else "below"
        found.append(f"the true black level lies about {abs(error):.0f} DN {side} the one in the files")
    return found


def unknown_noise_of_shot(structure: NoiseStructure) -> list[str]:
    """Return in words what the noise of a single shot has that the prior does not know, as far as the shot tells.

    Correlation and heavy tails are not told: texture passes for them.
    """
    lines = {"row noise": structure.row_noise, "column noise": structure.column_noise}
    return _banding(lines, LARGEST_LINE_NOISE_OF_SHOT)


def _banding(lines: Mapping[str, float], largest: float) -> list[str]:
    """Return in words which of the noises of lines are larger than that."""
    return [
        f"{name} (banding) of {share:.2f} of a photosite's noise" for name, share in lines.items() if share > largest
    ]


def calibration_verdict(record: TrainingRecord) -> list[str]:
    """Return in words whether a calibration from the prior pays, and what of the noise the prior does not know.

    Empty for a model that was trained from scratch, or by a version that measured no gain.
    """
    if record.prior_psnr_db is None or record.gain_db is None:
        return []
    below_noise_db = record.prior_psnr_db - record.start_psnr_db
    prior_frames, frames = (worth_frames(below_noise_db + gain_db) for gain_db in (0, record.gain_db))
    gain = f"{record.gain_db:.2f} \N{PLUS-MINUS SIGN} {record.gain_std_error_db or 0:.2f} dB"
    if record.prior_share is not None and record.prior_share < 1:
        digits = 1 if frames - prior_frames >= 0.1 else 2
        verdict = (
            f"calibration pays: better than the prior by {gain}; a denoised shot is worth {frames:.{digits}f} averaged "
            f"frames instead of {prior_frames:.{digits}f}"
        )
    else:
        verdict = (
            f"the prior with your noise profile is as good: gained {gain}; a denoised shot is worth {prior_frames:.1f} "
            "averaged frames"
        )
    if record.noise_structure is None:
        return [verdict]
    found = unknown_noise(record.noise_structure)
    if found:
        return [verdict, f"what the prior does not know of this sensor: {'; '.join(found)}"]
    return [verdict, "the noise is ordinary: independent between photosites, without banding or heavy tails"]


def worth_frames(gain_db: float) -> float:
    """Return how many averaged frames leave the error of a result that lies so far below the noise of one."""
    return float(10 ** (gain_db / 10))


def interpolate_channels(channels: Sequence[ChannelProfile], iso: float) -> list[ChannelProfile]:
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
    measured: dict[str, Any] = {}
    for name in ("gain_dn_per_e", "read_noise_std_dn", "row_noise_std_dn", "column_noise_std_dn"):
        found = estimate_at(low_iso, _measured(low, name), high_iso, _measured(high, name), iso, power=1)
        measured |= {name: found.value, f"{name}_interval": (max(found.low, 0.0), found.high)}
    span = low.white_level_dn - low.black_level_dn
    errors = [reason for end in (low, high) if not end.usable for reason in end.reasons]
    return low.model_copy(
        update=measured
        | {
            "iso": iso,
            "frames": min(low.frames, high.frames),
            "shot_noise_scale": measured["gain_dn_per_e"] / span,
            "read_noise_variance": (measured["read_noise_std_dn"] / span) ** 2,
            **dict.fromkeys(("dsnu_e", "dsnu_e_interval", "residual_dsnu_e")),
            "usable": low.usable and high.usable,
            "reasons": (f"interpolated between ISO {low_iso:g} and {high_iso:g}", *dict.fromkeys(errors)),
        }
    )


def _measured(channel: ChannelProfile, name: str) -> Estimate:
    low, high = getattr(channel, f"{name}_interval")
    return Estimate(value=getattr(channel, name), low=low, high=high)


def _half_width(estimate: Estimate) -> float:
    """Return half of an interval over its value."""
    return (estimate.high - estimate.low) / 2 / estimate.value if estimate.value > 0 else math.inf
