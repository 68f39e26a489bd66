"""What serves a shot: a model with its noise profile, or the prior with the best profile there is for the shot."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from burst_denoise.errors import ConfigError, InputFileError, ModelFileError
from burst_denoise.frame.frame import Frame
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.model.device import choose_device
from burst_denoise.model.model_file import Model
from burst_denoise.model.network import FrequencySplitResNet
from burst_denoise.model.prior import load_prior, prior_file
from burst_denoise.schemas import ChannelProfile, FrameInfo, NoiseProfile
from burst_denoise.sensor.noise_model import extrapolate_profile
from burst_denoise.sensor.single_image import estimate_noise

__all__ = ["NoiseSource", "Serve", "WithoutModel", "serving"]

Serve = Callable[[Frame, str, NoiseProfile | None], tuple[FrequencySplitResNet, NoiseProfile, str]]
"""Takes a frame, its name and the noise profile of the stored burst it is of, if any; gives the network and the noise
profile to denoise it with, and says in a few words which these are."""


@dataclass(frozen=True)
class WithoutModel:
    """What stands in for a model of the sensor: the priors that come with the package, and the noise of each shot."""

    device: str = "auto"
    """Name of the device to compute on, for `burst_denoise.model.device.choose_device`."""
    profile: Path | None = None
    """Noise profile that ``burst-denoise profile`` wrote; None takes the shot's own, see `NoiseSource`."""


def serving(model: Model | WithoutModel, *, any_sensor: bool, note: Callable[[str], None]) -> Serve:
    """Return what gives each shot its network and noise profile; a prior is loaded once per domain.

    The function returned raises `ModelFileError` for a shot that the model does not serve or whose domain has no prior,
    and what `NoiseSource.profile_for` raises.

    Raises
    ------
    ConfigError
        If a noise profile is given that is none.
    DeviceError
        If there is no device of that name.
    """
    if isinstance(model, Model):
        words = f"model {model.header.weights_sha256[:12]}"
        return lambda frame, name, _: (
            model.network,
            model.profile_for(frame.info, name, any_sensor=any_sensor),
            words,
        )
    noise = NoiseSource(model.profile, any_sensor=any_sensor, note=note)
    prior_of = cache(partial(load_prior, device=choose_device(model.device)))

    def by_prior(
        frame: Frame, name: str, stored: NoiseProfile | None
    ) -> tuple[FrequencySplitResNet, NoiseProfile, str]:
        if not prior_file(frame.info.domain).is_file():
            raise ModelFileError(
                f"{name}: has no Bayer mosaic ({frame.info.domain}), as shots denoised without a model must; "
                "calibrate a model of its camera and name it with -m"
            )
        prior = prior_of(frame.info.domain)
        profile, source = noise.profile_for(frame, name, stored)
        return prior.network, profile, f"prior {prior.sha256[:12]}; noise {source}"

    return by_prior


@dataclass(frozen=True)
class _Sensor:
    """What a file of `burst-denoise profile` says about one camera."""

    camera: str | None
    channels: tuple[str, ...]
    white_level: float
    profiles: tuple[NoiseProfile, ...]
    """Ascending in ISO."""

    @property
    def isos(self) -> str:
        return ", ".join("unknown" if profile.iso is None else f"{profile.iso:g}" for profile in self.profiles)


class NoiseSource:
    """Finds the noise profile of shots, the best there is, and tells once per source, camera and ISO which one serves.

    Parameters
    ----------
    profile : Path, optional
        JSON that ``burst-denoise profile`` made; if given, it serves all shots.
    any_sensor : bool
        Let it serve shots of another camera, too.
    note : callable
        Called with a line of text.

    Raises
    ------
    ConfigError
        If the file is missing, is something else, or has nothing usable in it.
    """

    def __init__(self, profile: Path | None, *, any_sensor: bool, note: Callable[[str], None]) -> None:
        self._file = profile
        self._any_sensor = any_sensor
        self._note = note
        self._told: set[tuple[str, str | None, float | None]] = set()
        self._sensors = [] if profile is None else _read_sensors(profile, note)

    def profile_for(self, frame: Frame, name: str, stored: NoiseProfile | None = None) -> tuple[NoiseProfile, str]:
        """Return the noise profile of a shot and, in a few words, where it comes from.

        Parameters
        ----------
        frame : Frame
        name : str
            What the shot is called in messages.
        stored : NoiseProfile, optional
            Measured on the burst that the shot is a frame of.

        Raises
        ------
        ConfigError
            If the given file has no profile for this shot.
        InputFileError
            If all that is left is to estimate it from the shot, and the shot cannot tell.
        """
        if self._file is not None:
            profile, source = self._measured(self._file, frame.info, name)
            found = f"noise {source}"
        elif stored is not None:
            profile, source = stored, "as measured on its burst"
            found = f"noise {source}"
        elif frame.info.noise_profile is not None:
            profile, source = frame.info.noise_profile, "as its NoiseProfile tag says"
            found = f"noise {source}, {_figures(profile)}"
        else:
            profile, source = _estimated(frame, name), "estimated from the shot itself"
            found = f"noise {source}, {_figures(profile)}; calibrate for better"
        kind = (source, frame.info.camera, frame.info.iso)
        if kind not in self._told:
            self._told.add(kind)
            self._note(f"{name}: {found}")
        return profile, source

    def _measured(self, file: Path, info: FrameInfo, name: str) -> tuple[NoiseProfile, str]:
        fitting = [sensor for sensor in self._sensors if sensor.channels == Mosaic.PLANES[info.domain]]
        own = [sensor for sensor in fitting if sensor.camera == info.camera and sensor.white_level == info.white_level]
        if not own and not (self._any_sensor and fitting):
            there = " and ".join(f"{s.camera or 'an unknown camera'} (white {s.white_level:g})" for s in self._sensors)
            raise ConfigError(
                f"{name}: from {info.camera or 'an unknown camera'} ({info.domain}, white {info.white_level:g}), but "
                f"{file} is about {there}; profile this camera, or override with --any-sensor"
            )
        sensor = (own or fitting)[0]
        try:
            profile = extrapolate_profile(sensor.profiles, info.iso)
        except ValueError as error:
            raise ConfigError(
                f"{name}: does not say its ISO, and {file} has ISO {sensor.isos}; give one of the shot's ISO alone"
            ) from error
        known = [measured.iso for measured in sensor.profiles if measured.iso is not None]
        if info.iso is None and known:
            return profile, f"from {file.name}, of ISO {sensor.isos} (the shot does not say its own)"
        if info.iso is None or not known or known[0] <= info.iso <= known[-1]:
            return profile, f"from {file.name}"
        return profile, f"from {file.name}, scaled to ISO {info.iso:g} from {sensor.isos}"


def _estimated(frame: Frame, name: str) -> NoiseProfile:
    try:
        return estimate_noise(frame.linear, frame.mosaic, frame.info.iso)
    except InputFileError as error:
        raise InputFileError(f"{name}: {error}") from error


def _figures(profile: NoiseProfile) -> str:
    count = len(profile.shot_noise_scale)
    scale = sum(profile.shot_noise_scale) / count
    read_noise = max(sum(profile.read_noise_variance) / count, 0.0) ** 0.5
    return f"S {scale:.1e}, read noise {read_noise:.1e}"


def _read_sensors(path: Path, note: Callable[[str], None]) -> list[_Sensor]:
    """Return what is usable in a file of ``burst-denoise profile``."""
    isos: dict[tuple[str | None, float], dict[float | None, list[ChannelProfile]]] = {}
    for channel in _read_channels(path):
        isos.setdefault((channel.camera, channel.white_level_dn), {}).setdefault(channel.iso, []).append(channel)
    sensors: list[_Sensor] = []
    for (camera, white_level), measured in isos.items():
        usable: dict[tuple[str, ...], list[NoiseProfile]] = {}
        for iso, channels in sorted(measured.items(), key=lambda item: item[0] or 0):
            bad = next((channel for channel in channels if not channel.usable), None)
            if bad is not None:
                note(f"{path.name}: ISO {iso or 0:g} is not usable and left out: {', '.join(bad.reasons[:1])}")
                continue
            names = [channel.channel for channel in channels]
            if len(set(names)) < len(names):
                raise ConfigError(f"{path}: has ISO {iso or 0:g} of {camera or 'an unknown camera'} twice; keep one")
            usable.setdefault(tuple(channel.channel for channel in channels), []).append(
                NoiseProfile(
                    iso=iso,
                    shot_noise_scale=tuple(channel.shot_noise_scale for channel in channels),
                    read_noise_variance=tuple(channel.read_noise_variance for channel in channels),
                    row_noise_variance=tuple(
                        (channel.row_noise_std_dn / (white_level - channel.black_level_dn)) ** 2 for channel in channels
                    ),
                )
            )
        sensors += [_Sensor(camera, names, white_level, tuple(profiles)) for names, profiles in usable.items()]
    if not sensors:
        raise ConfigError(f"{path}: holds no usable noise profile; make one with burst-denoise profile -o")
    return sensors


def _read_channels(path: Path) -> list[ChannelProfile]:
    """Return the channels in the list that ``profile -o`` writes, or the lines that ``profile --json`` prints."""
    try:
        text = path.read_text(encoding="utf-8")
        listed = text.lstrip().startswith("[")
        records = json.loads(text) if listed else [json.loads(line) for line in text.splitlines() if line.strip()]
        return [ChannelProfile.parse(json.dumps(record), "channel") for record in records]
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
    except (ValueError, ConfigError) as error:
        reason = f"is no noise profile ({error})"
    raise ConfigError(f"{path}: {reason}; name a file made by burst-denoise profile -o")
