"""Whether a picture says, by its ICC profile, that its values are not linear in light."""

import struct

import numpy as np

__all__ = ["has_tone_curve"]

CURVES = (b"rTRC", b"gTRC", b"bTRC", b"kTRC")
"""Tags of the tone curves of red, green, blue and grey."""
TOLERANCE = 0.02
"""Largest deviation of a gamma from 1, and of a table from the straight line."""


def has_tone_curve(profile: bytes) -> bool:
    """Return whether an ICC profile says that values are not linear in light; False where it says nothing of it.

    Notes
    -----
    It has a tone curve for each colour (ICC.1:2022, 10.6 curveType and 10.18 parametricCurveType); a profile that
    consists of tables of colours alone tells nothing here. What a PNG says in a chunk of its own (sRGB, gamma) does not
    count: libraries write it unasked, as into the linear frames that come with EMVA 1288.
    """
    try:
        (count,) = struct.unpack_from(">I", profile, 128)
        entries = [struct.unpack_from(">4sII", profile, 132 + 12 * index) for index in range(min(count, 100))]
        return any(_is_curved(profile, offset) for name, offset, _ in entries if name in CURVES)
    except (struct.error, ValueError):  # too short, or damaged
        return False


def _is_curved(profile: bytes, offset: int) -> bool:
    kind, _, count = struct.unpack_from(">4sII", profile, offset)
    if kind == b"para":  # its first number is the exponent, a straight line below or not
        return _is_gamma(struct.unpack_from(">i", profile, offset + 12)[0] / 65536)
    if kind != b"curv" or count == 0:
        return False
    if count == 1:
        return _is_gamma(struct.unpack_from(">H", profile, offset + 12)[0] / 256)
    table = np.frombuffer(profile, ">u2", count, offset + 12) / 65535
    return bool(np.abs(table - np.linspace(0, 1, count)).max() > TOLERANCE)


def _is_gamma(exponent: float) -> bool:
    return abs(exponent - 1) > TOLERANCE
