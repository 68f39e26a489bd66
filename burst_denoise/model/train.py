"""Training: one visible loop, validated on photosites it never sees, resumable to the bit."""

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from burst_denoise.burst.store import Burst
from burst_denoise.errors import ConfigError
from burst_denoise.files import atomic_write
from burst_denoise.frame.frame import plane_count
from burst_denoise.model.device import compute_dtype
from burst_denoise.model.network import FrequencySplitResNet, build_network
from burst_denoise.model.pairs import sample_patches
from burst_denoise.model.prior import load_prior, prior_file
from burst_denoise.model.validation import Validator
from burst_denoise.schemas import Domain, TrainSettings

__all__ = ["Progress", "Trained", "make_optimizer", "train"]

VALIDATE_EVERY = 250
"""Steps between validations: about every 10 seconds of the fast preset on two cores."""
SAVE_EVERY_S = 20.0
"""Seconds between checkpoints; when they happen has no influence on the result."""
AVERAGE_DECAY = 0.999
"""Of the running average of the weights, which is what is validated and kept."""
GRADIENT_NORM = 0.05
"""Gradients are cut to this norm: the rare patch with a strong edge would otherwise throw the weights about."""

LEARNING_RATES = {"prior": 2e-4, "scratch": 3e-3}
"""By where a training starts. From the prior, on a scene not trained on, 5e-4 lost 0.02 dB and 2e-4 won 0.03."""

COUNTERS = (
    "step", "best_step", "start_psnr_db", "first_psnr_db", "first_content_db", "psnr_db", "best_psnr_db",
    "best_gain_db", "seconds", "curve",
)  # fmt: skip


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


@dataclass(frozen=True)
class Trained:
    """The best validated network of a training and how it came about."""

    network: FrequencySplitResNet
    steps_done: int
    best_step: int
    start_psnr_db: float
    prior_psnr_db: float | None
    prior_sha256: str | None
    """The prior it started from; None if it started from scratch."""
    best_psnr_db: float
    seconds: float
    curve: tuple[tuple[int, float], ...]
    """Every validation: step, corrected PSNR on the held-out photosites, dB."""


def make_optimizer(name: str, parameters: list[torch.nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
    """Return an optimiser by name: ``radam`` (torch-optimizer), ``torch-radam`` (PyTorch's own) or ``adamw``."""
    if name == "torch-radam":
        return torch.optim.RAdam(parameters, lr=learning_rate)
    if name == "adamw":
        return torch.optim.AdamW(parameters, lr=learning_rate)
    import torch_optimizer

    optimizer: torch.optim.Optimizer = torch_optimizer.RAdam(parameters, lr=learning_rate)
    return optimizer


@dataclass
class _State:
    """Everything a killed training needs to go on as if nothing had happened."""

    network: FrequencySplitResNet
    average: FrequencySplitResNet
    best: FrequencySplitResNet
    optimizer: torch.optim.Optimizer
    prior_sha256: str | None
    step: int = 0
    best_step: int = 0
    start_psnr_db: float = math.nan
    first_psnr_db: float = math.nan
    """Of the network before the first step, on the bursts and on other content."""
    first_content_db: float = math.nan
    psnr_db: float = math.nan
    best_psnr_db: float = math.nan
    best_gain_db: float = 0.0
    seconds: float = 0.0
    curve: list[tuple[int, float]] = field(default_factory=list)


def train(
    bursts: Sequence[Burst],
    settings: TrainSettings,
    state_file: Path,
    device: torch.device,
    report: Callable[[Progress], None],
) -> Trained:
    """Train a network on bursts of one sensor and return the best validated one.

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
    Trained
        The running average of the weights that gained most over the start on both held-out scores: the
        leave-one-out-corrected PSNR on the held-out columns, and the sensor's noise on other pictures; the smaller
        gain counts. The start (the prior; the identity; for the ``paper`` preset random weights) is a candidate too:
        what is returned is no worse.

    Raises
    ------
    ConfigError
        If ``settings`` has no budget or two, or ``state_file`` belongs to another training.

    Notes
    -----
    Batches depend on (seed, step) alone and the checkpoint holds the full state, so with a budget in steps a training
    killed at any moment and started again ends in the same bits, on the same machine's CPU. With a budget in minutes
    the learning rate follows the clock.
    """
    if (settings.steps is None) == (settings.minutes is None):
        raise ConfigError("training needs one budget: steps or minutes")
    state = _begin(settings, bursts[0].info.domain, device)
    fingerprint = _fingerprint(bursts, settings, state.prior_sha256)
    learning_rate = state.optimizer.param_groups[0]["lr"]
    _load(state, state_file, fingerprint, device)
    validator = Validator(bursts, device)
    dtype = compute_dtype(device)
    if math.isnan(state.start_psnr_db):
        state.start_psnr_db = validator.score(torch.nn.Identity())
        state.psnr_db = state.first_psnr_db = state.best_psnr_db = validator.score(state.average)
        state.first_content_db = validator.content_score(state.average)
    began, saved = time.monotonic() - state.seconds, time.monotonic()

    with ThreadPoolExecutor(1) as background:

        def draw(step: int) -> Any:
            rng = np.random.default_rng([settings.seed, step])
            return background.submit(sample_patches, bursts, settings.batch, settings.patch, rng)

        upcoming = draw(state.step)
        while (done := _share_done(settings, state.step, time.monotonic() - began)) < 1:
            patches, upcoming = upcoming.result(), draw(state.step + 1)
            noisy, target, valid = (
                torch.from_numpy(part).to(device, memory_format=torch.channels_last)
                for part in (patches.noisy, patches.target, patches.valid)
            )
            for group in state.optimizer.param_groups:
                group["lr"] = learning_rate * 0.5 * (1 + math.cos(math.pi * done))
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                denoised = state.network(noisy)
            loss = ((denoised - target) ** 2 * valid).sum() / valid.sum().clamp(min=1)
            state.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(state.network.parameters(), GRADIENT_NORM, error_if_nonfinite=True)
            state.optimizer.step()
            state.step += 1
            _follow(state)
            if state.step % VALIDATE_EVERY == 0:
                _validate(state, validator)
            state.seconds = time.monotonic() - began
            if time.monotonic() - saved > SAVE_EVERY_S:
                _save(state, state_file, fingerprint)
                saved = time.monotonic()
            left = state.seconds * (1 - done) / max(done, 1e-3)
            report(Progress(state.step, done, loss.item(), state.start_psnr_db, state.psnr_db, left))
        upcoming.cancel()
    if not state.curve or state.curve[-1][0] != state.step:
        _validate(state, validator)
    _save(state, state_file, fingerprint)
    return Trained(
        network=state.best,
        steps_done=state.step,
        best_step=state.best_step,
        start_psnr_db=state.start_psnr_db,
        prior_psnr_db=None if state.prior_sha256 is None else state.first_psnr_db,
        prior_sha256=state.prior_sha256,
        best_psnr_db=state.best_psnr_db,
        seconds=state.seconds,
        curve=tuple((step, psnr_db) for step, psnr_db in state.curve),
    )


def _share_done(settings: TrainSettings, step: int, seconds: float) -> float:
    if settings.steps is not None:
        return step / settings.steps
    assert settings.minutes is not None
    return seconds / (60 * settings.minutes)


def _begin(settings: TrainSettings, domain: Domain, device: torch.device) -> _State:
    torch.manual_seed(settings.seed)
    network, prior_sha256 = build_network(settings.preset, plane_count(domain)).to(device), None
    if settings.preset == "fast" and not settings.from_scratch and prior_file(domain).exists():
        prior = load_prior(domain, device)
        network.load_state_dict(prior.network.state_dict())
        prior_sha256 = prior.sha256
    learning_rate = settings.learning_rate or LEARNING_RATES["scratch" if prior_sha256 is None else "prior"]
    optimizer = make_optimizer(settings.optimizer, list(network.parameters()), learning_rate)
    return _State(network, copy.deepcopy(network), copy.deepcopy(network), optimizer, prior_sha256)


@torch.no_grad()
def _follow(state: _State) -> None:
    """Move the running average towards the weights; quickly at first, when the average is of nothing yet."""
    decay = min(AVERAGE_DECAY, (1 + state.step) / (10 + state.step))
    for average, weight in zip(state.average.parameters(), state.network.parameters(), strict=True):
        average.lerp_(weight, 1 - decay)


def _validate(state: _State, validator: Validator) -> None:
    state.psnr_db = validator.score(state.average)
    state.curve.append((state.step, state.psnr_db))
    # A network that learns the owner's scenes by heart gains on their held-out columns and loses everywhere else.
    content_db = validator.content_score(state.average)
    gain_db = float(np.nanmin((state.psnr_db - state.first_psnr_db, content_db - state.first_content_db)))
    if gain_db > state.best_gain_db:
        state.best_gain_db, state.best_psnr_db, state.best_step = gain_db, state.psnr_db, state.step
        state.best.load_state_dict(state.average.state_dict())


def _fingerprint(bursts: Sequence[Burst], settings: TrainSettings, prior_sha256: str | None) -> str:
    text = f"{settings.to_json()}{prior_sha256}" + "".join(burst.fingerprint for burst in bursts)
    return hashlib.sha256(text.encode()).hexdigest()


def _save(state: _State, path: Path, fingerprint: str) -> None:
    tensors: dict[str, Tensor] = {}
    for name in ("network", "average", "best"):
        for key, value in getattr(state, name).state_dict().items():
            tensors[f"{name}/{key}"] = value
    numbers: dict[str, float] = {}
    for index, entry in state.optimizer.state_dict()["state"].items():
        for key, value in entry.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{key}"] = value
            else:
                numbers[f"{index}/{key}"] = value
    record = {name: getattr(state, name) for name in COUNTERS} | {"fingerprint": fingerprint, "numbers": numbers}
    content = save({k: v.contiguous() for k, v in tensors.items()}, {"state": json.dumps(record)})
    with atomic_write(path, overwrite=True) as aside:
        aside.write_bytes(content)


def _load(state: _State, path: Path, fingerprint: str, device: torch.device) -> None:
    """Bring a fresh state to where the checkpoint left off, if there is one."""
    if not path.exists():
        return
    try:
        with safe_open(path, "pt", device=str(device)) as handle:
            record = json.loads(handle.metadata()["state"])
            tensors = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: checkpoint is damaged ({error}); delete it to start afresh") from error
    if record["fingerprint"] != fingerprint:
        raise ConfigError(
            f"{path}: checkpoint of another training (other bursts or settings); delete it to start afresh"
        )
    for name in ("network", "average", "best"):
        prefix = f"{name}/"
        weights = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        getattr(state, name).load_state_dict(weights)
    entries: dict[int, dict[str, Any]] = {}
    for key, value in record["numbers"].items():
        index, name = key.split("/")
        entries.setdefault(int(index), {})[name] = value
    for key, tensor in tensors.items():
        if key.startswith("optimizer/"):
            _, index, name = key.split("/")
            entries.setdefault(int(index), {})[name] = tensor
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": entries, "param_groups": groups})
    for name in COUNTERS:
        setattr(state, name, record.get(name, getattr(state, name)))
