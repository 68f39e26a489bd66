"""The job `benchmark`: methods scored on bursts of one or several sensors; baselines tuned, models where they fit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from burst_denoise.arrays import Float
from burst_denoise.burst.grouping import find_sources, group_series
from burst_denoise.burst.series import SeriesVerdict
from burst_denoise.burst.store import Burst, open_burst, pooled_by_iso, sharing_defects, split_inputs
from burst_denoise.errors import ModelFileError
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.inference.engine import fastest_engine
from burst_denoise.inference.tiles import denoise_image
from burst_denoise.jobs.ingest import open_inputs
from burst_denoise.model.device import choose_device, compute_dtype
from burst_denoise.model.model_file import Model
from burst_denoise.model.prior import load_prior, prior_file
from burst_denoise.schemas import MOST_FRAMES, FrameInfo
from burst_denoise.score.baselines import UNTUNED, tuned_strengths
from burst_denoise.score.benchmark import Denoiser, benchmark
from burst_denoise.score.rows import BenchmarkRow

if TYPE_CHECKING:
    import torch

__all__ = [
    "PRIOR",
    "ScoreSettings",
    "bursts_by_sensor",
    "check_models_match",
    "denoiser",
    "prior_denoiser",
    "score",
    "score_bursts",
    "sensor_of",
    "strengths_for",
]

PRIOR = "prior"
"""Name of the row of the network that comes with the package, under the burst's own noise profile, uncalibrated."""

Report = Callable[[SeriesVerdict], None]
Note = Callable[[str], None]


@dataclass(frozen=True)
class ScoreSettings:
    """How methods are scored."""

    augment: bool = False
    """Score models with augmentation too."""
    frames: int = 3
    """Frames scored per burst and method."""
    seed: int = 0
    limit: int = MOST_FRAMES
    """Frames of a series used at most."""
    any_sensor: bool = False
    device: str = "auto"
    """Where the prior computes; models are where they were loaded."""


def score(
    inputs: Sequence[Path],
    models: Sequence[tuple[str, Model]],
    tune_on: Sequence[Path],
    settings: ScoreSettings,
    folder: Path,
    report: Report,
    note: Note,
) -> Iterator[BenchmarkRow]:
    """Score models and baselines on bursts of one or several sensors; give each row as soon as it is measured.

    Parameters
    ----------
    inputs : sequence of Path
        Frames, folders or stored bursts to score on.
    models : sequence of (name, Model)
        Each is scored on the bursts of its own sensor; may be empty.
    tune_on : sequence of Path
        Bursts to tune the baselines on: see `strengths_for`.
    settings : ScoreSettings
    folder : Path
        For the stored bursts.
    report, note : callable
        Called with the verdict on each series, and with a line of text about what a reader of the rows must know.

    Raises
    ------
    ModelFileError
        If a model fits none of the bursts; found before any is scored.
    BurstDenoiseError
        Whatever is wrong with the inputs.
    """
    tuning = bursts_by_sensor(tune_on, folder / "tuning", settings.limit, report) if tune_on else {}
    scored = bursts_by_sensor(inputs, folder / "scored", settings.limit, report)
    check_models_match(models, [burst for bursts in scored.values() for burst in bursts], settings)
    for sensor, found in scored.items():
        bursts = sharing_defects(pooled_by_iso(found))
        strengths = strengths_for(bursts, tuning.get(sensor, []), models, note)
        yield from score_bursts(bursts, models, strengths, settings, note)


def score_bursts(
    bursts: Sequence[Burst],
    models: Sequence[tuple[str, Model]],
    strengths: Mapping[str, float],
    settings: ScoreSettings,
    note: Note,
) -> Iterator[BenchmarkRow]:
    """Score models, the prior and baselines on bursts of one sensor; a model of another sensor is passed over."""
    denoisers: list[tuple[str, Denoiser]] = []
    if prior_file(bursts[0].info.domain).exists():
        denoisers.append((PRIOR, prior_denoiser(bursts, choose_device(settings.device))))
    for name, model in models:
        for burst in bursts:
            if (refusal := _refusal(model, burst, settings)) is not None:
                note(f"{name} is not scored on {burst.name}: {refusal}")
            elif not set(model.header.training.burst_sha256).isdisjoint(burst.manifest.sha256):
                note(f"warning: {name} was trained on {burst.name}; its score there proves nothing")
        denoisers.append((name, denoiser(model, augment=False, any_sensor=settings.any_sensor)))
        if settings.augment:
            denoisers.append((f"{name} + augmentation", denoiser(model, augment=True, any_sensor=settings.any_sensor)))
    return benchmark(bursts, denoisers, strengths=strengths, frames=settings.frames, seed=settings.seed)


def strengths_for(
    bursts: Sequence[Burst], tuning: Sequence[Burst], models: Sequence[tuple[str, Model]], note: Note
) -> dict[str, float]:
    """Return the strength of every baseline for bursts of one sensor.

    Tuned on other bursts of that sensor, if there are any; else as tuned when the first model of that sensor was
    made; else, which favours the baselines and is told, on the bursts that are scored.
    """
    if tuning:
        return tuned_strengths(tuning)
    for _, model in models:
        known = model.header.training.baseline_strength
        if known and (model.header.camera, model.header.domain) == (bursts[0].info.camera, bursts[0].info.domain):
            return UNTUNED | known
    note(
        f"{bursts[0].info.camera or 'unknown camera'}: no other bursts of this sensor to tune the baselines on "
        "(--tune-on); their strengths are tuned on the bursts scored here, which favours them"
    )
    return tuned_strengths(bursts)


def bursts_by_sensor(
    inputs: Sequence[Path], folder: Path, limit: int, report: Report
) -> dict[tuple[object, ...], list[Burst]]:
    """Return the bursts that inputs name, stored in ``folder`` where they are not yet, by sensor.

    Raises
    ------
    BurstDenoiseError
        If something is wrong with an input, or no burst is left of one of the sensors.
    """
    stored, loose = split_inputs(inputs)
    paths: dict[tuple[object, ...], list[Path]] = {}
    for path in stored:
        paths.setdefault(sensor_of(open_burst(path).info), []).append(path)
    for series in group_series(find_sources(loose)) if loose or not stored else ():
        paths.setdefault(sensor_of(series.info), []).extend(series.paths)
    return {
        sensor: open_inputs(of_it, folder / str(number), limit, report)
        for number, (sensor, of_it) in enumerate(paths.items())
    }


def denoiser(model: Model, *, augment: bool, any_sensor: bool) -> Denoiser:
    """Return a model as a function (noisy image, info) -> denoised image; `ModelFileError` where it does not fit."""
    dtype = compute_dtype(next(model.network.parameters()).device)
    engine = fastest_engine(model.network, dtype)

    def denoise(image: Float, info: FrameInfo) -> Float:
        profile = model.profile_for(info, "burst", any_sensor=any_sensor)
        return denoise_image(
            image, Mosaic.of(info), model.network, profile, dtype=dtype, augment=augment, engine=engine
        )

    return denoise


def prior_denoiser(bursts: Sequence[Burst], device: "torch.device") -> Denoiser:
    """Return the prior, with the bursts' own noise profiles, as a function (noisy image, info) -> denoised image."""
    prior, profiles = load_prior(bursts[0].info.domain, device), {burst.info.iso: burst.profile for burst in bursts}
    dtype = compute_dtype(device)
    engine = fastest_engine(prior.network, dtype)

    def denoise(image: Float, info: FrameInfo) -> Float:
        return denoise_image(image, Mosaic.of(info), prior.network, profiles[info.iso], dtype=dtype, engine=engine)

    return denoise


def check_models_match(models: Sequence[tuple[str, Model]], bursts: Sequence[Burst], settings: ScoreSettings) -> None:
    """Raise `ModelFileError` when a model fits none of the bursts."""
    for _, model in models:
        refusals = [_refusal(model, burst, settings) for burst in bursts]
        if all(refusals):
            raise next(filter(None, refusals))


def _refusal(model: Model, burst: Burst, settings: ScoreSettings) -> ModelFileError | None:
    """Return why a model does not serve a burst, or None where it does."""
    try:
        model.profile_for(burst.info, burst.name, any_sensor=settings.any_sensor)
    except ModelFileError as error:
        return error
    return None


def sensor_of(info: FrameInfo) -> tuple[object, ...]:
    """Return what tells the sensor of a frame from others."""
    return info.camera, info.domain, info.cfa, info.white_level
