"""The network: what the split promises, what the presets are, and how far a photosite sees."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch.nn import functional

from burst_denoise.model.network import (
    SIZES,
    FrequencySplit,
    PaperNet,
    Size,
    TwoScaleNet,
    build_network,
    butterworth_kernel,
)


def test_low_pass_gain_is_one_half_at_the_cut_off_and_one_at_zero():
    kernel = butterworth_kernel(cut_off=0.141).double().numpy()
    x = np.mgrid[-8:9, -8:9][1]
    gain = [(kernel * np.cos(2 * np.pi * (f * x))).sum() for f in (0.0, 0.141, 0.3)]
    assert gain[0] == pytest.approx(1, abs=1e-6)
    assert gain[1] == pytest.approx(1 / 2, abs=0.01)
    assert gain[2] == pytest.approx(1 / (1 + (0.3 / 0.141) ** 2), abs=0.01)


@settings(max_examples=10, deadline=None)
@given(st.integers(17, 40), st.integers(17, 40), st.integers(0, 99))
def test_low_and_high_band_sum_exactly_to_the_input_for_odd_and_even_sizes(height, width, seed):
    planes = 200 * torch.rand((2, 4, height, width), generator=torch.Generator().manual_seed(seed))
    low, high = FrequencySplit()(planes)
    assert torch.equal(high, planes - low)
    assert torch.allclose(low + high, planes, rtol=0, atol=2e-5)


def test_a_constant_picture_is_all_low_band():
    low, high = FrequencySplit()(torch.full((1, 4, 20, 20), 100.0))
    assert torch.allclose(low, torch.tensor(100.0), atol=1e-3)
    assert high.abs().max() < 1e-3


def test_the_split_stays_in_float32_under_bfloat16_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        low, high = FrequencySplit()(torch.full((1, 1, 20, 20), 201.3))
    assert low.dtype == high.dtype == torch.float32
    assert high.abs().max() < 1e-3


def test_paper_preset_has_the_511390_parameters_of_the_paper():
    assert sum(p.numel() for p in PaperNet().parameters()) == 511_390


def test_paper_preset_gives_a_picture_108_pixels_smaller_than_its_inputs():
    output = PaperNet().valid(torch.rand(1, 3, 112, 113), torch.rand(1, 1, 112, 113), torch.rand(1, 1, 112, 113))
    assert output.shape == (1, 3, 4, 5)


def test_paper_preset_equals_a_plain_reimplementation():
    torch.manual_seed(3)
    net = PaperNet()
    picture = torch.rand(1, 3, 60, 57)
    weights = dict(net.named_parameters())

    def conv(x, name):
        return functional.conv2d(x, weights[f"{name}.weight"])

    def residual_blocks(x, branch, first):
        for number in range(first, first + 5):
            y = conv(torch.relu(conv(x, f"{branch}.{number}.first")), f"{branch}.{number}.second")
            x = torch.relu(y + x[:, :, 4:-4, 4:-4])
        return x

    def branch(x, name):
        for number in (0, 2, 4):
            x = torch.relu(conv(x, f"{name}.{number}"))
        return conv(residual_blocks(x, name, 6), f"{name}.11")

    grey = 0.299 * picture[:, :1] + 0.587 * picture[:, 1:2] + 0.114 * picture[:, 2:]
    padded = functional.pad(grey, (8, 8, 8, 8), mode="reflect")
    low = functional.conv2d(padded, butterworth_kernel()[None, None])
    wide = [functional.pad(x, (54,) * 4, mode="reflect") for x in (picture, low, grey - low)]
    features = branch(wide[0], "image")
    stacked = torch.relu(torch.cat((features, branch(wide[2], "high"), branch(wide[1], "low")), 1))
    fused = sum(
        functional.conv2d(stacked[:, [depth]], weights["fuse.weight"][:, 0, depth][:, None]) for depth in range(25)
    )
    x = torch.relu(torch.relu(fused) + features[:, :, 2:-2, 2:-2])
    x = residual_blocks(torch.relu(conv(x, "tail.0")), "tail", 2)
    expected = conv(torch.relu(conv(x, "tail.7")), "colour")
    assert torch.allclose(net(picture), expected, atol=1e-5)


def test_paper_preset_refuses_a_mosaic():
    with pytest.raises(ValueError, match="paper preset is for RGB pictures"):
        build_network("paper", 4)


@pytest.mark.parametrize("planes", [1, 3, 4])
def test_fast_preset_starts_as_the_identity(planes):
    picture = torch.randn(1, planes, 32, 40)
    assert torch.equal(build_network("fast", planes)(picture), picture)


@pytest.mark.parametrize("size", [(32, 32), (33, 35), (30, 41)])
def test_fast_preset_takes_any_size(size):
    for planes in (1, 4):
        net = TwoScaleNet(planes, Size((8, 8), (1, 6, 4)))
        torch.nn.init.normal_(net.tail.weight)
        assert net(torch.randn(1, planes, *size)).shape == (1, planes, *size)


@pytest.mark.parametrize(
    ("quality", "planes", "cost"),
    [("draft", 4, 15_000), ("fast", 4, 53_000), ("best", 4, 225_000), ("fast", 1, 53_000)],
)
def test_a_preset_costs_what_is_said_of_it_for_each_photosite(quality, planes, cost):
    net, multiplies = build_network(quality, planes), 0
    side = 64 * net.fold

    def count(module, inputs, output):
        nonlocal multiplies
        transposed = isinstance(module, torch.nn.ConvTranspose2d)
        size = inputs[0].numel() if transposed else output.numel()
        multiplies += size * module.weight[0].numel()

    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            module.register_forward_hook(count)
    net(torch.zeros(1, planes, side, side))
    assert multiplies / (4 * 64 * 64) == pytest.approx(cost, rel=0.02)


@pytest.mark.parametrize(("quality", "planes"), [("fast", 4), ("fast", 1), ("draft", 4)])
@pytest.mark.parametrize("offset", range(8))
def test_no_photosite_sees_further_than_the_margin(offset, quality, planes):
    torch.manual_seed(0)
    net = TwoScaleNet(planes, SIZES[quality])
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0, 0.05)
    size = 2 * net.margin + 36
    picture = torch.randn(1, planes, size, size, requires_grad=True)
    centre = net.margin + 16 + offset
    (gradient,) = torch.autograd.grad(net(picture)[0, :, centre, centre].sum(), picture)
    seen = torch.nonzero(gradient.abs().sum((0, 1)))
    assert (seen - centre).abs().max() <= net.margin
