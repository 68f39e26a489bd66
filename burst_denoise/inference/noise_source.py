"""The noise profile of a shot: from a measured sensor, its stored burst, its ``NoiseProfile`` tag, or itself."""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from burst_denoise.arrays import Float
from burst_denoise.errors import ConfigError, InputFileError
from burst_denoise.frame.frame import Frame
from burst_denoise.frame.mosaic import MOSAICS, Mosaic
from burst_denoise.inference.engine import Engine
from burst_denoise.inference.residual_noise import refine_noise
from burst_denoise.io.limits import read_document
from burst_denoise.schemas import ChannelProfile, FrameInfo, NoiseProfile, NoiseStructure
from burst_denoise.sensor.identity import Sensor
from burst_denoise.sensor.noise_model import extrapolate_profile, noise_variance
from burst_denoise.sensor.single_image import estimate_noise
from burst_denoise.sensor.verdict import contradictions

__all__ = ["MeasuredNoise", "ShotNoise", "estimated_noise", "noise_figures", "read_measured_noise", "shot_noise"]

AGREES = 1.4
"""Factor between the noise standard deviations of tag and estimate up to which the tag serves: estimates of pictures
were within a factor 1.15, of texture from edge to edge within 1.4."""


COMPARED_AT = 0.05
"""Linear level at which estimates from several shots are compared: most of a picture is darker than 0.1."""


@dataclass(frozen=True)
class _MeasuredSensor:
    """What a sensor calibration says about one sensor."""

    sensor: Sensor
    profiles: tuple[NoiseProfile, ...]
    """Ascending in ISO."""

    @property
    def isos(self) -> str:
        return ", ".join("unknown" if profile.iso is None else f"{profile.iso:g}" for profile in self.profiles)


@dataclass(frozen=True)
class MeasuredNoise:
    """The noise profiles that a sensor calibration found usable."""

    name: str
    """What they are called in messages: the name of their file."""
    sensors: tuple[_MeasuredSensor, ...]

    @classmethod
    def of(cls, channels: Iterable[ChannelProfile], name: str, note: Callable[[str], None]) -> "MeasuredNoise":
        """Return what is usable of the channels that a sensor calibration gave; ``note`` is told what is left out.

        Raises
        ------
        ConfigError
            If nothing is usable, or an ISO is there twice.
        """
        isos: dict[tuple[str | None, float], dict[float | None, list[ChannelProfile]]] = {}
        for channel in channels:
            isos.setdefault((channel.camera, channel.white_level_dn), {}).setdefault(channel.iso, []).append(channel)
        sensors: list[_MeasuredSensor] = []
        for (camera, white_level), measured in isos.items():
            usable: dict[tuple[str, ...], list[NoiseProfile]] = {}
            black: dict[tuple[str, ...], tuple[float, ...]] = {}
            for iso, found in sorted(measured.items(), key=lambda item: item[0] or 0):
                bad = next((channel for channel in found if not channel.usable), None)
                # Versions up to 0.4 called usable what cannot be true.
                if reasons := contradictions(found) if bad is None else bad.reasons or [""]:
                    note(f"{name}: {_iso(iso)} is not usable and left out: {reasons[0]}")
                    continue
                names = tuple(channel.channel for channel in found)
                if len(set(names)) < len(names):
                    raise ConfigError(f"{name}: has {_iso(iso)} of {camera or 'an unknown camera'} twice; keep one")
                usable.setdefault(names, []).append(
                    NoiseProfile(
                        iso=iso,
                        shot_noise_scale=tuple(channel.shot_noise_scale for channel in found),
                        read_noise_variance=tuple(channel.read_noise_variance for channel in found),
                    )
                )
                black[names] = tuple(channel.black_level_dn for channel in found)
            for names, profiles in usable.items():
                if names not in MOSAICS:
                    raise ConfigError(f"{name}: channels {', '.join(names)} are of no known sensor")
                sensor = Sensor(camera, MOSAICS[names], None, black[names], white_level)
                sensors.append(_MeasuredSensor(sensor, tuple(profiles)))
        if not sensors:
            raise ConfigError(f"{name}: holds no usable noise profile; make one with burst-denoise profile -o")
        return cls(name, tuple(sensors))

    def profile_for(self, info: FrameInfo, name: str, *, any_sensor: bool) -> tuple[NoiseProfile, str]:
        """Return the noise profile of a shot, at its ISO, and in a few words where it comes from.

        Parameters
        ----------
        info : FrameInfo
            Of the shot.
        name : str
            The shot's file, for the message.
        any_sensor : bool
            Let it serve a shot of another camera, too.

        Raises
        ------
        ConfigError
            If no sensor here is that of the shot.
        """
        shot = Sensor.of(info)
        fitting = [one for one in self.sensors if one.sensor.mosaic.domain == info.domain]
        own = [one for one in fitting if not shot.refusals(one.sensor)]
        if not own and not (any_sensor and fitting):
            there = " and ".join(
                f"{one.sensor.camera or 'an unknown camera'} (white {one.sensor.white_level:g})" for one in self.sensors
            )
            raise ConfigError(
                f"{name}: from {info.camera or 'an unknown camera'} ({info.domain}, white {info.white_level:g}), but "
                f"{self.name} is about {there}; profile this camera, or override with --any-sensor"
            )
        measured = (own or fitting)[0]
        try:
            profile = extrapolate_profile(measured.profiles, info.iso)
        except ValueError as error:
            raise ConfigError(
                f"{name}: does not say its ISO, and {self.name} has ISO {measured.isos}; give one of the shot's ISO "
                "alone"
            ) from error
        source = f"from {Path(self.name).name}"
        known = [one.iso for one in measured.profiles if one.iso is not None]
        if info.iso is None and known:
            return profile, f"{source}, of ISO {measured.isos} (the shot does not say its own)"
        if info.iso is None or not known or known[0] <= info.iso <= known[-1]:
            return profile, source
        return profile, f"{source}, scaled to ISO {info.iso:g} from {measured.isos}"


@dataclass(frozen=True)
class ShotNoise:
    """The noise of a shot without any calibration."""

    profile: NoiseProfile
    source: str
    """In a few words where the profile is from."""
    contradiction: str = ""
    """What the shot's ``NoiseProfile`` tag says, where that is not what serves."""
    structure: NoiseStructure | None = None
    """What its noise has beside that, where it was estimated."""


def shot_noise(
    frame: Frame,
    stored: NoiseProfile | None,
    estimate: Callable[[Iterable[Frame]], ShotNoise],
    estimated: ShotNoise | None = None,
) -> ShotNoise:
    """Return the noise profile that there is for a shot without any calibration.

    Parameters
    ----------
    frame : Frame
        In linear light.
    stored : NoiseProfile or None
        Measured on the stored burst that the shot is a frame of.
    estimate : callable
        What estimates the noise of the shot from itself, if need be: `estimated_noise` with an engine.
    estimated : ShotNoise, optional
        From shots of the same camera and ISO; by default from the shot itself.

    Returns
    -------
    ShotNoise
        The stored one; else the shot's tag, where it agrees with the estimate, or the shot cannot tell, or was denoised
        before (what that leaves is not white); else the estimate.

    Raises
    ------
    InputFileError
        If all that is left is to estimate it from the shot, and the shot cannot tell.
    """
    if stored is not None:
        return ShotNoise(stored, "as measured on its burst")
    tag, by_tag = frame.noise_profile, "as its NoiseProfile tag says"
    if tag is not None and frame.noise_reduction > 0:
        return ShotNoise(tag, by_tag)
    if estimated is None:
        try:
            estimated = estimate([frame])
        except InputFileError:
            if tag is not None:
                return ShotNoise(tag, by_tag)
            raise
    if tag is None:
        return estimated
    factor = _std_factor(frame.linear, frame.mosaic, tag, estimated.profile)
    if 1 / AGREES <= factor <= AGREES:
        return ShotNoise(tag, by_tag, structure=estimated.structure)
    said = f"its NoiseProfile tag says {factor:.2g} times as much ({noise_figures(tag)})"
    return ShotNoise(
        estimated.profile, f"{estimated.source}, which contradicts its NoiseProfile tag", said, estimated.structure
    )


def estimated_noise(frames: Iterable[Frame], engine: Engine) -> ShotNoise:
    """Return the noise profile estimated from shots of one camera and ISO: that of the shot in the middle.

    Parameters
    ----------
    frames : iterable of Frame
        In linear light, one in memory at a time. Those that cannot tell are passed over.
    engine : Engine
        What denoises them; here, windows of them.

    Raises
    ------
    InputFileError
        If none can tell.

    Notes
    -----
    Texture is taken for noise rather than noise for texture, so of an even number the lower one in the middle serves.
    """
    found: list[tuple[NoiseProfile, NoiseStructure]] = []
    error: InputFileError | None = None
    for frame in frames:
        image = frame.linear
        try:
            first = estimate_noise(image, frame.mosaic, frame.info.iso)
        except InputFileError as reason:
            error = error or InputFileError(f"{frame.path.name}: {reason}")
        else:
            found.append(refine_noise(image, frame.mosaic, engine, first))
    if not found:
        raise error or ValueError("no frames to estimate noise from")
    found.sort(key=lambda noise: float(noise_variance(np.full(1, COMPARED_AT, np.float32), noise[0]).mean()))
    profile, structure = found[(len(found) - 1) // 2]
    words = "the shot itself" if len(found) == 1 else f"{len(found)} shots of its camera and ISO"
    return ShotNoise(profile, f"estimated from {words}", structure=structure)


def _std_factor(image: Float, mosaic: Mosaic, profile: NoiseProfile, other: NoiseProfile) -> float:
    """Return how many times the noise standard deviation of another profile one has, at the levels of an image."""
    # Whole periods of the mosaic, so that every row goes on having its colours.
    rows = np.flatnonzero(np.arange(image.shape[-2]) % (8 * mosaic.period) < mosaic.period)
    planes = mosaic.pack(image[..., rows, :])[..., ::8]
    ratio = np.log(noise_variance(planes, profile)) - np.log(noise_variance(planes, other))
    return math.exp(float(ratio.mean()) / 2)


def noise_figures(profile: NoiseProfile) -> str:
    """Return a noise profile in words, S and the standard deviation of the read noise in the mean of the planes."""
    count = len(profile.shot_noise_scale)
    scale = sum(profile.shot_noise_scale) / count
    read_noise = max(sum(profile.read_noise_variance) / count, 0.0) ** 0.5
    return f"S {scale:.1e}, read noise {read_noise:.1e}"


def read_measured_noise(path: Path, note: Callable[[str], None]) -> MeasuredNoise:
    """Read what ``profile -o`` wrote, a list, or the lines that ``profile --json`` prints.

    Raises
    ------
    ConfigError
        If the file is missing, is something else, or has nothing usable in it.
    """
    try:
        text = read_document(path).decode()
        listed = text.lstrip().startswith("[")
        records = json.loads(text) if listed else [json.loads(line) for line in text.splitlines() if line.strip()]
        channels = [ChannelProfile.parse(json.dumps(record), "channel") for record in records]
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); name a file made by burst-denoise profile -o"
        ) from error
    except InputFileError as error:
        raise ConfigError(str(error)) from error
    except (ValueError, RecursionError, ConfigError) as error:
        raise ConfigError(
            f"{path}: is no noise profile ({error}); name a file made by burst-denoise profile -o"
        ) from error
    return MeasuredNoise.of(channels, str(path), note)


def _iso(iso: float | None) -> str:
    return "unknown ISO" if iso is None else f"ISO {iso:g}"
