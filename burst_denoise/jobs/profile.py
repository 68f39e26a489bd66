"""The job `profile`: what bursts, dark frames and flats say about their sensor."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from burst_denoise.arrays import Float, Mask
from burst_denoise.burst.burst import Burst
from burst_denoise.burst.darks import DarkSet, read_darks, refuse_other_sensor
from burst_denoise.burst.flats import read_flat
from burst_denoise.burst.store import sharing_defects
from burst_denoise.errors import SeriesError
from burst_denoise.files import temporary_folder
from burst_denoise.frame.exposure import first_of_each_setting, same_exposure
from burst_denoise.frame.frame import Frame, to_linear
from burst_denoise.frame.mosaic import MONO, Mosaic
from burst_denoise.io.emva1288 import EmvaLevel, read_emva
from burst_denoise.io.noise_profile_export import write_profile
from burst_denoise.jobs.ingest import IngestSettings, open_inputs
from burst_denoise.jobs.listener import Listener
from burst_denoise.schemas import ChannelProfile, Estimate, FrameInfo
from burst_denoise.score.pattern import SensorPattern
from burst_denoise.sensor.channel_fit import ChannelNoise, fit_channels
from burst_denoise.sensor.defects import Repair, find_defects
from burst_denoise.sensor.fixed_pattern import MasterDark, master_dark, photo_response, sensitivity
from burst_denoise.sensor.identity import Sensor
from burst_denoise.sensor.moments import frame_moments
from burst_denoise.sensor.photon_transfer import TransferSamples, transfer_samples
from burst_denoise.sensor.prnu_from_scenes import prnu_from_scenes
from burst_denoise.sensor.verdict import assess_channel, contradictions

__all__ = ["SensorProfile", "profile", "profile_bursts"]


LONG_STACK = 10
"""Frames from which a level of an EMVA measurement is one for fixed pattern."""


@dataclass(frozen=True)
class SensorProfile:
    """What was found out about a sensor, and what plots of it need."""

    channels: tuple[ChannelProfile, ...]
    """Per ISO, ascending, and channel."""
    noise: Mapping[float | None, tuple[ChannelNoise, ...]]
    """Per ISO and channel: the measured points and the fit."""
    defects: Mask
    """Hot, dead and flickering photosites; the shape of a frame."""
    dark: MasterDark | None
    """Master dark of the first series of dark frames."""
    response: Float | None
    """Sensitivity of every photosite relative to the local mean of its colour, from flats."""
    frame: Frame
    """One frame as it was shot."""
    pattern: SensorPattern = SensorPattern()
    """What scores of bursts of this sensor must know."""

    def save(self, path: Path | str) -> None:
        """Write the channels as JSON, to denoise with; `OutputError` if the file exists or cannot be written."""
        write_profile(Path(path), self.channels)


@dataclass(frozen=True)
class _Pattern:
    """Fixed pattern per plane, as far as the frames tell it."""

    prnu: Sequence[Estimate] | None
    dsnu: Mapping[float | None, Sequence[Estimate]]
    """Per ISO, linear units."""
    left: Mapping[float | None, Sequence[float]]
    """Per ISO of dark frames: what remains of DSNU once they are subtracted, linear units."""


def profile(
    inputs: Sequence[Path],
    darks: Sequence[Path] = (),
    flats: Sequence[Path] = (),
    settings: IngestSettings = IngestSettings(),
    listener: Listener = Listener(),
) -> SensorProfile:
    """Calibrate a sensor from whatever the user names; each file is decoded once.

    Parameters
    ----------
    inputs : sequence of Path
        Frames, folders, stored bursts; or one folder with an EMVA 1288 measurement, which holds darks and flats.
    darks, flats : sequence of Path
        Dark frames and frames of an evenly lit surface, files or folders; see `profile_bursts`.
    settings : IngestSettings
    listener : Listener
        Hears the verdict on each series, and what is rough, or was given and cannot be used.

    Raises
    ------
    BurstDenoiseError
        Whatever is wrong with the inputs; in words, why they cannot be used.
    """
    if len(inputs) == 1 and (found := _profile_emva(inputs[0])) is not None:
        if darks or flats:
            raise SeriesError(f"{inputs[0]}: an EMVA 1288 measurement has darks and flats of its own; give no others")
        return found
    with temporary_folder() as folder:
        dark_sets = read_darks(darks, keep=Path(folder))
        settings = replace(settings.without(flats), keep=Path(folder))
        opened = open_inputs(inputs, Path(folder) / "bursts", dark_sets, settings, listener)
        return profile_bursts(sharing_defects(opened.bursts), opened.darks, flats, settings, listener)


def profile_bursts(
    bursts: Sequence[Burst],
    darks: Sequence[DarkSet] = (),
    flats: Sequence[Path] = (),
    settings: IngestSettings = IngestSettings(),
    listener: Listener = Listener(),
) -> SensorProfile:
    """Calibrate a sensor from tripod bursts, and from dark frames and flats where there are any.

    Parameters
    ----------
    bursts : sequence of Burst
        Of one sensor, at one or several ISOs, from `burst_denoise.burst.store.sharing_defects`. Fixed pattern is
        looked for in those of the size of the first.
    darks : sequence of DarkSet
        With their frames kept; they settle the noise at black, DSNU and the defects.
    flats : sequence of Path
        Frames of an evenly lit surface: they settle PRNU. Without them it comes from bursts of several scenes, if
        there are such.
    settings : IngestSettings
    listener : Listener
        Hears what is rough.

    Raises
    ------
    InputFileError
        If flats are overexposed or not evenly lit.
    IncompatibleFramesError
        If darks or flats are of another sensor.
    SeriesError
        If the noise cannot be measured.
    """
    info = bursts[0].info
    shot, any_sensor = bursts[0].frame(0), settings.any_sensor
    for dark in darks:
        refuse_other_sensor(dark.paths[0], dark.sensor, shot.path, Sensor.of(info), any_sensor=any_sensor)
    # The dark current of another exposure is no figure of these bursts; its defects are.
    used = [dark for dark in darks if any(same_exposure(dark.info, burst.info) for burst in bursts)]
    isos = first_of_each_setting([burst.info.iso for burst in bursts] + [dark.info.iso for dark in used])
    masters = {isos[dark.info.iso]: dark.master for dark in used}
    maps = _maps(bursts, [dark.master for dark in darks])
    defects = np.logical_or.reduce([np.zeros(bursts[0].saturated.shape, np.bool_), *maps])
    samples: dict[float | None, list[TransferSamples]] = defaultdict(list)
    frames: dict[float | None, int] = defaultdict(int)
    for burst in bursts:
        iso = isos[burst.info.iso]
        samples[iso].append(_samples((burst.linear(k) for k in range(len(burst))), burst.info))
        frames[iso] += len(burst)
    repair = Repair(defects, bursts[0].mosaic)  # the offset of a hot photosite is not light, and would pass for it
    for dark in used:
        samples[isos[dark.info.iso]] += [_samples(map(repair.apply, stack), dark.info) for stack in dark.stacks()]
    alike = [burst for burst in bursts if burst.saturated.shape == defects.shape]
    shared = prnu_from_scenes([burst.scene() for burst in alike], bursts[0].mosaic)
    flat = read_flat(flats, shot, darks, any_sensor=any_sensor)
    if shared and not (flat and masters):
        listener.note("the fixed pattern from the scenes of bursts is rough; flats (--flats) and dark frames settle it")
    prnu: Sequence[Estimate] | None = None
    if flat:
        prnu = flat.response.fine
    elif shared:
        prnu = (shared.prnu_of_all,) * len(info.black_level)
    pattern = _Pattern(
        prnu=prnu,
        dsnu=({isos[iso]: found for iso, found in shared.dsnu.items()} if shared else {})
        | {iso: master.dsnu.whole for iso, master in masters.items()},
        left={iso: master.residual_std for iso, master in masters.items()},
    )
    noise = _fitted(samples)
    channels = [
        channel
        for iso in sorted(noise, key=lambda iso: iso or 0)
        for channel in _judged_together([*_channels(info, iso, noise[iso], pattern, defects, frames[iso])])
    ]
    frame = replace(shot, dn=shot.dn.copy())  # the stored burst may be a temporary one
    return SensorProfile(
        channels=tuple(channels),
        noise=noise,
        defects=defects,
        dark=next(iter(masters.values()), None),
        response=flat.picture if flat else None,
        frame=frame,
        pattern=SensorPattern.of(flat, shared, masters),
    )


def _profile_emva(folder: Path) -> SensorProfile | None:
    """Calibrate a sensor from an EMVA 1288 measurement; None where a folder holds no descriptor of one.

    The black level is the mean of the longest dark stack, PRNU and DSNU those of whole frames, as the standard has it.

    Raises
    ------
    SeriesError
        If there is no dark or no bright stack of at least 10 frames.
    InputFileError
        If descriptor or pictures are damaged.
    """
    levels = read_emva(folder)
    if levels is None:
        return None
    dark_level, bright_level = _longest(levels, folder, dark=True), _longest(levels, folder, dark=False)
    black = float(np.mean([frame.dn.mean(dtype=np.float64) for frame in dark_level.frames]))
    info = dark_level.frames[0].info.model_copy(update={"black_level": (black,)})

    def linear(level: EmvaLevel) -> list[Float]:
        return [to_linear(frame.dn, info) for frame in level.frames]

    dark = master_dark(linear(dark_level), MONO)
    bright = frame_moments(linear(bright_level))
    noise = _fitted({info.iso: [_samples(linear(level), info) for level in levels]})
    defects = find_defects(MONO, [dark])
    pattern = _Pattern(
        photo_response(bright, dark, MONO).whole, {info.iso: dark.dsnu.whole}, {info.iso: dark.residual_std}
    )
    frames = sum(len(level.frames) for level in levels)
    channels = _judged_together([*_channels(info, info.iso, noise[info.iso], pattern, defects, frames)])
    picture = sensitivity(bright, dark, MONO)
    return SensorProfile(channels, noise, defects, dark, picture, replace(dark_level.frames[0], info=info))


def _samples(stack: Iterator[Float] | Sequence[Float], info: FrameInfo) -> TransferSamples:
    darkest = float(to_linear(np.zeros((2, 2) if info.domain != "rgb" else (3, 2, 2)), info).max())
    return transfer_samples(stack, Mosaic.of(info), darkest=darkest)


def _fitted(samples: Mapping[float | None, Sequence[TransferSamples]]) -> dict[float | None, tuple[ChannelNoise, ...]]:
    try:
        return {iso: fit_channels(stacks) for iso, stacks in samples.items()}
    except ValueError as error:
        raise SeriesError(f"the noise cannot be measured: {error}") from error


def _maps(bursts: Sequence[Burst], masters: Iterable[MasterDark]) -> Iterator[Mask]:
    """Give the defects that bursts and dark frames reveal, those of the size of the first burst."""
    size = bursts[0].saturated.shape
    yield from (burst.defects for burst in bursts if burst.defects is not None and burst.defects.shape == size)
    if found := [master for master in masters if master.offset.shape == size]:
        yield find_defects(bursts[0].mosaic, found)


def _longest(levels: Sequence[EmvaLevel], folder: Path, *, dark: bool) -> EmvaLevel:
    longest = max((level for level in levels if level.dark == dark), key=lambda level: len(level.frames), default=None)
    if longest is None or len(longest.frames) < LONG_STACK:
        raise SeriesError(
            f"{folder}: no {'dark' if dark else 'bright'} level of {LONG_STACK} pictures or more; "
            "the standard wants 50 for the fixed pattern"
        )
    return longest


def _judged_together(channels: Sequence[ChannelProfile]) -> tuple[ChannelProfile, ...]:
    """Return the channels of an ISO, none of them usable where they contradict each other."""
    if wrong := contradictions(channels):
        return tuple(
            channel.model_copy(update={"usable": False, "reasons": tuple(dict.fromkeys([*wrong, *channel.reasons]))})
            for channel in channels
        )
    return tuple(channels)


def _channels(
    info: FrameInfo,
    iso: float | None,
    noise: Sequence[ChannelNoise],
    pattern: _Pattern,
    defects: Mask,
    frames: int,
) -> Iterator[ChannelProfile]:
    mosaic = Mosaic.of(info)
    counts = mosaic.pack(defects.astype(np.float32)).sum(axis=(1, 2))
    offsets, left = pattern.dsnu.get(iso), pattern.left.get(iso)
    for index, (name, found) in enumerate(zip(mosaic.plane_names, noise, strict=True)):
        black = info.black_level[index]
        span = info.white_level - black
        gain = found.shot_noise_scale.value * span
        estimates = {
            "gain_dn_per_e": (found.shot_noise_scale, span),
            "read_noise_std_dn": (found.read_noise_std, span),
            "row_noise_std_dn": (found.row_noise_std, span),
            "column_noise_std_dn": (found.column_noise_std, span),
            "prnu_percent": (pattern.prnu[index] if pattern.prnu else None, 100),
            "dsnu_e": (offsets[index] if offsets and gain > 0 else None, span / gain if gain > 0 else 0),
        }
        measured: dict[str, Any] = {}
        for field, (estimate, factor) in estimates.items():
            measured[field] = estimate and estimate.value * factor
            measured[f"{field}_interval"] = estimate and (estimate.low * factor, estimate.high * factor)
        channel = ChannelProfile(
            camera=info.camera,
            iso=iso,
            channel=name,
            **measured,
            residual_dsnu_e=left[index] * span / gain if left and gain > 0 else None,
            noise_correlation=found.correlation,
            defects=round(float(counts[index])),
            shot_noise_scale=found.shot_noise_scale.value,
            read_noise_variance=found.read_noise_variance.value,
            black_level_dn=black,
            white_level_dn=info.white_level,
            frames=frames,
            usable=True,
            reasons=(),
        )
        usable, reasons = assess_channel(
            channel,
            # Industrial cameras give 8 bits in linear light, too, of one colour.
            developed=info.developed_in_colour or info.tone_curve,
            misfit=found.misfit,
            drift=found.drift,
            flicker=found.flicker,
        )
        yield channel.model_copy(update={"usable": usable, "reasons": tuple(reasons)})
