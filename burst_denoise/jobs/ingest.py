"""The job before all others: whatever the user names, as opened bursts of one sensor."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import tifffile

from burst_denoise.arrays import Float, Mask
from burst_denoise.burst.darks import DarkFramesMet, DarkSet, dark_for, refuse_other_sensor
from burst_denoise.burst.grouping import (
    CLEAN_REFERENCE,
    Series,
    alike,
    find_sources,
    group_series,
    read_series,
)
from burst_denoise.burst.kept import HeldFrames
from burst_denoise.burst.series import FEWEST_FRAMES, SeriesVerdict, judge
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
from burst_denoise.files import absolute, created_parents, disk_refusals, refuse_existing, temporary_folder
from burst_denoise.frame.frame import Frame, to_linear
from burst_denoise.io.read import is_video
from burst_denoise.jobs.listener import Listener
from burst_denoise.schemas import LONGEST_PAUSE_S, MOST_FRAMES, FrameInfo, NoiseProfile
from burst_denoise.sensor.defects import find_defects
from burst_denoise.sensor.identity import Sensor
from burst_denoise.sensor.moments import FrameMoments, frame_moments
from burst_denoise.sensor.photon_transfer import fit_noise_profile
from burst_denoise.sensor.prnu_from_scenes import SceneMean

__all__ = [
    "IngestSettings",
    "Ingested",
    "LeftOut",
    "by_camera",
    "ingest",
    "of_one_sensor",
    "open_inputs",
    "refuse_mixture",
    "same_layout",
    "store_series",
    "without_videos",
]

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
    pause_s: float = LONGEST_PAUSE_S
    """Longest pause within a series, seconds."""
    required: frozenset[Path] = frozenset()
    """Files that stop the job where they are damaged, for they were named themselves; others are told and left out."""
    keep: Path | None = None
    """Folder for the frames of darks met among the shots, for those who need a second look; must exist."""

    def without(self, flats: Sequence[Path]) -> "IngestSettings":
        """Return the settings for inputs among which flats may lie."""
        return replace(self, apart=frozenset(find_sources(flats))) if flats else self

    def requiring(self, inputs: Sequence[Path]) -> "IngestSettings":
        """Return the settings for inputs, those that are files required."""
        return replace(self, required=frozenset(absolute(path) for path in inputs if not path.is_dir()))


@dataclass(frozen=True)
class Ingested:
    """What files and folders have become."""

    bursts: list[Burst]
    darks: list[DarkSet]
    """Dark frames that were given, and those met among the shots."""


def ingest(
    inputs: Sequence[Path],
    folder: Path,
    darks: Sequence[DarkSet] = (),
    settings: IngestSettings = IngestSettings(),
    listener: Listener = Listener(),
) -> list[Burst]:
    """Judge every series in files and folders and store the accepted ones as bursts; each file is decoded once.

    Dark frames among the shots serve as those given do. A damaged file in a folder is told and left out.

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
        Hears the verdict on each series, what is left out, which dark frames were met, and of every burst from which no
        dark is subtracted though there are darks.

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
    InputFileError
        If a file that was named itself is damaged, or all files are.
    OutputError
        If a burst cannot be written, or another one has its name.
    SeriesError
        If frames are all overexposed.

    Notes
    -----
    After an error nothing is left of what this call wrote; killed, what is whole stays and the same call goes on.
    """
    return _ingested(inputs, folder, darks, settings, listener).bursts


def _ingested(
    inputs: Sequence[Path], folder: Path, darks: Sequence[DarkSet], settings: IngestSettings, listener: Listener
) -> Ingested:
    settings = settings.requiring(inputs)
    sources = _without(find_sources(inputs), darks, settings.apart)
    left_out = LeftOut(settings, listener)
    found = group_series(sources, settings.pause_s, left_out)
    if not found:
        raise left_out.errors[0]
    found, videos = without_videos(found, settings.required)
    for video in videos:
        listener.note(f"left out: {video.paths[0]}: is a video beside raw files; name it by itself to calibrate on it")
    first, *others = (series[0] for series in by_camera(found))
    if others:
        raise IncompatibleFramesError(
            f"{others[0].paths[0]}: camera {_camera(others[0])} instead of {_camera(first)}, which {first.paths[0]} "
            "has; give the frames of one sensor at a time"
        )
    return store_series(found, folder, darks, settings, listener)


def without_videos(found: Sequence[Series], required: frozenset[Path]) -> tuple[list[Series], list[Series]]:
    """Return series without the videos that lie beside raw files and were not named themselves, and these videos."""
    videos = [series for series in found if is_video(series.paths[0]) and series.paths[0] not in required]
    if all(series.header.domain != "bayer" for series in found):
        videos = []
    return [series for series in found if series not in videos], videos


def by_camera(found: Sequence[Series]) -> list[list[Series]]:
    """Return series, those of one camera and kind together."""
    return alike(found, lambda one, first: _camera(one) == _camera(first))


def _camera(series: Series) -> str:
    return f"{series.header.camera or 'unknown'} ({series.header.domain})"


class LeftOut:
    """Hears of files that cannot be read: one that was named itself stops the job, others are told and left out.

    Parameters
    ----------
    settings : IngestSettings
    listener : Listener
    """

    def __init__(self, settings: IngestSettings, listener: Listener) -> None:
        self._required, self._listener = settings.required, listener
        self.errors: list[InputFileError] = []

    def __call__(self, path: Path, error: InputFileError) -> None:
        """Hear of a file."""
        if path in self._required:
            raise error
        self.errors.append(error)
        self._listener.note(f"left out: {error}")


@dataclass(frozen=True)
class _Judged:
    """An accepted series, whose accepted frames wait on disk."""

    place: Path
    """Of its burst."""
    verdict: SeriesVerdict
    accepted: HeldFrames


def store_series(
    found: Sequence[Series],
    folder: Path,
    darks: Sequence[DarkSet] = (),
    settings: IngestSettings = IngestSettings(),
    listener: Listener = Listener(),
    *,
    one_sensor: bool = True,
) -> Ingested:
    """Judge series of one camera and store the accepted ones; see `ingest`.

    Without ``one_sensor`` they may differ in levels and layout, as those of several modes of one camera do.

    Notes
    -----
    Dark frames may come after the bursts that they serve: all series are decoded and judged before any is stored.
    """
    places = [folder / (series.name.replace("/", "_") + BURST_SUFFIX) for series in found]
    for place in places:
        if not find_bursts(place):
            refuse_existing(place)
    written: list[Path] = []
    with created_parents(places[0]), _waiting_room(folder) as waiting:
        met = DarkFramesMet(settings.keep or waiting)
        judged = _judge(list(zip(found, places, strict=True)), waiting, met, darks, settings, listener)
        if one_sensor:
            refuse_mixture([(one.accepted[0].info, one.accepted[0].path) for one in judged])
        serving = [*darks, *_serving(met, [one.accepted[0].info for one in judged], settings, listener)]
        try:
            bursts = [_stored(one, serving, settings, listener, written) for one in judged]
        except BurstDenoiseError:
            for place in written:
                shutil.rmtree(place, ignore_errors=True)
            raise
    return Ingested(bursts, serving)


@contextlib.contextmanager
def _waiting_room(folder: Path) -> Iterator[Path]:
    """Give a hidden folder in ``folder``, on the disk that has room for bursts, and take it away again."""
    with disk_refusals(folder):
        folder.mkdir(parents=True, exist_ok=True)
        room = temporary_folder(folder)
    with room as name:
        yield Path(name)


def _judge(
    found: Sequence[tuple[Series, Path]],
    waiting: Path,
    met: DarkFramesMet,
    darks: Sequence[DarkSet],
    settings: IngestSettings,
    listener: Listener,
) -> list[_Judged]:
    """Decode and judge series; return those accepted, their frames on disk; raise if there is none."""
    left_out = LeftOut(settings, listener)
    judged: list[_Judged] = []
    refused: list[SeriesVerdict] = []
    for number, (series, place) in enumerate(found):
        met.begin_series()
        place_of_frames = waiting / f"{number:04d}"
        place_of_frames.mkdir()
        read = read_series(series, settings.limit, left_out, met.add, place_of_frames)
        if not read.frames:
            continue
        if darks:
            shot, dark = read.frames[0], darks[0]
            sensor = Sensor.of(shot.info)
            refuse_other_sensor(shot.path, sensor, dark.paths[0], dark.sensor, any_sensor=settings.any_sensor)
        verdict = judge(series, read)
        listener.on_series(verdict, read.frames)
        # Verdicts on incompatible frames come after those on the frames.
        good = [verdict.accepted and found.accepted for found in verdict.frames]
        read.frames.where([not one for one in good]).discard()
        if verdict.accepted:
            judged.append(_Judged(place, verdict, read.frames.where(good)))
        else:
            refused.append(verdict)
    if not judged:
        if not refused and left_out.errors:
            raise left_out.errors[0]
        _refuse(refused, found[0][0].paths[0])
    if lone := sum(len(verdict.frames) for verdict in refused if verdict.lone):
        listener.note(f"{lone} lone shot{'s' * (lone > 1)} left out: {FEWEST_FRAMES} frames at least make a series")
    return judged


def _serving(
    met: DarkFramesMet, shots: Sequence[FrameInfo], settings: IngestSettings, listener: Listener
) -> list[DarkSet]:
    """Return the dark frames met among the shots that are of the sensor of some of these; tell of all."""
    serving = []
    for dark in met.sets(listener.note):
        refusals = [_refusal(dark, shot, any_sensor=settings.any_sensor) for shot in shots]
        text = f"{len(dark.paths)} dark frames among the shots"
        if all(refusals):
            listener.note(f"{text} ({dark.info.exposure_in_words}) left out: {refusals[0]} of the bursts")
        else:
            listener.note(f"{text} are used as darks ({dark.info.exposure_in_words})")
            serving.append(dark)
    return serving


def _refusal(dark: DarkSet, shot: FrameInfo, *, any_sensor: bool) -> str | None:
    """Return in words why a dark cannot be of the sensor of a shot; None where it can."""
    differing = dark.sensor.differences(Sensor.of(shot))
    if not differing and not any_sensor:
        differing = dark.sensor.refusals(Sensor.of(shot))
    return differing[0] if differing else None


def _stored(
    judged: _Judged, darks: Sequence[DarkSet], settings: IngestSettings, listener: Listener, written: list[Path]
) -> Burst:
    """Store an accepted series, or open the burst that an earlier call stored; note in ``written`` what was written."""
    verdict, accepted = judged.verdict, judged.accepted
    info = accepted[0].info
    own = [dark for dark in darks if _refusal(dark, info, any_sensor=settings.any_sensor) is None]
    dark_offset = _dark_of(verdict.series, info, own, settings, listener)
    defects = _defects(accepted, verdict, dark_offset, own)
    if find_bursts(judged.place):
        burst = _known_burst(judged.place, accepted, verdict, dark_offset, defects)
    else:
        clean = _clean_reference(accepted[0])
        burst = store_burst(judged.place, accepted, verdict, clean, defects, dark_offset)
        written.append(judged.place)
    accepted.discard()  # no more room is taken than that of one burst
    return burst


def open_inputs(
    inputs: Sequence[Path],
    folder: Path,
    darks: Sequence[DarkSet] = (),
    settings: IngestSettings = IngestSettings(),
    listener: Listener = Listener(),
) -> Ingested:
    """Return the bursts that inputs name: stored bursts as they are, anything else ingested into ``folder``.

    A folder that holds stored bursts is taken for those alone; ``darks`` serve what is ingested, and so do dark frames
    met there, which are returned too as far as they are of the size of the first burst. Raises what `ingest` raises,
    and `BurstStoreError`.
    """
    stored, loose = split_inputs(inputs)
    bursts, met = [open_burst(path) for path in stored], []
    if loose:
        ingested = _ingested(loose, folder, darks, settings, listener)
        bursts += ingested.bursts
        met = ingested.darks[len(darks) :]
    elif darks:
        listener.note("stored bursts keep the darks they were ingested with; from them those given are not subtracted")
    if not bursts:
        raise InputFileError("no input given; name frames, folders or stored bursts")
    refuse_mixture([(burst.info, burst.folder) for burst in bursts])
    own = [dark for dark in met if _refusal(dark, bursts[0].info, any_sensor=settings.any_sensor) is None]
    return Ingested(bursts, [*darks, *own])


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
        if differing := _layout_differences(info, first):
            raise IncompatibleFramesError(
                f"{path}: {differing[0]}, which {first_path} has; give the frames of one sensor at a time"
            )


def same_layout(info: FrameInfo, other: FrameInfo) -> bool:
    """Return whether frames are of one sensor and one layout of it, so that one model may serve them."""
    return not _layout_differences(info, other)


def _layout_differences(info: FrameInfo, other: FrameInfo) -> list[str]:
    differing = Sensor.of(info).differences(Sensor.of(other), crop=True)
    if info.cfa != other.cfa:
        differing.append(f"CFA {info.cfa} instead of {other.cfa}")
    return differing


def _refuse(refused: Sequence[SeriesVerdict], first: Path) -> NoReturn:
    """Raise the error that says why no series was accepted."""
    if not refused:
        raise InputFileError(f"{first}: all frames given are dark frames; name the bursts too")
    worst = next((verdict for verdict in refused if not verdict.lone), refused[0])
    reasons = [f"{frame.file}: {frame.detail}" for frame in worst.frames if not frame.accepted and frame.detail]
    text = f"{worst.series}: {worst.detail}" + (f" ({reasons[0]})" if reasons else "")
    text += "; shoot more frames of a static scene from a tripod"
    if any("light" in frame.reasons for frame in worst.frames):
        text += " in steady light"
    if any("incompatible" in frame.reasons for frame in worst.frames):
        raise IncompatibleFramesError(text + " with one camera, ISO and exposure")
    raise TooFewFramesError(text)
