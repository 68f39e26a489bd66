"""The command `profile`: the sensor calibrated, with intervals and a verdict."""

from pathlib import Path
from typing import Annotated

import typer

from burst_denoise.cli.console import Console, show, show_json
from burst_denoise.cli.options import (
    AnySensor,
    Darks,
    Flats,
    Inputs,
    Json,
    Limit,
    Pause,
    calibration_files,
    finite,
    writes,
)
from burst_denoise.schemas import LONGEST_PAUSE_S, MOST_FRAMES

__all__ = ["profile_command"]


def profile_command(
    inputs: Inputs,
    darks: Darks = None,
    flats: Flats = None,
    at_iso: Annotated[
        list[float] | None,
        typer.Option(metavar="ISO", min=1, callback=finite, help="Also interpolate to this ISO. May be repeated."),
    ] = None,
    output: Annotated[Path | None, writes("JSON file to write; denoise --profile takes it.")] = None,
    dng: Annotated[
        Path | None,
        writes("DNG file to write: the first frame, with the DNG NoiseProfile tag.", "--dng", suffixes=(".dng",)),
    ] = None,
    darktable: Annotated[
        Path | None,
        writes("Noise profile to write for darktable, which takes it by --noiseprofiles FILE.", "--darktable"),
    ] = None,
    as_json: Json = False,
    limit: Limit = MOST_FRAMES,
    pause: Pause = LONGEST_PAUSE_S,
    any_sensor: AnySensor = False,
) -> None:
    """Calibrate the sensor: gain, read and row noise, fixed pattern, defects, with intervals and a verdict in words.

    Example: burst-denoise profile tripod/ --darks darks/ -o sensor.json
    """
    from burst_denoise.cli.tables import format_assessment, sensor_table
    from burst_denoise.frame.exposure import same_setting
    from burst_denoise.io.noise_profile_export import (
        refuse_unusable,
        write_darktable_preset,
        write_dng_with_profile,
        write_profile,
    )
    from burst_denoise.jobs.ingest import IngestSettings
    from burst_denoise.jobs.profile import profile
    from burst_denoise.sensor.verdict import interpolate_channels

    settings = IngestSettings(limit, any_sensor, pause_s=pause)
    given = calibration_files(darks, inputs), calibration_files(flats, inputs)
    found = profile(inputs, *given, settings, Console())
    known = {channel.iso for channel in found.channels}
    wanted = [iso for iso in at_iso or [] if not any(same_setting(iso, other) for other in known)]
    between = [channel for iso in wanted for channel in interpolate_channels(found.channels, iso)]
    channels = sorted([*found.channels, *between], key=lambda channel: channel.iso or 0)
    if as_json:
        for channel in channels:
            show_json(channel.model_dump_json())
    else:
        show(sensor_table(channels))
        show(format_assessment(channels))
    if output is not None:
        write_profile(output, channels)
    if dng is not None or darktable is not None:
        refuse_unusable(channels)
    if dng is not None:
        own = [channel for channel in found.channels if same_setting(channel.iso, found.frame.info.iso)]
        write_dng_with_profile(dng, found.frame, own)
    if darktable is not None:
        write_darktable_preset(darktable, channels, found.frame.info.as_shot_neutral)
