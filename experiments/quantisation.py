"""Post-training quantisation to 8-bit integers of RIDNet and of our own network: size, seconds and decibels.

    python -m experiments.quantisation --pairs PAIRS --bursts BURSTS --output FOLDER [--minutes 5] [--narrow]

RIDNet is trained on the training scenes of PAIRS, as in the table; our network is the prior of the package. OpenVINO's
NNCF sees training pictures to find the range of every signal, then rounds weights and signals to 8 bits. What is scored
is whole pictures of held-out scenes: in one call for RIDNet, in the tiles of `burst_denoise.denoise` for ours.

The study of four networks found its 8-bit network slower than the one it came from: it called the interpreter once for
each patch, and what a call costs was more than what the integers saved. Here a call is a picture or a large tile.

Needs the extra ``experiments`` (NNCF). Neither OpenVINO nor NNCF report their use: the module that would is kept out.
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import burst_denoise as bd
from burst_denoise.arrays import Float
from burst_denoise.burst.grouping import CLEAN_REFERENCE
from burst_denoise.files import write_file
from burst_denoise.inference.engine import graph_engine, graph_inputs, import_openvino, noise_graph
from burst_denoise.inference.tiles import denoise_image
from burst_denoise.model.network import TwoScaleNet
from burst_denoise.model.prior import load_prior
from burst_denoise.score.metrics import psnr
from burst_denoise.sensor.noise_model import stabilise
from experiments.burst_pictures import split_by_scene
from experiments.data_folder import folder_sha256
from experiments.pair_pictures import PairTest, pair_data_set
from experiments.pictures import DataSet, spread
from experiments.systems.ridnet import RIDNET
from experiments.training import Budget, train_system

__all__ = ["Result", "quantised"]

CALIBRATION_PICTURES = 12
CALIBRATION_SIDE = 256
"""Of the tiles that calibrate our network, in plane pixels."""
FRAMES_SCORED = 2
"""Of each burst."""
DEVICE = torch.device("cpu")


@dataclass(frozen=True)
class Result:
    """A network in one precision."""

    network: str
    precision: str
    weights_mb: float
    """Size of the file of weights, 10^6 bytes."""
    seconds: float
    """For one picture, the median of all."""
    psnr_db: tuple[float, ...]
    """Of each picture."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True, help="folder of noisy and clean pictures, for RIDNet")
    parser.add_argument("--bursts", type=Path, required=True, help="folder of bursts with a clean image, for ours")
    parser.add_argument("--output", type=Path, required=True, help="folder for graphs and results")
    parser.add_argument("--minutes", type=float, default=5, help="training of RIDNet on one core")
    parser.add_argument("--narrow", action="store_true", help="a narrower RIDNet: a proof, no result")
    options = parser.parse_args()
    try:
        _quantise(options)
    except bd.BurstDenoiseError as error:
        sys.exit(f"error: {error}")


def _quantise(options: argparse.Namespace) -> None:
    """Train RIDNet, score both networks in every precision, write and print the results."""
    training, scored = split_by_scene(bd.ingest(options.bursts))
    if all(burst.clean is None for burst in scored):
        raise bd.SeriesError(f"{options.bursts}: {scored[0].name} has no {CLEAN_REFERENCE} beside it to score by")
    options.output.mkdir(parents=True, exist_ok=True)
    data, test = pair_data_set(options.pairs)
    data = replace(data, sha256=folder_sha256(options.pairs))
    budget = Budget(options.minutes, least_steps=100, narrow=options.narrow)
    network = train_system(RIDNET, data, budget, options.output / "ridnet").network
    results = [*_ridnet(network, data, test, options.output), *_ours(training, scored, options.output)]
    rows = json.dumps([asdict(result) for result in results], indent=1)
    write_file(options.output / "results.json", rows.encode(), overwrite=True)
    write_file(options.output / "results.md", markdown(results).encode(), overwrite=True)
    print(markdown(results))


def quantised(graph: Any, inputs: Sequence[Any], *, keep_ends: bool) -> Any:
    """Return an OpenVINO graph whose convolutions multiply 8-bit integers.

    Parameters
    ----------
    graph : openvino.Model
        Is not changed.
    inputs : sequence
        What the graph takes, a few times: they decide the range of every signal.
    keep_ends : bool
        Whether the first and the last convolution, those of the picture itself, stay in float32.
    """
    import_openvino()
    nncf = import_module("nncf")
    nncf.set_log_level(logging.ERROR)
    convolutions = [op.get_friendly_name() for op in graph.get_ordered_ops() if op.get_type_name() == "Convolution"]
    ignored = nncf.IgnoredScope(names=[convolutions[0], convolutions[-1]] if keep_ends else [])
    return nncf.quantize(graph.clone(), nncf.Dataset(inputs), subset_size=len(inputs), ignored_scope=ignored)


def _ridnet(network: nn.Module, data: DataSet, test: PairTest, output: Path) -> Iterator[Result]:
    """Yield the results of RIDNet: PyTorch, OpenVINO, 8-bit integers."""
    openvino = import_openvino()
    graph = openvino.convert_model(
        network, example_input=torch.rand(1, 3, 64, 64), input=[openvino.PartialShape([1, 3, -1, -1])]
    )
    calibration = [scene.noisy[:1] for scene in spread(data.scenes, CALIBRATION_PICTURES)]

    def result(precision: str, denoise: Callable[[Float], Float], weights_mb: float) -> Result:
        runs = [(partial(denoise, noisy), clean) for noisy, clean in test.pictures()]
        return Result("RIDNet", precision, weights_mb, *_scores(runs))

    size = _file_size(graph, output / "ridnet.xml")
    yield result("PyTorch float32", lambda noisy: RIDNET.denoise(network, noisy), size)
    for precision, each in _variants(graph, calibration):
        run = _compiled(each, "bf16" if "bfloat16" in precision else "f32")
        yield result(precision, lambda noisy, run=run: run(noisy[None])[0], _file_size(each, output / "variant.xml"))


def _ours(training: Sequence[bd.Burst], scored: Sequence[bd.Burst], output: Path) -> Iterator[Result]:
    """Yield the results of the prior on raw frames: OpenVINO as the package runs it, 8-bit integers."""
    network = load_prior("bayer", DEVICE).network
    assert isinstance(network, TwoScaleNet)
    graph = noise_graph(network)
    calibration = [tile for burst in training for tile in _tiles(network, burst)][:CALIBRATION_PICTURES]
    pictures = [
        (burst, burst.linear(index)) for burst in scored for index in range(FRAMES_SCORED) if burst.clean is not None
    ]
    for precision, each in _variants(graph, calibration):
        engine = graph_engine(network, each, torch.bfloat16 if "bfloat16" in precision else torch.float32)
        runs = [
            (partial(denoise_image, noisy, burst.mosaic, engine, burst.profile), burst.clean)
            for burst, noisy in pictures
        ]
        size = _file_size(each, output / "variant.xml")
        yield Result("burst_denoise prior", precision, size, *_scores(runs))


def _variants(graph: Any, calibration: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Yield a graph in every precision, by name."""
    yield "OpenVINO float32", graph
    yield "OpenVINO bfloat16", graph
    yield "OpenVINO int8", quantised(graph, calibration, keep_ends=False)
    yield "OpenVINO int8, first and last convolution float32", quantised(graph, calibration, keep_ends=True)


def _tiles(network: TwoScaleNet, burst: bd.Burst) -> Iterator[list[Float]]:
    """Yield what the graph of our network takes for the centres of frames."""
    for index in range(FRAMES_SCORED):
        planes = stabilise(burst.mosaic.pack(burst.linear(index)), burst.profile)
        rows, columns = (slice((n - CALIBRATION_SIDE) // 2, (n + CALIBRATION_SIDE) // 2) for n in planes.shape[1:])
        with torch.inference_mode():
            tile = torch.from_numpy(np.ascontiguousarray(planes[:, rows, columns]))[None]
            yield [band.numpy() for band in graph_inputs(network, tile)]


def _compiled(graph: Any, precision: str) -> Callable[[Float], Float]:
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    request = import_openvino().Core().compile_model(graph, "CPU", settings).create_infer_request()

    def run(pictures: Float) -> Float:
        (result,) = request.infer([np.ascontiguousarray(pictures)]).values()
        return result.copy()

    return run


def _scores(runs: Iterable[tuple[Callable[[], Float], Float]]) -> tuple[float, tuple[float, ...]]:
    """Return the median of the seconds that runs take, and the PSNR of each against its clean picture."""
    seconds, scores = [], []
    for run, clean in runs:
        began = time.perf_counter()
        denoised = run()
        seconds.append(time.perf_counter() - began)
        scores.append(psnr(denoised, clean, peak=1.0))
    return float(np.median(seconds)), tuple(scores)


def _file_size(graph: Any, path: Path) -> float:
    """Save a graph and return the size of its weights, 10^6 bytes."""
    import_openvino().save_model(graph, str(path), compress_to_fp16=False)
    return path.with_suffix(".bin").stat().st_size / 1e6


def markdown(results: Sequence[Result]) -> str:
    """Return results as a table; PSNR is the mean over the pictures."""
    lines = ["| network | precision | weights, MB | s/picture | PSNR, dB |", "|---|---|---:|---:|---:|"]
    for result in results:
        cells = [f"{result.weights_mb:.2f}", f"{result.seconds:.3f}", f"{np.mean(result.psnr_db):.3f}"]
        lines.append(f"| {result.network} | {result.precision} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
