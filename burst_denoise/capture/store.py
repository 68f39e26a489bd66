"""The stored burst: the accepted frames of one series, memory-mapped, with their exact sum and a manifest.

A folder ``NAME.burst`` holds ``burst.json`` (`BurstManifest`), ``frame_000.npy`` ... (DN as read), ``sum.npy``
(float64, sum of the linear, brightness-corrected frames), ``saturated.npy`` (bool) and, where a clean reference was
given, ``clean.npy`` (float32, linear). It is written aside and renamed, so it is whole or not there.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from burst_denoise import __version__
from burst_denoise.config import BurstManifest, FrameInfo, FrameVerdict, NoiseMeasurement, NoiseProfile
from burst_denoise.errors import BurstStoreError, ConfigError, SeriesError
from burst_denoise.files import written_aside
from burst_denoise.sensor.frame import Frame, to_linear
from burst_denoise.sensor.photon_transfer import fit_measurements, measure_noise

__all__ = ["BURST_SUFFIX", "WORK_SUFFIX", "Burst", "find_bursts", "open_burst", "pooled_by_iso", "store_burst"]

BURST_SUFFIX = ".burst"
WORK_SUFFIX = ".work"
"""Of folders that hold bursts a calibration is still at work on; they are nobody's input."""
MANIFEST = "burst.json"

Float = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Burst:
    """A stored burst; its frames are read from disk when asked for."""

    folder: Path
    manifest: BurstManifest
    pooled: NoiseProfile | None = None
    """Noise profile of all bursts at this ISO, from `pooled_by_iso`."""

    @property
    def name(self) -> str:
        """Name of the series."""
        return self.manifest.series

    @property
    def info(self) -> FrameInfo:
        """What the first frame's file said; camera, CFA, white level, ISO and exposure hold for all."""
        return self.manifest.info

    @property
    def profile(self) -> NoiseProfile:
        """Noise profile to work with: the pooled one, or else the one fitted to this burst alone."""
        return self.pooled or self.manifest.profile

    def __len__(self) -> int:
        return len(self.manifest.sha256)

    @cached_property
    def _infos(self) -> list[FrameInfo]:
        return [self.info.model_copy(update={"black_level": black}) for black in self.manifest.black_levels]

    @cached_property
    def _frames(self) -> list[npt.NDArray[np.generic]]:
        return [np.load(self.folder / _frame_name(i), mmap_mode="r") for i in range(len(self))]

    @cached_property
    def _sum(self) -> npt.NDArray[np.float64]:
        total: npt.NDArray[np.float64] = np.load(self.folder / "sum.npy", mmap_mode="r")
        return total

    @cached_property
    def saturated(self) -> npt.NDArray[np.bool_]:
        """Photosites at the white level in any frame; same shape as a frame. They count for nothing."""
        mask: npt.NDArray[np.bool_] = np.load(self.folder / "saturated.npy", mmap_mode="r")
        return mask

    @cached_property
    def clean(self) -> Float | None:
        """The known clean image, linear float32, or None where there is none (every real burst)."""
        path = self.folder / "clean.npy"
        return np.load(path, mmap_mode="r") if path.exists() else None

    @cached_property
    def gains(self) -> tuple[float, ...]:
        """Brightness of each stored frame relative to the series."""
        return tuple(v.gain or 1.0 for v in self.manifest.frames if v.accepted)

    def frame(self, index: int) -> Frame:
        """Return a frame as it was shot, brightness not corrected."""
        name = [v.file for v in self.manifest.frames if v.accepted][index]
        return Frame(np.asarray(self._frames[index]), self._infos[index], Path(name))

    def linear(self, index: int, window: tuple[slice, slice] = (slice(None), slice(None))) -> Float:
        """Return a frame, or a window of it, in linear units with its brightness corrected.

        Parameters
        ----------
        index : int
        window : (rows, columns) slices
            On a mosaic they must start on even rows and columns.
        """
        rows, columns = window
        if self.info.cfa is not None and ((rows.start or 0) % 2 or (columns.start or 0) % 2):
            raise ValueError(f"window {rows.start}, {columns.start} does not start on an even row and column")
        dn = self._frames[index][..., rows, columns]
        return to_linear(dn, self._infos[index]) / np.float32(self.gains[index])

    def leave_one_out_mean(self, index: int, window: tuple[slice, slice] = (slice(None), slice(None))) -> Float:
        """Return the mean of all frames except one, in linear units.

        It does not depend on the frame left out; its noise variance is that of one frame / (len(self) - 1).

        References
        ----------
        Lehtinen et al., "Noise2Noise", ICML 2018.
        """
        rows, columns = window
        total = self._sum[..., rows, columns]
        mean: Float = ((total - self.linear(index, window)) / (len(self) - 1)).astype(np.float32)
        return mean

    def mean(self) -> Float:
        """Return the mean of all frames, in linear units."""
        mean: Float = (np.asarray(self._sum) / len(self)).astype(np.float32)
        return mean


def store_burst(
    folder: Path,
    series: str,
    frames: Sequence[Frame],
    verdicts: Sequence[FrameVerdict],
    mu: float,
    sigma: float,
    clean: Float | None = None,
) -> Burst:
    """Write the accepted frames of a series as a stored burst and fit its noise profile.

    Parameters
    ----------
    folder : Path
        The folder to make; by custom its name ends in ``.burst``.
    series : str
        Name of the series.
    frames : sequence of Frame, at least 3
        The accepted frames, in the order of the accepted ones in ``verdicts``.
    verdicts : sequence of FrameVerdict
        One per frame of the series, rejected ones too.
    mu, sigma : float
        Mean and standard deviation of the deviations of the accepted frames.
    clean : image, optional
        The known clean image of a simulated burst, linear.

    Raises
    ------
    OutputError
        If ``folder`` exists or cannot be written.
    SeriesError
        If two frames are the same shot, or the noise cannot be measured because all is overexposed.
    """
    info = frames[0].info
    gains = [v.gain or 1.0 for v in verdicts if v.accepted]
    _refuse_copies(series, frames)
    try:
        noise = measure_noise((f.linear / np.float32(g) for f, g in zip(frames, gains, strict=True)), info.cfa)
        profile = fit_measurements([noise], info.iso)
    except ValueError as error:
        raise SeriesError(f"{series}: its noise cannot be measured: {error}") from error
    with written_aside(folder) as aside:
        aside.mkdir()
        total = np.zeros(frames[0].dn.shape, np.float64)
        saturated = np.zeros(frames[0].dn.shape, np.bool_)
        digests = []
        for index, (frame, gain) in enumerate(zip(frames, gains, strict=True)):
            total += frame.linear / np.float32(gain)
            saturated |= frame.dn >= info.white_level
            np.save(aside / _frame_name(index), frame.dn)
            digests.append(_digest(aside / _frame_name(index)))
        np.save(aside / "sum.npy", total)
        np.save(aside / "saturated.npy", saturated)
        if clean is not None:
            np.save(aside / "clean.npy", clean.astype(np.float32))
        manifest = BurstManifest(
            series=series,
            info=info,
            mu=mu,
            sigma=sigma,
            frames=tuple(verdicts),
            black_levels=tuple(frame.info.black_level for frame in frames),
            sha256=tuple(digests),
            noise=noise,
            profile=profile,
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
    return [folder for folder in found if not any(map(_is_passed_over, folder.relative_to(given).parts))]


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
        digests = tuple(_digest(folder / _frame_name(i)) for i in range(len(manifest.sha256)))
        companions = [np.load(folder / name, mmap_mode="r") for name in ("sum.npy", "saturated.npy")]
    except (OSError, EOFError, ValueError) as error:
        raise BurstStoreError(f"{folder}: stored burst is damaged ({error}); ingest its frames again") from error
    except ConfigError as error:
        raise BurstStoreError(f"{error}; ingest the frames again") from error
    for index, (found, expected) in enumerate(zip(digests, manifest.sha256, strict=True)):
        if found != expected:
            raise BurstStoreError(f"{folder / _frame_name(index)}: damaged; ingest the frames of this burst again")
    burst = Burst(folder, manifest)
    if not len(manifest.sha256) == len(manifest.black_levels) == len(burst.gains) > 0:
        raise BurstStoreError(f"{folder / MANIFEST}: frames, black levels and digests differ in number; ingest again")
    if any(array.shape != burst.frame(0).dn.shape for array in companions):
        raise BurstStoreError(f"{folder}: sum or mask has another size than the frames; ingest the frames again")
    return burst


def pooled_by_iso(bursts: Sequence[Burst]) -> list[Burst]:
    """Return bursts of one sensor with a noise profile fitted to all bursts of their ISO together."""
    measured: dict[float | None, list[NoiseMeasurement]] = {}
    for burst in bursts:
        measured.setdefault(burst.info.iso, []).append(burst.manifest.noise)
    profiles = {iso: fit_measurements(together, iso) for iso, together in measured.items()}
    return [replace(burst, pooled=profiles[burst.info.iso]) for burst in bursts]


def _is_passed_over(name: str) -> bool:
    return name.startswith(".") or name.endswith(WORK_SUFFIX)


def _refuse_copies(series: str, frames: Sequence[Frame]) -> None:
    """Raise when two frames are equal to the bit: noise is never the same twice, so they are copies of one shot."""
    seen: dict[bytes, Path] = {}
    for frame in frames:
        digest = hashlib.sha256(frame.dn.tobytes()).digest()
        if digest in seen:
            raise SeriesError(
                f"{series}: {frame.path.name} and {seen[digest].name} are the same shot, equal to the bit; "
                "take the copies away"
            )
        seen[digest] = frame.path


def _frame_name(index: int) -> str:
    return f"frame_{index:03d}.npy"


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
