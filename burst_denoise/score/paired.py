"""Methods times noisy/clean pairs of pictures: every method on each noisy picture, scored against the clean one."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from burst_denoise.arrays import Float
from burst_denoise.errors import InputFileError, ModelFileError
from burst_denoise.frame.frame import Frame
from burst_denoise.frame.geometry import centre_window
from burst_denoise.io.pairs import NoisyCleanPair
from burst_denoise.score.baselines import (
    UNTUNED,
    Baseline,
    Method,
    baseline_method,
    baselines_for,
)
from burst_denoise.score.benchmark import REFERENCE_METHOD, SINGLE_FRAME
from burst_denoise.score.metrics import displayed_ssim, psnr, relative_brightness
from burst_denoise.score.outputs import MatchedOutputs, Source
from burst_denoise.score.reference import ReferenceScore, reference_difference_db
from burst_denoise.score.residual import ResidualScore
from burst_denoise.score.resources import costs_of, measured, versions
from burst_denoise.score.rows import BenchmarkRow, with_interval
from burst_denoise.score.tuning import TUNING_SIDE, TuningSample, best_strength
from burst_denoise.sensor.noise_model import noise_variance
from burst_denoise.sensor.photon_transfer import fit_measurements, measure_pair_noise

__all__ = ["paired_strengths", "profiled", "score_pair", "source_of"]

TUNING_PAIRS = 12
"""Pairs that tuning looks at, the centre of each."""


def score_pair(
    pair: NoisyCleanPair, methods: Mapping[str, Method | MatchedOutputs], strengths: Mapping[str, float]
) -> Iterator[BenchmarkRow]:
    """Score methods and baselines on a pair of pictures; give each row as soon as it is measured.

    Parameters
    ----------
    pair : NoisyCleanPair
        Its files are decoded here.
    methods : mapping from name to Method or MatchedOutputs
        One that refuses the picture by `ModelFileError` has no row, nor have outputs without one of this picture.
    strengths : mapping from baseline name to strength
        From `paired_strengths`; baselines that are not in it are left out.

    Yields
    ------
    BenchmarkRow
        ``true_psnr_db`` over all pixels, of values as stored (a picture's are on the sRGB curve), results neither
        rounded nor clipped; its interval is by the spread over blocks of rows, because there is one frame only. No
        corrected score: the clean picture counts as free of noise.

    Raises
    ------
    InputFileError
        If a picture is damaged, the two are not alike, or an output cannot be compared with the noisy one.
    """
    evaluation = _PairEvaluation(pair)
    frame, source, made_with = evaluation.frame, source_of(pair), versions()
    profile = frame.noise_profile
    assert profile is not None
    ways: dict[str, Method | MatchedOutputs] = {SINGLE_FRAME: lambda image, _: image}
    for name, baseline in baselines_for(frame.info).items():
        if name in strengths:
            ways[name] = baseline_method(baseline, profile, strengths[name])
    ways |= {name: way for name, way in methods.items() if not isinstance(way, MatchedOutputs) or source in way.files}
    reference = evaluation.scored(ways[REFERENCE_METHOD]) if REFERENCE_METHOD in ways else None
    for name, way in ways.items():
        try:
            score, fields = reference if reference and name == REFERENCE_METHOD else evaluation.scored(way)
        except ModelFileError:
            continue
        over_nlm = reference_difference_db(score, reference[0]) if reference else None
        yield BenchmarkRow(
            method=name,
            strength=strengths.get(name) if name not in methods else None,
            versions=made_with,
            **with_interval("over_nlm_db", over_nlm),
            **fields,
        )


def paired_strengths(pairs: Sequence[NoisyCleanPair]) -> dict[str, float]:
    """Return the strength of every baseline that comes nearest to the clean pictures; BM3D is told the noise, 1.

    Parameters
    ----------
    pairs : sequence of NoisyCleanPair
        At least one; not those that the baselines will be judged on. The centres, 384 x 384, of at most twelve count.
    """
    chosen = np.linspace(0, len(pairs) - 1, min(len(pairs), TUNING_PAIRS)).astype(int)
    samples = [_tuning_sample(pairs[index]) for index in chosen]
    baselines = baselines_for(pairs[0].noisy.info)
    return UNTUNED | {
        name: best_strength(baseline, samples) for name, baseline in baselines.items() if name not in UNTUNED
    }


def profiled(pair: NoisyCleanPair) -> tuple[Frame, Float]:
    """Return the noisy picture with the noise profile of this very pair, and the clean one, linear.

    Raises
    ------
    InputFileError
        If a picture is damaged, the two are not alike or the same, or all is overexposed.
    """
    frame, clean = pair.noisy, pair.clean
    if (frame.dn.shape, frame.info.cfa) != (clean.dn.shape, clean.info.cfa):
        raise InputFileError(
            f"{pair.noisy_file}: is not of the size and kind of {pair.clean_file.name}; compare like with like"
        )
    if np.array_equal(frame.linear, clean.linear):
        raise InputFileError(f"{pair.noisy_file}: is equal to {pair.clean_file.name}; a noisy picture is needed")
    noise = measure_pair_noise(frame.linear, clean.linear, frame.mosaic)
    try:
        return frame.with_profile(fit_measurements([noise], frame.info.iso)), clean.linear
    except ValueError as error:
        raise InputFileError(f"{pair.noisy_file}: its noise cannot be measured: {error}") from error


def source_of(pair: NoisyCleanPair) -> Source:
    """Return the noisy picture as outputs are matched to it: by the folders in the name of its pair, or by its own."""
    folders, _, _ = pair.name.rpartition("/")
    return folders or pair.noisy_file.parent.name, pair.noisy_file.name


class _PairEvaluation:
    """What all methods share on one pair."""

    def __init__(self, pair: NoisyCleanPair) -> None:
        self.pair = pair
        self.frame, self.clean = profiled(pair)
        self.noisy = self.frame.linear
        self.counts = np.ones(self.noisy.shape, np.bool_)
        mosaic, profile = self.frame.mosaic, self.frame.noise_profile
        assert profile is not None
        variance = mosaic.unpack(noise_variance(mosaic.pack(self.clean), profile), self.clean.shape)
        # Of "two frames": what differs between them is the noise, what they share the scene.
        self.residuals = ResidualScore((self.clean, self.noisy).__getitem__, 2, self.counts, variance, mosaic)

    def scored(self, way: Method | MatchedOutputs) -> tuple[ReferenceScore, dict[str, Any]]:
        """Return the score of a method, and what its `BenchmarkRow` says without looking at other methods."""
        if isinstance(way, MatchedOutputs):
            denoised, costs = way.of_picture(source_of(self.pair), self.frame), []
        else:
            costs = [measured(partial(way, self.noisy, self.frame))]
            denoised = costs[0].result
        score = ReferenceScore(self.clean, self.counts)
        score.add(denoised)
        residual = self.residuals.measure(self.noisy, denoised, self.clean)
        unknown = ("corrected_psnr_db", "stabilised_psnr_db", "upsnr_db", "fixed_pattern_psnr_db", "worth_frames")
        return score, {
            "burst": self.pair.name,
            "iso": self.frame.info.iso,
            **dict.fromkeys(unknown),
            "corrected_psnr_db_interval": (None, None),
            "stabilised_psnr_db_interval": (None, None),
            "worth_frames_interval": None,
            **with_interval("true_psnr_db", score.psnr_db()),
            "ssim": displayed_ssim(denoised, self.clean, self.frame.info, self.counts),
            "ssim_reference_psnr_db": None,
            "residual_correlation": self.residuals.correlation(residual),
            "signal_leak": self.residuals.leak(residual),
            "brightness": relative_brightness(denoised, self.noisy, self.counts),
            **costs_of(costs, self.frame.info),
            "seed": 0,
            "frames": (0,),
        }


def _tuning_sample(pair: NoisyCleanPair) -> TuningSample:
    """Return the function (baseline, strength) -> true PSNR in dB on the centre of a pair."""
    frame, clean = profiled(pair)
    profile = frame.noise_profile
    assert profile is not None
    rows, columns = centre_window(clean.shape, TUNING_SIDE)
    noisy, target = frame.linear[..., rows, columns].copy(), clean[..., rows, columns].copy()

    def score(baseline: Baseline, strength: float) -> float:
        return psnr(baseline_method(baseline, profile, strength)(noisy, frame), target, peak=1)

    return score
