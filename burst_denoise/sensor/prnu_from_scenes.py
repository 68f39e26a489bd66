"""Fixed pattern from tripod bursts, without darks or flats: what the means of several scenes share.

A single scene tells how much pattern there is at most: what the neighbours of a photosite do not predict.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from burst_denoise.arrays import Double, Float, Mask
from burst_denoise.frame.exposure import same_setting
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.schemas import Estimate, NoiseProfile
from burst_denoise.sensor.intervals import band_sums, jackknife, leave_one_out, root_of_variance

__all__ = ["PatternBound", "SceneMean", "ScenePattern", "pattern_bound", "prnu_from_scenes", "scene_numbers"]


SAME_SCENE = 0.4
"""Correlation of coarse content from which two bursts show one scene; 0.9 and more at two ISOs, below 0.2 otherwise."""
REACH = 2
"""Photosites around one, of all colours, that predict it."""
ROUNDS = 3
"""The prediction is fitted anew so often, with weights from the errors of the round before."""
FIT_PHOTOSITES = 2**18
"""So many photosites of a plane are enough to fit 24 weights."""


@dataclass(frozen=True)
class SceneMean:
    """One tripod burst as the fixed pattern sees it."""

    mean: Float
    """(H, W) or (3, H, W), linear: mean of its frames."""
    count: int
    """Frames averaged."""
    profile: NoiseProfile
    """Noise profile of the burst; names its ISO."""
    variance: Float | None = None
    """Temporal variance of one frame per photosite as measured, linear units squared; None where unknown."""
    excluded: Mask | None = None
    """Saturated or defective photosites; None for none."""


@dataclass(frozen=True)
class PatternBound:
    """How much of a burst mean is fixed pattern, PRNU and DSNU together."""

    mean_variance: Estimate
    """Mean over the photosites that count, linear units squared."""
    variance: Float
    """Variance at each photosite, linear units squared; the shape of the mean."""


@dataclass(frozen=True)
class ScenePattern:
    """The fixed pattern that bursts of different scenes share."""

    scenes: int
    """Different ones among the bursts."""
    prnu: tuple[Estimate, ...]
    """Per plane, relative to 1."""
    prnu_of_all: Estimate
    """PRNU of all planes together: mostly alike on one sensor, and what sharp scenes still tell."""
    dsnu: dict[float | None, tuple[Estimate, ...]]
    """Per ISO of at least two scenes: per plane, linear units."""
    left_out: Mapping[float | None, Double]
    """Per such ISO: P^2 and D^2 of all planes together, (2, G + 1): each group of rows left out in turn, then none."""

    def in_burst(self, burst: SceneMean) -> PatternBound | None:
        """Return the pattern of a burst of this sensor; None where its ISO has not two scenes."""
        known = [found for iso, found in self.left_out.items() if same_setting(iso, burst.profile.iso)]
        return _in_burst(known[0], burst) if known else None


def prnu_from_scenes(bursts: Sequence[SceneMean], mosaic: Mosaic) -> ScenePattern | None:
    """Measure the fixed pattern without darks or flats: it is what the means of different scenes share.

    Parameters
    ----------
    bursts : sequence of SceneMean
        Of one sensor, in the same units and with the same corrections.
    mosaic : Mosaic

    Returns
    -------
    ScenePattern or None
        None where there are not two scenes.

    Notes
    -----
    Every photosite is predicted from the 24 around it, of all colours, by weights w fitted to each plane of each mean;
    what is left holds little of the scene. Between the means of two scenes at one photosite it has the covariance
    P^2 (x_a x_b + sum w_a w_b x_a x_b) + D_a D_b (1 + sum w_a w_b), with P the PRNU, D the DSNU at each ISO and x the
    levels of the photosite and its neighbours: scenes are independent, as is the noise of the bursts. P^2 and the
    D_a D_b are fitted by least squares over all photosites and all pairs of scenes; P is common to all ISOs. Each
    counts by the inverse of the product of the two local variances (texture and noise), taken around the photosite but
    without it, else they would depend on the very product. Intervals by jackknife over bands of rows.
    """
    apart = scene_numbers([burst.mean for burst in bursts], mosaic)
    pairs = [(a, b) for a, b in itertools.combinations(range(len(bursts)), 2) if apart[a] != apart[b]]
    if not pairs:
        return None
    isos_of = [tuple(sorted((bursts[a].profile.iso, bursts[b].profile.iso), key=str)) for a, b in pairs]
    kinds = sorted(set(isos_of), key=str)
    within = {kind[0]: index for index, kind in enumerate(kinds, 1) if kind[0] == kind[1]}
    equations = []
    for plane in range(len(mosaic.pack(bursts[0].mean))):
        seen = [_prediction_residual(burst, mosaic, plane) for burst in bursts]
        terms = [
            _normal_equations(seen[a], seen[b], kinds.index(isos), len(kinds))
            for (a, b), isos in zip(pairs, isos_of, strict=True)
        ]
        equations.append(np.sum(terms, axis=0))
    solutions = [_without_each(_solution, plane) for plane in equations]

    def unknown(index: int) -> tuple[Estimate, ...]:
        return tuple(root_of_variance(jackknife(found[index])) for found in solutions)

    # A band of one plane is a group of its own: the noise of the planes is independent.
    planes = np.stack(equations)
    groups = np.einsum("pijg,pq->pijqg", planes, np.eye(len(planes))).reshape(*planes.shape[:-1], -1)
    together = root_of_variance(jackknife(_without_each(_common_slope, groups)))
    alike = _without_each(_solution, groups.sum(axis=0))
    return ScenePattern(
        len(set(apart)),
        unknown(0),
        together,
        {iso: unknown(index) for iso, index in within.items()},
        {iso: alike[[0, index]] for iso, index in within.items()},
    )


def pattern_bound(burst: SceneMean, mosaic: Mosaic) -> PatternBound:
    """Return how much fixed pattern one burst may hold at most, because texture passes for it.

    Parameters
    ----------
    burst : SceneMean
        With its temporal variance.
    mosaic : Mosaic

    Notes
    -----
    Prediction and weights are those of `prnu_from_scenes`. The square of what the prediction leaves, less the noise of
    the mean, is P^2 (x^2 + sum w^2 x^2) + D^2 (1 + sum w^2) and what texture the neighbours do not predict. P^2 and D^2
    are fitted for all planes together. In a soft scene the bound is the pattern itself, in a sharp one many times that.
    Interval by jackknife over bands of rows.
    """
    planes = [_pattern_equations(burst, mosaic, plane) for plane in range(len(mosaic.pack(burst.mean)))]
    return _in_burst(_without_each(_solution, np.concatenate(planes, axis=-1)), burst)


def _in_burst(left_out: Double, burst: SceneMean) -> PatternBound:
    """Return the pattern of a burst from P^2 and D^2, (2, G + 1)."""
    counted = burst.mean if burst.excluded is None else burst.mean[~burst.excluded]
    level_squared = float((counted.astype(np.float64) ** 2).mean())
    prnu, dsnu = (np.float32(max(found, 0.0)) for found in left_out[:, -1])
    return PatternBound(
        jackknife(left_out[0] * level_squared + left_out[1]), np.asarray(prnu * burst.mean**2 + dsnu, np.float32)
    )


def _pattern_equations(burst: SceneMean, mosaic: Mosaic, plane: int) -> Double:
    """Return, per band of rows, the weighted normal equations of fine^2 - noise = P^2 level^2 + D^2: (2, 3, bands)."""
    assert burst.variance is not None
    seen = _prediction_residual(burst, mosaic, plane)
    squares = seen.kernel**2
    gain = 1 + float(squares.sum())

    def spread(layer: Float) -> Double:
        """Return a photosite's own value and what its neighbours' errors add in the prediction."""
        around = cv2.filter2D(layer, -1, squares)[seen.own]
        return np.asarray(layer[seen.own] + around, np.float64) / gain

    variance = burst.variance if burst.variance.ndim == 2 else burst.variance[plane]
    # The fit of the prediction has taken its share of degrees of freedom.
    free = 1 - (seen.kernel.size - 1) / max(int(seen.counts.sum()), seen.kernel.size)
    pattern = seen.fine.astype(np.float64) ** 2 / (gain * free) - spread(variance) / burst.count
    # The level of a photosite itself is averaged, or else its noise would be fitted to itself.
    level = (seen.level.astype(np.float64) ** 2 + cv2.filter2D(seen.layer**2, -1, squares)[seen.own]) / gain
    weight = seen.counts * gain**2 / seen.variance.astype(np.float64) ** 2
    return np.array([[band_sums(weight * x * y) for y in (level, 1, pattern)] for x in (level, 1)])


def scene_numbers(means: Sequence[Float], mosaic: Mosaic) -> list[int]:
    """Return for each burst mean which scene it shows: equal numbers, equal scenes, whatever their ISO.

    Judged by the correlation of their content between 8 and 32 photosites, where fixed pattern has no say.
    """
    coarse: list[Float] = []
    scene: list[int] = []
    for mean in means:
        grey = mosaic.pack(mean).mean(axis=0)
        period = mosaic.period
        content = cv2.GaussianBlur(grey, (0, 0), 4 / period) - cv2.GaussianBlur(grey, (0, 0), 16 / period)
        content = (content - content.mean()) / max(float(content.std()), 1e-12)
        alike = [k for k, other in enumerate(coarse) if float((content * other).mean()) > SAME_SCENE]
        scene.append(scene[alike[0]] if alike else len(set(scene)))
        coarse.append(content)
    return scene


@dataclass(frozen=True)
class _PredictionResidual:
    """One plane of a burst mean: what its neighbours do not predict."""

    layer: Float
    """The image that the plane is part of."""
    own: tuple[slice, slice]
    """Where the plane lies in it."""
    kernel: Float
    """The prediction."""
    level: Float
    fine: Float
    """What the prediction leaves."""
    variance: Float
    """Variance of the residual around each pixel."""
    counts: Mask


def _prediction_residual(burst: SceneMean, mosaic: Mosaic, index: int) -> _PredictionResidual:
    layer = burst.mean if burst.mean.ndim == 2 else burst.mean[index]
    excluded = np.zeros(burst.mean.shape, np.uint8) if burst.excluded is None else burst.excluded.astype(np.uint8)
    own = mosaic.place(index)
    side = 2 * REACH + 1
    near = cv2.dilate(excluded if excluded.ndim == 2 else excluded[index], np.ones((side, side), np.uint8))
    counts = near[own] == 0
    counts[:REACH] = counts[-REACH:] = counts[:, :REACH] = counts[:, -REACH:] = False
    plane = np.ascontiguousarray(layer[own])
    variance = np.maximum(plane, 0.01 * max(float(plane.max()), 1e-6))  # as of photon noise, to begin with
    for _ in range(ROUNDS):
        kernel = _predictor(layer, own, counts / variance)
        fine: Float = (plane - cv2.filter2D(layer, -1, kernel)[own]).astype(np.float32)
        power = fine * fine
        # The error of a pixel at most two away knows the pixel itself.
        around = (81 * cv2.blur(power, (9, 9)) - 25 * cv2.blur(power, (5, 5))) / 56
        variance = np.maximum(around, np.float32(1e-3) * max(float(np.median(around)), 1e-18))
    return _PredictionResidual(
        layer, own, kernel, cv2.blur(plane, (3, 3)).astype(np.float32), fine, variance, counts & (power < 36 * variance)
    )


def _predictor(layer: Float, own: tuple[slice, slice], weight: npt.NDArray[np.floating]) -> Float:
    """Return the kernel (5, 5), centre 0, that best predicts the pixels of a plane, by weighted least squares."""
    around = range(-REACH, REACH + 1)
    offsets = [(y, x) for y in around for x in around if y or x]
    every = max(1, weight.size // FIT_PHOTOSITES)
    padded = np.pad(layer.astype(np.float64), REACH, mode="reflect")
    height, width = layer.shape

    def part(y: int, x: int) -> Double:
        shifted = padded[REACH + y : REACH + y + height, REACH + x : REACH + x + width]
        return shifted[own][::every].ravel()

    seen = np.stack([part(y, x) for y, x in offsets])
    weighted = seen * weight[::every].ravel()
    normal, target = weighted @ seen.T, weighted @ part(0, 0)
    normal[np.diag_indices(len(normal))] += 1e-9 * max(float(np.trace(normal)) / len(normal), 1e-18)
    kernel = np.insert(np.linalg.solve(normal, target), len(offsets) // 2, 0)
    return kernel.reshape(2 * REACH + 1, -1).astype(np.float32)


def _normal_equations(a: _PredictionResidual, b: _PredictionResidual, kind: int, kinds: int) -> Double:
    """Return, per band of rows, the weighted normal equations of fine_a fine_b = P^2 level + intercept of the kind.

    The result is (unknowns, unknowns + 1, bands); unknown 0 is P^2, the others are the intercepts.
    """
    both = a.kernel * b.kernel
    gain = 1 + float(both.sum())
    weight = (a.counts & b.counts) / (a.variance * b.variance).astype(np.float64) * gain**2
    level = (a.level * b.level + cv2.filter2D(a.layer * b.layer, -1, both)[a.own]) / gain
    product = a.fine * b.fine / gain
    own = np.array([[band_sums(weight * x * y) for y in (level, 1, product)] for x in (level, 1)])
    normal = np.zeros((kinds + 1, kinds + 2, own.shape[-1]))
    normal[np.ix_((0, kind + 1), (0, kind + 1, -1))] = own
    return normal


def _without_each(solve: Callable[[Double], Double], equations: Double) -> Double:
    """Return the solutions (..., G + 1) of equations (..., G) without each group in turn, then with all."""
    return np.stack([solve(left) for left in np.moveaxis(leave_one_out(equations), -1, 0)], axis=-1)


def _solution(normal: Double) -> Double:
    # Least squares, because scenes of one level leave slope and intercepts undecided.
    scale = np.sqrt(np.maximum(np.diag(normal[:, :-1]), 1e-300))
    solution: Double = np.linalg.lstsq(normal[:, :-1] / np.outer(scale, scale), normal[:, -1] / scale, rcond=1e-9)[0]
    return solution / scale


def _common_slope(planes: Double) -> Double:
    """Return the P^2 that planes of different intercepts have in common: intercepts eliminated, then pooled."""
    intercepts = np.maximum(np.diagonal(planes[:, 1:, 1:-1], axis1=1, axis2=2), 1e-300)
    share = planes[:, 0, 1:-1] / intercepts
    slopes = planes[:, 0, 0] - (share * planes[:, 0, 1:-1]).sum(axis=1)
    targets = planes[:, 0, -1] - (share * planes[:, 1:, -1]).sum(axis=1)
    return np.asarray(targets.sum() / max(float(slopes.sum()), 1e-300))
