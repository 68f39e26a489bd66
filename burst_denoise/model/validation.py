"""Validation: a network on photosites and pictures that training never sees, scored without a clean shot.

Two held-out scores. The held-out columns of the bursts show the sensor's noise on the owner's scenes, but little of
them, and a network that learns these scenes by heart does well there. So the noise of the same columns is also put on
clean pictures that no training sees.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from burst_denoise.burst.store import Burst
from burst_denoise.errors import SeriesError
from burst_denoise.model.content import VALIDATION_PICTURES, content_patch, content_pictures
from burst_denoise.model.device import compute_dtype
from burst_denoise.model.pairs import held_out, noise_of
from burst_denoise.score.metrics import corrected_mse, psnr_of_mse
from burst_denoise.sensor.moments import FrameMoments, frame_moments
from burst_denoise.sensor.noise_model import stabilise, unstabilise

__all__ = ["Validator"]

VALIDATION_BURSTS = 12
"""At most this many bursts are scored at a validation."""
VALIDATION_ROWS = 1024
SMALLEST_ERROR = 1e-10
"""Mean squared error, linear units: a corrected error can come out negative by chance; a score must stay a number."""
LEAST_VALID = 0.1
"""Share of photosites that count, neither overexposed nor defective, that held-out columns must have to be scored."""
SYNTHETIC_SIDE, SYNTHETIC_SAMPLES = 64, 6
"""Side in plane pixels, and number at most for each scored frame, of clean pictures under its noise."""
CONTEXT = 64
"""Columns left of the held-out ones that the network may look at."""


@dataclass(frozen=True)
class _HeldOutSample:
    """One frame's held-out columns, and the moments of the other frames there."""

    burst: Burst
    noisy: Tensor
    """(1, C, h, w) stabilised, with `margin` columns of context on its left."""
    noise: npt.NDArray[np.float32]
    """(C, h, w) of the scored columns alone, units of its standard deviation."""
    shape: tuple[int, ...]
    margin: int
    others: FrameMoments
    valid: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _SyntheticSample:
    """The noise of one frame's held-out columns on clean pictures."""

    clean: Tensor
    """(B, C, s, s) stabilised."""
    noisy: Tensor
    valid: Tensor
    """1 where the photosite that gave the noise counts, else 0."""


class Validator:
    """The held-out columns of the bursts: what they show, and their noise on other pictures."""

    def __init__(self, bursts: Sequence[Burst], device: torch.device) -> None:
        samples = [
            _held_out_sample(burst, index, device) for burst in _chosen(bursts) for index in (0, len(burst) // 2)
        ]
        self.samples = [sample for sample in samples if sample.valid.mean() > LEAST_VALID]
        if not self.samples:
            raise SeriesError(
                f"{bursts[0].name}: the right eighth of every series is overexposed, and training is judged there; "
                "expose less"
            )
        synthetic = [_synthetic_sample(sample, number, device) for number, sample in enumerate(self.samples)]
        self.synthetic_samples = [sample for sample in synthetic if sample.valid.mean() > LEAST_VALID]
        self.dtype = compute_dtype(device)

    @torch.inference_mode()
    def content_score(self, network: torch.nn.Module) -> float:
        """Return how far, in dB, the error on clean pictures lies below the noise put on them, mean of the frames.

        Not a number where, for overexposure, no frame has noise to put there.
        """
        if not self.synthetic_samples:
            return math.nan
        return float(np.mean([self._below_noise_db(synthetic, network) for synthetic in self.synthetic_samples]))

    def _below_noise_db(self, synthetic: _SyntheticSample, network: torch.nn.Module) -> float:
        with torch.autocast(synthetic.noisy.device.type, self.dtype, enabled=self.dtype != torch.float32):
            error = (network(synthetic.noisy).float() - synthetic.clean) ** 2 * synthetic.valid
        mse = error.sum() / synthetic.valid.sum()
        return psnr_of_mse(max(mse.item(), SMALLEST_ERROR), peak=1.0)

    @torch.inference_mode()
    def score(self, network: torch.nn.Module) -> float:
        """Return the corrected PSNR, dB below the white level, averaged over the scored frames."""
        return float(np.mean([self._psnr(sample, network) for sample in self.samples]))

    def _psnr(self, sample: _HeldOutSample, network: torch.nn.Module) -> float:
        with torch.autocast(sample.noisy.device.type, self.dtype, enabled=self.dtype != torch.float32):
            stabilised = network(sample.noisy)[0].float().cpu().numpy()
        image = sample.burst.mosaic.unpack(unstabilise(stabilised, sample.burst.profile), sample.shape)
        mse = corrected_mse(image[..., sample.margin :], sample.others, sample.valid)
        return psnr_of_mse(max(mse, SMALLEST_ERROR), peak=1.0)


def _chosen(bursts: Sequence[Burst]) -> list[Burst]:
    """Return as many bursts as are scored, of all ISOs in turn: names often go scene by scene, ISO by ISO."""
    by_iso: dict[float | None, list[Burst]] = {}
    for burst in bursts:
        by_iso.setdefault(burst.profile.iso, []).append(burst)
    turns = itertools.zip_longest(*by_iso.values())
    return [burst for turn in turns for burst in turn if burst is not None][:VALIDATION_BURSTS]


def _held_out_sample(burst: Burst, index: int, device: torch.device) -> _HeldOutSample:
    columns = held_out(burst)
    height, margin = burst.info.height, min(CONTEXT, columns.start)
    # A middle piece of a large sensor is enough; sides in multiples of 8 photosites.
    rows = min(height // 8 * 8, VALIDATION_ROWS)
    top = (height - rows) // 4 * 2
    left = columns.start - margin
    wide = (columns.stop - left) // 8 * 8
    window = (slice(top, top + rows), slice(left, left + wide))
    scored = (window[0], slice(columns.start, left + wide))
    noisy = stabilise(burst.mosaic.pack(burst.linear(index, window)), burst.profile)
    return _HeldOutSample(
        burst=burst,
        noisy=torch.from_numpy(noisy)[None].to(device, memory_format=torch.channels_last),
        shape=(*burst.excluded.shape[:-2], rows, wide),
        noise=noise_of(burst, index, scored),
        margin=margin,
        others=frame_moments(burst.linear(i, scored) for i in range(len(burst)) if i != index),
        valid=~burst.excluded[..., scored[0], scored[1]],
    )


def _synthetic_sample(sample: _HeldOutSample, number: int, device: torch.device) -> _SyntheticSample:
    domain, profile = sample.burst.info.domain, sample.burst.profile
    valid, side = sample.burst.mosaic.pack(sample.valid.astype(np.float32)), SYNTHETIC_SIDE
    # The held-out columns of a small sensor are narrower than that: repeated, they are still its noise.
    missing = [(0, max(0, side - size)) for size in valid.shape[1:]]
    fields = [np.pad(planes, [(0, 0), *missing], mode="wrap") for planes in (sample.noise, valid)]
    places = [slice(top, top + side) for top in range(0, fields[0].shape[1] - side + 1, side)]
    places = places[:: math.ceil(len(places) / SYNTHETIC_SAMPLES)]
    noise, counts = (np.stack([field[:, rows, :side] for rows in places]) for field in fields)
    pictures, rng = content_pictures(VALIDATION_PICTURES), np.random.default_rng(number)
    clean = np.stack([stabilise(content_patch(pictures, domain, side, rng), profile) for _ in places])
    tensors = (torch.from_numpy(part).to(device, memory_format=torch.channels_last) for part in (clean, noise, counts))
    stabilised, added, weights = tensors
    return _SyntheticSample(stabilised, stabilised + added, weights)
