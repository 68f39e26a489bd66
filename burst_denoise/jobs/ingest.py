"""Ingestion: files and folders as stored bursts of one sensor, judged, with noise profile and map of defects."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from burst_denoise.burst.accepted import AcceptedSeries, dark_refusal, stored_burst
from burst_denoise.burst.burst import Burst
from burst_denoise.burst.darks import DarkFramesMet, DarkSet, refuse_other_sensor
from burst_denoise.burst.grouping import Series, find_sources, group_series, read_series
from burst_denoise.burst.one_sensor import by_camera, camera_in_words, refuse_mixture
from burst_denoise.burst.series_verdict import FEWEST_FRAMES, SeriesVerdict, judge
from burst_denoise.burst.store import BURST_SUFFIX, find_bursts, open_burst, split_inputs
from burst_denoise.errors import BurstDenoiseError, IncompatibleFramesError, InputFileError, TooFewFramesError
from burst_denoise.files import absolute, created_parents, disk_refusals, refuse_existing, temporary_folder
from burst_denoise.io.read import is_video
from burst_denoise.jobs.listener import Listener
from burst_denoise.schemas import LONGEST_PAUSE_S, MOST_FRAMES, FrameInfo
from burst_denoise.sensor.identity import Sensor

__all__ = [
    "IngestSettings",
    "Ingested",
    "LeftOut",
    "ingest",
    "open_inputs",
    "store_series",
    "without_videos",
]


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
    """Files that stop the job where they are damaged, for they were named themselves; others are left out."""
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

    Dark frames among the shots serve as those given do. A damaged file in a folder is reported and left out.

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
            f"{others[0].paths[0]}: camera {camera_in_words(others[0])} instead of {camera_in_words(first)}, which "
            f"{first.paths[0]} has; give the frames of one sensor at a time"
        )
    return store_series(found, folder, darks, settings, listener)


def without_videos(found: Sequence[Series], required: frozenset[Path]) -> tuple[list[Series], list[Series]]:
    """Return series without the videos that lie beside raw files and were not named themselves, and these videos."""
    videos = [series for series in found if is_video(series.paths[0]) and series.paths[0] not in required]
    if all(series.header.domain != "bayer" for series in found):
        videos = []
    return [series for series in found if series not in videos], videos


class LeftOut:
    """Hears of files that cannot be read: one that was named itself stops the job, others are reported and left out.

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
        accepted = _judge(list(zip(found, places, strict=True)), waiting, met, darks, settings, listener)
        if one_sensor:
            refuse_mixture([(one.frames[0].info, one.frames[0].path) for one in accepted])
        serving = [*darks, *_serving(met, [one.frames[0].info for one in accepted], settings, listener)]
        try:
            bursts = [
                stored_burst(one, serving, listener.note, written, any_sensor=settings.any_sensor) for one in accepted
            ]
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
) -> list[AcceptedSeries]:
    """Decode and judge series; return those accepted, their frames on disk; raise if there is none."""
    left_out = LeftOut(settings, listener)
    accepted: list[AcceptedSeries] = []
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
            accepted.append(AcceptedSeries(place, verdict, read.frames.where(good)))
        else:
            refused.append(verdict)
    if not accepted:
        if not refused and left_out.errors:
            raise left_out.errors[0]
        _refuse(refused, found[0][0].paths[0])
    if lone := sum(len(verdict.frames) for verdict in refused if verdict.lone):
        listener.note(f"{lone} lone shot{'s' * (lone > 1)} left out: {FEWEST_FRAMES} frames at least make a series")
    return accepted


def _serving(
    met: DarkFramesMet, shots: Sequence[FrameInfo], settings: IngestSettings, listener: Listener
) -> list[DarkSet]:
    """Return the dark frames met among the shots that are of the sensor of some of these; tell of all."""
    serving = []
    for dark in met.sets(listener.note):
        refusals = [dark_refusal(dark, shot, any_sensor=settings.any_sensor) for shot in shots]
        text = f"{len(dark.paths)} dark frames among the shots"
        if all(refusals):
            listener.note(f"{text} ({dark.info.exposure_in_words}) left out: {refusals[0]} of the bursts")
        else:
            listener.note(f"{text} are used as darks ({dark.info.exposure_in_words})")
            serving.append(dark)
    return serving


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
    own = [dark for dark in met if dark_refusal(dark, bursts[0].info, any_sensor=settings.any_sensor) is None]
    return Ingested(bursts, [*darks, *own])


def _without(sources: Sequence[Path], darks: Sequence[DarkSet], apart: frozenset[Path]) -> list[Path]:
    """Return the sources that are no dark frames or flats."""
    calibration = apart.union(*(dark.paths for dark in darks))
    left = [path for path in sources if path not in calibration]
    if not left:
        raise InputFileError("all frames given are dark frames or flats; name the bursts too")
    return left


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
