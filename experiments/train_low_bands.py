"""Train the network of the low bands on what the prior leaves of the noise of random cameras.

    python -m experiments.train_low_bands --work FOLDER [--samples 4800] [--minutes 30]   # killed, it goes on

Clean pictures go through random cameras, as for the prior, and through the prior. A third is out of focus and a sixth
even or a gradient, because mottle shows there. Of each sample only means over 8 x 8 plane pixels are kept; they are
made first, by one process a core, and the network is trained on them by `burst_denoise.model.fit.fit`.
"""

import argparse
import json
import math
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

import burst_denoise as bd
from burst_denoise.arrays import Float, Picture
from burst_denoise.files import atomic_write
from burst_denoise.frame.mosaic import RGGB
from burst_denoise.inference.engine import Engine, fastest_engine
from burst_denoise.inference.low_bands import cells
from burst_denoise.inference.tiles import image_change
from burst_denoise.model.device import compute_dtype
from burst_denoise.model.fit import Checkpoint, FitSettings, FitState, fit
from burst_denoise.model.low_bands import CELL, SCALES, LowBandNet
from burst_denoise.model.prior import load_prior
from burst_denoise.sensor.noise_model import noise_variance, stabilise
from experiments.random_cameras import Sensors, exposed
from experiments.random_scenes import Shares, clean_planes, collection
from experiments.sample_folder import sample_folder

SIDE = 256
"""Plane pixels along a side of a sample: four values of the coarsest scale."""
CHUNK = 16
"""Samples of a file."""
VALIDATION_CHUNKS = 12
HELD_OUT = 31
"""One picture in so many is left to validation, as for the prior."""
SHARES = Shares(even=0.17, defocused=0.33, stars=0.0)
BATCH = 32
FLOOR = 0.5
"""Added to the error that a sample has without correction, in units of the noise's variance, before the error that is
left is divided by it: samples count by what can be gained, bright textures do not lead."""
VALIDATE_EVERY = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("low_bands"), help="folder of samples and weights")
    parser.add_argument("--samples", type=int, default=4800)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes started from here
    prior = load_prior("bayer", torch.device("cpu")).sha256
    try:
        sample_folder(options.work, {"prior_sha256": prior})
    except bd.ConfigError as error:
        sys.exit(f"error: {error}")
    training, validation = (
        _samples(options.work / name, count, options.workers)
        for name, count in (("training", options.samples // CHUNK), ("validation", VALIDATION_CHUNKS))
    )
    _train(options, training, validation)


def _samples(folder: Path, chunks: int, workers: int) -> Tensor:
    """Return samples (N, 4, C, h, w): residual, picture, correction wanted and weight; made where they are not yet."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04d}.npy" for number in range(chunks)]
    missing = [path for path in paths if not path.exists()]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for number, path in enumerate(pool.map(_make_chunk, missing), 1):
            print(f"{path.parent.name}: {number} of {len(missing)} files of samples", flush=True)
    return torch.from_numpy(np.concatenate([np.load(path) for path in paths]))


def _make_chunk(path: Path) -> Path:
    cv2.setNumThreads(1)
    held_out = path.parent.name == "validation"
    made = [_sample(np.random.default_rng([int(held_out), int(path.stem), k]), held_out) for k in range(CHUNK)]
    with atomic_write(path) as aside, aside.open("wb") as out:
        np.save(out, np.stack(made))
    return path


def _sample(rng: np.random.Generator, held_out: bool) -> Float:
    clean = clean_planes(_pictures(held_out), SIDE, SHARES, rng)
    noisy, profile = exposed(clean, Sensors.drawn(1, rng), rng)
    shape = (2 * SIDE, 2 * SIDE)
    image = RGGB.unpack(noisy, shape)
    denoised = noisy + RGGB.pack(image_change(image, RGGB, _prior(), profile))
    std = np.sqrt(noise_variance(denoised, profile))
    counts = (noisy < 1).astype(np.float32)
    seen = [cells(*each) for each in zip(noisy, denoised, std, strict=True)]
    residual, picture = (np.stack(each) for each in zip(*seen, strict=True))
    wanted = CELL * _cell_means((clean - denoised) / std * counts)
    return np.stack([residual, stabilise(picture, profile), wanted, _cell_means(counts)])


def _cell_means(planes: Float) -> Float:
    side = SIDE // CELL
    return planes.reshape(-1, side, CELL, side, CELL).mean((2, 4))


@cache
def _pictures(held_out: bool) -> list[Picture]:
    chosen = enumerate(collection())
    return [picture for number, picture in chosen if (number % HELD_OUT == HELD_OUT // 2) == held_out]


@cache
def _prior() -> Engine:
    device = torch.device("cpu")
    return replace(fastest_engine(load_prior("bayer", device).network, compute_dtype(device)), low_bands=None)


def _train(options: argparse.Namespace, training: Tensor, validation: Tensor) -> None:
    torch.manual_seed(0)
    network = LowBandNet(training.shape[2])

    def batches(step: int) -> tuple[Tensor, ...]:
        rng = np.random.default_rng([1, step])
        samples = training[torch.from_numpy(rng.integers(len(training), size=BATCH))]
        samples = torch.rot90(samples, int(rng.integers(4)), (-2, -1))
        if rng.random() < 0.5:
            samples = samples.flip(-1)
        if rng.random() < 0.5:
            samples = samples[:, :, [0, 2, 1, 3]]  # the greens, one for the other
        return tuple(samples.unbind(1))

    def on_step(state: FitState) -> None:
        if state.step % VALIDATE_EVERY == 0 or state.done >= 1:
            told = " ".join(f"{value:.3f}" for value in _validated(state.average, validation))
            minutes = state.seconds / 60
            print(f"step {state.step:6d} {minutes:5.1f} min  share of the error left, by scale: {told}", flush=True)

    checkpoint = Checkpoint(options.work / "checkpoint.safetensors", f"{len(training)} {options.minutes}")
    settings = FitSettings(minutes=options.minutes, gradient_norm=0.5, dtype=torch.float32)
    state = fit(network, batches, _loss, settings, checkpoint=checkpoint, on_step=on_step)
    record = {"steps": state.step, "samples": len(training), "left": _validated(state.average, validation)}
    weights = {key: value.contiguous() for key, value in state.average.state_dict().items()}
    with atomic_write(options.work / "low_bands_bayer.safetensors", overwrite=True) as aside:
        aside.write_bytes(save(weights, {"low_bands": json.dumps(record)}))


def _loss(network: torch.nn.Module, residual: Tensor, picture: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    left = _errors(network(residual, picture), wanted, weight)
    before = _errors(torch.zeros_like(wanted), wanted, weight)
    return (left / (before + FLOOR)).mean()


def _errors(found: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Return the mean squared errors (SCALES, B) at each scale, in units of the noise's variance at that scale."""
    away, counts, errors = (found - wanted) * weight, weight, []
    for _ in range(SCALES):
        errors.append((away**2).sum((1, 2, 3)) / (counts**2).sum((1, 2, 3)).clamp(min=1))
        away, counts = 2 * functional.avg_pool2d(away, 2), functional.avg_pool2d(counts, 2)
    return torch.stack(errors)


@torch.no_grad()
def _validated(network: torch.nn.Module, samples: Tensor) -> list[float]:
    """Return the median share of the root mean squared error that is left, scale by scale."""
    residual, picture, wanted, weight = samples.unbind(1)
    before = _errors(torch.zeros_like(wanted), wanted, weight)
    left = _errors(network(residual, picture), wanted, weight)
    return [round(math.sqrt(share), 4) for share in (left / before.clamp(min=1e-6)).median(1).values.tolist()]


if __name__ == "__main__":
    main()
