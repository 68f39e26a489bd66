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

from burst_denoise.arrays import Double, Float
from burst_denoise.burst.burst import Burst
from burst_denoise.errors import SeriesError
from burst_denoise.model.content import content_patch, validation_content
from burst_denoise.model.device import autocast, compute_dtype
from burst_denoise.model.pairs import held_out, noise_of
from burst_denoise.score.metrics import corrected_mse, psnr_of_mse
from burst_denoise.sensor.moments import FrameMoments, frame_moments
from burst_denoise.sensor.noise_model import stabilise, unstabilise

__all__ = ["Gain", "Scores", "Validator"]

VALIDATION_BURSTS = 12
"""At most this many bursts are scored at a validation."""
VALIDATION_ROWS = 512
SMALLEST_ERROR = 1e-10
"""Mean squared error, linear units: a corrected error can come out negative by chance; a score must stay a number."""
LEAST_VALID = 0.1
"""Share of photosites that count, neither overexposed nor defective, that held-out columns must have to be scored."""
SYNTHETIC_SIDE, SYNTHETIC_PATCHES = 56, 5
"""Side in plane pixels, just beyond the reach of the paper's network, and number for each picture, of clean patches
under the sensor's noise."""
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
    """Noise of held-out columns on patches of one clean picture."""

    clean: Tensor
    """(B, C, s, s) stabilised."""
    noisy: Tensor
    valid: Tensor
    """1 where the photosite that gave the noise counts, else 0."""


@dataclass(frozen=True)
class Scores:
    """What a network reaches on every sample of both kinds; those of two networks are compared sample by sample."""

    held_out_db: Double
    """(n,) corrected PSNR of each scored frame, dB below the white level."""
    content_db: Double
    """(m,) by how much the error on each clean picture lies below the noise put on it, dB; empty where, for
    overexposure, there is no noise to put there."""

    def gain_over(self, other: "Scores") -> "Gain":
        """Return how much better these scores are than those of another network."""
        return Gain(self.held_out_db - other.held_out_db, self.content_db - other.content_db)


@dataclass(frozen=True)
class Gain:
    """Differences between two networks on the same samples, dB."""

    held_out_db: Double
    content_db: Double

    @property
    def value_db(self) -> float:
        """The smaller mean gain: a network that learns the owner's scenes by heart gains there and nowhere else."""
        return min(float(part.mean()) for part in self._parts)

    @property
    def std_error_db(self) -> float:
        """Standard error of that mean over its samples; infinite where there is one."""
        part = min(self._parts, key=lambda gains: float(gains.mean()))
        return float(part.std(ddof=1)) / math.sqrt(part.size) if part.size > 1 else math.inf

    @property
    def mean_loss_db(self) -> float:
        """What frames, or pictures, lose in the mean, those that gain counted as 0; the larger one of the two."""
        return max(float(np.maximum(-part, 0).mean()) for part in self._parts)

    @property
    def _parts(self) -> list[Double]:
        return [part for part in (self.held_out_db, self.content_db) if part.size]


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
        self.synthetic_samples = _synthetic_samples(self.samples, device)
        self.dtype = compute_dtype(device)

    @torch.inference_mode()
    def scores(self, network: torch.nn.Module) -> Scores:
        """Return the scores of a network."""
        return Scores(
            np.array([self._psnr(sample, network) for sample in self.samples]),
            np.array([self._below_noise_db(synthetic, network) for synthetic in self.synthetic_samples]),
        )

    def _below_noise_db(self, synthetic: _SyntheticSample, network: torch.nn.Module) -> float:
        with autocast(synthetic.noisy.device, self.dtype):
            error = (network(synthetic.noisy).float() - synthetic.clean) ** 2 * synthetic.valid
        mse = error.sum() / synthetic.valid.sum()
        return psnr_of_mse(max(mse.item(), SMALLEST_ERROR), peak=1.0)

    def _psnr(self, sample: _HeldOutSample, network: torch.nn.Module) -> float:
        with autocast(sample.noisy.device, self.dtype):
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


def _synthetic_samples(samples: Sequence[_HeldOutSample], device: torch.device) -> list[_SyntheticSample]:
    """Return a sample of each clean picture under noise of all frames in turn."""
    turns = itertools.cycle(samples)
    found = []
    for picture_number, picture in enumerate(validation_content()):
        rng = np.random.default_rng(picture_number)
        patches = [_synthetic_patch(picture, sample, rng) for sample in itertools.islice(turns, SYNTHETIC_PATCHES)]
        clean, noise, valid = (
            torch.from_numpy(np.stack(parts)).to(device, memory_format=torch.channels_last)
            for parts in zip(*patches, strict=True)
        )
        if valid.mean() > LEAST_VALID:
            found.append(_SyntheticSample(clean, clean + noise, valid))
    return found


def _synthetic_patch(picture: Float, sample: _HeldOutSample, rng: np.random.Generator) -> tuple[Float, Float, Float]:
    """Return a clean patch and noise for it, stabilised, and which photosites count; each (C, side, side)."""
    burst, side = sample.burst, SYNTHETIC_SIDE
    content = content_patch([picture], burst.info.domain, side, rng, developed=burst.info.developed_in_colour)
    clean = stabilise(content, burst.profile)
    # The held-out columns of a small sensor are narrower than that: repeated, they are still its noise.
    fields = [sample.noise, burst.mosaic.pack(sample.valid.astype(np.float32))]
    missing = [(0, max(0, side - size)) for size in sample.noise.shape[1:]]
    fields = [np.pad(planes, [(0, 0), *missing], mode="wrap") for planes in fields]
    top, left = (int(rng.integers(size - side + 1)) for size in fields[0].shape[1:])
    noise, valid = (planes[:, top : top + side, left : left + side] for planes in fields)
    return clean, noise, valid
