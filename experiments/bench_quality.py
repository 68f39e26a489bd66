"""True PSNR of the prior, of models and of classical methods on simulated bursts, beside reference figures to beat.

    python experiments/bench_quality.py [BURSTS ...] [--model MODEL ...] [--frames 0 4 8]

Bursts are folders with their `clean_mosaic_dn.tif`; without any, the six of `sim_canon700d`. Linear mosaic, all its
photosites, peak = white level, median over the frames. Classical methods are tuned on the burst they are scored on,
which favours them; ours get the noise profile measured on the burst (the prior), estimated from each frame (the prior,
blind) or their own (models).
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from burst_denoise.burst.store import Burst
from burst_denoise.frame.frame import pack, unpack
from burst_denoise.inference.tiles import denoise_image
from burst_denoise.jobs.ingest import open_inputs
from burst_denoise.model.device import choose_device, compute_dtype
from burst_denoise.model.model_file import Model, load_model
from burst_denoise.model.prior import load_prior
from burst_denoise.score.baselines import baselines_for, tuned_strengths
from burst_denoise.score.metrics import psnr
from burst_denoise.sensor.single_image import estimate_noise

DATA = Path(os.environ.get("BURST_DENOISE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
TEST_BURSTS = [f"kodim0{scene}_iso{iso}" for scene in (1, 2, 3) for iso in (1600, 6400)]
TO_BEAT = {
    "joint BM3D": (42.08, 36.97, 46.62, 42.17, 45.12, 40.86),
    "OpenCV NLM": (41.57, 36.11, 45.93, 41.45, 43.97, 39.32),
}
"""True PSNR there, reference figures that this script does not measure: BM3D on the principal components of the four
stabilised planes, with joint block matching; NLM, stabilised, with default windows and its strength tuned."""

Method = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bursts", nargs="*", type=Path)
    parser.add_argument("--model", action="append", type=Path, default=[])
    parser.add_argument("--frames", nargs="+", type=int, default=[0, 4, 8])
    parser.add_argument("--fast", action="store_true", help="leave out augmentation and the classical methods")
    options = parser.parse_args()
    device = choose_device("auto")
    models = {path.stem: load_model(path, device) for path in options.model}
    bursts = options.bursts or [DATA / "sim_canon700d" / name for name in TEST_BURSTS]
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, path in enumerate(bursts):
            (burst,) = open_inputs([path], Path(folder) / str(number), 20, lambda _: None)
            frames = [burst.frame(index).linear for index in options.frames if index < len(burst)]
            for name, method in _methods(burst, models, device, fast=options.fast):
                score = statistics.median(psnr(method(frame), burst.clean, peak=1.0) for frame in frames)
                found.setdefault(name, []).append(score)
                print(f"{path.name:20s} {name:28s} {score:6.2f}", flush=True)
    if options.bursts:
        return
    for rival, known in TO_BEAT.items():
        for name, scores in found.items():
            gains = np.array(scores) - known
            print(f"{name:28s} over {rival}: mean {gains.mean():+.2f} dB, least {gains.min():+.2f}")


def _methods(
    burst: Burst, models: dict[str, Model], device: torch.device, *, fast: bool
) -> Iterator[tuple[str, Method]]:
    info, dtype = burst.info, compute_dtype(device)
    yield "single frame", lambda frame: frame
    prior = load_prior(info.domain, device).network
    networks = {"prior": (prior, burst.profile)}
    networks |= {name: (model.network, model.profile_for(info, name)) for name, model in models.items()}
    yield (
        "prior, blind",
        lambda frame: denoise_image(frame, info.cfa, prior, estimate_noise(frame, info.cfa, info.iso), dtype=dtype),
    )
    for name, (network, profile) in networks.items():
        for augment in (False,) if fast else (False, True):
            yield (
                name + (" + augmentation" if augment else ""),
                lambda frame, n=network, p=profile, a=augment: denoise_image(
                    frame, info.cfa, n, p, dtype=dtype, augment=a
                ),
            )
    strengths = {} if fast else tuned_strengths([burst])
    for name, baseline in baselines_for(info).items():
        if name in strengths:
            yield (
                name,
                lambda frame, f=baseline, h=strengths[name]: unpack(
                    f(pack(frame, info.cfa), info, burst.profile, h), info.cfa, frame.shape
                ),
            )


if __name__ == "__main__":
    main()
