"""Pairs of noisy and clean pictures as data sets, held out by scene, and the scores on them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import burst_denoise as bd
from burst_denoise.arrays import Float
from burst_denoise.io.pairs import NoisyCleanPair, read_pairs
from burst_denoise.schemas import FrameInfo
from burst_denoise.score.baselines import Method
from burst_denoise.score.paired import paired_strengths, score_pair
from burst_denoise.score.rows import BenchmarkRow
from experiments.pictures import MOST_SIDE, DataSet, Scene, ValidationPair, centre, random_pairs, spread
from experiments.scoring import Denoise, Scores

__all__ = ["MadePair", "PairTest", "pair_data_set", "split_pairs"]

VALIDATION_SIDE = 192
"""The centre of a validation picture, pixels."""
MOST_VALIDATED = 6
"""Pictures that validate a training."""
MOST_TRAINED = 80
"""Pairs that training sees at most, evenly spread over all: they are kept in memory, 25 MB each."""
MOST_SCORED = 40
"""Pairs that are scored on at most, chosen alike."""


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
    """Return pairs as scenes of one noisy picture each; what is larger than `MOST_SIDE` is cut to its centre.

    Raises
    ------
    SeriesError
        If one is not of colour pictures.
    """
    unknown = np.full(3, np.nan, np.float32)
    scenes = []
    for pair in sorted(pairs, key=lambda pair: pair.name):
        frames = pair.noisy, pair.clean
        if any(frame.info.domain != "rgb" for frame in frames):
            raise bd.SeriesError(f"{pair.noisy_file}: is {frames[0].info.domain}; earlier systems are for RGB pictures")
        noisy, clean = (np.array(centre(frame.linear, MOST_SIDE)) for frame in frames)  # a view would keep all of it
        scenes.append(Scene(pair.name, noisy[None], clean[None], unknown))
    return tuple(scenes)


def pair_data_set(folder: Path) -> tuple[DataSet, "PairTest"]:
    """Return what systems are trained with on a folder of pairs, and the pairs that they are scored on."""
    training, validated, scored = split_pairs(read_pairs(folder))
    scenes = pair_scenes(spread(training, MOST_TRAINED))
    chosen = pair_scenes(spread(validated, MOST_VALIDATED))
    crops = [[centre(x[0], VALIDATION_SIDE) for x in (scene.noisy, scene.target)] for scene in chosen]
    validation = tuple(ValidationPair(noisy, clean, np.ones(noisy.shape, np.bool_)) for noisy, clean in crops)
    name = folder.resolve().name
    test = PairTest(name, [MadePair.of(scene) for scene in pair_scenes(spread(scored, MOST_SCORED))], training)
    return DataSet(name, random_pairs(scenes), validation, scenes), test


@dataclass(frozen=True)
class MadePair:
    """Two pictures in memory, as the library takes a pair of files."""

    name: str
    noisy: bd.Frame
    clean: bd.Frame
    noisy_file: Path
    clean_file: Path

    @classmethod
    def of(cls, scene: Scene) -> "MadePair":
        """Return the pair of a scene with one noisy picture."""
        _, _, height, width = scene.noisy.shape
        levels = {"black_level": (0.0, 0.0, 0.0), "white_level": 1.0}
        info = FrameInfo(domain="rgb", camera=None, cfa=None, height=height, width=width, **levels)
        path = Path(scene.name)
        return cls(scene.name, bd.Frame(scene.noisy[0], info, path), bd.Frame(scene.target[0], info, path), path, path)


@dataclass(frozen=True)
class PairTest:
    """Pairs that no system is trained on; scores are means over them."""

    name: str
    pairs: Sequence[MadePair]
    tuning: Sequence[NoisyCleanPair] = ()
    """Training pairs that the classical methods are tuned on; without them there is no row of theirs."""

    def score(self, denoise: Denoise, *, averaged: bool = False) -> Scores:  # noqa: ARG002 (there is no curve to undo)
        """Return the scores of a system on all pairs."""
        return self._scored({"system": lambda picture, _frame: denoise(picture)}, {})["system"]

    def baselines(self) -> dict[str, Scores]:
        """Return the scores of the noisy pictures and of the classical methods."""
        return self._scored({}, paired_strengths(self.tuning) if self.tuning else {})

    def pictures(self) -> Iterator[tuple[Float, Float]]:
        """Yield noisy and clean pictures."""
        for pair in self.pairs:
            yield pair.noisy.linear, pair.clean.linear

    def _scored(self, methods: Mapping[str, Method], strengths: Mapping[str, float]) -> dict[str, Scores]:
        found: dict[str, list[BenchmarkRow]] = {}
        for pair in self.pairs:
            for row in score_pair(pair, methods, strengths):
                found.setdefault(row.method, []).append(row)
        return {name: [self._mean(rows)] for name, rows in found.items()}

    def _mean(self, rows: Sequence[BenchmarkRow]) -> dict[str, Any]:
        """Return PSNR, SSIM and time of single pictures as means; the interval knows nothing of other pictures."""
        intervals = np.array([row.true_psnr_db_interval for row in rows], np.float64)
        value = float(np.mean([row.true_psnr_db for row in rows]))
        half = float(np.sqrt((np.diff(intervals, axis=1) ** 2).sum())) / 2 / len(rows)
        return {
            "burst": self.name,
            "corrected_psnr_db": None,
            "true_psnr_db": value,
            "true_psnr_db_interval": (value - half, value + half),
            "ssim": float(np.mean([row.ssim for row in rows])),
            "seconds_per_megapixel": float(np.median([row.seconds_per_megapixel or 0 for row in rows])),
        }
