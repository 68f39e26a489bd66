"""`Burst`: the accepted frames of one series, memory-mapped, with their exact sum and a manifest.

A folder ``NAME.burst`` holds ``burst.json`` (`BurstManifest`), ``frame_000.npy`` ... (DN as read), ``sum.npy``
(float64, sum of the linear, brightness-corrected frames), ``saturated.npy`` (bool) and, where they were given,
``defects.npy`` (bool), ``dark.npy`` and ``clean.npy`` (float32, linear). What is on disk is as shot: dark offsets are
subtracted and defects repaired when frames are asked for.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from numpy.lib.format import open_memmap

from burst_denoise.arrays import Float, Mask
from burst_denoise.burst.series_verdict import SeriesVerdict
from burst_denoise.frame.frame import Frame, to_linear
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.schemas import BurstManifest, FrameInfo, NoiseProfile
from burst_denoise.sensor.defects import Repair
from burst_denoise.sensor.prnu_from_scenes import SceneMean

__all__ = ["CLEAN", "DARK", "DEFECTS", "SATURATED", "SUM", "Burst", "Window", "frame_file"]

SUM, SATURATED, CLEAN, DEFECTS, DARK = "sum.npy", "saturated.npy", "clean.npy", "defects.npy", "dark.npy"
WHOLE = (slice(None), slice(None))

Window = tuple[slice, slice]
T = TypeVar("T", np.float32, np.float64)


def frame_file(index: int) -> str:
    """Return the name of a frame in the folder of its burst."""
    return f"frame_{index:03d}.npy"


@dataclass(frozen=True)
class Burst:
    """A stored burst; its frames are read from disk when asked for."""

    folder: Path
    manifest: BurstManifest
    pooled: NoiseProfile | None = None
    """Noise profile of all bursts at this ISO, from `pooled_by_iso`."""
    shared_defects: Mask | None = field(default=None, compare=False)
    """Defects found in any burst of the sensor, from `sharing_defects`."""

    @property
    def name(self) -> str:
        """Name of the series."""
        return self.manifest.series

    @property
    def verdict(self) -> SeriesVerdict:
        """The verdict on its series, deviations of single frames apart, which are not stored."""
        of = self.manifest
        return SeriesVerdict(of.series, of.info, True, "", of.mu, of.sigma, (), of.frames, 0)

    @property
    def info(self) -> FrameInfo:
        """What the first frame's file said; camera, CFA, white level, ISO and exposure hold for all."""
        return self.manifest.info

    @property
    def mosaic(self) -> Mosaic:
        """Colour filter array of the frames."""
        return Mosaic.of(self.info)

    @property
    def profile(self) -> NoiseProfile:
        """Noise profile to work with: the pooled one, or else the one fitted to this burst alone."""
        return self.pooled or self.manifest.profile

    @cached_property
    def digests(self) -> dict[str, str | None]:
        """The arrays in its folder, with the SHA-256 of each; None where it was stored before there were such."""
        of = self.manifest
        images = {SUM: of.sum_sha256, SATURATED: of.saturated_sha256}
        optional = {CLEAN: of.clean_sha256, DEFECTS: of.defects_sha256, DARK: of.dark_sha256}
        if of.sum_sha256 is None and (self.folder / CLEAN).exists():
            images[CLEAN] = None
        images |= {name: digest for name, digest in optional.items() if digest is not None}
        return {frame_file(index): digest for index, digest in enumerate(of.sha256)} | images

    @cached_property
    def defects(self) -> Mask | None:
        """Defective photosites, which are repaired and count for nothing; None where none were looked for."""
        if self.shared_defects is not None or self.manifest.defects_sha256 is None:
            return self.shared_defects
        return open_memmap(self.folder / DEFECTS, mode="r")

    @cached_property
    def dark(self) -> Float | None:
        """Dark offsets, linear float32, which are subtracted from every frame; None where they are not known."""
        return open_memmap(self.folder / DARK, mode="r") if self.manifest.dark_sha256 else None

    @cached_property
    def excluded(self) -> Mask:
        """Photosites that count for nothing: saturated in any frame, or defective; same shape as a frame."""
        return self.saturated if self.defects is None else self.saturated | self.defects

    @cached_property
    def repair(self) -> Repair | None:
        """What repairs the defects; None where there are none known."""
        return None if self.defects is None else Repair(self.defects, self.mosaic)

    def __len__(self) -> int:
        return len(self.manifest.sha256)

    @cached_property
    def _frames(self) -> list[npt.NDArray[np.generic]]:
        return [open_memmap(self.folder / frame_file(i), mode="r") for i in range(len(self))]

    @cached_property
    def _sum(self) -> npt.NDArray[np.float64]:
        return open_memmap(self.folder / SUM, mode="r")

    @cached_property
    def saturated(self) -> npt.NDArray[np.bool_]:
        """Photosites at the white level in any frame; same shape as a frame. They count for nothing."""
        return open_memmap(self.folder / SATURATED, mode="r")

    @cached_property
    def clean(self) -> Float | None:
        """The known clean image, linear float32, or None where there is none (every real burst)."""
        return open_memmap(self.folder / CLEAN, mode="r") if CLEAN in self.digests else None

    @cached_property
    def gains(self) -> tuple[tuple[float, ...], ...]:
        """Brightness of each plane of each stored frame relative to the series."""
        planes = len(self.mosaic.plane_names)
        return tuple(v.divisors(planes) for v in self.manifest.frames if v.accepted)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of all that decides what the burst teaches: its frames, dark offsets and defects, shared ones too."""
        digest = hashlib.sha256("".join((*self.manifest.sha256, str(self.manifest.dark_sha256))).encode())
        digest.update(b"" if self.defects is None else np.packbits(self.defects).tobytes())
        return digest.hexdigest()

    def frame(self, index: int) -> Frame:
        """Return a frame as it was shot, brightness not corrected."""
        name = [v.file for v in self.manifest.frames if v.accepted][index]
        info = self.info.model_copy(update={"black_level": self.manifest.black_levels[index]})
        return Frame(np.asarray(self._frames[index]), info, Path(name))

    def linear(self, index: int, window: Window = WHOLE) -> Float:
        """Return a frame, or a window of it: linear, dark subtracted, brightness corrected, defects repaired.

        Parameters
        ----------
        index : int
        window : (rows, columns) slices
            On a mosaic they must start on even rows and columns.
        """
        frame = self.frame(index)

        def as_shot(rows: slice, columns: slice) -> Float:
            linear = to_linear(frame.dn[..., rows, columns], frame.info)
            if self.dark is not None:
                linear = linear - self.dark[..., rows, columns]
            return self.mosaic.evened(linear, self.gains[index])

        return self._repaired(as_shot, window)

    def corrected(self, image: Float, index: int, *, subtract: bool) -> Float:
        """Return an image that was made of a frame as `linear` gives the frame.

        Parameters
        ----------
        image : (H, W) or (3, H, W) float32 array, linear
            Not modified.
        index : int
            Of the frame.
        subtract : bool
            Whether it still holds the dark offsets.
        """
        light = image if self.dark is None or not subtract else image - self.dark
        even = self.mosaic.evened(light, self.gains[index])
        return even if self.repair is None else self.repair.apply(even)

    def leave_one_out_mean(self, index: int, window: Window = WHOLE) -> Float:
        """Return the mean of all frames except one, in linear units.

        It does not depend on the frame left out; its noise variance is that of one frame / (len(self) - 1).

        References
        ----------
        Lehtinen et al., "Noise2Noise", ICML 2018.
        """
        return ((self._total(window) - self.linear(index, window)) / (len(self) - 1)).astype(np.float32)

    def mean(self, *, repaired: bool = True) -> Float:
        """Return the mean of all frames, in linear units; defects are repaired unless they are what is looked for."""
        return (self._total(WHOLE, repaired=repaired) / len(self)).astype(np.float32)

    def _total(self, window: Window, *, repaired: bool = True) -> npt.NDArray[np.float64]:
        """Return the sum of all frames as `linear` gives them: subtraction and repair are linear, so they can wait."""
        shares = (1 / np.asarray(self.gains, np.float32)).sum(axis=0)

        def as_shot(rows: slice, columns: slice) -> npt.NDArray[np.float64]:
            total = np.asarray(self._sum[..., rows, columns])
            if self.dark is None:
                return total
            return total - self.mosaic.spread(shares, total.shape) * self.dark[..., rows, columns]

        return self._repaired(as_shot, window) if repaired else as_shot(*window)

    def _repaired(self, read: Callable[[slice, slice], npt.NDArray[T]], window: Window) -> npt.NDArray[T]:
        """Return a window of an image that ``read`` gives, its defects repaired from inside and around the window."""
        spans = [
            range(*part.indices(size)) for part, size in zip(window, (self.info.height, self.info.width), strict=True)
        ]
        if any(span.start % self.mosaic.period for span in spans):
            raise ValueError(f"window {spans[0].start}, {spans[1].start} does not start on an even row and column")
        if self.repair is None:
            return read(*window)
        reach = self.repair.reach
        top, left = (max(0, span.start - reach) for span in spans)
        wide = read(slice(top, spans[0].stop + reach), slice(left, spans[1].stop + reach))
        mended = self.repair.apply(wide, top, left)
        rows, columns = (slice(s.start - o, s.stop - o) for s, o in zip(spans, (top, left), strict=True))
        return mended[..., rows, columns]

    def scene(self, *, repaired: bool = True) -> SceneMean:
        """Return the burst as the fixed pattern sees it: its mean, and what counts for nothing."""
        return SceneMean(self.mean(repaired=repaired), len(self), self.profile, excluded=self.excluded)
