"""Pairs of noisy and clean pictures as data sets, held out by scene, and the scores on them."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import burst_denoise as bd
from burst_denoise.arrays import Float
from burst_denoise.io.pairs import NoisyCleanPair, read_pairs
from burst_denoise.schemas import Estimate
from burst_denoise.score.metrics import ssim
from burst_denoise.score.reference import ReferenceScore
from experiments.pictures import DataSet, Scene, ValidationPair, random_pairs
from experiments.scoring import Denoise, Scores

__all__ = ["PairTest", "pair_data_set", "split_pairs"]

VALIDATION_SIDE = 192
"""The centre of a validation picture, pixels."""
MOST_VALIDATED = 6
"""Pictures that validate a training."""


def split_pairs(
    pairs: Sequence[NoisyCleanPair],
) -> tuple[list[NoisyCleanPair], list[NoisyCleanPair], list[NoisyCleanPair]]:
    """Return the pairs to train on, to validate on and to be scored on; no scene is in two of them.

    Of the scenes in the order of their names, every fourth is scored on, from the second, and every fourth validates,
    from the third.

    Raises
    ------
    SeriesError
        If there are fewer than three scenes.
    """
    scenes = sorted({pair.scene for pair in pairs})
    if len(scenes) < 3:
        raise bd.SeriesError(
            f"{pairs[0].noisy_file.parent}: pairs of {len(scenes)} scenes; "
            "training, validation and scoring need one each"
        )

    def of(chosen: Sequence[str]) -> list[NoisyCleanPair]:
        return [pair for pair in pairs if pair.scene in chosen]

    scored, validated = scenes[1::4], scenes[2::4]
    return of([scene for scene in scenes if scene not in {*scored, *validated}]), of(validated), of(scored)


def pair_scenes(pairs: Sequence[NoisyCleanPair]) -> tuple[Scene, ...]:
    """Return pairs as scenes of one noisy picture each."""
    unknown = np.full(3, np.nan, np.float32)
    return tuple(
        Scene(pair.name, pair.noisy.linear[None], pair.clean.linear[None], unknown)
        for pair in sorted(pairs, key=lambda pair: pair.name)
    )


def pair_data_set(folder: Path) -> tuple[DataSet, "PairTest"]:
    """Return what systems are trained with on a folder of pairs, and the pairs that they are scored on."""
    training, validated, scored = (pair_scenes(pairs) for pairs in split_pairs(read_pairs(folder)))
    chosen = validated[:: -(-len(validated) // MOST_VALIDATED)]
    validation = tuple(_centre(scene) for scene in chosen)
    return DataSet(folder.name, random_pairs(training), validation, training), PairTest(folder.name, scored, training)


def _centre(scene: Scene) -> ValidationPair:
    rows, columns = (
        slice(max(0, size - VALIDATION_SIDE) // 2, max(0, size - VALIDATION_SIDE) // 2 + VALIDATION_SIDE)
        for size in scene.noisy.shape[-2:]
    )
    noisy, target = (pictures[0][:, rows, columns] for pictures in (scene.noisy, scene.target))
    return ValidationPair(noisy, target, np.ones(noisy.shape, np.bool_))


@dataclass(frozen=True)
class PairTest:
    """Pairs that no system is trained on; scores are means over them."""

    name: str
    scenes: Sequence[Scene]
    tuning: Sequence[Scene] = ()
    """What the classical methods are tuned on."""

    def score(self, denoise: Denoise, *, averaged: bool = False) -> Scores:  # noqa: ARG002 (there is no curve to undo)
        """Return the scores of a system: PSNR and SSIM of each picture against its clean one, averaged.

        The interval is for these very pictures: it knows nothing of others.
        """
        estimates, similarities, seconds = [], [], []
        for noisy, clean in self.pictures():
            began = time.perf_counter()
            denoised = denoise(noisy)
            seconds.append((time.perf_counter() - began) / (noisy[0].size / 1e6))
            score = ReferenceScore(clean, np.ones(clean.shape, np.bool_))
            score.add(denoised)
            estimates.append(score.psnr_db())
            similarities.append(ssim(denoised, clean, peak=1.0))
        psnr = _mean(estimates)
        return [
            {
                "burst": self.name,
                "corrected_psnr_db": None,
                "true_psnr_db": psnr.value,
                "true_psnr_db_interval": (psnr.low, psnr.high),
                "ssim": float(np.mean(similarities)),
                "seconds_per_megapixel": float(np.median(seconds)),
            }
        ]

    def baselines(self) -> dict[str, Scores]:
        """Return the scores of the noisy pictures and of the classical methods."""
        return {"single frame": self.score(lambda noisy: noisy)}

    def pictures(self) -> Iterator[tuple[Float, Float]]:
        """Yield noisy and clean pictures."""
        for scene in self.scenes:
            yield scene.noisy[0], scene.target[0]


def _mean(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of independent estimates."""
    count = len(estimates)
    value = sum(each.value for each in estimates) / count
    half = float(np.sqrt(sum(((each.high - each.low) / 2) ** 2 for each in estimates))) / count
    return Estimate(value=value, low=value - half, high=value + half)
