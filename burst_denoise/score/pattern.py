"""`SensorPattern`: what is known of a sensor's fixed pattern; `BurstPattern`: what that says about one burst."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np

from burst_denoise.arrays import Float, Mask
from burst_denoise.burst.burst import WHOLE, Burst, Window
from burst_denoise.burst.flats import Flat
from burst_denoise.frame.exposure import same_setting
from burst_denoise.sensor.fixed_pattern import FlatField, MasterDark, PatternStd
from burst_denoise.sensor.moments import frame_moments
from burst_denoise.sensor.prnu_from_scenes import PatternBound, SceneMean, ScenePattern, pattern_bound

__all__ = ["ASSUMED_DSNU", "ASSUMED_PRNU", "BurstPattern", "SensorPattern"]

ASSUMED_PRNU = 0.01
"""Largest where nothing was measured: sensors mostly have 0.3 to 1 %, the one real one that we measured 0.43 %."""
ASSUMED_DSNU = 0.2
"""Largest where nothing was measured, in units of the read noise: the real sensor has 0.05, the simulated one 0.08."""


@dataclass(frozen=True)
class SensorPattern:
    """What flats, dark frames and bursts of several framings say about a sensor's fixed pattern; all may be missing."""

    flat: FlatField | None = None
    framings: ScenePattern | None = None
    dsnu: Mapping[float | None, tuple[float, ...]] = field(default_factory=dict)
    """Per ISO of dark frames, which were subtracted: per plane, linear units, what remains."""

    @classmethod
    def of(
        cls, flat: Flat | None, framings: ScenePattern | None, darks: Mapping[float | None, MasterDark] | None = None
    ) -> Self:
        """Return what flats, framings and the master darks of each ISO tell."""
        dsnu = {iso: master.residual_std for iso, master in (darks or {}).items()}
        return cls(None if flat is None else flat.field, framings, dsnu)


class _Range(NamedTuple):
    """Bounds of the mean square of the pattern, linear units squared, and its distribution over photosites."""

    least: float
    most: float
    shape: Float
    source: str


class BurstPattern:
    """The fixed pattern in the frames of one burst as references: divided by the flats where there are any.

    Parameters
    ----------
    burst : Burst
    known : SensorPattern
        A flat of another size than the frames is passed over.

    Attributes
    ----------
    variance : float array of the shape of a frame, linear units squared
        Largest variance of the pattern that the references hold, at each photosite.
    least, most : float, linear units squared
        Between these its mean over the photosites that count lies.
    source : str
        Who says so: "flats", "framings", "assumed", or "burst", where the burst itself has room for less.
    """

    def __init__(self, burst: Burst, known: SensorPattern) -> None:
        self._burst = burst
        flat = known.flat if known.flat and known.flat.sensitivity.shape == burst.saturated.shape else None
        self._sensitivity = None if flat is None else flat.sensitivity
        moments = frame_moments(map(self.reference, range(len(burst))))
        mean, variance = moments.mean.astype(np.float32), moments.variance.astype(np.float32)
        scene = SceneMean(mean, len(burst), burst.profile, variance, burst.excluded)
        found = _known_range(burst, scene, flat, known)
        room = pattern_bound(scene, burst.mosaic)
        if room.mean_variance.high < found.most:
            most = max(room.mean_variance.high, 0.0)
            found = _Range(min(found.least, most), most, room.variance, "burst")
        self.least, self.most, self.source = found.least, found.most, found.source
        share = _mean(found.shape, ~burst.excluded)
        self.variance: Float = found.shape * np.float32(found.most / share if share > 0 else 0)

    def reference(self, index: int, window: Window = WHOLE) -> Float:
        """Return a frame, or a window of it, as `Burst.linear` does, divided by the sensitivity of its photosites."""
        frame = self._burst.linear(index, window)
        return frame if self._sensitivity is None else frame / self._sensitivity[..., window[0], window[1]]


def _known_range(burst: Burst, scene: SceneMean, flat: FlatField | None, known: SensorPattern) -> _Range:
    """Return what calibration frames and framings say of a burst, or else what is assumed."""
    counts, mosaic, iso = ~burst.excluded, burst.mosaic, burst.info.iso
    read_std = np.sqrt(np.maximum(burst.profile.read_noise_variance, 0.0))
    subtracted = known.dsnu.items() if burst.dark is not None else ()
    measured = next((found for own, found in subtracted if same_setting(own, iso)), None)
    dsnu = measured or tuple(float(std) * ASSUMED_DSNU for std in read_std)
    none = (0.0,) * len(dsnu)
    if flat is not None:
        most = PatternStd(flat.residual_prnu[1], dsnu).variance(scene.mean, mosaic)
        least = PatternStd(flat.residual_prnu[0], measured or none).variance(scene.mean, mosaic)
        return _Range(_mean(least, counts), _mean(most, counts), most, "flats")
    if known.framings is not None:
        shared: PatternBound | None = known.framings.in_burst(scene)
        if shared is not None:
            low, high = (max(end, 0.0) for end in (shared.mean_variance.low, shared.mean_variance.high))
            return _Range(low, high, shared.variance, "framings")
        prnu = known.framings.prnu_of_all
        least = PatternStd((prnu.low,) * len(dsnu), measured or none).variance(scene.mean, mosaic)
        most = PatternStd((prnu.high,) * len(dsnu), dsnu).variance(scene.mean, mosaic)
        return _Range(_mean(least, counts), _mean(most, counts), most, "framings")
    most = PatternStd((ASSUMED_PRNU,) * len(dsnu), dsnu).variance(scene.mean, mosaic)
    return _Range(0.0, _mean(most, counts), most, "assumed")


def _mean(image: Float, counts: Mask) -> float:
    return float(image[counts].mean(dtype=np.float64))
