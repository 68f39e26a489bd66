"""Seconds per megapixel of mosaic: ours, every baseline, and the machine's own matrix products, in one run.

    python -m experiments.bench_speed [MODEL] [--megapixels 24] [--threads 2] [--runs 3] [--json FILE]

Without a model the fast prior is measured, the others beside it. Every method gets a part of the same synthetic shot
and is timed in turn with ours on all of it, round by round after a warm-up; median, but BM3D and the `paper` preset run
once. OpenCV's non-local means runs twice: as it is shipped (windows of 7 and 21) and as the benchmark tunes it. The
share of the machine's peak is the rate of the convolutions on one tile, multiply-adds counted layer by layer, over that
of a matrix product in the same precision, both at their best.
"""

import argparse
import json
import platform
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from burst_denoise.frame.mosaic import RGB, RGGB
from burst_denoise.frame.synthetic import SyntheticCamera, shoot
from burst_denoise.inference.engine import EngineName, fastest_engine, noise_graph
from burst_denoise.inference.tiles import denoise_image
from burst_denoise.model.device import choose_device, compute_dtype
from burst_denoise.model.model_file import load_model
from burst_denoise.model.network import FrequencySplitResNet, TwoScaleNet, build_network
from burst_denoise.model.prior import load_prior
from burst_denoise.schemas import TILE, FrameInfo, NoiseProfile, Quality
from burst_denoise.score.baselines import baselines_for, bm3d
from burst_denoise.sensor.noise_model import stabilise
from experiments.timing import Work, in_turn, matrix_product

CPU = torch.device("cpu")
PRODUCT = 2048
"""Side of the matrices whose product is the measure of the machine."""
STRENGTH = 0.85
"""Of the tuned baselines, where no model says theirs: it has no influence on their speed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--megapixels", type=float, default=24)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file to write seconds a megapixel to, for quality_over_time.py")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    network = (load_model(options.model, choose_device("cpu")) if options.model else load_prior("bayer", CPU)).network
    image, info = _shot(options.megapixels)
    profile = _profile(4)
    part = np.ascontiguousarray(image[: 2 * TILE, : 2 * TILE])
    fast = compute_dtype(CPU)
    names: list[EngineName] = ["openvino", "torch"] if find_spec("openvino") else ["torch"]
    wanted = [(name, dtype) for name in names for dtype in dict.fromkeys((fast, torch.float32))]
    engines = {(name, dtype): fastest_engine(network, dtype, name) for name, dtype in wanted}
    print(f"{_cpu_name()}, {options.threads} threads, median of {options.runs} rounds")

    def ours(name: EngineName, dtype: torch.dtype, picture: np.ndarray = part) -> Work:
        return partial(denoise_image, picture, RGGB, engines[name, dtype], profile)

    reference = ours(names[0], fast, image)
    (seconds,) = in_turn([reference], options.runs)
    print(f"ours, {names[0]} {_short(fast)}: {image.size / 1e6:.1f} megapixels in {seconds:.2f} s")
    for (name, dtype), engine in engines.items():
        tile, macs = _tile(network, name)
        runs = [lambda e=engine, t=tile: e.run(t), lambda t=tile: network.split(t), matrix_product(PRODUCT, dtype)]
        seconds, split, multiplied = in_turn(runs, 5 * options.runs, min)
        rate, peak = 2 * macs / (seconds - split), 2 * PRODUCT**3 / multiplied
        print(
            f"one tile, {name} {_short(dtype)}: {seconds:.3f} s, of it split {split:.3f}; {macs / 1e9:.0f} GMAC, "
            f"convolutions {rate / 1e12:.2f} TFLOP/s, {rate / peak:.0%} of a matrix product's {peak / 1e12:.2f}"
        )
    methods = {f"ours, {name} {_short(dtype)}": (ours(name, dtype), part.size, options.runs) for name, dtype in engines}
    for quality in get_args(Quality):
        engine = fastest_engine(load_prior("bayer", CPU, quality).network, fast)
        for augment in (False, True):
            work = partial(denoise_image, part, RGGB, engine, profile, augment=augment)
            methods[quality + (", augmented" if augment else "")] = work, part.size, options.runs
    found: dict[str, float] = {}
    for name, (work, size, count) in (methods | _baselines(part, info, profile, options.runs)).items():
        seconds, beside = in_turn([work, reference], count)
        found[name] = seconds / size * 1e6
        print(f"{name:38s} {found[name]:8.3f} s/MP  {seconds / size * image.size / beside:7.1f} times ours", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


def _baselines(
    image: np.ndarray, info: FrameInfo, profile: NoiseProfile, runs: int
) -> dict[str, tuple[Work, int, int]]:
    """Return every other method, with the photosites it works on and how often it is to run."""
    from skimage.restoration import denoise_nl_means

    planes = RGGB.pack(image)
    stabilised = stabilise(planes, profile)
    levels = (stabilised * 65535 / stabilised.max()).clip(0, 65535).astype(np.uint16)
    grey = (image.clip(0, 1) * 255).astype(np.uint8)
    colour = cv2.demosaicing(grey, cv2.COLOR_BayerRGGB2BGR)
    corner = image[:256, :256]
    picture = np.stack([image[:TILE, :TILE]] * 3)
    paper, noise_of_paper = build_network("paper", 3).eval(), _profile(3)

    def stabilised_nlm() -> None:
        for plane in levels:
            cv2.fastNlMeansDenoising(plane, [600.0], None, 7, 21, cv2.NORM_L1)

    def paper_run() -> None:
        denoise_image(picture, RGB, fastest_engine(paper, torch.float32), noise_of_paper)

    works: dict[str, tuple[Work, int, int]] = {
        "NLM coloured 8-bit, as shipped": (lambda: cv2.fastNlMeansDenoisingColored(colour), image.size, runs),
        "NLM one grey plane 8-bit, as shipped": (lambda: cv2.fastNlMeansDenoising(grey), image.size, runs),
        "NLM stabilised 16-bit, windows 7/21": (stabilised_nlm, image.size, runs),
        "scikit-image NL-means, fast mode": (
            lambda: [denoise_nl_means(plane, h=0.8, fast_mode=True) for plane in RGGB.pack(corner)],
            corner.size,
            runs,
        ),
        "paper preset, RGB, float32": (paper_run, TILE * TILE, 1),
    }
    for name, baseline in baselines_for(info.model_copy(update={"height": 256, "width": 256})).items():
        small = planes[:, :128, :128] if baseline is bm3d else planes
        count = 1 if baseline is bm3d else runs
        works[name] = (
            lambda f=baseline, p=small: f(p, info, profile, 1.0 if f is bm3d else STRENGTH), small.size, count
        )  # fmt: skip
    return works


def _tile(network: FrequencySplitResNet, name: EngineName) -> tuple[torch.Tensor, float]:
    """Return a tile as large as the default and the multiply-adds that an engine's convolutions do on it."""
    side = TILE // 2 + 2 * (network.margin + network.step)
    tile = torch.rand(1, network.planes, side, side)
    if name == "openvino":
        assert isinstance(network, TwoScaleNet)
        graph, macs = noise_graph(network), 0.0
        graph.reshape({band.any_name: list(tile.shape) for band in graph.inputs})
        for node in graph.get_ops():
            kind = node.get_type_name()
            if kind.startswith("Convolution"):
                weight = list(node.input(1).get_shape())
                inputs = weight[0] if kind == "ConvolutionBackpropData" else int(np.prod(weight[1:]))
                macs += inputs * float(np.prod(list(node.output(0).get_shape())))
        return tile, macs

    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(tile)
    split = sum(counter.get_flop_counts()[f"{type(network).__name__}.split"].values())
    return tile, (counter.get_total_flops() - split) / 2


def _shot(megapixels: float) -> tuple[np.ndarray, FrameInfo]:
    height = int((megapixels * 1e6 / 1.5) ** 0.5) // 2 * 2
    y, x = np.mgrid[: height // 8, : height * 3 // 16]
    small = 0.3 + 0.2 * np.sin(x / 9) * np.cos(y / 7) + 0.2 * ((x + y) % 40 > 20)
    tile = (small[..., None] * np.array([0.5, 1, 0.7])).astype(np.float32)
    frames, _ = shoot(SyntheticCamera(), tile, 1600, 1, 0)
    return np.tile(frames[0].linear, (8, 8)), frames[0].info


def _profile(planes: int) -> NoiseProfile:
    s, o = (4e-4,) * planes, (4e-6,) * planes
    return NoiseProfile(iso=1600, shot_noise_scale=s, read_noise_variance=o)


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
