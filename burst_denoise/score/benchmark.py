"""Methods times bursts: every method on the same frames and photosites, scored, timed and weighed."""

import contextlib
import math
import platform
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Self

import cv2
import numpy as np
import numpy.typing as npt
import psutil

from burst_denoise import __version__
from burst_denoise.arrays import Float, Mask
from burst_denoise.burst.store import Burst
from burst_denoise.errors import ModelFileError, TooFewFramesError
from burst_denoise.frame.frame import Frame
from burst_denoise.schemas import Estimate, NoiseProfile
from burst_denoise.score.baselines import Baseline, baselines_for
from burst_denoise.score.metrics import SSIM_WINDOW, mean_squared_error, psnr_of_mse, rendering, ssim
from burst_denoise.score.residual import ResidualScore
from burst_denoise.score.rows import BenchmarkRow
from burst_denoise.score.unbiased import BurstScore, paired_difference_db
from burst_denoise.sensor.noise_model import noise_variance

__all__ = ["REFERENCE_METHOD", "Method", "score_methods"]

Method = Callable[[Float, Frame], Float]
"""(noisy image, linear; the frame that it is of, which carries the burst's noise profile) -> denoised image, linear.
May refuse a sensor by `ModelFileError`."""

WHITE = 1.0
"""Peak of every PSNR here: the white level, linear."""
REFERENCE_METHOD = "nlm-stabilised"
"""The row that all others are compared with, frame by frame."""
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
        evaluation = _EvaluationSet.of(burst, frames, seed)
        rows = list(_rows(burst, methods, strengths))
        reference = next((_measured(method, evaluation) for method in rows if method.name == REFERENCE_METHOD), None)
        for method in rows:
            try:
                found = (
                    reference
                    if reference is not None and method.name == REFERENCE_METHOD
                    else _measured(method, evaluation)
                )
            except ModelFileError:
                continue
            yield _row(method, evaluation, found, reference, seed, versions)


@dataclass(frozen=True)
class _Row:
    """One row's worth: a function of the images of one frame, or of ``averaged`` frames."""

    name: str
    denoise: Callable[[Sequence[Float], Frame], Float]
    averaged: int = 1
    strength: float | None = None


def _rows(burst: Burst, methods: Mapping[str, Method], strengths: Mapping[str, float]) -> Iterator[_Row]:
    yield _Row("single frame", lambda images, _: images[0])
    for count in MEANS:
        if len(burst) >= count + 2:
            yield _Row(f"mean of {count}", lambda images, _: np.asarray(np.mean(images, axis=0)), averaged=count)
    for name, baseline in baselines_for(burst.info).items():
        if name in strengths:
            strength = strengths[name]
            yield _Row(name, _first(_on_planes(baseline, burst.profile, strength)), strength=strength)
    for name, method in methods.items():
        yield _Row(name, _first(method))


def _first(method: Method) -> Callable[[Sequence[Float], Frame], Float]:
    return lambda images, frame: method(images[0], frame)


def _on_planes(baseline: Baseline, profile: NoiseProfile, strength: float) -> Method:
    def denoise(image: Float, frame: Frame) -> Float:
        planes = baseline(frame.mosaic.pack(image), frame.info, profile, strength)
        return frame.mosaic.unpack(planes, image.shape)

    return denoise


@dataclass(frozen=True)
class _EvaluationSet:
    """What all methods share on one burst."""

    burst: Burst
    frames: tuple[int, ...]
    mean: Float
    counts: Mask
    variance: Float
    residuals: ResidualScore
    clean: Float | None
    fixed_pattern_psnr_db: float | None

    @classmethod
    def of(cls, burst: Burst, frames: int, seed: int) -> "_EvaluationSet":
        total = len(burst)
        if total < 3:
            raise TooFewFramesError(f"{burst.name}: {total} frames; a benchmark needs at least 3")
        rng = np.random.default_rng(seed)
        scored = total if frames >= total - 1 else frames
        chosen = tuple(int(rng.choice(part)) for part in np.array_split(np.arange(total), scored))
        mosaic, mean, counts = burst.mosaic, burst.mean(), ~burst.excluded
        variance = mosaic.unpack(noise_variance(mosaic.pack(mean), burst.profile), mean.shape)
        residuals = ResidualScore(burst.linear, total, counts, variance, mosaic)
        if burst.clean is None:
            return cls(burst, chosen, mean, counts, variance, residuals, None, None)
        clean = burst.clean[counts].astype(np.float64)
        scaled = burst.clean * np.float32((mean[counts] @ clean) / (clean @ clean))
        # The fixed pattern is all that is wrong with the clean image, seen from the burst.
        fixed = BurstScore(burst.linear, total, counts, variance)
        fixed.add(scaled, used=())
        return cls(burst, chosen, mean, counts, variance, residuals, scaled, _finite(fixed.psnr_db().value))

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


@dataclass(frozen=True)
class _Measured:
    """What a method gave."""

    frames: tuple[int, ...]
    score: BurstScore
    true_mse: float | None
    ssim: float
    residuals: npt.NDArray[np.float64]
    seconds: float
    peak_bytes: int


def _measured(method: _Row, evaluation: _EvaluationSet) -> _Measured:
    burst = evaluation.burst
    score = BurstScore(burst.linear, len(burst), evaluation.counts, evaluation.variance)
    true, similar, residuals, seconds, peaks = [], [], [], [], []
    groups = evaluation.groups(method.averaged)
    for group in groups:
        used = [burst.linear(index) for index in group]
        frame = burst.frame(group[0]).with_profile(burst.profile)
        with _ResourceMonitor() as monitor:
            denoised = method.denoise(used, frame)
        seconds.append(monitor.seconds)
        peaks.append(monitor.peak_bytes)
        score.add(denoised, group)
        others = evaluation.others_mean(used)
        residuals.append(evaluation.residuals.measure(used[0], denoised, others))
        similar.append(evaluation.similarity(denoised, others if evaluation.clean is None else evaluation.clean))
        if evaluation.clean is not None:
            true.append(mean_squared_error(denoised, evaluation.clean, evaluation.counts))
    return _Measured(
        frames=tuple(group[0] for group in groups),
        score=score,
        true_mse=statistics.fmean(true) if true else None,
        ssim=statistics.fmean(similar),
        residuals=np.sum(residuals, axis=0),
        seconds=statistics.median(seconds),
        peak_bytes=max(peaks),
    )


def _row(
    method: _Row,
    evaluation: _EvaluationSet,
    found: _Measured,
    reference: _Measured | None,
    seed: int,
    versions: dict[str, str],
) -> BenchmarkRow:
    info, score = evaluation.burst.info, found.score
    corrected, stabilised, worth = score.psnr_db(), score.stabilised_psnr_db(), score.worth_frames()
    over_nlm = None if reference is None else paired_difference_db(score, reference.score)
    reference_mse = score.temporal_variance().value / (len(evaluation.burst) - method.averaged)
    return BenchmarkRow(
        method=method.name,
        burst=evaluation.burst.name,
        iso=info.iso,
        corrected_psnr_db=_finite(corrected.value),
        corrected_psnr_db_interval=(_finite(corrected.low), _finite(corrected.high)),
        upsnr_db=_finite(score.upsnr_db()),
        true_psnr_db=None if found.true_mse is None else _finite(psnr_of_mse(found.true_mse, peak=WHITE)),
        fixed_pattern_psnr_db=evaluation.fixed_pattern_psnr_db,
        stabilised_psnr_db=_finite(stabilised.value),
        stabilised_psnr_db_interval=(_finite(stabilised.low), _finite(stabilised.high)),
        over_nlm_db=None if over_nlm is None else over_nlm.value,
        over_nlm_db_interval=None if over_nlm is None else _interval(over_nlm),
        worth_frames=_finite(worth.value),
        worth_frames_interval=_interval(worth),
        ssim=_finite(found.ssim),
        ssim_reference_psnr_db=None
        if evaluation.clean is not None
        else _finite(psnr_of_mse(reference_mse, peak=WHITE)),
        residual_correlation=evaluation.residuals.correlation(found.residuals),
        signal_leak=evaluation.residuals.leak(found.residuals),
        seconds_per_megapixel=found.seconds / (info.height * info.width / 1e6),
        peak_memory_mb=found.peak_bytes / 1e6,
        strength=method.strength,
        seed=seed,
        frames=found.frames,
        versions=versions,
    )


def _interval(estimate: Estimate) -> tuple[float, float] | None:
    return (estimate.low, estimate.high) if math.isfinite(estimate.high - estimate.low) else None


def _finite(value: float | None) -> float | None:
    """Return a number that JSON can hold, or None."""
    return value if value is not None and math.isfinite(value) else None


class _ResourceMonitor:
    """Measures what happens inside a ``with``: wall seconds and the highest resident memory of the process."""

    def __enter__(self) -> Self:
        self._process = psutil.Process()
        self.peak_bytes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._note()
        self._thread.start()
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._began
        self._done.set()
        self._thread.join()
        self._note()

    def _sample(self) -> None:
        while not self._done.wait(MEMORY_INTERVAL_S):
            self._note()

    def _note(self) -> None:
        self.peak_bytes = max(self.peak_bytes, int(self._process.memory_info().rss))


def _versions() -> dict[str, str]:
    """Return the versions of what computes, without importing what is not loaded."""
    found = {"burst-denoise": __version__, "python": platform.python_version(), "opencv": cv2.__version__}
    for package in ("numpy", "torch", "scikit-image"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
