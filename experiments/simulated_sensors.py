"""Simulated sensors, ordinary ones and some with noise that the prior has never met: bursts with known truth.

Gain, read noise and row noise of the ordinary ones are those measured on cameras by Wei et al. (ELD, CVPR 2020). The
order is that of a real shot: lens, mosaic, photons, read noise, lines, black level, converter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from burst_denoise.arrays import Float, Picture
from burst_denoise.burst.burst import Burst
from burst_denoise.burst.series_verdict import SeriesVerdict
from burst_denoise.burst.store import store_burst
from burst_denoise.frame.frame import Frame, to_linear
from burst_denoise.frame.mosaic import RGGB
from burst_denoise.frame.synthetic import scene_from_picture
from burst_denoise.schemas import FrameInfo, FrameVerdict

__all__ = ["NEUTRAL", "SimulatedSensor", "accepted", "shoot_burst"]

NEUTRAL = (0.5, 1.0, 0.65)
"""R, G, B that a neutral patch gives."""
EXPOSURE = 0.8


@dataclass(frozen=True)
class SimulatedSensor:
    """A camera at one ISO; all noise as standard deviation in DN of one frame, redrawn for every frame."""

    name: str
    gain: float
    """DN per electron."""
    read_noise: float
    """Of each photosite alone."""
    black: int
    white: int
    row_noise: float = 0.0
    column_noise: float = 0.0
    correlated_noise: float = 0.0
    """White noise through a Gaussian filter of standard deviation `correlation_px`."""
    correlation_px: float = 1.0
    degrees: float = np.inf
    """Of freedom of Student's t, the read noise's distribution; infinity is Gaussian, below 5 the tails are heavy."""
    black_error: float = 0.0
    """By how much the true black level lies above the one that the files tell."""
    blur_px: float = 0.7
    """Of the lens."""

    def expose(self, light: Float, rng: np.random.Generator) -> Float:
        """Return one frame, DN not rounded, of light (H, W), linear, 1 at the white level."""
        height, width = light.shape
        electrons = np.maximum(light, 0) * ((self.white - self.black) / self.gain)
        dn = self.black + self.black_error + self.gain * rng.poisson(electrons)
        read = rng.standard_normal(light.shape)
        if np.isfinite(self.degrees):
            read *= np.sqrt((self.degrees - 2) / rng.chisquare(self.degrees, light.shape))
        dn += self.read_noise * read
        dn += self.row_noise * rng.standard_normal((height, 1))
        dn += self.column_noise * rng.standard_normal((1, width))
        if self.correlated_noise:
            blotches = gaussian_filter(rng.standard_normal(light.shape), self.correlation_px, mode="wrap")
            dn += self.correlated_noise * blotches / blotches.std()
        return dn.astype(np.float32)


def shoot_burst(sensor: SimulatedSensor, picture: Picture, folder: Path, *, frames: int = 8, seed: int = 0) -> Burst:
    """Shoot a burst of a picture (H, W, 3), sRGB, and store it with its clean image in ``folder/SERIES.burst``."""
    scene = scene_from_picture(picture, NEUTRAL, exposure=EXPOSURE, blur_px=sensor.blur_px)
    height, width = scene.shape[:2]
    colour = np.array([0, 1, 1, 2])[RGGB.plane_of((height, width))]
    light = np.take_along_axis(scene, colour[..., None], axis=2)[..., 0]
    info = FrameInfo(
        domain="bayer", camera=sensor.name, cfa="RGGB", height=height, width=width, iso=1600.0,
        black_level=(float(sensor.black),) * 4, white_level=float(sensor.white), as_shot_neutral=NEUTRAL,
    )  # fmt: skip
    shots = []
    for number in range(frames):
        dn = np.rint(sensor.expose(light, np.random.default_rng([seed, number])))
        shots.append(Frame(np.clip(dn, 0, sensor.white).astype(np.uint16), info, Path(f"{folder.name}_{number}.dng")))
    clean = light * (sensor.white - sensor.black) + (sensor.black + sensor.black_error)
    return store_burst(folder, shots, accepted(folder.stem, shots), to_linear(clean.astype(np.float32), info))


def accepted(series: str, frames: Sequence[Frame]) -> SeriesVerdict:
    """Return the verdict on a series of which nothing is to be said against any frame."""
    told = tuple(
        FrameVerdict(file=frame.path.name, accepted=True, reasons=(), gain=1.0, shift_px=0.0) for frame in frames
    )
    return SeriesVerdict(series, frames[0].info, True, "", 0.01, 0.001, (), told, 0)
