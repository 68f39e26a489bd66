"""`Sensor`: which sensor a frame, a profile, a dark or a model is of, and in words what tells two of them apart."""

from dataclasses import dataclass, replace

from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.schemas import FrameInfo

__all__ = ["Sensor"]

LARGEST_BLACK_CHANGE = 5e-4
"""Share of the white level: cameras and LibRaw measure black for every shot anew (a Seestar's moved by 3 of 65535)."""


@dataclass(frozen=True)
class Sensor:
    """What a frame tells about the sensor that took it, exposure and ISO apart."""

    camera: str | None
    """Make and model; None where it is unknown."""
    mosaic: Mosaic
    size: tuple[int, int] | None
    """Rows and columns of the active area; None where only the sensor is known, as of a profile."""
    black_level: tuple[float, ...]
    """DN per plane."""
    white_level: float
    """DN."""

    @classmethod
    def of(cls, info: FrameInfo) -> "Sensor":
        """Return the sensor of a frame."""
        return cls(info.camera, Mosaic.of(info), (info.height, info.width), info.black_level, info.white_level)

    def differences(self, other: "Sensor", *, crop: bool = False) -> list[str]:
        """Return in words what this sensor has instead of what another one has; nothing for the same sensor.

        Parameters
        ----------
        other : Sensor
        crop : bool
            Whether another crop of the sensor will do: then size and phase of the mosaic may differ.
        """
        pairs = {
            "camera": (self.camera or "unknown", other.camera or "unknown"),
            "kind": (self.mosaic.domain, other.mosaic.domain),
            "size": (_in_words(self.size), _in_words(other.size)),
            "CFA": (self.mosaic.cfa, other.mosaic.cfa),
            "white level": (f"{self.white_level:g}", f"{other.white_level:g}"),
        }
        if crop or None in (self.size, other.size):
            del pairs["size"], pairs["CFA"]
        found = [f"{what} {own} instead of {others}" for what, (own, others) in pairs.items() if own != others]
        if not found:
            change = max(abs(a - b) for a, b in zip(self.black_level, other.black_level, strict=True))
            if change > LARGEST_BLACK_CHANGE * other.white_level:
                found.append(f"black level {_per_plane(self.black_level)} instead of {_per_plane(other.black_level)}")
        return found

    def refusals(self, measured: "Sensor") -> list[str]:
        """Return in words why what was measured on a sensor must not be used on this one; nothing where it may.

        A raw file that does not name its camera may be of any sensor, so nothing serves it. Pictures and videos seldom
        name theirs: they must agree in size, depth and kind instead, see `matched_without_camera`.
        """
        if self.matched_without_camera(measured):
            return replace(self, camera=None).differences(replace(measured, camera=None))
        found = self.differences(measured, crop=True)
        if not found and self.camera is None:
            found.append("camera unknown, so nothing tells whether the sensor is that")
        return found

    def matched_without_camera(self, measured: "Sensor") -> bool:
        """Return whether two sensors of pictures are compared by size, depth and kind, as a camera is unknown."""
        return None in (self.camera, measured.camera) and not (self.mosaic.cfa or measured.mosaic.cfa)


def _in_words(size: tuple[int, int] | None) -> str:
    return "unknown" if size is None else f"{size[1]} x {size[0]}"


def _per_plane(black_level: tuple[float, ...]) -> str:
    each = [f"{level:g}" for level in black_level]
    return each[0] if len(set(each)) == 1 else ", ".join(each)
