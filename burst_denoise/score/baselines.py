"""What a denoiser has to beat: classical methods, each used as well as it can be.

Every baseline maps planes to planes; its strength is in units of the noise, so that one value serves every ISO. All are
listed in `baselines_for`.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec

import cv2
import numpy as np
from scipy.fft import dct, idct

from burst_denoise.arrays import Float
from burst_denoise.frame.frame import Frame
from burst_denoise.frame.srgb import (
    DEMOSAIC_BORDER,
    demosaiced,
    linear_to_srgb,
    on_display_curve,
    srgb_to_linear,
    white_balance,
)
from burst_denoise.schemas import FrameInfo, NoiseProfile
from burst_denoise.score.residual import shifted
from burst_denoise.sensor.noise_model import noise_variance, stabilise, unstabilise_mean

__all__ = [
    "UNTUNED",
    "Baseline",
    "Method",
    "baseline_method",
    "baselines_for",
    "bm3d",
    "nl_means",
    "nlm_16bit",
    "nlm_colour_8bit",
    "nlm_stabilised",
    "total_variation",
    "wavelet",
]

Baseline = Callable[[Float, FrameInfo, NoiseProfile, float], Float]
"""(planes (C, h, w) linear, what their file says, noise profile, strength in noise standard deviations) -> planes."""
Method = Callable[[Float, Frame], Float]
"""(noisy image, linear; the frame that it is of, which carries the burst's noise profile) -> denoised image, linear.
May refuse a sensor by `ModelFileError`."""

PATCH = 3
PATCH_DEVELOPED = 5
"""Side of the patch that is compared, on planes of independent noise and on developed pictures in colour, whose noise
is correlated."""
SEARCH = 9
COLOUR_SEARCH = 13
"""Side of the window that is searched. OpenCV's defaults, patch 7 and window 21, score up to 1 dB less."""

WAVELET = "sym4"
WAVELET_LEVELS = 4
SHIFTS = ((0, 0), (1, 2), (2, 3), (3, 1), (2, 0), (3, 2), (0, 3), (1, 1))
"""Half of the 16 shifts by 0 to 3 pixels, as many of each parity: 0.04 dB below all 16, in half the time."""
REACH = 3
"""Farthest row and column where non-local means looks for similar patches: 5 gains nothing."""
PATCH_STD = 0.5
PATCH_STD_DEVELOPED = 1.5
"""Standard deviation of the Gaussian that weighs a patch, pixels; wider where the noise of neighbours is correlated."""
STRIP = 256
"""Rows filtered at a time, which bounds memory."""
UNTUNED = {"bm3d": 1.0}
"""Strength of baselines that need no tuning: the noise, which they are told."""
BM3D_MOST_VALUES = 4_000_000
"""Values of a frame up to which BM3D is offered; it takes 30 s per million of them on two cores."""


def baselines_for(info: FrameInfo) -> dict[str, Baseline]:
    """Return the baselines that make sense for frames like these and are installed, by the names of their rows.

    ``bm3d`` needs the package of that name, which is free for non-commercial use only and therefore never installed
    unasked; it is left out for large frames, which would take it many minutes.
    """
    found: dict[str, Baseline] = {} if info.domain == "mono" else {"nlm-colour-8bit": nlm_colour_8bit}
    found |= {"nlm-16bit": nlm_16bit, "nlm-stabilised": nlm_stabilised}
    found |= {"tv": total_variation, "wavelet": wavelet, "nl-means": nl_means}
    values = info.height * info.width * (3 if info.domain == "rgb" else 1)
    if find_spec("bm3d") and values <= BM3D_MOST_VALUES:
        found["bm3d"] = bm3d
    return found


def baseline_method(baseline: Baseline, profile: NoiseProfile, strength: float) -> Method:
    """Return a baseline as a method, at a strength: it sees the planes of an image."""

    def denoise(image: Float, frame: Frame) -> Float:
        planes = baseline(frame.mosaic.pack(image), frame.info, profile, strength)
        return frame.mosaic.unpack(planes, image.shape)

    return denoise


def nlm_stabilised(planes: Float, info: FrameInfo, profile: NoiseProfile, strength: float) -> Float:
    """Denoise planes by OpenCV's non-local means as well as it can be used: 16 bits, on noise made uniform.

    Parameters
    ----------
    planes : (C, h, w) float32 array, linear
    info : FrameInfo
        Gives the domain.
    profile : NoiseProfile
        Of these planes.
    strength : float
        Filter strength h in standard deviations of the noise.

    Returns
    -------
    (C, h, w) float32 array, linear

    Notes
    -----
    The planes are stabilised, spread over the whole range of 16 bits, filtered and brought back; OpenCV filters 16 bits
    by absolute differences only (``NORM_L1``). Planes of independent noise are filtered one by one after an orthonormal
    cosine transform to their sums and differences, which scores 0.1 to 0.3 dB above the planes themselves (of a
    mosaic). The channels of developed pictures share their noise; they are filtered together, 0.2 dB above the
    transform.
    """
    stabilised = stabilise(planes, profile)
    if info.developed_in_colour:
        return unstabilise_mean(_filter_levels(stabilised, strength, info), profile)
    colours = dct(stabilised, axis=0, norm="ortho")
    filtered = np.concatenate([_filter_levels(colour[None], strength, info) for colour in colours])
    return unstabilise_mean(idct(filtered, axis=0, norm="ortho"), profile)


def nlm_16bit(planes: Float, info: FrameInfo, profile: NoiseProfile, strength: float) -> Float:
    """Denoise planes by OpenCV's non-local means on linear values as they are: 16 bits, each plane alone.

    Parameters and result are those of `nlm_stabilised`, but strength counts in standard deviations of the noise that a
    typical photosite of the plane has: what is darker is filtered too much, what is brighter too little.
    """
    noise_std = np.sqrt(np.median(noise_variance(planes, profile), axis=(1, 2)))
    filtered = [
        _filter_levels(plane[None], strength * float(std), info) for plane, std in zip(planes, noise_std, strict=True)
    ]
    return np.concatenate(filtered)


def nlm_colour_8bit(planes: Float, info: FrameInfo, profile: NoiseProfile, strength: float) -> Float:
    """Denoise planes by OpenCV's coloured non-local means where it is commonly used: on the developed 8-bit picture.

    Parameters
    ----------
    planes : (4, h, w) or (3, h, w) float32 array, linear
        Of a Bayer mosaic or of an RGB picture.
    info : FrameInfo
        Gives the domain, the white balance, without which the colours stay as they are, and whether a picture is
        developed already.
    profile : NoiseProfile
        Of these planes.
    strength : float
        Filter strength h, for lightness and colour alike, in standard deviations of the noise that a typical photosite
        has in the developed picture.

    Returns
    -------
    float32 array, linear
        Same shape. Of the developed mosaic only the colour that each photosite has of its own is read back.

    Notes
    -----
    White balance, edge-aware demosaicing, the curve of sRGB and 8 bits, with all that 8 bits cut off below black and
    above white: these are flaws of the common way, so they belong to the baseline.
    """
    if info.domain == "mono":
        raise ValueError("coloured non-local means needs colours; these frames are mono")
    variance = noise_variance(planes, profile)
    if info.domain == "rgb":
        slope = np.float32(1) if info.developed else _srgb_slope(planes)
        picture = np.moveaxis(on_display_curve(planes, info), 0, -1)
        filtered = _filter_colour(picture, strength * float(np.sqrt(np.median(variance * slope**2))))
        back = filtered if info.developed else srgb_to_linear(filtered)
        return np.ascontiguousarray(np.moveaxis(back, -1, 0))
    balance = white_balance(info)
    slope = balance * _srgb_slope(planes * balance)
    picture = linear_to_srgb(demosaiced(planes * balance))
    filtered = _filter_colour(picture, strength * float(np.sqrt(np.median(variance * slope**2))))
    inner = slice(DEMOSAIC_BORDER, -DEMOSAIC_BORDER)
    back = srgb_to_linear(filtered[inner, inner])
    return np.stack([back[0::2, 0::2, 0], back[0::2, 1::2, 1], back[1::2, 0::2, 1], back[1::2, 1::2, 2]]) / balance


def total_variation(planes: Float, info: FrameInfo, profile: NoiseProfile, strength: float) -> Float:  # noqa: ARG001
    """Denoise stabilised planes one by one by least total variation.

    Parameters
    ----------
    planes : (C, h, w) float32 array, linear
    info : FrameInfo
        Gives the domain to those baselines that differ by it; all have the same parameters.
    profile : NoiseProfile
        Of these planes.
    strength : float
        Weight of the total variation against half the squared error, in standard deviations of the noise.

    Returns
    -------
    (C, h, w) float32 array, linear

    Notes
    -----
    Converged: a hundredth of scikit-image's default tolerance changes the score by less than 0.01 dB.

    References
    ----------
    Chambolle, "An algorithm for total variation minimization and applications", Journal of Mathematical Imaging and
    Vision 20, 2004.
    """
    from skimage.restoration import denoise_tv_chambolle

    return _plane_by_plane(planes, profile, partial(denoise_tv_chambolle, weight=strength))


def wavelet(planes: Float, info: FrameInfo, profile: NoiseProfile, strength: float) -> Float:
    """Denoise stabilised planes by hard thresholds on their wavelet coefficients, averaged over 8 shifts.

    Parameters and result are those of `total_variation`; strength is the threshold in standard deviations of the noise.

    Notes
    -----
    Planes of independent noise are taken to their sums and differences by an orthonormal cosine transform, which gains
    0.15 to 0.3 dB on a mosaic; the channels of a developed picture share their noise: there it would lose 0.3 dB. The
    universal threshold of VisuShrink grows with the picture, so its factor is taken out: one strength serves every
    size. With the same shifts it beats BayesShrink by 0.5 and 0.7 dB on a smooth scene and loses 0.25 dB on a textured
    one.

    References
    ----------
    Donoho and Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 81(3), 1994. Coifman and Donoho,
    "Translation-invariant de-noising", 1995.
    """
    from skimage.restoration import denoise_wavelet

    shape = planes.shape[1:]
    options = {
        "sigma": strength / np.sqrt(2 * np.log(shape[0] * shape[1])),
        "wavelet": WAVELET,
        "wavelet_levels": min(WAVELET_LEVELS, import_module("pywt").dwtn_max_level(shape, WAVELET)),
        "method": "VisuShrink",
        "mode": "hard",
        "rescale_sigma": False,
    }

    def denoise(plane: Float) -> Float:
        total = np.zeros_like(plane)
        for down, right in SHIFTS:
            shifted = denoise_wavelet(np.roll(plane, (down, right), (0, 1)), **options)
            total += np.roll(shifted, (-down, -right), (0, 1))
        return total / np.float32(len(SHIFTS))

    return _plane_by_plane(planes, profile, denoise, decorrelate=not info.developed_in_colour)


def nl_means(planes: Float, info: FrameInfo, profile: NoiseProfile, strength: float) -> Float:
    """Denoise stabilised planes together by non-local means whose patches are weighed by a Gaussian.

    Parameters and result are those of `total_variation`; strength is h of the paper.

    Notes
    -----
    The weight of a patch is exp(-max(d - 2, 0) / h^2), d the mean squared difference over patch and planes, 2 what
    noise alone makes of it. This is ``denoise_nl_means`` of scikit-image with known noise and ``fast_mode=False``,
    written anew: the same scores, but that one gave NaN beside strong edges and hot photosites for strengths of 0.3
    (mosaic) and 0.7 (mono), and took six times as long. Weighed patches score 0.3 to 0.4 dB above the flat
    ones of ``fast_mode=True``.

    References
    ----------
    Buades, Coll and Morel, "Non-local means denoising", Image Processing On Line 1, 2011.
    """
    std = PATCH_STD_DEVELOPED if info.developed_in_colour else PATCH_STD
    stabilised = stabilise(planes, profile)
    margin = REACH + round(2 * std)
    denoised = np.empty_like(stabilised)
    for top in range(0, stabilised.shape[1], STRIP):
        first = max(top - margin, 0)
        strip = _mean_of_similar(stabilised[:, first : top + STRIP + margin], std, strength)
        denoised[:, top : top + STRIP] = strip[:, top - first : top - first + STRIP]
    return unstabilise_mean(denoised, profile)


def bm3d(planes: Float, info: FrameInfo, profile: NoiseProfile, strength: float) -> Float:  # noqa: ARG001
    """Denoise stabilised planes one by one by the package ``bm3d``.

    Parameters and result are those of `total_variation`; strength is the noise standard deviation that BM3D is told.

    References
    ----------
    Makinen, Azzari and Foi, "Collaborative filtering of correlated noise", IEEE Transactions on Image Processing 29,
    2020.
    """
    package = import_module("bm3d")

    def denoise(plane: Float) -> Float:
        # Its matching thresholds are made for pictures between 0 and 1.
        low, span = float(plane.min()), max(float(np.ptp(plane)), 1.0)
        filtered: Float = package.bm3d((plane - low) / span, strength / span) * span + low
        return filtered

    return _plane_by_plane(planes, profile, denoise)


def _filter_levels(planes: Float, strength: float, info: FrameInfo) -> Float:
    """Filter planes together with strength h, in their own units, on 16 bits that span what they hold."""
    low, high = float(planes.min()), float(planes.max())
    scale = 65535 / max(high - low, strength)
    levels = np.rint((np.moveaxis(planes, 0, -1) - low) * scale).astype(np.uint16)
    patch = PATCH_DEVELOPED if info.developed_in_colour else PATCH
    filtered = cv2.fastNlMeansDenoising(levels, [strength * scale], None, patch, SEARCH, cv2.NORM_L1)
    # OpenCV drops the axis of a single plane.
    result: Float = filtered.reshape(levels.shape).astype(np.float32) / np.float32(scale) + np.float32(low)
    return np.ascontiguousarray(np.moveaxis(result, -1, 0))


def _filter_colour(developed: Float, strength: float) -> Float:
    """Filter a (H, W, 3) red, green, blue picture in [0, 1] with strength h on that scale; clips it to 8 bits."""
    h = strength * 255
    levels = np.rint(np.clip(developed, 0, 1) * 255).astype(np.uint8)
    bgr = np.ascontiguousarray(levels[..., ::-1])
    filtered = cv2.fastNlMeansDenoisingColored(bgr, None, h, h, PATCH_DEVELOPED, COLOUR_SEARCH)
    return filtered[..., ::-1].astype(np.float32) / np.float32(255)


def _srgb_slope(linear: Float) -> Float:
    """Return the derivative of the sRGB encoding; zero outside [0, 1], where it is cut off."""
    curved = 1.055 / 2.4 * np.maximum(linear, 0.0031308) ** (1 / 2.4 - 1)
    slope: Float = np.where(linear <= 0.0031308, np.float32(12.92), curved)
    return np.where((linear >= 0) & (linear <= 1), slope, np.float32(0))


def _plane_by_plane(
    planes: Float, profile: NoiseProfile, denoise: Callable[[Float], Float], *, decorrelate: bool = False
) -> Float:
    """Stabilise planes, denoise each, or each of their sums and differences, and return them to linear."""
    stabilised = stabilise(planes, profile)
    if decorrelate:
        stabilised = dct(stabilised, axis=0, norm="ortho")
    denoised = np.stack([denoise(plane) for plane in stabilised]).astype(np.float32)
    if decorrelate:
        denoised = idct(denoised, axis=0, norm="ortho")
    return unstabilise_mean(denoised, profile)


def _mean_of_similar(planes: Float, std: float, strength: float) -> Float:
    """Return non-local means of stabilised planes; a pixel counts with weight 1 in its own mean."""
    side = 2 * round(2 * std) + 1
    total, weights = planes.copy(), np.ones_like(planes[:1])
    # Each pair of pixels is weighed once and used in both directions.
    shifts = [(0, right) for right in range(1, REACH + 1)]
    shifts += [(down, right) for down in range(1, REACH + 1) for right in range(-REACH, REACH + 1)]
    for down, right in shifts:
        one, other = shifted(planes, down, right)
        if not one.size:
            continue
        distance = cv2.GaussianBlur(((one - other) ** 2).mean(axis=0), (side, side), std)
        weight = np.exp(np.minimum(2 - distance, 0) / np.float32(strength**2))
        here, there = shifted(total, down, right)
        here += weight * other
        there += weight * one
        for part in shifted(weights, down, right):
            part += weight
    return total / weights
