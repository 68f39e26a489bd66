"""A synthetic camera: scenes in, frames out with known truth, known noise and known faults. Everything is seeded.

The order is that of a real shot: scene, fault, mosaic, photons, electrons, amplifier, fixed pattern, black level,
analogue-digital converter.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, shift

from burst_denoise.arrays import Float
from burst_denoise.frame.frame import Frame
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.frame.srgb import srgb_to_linear
from burst_denoise.schemas import FrameInfo

__all__ = ["HOT_PHOTOSITE_DN", "Fault", "SyntheticCamera", "scene_from_picture", "shoot"]


LARGEST_DN = 65535
HOT_PHOTOSITE_DN = (0.02, 0.2)
"""Offset of a hot photosite at ISO 100, between these shares of (white - black); it grows with the gain."""


@dataclass(frozen=True)
class SyntheticCamera:
    """What decides the noise of a sensor. The defaults resemble a 14-bit APS-C camera (Canon EOS 700D)."""

    name: str = "Synthetic APS-C"
    cfa: str = "RGGB"
    black_level: tuple[float, float, float, float] = (2048.0, 2048.0, 2048.0, 2048.0)
    """DN per plane: R, G1 (row of red), G2 (row of blue), B."""
    white_level: float = 15304.0
    """DN at which a photosite is full."""
    gain_dn_per_e: float = 0.45
    """DN per electron at ISO 100; proportional to ISO."""
    read_noise_std_dn: tuple[float, float] = (1.2, 4.0)
    """Read noise before the amplifier (DN at ISO 100, proportional to ISO) and after it (DN at any ISO)."""
    row_noise_std_dn: float = 0.1
    """Noise that all photosites of a row share, redrawn for every frame; DN at ISO 100, proportional to ISO."""
    prnu: float = 0.005
    """Standard deviation of the photosites' sensitivities, relative to 1; the same in every frame."""
    dark_offset_std_dn: float = 0.1
    """Standard deviation of the photosites' dark offsets; DN at ISO 100, proportional to ISO; fixed."""
    hot_fraction: float = 1e-4
    """Share of photosites that are hot; fixed."""
    as_shot_neutral: tuple[float, float, float] = (0.5, 1.0, 0.65)
    """R, G, B that a neutral patch gives, green 1."""
    seed: int = 0
    """Draws the fixed pattern: two cameras of equal seed are one and the same copy."""

    def __post_init__(self) -> None:
        self.mosaic  # noqa: B018 (raises where ``cfa`` is no Bayer phase)

    @property
    def mosaic(self) -> Mosaic:
        """Its colour filter array."""
        return Mosaic("bayer", self.cfa)

    def gain(self, iso: float) -> float:
        """Return DN per electron at an ISO: the slope of variance over mean, in DN."""
        return self.gain_dn_per_e * iso / 100

    def read_noise_variance_dn(self, iso: float) -> float:
        """Return the variance of the read noise of one photosite at an ISO, DN squared, row noise left out."""
        before, after = self.read_noise_std_dn
        return (before * iso / 100) ** 2 + after**2


@dataclass(frozen=True)
class Fault:
    """What goes wrong while one frame is shot. Faults act on the scene, before the mosaic."""

    shift: tuple[float, float] = (0.0, 0.0)
    """The picture moves right and down by these many photosites; fractions too."""
    light: float = 1.0
    """The light changes by this factor (1.015 is a flickering lamp)."""
    motion: int = 0
    """An object moves right by these many photosites, at the place where that shows most."""
    object_size: int = 64
    """Side of the object that moves, photosites."""
    focus: float = 0.0
    """The focus is lost: blur by a Gaussian of this standard deviation, photosites."""
    saturation: float = 0.0
    """A lamp in the picture: this share of the rows receives twice what fills a photosite."""

    def strike(self, scene: Float) -> Float:
        """Return the scene (H, W, 3) as it is with this fault."""
        struck = scene
        if self.motion:
            struck = _object_moved(struck, self.motion, self.object_size)
        if self.focus:
            struck = gaussian_filter(struck, (self.focus, self.focus, 0), mode="reflect")
        if self.shift != (0.0, 0.0):
            right, down = self.shift
            # Colour by colour: a spline over all three axes takes twelve times as long.
            colours = [shift(struck[..., k], (down, right), order=3, mode="reflect") for k in range(3)]
            struck = np.stack(colours, axis=-1)
        if self.saturation:
            struck = struck.copy()
            struck[: round(self.saturation * len(struck))] = 2.0
        return np.maximum(struck, 0) * np.float32(self.light)


def _object_moved(scene: Float, distance: int, side: int) -> Float:
    """Return the scene with a square of it moved right, chosen where the picture changes most."""
    height, width = scene.shape[:2]
    if width - distance < side or height < side:
        raise ValueError(f"an object of {side} photosites cannot move by {distance} in a scene of {width} x {height}")
    change = np.abs(scene[:, distance:] - scene[:, :-distance]).mean(axis=2, dtype=np.float64)
    total = np.pad(change.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    inside = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    top, left = np.unravel_index(np.argmax(inside), inside.shape)
    moved = scene.copy()
    place = slice(top, top + side)
    moved[place, left + distance : left + distance + side] = scene[place, left : left + side]
    return moved


def scene_from_picture(
    rgb: npt.NDArray[np.uint8],
    as_shot_neutral: tuple[float, float, float] = SyntheticCamera.as_shot_neutral,
    *,
    exposure: float = 0.8,
    blur_px: float = 0.7,
) -> Float:
    """Return the scene a camera saw when it made a picture: linear camera RGB.

    Parameters
    ----------
    rgb : (H, W, 3) uint8 array, sRGB
    as_shot_neutral : tuple of float
        The white balance that made the picture, to be undone.
    exposure : float
        Value of a white green photosite, as a share of the white level.
    blur_px : float
        Standard deviation of a Gaussian blur, photosites: no lens is as sharp as a picture that was made smaller.

    Returns
    -------
    (H, W, 3) float32 array, linear, 0 to ``exposure``

    References
    ----------
    IEC 61966-2-1 (the sRGB curve).
    """
    seen = srgb_to_linear(rgb) * np.asarray(as_shot_neutral, np.float32) * exposure
    scene: Float = gaussian_filter(seen, (blur_px, blur_px, 0), mode="reflect").astype(np.float32)
    return scene


def _fixed_pattern(camera: SyntheticCamera, shape: tuple[int, int]) -> tuple[Float, Float]:
    """Return what every frame of one camera copy shares: sensitivity around 1, and offset in DN at ISO 100."""
    rng = np.random.default_rng(camera.seed)
    sensitivity = 1 + camera.prnu * rng.standard_normal(shape, np.float32)
    offset = camera.dark_offset_std_dn * rng.standard_normal(shape, np.float32)
    hot = rng.random(shape, np.float32) < camera.hot_fraction
    span = camera.white_level - min(camera.black_level)
    low, high = (share * span for share in HOT_PHOTOSITE_DN)
    offset[hot] += rng.uniform(low, high, int(hot.sum())).astype(np.float32)
    return sensitivity.astype(np.float32), offset.astype(np.float32)


def shoot(
    camera: SyntheticCamera,
    scene: Float,
    iso: float,
    n_frames: int,
    seed: int,
    faults: Mapping[int, Fault] = MappingProxyType({}),
) -> tuple[list[Frame], Float]:
    """Return a burst of frames of one scene, and the truth behind it.

    Parameters
    ----------
    camera : SyntheticCamera
    scene : (H, W, 3) float32 array, linear camera RGB
        1 fills a photosite at any ISO (the exposure is shorter at a high ISO).
    iso : float
    n_frames : int
    seed : int
        Frame k depends on the seed and k only, so a longer burst begins with the shorter one.
    faults : mapping from frame number to Fault

    Returns
    -------
    frames : list of Frame
        Named frame_000.dng and so on, one second apart.
    clean : (H, W) float32 array, DN
        Expected DN of every photosite of a faultless frame: black included, fixed pattern left out, not clipped.

    Notes
    -----
    With x the clean DN above black, the temporal variance is gain x + read noise variance + row noise variance
    + 1/12 (rounding), all in DN squared: the model of `burst_denoise.sensor.noise_model`, whose S is gain /
    (white - black).
    """
    height, width = scene.shape[:2]
    planes = camera.mosaic.plane_of((height, width))
    colour = np.array([0, 1, 1, 2])[planes]
    black = np.asarray(camera.black_level, np.float32)[planes]
    span = np.float32(camera.white_level) - black
    sensitivity, offset = _fixed_pattern(camera, (height, width))

    def signal(seen: Float) -> Float:
        return np.take_along_axis(seen, colour[..., None], axis=2)[..., 0] * span

    clean = signal(scene)
    frames = []
    for number in range(n_frames):
        mosaic = signal(faults[number].strike(scene)) if number in faults else clean
        rng = np.random.default_rng([seed, number])
        dn = _expose(camera, mosaic * sensitivity, iso, rng) + offset * (iso / 100) + black
        clipped = np.clip(np.rint(dn), 0, min(camera.white_level, LARGEST_DN)).astype(np.uint16)
        info = FrameInfo(
            domain="bayer",
            camera=camera.name,
            cfa=camera.cfa,
            height=height,
            width=width,
            black_level=camera.black_level,
            white_level=camera.white_level,
            iso=iso,
            exposure_s=1 / 30,
            f_number=8.0,
            taken_at=1_767_268_800.0 + number,  # noon of 2026-01-01, so that demo files sort as shot
            as_shot_neutral=camera.as_shot_neutral,
        )
        frames.append(Frame(clipped, info, Path(f"frame_{number:03d}.dng")))
    return frames, clean + black


def _expose(camera: SyntheticCamera, expected_dn: Float, iso: float, rng: np.random.Generator) -> Float:
    """Return the signal above black of one exposure, with photon, read and row noise; (H, W) float32, DN."""
    gain = camera.gain(iso)
    electrons = rng.poisson(np.maximum(expected_dn, 0) / gain).astype(np.float32)
    read_std = math.sqrt(camera.read_noise_variance_dn(iso))
    read = rng.standard_normal(expected_dn.shape, np.float32) * np.float32(read_std)
    rows = rng.standard_normal((len(expected_dn), 1), np.float32) * np.float32(camera.row_noise_std_dn * iso / 100)
    noisy: Float = electrons * np.float32(gain) + read + rows
    return noisy
