"""Train the noise-normalised prior: the `fast` network on clean pictures seen through random cameras.

    python experiments/train_prior.py --work FOLDER --minutes 135      # killed, the same command goes on

Every sample is a clean picture through another lens, white balance, exposure and sensor, stabilised with that sensor's
true noise profile: the network only ever sees noise of standard deviation 1, so it serves sensors it never met.
The loop, its loss and its running average are `burst_denoise.model.fit.fit`; the rate follows the clock.
"""

import argparse
import hashlib
import json
import math
import os
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from random_cameras import CAMERAS, LEVELLING, exposed, planes_of, training_batch
from safetensors.torch import load_file, save
from skimage import data as bundled

from burst_denoise import __version__
from burst_denoise.arrays import Float, Picture
from burst_denoise.files import atomic_write
from burst_denoise.model.content import PICTURES
from burst_denoise.model.device import choose_device, compute_dtype
from burst_denoise.model.fit import Checkpoint, FitSettings, FitState, fit, masked_mse
from burst_denoise.model.network import build_network
from burst_denoise.schemas import NoiseProfile
from burst_denoise.score.metrics import psnr
from burst_denoise.sensor.noise_model import stabilise, unstabilise

STAGES = ((8, 64), (4, 96), (3, 128))
"""Samples of a batch and their side in plane pixels, for equal parts of the time: small patches train fast, but most of
their pixels see less surroundings than the network can use, as none does in a picture."""
INPUTS = 288
"""Of an output of the fine scale; weights with more get a smaller rate, in proportion. RAdam moves each weight by about
the rate, and so an output by the rate times their number: at one rate for all, every ReLU of the coarse scale fell
silent for ever, unnoticed for 40,000 steps. (The few hundred steps of a calibration are better off without.)"""
VALIDATE_EVERY = 1000
HELD_OUT = slice(15, None, 31)  # pictures of the folder that are left to validation: 8 of 248
VALIDATED_SIDE = 104  # plane pixels; twice as many photosites fit into the smallest picture

VALIDATION_CAMERAS = ((5e-5, 6.0), (3e-4, 3.0), (1.2e-3, 2.5), (6e-3, 4.0))  # S, read noise in e-; none is the test's


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("BURST_DENOISE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(data))
    parser.add_argument("--work", type=Path, default=Path("prior"), help="folder of the checkpoint and the weights")
    parser.add_argument("--minutes", type=float, default=135)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--start", type=Path, help="weights to start from; only the last, largest patches then")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    _train(options, choose_device(options.device))


def _train(options: argparse.Namespace, device: torch.device) -> None:
    pictures, held_out, digest = _pictures(options.data / "clean_train")
    stages = STAGES[-1:] if options.start else STAGES
    settings = {"seed": options.seed, "learning_rate": options.learning_rate, "stages": stages, "cameras": CAMERAS}
    settings |= {"levelling": LEVELLING, "clean_train_sha256": digest, "bundled": PICTURES, "version": __version__}
    torch.manual_seed(options.seed)
    network = build_network("fast", 4).to(device)
    if options.start:
        settings["start_sha256"] = hashlib.sha256(options.start.read_bytes()).hexdigest()
        network.load_state_dict(load_file(options.start), strict=False)  # blocks that it lacks add nothing at first
    samples = _validation_samples(held_out)
    losses: list[float] = []
    stage = stages[0]

    def batches(step: int) -> tuple[Float, Float, Float]:
        return training_batch(pictures, stage, options.seed, step)

    def on_step(state: FitState) -> None:
        nonlocal stage
        stage = stages[min(int(state.done * len(stages)), len(stages) - 1)]
        if not math.isnan(state.loss):
            losses.append(state.loss)
        if state.step % VALIDATE_EVERY == 0 or state.done >= 1:
            validate(state)
            noisy, _, _ = training_batch(pictures, (32, 64), options.seed + 1, state.step)
            if count := _revive(network, state.average, _tensor(noisy, device)):
                print(f"step {state.step:6d}: {count} channels were silent", flush=True)

    def validate(state: FitState) -> None:
        untrained = state.step == 0 and not options.start
        scores = _score(torch.nn.Identity() if untrained else state.average, samples, device)
        mean, listed = float(np.mean(scores)), " ".join(f"{score:.3f}" for score in scores)
        place = f"step {state.step:6d} {state.seconds / 60:6.1f} min"
        print(f"{place}  loss {np.mean(losses or [1]):.4f}  PSNR {listed}  mean {mean:.3f}", flush=True)
        losses.clear()
        if not untrained and mean > state.notes.get("best_psnr_db", 0.0):
            state.notes["best_psnr_db"] = mean
            record = {"settings": settings | {"minutes": options.minutes}, "steps": state.step}
            record |= {"seconds": state.seconds, "best_psnr_db": mean, "validation_psnr_db": scores}
            weights = {key: value.cpu().contiguous() for key, value in state.average.state_dict().items()}
            with atomic_write(options.work / "prior.safetensors", overwrite=True) as aside:
                aside.write_bytes(save(weights, {"prior": json.dumps(record)}))

    print(f"{len(pictures)} pictures, {len(held_out)} held out; first the noisy ones")
    fit(
        network,
        batches,
        masked_mse,
        FitSettings(minutes=options.minutes, optimizer="torch-radam", learning_rate=options.learning_rate),
        checkpoint=Checkpoint(options.work / "checkpoint.safetensors", json.dumps(settings)),
        on_step=on_step,
        rate_share=lambda parameter: min(1, INPUTS / parameter[0].numel()),
    )


def _pictures(folder: Path) -> tuple[list[Picture], list[Picture], str]:
    """Return the pictures to train on and to validate on, and the SHA-256 of the folder's files."""
    paths = sorted(folder.glob("*.webp"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()
    training = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    held_out = training[HELD_OUT]
    del training[HELD_OUT]
    more = [getattr(bundled, name)() for name in PICTURES]  # not those that validate calibrations
    training += [np.dstack([picture] * 3) if picture.ndim == 2 else picture for picture in more]
    return training, held_out, digest


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


def _validation_samples(pictures: list[Picture]) -> list[tuple[Float, Float, NoiseProfile]]:
    """Return the centres of pictures through each validation camera: (clean, noisy, profile), linear."""
    rng = np.random.default_rng(2021)
    starts = [[(size - 2 * VALIDATED_SIDE) // 2 for size in picture.shape[:2]] for picture in pictures]
    centres = [picture[top:, left:] for picture, (top, left) in zip(pictures, starts, strict=True)]
    white = 0.8 * np.array([0.55, 1, 0.6])
    clean = np.concatenate([planes_of(centre, VALIDATED_SIDE, 1.0, 0.5, white) for centre in centres])
    cameras = ([np.full(len(pictures), value) for value in (*camera, 0.1, 0.0)] for camera in VALIDATION_CAMERAS)
    return [(clean, *exposed(clean, *camera, rng=rng)) for camera in cameras]


@torch.inference_mode()
def _score(
    network: torch.nn.Module, samples: list[tuple[Float, Float, NoiseProfile]], device: torch.device
) -> list[float]:
    """Return the true PSNR for each camera, mean over the pictures, dB: linear, peak = white, clipped left out."""
    dtype, scores = compute_dtype(device), []
    for clean, noisy, profile in samples:
        x = _tensor(stabilise(noisy, profile).reshape(-1, 4, *noisy.shape[1:]), device)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            denoised = unstabilise(network(x).float().cpu().numpy().reshape(clean.shape), profile)
        pictures = zip(*(np.split(planes, len(clean) // 4) for planes in (denoised, clean, noisy)), strict=True)
        each = [psnr(ours, truth, peak=1.0, mask=seen < 1) for ours, truth, seen in pictures]
        scores.append(float(np.mean(each)))
    return scores


def _tensor(planes: Float, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(planes).to(device, memory_format=torch.channels_last)


if __name__ == "__main__":
    main()
