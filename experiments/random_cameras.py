"""Random cameras: clean pictures through lens, white balance, exposure and sensor, for the prior to be trained on."""

import cv2
import numpy as np
import numpy.typing as npt
from scipy.special import gamma

from burst_denoise.arrays import Double, Float, Picture
from burst_denoise.frame.srgb import srgb_to_linear
from burst_denoise.model.content import rggb_planes
from burst_denoise.schemas import NoiseProfile
from burst_denoise.sensor.noise_model import stabilise

__all__ = ["CAMERAS", "LEVELLING", "exposed", "log_uniform", "planes_of", "training_batch"]

LEVELLING = 0.25
"""Exponent of S in a sample's weight. The squared error that no network can remove, in units of the noise's variance,
falls about so with S (0.83 at 5e-5, 0.25 at 6e-3): unweighted, shots that hardly need denoising would lead."""
LINEAR_OF_BYTE = srgb_to_linear(np.arange(256, dtype=np.uint8))

CAMERAS = {
    "shot_noise_scale": [1e-5, 1.6e-2],  # 100,000 electrons at the white level to 60; the middle likeliest, see below
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


def training_batch(pictures: list[Picture], stage: tuple[int, int], seed: int, step: int) -> tuple[Float, Float, Float]:
    """Return (noisy, target, weight) of a step, each (samples, 4, side, side); the first two stabilised."""
    count, side = stage
    rng = np.random.default_rng([seed, step])
    clean = np.concatenate([_random_planes(pictures, side, rng) for _ in range(count)])
    # The geometric mean of two log-uniform numbers: extremes are seen, but most samples are shots people denoise.
    sensors = [np.sqrt(log_uniform("shot_noise_scale", count, rng) * log_uniform("shot_noise_scale", count, rng))]
    sensors += [log_uniform("read_noise_e", count, rng)]
    sensors += [rng.uniform(*CAMERAS[name], count) for name in ("row_share", "tukey_shape")]
    noisy, profile = exposed(clean, *sensors, rng=rng)
    # Whether a photosite counts depends on what the network sees alone, so it bends no expectation.
    level = (np.repeat(sensors[0], 4).astype(np.float32) / np.float32(4e-4)) ** np.float32(LEVELLING)
    weight = (noisy < 1) * level[:, None, None]
    shape = (count, 4, side, side)
    return stabilise(noisy, profile).reshape(shape), stabilise(clean, profile).reshape(shape), weight.reshape(shape)


def log_uniform(name: str, count: int, rng: np.random.Generator) -> Double:
    """Return numbers of a random camera, drawn so that every octave is as likely."""
    return np.exp(rng.uniform(*np.log(CAMERAS[name]), count))


def _random_planes(pictures: list[Picture], side: int, rng: np.random.Generator) -> Float:
    while min((picture := pictures[int(rng.integers(len(pictures)))]).shape[:2]) < 2 * side:
        pass  # too small for such patches
    picture = np.rot90(picture[:, ::-1] if rng.random() < 0.5 else picture, int(rng.integers(4)))
    room = min(picture.shape[:2]) / (2 * side)
    scale = min(room, log_uniform("smaller", 1, rng).item())
    top, left = (int(rng.integers(size - round(2 * side * scale) + 1)) for size in picture.shape[:2])
    white = np.array([rng.uniform(*CAMERAS["neutral_red"]), 1, rng.uniform(*CAMERAS["neutral_blue"])])
    white *= log_uniform("exposure", 1, rng)
    return planes_of(picture[top:, left:], side, scale, rng.uniform(*CAMERAS["blur_px"]), white)


def planes_of(picture: Picture, side: int, scale: float, blur_px: float, white: Double) -> Float:
    """Return the clean planes (4, side, side) of the top left of a picture, made smaller, through a lens, linear."""
    cut = round(2 * side * scale)
    seen = LINEAR_OF_BYTE[picture[:cut, :cut]] * white.astype(np.float32)
    if cut > 2 * side:
        seen = cv2.resize(seen, (2 * side, 2 * side), interpolation=cv2.INTER_AREA)
    if blur_px > 0:
        seen = cv2.GaussianBlur(seen, (0, 0), blur_px, borderType=cv2.BORDER_REFLECT)
    return rggb_planes(seen)


def exposed(clean: Float, *sensors: npt.ArrayLike, rng: np.random.Generator) -> tuple[Float, NoiseProfile]:
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
    s, o = (tuple(values.ravel().tolist()) for values in (scale, read_std**2 + row_std**2))
    profile = NoiseProfile(iso=None, shot_noise_scale=s, read_noise_variance=o)
    return np.minimum(noisy, np.float32(1)), profile


def _tukey(shape: Float, size: tuple[int, ...], rng: np.random.Generator) -> Float:
    """Return Tukey-lambda noise of variance 1 (as Wei et al., "A physics-based noise formation model ...", 2020)."""
    k = np.where(np.abs(shape) < 1e-2, np.float32(1e-2), shape)
    variance = 2 / k**2 * (1 / (1 + 2 * k) - gamma(k + 1) ** 2 / gamma(2 * k + 2))
    u = np.clip(rng.random(size, np.float32), np.float32(2**-24), np.float32(1 - 2**-24))
    return ((u**k - (1 - u) ** k) / (k * np.sqrt(variance))).astype(np.float32)
