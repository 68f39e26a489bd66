"""True PSNR of the priors for monochrome and for linear RGB frames, beside BM3D on the same stabilised planes.

    python -m experiments.bench_pictures [mono] [rgb]       # with the package bm3d where the environment has it

Three Kodak pictures in linear light, none of which any training has seen, under two levels of noise, Poisson and
Gaussian. Both methods are told the noise; BM3D works on stabilised planes, whose noise has the standard deviation 1:
`bm3d` on the one plane, `bm3d_rgb` on the three. Its result goes through the unbiased inverse, for it averages.
"""

import argparse
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

import cv2
import numpy as np
import torch
from PIL import Image

from burst_denoise.arrays import Float
from burst_denoise.frame.mosaic import MONO, RGB, Mosaic
from burst_denoise.frame.srgb import srgb_to_linear
from burst_denoise.inference.engine import fastest_engine
from burst_denoise.inference.tiles import denoise_image
from burst_denoise.model.device import compute_dtype
from burst_denoise.model.prior import load_prior
from burst_denoise.schemas import NoiseProfile
from burst_denoise.score.metrics import psnr
from burst_denoise.sensor.noise_model import stabilise, unstabilise_mean
from experiments.data_folder import DATA

PICTURES = ("kodim01", "kodim02", "kodim03")
EXPOSURE = 0.8
"""Of white."""
LEVELS = {"low": (4e-4, 3.0), "high": (2.5e-3, 3.0)}
"""S, in shares of white per electron, and read noise in electrons."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("domains", nargs="*", choices=["mono", "rgb"], default=["mono", "rgb"])
    options = parser.parse_args()
    cv2.setNumThreads(1)
    for mosaic in (MONO, RGB):
        if mosaic.domain in options.domains:
            _bench(mosaic)


def _bench(mosaic: Mosaic) -> None:
    methods: dict[str, Callable[[Float, NoiseProfile], Float]] = {
        "noisy": lambda noisy, _: noisy,
        "prior": _prior(mosaic),
    }
    if find_spec("bm3d"):
        methods["BM3D"] = lambda noisy, profile: mosaic.unpack(_bm3d(mosaic.pack(noisy), profile), noisy.shape)
    gains = []
    for picture in PICTURES:
        clean = _clean(picture, mosaic)
        for level, (scale, electrons) in LEVELS.items():
            rng = np.random.default_rng([PICTURES.index(picture), list(LEVELS).index(level)])
            noisy = rng.poisson(clean / scale) * scale + scale * electrons * rng.standard_normal(clean.shape)
            planes = len(mosaic.plane_names)
            profile = NoiseProfile(
                iso=None, shot_noise_scale=(scale,) * planes, read_noise_variance=((scale * electrons) ** 2,) * planes
            )
            scores = {
                name: psnr(method(noisy.astype(np.float32), profile), clean, peak=1.0)
                for name, method in methods.items()
            }
            told = "  ".join(f"{name} {score:.2f}" for name, score in scores.items())
            print(f"{mosaic.domain} {picture} {level}: {told}", flush=True)
            gains.append(scores["prior"] - scores.get("BM3D", scores["noisy"]))
    print(f"{mosaic.domain}: prior over {list(methods)[-1]}: mean {np.mean(gains):+.2f} dB, least {min(gains):+.2f}")


def _clean(name: str, mosaic: Mosaic) -> Float:
    linear = EXPOSURE * srgb_to_linear(np.asarray(Image.open(next((DATA / "clean").glob(f"{name}.*"))).convert("RGB")))
    colours = np.moveaxis(linear, 2, 0)
    grey = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), colours, 1)
    return np.ascontiguousarray(grey if mosaic.domain == "mono" else colours, np.float32)


def _prior(mosaic: Mosaic) -> Callable[[Float, NoiseProfile], Float]:
    device = torch.device("cpu")
    engine = fastest_engine(load_prior(mosaic.domain, device).network, compute_dtype(device))
    return lambda noisy, profile: denoise_image(noisy, mosaic, engine, profile)


def _bm3d(planes: Float, profile: NoiseProfile) -> Float:
    package = import_module("bm3d")
    stabilised = stabilise(planes, profile)
    low, span = float(stabilised.min()), float(np.ptp(stabilised))
    scaled = (stabilised - low) / span
    filtered = (
        package.bm3d(scaled[0], 1 / span)[None]
        if len(planes) == 1
        else np.moveaxis(package.bm3d_rgb(np.moveaxis(scaled, 0, 2), 1 / span), 2, 0)
    )
    return unstabilise_mean((filtered * span + low).astype(np.float32), profile)


if __name__ == "__main__":
    main()
