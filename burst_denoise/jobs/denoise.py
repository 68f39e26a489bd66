"""The job for a shoot: every shot of a session denoised, each failure named, the rest done."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from burst_denoise import __version__
from burst_denoise.burst.darks import DarkSet, dark_for, read_darks
from burst_denoise.burst.grouping import find_sources
from burst_denoise.errors import BurstDenoiseError, DeviceError, JobError, OutputError
from burst_denoise.frame.frame import Frame
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.inference.engine import Engine, fastest_engine
from burst_denoise.inference.noise_source import Serve, WithoutModel, serving
from burst_denoise.inference.tiles import denoise_image
from burst_denoise.io.dng import write_developed, write_dng, write_picture
from burst_denoise.io.metadata import DENOISED_MARK
from burst_denoise.model.device import compute_dtype
from burst_denoise.model.model_file import Model
from burst_denoise.model.network import FrequencySplitResNet
from burst_denoise.schemas import FrameInfo
from burst_denoise.sensor.defects import Repair, find_defects
from burst_denoise.session.overlap import ahead
from burst_denoise.session.shots import OutputFormat, Shot, find_shots

__all__ = ["DenoiseSettings", "Quality", "denoise_session"]

T = TypeVar("T")
R = TypeVar("R")
Quality = Literal["fast", "best"]


@dataclass(frozen=True)
class DenoiseSettings:
    """How shots are denoised and written."""

    strength: float
    quality: Quality
    """best averages over the eight flips and rotations, fast does not."""
    tile: int
    format: OutputFormat | None
    """None writes DNG for raw shots and TIFF for pictures."""
    any_sensor: bool
    resume: bool
    """Pass over shots whose output is there already."""


def denoise_session(
    inputs: Sequence[Path],
    output: Path,
    model: Model | WithoutModel,
    settings: DenoiseSettings,
    report: Callable[[str, Path | None, int, int], None],
    darks: Sequence[Path] = (),
    note: Callable[[str], None] = lambda _: None,
) -> None:
    """Denoise every shot that inputs name.

    Parameters
    ----------
    inputs : sequence of Path
        RAW and picture files, folders (searched recursively) or stored bursts.
    output : Path
        A file, for a single shot, if it has the suffix of a format; otherwise the folder for all results. If that lies
        inside a folder of inputs, what is in it is no input.
    model : Model or WithoutModel
        A model is on the device to compute on.
    settings : DenoiseSettings
    report : callable
        Called per shot, in order, with name, result (None where it was passed over), number and how many there are.
    darks : sequence of Path
        Dark frames, files or folders, and no shots: their mean is subtracted from shots of equal ISO and exposure,
        their defects are repaired in all shots of their camera and size, beside those the model knows. Frames of a
        stored burst have that burst's dark and map of defects, where no other fits.
    note : callable
        Called with a line of text about the first shot of an ISO and exposure for which there are darks, but none fit,
        and, without a model, about the first shot of an ISO whose noise profile comes from another source.

    Raises
    ------
    OutputError
        If an output exists and ``settings.resume`` is off, or cannot be what it is named; found before any work.
    JobError
        If some of several shots failed; the others are done.
    BurstDenoiseError
        What went wrong with a single shot, or with the first if all failed; a given noise profile that is none.

    Notes
    -----
    The next shot is read and the last one written while one is denoised, in a thread each; never more than these three
    are in memory.
    """
    serve = serving(model, any_sensor=settings.any_sensor, note=note)
    fixed = _FixedPattern.of(model if isinstance(model, Model) else None, read_darks(darks), note)
    dark_paths = set(find_sources(darks)) if darks else set()
    shots = find_shots(inputs, output, settings.format, dark_paths, resume=settings.resume)
    failures: dict[str, BurstDenoiseError] = {}
    for number, (shot, result) in enumerate(_overlapped(shots, settings, serve, fixed), 1):
        if isinstance(result, BurstDenoiseError):
            failures[shot.name] = result
        else:
            report(shot.name, result, number, len(shots))
    if not failures:
        return
    first = next(iter(failures.values()))
    if len(shots) == 1:
        raise first
    if len(failures) == len(shots):
        raise type(first)(f"{first} (and the other {len(shots) - 1} shots failed too)") from first
    raise JobError(f"{len(failures)} of {len(shots)} shots failed; the rest is done", failures)


Kind = tuple[str | None, str | None, tuple[int, ...]]
"""Camera and shape of a frame: what a map of defects belongs to."""


@dataclass(frozen=True)
class _FixedPattern:
    """What is taken off every shot before it is denoised."""

    darks: Sequence[DarkSet]
    repairs: dict[Kind, Repair]
    note: Callable[[str], None]
    told: set[tuple[float | None, float | None]]
    """ISO and exposure of shots that have no dark, as far as said."""

    @classmethod
    def of(cls, model: Model | None, darks: Sequence[DarkSet], note: Callable[[str], None]) -> "_FixedPattern":
        maps: dict[Kind, npt.NDArray[np.bool_]] = {}
        if model is not None and model.defect_map is not None:
            maps[model.header.camera, model.header.cfa, model.defect_map.shape] = model.defect_map
        if darks:
            found = find_defects(Mosaic.of(darks[0].info), [dark.master for dark in darks])
            kind = (darks[0].info.camera, darks[0].info.cfa, found.shape)
            maps[kind] = maps.get(kind, np.zeros_like(found)) | found
        return cls(
            darks,
            {kind: Repair(mask, Mosaic("bayer" if kind[1] else "rgb", kind[1])) for kind, mask in maps.items()},
            note,
            set(),
        )

    def dark(self, shot: Shot, info: FrameInfo) -> npt.NDArray[np.float32] | None:
        master = dark_for(self.darks, info)
        if master is not None:
            return master.offset
        stored = None if shot.burst is None else shot.burst.dark
        if stored is None and self.darks and (info.iso, info.exposure_s) not in self.told:
            self.told.add((info.iso, info.exposure_s))
            self.note(
                f"{shot.name}: no dark frames of its camera at ISO {info.iso or 0:g} and {info.exposure_s or 0:g} "
                "s; no dark is subtracted from such shots"
            )
        return stored

    def repair(self, shot: Shot, frame: Frame) -> Repair | None:
        known = self.repairs.get((frame.info.camera, frame.info.cfa, frame.dn.shape))
        return shot.burst.repair if known is None and shot.burst is not None else known


def _overlapped(
    shots: Sequence[Shot], settings: DenoiseSettings, serve: Serve, fixed: _FixedPattern
) -> Iterator[tuple[Shot, Path | BurstDenoiseError | None]]:
    """Denoise shots and give each, in order, with its result, what was wrong, or None where it was passed over.

    When this ends early, the shot being written is written to its end.
    """

    @cache  # one for the model, or one per domain
    def engine_of(network: FrequencySplitResNet) -> Engine:
        return fastest_engine(network, compute_dtype(next(network.parameters()).device))

    def denoise(shot: Shot, frame: Frame) -> Callable[[], None]:
        return _denoise(shot, frame, settings, serve, fixed, engine_of)

    def write(shot: Shot, written: Callable[[], None]) -> Path:
        written()
        return shot.target

    wanted = ((shot, None if settings.resume and shot.target.exists() else shot) for shot in shots)
    with closing(ahead(partial(_step, lambda shot, _: shot.read()), wanted)) as frames:
        denoised = (_step(denoise, frame) for frame in frames)
        yield from ahead(partial(_step, write), denoised)


def _step(
    work: Callable[[Shot, T], R], before: tuple[Shot, T | BurstDenoiseError | None]
) -> tuple[Shot, R | BurstDenoiseError | None]:
    """Do the next thing to a shot, unless it is passed over or something was wrong with it."""
    shot, value = before
    if value is None or isinstance(value, BurstDenoiseError):
        return shot, value
    try:
        return shot, work(shot, value)
    except BurstDenoiseError as error:
        return shot, error
    except MemoryError:
        return shot, DeviceError(f"{shot.name}: needs more memory than there is; denoise it on a larger machine")


def _denoise(
    shot: Shot,
    frame: Frame,
    settings: DenoiseSettings,
    serve: Serve,
    fixed: _FixedPattern,
    engine_of: Callable[[FrequencySplitResNet], Engine],
) -> Callable[[], None]:
    """Denoise a frame and return what writes the result."""
    write = _writer(shot, frame)
    network, profile, words = serve(frame, shot.name, None if shot.burst is None else shot.burst.profile)
    dark = fixed.dark(shot, frame.info)
    image = denoise_image(
        frame.linear,
        frame.mosaic,
        network,
        profile,
        dtype=compute_dtype(next(network.parameters()).device),
        strength=settings.strength,
        augment=settings.quality == "best",
        tile=settings.tile,
        dark=dark,
        repair=fixed.repair(shot, frame),
        engine=engine_of(network),
    )
    notes = (
        f"{DENOISED_MARK}: version {__version__}; {words}; "
        f"strength {settings.strength:g}{'; augmented' if settings.quality == 'best' else ''}"
        f"{'' if dark is None or settings.strength == 0 else '; dark subtracted'}"
    )
    return partial(write, image, notes=notes)


def _writer(shot: Shot, frame: Frame) -> Callable[..., None]:
    """Return what writes an image, and notes, to the shot's target; refuse what no frame of its kind can become."""
    bayer = frame.info.domain == "bayer"
    if shot.target.suffix.lower() == ".dng":
        if not bayer:
            raise OutputError(f"{shot.name}: a developed picture cannot become a DNG; choose tiff or png")
        return partial(write_dng, shot.target, frame.info, border=frame.border)
    if not bayer:
        return partial(write_picture, shot.target, frame.info)
    if shot.source is None:
        raise OutputError(f"{shot.name}: a stored burst has no raw file to develop; write DNG, or name the raw files")
    return partial(write_developed, shot.target, shot.source, frame.info)
