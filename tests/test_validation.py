"""Validation scores the held-out columns, without the clean image and yet near the truth."""

import numpy as np
import pytest
import torch

from burst_denoise.errors import SeriesError
from burst_denoise.frame.frame import Frame
from burst_denoise.model import validation
from burst_denoise.model.content import validation_content
from burst_denoise.model.network import build_network
from burst_denoise.model.pairs import held_out, noise_of
from burst_denoise.model.validation import VALIDATION_BURSTS, Gain, Scores, Validator
from burst_denoise.score.metrics import psnr
from tests.shots import stored

from .conftest import stored_burst

CPU = torch.device("cpu")
held_out_only = pytest.mark.usefixtures("little_validation")
"""For tests that look at the held-out photosites: the clean pictures, which are scored too, are few then."""


def held_out_db(network, burst):
    return float(Validator([burst], CPU).scores(network).held_out_db.mean())


@held_out_only
def test_the_score_agrees_with_the_known_clean_image(burst):
    columns = held_out(burst)
    known = np.mean([psnr(burst.linear(i)[:, columns], burst.clean[:, columns], peak=1.0) for i in (0, 3)])
    # 5,632 photosites: the corrected error of a noisy frame is good to 2.5 %, 0.11 dB.
    assert held_out_db(build_network("draft", 4), burst) == pytest.approx(known, abs=0.3)


@held_out_only
@pytest.mark.parametrize("cfa", ["GRBG", "BGGR"])
def test_the_score_does_not_depend_on_the_phase_of_the_mosaic(tmp_path, cfa):
    burst = stored_burst(tmp_path / "phase.burst", cfa=cfa)
    columns = held_out(burst)
    known = np.mean([psnr(burst.linear(i)[:, columns], burst.clean[:, columns], peak=1.0) for i in (0, 3)])
    assert held_out_db(build_network("draft", 4), burst) == pytest.approx(known, abs=0.3)


@held_out_only
def test_a_network_that_adds_an_error_loses_what_that_error_costs(burst):
    network = build_network("draft", 4)
    before = held_out_db(network, burst)
    torch.nn.init.constant_(network.tail.bias, 1.0)  # one noise deviation off everywhere: twice the squared error
    assert held_out_db(network, burst) == pytest.approx(before - 10 * np.log10(2), abs=0.3)


def test_many_bursts_are_sampled(burst):
    samples = Validator([burst] * (3 * VALIDATION_BURSTS), CPU).samples
    assert len(samples) == 2 * VALIDATION_BURSTS


def test_bursts_of_all_isos_are_scored_whatever_their_order(burst, tmp_path):
    sensitive = stored_burst(tmp_path / "sensitive.burst", iso=6400)
    assert sensitive.info.iso != burst.info.iso
    samples = Validator([burst, sensitive] * VALIDATION_BURSTS, CPU).samples
    assert {sample.burst.info.iso for sample in samples} == {burst.info.iso, sensitive.info.iso}
    assert len(samples) == 2 * VALIDATION_BURSTS


def test_a_mosaic_of_odd_width_is_scored_in_its_own_phase(burst, tmp_path):
    frames = [burst.frame(i) for i in range(len(burst))]
    info = burst.info.model_copy(update={"width": 255})
    odd = [Frame(frame.dn[:, :255], info, frame.path) for frame in frames]
    narrow = stored(tmp_path / "odd.burst", "odd", odd, burst.manifest.frames, 0.1, 1e-4)
    assert held_out(narrow).start % 2 == 0
    for sample in Validator([narrow], CPU).samples:
        reds, greens = sample.noisy[0, 0].mean(), sample.noisy[0, 1].mean()
        assert reds < 0.9 * greens  # the scene is 0.6 : 1 : 0.7 everywhere


def test_an_overexposed_right_eighth_is_refused_before_training(burst, tmp_path):
    white = np.zeros((176, 256), bool)
    white[:, 220:] = True
    overexposed = stored_burst(tmp_path / "lamp.burst")
    object.__setattr__(overexposed, "saturated", white)
    with pytest.raises(SeriesError, match="lamp: the right eighth of every series is overexposed"):
        Validator([overexposed], CPU)
    assert len(Validator([burst, overexposed], CPU).samples) == 2


@held_out_only
def test_defects_count_for_nothing(burst, tmp_path):
    frames = [burst.frame(i) for i in range(len(burst))]
    defects = np.zeros((176, 256), bool)
    defects[::5, 1::7] = True
    hot = [Frame(np.where(defects, 15000, frame.dn).astype(np.uint16), frame.info, frame.path) for frame in frames]
    network = build_network("draft", 4)
    scores = {}
    for name, shots, known in (("as shot", frames, None), ("hot", hot, None), ("mapped", hot, defects)):
        mapped = stored(tmp_path / name, name, shots, burst.manifest.frames, 0.1, 1e-4, defects=known)
        torch.nn.init.constant_(network.tail.bias, 1.0)
        validator = Validator([mapped], CPU)
        assert (validator.samples[0].valid.mean() < 1) == (name == "mapped")
        scores[name] = float(validator.scores(network).held_out_db.mean())
    assert scores["mapped"] == pytest.approx(scores["as shot"], abs=0.1)


def test_the_content_score_is_0_db_for_noise_as_it_is_and_rises_as_the_noise_falls(burst):
    class Half(torch.nn.Module):
        def forward(self, planes):
            return truth + (planes - truth) / 2

    validator = Validator([burst], CPU)
    assert validator.scores(torch.nn.Identity()).content_db.mean() == pytest.approx(0, abs=0.3)
    (first, *_) = validator.synthetic_samples
    validator.synthetic_samples, truth = [first], first.clean
    validator.samples = []
    (gain,) = validator.scores(Half()).gain_over(validator.scores(torch.nn.Identity())).content_db
    assert gain == pytest.approx(20 * np.log10(2), abs=0.01)


def test_the_noise_put_on_other_pictures_is_that_of_the_held_out_columns(burst, monkeypatch):
    seen = set()

    def watched(burst, index, window):
        seen.add(window[1].start)
        return noise_of(burst, index, window)

    monkeypatch.setattr(validation, "noise_of", watched)
    samples = Validator([burst], CPU).synthetic_samples
    assert seen == {held_out(burst).start}
    assert {tuple(synthetic.noisy.shape[1:]) for synthetic in samples} == {(4, 56, 56)}
    assert all(synthetic.clean.min() >= 0 and synthetic.valid.mean() > 0.9 for synthetic in samples)


def test_a_frame_whose_noise_is_overexposed_does_not_switch_the_content_score_off(burst, tmp_path):
    bright = stored_burst(tmp_path / "sky.burst")
    white = np.zeros((176, 256), bool)
    white[:150, 224:] = True
    object.__setattr__(bright, "saturated", white)
    both = Validator([burst, bright], CPU).scores(torch.nn.Identity())
    assert len(both.held_out_db) == 4
    assert len(both.content_db) == len(validation_content())
    assert np.isfinite(both.content_db).all()


def test_of_two_kinds_of_samples_the_one_that_gains_less_counts():
    gain = Gain(np.array([0.5, 0.7]), np.array([0.1, 0.2, 0.3]))
    assert gain.value_db == pytest.approx(0.2)
    assert gain.std_error_db == pytest.approx(0.1 / np.sqrt(3))
    assert gain.mean_loss_db == 0
    assert Gain(np.array([0.5, 0.7]), np.array([0.3, -0.1, -0.2])).mean_loss_db == pytest.approx(0.1)
    owners_scenes_alone = Gain(np.array([0.5, 0.7]), np.array([]))
    assert owners_scenes_alone.value_db == pytest.approx(0.6)
    assert Gain(np.array([0.5]), np.array([])).std_error_db == np.inf


def test_the_standard_error_of_a_gain_is_that_of_paired_differences():
    rng = np.random.default_rng(0)
    pictures = rng.normal(40, 5, 400)  # pictures differ by 5 dB, gains on them by 0.1
    before = Scores(np.array([1.0, 1.0]), pictures)
    after = Scores(np.array([9.0, 9.0]), pictures + rng.normal(0.02, 0.1, 400))
    gain = after.gain_over(before)
    assert gain.std_error_db == pytest.approx(0.1 / 20, rel=0.1)
    assert gain.value_db == pytest.approx(0.02, abs=3 * gain.std_error_db)
