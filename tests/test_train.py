"""Training: it lowers the error to the known clean image, and a killed run ends in the same bits."""

import json
import math
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from burst_denoise.errors import ConfigError
from burst_denoise.frame.frame import Frame
from burst_denoise.frame.mosaic import RGB, RGGB
from burst_denoise.inference.engine import fastest_engine
from burst_denoise.inference.tiles import denoise_image
from burst_denoise.model import train as training
from burst_denoise.model.prior import load_prior
from burst_denoise.model.train import Checkpoint, FitSettings, fit, make_optimizer, masked_mse, train
from burst_denoise.model.validation import Scores
from burst_denoise.schemas import FrameInfo, TrainSettings
from burst_denoise.score.metrics import psnr
from tests.shots import stored, verdicts

CPU = torch.device("cpu")


def run(burst, state, **settings):
    settings = {"steps": 3, "batch": 2, "patch": 32} | settings
    network, record = train([burst], TrainSettings(**settings), state, CPU, lambda progress: None)
    return SimpleNamespace(network=network, **dict(record))


def weights(network):
    return b"".join(value.contiguous().numpy().tobytes() for value in network.state_dict().values())


def test_a_short_training_brings_a_frame_nearer_to_the_known_clean_image(burst, tmp_path):
    trained = run(burst, tmp_path / "state.safetensors", steps=90, batch=4, from_scratch=True)
    image = burst.linear(0)
    denoised = denoise_image(image, RGGB, fastest_engine(trained.network, torch.float32), burst.profile)
    assert psnr(denoised, burst.clean, peak=1.0) > psnr(image, burst.clean, peak=1.0) + 2
    assert trained.best_psnr_db > trained.start_psnr_db + 2


@pytest.fixture
def untouched(monkeypatch):
    """Return a function that makes every network but one lose, in one of the two scores or both."""

    def judge(network, *losing):
        known = weights(network)
        others = [-1.0 if score in losing else 1.0 for score in ("held_out_db", "content_db")]

        def scores(_, judged):
            return Scores(*(np.full(3, 0.0 if weights(judged) == known else other) for other in others))

        monkeypatch.setattr(training.Validator, "scores", scores)

    return judge


def test_from_scratch_the_start_is_the_noisy_input_and_counts_as_a_candidate(burst, tmp_path, untouched):
    torch.manual_seed(0)
    identity = training.build_network("fast", 4)
    untouched(identity, "held_out_db", "content_db")
    trained = run(burst, tmp_path / "state.safetensors", from_scratch=True)
    assert trained.best_step == 0
    assert trained.prior_psnr_db is trained.prior_sha256 is None
    assert weights(trained.network) == weights(identity)


def test_a_training_that_gains_nothing_gives_the_prior_back(burst, tmp_path, untouched):
    prior = load_prior("bayer", CPU)
    untouched(prior.network, "held_out_db", "content_db")
    trained = run(burst, tmp_path / "state.safetensors")
    assert trained.best_step == 0
    assert trained.prior_sha256 == prior.sha256
    assert trained.best_psnr_db == trained.prior_psnr_db
    assert weights(trained.network) == weights(prior.network)


@pytest.mark.parametrize("score", ["held_out_db", "content_db"])
def test_what_gains_on_the_scenes_and_loses_on_other_pictures_is_not_kept_nor_the_reverse(
    burst, tmp_path, untouched, score
):
    prior = load_prior("bayer", CPU)
    untouched(prior.network, score)
    assert run(burst, tmp_path / "state.safetensors").best_step == 0
    untouched(prior.network)
    assert run(burst, tmp_path / "other.safetensors").best_step == 3


def gaining(monkeypatch, held_out_db, content_db):
    """Make every network but the prior gain so much on every frame and picture."""
    known = weights(load_prior("bayer", CPU).network)

    def scores(_, judged):
        return Scores(*(np.array(part) * (weights(judged) != known) for part in (held_out_db, content_db)))

    monkeypatch.setattr(training.Validator, "scores", scores)


@pytest.mark.parametrize(
    ("held_out_db", "content_db", "kept"),
    [
        ([0.06, 0.06], [0.06, 0.07, 0.08], True),
        ([0.06, 0.06], [0.03, 0.04, 0.05], False),  # does not pay
        ([0.4, 0.5], [0.0, 0.0, 0.4], False),  # by chance
        ([0.4, 0.5], [0.5, 0.5, 0.5, -0.1], False),  # harms pictures
    ],
)
def test_weights_that_gain_little_or_by_chance_or_harm_pictures_give_way_to_the_prior(
    burst, tmp_path, monkeypatch, held_out_db, content_db, kept
):
    gaining(monkeypatch, held_out_db, content_db)
    trained = run(burst, tmp_path / "state.safetensors")
    assert (weights(trained.network) != weights(load_prior("bayer", CPU).network)) == kept
    assert (trained.prior_share, trained.best_step) == ((0, 3) if kept else (1, 0))
    assert trained.gain_db == pytest.approx(min(np.mean(held_out_db), np.mean(content_db)))  # told in either case


def test_where_all_of_the_calibrated_weights_harm_a_picture_a_share_of_them_is_kept():
    class Validator:
        def scores(self, network):
            share = network.weight.item()
            return Scores(np.array([0.5, 0.6]) * share, np.array([0.4] * 9 + [-0.5 * share]) * share)

    start = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(start.weight)
    state = SimpleNamespace(
        notes={"best_step": 7, "first": [[0.0] * 2, [0.0] * 10]}, tensors={"weight": torch.ones(1, 1)}
    )
    kept = training._kept(start, state, Validator(), from_prior=True)
    assert kept.share == kept.network.weight.item() == 0.5  # 0.75 would lose 0.028 dB in the mean
    assert start.weight.item() == 0


def test_a_training_from_the_prior_stops_when_nothing_is_gained_any_more(burst, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "VALIDATE_EVERY", 1)
    gaining(monkeypatch, [0.3, 0.3], [0.2, 0.3])
    trained = run(burst, tmp_path / "state.safetensors", steps=50)
    assert trained.steps_done == 1 + training.PATIENCE
    assert (trained.best_step, trained.gain_db) == (1, pytest.approx(0.25))
    again = run(burst, tmp_path / "state.safetensors", steps=50)  # killed after its last step
    assert (weights(again.network), again.steps_done) == (weights(trained.network), trained.steps_done)
    trained = run(burst, tmp_path / "other.safetensors", steps=6, from_scratch=True)
    assert trained.steps_done == 6


def test_from_the_prior_a_larger_budget_goes_on_where_a_smaller_one_ends(burst, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "VALIDATE_EVERY", 1)
    gaining(monkeypatch, [0.3, 0.3], [0.2, 0.3])
    short, long = (run(burst, tmp_path / f"{steps}.safetensors", steps=steps) for steps in (2, 30))
    assert weights(short.network) == weights(long.network)
    assert short.curve == long.curve[:2]


def test_from_the_prior_a_burst_is_denoised_better_from_the_first_step(burst, tmp_path):
    trained = run(burst, tmp_path / "state.safetensors", steps=1)
    assert trained.prior_psnr_db > trained.start_psnr_db + 4
    assert trained.best_psnr_db >= trained.prior_psnr_db


def test_progress_tells_step_share_loss_and_scores(burst, tmp_path):
    seen = []
    settings = TrainSettings(steps=4, batch=2, patch=32)
    train([burst], settings, tmp_path / "state.safetensors", CPU, seen.append)
    assert [p.step for p in seen] == [1, 2, 3, 4]
    assert [p.done for p in seen] == [0.25, 0.5, 0.75, 1]
    assert all(p.loss > 0 and p.psnr_db >= p.start_psnr_db - 1 for p in seen)
    assert all(p.seconds_left > 0 for p in seen[:-1])
    assert seen[-1].seconds_left == 0


def test_the_paper_preset_trains_saves_and_denoises_rgb_pictures(tmp_path):
    rng = np.random.default_rng(0)
    picture = np.clip(0.5 + 0.3 * np.sin(np.mgrid[:3, :64, :96].sum(0) / 9), 0, 1)
    info = FrameInfo(domain="rgb", camera=None, cfa=None, height=64, width=96, black_level=(0,) * 3, white_level=255)
    frames = [
        Frame(np.rint(255 * picture + 4 * rng.standard_normal(picture.shape)).clip(0, 255).astype(np.uint8), info, path)
        for path in map(Path, "abcd")
    ]
    burst = stored(tmp_path / "rgb.burst", "rgb", frames, verdicts(frames), 0.1, 1e-4)
    trained = run(burst, tmp_path / "state.safetensors", steps=1, batch=1, patch=60, preset="paper")
    assert trained.start_psnr_db > 30 > trained.best_psnr_db  # the noisy frame, and an untrained network
    rounded, exact = (fastest_engine(trained.network, dtype) for dtype in (torch.bfloat16, torch.float32))
    image = frames[0].linear[:, :24, :40]
    tiled = denoise_image(image, RGB, rounded, burst.profile, tile=24)
    assert tiled == pytest.approx(denoise_image(image, RGB, exact, burst.profile, tile=256), abs=1e-5)


def test_a_budget_in_minutes_is_kept(burst, tmp_path):
    trained = run(burst, tmp_path / "state.safetensors", steps=None, minutes=0.03)
    assert trained.steps_done >= 1
    assert 1.8 <= trained.seconds < 20


@pytest.mark.parametrize("budget", [{"steps": None}, {"steps": 3, "minutes": 1}])
def test_no_budget_or_two_are_refused(burst, tmp_path, budget):
    with pytest.raises(ConfigError, match="one budget: steps or minutes"):
        run(burst, tmp_path / "state.safetensors", **budget)


def test_a_checkpoint_of_another_training_is_refused(burst, tmp_path):
    run(burst, tmp_path / "state.safetensors")
    with pytest.raises(ConfigError, match="checkpoint of another training"):
        run(burst, tmp_path / "state.safetensors", seed=1)


def test_a_damaged_checkpoint_is_refused_by_name(burst, tmp_path):
    (tmp_path / "state.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ConfigError, match=r"state\.safetensors: checkpoint is damaged"):
        run(burst, tmp_path / "state.safetensors")


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


@pytest.mark.parametrize("optimizer", ["radam", "torch-radam", "adamw"])
def test_an_interrupted_training_ends_in_the_same_bits(burst, tmp_path, monkeypatch, optimizer):
    monkeypatch.setattr(training, "SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(training, "VALIDATE_EVERY", 2)
    settings = {"steps": 7, "optimizer": optimizer, "from_scratch": True}
    # From scratch: a few steps away from the prior may help nothing, and the prior would be what comes out.
    whole = run(burst, tmp_path / "whole.safetensors", **settings)
    assert whole.best_step > 0

    class Interrupted(Exception):
        pass

    def stop(progress):
        if progress.step == 4:
            raise Interrupted

    with pytest.raises(Interrupted):
        train([burst], TrainSettings(**settings, batch=2, patch=32), tmp_path / "parts.safetensors", CPU, stop)
    parts = run(burst, tmp_path / "parts.safetensors", **settings)
    assert weights(parts.network) == weights(whole.network)
    assert (parts.best_step, parts.best_psnr_db) == (whole.best_step, whole.best_psnr_db)
    assert [step for step, _ in whole.curve] == [2, 4, 6, 7]
    assert parts.curve == whole.curve
    again = run(burst, tmp_path / "parts.safetensors", **settings)
    assert again.curve == whole.curve  # started again when it was done


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


# The loop by itself, on a task whose answer is known


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


def test_a_network_learns_from_noisy_pairs_what_holds_for_clean_pictures():
    def error(network):
        return (network(torch.from_numpy(CLEAN)) - torch.from_numpy(CLEAN + 1)).square().mean().item()

    state = run_fit(300)
    assert state.step == 300
    assert not state.average.training
    assert error(state.average) < 0.01 * error(small_network())


@pytest.mark.parametrize("optimizer", ["radam", "torch-radam", "adamw"])
def test_a_stopped_fit_goes_on_to_the_same_bits(tmp_path, monkeypatch, optimizer):
    monkeypatch.setattr(training, "SAVE_EVERY_S", 0.0)

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
from burst_denoise.model import train as training
from tests.test_train import Checkpoint, run_fit, weights
training.SAVE_EVERY_S = 0.0
torch.set_num_threads(1)
state = run_fit(200, checkpoint=Checkpoint(Path(sys.argv[1]), ""), on_step=lambda state: print(state.step, flush=True))
print(weights(state.average).hex())
"""


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
