"""Stored bursts: written aside and renamed, so one is whole or not there; opened, checked and pooled."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from burst_denoise import __version__
from burst_denoise.arrays import Float, Mask
from burst_denoise.burst.burst import DARK, DEFECTS, Burst, frame_file
from burst_denoise.burst.grouping import BURST_SUFFIX, passed_over
from burst_denoise.burst.series import SeriesVerdict
from burst_denoise.errors import BurstStoreError, ConfigError, SeriesError
from burst_denoise.files import atomic_write
from burst_denoise.frame.exposure import first_of_each_setting
from burst_denoise.frame.frame import Frame
from burst_denoise.schemas import BurstManifest, NoiseMeasurement
from burst_denoise.sensor.defects import Repair, find_defects
from burst_denoise.sensor.photon_transfer import fit_measurements, measure_noise

__all__ = [
    "BURST_SUFFIX",
    "WORK_SUFFIX",
    "Burst",
    "find_bursts",
    "open_burst",
    "pooled_by_iso",
    "sharing_defects",
    "split_inputs",
    "store_burst",
]

WORK_SUFFIX = ".work"
"""Of folders that hold bursts a calibration is still at work on; they are nobody's input."""
MANIFEST = "burst.json"


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
        images = {"sum.npy": total, "saturated.npy": saturated, "clean.npy": clean, DEFECTS: defects, DARK: dark}
        for name, image in images.items():
            if image is not None:
                np.save(aside / name, image)
        manifest = BurstManifest(
            series=series,
            info=info,
            mu=verdict.mu,
            sigma=verdict.sigma,
            frames=verdict.frames,
            black_levels=tuple(frame.info.black_level for frame in frames),
            sha256=tuple(_digest(aside / frame_file(index)) for index in range(len(frames))),
            noise=noise,
            profile=profile,
            defects_sha256=None if defects is None else _digest(aside / DEFECTS),
            dark_sha256=None if dark is None else _digest(aside / DARK),
            version=__version__,
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
    """Open a stored burst and check that every frame is what was written.

    Raises
    ------
    BurstStoreError
        If the manifest or a frame is missing, damaged or of another format version.
    """
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        manifest = BurstManifest.parse(text, str(folder / MANIFEST))
        digests = {frame_file(index): digest for index, digest in enumerate(manifest.sha256)}
        expected = digests | {DEFECTS: manifest.defects_sha256, DARK: manifest.dark_sha256}
        damaged = [name for name, digest in expected.items() if digest and _digest(folder / name) != digest]
        companions = [np.load(folder / name, mmap_mode="r") for name in ("sum.npy", "saturated.npy")]
    except (OSError, EOFError, ValueError) as error:
        raise BurstStoreError(f"{folder}: stored burst is damaged ({error}); ingest its frames again") from error
    except ConfigError as error:
        raise BurstStoreError(f"{error}; ingest the frames again") from error
    if damaged:
        raise BurstStoreError(f"{folder / damaged[0]}: damaged; ingest the frames of this burst again")
    burst = Burst(folder, manifest)
    if not len(manifest.sha256) == len(manifest.black_levels) == len(burst.gains) > 0:
        raise BurstStoreError(f"{folder / MANIFEST}: frames, black levels and digests differ in number; ingest again")
    companions += [image for image in (burst.defects, burst.dark) if image is not None]
    if any(array.shape != burst.frame(0).dn.shape for array in companions):
        raise BurstStoreError(f"{folder}: sum or mask has another size than the frames; ingest the frames again")
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


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
