"""The strength of a baseline: found by the corrected score on bursts that it is not judged on."""

from collections.abc import Callable, Sequence

import numpy as np

from burst_denoise.burst.burst import Burst
from burst_denoise.burst.store import pooled_by_iso
from burst_denoise.score.baselines import UNTUNED, Baseline, baseline_method, baselines_for
from burst_denoise.score.metrics import corrected_mse, psnr_of_mse
from burst_denoise.sensor.moments import frame_moments

__all__ = ["TUNING_SIDE", "TuningSample", "best_strength", "tune", "tuned_strengths"]

TuningSample = Callable[[Baseline, float], float]
"""(baseline, strength) -> PSNR in dB on a part of a scene."""

START_STRENGTH = 0.85
"""Best on white noise, measured on the stabilised planes of simulated bursts at ISO 1600 and 6400."""
STRENGTH_STEPS = (1.5, 1.12, 1.04)
"""Ratios of neighbouring strengths tried, coarse to fine; half a step of 12 % can cost 0.05 dB."""
WEAKEST, STRONGEST = 0.1, 20.0
MOST_SATURATED = 0.5
"""Share of saturated photosites up to which a part of a burst is good to tune on."""
TUNING_BURSTS = 6
TUNING_FRAMES = 2
TUNING_SIDE = 384
"""Bursts, frames of each and photosites of each side that tuning looks at: seconds of work, whatever it is given."""


def tuned_strengths(bursts: Sequence[Burst]) -> dict[str, float]:
    """Return the strength of every baseline that scores best on these bursts of one sensor; BM3D is told the noise, 1.

    Parameters
    ----------
    bursts : sequence of Burst
        At least one, of at least three frames each; not those that the baselines will be judged on.
    """
    pooled = pooled_by_iso(bursts)
    baselines = baselines_for(bursts[0].info)
    return UNTUNED | {name: tune(baseline, pooled) for name, baseline in baselines.items() if name not in UNTUNED}


def tune(baseline: Baseline, bursts: Sequence[Burst]) -> float:
    """Return the strength with which a baseline scores best on bursts, which must not be those it is judged on.

    Parameters
    ----------
    baseline : Baseline
    bursts : sequence of Burst
        At least one, of at least three frames each.

    Returns
    -------
    float
        The strength of the best leave-one-out-corrected PSNR, averaged over the bursts, within 2 %.

    Notes
    -----
    Scores two frames in the central 384 x 384 photosites of at most six of the bursts.
    """
    if not bursts:
        raise ValueError("no burst to tune on")
    chosen = np.linspace(0, len(bursts) - 1, min(len(bursts), TUNING_BURSTS)).astype(int)
    samples = [sample for sample in (_tuning_sample(bursts[index]) for index in chosen) if sample is not None]
    return best_strength(baseline, samples) if samples else START_STRENGTH  # all overexposed


def best_strength(baseline: Baseline, samples: Sequence[TuningSample]) -> float:
    """Return the strength with which a baseline scores best on samples on average, within 2 %.

    Climbs from the strength that is best on white noise for as long as the score rises, in steps of a half, then of 12,
    then of 4 %.
    """

    def score(strength: float) -> float:
        return float(np.mean([sample(baseline, strength) for sample in samples]))

    best, best_score = START_STRENGTH, score(START_STRENGTH)
    for factor in [direction for step in STRENGTH_STEPS for direction in (step, 1 / step)]:
        while WEAKEST < best * factor < STRONGEST and (tried := score(best * factor)) > best_score:
            best, best_score = best * factor, tried
    return best


def _tuning_sample(burst: Burst) -> TuningSample | None:
    """Return the function (baseline, strength) -> corrected PSNR in dB on a well exposed part of the burst."""
    # An even distance from the corner keeps the CFA phase. The centre, or the corner that is best exposed.
    last = [max(0, size - TUNING_SIDE) // 2 * 2 for size in (burst.info.height, burst.info.width)]
    corners = [(last[0] // 4 * 2, last[1] // 4 * 2), (0, 0), (0, last[1]), (last[0], 0), (last[0], last[1])]
    windows = [(slice(top, top + TUNING_SIDE), slice(left, left + TUNING_SIDE)) for top, left in corners]
    shares = [float(burst.excluded[..., rows, columns].mean()) for rows, columns in windows]
    window = windows[0] if shares[0] < MOST_SATURATED else windows[int(np.argmin(shares))]
    if min(shares) > MOST_SATURATED:
        return None
    moments = frame_moments(burst.linear(index, window) for index in range(len(burst)))
    counts = ~burst.excluded[..., window[0], window[1]]
    images = [burst.linear(index, window) for index in np.linspace(0, len(burst) - 1, TUNING_FRAMES).astype(int)]

    def score(baseline: Baseline, strength: float) -> float:
        method = baseline_method(baseline, burst.profile, strength)
        errors = [corrected_mse(method(image, burst.frame(0)), moments.without(image), counts) for image in images]
        return psnr_of_mse(float(np.mean(errors)), peak=1)

    return score
