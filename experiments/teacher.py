"""Make the samples of a larger prior: random cameras, and what a teacher makes of them in the mean of eight views.

    python -m experiments.teacher WEIGHTS --size 32 64 1 12 8 --work FOLDER --samples 4800   # killed, it goes on

A clean picture tells a network what was there, not what can be known of it under the noise: most of the squared error
is of the second kind and no network's fault, and hides what one can learn. A teacher's answer has none of that. Eight
flips and rotations averaged are better than the teacher alone, so its pupil can go beyond it.
"""

import argparse
import hashlib
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

import burst_denoise as bd
from burst_denoise.arrays import Double, Float
from burst_denoise.files import atomic_write
from burst_denoise.frame.geometry import DIHEDRAL, dihedral
from burst_denoise.frame.mosaic import RGGB
from burst_denoise.inference.engine import Engine
from burst_denoise.inference.tiles import augmented
from burst_denoise.model.device import autocast, compute_dtype
from burst_denoise.model.network import Size, TwoScaleNet
from experiments.random_cameras import training_batch
from experiments.random_scenes import training_pictures
from experiments.sample_folder import sample_folder

__all__ = ["answer", "taught_batch"]

SIDE = 130
"""Plane pixels along a side of a sample: flipped, a mosaic begins with its colours a photosite later."""
CHUNK = 16
"""Samples of a file."""
SEED = 7
CLEAN_SHARE = 0.25
"""Of the target that is the clean picture: what keeps a pupil from learning the teacher's mistakes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="of the teacher")
    parser.add_argument("--size", type=int, nargs=5, required=True, help="of the teacher: two widths, three blocks")
    parser.add_argument("--work", type=Path, required=True, help="folder of the samples")
    parser.add_argument("--samples", type=int, default=4800)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes started from here
    weights = hashlib.sha256(options.weights.read_bytes()).hexdigest()
    try:
        sample_folder(options.work, {"weights_sha256": weights, "size": options.size})
    except bd.ConfigError as error:
        sys.exit(f"error: {error}")
    paths = [options.work / f"{number:04d}.npz" for number in range(options.samples // CHUNK)]
    missing = [(path, options.weights, tuple(options.size)) for path in paths if not path.exists()]
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        for number, _ in enumerate(pool.map(_make_chunk, missing), 1):
            print(f"{number} of {len(missing)} files of samples", flush=True)


def taught_batch(paths: Sequence[Path], stage: tuple[int, int], rng: np.random.Generator) -> tuple[Float, Float, Float]:
    """Return (noisy, target, weight) of random samples of one file, each (samples, 4, side, side), turned at random.

    The target is the teacher's answer, and for `CLEAN_SHARE` of it the clean picture.
    """
    count, side = stage
    with np.load(paths[int(rng.integers(len(paths)))]) as chunk:
        members = rng.choice(CHUNK, count, replace=False)
        noisy, clean, taught, weight = (
            chunk[name][members].astype(np.float32) for name in ("noisy", "clean", "taught", "weight")
        )
    target = noisy + taught + np.float32(CLEAN_SHARE) * (clean - taught)
    turned = []
    for sample in zip(noisy, target, weight, strict=True):
        k, extra = int(rng.integers(len(DIHEDRAL))), rng.random(2)
        turned.append([_turned(planes, side, k, extra) for planes in sample])
    seen, wanted, counted = (np.stack(parts) for parts in zip(*turned, strict=True))
    return seen, wanted, counted


def _turned(planes: Float, side: int, k: int, extra: Double) -> Float:
    """Return a part of planes as the sensor would give them of the turned picture, ``extra`` of the way across."""
    shape = (2 * SIDE, 2 * SIDE)
    first = RGGB.turned(k, shape).phase
    mosaic = dihedral(RGGB.unpack(planes, shape), k)
    rows, columns = (
        slice(a + 2 * int(share * (SIDE - side - a / 2 + 1)), None) for a, share in zip(first, extra, strict=True)
    )
    return RGGB.pack(np.ascontiguousarray(mosaic[rows, columns][: 2 * side, : 2 * side]))


def _make_chunk(job: tuple[Path, Path, tuple[int, ...]]) -> None:
    path, weights, size = job
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    noisy, clean, weight = training_batch(training_pictures()[0], (CHUNK, SIDE), SEED, int(path.stem))
    taught = np.stack([answer(_teacher(weights, size), planes) for planes in noisy])
    with atomic_write(path) as aside, aside.open("wb") as out:
        # Differences are about 1, and stored in 16 bits; a stabilised highlight is 600.
        np.savez(
            out,
            noisy=noisy,
            clean=(clean - noisy).astype(np.float16),
            taught=(taught - noisy).astype(np.float16),
            weight=weight.astype(np.float16),
        )


@cache
def _teacher(weights: Path, size: tuple[int, ...]) -> TwoScaleNet:
    network = TwoScaleNet(4, Size((size[0], size[1]), (size[2], size[3], size[4])))
    network.load_state_dict(load_file(weights))
    return network.to(memory_format=torch.channels_last).eval()


def answer(teacher: TwoScaleNet, planes: Float) -> Float:
    """Return the mean of what a teacher makes of the eight flips and rotations of stabilised planes."""
    shape = (2 * SIDE, 2 * SIDE)
    return augmented(planes, RGGB, Engine("torch", 0, teacher.step, partial(_denoised, teacher)), shape, shape)


@torch.inference_mode()
def _denoised(teacher: TwoScaleNet, planes: Tensor) -> Tensor:
    """Return planes denoised to their borders, as a training step sees them."""
    with autocast(planes.device, compute_dtype(planes.device)):
        found: Tensor = teacher(planes.to(memory_format=torch.channels_last))
    return found.float()


if __name__ == "__main__":
    main()
