"""Whether the bracket of the corrected PSNR holds the PSNR against the scene, over 200 simulated bursts.

    python -m experiments.fixed_pattern_scores [--bursts 200] [--first-seed 1000] [--output ROWS.jsonl]

Each burst is of another camera copy: PRNU 0 to 1.5 %, sharp or soft, bright or dark, ISO 800 to 12800. It is scored as
it is, with three more scenes of its camera, and with 32 flats and 16 dark frames. Methods keep the pattern (a frame,
means), remove it (blur, wavelets, NLM), or some of it (a merge, denoised).
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from burst_denoise.arrays import Float
from burst_denoise.burst.burst import Burst
from burst_denoise.burst.store import store_burst
from burst_denoise.files import write_file
from burst_denoise.frame.frame import to_linear
from burst_denoise.frame.synthetic import SyntheticCamera, shoot
from burst_denoise.score.baselines import baseline_method, nlm_stabilised, wavelet
from burst_denoise.score.metrics import psnr_of_mse
from burst_denoise.score.pattern import BurstPattern, SensorPattern
from burst_denoise.score.unbiased import BurstScore
from burst_denoise.sensor.fixed_pattern import flat_field, master_dark, photo_response, sensitivity
from burst_denoise.sensor.moments import frame_moments
from burst_denoise.sensor.noise_model import noise_variance
from burst_denoise.sensor.prnu_from_scenes import prnu_from_scenes
from experiments.simulated_sensors import accepted

FRAMES = 8
MERGED = 4
FRAMINGS = 4
PRNUS = (0.0, 0.0025, 0.005, 0.0075, 0.01, 0.015)
ISOS = (800.0, 3200.0, 12800.0)
SIDES = (128, 160, 192)
FLATS, DARKS = 32, 16
WAYS = ("burst alone", "four framings", "flats and darks")
Denoise = Callable[[Float, Burst], Float]


def blurred(image: Float, burst: Burst) -> Float:
    """Return every plane blurred: nothing of noise or pattern is left, nor much of the detail."""
    planes = burst.mosaic.pack(image)
    return burst.mosaic.unpack(np.stack([gaussian_filter(plane, 2.0) for plane in planes]), image.shape)


METHODS: dict[str, tuple[Denoise, int]] = {
    "single frame": (lambda image, _: image, 1),
    "mean of 2": (lambda image, _: image, 2),
    f"mean of {MERGED}": (lambda image, _: image, MERGED),
    "blur": (blurred, 1),
    "wavelet": (lambda image, burst: baseline_method(wavelet, burst.profile, 1.0)(image, burst.frame(0)), 1),
    "nlm-stabilised": (
        lambda image, burst: baseline_method(nlm_stabilised, burst.profile, 0.9)(image, burst.frame(0)),
        1,
    ),
    f"merge {MERGED}, denoised": (
        lambda image, burst: baseline_method(nlm_stabilised, burst.profile, 0.45)(image, burst.frame(0)),
        MERGED,
    ),
}
"""Each with the number of frames that it is given the mean of."""


@dataclass(frozen=True)
class Outcome:
    """What one method came to on one burst, with one way to know the pattern."""

    way: str
    method: str
    sharp: bool
    bright: bool
    prnu: float
    source: str
    true_db: float
    corrected_db: float
    interval: tuple[float, float]
    bracket: tuple[float, float]
    bound: float
    """Over the true mean square of the pattern, before flats."""
    width_ratio: float
    """Width of the bracket, over that with the true pattern, all kept to all removed."""

    @property
    def held(self) -> bool:
        """Whether the bracket holds the truth."""
        return self.bracket[0] <= self.true_db <= self.bracket[1]

    @property
    def outside_db(self) -> float:
        """How far the truth lies outside."""
        return max(self.bracket[0] - self.true_db, self.true_db - self.bracket[1], 0.0)


def scene_of(rng: np.random.Generator, side: int, *, sharp: bool, bright: bool) -> Float:
    """Return a scene (side, side, 3), linear: soft light, and edges and texture where it is sharp."""

    def blobs(std: float) -> Float:
        found = gaussian_filter(rng.standard_normal((side, side)), std, mode="wrap")
        return np.asarray(found / found.std(), np.float32)

    grey = 0.55 * blobs(side / 6) + 0.45 * (blobs(1.2) if sharp else blobs(side / 12))
    if sharp:
        grey = grey + 0.8 * (blobs(10) > 0.5)
    light = np.exp(0.35 * grey)
    light *= (0.8 if bright else 0.05) / np.percentile(light, 99.5)
    return np.asarray(light[..., None] * (0.6, 1.0, 0.65), np.float32).clip(0, 0.95)


def burst_of(folder: Path, camera: SyntheticCamera, scene: Float, iso: float, seed: int, dark: Float | None) -> Burst:
    """Return a stored burst of a scene, with the clean mosaic."""
    frames, clean_dn = shoot(camera, scene, iso, FRAMES, seed)
    info = frames[0].info
    return store_burst(folder, frames, accepted(folder.stem, frames), to_linear(clean_dn, info), dark=dark)


def known_patterns(
    folder: Path, camera: SyntheticCamera, rng: np.random.Generator, *, sharp: bool, bright: bool
) -> Iterator[tuple[str, Burst, SensorPattern]]:
    """Give a burst of the camera and what is known of its pattern, once for each way to know it."""
    side, iso, seed = int(rng.choice(SIDES)), float(rng.choice(ISOS)), int(rng.integers(2**31))
    scenes = [scene_of(rng, side, sharp=sharp, bright=bright) for _ in range(FRAMINGS)]
    bursts = [
        burst_of(folder / f"{k}.burst", camera, scene, iso, seed + 1000 * k, None) for k, scene in enumerate(scenes)
    ]
    yield WAYS[0], bursts[0], SensorPattern()
    shared = prnu_from_scenes([burst.scene() for burst in bursts], camera.mosaic)
    yield WAYS[1], bursts[0], SensorPattern.of(None, shared)
    shape = (side, side, 3)
    capped, _ = shoot(camera, np.zeros(shape, np.float32), iso, DARKS, seed + 5000)
    master = master_dark([frame.linear for frame in capped], camera.mosaic)
    lit, _ = shoot(camera, np.full(shape, 0.5, np.float32), 100, FLATS, seed + 6000)
    flats, mosaic = frame_moments(frame.linear for frame in lit), camera.mosaic
    field = flat_field(flats, None, mosaic, photo_response(flats, None, mosaic), sensitivity(flats, None, mosaic))
    burst = burst_of(folder / "dark.burst", camera, scenes[0], iso, seed, master.offset)
    yield WAYS[2], burst, SensorPattern(field, dsnu={iso: master.residual_std})


def outcomes(seed: int, folder: Path) -> Iterator[Outcome]:
    """Score all methods on one burst, in three ways."""
    rng = np.random.default_rng(seed)
    prnu, sharp, bright = float(PRNUS[seed % len(PRNUS)]), bool(seed // 6 % 2), bool(seed // 12 % 2)
    camera = SyntheticCamera(prnu=prnu, hot_fraction=0, seed=seed)
    for way, burst, known in known_patterns(folder, camera, rng, sharp=sharp, bright=bright):
        pattern = BurstPattern(burst, known)
        clean, counts = burst.clean, ~burst.excluded
        assert clean is not None
        assert burst.info.iso is not None
        dsnu = camera.dark_offset_std_dn * burst.info.iso / 100 / (camera.white_level - camera.black_level[0])
        true_pattern = prnu**2 * float((clean[counts].astype(np.float64) ** 2).mean()) + dsnu**2
        mean = burst.mean()
        variance = burst.mosaic.unpack(noise_variance(burst.mosaic.pack(mean), burst.profile), mean.shape)
        for name, (denoise, averaged) in METHODS.items():
            score = BurstScore(pattern.reference, len(burst), counts, variance, pattern.variance, pattern.least)
            errors = []
            for first in range(0, 3 * averaged if averaged < 3 else FRAMES // averaged * averaged, averaged):
                group = range(first, first + averaged)
                result = denoise(np.mean([burst.linear(k) for k in group], axis=0, dtype=np.float32), burst)
                score.add(result, group)
                errors.append(float(((result - clean)[counts].astype(np.float64) ** 2).mean()))
            corrected, mse = score.psnr_db(), score.mse()
            given = psnr_of_mse(mse.high + true_pattern, peak=1), psnr_of_mse(mse.low - true_pattern, peak=1)
            bracket = score.psnr_db_bracket()
            yield Outcome(
                way,
                name,
                sharp,
                bright,
                prnu,
                pattern.source,
                psnr_of_mse(float(np.mean(errors)), peak=1),
                corrected.value,
                (corrected.low, corrected.high),
                bracket,
                pattern.most / true_pattern,
                (bracket[1] - bracket[0]) / (given[1] - given[0]) if np.isfinite([*bracket, *given]).all() else np.nan,
            )


def report(found: Sequence[Outcome]) -> None:
    """Print how often the truth was held, and how wide the brackets are."""
    for way in WAYS:
        own = [one for one in found if one.way == way]
        print(f"\n{way}: {share([one.held for one in own])} of the truths inside the bracket,", end=" ")
        print(f"{share([one.interval[0] <= one.true_db <= one.interval[1] for one in own])} inside the interval alone")
        print("  method               inside  outside by  |corrected - true|: median, most, under 0.1 dB; if bright")
        for method in METHODS:
            rows = [one for one in own if one.method == method]
            off = [abs(one.corrected_db - one.true_db) for one in rows]
            bright = [value for value, one in zip(off, rows, strict=True) if one.bright]
            print(
                f"  {method:20} {share([one.held for one in rows]):>6}  {max(one.outside_db for one in rows):5.3f} dB"
                f"    {np.median(off):.3f}  {max(off):.3f}  {share([value < 0.1 for value in off]):>6};"
                f"  {np.median(bright):.3f}  {max(bright):.3f}  {share([value < 0.1 for value in bright]):>6}"
            )
        for kind in ("sharp", "soft"):
            rows = [one for one in own if one.sharp == (kind == "sharp") and one.prnu >= 0.005 and one.bright]
            ratios = [one.width_ratio for one in rows]
            print(
                f"  {kind}, bright, PRNU 0.5 % and more ({', '.join(sorted({one.source for one in rows}))}): "
                f"largest |p|^2 over the true one median {np.median([one.bound for one in rows]):.2f}; "
                f"width over that of the true pattern median {np.nanmedian(ratios):.2f}, "
                f"at most 1.5 in {share([not ratio > 1.5 for ratio in ratios])}"
            )


def share(values: Sequence[bool]) -> str:
    """Return the share of true values in per cent."""
    return f"{np.mean(values):.1%}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bursts", type=int, default=200)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--output", type=Path, help="JSON lines to write")
    arguments = parser.parse_args()
    rows: list[Outcome] = []
    for number in range(arguments.first_seed, arguments.first_seed + arguments.bursts):
        with tempfile.TemporaryDirectory() as place:
            rows += outcomes(number, Path(place))
    if arguments.output:
        write_file(arguments.output, "".join(json.dumps(asdict(row)) + "\n" for row in rows).encode())
    report(rows)
