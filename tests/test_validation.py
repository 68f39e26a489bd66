"""Validation scores the held-out columns, without the clean image and yet near the truth."""

import numpy as np
import pytest
import torch

from burst_denoise.learn.network import build_network
from burst_denoise.learn.pairs import held_out
from burst_denoise.learn.validation import EXAMINED_BURSTS, Examiner
from burst_denoise.sensor.metrics import psnr

from .conftest import stored_burst

CPU = torch.device("cpu")


def test_the_score_agrees_with_the_known_clean_image(burst):
    columns = held_out(burst)
    known = np.mean([psnr(burst.linear(i)[:, columns], burst.clean[:, columns], peak=1.0) for i in (0, 3)])
    # 5,632 photosites: the corrected error of a noisy frame is good to 2.5 %, 0.11 dB.
    assert Examiner([burst], CPU).score(build_network("fast", 4)) == pytest.approx(known, abs=0.3)


@pytest.mark.parametrize("cfa", ["GRBG", "BGGR"])
def test_the_score_does_not_depend_on_the_phase_of_the_mosaic(tmp_path, cfa):
    burst = stored_burst(tmp_path / "phase.burst", cfa=cfa)
    columns = held_out(burst)
    known = np.mean([psnr(burst.linear(i)[:, columns], burst.clean[:, columns], peak=1.0) for i in (0, 3)])
    assert Examiner([burst], CPU).score(build_network("fast", 4)) == pytest.approx(known, abs=0.3)


def test_a_network_that_adds_an_error_loses_what_that_error_costs(burst):
    network = build_network("fast", 4)
    before = Examiner([burst], CPU).score(network)
    torch.nn.init.constant_(network.tail.bias, 1.0)  # one noise deviation off everywhere: twice the squared error
    assert Examiner([burst], CPU).score(network) == pytest.approx(before - 10 * np.log10(2), abs=0.3)


def test_many_bursts_are_sampled(burst):
    questions = Examiner([burst] * (3 * EXAMINED_BURSTS), CPU).questions
    assert len(questions) == 2 * EXAMINED_BURSTS
