"""Engines: what runs the convolutions of a network. PyTorch, or OpenVINO where it is installed."""

import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from queue import SimpleQueue
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from burst_denoise.model.device import autocast
from burst_denoise.model.low_bands import LowBandNet, load_low_bands
from burst_denoise.model.network import FrequencySplitResNet, TwoScaleNet

__all__ = [
    "Engine",
    "EngineName",
    "fastest_engine",
    "graph_engine",
    "graph_inputs",
    "import_openvino",
    "noise_graph",
    "side_by_side",
]

T = TypeVar("T")
EngineName = Literal["openvino", "torch"]

MOST_LANES = 4
"""Tiles at the same time: each takes some 50 MB, and a shot has not so many tiles that more would end together."""


@dataclass(frozen=True)
class Engine:
    """A network made ready to denoise tiles, on one device and in one precision."""

    name: EngineName
    margin: int
    """Receptive radius of the network in plane pixels: what a tile needs around it."""
    step: int
    """Tiles must begin at multiples of this."""
    run: Callable[[Tensor], Tensor]
    """(B, C, H, W) stabilised float32 planes in memory -> denoised ones, without the outermost
    `margin` of every side, which would have to see beyond it."""
    lanes: int = 1
    """Threads that may `run` tiles at the same time, each with its share of the cores."""
    low_bands: LowBandNet | None = None
    """What corrects an image of denoised tiles on a scale of which they see too little."""


def side_by_side(engine: Engine, work: Callable[[T], None], pieces: Iterable[T]) -> None:
    """Do some work with every piece of an image, in as many threads as the engine has lanes.

    Tiles side by side need a fifth less processor time than each tile on all cores: nobody waits for another between
    the layers of the network. And where a core has other work, the other goes on.
    """
    if engine.lanes == 1:
        for piece in pieces:
            work(piece)
        return
    threads = torch.get_num_threads()
    share = max(1, threads // engine.lanes)
    try:
        with ThreadPoolExecutor(engine.lanes, initializer=torch.set_num_threads, initargs=(share,)) as lanes:
            for _ in lanes.map(work, pieces):
                pass
    finally:
        torch.set_num_threads(threads)  # what a thread sets for itself, PyTorch also gives to all threads to come


def fastest_engine(network: FrequencySplitResNet, dtype: torch.dtype, name: EngineName | None = None) -> Engine:
    """Return the fastest engine there is here for a network.

    Parameters
    ----------
    network : FrequencySplitResNet
        On the device to compute on. The engine may keep a copy of its weights.
    dtype : torch.dtype
        Precision of the convolutions, from `burst_denoise.model.device.compute_dtype`. The frequency split and the
        subtraction of the noise stay in float32.
    name : EngineName, optional
        To have that one. By default OpenVINO for a `TwoScaleNet` on a processor, where it is installed.

    Notes
    -----
    A rule, not a race: the same machine gives the same picture twice. OpenVINO was the faster one in every measurement
    (`experiments.bench_speed`); it adds ReLU and sums while a convolution's result is still in the cache.
    """
    device = next(network.parameters()).device
    if name is None:
        served = type(network) is TwoScaleNet and device.type == "cpu" and dtype in (torch.bfloat16, torch.float32)
        name = "openvino" if served and find_spec("openvino") else "torch"
    if name == "torch":
        engine = Engine(name, network.margin, network.step, _torch_run(network, device, dtype))
    else:
        assert isinstance(network, TwoScaleNet)
        engine = graph_engine(network, noise_graph(network), dtype)
    return replace(engine, low_bands=load_low_bands(network.planes))


def _torch_run(network: FrequencySplitResNet, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    centre = slice(network.margin, -network.margin)

    @torch.inference_mode()
    def run(planes: Tensor) -> Tensor:
        with autocast(device, dtype):
            denoised: Tensor = network(planes.to(device))
        return denoised[..., centre, centre].float().cpu()

    return run


def graph_engine(network: TwoScaleNet, graph: Any, dtype: torch.dtype) -> Engine:
    """Return the engine that runs the `noise_graph` of a network, as it was built or changed since (quantised)."""
    threads = torch.get_num_threads()
    lanes = min(threads, MOST_LANES)
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if dtype == torch.bfloat16 else "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": lanes,
    }
    compiled = import_openvino().Core().compile_model(graph, "CPU", settings)
    requests: SimpleQueue[Any] = SimpleQueue()
    for _ in range(lanes):
        requests.put(compiled.create_infer_request())
    centre = slice(network.margin, -network.margin)

    @torch.inference_mode()
    def run(planes: Tensor) -> Tensor:
        bands = [band.numpy() for band in graph_inputs(network, planes)]
        inner = planes[..., centre, centre]
        request = requests.get()
        try:
            (found,) = request.infer(bands, share_inputs=True, share_outputs=True).values()
            noise = network.unfolded(torch.from_numpy(found))
            return inner - noise[..., : inner.shape[-2], : inner.shape[-1]]
        finally:
            requests.put(request)

    return Engine("openvino", network.margin, network.step, run, lanes)


def graph_inputs(network: TwoScaleNet, planes: Tensor) -> list[Tensor]:
    """Return what the `noise_graph` of a network takes for planes (B, C, H, W): two parts of the low band, the high."""
    low, high = network.split(planes)
    return [network.folded(band) for band in (*_parts(low), high)]


def noise_graph(network: TwoScaleNet) -> Any:
    """Return a network as an OpenVINO model: two parts of the low band and the high band -> noise, without its margin.

    All are folded. Low band and its weights come as `_parts`, of whose four products three count. Rounded to bfloat16
    once, they cost smooth highlights 0.05 dB; these channels stay empty in a matrix product otherwise.
    Built layer by layer: OpenVINO's own conversion takes a second. A tile's margin
    shrinks on the way, as every scale needs less of it than the one before.
    """
    ops = import_openvino().opset13
    channels = network.tail.out_channels

    def convolve(layer: Any, x: Any) -> Any:
        transform = ops.convolution if isinstance(layer, nn.Conv2d) else ops.convolution_backprop_data
        weight, bias = layer.weight.detach(), layer.bias.detach().numpy()
        if layer is network.head:
            low, high = weight[:, :channels] / 16, weight[:, channels:]  # as in `TwoScaleNet.noise`
            rounded, rest = _parts(low)
            weight = torch.cat((rounded, rest, rounded, high), 1)
        weight = weight.contiguous().numpy()
        border = list(layer.padding)
        y = transform(x, weight, list(layer.stride), pads_begin=border, pads_end=border, dilations=[1, 1])
        return ops.add(y, bias[None, :, None, None])

    def blocks(layers: Any, x: Any) -> Any:
        for block in layers:
            x = ops.add(x, convolve(block.second, ops.relu(convolve(block.first, x))))
        return x

    def crop(x: Any, border: int) -> Any:
        return ops.slice(x, [border, border], [-border, -border], [1, 1], [2, 3]) if border else x

    # Margins in pixels of the fine scale, last layer first: each convolution needs one more pixel of its own scale.
    half = len(network.coarse) // 2
    fine_out = _up(1 + 2 * len(network.fine_out), 2)
    middle = fine_out + 2 * 2 * (len(network.coarse) - half)
    first = _up(middle + 2 * 2 * half + 2 * len(network.fine_in) + 1, 2)

    bands = [ops.parameter([-1, channels, -1, -1], np.float32) for _ in ("rounded", "rest", "high")]
    rounded, rest, high = (crop(band, network.margin // network.fold - first) for band in bands)
    joined = ops.concat([rounded, rounded, rest, high], 1)
    fine = blocks(network.fine_in, convolve(network.head, joined))
    coarse = blocks(network.coarse[:half], convolve(network.down, fine))
    coarse = blocks(network.coarse[half:], crop(coarse, (first - middle) // 2))
    fine = ops.add(crop(fine, first - fine_out), convolve(network.up, crop(coarse, (middle - fine_out) // 2)))
    noise = crop(convolve(network.tail, blocks(network.fine_out, fine)), fine_out)
    return import_openvino().Model([noise], bands)


def import_openvino() -> Any:
    """Import OpenVINO so that it reports its use to nobody: without this module of its own it cannot."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return import_module("openvino")


def _parts(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return values rounded to bfloat16 and what that left over, both float32: rounded again, their sum has 16 bits."""
    rounded = values.bfloat16().float()
    return rounded, values - rounded


def _up(value: int, step: int) -> int:
    return -(-value // step) * step
