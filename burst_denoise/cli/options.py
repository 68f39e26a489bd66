"""The options that several commands share, each spelled once, and what is made of them."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from burst_denoise.errors import InputFileError, ModelFileError
from burst_denoise.files import refuse_existing
from burst_denoise.schemas import Quality

if TYPE_CHECKING:
    from burst_denoise.inference.denoiser import DenoiseSettings
    from burst_denoise.jobs.listener import Listener
    from burst_denoise.model.model_file import Model
    from burst_denoise.session.denoisers import Denoisers

__all__ = [
    "INPUTS",
    "OUTPUT",
    "AnySensor",
    "Augment",
    "Darks",
    "Device",
    "Flats",
    "Format",
    "FromScratch",
    "Inputs",
    "Json",
    "Limit",
    "MaxMegapixels",
    "MinutesOption",
    "Models",
    "Name",
    "Output",
    "OutputFolders",
    "Pairs",
    "Pause",
    "Profiles",
    "QualityOption",
    "Seed",
    "SensorModels",
    "Shots",
    "Strength",
    "Strict",
    "Tile",
    "TuneOn",
    "Verbose",
    "calibration_files",
    "finite",
    "load_models",
    "named_folders",
    "rare",
    "session_denoisers",
    "writes",
]

OUTPUT = ("--output", "-o")
FEWEST_FILES = 4
"""Fewest files of a set of dark frames or flats."""
MODEL_SUFFIX = ".safetensors"


def finite(value: Any) -> Any:
    """Return the number or list of numbers, or end in a usage error if one is nan or infinite; None is left alone."""
    for number in value if isinstance(value, list) else [value]:
        if number is not None and not math.isfinite(number):
            raise typer.BadParameter(f"{number} is not a number one can work with")
    return value


def rare(*names: str, **settings: Any) -> Any:
    """Return an option that stands in the help among those that hardly anybody needs."""
    return typer.Option(*names, rich_help_panel="Rarely needed", **settings)


def writes(text: str, *names: str, suffixes: tuple[str, ...] = ()) -> Any:
    """Return the option that names a file to write: it must not exist, and end in one of the suffixes, if any."""

    def checked(path: Path | None) -> Path | None:
        if path is not None:
            if suffixes and path.suffix.lower() not in suffixes:
                raise typer.BadParameter(f"{path} is not the name of a {suffixes[0]} file")
            refuse_existing(path)
        return path

    return typer.Option(*(names or OUTPUT), metavar="FILE", help=text, callback=checked)


INPUTS = typer.Argument(
    metavar="INPUTS",
    help="Frames (RAW, PNG, TIFF, JPEG, BMP, video), folders of them (searched recursively), or stored bursts.",
    show_default=False,
)
Inputs = Annotated[list[Path], INPUTS]
Shots = Annotated[
    list[Path],
    typer.Argument(
        metavar="INPUTS",
        help="Shots (RAW, PNG, TIFF, JPEG, BMP), folders of them (searched recursively), or stored bursts.",
        show_default=False,
    ),
]
Darks = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATH",
        help="Dark frames (lens capped) of the same camera, ISO and exposure, 16 or more: a folder, a file, or a "
        "pattern in quotes ('darks/*.dng'). May be repeated.",
    ),
]
Flats = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATH",
        help="Frames of an evenly lit surface, for the photo-response non-uniformity: a folder, a file, or a pattern "
        "in quotes. May be repeated.",
    ),
]
Models = Annotated[
    list[Path] | None, typer.Option("--model", "-m", metavar="FILE", help="Model to score. May be repeated.")
]
Pairs = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Instead of INPUTS: noisy and clean pictures to score on, laid out as in CC60, PolyU, SIDD, RENOIR, or in "
        "folders noisy and clean. The tables show means over the pairs; --json, --csv and --output list each pair.",
    ),
]
OutputFolders = Annotated[
    list[str] | None,
    typer.Option(
        "--outputs",
        metavar="NAME=FOLDER",
        help="Files that another program made of the frames, named as these (IMG_12-denoised.dng of IMG_12.CR2), to "
        "score under NAME: mosaic DNGs of raw frames, PNG, TIFF or JPEG of pictures. May be repeated.",
    ),
]
TuneOn = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="PATH",
        help="Other bursts or frames of the sensor (where pairs are scored, other pairs) to tune the baselines on; by "
        "default as tuned when the model was made, for pairs on those scored. May be repeated.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON lines instead of text.")]
MinutesOption = typer.Option(metavar="NUMBER", min=0.01, callback=finite, help="Minutes of training at most.")
Limit = Annotated[
    int, rare(metavar="NUMBER", min=3, help="Frames used per series at most: sensors warm up in long bursts.")
]
Pause = Annotated[
    float,
    rare(
        "--pause",
        metavar="SECONDS",
        min=0,
        callback=finite,
        help="Longest pause between two frames of a series, exposures apart.",
    ),
]
Device = Annotated[Literal["auto", "cpu", "cuda", "mps"], rare(help="Where to compute; auto takes the fastest.")]
Seed = Annotated[int, rare(metavar="NUMBER", min=0, help="Decides everything that is random.")]
FromScratch = Annotated[bool, rare("--from-scratch", help="Do not start from the network that comes with the program.")]
Verbose = Annotated[bool, rare("--verbose", help="Show PSNR and loss of the training, too.")]
AnySensor = Annotated[
    bool,
    rare(
        "--any-sensor",
        help="Let models, profiles and dark frames serve another camera or ISO, and files that do not name theirs.",
    ),
]

Output = Annotated[
    Path, typer.Option(*OUTPUT, metavar="PATH", help="Folder for the results, or a file for a single shot.")
]
SensorModels = Annotated[
    list[Path] | None,
    typer.Option(
        "--model", "-m", metavar="PATH",
        help="Model of a camera, made by calibrate, or a folder of models; each serves its own camera and ISOs. May be "
        "repeated.",
    ),
]  # fmt: skip
Profiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--profile", metavar="FILE",
        help="Without a model: the noise of a sensor, made by profile -o; other ISOs are scaled. May be repeated.",
    ),
]  # fmt: skip
Format = Annotated[
    Literal["dng", "tiff", "png"] | None,
    typer.Option(
        help="dng keeps the mosaic of raw files; tiff and png, 16 bits, are developed by LibRaw. By default raw "
        "files become dng, pictures tiff."
    ),
]
Name = Annotated[
    str,
    typer.Option(metavar="TEMPLATE", help="Name of results without suffix, from {stem}, {iso} and {camera} of a shot."),
]
QualityOption = Annotated[
    Quality,
    typer.Option(
        help="Which network that comes with the program serves without a model: best is four times slower, draft twice "
        "as fast. Monochrome and RGB pictures have fast alone."
    ),
]
Augment = Annotated[
    bool,
    typer.Option("--augment", help="Average over 8 flips and rotations: a little better, about eight times slower."),
]
Strength = Annotated[
    float,
    typer.Option(metavar="NUMBER", min=0, max=1, callback=finite, help="1 denoises fully, 0 gives the input back."),
]
Strict = Annotated[
    bool, rare("--strict", help="Refuse shots that no given model or profile is of, rather than use the prior.")
]
Tile = Annotated[int, rare(metavar="NUMBER", min=32, help="Side of a tile in photosites; less takes less memory.")]
MaxMegapixels = Annotated[
    float,
    rare("--max-megapixels", metavar="NUMBER", min=1, callback=finite, help="Refuse shots above this size."),
]


def calibration_files(given: list[str] | None, inputs: list[Path]) -> list[Path]:
    """Return the files and folders that an option for calibration frames names; patterns are searched.

    Raises
    ------
    InputFileError
        If a pattern finds nothing, or a shell has spread the files of one over the inputs.
    """
    files: list[Path] = []
    single: list[Path] = []
    for text in given or []:
        path = Path(text).expanduser()  # the shell leaves ~ alone in quotes
        if path.exists() or not any(mark in text for mark in "*?["):
            files.append(path)
            single += [path] if path.is_file() else []
            continue
        found = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
        if not found:
            raise InputFileError(f"{text}: no file matches this pattern; check the folder")
        files += found
    _refuse_expanded_pattern(single, inputs)
    return files


def _refuse_expanded_pattern(files: list[Path], inputs: list[Path]) -> None:
    """Raise `InputFileError` when a shell has expanded a pattern, so that only its first file reached the option.

    The others would pass for frames of a scene. So few files make no set of calibration frames anyway.
    """
    if len(files) >= FEWEST_FILES:
        return
    folders = {path.resolve().parent: path for path in files}
    for path in inputs:
        first = folders.get(path.resolve().parent)
        if first is not None and path.is_file():
            raise InputFileError(
                f"{path}: is given as a frame of a scene, but lies beside {first.name}, a calibration frame; if the "
                f"shell has expanded a pattern, write it in quotes, '{first.parent / f'*{first.suffix}'}', or name the "
                "folder"
            )


def named_folders(given: list[str] | None) -> dict[str, Path]:
    """Return the folders of NAME=FOLDER by their names, or end in a usage error."""
    folders: dict[str, Path] = {}
    for text in given or []:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise typer.BadParameter(f"{text} is not NAME=FOLDER, as in other=CLEAN", param_hint="--outputs")
        if name in folders:
            raise typer.BadParameter(f"{name} is named twice", param_hint="--outputs")
        folders[name] = Path(folder).expanduser()  # the shell leaves ~ alone there
    return folders


def load_models(paths: list[Path] | None, device: str) -> "dict[str, Model]":
    """Return models by the names of their rows."""
    if not paths:
        return {}
    from burst_denoise.model.device import choose_device
    from burst_denoise.model.model_file import load_model

    stems = [path.stem for path in paths]
    names = [f"model {path.stem if stems.count(path.stem) == 1 else path}" for path in paths]
    if len(paths) == 1:
        names = ["model"]
    chosen = choose_device(device)
    return {name: load_model(path, chosen) for name, path in zip(names, paths, strict=True)}


def session_denoisers(
    models: list[Path] | None,
    profiles: list[Path] | None,
    dark_files: list[Path],
    settings: "DenoiseSettings",
    listener: "Listener",
    *,
    strict: bool,
) -> "Denoisers":
    """Return the denoisers of a session from the files that options name; of folders, all models in them."""
    from burst_denoise.burst.darks import read_darks
    from burst_denoise.inference.noise_source import read_measured_noise
    from burst_denoise.model.device import choose_device
    from burst_denoise.model.model_file import load_model
    from burst_denoise.session.denoisers import Denoisers

    files: list[Path] = []
    for given in models or []:
        found = sorted(given.glob(f"*{MODEL_SUFFIX}")) if given.is_dir() else [given]
        if not found:
            raise ModelFileError(f"{given}: no {MODEL_SUFFIX} files in this folder; name one that holds models")
        files += found
    chosen = choose_device(settings.device)
    loaded: list[Model] = []
    for path in dict.fromkeys(files):
        try:
            loaded.append(load_model(path, chosen))
        except ModelFileError as error:
            if path in (models or []) or len(files) == 1:
                raise
            listener.note(f"{error}; passed over")
    if files and not loaded:
        raise ModelFileError(f"{files[0].parent}: none of the {len(files)} models in this folder can be read")
    return Denoisers(
        loaded,
        [read_measured_noise(path, listener.note) for path in profiles or []],
        read_darks(dark_files),
        settings,
        listener.note,
        strict=strict,
    )
