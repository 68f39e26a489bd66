"""The training loop by itself, on a task whose answer is known: it learns, and a killed run ends in the same bits."""

import json
import math
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from burst_denoise.errors import ConfigError
from burst_denoise.model import fit as loop
from burst_denoise.model.fit import Checkpoint, FitSettings, fit, make_optimizer, masked_mse

CLEAN = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 1, 8, 8)


def small_network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Conv2d(4, 1, 3, padding=1))


def one_brighter(step):
    """Two noisy views of a picture, the second one brighter by 1."""
    noisy, target = 0.1 * np.random.default_rng(step).standard_normal((2, 4, 1, 8, 8), np.float32)
    return CLEAN + noisy, CLEAN + 1 + target, np.ones_like(noisy)


def run_fit(steps=6, network=None, batches=one_brighter, loss=masked_mse, **more):
    settings = {"steps": steps, "learning_rate": 0.02, "gradient_norm": 1.0, "dtype": torch.float32}
    known = {name: more.pop(name) for name in tuple(more) if name in FitSettings.__dataclass_fields__}
    return fit(network or small_network(), batches, loss, FitSettings(**settings | known), **more)


def weights(network):
    return b"".join(value.contiguous().numpy().tobytes() for value in network.state_dict().values())


def test_a_network_learns_from_noisy_pairs_what_holds_for_clean_pictures():
    def error(network):
        return (network(torch.from_numpy(CLEAN)) - torch.from_numpy(CLEAN + 1)).square().mean().item()

    state = run_fit(300)
    assert state.step == 300
    assert not state.average.training
    assert error(state.average) < 0.01 * error(small_network())


@pytest.mark.parametrize("optimizer", ["radam", "torch-radam", "adamw"])
def test_a_stopped_fit_goes_on_to_the_same_bits(tmp_path, monkeypatch, optimizer):
    monkeypatch.setattr(loop, "SAVE_EVERY_S", 0.0)

    def fitted(name, stop=None):
        steps = []

        def on_step(state):
            steps.append(state.step)
            if state.step % 3 == 0:
                state.notes.setdefault("validated", []).append(state.step)
                state.tensors["weight"] = state.average[0].weight.detach().clone()
            if state.step == stop:
                raise KeyboardInterrupt

        more = {"optimizer": optimizer, "rate_share": lambda parameter: 1 / parameter.ndim}
        return run_fit(10, checkpoint=Checkpoint(tmp_path / name, "data 1"), on_step=on_step, **more), steps

    whole, steps = fitted("whole.safetensors")
    assert steps == [*range(11)]
    for stop in (6, 8):
        with pytest.raises(KeyboardInterrupt):
            fitted("parts.safetensors", stop)
    parts, steps = fitted("parts.safetensors")
    assert steps == [8, 9, 10]
    assert weights(parts.network) == weights(whole.network)
    assert weights(parts.average) == weights(whole.average)
    assert parts.notes == whole.notes == {"validated": [0, 3, 6, 9]}
    assert torch.equal(parts.tensors["weight"], whole.tensors["weight"])
    again, steps = fitted("parts.safetensors")
    assert steps == [10]
    assert weights(again.average) == weights(whole.average)


SCRIPT = """
import sys, torch
from pathlib import Path
from burst_denoise.model import fit as loop
from tests.test_fit import Checkpoint, run_fit, weights
loop.SAVE_EVERY_S = 0.0
torch.set_num_threads(1)
state = run_fit(200, checkpoint=Checkpoint(Path(sys.argv[1]), ""), on_step=lambda state: print(state.step, flush=True))
print(weights(state.average).hex())
"""


@pytest.mark.system
def test_a_fit_killed_by_sigkill_goes_on_to_the_same_bits(tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "state.safetensors")]
    root = Path(__file__).parent.parent
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        while int(process.stdout.readline()) < 50:
            pass
        process.kill()
    assert process.returncode == -signal.SIGKILL
    resumed = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=root, check=True).stdout.splitlines()
    assert int(resumed[0]) >= 49  # it did not begin afresh
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    whole = run_fit(200)
    torch.set_num_threads(threads)
    assert resumed[-1] == weights(whole.average).hex()


def test_a_fit_at_a_constant_rate_is_the_beginning_of_a_longer_one():
    seen = {}

    def on_step(state):
        seen[state.step] = weights(state.average)

    run_fit(7, on_step=on_step, falling=False)
    assert weights(run_fit(4, falling=False).average) == seen[4]
    assert weights(run_fit(4).average) != seen[4]


def test_who_watches_the_steps_may_end_a_fit():
    def on_step(state):
        if state.step == 3:
            state.done = 1

    assert run_fit(10, on_step=on_step).step == 3


def test_the_rate_falls_with_the_cosine_to_each_parameters_share():
    rates = []

    def on_step(state):
        if state.step:
            rates.append([group["lr"] for group in state.optimizer.param_groups])

    run_fit(5, on_step=on_step, rate_share=lambda parameter: 1 / parameter.ndim)  # weights a quarter, biases all
    expected = [0.02 * (1 + math.cos(math.pi * step / 5)) / 2 for step in range(5)]
    assert np.array(rates) == pytest.approx(np.outer(expected, [0.25, 1]))


@pytest.mark.parametrize("optimizer", ["radam", "torch-radam", "adamw"])
def test_a_parameter_moves_by_its_share_of_the_rate(optimizer):
    class Sum(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.full, self.halved = (torch.nn.Parameter(torch.zeros(n)) for n in (1, 2))

        def forward(self, x):
            return x + self.full + self.halved.sum()

    # The squared error has the same gradient in all three numbers.
    more = {"optimizer": optimizer, "rate_share": lambda parameter: 1 / parameter.numel()}
    network = run_fit(20, Sum(), **more).network
    assert network.full.item() > 0.05
    assert network.halved.detach().numpy() == pytest.approx(network.full.item() / 2, rel=0.01)


def test_the_average_follows_the_weights_quickly_at_first():
    seen = []

    def on_step(state):
        seen.append([next(module.parameters()).detach().clone() for module in (state.network, state.average)])

    run_fit(30, average_decay=0.6, on_step=on_step)
    expected = seen[0][0]
    assert torch.equal(seen[0][1], expected)
    for step, (weight, average) in enumerate(seen[1:], 1):
        decay = min(0.6, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight
        assert torch.allclose(average, expected, atol=1e-6)


def test_the_average_counts_what_the_network_counts():
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(1), torch.nn.Conv2d(1, 1, 1))
    state = run_fit(5, network)
    assert state.average[0].num_batches_tracked == 5
    assert torch.equal(state.average[0].running_mean, network[0].running_mean)


def test_a_loss_that_is_no_longer_finite_stops_the_training_before_the_weights_are_spoilt():
    def until_step_3(step):
        noisy, target, valid = one_brighter(step)
        return noisy, target * (np.nan if step == 3 else 1), valid

    network = small_network()
    with pytest.raises(ConfigError, match=r"training diverged at step 3 \(loss nan\); lower the learning rate"):
        run_fit(network=network, batches=until_step_3)
    assert all(parameter.isfinite().all() for parameter in network.parameters())


def test_a_fit_of_some_minutes_ends_by_the_clock():
    shares = []
    state = run_fit(None, minutes=0.005, on_step=lambda state: shares.append(state.done))
    assert 0.3 <= state.seconds < 2
    assert shares == sorted(shares)
    assert (shares[0], shares[-1], len(shares)) == (0, 1, state.step + 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_convolutions_run_in_the_precision_asked_for(dtype):
    seen = set()

    def loss(network, noisy, target, _valid):
        denoised = network(noisy)
        seen.add(denoised.dtype)
        return (denoised - target).abs().mean()

    run_fit(2, loss=loss, dtype=dtype)
    assert seen == {dtype}


def test_the_masked_error_is_the_weighted_mean_of_what_counts():
    noisy, target = torch.zeros(1, 1, 1, 4), torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 1, 4)
    valid = torch.tensor([1.0, 0.0, 2.0, 0.0]).reshape(1, 1, 1, 4)
    assert masked_mse(torch.nn.Identity(), noisy, target, valid).item() == pytest.approx((1 + 2 * 9) / 3)
    assert masked_mse(torch.nn.Identity(), noisy, target, 0 * valid).item() == 0


def test_one_flipped_byte_anywhere_in_a_checkpoint_is_refused(tmp_path):
    checkpoint = Checkpoint(tmp_path / "state.safetensors", "data 1")
    run_fit(2, checkpoint=checkpoint)
    sound = checkpoint.path.read_bytes()
    for place in range(0, len(sound), 37):
        damaged = bytearray(sound)
        damaged[place] ^= 1
        checkpoint.path.write_bytes(damaged)
        with pytest.raises(
            ConfigError, match=r"state\.safetensors: checkpoint is damaged .*; delete it to start afresh"
        ):
            run_fit(2, checkpoint=checkpoint)
    checkpoint.path.write_bytes(sound)
    assert run_fit(2, checkpoint=checkpoint).step == 2


def earlier_checkpoint(path, **changes):
    """Take the digest out of a checkpoint, which those of version 0.4 do not have, and change its record."""
    metadata = safe_open(path, "pt").metadata()
    save_file(load_file(path), path, {"fit": json.dumps(json.loads(metadata["fit"]) | changes)})


def test_a_checkpoint_of_an_earlier_version_goes_on(tmp_path):
    checkpoint = Checkpoint(tmp_path / "state.safetensors", "data 1")
    whole = run_fit(2, checkpoint=checkpoint)
    earlier_checkpoint(checkpoint.path)
    again = run_fit(2, checkpoint=checkpoint)
    assert (again.step, weights(again.average)) == (2, weights(whole.average))


@pytest.mark.parametrize("changes", [{"step": -1}, {"step": "two"}, {"seconds": math.nan}, {"notes": []}, {"more": 1}])
def test_the_record_of_a_checkpoint_is_checked(tmp_path, changes):
    checkpoint = Checkpoint(tmp_path / "state.safetensors", "data 1")
    run_fit(2, checkpoint=checkpoint)
    earlier_checkpoint(checkpoint.path, **changes)
    with pytest.raises(ConfigError, match=rf"checkpoint is damaged .*its record: {next(iter(changes))}: "):
        run_fit(2, checkpoint=checkpoint)


def test_both_radams_agree_without_weight_decay():
    results = []
    for name in ("radam", "torch-radam"):
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.ones(50))
        goal, optimizer = torch.randn(50), make_optimizer(name, [weight], 1e-2)
        for _ in range(100):
            optimizer.zero_grad()
            ((weight - goal) ** 4).mean().backward()
            optimizer.step()
        results.append(weight.detach())
    assert torch.allclose(results[0], results[1], atol=1e-5)
