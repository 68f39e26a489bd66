"""Flats: frames of an evenly lit surface, to the photo-response non-uniformity of their sensor."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from burst_denoise.arrays import Float
from burst_denoise.burst.darks import DarkSet, dark_for, refuse_other_sensor
from burst_denoise.burst.grouping import Series, find_sources, group_series, linear_frames
from burst_denoise.errors import InputFileError, TooFewFramesError
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.schemas import FrameInfo
from burst_denoise.sensor.fixed_pattern import NonUniformity, response_of, sensitivity
from burst_denoise.sensor.moments import frame_moments

__all__ = ["Flat", "read_flat"]


FEWEST_FLATS = 4
MOST_SATURATED = 1e-3
"""Share of photosites at the white level: defects, but no highlight."""
MOST_UNEVEN = 0.05
"""Of neighbouring photosites; sensors differ by 0.3 to 2 %, pictures by 10 % and more."""


@dataclass(frozen=True)
class Flat:
    """What an evenly lit surface shows of a sensor."""

    response: NonUniformity
    """Photo-response non-uniformity, relative to 1."""
    picture: Float
    """Sensitivity of every photosite relative to its like around it; the shape of a frame."""


def read_flat(inputs: Sequence[Path], sensor_path: Path, sensor: FrameInfo, darks: Sequence[DarkSet]) -> Flat | None:
    """Measure the photo-response non-uniformity from files or folders of flats; None where none are given.

    Parameters
    ----------
    inputs : sequence of Path
        At least 4 frames of one ISO and exposure; of several series the one that says most is taken.
    sensor_path, sensor
        A frame of the sensor that they must be of.
    darks : sequence of DarkSet
        A master dark of equal ISO and exposure is subtracted, if there is one.

    Raises
    ------
    InputFileError
        If a frame is damaged, overexposed, dark or not evenly lit.
    IncompatibleFramesError
        If they are of another sensor.
    TooFewFramesError
        If there are fewer than 4 of one kind.
    """
    found = [_measured(series, sensor_path, sensor, darks) for series in _series(inputs)]
    return min(found, key=lambda flat: sum(one.high - one.low for one in flat.response.fine), default=None)


def _series(inputs: Sequence[Path]) -> list[Series]:
    return group_series(find_sources(inputs)) if inputs else []


def _measured(series: Series, sensor_path: Path, sensor: FrameInfo, darks: Sequence[DarkSet]) -> Flat:
    path, info = series.paths[0], series.info
    refuse_other_sensor(path, info, sensor_path, sensor)
    if len(series.paths) < FEWEST_FLATS:
        raise TooFewFramesError(f"{path}: {len(series.paths)} flats, {FEWEST_FLATS} needed; shoot 16")
    dark, mosaic = dark_for(darks, info), Mosaic.of(info)
    moments = frame_moments(linear_frames(series))
    saturated = float((moments.mean >= 1).mean())
    if saturated > MOST_SATURATED:
        raise InputFileError(
            f"{path}: {saturated:.1%} of its photosites are overexposed; expose flats to about half of white"
        )
    try:
        response = response_of(moments, dark, mosaic)
    except ValueError as error:
        raise InputFileError(f"{path}: cannot serve as a flat: {error}") from error
    uneven = max(estimate.value for estimate in response.fine)
    if uneven > MOST_UNEVEN:
        raise InputFileError(
            f"{path}: is not evenly lit: neighbouring photosites differ by {uneven:.0%}, {MOST_UNEVEN:.0%} at most "
            "passes for a flat; shoot a blank surface out of focus"
        )
    return Flat(response, sensitivity(moments, dark, mosaic))
