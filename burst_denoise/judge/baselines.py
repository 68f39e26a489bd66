"""What a denoiser has to beat: OpenCV's non-local means, and how the strength of any rival is found on other bursts.

Every baseline maps planes to planes; its strength is in units of the noise, so that one value serves every ISO.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import numpy.typing as npt
from scipy.fft import dct, idct

from burst_denoise.capture.store import Burst
from burst_denoise.config import FrameInfo, NoiseProfile
from burst_denoise.sensor.frame import pack, unpack
from burst_denoise.sensor.metrics import corrected_mse, frame_moments, psnr_of_mse
from burst_denoise.sensor.noise import noise_variance, stabilise, unstabilise_mean
from burst_denoise.sensor.tone import linear_to_srgb, srgb_to_linear

__all__ = ["Baseline", "nlm_16bit", "nlm_baselines", "nlm_colour_8bit", "nlm_stabilised", "tune"]

Float = npt.NDArray[np.float32]
Baseline = Callable[[Float, FrameInfo, NoiseProfile, float], Float]
"""(planes (C, h, w) linear, what their file says, noise profile, strength in noise standard deviations) -> planes."""

PATCH = 3
PATCH_DEVELOPED = 5
"""Side of the patch that is compared, on planes of a mosaic and on developed pictures, whose noise is correlated."""
SEARCH = 9
COLOUR_SEARCH = 13
"""Side of the window that is searched. OpenCV's defaults, patch 7 and window 21, score up to 1 dB less."""

START_STRENGTH = 0.85
"""Best on white noise, measured on the stabilised planes of simulated bursts at ISO 1600 and 6400."""
STRENGTH_STEPS = (1.5, 1.12, 1.04)
"""Ratios of neighbouring strengths tried, coarse to fine; half a step of 12 % can cost 0.05 dB."""
WEAKEST, STRONGEST = 0.1, 20.0

MOST_SATURATED = 0.5
"""Share of saturated photosites up to which a part of a burst is good to tune on."""
TUNING_BURSTS = 6
TUNING_FRAMES = 2
TUNING_SIDE = 384
"""Bursts, frames of each and photosites of each side that tuning looks at: seconds of work, whatever it is given."""


def nlm_baselines(info: FrameInfo) -> dict[str, Baseline]:
    """Return the non-local means baselines that make sense for frames like these, by the name of their rows."""
    plain: dict[str, Baseline] = {"nlm-16bit": nlm_16bit, "nlm-stabilised": nlm_stabilised}
    return plain if info.domain == "mono" else {"nlm-colour-8bit": nlm_colour_8bit} | plain


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
    by absolute differences only (``NORM_L1``). Those of a mosaic are filtered one by one after an orthonormal cosine
    transform to their sums and differences, which scores 0.1 to 0.3 dB above the planes themselves. The channels of
    developed pictures share their noise; they are filtered together, 0.2 dB above the transform.
    """
    stabilised = stabilise(planes, profile)
    if info.domain != "bayer":
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
        Of a Bayer mosaic, or of an RGB picture, which is taken as developed already.
    info : FrameInfo
        Gives the domain and the white balance; without a white balance the colours stay as they are.
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
    if info.domain == "rgb":
        developed = np.ascontiguousarray(np.moveaxis(planes[::-1], 0, -1))
        filtered = _filter_colour(developed, strength * float(np.sqrt(np.median(noise_variance(planes, profile)))))
        return np.ascontiguousarray(np.moveaxis(filtered, -1, 0)[::-1])
    if info.domain != "bayer":
        raise ValueError(f"coloured non-local means needs colours; these frames are {info.domain}")
    red, green, blue = info.as_shot_neutral or (1.0, 1.0, 1.0)
    gains = np.array([green / red, 1.0, 1.0, green / blue], np.float32)[:, None, None]
    slope = gains * _srgb_slope(planes * gains)
    noise_std = float(np.sqrt(np.median(noise_variance(planes, profile) * slope**2)))
    # OpenCV leaves a border of one pixel without colours of its own: give it two photosites to spoil.
    mosaic = np.pad(_interleave(planes * gains), 2, mode="reflect")
    linear = cv2.demosaicing(_levels(mosaic, 65535).astype(np.uint16), cv2.COLOR_BayerRGGB2BGR_EA)
    picture = linear.astype(np.float32) / np.float32(65535)
    filtered = _filter_colour(linear_to_srgb(picture), strength * noise_std)
    back = srgb_to_linear(filtered[2:-2, 2:-2])
    own = [back[0::2, 0::2, 2], back[0::2, 1::2, 1], back[1::2, 0::2, 1], back[1::2, 1::2, 0]]
    result: Float = np.stack(own) / gains
    return result


def tune(baseline: Baseline, bursts: Sequence[Burst]) -> float:
    """Return the strength with which a baseline scores best on bursts, which must not be those it is judged on.

    Parameters
    ----------
    baseline : Baseline
    bursts : sequence of Burst
        At least one, of at least three frames each.

    Returns
    -------
    float
        The strength of the best leave-one-out-corrected PSNR, averaged over the bursts, within 2 %.

    Notes
    -----
    Scores two frames in the central 384 x 384 photosites of at most six of the bursts. Climbs from the strength that is
    best on white noise for as long as the score rises, in steps of a half, then of 12, then of 4 %.
    """
    if not bursts:
        raise ValueError("no burst to tune on")
    chosen = np.linspace(0, len(bursts) - 1, min(len(bursts), TUNING_BURSTS)).astype(int)
    samples = [sample for sample in (_tuning_sample(bursts[index]) for index in chosen) if sample is not None]
    if not samples:
        return START_STRENGTH  # all overexposed

    def score(strength: float) -> float:
        return float(np.mean([sample(baseline, strength) for sample in samples]))

    best, best_score = START_STRENGTH, score(START_STRENGTH)
    for factor in [direction for step in STRENGTH_STEPS for direction in (step, 1 / step)]:
        while WEAKEST < best * factor < STRONGEST and (tried := score(best * factor)) > best_score:
            best, best_score = best * factor, tried
    return best


def _tuning_sample(burst: Burst) -> Callable[[Baseline, float], float] | None:
    """Return the function (baseline, strength) -> corrected PSNR in dB on a part of the burst that is not white."""
    # An even distance from the corner keeps the CFA phase. The centre, or the corner that is best exposed.
    last = [max(0, size - TUNING_SIDE) // 2 * 2 for size in (burst.info.height, burst.info.width)]
    corners = [(last[0] // 4 * 2, last[1] // 4 * 2), (0, 0), (0, last[1]), (last[0], 0), (last[0], last[1])]
    windows = [(slice(top, top + TUNING_SIDE), slice(left, left + TUNING_SIDE)) for top, left in corners]
    shares = [float(burst.excluded[..., rows, columns].mean()) for rows, columns in windows]
    window = windows[0] if shares[0] < MOST_SATURATED else windows[int(np.argmin(shares))]
    if min(shares) > MOST_SATURATED:
        return None
    info, cfa = burst.info, burst.info.cfa
    moments = frame_moments(burst.linear(index, window) for index in range(len(burst)))
    counts = ~burst.excluded[..., window[0], window[1]]
    frames = [burst.linear(index, window) for index in np.linspace(0, len(burst) - 1, TUNING_FRAMES).astype(int)]

    def score(baseline: Baseline, strength: float) -> float:
        errors = []
        for frame in frames:
            denoised = baseline(pack(frame, cfa), info, burst.profile, strength)
            errors.append(corrected_mse(unpack(denoised, cfa, frame.shape), moments.without(frame), counts))
        return psnr_of_mse(float(np.mean(errors)), peak=1)

    return score


def _filter_levels(planes: Float, strength: float, info: FrameInfo) -> Float:
    """Filter planes together with strength h, in their own units, on 16 bits that span what they hold."""
    low, high = float(planes.min()), float(planes.max())
    scale = 65535 / max(high - low, strength)
    levels = np.rint((np.moveaxis(planes, 0, -1) - low) * scale).astype(np.uint16)
    patch = PATCH_DEVELOPED if info.domain == "rgb" else PATCH
    filtered = cv2.fastNlMeansDenoising(levels, [strength * scale], None, patch, SEARCH, cv2.NORM_L1)
    # OpenCV drops the axis of a single plane.
    result: Float = filtered.reshape(levels.shape).astype(np.float32) / np.float32(scale) + np.float32(low)
    return np.ascontiguousarray(np.moveaxis(result, -1, 0))


def _filter_colour(developed: Float, strength: float) -> Float:
    """Filter a (H, W, 3) blue, green, red picture in [0, 1] with strength h on that scale; clips it to 8 bits."""
    h = strength * 255
    levels = _levels(developed, 255).astype(np.uint8)
    filtered = cv2.fastNlMeansDenoisingColored(levels, None, h, h, PATCH_DEVELOPED, COLOUR_SEARCH)
    picture: Float = filtered.astype(np.float32) / np.float32(255)
    return picture


def _levels(values: Float, highest: int) -> Float:
    """Return values in [0, 1] as whole levels up to ``highest``; clips what lies outside, as 8-bit pictures do."""
    levels: Float = np.rint(np.clip(values, 0, 1) * highest)
    return levels


def _interleave(planes: Float) -> Float:
    """Return R, G1, G2, B planes as one mosaic that starts with red."""
    return unpack(planes, "RGGB", (2 * planes.shape[1], 2 * planes.shape[2]))


def _srgb_slope(linear: Float) -> Float:
    """Return the derivative of the sRGB encoding; zero outside [0, 1], where it is cut off."""
    curved = 1.055 / 2.4 * np.maximum(linear, 0.0031308) ** (1 / 2.4 - 1)
    slope: Float = np.where(linear <= 0.0031308, np.float32(12.92), curved)
    return np.where((linear >= 0) & (linear <= 1), slope, np.float32(0))
