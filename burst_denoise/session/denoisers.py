"""Which denoiser serves a shot: the model of its sensor, else the prior with the best noise profile there is."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from burst_denoise.burst.darks import DarkSet
from burst_denoise.errors import ConfigError, ModelFileError
from burst_denoise.frame.frame import Frame
from burst_denoise.inference.denoiser import Denoiser, DenoiseSettings
from burst_denoise.inference.noise_source import MeasuredNoise
from burst_denoise.model.device import choose_device
from burst_denoise.model.model_file import Model
from burst_denoise.model.prior import load_prior, why_no_prior
from burst_denoise.schemas import Domain, FrameInfo, NoiseProfile, Quality
from burst_denoise.sensor.identity import Sensor

__all__ = ["ChosenDenoiser", "Denoisers"]

TRIAL_SIDE = 1600
"""Photosites along a side of what the speed is measured on."""


@dataclass(frozen=True)
class ChosenDenoiser:
    """What denoises a shot, and all that decides about its result."""

    denoiser: Denoiser
    network: str
    """"model" or "prior" and the SHA-256 of its weights."""
    settings: dict[str, str | float | bool | None]
    measured: bool
    """Whether the noise of its sensor was measured, and is neither read from the shot nor estimated."""


def _nobody(_: str) -> None: ...


class Denoisers:
    """The denoisers of a session, one a sensor; they can be pickled.

    Parameters
    ----------
    models : sequence of Model
        Each serves the shots of its sensor within its span of ISOs, the first one that fits.
    profiles : sequence of MeasuredNoise
        Without a model that fits: the noise of sensors.
    darks : sequence of DarkSet
    settings : DenoiseSettings
    note : callable
        Called with a line of text once per source, camera and ISO. Does not travel to another process, which sets
        the attribute of this name.
    strict : bool
        Refuse a shot that no given model serves, or, where there are only profiles, no profile.
    """

    def __init__(
        self,
        models: Sequence[Model] = (),
        profiles: Sequence[MeasuredNoise] = (),
        darks: Sequence[DarkSet] = (),
        settings: DenoiseSettings = DenoiseSettings(),
        note: Callable[[str], None] = _nobody,
        *,
        strict: bool = False,
    ) -> None:
        self.settings = settings
        self.note = note
        self.strict = strict
        self._models, self._profiles, self._darks = tuple(models), tuple(profiles), tuple(darks)
        self._told: set[tuple[str | None, float | None]] = set()
        self._made: dict[int, Denoiser] = {}
        self._serving: dict[tuple[object, ...], ChosenDenoiser] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return what travels to another process: all but what was made here and who is told; the device is settled."""
        device = choose_device(self.settings.device).type
        made_here = {"note": _nobody, "_made": {}, "_serving": {}}
        return self.__dict__ | made_here | {"settings": replace(self.settings, device=device)}

    def under(self, settings: DenoiseSettings, note: Callable[[str], None]) -> "Denoisers":
        """Return the same under other settings, telling anew, to somebody else."""
        return Denoisers(self._models, self._profiles, self._darks, settings, note, strict=self.strict)

    @property
    def of_pictures(self) -> bool:
        """Whether a model is one of pictures, so that these are shots even among raw files."""
        return any(model.header.domain != "bayer" for model in self._models)

    @property
    def dark_sets(self) -> tuple[DarkSet, ...]:
        """The dark frames."""
        return self._darks

    def serving(self, info: FrameInfo, name: str, *, alone: bool = False) -> ChosenDenoiser:
        """Return what denoises a shot.

        Parameters
        ----------
        info : FrameInfo
        name : str
            The shot's file, for the message.
        alone : bool
            It is the only shot, and to be refused where nothing given fits.

        Raises
        ------
        ModelFileError
            If no model serves the shot, and that is to be refused.
        ConfigError
            If there are profiles instead, and none serves it.
        """
        key = (
            info.domain,
            info.camera,
            info.iso,
            info.cfa,
            info.white_level,
            info.black_level,
            info.tone_curve,
            info.height,
            info.width,
        )
        if key not in self._serving:
            self._serving[key] = self._choose(info, name, strict=alone or self.strict)
        return self._serving[key]

    def megapixels_per_s(self) -> float:
        """Return how fast mosaics are denoised here, measured on a small one."""
        info = FrameInfo(
            domain="bayer", camera=None, cfa="RGGB", height=TRIAL_SIDE, width=TRIAL_SIDE, black_level=(0.0,) * 4,
            white_level=65535.0, noise_profile=NoiseProfile(
                iso=None, shot_noise_scale=(1e-4,) * 4, read_noise_variance=(1e-6,) * 4
            ),
        )  # fmt: skip
        frame = Frame(np.full((TRIAL_SIDE, TRIAL_SIDE), 6000, np.uint16), info, Path("trial"))
        denoiser = Denoiser(None, None, (), replace(self.settings, any_sensor=False))
        denoiser(frame)  # makes the engine ready
        begun = time.perf_counter()
        denoiser(frame)
        return TRIAL_SIDE**2 / 1e6 / (time.perf_counter() - begun)

    def _choose(self, info: FrameInfo, name: str, *, strict: bool) -> ChosenDenoiser:
        refused: ModelFileError | ConfigError | None = None
        own = [model for model in self._models if model.sensor.camera == info.camera]
        any_sensor = self.settings.any_sensor
        for loose in dict.fromkeys((False, any_sensor)):
            for model in self._models:
                try:
                    profile = model.profile_for(info, name, any_sensor=loose)
                except ModelFileError as error:
                    if refused is None or (own and model is own[0]):  # that of its own camera tells more
                        refused = error
                else:
                    network = f"model {model.header.weights_sha256}"
                    return ChosenDenoiser(self._denoiser(model, None), network, self._settings(profile, info), True)
            for noise in self._profiles:
                try:
                    profile, _ = noise.profile_for(info, name, any_sensor=loose)
                except ConfigError as error:
                    refused = refused or error
                else:
                    return ChosenDenoiser(
                        self._denoiser(None, noise),
                        _prior(info, self.settings.quality),
                        self._settings(profile, info),
                        True,
                    )
        if refused is not None and (strict or why_no_prior(info, self.settings.quality) is not None):
            raise refused
        if refused is not None and (info.camera, info.iso) not in self._told:
            self._told.add((info.camera, info.iso))
            self.note(f"{refused}; until then the network that comes with the program serves such shots")
        return ChosenDenoiser(
            self._denoiser(None, None), _prior(info, self.settings.quality), self._settings(None, info), False
        )

    def _denoiser(self, model: Model | None, noise: MeasuredNoise | None) -> Denoiser:
        key = id(model or noise)
        if key not in self._made:
            self._made[key] = Denoiser(model, noise, self._darks, self.settings, self._tell)
        return self._made[key]

    def _tell(self, text: str) -> None:
        self.note(text)

    def _settings(self, profile: NoiseProfile | None, info: FrameInfo) -> dict[str, str | float | bool | None]:
        of = self.settings
        return {
            "strength": of.strength,
            # As in the lines of earlier ledgers; which prior it is the network says.
            "quality": "best" if of.augment else "fast",
            "darks": self._darks_digest if self._darks and self._have_darks(info) else None,
            "noise_profile": None if profile is None else _digest(profile.model_dump_json().encode()),
            # Not named where they are, so that the lines of earlier ledgers still hold.
            **({} if of.repair_hot_photosites else {"hot_photosites": "kept"}),
        }

    def _have_darks(self, info: FrameInfo) -> bool:
        """Return whether the dark frames are of a shot's sensor: their mean or their defects count."""
        return self.settings.any_sensor or not Sensor.of(info).refusals(self._darks[0].sensor)

    @cached_property
    def _darks_digest(self) -> str:
        return _digest(b"".join(dark.master.offset.tobytes() for dark in self._darks))


def _prior(info: FrameInfo, quality: Quality) -> str:
    if why_no_prior(info, quality) is not None:
        return "none"  # the denoiser will say so
    return f"prior {_prior_digest(info.domain, quality)}"


@cache
def _prior_digest(domain: Domain, quality: Quality) -> str:
    return load_prior(domain, choose_device("cpu"), quality).sha256


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
