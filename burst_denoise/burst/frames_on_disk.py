"""Decoded frames that wait on disk, so that no file is decoded twice and memory holds one of them at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, Self, overload

import numpy as np

from burst_denoise.files import disk_refusals
from burst_denoise.frame.frame import Frame
from burst_denoise.schemas import FrameInfo

__all__ = ["HeldFrames", "KeptFrame"]


@dataclass(frozen=True)
class KeptFrame:
    """A decoded frame that waits on disk."""

    place: Path
    """The file with its DN, and nothing else."""
    shape: tuple[int, ...]
    """Of the DN, as is their type."""
    dtype: np.dtype[Any]
    info: FrameInfo
    path: Path
    """The file that it came from."""

    @classmethod
    def keep(cls, frame: Frame, place: Path) -> "KeptFrame":
        """Write a frame to a place; `OutputError` if the disk refuses."""
        with disk_refusals(place):
            frame.dn.tofile(place)
        return cls(place, frame.dn.shape, frame.dn.dtype, frame.info, frame.path)

    @property
    def frame(self) -> Frame:
        """The frame, memory-mapped, without what may surround its active area."""
        with self.place.open("rb") as file:
            content = mmap(file.fileno(), 0, access=ACCESS_READ)
        return Frame(np.frombuffer(content, self.dtype).reshape(self.shape), self.info, self.path)


@dataclass(frozen=True)
class HeldFrames(Sequence[Frame]):
    """Frames of which some or all wait on disk; these are mapped anew each time that they are asked for.

    Nothing of them stays in memory when whoever asked is done, however often all of them are gone through.
    """

    held: tuple[Frame | KeptFrame, ...]

    def __len__(self) -> int:
        return len(self.held)

    @overload
    def __getitem__(self, index: int) -> Frame: ...

    @overload
    def __getitem__(self, index: slice) -> Self: ...

    def __getitem__(self, index: int | slice) -> Frame | Self:
        if isinstance(index, slice):
            return type(self)(self.held[index])
        one = self.held[index]
        return one.frame if isinstance(one, KeptFrame) else one

    def where(self, chosen: Sequence[bool]) -> Self:
        """Return the frames that are chosen; those beyond the end of ``chosen`` are not."""
        return type(self)(tuple(one for one, wanted in zip(self.held, chosen, strict=False) if wanted))

    def discard(self) -> None:
        """Delete what waits on disk."""
        for one in self.held:
            if isinstance(one, KeptFrame):
                one.place.unlink()
