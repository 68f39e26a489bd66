"""Quantisation: convolutions of 8-bit integers near the network they come from, and nobody is told of it."""

import json
import subprocess
import sys
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
import torch

from burst_denoise.burst.grouping import CLEAN_REFERENCE
from burst_denoise.frame.synthetic import SyntheticCamera, shoot
from burst_denoise.inference.engine import graph_engine, graph_inputs, noise_graph
from burst_denoise.model.network import Size, TwoScaleNet
from experiments.quantisation import Result, markdown, quantised
from tests.command_line import experiment
from tests.shots import scene, write_frames

pytestmark = [
    pytest.mark.skipif(find_spec("nncf") is None, reason="nncf is not installed (extra experiments)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = TwoScaleNet(4, Size((8, 16), (1, 2, 1)))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0, 0.08)
    return network.eval()


def tiles(network, count):
    generator = torch.Generator().manual_seed(count)
    side = 2 * network.margin + 32
    return [10 * torch.rand((1, 4, side, side), generator=generator) for _ in range(count)]


@pytest.mark.parametrize(("keep_ends", "in_float"), [(False, 0), (True, 2)])
def test_a_quantised_network_gives_nearly_what_the_network_gives(network, keep_ends, in_float):
    with torch.inference_mode():
        inputs = [[band.numpy() for band in graph_inputs(network, tile)] for tile in tiles(network, 3)]
    graph = noise_graph(network)
    smaller = quantised(graph, inputs, keep_ends=keep_ends)
    convolutions = [op for op in smaller.get_ordered_ops() if op.get_type_name() == "Convolution"]
    weights = [op.input_value(1).get_node().get_type_name() for op in convolutions]
    assert weights.count("Constant") == in_float
    (tile,) = tiles(network, 1)
    exact, rounded = (graph_engine(network, each, torch.float32).run(tile) for each in (graph, smaller))
    noise = tile[..., network.margin : -network.margin, network.margin : -network.margin] - exact
    assert 0 < float((rounded - exact).std()) < 0.1 * float(noise.std())


def test_the_table_has_a_line_for_each_precision():
    table = markdown([Result("RIDNet", "OpenVINO int8", 1.5, 0.25, (30.0, 31.0))])
    assert table.splitlines()[-1] == "| RIDNet | OpenVINO int8 | 1.50 | 0.250 | 30.500 |"


@pytest.mark.slow
def test_nothing_is_sent_while_a_network_is_quantised():
    # In a process of its own: inside pytest NNCF switches its telemetry off by itself.
    script = """
import socket, sys
def refuse(*arguments):
    raise AssertionError(f"network access: {arguments}")
socket.socket.connect = socket.getaddrinfo = refuse
import torch
from burst_denoise.inference.engine import graph_inputs, noise_graph
from burst_denoise.model.network import Size, TwoScaleNet
from experiments.quantisation import quantised
network = TwoScaleNet(4, Size((8, 16), (1, 2, 1))).eval()
with torch.inference_mode():
    inputs = [[band.numpy() for band in graph_inputs(network, torch.rand(1, 4, 96, 96))]]
quantised(noise_graph(network), inputs, keep_ends=True)
from nncf.telemetry.wrapper import NNCFTelemetryStub, telemetry
assert isinstance(telemetry, NNCFTelemetryStub), telemetry
assert sys.modules["openvino_telemetry"] is None
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


@pytest.mark.slow
def test_the_command_scores_both_networks_in_every_precision(tmp_path):
    for number in range(1, 3):
        frames, clean = shoot(SyntheticCamera(hot_fraction=0), scene((640, 640), number), 1600, 4, number)
        write_frames(tmp_path / "bursts" / f"scene{number}", frames)
        cv2.imwrite(str(tmp_path / "bursts" / f"scene{number}" / CLEAN_REFERENCE), clean)
    rng = np.random.default_rng(0)
    for name in "abcd":
        picture = np.kron(rng.integers(40, 200, (25, 25, 3)), np.ones((8, 8, 1)))
        for kind, noise in (("noisy", 10), ("clean", 0)):
            (tmp_path / "pairs" / kind / name).mkdir(parents=True)
            levels = (picture + noise * rng.standard_normal(picture.shape)).clip(0, 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "pairs" / kind / name / "1.png"), levels)
    arguments = ["--pairs", "pairs", "--bursts", "bursts", "--output", "out", "--minutes", "0.01", "--narrow"]
    done = experiment(tmp_path, "quantisation", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "out" / "results.json").read_text())
    found = {(row["network"], row["precision"]): row for row in rows}
    assert len(found) == 5 + 4
    for network in ("RIDNet", "burst_denoise prior"):
        exact, eight = (found[network, f"OpenVINO {precision}"] for precision in ("float32", "int8"))
        assert eight["weights_mb"] < 0.4 * exact["weights_mb"]
        assert np.mean(exact["psnr_db"]) - 3 < np.mean(eight["psnr_db"]) < np.mean(exact["psnr_db"])
    (tmp_path / "bursts" / "scene2" / CLEAN_REFERENCE).unlink()
    without = experiment(tmp_path, "quantisation", *arguments)
    assert without.stderr.splitlines()[-1].startswith("error: bursts: scene2 has no clean_mosaic_dn.tif beside it")
