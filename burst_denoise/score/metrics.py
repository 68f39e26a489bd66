"""Scores of a denoised image: against a clean reference, and without one, against the other frames of its burst.

The score without a reference is honest because it subtracts what the reference's own noise adds. What no score from one
burst can see is fixed pattern (hot photosites, uneven response): it is the same in every frame and counts as scene.
"""

import math

import numpy as np

from burst_denoise.arrays import Double, Float, Mask
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.frame.srgb import on_display_curve, white_balance
from burst_denoise.schemas import FrameInfo
from burst_denoise.sensor.moments import FrameMoments

__all__ = [
    "SSIM_WINDOW",
    "corrected_mse",
    "displayed_ssim",
    "mean_squared_error",
    "psnr",
    "psnr_of_mse",
    "relative_brightness",
    "rendering",
    "ssim",
]


LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Weights of red, green and blue in brightness: ITU-R BT.709."""
SSIM_WINDOW = 11
"""Side of the Gaussian window of SSIM: standard deviation 1.5, cut off at 3.5 of them."""


def mean_squared_error(image: Float, reference: Float | Double, mask: Mask | None = None) -> float:
    """Return the mean squared difference of two arrays of one shape.

    Parameters
    ----------
    image, reference : float arrays of one shape, any unit
    mask : bool array of that shape, optional
        True where a value counts; all count without it.

    Raises
    ------
    ValueError
        If shapes differ, or the mask leaves nothing.
    """
    if image.shape != reference.shape:
        raise ValueError(f"image of shape {image.shape} against a reference of shape {reference.shape}")
    return _masked_mean((image.astype(np.float64) - reference) ** 2, mask)


def psnr_of_mse(mse: float, *, peak: float) -> float:
    """Return the peak signal-to-noise ratio 10 log10(peak^2 / mse), dB.

    A corrected error can come out zero or negative by chance where the true one is too small to be measured with the
    frames at hand; that and an exact match give ``inf``.
    """
    return 10 * math.log10(peak**2 / mse) if mse > 0 else math.inf


def psnr(image: Float, reference: Float | Double, *, peak: float, mask: Mask | None = None) -> float:
    """Return the peak signal-to-noise ratio of an image against a reference, dB.

    Parameters
    ----------
    image, reference : float arrays of one shape
    peak : float
        The largest value the unit knows: 1 for linear, white level minus black level for DN.
    mask : bool array of that shape, optional
        True where a value counts.
    """
    return psnr_of_mse(mean_squared_error(image, reference, mask), peak=peak)


def ssim(planes: Float, reference: Float | Double, *, peak: float, mask: Mask | None = None) -> float:
    """Return the structural similarity of planes with reference planes, averaged over the planes.

    Parameters
    ----------
    planes, reference : (C, h, w) float arrays of one shape
        Planes as made by `burst_denoise.frame.mosaic.Mosaic.pack`: on a mosaic the window would mix the colours.
        At least 11 x 11 each.
    peak : float
        The span of values that the constants of SSIM refer to.
    mask : (C, h, w) bool array, optional
        True where the centre of a window counts. Windows that reach over the border never count.

    Notes
    -----
    The settings are those of Wang et al.: Gaussian window of standard deviation 1.5, covariance not corrected for the
    sample size, K1 = 0.01, K2 = 0.03. Other programs use other windows and give other values.

    References
    ----------
    Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural similarity",
    IEEE Transactions on Image Processing 13(4), 2004.
    """
    from skimage.metrics import structural_similarity

    if planes.shape != reference.shape or min(planes.shape[1:]) < SSIM_WINDOW:
        raise ValueError(
            f"planes of shape {planes.shape} against {reference.shape}: SSIM needs equal shapes of at least "
            f"{SSIM_WINDOW} x {SSIM_WINDOW}"
        )
    edge = SSIM_WINDOW // 2
    inner = (slice(None), slice(edge, -edge), slice(edge, -edge))
    _, maps = structural_similarity(  # type: ignore[no-untyped-call]
        planes, reference, data_range=peak, full=True, channel_axis=0,
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    )  # fmt: skip
    return _masked_mean(maps[inner], None if mask is None else mask[inner])


def relative_brightness(image: Float, noisy: Float, mask: Mask) -> float:
    """Return the mean of an image relative to that of the noisy one it was made of, where the mask is True.

    nan where the noisy one is black.
    """
    light = float(noisy[mask].mean(dtype=np.float64))
    return float(image[mask].mean(dtype=np.float64)) / light if light else math.nan


def displayed_ssim(image: Float, reference: Float, info: FrameInfo, mask: Mask) -> float:
    """Return the structural similarity of an image with a reference as a display shows them; nan if they are too small.

    Parameters
    ----------
    image, reference : (H, W) or (3, H, W) float32 arrays, linear
    info : FrameInfo
        As for `rendering`.
    mask : bool array of that shape
        True where a photosite counts.
    """
    shown = rendering(image, info)
    if min(shown.shape[1:]) < SSIM_WINDOW:
        return math.nan
    counted = rendering(mask.astype(np.float32), info.model_copy(update={"as_shot_neutral": None}))
    return ssim(shown, rendering(reference, info), peak=1.0, mask=counted > 0.99)


def rendering(image: Float, info: FrameInfo) -> Float:
    """Return the brightness of an image as a display shows it, for `ssim`: the same simple way for all methods.

    Parameters
    ----------
    image : (H, W) or (3, H, W) float32 array, linear
        Not modified.
    info : FrameInfo
        Gives CFA and white balance; without a white balance the colours stay as they are.

    Returns
    -------
    (1, h, w) float32 array, 0 to 1
        Luma (Rec. 709) of R, mean of the greens and B of every 2x2 photosites, white-balanced, on the sRGB curve. Of a
        picture: of its own pixels; if it was developed, they are on such a curve already. Clipped, as a display clips.
    """
    mosaic = Mosaic.of(info)
    planes = mosaic.pack(image)
    if mosaic.cfa:
        planes = mosaic.colour_planes(planes * white_balance(info))
    shown = on_display_curve(planes, info)
    return shown if info.domain == "mono" else np.tensordot(LUMA, shown, axes=1)[None]


def corrected_mse(denoised: Float, others: FrameMoments, mask: Mask | None = None) -> float:
    """Return the mean squared error of a denoised frame, estimated without a clean reference.

    Parameters
    ----------
    denoised : float array, linear
        Made from frames of a burst, by any method: one denoised frame, or the mean of several.
    others : FrameMoments
        Of at least two frames of the same burst, *none of which* went into ``denoised``.
    mask : bool array, optional
        True where a photosite counts; saturated ones must not, since clipped noise is not zero-mean.

    Returns
    -------
    float
        Linear units squared. Unbiased, and so sometimes below zero where the true error is nearly zero.

    Notes
    -----
    Against the mean of K other frames the expected squared difference is the true error plus sigma^2 / K, whatever
    the method; the second term is known, so it is taken off: mean((denoised - mean)^2) - mean(s^2) / K, with s^2 the
    unbiased temporal variance of the *same* K frames. With K = N - 1 this is the leave-one-out-corrected error. It
    holds for a static scene, constant light and noise independent between frames. The error is that against scene plus
    fixed pattern. Never score against the mean of all frames: it contains the frame's own noise and rewards keeping it.
    """
    naive = mean_squared_error(denoised, others.mean, mask)
    return naive - _masked_mean(others.variance, mask) / others.count


def _masked_mean(values: Double, mask: Mask | None) -> float:
    if mask is None:
        return float(values.mean())
    if mask.shape != values.shape:
        raise ValueError(f"mask of shape {mask.shape} for values of shape {values.shape}")
    if not mask.any():
        raise ValueError("the mask leaves no value to score")
    return float(values[mask].mean())
