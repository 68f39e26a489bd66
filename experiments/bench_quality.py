"""True PSNR of the priors, of models and of classical methods on simulated bursts, beside reference figures to beat.

    python -m experiments.bench_quality [BURSTS ...] [--model MODEL ...] [--frames 0 4 8] [--priors] [--json FILE]

Bursts are folders with their `clean_mosaic_dn.tif`; without any, the six of `sim_canon700d`. Linear mosaic, all its
photosites, peak = white level, median over the frames. Classical methods are tuned on the burst they are scored on,
which favours them; ours get the noise profile measured on the burst (the priors), estimated from each frame, or their
own (models).
"""

import argparse
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np

import burst_denoise as bd
from burst_denoise.schemas import Quality
from burst_denoise.score.baselines import Method, baseline_method, baselines_for
from burst_denoise.score.metrics import psnr
from burst_denoise.score.tuning import tuned_strengths
from experiments.data_folder import DATA

TEST_BURSTS = [f"kodim0{scene}_iso{iso}" for scene in (1, 2, 3) for iso in (1600, 6400)]
TO_BEAT = {
    "joint BM3D": (42.08, 36.97, 46.62, 42.17, 45.12, 40.86),
    "OpenCV NLM": (41.57, 36.11, 45.93, 41.45, 43.97, 39.32),
}
"""True PSNR there, reference figures that this script does not measure: BM3D on the principal components of the four
stabilised planes, with joint block matching; NLM, stabilised, with default windows and its strength tuned."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bursts", nargs="*", type=Path)
    parser.add_argument("--model", action="append", type=Path, default=[])
    parser.add_argument("--frames", nargs="+", type=int, default=[0, 4, 8])
    parser.add_argument("--priors", action="store_true", help="leave out augmentation and the classical methods")
    parser.add_argument("--json", type=Path, help="file to write the scores to, for quality_over_time.py")
    options = parser.parse_args()
    models = {path.stem: bd.load_model(path) for path in options.model}
    bursts = options.bursts or [DATA / "sim_canon700d" / name for name in TEST_BURSTS]
    found: dict[str, list[float]] = {}
    for path in bursts:
        (burst,) = bd.ingest(path)
        frames = [burst.frame(index) for index in options.frames if index < len(burst)]
        for name, method in _methods(burst, models, priors_alone=options.priors):
            scores = [psnr(method(frame.linear, frame), burst.clean, peak=1.0) for frame in frames]
            found.setdefault(name, []).append(statistics.median(scores))
            print(f"{path.name:20s} {name:28s} {found[name][-1]:6.2f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    if options.bursts:
        return
    for bar, known in TO_BEAT.items():
        for name, scores in found.items():
            gains = np.array(scores) - known
            print(f"{name:28s} over {bar}: mean {gains.mean():+.2f} dB, least {gains.min():+.2f}")


def _methods(burst: bd.Burst, models: dict[str, bd.Model], *, priors_alone: bool) -> Iterator[tuple[str, Method]]:
    def known(method: Method) -> Method:  # the noise measured on the burst, as the benchmark tells it
        return lambda image, frame: method(image, frame.with_profile(burst.profile))

    def alone(method: Method) -> Method:
        return lambda image, frame: method(image, frame.with_profile(None))

    yield "single frame", lambda image, _: image
    yield "fast, noise of each frame", alone(bd.Denoiser().image)
    for augment in (False,) if priors_alone else (False, True):
        suffix = ", augmented" if augment else ""
        for quality in get_args(Quality):
            yield quality + suffix, known(bd.Denoiser(quality=quality, augment=augment).image)
        for name, model in models.items():
            yield name + suffix, bd.Denoiser(model, augment=augment).image
    strengths = {} if priors_alone else tuned_strengths([burst])
    for name, baseline in baselines_for(burst.info).items():
        if name in strengths:
            yield name, baseline_method(baseline, burst.profile, strengths[name])


if __name__ == "__main__":
    main()
