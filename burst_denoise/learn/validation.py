"""Validation: a network on photosites and pictures that training never sees, scored without a clean shot.

Two exams. The held-out columns of the bursts show the sensor's noise on the owner's scenes, but little of them, and a
network that learns these scenes by heart does well there. So the noise of the same columns is also put on clean
pictures that no training sees.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from burst_denoise.capture.store import Burst
from burst_denoise.errors import SeriesError
from burst_denoise.learn.content import EXAMINED_PICTURES, content_patch, content_pictures
from burst_denoise.learn.device import compute_dtype
from burst_denoise.learn.pairs import held_out, noise_of
from burst_denoise.sensor.frame import pack, unpack
from burst_denoise.sensor.metrics import FrameMoments, corrected_mse, frame_moments, psnr_of_mse
from burst_denoise.sensor.noise import stabilise, unstabilise

__all__ = ["Examiner"]

EXAMINED_BURSTS = 12
"""At most this many bursts are examined at a validation."""
EXAMINED_ROWS = 1024
SMALLEST_ERROR = 1e-10
"""Mean squared error, linear units: a corrected error can come out negative by chance; a score must stay a number."""
LEAST_VALID = 0.1
"""Share of photosites that count, neither overexposed nor defective, that held-out columns must have to be examined."""
TRANSPLANTED_SIDE, TRANSPLANTS = 64, 6
"""Side in plane pixels, and number at most for each examined frame, of clean pictures under its noise."""
CONTEXT = 64
"""Columns left of the held-out ones that the network may look at."""


@dataclass(frozen=True)
class _Question:
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
class _Transplant:
    """The noise of one frame's held-out columns on clean pictures."""

    clean: Tensor
    """(B, C, s, s) stabilised."""
    noisy: Tensor
    valid: Tensor
    """1 where the photosite that gave the noise counts, else 0."""


class Examiner:
    """The held-out columns of the bursts: what they show, and their noise on other pictures."""

    def __init__(self, bursts: Sequence[Burst], device: torch.device) -> None:
        asked = [_question(burst, index, device) for burst in _sample(bursts) for index in (0, len(burst) // 2)]
        self.questions = [question for question in asked if question.valid.mean() > LEAST_VALID]
        if not self.questions:
            raise SeriesError(
                f"{bursts[0].name}: the right eighth of every series is overexposed, and training is judged there; "
                "expose less"
            )
        transplants = [_transplant(question, number, device) for number, question in enumerate(self.questions)]
        self.transplants = [given for given in transplants if given.valid.mean() > LEAST_VALID]
        self.dtype = compute_dtype(device)

    @torch.inference_mode()
    def content_score(self, network: torch.nn.Module) -> float:
        """Return how far, in dB, the error on clean pictures lies below the noise put on them, mean of the frames.

        Not a number where, for overexposure, no frame has noise to put there.
        """
        if not self.transplants:
            return math.nan
        return float(np.mean([self._below_noise_db(transplant, network) for transplant in self.transplants]))

    def _below_noise_db(self, transplant: _Transplant, network: torch.nn.Module) -> float:
        with torch.autocast(transplant.noisy.device.type, self.dtype, enabled=self.dtype != torch.float32):
            error = (network(transplant.noisy).float() - transplant.clean) ** 2 * transplant.valid
        mse = error.sum() / transplant.valid.sum()
        return psnr_of_mse(max(mse.item(), SMALLEST_ERROR), peak=1.0)

    @torch.inference_mode()
    def score(self, network: torch.nn.Module) -> float:
        """Return the corrected PSNR, dB below the white level, averaged over the examined frames."""
        return float(np.mean([self._psnr(question, network) for question in self.questions]))

    def _psnr(self, question: _Question, network: torch.nn.Module) -> float:
        with torch.autocast(question.noisy.device.type, self.dtype, enabled=self.dtype != torch.float32):
            stabilised = network(question.noisy)[0].float().cpu().numpy()
        info, profile = question.burst.info, question.burst.profile
        image = unpack(unstabilise(stabilised, profile), info.cfa, question.shape)
        mse = corrected_mse(image[..., question.margin :], question.others, question.valid)
        return psnr_of_mse(max(mse, SMALLEST_ERROR), peak=1.0)


def _sample(bursts: Sequence[Burst]) -> list[Burst]:
    """Return as many bursts as are examined, of all ISOs in turn: names often go scene by scene, ISO by ISO."""
    by_iso: dict[float | None, list[Burst]] = {}
    for burst in bursts:
        by_iso.setdefault(burst.info.iso, []).append(burst)
    turns = itertools.zip_longest(*by_iso.values())
    return [burst for turn in turns for burst in turn if burst is not None][:EXAMINED_BURSTS]


def _question(burst: Burst, index: int, device: torch.device) -> _Question:
    columns = held_out(burst)
    height, margin = burst.info.height, min(CONTEXT, columns.start)
    # A middle piece of a large sensor is enough; sides in multiples of 8 photosites.
    rows = min(height // 8 * 8, EXAMINED_ROWS)
    top = (height - rows) // 4 * 2
    left = columns.start - margin
    wide = (columns.stop - left) // 8 * 8
    window = (slice(top, top + rows), slice(left, left + wide))
    scored = (window[0], slice(columns.start, left + wide))
    noisy = stabilise(pack(burst.linear(index, window), burst.info.cfa), burst.profile)
    return _Question(
        burst=burst,
        noisy=torch.from_numpy(noisy)[None].to(device, memory_format=torch.channels_last),
        shape=(*burst.excluded.shape[:-2], rows, wide),
        noise=noise_of(burst, index, scored),
        margin=margin,
        others=frame_moments(burst.linear(i, scored) for i in range(len(burst)) if i != index),
        valid=~burst.excluded[..., scored[0], scored[1]],
    )


def _transplant(question: _Question, number: int, device: torch.device) -> _Transplant:
    domain, profile = question.burst.info.domain, question.burst.profile
    valid, side = pack(question.valid.astype(np.float32), question.burst.info.cfa), TRANSPLANTED_SIDE
    # The held-out columns of a small sensor are narrower than that: repeated, they are still its noise.
    missing = [(0, max(0, side - size)) for size in valid.shape[1:]]
    fields = [np.pad(planes, [(0, 0), *missing], mode="wrap") for planes in (question.noise, valid)]
    places = [slice(top, top + side) for top in range(0, fields[0].shape[1] - side + 1, side)]
    places = places[:: math.ceil(len(places) / TRANSPLANTS)]
    noise, counts = (np.stack([field[:, rows, :side] for rows in places]) for field in fields)
    pictures, rng = content_pictures(EXAMINED_PICTURES), np.random.default_rng(number)
    clean = np.stack([stabilise(content_patch(pictures, domain, side, rng), profile) for _ in places])
    tensors = (torch.from_numpy(part).to(device, memory_format=torch.channels_last) for part in (clean, noise, counts))
    stabilised, added, weights = tensors
    return _Transplant(stabilised, stabilised + added, weights)
