"""Seconds per megapixel of a model and of OpenCV NLM on one large mosaic, in one run.

    python experiments/bench_speed.py MODEL [--megapixels 24] [--threads 2]

The mosaic is a synthetic shot at the model's highest ISO. Every method runs on the same array, the slow ones on a
quarter of it (their cost is proportional); median of three runs after a warm-up, a single run of the slow ones.
"""

import argparse
import statistics
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from burst_denoise.apply.denoise import denoise_image
from burst_denoise.judge.classical import baselines_for
from burst_denoise.learn.device import choose_device, compute_dtype
from burst_denoise.learn.model_file import load_model
from burst_denoise.sensor.frame import pack
from burst_denoise.sensor.synthetic import SyntheticCamera, shoot


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--megapixels", type=float, default=24)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    model = load_model(options.model, choose_device("cpu"))
    profile = model.header.profiles[-1]
    image, info = _shot(options.megapixels, profile.iso or 3200)
    quarter = np.ascontiguousarray(image[: image.shape[0] // 4 * 2 // 2, :])
    planes = pack(quarter, info.cfa)

    def ours(picture: np.ndarray, dtype: torch.dtype, *, augment: bool) -> None:
        denoise_image(picture, info.cfa, model.network, profile, dtype=dtype, augment=augment)

    fast = compute_dtype(torch.device("cpu"))
    rows = {
        f"model ({str(fast).removeprefix('torch.')})": _time(lambda: ours(image, fast, augment=False), image.size),
        "model (float32)": _time(lambda: ours(quarter, torch.float32, augment=False), quarter.size),
        "model, augmented": _time(lambda: ours(quarter, fast, augment=True), quarter.size, runs=1),
    }
    for name, baseline in baselines_for(info).items():
        strength = model.header.training.baseline_strength[name]
        rows[name] = _time(lambda f=baseline, h=strength: f(planes, info, profile, h), quarter.size, runs=1)
    print(f"{image.size / 1e6:.1f} megapixels, {options.threads} threads")
    for name, seconds in rows.items():
        print(f"{name:24s} {seconds:7.3f} s/MP   {seconds / next(iter(rows.values())):5.1f} times the model's")


def _shot(megapixels: float, iso: float) -> tuple[np.ndarray, object]:
    height = int((megapixels * 1e6 / 1.5) ** 0.5) // 2 * 2
    y, x = np.mgrid[: height // 8, : height * 3 // 16]
    small = 0.3 + 0.2 * np.sin(x / 9) * np.cos(y / 7) + 0.2 * ((x + y) % 40 > 20)
    tile = (small[..., None] * np.array([0.5, 1, 0.7])).astype(np.float32)
    frames, _ = shoot(SyntheticCamera(), tile, iso, 1, 0)
    return np.tile(frames[0].linear, (8, 8)), frames[0].info


def _time(work: object, photosites: int, runs: int = 3) -> float:
    seconds = []
    for _ in range(runs + (runs > 1)):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[(runs > 1) :]) / (photosites / 1e6)


if __name__ == "__main__":
    main()
