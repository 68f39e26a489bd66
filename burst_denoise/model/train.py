"""A calibration: the network trained on a sensor's bursts, validated on photosites that no pair of them shows."""

import copy
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from burst_denoise import __version__
from burst_denoise.burst.burst import Burst
from burst_denoise.model.fit import Checkpoint, FitSettings, FitState, fit, masked_mse
from burst_denoise.model.network import FrequencySplitResNet, build_network
from burst_denoise.model.pairs import Patches, sample_patches
from burst_denoise.model.prior import load_prior, why_no_prior
from burst_denoise.model.validation import Gain, Scores, Validator
from burst_denoise.schemas import PLANES, FrameInfo, TrainingRecord, TrainSettings
from burst_denoise.sensor.verdict import PAYS_DB

__all__ = ["Progress", "train"]

VALIDATE_EVERY = 100
"""Steps between validations: about every 10 seconds of the fast preset on two cores."""
PATIENCE, PROGRESS_DB = 2, 0.01
"""Validations in a row after which a training from the prior stops, if its gain has not risen by so much."""
SHARES = (1.0, 0.75, 0.5, 0.25)
"""Shares of the calibrated weights that are tried; the rest are the prior's."""
LARGEST_LOSS_DB = 0.02
"""That frames or pictures of the validation may lose to the prior in the mean, those that gain counted as 0."""
LEARNING_RATES = {"prior": 2e-4, "scratch": 3e-3}
"""Learning rate by where a training starts. From the prior, on a scene not trained on, 5e-4 lost 0.02 dB and 2e-4 won
0.03."""


@dataclass(frozen=True)
class Progress:
    """Where a training stands, for a progress display."""

    step: int
    done: float
    """Share of the budget used, 0 to 1."""
    loss: float
    """Mean squared error on the last batch, units of the noise; has a floor above 0 because targets are noisy."""
    start_psnr_db: float
    psnr_db: float
    """Corrected PSNR at the last validation, held-out photosites."""
    seconds_left: float
    gain_db: float
    """Largest gain over the start so far."""


def train(
    bursts: Sequence[Burst],
    settings: TrainSettings,
    state_file: Path,
    device: torch.device,
    report: Callable[[Progress], None],
) -> tuple[FrequencySplitResNet, TrainingRecord]:
    """Train a network on bursts of one sensor and return the best validated one, and how it came about.

    Parameters
    ----------
    bursts : sequence of Burst
        Accepted bursts of one sensor, at least one.
    settings : TrainSettings
        With a budget in steps or in minutes.
    state_file : Path
        Where the checkpoint lives. If it exists the training goes on from it.
    device : torch.device
    report : callable
        Called with a `Progress` after every step.

    Returns
    -------
    network : FrequencySplitResNet
        The running average of the weights that gained most over the start on both held-out scores: the
        leave-one-out-corrected PSNR on the held-out columns, and the sensor's noise on other pictures; the smaller
        gain counts. From the prior, a mean of these weights and the prior's: of those that harm hardly any frame
        or picture (`LARGEST_LOSS_DB`), the one with least of the prior, if it pays (`PAYS_DB`), beyond chance.
        The start (the prior; the identity; for the ``paper`` preset random weights) is a candidate too: what is
        returned is no worse.
    record : TrainingRecord
        Without the strengths of the baselines.

    Raises
    ------
    ConfigError
        If ``settings`` has no budget or two, ``state_file`` belongs to another training, or the training diverges.

    Notes
    -----
    Killed and started again it ends in the same bits, as `fit` says.

    From the prior the budget is a ceiling: training stops when the gain has made no progress for `PATIENCE`
    validations. The rate is constant there, so more budget never changes what less of it would have found.

    References
    ----------
    Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022 (means of weights before and after).
    """
    network, prior_sha256 = _start(settings, bursts[0].info, device)
    start = copy.deepcopy(network)
    how = FitSettings(
        steps=settings.steps,
        minutes=settings.minutes,
        optimizer=settings.optimizer,
        learning_rate=settings.learning_rate or LEARNING_RATES["scratch" if prior_sha256 is None else "prior"],
        falling=prior_sha256 is None,
    )
    validator = Validator(bursts, device)

    def batches(step: int) -> Patches:
        rng = np.random.default_rng([settings.seed, step])
        return sample_patches(bursts, settings.batch, settings.patch, rng)

    def on_step(state: FitState) -> None:
        if state.step % VALIDATE_EVERY == 0 or state.done >= 1:
            _validate(state, validator)
            if prior_sha256 is not None and state.step - state.notes["progress_step"] >= PATIENCE * VALIDATE_EVERY:
                state.done = 1
        if not math.isnan(state.loss):
            left = state.seconds * (1 - state.done) / max(state.done, 1e-3)
            scores = state.notes["start_psnr_db"], state.notes["psnr_db"]
            report(Progress(state.step, state.done, state.loss, *scores, left, state.notes["best_gain_db"]))

    checkpoint = Checkpoint(state_file, _fingerprint(bursts, settings, prior_sha256))
    state = fit(network, batches, masked_mse, how, checkpoint=checkpoint, on_step=on_step)
    kept = _kept(start, state, validator, from_prior=prior_sha256 is not None)
    notes = state.notes
    return kept.network, TrainingRecord(
        settings=settings,
        steps_done=state.step,
        best_step=notes["best_step"] if kept.share else 0,
        start_psnr_db=notes["start_psnr_db"],
        prior_psnr_db=None if prior_sha256 is None else notes["first_psnr_db"],
        prior_sha256=prior_sha256,
        prior_share=None if prior_sha256 is None else 1 - kept.share,
        best_psnr_db=float(kept.scores.held_out_db.mean()),
        gain_db=kept.gain.value_db,
        gain_std_error_db=kept.gain.std_error_db,
        bursts=tuple(burst.name for burst in bursts),
        burst_sha256=tuple(digest for burst in bursts for digest in burst.manifest.sha256),
        versions={"burst_denoise": __version__} | {name: version(name) for name in ("torch", "numpy", "rawpy")},
        seconds=state.seconds,
        curve=notes["curve"],
    )


def _start(settings: TrainSettings, info: FrameInfo, device: torch.device) -> tuple[FrequencySplitResNet, str | None]:
    """Return the network that a training starts from, and the digest of the prior if its weights are the prior's."""
    torch.manual_seed(settings.seed)
    network = build_network(settings.preset, PLANES[info.domain]).to(device)
    if settings.preset == "paper" or settings.from_scratch or why_no_prior(info, settings.preset) is not None:
        return network, None
    prior = load_prior(info.domain, device, settings.preset)
    network.load_state_dict(prior.network.state_dict())
    return network, prior.sha256


def _validate(state: FitState, validator: Validator) -> None:
    """Score the average; its weights are kept if they gained more over the start than any before, or are the start."""
    notes = state.notes
    scores = validator.scores(state.average)
    psnr_db = notes["psnr_db"] = float(scores.held_out_db.mean())
    if state.step == 0:
        notes["start_psnr_db"] = float(validator.scores(nn.Identity()).held_out_db.mean())
        notes["first_psnr_db"] = psnr_db
        notes["first"] = [scores.held_out_db.tolist(), scores.content_db.tolist()]
        notes |= {"best_gain_db": 0.0, "best_step": 0, "progress_step": 0, "progress_db": 0.0, "curve": []}
        state.tensors = _weights(state.average)
        return
    notes["curve"].append((state.step, psnr_db))
    gain_db = scores.gain_over(Scores(*map(np.array, notes["first"]))).value_db
    if gain_db > notes["best_gain_db"]:
        notes["best_gain_db"], notes["best_step"] = gain_db, state.step
        state.tensors = _weights(state.average)
    if gain_db > notes["progress_db"] + PROGRESS_DB:
        notes["progress_db"], notes["progress_step"] = gain_db, state.step


def _weights(network: nn.Module) -> dict[str, Tensor]:
    return {key: weight.clone() for key, weight in network.state_dict().items()}


@dataclass(frozen=True)
class _Kept:
    """The network that a training keeps, and what it reaches."""

    network: FrequencySplitResNet
    share: float
    """Share of the best trained weights; the rest are those of the start."""
    scores: Scores
    gain: Gain
    """Over the start."""


def _kept(start: FrequencySplitResNet, state: FitState, validator: Validator, *, from_prior: bool) -> _Kept:
    """Return what is kept of the best weights of a training: all or a share of them, or none where the start serves.

    Where the prior serves, the gain is the one that was not enough.
    """
    first = Scores(*map(np.array, state.notes["first"]))
    kept = prior = _Kept(start, 0.0, first, first.gain_over(first))
    if state.notes["best_step"] > 0:
        for share in SHARES:
            network = copy.deepcopy(start)
            for name, weight in network.state_dict().items():
                weight.lerp_(state.tensors[name], share)
            scores = validator.scores(network.eval())
            gain = scores.gain_over(first)
            if not from_prior or _pays(gain):
                return _Kept(network, share, scores, gain)
            if share == 1:
                kept = replace(prior, gain=gain)
            if gain.value_db < PAYS_DB:  # less of it does not gain more
                break
    return kept


def _pays(gain: Gain) -> bool:
    return gain.value_db >= max(PAYS_DB, 2 * gain.std_error_db) and gain.mean_loss_db <= LARGEST_LOSS_DB


def _fingerprint(bursts: Sequence[Burst], settings: TrainSettings, prior_sha256: str | None) -> str:
    text = f"{__version__}{settings.to_json()}{prior_sha256}" + "".join(burst.fingerprint for burst in bursts)
    return hashlib.sha256(text.encode()).hexdigest()
