"""`SensorPattern`: what is known of a sensor's fixed pattern; `BurstPattern`: what that says about one burst."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from burst_denoise.arrays import Double, Float
from burst_denoise.burst.burst import WHOLE, Window
from burst_denoise.burst.flats import Flat
from burst_denoise.burst.store import Burst
from burst_denoise.frame.exposure import same_setting
from burst_denoise.sensor.fixed_pattern import FlatField, MasterDark, PatternStd
from burst_denoise.sensor.moments import frame_moments
from burst_denoise.sensor.prnu_from_scenes import SceneMean, ScenePattern, pattern_bound

__all__ = ["BurstPattern", "SensorPattern"]

ASSUMED_PRNU = 0.01
"""Where nothing was measured: data sheets by EMVA 1288 give 0.3 to 1 %, our one measured sensor 0.43 %."""
ASSUMED_DSNU = 0.2
"""Of the read noise, where no dark frames were given; a measured CCD has 0.05, the simulated camera 0.08."""


@dataclass(frozen=True)
class SensorPattern:
    """What flats, dark frames and bursts of several framings say about the fixed pattern that frames still hold."""

    flat: FlatField | None = None
    prnu: tuple[float, ...] | None = None
    """Per plane, relative to 1, from several framings: upper ends of the intervals; None where unknown."""
    dsnu: Mapping[float | None, tuple[float, ...]] = field(default_factory=dict)
    """Per ISO, and plane, linear units: from dark frames what remains, from several framings upper ends."""

    @classmethod
    def of(
        cls, flat: Flat | None, scenes: ScenePattern | None, darks: Mapping[float | None, MasterDark] | None = None
    ) -> Self:
        """Return what flats, several framings and the dark frames of each ISO tell; each may be missing."""
        prnu, dsnu = None, {}
        if scenes is not None:
            prnu = (scenes.prnu_of_all.high,) * len(scenes.prnu)
            dsnu = {iso: tuple(one.high for one in found) for iso, found in scenes.dsnu.items()}
        dsnu |= {iso: master.residual_std for iso, master in (darks or {}).items()}
        return cls(None if flat is None else flat.field, prnu, dsnu)

    def expected(self, burst: Burst) -> tuple[PatternStd, str]:
        """Return how strong the pattern of a burst, flat-fielded where there are flats, is at most, and who says so."""
        planes = len(burst.mosaic.plane_names)
        if self.flat is not None:
            prnu, source = self.flat.residual_prnu, "flats"
        elif self.prnu is not None:
            prnu, source = self.prnu, "framings"
        else:
            prnu, source = (ASSUMED_PRNU,) * planes, "assumed"
        known = [found for iso, found in self.dsnu.items() if same_setting(iso, burst.info.iso)]
        read_std = np.sqrt(np.maximum(burst.profile.read_noise_variance, 0.0))
        dsnu = known[0] if known else tuple(float(std) * ASSUMED_DSNU for std in read_std)
        return PatternStd(prnu, dsnu), source


class BurstPattern:
    """The fixed pattern in the frames of one burst as references: divided by the flats where there are any.

    Parameters
    ----------
    burst : Burst
    known : SensorPattern

    Attributes
    ----------
    variance : float array of the shape of a frame, linear units squared
        Of the pattern that the references hold, at most, at each photosite.
    bound : float, linear units squared
        Its mean over the photosites that count.
    source : str
        Who says so: "flats", "framings", "assumed", or "burst", if the burst itself has room for less than the first
        three say.
    """

    def __init__(self, burst: Burst, known: SensorPattern) -> None:
        self._burst = burst
        sensitivity = None if known.flat is None else known.flat.sensitivity
        # Bursts of another size than the flats, such as crops, are taken as they are.
        fits = sensitivity is not None and sensitivity.shape == burst.saturated.shape
        self._sensitivity = sensitivity if fits else None
        if not fits:
            known = SensorPattern(None, known.prnu, known.dsnu)
        counts = ~burst.excluded
        moments = frame_moments(map(self.reference, range(len(burst))))
        expected, self.source = known.expected(burst)
        mean = moments.mean.astype(np.float32)
        self.variance = expected.variance(mean, burst.mosaic)
        self.bound = _mean(self.variance, counts)
        variance = moments.variance.astype(np.float32)
        seen = pattern_bound(SceneMean(mean, len(burst), burst.profile, variance, burst.excluded), burst.mosaic)
        most = max(seen.mean_variance.high, 0.0)
        if most < self.bound:
            share = _mean(seen.variance, counts)
            shape = seen.variance / share if share > 0 else self.variance / self.bound
            self.variance, self.bound, self.source = np.float32(most) * shape, most, "burst"

    def reference(self, index: int, window: Window = WHOLE) -> Float:
        """Return a frame, or a window of it, as `Burst.linear` does, divided by the sensitivity of its photosites."""
        frame = self._burst.linear(index, window)
        return frame if self._sensitivity is None else frame / self._sensitivity[..., window[0], window[1]]


def _mean(image: Float | Double, counts: np.ndarray) -> float:
    return float(image[counts].mean(dtype=np.float64))
