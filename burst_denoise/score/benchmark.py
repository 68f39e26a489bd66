"""Methods times bursts: every method on the same frames and photosites, scored, timed and weighed."""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from burst_denoise.arrays import Float
from burst_denoise.burst.burst import Burst
from burst_denoise.burst.merging import merge_frames
from burst_denoise.errors import InputFileError, ModelFileError, TooFewFramesError
from burst_denoise.score.baselines import Method, baseline_method, baselines_for
from burst_denoise.score.metrics import displayed_ssim, psnr_of_mse, relative_brightness
from burst_denoise.score.outputs import MatchedOutputs
from burst_denoise.score.pattern import BurstPattern, SensorPattern
from burst_denoise.score.reference import ReferenceScore
from burst_denoise.score.residual import ResidualScore
from burst_denoise.score.resources import costs_of, measured, versions
from burst_denoise.score.rows import BenchmarkRow, with_interval
from burst_denoise.score.unbiased import BurstScore, paired_bracket_db, paired_difference_db
from burst_denoise.sensor.noise_model import noise_variance

__all__ = ["REFERENCE_METHOD", "SINGLE_FRAME", "MergeMethod", "frames_with_outputs", "score_methods"]

WHITE = 1.0
"""Peak of every PSNR here: the white level, linear."""
REFERENCE_METHOD = "nlm-stabilised"
"""The row that all others are compared with, frame by frame."""
SINGLE_FRAME = "single frame"
MEANS = (2,)
"""Rows "mean of k"; left out where a burst has fewer than k + 2 frames."""


@dataclass(frozen=True)
class MergeMethod:
    """A method for half of a burst, merged; the other half judges it. Its row is called "NAME k", of k frames."""

    method: Method
    """Is given the mean, and a frame with the noise profile of the mean."""


def score_methods(
    bursts: Iterable[Burst],
    methods: Mapping[str, Method | MergeMethod | MatchedOutputs],
    *,
    strengths: Mapping[str, float],
    frames: int = 3,
    seed: int = 0,
    pattern: SensorPattern = SensorPattern(),
) -> Iterator[BenchmarkRow]:
    """Score methods and baselines on bursts; give each row as soon as it is measured.

    Parameters
    ----------
    bursts : iterable of Burst
        Of at least three frames each; not those the methods or the baselines were tuned on.
    methods : mapping from name to Method, MergeMethod or MatchedOutputs
        One that refuses a burst by `ModelFileError`, because it belongs to another sensor, has no row there; nor have
        outputs of other bursts.
    strengths : mapping from baseline name to strength
        As found by `burst_denoise.score.tuning.tuned_strengths`; baselines that are not in it are left out.
    frames : int
        Frames scored per burst, spread over it; all if there is no more than one beyond, for the interval's sake. No
        frame is in two means of several, so that they are independent; of short bursts fewer are scored. Where there
        are outputs, only frames that have one of each program.
    seed : int
        Chooses the frames: one at random from each of ``frames`` equal parts of the burst.
    pattern : SensorPattern
        What is known of the fixed pattern. With flats the frames that results are judged by are divided by the
        sensitivities, so what a method keeps of the pattern counts as error, as far as the flats are sure of it.

    Yields
    ------
    BenchmarkRow

    Raises
    ------
    TooFewFramesError
        If a burst has fewer than three frames.
    InputFileError
        If an output cannot be compared with its frame, or no frame has an output of each program.

    Notes
    -----
    All methods see the same frames and count on the same photosites: not those saturated in any frame, and not the
    burst's known defects, which the two scores would judge differently. Errors are averaged over the frames,
    then turned into dB. A clean reference is scaled by the one factor that brings it nearest to the burst's mean,
    because lamp and shutter are never exact. What the corrected score cannot see is fixed pattern. It matters where the
    error is small, as of means of frames and of soft, bright scenes: `BenchmarkRow.corrected_psnr_db_bracket` says by
    how much at most.
    """
    made_with = versions()
    for burst in bursts:
        evaluation = _EvaluationSet(burst, frames, seed, frames_with_outputs(burst, methods), pattern)
        rows = list(_rows(burst, methods, strengths))
        reference = next((_scored(row, evaluation) for row in rows if row.name == REFERENCE_METHOD), None)
        for row in rows:
            try:
                known = reference if row.name == REFERENCE_METHOD else None
                score, fields = known or _scored(row, evaluation)
            except ModelFileError:
                continue
            over_nlm = paired_difference_db(score, reference[0]) if reference else None
            bracket = paired_bracket_db(score, reference[0]) if reference and not known else None
            yield BenchmarkRow(
                **fields,
                **with_interval("over_nlm_db", over_nlm),
                over_nlm_db_bracket=bracket if evaluation.pattern else None,
                seed=seed,
                versions=made_with,
            )


@dataclass(frozen=True)
class _Row:
    """One row's worth: a method, and how many frames are averaged for it."""

    name: str
    method: Method | MatchedOutputs
    averaged: int = 1
    strength: float | None = None
    merged: bool = False


def _rows(
    burst: Burst, methods: Mapping[str, Method | MergeMethod | MatchedOutputs], strengths: Mapping[str, float]
) -> Iterator[_Row]:
    for count in (1, *MEANS):
        if len(burst) >= count + 2:
            yield _Row(f"mean of {count}" if count > 1 else SINGLE_FRAME, lambda image, _: image, averaged=count)
    for name, baseline in baselines_for(burst.info).items():
        if name in strengths:
            strength = strengths[name]
            yield _Row(name, baseline_method(baseline, burst.profile, strength), strength=strength)
    half = len(burst) // 2
    for name, method in methods.items():
        if isinstance(method, MergeMethod):
            if half > 1:
                yield _Row(f"{name} {half}", method.method, averaged=half, merged=True)
        elif not isinstance(method, MatchedOutputs) or method.frames_of(burst):
            yield _Row(name, method)


def frames_with_outputs(burst: Burst, methods: Mapping[str, object]) -> list[int]:
    """Return the numbers of the frames that all outputs of a burst have in common; all where there are no outputs.

    Raises
    ------
    InputFileError
        If no frame has an output of each program that has any of this burst.
    """
    found = {name: method.frames_of(burst) for name, method in methods.items() if isinstance(method, MatchedOutputs)}
    shared = set(range(len(burst))).intersection(*(numbers for numbers in found.values() if numbers))
    if not shared:
        raise InputFileError(
            f"{burst.name}: no frame has an output of all of {', '.join(found)}; score them one by one"
        )
    return sorted(shared)


class _EvaluationSet:
    """What all methods share on one burst."""

    def __init__(self, burst: Burst, frames: int, seed: int, among: Sequence[int], known: SensorPattern) -> None:
        total = len(burst)
        if total < 3:
            raise TooFewFramesError(f"{burst.name}: {total} frames; a benchmark needs at least 3")
        rng = np.random.default_rng(seed)
        scored = min(total if frames >= total - 1 else frames, len(among))
        mosaic = burst.mosaic
        self.burst = burst
        self.frames = [int(rng.choice(part)) for part in np.array_split(among, scored)]
        self.mean = burst.mean()
        self.counts = ~burst.excluded
        self.variance = mosaic.unpack(noise_variance(mosaic.pack(self.mean), burst.profile), self.mean.shape)
        self.residuals = ResidualScore(burst.linear, total, self.counts, self.variance, mosaic)
        # Pictures in colour have been demosaiced, mostly: their pattern is not white, and its strength is not known.
        self.pattern = None if burst.info.domain == "rgb" else BurstPattern(burst, known)
        self.clean: Float | None = None
        self.fixed_pattern_psnr_db: float | None = None
        if burst.clean is not None:
            clean = burst.clean[self.counts].astype(np.float64)
            self.clean = burst.clean * np.float32((self.mean[self.counts] @ clean) / (clean @ clean))
            # The fixed pattern is all that is wrong with the clean image, seen from the burst.
            fixed = self.score()
            fixed.add(self.clean, used=())
            self.fixed_pattern_psnr_db = fixed.psnr_db().value

    def score(self) -> BurstScore:
        """Return the score of a method that has no results yet."""
        of = self.pattern
        if of is None:
            return BurstScore(self.burst.linear, len(self.burst), self.counts, self.variance)
        return BurstScore(of.reference, len(self.burst), self.counts, self.variance, of.variance, of.least)

    def groups(self, averaged: int) -> list[list[int]]:
        """Return the frames that go into each result: a scored one and as many others; no frame is in two."""
        total = len(self.burst)
        scored = self.frames[: total // averaged]
        others = iter([index for index in range(total) if index not in scored])
        return [[first, *(next(others) for _ in range(averaged - 1))] for first in scored]

    def others_mean(self, used: Sequence[Float]) -> Float:
        """Return the mean of the frames that were not used."""
        total = len(self.burst)
        rest = total * self.mean.astype(np.float64) - np.sum(used, axis=0, dtype=np.float64)
        return (rest / (total - len(used))).astype(np.float32)


def _scored(row: _Row, evaluation: _EvaluationSet) -> tuple[BurstScore, dict[str, Any]]:
    """Return the score of a method on a burst, and what its `BenchmarkRow` says without looking at other methods."""
    burst, info = evaluation.burst, evaluation.burst.info
    score = evaluation.score()
    clean, counts = evaluation.clean, evaluation.counts
    true = None if clean is None else ReferenceScore(clean, counts)
    similar = []
    residuals = []
    costs = []
    brightness = []
    groups = evaluation.groups(row.averaged)
    for group in groups:
        used = [burst.linear(index) for index in group]
        if isinstance(row.method, MatchedOutputs):
            denoised = row.method.of_burst(burst, group[0])
        else:
            image = used[0] if len(used) == 1 else np.mean(used, axis=0)
            frame = burst.frame(group[0]).with_profile(burst.profile)
            if row.merged:
                merged = merge_frames(burst, group)
                image, frame = merged.mean, frame.with_profile(merged.profile)
            done = measured(partial(row.method, image, frame))
            denoised = done.result
            costs.append(done)
        score.add(denoised, group)
        brightness.append(relative_brightness(denoised, used[0], counts))
        others = evaluation.others_mean(used)
        residuals.append(evaluation.residuals.measure(used[0], denoised, others))
        similar.append(displayed_ssim(denoised, others if clean is None else clean, info, counts))
        if true is not None:
            true.add(denoised)
    residual = np.sum(residuals, axis=0)
    others_mse = score.temporal_variance().value / (len(burst) - row.averaged)
    return score, {
        "method": row.name,
        "burst": burst.name,
        "averaged": row.averaged,
        "iso": info.iso,
        **with_interval("corrected_psnr_db", score.psnr_db()),
        **({} if evaluation.pattern is None else _pattern_fields(score, evaluation.pattern)),
        "upsnr_db": score.upsnr_db(),
        **with_interval("true_psnr_db", None if true is None else true.psnr_db()),
        "fixed_pattern_psnr_db": evaluation.fixed_pattern_psnr_db,
        **with_interval("stabilised_psnr_db", score.stabilised_psnr_db()),
        **with_interval("worth_frames", score.worth_frames()),
        "ssim": statistics.fmean(similar),
        "ssim_reference_psnr_db": psnr_of_mse(others_mse, peak=WHITE) if clean is None else None,
        "residual_correlation": evaluation.residuals.correlation(residual),
        "signal_leak": evaluation.residuals.leak(residual),
        "brightness": statistics.fmean(brightness),
        **costs_of(costs, info),
        "strength": row.strength,
        "frames": tuple(group[0] for group in groups),
    }


def _pattern_fields(score: BurstScore, pattern: BurstPattern) -> dict[str, Any]:
    """Return what a row says of the fixed pattern and what it may do to the score."""
    return {
        "corrected_psnr_db_bracket": score.psnr_db_bracket(),
        "noise_kept": score.noise_kept(),
        "pattern_psnr_db_bracket": (
            psnr_of_mse(pattern.most, peak=WHITE),
            psnr_of_mse(pattern.least, peak=WHITE),
        ),
        "pattern_source": pattern.source,
    }
