"""Methods times bursts: every method on the same frames and photosites, scored, timed and weighed."""

import math
import platform
import statistics
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import cv2
import numpy as np
import psutil

from burst_denoise import __version__
from burst_denoise.arrays import Float
from burst_denoise.burst.store import Burst
from burst_denoise.errors import ModelFileError, TooFewFramesError
from burst_denoise.frame.frame import Frame
from burst_denoise.schemas import Estimate
from burst_denoise.score.baselines import Method, baseline_method, baselines_for
from burst_denoise.score.metrics import SSIM_WINDOW, mean_squared_error, psnr_of_mse, rendering, ssim
from burst_denoise.score.residual import ResidualScore
from burst_denoise.score.rows import BenchmarkRow
from burst_denoise.score.unbiased import BurstScore, paired_difference_db
from burst_denoise.sensor.noise_model import noise_variance

__all__ = ["REFERENCE_METHOD", "SINGLE_FRAME", "score_methods"]

WHITE = 1.0
"""Peak of every PSNR here: the white level, linear."""
REFERENCE_METHOD = "nlm-stabilised"
"""The row that all others are compared with, frame by frame."""
SINGLE_FRAME = "single frame"
MEMORY_INTERVAL_S = 0.005
MEANS = (2,)
"""Rows "mean of k"; a burst that has not two frames more than k goes without."""


def score_methods(
    bursts: Iterable[Burst],
    methods: Mapping[str, Method],
    *,
    strengths: Mapping[str, float],
    frames: int = 3,
    seed: int = 0,
) -> Iterator[BenchmarkRow]:
    """Score methods and baselines on bursts; give each row as soon as it is measured.

    Parameters
    ----------
    bursts : iterable of Burst
        Of at least three frames each; not those the methods or the baselines were tuned on.
    methods : mapping from name to Method
        One that refuses a burst by `ModelFileError`, because it belongs to another sensor, has no row there.
    strengths : mapping from baseline name to strength
        As found by `burst_denoise.score.baselines.tuned_strengths`; baselines that are not in it are left out.
    frames : int
        Frames scored per burst, spread over it; all if there is no more than one beyond, for the interval's sake. No
        frame is in two means of several, so that they are independent; of short bursts fewer are scored.
    seed : int
        Chooses the frames: one at random from each of ``frames`` equal parts of the burst.

    Yields
    ------
    BenchmarkRow

    Raises
    ------
    TooFewFramesError
        If a burst has fewer than three frames.

    Notes
    -----
    All methods see the same frames and count on the same photosites: not those saturated in any frame, and not the
    burst's known defects, which the two scores would judge differently. Errors are averaged over the frames,
    then turned into dB. A clean reference is scaled by the one factor that brings it nearest to the burst's mean,
    because lamp and shutter are never exact. Beside the little noise of a mean of frames the fixed pattern, which the
    corrected score cannot see, is no longer small: `BenchmarkRow.fixed_pattern_psnr_db` says by how much.
    """
    versions = _versions()
    for burst in bursts:
        evaluation = _EvaluationSet(burst, frames, seed)
        rows = list(_rows(burst, methods, strengths))
        reference = next((_scored(row, evaluation) for row in rows if row.name == REFERENCE_METHOD), None)
        for row in rows:
            try:
                known = reference if row.name == REFERENCE_METHOD else None
                score, fields = known or _scored(row, evaluation)
            except ModelFileError:
                continue
            over_nlm = paired_difference_db(score, reference[0]) if reference else None
            yield BenchmarkRow(**fields, **_with_interval("over_nlm_db", over_nlm), seed=seed, versions=versions)


@dataclass(frozen=True)
class _Row:
    """One row's worth: a method, and how many frames are averaged for it."""

    name: str
    method: Method
    averaged: int = 1
    strength: float | None = None


def _rows(burst: Burst, methods: Mapping[str, Method], strengths: Mapping[str, float]) -> Iterator[_Row]:
    for count in (1, *MEANS):
        if len(burst) >= count + 2:
            yield _Row(f"mean of {count}" if count > 1 else SINGLE_FRAME, lambda image, _: image, averaged=count)
    for name, baseline in baselines_for(burst.info).items():
        if name in strengths:
            strength = strengths[name]
            yield _Row(name, baseline_method(baseline, burst.profile, strength), strength=strength)
    for name, method in methods.items():
        yield _Row(name, method)


class _EvaluationSet:
    """What all methods share on one burst."""

    def __init__(self, burst: Burst, frames: int, seed: int) -> None:
        total = len(burst)
        if total < 3:
            raise TooFewFramesError(f"{burst.name}: {total} frames; a benchmark needs at least 3")
        rng = np.random.default_rng(seed)
        scored = total if frames >= total - 1 else frames
        mosaic = burst.mosaic
        self.burst = burst
        self.frames = [int(rng.choice(part)) for part in np.array_split(np.arange(total), scored)]
        self.mean = burst.mean()
        self.counts = ~burst.excluded
        self.variance = mosaic.unpack(noise_variance(mosaic.pack(self.mean), burst.profile), self.mean.shape)
        self.residuals = ResidualScore(burst.linear, total, self.counts, self.variance, mosaic)
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
        return BurstScore(self.burst.linear, len(self.burst), self.counts, self.variance)

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

    def similarity(self, denoised: Float, reference: Float) -> float:
        """Return SSIM as a display shows the images; nan if they are too small."""
        info, shown = self.burst.info, rendering(denoised, self.burst.info)
        if min(shown.shape[1:]) < SSIM_WINDOW:
            return math.nan
        counted = rendering(self.counts.astype(np.float32), info.model_copy(update={"as_shot_neutral": None}))
        return ssim(shown, rendering(reference, info), peak=1.0, mask=counted > 0.99)


def _scored(row: _Row, evaluation: _EvaluationSet) -> tuple[BurstScore, dict[str, Any]]:
    """Return the score of a method on a burst, and what its `BenchmarkRow` says without looking at other methods."""
    burst, info = evaluation.burst, evaluation.burst.info
    score = evaluation.score()
    true = []
    similar = []
    residuals = []
    seconds = []
    peaks = []
    groups = evaluation.groups(row.averaged)
    for group in groups:
        used = [burst.linear(index) for index in group]
        denoised, taken, peak = _watched(row.method, used, burst.frame(group[0]).with_profile(burst.profile))
        seconds.append(taken)
        peaks.append(peak)
        score.add(denoised, group)
        others = evaluation.others_mean(used)
        residuals.append(evaluation.residuals.measure(used[0], denoised, others))
        similar.append(evaluation.similarity(denoised, others if evaluation.clean is None else evaluation.clean))
        if evaluation.clean is not None:
            true.append(mean_squared_error(denoised, evaluation.clean, evaluation.counts))
    residual = np.sum(residuals, axis=0)
    others_mse = score.temporal_variance().value / (len(burst) - row.averaged)
    return score, {
        "method": row.name,
        "burst": burst.name,
        "iso": info.iso,
        **_with_interval("corrected_psnr_db", score.psnr_db()),
        "upsnr_db": score.upsnr_db(),
        "true_psnr_db": psnr_of_mse(statistics.fmean(true), peak=WHITE) if true else None,
        "fixed_pattern_psnr_db": evaluation.fixed_pattern_psnr_db,
        **_with_interval("stabilised_psnr_db", score.stabilised_psnr_db()),
        **_with_interval("worth_frames", score.worth_frames()),
        "ssim": statistics.fmean(similar),
        "ssim_reference_psnr_db": None if true else psnr_of_mse(others_mse, peak=WHITE),
        "residual_correlation": evaluation.residuals.correlation(residual),
        "signal_leak": evaluation.residuals.leak(residual),
        "seconds_per_megapixel": statistics.median(seconds) / (info.height * info.width / 1e6),
        "peak_memory_mb": max(peaks) / 1e6,
        "strength": row.strength,
        "frames": tuple(group[0] for group in groups),
    }


def _with_interval(field: str, estimate: Estimate | None) -> dict[str, Any]:
    """Return a field of a row and the one that holds its interval."""
    return {field: estimate and estimate.value, f"{field}_interval": estimate and (estimate.low, estimate.high)}


def _watched(method: Method, images: Sequence[Float], frame: Frame) -> tuple[Float, float, int]:
    """Return the denoised mean of images, the seconds it took, and the highest resident memory of the process then."""
    process = psutil.Process()
    memory = [process.memory_info().rss]
    done = threading.Event()

    def sample() -> None:
        ended = False
        while not ended:
            ended = done.wait(MEMORY_INTERVAL_S)
            memory.append(process.memory_info().rss)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    began = time.perf_counter()
    try:
        denoised = method(images[0] if len(images) == 1 else np.mean(images, axis=0), frame)
        seconds = time.perf_counter() - began
    finally:
        done.set()
        sampler.join()
    return denoised, seconds, max(memory)


def _versions() -> dict[str, str]:
    """Return the versions of what computes, without importing what is not loaded."""
    found = {"burst-denoise": __version__, "python": platform.python_version(), "opencv": cv2.__version__}
    return found | {package: version(package) for package in ("numpy", "torch", "scikit-image")}
