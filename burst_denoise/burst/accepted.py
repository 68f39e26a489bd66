"""An accepted series as a stored burst, with its dark, its defects and, of simulated frames, its clean reference."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

from burst_denoise.arrays import Float, Mask
from burst_denoise.burst.burst import Burst
from burst_denoise.burst.darks import DarkSet, dark_for
from burst_denoise.burst.frames_on_disk import HeldFrames
from burst_denoise.burst.grouping import CLEAN_REFERENCE
from burst_denoise.burst.series_verdict import SeriesVerdict
from burst_denoise.burst.store import find_bursts, open_burst, store_burst
from burst_denoise.errors import InputFileError
from burst_denoise.files import refuse_existing
from burst_denoise.frame.frame import Frame, to_linear
from burst_denoise.frame.geometry import centre_window
from burst_denoise.schemas import FrameInfo, NoiseProfile
from burst_denoise.sensor.defects import find_defects
from burst_denoise.sensor.identity import Sensor
from burst_denoise.sensor.moments import FrameMoments, frame_moments
from burst_denoise.sensor.photon_transfer import fit_noise_profile
from burst_denoise.sensor.prnu_from_scenes import SceneMean

__all__ = ["AcceptedSeries", "dark_refusal", "stored_burst"]

MEASURED_SIDE = 1024
"""Photosites along a side of the middle of a frame, where its noise is measured."""


@dataclass(frozen=True)
class AcceptedSeries:
    """A series that was accepted, whose accepted frames wait on disk."""

    place: Path
    """Folder of its burst."""
    verdict: SeriesVerdict
    frames: HeldFrames
    """Those that were accepted."""


def stored_burst(
    series: AcceptedSeries,
    darks: Sequence[DarkSet],
    note: Callable[[str], None],
    written: list[Path],
    *,
    any_sensor: bool,
) -> Burst:
    """Store an accepted series, or open the burst that an earlier call stored.

    Parameters
    ----------
    series : AcceptedSeries
        Its frames on disk are given up.
    darks : sequence of DarkSet
        Those that are not of its sensor count for nothing.
    note : callable
        Called with a line of text where there are darks, but none to subtract.
    written : list of Path
        Gets the place of the burst, if one was written.
    any_sensor : bool
        Let darks serve raw files of an unknown camera.

    Raises
    ------
    OutputError
        If the burst cannot be written, or another one is there.
    InputFileError
        If the clean reference of simulated frames cannot be read.
    """
    verdict, accepted = series.verdict, series.frames
    info = accepted[0].info
    own = [dark for dark in darks if dark_refusal(dark, info, any_sensor=any_sensor) is None]
    dark_offset = _dark_of(verdict.series, info, own, note, any_sensor=any_sensor)
    defects = _defects(accepted, verdict, dark_offset, own)
    if find_bursts(series.place):
        burst = _known_burst(series.place, accepted, verdict, dark_offset, defects)
    else:
        clean = _clean_reference(accepted[0])
        burst = store_burst(series.place, accepted, verdict, clean, defects, dark_offset)
        written.append(series.place)
    accepted.discard()  # no more room is taken than that of one burst
    return burst


def dark_refusal(dark: DarkSet, shot: FrameInfo, *, any_sensor: bool) -> str | None:
    """Return in words why a dark cannot be of the sensor of a shot; None where it can."""
    differing = dark.sensor.differences(Sensor.of(shot))
    if not differing and not any_sensor:
        differing = dark.sensor.refusals(Sensor.of(shot))
    return differing[0] if differing else None


def _dark_of(
    name: str, info: FrameInfo, darks: Sequence[DarkSet], note: Callable[[str], None], *, any_sensor: bool
) -> Float | None:
    """Return the dark offsets to subtract from a series, or None, which is reported if there are darks."""
    master = dark_for(darks, info, any_sensor=any_sensor)
    if master is None and darks:
        note(
            f"{name}: shot with {info.exposure_in_words}, the dark frames with "
            f"{', '.join(dark.info.exposure_in_words for dark in darks)}; their defects are repaired, but no dark is "
            "subtracted"
        )
    return None if master is None else master.offset


def _defects(accepted: Sequence[Frame], verdict: SeriesVerdict, dark: Float | None, darks: Sequence[DarkSet]) -> Mask:
    """Return the defects that darks and one burst reveal."""
    info, mosaic = accepted[0].info, accepted[0].mosaic
    gains = [found.divisors(len(mosaic.plane_names)) for found in verdict.frames if found.accepted]

    def frames() -> Iterator[Float]:
        for frame, own in zip(accepted, gains, strict=True):
            yield mosaic.evened(frame.linear if dark is None else frame.linear - dark, own)

    masters = [found.master for found in darks]
    # To tell a defect from noise, the middle of the frame says enough about the noise, in a tenth of the time.
    middle = (..., *centre_window((info.height, info.width), MEASURED_SIDE))
    try:
        profile = fit_noise_profile([(frame[middle].copy() for frame in frames())], mosaic, info.iso)
    except ValueError:  # all overexposed
        return find_defects(mosaic, masters) if masters else np.zeros(accepted[0].dn.shape, np.bool_)
    return find_defects(mosaic, masters, [_scene(frame_moments(frames()), profile)])


def _scene(moments: FrameMoments, profile: NoiseProfile) -> SceneMean:
    return SceneMean(moments.mean.astype(np.float32), moments.count, profile, moments.variance.astype(np.float32))


def _known_burst(
    place: Path, accepted: Sequence[Frame], verdict: SeriesVerdict, dark: Float | None, defects: Mask
) -> Burst:
    """Open a burst that an earlier call stored; `OutputError` if it holds other frames, darks or defects."""
    burst = open_burst(place)
    # Bursts of earlier versions know no gains of planes.
    found = [
        new if old.plane_gains else new.model_copy(update={"plane_gains": None})
        for old, new in zip(burst.manifest.frames, verdict.frames, strict=False)
    ]
    same = burst.manifest.frames == tuple(found) and _equal(burst.dark, dark)
    # Bursts of earlier versions have no map.
    same = same and (burst.defects is None or _equal(burst.defects, defects))
    if not (same and all(np.array_equal(burst.frame(i).dn, frame.dn) for i, frame in enumerate(accepted))):
        refuse_existing(place)
    return burst


def _equal(one: Float | Mask | None, other: Float | Mask | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)


def _clean_reference(shot: Frame) -> Float | None:
    """Return the clean image beside simulated frames, linear, or None for real ones."""
    path = shot.path.parent / CLEAN_REFERENCE
    info = shot.info
    if not path.exists():
        return None
    try:
        clean = to_linear(tifffile.imread(path), info)
    except (ValueError, OSError, tifffile.TiffFileError) as error:
        raise InputFileError(f"{path}: clean reference cannot be read ({error}); repair or remove it") from error
    if clean.shape != (info.height, info.width):
        raise InputFileError(
            f"{path}: clean reference is {clean.shape}, the frames are {info.height}x{info.width}; remove it"
        )
    return clean
