"""Training: it lowers the error to the known clean image, and a killed run ends in the same bits."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from burst_denoise.burst.store import store_burst
from burst_denoise.errors import ConfigError
from burst_denoise.frame.frame import Frame
from burst_denoise.inference.tiles import denoise_image
from burst_denoise.model import train as training
from burst_denoise.model.prior import load_prior
from burst_denoise.model.train import make_optimizer, train
from burst_denoise.schemas import FrameInfo, FrameVerdict, TrainSettings
from burst_denoise.score.metrics import psnr

CPU = torch.device("cpu")


def run(burst, state, **settings):
    settings = {"steps": 3, "batch": 2, "patch": 32} | settings
    return train([burst], TrainSettings(**settings), state, CPU, lambda progress: None)


def weights(network):
    return b"".join(value.contiguous().numpy().tobytes() for value in network.state_dict().values())


def test_a_short_training_brings_a_frame_nearer_to_the_known_clean_image(burst, tmp_path):
    trained = run(burst, tmp_path / "state.safetensors", steps=120, batch=4, from_scratch=True)
    image = burst.linear(0)
    denoised = denoise_image(image, "RGGB", trained.network, burst.profile, dtype=torch.float32)
    assert psnr(denoised, burst.clean, peak=1.0) > psnr(image, burst.clean, peak=1.0) + 2
    assert trained.best_psnr_db > trained.start_psnr_db + 2


@pytest.fixture
def untouched(monkeypatch):
    """Return a function that judges every network but one worse than nothing, in one of the two exams or both."""

    def judge(network, *exams):
        known = weights(network)
        for exam in ("score", "content_score"):
            worse = -1.0 if exam in exams else 1.0
            monkeypatch.setattr(training.Validator, exam, lambda _, n, w=worse: 0.0 if weights(n) == known else w)

    return judge


def test_from_scratch_the_start_is_the_noisy_input_and_counts_as_a_candidate(burst, tmp_path, untouched):
    torch.manual_seed(0)
    identity = training.build_network("fast", 4)
    untouched(identity, "score", "content_score")
    trained = run(burst, tmp_path / "state.safetensors", from_scratch=True)
    assert trained.best_step == 0
    assert trained.prior_psnr_db is trained.prior_sha256 is None
    assert weights(trained.network) == weights(identity)


def test_a_training_that_gains_nothing_gives_the_prior_back(burst, tmp_path, untouched):
    prior = load_prior("bayer", CPU)
    untouched(prior.network, "score", "content_score")
    trained = run(burst, tmp_path / "state.safetensors")
    assert trained.best_step == 0
    assert trained.prior_sha256 == prior.sha256
    assert trained.best_psnr_db == trained.prior_psnr_db
    assert weights(trained.network) == weights(prior.network)


@pytest.mark.parametrize("exam", ["score", "content_score"])
def test_what_gains_on_the_scenes_and_loses_on_other_pictures_is_not_kept_nor_the_reverse(
    burst, tmp_path, untouched, exam
):
    prior = load_prior("bayer", CPU)
    untouched(prior.network, exam)
    assert run(burst, tmp_path / "state.safetensors").best_step == 0
    untouched(prior.network)
    assert run(burst, tmp_path / "other.safetensors").best_step == 3


def test_from_the_prior_a_burst_is_denoised_better_from_the_first_step(burst, tmp_path):
    trained = run(burst, tmp_path / "state.safetensors", steps=1)
    assert trained.prior_psnr_db > trained.start_psnr_db + 4
    assert trained.best_psnr_db >= trained.prior_psnr_db


def test_progress_tells_step_share_loss_and_scores(burst, tmp_path):
    seen = []
    settings = TrainSettings(steps=4, batch=2, patch=32)
    train([burst], settings, tmp_path / "state.safetensors", CPU, seen.append)
    assert [p.step for p in seen] == [1, 2, 3, 4]
    assert [p.done for p in seen] == [0, 0.25, 0.5, 0.75]
    assert all(p.loss > 0 and p.psnr_db >= p.start_psnr_db - 1 and p.seconds_left >= 0 for p in seen)


def test_the_paper_preset_trains_saves_and_denoises_rgb_pictures(tmp_path):
    rng = np.random.default_rng(0)
    picture = np.clip(0.5 + 0.3 * np.sin(np.mgrid[:3, :90, :110].sum(0) / 9), 0, 1)
    info = FrameInfo(domain="rgb", camera=None, cfa=None, height=90, width=110, black_level=(0,) * 3, white_level=255)
    frames = [
        Frame(np.rint(255 * picture + 4 * rng.standard_normal(picture.shape)).clip(0, 255).astype(np.uint8), info, path)
        for path in map(Path, "abcd")
    ]
    accepted = [FrameVerdict(file=f.path.name, accepted=True, reasons=(), gain=1.0, shift_px=0.0) for f in frames]
    burst = store_burst(tmp_path / "rgb.burst", "rgb", frames, accepted, 0.1, 1e-4)
    trained = run(burst, tmp_path / "state.safetensors", steps=1, batch=1, patch=60, preset="paper")
    assert trained.start_psnr_db > 30 > trained.best_psnr_db  # the noisy frame, and an untrained network
    denoised = denoise_image(frames[0].linear, None, trained.network, burst.profile, dtype=torch.bfloat16, tile=64)
    whole = denoise_image(frames[0].linear, None, trained.network, burst.profile, dtype=torch.float32, tile=256)
    assert denoised == pytest.approx(whole, abs=1e-5)


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


SCRIPT = """
import sys, torch
from pathlib import Path
from burst_denoise.burst.store import open_burst
from burst_denoise.burst.store import store_burst
from burst_denoise.schemas import FrameInfo, FrameVerdict, TrainSettings
from burst_denoise.model import train as training
training.SAVE_EVERY_S = 0.0
torch.set_num_threads(1)
settings = TrainSettings(steps=12, batch=2, patch=32, from_scratch=True)
trained = training.train([open_burst(Path(sys.argv[1]))], settings, Path(sys.argv[2]), torch.device("cpu"),
                         lambda progress: print(progress.step, flush=True))
print(trained.best_step, hash(tuple(map(float, trained.network.tail.weight.flatten()))), trained.curve)
"""


def test_a_training_killed_by_sigkill_again_and_again_ends_in_the_same_bits(burst, tmp_path):
    def start(state):
        command = [sys.executable, "-c", SCRIPT, str(burst.folder), str(tmp_path / state)]
        environment = os.environ | {"PYTHONHASHSEED": "0"}
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    whole = start("whole.safetensors").communicate()[0].splitlines()[-1]
    for last_step in (2, 7):
        process = start("killed.safetensors")
        while int(process.stdout.readline()) < last_step:
            pass
        time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
    resumed = start("killed.safetensors").communicate()[0].splitlines()
    assert int(resumed[0]) > 2  # it did not begin afresh
    assert resumed[-1] == whole
    assert int(whole.split()[0]) > 0  # what came out was trained


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
