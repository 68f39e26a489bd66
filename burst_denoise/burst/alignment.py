"""How far the frames of a series moved against each other, robust against objects that move on their own."""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.fft import irfft2, rfft2

from burst_denoise.arrays import Double, Float
from burst_denoise.frame.geometry import blocks
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.sensor.defects import beside

__all__ = ["Alignment", "align", "displacement", "grey_picture", "tile_sums"]


LARGEST_PICTURE = 2_600_000
"""Pixels; larger pictures are binned first. 24 megapixels: 0.25 photosites are then 0.06 px, ten times the error."""
FINE_PX, COARSE_PX = 1.1, 4.0
"""Standard deviations of the band that is compared: no pixel noise, no gradient of light."""
TILE = 32
PEAK_SIGMA = 8.0
"""Height of a true peak of the cross-correlation in standard deviations; noise alone reaches 5 in a million pixels."""
SIGNIFICANCE_SIGMA, EXCESS_SIGMA = 4.0, 2.0
"""A frame has moved when it is off by so many standard errors, and by so many beyond the tolerance: where few tiles
have texture (a rocket before a black sky at ISO 12800) their scatter tells the error badly."""
TILE_MISFIT_SHARE = 0.02
"""Share of a tile's energy that the linearised difference may miss; a moved object leaves twice all of it."""
SETTLED = 1e-3
"""Change of the weights of tiles that is not worth solving again for: it moves a frame by 1e-5 px."""
ROUNDS = 3
"""Times that the frames which agree are found anew; two are enough unless the first frame was too noisy to tell."""
STEPS = 6
"""Newton steps; the start is right to half a pixel, and each step leaves about a tenth."""
SIMILARITY_STEPS = 2
"""Further ones that also look for zoom and rotation; the second starts from the shift that the first found beside."""


@dataclass(frozen=True)
class Alignment:
    """Where each frame of a series stands."""

    shifts: Double
    """(N, 2): how far the centre moved right and down, photosites, against the median of the frames that agree (of all,
    where no two agree); nan where not measurable."""
    corners: Double
    """(N, 2) photosites: how far the corners moved outwards, by zoom, and around the centre, by clockwise rotation,
    beside that shift. 0 where only the shift is measurable."""
    inliers: tuple[int, ...]
    """The largest set of frames that agree, those that cannot be measured among them; empty when no two agree."""


def grey_picture(linear: Float, mosaic: Mosaic) -> tuple[Float, int]:
    """Return a frame as one grey plane without hot photosites.

    Parameters
    ----------
    linear : (H, W) or (3, H, W) float32 array, linear
    mosaic : Mosaic

    Returns
    -------
    grey : (h, w) float32 array, linear
        Of a mosaic, the mean of the two green planes. Hot photosites stand still when the picture moves and stay sharp
        when it blurs; so no pixel is left brighter than its brightest neighbour.
    pitch : int
        Photosites from one pixel to the next: 2 for a mosaic, else 1.
    """
    planes = mosaic.pack(linear)
    if len(planes) == 4:
        grey = (planes[1] + planes[2]) / 2
    elif len(planes) == 3:
        grey = (planes[0] + 2 * planes[1] + planes[2]) / 4
    else:
        grey = planes[0]
    return np.minimum(grey, beside(grey, 3)), mosaic.period


def tile_sums(picture: npt.NDArray[np.floating], side: int) -> Double:
    """Return the sums of a picture (h, w) over whole square tiles of ``side`` pixels, or over all if it is smaller."""
    high, wide = min(side, picture.shape[0]), min(side, picture.shape[1])
    sums: Double = blocks(picture, high, wide).sum(axis=(1, 3), dtype=np.float64)
    return sums


def align(greys: Iterable[tuple[Float, int]], tolerance: float) -> Alignment:
    """Measure where each frame stands, first against one frame, then against the mean of the *others* that agree.

    Parameters
    ----------
    greys : iterable of (picture, pitch) from `grey_picture`, at least 2
    tolerance : float
        Photosites by which the centre of a frame that agrees may have moved, and the corners beside it. A shift with a
        larger standard error counts as not measurable; zoom and rotation with a third of it.

    Notes
    -----
    The whole pixels come from the peak of the cross-correlation of band-passed pictures. (Phase correlation was a pixel
    off on camera JPEGs, and ``cv2.phaseCorrelate`` overwrites its input with the windowed picture.) The fraction
    solves the linearised difference by least squares over tiles, and tiles that do not fit the common shift, because
    something in them moved by itself, lose their weight: enhanced correlation (``cv2.findTransformECC``) read 0.3 px
    for an object that moved in front of a static scene, this reads 0.03. Zoom (focus breathing) and rotation are two
    more unknowns of the same equations, measured to 3 % up to a pixel at the corners.

    References
    ----------
    Lucas and Kanade, 1981 (the linearised difference); Geman and McClure, 1987 (the weights).
    """
    pictures, pitch = _band_pictures(greys)
    limit = tolerance / pitch
    first = len(pictures) // 2
    moved = np.zeros((len(pictures), 4))
    for k, picture in enumerate(pictures):
        if k != first:
            place, error = _similarity(pictures[first], picture, _whole_pixels(pictures[first], picture), limit)
            moved[k] = place if 3 * error[0] < limit else 0  # the mean of many frames may tell more
    inliers = _largest_cluster(moved, limit)
    errors = np.zeros((len(pictures), 2))
    for _ in range(ROUNDS):
        if not inliers:
            break
        total = np.sum([pictures[j] for j in inliers], axis=0)
        refined = np.zeros_like(moved)
        for k, picture in enumerate(pictures):
            others = [j for j in inliers if j != k]
            mean = (total - picture) / len(others) if k in inliers else total / len(others)
            start = moved[k] - np.mean(moved[others], axis=0)
            step, errors[k] = _similarity(mean, picture, start[:2], limit)
            # A frame that stands x from the mean of all stands x n / (n - 1) from the mean of the others.
            refined[k] = step * len(others) / len(inliers)
        moved = refined - np.median(refined[inliers], axis=0)
        apart = _distances(moved) > np.maximum(limit + EXCESS_SIGMA * errors, SIGNIFICANCE_SIGMA * errors)
        agreed = [k for k in range(len(pictures)) if not apart[k].any()]
        before, inliers = inliers, agreed if len(agreed) > 1 else _largest_cluster(moved, limit)
        if inliers == before:
            break
    if not inliers:
        moved = moved - np.median(moved, axis=0)
    shifts = np.where(errors[:, :1] * pitch > tolerance, np.nan, moved[:, :2] * pitch)
    corners = np.where(np.isinf(errors[:, 1:]), 0.0, moved[:, 2:] * pitch)
    return Alignment(shifts, corners, tuple(inliers))


def displacement(
    reference: tuple[Float, int], picture: tuple[Float, int], tolerance: float
) -> tuple[Double, Double] | None:
    """Return how far one picture moved against another: its centre (right, down) and its corners, photosites.

    The corners as in `Alignment`. None where the shift is known to no better than a third of ``tolerance``, photosites.
    """
    (still, moved), pitch = _band_pictures([reference, picture])
    place, error = _similarity(still, moved, _whole_pixels(still, moved), tolerance / pitch)
    if not 3 * error[0] * pitch < tolerance:
        return None
    return place[:2] * pitch, place[2:] * pitch


def _distances(moved: Double) -> Double:
    """Return how far centre and corners moved, (..., 2), from shift, zoom and rotation (..., 4)."""
    return np.stack([np.hypot(moved[..., 0], moved[..., 1]), np.hypot(moved[..., 2], moved[..., 3])], axis=-1)


def _band_pictures(greys: Iterable[tuple[Float, int]]) -> tuple[list[Float], int]:
    pictures = []
    for grey, pitch in greys:
        small = grey
        while small.size > LARGEST_PICTURE:
            even = small[: small.shape[0] // 2 * 2, : small.shape[1] // 2 * 2]
            small = np.asarray(cv2.resize(even, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.float32)
            pitch *= 2
        low = cv2.GaussianBlur(small, (0, 0), FINE_PX)
        pictures.append(low - cv2.GaussianBlur(small, (0, 0), COARSE_PX))
    return pictures, pitch


def _whole_pixels(reference: Float, picture: Float) -> Double:
    """Return (right, down) at the peak of the cross-correlation, (0, 0) where nothing stands out."""
    window = np.outer(*map(np.hanning, picture.shape)).astype(np.float32)
    product = np.conj(rfft2(reference * window)) * rfft2(picture * window)
    correlation = irfft2(product, s=picture.shape)
    if correlation.max() < PEAK_SIGMA * correlation.std():
        return np.zeros(2)
    size = np.array(picture.shape, np.float64)
    peak = np.array(np.unravel_index(np.argmax(correlation), picture.shape), np.float64)
    return ((peak + size // 2) % size - size // 2)[::-1]


def _similarity(reference: Float, picture: Float, start: Double, limit: float) -> tuple[Double, Double]:
    """Return shift (right, down), zoom and rotation of a picture against a reference, and two standard errors, px.

    Zoom and rotation are what they move a corner by; 0, with an infinite error, where that would be known to no better
    than a third of ``limit``. The errors are those of the shift and of the corners.
    """
    moved, error = _fraction(reference, picture, start)
    found = shift_only = np.array([*moved, 0.0, 0.0]), np.array([error, np.inf])
    for _ in range(SIMILARITY_STEPS if np.isfinite(error) else 0):
        place = found[0][:2]
        inner = _inside(picture.shape, place)
        if min(picture[inner].shape) < TILE:
            return shift_only
        tiles = _Tiles.of(_translate(reference, place)[inner], picture[inner])
        step, covariance = _newton_step(tiles, tiles.displacements(inner, picture.shape))
        errors = np.sqrt(np.diagonal(covariance).reshape(2, 2).sum(axis=1))
        if not 3 * errors.max() < limit:
            return shift_only
        found = np.array([*(place - step[:2]), *-step[2:]]), errors
    return found


def _fraction(reference: Float, picture: Float, start: Double) -> tuple[Double, float]:
    """Return the shift (right, down) of a picture against a reference, and its standard error, px."""
    moved = start.copy()
    error = float("inf")
    for _ in range(STEPS):
        warped = _translate(reference, moved)
        inner = _inside(picture.shape, moved)
        current = picture[inner]
        if min(current.shape) < TILE:
            return moved, float("inf")
        tiles = _Tiles.of(warped[inner], current)
        step, covariance = _newton_step(tiles, np.tile(np.eye(2), (len(tiles.vectors), 1)))
        error = float(np.sqrt(np.trace(covariance)))
        step *= min(1.0, 1.0 / float(np.hypot(*step) + 1e-9))  # the linearised difference knows nothing beyond a pixel
        moved -= step
        if float(np.hypot(*step)) < 1e-3:
            break
    return moved, error


def _translate(picture: Float, moved: Double) -> Float:
    """Return a picture moved right and down, by cubic convolution; its rim comes from the opposite side.

    ``cv2.warpAffine`` will not do: its cubic kernel (a = -0.75) moves by 0.29 px instead of 0.25, its linear one is
    exact only halfway between pixels.

    References
    ----------
    Keys, "Cubic convolution interpolation for digital image processing", 1981 (a = -1/2).
    """
    whole = np.floor(moved)
    kernels = []
    for fraction in moved - whole:
        far = np.abs(np.arange(-2, 3) + fraction)
        near = 1.5 * far**3 - 2.5 * far**2 + 1
        kernels.append(np.where(far < 1, near, np.where(far < 2, -0.5 * far**3 + 2.5 * far**2 - 4 * far + 2, 0)))
    rolled = np.roll(picture, (int(whole[1]), int(whole[0])), axis=(0, 1))
    return np.asarray(cv2.sepFilter2D(rolled, cv2.CV_32F, kernels[0], kernels[1]), np.float32)


def _inside(shape: tuple[int, ...], moved: Double) -> tuple[slice, slice]:
    """Return the part of a picture that the moved reference covers, without the rim where blurs mirror it."""
    rim = int(2 * COARSE_PX)
    right, down = (int(np.ceil(abs(v))) + rim for v in moved)
    return slice(down, shape[0] - down), slice(right, shape[1] - right)


@dataclass(frozen=True)
class _Tiles:
    """The linearised difference of two pictures in each of T tiles: vectors = matrices @ displacement."""

    grid: tuple[int, ...]
    """Tiles down and across."""
    matrices: Double
    """(T, 2, 2)"""
    vectors: Double
    """(T, 2)"""
    differences: Double
    energies: Double
    """(T,): sums of squares of the difference and of the reference."""

    @classmethod
    def of(cls, warped: Float, picture: Float) -> "_Tiles":
        right, down = _gradient(warped)
        picture_right, picture_down = _gradient(picture)
        difference = picture - warped
        # The products of gradients of *both* pictures hold no energy of their noises, which are independent: so the
        # step is not too short under noise, and its error is honest where there is nothing but noise.
        sums = [
            tile_sums(product, TILE)
            for product in (
                right * picture_right,
                (right * picture_down + down * picture_right) / 2,
                down * picture_down,
                right * difference,
                down * difference,
                difference * difference,
                warped * warped,
            )
        ]
        xx, xy, yy, xd, yd, dd, energies = (each.ravel() for each in sums)
        matrices = np.stack([np.stack([xx, xy], -1), np.stack([xy, yy], -1)], -2)
        return cls(sums[0].shape, matrices, np.stack([xd, yd], -1), dd, energies)

    def displacements(self, inner: tuple[slice, slice], shape: tuple[int, ...]) -> Double:
        """Return what shift, zoom and rotation by one pixel at the corners move the tiles by: (2 T, 4), right first.

        The tiles are those of the part ``inner`` of a picture of ``shape``.
        """
        down, right = (
            (part.start + (np.arange(count) + 0.5) * TILE - side / 2) / (float(np.linalg.norm(shape)) / 2)
            for part, count, side in zip(inner, self.grid, shape, strict=True)
        )
        right, down = np.tile(right, len(down)), np.repeat(down, len(right))
        one, none = np.ones_like(right), np.zeros_like(right)
        moves = np.stack([np.stack([one, none, right, -down], -1), np.stack([none, one, down, right], -1)], 1)
        return moves.reshape(-1, 4)


def _newton_step(tiles: _Tiles, displacements: Double) -> tuple[Double, Double]:
    """Return the step of P unknowns that makes picture(x) = warped(x + displacement), from all tiles that agree on it.

    ``displacements`` (2 T, P) are those of the tiles, right before down, by one unit of each unknown. The step comes
    with its covariance (P, P), infinite where there is no texture, or in one direction only.
    """
    each = displacements.reshape(len(tiles.vectors), 2, -1)
    matrices = np.einsum("tip,tij,tjq->tpq", each, tiles.matrices, each)
    vectors = np.einsum("tip,ti->tp", each, tiles.vectors)
    unknowns = each.shape[-1]
    weights = np.ones(len(vectors))
    tolerated = TILE_MISFIT_SHARE * np.maximum(tiles.energies - np.median(tiles.energies), 0)
    for _ in range(10):
        matrix = np.tensordot(weights, matrices, 1)
        spectrum = np.linalg.eigvalsh(matrix)
        if spectrum[0] <= 1e-6 * spectrum[-1]:
            return np.zeros(unknowns), np.full((unknowns, unknowns), np.inf)
        step = np.asarray(np.linalg.solve(matrix, weights @ vectors), np.float64)
        explained = matrices @ step
        scores = weights[:, None] * (vectors - explained)
        left = np.maximum(tiles.differences + (explained - 2 * vectors) @ step, 0)
        scale = np.median(left) + tolerated
        before, weights = weights, 1 / (1 + left / np.maximum(scale, 1e-9 * left.max() or 1.0)) ** 2
        if np.abs(weights - before).max() < SETTLED:
            break
    inverse = np.linalg.inv(matrix)
    covariance: Double = inverse @ (scores.T @ scores) @ inverse
    return step, covariance


def _gradient(picture: Float) -> tuple[Float, Float]:
    """Return the slopes (right, down) of a picture, per pixel.

    By five pixels: the difference of two is a tenth too small, and zoom, which is not iterated, came out as much too
    large.
    """
    kernel = np.array([1.0, -8.0, 0.0, 8.0, -1.0]) / 12
    right = cv2.sepFilter2D(picture, cv2.CV_32F, kernel, np.ones(1))
    down = cv2.sepFilter2D(picture, cv2.CV_32F, np.ones(1), kernel)
    return np.asarray(right, np.float32), np.asarray(down, np.float32)


def _largest_cluster(moved: Double, limit: float) -> list[int]:
    """Return the largest set of frames around one of them, from shifts, zooms and rotations (N, 4), or none of two.

    Twice the limit, by which frames on both sides of their median may differ: the S95 burst focused anew after three
    of six frames, all near enough to the mean of the two halves. What is too far from the median, the next round tells.
    """
    near = np.all(_distances(moved[:, None] - moved[None]) <= 2 * limit, axis=-1)
    members = [int(k) for k in np.flatnonzero(near[near.sum(axis=1).argmax()])]
    return members if len(members) > 1 else []
