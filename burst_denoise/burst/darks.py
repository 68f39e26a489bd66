"""Dark frames: files to master darks, one per ISO, each file decoded once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from burst_denoise.arrays import Float
from burst_denoise.burst.frames_on_disk import KeptFrame
from burst_denoise.burst.grouping import Series, alike, find_sources, group_series, noise_digest
from burst_denoise.errors import IncompatibleFramesError, InputFileError, TooFewFramesError
from burst_denoise.frame.exposure import same_exposure, same_setting
from burst_denoise.frame.frame import Frame
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.io.read import is_video, read_frame
from burst_denoise.schemas import FrameInfo
from burst_denoise.sensor.dark_frame import BRIGHTEST, bright_parts
from burst_denoise.sensor.fixed_pattern import MasterDark, master_dark
from burst_denoise.sensor.identity import Sensor

__all__ = ["DarkFramesMet", "DarkSet", "dark_for", "read_darks", "refuse_other_sensor"]

FEWEST_DARKS = 4
"""Fewer say too little about flicker and small offsets; 16 are better."""


@dataclass(frozen=True)
class DarkSet:
    """Dark frames of one ISO and exposure, averaged."""

    paths: tuple[Path, ...]
    """Files of all frames."""
    info: FrameInfo
    """Metadata of the first frame."""
    master: MasterDark
    kept: tuple[tuple[KeptFrame, ...], ...] = ()
    """Decoded frames on disk, one tuple a series, for those who need them again."""

    @property
    def sensor(self) -> Sensor:
        """The sensor that took them."""
        return Sensor.of(self.info)

    def stacks(self) -> Iterator[Iterator[Float]]:
        """Give each series of frames that was kept, its frames linear, one after another."""
        for series in self.kept:
            yield (one.frame.linear for one in series)


def read_darks(inputs: Sequence[Path], keep: Path | None = None) -> list[DarkSet]:
    """Read dark frames of one sensor and average those of each ISO.

    Parameters
    ----------
    inputs : sequence of Path
        RAW or picture files and folders; none gives none.
    keep : Path, optional
        Folder, which must exist, to keep the decoded frames in; without it only their averages stay.

    Raises
    ------
    InputFileError
        If a file is damaged, of no known kind, a video, or an ordinary picture.
    IncompatibleFramesError
        If they come from several sensors, or those of one ISO have several exposures.
    TooFewFramesError
        If there are fewer than 4 of an ISO.
    """
    found = group_series(find_sources(inputs)) if inputs else []
    for series in found:
        path = series.paths[0]
        if is_video(path):
            raise InputFileError(f"{path}: is a video; dark frames must be RAW or picture files")
        if series.incompatible:
            other = series.incompatible[0]
            raise IncompatibleFramesError(
                f"{path.with_name(other.file)}: {other.detail} among the dark frames; take it away"
            )
    sets: list[DarkSet] = []
    for of_iso in alike(found, lambda one, first: same_setting(one.header.iso, first.header.iso)):
        first = of_iso[0]
        for series in of_iso:
            if not same_setting(series.header.exposure_s, first.header.exposure_s):
                raise IncompatibleFramesError(
                    f"{series.paths[0]}: dark frame of {_seconds(series.header.exposure_s)}, but {first.paths[0]} has "
                    f"{_seconds(first.header.exposure_s)}; those of one ISO need one exposure, that of the bursts"
                )
        sets.append(_averaged(of_iso, keep))
        refuse_other_sensor(sets[-1].paths[0], sets[-1].sensor, sets[0].paths[0], sets[0].sensor, any_sensor=True)
    return sets


def dark_for(darks: Sequence[DarkSet], info: FrameInfo, *, any_sensor: bool = False) -> MasterDark | None:
    """Return the master dark that may be subtracted from a frame: of its sensor, size, ISO and exposure; else None."""
    sensor = Sensor.of(info)
    for dark in darks:
        same_sensor = any_sensor or not sensor.refusals(dark.sensor)
        if same_exposure(dark.info, info) and same_sensor and dark.sensor.size == sensor.size:
            return dark.master
    return None


def refuse_other_sensor(path: Path, sensor: Sensor, other_path: Path, other: Sensor, *, any_sensor: bool) -> None:
    """Raise `IncompatibleFramesError` when a dark or a flat and another frame cannot be of one sensor.

    ``any_sensor`` lets a raw file whose camera is unknown pass, as one of the same series may.
    """
    differing = sensor.differences(other)
    if differing:
        raise IncompatibleFramesError(
            f"{path}: {differing[0]}, which {other_path} has; darks, flats and bursts must be of one sensor"
        )
    if not any_sensor and (refusals := sensor.refusals(other)):
        raise IncompatibleFramesError(f"{path}: {refusals[0]} of {other_path}; override with --any-sensor if it is")


class DarkFramesMet:
    """Dark frames that nobody named, met among the shots: kept on disk until all are known.

    Parameters
    ----------
    folder : Path
        To keep them in; must exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._series: list[list[KeptFrame]] = [[]]

    def __len__(self) -> int:
        return sum(map(len, self._series))

    def begin_series(self) -> None:
        """Take the next frames for those of another series."""
        self._series.append([])

    def add(self, frame: Frame) -> None:
        """Keep a dark frame."""
        self._series[-1].append(KeptFrame.keep(frame, self._folder / f"dark_{len(self):05d}.dn"))

    def sets(self, note: Callable[[str], None]) -> list[DarkSet]:
        """Return the frames averaged, those of each sensor, ISO and exposure; ``note`` hears of those too few to be."""
        series = [part for one in self._series for part in alike(one, _same_kind)]
        found = []
        for together in alike(series, lambda one, first: _same_kind(one[0], first[0])):
            frames = [kept for part in together for kept in part]
            if len(frames) < FEWEST_DARKS:
                word = "1 dark frame" if len(frames) == 1 else f"{len(frames)} dark frames"
                note(
                    f"{word} among the shots ({frames[0].info.exposure_in_words}) left out: {frames[0].path.name}; "
                    f"{FEWEST_DARKS} at least make a master dark, 16 are better"
                )
                continue
            master = master_dark((kept.frame.linear for kept in frames), Mosaic.of(frames[0].info))
            paths = tuple(kept.path for kept in frames)
            found.append(DarkSet(paths, frames[0].info, master, tuple(map(tuple, together))))
        return found


def _same_kind(one: KeptFrame, first: KeptFrame) -> bool:
    return same_exposure(one.info, first.info) and not Sensor.of(one.info).differences(Sensor.of(first.info))


def _averaged(of_iso: Sequence[Series], keep: Path | None) -> DarkSet:
    paths = tuple(path for series in of_iso for path in series.paths)
    _refuse_too_few(len(paths), paths[0], of_iso[0].header.iso)
    first = read_frame(paths[0])
    kept: list[list[KeptFrame]] = []

    def frames() -> Iterator[Float]:
        seen: set[bytes | None] = set()
        count = 0
        for series in of_iso:
            kept.append([])
            for path in series.paths:
                frame = first if path == first.path else read_frame(path)
                refuse_other_sensor(path, Sensor.of(frame.info), first.path, Sensor.of(first.info), any_sensor=True)
                linear = frame.linear
                _refuse_picture(path, linear)
                digest = noise_digest(frame)
                if digest is not None and digest in seen:  # a copy has no noise of its own
                    continue
                seen.add(digest)
                count += 1
                if keep is not None:
                    place = keep / f"dark_iso{first.info.iso or 0:g}_{len(kept)}_{len(kept[-1]):04d}.dn"
                    kept[-1].append(KeptFrame.keep(frame, place))
                yield linear
        _refuse_too_few(count, first.path, first.info.iso)

    master = master_dark(frames(), first.mosaic)
    return DarkSet(paths, first.info, master, tuple(map(tuple, kept)) if keep is not None else ())


def _refuse_too_few(count: int, path: Path, iso: float | None) -> None:
    if count < FEWEST_DARKS:
        raise TooFewFramesError(
            f"{path}: {count} dark frames at {'unknown ISO' if iso is None else f'ISO {iso:g}'}, {FEWEST_DARKS} "
            "different ones needed; shoot 16"
        )


def _refuse_picture(path: Path, linear: Float) -> None:
    """Raise when the brightest hundredth of a frame's parts, defects averaged away, shows more than a capped lens."""
    brightest = bright_parts(linear)
    if brightest > BRIGHTEST:
        raise InputFileError(
            f"{path}: is no dark frame: its bright parts reach {brightest:.0%} of white, {BRIGHTEST:.0%} at most "
            "passes for dark; shoot with the cap on, or leave it out"
        )


def _seconds(exposure_s: float | None) -> str:
    return f"{exposure_s:g} s" if exposure_s else "unknown exposure"
