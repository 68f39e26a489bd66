"""The job `benchmark`: methods scored on bursts of one or several sensors; baselines tuned, models where they fit."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from burst_denoise.burst.burst import Burst
from burst_denoise.burst.flats import read_flat
from burst_denoise.burst.grouping import alike, find_sources, group_series
from burst_denoise.burst.one_sensor import by_camera, of_one_sensor, same_layout
from burst_denoise.burst.store import open_burst, split_inputs
from burst_denoise.errors import ConfigError, ModelFileError
from burst_denoise.inference.denoiser import Denoiser, DenoiseSettings
from burst_denoise.jobs.ingest import IngestSettings, LeftOut, store_series
from burst_denoise.jobs.listener import Listener
from burst_denoise.model.model_file import Model
from burst_denoise.model.prior import why_no_prior
from burst_denoise.schemas import LONGEST_PAUSE_S, MOST_FRAMES, FrameInfo
from burst_denoise.score.baselines import UNTUNED, Method, baselines_for
from burst_denoise.score.benchmark import SINGLE_FRAME, MergeMethod, frames_with_outputs, score_methods
from burst_denoise.score.outputs import MatchedOutputs, Outputs
from burst_denoise.score.pattern import SensorPattern
from burst_denoise.score.rows import BenchmarkRow
from burst_denoise.score.tuning import tuned_strengths
from burst_denoise.sensor.identity import Sensor
from burst_denoise.sensor.prnu_from_scenes import prnu_from_scenes

__all__ = [
    "MERGE",
    "PRIOR",
    "BenchmarkSettings",
    "ScoredMethod",
    "benchmark",
    "benchmark_bursts",
    "bursts_by_sensor",
    "check_methods",
    "check_names",
    "matched_outputs",
    "noting_brightness",
    "prepared",
    "refusal",
    "same_sensor",
    "sensor_pattern",
    "strengths_for",
]

PRIOR = "prior"
"""Name of the row of the network that comes with the package, under the burst's own noise profile, uncalibrated."""

MERGE = "merge"
"""Beginning of the names of rows of merged frames: by the prior, or by a model, whose name stands before it."""

ScoredMethod = Model | Method | Outputs | MatchedOutputs
"""What has a row beside the baselines."""
MOST_FRAMINGS = 8
"""Bursts that the fixed pattern is looked for in, because every pair of them is compared."""
MOST_UNEVEN = 0.01
"""Difference of brightness between outputs and frames from which on it is reported."""


@dataclass(frozen=True)
class BenchmarkSettings:
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
    pause_s: float = LONGEST_PAUSE_S
    """Longest pause within a series, seconds."""
    flats: Sequence[Path] = ()
    """Frames of an evenly lit surface; what they show of uneven response is taken out of the frames that judge."""

    @property
    def ingest(self) -> IngestSettings:
        """How frames become bursts."""
        return IngestSettings(self.limit, self.any_sensor, pause_s=self.pause_s).without(self.flats)


def benchmark(
    inputs: Sequence[Path],
    methods: Mapping[str, ScoredMethod],
    tune_on: Sequence[Path],
    settings: BenchmarkSettings,
    folder: Path,
    listener: Listener = Listener(),
) -> Iterator[BenchmarkRow]:
    """Score methods and baselines on bursts of one or several sensors; give each row as soon as it is measured.

    Parameters
    ----------
    inputs : sequence of Path
        Frames, folders or stored bursts to score on.
    methods : mapping from name to Model, Method or Outputs
        A model is scored on the bursts of its own sensor, outputs on those that they have frames of; may be empty.
    tune_on : sequence of Path
        Bursts to tune the baselines on: see `strengths_for`.
    settings : BenchmarkSettings
    folder : Path
        For the stored bursts.
    listener : Listener
        Hears the verdict on each series, and what a reader of the rows must know.

    Raises
    ------
    ConfigError
        If a method is called as a row of the benchmark's own; found before any burst is scored, like the next.
    ModelFileError
        If a model fits none of the bursts.
    BurstDenoiseError
        Whatever is wrong with the inputs.
    """
    tuning = bursts_by_sensor(tune_on, folder / "tuning", settings, listener) if tune_on else []
    scored = bursts_by_sensor(inputs, folder / "scored", settings, listener)
    every = [burst for bursts in scored for burst in bursts]
    check_methods(methods, every, settings)
    matched = matched_outputs(methods, every)
    for found in scored:
        bursts = of_one_sensor(found)
        strengths = strengths_for(bursts, same_sensor(tuning, bursts[0]), methods, listener)
        yield from benchmark_bursts(bursts, matched, strengths, settings, listener)


def benchmark_bursts(
    bursts: Sequence[Burst],
    methods: Mapping[str, Model | Method | MatchedOutputs],
    strengths: Mapping[str, float],
    settings: BenchmarkSettings = BenchmarkSettings(),
    listener: Listener = Listener(),
    pattern: SensorPattern | None = None,
) -> Iterator[BenchmarkRow]:
    """Score methods, the prior and baselines on bursts of one sensor; a model of another sensor is passed over.

    Parameters
    ----------
    bursts : sequence of Burst
        Pooled by ISO, defects shared.
    methods : mapping from name to Model, Method or MatchedOutputs
        Outputs as `matched_outputs` gives them.
    strengths : mapping from name of a baseline to its strength
        From `strengths_for`.
    settings : BenchmarkSettings
    listener : Listener
    pattern : SensorPattern, optional
        What is known of the fixed pattern; without it, what flats and bursts tell, see `sensor_pattern`.
    """
    pattern = pattern or sensor_pattern(bursts, settings)
    scored = prepared(methods, bursts[0].info, settings) | _merging(methods, bursts[0].info, settings)
    for name, method in methods.items():
        for burst in bursts:
            if isinstance(method, MatchedOutputs) and not method.frames_of(burst):
                listener.note(f"{name} is not scored on {burst.name}: no output is named after one of its frames")
            if not isinstance(method, Model):
                continue
            if (refused := refusal(method, burst.info, burst.name, settings)) is not None:
                listener.note(f"{name} is not scored on {refused}")
            elif not set(method.header.training.burst_sha256).isdisjoint(burst.manifest.sha256):
                listener.note(f"warning: {name} was trained on {burst.name}; its score there proves nothing")
    rows = score_methods(
        bursts, scored, strengths=strengths, frames=settings.frames, seed=settings.seed, pattern=pattern
    )
    outputs = [name for name, method in methods.items() if isinstance(method, MatchedOutputs)]
    return noting_brightness(rows, outputs, listener)


def sensor_pattern(bursts: Sequence[Burst], settings: BenchmarkSettings) -> SensorPattern:
    """Return what flats say about the fixed pattern of a sensor, or without them its bursts, if of several scenes.

    Raises
    ------
    InputFileError
        If flats are overexposed or not evenly lit.
    IncompatibleFramesError
        If they are of another sensor.
    TooFewFramesError
        If they are fewer than 4.
    """
    first = bursts[0]
    flat = read_flat(settings.flats, first.frame(0), (), any_sensor=settings.any_sensor)
    if flat is not None or first.info.domain == "rgb":
        return SensorPattern.of(flat, None)
    alike = [burst for burst in bursts if burst.saturated.shape == first.saturated.shape]
    chosen = np.linspace(0, len(alike) - 1, min(len(alike), MOST_FRAMINGS)).astype(int)
    return SensorPattern.of(None, prnu_from_scenes([alike[index].scene() for index in chosen], first.mosaic))


def prepared(
    methods: Mapping[str, Model | Method | MatchedOutputs], info: FrameInfo, settings: BenchmarkSettings
) -> dict[str, Method | MatchedOutputs]:
    """Return the prior, where one comes for such frames, and methods as they are scored: models denoise."""
    scored: dict[str, Method | MatchedOutputs] = {}
    if why_no_prior(info) is None:
        scored[PRIOR] = Denoiser(settings=DenoiseSettings(device=settings.device)).image
    for name, method in methods.items():
        if not isinstance(method, Model):
            scored[name] = method
            continue
        scored[name] = Denoiser(method, settings=DenoiseSettings(any_sensor=settings.any_sensor)).image
        if settings.augment:
            best = DenoiseSettings(augment=True, any_sensor=settings.any_sensor)
            scored[f"{name} + augmentation"] = Denoiser(method, settings=best).image
    return scored


def _merging(
    methods: Mapping[str, Model | Method | MatchedOutputs], info: FrameInfo, settings: BenchmarkSettings
) -> dict[str, Method | MergeMethod | MatchedOutputs]:
    """Return the rows of merged frames, denoised by the prior, where one comes for such frames, and by each model."""
    how = DenoiseSettings(any_sensor=settings.any_sensor, device=settings.device)
    denoisers = {MERGE: Denoiser(settings=how)} if why_no_prior(info) is None else {}
    denoisers |= {
        f"{name} {MERGE}": Denoiser(of, settings=how) for name, of in methods.items() if isinstance(of, Model)
    }
    return {name: MergeMethod(denoiser.mean_image) for name, denoiser in denoisers.items()}


def matched_outputs(
    methods: Mapping[str, ScoredMethod], bursts: Sequence[Burst]
) -> dict[str, Model | Method | MatchedOutputs]:
    """Return methods with the outputs among them matched to the frames of *all* bursts of a benchmark.

    One output of each program and burst is read, so that what does not fit is found before any work.

    Raises
    ------
    InputFileError
        If outputs cannot be matched, are of none of the frames, or not of their kind, or if two programs have outputs
        of a burst and of no frame in common.
    """
    sources = [(burst.name, burst.frame(index).path.name) for burst in bursts for index in range(len(burst))]
    matched = {
        name: method.matched(sources) if isinstance(method, Outputs) else method for name, method in methods.items()
    }
    for burst in bursts:
        frames_with_outputs(burst, matched)
        for method in matched.values():
            if isinstance(method, MatchedOutputs):
                for index in method.frames_of(burst)[:1]:
                    method.of_burst(burst, index)
    return matched


def noting_brightness(
    rows: Iterable[BenchmarkRow], outputs: Sequence[str], listener: Listener
) -> Iterator[BenchmarkRow]:
    """Hand rows on, then tell of which programs the outputs are brighter or darker than the frames by over 1 %."""
    found: dict[str, list[float]] = {name: [] for name in outputs}
    for row in rows:
        if row.method in found:
            found[row.method].append((row.brightness or 1.0) - 1)
        yield row
    for name, changes in found.items():
        uneven = [change for change in changes if abs(change) > MOST_UNEVEN]
        if uneven:
            span = " to ".join(dict.fromkeys(f"{change:+.1%}" for change in (min(uneven), max(uneven))))
            listener.note(
                f"{name}: the brightness of {len(uneven)} of {len(changes)} results differs from that of the frames by "
                f"{span}; it is not evened out and counts as error"
            )


def strengths_for(
    bursts: Sequence[Burst], tuning: Sequence[Burst], methods: Mapping[str, ScoredMethod], listener: Listener
) -> dict[str, float]:
    """Return the strength of every baseline for bursts of one sensor.

    Tuned on other bursts of that sensor, if there are any; else as tuned when the first model of that sensor was
    made; else, which favours the baselines and is reported, on the bursts that are scored.
    """
    if tuning:
        return tuned_strengths(tuning)
    sensor = Sensor.of(bursts[0].info)
    for method in methods.values():
        known = method.header.training.baseline_strength if isinstance(method, Model) else {}
        if isinstance(method, Model) and known and not sensor.refusals(method.sensor):
            return UNTUNED | known
    listener.note(
        f"{sensor.camera or 'unknown camera'}: no other bursts of this sensor to tune the baselines on "
        "(--tune-on); their strengths are tuned on the bursts scored here, which favours them"
    )
    return tuned_strengths(bursts)


def bursts_by_sensor(
    inputs: Sequence[Path], folder: Path, settings: BenchmarkSettings, listener: Listener
) -> list[list[Burst]]:
    """Return the bursts that inputs name, stored in ``folder`` where they are not yet, those of each sensor together.

    Raises
    ------
    BurstDenoiseError
        If something is wrong with an input, or no burst is left of one of the cameras.
    """
    stored, loose = split_inputs(inputs)
    bursts = [open_burst(path) for path in stored]
    ingesting = settings.ingest.requiring(loose)
    left_out = LeftOut(ingesting, listener)
    found = group_series(find_sources(loose), ingesting.pause_s, left_out) if loose or not stored else []
    for number, of_camera in enumerate(by_camera(found)):
        stored_now = store_series(of_camera, folder / str(number), (), ingesting, listener, one_sensor=False)
        bursts += stored_now.bursts
    if not bursts:
        raise left_out.errors[0]
    return alike(bursts, _same_sensor)


def same_sensor(sensors: Sequence[list[Burst]], burst: Burst) -> list[Burst]:
    """Return those of the bursts of several sensors that are of the sensor of a burst; none is an empty list."""
    return next((bursts for bursts in sensors if _same_sensor(burst, bursts[0])), [])


def _same_sensor(burst: Burst, first: Burst) -> bool:
    """Return whether bursts are of one sensor and one layout of it."""
    return same_layout(burst.info, first.info)


def check_names(methods: Mapping[str, ScoredMethod], info: FrameInfo) -> None:
    """Raise `ConfigError` when a method is called as a row of the benchmark's own for frames like one."""
    taken = {PRIOR, MERGE, SINGLE_FRAME, *baselines_for(info)} & set(methods)
    if taken:
        raise ConfigError(
            f"a method is called {min(taken)!r}, as a row of the benchmark's own is; give it another name"
        )


def check_methods(methods: Mapping[str, ScoredMethod], bursts: Sequence[Burst], settings: BenchmarkSettings) -> None:
    """Raise `ConfigError` when a method has a name of ours, `ModelFileError` when a model fits none of the bursts."""
    for burst in bursts:
        check_names(methods, burst.info)
    for method in methods.values():
        if isinstance(method, Model):
            refusals = [refusal(method, burst.info, burst.name, settings) for burst in bursts]
            if all(refusals):
                raise next(filter(None, refusals))


def refusal(model: Model, info: FrameInfo, name: str, settings: BenchmarkSettings) -> ModelFileError | None:
    """Return why a model does not serve frames of a burst or picture of that name, or None where it does."""
    try:
        model.profile_for(info, name, any_sensor=settings.any_sensor)
    except ModelFileError as error:
        return error
    return None
