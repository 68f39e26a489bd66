"""Dark frames: files to master darks, one per ISO."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from burst_denoise.arrays import Float
from burst_denoise.burst.grouping import Series, find_sources, group_series, linear_frames
from burst_denoise.errors import IncompatibleFramesError, InputFileError, TooFewFramesError
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.io.picture import VIDEO_SUFFIXES
from burst_denoise.schemas import FrameInfo
from burst_denoise.sensor.fixed_pattern import MasterDark, master_dark

__all__ = ["DarkSet", "dark_for", "read_darks", "refuse_other_sensor"]


FEWEST_DARKS = 4
"""Fewer say too little about flicker and small offsets; 16 are better."""
BRIGHTEST = 0.05
"""Share of white that the brightest parts of a dark frame may reach; in a picture of anything they reach more."""


@dataclass(frozen=True)
class DarkSet:
    """Dark frames of one ISO and exposure, averaged."""

    path: Path
    """Of the first frame."""
    info: FrameInfo
    """Of the first frame."""
    master: MasterDark


def read_darks(inputs: Sequence[Path]) -> list[DarkSet]:
    """Read dark frames of one sensor and average those of each ISO.

    Parameters
    ----------
    inputs : sequence of Path
        RAW or picture files and folders; none gives none.

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
    found = group_series(find_sources(inputs)) if inputs else []
    for series in found:
        path = series.paths[0]
        if path.suffix.lower() in VIDEO_SUFFIXES:
            raise InputFileError(f"{path}: is a video; dark frames must be RAW or picture files")
        if series.incompatible:
            stray = series.incompatible[0]
            raise IncompatibleFramesError(
                f"{path.with_name(stray.file)}: {stray.detail} among the dark frames; take it away"
            )
        refuse_other_sensor(path, series.info, found[0].paths[0], found[0].info)
        alike = by_iso.setdefault(series.info.iso, [])
        if alike and alike[0].info.exposure_s != series.info.exposure_s:
            raise IncompatibleFramesError(
                f"{path}: dark frame of {_seconds(series.info)}, but {alike[0].paths[0]} has "
                f"{_seconds(alike[0].info)}; those of one ISO need one exposure, that of the bursts"
            )
        alike.append(series)
    return [_averaged(alike) for alike in by_iso.values()]


def dark_for(darks: Sequence[DarkSet], info: FrameInfo) -> MasterDark | None:
    """Return the master dark that may be subtracted from a frame: of its camera, size, ISO and exposure; else None."""

    def what(of: FrameInfo) -> tuple[object, ...]:
        return of.camera, of.domain, of.height, of.width, of.iso, of.exposure_s

    return next((dark.master for dark in darks if what(dark.info) == what(info)), None)


def refuse_other_sensor(path: Path, info: FrameInfo, other_path: Path, other: FrameInfo) -> None:
    """Raise `IncompatibleFramesError` when two frames, one of them a dark or a flat, cannot be of one sensor."""
    for what in ("camera", "domain", "width", "height", "cfa", "white_level"):
        found, needed = getattr(info, what), getattr(other, what)
        if found != needed:
            raise IncompatibleFramesError(
                f"{path}: {what.replace('_', ' ')} is {found or 'unknown'}, but {other_path} has "
                f"{needed or 'unknown'}; darks, flats and bursts must be of one sensor"
            )


def _averaged(alike: Sequence[Series]) -> DarkSet:
    first, count = alike[0], sum(len(series.paths) for series in alike)
    if count < FEWEST_DARKS:
        raise TooFewFramesError(
            f"{first.paths[0]}: {count} dark frames at ISO {first.info.iso or 0:g}, {FEWEST_DARKS} needed; shoot 16"
        )

    def frames() -> Iterator[Float]:
        for series in alike:
            for path, linear in zip(series.paths, linear_frames(series), strict=True):
                _refuse_picture(path, linear)
                yield linear

    return DarkSet(first.paths[0], first.info, master_dark(frames(), Mosaic.of(first.info)))


def _refuse_picture(path: Path, linear: Float) -> None:
    """Raise when a frame shows more light than a dark_paths lens lets through."""
    height, width = linear.shape[-2:]
    size = (max(1, width // 16), max(1, height // 16))
    parts = [cv2.resize(layer, size, interpolation=cv2.INTER_AREA) for layer in linear.reshape(-1, height, width)]
    brightest = float(np.quantile(np.stack(parts), 0.99))
    if brightest > BRIGHTEST:
        raise InputFileError(
            f"{path}: is no dark frame: its bright parts reach {brightest:.0%} of white, {BRIGHTEST:.0%} at most "
            "passes for dark; shoot with the cap on, or leave it out"
        )


def _seconds(info: FrameInfo) -> str:
    return f"{info.exposure_s:g} s" if info.exposure_s else "unknown exposure"
