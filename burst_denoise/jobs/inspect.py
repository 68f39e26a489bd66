"""The job `inspect`: all that later jobs ask of frames, asked series by series; nothing is written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from burst_denoise.burst.grouping import (
    Series,
    SeriesFrames,
    alike,
    find_sources,
    group_series,
    pictures_beside_raw,
    read_series,
)
from burst_denoise.burst.one_sensor import by_camera, same_layout
from burst_denoise.burst.series_verdict import SeriesVerdict, judge
from burst_denoise.burst.store import open_burst, split_inputs
from burst_denoise.errors import InputFileError
from burst_denoise.frame.frame import Frame
from burst_denoise.frame.geometry import centre_window
from burst_denoise.jobs.ingest import IngestSettings, without_videos
from burst_denoise.jobs.listener import Listener
from burst_denoise.schemas import FrameInfo
from burst_denoise.sensor.photon_transfer import fit_noise_profile

__all__ = ["DarkSeries", "Inspection", "inspect"]

MEASURED_SIDE = 1024
"""Side of the centre of the frames on which the noise fit is tried, photosites."""


@dataclass(frozen=True)
class DarkSeries:
    """Dark frames among the shots."""

    series: str
    info: FrameInfo
    """Metadata of the first frame."""
    count: int


@dataclass(frozen=True)
class _Usable:
    """An accepted series or stored burst."""

    info: FrameInfo
    folder: Path
    """Folder that the suggested command names."""
    first: Path
    """A file in there."""


@dataclass
class Inspection:
    """All that was found out about files and folders."""

    verdicts: list[SeriesVerdict] = field(default_factory=list)
    """Verdicts on every series with light in it, lone shots included."""
    darks: list[DarkSeries] = field(default_factory=list)
    left_out: list[tuple[Path, InputFileError]] = field(default_factory=list)
    """Files that are damaged, foreign or not supported, each with the reason."""
    pictures_beside_raw: int = 0
    """Pictures passed over because they lie beside raw files of the same name."""
    videos_beside_raw: int = 0
    """Videos that lie beside raw files, which are of another kind."""
    sensors: list[tuple[FrameInfo, list[Path]]] = field(default_factory=list)
    """What one model may be calibrated on, sensor by sensor: a frame of it, and what is to be named for that; nothing
    is where frames of several sensors lie in one folder."""

    @property
    def usable(self) -> list[SeriesVerdict]:
        """The accepted series."""
        return [verdict for verdict in self.verdicts if verdict.accepted]


def inspect(
    inputs: Sequence[Path], settings: IngestSettings = IngestSettings(), listener: Listener = Listener()
) -> Inspection:
    """Judge every series in files and folders; of stored bursts, take the verdict stored with them.

    A series is accepted when everything that later jobs ask of it holds, its noise can be measured among that. Files
    that cannot be read are left out, dark frames are counted.

    Parameters
    ----------
    inputs : sequence of Path
        RAW, picture and video files, folders that hold them, and stored bursts.
    settings : IngestSettings
    listener : Listener
        Hears the verdict on each series as soon as it is known, and then of each file that is left out.

    Raises
    ------
    InputFileError
        If an input is missing, empty or of no known kind, or if there is one file and it cannot be read.
    BurstStoreError
        If a stored burst is damaged.
    """
    stored, loose = split_inputs(inputs)
    found = Inspection(pictures_beside_raw=pictures_beside_raw(loose))
    usable: list[_Usable] = []
    for path in stored:
        burst = open_burst(path)
        found.verdicts.append(burst.verdict)
        usable.append(_Usable(burst.info, path, path / "burst.json"))
        listener.on_series(burst.verdict, [burst.frame(index) for index in range(len(burst))])

    def leave_out(path: Path, error: InputFileError) -> None:
        found.left_out.append((path, error))

    sources = find_sources(loose) if loose or not stored else []
    together = group_series(sources, settings.pause_s, leave_out)
    for series in together:
        darks: list[FrameInfo] = []
        read = read_series(series, settings.limit, leave_out, _infos_to(darks))
        if darks:
            found.darks.append(DarkSeries(series.name, darks[0], len(darks)))
        if read.frames:
            verdict = _judged(series, read)
            found.verdicts.append(verdict)
            listener.on_series(verdict, read.frames)
            if verdict.accepted:
                usable.append(_Usable(verdict.info, series.paths[0].parent, series.paths[0]))
    if len(sources) == len(found.left_out) == 1:
        raise found.left_out[0][1]
    for _, error in found.left_out:
        listener.note(f"left out: {error}")
    left, videos = without_videos(together, IngestSettings().requiring(inputs).required)
    found.videos_beside_raw = len(videos)
    films = {series.paths[0] for series in videos}
    own = [one for one in usable if one.first not in films]
    found.sensors = _sensors(own, left, inputs) if own else [(one.info, [one.first]) for one in usable]
    return found


def _infos_to(infos: list[FrameInfo]) -> Callable[[Frame], None]:
    return lambda frame: infos.append(frame.info)


def _judged(series: Series, read: SeriesFrames) -> SeriesVerdict:
    """Return the verdict on a series, rejected if the noise of its accepted frames cannot be measured."""
    verdict = judge(series, read)
    if not verdict.accepted:
        return verdict
    accepted = [frame for frame, one in zip(read.frames, verdict.frames, strict=False) if one.accepted]
    try:
        fit_noise_profile([(_middle(frame).linear for frame in accepted)], accepted[0].mosaic, verdict.info.iso)
    except ValueError:
        try:  # the middle may be overexposed, and the rest not
            fit_noise_profile([(frame.linear for frame in accepted)], accepted[0].mosaic, verdict.info.iso)
        except ValueError as error:
            return replace(verdict, accepted=False, detail=f"its noise cannot be measured: {error}")
    return verdict


def _middle(frame: Frame) -> Frame:
    return replace(frame, dn=frame.dn[..., *centre_window(frame.dn.shape, MEASURED_SIDE)])


def _sensors(
    usable: Sequence[_Usable], found: Sequence[Series], inputs: Sequence[Path]
) -> list[tuple[FrameInfo, list[Path]]]:
    """Return for each sensor the inputs, or else the folders, that name its series and no frames of another."""
    sensors = alike(usable, lambda one, first: same_layout(one.info, first.info))
    if len(sensors) == 1 and len(by_camera(found)) < 2:  # as calibrate wants it
        return [(usable[0].info, list(inputs))]
    result = []
    for sensor in sensors:
        info = sensor[0].info
        strangers = [one.first for other in sensors if other is not sensor for one in other]
        strangers += [
            series.paths[0]
            for series in found
            if (series.header.camera, series.header.domain) != (info.camera, info.domain)
        ]
        folders = list(dict.fromkeys(one.folder for one in sensor))
        apart = not any(folder in stranger.parents for folder in folders for stranger in strangers)
        result.append((info, folders if apart else []))
    return result
