"""The noise of a single shot estimated again, from what the network takes away: the second of two passes."""

import math

import numpy as np
import torch

from burst_denoise.arrays import Double, Float
from burst_denoise.frame.geometry import blocks, spread_windows
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.inference.engine import Engine
from burst_denoise.schemas import NoiseProfile
from burst_denoise.sensor.noise_model import noise_variance, stabilise, unstabilise
from burst_denoise.sensor.single_image import SATURATED, fit_noise_line

__all__ = ["refine_noise"]

WINDOW = 128
"""Photosites along a side of a window."""
CANDIDATES, WINDOWS_ACROSS = 160, 3
"""Windows that are looked at, and how many along a side of the square that the chosen ones are put together to."""
ROUNDS = 5
CONVERGED = 0.2
"""Change of log variance that is not worth another round: what is left of the error then is about as much."""
LOST = 0.05
"""Share of the noise's variance that the residual has more, of the picture (median of 14 scenes at five ISOs)."""
OUTLIER = 6.0
"""Times the median of its bin, from which the residual of a block is that of a defect."""
PROBE = 0.3
"""Standard deviation of the probe noise, in units of the noise: what bfloat16 resolves, and still a small change."""
BLOCK, BINS = 4, 10
FEWEST_DEGREES = 0.01
"""Share of its values that a bin must have as degrees of freedom: less, and all of it is texture."""
BIN_ERROR = 0.05
"""Relative error of a bin's variance beside that of chance."""
STEEPEST = 0.7
"""How much of an error in log variance a round leaves at most (0.2 to 0.7 on 14 scenes, texture the most)."""


def refine_noise(image: Float, mosaic: Mosaic, engine: Engine, first: NoiseProfile) -> NoiseProfile:
    """Return the noise profile of a shot, estimated from the residual of denoising windows of it.

    Parameters
    ----------
    image : (H, W) float32 array, linear
        A Bayer mosaic, not clipped.
    mosaic : Mosaic
        Of the image.
    engine : Engine
        What denoises.
    first : NoiseProfile
        To start from: better too high than too low.

    Returns
    -------
    NoiseProfile
        S and O the same for all planes, not negative; ``first`` where the windows cannot tell.

    Notes
    -----
    Generalised cross-validation: of N values x with noise of variance 1, a linear smoother A that loses nothing of
    the picture leaves a residual with E |x - A x|^2 = N - 2 tr A + |A|^2, which for a projection, or for the smoother
    of least error, is N - tr A. So |x - f(x)|^2 / (N - tr J) is the variance of the noise, J the Jacobian of the
    network f, its trace estimated by a probe b of white noise: b (f(x + e b) - f(x)) / e. What the network keeps,
    texture included, counts neither above nor below. Wherever the profile is too high, texture goes with the noise and
    the new estimate lies between the old one and the truth; rounds go on from the new one, the last from where the two
    before it lead.

    References
    ----------
    Golub, Heath and Wahba, "Generalized cross-validation as a method for choosing a good ridge parameter",
    Technometrics 21(2), 1979. Ramani, Blu and Unser, "Monte-Carlo SURE", IEEE TIP 17(9), 2008 (the probe). Li et al.,
    "YOND: practical blind raw image denoising", 2025 (m) (a second estimate from the first result).
    """
    planes = _flat_windows(image, mosaic, first)
    profile, step, before = first, 0.0, 0.0
    for number in range(ROUNDS):
        bins = _residual_variance(planes, engine, profile)
        if bins is None:
            return profile
        found = _profile(first, *fit_noise_line(*bins))
        change = _log_ratio(bins[0], found, profile)
        if abs(change) < CONVERGED or number == ROUNDS - 1:
            break
        # Secant from the second round on, downwards: how much of a change of the profile stays in the next estimate?
        stays = min(max(1 + (change - before) / step, 0.0), STEEPEST) if number and change < 0 else 0.0
        step, before = change / (1 - stays), change
        profile = _scaled(found, math.exp(step - change))
    return found


def _scaled(profile: NoiseProfile, factor: float) -> NoiseProfile:
    return _profile(profile, factor * profile.shot_noise_scale[0], factor * profile.read_noise_variance[0])


def _log_ratio(level: Double, profile: NoiseProfile, other: NoiseProfile) -> float:
    """Return the logarithm of the ratio of the variances of two profiles, in the mean over levels."""
    return float(np.mean(np.log(_line(level, profile) / _line(level, other))))


def _profile(like: NoiseProfile, scale: float, offset: float) -> NoiseProfile:
    count = len(like.shot_noise_scale)
    return like.model_copy(
        update={"shot_noise_scale": (scale,) * count, "read_noise_variance": (offset,) * count}
    )


def _line(level: Double, profile: NoiseProfile) -> Double:
    """Return the variance that a profile, the same for all planes, has at levels."""
    line: Double = profile.shot_noise_scale[0] * np.maximum(level, 0) + profile.read_noise_variance[0]
    return line


def _slope(level: float, profile: NoiseProfile) -> float:
    """Return linear units squared per stabilised unit squared at a level."""
    scale = profile.shot_noise_scale[0]
    return scale * max(level, 0.0) + profile.read_noise_variance[0] + 0.375 * scale**2


def _flat_windows(image: Float, mosaic: Mosaic, profile: NoiseProfile) -> Float:
    """Return planes (C, h, w) put together from windows of a shot: the flattest ones at several levels.

    The seams are edges like others.
    """
    windows = [mosaic.pack(image[*part]) for part in spread_windows(*image.shape, WINDOW, CANDIDATES)]
    side = min(WINDOWS_ACROSS, math.isqrt(len(windows)))

    def roughness(planes: Float) -> tuple[bool, float]:
        steps = np.diff(planes[1], axis=0) ** 2
        noise = noise_variance(planes[1:2, 1:], profile)[0]
        return bool((planes >= SATURATED).mean() > 0.02), float((steps / noise).mean())

    ascending = sorted(windows, key=lambda planes: float(planes[1].mean()))
    chosen = [
        min(ascending[len(windows) * k // side**2 : len(windows) * (k + 1) // side**2], key=roughness)
        for k in range(side**2)
    ]
    rows: Float = np.concatenate(
        [np.concatenate(chosen[k : k + side], axis=2) for k in range(0, side**2, side)], axis=1
    )
    return rows


def _residual_variance(planes: Float, engine: Engine, profile: NoiseProfile) -> tuple[Double, Double, Double] | None:
    """Return level, variance and its relative error, bin by bin of the level, from the residual of a profile."""
    height, width = planes.shape[1:]
    margin, step = engine.margin, engine.step
    sides = [(margin, margin + -size % step) for size in (height, width)]
    noisy = np.pad(stabilise(planes, profile), [(0, 0), *sides], mode="reflect")
    probe = np.random.default_rng(0).standard_normal(noisy.shape, np.float32)
    both = torch.from_numpy(np.stack([noisy, noisy + np.float32(PROBE) * probe]))
    clean, probed = engine.run(both).numpy()[..., :height, :width]
    noisy, probe = (array[:, margin : margin + height, margin : margin + width] for array in (noisy, probe))

    def mean(values: Float) -> Double:
        return blocks(values, BLOCK, BLOCK).mean((-3, -1), dtype=np.float64).ravel()

    square, trace, level = mean((noisy - clean) ** 2), mean(probe * (probed - clean) / PROBE), mean(unstabilise(clean, profile))
    usable = np.flatnonzero(blocks(planes < SATURATED, BLOCK, BLOCK).all((-3, -1)).ravel())
    rows = []
    for inside in np.array_split(usable[np.argsort(level[usable])], BINS):
        inside = inside[square[inside] < OUTLIER * np.median(square[inside])]
        degrees = (1 - trace[inside].mean()) * (1 + LOST)
        if degrees > FEWEST_DEGREES:
            at = float(level[inside].mean())
            chance = 2 / (degrees * len(inside) * BLOCK**2) ** 0.5 / min(degrees, 1.0) ** 0.5
            # The slope of the transform, not S x + O: where photons are few, it does not bring the noise to 1.
            rows.append((at, square[inside].mean() / degrees * _slope(at, profile), BIN_ERROR + chance))
    if not rows:
        return None
    found: tuple[Double, Double, Double] = tuple(np.array(rows, np.float64).T)
    return found
