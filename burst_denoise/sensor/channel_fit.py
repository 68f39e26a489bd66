"""What photon transfer says about every channel of a sensor, with 95 % intervals, and between two ISOs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from burst_denoise.arrays import Double
from burst_denoise.schemas import Estimate
from burst_denoise.sensor.intervals import equal_groups, jackknife, leave_one_out, root_of_variance
from burst_denoise.sensor.noise_model import SMALLEST_VARIANCE
from burst_denoise.sensor.photon_transfer import TransferSamples, binned_points, fit_line, ratio_of_sums

__all__ = ["ChannelNoise", "estimate_at", "fit_channels"]


@dataclass(frozen=True)
class ChannelNoise:
    """The noise of one plane at one ISO, linear units, with 95 % intervals."""

    shot_noise_scale: Estimate
    """S: its value in DN is the gain in DN per electron."""
    read_noise_variance: Estimate
    """O: variance at black; row, column and quantisation noise included."""
    read_noise_std: Estimate
    """Its square root, cut at 0."""
    row_noise_std: Estimate
    """What all photosites of a row share, redrawn in every frame."""
    column_noise_std: Estimate
    """What all photosites of a column share, redrawn in every frame."""
    flicker: float
    """Standard deviation of rows that is there in the lights and not in the darks, relative to the light, as far as it
    is beyond chance; 0 for a steady lamp."""
    correlation: float
    """Correlation of the noise of horizontal and vertical neighbours in the plane, row and column noise taken off."""
    drift: float
    """Excess of the variance over all frames over that by consecutive frames, relative; 0 where nothing drifts."""
    misfit: float
    """Root mean square departure of the bins from the line, relative, beyond what their scatter explains."""
    lowest_level: float
    highest_level: float
    """Mean linear values of the darkest and the brightest bin fitted."""
    bins: Double
    """(3, B): mean linear value, variance, photosites; ascending."""


def fit_channels(samples: Sequence[TransferSamples]) -> tuple[ChannelNoise, ...]:
    """Fit the noise of every plane to one or more stacks of one sensor at one ISO, with 95 % intervals.

    Parameters
    ----------
    samples : sequence of TransferSamples
        Several scenes, or pairs of frames at many light levels; all are fitted together.

    Returns
    -------
    tuple of ChannelNoise
        One per plane.

    Raises
    ------
    ValueError
        If there is no stack, or no photosite is away from the white level.

    Notes
    -----
    Intervals are those of the delete-a-group jackknife with Student's t: what is left out are whole bands of rows, so
    heavy tails, row noise and texture are as the data have them, and no formula for Gaussian noise is needed.

    References
    ----------
    Tukey, "Bias and confidence in not-quite large samples", Annals of Mathematical Statistics 29, 1958.
    """
    if not samples:
        raise ValueError("no stack given")
    return tuple(_fit_channel(samples, plane) for plane in range(len(samples[0].bins)))


def _fit_channel(samples: Sequence[TransferSamples], plane: int) -> ChannelNoise:
    bins = np.concatenate(equal_groups([stack.bins[plane] for stack in samples]), axis=1)
    points = binned_points(leave_one_out(bins)).swapaxes(1, 2)
    slope, intercept = fit_line(points)
    # Where nothing tells S (the lens cap was on), a slope that may not fall would look sure to be 0.
    free = jackknife(fit_line(points, falling=True)[0])
    read_variance = jackknife(intercept)
    level, variance, count = points[:, -1]
    fitted = np.maximum(slope[-1] * level + intercept[-1], SMALLEST_VARIANCE)
    used = np.flatnonzero(count > 0)
    used = used[np.argsort(level[used])]
    scatter = (bins[3].sum(axis=-1)[used] / count[used] - variance[used] ** 2) / count[used]
    beyond = np.average(((variance - fitted)[used] ** 2 - scatter) / fitted[used] ** 2, weights=count[used])
    return ChannelNoise(
        shot_noise_scale=Estimate(value=float(slope[-1]), low=max(free.low, 0.0), high=max(free.high, 0.0)),
        read_noise_variance=read_variance,
        read_noise_std=root_of_variance(read_variance),
        row_noise_std=_shared_std([stack.rows[plane] for stack in samples]),
        column_noise_std=_shared_std([stack.columns[plane] for stack in samples]),
        flicker=_flicker(samples, plane),
        correlation=float(ratio_of_sums(np.sum([stack.neighbours[plane] for stack in samples], axis=0))),
        drift=float(bins[4].sum() / bins[2].sum() - 1),
        misfit=math.sqrt(max(float(beyond), 0.0)),
        lowest_level=float(level[used[0]]),
        highest_level=float(level[used[-1]]),
        bins=points[:, -1, used],
    )


def _shared_variance(lines: Sequence[Double]) -> Estimate:
    """Return the variance that the photosites of a line share, from its sums (2, G) in every stack."""
    return jackknife(ratio_of_sums(leave_one_out(np.sum(equal_groups(lines), axis=0))))


def _shared_std(lines: Sequence[Double]) -> Estimate:
    return root_of_variance(_shared_variance(lines))


def _flicker(samples: Sequence[TransferSamples], plane: int) -> float:
    """Compare the row noise of what is brighter than the middle of all levels with that of the rest.

    Row noise is added by the sensor whatever the light; a lamp's bands are a share of the light.
    """
    halves = [half for stack in samples for half in zip(stack.levels[plane], stack.halves[plane], strict=True)]
    levels = [level for level, _ in halves]
    middle = (min(levels) + max(levels)) / 2
    bright = [lines for level, lines in halves if level > middle]
    if not bright:
        return 0.0
    lights, darks = _shared_variance(bright), _shared_variance([lines for level, lines in halves if level <= middle])
    light = float(np.mean([level for level in levels if level > middle]))
    return math.sqrt(max(lights.low - max(darks.high, 0.0), 0.0)) / light if light > 0 else 0.0


def estimate_at(
    low_iso: float, low: Estimate, high_iso: float, high: Estimate, iso: float, *, power: float = 2
) -> Estimate:
    """Return an estimate at an ISO between two calibrated ones.

    Parameters
    ----------
    low_iso, high_iso : float
        The calibrated ISOs, ascending.
    low, high : Estimate
        Found there.
    iso : float
    power : float
        Of the ISO in the other law: 2 for a variance, 1 for a standard deviation or the shot noise scale.

    Raises
    ------
    ValueError
        If ``iso`` does not lie between the two.

    Notes
    -----
    A straight line in log(ISO), log(value), or in log(ISO), value where a value is not positive. Noise before the
    amplifier grows with the ISO and noise after it does not, so the other plausible law is a iso^power + b through both
    ends; the interval is widened by the distance to it.
    """
    if not low_iso <= iso <= high_iso:
        raise ValueError(f"ISO {iso} does not lie between {low_iso} and {high_iso}")
    if low_iso == high_iso:
        return low
    share = math.log(iso / low_iso) / math.log(high_iso / low_iso)
    a, b = low.value, high.value
    if a > 0 and b > 0:
        value = a ** (1 - share) * b**share
        slopes = (1 - share) * value / a, share * value / b
    else:
        value = (1 - share) * a + share * b
        slopes = 1 - share, share
    other = a + (b - a) * (iso**power - low_iso**power) / (high_iso**power - low_iso**power)
    below = math.hypot(slopes[0] * (a - low.low), slopes[1] * (b - high.low)) + abs(other - value)
    above = math.hypot(slopes[0] * (low.high - a), slopes[1] * (high.high - b)) + abs(other - value)
    return Estimate(value=value, low=value - below, high=value + above)
