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
from burst_denoise.schemas import Domain, NoiseProfile, NoiseStructure
from burst_denoise.sensor.noise_model import SMALLEST_VARIANCE, noise_variance, stabilise, unstabilise
from burst_denoise.sensor.noise_structure import noise_structure
from burst_denoise.sensor.single_image import SATURATED, fit_noise_line

__all__ = ["refine_noise"]

T = TypeVar("T", bound=np.generic)
Groups = tuple[tuple[int, ...], ...]
Bins = tuple[Double, Double, Double]

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
NOISE_ALIKE: dict[Domain, Groups] = {"bayer": ((0, 1, 2, 3),), "rgb": ((0,), (1,), (2,)), "mono": ((0,),)}
"""Planes whose noise has the same S and O: those of a mosaic are read alike, those of a picture have been scaled."""
BLOCK, BINS = 4, 10
OUTLIER = 3.0
"""Times the median of its bin, from which the residual of a block is that of a defect or of an edge."""
FEWEST_DEGREES = 0.01
"""Degrees of freedom, as a share of its values, that a bin needs: with less it is all texture."""
LOST = 0.05
"""Share of the noise's variance that the residual has more, of the picture (median of 14 scenes at five ISOs)."""
BIN_ERROR = 0.05
"""Relative error of a bin's variance beside that of chance."""


def refine_noise(
    image: Float, mosaic: Mosaic, engine: Engine, first: NoiseProfile
) -> tuple[NoiseProfile, NoiseStructure]:
    """Return the noise of a shot, estimated from the residual of denoising a few windows of it.

    Parameters
    ----------
    image : (H, W) or (3, H, W) float32 array, linear
        Not clipped; not modified.
    mosaic : Mosaic
        Of the image.
    engine : Engine
        What denoises.
    first : NoiseProfile
        To start from, the same for all planes of a mosaic. Too high is mended well, too low hardly.

    Returns
    -------
    profile : NoiseProfile
        S and O positive, the same for all planes of a mosaic; ``first`` where the windows cannot tell.
    structure : NoiseStructure
        What the noise has beside its variance. Noise that is alike over several photosites passes for picture and
        stays, so the residual does not show its correlation; and texture leaves some.

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
    groups = NOISE_ALIKE[mosaic.domain]
    profile, step, before = first, np.zeros(len(groups)), np.zeros(len(groups))
    for number in range(ROUNDS):
        bins, residual = _residual_variance(planes, groups, engine, profile)
        lines = _lines(profile, groups)
        found, change = lines.copy(), np.zeros(len(groups))
        for index, each in enumerate(bins):
            if each is not None:
                found[index] = fit_noise_line(*each)
                change[index] = np.mean(np.log(_variance(each[0], found[index]) / _variance(each[0], lines[index])))
        if (np.abs(change) < CONVERGED).all() or number == ROUNDS - 1:
            for of, excess in zip(groups, change, strict=True):
                residual[list(of)] *= np.float32(math.exp(-excess / 2))  # in units of the noise that was found
            structure = noise_structure(_windows(residual, planes < SATURATED, mosaic))
            return _with_lines(profile, groups, found), structure
        # The secant tells how much of a change of the profile stays in the estimate; a first step goes without.
        stays = np.zeros(len(groups))
        if number:
            secant = 1 + np.divide(change - before, step, out=np.full(len(groups), -1.0), where=step != 0)
            stays = np.where(change < 0, np.clip(secant, 0, STEEPEST), 0)
        step, before = change / (1 - stays), change
        profile = _with_lines(profile, groups, found * np.exp(step - change)[:, None])
    raise AssertionError("the last round returns")


def _windows(noise: Float, counts: Mask, mosaic: Mosaic) -> Iterator[tuple[Float, Mask]]:
    """Yield the windows that planes were put together from, photosites as they lie on the sensor, one layer a time."""
    side = min(WINDOW // mosaic.period, *noise.shape[1:])
    for top in range(0, noise.shape[1] - side + 1, side):
        for left in range(0, noise.shape[2] - side + 1, side):
            window = (slice(None), slice(top, top + side), slice(left, left + side))
            if counts[window].any():
                yield from zip(_laid_out(noise[window], mosaic), _laid_out(counts[window], mosaic), strict=True)


def _laid_out(planes: npt.NDArray[T], mosaic: Mosaic) -> list[npt.NDArray[T]]:
    """Return planes as the photosites lie: of a mosaic one layer, from the first red one on."""
    return [RGGB.unpack(planes, (2 * planes.shape[1], 2 * planes.shape[2]))] if mosaic.cfa else list(planes)


def _lines(profile: NoiseProfile, groups: Groups) -> Double:
    """Return S and O of the planes that are alike, (G, 2)."""
    return np.array([(profile.shot_noise_scale[of[0]], profile.read_noise_variance[of[0]]) for of in groups])


def _with_lines(profile: NoiseProfile, groups: Groups, lines: Double) -> NoiseProfile:
    """Return a profile with other S and O, the same for all planes that are alike."""
    each = [(float(scale), max(float(offset), SMALLEST_VARIANCE)) for scale, offset in lines]
    scales, offsets = zip(*(line for line, of in zip(each, groups, strict=True) for _ in of), strict=True)
    return profile.model_copy(update={"shot_noise_scale": scales, "read_noise_variance": offsets})


def _variance(level: Double | float, line: Double) -> Double:
    """Return the variance at levels of a line S, O."""
    variance: Double = line[0] * np.maximum(level, 0) + line[1]
    return variance


def _flat_windows(image: Float, mosaic: Mosaic, profile: NoiseProfile) -> Float:
    """Return planes (C, h, w) put together from windows of a shot, the flattest ones at several levels.

    Seams are edges like others to the network.
    """
    windows = [mosaic.pack(image[..., *window]) for window in spread_windows(image.shape, WINDOW, CANDIDATES)]
    across = min(WINDOWS_ACROSS, math.isqrt(len(windows)))

    def roughness(planes: Float) -> tuple[bool, float]:
        middle = len(planes) // 3  # green, or all there is
        green = planes[middle : middle + 1]
        steps = np.diff(green, axis=1) ** 2 / noise_variance(green[:, 1:], profile.of_plane(middle))
        return bool((planes >= SATURATED).mean() > SATURATED_SHARE), float(steps.mean())

    ascending = sorted(windows, key=lambda planes: float(planes.mean()))
    bounds = [len(windows) * k // across**2 for k in range(across**2 + 1)]
    flattest = [min(ascending[a:b], key=roughness) for a, b in pairwise(bounds)]
    square: Float = np.block([[flattest[row * across + column] for column in range(across)] for row in range(across)])
    return square


def _residual_variance(
    planes: Float, groups: Groups, engine: Engine, profile: NoiseProfile
) -> tuple[list[Bins | None], Float]:
    """Return the variance that the residual of a profile shows, of the planes that are alike, and the residual."""
    height, width = planes.shape[1:]
    margin = engine.margin
    sides = [(margin, margin + -size % engine.step) for size in (height, width)]
    noisy = np.pad(stabilise(planes, profile), [(0, 0), *sides], mode="reflect")
    probe = np.random.default_rng(0).standard_normal(noisy.shape, np.float32)
    both = torch.from_numpy(np.stack([noisy, noisy + np.float32(PROBE) * probe]))
    clean, probed = engine.run(both).numpy()[..., :height, :width]
    noisy, probe = (array[:, margin : margin + height, margin : margin + width] for array in (noisy, probe))

    level, usable = unstabilise(clean, profile), planes < SATURATED
    parts = [noisy - clean, probe, (probed - clean) / np.float32(PROBE)]
    lines = _lines(profile, groups)
    bins = [
        _bins(level[list(of)], usable[list(of)], [part[list(of)] for part in parts], line)
        for of, line in zip(groups, lines, strict=True)
    ]
    return bins, parts[0]


def _bins(clean: Float, usable: Mask, parts: list[Float], line: Double) -> Bins | None:
    """Return level, variance and its relative error, bin by bin of the level; None where nothing tells."""
    level = _block_means(clean, BLOCK)
    counted = np.flatnonzero(blocks(usable, BLOCK, BLOCK).all((-3, -1)).ravel())
    # Twice the mean of 2x2 values has the variance of one, as long as they are independent.
    pooled = [2 * blocks(part, 2, 2).mean((-3, -1)) for part in parts]
    sums = [_square_and_trace(parts, BLOCK), _square_and_trace(pooled, BLOCK // 2)]
    rows = []
    for members in np.array_split(counted[np.argsort(level[counted])], BINS):
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
            slope = _variance(at, line) + 0.375 * line[0] ** 2
            chance = 2 / (single[1] * len(inside) ** 0.5 * BLOCK)  # of the trace, mostly
            rows.append((at, ratio * slope, BIN_ERROR + chance))
    if not rows:
        return None
    level, variance, error = np.array(rows, np.float64).T
    return level, variance, error


def _square_and_trace(parts: list[Float], side: int) -> tuple[Double, Double]:
    """Return the mean square of the residual, and the share of the probe that the network keeps, block by block."""
    residual, probe, answer = parts
    return _block_means(residual**2, side), _block_means(probe * answer, side)


def _block_means(values: Float, side: int) -> Double:
    means: Double = blocks(values, side, side).mean((-3, -1), dtype=np.float64).ravel()
    return means
