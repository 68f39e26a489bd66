"""Training a system of the table: the library's own loop, one validation rule, a budget of one core's minutes.

The budget is turned into steps first, from the processor time of a few of them, so that a training does the same work
whatever else the machine does, can be resumed, and ends in the same bits.
"""

import copy
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from burst_denoise.arrays import Float
from burst_denoise.files import write_file
from burst_denoise.model.fit import Checkpoint, FitSettings, FitState, fit
from experiments.pictures import DataSet
from experiments.systems.system import System

__all__ = ["CHECKPOINT", "WEIGHTS", "Budget", "Trained", "planned_steps", "train_system"]

VALIDATIONS = 8
"""Times the running average of the weights is scored, evenly spread over a training, the end included."""
WARM_UP_STEPS, TIMED_STEPS = 2, 4
"""Steps whose time is not taken, and whose time is."""
WEIGHTS = "weights.safetensors"
"""Of the network that was kept, in the folder of the training."""
CHECKPOINT = "checkpoint.safetensors"
SAVE_EVERY_S = 300.0


@dataclass(frozen=True)
class Budget:
    """What a training may cost."""

    minutes: float
    """Of one core."""
    least_steps: int = 0
    """Are made in any case."""
    narrow: bool = False
    """Whether networks are narrowed, for a quick proof."""


def planned_steps(work: Path, budget: Budget, seconds_per_step: Callable[[], float]) -> tuple[int, float]:
    """Return how many steps a budget buys, and seconds a step; what was planned in ``work`` before stays."""
    plan = work / "steps.json"
    if not plan.exists():
        work.mkdir(parents=True, exist_ok=True)
        each = seconds_per_step()
        steps = max(budget.least_steps, round(60 * budget.minutes / each))
        write_file(plan, json.dumps({"steps": steps, "seconds_per_step": each}).encode())
    planned = json.loads(plan.read_text(encoding="utf-8"))
    return planned["steps"], planned["seconds_per_step"]


@dataclass(frozen=True)
class Trained:
    """A trained system and what its training took."""

    denoise: Callable[[Float], Float]
    """(3, H, W) picture -> denoised picture."""
    untrained: Callable[[Float], Float]
    """The same with the weights of the start."""
    network: nn.Module
    steps: int
    best_step: int
    """The step whose weights were kept."""
    minutes: float
    """Processor time of this training, one core's minutes."""
    curve: list[tuple[int, float]]
    """Step, and the mean squared error of the running average on the validation pairs."""


def train_system(system: System, data: DataSet, budget: Budget, work: Path, seed: int = 0) -> Trained:
    """Train a system and return the best validated running average of its weights.

    Parameters
    ----------
    system : System
    data : DataSet
    budget : Budget
    work : Path
        Folder for the checkpoint and the number of steps; a training goes on from what is there.
    seed : int
        Decides everything that is random.
    """
    torch.manual_seed(seed)
    network = system.build(budget.narrow)
    first = copy.deepcopy(network).eval()

    def batches(step: int) -> object:
        return system.batch(data, np.random.default_rng([seed, step]))

    def settings(steps: int) -> FitSettings:
        return FitSettings(
            steps=steps,
            optimizer=system.optimizer,
            learning_rate=system.learning_rate,
            gradient_norm=system.gradient_norm,
            dtype=torch.float32,
        )

    def seconds_per_step() -> float:
        clock: list[float] = []
        steps = settings(WARM_UP_STEPS + TIMED_STEPS)
        fit(copy.deepcopy(network), batches, system.loss, steps, on_step=lambda _: clock.append(time.process_time()))
        return (clock[-1] - clock[WARM_UP_STEPS]) / TIMED_STEPS

    steps, _ = planned_steps(work, budget, seconds_per_step)
    every = max(1, steps // VALIDATIONS)
    clock = [time.process_time()]

    def on_step(state: FitState) -> None:
        now = time.process_time()
        state.notes["cpu_s"] = state.notes.get("cpu_s", 0.0) + now - clock[0]
        if state.step and (state.step % every == 0 or state.done >= 1):
            _validate(system, state, data)
        clock[0] = time.process_time()  # validation does not count

    digest = hashlib.sha256(f"{system.name} {data.name} {data.sha256} {budget} {seed}".encode()).hexdigest()
    checkpoint = Checkpoint(work / CHECKPOINT, digest, SAVE_EVERY_S)
    state = fit(network, batches, system.loss, settings(steps), checkpoint=checkpoint, on_step=on_step)
    network.load_state_dict(state.tensors)
    write_file(work / WEIGHTS, save({key: w.contiguous() for key, w in state.tensors.items()}), overwrite=True)
    return Trained(
        denoise=lambda picture: system.denoise(network.eval(), picture),
        untrained=lambda picture: system.denoise(first, picture),
        network=network.eval(),
        steps=state.step,
        best_step=state.notes["best_step"],
        minutes=state.notes["cpu_s"] / 60,
        curve=[(step, error) for step, error in state.notes["curve"]],
    )


def _validate(system: System, state: FitState, data: DataSet) -> None:
    """Score the running average on the validation pairs; keep its weights if they are the best so far."""
    errors = []
    for noisy, target, counts in data.validation:
        squared = (system.denoise(state.average, noisy) - target)[counts] ** 2
        errors.append(float(squared.mean()))
    error = float(np.mean(errors))
    notes = state.notes
    if (state.step, error) not in [tuple(entry) for entry in notes.setdefault("curve", [])]:
        notes["curve"].append((state.step, error))
    if error < notes.get("best_error", float("inf")):
        notes["best_error"], notes["best_step"] = error, state.step
        state.tensors = {key: weight.clone() for key, weight in state.average.state_dict().items()}
