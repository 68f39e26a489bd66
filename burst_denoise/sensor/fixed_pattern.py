"""Fixed pattern: what is the same in every frame of one camera copy and is not scene; from dark frames and flats.

No score made of one tripod burst sees it: it survives the mean and counts as scene. DSNU, the dark signal
non-uniformity, is the standard deviation of the photosites' dark offsets; PRNU, the photo-response non-uniformity,
that of their sensitivities, relative to 1. Defects count in neither.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from burst_denoise.arrays import Float, Mask
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.schemas import Estimate
from burst_denoise.sensor.intervals import band_sums, jackknife, leave_one_out, root_of_variance
from burst_denoise.sensor.moments import FrameMoments, frame_moments

__all__ = [
    "FlatField",
    "MasterDark",
    "NonUniformity",
    "PatternStd",
    "flat_field",
    "from_median",
    "master_dark",
    "photo_response",
    "sensitivity",
]


SHADING_WINDOW = 31
"""Side of the window, plane pixels, whose mean is the slow shading."""
FARTHEST = 5.0
"""Standard deviations of its plane beyond which a photosite is a defect and part of no figure."""


@dataclass(frozen=True)
class NonUniformity:
    """How unequal the photosites of each plane are: standard deviations, noise taken off."""

    fine: tuple[Estimate, ...]
    """Standard deviation from photosite to photosite: slow shading, the mean of a window of 31 x 31 plane pixels, is
    removed."""
    whole: tuple[Estimate, ...]
    """Over the whole plane, shading of sensor, lens and lamp included: the figure of EMVA 1288, release 3.0."""


@dataclass(frozen=True)
class PatternStd:
    """How strong the fixed pattern of each plane is: standard deviations."""

    prnu: tuple[float, ...]
    """Relative to 1."""
    dsnu: tuple[float, ...]
    """Linear units."""

    def variance(self, level: Float, mosaic: Mosaic) -> Float:
        """Return the variance of the pattern in an image, PRNU^2 level^2 + DSNU^2, linear units squared."""
        prnu, dsnu = (
            mosaic.spread(np.square(values, dtype=np.float32), level.shape) for values in (self.prnu, self.dsnu)
        )
        return np.asarray(prnu * level**2 + dsnu, np.float32)


@dataclass(frozen=True)
class FlatField:
    """What flats take out of a frame: PRNU, as far as it is real."""

    sensitivity: Float
    """(H, W) or (3, H, W), around 1: Wiener-shrunken, to divide a frame by."""
    residual_prnu: tuple[tuple[float, ...], tuple[float, ...]]
    """Relative to 1, per plane: between which the standard deviation of the sensitivities that remain lies."""


@dataclass(frozen=True)
class MasterDark:
    """What dark frames of one ISO and exposure show."""

    mean: Float
    """(H, W) or (3, H, W), linear: mean of the frames above the black level, per photosite."""
    offset: Float
    """Same shape, linear: Wiener-shrunken master dark, to subtract from a frame."""
    variance: Float
    """Same shape, linear units squared: temporal variance of one frame."""
    count: int
    """Frames averaged; the noise variance of the mean is ``variance / count``."""
    dsnu: NonUniformity
    """Dark signal non-uniformity, linear units."""
    residual_std: tuple[float, ...]
    """Per plane, linear units: standard deviation of the dark offsets that are expected to remain in a frame from which
    ``offset`` was subtracted."""


def master_dark(darks: Iterable[Float], mosaic: Mosaic) -> MasterDark:
    """Average dark frames of one ISO and exposure, and measure the dark signal non-uniformity.

    Parameters
    ----------
    darks : iterable of (H, W) or (3, H, W) float32 arrays, linear
        At least 2, better 16. Read once.
    mosaic : Mosaic
        Of the frames.

    Raises
    ------
    ValueError
        If there are fewer than 2 frames.

    Notes
    -----
    DSNU^2 = spatial variance of the mean - temporal variance / N (EMVA 1288, release 3.0). Photosites beyond 5 robust
    standard deviations of their surroundings are defects and do not count. Intervals by jackknife over bands of rows.

    Subtracted as it is, the mean would leave its own noise in every frame as a new fixed pattern, which no burst can
    tell from picture: with 16 darks of a sensor of little DSNU three times what it takes away. So a photosite's
    departure from the slow shading counts in ``offset`` only as far as it is likely to be real, DSNU^2 / (DSNU^2 +
    noise variance of the mean), the linear estimate of least error (Wiener, 1949); that of a defect counts in full.
    """
    moments = frame_moments(darks)
    mean: Float = moments.mean.astype(np.float32)
    variance: Float = moments.variance.astype(np.float32)
    noise: Float = (moments.variance / moments.count).astype(np.float32)
    dsnu = _non_uniformity(mean, noise, mosaic, relative=False)
    planes = mosaic.pack(mean).copy()
    left = []
    for plane, noise_plane, fine in zip(planes, mosaic.pack(noise), dsnu.fine, strict=True):
        healthy = _typical(plane)
        shading = _shading(plane, healthy)
        real = np.float32(fine.value**2 / max(fine.value**2 + float(noise_plane[healthy].mean()), 1e-18))
        left.append(fine.value * math.sqrt(1 - float(real)))
        plane[:] = shading + np.where(healthy, real, np.float32(1)) * (plane - shading)
    return MasterDark(mean, mosaic.unpack(planes, mean.shape), variance, moments.count, dsnu, tuple(left))


def photo_response(flats: FrameMoments, dark: MasterDark | None, mosaic: Mosaic) -> NonUniformity:
    """Return the photo-response non-uniformity, relative to 1, from frames of an evenly lit surface.

    Parameters
    ----------
    flats : FrameMoments
        Of at least 2 frames (H, W) or (3, H, W), linear, of one light level, nowhere near the white level.
    dark : MasterDark, optional
        Of the same exposure; without it, dark offsets count as PRNU.
    mosaic : Mosaic
        Of the frames.

    Raises
    ------
    ValueError
        If there are fewer than 2 frames, or they hold no light.

    Notes
    -----
    PRNU^2 = (spatial variance of the mean flat, dark offsets subtracted photosite by photosite - that of the noise left
    in the two means) / level^2. Defects and intervals as for `master_dark`. With a lens on, take ``fine``.
    """
    return _non_uniformity(*_above_dark(flats, dark), mosaic, relative=True)


def sensitivity(flats: FrameMoments, dark: MasterDark | None, mosaic: Mosaic) -> Float:
    """Return each photosite's sensitivity relative to the local mean of its colour: PRNU as a picture, no shading."""
    mean, _ = _above_dark(flats, dark)
    planes = mosaic.pack(mean)
    return mosaic.unpack(np.stack([plane / _shading(plane, _typical(plane)) for plane in planes]), mean.shape)


def flat_field(
    flats: FrameMoments, dark: MasterDark | None, mosaic: Mosaic, response: NonUniformity, found: Float
) -> FlatField:
    """Return what a frame is best divided by to take its PRNU out.

    Arguments are those of `photo_response`, its result, and that of `sensitivity`.

    Notes
    -----
    The noise of the mean flat would become a new fixed pattern, so a sensitivity counts as far as it is likely to be
    real, as in `master_dark`. Defects are left alone: they are repaired, not divided.
    """
    planes = mosaic.pack(found).copy()
    levels, noises = (mosaic.pack(image) for image in _above_dark(flats, dark))
    left: list[tuple[float, float]] = []
    for plane, level_plane, noise_plane, fine in zip(planes, levels, noises, response.fine, strict=True):
        healthy = _typical(plane)
        noise_share = float(noise_plane[healthy].mean()) / float(level_plane[healthy].mean()) ** 2
        real = fine.value**2 / max(fine.value**2 + noise_share, 1e-18)
        added = real * math.sqrt(noise_share)
        left.append((math.hypot((1 - real) * fine.low, added), math.hypot((1 - real) * fine.high, added)))
        plane[:] = np.where(healthy, 1 + np.float32(real) * (plane - 1), np.float32(1))
    least, most = zip(*left, strict=True)
    return FlatField(mosaic.unpack(planes, found.shape), (least, most))


def _above_dark(flats: FrameMoments, dark: MasterDark | None) -> tuple[Float, Float]:
    """Return the mean of flats above the dark, and the variance of the noise in it."""
    mean, noise = flats.mean, flats.variance / flats.count
    if dark is not None:
        mean, noise = mean - dark.mean, noise + dark.variance / dark.count
    return mean.astype(np.float32), noise.astype(np.float32)


def _non_uniformity(mean: Float, noise_variance: Float, mosaic: Mosaic, *, relative: bool) -> NonUniformity:
    fine, whole = [], []
    for plane, noise in zip(mosaic.pack(mean), mosaic.pack(noise_variance), strict=True):
        healthy = _typical(plane)
        inner = np.zeros(plane.shape, np.bool_)
        # Near the border the window is one-sided, so strong shading would count as fine.
        top, left = (min(SHADING_WINDOW // 2, size // 8) for size in plane.shape)
        inner[top : len(inner) - top, left : inner.shape[1] - left] = True
        shading = _shading(plane, healthy)
        level = np.float32(plane[healthy].mean(dtype=np.float64))
        if relative and not (shading > 0).all():
            raise ValueError("the flats are dark; light the surface evenly and expose to about half of white")
        fine.append(_spread(plane, noise, shading, healthy & inner, relative=relative))
        whole.append(_spread(plane, noise, level, healthy, relative=relative))
    return NonUniformity(tuple(fine), tuple(whole))


def from_median(plane: Float, side: int = 5) -> Float:
    """Return how far the pixels of a plane (h, w) are from the median of ``side`` x ``side`` pixels around them."""
    return plane - np.asarray(cv2.medianBlur(np.ascontiguousarray(plane), side), np.float32)


def _typical(plane: Float) -> Mask:
    """Return which pixels of a plane are no defects: within 5 robust standard deviations of their surroundings."""
    away = np.abs(from_median(plane))
    return away <= FARTHEST * 1.4826 * max(float(np.median(away)), 1e-12)


def _shading(plane: Float, healthy: Mask) -> Float:
    """Return the window mean around every pixel, over healthy ones."""
    side = (SHADING_WINDOW, SHADING_WINDOW)
    weight = np.maximum(cv2.blur(healthy.astype(np.float32), side), 1e-6)
    return (cv2.blur(plane * healthy, side) / weight).astype(np.float32)


def _spread(plane: Float, noise: Float, usual: Float | np.float32, healthy: Mask, *, relative: bool) -> Estimate:
    """Return the standard deviation of a plane from what is usual, that of the noise taken off, with its interval."""
    residual, variance = (plane / usual - 1, noise / usual**2) if relative else (plane - usual, noise)
    columns = (healthy, residual * healthy, residual.astype(np.float64) ** 2 * healthy, variance * healthy)
    sums = leave_one_out(np.stack([band_sums(values) for values in columns]))
    _, first, second, noise_share = sums / np.maximum(sums[0], 1.0)
    return root_of_variance(jackknife(second - first**2 - noise_share))
