"""Training of the priors: random scenes and cameras, a network grown from a smaller one, samples from a teacher."""

import copy

import numpy as np
import pytest
import torch

import burst_denoise as bd
from burst_denoise.model.network import Size, TwoScaleNet
from burst_denoise.sensor.noise_model import noise_variance
from experiments import teacher
from experiments.quality_over_time import front
from experiments.random_cameras import Sensors, exposed, training_batch
from experiments.random_scenes import Shares, clean_planes
from experiments.sample_folder import made_by, sample_folder
from experiments.teacher import taught_batch
from experiments.train_prior import _revive, grow

PICTURES = [np.random.default_rng(0).integers(0, 256, (150, 170, 3), np.uint8)]
PLANES = {"bayer": 4, "mono": 1, "rgb": 3}
IN_FOCUS = Shares(even=0, defocused=0, stars=0)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("domain", PLANES)
def test_a_batch_has_the_planes_of_its_domain_and_noise_of_one_unit(domain):
    noisy, target, weight = (
        np.concatenate(parts)
        for parts in zip(*(training_batch(PICTURES, (4, 32), 0, step, domain) for step in range(40)), strict=True)
    )
    assert noisy.shape == target.shape == weight.shape == (160, PLANES[domain], 32, 32)
    assert noisy.dtype == target.dtype == weight.dtype == np.float32
    noise = np.where(weight > 0, noisy - target, np.nan)
    assert np.nanmedian(np.nanstd(noise, (1, 2, 3))) == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("shares", [Shares(1, 0, 0), Shares(0, 1, 0), Shares(0, 0, 1)])
def test_skies_and_what_is_out_of_focus_are_smooth_but_for_stars(shares):
    planes = np.concatenate([clean_planes(PICTURES, 32, shares, rng(seed)) for seed in range(8)])
    in_focus = np.concatenate([clean_planes(PICTURES, 32, IN_FOCUS, rng(seed)) for seed in range(8)])
    assert (planes >= 0).all()

    def steps(values):
        return np.median(np.abs(np.diff(values, axis=2)).mean((1, 2)) / values.mean((1, 2)))

    assert steps(planes) < steps(in_focus) / 3


def test_a_plain_camera_gives_the_noise_that_its_profile_says():
    clean = np.full((4, 256, 256), 0.25, np.float32)
    noisy, profile = exposed(clean, Sensors.plain(1, 1e-3, 3.0), rng())
    assert noisy.var((1, 2)) == pytest.approx(noise_variance(clean, profile)[:, 0, 0], rel=0.02)


def test_faults_are_what_they_are_called():
    count = 64
    values = vars(Sensors.plain(count, 1e-3, 3.0))
    clean = np.full((4 * count, 64, 64), 0.01, np.float32)
    hot, _ = exposed(
        clean, Sensors(**values | {"hot_share": np.full(count, 1e-3), "hot_level": np.full(count, 0.2)}), rng()
    )
    assert (hot > 0.06).mean() == pytest.approx(1e-3 * np.exp(-0.25), rel=0.1)
    cut, _ = exposed(np.zeros_like(clean), Sensors(**values | {"cut": np.ones(count)}), rng())
    assert cut.min() == 0
    assert 0.3 < (cut > 0).mean() < 0.6


def test_a_network_grown_from_a_smaller_one_does_the_same_and_learns_with_all_its_channels():
    torch.manual_seed(0)
    small, large = TwoScaleNet(4, Size((8, 16), (1, 2, 1))), TwoScaleNet(4, Size((12, 24), (1, 3, 2)))
    for parameter in small.parameters():
        torch.nn.init.normal_(parameter, 0, 0.1)
    grow(large, small.state_dict())
    planes = 10 * torch.rand(1, 4, 24, 32)
    assert torch.allclose(large(planes), small(planes), atol=1e-5)
    assert (small(planes) - planes).abs().max() > 0.1
    large(planes).square().sum().backward()
    for block in (large.fine_in[0], large.coarse[2], large.fine_out[1]):
        assert (block.second.weight.grad.abs().amax((2, 3)) > 0).float().mean() > 0.4


def test_channels_that_are_silent_everywhere_are_drawn_anew_and_the_result_stays():
    torch.manual_seed(0)
    network = TwoScaleNet(4, Size((8, 8), (1, 1, 1)))
    torch.nn.init.normal_(network.tail.weight, 0, 0.1)
    planes = torch.randn(2, 4, 32, 32)
    block = network.coarse[0]
    with torch.no_grad():
        block.first.bias[:] = 1
        block.first.bias[3] = -1e6
        torch.nn.init.normal_(block.second.weight, 0, 0.1)
        before = network(planes)
    assert _revive(network, copy.deepcopy(network), planes) == 1
    assert block.first.bias[3] == 0
    with torch.no_grad():
        torch.testing.assert_close(network(planes), before, rtol=0, atol=1e-6)


def test_samples_of_another_teacher_are_refused(tmp_path):
    folder = sample_folder(tmp_path / "taught", {"weights_sha256": "a", "size": [32, 64]})
    assert sample_folder(folder, {"weights_sha256": "a", "size": [32, 64]}) == folder
    assert made_by(folder)["weights_sha256"] == "a"
    with pytest.raises(bd.ConfigError, match=r"taught: holds samples made by .*; name another folder"):
        sample_folder(folder, {"weights_sha256": "b", "size": [32, 64]})


def test_what_is_taught_keeps_its_colours_however_it_is_turned(tmp_path):
    planes = np.broadcast_to(np.arange(4, dtype=np.float32)[:, None, None], (4, teacher.SIDE, teacher.SIDE))
    noisy = np.stack([planes] * teacher.CHUNK)
    ones = np.ones_like(noisy, np.float16)
    np.savez(tmp_path / "0000.npz", noisy=noisy, clean=ones, taught=3 * ones, weight=ones)
    for seed in range(20):
        seen, target, weight = taught_batch([tmp_path / "0000.npz"], (3, 40), rng(seed))
        assert seen.shape == target.shape == weight.shape == (3, 4, 40, 40)
        assert (seen == seen[:, :, :1, :1]).all()
        assert (seen[:, 0] == 0).all()
        assert (seen[:, 3] == 3).all()
        assert (target - seen == 3 - 2 * teacher.CLEAN_SHARE).all()  # a quarter of the clean picture, the rest taught


def test_the_answer_of_a_teacher_is_the_mean_over_eight_views():
    still = TwoScaleNet(4, Size((8, 8), (0, 1, 0)))  # takes nothing away
    planes = rng().normal(size=(4, teacher.SIDE, teacher.SIDE)).astype(np.float32)
    assert np.allclose(teacher.answer(still, planes), planes, atol=1e-5)
    torch.nn.init.constant_(still.tail.bias, 1)
    assert np.allclose(teacher.answer(still, planes), planes - 1, atol=1e-5)


def test_on_the_front_are_those_that_nothing_beats_in_both():
    points = {"slow": (9.0, 3.0), "fast": (1.0, 2.0), "worse": (2.0, 1.5), "equal": (1.0, 1.9)}
    assert front(points) == ["fast", "slow"]
