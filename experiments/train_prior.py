"""Train the noise-normalised prior: the `fast` network on clean pictures seen through random cameras.

    python experiments/train_prior.py --work FOLDER --minutes 135      # killed, the same command goes on

Every sample is a clean picture through another lens, white balance, exposure and sensor, stabilised with that sensor's
true noise profile: the network only ever sees noise of standard deviation 1, so it serves sensors it never met.
Network, loss, optimiser and running average are those of `burst_denoise.learn.train`; the rate follows the clock.
"""

import argparse
import copy
import hashlib
import json
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save
from scipy.special import gamma
from skimage import data as bundled
from torch.optim import RAdam

from burst_denoise import __version__
from burst_denoise.config import NoiseProfile
from burst_denoise.files import written_aside
from burst_denoise.learn.content import PICTURES, rggb_planes
from burst_denoise.learn.device import choose_device, compute_dtype
from burst_denoise.learn.network import build_network
from burst_denoise.learn.train import AVERAGE_DECAY, GRADIENT_NORM
from burst_denoise.sensor.metrics import psnr
from burst_denoise.sensor.noise import stabilise, unstabilise
from burst_denoise.sensor.tone import srgb_to_linear

Float, Picture = npt.NDArray[np.float32], npt.NDArray[np.uint8]

STAGES = ((8, 64), (4, 96), (3, 128))
"""Samples of a batch and their side in plane pixels, for equal parts of the time: small patches teach fast, but most of
their pixels see less surroundings than the network can use, as none does in a picture."""
INPUTS = 288
"""Of an output of the fine scale; weights with more get a smaller rate, in proportion. RAdam moves each weight by about
the rate, and so an output by the rate times their number: at one rate for all, every ReLU of the coarse scale fell
silent for ever, unnoticed for 40,000 steps. (The few hundred steps of a calibration are better off without.)"""
LEVELLING = 0.25
"""Exponent of S in a sample's weight. The squared error that no network can remove, in units of the noise's variance,
falls about so with S (0.83 at 5e-5, 0.25 at 6e-3): unweighted, shots that hardly need denoising would lead."""
VALIDATE_EVERY, SAVE_EVERY_S = 1000, 120.0
HELD_OUT = slice(15, None, 31)  # pictures of the folder that are left to validation: 8 of 248
VALIDATED_SIDE = 104  # plane pixels; twice as many photosites fit into the smallest picture
LINEAR_OF_BYTE = srgb_to_linear(np.arange(256, dtype=np.uint8))

CAMERAS = {
    "shot_noise_scale": [1e-5, 1.6e-2],  # 100,000 electrons at the white level to 60; the middle likeliest, see _batch
    "read_noise_e": [0.2, 15.0],  # log-uniform
    "row_share": [0.0, 0.3],  # standard deviation of the row noise, as a share of the read noise's
    "tukey_shape": [-0.2, 0.14],  # of the read noise: 0.14 is nearly Gaussian, smaller ones have heavier tails
    "exposure": [0.03, 1.2],  # value of a white photosite of the green planes; log-uniform
    "neutral_red": [0.4, 0.7],  # what a white photosite of the red planes has of it
    "neutral_blue": [0.45, 0.8],
    "blur_px": [-0.6, 1.2],  # standard deviation of the lens's Gaussian blur, photosites; below 0 there is none
    "smaller": [1.0, 1.5],  # factor by which a picture is made smaller first, as far as its size allows; log-uniform
}
"""What a random camera is drawn from."""
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
    training, held_out, digest = _pictures(options.data / "clean_train")
    settings = {name: getattr(options, name) for name in ("minutes", "seed", "learning_rate")}
    stages = STAGES[-1:] if options.start else STAGES
    settings |= {"stages": [*map(list, stages)], "cameras": CAMERAS, "levelling": LEVELLING}
    settings |= {"clean_train_sha256": digest, "bundled": [*PICTURES], "version": __version__}
    torch.manual_seed(options.seed)
    network = build_network("fast", 4).to(device)
    if options.start:
        settings["start_sha256"] = hashlib.sha256(options.start.read_bytes()).hexdigest()
        network.load_state_dict(load_file(options.start), strict=False)  # blocks that it lacks add nothing at first
    average, dtype = copy.deepcopy(network), compute_dtype(device)
    parameters, averages = list(network.parameters()), list(average.parameters())
    optimizer = RAdam(
        [{"params": [p], "share": min(1, INPUTS / p[0].numel())} for p in parameters], lr=options.learning_rate
    )
    checkpoint, product = options.work / "checkpoint.safetensors", options.work / "prior.safetensors"
    state = _load(checkpoint, settings, network, average, optimizer)
    questions, losses = _questions(held_out), list[float]()

    def validate(network: torch.nn.Module) -> None:
        scores = _score(network, questions, device)
        mean, listed = float(np.mean(scores)), " ".join(f"{score:.3f}" for score in scores)
        place = f"step {state['steps']:6d} {state['seconds'] / 60:6.1f} min"
        print(f"{place}  loss {np.mean(losses or [1]):.4f}  PSNR {listed}  mean {mean:.3f}", flush=True)
        losses.clear()
        if network is average and mean > state["best_psnr_db"]:
            state["best_psnr_db"] = mean
            _write(product, average.state_dict(), {**state, "validation_psnr_db": scores})

    def keep() -> None:
        moments = optimizer.state_dict()["state"]
        tensors = {f"network/{key}": value for key, value in network.state_dict().items()}
        tensors |= {f"average/{key}": value for key, value in average.state_dict().items()}
        tensors |= {f"optimizer/{i}/{k}": torch.as_tensor(v) for i, entry in moments.items() for k, v in entry.items()}
        _write(checkpoint, tensors, state)

    def revive() -> None:
        noisy, _, _ = _batch(training, (32, 64), options.seed + 1, state["steps"])
        if count := _revive(network, average, _tensor(noisy, device)):
            print(f"step {state['steps']:6d}: {count} channels were silent", flush=True)

    print(f"{len(training)} pictures, {len(held_out)} held out; first the noisy ones")
    validate(average if state["steps"] or options.start else torch.nn.Identity())
    revive()
    began, saved = time.monotonic() - state["seconds"], time.monotonic()
    with ThreadPoolExecutor(1) as background:
        stage = stages[min(int(state["seconds"] / (60 * options.minutes) * len(stages)), len(stages) - 1)]
        upcoming = background.submit(_batch, training, stage, options.seed, state["steps"])
        while (done := state["seconds"] / (60 * options.minutes)) < 1:
            noisy, target, weight = (_tensor(part, device) for part in upcoming.result())
            stage = stages[int(done * len(stages))]
            upcoming = background.submit(_batch, training, stage, options.seed, state["steps"] + 1)
            for group in optimizer.param_groups:
                group["lr"] = group["share"] * options.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                denoised = network(noisy)
            loss = ((denoised - target) ** 2 * weight).sum() / weight.sum().clamp(min=1)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, GRADIENT_NORM, error_if_nonfinite=True)
            optimizer.step()
            step = state["steps"] = state["steps"] + 1
            state["seconds"] = time.monotonic() - began
            losses.append(loss.item())
            with torch.no_grad():
                torch._foreach_lerp_(averages, parameters, 1 - min(AVERAGE_DECAY, (1 + step) / (10 + step)))
            if step % VALIDATE_EVERY == 0:
                validate(average)
                revive()
            if time.monotonic() - saved > SAVE_EVERY_S:
                keep()
                saved = time.monotonic()
    validate(average)
    keep()


def _pictures(folder: Path) -> tuple[list[Picture], list[Picture], str]:
    """Return the pictures to train on and to validate on, and the SHA-256 of the folder's files."""
    paths = sorted(folder.glob("*.webp"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()
    training = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    held_out = training[HELD_OUT]
    del training[HELD_OUT]
    more = [getattr(bundled, name)() for name in PICTURES]  # not those that examine calibrations
    training += [np.dstack([picture] * 3) if picture.ndim == 2 else picture for picture in more]
    return training, held_out, digest


def _batch(pictures: list[Picture], stage: tuple[int, int], seed: int, step: int) -> tuple[Float, Float, Float]:
    """Return (noisy, target, weight) of a step, each (samples * 4, side, side); the first two stabilised."""
    count, side = stage
    rng = np.random.default_rng([seed, step])
    clean = np.concatenate([_random_planes(pictures, side, rng) for _ in range(count)])
    # The geometric mean of two log-uniform numbers: extremes are seen, but most samples are shots people denoise.
    sensors = [np.sqrt(_log_uniform("shot_noise_scale", count, rng) * _log_uniform("shot_noise_scale", count, rng))]
    sensors += [_log_uniform("read_noise_e", count, rng)]
    sensors += [rng.uniform(*CAMERAS[name], count) for name in ("row_share", "tukey_shape")]
    noisy, profile = _exposed(clean, *sensors, rng=rng)
    # Whether a photosite counts depends on what the network sees alone, so it bends no expectation.
    level = (np.repeat(sensors[0], 4).astype(np.float32) / np.float32(4e-4)) ** np.float32(LEVELLING)
    return stabilise(noisy, profile), stabilise(clean, profile), (noisy < 1) * level[:, None, None]


def _log_uniform(name: str, count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    return np.exp(rng.uniform(*np.log(CAMERAS[name]), count))


def _random_planes(pictures: list[Picture], side: int, rng: np.random.Generator) -> Float:
    while min((picture := pictures[int(rng.integers(len(pictures)))]).shape[:2]) < 2 * side:
        pass  # too small for such patches
    picture = np.rot90(picture[:, ::-1] if rng.random() < 0.5 else picture, int(rng.integers(4)))
    room = min(picture.shape[:2]) / (2 * side)
    scale = min(room, _log_uniform("smaller", 1, rng).item())
    top, left = (int(rng.integers(size - round(2 * side * scale) + 1)) for size in picture.shape[:2])
    white = np.array([rng.uniform(*CAMERAS["neutral_red"]), 1, rng.uniform(*CAMERAS["neutral_blue"])])
    white *= _log_uniform("exposure", 1, rng)
    return _planes(picture[top:, left:], side, scale, rng.uniform(*CAMERAS["blur_px"]), white)


def _planes(picture: Picture, side: int, scale: float, blur_px: float, white: npt.NDArray[np.float64]) -> Float:
    """Return the clean planes (4, side, side) of the top left of a picture, made smaller, through a lens, linear."""
    cut = round(2 * side * scale)
    seen = LINEAR_OF_BYTE[picture[:cut, :cut]] * white.astype(np.float32)
    if cut > 2 * side:
        seen = cv2.resize(seen, (2 * side, 2 * side), interpolation=cv2.INTER_AREA)
    if blur_px > 0:
        seen = cv2.GaussianBlur(seen, (0, 0), blur_px, borderType=cv2.BORDER_REFLECT)
    return rggb_planes(seen)


def _exposed(clean: Float, *sensors: npt.ArrayLike, rng: np.random.Generator) -> tuple[Float, NoiseProfile]:
    """Return noisy planes of ``clean`` (B * 4, h, h), clipped at white, and their true noise profile.

    ``sensors`` are S, read noise in electrons, share of row noise and Tukey shape: (B,) each.
    Row noise is shared by R and G1, and by G2 and B; in a quarter of the samples it runs along the columns.
    """
    scale, read_e, row_share, shape = (np.repeat(v, 4).astype(np.float32)[:, None, None] for v in sensors)
    read_std, row_std = scale * read_e, scale * read_e * row_share
    noisy = rng.poisson(clean / scale).astype(np.float32) * scale
    noisy += read_std * _tukey(shape, clean.shape, rng)
    rows = np.repeat(rng.standard_normal((len(clean) // 4, 2, 1, clean.shape[1]), np.float32), 2, axis=2)
    along_rows, along_columns = rows.reshape(len(clean), -1, 1), rows.swapaxes(1, 2).reshape(len(clean), 1, -1)
    turned = np.repeat(rng.random(len(clean) // 4) < 0.25, 4)[:, None, None]
    noisy += row_std * np.where(turned, along_columns, along_rows)
    s, o, row = (tuple(values.ravel().tolist()) for values in (scale, read_std**2 + row_std**2, row_std**2))
    profile = NoiseProfile(iso=None, shot_noise_scale=s, read_noise_variance=o, row_noise_variance=row)
    return np.minimum(noisy, np.float32(1)), profile


def _tukey(shape: Float, size: tuple[int, ...], rng: np.random.Generator) -> Float:
    """Return Tukey-lambda noise of variance 1 (as Wei et al., "A physics-based noise formation model ...", 2020)."""
    k = np.where(np.abs(shape) < 1e-2, np.float32(1e-2), shape)
    variance = 2 / k**2 * (1 / (1 + 2 * k) - gamma(k + 1) ** 2 / gamma(2 * k + 2))
    u = np.clip(rng.random(size, np.float32), np.float32(2**-24), np.float32(1 - 2**-24))
    return ((u**k - (1 - u) ** k) / (k * np.sqrt(variance))).astype(np.float32)


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


def _questions(pictures: list[Picture]) -> list[tuple[Float, Float, NoiseProfile]]:
    """Return the centres of pictures through each validation camera: (clean, noisy, profile), linear."""
    rng = np.random.default_rng(2021)
    starts = [[(size - 2 * VALIDATED_SIDE) // 2 for size in picture.shape[:2]] for picture in pictures]
    centres = [picture[top:, left:] for picture, (top, left) in zip(pictures, starts, strict=True)]
    white = 0.8 * np.array([0.55, 1, 0.6])
    clean = np.concatenate([_planes(centre, VALIDATED_SIDE, 1.0, 0.5, white) for centre in centres])
    cameras = ([np.full(len(pictures), value) for value in (*camera, 0.1, 0.0)] for camera in VALIDATION_CAMERAS)
    return [(clean, *_exposed(clean, *camera, rng=rng)) for camera in cameras]


@torch.inference_mode()
def _score(network: torch.nn.Module, questions: list[Any], device: torch.device) -> list[float]:
    """Return the true PSNR for each camera, mean over the pictures, dB: linear, peak = white, clipped left out."""
    dtype, scores = compute_dtype(device), []
    for clean, noisy, profile in questions:
        x = _tensor(stabilise(noisy, profile), device)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            denoised = unstabilise(network(x).float().cpu().numpy().reshape(clean.shape), profile)
        pictures = zip(*(np.split(planes, len(clean) // 4) for planes in (denoised, clean, noisy)), strict=True)
        each = [psnr(ours, truth, peak=1.0, mask=seen < 1) for ours, truth, seen in pictures]
        scores.append(float(np.mean(each)))
    return scores


def _tensor(planes: Float, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(planes.reshape(-1, 4, *planes.shape[1:])).to(device, memory_format=torch.channels_last)


def _write(path: Path, tensors: dict[str, torch.Tensor], record: dict[str, Any]) -> None:
    content = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, {"prior": json.dumps(record)})
    with written_aside(path, overwrite=True) as aside:
        aside.write_bytes(content)


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    with safe_open(path, "pt") as handle:
        tensors = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118 (not a mapping)
        return tensors, json.loads(handle.metadata()["prior"])


def _load(path: Path, settings: dict[str, Any], network: Any, average: Any, optimizer: Any) -> dict[str, Any]:
    """Bring a fresh training to where its checkpoint left off, if there is one; return its counters."""
    if not path.exists():
        return {"settings": settings, "steps": 0, "seconds": 0.0, "best_psnr_db": 0.0}
    tensors, record = _read(path)
    if {**record["settings"], "minutes": settings["minutes"]} != settings:  # a budget may be changed on the way
        raise SystemExit(f"{path}: checkpoint of another training; delete it to start afresh")
    rooms: dict[str, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        room, _, key = name.rpartition("/")
        rooms.setdefault(room, {})[key] = value
    network.load_state_dict(rooms.pop("network"))
    average.load_state_dict(rooms.pop("average"))
    moments = ((int(room.removeprefix("optimizer/")), entry) for room, entry in rooms.items())
    entries = {index: {key: v if v.ndim else v.item() for key, v in entry.items()} for index, entry in moments}
    optimizer.load_state_dict(optimizer.state_dict() | {"state": entries})
    return record | {"settings": settings}


if __name__ == "__main__":
    main()
