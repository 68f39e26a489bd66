"""The noise of a single shot estimated again, from what the network takes away: the second of two passes.

The first, `burst_denoise.sensor.single_image`, sees noise only where the picture is flat. The network also tells noise
from texture.
"""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from burst_denoise.arrays import Double, Float, Mask
from burst_denoise.frame.geometry import blocks, spread_windows
from burst_denoise.frame.mosaic import RGGB, Mosaic
from burst_denoise.inference.engine import Engine
from burst_denoise.schemas import NoiseProfile, NoiseStructure
from burst_denoise.sensor.noise_model import SMALLEST_VARIANCE, noise_variance, stabilise, unstabilise
from burst_denoise.sensor.noise_structure import noise_structure
from burst_denoise.sensor.single_image import SATURATED, fit_noise_line

__all__ = ["refine_noise", "residual_structure"]

T = TypeVar("T", bound=np.generic)

WINDOW = 128
"""Photosites along a side of a window."""
CANDIDATES, WINDOWS_ACROSS = 160, 3
"""Windows that are looked at, and how many the chosen ones are along a side of the square they are put together to:
0.15 megapixels, 0.6 % of a shot of 24. A round costs what 0.65 megapixels cost, margins and the probe included."""
SATURATED_SHARE = 0.02
"""Share of saturated photosites from which a window is chosen only where there is no other."""
ROUNDS = 5
CONVERGED = 0.2
"""Change of log variance that is not worth another round. Ordinary pictures take one."""
STEEPEST = 0.7
"""Share of an error in log variance that a round leaves at most (0.2 to 0.7 on 14 scenes, texture the most)."""
PROBE = 0.3
"""Standard deviation of the probe, in units of the noise: bfloat16 resolves it, and the network's answer is linear."""
BLOCK, BINS = 4, 10
OUTLIER = 3.0
"""Times the median of its bin, from which the residual of a block is that of a defect or of an edge."""
FEWEST_DEGREES = 0.01
"""Degrees of freedom, as a share of its values, that a bin needs: with less it is all texture."""
LOST = 0.05
"""Share of the noise's variance that the residual has more, of the picture (median of 14 scenes at five ISOs)."""
BIN_ERROR = 0.05
"""Relative error of a bin's variance beside that of chance."""


def refine_noise(image: Float, mosaic: Mosaic, engine: Engine, first: NoiseProfile) -> NoiseProfile:
    """Return the noise profile of a shot, estimated from the residual of denoising a few windows of it.

    Parameters
    ----------
    image : (H, W) float32 array, linear
        A Bayer mosaic, not clipped; not modified.
    mosaic : Mosaic
        Of the image.
    engine : Engine
        What denoises.
    first : NoiseProfile
        To start from, the same for all planes. Too high is mended well, too low hardly.

    Returns
    -------
    NoiseProfile
        S and O positive, the same for all planes; ``first`` where the windows cannot tell.

    Notes
    -----
    Generalised cross-validation. Of N values x with noise of variance 1, a linear smoother A that loses nothing of the
    picture leaves a residual x - A x with a mean square sum of N - 2 tr A + |A|^2, which for a projection, or for the
    smoother of least error, is N - tr A. So |x - f(x)|^2 / (N - tr J) is the variance of the noise, J the Jacobian of
    the network f. A probe b of white noise tells its trace: b (f(x + e b) - f(x)) / e. What the network keeps, texture
    and noise, counts neither above nor below, so this is right on texture from edge to edge, too.

    With a profile that is too high, the network takes texture with the noise, and the estimate lies between profile
    and truth: rounds go on from there, on texture by the secant of the rounds before. With one that is too low, noise
    passes for texture and the estimate hardly moves.

    Where the network leaves almost nothing, the picture is flat, and means of 2x2 residuals count instead of single
    ones: raw files coded with losses have lost the finer part of their noise, but none of the coarser.

    References
    ----------
    Golub, Heath and Wahba, "Generalized cross-validation as a method for choosing a good ridge parameter",
    Technometrics 21(2), 1979. Ramani, Blu and Unser, "Monte-Carlo SURE", IEEE TIP 17(9), 2008 (the probe). Feng et al.,
    "YOND: practical blind raw image denoising bridging camera-specific data dependency", 2025 (a second estimate from a
    first result).
    """
    planes = _flat_windows(image, mosaic, first)
    profile, step, before = first, 0.0, 0.0
    for number in range(ROUNDS):
        bins = _residual_variance(planes, engine, profile)
        if bins is None:
            return profile
        found = _with_line(profile, *fit_noise_line(*bins))
        change = float(np.mean(np.log(_line(bins[0], found) / _line(bins[0], profile))))
        if abs(change) < CONVERGED or number == ROUNDS - 1:
            return found
        # The secant tells how much of a change of the profile stays in the estimate; a first step goes without.
        stays = min(max(1 + (change - before) / step, 0.0), STEEPEST) if number and change < 0 else 0.0
        step, before = change / (1 - stays), change
        ahead = math.exp(step - change)
        profile = _with_line(found, ahead * found.shot_noise_scale[0], ahead * found.read_noise_variance[0])
    raise AssertionError("the last round returns")


def residual_structure(image: Float, mosaic: Mosaic, engine: Engine, profile: NoiseProfile) -> NoiseStructure:
    """Return what the noise of a shot has beside its variance, told by the residual of denoising a few windows of it.

    Arguments are those of `refine_noise`, and the noise profile that it returned.

    Notes
    -----
    Noise that is alike over several photosites passes for picture and stays, so the residual does not show its
    correlation; and texture leaves some.
    """
    planes = _flat_windows(image, mosaic, profile)
    noisy, clean = _denoised(planes, engine, profile)
    counts = planes < SATURATED
    return noise_structure(_windows(noisy - clean, counts))


def _windows(noise: Float, counts: Mask) -> Iterator[tuple[Float, Mask]]:
    """Yield the windows that planes were put together from, photosites as they lie on the sensor."""
    side = min(WINDOW // 2, *noise.shape[1:])
    for top in range(0, noise.shape[1] - side + 1, side):
        for left in range(0, noise.shape[2] - side + 1, side):
            window = (slice(None), slice(top, top + side), slice(left, left + side))
            if counts[window].any():
                yield _laid_out(noise[window]), _laid_out(counts[window])


def _laid_out(planes: npt.NDArray[T]) -> npt.NDArray[T]:
    """Return the planes of a mosaic as its photosites lie, from the first red one on."""
    return RGGB.unpack(planes, (2 * planes.shape[1], 2 * planes.shape[2]))


def _denoised(planes: Float, engine: Engine, profile: NoiseProfile) -> tuple[Float, Float]:
    """Return planes stabilised, and what the network makes of them."""
    height, width = planes.shape[1:]
    sides = [(engine.margin, engine.margin + -size % engine.step) for size in (height, width)]
    noisy = stabilise(planes, profile)
    padded = torch.from_numpy(np.pad(noisy, [(0, 0), *sides], mode="reflect"))
    return noisy, engine.run(padded[None]).numpy()[0, :, :height, :width]


def _with_line(profile: NoiseProfile, scale: float, offset: float) -> NoiseProfile:
    """Return a profile with other S and O, the same for all its planes."""
    count = len(profile.shot_noise_scale)
    terms = {"shot_noise_scale": (scale,) * count, "read_noise_variance": (max(offset, SMALLEST_VARIANCE),) * count}
    return profile.model_copy(update=terms)


def _line(level: Double | float, profile: NoiseProfile) -> Double:
    """Return the variance at levels of a profile that is the same for all planes."""
    line: Double = profile.shot_noise_scale[0] * np.maximum(level, 0) + profile.read_noise_variance[0]
    return line


def _flat_windows(image: Float, mosaic: Mosaic, profile: NoiseProfile) -> Float:
    """Return planes (C, h, w) put together from windows of a shot, the flattest ones at several levels.

    Seams are edges like others to the network.
    """
    windows = [mosaic.pack(image[*window]) for window in spread_windows(image.shape, WINDOW, CANDIDATES)]
    across = min(WINDOWS_ACROSS, math.isqrt(len(windows)))

    def roughness(planes: Float) -> tuple[bool, float]:
        green = planes[1:2]
        steps = np.diff(green, axis=1) ** 2 / noise_variance(green[:, 1:], profile)
        return bool((planes >= SATURATED).mean() > SATURATED_SHARE), float(steps.mean())

    ascending = sorted(windows, key=lambda planes: float(planes.mean()))
    bounds = [len(windows) * k // across**2 for k in range(across**2 + 1)]
    flattest = [min(ascending[a:b], key=roughness) for a, b in pairwise(bounds)]
    square: Float = np.block([[flattest[row * across + column] for column in range(across)] for row in range(across)])
    return square


def _residual_variance(planes: Float, engine: Engine, profile: NoiseProfile) -> tuple[Double, Double, Double] | None:
    """Return level, variance and its relative error, bin by bin of the level, as the residual of a profile has them."""
    height, width = planes.shape[1:]
    margin = engine.margin
    sides = [(margin, margin + -size % engine.step) for size in (height, width)]
    noisy = np.pad(stabilise(planes, profile), [(0, 0), *sides], mode="reflect")
    probe = np.random.default_rng(0).standard_normal(noisy.shape, np.float32)
    both = torch.from_numpy(np.stack([noisy, noisy + np.float32(PROBE) * probe]))
    clean, probed = engine.run(both).numpy()[..., :height, :width]
    noisy, probe = (array[:, margin : margin + height, margin : margin + width] for array in (noisy, probe))

    level = _block_means(unstabilise(clean, profile), BLOCK)
    usable = np.flatnonzero(blocks(planes < SATURATED, BLOCK, BLOCK).all((-3, -1)).ravel())
    parts = [noisy - clean, probe, (probed - clean) / np.float32(PROBE)]
    # Twice the mean of 2x2 values has the variance of one, as long as they are independent.
    pooled = [2 * blocks(part, 2, 2).mean((-3, -1)) for part in parts]
    sums = [_square_and_trace(parts, BLOCK), _square_and_trace(pooled, BLOCK // 2)]
    rows = []
    for members in np.array_split(usable[np.argsort(level[usable])], BINS):
        if not len(members):
            continue
        square = sums[0][0][members]
        inside = members[square <= OUTLIER * np.median(square)]
        single, pairs = ((s[inside].mean(), (1 + LOST) * (1 - t[inside].mean())) for s, t in sums)
        if single[1] > FEWEST_DEGREES:
            flat = min(max(pairs[1], 0.0), 1.0) ** 2
            ratio = (1 - flat) * single[0] / single[1] + (flat * pairs[0] / pairs[1] if flat else 0)
            at = float(level[inside].mean())
            # The slope of the transform, not S x + O: where photons are few, it does not bring the noise to 1.
            slope = _line(at, profile) + 0.375 * profile.shot_noise_scale[0] ** 2
            chance = 2 / (single[1] * len(inside) ** 0.5 * BLOCK)  # of the trace, mostly
            rows.append((at, ratio * slope, BIN_ERROR + chance))
    if not rows:
        return None
    found: tuple[Double, Double, Double] = tuple(np.array(rows, np.float64).T)
    return found


def _square_and_trace(parts: list[Float], side: int) -> tuple[Double, Double]:
    """Return the mean square of the residual, and the share of the probe that the network keeps, block by block."""
    residual, probe, answer = parts
    return _block_means(residual**2, side), _block_means(probe * answer, side)


def _block_means(values: Float, side: int) -> Double:
    means: Double = blocks(values, side, side).mean((-3, -1), dtype=np.float64).ravel()
    return means
