"""Every engine gives the picture of the network, in either precision; the margin it takes off is all it needs."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from burst_denoise.frame.frame import to_linear
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.inference.engine import fastest_engine
from burst_denoise.inference.tiles import denoise_image
from burst_denoise.io.raw import read_raw
from burst_denoise.model.device import compute_dtype
from burst_denoise.model.network import PaperNet, Size, TwoScaleNet
from burst_denoise.model.prior import load_prior
from burst_denoise.schemas import NoiseProfile
from burst_denoise.score.metrics import psnr
from tests.sensors import mosaic

CPU = torch.device("cpu")
HALF = compute_dtype(CPU)
INSTALLED = find_spec("openvino") is not None  # importing it here would start its telemetry
needs_half = pytest.mark.skipif(torch.bfloat16 != HALF, reason="needs a processor that multiplies in bfloat16")


needs_openvino = pytest.mark.skipif(not INSTALLED, reason="openvino is not installed")


@pytest.fixture(params=["torch", pytest.param("openvino", marks=needs_openvino)])
def name(request):
    return request.param


def trained(blocks=(1, 3, 2), planes=4):
    torch.manual_seed(0)
    net = TwoScaleNet(planes, Size((8, 16), blocks))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0, 0.08)
    return net.eval()


def scene(net, height, width):
    size = [side + 2 * net.margin for side in (height, width)]
    return 100 * torch.rand((1, net.planes, *size), generator=torch.Generator().manual_seed(1))


# (odd margins on both scales, one plane or three, sides that are no multiples of the step)
@pytest.mark.parametrize("blocks", [(1, 3, 2), (1, 2, 1), (0, 1, 3), (2, 0, 0)])
@pytest.mark.parametrize(("planes", "height", "width"), [(4, 24, 40), (3, 17, 22), (1, 30, 9)])
def test_an_engine_gives_the_middle_of_what_the_network_gives(name, blocks, planes, height, width):
    net = trained(blocks, planes)
    tile = scene(net, height, width)
    with torch.inference_mode():
        expected = net(tile)[..., net.margin : -net.margin, net.margin : -net.margin]
    found = fastest_engine(net, torch.float32, name).run(tile)
    assert found.shape == (1, planes, height, width)
    assert (found - expected).abs().max() < 1e-4
    assert (expected - tile[..., net.margin : -net.margin, net.margin : -net.margin]).std() > 0.1


def test_what_lies_beyond_the_margin_changes_nothing(name):
    net = trained()
    wide = scene(net, 40, 40)
    engine = fastest_engine(net, torch.float32, name)
    assert (engine.run(wide[..., 8:-8, 8:-8]) - engine.run(wide)[..., 8:-8, 8:-8]).abs().max() < 1e-4


@pytest.mark.system
@needs_openvino
def test_openvino_reports_its_use_to_nobody():
    script = (
        "import sys, threading, torch\n"
        "from burst_denoise.inference.engine import fastest_engine\n"
        "from burst_denoise.model.network import Size, TwoScaleNet\n"
        "fastest_engine(TwoScaleNet(4, Size((8, 8), (1, 6, 4))), torch.float32)\n"
        "print(sys.modules.get('openvino_telemetry'), threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "1"]


def test_an_untrained_network_gives_the_tile_back_exactly(name):
    net = TwoScaleNet(4, Size((8, 8), (1, 6, 4)))
    tile = scene(net, 12, 12)
    found = fastest_engine(net, HALF, name).run(tile)
    assert torch.equal(found, tile[..., net.margin : -net.margin, net.margin : -net.margin])


def test_the_tile_is_not_modified_and_two_results_do_not_share_memory(name):
    net = trained()
    tile, engine = scene(net, 12, 12), fastest_engine(net, torch.float32, name)
    before = tile.clone()
    first = engine.run(tile)
    kept = first.clone()
    engine.run(2 * tile)
    assert torch.equal(tile, before)
    assert torch.equal(first, kept)


def test_the_engine_is_chosen_by_rule_and_says_its_name():
    found = fastest_engine(trained(), torch.float32).name
    assert found == ("openvino" if INSTALLED else "torch")
    assert fastest_engine(PaperNet(), torch.float32).name == "torch"


@needs_openvino
def test_both_engines_denoise_an_image_alike():
    net = trained()
    rng = np.random.default_rng(0)
    image = rng.random((150, 203), np.float32)
    profile = NoiseProfile(iso=100, shot_noise_scale=(1e-3,) * 4, read_noise_variance=(1e-5,) * 4)
    found = [
        denoise_image(image, Mosaic("bayer", "GBRG"), engine, profile, tile=64, augment=True)
        for engine in (fastest_engine(net, torch.float32, "torch"), fastest_engine(net, torch.float32, "openvino"))
    ]
    assert np.abs(found[0] - image).max() > 0.01
    assert np.abs(found[1] - found[0]).max() < 1e-5


def loss_of_half(name, image, clean, cfa, profile):
    """PSNR that bfloat16 loses against float32, dB."""
    net = load_prior("bayer", CPU).network
    single, half = (
        denoise_image(image, mosaic(cfa), fastest_engine(net, dtype, name), profile) for dtype in (torch.float32, HALF)
    )
    assert psnr(single, clean, peak=1.0) > psnr(image, clean, peak=1.0) + 0.5
    return psnr(single, clean, peak=1.0) - psnr(half, clean, peak=1.0)


@needs_half
@pytest.mark.parametrize("iso", [1600, 6400])
@pytest.mark.parametrize("picture", ["kodim01", "kodim02", "kodim03"])
def test_half_precision_loses_less_than_a_fiftieth_of_a_decibel(shared_data: Path, name, picture, iso):
    folder = shared_data / "sim_canon700d" / f"{picture}_iso{iso}"
    truth = json.loads((folder / "truth.json").read_text())
    span = truth["white"] - truth["black"]
    read_std = truth["read_noise_tukey_scale_dn"] * np.pi / 3**0.5 / span  # its shape is nearly 0: a logistic law
    profile = NoiseProfile(
        iso=iso,
        shot_noise_scale=(truth["gain_dn_per_e"] / span,) * 4,
        read_noise_variance=(read_std**2,) * 4,
    )
    frame = read_raw(folder / "frame_000.dng")
    clean = to_linear(tifffile.imread(folder / "clean_mosaic_dn.tif"), frame.info)
    part = (slice(128, 384), slice(192, 576))
    assert abs(loss_of_half(name, frame.linear[part], clean[part], frame.info.cfa, profile)) < 0.02


@needs_half
def test_half_precision_loses_hardly_more_in_smooth_highlights_250_noise_deviations_bright(name):
    y, x = np.mgrid[:256, :256]
    clean = (0.9 + 0.05 * np.sin(x / 9) * np.cos(y / 13) - 0.2 * (x > y)).astype(np.float32)
    scale = 5e-5  # 2 sqrt(0.8 / 5e-5) = 253 noise standard deviations
    noise = np.random.default_rng(0).standard_normal(clean.shape, np.float32)
    image = clean + np.sqrt(scale * clean) * noise
    profile = NoiseProfile(iso=100, shot_noise_scale=(scale,) * 4, read_noise_variance=(1e-8,) * 4)
    # Rounded before the first convolution, the low band would lose 0.065 dB; noise is 52 dB below white here.
    assert abs(loss_of_half(name, image, clean, "RGGB", profile)) < 0.02
