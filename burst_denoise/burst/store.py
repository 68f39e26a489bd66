"""Stored bursts: written aside and renamed, so one is whole or not there; opened, checked and pooled."""

import hashlib
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy.lib.format import open_memmap

from burst_denoise import __version__
from burst_denoise.arrays import Float, Mask
from burst_denoise.burst.burst import CLEAN, DARK, DEFECTS, SATURATED, SUM, Burst, frame_file
from burst_denoise.burst.grouping import BURST_SUFFIX, passed_over
from burst_denoise.burst.series_verdict import SeriesVerdict
from burst_denoise.errors import BurstStoreError, ConfigError, InputFileError, SeriesError
from burst_denoise.files import atomic_write, digest_of
from burst_denoise.frame.exposure import first_of_each_setting
from burst_denoise.frame.frame import Frame
from burst_denoise.io.limits import read_document, refuse_special_file
from burst_denoise.schemas import BurstManifest, NoiseMeasurement
from burst_denoise.sensor.defects import Repair, find_defects
from burst_denoise.sensor.photon_transfer import fit_measurements, measure_noise

__all__ = [
    "BURST_SUFFIX",
    "WORK_SUFFIX",
    "find_bursts",
    "open_burst",
    "pooled_by_iso",
    "sharing_defects",
    "split_inputs",
    "store_burst",
]

WORK_SUFFIX = ".work"
"""Suffix of folders of bursts that a calibration is still at work on; they are never an input."""
MANIFEST = "burst.json"
LARGEST_SUM = 1e6
"""Largest sum of a photosite's linear values over all frames; white is 1."""
IMAGES: Mapping[str, str] = {SUM: "f8", SATURATED: "?", CLEAN: "f4", DEFECTS: "?", DARK: "f4"}
"""Numbers that the images beside the frames are of."""


def store_burst(
    folder: Path,
    frames: Sequence[Frame],
    verdict: SeriesVerdict,
    clean: Float | None = None,
    defects: Mask | None = None,
    dark: Float | None = None,
) -> Burst:
    """Write the accepted frames of a series as a stored burst and fit its noise profile.

    Parameters
    ----------
    folder : Path
        The folder to make; by custom its name ends in ``.burst``.
    frames : sequence of Frame, at least 3
        The accepted frames, in the order of the accepted ones in ``verdict``.
    verdict : SeriesVerdict
        On the series, rejected frames included.
    clean : image, optional
        The known clean image of a simulated burst, linear.
    defects : bool array of the shape of a frame, optional
        Defective photosites, from `burst_denoise.sensor.defects.find_defects`.
    dark : image, optional
        Dark offsets at the ISO and exposure of the frames, linear; see `burst_denoise.sensor.fixed_pattern.MasterDark`.

    Raises
    ------
    OutputError
        If ``folder`` exists or cannot be written.
    SeriesError
        If two frames are the same shot, or the noise cannot be measured because all is overexposed.
    """
    info, series = frames[0].info, verdict.series
    mosaic = frames[0].mosaic
    gains = [v.divisors(len(mosaic.plane_names)) for v in verdict.frames if v.accepted]
    _refuse_copies(series, frames)
    repair = None if defects is None else Repair(defects, mosaic)

    def corrected(frame: Frame, own: tuple[float, ...]) -> Float:
        linear = frame.linear
        if dark is not None:
            linear -= dark
        if repair is not None:
            repair.mend(linear)
        return mosaic.evened(linear, own)

    try:
        noise = measure_noise(map(corrected, frames, gains), mosaic)
        profile = fit_measurements([noise], info.iso)
    except ValueError as error:
        raise SeriesError(f"{series}: its noise cannot be measured: {error}") from error
    with atomic_write(folder) as aside:
        aside.mkdir()
        total = np.zeros(frames[0].dn.shape, np.float64)
        saturated = np.zeros(frames[0].dn.shape, np.bool_)
        for index, (frame, own) in enumerate(zip(frames, gains, strict=True)):
            total += mosaic.evened(frame.linear, own)
            saturated |= frame.dn >= info.white_level
            np.save(aside / frame_file(index), frame.dn)
        images = {SUM: total, SATURATED: saturated, CLEAN: clean, DEFECTS: defects, DARK: dark}
        digests = {}
        for name, image in images.items():
            if image is not None:
                np.save(aside / name, image.astype(IMAGES[name], copy=False))
                digests[f"{Path(name).stem}_sha256"] = digest_of(aside / name)
        manifest = BurstManifest(
            series=series,
            info=info,
            mu=verdict.mu,
            sigma=verdict.sigma,
            frames=verdict.frames,
            black_levels=tuple(frame.info.black_level for frame in frames),
            sha256=tuple(digest_of(aside / frame_file(index)) for index in range(len(frames))),
            noise=noise,
            profile=profile,
            version=__version__,
            **digests,
        )
        (aside / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return open_burst(folder)


def find_bursts(given: Path) -> list[Path]:
    """Return the stored bursts that a path names: the folder itself, or all in it; none is no error.

    Hidden folders and those of a calibration at work (``NAME.work``) are passed over: what they hold may be half done.
    """
    if (given / MANIFEST).is_file():
        return [given]
    found = sorted(path.parent for path in given.rglob(MANIFEST)) if given.is_dir() else []
    return [folder for folder in found if not passed_over(folder, given, WORK_SUFFIX)]


def split_inputs(inputs: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return the stored bursts that inputs name, each once, and the inputs that name none."""
    named = [(given, find_bursts(given)) for given in inputs]
    stored = {path.resolve(): path for _, found in named for path in found}
    return list(stored.values()), [given for given, found in named if not found]


def open_burst(folder: Path) -> Burst:
    """Open a stored burst and check that every array is what was written.

    Raises
    ------
    BurstStoreError
        If the manifest or an array is missing, damaged, of another size or of another format version.
    """
    try:
        manifest = BurstManifest.parse(read_document(folder / MANIFEST), str(folder / MANIFEST))
        burst = Burst(folder, manifest)
        info, digests = burst.info, burst.digests
        shape = (info.height, info.width) if info.domain != "rgb" else (3, info.height, info.width)
        for name, digest in digests.items():
            refuse_special_file(folder / name)
            array = _array(folder / name)
            if array.shape != shape or array.dtype not in (
                ("u1", "u2", "f4") if name not in IMAGES else (IMAGES[name],)
            ):
                raise BurstStoreError(
                    f"{folder / name}: is of {array.dtype}, {array.shape}, and does not fit a frame of {shape}; ingest "
                    "the frames of this burst again"
                )
            if (digest and digest_of(folder / name) != digest) or not _is_possible(array):
                raise BurstStoreError(f"{folder / name}: damaged; ingest the frames of this burst again")
    except OSError as error:
        raise BurstStoreError(f"{folder}: stored burst is damaged ({error}); ingest its frames again") from error
    except InputFileError as error:
        raise BurstStoreError(str(error)) from error
    except ConfigError as error:
        raise BurstStoreError(f"{error}; ingest the frames again") from error
    return burst


def pooled_by_iso(bursts: Sequence[Burst]) -> list[Burst]:
    """Return bursts of one sensor with a noise profile fitted to all bursts of their ISO together."""
    settings = first_of_each_setting(burst.info.iso for burst in bursts)
    measured: dict[float | None, list[NoiseMeasurement]] = {}
    for burst in bursts:
        measured.setdefault(settings[burst.info.iso], []).append(burst.manifest.noise)
    profiles = {iso: fit_measurements(together, iso) for iso, together in measured.items()}
    return [replace(burst, pooled=profiles[settings[burst.info.iso]]) for burst in bursts]


def sharing_defects(bursts: Sequence[Burst]) -> list[Burst]:
    """Return bursts of one sensor, each with the defects found in any of them, or in two scenes of one size.

    Bursts that were stored without a map of defects stay without one if no other has one of their size.
    """
    sizes: dict[tuple[int, ...], list[Burst]] = {}
    for burst in bursts:
        sizes.setdefault(burst.saturated.shape, []).append(burst)
    maps = {}
    for size, alike in sizes.items():
        if any(burst.defects is not None for burst in alike):
            mosaic, scenes = alike[0].mosaic, [burst.scene(repaired=False) for burst in alike]
            # What one burst alone took for a defect must be seen in the other scenes too; what darks or flicker told
            # need not.
            told = [
                burst.defects & ~find_defects(mosaic, scenes=[scene])
                for burst, scene in zip(alike, scenes, strict=True)
                if burst.defects is not None
            ]
            maps[size] = np.logical_or.reduce([*told, find_defects(mosaic, scenes=scenes)])
    return [replace(burst, shared_defects=maps.get(burst.saturated.shape)) for burst in bursts]


def _refuse_copies(series: str, frames: Sequence[Frame]) -> None:
    """Raise when two frames are equal to the bit: noise is never the same twice, so they are copies of one shot."""
    seen: dict[bytes, Path] = {}
    for frame in frames:
        digest = hashlib.sha256(np.ascontiguousarray(frame.dn).data).digest()
        if digest in seen:
            raise SeriesError(
                f"{series}: {frame.path.name} and {seen[digest].name} are the same shot, equal to the bit; "
                "take the copies away"
            )
        seen[digest] = frame.path


def _array(path: Path) -> npt.NDArray[np.generic]:
    """Map an array; no more of it is read than its header, which is the place where numpy meets damage."""
    try:
        with np.errstate(all="ignore"):  # a header may claim a shape beyond all numbers
            return open_memmap(path, mode="r")
    except (ValueError, TypeError, SyntaxError, tokenize.TokenError, ArithmeticError, RecursionError) as error:
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise BurstStoreError(f"{path}: damaged ({reason}); ingest the frames of this burst again") from error


def _is_possible(array: npt.NDArray[np.generic]) -> bool:
    """Return whether an array may be one of linear values, or a sum of such, as far as it is of floating point."""
    return array.dtype.kind != "f" or bool(np.abs(array).max() < LARGEST_SUM)
