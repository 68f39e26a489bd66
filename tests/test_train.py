"""Training: it lowers the error to the known clean image, and a killed run ends in the same bits."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from burst_denoise.errors import ConfigError
from burst_denoise.frame.frame import Frame
from burst_denoise.frame.mosaic import RGB, RGGB
from burst_denoise.inference.engine import fastest_engine
from burst_denoise.inference.tiles import denoise_image
from burst_denoise.model import fit as loop
from burst_denoise.model import train as training
from burst_denoise.model import validation
from burst_denoise.model.content import validation_content
from burst_denoise.model.prior import load_prior
from burst_denoise.model.train import train
from burst_denoise.model.validation import Scores
from burst_denoise.schemas import FrameInfo, TrainSettings
from burst_denoise.score.metrics import psnr
from tests.shots import stored, verdicts

CPU = torch.device("cpu")
LITTLE = {"preset": "draft", "batch": 2, "patch": 32}
pytestmark = pytest.mark.usefixtures("little_validation")


def run(burst, state, **settings):
    settings = LITTLE | {"steps": 3} | settings
    network, record = train([burst], TrainSettings(**settings), state, CPU, lambda progress: None)
    return SimpleNamespace(network=network, **dict(record))


def weights(network):
    return b"".join(value.contiguous().numpy().tobytes() for value in network.state_dict().values())


def test_a_short_training_brings_a_frame_nearer_to_the_known_clean_image(burst, tmp_path):
    trained = run(burst, tmp_path / "state.safetensors", preset="fast", steps=90, batch=1, from_scratch=True)
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
    identity = training.build_network(LITTLE["preset"], 4)
    untouched(identity, "held_out_db", "content_db")
    trained = run(burst, tmp_path / "state.safetensors", from_scratch=True)
    assert trained.best_step == 0
    assert trained.prior_psnr_db is trained.prior_sha256 is None
    assert weights(trained.network) == weights(identity)


def test_a_training_that_gains_nothing_gives_the_prior_back(burst, tmp_path, untouched):
    prior = load_prior("bayer", CPU, LITTLE["preset"])
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
    prior = load_prior("bayer", CPU, LITTLE["preset"])
    untouched(prior.network, score)
    assert run(burst, tmp_path / "state.safetensors").best_step == 0
    untouched(prior.network)
    assert run(burst, tmp_path / "other.safetensors").best_step == 3


def gaining(monkeypatch, held_out_db, content_db):
    """Make every network but the prior gain so much on every frame and picture."""
    known = weights(load_prior("bayer", CPU, LITTLE["preset"]).network)

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
    assert (weights(trained.network) != weights(load_prior("bayer", CPU, LITTLE["preset"]).network)) == kept
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
    settings = TrainSettings(**LITTLE, steps=4)
    train([burst], settings, tmp_path / "state.safetensors", CPU, seen.append)
    assert [p.step for p in seen] == [1, 2, 3, 4]
    assert [p.done for p in seen] == [0.25, 0.5, 0.75, 1]
    assert all(p.loss > 0 and p.psnr_db >= p.start_psnr_db - 1 for p in seen)
    assert all(p.seconds_left > 0 for p in seen[:-1])
    assert seen[-1].seconds_left == 0


def test_the_paper_preset_trains_saves_and_denoises_rgb_pictures(tmp_path, monkeypatch):
    # A hundred times the multiply-adds of the fast preset.
    monkeypatch.setattr(validation, "validation_content", lambda: validation_content()[:1])
    rng = np.random.default_rng(0)
    picture = np.clip(0.5 + 0.3 * np.sin(np.mgrid[:3, :60, :88].sum(0) / 9), 0, 1)
    info = FrameInfo(domain="rgb", camera=None, cfa=None, height=60, width=88, black_level=(0,) * 3, white_level=255)
    frames = [
        Frame(np.rint(255 * picture + 4 * rng.standard_normal(picture.shape)).clip(0, 255).astype(np.uint8), info, path)
        for path in map(Path, "abc")
    ]
    burst = stored(tmp_path / "rgb.burst", "rgb", frames, verdicts(frames), 0.1, 1e-4)
    trained = run(burst, tmp_path / "state.safetensors", steps=1, batch=1, patch=60, preset="paper")
    assert trained.start_psnr_db > 30 > trained.best_psnr_db  # the noisy frame, and an untrained network
    rounded, exact = (fastest_engine(trained.network, dtype) for dtype in (torch.bfloat16, torch.float32))
    image = frames[0].linear[:, :12, :20]
    tiled = denoise_image(image, RGB, rounded, burst.profile, tile=12)
    assert tiled == pytest.approx(denoise_image(image, RGB, exact, burst.profile, tile=256), abs=1e-5)


def test_a_budget_in_minutes_is_kept(burst, tmp_path):
    trained = run(burst, tmp_path / "state.safetensors", steps=None, minutes=0.01)
    assert trained.steps_done >= 1
    assert 0.6 <= trained.seconds < 20


@pytest.mark.parametrize("budget", [{"steps": None}, {"steps": 3, "minutes": 1}])
def test_no_budget_or_two_are_refused(burst, tmp_path, budget):
    with pytest.raises(ConfigError, match="one budget: steps or minutes"):
        run(burst, tmp_path / "state.safetensors", **budget)


def test_a_checkpoint_of_another_training_is_refused(burst, tmp_path):
    run(burst, tmp_path / "state.safetensors")
    with pytest.raises(ConfigError, match="checkpoint of another training"):
        run(burst, tmp_path / "state.safetensors", seed=1)


def test_a_checkpoint_of_another_version_is_refused(burst, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "__version__", "0.5.0")
    run(burst, tmp_path / "state.safetensors")
    monkeypatch.undo()
    with pytest.raises(ConfigError, match=r"another training .* or version"):
        run(burst, tmp_path / "state.safetensors")


def test_a_damaged_checkpoint_is_refused_by_name(burst, tmp_path):
    (tmp_path / "state.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ConfigError, match=r"state\.safetensors: checkpoint is damaged"):
        run(burst, tmp_path / "state.safetensors")


def test_an_interrupted_training_ends_in_the_same_bits(burst, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(training, "VALIDATE_EVERY", 2)
    settings = {"steps": 7, "from_scratch": True}
    # From scratch: a few steps away from the prior may help nothing, and the prior would be what comes out.
    whole = run(burst, tmp_path / "whole.safetensors", **settings)
    assert whole.best_step > 0

    class Interrupted(Exception):
        pass

    def stop(progress):
        if progress.step == 4:
            raise Interrupted

    with pytest.raises(Interrupted):
        train([burst], TrainSettings(**LITTLE, **settings), tmp_path / "parts.safetensors", CPU, stop)
    parts = run(burst, tmp_path / "parts.safetensors", **settings)
    assert weights(parts.network) == weights(whole.network)
    assert (parts.best_step, parts.best_psnr_db) == (whole.best_step, whole.best_psnr_db)
    assert [step for step, _ in whole.curve] == [2, 4, 6, 7]
    assert parts.curve == whole.curve
    again = run(burst, tmp_path / "parts.safetensors", **settings)
    assert again.curve == whole.curve  # started again when it was done
