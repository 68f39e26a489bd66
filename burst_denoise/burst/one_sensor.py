"""Whether series and bursts are of one sensor: a model belongs to one."""

from collections.abc import Sequence
from pathlib import Path

from burst_denoise.burst.burst import Burst
from burst_denoise.burst.grouping import Series, alike
from burst_denoise.burst.store import pooled_by_iso, sharing_defects
from burst_denoise.errors import IncompatibleFramesError, SeriesError
from burst_denoise.schemas import FrameInfo
from burst_denoise.sensor.identity import Sensor

__all__ = ["by_camera", "camera_in_words", "of_one_sensor", "refuse_mixture", "same_layout"]


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


def by_camera(found: Sequence[Series]) -> list[list[Series]]:
    """Return series, those of one camera and kind together."""
    return alike(found, lambda one, first: camera_in_words(one) == camera_in_words(first))


def camera_in_words(series: Series) -> str:
    """Return the camera of a series and the kind of its frames."""
    return f"{series.header.camera or 'unknown'} ({series.header.domain})"
