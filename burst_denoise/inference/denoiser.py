"""`Denoiser`: network, engine, noise source, defects and dark of one sensor as one object, from noisy frame to clean.

It can be pickled: what crosses to another process is the model and what was measured; the engine is made anew there.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import chain
from typing import Any, get_args

import numpy as np
import torch

from burst_denoise import __version__
from burst_denoise.arrays import Float, Mask
from burst_denoise.burst.burst import Burst
from burst_denoise.burst.darks import DarkSet, dark_for
from burst_denoise.errors import ConfigError, InputFileError, ModelFileError
from burst_denoise.frame.frame import Frame
from burst_denoise.inference.engine import Engine, fastest_engine
from burst_denoise.inference.network_change import NetworkChange, ProcessingNotes, denoised_frame
from burst_denoise.inference.noise_source import MeasuredNoise, ShotNoise, estimated_noise, noise_figures, shot_noise
from burst_denoise.inference.plane_means import keep_means
from burst_denoise.inference.tiles import denoise_image, image_change
from burst_denoise.io.metadata import DARK_MARK, DENOISED_MARK, REFUSED_AGAIN
from burst_denoise.model.device import choose_device, compute_dtype
from burst_denoise.model.model_file import Model
from burst_denoise.model.prior import load_prior, why_no_prior
from burst_denoise.schemas import TILE, Domain, NoiseProfile, Quality
from burst_denoise.sensor.defects import Repair, find_defects
from burst_denoise.sensor.hot_photosites import find_hot_photosites
from burst_denoise.sensor.identity import Sensor
from burst_denoise.sensor.verdict import unknown_noise_of_shot

__all__ = ["DenoiseSettings", "Denoiser"]


@lru_cache(2)  # what was asked for, and *fast*, which estimates the noise
def _prior_engine(domain: Domain, quality: Quality, device: torch.device, _threads: int) -> tuple[Engine, str]:
    """Return the engine of a prior, on this many threads, and its name: made once, whoever asks for it shot by shot."""
    prior = load_prior(domain, device, quality)
    return fastest_engine(prior.network, compute_dtype(device)), f"prior {prior.sha256[:12]}"


@dataclass(frozen=True)
class DenoiseSettings:
    """How frames are denoised."""

    strength: float = 1.0
    """0 to 1: 1 denoises fully, 0 gives the frame back as it is."""
    quality: Quality = "fast"
    """Which of the networks that come with the package serves without a model: a larger one is better and slower."""
    augment: bool = False
    """Average over the eight flips and rotations: a little better, eight times slower."""
    tile: int = TILE
    """Side of a tile, photosites; no influence on the result beyond float rounding."""
    any_sensor: bool = False
    """Let model, profile and darks serve a frame of another sensor or ISO."""
    force: bool = False
    """Denoise what this program has denoised before once more."""
    device: str = "auto"
    """Where to compute without a model; a model computes where it was loaded."""
    repair_hot_photosites: bool = True
    """Repair those that a shot shows by itself; known defects are repaired in any case."""

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ValueError(f"strength {self.strength} is outside 0 to 1")
        if self.quality not in get_args(Quality):
            raise ValueError(f"quality {self.quality!r} is none of {', '.join(get_args(Quality))}")


class Denoiser:
    """From noisy frames to clean ones, by a model of their sensor, or by the prior and the best noise profile there is.

    Parameters
    ----------
    model : Model, optional
        Without it the network that comes with the package serves, for raw frames and pictures of 16 bits in linear
        light.
    noise : MeasuredNoise, optional
        Without a model: the noise of the sensor; if given it serves all frames. By default the noise comes from the
        stored burst, the frame's ``NoiseProfile`` tag or the frame itself, the first of these there is.
    darks : sequence of DarkSet
        Their mean is subtracted from frames of equal sensor, ISO and exposure; their defects are repaired beside those
        that the model knows. Frames of a stored burst have that burst's dark and map of defects, where no other fits.
    settings : DenoiseSettings
    note : callable
        Called with a line of text once per source, camera and ISO: which noise profile serves; and about frames for
        which there are darks, but none fit. Does not travel to another process.

    Raises
    ------
    DeviceError
        If there is no device of that name.
    """

    def __init__(
        self,
        model: Model | None = None,
        noise: MeasuredNoise | None = None,
        darks: Sequence[DarkSet] = (),
        settings: DenoiseSettings = DenoiseSettings(),
        note: Callable[[str], None] | None = None,
    ) -> None:
        if model is not None and noise is not None:
            raise ConfigError("a model brings the noise of its sensor; give one of the two, model or noise profile")
        self.model = model
        self.settings = settings
        self._noise = noise
        self._darks = tuple(darks)
        self._note = note
        self._told: set[tuple[object, ...]] = set()
        if model is None:
            choose_device(settings.device)

    def __getstate__(self) -> dict[str, Any]:
        """Return what travels to another process: all but the engines and repairs made so far, and who is told."""
        made_here = {"_engines", "_repairs", "_note"}
        return {key: value for key, value in self.__dict__.items() if key not in made_here} | {"_note": None}

    def __call__(self, frame: Frame, burst: Burst | None = None, estimated: ShotNoise | None = None) -> Frame:
        """Return a frame denoised: dark subtracted, known defects and hot photosites repaired, noise taken away.

        Parameters
        ----------
        frame : Frame
            As it was shot; not modified.
        burst : Burst, optional
            The stored burst that it is a frame of.
        estimated : ShotNoise, optional
            Where no noise profile is known: that of shots of its camera and ISO, by `estimate`; by default it is
            estimated from the frame.

        Returns
        -------
        Frame
            float32 DN, neither rounded nor clipped. Photosites at or above the white level come back unchanged.

        Raises
        ------
        ModelFileError
            If the model does not serve the frame's sensor or ISO, or no prior comes for frames of its kind.
        ConfigError
            If the given noise has no profile for this frame.
        InputFileError
            If the frame is a result itself, or the noise must be estimated from the frame and the frame cannot tell.
        DeviceError
            If the device has too little memory for a tile.
        """
        engine, profile, dark, notes = self._served(frame, burst, estimated)
        strength = self.settings.strength
        if strength == 0:
            return replace(frame, notes=notes.at(0))
        image, repairs = self._repaired(frame, burst, profile, dark)
        image = self._run(image, frame, engine, profile)  # the noisy one makes room
        return denoised_frame(image, frame, profile, replace(notes, repairs=repairs).at(strength), strength)

    def change(
        self,
        frame: Frame,
        burst: Burst | None = None,
        estimated: ShotNoise | None = None,
        progress: Callable[[float], None] = lambda _: None,
    ) -> NetworkChange:
        """Return a frame with what the network changes in it, whatever the strength in the settings.

        Parameters
        ----------
        frame, burst, estimated
            As for a call, whose errors are those of this one, too.
        progress : callable
            Called with the share of the frame that is done, 0 to 1, from whatever thread did it.
        """
        engine, profile, dark, notes = self._served(frame, burst, estimated)
        image, repairs = self._repaired(frame, burst, profile, dark)
        change = self._change(image, frame, engine, profile, progress)
        return NetworkChange(frame, image, change, profile, replace(notes, repairs=repairs))

    def merged_change(self, frame: Frame, progress: Callable[[float], None] = lambda _: None) -> NetworkChange:
        """Return a merged frame with what the network changes in it; arguments and errors as of `merged`."""
        engine, profile, notes = self._prepared_mean(frame)
        image = frame.linear
        return NetworkChange(frame, image, self._change(image, frame, engine, profile, progress), profile, notes)

    def _served(
        self, frame: Frame, burst: Burst | None, estimated: ShotNoise | None
    ) -> tuple[Engine, NoiseProfile, Float | None, ProcessingNotes]:
        """Return what computes for a shot, its noise profile, its dark and the note, but for the repairs."""
        if frame.notes.startswith(DENOISED_MARK) and not self.settings.force:
            raise InputFileError(f"{frame.path.name}: {REFUSED_AGAIN}")
        engine, words = self._serving(frame)
        profile, source = self._profile(frame, None if burst is None else burst.profile, estimated)
        told = f"{DENOISED_MARK}: version {__version__}; {words}{source}"
        notes = ProcessingNotes(told, augmented=self.settings.augment)
        return engine, profile, self._dark(frame, burst), notes

    def _repaired(
        self, frame: Frame, burst: Burst | None, profile: NoiseProfile, dark: Float | None
    ) -> tuple[Float, str]:
        """Return the image of a shot as the network is to see it, and what the note says of how it became that."""
        image = frame.linear
        repairs = ""
        if dark is not None:
            np.subtract(image, dark, out=image, where=image < 1)
            repairs = f"; {DARK_MARK}"
        if (repair := self._repair(frame, burst)) is not None:
            repair.mend(image)
        if self.settings.repair_hot_photosites:
            hot = find_hot_photosites(image, frame.mosaic, profile)
            if count := int(hot.sum()):
                Repair(hot, frame.mosaic).mend(image)
                repairs += f"; {count} hot photosite{'s' if count > 1 else ''} repaired"
        return image, repairs

    def _prepared_mean(self, frame: Frame) -> tuple[Engine, NoiseProfile, ProcessingNotes]:
        if self.model is not None:  # its own profile is of single frames
            self.model.profile_for(frame.info, frame.path.name, any_sensor=self.settings.any_sensor)
        engine, words = self._serving(frame)
        assert frame.noise_profile is not None
        notes = ProcessingNotes(f"{frame.notes}; {words}", "", self.settings.augment, merged=True)
        return engine, frame.noise_profile, notes

    def merged(self, frame: Frame) -> Frame:
        """Return a merged frame denoised.

        Parameters
        ----------
        frame : Frame
            The mean of several, dark subtracted and defects repaired; its noise profile is that of the mean.

        Raises
        ------
        ModelFileError
            If the model does not serve the frame's sensor or ISO, or no prior comes for frames of its kind.
        """
        engine, profile, notes = self._prepared_mean(frame)
        strength = self.settings.strength
        image = self._run(frame.linear, frame, engine, profile)
        return denoised_frame(image, frame, profile, notes.at(strength), strength)

    def estimate(self, frames: Iterable[Frame]) -> ShotNoise:
        """Return the noise of shots of one camera and ISO, estimated from them; see `estimated_noise`."""
        frames = iter(frames)
        first = next(frames, None)
        if first is None:
            raise InputFileError("no shot to estimate noise from could be read")
        # By the fast prior, so that a shot's noise is the same at every quality.
        return estimated_noise(chain([first], frames), self._prior(first, "fast")[0])

    def image(self, image: Float, frame: Frame) -> Float:
        """Return an image denoised whose dark and defects are taken care of: a method for the benchmark.

        Hot photosites that its burst does not show stay as they are: the mean of the other frames, which scores it, has
        them too.

        Parameters
        ----------
        image : (H, W) or (3, H, W) float32 array, linear
            A whole frame or a window of one; not modified.
        frame : Frame
            That it is of; without a model its noise profile counts.
        """
        engine, _ = self._serving(frame)
        profile, _ = self._profile(frame, frame.noise_profile)
        return self._run(image, frame, engine, profile)

    def mean_image(self, image: Float, frame: Frame) -> Float:
        """Return the mean of several frames denoised, under the noise profile of the frame; otherwise as `image`."""
        engine, profile, _ = self._prepared_mean(frame)
        return self._run(image, frame, engine, profile)

    def _run(self, image: Float, frame: Frame, engine: Engine, profile: NoiseProfile) -> Float:
        settings = self.settings
        clean = denoise_image(
            image,
            frame.mosaic,
            engine,
            profile,
            strength=settings.strength,
            augment=settings.augment,
            tile=settings.tile,
        )
        keep_means(image, clean, frame.mosaic, profile)
        return clean

    def _change(
        self, image: Float, frame: Frame, engine: Engine, profile: NoiseProfile, progress: Callable[[float], None]
    ) -> Float:
        augment, tile = self.settings.augment, self.settings.tile
        return image_change(image, frame.mosaic, engine, profile, augment=augment, tile=tile, progress=progress)

    @cached_property
    def _engines(self) -> dict[tuple[str, Quality | None], tuple[Engine, str]]:
        """Engine and name of each network in use, by the domain of the frames it serves and, of priors, the quality."""
        return {}

    def _serving(self, frame: Frame) -> tuple[Engine, str]:
        """Return what computes for frames of this kind, and in a few words which network it is."""
        if self.model is None:
            return self._prior(frame, self.settings.quality)
        key = (frame.info.domain, None)
        if key not in self._engines:
            network = self.model.network
            words = f"model {self.model.header.weights_sha256[:12]}"
            self._engines[key] = fastest_engine(network, compute_dtype(next(network.parameters()).device)), words
        return self._engines[key]

    def _prior(self, frame: Frame, quality: Quality) -> tuple[Engine, str]:
        if (reason := why_no_prior(frame.info, quality)) is not None:
            raise ModelFileError(f"{frame.path.name}: {reason}")
        key = (frame.info.domain, quality)
        if key not in self._engines:
            device = choose_device(self.settings.device)
            self._engines[key] = _prior_engine(frame.info.domain, quality, device, torch.get_num_threads())
        return self._engines[key]

    def _profile(
        self, frame: Frame, stored: NoiseProfile | None, estimated: ShotNoise | None = None
    ) -> tuple[NoiseProfile, str]:
        """Return the noise profile that serves a frame, and what the notes say of it."""
        name = frame.path.name
        any_sensor = self.settings.any_sensor
        if self.model is not None:
            sensor = Sensor.of(frame.info)
            if sensor.matched_without_camera(self.model.sensor):
                self._tell(f"{name}: camera unknown; the model is taken for its own by size, depth and kind", "camera")
            return self.model.profile_for(frame.info, name, any_sensor=any_sensor), ""
        if self._noise is not None:
            profile, source = self._noise.profile_for(frame.info, name, any_sensor=any_sensor)
            figures = ""
        else:
            noise = shot_noise(frame, stored, self.estimate, estimated)
            profile, source = noise.profile, noise.source
            figures = "" if stored is not None else f", {noise_figures(profile)}"
            figures += f"; {noise.contradiction}" if noise.contradiction else ""
            figures += "" if frame.info.cfa else "; its values are taken for linear in light"
            unknown = [] if noise.structure is None else unknown_noise_of_shot(noise.structure)
            figures += f"; calibrate for better, for {', '.join(unknown)}" if unknown else ""
        self._tell(f"{name}: noise {source}{figures}", source, frame.info.camera, frame.info.iso)
        return profile, f"; noise {source}"

    def _dark(self, frame: Frame, burst: Burst | None) -> Float | None:
        master = dark_for(self._darks, frame.info, any_sensor=self.settings.any_sensor)
        if master is not None:
            return master.offset
        stored = None if burst is None else burst.dark
        if stored is None and self._darks:
            kind = f"its camera ({frame.info.camera or 'unknown'}) with {frame.info.exposure_in_words}"
            self._tell(f"{frame.path.name}: no dark frames of {kind}; no dark is subtracted from such shots", kind)
        return stored

    @cached_property
    def _defect_maps(self) -> list[tuple[Sensor, Mask]]:
        """Maps of defects, those of the model and of the darks, with the sensor each is of."""
        maps = []
        if self.model is not None and self.model.defect_map is not None:
            maps.append((self.model.sensor, self.model.defect_map))
        if self._darks:
            masters = [dark.master for dark in self._darks]
            maps.append((self._darks[0].sensor, find_defects(self._darks[0].sensor.mosaic, masters)))
        return maps

    @cached_property
    def _repairs(self) -> dict[tuple[int, ...], Repair]:
        """What repairs the defects of the maps of these numbers, as far as made."""
        return {}

    def _repair(self, frame: Frame, burst: Burst | None) -> Repair | None:
        maps = self._defect_maps
        fitting = tuple(k for k, (owner, mask) in enumerate(maps) if self._serves(owner, mask, frame))
        if not fitting:
            return None if burst is None else burst.repair
        if fitting not in self._repairs:
            self._repairs[fitting] = Repair(np.logical_or.reduce([maps[k][1] for k in fitting]), frame.mosaic)
        return self._repairs[fitting]

    def _serves(self, owner: Sensor, mask: Mask, frame: Frame) -> bool:
        """Return whether a map of defects is of a frame's very photosites, as far as the cameras' names tell."""
        sensor = Sensor.of(frame.info)
        if mask.shape != frame.dn.shape or owner.mosaic != sensor.mosaic:
            return False
        if self.settings.any_sensor:  # another camera may be served, but has defects of its own
            return owner.camera == sensor.camera or None in (owner.camera, sensor.camera)
        return not sensor.refusals(owner)

    def _tell(self, text: str, *subject: object) -> None:
        """Tell a line of text about a subject, once."""
        if self._note is not None and subject not in self._told:
            self._told.add(subject)
            self._note(text)
