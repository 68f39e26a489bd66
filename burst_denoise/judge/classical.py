"""Every classical rival, used as well as it can be: OpenCV, scikit-image and BM3D on planes whose noise is uniform."""

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec

import cv2
import numpy as np
import numpy.typing as npt
from scipy.fft import dct, idct

from burst_denoise.capture.store import Burst, pooled_by_iso
from burst_denoise.config import FrameInfo, NoiseProfile
from burst_denoise.judge.baselines import Baseline, nlm_baselines, tune
from burst_denoise.sensor.noise import stabilise, unstabilise_mean

__all__ = ["UNTUNED", "baselines_for", "bm3d", "nl_means", "total_variation", "tuned_strengths", "wavelet"]

Float = npt.NDArray[np.float32]

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
"""Strength of rivals that need no tuning: the noise, which they are told."""
BM3D_MOST_VALUES = 4_000_000
"""Values of a frame up to which BM3D is offered; it takes 30 s per million of them on two cores."""


def baselines_for(info: FrameInfo) -> dict[str, Baseline]:
    """Return the rivals that make sense for frames like these and are installed, by the name of their rows, in order.

    ``wavelet`` needs PyWavelets. ``bm3d`` needs the package of that name, which is free for non-commercial use only and
    therefore never installed unasked; large frames, which would take it many minutes, go without.
    """
    found = nlm_baselines(info) | {"tv": total_variation}
    if find_spec("pywt"):
        found["wavelet"] = wavelet
    found["nl-means"] = nl_means
    values = info.height * info.width * (3 if info.domain == "rgb" else 1)
    if find_spec("bm3d") and values <= BM3D_MOST_VALUES:
        found["bm3d"] = bm3d
    return found


def tuned_strengths(bursts: Sequence[Burst]) -> dict[str, float]:
    """Return the strength of every rival that scores best on these bursts of one sensor; BM3D is told the noise, 1.

    Parameters
    ----------
    bursts : sequence of Burst
        At least one, of at least three frames each; not those that the rivals will be judged on.
    """
    pooled = pooled_by_iso(bursts)
    rivals = baselines_for(bursts[0].info)
    return UNTUNED | {name: tune(rival, pooled) for name, rival in rivals.items() if name not in UNTUNED}


def total_variation(planes: Float, info: FrameInfo, profile: NoiseProfile, strength: float) -> Float:  # noqa: ARG001
    """Denoise stabilised planes one by one by least total variation.

    Parameters
    ----------
    planes : (C, h, w) float32 array, linear
    info : FrameInfo
        Gives the domain to those rivals that differ by it; all have the same parameters.
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

    def denoise(plane: Float) -> Float:
        return denoise_tv_chambolle(plane, weight=strength)  # type: ignore[no-any-return, no-untyped-call]

    return _plane_by_plane(planes, profile, denoise)


def wavelet(planes: Float, info: FrameInfo, profile: NoiseProfile, strength: float) -> Float:
    """Denoise stabilised planes by hard thresholds on their wavelet coefficients, averaged over 8 shifts.

    Parameters and result are those of `total_variation`; strength is the threshold in standard deviations of the noise.

    Notes
    -----
    The four planes of a mosaic are taken to their sums and differences by an orthonormal cosine transform, which
    gains 0.15 to 0.3 dB; the channels of a developed picture share their noise, so there it would lose 0.3 dB. The
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

    return _plane_by_plane(planes, profile, denoise, decorrelate=info.domain == "bayer")


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
    std = PATCH_STD_DEVELOPED if info.domain == "rgb" else PATCH_STD
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
    _, height, width = planes.shape
    side = 2 * round(2 * std) + 1
    total = planes.copy()
    weights = np.ones((height, width), np.float32)
    # Each pair of pixels is weighed once and used in both directions.
    shifts = [(0, right) for right in range(1, REACH + 1)]
    shifts += [(down, right) for down in range(1, REACH + 1) for right in range(-REACH, REACH + 1)]
    for down, right in shifts:
        here = (slice(max(height - down, 0)), slice(max(-right, 0), width - max(right, 0)))
        there = (slice(down, None), slice(max(right, 0), width + min(right, 0)))
        one, other = planes[:, *here], planes[:, *there]
        if not one.size:
            continue
        distance = cv2.GaussianBlur(((one - other) ** 2).mean(axis=0), (side, side), std)
        weight = np.exp(np.minimum(2 - distance, 0) / np.float32(strength**2))
        total[:, *here] += weight * other
        total[:, *there] += weight * one
        weights[here] += weight
        weights[there] += weight
    return total / weights
