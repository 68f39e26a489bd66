"""Training pairs: one noisy frame and the mean of the *other* frames, cut into patches, in units of the noise.

The mean of the others does not know the frame's noise, so a network that learns to predict it learns to denoise
(Lehtinen et al., "Noise2Noise", ICML 2018). Averages are taken in linear light and then stabilised. A share of the
pairs shows the same sensor's noise on other, clean content: few scenes alone teach the network those scenes.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from burst_denoise.arrays import Float
from burst_denoise.burst.burst import Burst
from burst_denoise.frame.geometry import DIHEDRAL, dihedral
from burst_denoise.frame.mosaic import RGGB
from burst_denoise.model.content import content_patch, training_content
from burst_denoise.sensor.noise_model import stabilise

__all__ = ["Patches", "held_out", "noise_of", "sample_patches"]


CONTENT_SHARE = 0.5
"""Share of the pairs that show the sensor's noise on clean pictures."""
HELD_OUT_SHARE = 1 / 8
"""Share of the columns of every burst, at its right end, that training never sees."""
GUARD = 16
"""Photosites between training and held-out columns that serve neither, so that no edge is in both."""


class Patches(NamedTuple):
    """A batch of training pairs in stabilised planes."""

    noisy: Float
    """(B, C, p, p)"""
    target: Float
    """(B, C, p, p) stabilised leave-one-out means."""
    valid: Float
    """(B, C, p, p) 1 where the photosite counts, 0 where it is defective or was at the white level in any frame."""


def held_out(burst: Burst) -> slice:
    """Return the columns of a burst that training never sees: the same share at the same place in every burst.

    The same place, because two bursts may show the same scene at two ISOs; if the camera moved between them, what one
    holds out may be seen in the other. They start at an even column, as every window of a mosaic must.
    """
    width = burst.info.width
    return slice(int(width * (1 - HELD_OUT_SHARE)) // 2 * 2, width)


def sample_patches(bursts: Sequence[Burst], count: int, patch: int, rng: np.random.Generator) -> Patches:
    """Draw random training pairs from bursts, outside their held-out columns, randomly flipped and rotated.

    Parameters
    ----------
    bursts : sequence of Burst
        Every burst is as likely as every other.
    count : int
        Number of pairs.
    patch : int
        Side of a patch in plane pixels: twice as many photosites on a mosaic.
    rng : numpy.random.Generator
        Decides everything that is random.

    Returns
    -------
    Patches

    Raises
    ------
    ValueError
        If a burst is smaller than a patch.
    """
    pairs = [_pair(bursts[int(rng.integers(len(bursts)))], patch, rng) for _ in range(count)]
    return Patches(*(np.stack(parts) for parts in zip(*pairs, strict=True)))


def _pair(burst: Burst, patch: int, rng: np.random.Generator) -> tuple[Float, Float, Float]:
    """Return one training pair (noisy, target, valid), each (C, patch, patch) stabilised."""
    synthetic = rng.random() < CONTENT_SHARE
    window, cut = _random_cut(burst, patch, rng)
    index = int(rng.integers(len(burst)))
    valid = 1 - cut(burst.excluded[..., window[0], window[1]].astype(np.float32))
    if synthetic:
        info = burst.info
        content = content_patch(training_content(), info.domain, patch, rng, developed=info.developed_in_colour)
        clean = stabilise(content, burst.profile)
        return clean + noise_of(burst, index, window, cut), clean, valid
    noisy = stabilise(cut(burst.linear(index, window)), burst.profile)
    target = stabilise(cut(burst.leave_one_out_mean(index, window)), burst.profile)
    return noisy, target, valid


def noise_of(
    burst: Burst, index: int, window: tuple[slice, slice], planes_of: Callable[[Float], Float] | None = None
) -> Float:
    """Return the noise of a frame in a window of even rows and columns, (C, h, w), in units of its standard deviation.

    A frame minus the mean of the others, both stabilised: the sensor's own noise, nearly whatever the light, with its
    row noise, banding and correlations. Times sqrt((N - 1) / N), for the noise of that mean is in it too.
    ``planes_of`` makes planes of what the window shows; None packs it as it is.
    """
    cut = planes_of or burst.mosaic.pack
    frame, others = (cut(image) for image in (burst.linear(index, window), burst.leave_one_out_mean(index, window)))
    noise: Float = stabilise(frame, burst.profile) - stabilise(others, burst.profile)
    return noise * np.float32(math.sqrt((len(burst) - 1) / len(burst)))


def _random_cut(
    burst: Burst, patch: int, rng: np.random.Generator
) -> tuple[tuple[slice, slice], Callable[[Float], Float]]:
    """Return a random window of a burst's training columns, and the function that makes planes of what is cut there.

    The function flips and turns at random and gives (C, patch, patch) planes in the order R, G1, G2, B.
    """
    info = burst.info
    period = burst.mosaic.period
    # One CFA period more than the patch: a flipped mosaic is cut back to its phase (BayerUnify's rule).
    side = period * (patch + (period - 1))
    height, width = info.height, held_out(burst).start - GUARD
    if height < side or width < side:
        raise ValueError(f"{burst.name}: {height}x{width} photosites are too few for patches of {side}")
    top, left = (period * int(rng.integers((size - side) // period + 1)) for size in (height, width))
    k = int(rng.integers(len(DIHEDRAL)))

    def cut(image: Float) -> Float:
        mosaic = burst.mosaic.turned(k, image.shape)
        row, column = mosaic.phase
        whole = dihedral(image, k)[..., row : row + period * patch, column : column + period * patch]
        return (mosaic if mosaic.cfa is None else RGGB).pack(whole)

    return (slice(top, top + side), slice(left, left + side)), cut
