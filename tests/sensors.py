"""Simulated sensors: measured noise parameters of real cameras, frames with known truth. Independent of the package."""

import codecs
import math
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy._core import multiarray

from burst_denoise.frame.mosaic import MONO, Mosaic

LEVELS = {  # black and white level in DN, as raw files of these cameras say
    "CanonEOS5D4": (512, 15000),
    "CanonEOS700D": (2048, 15304),
    "CanonEOS70D": (2048, 15306),
    "NikonD850": (400, 15520),
    "SonyA7S2": (512, 15360),
}


@dataclass(frozen=True)
class Sensor:
    """One camera at one ISO; all noise in DN."""

    gain: float
    """DN per electron."""
    tukey_scale: float
    tukey_shape: float
    row_std: float
    black: int
    white: int

    @property
    def read_variance(self) -> float:
        """Variance in the dark, rounding to whole DN included.

        Variance of Tukey's lambda distribution: Joiner and Rosenblatt, "Some properties of the range in samples from
        Tukey's symmetric lambda distributions", JASA 66, 1971.
        """
        shape = self.tukey_shape
        if abs(shape) < 1e-6:
            unit = math.pi**2 / 3
        else:
            unit = 2 / shape**2 * (1 / (1 + 2 * shape) - math.gamma(shape + 1) ** 2 / math.gamma(2 * shape + 2))
        return self.tukey_scale**2 * unit + self.row_std**2 + 1 / 12

    @property
    def span(self) -> int:
        return self.white - self.black

    def frames(self, scene: np.ndarray, count: int, seed: int) -> list[np.ndarray]:
        """Shoot a scene (H, W), 1 at the white level; return linear float32 frames."""
        rng = np.random.default_rng(seed)
        electrons = scene * (self.span / self.gain)
        shots = []
        for _ in range(count):
            u = rng.random(scene.shape)
            np.clip(u, 1e-12, 1 - 1e-12, out=u)
            if abs(self.tukey_shape) < 1e-6:
                read = np.log(u / (1 - u))
            else:
                read = (u**self.tukey_shape - (1 - u) ** self.tukey_shape) / self.tukey_shape
            dn = self.black + self.gain * rng.poisson(electrons) + self.tukey_scale * read
            dn += self.row_std * rng.standard_normal((len(scene), 1))
            dn = np.clip(np.round(dn), 0, self.white)
            shots.append(((dn - self.black) / self.span).astype(np.float32))
        return shots


def seen_through(cfa: str, scene: np.ndarray) -> np.ndarray:
    """Return the mosaic of a scene (H, W, 3), cut to whole periods."""
    height, width = (size // 2 * 2 for size in scene.shape[:2])
    mosaic = np.empty((height, width), np.float32)
    for place, colour in enumerate(cfa):
        row, column = divmod(place, 2)
        mosaic[row::2, column::2] = scene[row:height:2, column:width:2, "RGB".index(colour)]
    return mosaic


ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): multiarray._reconstruct,
    ("numpy.core.multiarray", "scalar"): multiarray.scalar,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,
}
"""What an array of numbers consists of, in a pickle."""


class _NumbersOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"{module}.{name} is not admitted")
        return ADMITTED[module, name]


def measured_sensor(folder: Path, camera: str, iso: float) -> Sensor:
    """Return a camera calibrated by Wei et al. (ELD, CVPR 2020) at an ISO, from the folder of their parameter files.

    Kmin is the gain at ISO 100; log sigma = slope * log K + bias; the shape of the heavy-tailed read noise is the mean
    of the shapes measured.
    """
    with (folder / f"{camera}_params.npy").open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        found = _NumbersOnly(file).load().item()
    gain = float(found["Kmin"]) * iso / 100

    def scale(name: str) -> float:
        line = found["Profile-1"][name]
        return math.exp(float(line["slope"]) * math.log(gain) + float(line["bias"]))

    black, white = LEVELS[camera]
    return Sensor(gain, scale("G_scale"), float(np.mean(found["G_shape"])), scale("R_scale"), black, white)


def varied_scene(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return a scene (H, W), linear, 0 to 0.9: gradients, edges and texture, a third of it in deep shadow."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 512
    light = 10 ** (-1.6 * (1 + np.tanh(6 * np.sin(9 * x + 2 * np.sin(5 * y)) + 2)))
    paint = 0.35 + 0.3 * (((11 * x).astype(int) + (13 * y).astype(int)) % 3) * np.cos(3 * y) ** 2
    texture = 1 + 0.3 * rng.standard_normal((height // 2, width // 2)).repeat(2, axis=0).repeat(2, axis=1)
    return np.clip(light * paint * texture, 0, 0.9)


def mosaic(cfa: str | None) -> Mosaic:
    """Return the mosaic of a phase; None stands for pictures."""
    return MONO if cfa is None else Mosaic("bayer", cfa)
