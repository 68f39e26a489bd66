"""Train a noise-normalised prior: a network on clean pictures seen through random cameras.

    python -m experiments.train_prior --quality fast --work FOLDER --minutes 200      # killed, the same command goes on

Every sample is a clean picture through another lens, white balance, exposure and sensor, stabilised with that sensor's
true noise profile: the network only ever sees noise of standard deviation 1, so it serves sensors it never met.
The loop, its loss and its running average are `burst_denoise.model.fit.fit`; the rate follows the clock.
"""

import argparse
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save

from burst_denoise import __version__
from burst_denoise.arrays import Float, Picture
from burst_denoise.files import atomic_write
from burst_denoise.model.content import PICTURES
from burst_denoise.model.device import autocast, choose_device, compute_dtype
from burst_denoise.model.fit import Checkpoint, FitSettings, FitState, fit, masked_mse
from burst_denoise.model.network import TwoScaleNet, build_network
from burst_denoise.schemas import PLANES, Domain, NoiseProfile, Quality
from burst_denoise.score.metrics import psnr
from burst_denoise.sensor.noise_model import stabilise, unstabilise
from experiments.random_cameras import CAMERAS, LEVELLING, SHARES, Sensors, exposed, training_batch
from experiments.random_scenes import OPTICS, planes_of, training_pictures
from experiments.sample_folder import made_by
from experiments.teacher import taught_batch

STAGES = ((8, 64), (4, 96), (3, 128))
"""Samples of a batch and their side in plane pixels, for equal parts of the time: small patches train fast, but most of
their pixels see less surroundings than the network can use, as none does in a picture."""
INPUTS = 288
"""Of an output of the fine scale; weights with more get a smaller rate, in proportion. RAdam moves each weight by about
the rate, and so an output by the rate times their number: at one rate for all, every ReLU of the coarse scale fell
silent for ever, unnoticed for 40,000 steps. (The few hundred steps of a calibration are better off without.)"""
VALIDATE_EVERY = 1000
VALIDATED_SIDE = 104  # plane pixels of a mosaic; twice as many photosites fit into the smallest picture

VALIDATION_CAMERAS = ((5e-5, 6.0), (3e-4, 3.0), (1.2e-3, 2.5), (6e-3, 4.0))  # S, read noise in e-; none is the test's


@dataclass(frozen=True)
class Validation:
    """Held-out pictures through one camera, linear."""

    pictures: int
    clean: Float
    noisy: Float
    profile: NoiseProfile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domain", choices=get_args(Domain), default="bayer")
    parser.add_argument("--quality", choices=get_args(Quality), default="fast")
    parser.add_argument("--work", type=Path, default=Path("prior"), help="folder of the checkpoint and the weights")
    parser.add_argument("--minutes", type=float, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument(
        "--start", type=Path, help="weights to start from, of a network that is no larger; only the last stage then"
    )
    parser.add_argument("--taught", type=Path, help="folder of samples made by experiments.teacher, to learn from")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    _train(options, choose_device(options.device))


def _train(options: argparse.Namespace, device: torch.device) -> None:
    domain: Domain = options.domain
    pictures, held_out, digest = training_pictures()
    torch.manual_seed(options.seed)
    network = build_network(options.quality, PLANES[domain])
    assert isinstance(network, TwoScaleNet)
    stages = [(count, side * network.fold) for count, side in (STAGES[-1:] if options.start else STAGES)]
    settings = {"domain": domain, "quality": options.quality, "seed": options.seed, "stages": stages}
    settings |= {"learning_rate": options.learning_rate, "cameras": CAMERAS, "optics": OPTICS, "levelling": LEVELLING}
    settings |= {"shares": vars(SHARES), "pictures_sha256": digest, "bundled": PICTURES, "version": __version__}
    if options.start:
        settings["start_sha256"] = hashlib.sha256(options.start.read_bytes()).hexdigest()
        grow(network, load_file(options.start))
    network.to(device)
    settings["taught"] = made_by(options.taught) if options.taught else None
    samples = _validation_samples(held_out, domain)
    losses: list[float] = []
    stage = stages[0]

    taught = sorted(options.taught.glob("*.npz")) if options.taught else []

    def batches(step: int) -> tuple[Float, Float, Float]:
        if taught:
            return taught_batch(taught, stage, np.random.default_rng([options.seed, step]))
        return training_batch(pictures, stage, options.seed, step, domain)

    def on_step(state: FitState) -> None:
        nonlocal stage
        stage = stages[min(int(state.done * len(stages)), len(stages) - 1)]
        if not math.isnan(state.loss):
            losses.append(state.loss)
        if state.step % VALIDATE_EVERY == 0 or state.done >= 1:
            noisy, _, _ = training_batch(pictures, (32, 64 * network.fold), options.seed + 1, state.step, domain)
            silent = _revive(network, state.average, _tensor(noisy, device))
            validate(state, silent)

    def validate(state: FitState, silent: int) -> None:
        untrained = state.step == 0 and not options.start
        scores = _score(torch.nn.Identity() if untrained else state.average, samples, device)
        mean, listed = float(np.mean(scores)), " ".join(f"{score:.3f}" for score in scores)
        place = f"step {state.step:6d} {state.seconds / 60:6.1f} min"
        loss = np.mean(losses) if losses else math.nan
        print(f"{place}  loss {loss:.4f}  PSNR {listed}  mean {mean:.3f}  silent channels {silent}", flush=True)
        losses.clear()
        if not untrained and mean > state.notes.get("best_psnr_db", 0.0):
            state.notes["best_psnr_db"] = mean
            record = {"settings": settings | {"minutes": options.minutes}, "steps": state.step, "silent": silent}
            record |= {"seconds": state.seconds, "best_psnr_db": mean, "validation_psnr_db": scores}
            weights = {key: value.half().cpu().contiguous() for key, value in state.average.state_dict().items()}
            with atomic_write(options.work / "prior.safetensors", overwrite=True) as aside:
                aside.write_bytes(save(weights, {"prior": json.dumps(record)}))

    print(f"{len(pictures)} pictures, {len(held_out)} held out; first the {'start' if options.start else 'noisy ones'}")
    fit(
        network,
        batches,
        masked_mse,
        FitSettings(minutes=options.minutes, optimizer="torch-radam", learning_rate=options.learning_rate),
        checkpoint=Checkpoint(options.work / "checkpoint.safetensors", json.dumps(settings)),
        on_step=on_step,
        rate_share=lambda parameter: min(1, INPUTS / parameter[0].numel()),
    )


@torch.no_grad()
def grow(network: TwoScaleNet, weights: dict[str, torch.Tensor]) -> None:
    """Give a network the weights of a smaller one, so that it does the same at first; what is new can learn at once.

    New channels see the old ones, but these do not see them: the weights between are zero. Blocks that the other lacks
    add nothing yet. To a network of RGB that of a mosaic gives what it has learnt of red, both greens and blue.

    References
    ----------
    Chen, Goodfellow and Shlens, "Net2Net: accelerating learning via knowledge transfer", ICLR 2016 (a network widened
    without changing what it does; there by copies).
    """
    if network.planes == 3 and weights["tail.weight"].shape[0] == 4:
        weights = weights | _ends_for_rgb(weights)
    for name, layer in network.named_modules():
        if not isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d) or f"{name}.weight" not in weights:
            continue
        old, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        rows, columns = old.shape[:2]
        if isinstance(layer, torch.nn.ConvTranspose2d):  # its inputs come first
            layer.weight[:, :columns] = 0
        else:
            layer.weight[:rows] = 0
        layer.weight[:rows, :columns] = old
        layer.bias.zero_()
        layer.bias[: len(bias)] = bias


def _ends_for_rgb(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the first and the last layer of a network of four planes, R, G1, G2 and B, as one of three has them."""
    taken, given, bias = weights["head.weight"], weights["tail.weight"], weights["tail.bias"]
    head = torch.cat(
        [torch.stack((band[:, 0], band[:, 1] + band[:, 2], band[:, 3]), 1) for band in taken.split(4, 1)], 1
    )
    tail, bias = (torch.stack((each[0], (each[1] + each[2]) / 2, each[3])) for each in (given, bias))
    return {"head.weight": head, "tail.weight": tail, "tail.bias": bias}


@torch.no_grad()
def _revive(network: torch.nn.Module, average: torch.nn.Module, planes: torch.Tensor) -> int:
    """Draw those channels of the blocks anew whose ReLU is 0 everywhere: they would learn nothing for ever.

    What they add starts at 0, so the network's result stays. Returns their number.
    """
    silent: list[torch.Tensor] = []
    pairs = [(b, a) for b, a in zip(network.modules(), average.modules(), strict=True) if hasattr(b, "second")]
    hooks = [
        block.first.register_forward_hook(lambda _layer, _input, y: silent.append(y.amax((0, 2, 3)) <= 0))
        for block, _ in pairs
    ]
    with autocast(planes.device, compute_dtype(planes.device)):
        network(planes)
    for hook in hooks:
        hook.remove()
    for pair, channels in zip(pairs, silent, strict=True):
        weight = pair[0].first.weight
        drawn = torch.randn_like(weight[channels]) * math.sqrt(2 / weight[0].numel())
        for block in pair:  # the average's channel too, or it would take long to follow
            block.first.weight[channels] = drawn
            block.first.bias[channels] = 0
            block.second.weight[:, channels] = 0
    return int(sum(channels.sum() for channels in silent))


def _validation_samples(pictures: list[Picture], domain: Domain) -> list[Validation]:
    """Return the centres of pictures through each validation camera."""
    rng = np.random.default_rng(2021)
    starts = [[(size - 2 * VALIDATED_SIDE) // 2 for size in picture.shape[:2]] for picture in pictures]
    centres = [picture[top:, left:] for picture, (top, left) in zip(pictures, starts, strict=True)]
    white = 0.8 * np.array([0.55, 1, 0.6])
    side = VALIDATED_SIDE if domain == "bayer" else 2 * VALIDATED_SIDE
    clean = np.concatenate([planes_of(centre, side, 1.0, 0.5, white, domain) for centre in centres])
    cameras = [Sensors.plain(len(pictures), *camera) for camera in VALIDATION_CAMERAS]
    return [Validation(len(pictures), clean, *exposed(clean, camera, rng)) for camera in cameras]


@torch.inference_mode()
def _score(network: torch.nn.Module, samples: list[Validation], device: torch.device) -> list[float]:
    """Return the true PSNR for each camera, mean over the pictures, dB: linear, peak = white, clipped left out."""
    dtype, scores = compute_dtype(device), []
    for of in samples:
        x = _tensor(stabilise(of.noisy, of.profile).reshape(of.pictures, -1, *of.noisy.shape[1:]), device)
        with autocast(device, dtype):
            stabilised = torch.cat([network(each[None]).float() for each in x])
        denoised = unstabilise(stabilised.cpu().numpy().reshape(of.clean.shape), of.profile)
        pictures = zip(*(np.split(planes, of.pictures) for planes in (denoised, of.clean, of.noisy)), strict=True)
        each = [psnr(ours, truth, peak=1.0, mask=seen < 1) for ours, truth, seen in pictures]
        scores.append(float(np.mean(each)))
    return scores


def _tensor(planes: Float, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(planes).to(device, memory_format=torch.channels_last)


if __name__ == "__main__":
    main()
