"""The command `denoise`: shots in, clean files out."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from burst_denoise.cli.console import fail, show
from burst_denoise.cli.options import (
    AnySensor,
    Augment,
    Darks,
    Device,
    Format,
    Json,
    MaxMegapixels,
    Name,
    Output,
    Profiles,
    QualityOption,
    SensorModels,
    Shots,
    Strength,
    Strict,
    Tile,
    calibration_files,
    rare,
    session_denoisers,
)
from burst_denoise.files import free_bytes
from burst_denoise.schemas import TILE

if TYPE_CHECKING:
    from burst_denoise.jobs.denoise import PlannedShot
    from burst_denoise.session.denoisers import Denoisers

__all__ = ["denoise_command"]

BYTES_PER_PIXEL = {".dng": 1.7, ".tif": 6.0, ".png": 6.0}
"""Size of results, about: a mosaic with its preview; three colours of 16 bits."""


def denoise_command(
    inputs: Shots,
    output: Output,
    model: SensorModels = None,
    profile: Profiles = None,
    darks: Darks = None,
    format: Format = None,
    name: Name = "{stem}-denoised",
    quality: QualityOption = "fast",
    augment: Augment = False,
    strength: Strength = 1.0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make all results anew, whatever lies in their place.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be done, with time and disk, and do nothing.")
    ] = False,
    as_json: Json = False,
    force: Annotated[bool, typer.Option("--force", help="Denoise again what this program has denoised.")] = False,
    shard: Annotated[
        str, rare(metavar="K/N", help="Denoise every Nth shot, the Kth first: one of N jobs on as many machines.")
    ] = "1/1",
    cluster: Annotated[
        str | None, rare(metavar="ADDRESS", help="Denoise on a Dask cluster that shares the folders: tcp://HOST:8786.")
    ] = None,
    strict: Strict = False,
    any_sensor: AnySensor = False,
    max_megapixels: MaxMegapixels = 200.0,
    tile: Tile = TILE,
    device: Device = "auto",
    resume: Annotated[bool, typer.Option("--resume", hidden=True, help="As every run does.")] = False,  # noqa: ARG001
) -> None:
    """Denoise shots: RAW in, DNG (or TIFF, PNG) out. Best with a model of your camera, made by calibrate.

    Without a model a network that comes with the program serves, with the noise
    that --profile tells, the stored burst, the DNG's NoiseProfile tag or the
    shots themselves, the first of these there is.

    What became of each shot stands in burst-denoise.jsonl beside the results; the
    same command again does what is missing or was made otherwise.

    Example: burst-denoise denoise shots/ -m my_camera.safetensors -o clean
    """
    from burst_denoise.session.reader import shared_reader

    shared_reader().start()  # beside what takes longer to be imported
    from burst_denoise.cli.session_console import SessionConsole, ended_by_signals
    from burst_denoise.inference.denoiser import DenoiseSettings
    from burst_denoise.jobs.denoise import SessionSettings, denoise_session, plan_session

    settings = SessionSettings(format, name, overwrite, _part(shard), max_megapixels, cluster)
    denoise_settings = DenoiseSettings(strength, quality, augment, tile, any_sensor, force, device)
    with ended_by_signals(), SessionConsole(as_json=as_json) as console:
        denoisers = session_denoisers(
            model, profile, calibration_files(darks, inputs), denoise_settings, console, strict=strict
        )
        if dry_run:
            _tell_plan(plan_session(inputs, output, denoisers, settings), denoisers, output)
        else:
            denoise_session(inputs, output, denoisers, settings, console)


def _part(text: str) -> tuple[int, int]:
    """Return K and N of "K/N", or end in a usage error."""
    number, slash, parts = text.partition("/")
    if not (slash and number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise typer.BadParameter(f"{text} is not K/N with K from 1 to N, as in 2/10", param_hint="--shard")
    return int(number), int(parts)


def _tell_plan(plan: "Sequence[PlannedShot]", denoisers: "Denoisers", output: Path) -> None:
    """Print what a session would do."""
    for planned in plan:
        if planned.problem is not None:
            fail(str(planned.problem))
        else:
            show(
                f"{planned.shot.name}: " + (f"would be written to {planned.target}" if planned.todo else "done before")
            )
    todo = [planned for planned in plan if planned.todo]
    megapixels = sum(planned.megapixels for planned in todo)
    text = f"{len(todo)} of {len(plan)} shots to denoise, {megapixels:.0f} megapixels"
    if todo:
        rate = denoisers.megapixels_per_s()
        size = sum(planned.megapixels * 1e6 * BYTES_PER_PIXEL.get(planned.target.suffix, 6.0) for planned in todo)
        free = free_bytes(output)
        text += f": about {megapixels / rate / 60:.1f} min at {rate:.1f} megapixels/s, and {size / 1e9:.2f} GB"
        text += f" of {free / 1e9:.0f} free" if size < free else f", but only {free / 1e9:.2f} GB are free"
    show(text)
