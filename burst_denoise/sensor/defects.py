"""Defective photosites: found from whatever there is, and given the value of their healthy neighbours."""

from collections.abc import Sequence
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from scipy.special import chdtri

from burst_denoise.arrays import Float, Index, Mask
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.sensor.fixed_pattern import MasterDark, from_median
from burst_denoise.sensor.noise_model import noise_variance
from burst_denoise.sensor.prnu_from_scenes import SceneMean, scene_numbers

__all__ = ["Repair", "beside", "find_defects"]

T = TypeVar("T", np.float32, np.float64)

HOT_PIXEL_SIGMA, VISIBLE_SIGMA = 6.0, 2.0
"""A photosite is hot from so many standard deviations of its plane's dark offsets, and of one frame's noise: both."""
FLICKER_VARIANCE_RATIO = 9.0
"""Times the noise variance of photosites of its colour; more where few frames make that likely."""
FLICKER_P_VALUE = 1e-9
"""Probability that chance makes a photosite flicker."""
DETECTION_SIGMA = 5.0
"""Standard deviations of its surroundings by which a photosite must depart in two scenes to be a defect..."""
CONFIRMATION_SIGMA = 2.0
"""...and those that confirm what one burst alone took for one."""
SEARCH_RADII = (2, 4, 8, 16)
"""Photosites around a defect that are searched for healthy ones, in turn; a larger hole is left as it is."""
INTERPOLATION = {
    "A": ((0, 1, 1 / 2), (1, 1, -1 / 4)),
    "G": ((1, 1, 1 / 2), (0, 2, -1 / 4)),
    **dict.fromkeys("RB", ((0, 2, 1 / 4), (0, 1, 3 / 32), (0, 3, -1 / 32), (1, 2, -1 / 32))),
}
"""Per colour (A: the only one of its image): a distance down, one to the right, in all directions, and their weight.

Against plain means of neighbours the error on three pictures is a third to a half as large, and ten times as seldom
beyond five standard deviations of the noise.
"""
MOST_NEIGHBOURS = 24
"""Healthy neighbours that a repaired value is made of, at most; the nearest."""


def find_defects(mosaic: Mosaic, darks: Sequence[MasterDark] = (), scenes: Sequence[SceneMean] = ()) -> Mask:
    """Return the hot, dead and flickering photosites that dark frames and bursts of one sensor reveal.

    Parameters
    ----------
    mosaic : Mosaic
        Of the frames.
    darks : sequence of MasterDark
        Of any ISO and exposure.
    scenes : sequence of SceneMean
        Any number of any scenes. ``darks`` and ``scenes`` together are at least one, and equal in shape.

    Returns
    -------
    (H, W) or (3, H, W) bool array

    Notes
    -----
    In a dark: an offset beyond what DSNU and noise allow that also shows in a single frame. In a burst: a photosite
    that sticks out as no picture detail does, confirmed by a second scene where there is one. In two scenes: the
    same photosite departs in both by 5 standard deviations of its surroundings to the same side; pictures do so once in
    a thousand places, and two pictures at the same one hardly ever. Flickering: temporal variance far beyond that of
    its colour, and alone in that, as nothing that moves is.
    """
    shape = (darks[0].mean if darks else scenes[0].mean).shape
    found, alone = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    for dark in darks:
        planes = mosaic.pack(dark.variance)
        usual = mosaic.unpack(np.full_like(planes, np.median(planes, axis=(1, 2), keepdims=True)), shape)
        found |= _hot(dark, mosaic) | _flickering(dark.variance, usual, dark.count)
    for burst in scenes:
        alone |= _isolated(burst, mosaic)
        if burst.variance is not None:
            expected = mosaic.unpack(noise_variance(mosaic.pack(burst.mean), burst.profile), shape)
            found |= _flickering(burst.variance, expected, burst.count)
    views = _views(scenes, mosaic)
    if len(views) < 2:
        return found | alone
    high, low = np.partition(views, -2, axis=0)[-2], np.partition(views, 1, axis=0)[1]
    agreed = np.maximum(high, -low)
    found |= (alone & (agreed > CONFIRMATION_SIGMA)) | (agreed > DETECTION_SIGMA)
    return found


def _hot(dark: MasterDark, mosaic: Mosaic) -> Mask:
    hot = []
    for plane, noise in zip(mosaic.pack(dark.mean), mosaic.pack(dark.variance), strict=True):
        away = np.abs(from_median(plane))
        usual = 1.4826 * float(np.median(away))
        hot.append(away > max(HOT_PIXEL_SIGMA * usual, VISIBLE_SIGMA * float(np.median(noise)) ** 0.5))
    return mosaic.unpack(np.stack(hot), dark.mean.shape)


def _flickering(variance: Float, expected: Float, count: int) -> Mask:
    """Return where the temporal variance of ``count`` frames is beyond what is expected of noise, and alone in that."""
    if count < 3:
        return np.zeros(variance.shape, np.bool_)
    ratio: Float = (variance / np.maximum(expected, 1e-12)).astype(np.float32)
    limit = max(FLICKER_VARIANCE_RATIO, 1.5 * float(chdtri(count - 1, FLICKER_P_VALUE)) / (count - 1))
    return ratio > np.maximum(limit, 3 * beside(ratio, 5))


def _isolated(burst: SceneMean, mosaic: Mosaic) -> Mask:
    """Return where single photosites stick out of a burst's mean as no picture detail does.

    Such a one lies outside the values of its 24 nearest photosites of the same colour, by more than half their span and
    five standard deviations of the mean's noise, and departs from their median three times as far as any of its eight
    neighbours on the sensor, of whatever colour, departs from its own. An edge, a line or a star that the lens has
    spread over two photosites fails the last condition. On simulated bursts of pixel-sharp pictures it marks 5 to 50
    of 393,216 photosites, hence excludes no texture that a score could notice.
    """
    planes = mosaic.pack(burst.mean)
    noise_std = np.sqrt(noise_variance(planes, burst.profile) / burst.count)
    highest, lowest = beside(planes, 5), -beside(-planes, 5)
    outside: Float = np.maximum(planes - highest, lowest - planes) - (highest - lowest) / 2
    departure: Float = mosaic.unpack(np.abs([from_median(plane) for plane in planes]), burst.mean.shape)
    return (departure > 3 * beside(departure, 3)) & mosaic.unpack(outside > 5 * noise_std, burst.mean.shape)


def beside(image: Float, side: int) -> Float:
    """Return the highest value around every pixel of (..., h, w) in a window of ``side`` x ``side``, itself left out.

    Nothing is put beyond the border: a reflected defect would be its own neighbour there.
    """
    ring = np.ones((side, side), np.uint8)
    ring[side // 2, side // 2] = 0
    return np.array([cv2.dilate(layer, ring) for layer in _layers(image)], np.float32).reshape(image.shape)


def _views(scenes: Sequence[SceneMean], mosaic: Mosaic) -> Float:
    """Return for each different scene how far its photosites depart from their surroundings, (scenes, ...)."""
    views: dict[int, list[Float]] = {}
    for burst, scene in zip(scenes, scene_numbers([burst.mean for burst in scenes], mosaic), strict=True):
        views.setdefault(scene, []).append(_departure(burst, mosaic))
    return np.array([np.mean(alike, axis=0) for alike in views.values()], np.float32)


def _departure(burst: SceneMean, mosaic: Mosaic) -> Float:
    """Return how far each photosite is from the local median of its colour, in standard deviations of that there."""
    planes = mosaic.pack(burst.mean).copy()
    noise = noise_variance(planes, burst.profile) / burst.count
    for plane, least in zip(planes, noise, strict=True):
        fine = from_median(plane, 3)
        power = fine * fine
        around = (49 * cv2.blur(power, (7, 7)) - power) / 48
        plane[:] = fine / np.sqrt(np.maximum(around, least))
    return mosaic.unpack(planes, burst.mean.shape)


def _layers(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return image.reshape(-1, *image.shape[-2:])


class Repair:
    """Gives defective photosites the value that their healthy neighbours let expect.

    Each is a fixed linear combination, known before any frame is seen: a repaired frame's noise stays zero-mean and
    independent of other frames, so Noise2Noise stays exact. A defect whose surroundings are healthy is interpolated by
    `INTERPOLATION`; one in a cluster or at the border is the mean of the nearest of its own colour, weighted by the
    inverse fourth power of the distance.

    Parameters
    ----------
    defects : (H, W) or (3, H, W) bool array
    mosaic : Mosaic
        Of the frames.

    References
    ----------
    Malvar, He and Cutler, "High-quality linear interpolation for demosaicing of Bayer-patterned color images", 2004:
    the second derivative of green corrects the mean of the nearest reds or blues.
    """

    def __init__(self, defects: Mask, mosaic: Mosaic) -> None:
        self._healthy = _layers(~defects)
        self._colours = mosaic.colours
        self._period = mosaic.period
        self._places = np.stack(np.nonzero(~self._healthy))
        """(3, K): layer, row and column of every defect."""
        self._neighbours = np.repeat(self._places[..., None], MOST_NEIGHBOURS, axis=2)
        self._weights = np.zeros(self._neighbours.shape[1:], np.float32)
        self._weights[:, 0] = 1
        self.reach = 0
        """How far around a window repairing it reads, photosites; even."""
        pending = np.arange(len(self._weights))
        for colour in np.unique(self._colours):
            of_colour = self._colours[tuple(self._places[1:, pending] % self._period)] == colour
            alone = self._interpolate(pending[of_colour], INTERPOLATION[str(colour)])
            pending = np.setdiff1d(pending, alone)
        for reach in SEARCH_RADII:
            if len(pending):
                pending = self._average(pending, reach)

    def _interpolate(self, pending: Index, kernel: Sequence[tuple[int, int, float]]) -> Index:
        """Set the kernel for defects that have all its photosites, healthy ones; return these defects."""
        signs = {(s * a, t * b): w for y, x, w in kernel for a, b in ((y, x), (x, y)) for s in (1, -1) for t in (1, -1)}
        offsets, weights = np.array(list(signs)), np.array(list(signs.values()), np.float32)
        down, right, good = self._around(pending, offsets)
        whole = good.all(axis=1)
        self._set(pending[whole], down[whole], right[whole], np.broadcast_to(weights, down[whole].shape))
        return pending[whole]

    def _average(self, pending: Index, reach: int) -> Index:
        """Set the weighted mean of the nearest of one colour within ``reach``; return the defects that have too few."""
        span = range(-reach, reach + 1)
        offsets = np.array(sorted(((y, x) for y in span for x in span if y or x), key=lambda o: o[0] ** 2 + o[1] ** 2))
        down, right, good = self._around(pending, offsets)
        own = self._colours[tuple(self._places[1:, pending, None] % self._period)]
        good &= self._colours[down % self._period, right % self._period] == own
        enough = good.sum(axis=1) > 1
        nearest = np.argsort(~good, axis=1, kind="stable")[enough, :MOST_NEIGHBOURS]
        weights = np.where(good, 1 / (offsets.astype(np.float32) ** 2).sum(axis=1) ** 2, 0)[enough]
        weights, down, right = (
            np.take_along_axis(part, nearest, axis=1) for part in (weights, down[enough], right[enough])
        )
        self._set(pending[enough], down, right, weights / weights.sum(axis=1, keepdims=True))
        rest: Index = pending[~enough]
        return rest

    def _around(self, pending: Index, offsets: Index) -> tuple[Index, Index, Mask]:
        """Return rows and columns around defects, and which of them are in the image and healthy."""
        layer, row, column = self._places[:, pending, None]
        _, height, width = self._healthy.shape
        down, right = row + offsets[:, 0], column + offsets[:, 1]
        inside = (down >= 0) & (down < height) & (right >= 0) & (right < width)
        good = inside & self._healthy[layer, np.clip(down, 0, height - 1), np.clip(right, 0, width - 1)]
        return down, right, good

    def _set(self, chosen: Index, down: Index, right: Index, weights: Float) -> None:
        if not len(chosen):
            return
        used, count = weights != 0, weights.shape[1]
        self._weights[chosen] = 0
        self._weights[chosen, :count] = weights
        for axis, near in enumerate((down, right), 1):
            own = self._places[axis, chosen, None]
            self._neighbours[axis, chosen, :count] = np.where(used, near, own)
            farthest = int(np.abs(np.where(used, near - own, 0)).max())
            self.reach = max(self.reach, farthest + farthest % 2)

    def apply(self, image: npt.NDArray[T], top: int = 0, left: int = 0) -> npt.NDArray[T]:
        """Return an image with its defects repaired.

        Parameters
        ----------
        image : (H, W) or (3, H, W) float array, any unit
            A whole image, or a window of one; not modified.
        top, left : int
            Where the window begins in the whole image. Defects nearer than `reach` to its border may stay as they are.
        """
        repaired = image.copy()
        self.mend(repaired, top, left)
        return repaired

    def mend(self, image: npt.NDArray[T], top: int = 0, left: int = 0) -> None:
        """Repair the defects of an image in place; otherwise as `apply`."""
        layers = _layers(image)
        corner = np.array([0, top, left])[:, None]
        places = self._places - corner
        size = np.array(layers.shape)[:, None]
        (here,) = np.nonzero(((places >= 0) & (places < size)).all(axis=0))
        near = self._neighbours[:, here] - corner[..., None]
        known = ((near >= 0) & (near < size[..., None])).all(axis=(0, 2))
        here, near = here[known], near[:, known]
        layers[tuple(places[:, here])] = (layers[tuple(near)] * self._weights[here]).sum(axis=1)
