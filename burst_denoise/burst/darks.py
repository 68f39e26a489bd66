"""Dark frames: files to master darks, one per ISO, each file decoded once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from burst_denoise.arrays import Float
from burst_denoise.burst.grouping import Series, find_sources, group_series
from burst_denoise.errors import IncompatibleFramesError, InputFileError, TooFewFramesError
from burst_denoise.frame.frame import to_linear
from burst_denoise.io.read import is_video, read_frame
from burst_denoise.schemas import FrameInfo
from burst_denoise.sensor.fixed_pattern import MasterDark, master_dark
from burst_denoise.sensor.identity import Sensor

__all__ = ["DarkSet", "dark_for", "read_darks", "refuse_other_sensor"]

FEWEST_DARKS = 4
"""Fewer say too little about flicker and small offsets; 16 are better."""
BRIGHTEST = 0.05
"""Share of white that the brightest parts of a dark frame may reach; in a picture of anything they reach more."""


@dataclass(frozen=True)
class DarkSet:
    """Dark frames of one ISO and exposure, averaged."""

    paths: tuple[Path, ...]
    """Of all frames."""
    info: FrameInfo
    """Of the first frame."""
    master: MasterDark
    kept: tuple[tuple[tuple[Path, FrameInfo], ...], ...] = ()
    """By series: where each frame lies decoded (``.npy``, DN), for those who need a second look."""

    @property
    def sensor(self) -> Sensor:
        """The sensor that took them."""
        return Sensor.of(self.info)

    def stacks(self) -> Iterator[Iterator[Float]]:
        """Give each series of frames that was kept, its frames linear, one after another."""
        for series in self.kept:
            yield (to_linear(np.load(path, mmap_mode="r"), info) for path, info in series)


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
    by_iso: dict[float | None, list[Series]] = {}
    for series in group_series(find_sources(inputs)) if inputs else []:
        path = series.paths[0]
        if is_video(path):
            raise InputFileError(f"{path}: is a video; dark frames must be RAW or picture files")
        if series.incompatible:
            other = series.incompatible[0]
            raise IncompatibleFramesError(
                f"{path.with_name(other.file)}: {other.detail} among the dark frames; take it away"
            )
        alike = by_iso.setdefault(series.header.iso, [])
        if alike and alike[0].header.exposure_s != series.header.exposure_s:
            raise IncompatibleFramesError(
                f"{path}: dark frame of {_seconds(series.header.exposure_s)}, but {alike[0].paths[0]} has "
                f"{_seconds(alike[0].header.exposure_s)}; those of one ISO need one exposure, that of the bursts"
            )
        alike.append(series)
    sets: list[DarkSet] = []
    for alike in by_iso.values():
        sets.append(_averaged(alike, keep))
        refuse_other_sensor(sets[-1].paths[0], sets[-1].sensor, sets[0].paths[0], sets[0].sensor, any_sensor=True)
    return sets


def dark_for(darks: Sequence[DarkSet], info: FrameInfo, *, any_sensor: bool = False) -> MasterDark | None:
    """Return the master dark that may be subtracted from a frame: of its sensor, size, ISO and exposure; else None."""
    sensor = Sensor.of(info)
    for dark in darks:
        same_exposure = (dark.info.iso, dark.info.exposure_s) == (info.iso, info.exposure_s)
        same_sensor = any_sensor or not sensor.refusals(dark.sensor)
        if same_exposure and same_sensor and dark.sensor.size == sensor.size:
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


def _averaged(alike: Sequence[Series], keep: Path | None) -> DarkSet:
    paths = tuple(path for series in alike for path in series.paths)
    if len(paths) < FEWEST_DARKS:
        iso = alike[0].header.iso
        raise TooFewFramesError(
            f"{paths[0]}: {len(paths)} dark frames at {'unknown ISO' if iso is None else f'ISO {iso:g}'}, "
            f"{FEWEST_DARKS} needed; shoot 16"
        )
    first = read_frame(paths[0])
    kept: list[list[tuple[Path, FrameInfo]]] = []

    def frames() -> Iterator[Float]:
        for series in alike:
            kept.append([])
            for path in series.paths:
                frame = first if path == first.path else read_frame(path)
                linear = frame.linear
                refuse_other_sensor(path, Sensor.of(frame.info), first.path, Sensor.of(first.info), any_sensor=True)
                _refuse_picture(path, linear)
                if keep is not None:
                    place = keep / f"dark_iso{first.info.iso or 0:g}_{len(kept)}_{len(kept[-1]):04d}.npy"
                    np.save(place, frame.dn)
                    kept[-1].append((place, frame.info))
                yield linear

    master = master_dark(frames(), first.mosaic)
    return DarkSet(paths, first.info, master, tuple(map(tuple, kept)) if keep is not None else ())


def _refuse_picture(path: Path, linear: Float) -> None:
    """Raise when the brightest hundredth of a frame's parts, defects averaged away, shows more than a capped lens."""
    height, width = linear.shape[-2:]
    size = (max(1, width // 16), max(1, height // 16))
    parts = [cv2.resize(layer, size, interpolation=cv2.INTER_AREA) for layer in linear.reshape(-1, height, width)]
    brightest = float(np.quantile(np.stack(parts), 0.99))
    if brightest > BRIGHTEST:
        raise InputFileError(
            f"{path}: is no dark frame: its bright parts reach {brightest:.0%} of white, {BRIGHTEST:.0%} at most "
            "passes for dark; shoot with the cap on, or leave it out"
        )


def _seconds(exposure_s: float | None) -> str:
    return f"{exposure_s:g} s" if exposure_s else "unknown exposure"
