"""Random cameras: clean planes through sensors that nobody has built, for the priors to be trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gamma

from burst_denoise.arrays import Double, Float, Picture
from burst_denoise.schemas import Domain, NoiseProfile
from burst_denoise.sensor.noise_model import stabilise
from experiments.random_scenes import Shares, clean_planes, log_uniform

__all__ = ["CAMERAS", "LEVELLING", "SHARES", "Sensors", "exposed", "training_batch"]

LEVELLING = 0.25
"""Exponent of S in a sample's weight. The squared error that no network can remove, in units of the noise's variance,
falls about so with S (0.83 at 5e-5, 0.25 at 6e-3): unweighted, shots that hardly need denoising would lead."""
SHARES = Shares(even=0.04, defocused=0.08, stars=0.03)

CAMERAS: dict[str, tuple[float, float]] = {
    "shot_noise_scale": (1e-5, 1.6e-2),  # 100,000 electrons at the white level to 60; the middle likeliest, see below
    "read_noise_e": (0.2, 15.0),  # log-uniform
    "row_share": (0.0, 0.3),  # standard deviation of the row noise, as a share of the read noise's
    "tukey_shape": (-0.2, 0.14),  # of the read noise: 0.14 is nearly Gaussian, smaller ones have heavier tails
    "hot_share": (2e-5, 1e-3),  # of the photosites; log-uniform; a sample in four has any
    "hot_level": (3e-3, 0.3),  # mean of what they have more, linear, exponentially distributed; log-uniform
    "dead_zone": (0.5, 3.0),  # of the finest wavelets, in units of the noise; a sample in twelve is coded so
}
"""What a random sensor is drawn from."""
HOT_SAMPLES, CODED_SAMPLES, CUT_SAMPLES = 1 / 4, 1 / 12, 1 / 10
"""Shares of the samples that have hot photosites, lost their finest details in coding, are cut off at black."""
ROW_AMPLIFIER = {4: (0, 0, 1, 1), 3: (0, 0, 0), 1: (0,)}
"""By the number of planes: which of them are read row by row together, and share row noise."""


@dataclass(frozen=True)
class Sensors:
    """One sensor for each sample of a batch; all arrays are (B,)."""

    shot_noise_scale: Double
    read_noise_e: Double
    row_share: Double
    tukey_shape: Double
    hot_share: Double
    hot_level: Double
    cut: Double
    """1 where nothing is below black, else 0."""
    dead_zone: Double
    """0 where a raw file keeps all."""

    @classmethod
    def plain(cls, count: int, shot_noise_scale: float, read_noise_e: float) -> "Sensors":
        """Return equal sensors without any fault, with nearly Gaussian read noise and a tenth of it row noise."""
        values = (shot_noise_scale, read_noise_e, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0)
        return cls(*(np.full(count, value) for value in values))

    @classmethod
    def drawn(cls, count: int, rng: np.random.Generator) -> "Sensors":
        """Return sensors drawn from `CAMERAS`."""

        def drawn(name: str) -> Double:
            return log_uniform(CAMERAS[name], count, rng)

        def some(share: float) -> Double:
            return (rng.random(count) < share).astype(np.float64)

        return cls(
            # The geometric mean of two log-uniform numbers: extremes are seen, but most samples are shots people
            # denoise.
            np.sqrt(drawn("shot_noise_scale") * drawn("shot_noise_scale")),
            drawn("read_noise_e"),
            rng.uniform(*CAMERAS["row_share"], count),
            rng.uniform(*CAMERAS["tukey_shape"], count),
            drawn("hot_share") * some(HOT_SAMPLES),
            drawn("hot_level"),
            some(CUT_SAMPLES),
            rng.uniform(*CAMERAS["dead_zone"], count) * some(CODED_SAMPLES),
        )


def training_batch(
    pictures: Sequence[Picture], stage: tuple[int, int], seed: int, step: int, domain: Domain = "bayer"
) -> tuple[Float, Float, Float]:
    """Return (noisy, target, weight) of a step, each (samples, C, side, side); the first two stabilised."""
    count, side = stage
    rng = np.random.default_rng([seed, step])
    clean = np.concatenate([clean_planes(pictures, side, SHARES, rng, domain) for _ in range(count)])
    sensors = Sensors.drawn(count, rng)
    noisy, profile = exposed(clean, sensors, rng)
    # Whether a photosite counts depends on what the network sees alone, so it bends no expectation.
    level = (sensors.shot_noise_scale.astype(np.float32) / np.float32(4e-4)) ** np.float32(LEVELLING)
    shape = (count, -1, side, side)
    weight = (noisy < 1).reshape(shape) * level[:, None, None, None]
    planes = stabilise(noisy, profile).reshape(shape)
    for sample, dead_zone in zip(planes, sensors.dead_zone, strict=True):
        if dead_zone > 0:
            _code(sample, np.float32(dead_zone))
    return planes, stabilise(clean, profile).reshape(shape), weight.astype(np.float32)


def exposed(clean: Float, sensors: Sensors, rng: np.random.Generator) -> tuple[Float, NoiseProfile]:
    """Return noisy planes of ``clean`` (B * C, h, h), clipped at white, and their true noise profile.

    In a quarter of the samples what is row noise in the others runs along the columns. Coding with losses comes later.
    """
    samples = len(sensors.shot_noise_scale)
    planes = len(clean) // samples

    def each(values: Double) -> Float:
        return np.repeat(values, planes).astype(np.float32)[:, None, None]

    scale = each(sensors.shot_noise_scale)
    read_std = scale * each(sensors.read_noise_e)
    row_std = read_std * each(sensors.row_share)
    noisy: Float = rng.poisson(clean / scale).astype(np.float32) * scale
    noisy += read_std * _tukey(each(sensors.tukey_shape), clean.shape, rng)
    amplifier = ROW_AMPLIFIER[planes]
    lines = rng.standard_normal((samples, max(amplifier) + 1, clean.shape[1]), np.float32)[:, amplifier]
    lines = lines.reshape(len(clean), -1)
    turned = np.repeat(rng.random(samples) < 0.25, planes)[:, None, None]
    noisy += row_std * np.where(turned, lines[:, None, :], lines[:, :, None])
    if sensors.hot_share.any():
        hot = rng.random(clean.shape, np.float32) < each(sensors.hot_share)
        noisy[hot] += (rng.exponential(1, clean.shape) * each(sensors.hot_level))[hot].astype(np.float32)
    cut = np.flatnonzero(np.repeat(sensors.cut, planes))
    noisy[cut] = np.maximum(noisy[cut], 0)
    s, o = (tuple(values.ravel().tolist()) for values in (scale, read_std**2 + row_std**2))
    profile = NoiseProfile(iso=None, shot_noise_scale=s, read_noise_variance=o)
    return np.minimum(noisy, np.float32(1)), profile


def _code(planes: Float, dead_zone: np.float32) -> None:
    """Quantise the finest wavelets of planes (C, h, w) in place: those of Haar, small ones become 0."""
    even = planes[:, : planes.shape[1] // 2 * 2, : planes.shape[2] // 2 * 2]
    a, b, c, d = (even[:, row::2, column::2] for row in (0, 1) for column in (0, 1))
    details = [(a - b + c - d) / 2, (a + b - c - d) / 2, (a - b - c + d) / 2]
    along, down, across = (np.trunc(detail / dead_zone) * dead_zone for detail in details)
    mean = (a + b + c + d) / 2
    coded = [mean + along + down + across, mean - along + down - across]
    coded += [mean + along - down - across, mean - along - down + across]
    for view, values in zip((a, b, c, d), coded, strict=True):
        view[:] = values / 2


def _tukey(shape: Float, size: tuple[int, ...], rng: np.random.Generator) -> Float:
    """Return Tukey-lambda noise of variance 1 (as Wei et al., "A physics-based noise formation model ...", 2020)."""
    k = np.where(np.abs(shape) < 1e-2, np.float32(1e-2), shape)
    variance = 2 / k**2 * (1 / (1 + 2 * k) - gamma(k + 1) ** 2 / gamma(2 * k + 2))
    u = np.clip(rng.random(size, np.float32), np.float32(2**-24), np.float32(1 - 2**-24))
    return ((u**k - (1 - u) ** k) / (k * np.sqrt(variance))).astype(np.float32)
