"""One visible training loop for any network: resumable to the bit."""

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from burst_denoise.errors import ConfigError, InputFileError
from burst_denoise.files import write_file
from burst_denoise.io.limits import refuse_special_file
from burst_denoise.model.device import autocast, compute_dtype
from burst_denoise.schemas import Document

__all__ = ["Checkpoint", "FitSettings", "FitState", "fit", "make_optimizer", "masked_mse"]

SAVE_EVERY_S = 20.0
"""Seconds between checkpoints where nobody says otherwise."""
PYTORCH_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "torch-radam": torch.optim.RAdam,
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "rmsprop": torch.optim.RMSprop,
}
UNKNOWN_DIGEST = "0" * 64
"""Stands in a checkpoint in place of its SHA-256 while that is computed."""
DAMAGE = (SafetensorError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
"""What reading a damaged checkpoint raises."""


@dataclass(frozen=True)
class FitSettings:
    """How a network is trained: its budget, either steps or minutes, and its optimiser."""

    steps: int | None = None
    minutes: float | None = None
    optimizer: str = "radam"
    """A name that `make_optimizer` knows."""
    learning_rate: float = 3e-3
    """Learning rate at the start."""
    falling: bool = True
    """Whether the rate falls to 0 with the cosine of the share of the budget that is used. Where it stays, a training
    with less budget is the beginning of one with more."""
    gradient_norm: float = 0.05
    """Gradients are cut to it: the rare patch with a strong edge would otherwise throw the weights about. Infinity cuts
    nothing."""
    average_decay: float = 0.999
    """Decay of the running average of the weights, which is what is validated and kept."""
    dtype: torch.dtype | None = None
    """Precision of the convolutions; None takes the device's, `compute_dtype`."""

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ConfigError("training needs one budget: steps or minutes")

    def share_used(self, step: int, seconds: float) -> float:
        """Return the share of the budget that so many steps, made in so many seconds, have used: 0 to 1."""
        if self.steps is not None:
            return min(1, step / self.steps)
        assert self.minutes is not None
        return min(1, seconds / (60 * self.minutes))


@dataclass
class FitState:
    """Where a training stands: all that a killed one needs to go on as if nothing had happened."""

    network: nn.Module
    average: nn.Module
    """Running average of the weights, in evaluation mode: the network to validate and to keep."""
    optimizer: torch.optim.Optimizer
    step: int = 0
    """Steps made."""
    seconds: float = 0.0
    """Spent, over all runs."""
    done: float = 0.0
    """Share of the budget used, 0 to 1; 1 at the last step alone. Set to 1, it ends the training."""
    loss: float = math.nan
    """Loss of the last step; nan before the first step of this run."""
    tensors: dict[str, Tensor] = field(default_factory=dict)
    """The caller's own, such as the best weights: saved and restored with the rest."""
    notes: dict[str, Any] = field(default_factory=dict)
    """The caller's own too: scores and whatever else JSON can hold."""


@dataclass(frozen=True)
class Checkpoint:
    """Where the state of a training is kept; a training goes on from the file if it is there."""

    path: Path
    fingerprint: str
    """Tells a training from others: a hash of its data and settings. The file of another training is refused."""
    every_s: float = field(default_factory=lambda: SAVE_EVERY_S)
    """Seconds between two times it is written; when that happens has no influence on the result."""


class _Record(Document):
    """What a checkpoint holds beside tensors; see `FitState` and `Checkpoint`."""

    step: int = Field(ge=0)
    seconds: float = Field(ge=0, allow_inf_nan=False)
    notes: dict[str, Any]
    fingerprint: str


def make_optimizer(name: str, parameters: list[Any], learning_rate: float) -> torch.optim.Optimizer:
    """Return an optimiser by name: ``radam`` is torch-optimizer's, all others are PyTorch's own.

    Those are ``torch-radam``, ``adamw``, ``adam`` and ``rmsprop``. ``parameters`` is a list of parameters, or of
    PyTorch's parameter groups.
    """
    if name in PYTORCH_OPTIMIZERS:
        return PYTORCH_OPTIMIZERS[name](parameters, lr=learning_rate)
    import torch_optimizer

    optimizer: torch.optim.Optimizer = torch_optimizer.RAdam(parameters, lr=learning_rate)
    for group in optimizer.param_groups:
        # It keeps the last steps' sizes here, rate included, in one list for all groups: they would share one rate.
        group["buffer"] = [[None] * 3 for _ in range(10)]
    return optimizer


def masked_mse(network: nn.Module, noisy: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Return the mean squared error of a network where it counts: a loss for `fit`.

    Parameters
    ----------
    network : torch.nn.Module
    noisy, target : (B, C, H, W) tensors
        What the network sees, and what it shall give.
    valid : (B, C, H, W) tensor
        Weight of each pixel's squared error, at least 0; 0 counts for nothing.

    Returns
    -------
    scalar tensor
        Sum of the weighted squared errors over the sum of the weights, or over 1 if that is less.
    """
    squared: Tensor = (network(noisy) - target) ** 2
    return (squared * valid).sum() / valid.sum().clamp(min=1)


def fit(
    network: nn.Module,
    batches: Callable[[int], Sequence[Any]],
    loss: Callable[..., Tensor],
    settings: FitSettings,
    *,
    checkpoint: Checkpoint | None = None,
    on_step: Callable[[FitState], None] = lambda _state: None,
    rate_share: Callable[[nn.Parameter], float] = lambda _parameter: 1.0,
) -> FitState:
    """Train a network until its budget is used, and return the state it ends in.

    Parameters
    ----------
    network : torch.nn.Module
        Is trained in place, on the device where its parameters are.
    batches : callable
        Given the number of a step, 0 upwards, it returns that step's arrays or tensors: what ``loss`` takes. Called in
        another thread while the step before is computed. Whatever is random in it must come from that number.
    loss : callable
        Given the network and the tensors of a batch, on the network's device, it returns a scalar tensor: `masked_mse`.
        Computed under autocast, where the device or ``settings.dtype`` asks for it.
    settings : FitSettings
    checkpoint : Checkpoint, optional
        Written at intervals and at the end.
    on_step : callable
        Given the state before the first step and after every step: the place to validate, to tell of progress, to
        keep the best weights in ``state.tensors``, to end the training early by setting ``state.done`` to 1. A
        checkpoint holds the state as it was before this call, so a training that goes on begins by calling it again.
    rate_share : callable
        Given a parameter, it returns the share of the learning rate that this parameter gets.

    Returns
    -------
    FitState
        Its ``average`` is the network to use.

    Raises
    ------
    ConfigError
        If the checkpoint is damaged or of another training, or the gradient is no longer finite.

    Notes
    -----
    With a budget in steps a training that is killed at any moment and started again ends in the same bits, on the same
    machine's CPU, unless the network itself draws random numbers (dropout). With a budget in minutes the learning rate
    follows the clock; calls of ``on_step`` count, but for the first.

    Examples
    --------
    >>> def noisy_pair(step):
    ...     return 1 + 0.1 * torch.randn((2, 4, 1, 8, 8), generator=torch.Generator().manual_seed(step))
    >>> def mse(network, noisy, target):
    ...     return (network(noisy) - target).square().mean()
    >>> fit(nn.Conv2d(1, 1, 3, padding=1), noisy_pair, mse, FitSettings(steps=3)).step
    3
    """
    device = next(network.parameters()).device
    dtype = settings.dtype or compute_dtype(device)
    state = _begin(network, settings, rate_share)
    if checkpoint is not None and checkpoint.path.exists():
        _load(state, checkpoint, device)
    state.done = settings.share_used(state.step, state.seconds)
    on_step(state)
    saved = time.monotonic()
    began = saved - state.seconds
    with ThreadPoolExecutor(1) as background:
        upcoming = background.submit(batches, state.step)
        while state.done < 1:
            batch = [_on_device(part, device) for part in upcoming.result()]
            upcoming = background.submit(batches, state.step + 1)
            rate = settings.learning_rate * (0.5 * (1 + math.cos(math.pi * state.done)) if settings.falling else 1)
            for group in state.optimizer.param_groups:
                group["lr"] = group["share"] * rate
            with autocast(device, dtype):
                error = loss(network, *batch)
            state.optimizer.zero_grad()
            error.backward()  # type: ignore[no-untyped-call]
            norm = nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_norm)
            state.loss = error.item()
            if not norm.isfinite():
                raise ConfigError(
                    f"training diverged at step {state.step} (loss {state.loss:.3g}); lower the learning rate"
                )
            state.optimizer.step()
            state.step += 1
            _follow(state, settings.average_decay)
            state.seconds = time.monotonic() - began
            state.done = settings.share_used(state.step, state.seconds)
            if checkpoint is not None and (state.done >= 1 or time.monotonic() - saved > checkpoint.every_s):
                _save(state, checkpoint)
                saved = time.monotonic()
            on_step(state)
        upcoming.cancel()
    return state


def _begin(network: nn.Module, settings: FitSettings, rate_share: Callable[[nn.Parameter], float]) -> FitState:
    by_share: dict[float, list[nn.Parameter]] = {}
    for parameter in network.parameters():
        by_share.setdefault(rate_share(parameter), []).append(parameter)
    groups = [{"params": parameters, "share": share} for share, parameters in by_share.items()]
    optimizer = make_optimizer(settings.optimizer, groups, settings.learning_rate)
    return FitState(network.train(), copy.deepcopy(network).eval(), optimizer)


def _on_device(part: Any, device: torch.device) -> Tensor:
    tensor = torch.as_tensor(part)
    layout = torch.channels_last if tensor.ndim == 4 else torch.preserve_format
    return tensor.to(device, memory_format=layout)


@torch.no_grad()
def _follow(state: FitState, average_decay: float) -> None:
    """Move the running average towards the weights; quickly at first, when the average is of nothing yet."""
    decay = min(average_decay, (1 + state.step) / (10 + state.step))
    for average, weight in zip(state.average.parameters(), state.network.parameters(), strict=True):
        average.lerp_(weight, 1 - decay)
    # What a network counts along the way (batch normalisation) is an average already.
    for kept, counted in zip(state.average.buffers(), state.network.buffers(), strict=True):
        kept.copy_(counted)


def _save(state: FitState, checkpoint: Checkpoint) -> None:
    parts: dict[str, dict[str, Any]] = {
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "tensors": state.tensors,
    }
    parts |= {f"optimizer/{index}": entry for index, entry in state.optimizer.state_dict()["state"].items()}
    tensors = {
        f"{part}/{key}": torch.as_tensor(value).contiguous()
        for part, values in parts.items()
        for key, value in values.items()
    }
    record = _Record(step=state.step, seconds=state.seconds, notes=state.notes, fingerprint=checkpoint.fingerprint)
    content = save(tensors, {"fit": json.dumps(dict(record)), "sha256": UNKNOWN_DIGEST})
    digest = hashlib.sha256(content).hexdigest()
    write_file(checkpoint.path, content.replace(UNKNOWN_DIGEST.encode(), digest.encode(), 1), overwrite=True)


def _load(state: FitState, checkpoint: Checkpoint, device: torch.device) -> None:
    """Bring a fresh state to where its checkpoint left off."""
    path = checkpoint.path
    try:
        refuse_special_file(path)
        content = path.read_bytes()
        if len(content) < 8:
            raise ValueError("its header is cut off")
        metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
        if set(metadata) != {"fit"}:  # up to version 0.4 there was no digest
            digest = metadata["sha256"]
            written = content.replace(digest.encode(), UNKNOWN_DIGEST.encode(), 1)
            if len(digest) != len(UNKNOWN_DIGEST) or hashlib.sha256(written).hexdigest() != digest:
                raise ValueError("it differs from what was written")
        record = _Record.parse(metadata["fit"], "its record")
        tensors = {name: tensor.to(device) for name, tensor in load(content).items()}
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise ValueError("some of its numbers are not finite")
        if record.fingerprint == checkpoint.fingerprint:
            _restore(state, record, tensors)
    except (*DAMAGE, OSError, InputFileError, ConfigError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ConfigError(
            f"{path}: checkpoint is damaged or of another version ({reason}); delete it to start afresh"
        ) from error
    if record.fingerprint != checkpoint.fingerprint:
        raise ConfigError(
            f"{path}: checkpoint of another training (other data, settings or version); delete it to start afresh"
        )


def _restore(state: FitState, record: _Record, tensors: Mapping[str, Tensor]) -> None:
    def part(name: str) -> dict[str, Tensor]:
        return {key.removeprefix(name): tensor for key, tensor in tensors.items() if key.startswith(name)}

    state.network.load_state_dict(part("network/"))
    state.average.load_state_dict(part("average/"))
    optimizer = state.optimizer.state_dict()
    parameters = [parameter for group in state.optimizer.param_groups for parameter in group["params"]]
    for name, tensor in part("optimizer/").items():
        index, _, key = name.partition("/")
        if tensor.shape not in (torch.Size(), parameters[int(index)].shape):
            raise ValueError(f"{name} does not fit the network")
        # torch-optimizer counts in a plain number; PyTorch's own optimisers make a tensor of one.
        optimizer["state"].setdefault(int(index), {})[key] = tensor.item() if key == "step" else tensor
    state.optimizer.load_state_dict(optimizer)
    state.tensors = part("tensors/")
    state.step, state.seconds, state.notes = record.step, record.seconds, record.notes
