"""The rows that the table has on a data set: every system that fits it, and how its rows are made."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import burst_denoise as bd
from burst_denoise.arrays import Float
from burst_denoise.frame.frame import Frame
from burst_denoise.model.model_file import model_of
from burst_denoise.model.train import Progress, train
from burst_denoise.schemas import TrainSettings
from burst_denoise.score.baselines import Method
from experiments.burst_pictures import half_size
from experiments.pictures import DataSet, decoded, encoded
from experiments.rows import Row, complexity, parameter_count
from experiments.scoring import Denoise, Scores, SeriesTest, TestPictures, picture_method, true_errors
from experiments.systems.autoencoder import AUTOENCODER
from experiments.systems.cbdnet import CBDNET
from experiments.systems.deep_image_prior import DeepImagePriorRecord, denoise_picture, skip_net
from experiments.systems.four_layer_cnn import FOUR_LAYER_CNN
from experiments.systems.gan import GAN
from experiments.systems.noise2self import NOISE2SELF
from experiments.systems.noise2void import NOISE2VOID
from experiments.systems.one_camera_pairs import TILES_28, TILES_56
from experiments.systems.paper import NOISE2NOISE, PAPER, augmented
from experiments.systems.pridnet import PRIDNET_SHARED
from experiments.systems.ridnet import RIDNET
from experiments.systems.system import System
from experiments.training import CHECKPOINT, WEIGHTS, Budget, planned_steps, train_system

__all__ = [
    "FROM_SCRATCH",
    "NOISE_SYSTEMS",
    "ON_RAW_FRAMES",
    "PAIR_SYSTEMS",
    "SERIES_SYSTEMS",
    "Comparison",
    "Entry",
    "Made",
    "entries",
]


@dataclass(frozen=True)
class Comparison:
    """A data set: what systems are trained with, and what they are scored on."""

    data: DataSet
    test: TestPictures
    bursts: tuple[bd.Burst, ...] = ()
    """The training bursts as pictures; none for pairs."""
    raw: tuple[bd.Burst, ...] = ()
    """The training bursts as they were shot."""
    raw_scored: tuple[bd.Burst, ...] = ()
    """The bursts that are scored on, as they were shot."""
    synthetic_noise: bool = False
    """Whether the pairs are clean pictures under synthetic noise."""

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self.data.name

    @property
    def frames(self) -> int:
        """Noisy frames that training sees; 0 where noise is added as training goes."""
        return sum(len(scene.noisy) for scene in self.data.scenes)


class Made(NamedTuple):
    """A row, and what it is of."""

    row: Row
    method_for: Callable[[bd.Burst], Method] | None = None
    """The system for a burst that is scored on; None for classical methods."""


@dataclass(frozen=True)
class Entry:
    """One or more rows of the table that are made together."""

    name: str
    make: Callable[[Comparison, Budget, Path], list[Made]]
    """(comparison, budget, folder for work in progress) -> rows."""


def entries(comparison: Comparison) -> list[Entry]:
    """Return what there is to compare on a data set, classical methods first."""
    found = [Entry("classical methods", _classical)]
    if comparison.synthetic_noise:
        systems = NOISE_SYSTEMS
    elif comparison.bursts:
        systems = SERIES_SYSTEMS + PAIR_SYSTEMS + NOISE_SYSTEMS
    else:
        systems = PAIR_SYSTEMS
    if comparison.bursts:
        found.append(Entry(FROM_SCRATCH, _from_scratch))
        found.append(Entry(DEEP_IMAGE_PRIOR, _deep_image_prior))
    if any(burst.info.domain == "bayer" for burst in comparison.raw):
        found.append(Entry(ON_RAW_FRAMES, _on_raw_frames))
    return found + [Entry(system.name, partial(_trained, system)) for system in systems]


SERIES_SYSTEMS: tuple[System, ...] = (PAPER, NOISE2NOISE, NOISE2VOID, NOISE2SELF)
"""Learn from bursts alone."""
PAIR_SYSTEMS: tuple[System, ...] = (TILES_28, TILES_56, AUTOENCODER, CBDNET, PRIDNET_SHARED, RIDNET)
"""Learn from noisy and clean pictures; of a burst, from frames and the mean of the others."""
NOISE_SYSTEMS: tuple[System, ...] = (FOUR_LAYER_CNN, GAN)
"""Learn from clean pictures under synthetic noise; on bursts as those above."""
FROM_SCRATCH = "burst_denoise from scratch"
ON_RAW_FRAMES = "burst_denoise, raw frames, from the prior"
DEEP_IMAGE_PRIOR = "Deep Image Prior, small network"
QUICK_STEPS = 120
"""Of Deep Image Prior on each picture, in a quick proof."""
TIMED_STEPS = 6
FRAMES_SCORED = 3
"""Of each burst, by the benchmark of the library."""
AUGMENTED = {PAPER.name: augmented}
"""Systems whose source averages over turns and flips: they have a second row for that."""


def _classical(comparison: Comparison, budget: Budget, work: Path) -> list[Made]:  # noqa: ARG001
    return [Made(Row(name, comparison.name, scores)) for name, scores in comparison.test.baselines().items()]


def _long_enough(budget: Budget, system: System) -> Budget:
    """Return the budget; that of a quick proof with the steps that the system needs to show that it learns."""
    return replace(budget, least_steps=max(budget.least_steps, system.proof_steps)) if budget.narrow else budget


def _trained(system: System, comparison: Comparison, budget: Budget, work: Path) -> list[Made]:
    trained = train_system(system, comparison.data, _long_enough(budget, system), work)
    parameters, kmac = complexity(trained.network)
    test = comparison.test
    row = partial(
        Row,
        data=comparison.name,
        narrow=budget.narrow and parameters < parameter_count(system.build(False)),
        parameters=parameters,
        minutes=trained.minutes,
        steps=trained.steps,
        best_step=trained.best_step,
        training=f"{work.parent.name}/{work.name}",
        frames=comparison.frames,
        residual=system.residual,
        error_noisy=true_errors(test, lambda noisy: noisy),
        error_untrained=true_errors(test, trained.untrained),
        curve=tuple(trained.curve),
    )

    def scored(name: str, denoise: Denoise, kmac_per_pixel: float) -> Made:
        scores = test.score(denoise, averaged=system.averaged)
        made = row(name, scores=scores, kmac_per_pixel=kmac_per_pixel, error_trained=true_errors(test, denoise))
        return Made(made, lambda _burst: picture_method(denoise, averaged=system.averaged))

    rows = [scored(system.name, trained.denoise, kmac)]
    if system.name in AUGMENTED:
        again = partial(AUGMENTED[system.name], trained.network)
        rows.append(scored(f"{system.name} + augmentation", again, 8 * kmac))
    return rows


def _from_scratch(comparison: Comparison, budget: Budget, work: Path) -> list[Made]:
    """Return the row of the package's own network, trained without the prior.

    Trained as the package trains: on the same bursts, and on their noise added to pictures that come with scikit-image.
    """
    assert isinstance(comparison.test, SeriesTest)
    model, minutes = _calibrated(comparison.bursts, budget, work)
    denoiser = bd.Denoiser(model)

    def method_for(_burst: bd.Burst) -> Method:
        return denoiser.image

    scores = comparison.test.score_methods(method_for)
    return [Made(_row_of_model(FROM_SCRATCH, comparison, model, minutes, scores, work), method_for)]


def _on_raw_frames(comparison: Comparison, budget: Budget, work: Path) -> list[Made]:
    """Return the row of the package as it is used: mosaics denoised by a model calibrated from the prior.

    It has more to go by than the other systems: a network trained before, and four times the photosites. Its seconds
    are those of the whole frame.
    """
    assert isinstance(comparison.test, SeriesTest)
    scored = {burst.name: burst for burst in comparison.raw_scored}
    model, minutes = _calibrated(comparison.raw, budget, work)
    denoiser = bd.Denoiser(model)

    def method_for(pictures: bd.Burst) -> Method:
        burst = scored[pictures.name]
        numbers = {burst.frame(index).path.name: index for index in range(len(burst))}

        def method(_image: Float, frame: Frame) -> Float:
            index = numbers[frame.path.name]
            return half_size(burst, denoiser.image(burst.linear(index), burst.frame(index)))

        return method

    scores = comparison.test.score_methods(method_for)
    return [Made(_row_of_model(ON_RAW_FRAMES, comparison, model, minutes, scores, work), method_for)]


def _deep_image_prior(comparison: Comparison, budget: Budget, work: Path) -> list[Made]:  # noqa: ARG001
    """Return the row of a network fitted to each scored picture anew, the budget shared by them.

    It is the small network of the source: the large one makes a step in two to three seconds. Another frame of the
    burst says which output to keep; it serves as a reference of the score too, which by chance favours it a little.
    """
    test = comparison.test
    assert isinstance(test, SeriesTest)
    steps = QUICK_STEPS if budget.narrow else None
    seconds = None if budget.narrow else 60 * budget.minutes / (len(test.bursts) * FRAMES_SCORED)
    records: list[DeepImagePriorRecord] = []
    errors: list[list[float]] = []

    def method_for(burst: bd.Burst) -> Method:
        numbers = {burst.frame(index).path: index for index in range(len(burst))}

        def method(image: Float, frame: Frame) -> Float:
            profile, after = burst.profile, (numbers[frame.path] + 1) % len(burst)
            noisy, other = encoded(image, profile), encoded(burst.linear(after), profile)
            picture, record = denoise_picture(noisy, other, steps=steps, seconds=seconds, narrow=True)
            records.append(record)
            if burst.clean is not None:
                clean = encoded(burst.clean, profile)
                first, _ = denoise_picture(noisy, steps=1, narrow=True)
                errors.append([float(((x - clean) ** 2).mean()) for x in (noisy, first, picture)])
            return decoded(picture, profile, averaged=True)

        return method

    scores = test.score_methods(method_for)
    network = skip_net(narrow=True)
    parameters, kmac = complexity(network, network.inputs)
    noisy, first, last = np.mean(errors, axis=0).tolist() if errors else (None, None, None)
    row = Row(
        DEEP_IMAGE_PRIOR,
        comparison.name,
        scores,
        parameters=parameters,
        kmac_per_pixel=kmac,
        minutes=sum(record.cpu_seconds for record in records) / 60,
        steps=sum(record.steps for record in records),
        frames=0,
        error_noisy=noisy,
        error_untrained=first,
        error_trained=last,
    )
    return [Made(row, method_for)]


def _calibrated(bursts: Sequence[bd.Burst], budget: Budget, work: Path) -> tuple[bd.Model, float]:
    """Return a model calibrated on bursts, from the prior if they are raw, and the minutes that it took.

    They are those of its steps as timed beforehand; validation does not count.
    """
    from_scratch = bursts[0].info.domain != "bayer"

    def trained(steps: int, checkpoint: Path, report: Callable[[Progress], None]) -> bd.Model:
        settings = TrainSettings(steps=steps, from_scratch=from_scratch)
        network, record = train(bursts, settings, checkpoint, torch.device("cpu"), report)
        return model_of(network, bursts, record)

    def seconds_per_step() -> float:
        clock: list[float] = []
        timing = work / "timing.safetensors"
        timing.unlink(missing_ok=True)
        trained(TIMED_STEPS, timing, lambda _progress: clock.append(time.process_time()))
        timing.unlink()
        return (clock[-2] - clock[0]) / (len(clock) - 2)  # the last one validates

    steps, each_s = planned_steps(work, budget, seconds_per_step)
    model = trained(steps, work / CHECKPOINT, lambda _progress: None)
    (work / WEIGHTS).unlink(missing_ok=True)  # of a row that was removed
    model.save(work / WEIGHTS)
    return model, model.header.training.steps_done * each_s / 60


def _row_of_model(
    name: str, comparison: Comparison, model: bd.Model, minutes: float, scores: Scores, work: Path
) -> Row:
    assert isinstance(comparison.test, SeriesTest)
    parameters, kmac = complexity(model.network, model.network.planes)
    training = model.header.training
    noisy = comparison.test.score_methods(lambda _burst: lambda image, _frame: image)
    return Row(
        name,
        comparison.name,
        scores,
        parameters=parameters,
        kmac_per_pixel=kmac,
        minutes=minutes,
        steps=training.steps_done,
        best_step=training.best_step,
        training=f"{work.parent.name}/{work.name}",
        frames=len(training.burst_sha256),
        residual=True,
        error_noisy=_linear_error(noisy),
        error_untrained=_linear_error(noisy),  # it starts as the identity
        error_trained=_linear_error(scores),
        curve=training.curve,
    )


def _linear_error(scores: Scores) -> float | None:
    """Return the mean squared error of scores against the clean references, linear; None where there are none."""
    known = [score["true_psnr_db"] for score in scores if score["true_psnr_db"] is not None]
    return sum(10 ** (-each / 10) for each in known) / len(known) if known else None
