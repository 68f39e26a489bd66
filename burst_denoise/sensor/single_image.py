"""Single-image Poisson-Gaussian noise estimation from weakly textured blocks.

A burst measures noise; this guesses it, for shots of sensors that nobody has calibrated. It is the first of two passes:
`burst_denoise.inference.residual_noise` estimates again from what the network takes away.
"""

import cv2
import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from burst_denoise.arrays import Double, Float, Mask
from burst_denoise.errors import InputFileError
from burst_denoise.frame.geometry import blocks, spread_windows
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.schemas import NoiseProfile
from burst_denoise.sensor.noise_model import SMALLEST_VARIANCE

__all__ = ["SATURATED", "estimate_noise", "fit_noise_line"]

SIDE = 4
"""Plane pixels along a side of a block: small enough to fit between two edges."""
NEIGHBOURS = 3
"""Blocks along a side of the place whose texture is judged."""
WINDOW, MOST_WINDOWS = 256, 40
"""Side of a window, photosites, and how many of a large shot are looked at: 2.6 megapixels."""
HIGH, LOW = np.array((-1, 2, -1)) / 6**0.5, np.array((1, 2, 1)) / 6**0.5
"""Second difference and its low-pass companion; both leave the variance of white noise as it is."""
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


def _corner_filter() -> tuple[Double, Double]:
    """Return what the greens' highest band is made of: a filter of the plane G1 (5, 5) and one of G2 (4, 4).

    Fourth differences along both diagonals of the mosaic, where the greens are a square lattice. Its band lies around
    the corner of what that lattice can carry, half a cycle per photosite along rows or columns.
    """
    fourth = (1, -4, 6, -4, 1)
    mosaic = np.zeros((9, 9))
    for one, a in enumerate(fourth, -2):
        for other, b in enumerate(fourth, -2):
            mosaic[4 + one + other, 4 + one - other] = a * b
    mosaic /= np.sqrt((mosaic**2).sum())
    return mosaic[::2, ::2], mosaic[1::2, 1::2]


CORNER = _corner_filter()


def _degrees(*filters: Double) -> float:
    """Return the degrees of freedom of the mean square of a block, whose values are correlated by filters."""
    correlation = sum(
        np.abs(np.fft.fft2(one, (64, 64))) ** 2
        for one in filters  # power spectrum, 1 in the mean
    )
    return float(SIDE**2 / np.mean(correlation**2))


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
        S and O not negative.

    Raises
    ------
    InputFileError
        If the picture cannot tell: it is too small, or nearly all of it is saturated. The file is not named in it.

    Notes
    -----
    Variance is the mean square of the greens' highest band (of a picture: of second differences along both axes), over
    the few percent of blocks around which the lower bands, those of the other colours included, are smallest in units
    of the noise estimated so far. White noise is independent between bands, so this choice takes no part in the noise
    of what it chooses, and no bias of order statistics arises. The line S x + O is then fitted to all levels, flat ones
    first, and pulled little by what lies above it: the lower envelope.

    The greens' highest band is the difference between the two green planes, each smoothed: texture hardly gets there
    through a lens, and raw files whose planes were coded with losses have their noise there while the highest bands of
    the planes are empty. Grass and gravel at ISO 100 still give twice the standard deviation: the second pass mends it.

    A line through a narrow span of levels (a backdrop, a night sky) leaves open what is S and what is O, though not
    their sum there: the read noise is then taken to be what sensors usually have in electrons. A shot cut off at black
    shows too little noise there.
    Developed pictures are estimated plane by plane; their tone curve is not S x + O, and noise that the camera smoothed
    is coarser than what is looked at here: the profile comes out too small, by a factor that one shot cannot tell.

    References
    ----------
    Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting for single-image raw-data", IEEE TIP 17(10),
    2008 (the model and the bins). Liu, Tanaka and Okutomi, "Single-image noise level estimation for blind denoising",
    IEEE TIP 22(12), 2013 (weakly textured blocks, chosen again with every estimate).
    """
    windows = spread_windows(image.shape, WINDOW, MOST_WINDOWS)
    parts = [_details(mosaic.pack(image[..., *window]), mosaic) for window in windows]
    level, fine, coarse = (np.concatenate([part[k] for part in parts], axis=1) for k in range(3))
    if level.shape[1] < FEWEST_BLOCKS:
        raise InputFileError(
            f"its noise cannot be estimated: {level.shape[1]} of the {FEWEST_BLOCKS} blocks needed are neither clipped "
            "at black nor overexposed; give a noise profile or a model"
        )
    degrees = _degrees(*CORNER) if mosaic.cfa else _degrees(np.outer(HIGH, HIGH))
    terms = np.tile((0.1, 1e-2), (len(level), 1))  # to begin with, more than any sensor has: nothing is texture
    for _ in range(ROUNDS):
        texture = (coarse / _variance(level, terms[:, :1], terms[:, 1:])).mean(0) / 2
        if mosaic.cfa:
            terms[:] = _lower_line(_flattest(level[1:3].mean(0), fine[0], texture), degrees)
        else:
            lines = [_lower_line(_flattest(*plane, texture), degrees) for plane in zip(level, fine, strict=True)]
            terms = np.array(lines)
    return NoiseProfile(
        iso=iso,
        shot_noise_scale=tuple(terms[:, 0].tolist()),
        read_noise_variance=tuple(np.maximum(terms[:, 1], SMALLEST_VARIANCE).tolist()),
    )


def _details(planes: Float, mosaic: Mosaic) -> tuple[Float, Float, Float]:
    """Return level and details of the n blocks of a window that are away from its border and from saturation.

    Returns
    -------
    level : (C, n), mean of the surroundings
        Of a block's own, which bin it is in would tell its noise.
    fine : (1, n) or (C, n), mean square of the highest band, which is noise, and the least of the picture
    coarse : (C, n), mean square of second differences along one axis, sum of both, in the surroundings: the edges
    """

    def mean(values: npt.NDArray[np.floating]) -> Float:
        means: Float = blocks(values, SIDE, SIDE).mean((-3, -1))
        return means

    def band(plane: Float, down: Double, along: Double) -> Float:
        return mean(np.square(cv2.sepFilter2D(plane, cv2.CV_32F, along, down, borderType=cv2.BORDER_REFLECT_101)))

    def around(values: Float) -> Float:
        return np.stack([cv2.blur(plane, (NEIGHBOURS, NEIGHBOURS)) for plane in values])

    if min(planes.shape[1:]) // SIDE < NEIGHBOURS:
        nothing = np.empty((len(planes), 0), np.float32)
        return nothing, nothing[:1] if mosaic.cfa else nothing, nothing
    # cv2 wants float32 in whole rows; an image that is no mosaic comes as it was given.
    planes = np.ascontiguousarray(planes, np.float32)
    coarse = np.stack([band(plane, LOW, HIGH) + band(plane, HIGH, LOW) for plane in planes])
    fine = mean(np.square(_corner(planes)))[None] if mosaic.cfa else np.stack([band(p, HIGH, HIGH) for p in planes])
    inner = np.zeros(fine.shape[1:], np.bool_)
    inner[1:-1, 1:-1] = True  # at the border the filters see reflections
    cut: Mask = np.asarray(blocks(planes >= SATURATED, SIDE, SIDE).any((0, 2, 4)))
    # Where some blocks have noise, those without any were cut off below white: LibRaw's is not always the sensor's.
    still: Mask = np.asarray((coarse <= STILL).any(0))
    if not still[inner].all():
        cut |= still
    chosen: Mask = inner & np.equal(cv2.dilate(cut.astype(np.uint8), np.ones((NEIGHBOURS, NEIGHBOURS))), 0)
    return around(mean(planes))[:, chosen], fine[:, chosen], around(coarse)[:, chosen]


def _corner(planes: Float) -> Float:
    """Return the highest band of the green lattice of a mosaic at the places of G1."""
    first, second = CORNER
    own = cv2.filter2D(planes[1], cv2.CV_32F, first, borderType=cv2.BORDER_REFLECT_101)
    # G2 of the same index lies one photosite below and one to the left.
    other = cv2.filter2D(planes[2], cv2.CV_32F, second, anchor=(1, 2), borderType=cv2.BORDER_REFLECT_101)
    band: Float = own + other
    return band


def _flattest(level: Float, fine: Float, texture: Double) -> Double:
    """Return level, variance, texture and number of the flattest blocks of a plane, bin by bin of the level (4, B)."""
    flat = texture <= np.quantile(texture, FLATTEST)
    rows = []
    for inside in np.array_split(np.argsort(level), max(1, min(BINS, len(level) // (2 * FEWEST_IN_BIN)))):
        # A level without flat blocks gives its flattest ones all the same, and counts less.
        chosen = inside[np.argsort(texture[inside])[: max(int(flat[inside].sum()), FEWEST_IN_BIN)]]
        rows.append((level[chosen].mean(), fine[chosen].mean(), texture[chosen].mean(), len(chosen)))
    return np.array(rows, np.float64).T


def _lower_line(bins: Double, degrees: float) -> tuple[float, float]:
    """Return S and O of the line under the variances of bins, whose blocks have so many degrees of freedom."""
    level, variance, texture, count = bins
    error = np.sqrt(2 / (count * degrees) + np.maximum(texture - 1, 0) ** 2)
    weight = np.ones_like(error)
    for _ in range(5):
        scale, offset = fit_noise_line(level, variance, error / np.sqrt(weight))
        above = (variance / _variance(level, scale, offset) - 1) * np.sqrt(count * degrees / 2) > TOLERANCE
        before, weight = weight, np.where(above, WEIGHT_ABOVE, 1)
        if np.array_equal(before, weight):
            break
    return scale, offset


def fit_noise_line(level: Double, variance: Double, error: Double) -> tuple[float, float]:
    """Return S and O of the line S x + O through variances at several levels.

    Parameters
    ----------
    level : (B,) array, linear
    variance : (B,) array, linear squared
    error : (B,) array
        Standard error of each variance, relative to it.

    Returns
    -------
    shot_noise_scale, read_noise_variance : float
        Positive. Sought as log S and log of the read noise's electrons: what the levels leave open is decided by the
        electrons of usual sensors.
    """
    level, measured = np.maximum(level, 0), np.log(np.maximum(variance, SMALLEST_VARIANCE))

    def misfit(logs: Double) -> Double:
        scale, electrons = np.exp(logs)
        excess = measured - np.log(scale * level + (electrons * scale) ** 2)
        unusual = (logs[1] - np.log(READ_NOISE_E)) / np.log(READ_NOISE_FACTOR)
        return np.append(excess / error, np.arctan(unusual))  # bounded: no more than two bins can outvote it

    start = np.log((float(np.exp(np.median(measured))) ** 0.5 / READ_NOISE_E, READ_NOISE_E))
    logs = least_squares(misfit, start, method="lm", x_scale="jac").x
    return float(np.exp(logs[0])), float(np.exp(2 * logs.sum()))


def _variance(level: npt.NDArray[np.floating], scale: Double | float, offset: Double | float) -> Double:
    variance: Double = np.maximum(scale * np.maximum(level, 0) + offset, SMALLEST_VARIANCE)
    return variance
