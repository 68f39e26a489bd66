"""A measured noise profile in the forms that other programs read: DNG ``NoiseProfile``, darktable preset, JSON."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from burst_denoise.errors import OutputError, SeriesError
from burst_denoise.files import write_file
from burst_denoise.frame.frame import Frame
from burst_denoise.io.dng import write_dng
from burst_denoise.schemas import ChannelProfile, NoiseProfile

__all__ = ["refuse_unusable", "write_darktable_preset", "write_dng_with_profile", "write_profile"]

DARKTABLE_OWN, DARKTABLE_FROM_GREEN, DARKTABLE_GREEN = 0.026, 0.071, 0.078
"""Share of the raw variance of a colour itself, and of the green that its demosaicing mixes in, that darktable's own
noise profiles hold: see `write_darktable_preset`."""


def write_profile(path: Path, channels: Sequence[ChannelProfile]) -> None:
    """Write channels as JSON: a list of the objects that ``profile --json`` prints.

    Raises
    ------
    OutputError
        If the file exists or cannot be written.
    """
    _write_json(path, [channel.model_dump(mode="json") for channel in channels])


def refuse_unusable(channels: Sequence[ChannelProfile]) -> None:
    """Raise `SeriesError` when a channel is not usable: no other program shall work with its numbers."""
    for channel in channels:
        if not channel.usable:
            reason = channel.reasons[0] if channel.reasons else "its verdict says so"
            iso = "" if channel.iso is None else f"ISO {channel.iso:g}, "
            raise SeriesError(f"{iso}{channel.channel}: not usable, so no profile is exported: {reason}")


def write_dng_with_profile(path: Path, frame: Frame, channels: Sequence[ChannelProfile]) -> None:
    """Write a raw frame, unchanged, as a DNG that carries the measured ``NoiseProfile``.

    Raises
    ------
    OutputError
        If the frame is no Bayer mosaic, or the file exists or cannot be written.
    """
    if frame.info.cfa is None:
        raise OutputError(f"{path}: only raw frames with a Bayer mosaic become a DNG; these are {frame.info.domain}")
    measured = frame.with_profile(_profile(channels))
    write_dng(path, replace(measured, notes="noise profile measured by burst_denoise"))


def write_darktable_preset(
    path: Path, channels: Sequence[ChannelProfile], as_shot_neutral: tuple[float, float, float] | None
) -> None:
    """Write channels as a noise profile file of darktable, to be used with its option ``--noiseprofiles``.

    Parameters
    ----------
    path : Path
        JSON file; must not exist.
    channels : sequence of ChannelProfile
        Of one camera whose name and ISOs are known; R, G1, G2 and B per ISO.
    as_shot_neutral : tuple of float or None
        R, G, B that a neutral patch gives, green 1; None stands for a neutral sensor.

    Raises
    ------
    OutputError
        If camera or ISO is unknown, the channels are not those of a mosaic, or the file cannot be written.

    Notes
    -----
    darktable's ``a`` and ``b`` are not S and O. Its profiling tool measures the diagonal detail of demosaiced pixels
    (PPG) in an unnormalised Haar transform: of white raw noise that leaves 0.078 of the variance in green, and in red
    and blue 0.026 of their own and 0.071 of the green variance at the same grey. Measured by that procedure on
    simulated raw files through darktable 4.2; its own profile of the Canon EOS 700D at ISO 1600 agrees within 7 % in
    green with what this makes of that sensor's measured gain. S and O themselves would denoise far too much.
    """
    camera = channels[0].camera
    isos = sorted({channel.iso for channel in channels if channel.iso is not None})
    if camera is None or not isos or {channel.channel for channel in channels} != {"R", "G1", "G2", "B"}:
        raise OutputError(f"{path}: darktable needs raw frames that name their camera and ISO; these do not")
    maker, _, model = camera.partition(" ")
    neutral = as_shot_neutral or (1.0, 1.0, 1.0)
    profiles = []
    for iso in isos:
        red, green, blue = _profile([channel for channel in channels if channel.iso == iso]).colours
        mixed = tuple(DARKTABLE_GREEN * term for term in green)
        seen = [_demosaiced(red, green, neutral[0]), mixed, _demosaiced(blue, green, neutral[2])]
        a, b = zip(*seen, strict=True)
        profiles.append({"name": f"{camera} iso {iso:g}", "iso": round(iso), "a": a, "b": b})
    models = [{"model": model or maker, "comment": "measured by burst_denoise", "profiles": profiles}]
    _write_json(path, {"version": 0, "noiseprofiles": [{"maker": maker, "models": models}]})


def _write_json(path: Path, document: object) -> None:
    write_file(path, (json.dumps(document, indent=1) + "\n").encode())


def _demosaiced(own: tuple[float, float], green: tuple[float, float], neutral: float) -> tuple[float, float]:
    """Return darktable's a and b of red or blue; at one grey the green is 1 / ``neutral`` times as bright."""
    scale = DARKTABLE_OWN * own[0] + DARKTABLE_FROM_GREEN * green[0] / neutral
    return scale, DARKTABLE_OWN * own[1] + DARKTABLE_FROM_GREEN * green[1]


def _profile(channels: Sequence[ChannelProfile]) -> NoiseProfile:
    """Return the noise of the channels of one ISO."""
    return NoiseProfile(
        iso=channels[0].iso,
        shot_noise_scale=tuple(channel.shot_noise_scale for channel in channels),
        read_noise_variance=tuple(channel.read_noise_variance for channel in channels),
    )
