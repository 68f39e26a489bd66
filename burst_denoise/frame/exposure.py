"""When two ISOs or exposure times are one setting of the camera, though measured or rounded differently."""

from collections.abc import Iterable
from typing import Protocol

__all__ = ["Exposed", "first_of_each_setting", "same_exposure", "same_setting"]

TOLERANCE = 0.01
"""Relative: bulb exposures are measured and others rounded to less; settings of a camera are 12 % apart at least."""


class Exposed(Protocol):
    """What has an ISO and an exposure time: a header, or what a file says about a frame."""

    @property
    def iso(self) -> float | None:
        """ISO, or None where it is unknown."""

    @property
    def exposure_s(self) -> float | None:
        """Exposure time in seconds, or None where it is unknown."""


def same_setting(one: float | None, other: float | None) -> bool:
    """Return whether two ISOs, or two exposure times, differ by no more than 1 % or are both unknown."""
    if one is None or other is None:
        return one is other
    return abs(one - other) <= TOLERANCE * max(one, other)


def same_exposure(one: Exposed, other: Exposed) -> bool:
    """Return whether two frames were shot with one ISO and one exposure time."""
    return same_setting(one.iso, other.iso) and same_setting(one.exposure_s, other.exposure_s)


def first_of_each_setting(values: Iterable[float | None]) -> dict[float | None, float | None]:
    """Return for every ISO, or exposure time, the first one met that is the same setting."""
    firsts: dict[float | None, float | None] = {}
    for value in values:
        if value not in firsts:
            firsts[value] = next((first for first in firsts.values() if same_setting(value, first)), value)
    return firsts
