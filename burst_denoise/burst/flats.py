"""Flats: frames of an evenly lit surface, to the photo-response non-uniformity of their sensor."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from burst_denoise.arrays import Float
from burst_denoise.burst.darks import DarkSet, dark_for, refuse_other_sensor
from burst_denoise.burst.grouping import Series, find_sources, group_series
from burst_denoise.errors import InputFileError, TooFewFramesError
from burst_denoise.frame.frame import Frame
from burst_denoise.io.read import read_frame
from burst_denoise.sensor.fixed_pattern import FlatField, NonUniformity, flat_field, photo_response, sensitivity
from burst_denoise.sensor.identity import Sensor
from burst_denoise.sensor.moments import frame_moments

__all__ = ["Flat", "read_flat"]


FEWEST_FLATS = 4
MOST_SATURATED = 1e-3
"""Share of photosites at the white level: defects, but no highlight."""
MOST_UNEVEN = 0.05
"""Standard deviation of neighbouring photosites, relative to their mean; sensors differ by 0.3 to 2 %, pictures by 10 %
and more."""


@dataclass(frozen=True)
class Flat:
    """What an evenly lit surface shows of a sensor."""

    response: NonUniformity
    """Photo-response non-uniformity, relative to 1."""
    picture: Float
    """Sensitivity of every photosite relative to the local mean of its colour; the shape of a frame."""
    field: FlatField
    """What takes PRNU out of a frame."""


def read_flat(
    inputs: Sequence[Path], shot: Frame, darks: Sequence[DarkSet], *, any_sensor: bool = False
) -> Flat | None:
    """Measure the photo-response non-uniformity from files or folders of flats; None where none are given.

    Parameters
    ----------
    inputs : sequence of Path
        At least 4 frames of one ISO and exposure; of several series the one that says most is taken.
    shot : Frame
        A frame of the sensor that they must be of.
    darks : sequence of DarkSet
        A master dark of equal ISO and exposure is subtracted, if there is one.
    any_sensor : bool
        Take raw files of an unknown camera for those of the sensor.

    Raises
    ------
    InputFileError
        If a frame is damaged, overexposed, dark or not evenly lit.
    IncompatibleFramesError
        If they are of another sensor.
    TooFewFramesError
        If there are fewer than 4 of one kind.
    """
    series = group_series(find_sources(inputs)) if inputs else []
    found = [_measured(one, shot, darks, any_sensor=any_sensor) for one in series]
    return min(found, key=lambda flat: sum(one.high - one.low for one in flat.response.fine), default=None)


def _measured(series: Series, shot: Frame, darks: Sequence[DarkSet], *, any_sensor: bool) -> Flat:
    path, count = series.paths[0], len(series.paths)
    if count < FEWEST_FLATS:
        raise TooFewFramesError(f"{path}: {count} flats, {FEWEST_FLATS} needed; shoot 16")
    first = read_frame(path)
    sensor = Sensor.of(first.info)
    refuse_other_sensor(path, sensor, shot.path, Sensor.of(shot.info), any_sensor=any_sensor)

    def frames() -> Iterator[Float]:
        yield first.linear
        for other in map(read_frame, series.paths[1:]):
            refuse_other_sensor(other.path, Sensor.of(other.info), path, sensor, any_sensor=True)
            yield other.linear

    dark = dark_for(darks, first.info, any_sensor=any_sensor)
    moments = frame_moments(frames())
    saturated = float((moments.mean >= 1).mean())
    if saturated > MOST_SATURATED:
        raise InputFileError(
            f"{path}: {saturated:.1%} of its photosites are overexposed; expose flats to about half of white"
        )
    try:
        response = photo_response(moments, dark, first.mosaic)
    except ValueError as error:
        raise InputFileError(f"{path}: cannot serve as a flat: {error}") from error
    uneven = max(estimate.value for estimate in response.fine)
    if uneven > MOST_UNEVEN:
        raise InputFileError(
            f"{path}: is not evenly lit: neighbouring photosites differ by {uneven:.0%}, {MOST_UNEVEN:.0%} at most "
            "passes for a flat; shoot a blank surface out of focus"
        )
    picture = sensitivity(moments, dark, first.mosaic)
    return Flat(response, picture, flat_field(moments, dark, first.mosaic, response, picture))
