"""The job before all others: whatever the user names, as opened bursts of one sensor."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tifffile

from burst_denoise.arrays import Float, Mask
from burst_denoise.burst.darks import DarkSet, dark_for, refuse_other_sensor
from burst_denoise.burst.grouping import CLEAN_REFERENCE, Series, alike, find_sources, group_series, read_series
from burst_denoise.burst.series import SeriesVerdict, check_frames
from burst_denoise.burst.store import (
    BURST_SUFFIX,
    Burst,
    find_bursts,
    open_burst,
    pooled_by_iso,
    sharing_defects,
    split_inputs,
    store_burst,
)
from burst_denoise.errors import (
    BurstDenoiseError,
    IncompatibleFramesError,
    InputFileError,
    SeriesError,
    TooFewFramesError,
)
from burst_denoise.files import created_parents, refuse_existing
from burst_denoise.frame.frame import Frame, to_linear
from burst_denoise.jobs.listener import Listener
from burst_denoise.schemas import MOST_FRAMES, FrameInfo
from burst_denoise.sensor.defects import find_defects
from burst_denoise.sensor.identity import Sensor
from burst_denoise.sensor.moments import frame_moments
from burst_denoise.sensor.photon_transfer import fit_noise_profile
from burst_denoise.sensor.prnu_from_scenes import SceneMean

__all__ = ["IngestSettings", "by_camera", "ingest", "of_one_sensor", "open_inputs", "refuse_mixture", "store_series"]

MEASURED_SIDE = 1024


@dataclass(frozen=True)
class IngestSettings:
    """How frames become bursts."""

    limit: int = MOST_FRAMES
    """Frames of a series used at most."""
    any_sensor: bool = False
    """Let dark frames serve raw files of an unknown camera."""
    apart: frozenset[Path] = frozenset()
    """Files that are no frames of a burst wherever they lie."""

    def without(self, flats: Sequence[Path]) -> "IngestSettings":
        """Return the settings for inputs among which flats may lie."""
        return replace(self, apart=frozenset(find_sources(flats))) if flats else self


def ingest(
    inputs: Sequence[Path],
    folder: Path,
    darks: Sequence[DarkSet] = (),
    settings: IngestSettings = IngestSettings(),
    listener: Listener = Listener(),
) -> list[Burst]:
    """Judge every series in files and folders and store the accepted ones as bursts; each file is decoded once.

    Parameters
    ----------
    inputs : sequence of Path
        RAW, picture and video files, and folders that hold them.
    folder : Path
        Where the bursts go, one folder ``NAME.burst`` each. One that is there already is opened, if it came from the
        same frames and darks, and not written again.
    darks : sequence of DarkSet
        Of the same sensor. Their defects are repaired in all bursts; their mean is subtracted from bursts of equal ISO
        and exposure. They are no frames of a burst even if ``inputs`` holds them.
    settings : IngestSettings
    listener : Listener
        Hears the verdict on each series, and of every burst from which no dark is subtracted though there are darks.

    Returns
    -------
    list of Burst
        All of one camera and one layout of its sensor.

    Raises
    ------
    IncompatibleFramesError
        If the frames come from several cameras, or no series is left because its frames differ.
    SeriesError, TooFewFramesError
        If no series is accepted.
    OutputError
        If a burst cannot be written, or another one has its name.
    SeriesError
        If frames are copies of each other, or all overexposed.

    Notes
    -----
    After an error nothing is left of what this call wrote; killed, what is whole stays and the same call goes on.
    """
    found = group_series(_without(find_sources(inputs), darks, settings.apart))
    first, *others = (series[0] for series in by_camera(found))
    if others:
        raise IncompatibleFramesError(
            f"{others[0].paths[0]}: camera {_camera(others[0])} instead of {_camera(first)}, which {first.paths[0]} "
            "has; give the frames of one sensor at a time"
        )
    return store_series(found, folder, darks, settings, listener)


def by_camera(found: Sequence[Series]) -> list[list[Series]]:
    """Return series, those of one camera and kind together."""
    return alike(found, lambda one, first: _camera(one) == _camera(first))


def _camera(series: Series) -> str:
    return f"{series.header.camera or 'unknown'} ({series.header.domain})"


def store_series(
    found: Sequence[Series],
    folder: Path,
    darks: Sequence[DarkSet] = (),
    settings: IngestSettings = IngestSettings(),
    listener: Listener = Listener(),
    *,
    one_sensor: bool = True,
) -> list[Burst]:
    """Judge series of one camera and store the accepted ones; see `ingest`.

    Without ``one_sensor`` they may differ in levels and layout, as those of several modes of one camera do.
    """
    places = [folder / (series.name.replace("/", "_") + BURST_SUFFIX) for series in found]
    for place in places:
        if not find_bursts(place):
            refuse_existing(place)
    bursts: list[Burst] = []
    refused: list[SeriesVerdict] = []
    written: list[Path] = []
    shots: list[tuple[FrameInfo, Path]] = []
    with created_parents(places[0]):
        try:
            for series, place in zip(found, places, strict=True):
                read = read_series(series, settings.limit)
                frames = read.frames
                if darks:
                    shot, dark = frames[0], darks[0]
                    sensor = Sensor.of(shot.info)
                    refuse_other_sensor(shot.path, sensor, dark.paths[0], dark.sensor, any_sensor=settings.any_sensor)
                verdict = check_frames(series.name, frames, read.incompatible, read.left_out)
                listener.on_series(verdict, frames)
                if not verdict.accepted:
                    refused.append(verdict)
                    continue
                accepted = _accepted(frames, verdict)
                dark_offset = _dark_of(series.name, accepted[0].info, darks, settings, listener)
                defects = _defects(accepted, verdict, dark_offset, darks)
                if find_bursts(place):
                    bursts.append(_known_burst(place, accepted, verdict, dark_offset, defects))
                else:
                    bursts.append(
                        store_burst(place, accepted, verdict, _clean_reference(accepted[0]), defects, dark_offset)
                    )
                    written.append(place)
                shots.append((accepted[0].info, accepted[0].path))
                if one_sensor:
                    refuse_mixture([shots[0], shots[-1]])
            if not bursts:
                _refuse(refused)
        except BurstDenoiseError:
            for place in written:
                shutil.rmtree(place, ignore_errors=True)
            raise
    return bursts


def open_inputs(
    inputs: Sequence[Path],
    folder: Path,
    darks: Sequence[DarkSet] = (),
    settings: IngestSettings = IngestSettings(),
    listener: Listener = Listener(),
) -> list[Burst]:
    """Return the bursts that inputs name: stored bursts as they are, anything else ingested into ``folder``.

    A folder that holds stored bursts is taken for those alone; ``darks`` serve what is ingested. Raises what `ingest`
    raises, and `BurstStoreError`.
    """
    stored, loose = split_inputs(inputs)
    bursts = [open_burst(path) for path in stored]
    if loose:
        bursts += ingest(loose, folder, darks, settings, listener)
    elif darks:
        listener.note("stored bursts keep the darks they were ingested with; from them those given are not subtracted")
    if not bursts:
        raise InputFileError("no input given; name frames, folders or stored bursts")
    refuse_mixture([(burst.info, burst.folder) for burst in bursts])
    return bursts


def _accepted(frames: Sequence[Frame], verdict: SeriesVerdict) -> list[Frame]:
    # Verdicts on incompatible frames come after those on the frames.
    return [frame for frame, found in zip(frames, verdict.frames, strict=False) if found.accepted]


def _without(sources: Sequence[Path], darks: Sequence[DarkSet], apart: frozenset[Path]) -> list[Path]:
    """Return the sources that are no dark frames or flats."""
    calibration = apart.union(*(dark.paths for dark in darks))
    left = [path for path in sources if path not in calibration]
    if not left:
        raise InputFileError("all frames given are dark frames or flats; name the bursts too")
    return left


def _dark_of(
    name: str, info: FrameInfo, darks: Sequence[DarkSet], settings: IngestSettings, listener: Listener
) -> Float | None:
    """Return the dark offsets to subtract from a series, or None, which is told if there are darks."""
    master = dark_for(darks, info, any_sensor=settings.any_sensor)
    if master is None and darks:
        listener.note(
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
    top, left = (max(0, size - MEASURED_SIDE) // 4 * 2 for size in (info.height, info.width))
    middle = (..., slice(top, top + MEASURED_SIDE), slice(left, left + MEASURED_SIDE))
    try:
        profile = fit_noise_profile([(frame[middle].copy() for frame in frames())], mosaic, info.iso)
    except ValueError:  # all overexposed
        return find_defects(mosaic, masters) if masters else np.zeros(accepted[0].dn.shape, np.bool_)
    moments = frame_moments(frames())
    mean, variance = moments.mean.astype(np.float32), moments.variance.astype(np.float32)
    return find_defects(mosaic, masters, [SceneMean(mean, len(accepted), profile, variance)])


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


def of_one_sensor(bursts: Sequence[Burst]) -> list[Burst]:
    """Return bursts with the noise profile of all bursts of their ISO, and the defects found in any of them.

    Raises
    ------
    SeriesError
        If there is none.
    IncompatibleFramesError
        If they are of several sensors.
    """
    if not bursts:
        raise SeriesError("no burst given; ingest the frames of a series first")
    refuse_mixture([(burst.info, burst.folder) for burst in bursts])
    return sharing_defects(pooled_by_iso(bursts))


def refuse_mixture(found: Sequence[tuple[FrameInfo, Path]]) -> None:
    """Raise when frames come from several cameras or layouts of one: a model belongs to one sensor."""
    first, first_path = found[0]
    for info, path in found[1:]:
        differing = Sensor.of(info).differences(Sensor.of(first), crop=True)
        if info.cfa != first.cfa:
            differing.append(f"CFA {info.cfa} instead of {first.cfa}")
        if differing:
            raise IncompatibleFramesError(
                f"{path}: {differing[0]}, which {first_path} has; give the frames of one sensor at a time"
            )


def _refuse(refused: Sequence[SeriesVerdict]) -> None:
    """Raise the error that says why no series was accepted."""
    worst = refused[0]
    reasons = [f"{frame.file}: {frame.detail}" for frame in worst.frames if not frame.accepted and frame.detail]
    text = f"{worst.series}: {worst.detail}" + (f" ({reasons[0]})" if reasons else "")
    text += "; shoot more frames of a static scene from a tripod"
    if any("light" in frame.reasons for frame in worst.frames):
        text += " in steady light"
    if any("incompatible" in frame.reasons for frame in worst.frames):
        raise IncompatibleFramesError(text + " with one camera, ISO and exposure")
    raise TooFewFramesError(text)
