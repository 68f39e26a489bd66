"""The noise of a single shot, told from the shot itself: what is left in its flattest places.

A burst measures noise; this guesses it, for shots of sensors that nobody has calibrated.
"""

import cv2
import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from burst_denoise.arrays import Double, Float, Mask
from burst_denoise.errors import InputFileError
from burst_denoise.frame.geometry import blocks
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.schemas import NoiseProfile
from burst_denoise.sensor.noise_model import SMALLEST_VARIANCE

__all__ = ["estimate_noise"]

SIDE = 4
"""Plane pixels along a side of a block: small enough to fit between two edges."""
NEIGHBOURS = 3
"""Blocks along a side of the place whose texture is judged."""
HIGH, LOW = np.array((-1, 2, -1)) / 6**0.5, np.array((1, 2, 1)) / 6**0.5
"""Second difference and its low-pass companion; both leave the variance of white noise as it is."""
DEGREES = SIDE**2 / (1 + 2 * (4 / 6) ** 2 + 2 * (1 / 6) ** 2) ** 2
"""Degrees of freedom of the mean square of a block: its values are correlated by the filter."""
FLATTEST = 0.03
BINS, FEWEST_IN_BIN, FEWEST_BLOCKS = 12, 8, 16
ROUNDS = 8
STILL = 1e-11
"""Mean square of details, linear units squared, that no sensor's noise gets below: a fifth of a step of 16 bits."""
SATURATED = 0.98
"""Linear value from which a photosite may be clipped: LibRaw's white level is not always that of the sensor."""
READ_NOISE_E, READ_NOISE_FACTOR = 3.0, 2.5
"""Electrons, and the factor by which sensors differ from that: decides only what the shot leaves open. Five measured
cameras at ISO 100 to 12800 had 0.3 to 13 electrons, 2.9 in the middle."""
TOLERANCE, WEIGHT_ABOVE = 1.5, 0.1
"""A bin that many standard errors above the line holds texture still, and counts that much."""


def estimate_noise(image: Float, mosaic: Mosaic, iso: float | None = None) -> NoiseProfile:
    """Return the noise profile that one shot shows in its flattest places, without any other knowledge of its sensor.

    Parameters
    ----------
    image : (H, W) or (3, H, W) float32 array, linear
        Not clipped at black. Photosites near the white level, and their surroundings, do not count.
    mosaic : Mosaic
        Of the frames.
    iso : float, optional
        What the profile says about its ISO; has no influence on the rest.

    Returns
    -------
    NoiseProfile
        S and O not negative. Row noise is part of no second difference along a row: it is not seen.

    Raises
    ------
    InputFileError
        If the picture cannot tell: it is too small, or nearly all of it is saturated. The file is not named in it.

    Notes
    -----
    Variance is the mean square of second differences along both axes, over the few percent of blocks around which all
    *other* differences, those of the other colours included, are smallest in units of the noise estimated so far.
    Noise is independent between colours, and white noise between the filters, so this choice takes no part in the
    noise of what it chooses, and no bias of order statistics arises; a picture has its texture in all of them. The line
    S x + O is then fitted to all levels, flat ones first, and pulled little by what lies above it: the lower envelope.

    Fine texture that fills the whole picture is taken for noise. Pictures of nothing but gravel or grass gave five
    times the standard deviation at ISO 100 and a sixth too much at ISO 12800; denoised by that, such a picture is
    harmed. A line through a narrow span of levels (a backdrop, a night sky) leaves open what is S and what is O, though
    not their sum there: the read noise is then taken to be what sensors usually have in electrons. A shot cut off at
    black shows too little noise there.
    Developed pictures are estimated plane by plane; their tone curve is not S x + O, and noise that the camera smoothed
    is coarser than what is looked at here: the profile comes out too small, by a factor that one shot cannot tell.

    References
    ----------
    Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting for single-image raw-data", IEEE TIP 17(10),
    2008 (the model and the bins). Liu, Tanaka and Okutomi, "Single-image noise level estimation for blind denoising",
    IEEE TIP 22(12), 2013 (weakly textured blocks, chosen again with every estimate).
    """
    planes = mosaic.pack(image)
    level, fine, coarse, usable = _details(planes)
    if usable.sum() < FEWEST_BLOCKS:
        raise InputFileError(
            f"its noise cannot be told: {int(usable.sum())} of the {FEWEST_BLOCKS} blocks needed are neither "
            "cut off nor overexposed; give a noise profile or a model"
        )
    count = len(planes)
    together = [list(range(count))] if mosaic.cfa else [[plane] for plane in range(count)]
    level_around, fine_around, coarse_around = (_around(values) for values in (level, fine, coarse))
    terms = np.tile((0.1, 1e-2), (count, 1))  # to begin with, more than any sensor has: nothing is texture
    for _ in range(ROUNDS):
        texture = _texture(level_around, fine_around, coarse_around, terms)
        for group in together:
            bins = np.concatenate([_flattest(level_around[p], fine[p], texture[p], usable) for p in group])
            terms[group] = _lower_line(*bins.T)
    return NoiseProfile(
        iso=iso,
        shot_noise_scale=tuple(terms[:, 0].tolist()),
        read_noise_variance=tuple(np.maximum(terms[:, 1], SMALLEST_VARIANCE).tolist()),
    )


def _details(planes: Float) -> tuple[Float, Float, Float, Mask]:
    """Return level and details of every block of a shot, per plane (C, h, w).

    Returns
    -------
    level : mean
    fine : mean square of second differences along both axes, which is noise, and the least of the picture
    coarse : mean square of second differences along one axis, sum of both: the edges
    usable : (h, w), whether it is away from saturated photosites
    """

    def mean_square(plane: Float, down: Double, along: Double) -> Float:
        detail = cv2.sepFilter2D(plane, cv2.CV_32F, along, down, borderType=cv2.BORDER_REFLECT_101)
        mean: Float = blocks(detail**2, SIDE, SIDE).mean((1, 3))
        return mean

    if min(planes.shape[1:]) // SIDE < NEIGHBOURS:
        nothing = np.empty((len(planes), 0, 0), np.float32)
        return nothing, nothing, nothing, np.empty((0, 0), np.bool_)
    # cv2 wants float32 in whole rows; an image that is no mosaic comes as it was given.
    planes = np.ascontiguousarray(planes, np.float32)
    level = np.stack([blocks(plane, SIDE, SIDE).mean((1, 3)) for plane in planes])
    fine = np.stack([mean_square(plane, HIGH, HIGH) for plane in planes])
    coarse = np.stack([mean_square(plane, LOW, HIGH) + mean_square(plane, HIGH, LOW) for plane in planes])
    cut = np.asarray(blocks(planes >= SATURATED, SIDE, SIDE).any((0, 2, 4)))
    # Where some blocks have noise, those without any were cut off below white: LibRaw's is not always the sensor's.
    still = (fine <= STILL).any(0)
    if not still.all():
        cut |= still
    return level, fine, coarse, cv2.dilate(cut.astype(np.uint8), np.ones((NEIGHBOURS, NEIGHBOURS))) == 0


def _around(values: Float) -> Float:
    """Return values of blocks (C, h, w), averaged over the neighbourhood of every block."""
    side = (NEIGHBOURS, NEIGHBOURS)
    return np.stack([cv2.blur(plane, side, borderType=cv2.BORDER_REFLECT_101) for plane in values])


def _texture(level: Float, fine: Float, coarse: Float, terms: Double) -> Double:
    """Return how textured the surroundings of each block are (C, h, w), as ``fine`` of its own plane does not see it.

    1 where there is noise alone.
    """
    variance = _variance(level, terms[:, 0, None, None], terms[:, 1, None, None])
    unit_fine = fine / variance
    texture: Double = ((coarse / variance).sum(0) + unit_fine.sum(0) - unit_fine) / (3 * len(fine) - 1)
    return texture


def _flattest(level: Float, fine: Float, texture: Double, usable: Mask) -> Double:
    """Return level, variance, texture and number of the flattest blocks of a plane, bin by bin of the level (B, 4).

    The level is that of the surroundings: of a block's own, which bin it is in would tell its noise.
    """
    level, fine, rough = level[usable], fine[usable], texture[usable]
    flat = rough <= np.quantile(rough, FLATTEST)
    rows = []
    for inside in np.array_split(np.argsort(level), max(1, min(BINS, len(level) // (2 * FEWEST_IN_BIN)))):
        # A level without flat blocks gives its flattest ones all the same, and counts less.
        chosen = inside[np.argsort(rough[inside])[: max(int(flat[inside].sum()), FEWEST_IN_BIN)]]
        rows.append((level[chosen].mean(), fine[chosen].mean(), rough[chosen].mean(), len(chosen)))
    return np.array(rows, np.float64)


def _lower_line(level: Double, variance: Double, texture: Double, count: Double) -> tuple[float, float]:
    """Return S and O of the line under the variances of bins, sought as log S and log of the read noise's electrons."""
    level, measured = np.maximum(level, 0), np.log(np.maximum(variance, SMALLEST_VARIANCE))
    error = np.sqrt(2 / (count * DEGREES) + np.maximum(texture - 1, 0) ** 2)
    weight = 1 / error

    def too_low(logs: Double) -> Double:
        scale, electrons = np.exp(logs)
        excess = measured - np.log(scale * level + (electrons * scale) ** 2)
        unusual = (logs[1] - np.log(READ_NOISE_E)) / np.log(READ_NOISE_FACTOR)
        return np.append(excess * weight, np.arctan(unusual))  # bounded: no more than two bins can outvote it

    logs = np.log((float(np.exp(np.median(measured))) ** 0.5 / READ_NOISE_E, READ_NOISE_E))
    for _ in range(5):
        logs = least_squares(too_low, logs, x_scale="jac").x
        scale, offset = float(np.exp(logs[0])), float(np.exp(2 * logs.sum()))
        above = (variance / _variance(level, scale, offset) - 1) * np.sqrt(count * DEGREES / 2) > TOLERANCE
        weight = np.where(above, WEIGHT_ABOVE, 1) ** 0.5 / error
    return scale, offset


def _variance(level: npt.NDArray[np.floating], scale: Double | float, offset: Double | float) -> Double:
    variance: Double = np.maximum(scale * np.maximum(level, 0) + offset, SMALLEST_VARIANCE)
    return variance
