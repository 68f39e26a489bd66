"""Commands about frames: are they usable, what do they say about the sensor, store them."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from burst_denoise.cli.console import note, show, show_json, show_verdict, show_verdict_json
from burst_denoise.cli.options import Darks, Flats, Inputs, Json, Limit, finite
from burst_denoise.schemas import MOST_FRAMES

__all__ = ["ingest_command", "inspect_command", "profile_command"]


def inspect_command(
    inputs: Inputs,
    limit: Limit = MOST_FRAMES,
    plot: Annotated[Path | None, typer.Option(help="PNG file to draw the density curves of the series to.")] = None,
    as_json: Json = False,
) -> None:
    """Judge every series: which frames are usable, and why the others are not. Writes nothing but --plot."""
    from burst_denoise.burst.series import SeriesVerdict
    from burst_denoise.files import refuse_existing
    from burst_denoise.jobs.ingest import inspect
    from burst_denoise.reporting.figures import draw_quality

    if plot is not None:
        if plot.suffix.lower() != ".png":
            raise typer.BadParameter(f"{plot} is not the name of a PNG file", param_hint="--plot")
        refuse_existing(plot)
    show_one = show_verdict_json if as_json else partial(show_verdict, say=show)
    verdicts: list[SeriesVerdict] = []

    def report(verdict: SeriesVerdict) -> None:
        show_one(verdict)
        verdicts.append(verdict)

    inspect(inputs, limit, report)
    if plot is not None:
        draw_quality(plot, verdicts)


def ingest_command(
    inputs: Inputs,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the stored bursts.")],
    darks: Darks = None,
    limit: Limit = MOST_FRAMES,
) -> None:
    """Judge every series and store the accepted ones as bursts, with their noise profile."""
    from burst_denoise.jobs.ingest import ingest

    for burst in ingest(inputs, output, limit, show_verdict, darks or [], note):
        gains = ", ".join(
            f"{s * (burst.info.white_level - b):.3g}"
            for s, b in zip(burst.profile.shot_noise_scale, burst.info.black_level, strict=True)
        )
        show(f"{burst.folder}: {len(burst)} frames, gain {gains} DN/e-")


def _all_finite(values: list[float] | None) -> list[float] | None:
    for value in values or []:
        finite(value)
    return values


def profile_command(
    inputs: Inputs,
    darks: Darks = None,
    flats: Flats = None,
    at_iso: Annotated[
        list[float] | None,
        typer.Option(min=1, callback=_all_finite, help="Also interpolate to this ISO; may be repeated."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON file to write.")] = None,
    dng: Annotated[
        Path | None, typer.Option(help="DNG file to write: the first frame, with the DNG NoiseProfile tag.")
    ] = None,
    darktable: Annotated[
        Path | None, typer.Option(help="Noise profile file for darktable to write (darktable --noiseprofiles FILE).")
    ] = None,
    limit: Limit = MOST_FRAMES,
    as_json: Json = False,
) -> None:
    """Calibrate the sensor: gain, read and row noise, fixed pattern, defects, with intervals and a verdict in words."""
    from burst_denoise.cli.tables import format_assessment, sensor_table
    from burst_denoise.files import refuse_existing
    from burst_denoise.io.noise_profile_export import (
        refuse_unusable,
        write_darktable_preset,
        write_dng_with_profile,
        write_profile,
    )
    from burst_denoise.jobs.profile import profile
    from burst_denoise.sensor.verdict import interpolate_channels

    if dng is not None and dng.suffix.lower() != ".dng":
        raise typer.BadParameter(f"{dng} is not the name of a DNG file", param_hint="--dng")
    for path in (output, dng, darktable):
        if path is not None:
            refuse_existing(path)
    found = profile(inputs, darks or [], flats or [], limit, show_verdict, note)
    known = {channel.iso for channel in found.channels}
    between = [
        channel for iso in at_iso or [] if iso not in known for channel in interpolate_channels(found.channels, iso)
    ]
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
        own = [channel for channel in found.channels if channel.iso == found.frame.info.iso]
        write_dng_with_profile(dng, found.frame, own)
    if darktable is not None:
        write_darktable_preset(darktable, channels, found.frame.info.as_shot_neutral)
