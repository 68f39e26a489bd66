"""`Mosaic`: the colour filter array of an image as one object, and the planes that it is packed to.

Bayer mosaics pack to four planes, whatever their phase; pictures are planes already. Whoever needs to know which colour
a photosite sees, or where a window may begin, asks here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from burst_denoise.arrays import Float, Index
from burst_denoise.schemas import Domain, FrameInfo

__all__ = ["BAYER_PHASES", "MONO", "MOSAICS", "RGB", "RGGB", "Mosaic"]

T = TypeVar("T", bound=np.generic)

BAYER_PHASES = ("RGGB", "GRBG", "GBRG", "BGGR")
PLACES = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Row and column in the 2x2 period, counted from red, of the planes R, G1, G2, B."""


@dataclass(frozen=True)
class Mosaic:
    """What each photosite of an image sees: a Bayer colour filter array, or no mosaic at all (``rgb``, ``mono``).

    Raises
    ------
    ValueError
        If ``cfa`` is no Bayer phase, or is given for a picture.
    """

    PLANES: ClassVar[Mapping[Domain, tuple[str, ...]]] = {
        "bayer": ("R", "G1", "G2", "B"),
        "rgb": ("R", "G", "B"),
        "mono": ("mono",),
    }

    domain: Domain
    cfa: str | None = None
    """Colours of the 2x2 photosites at the top left, row by row ("RGGB"); None for pictures."""

    def __post_init__(self) -> None:
        if self.domain == "bayer" and self.cfa not in BAYER_PHASES:
            raise ValueError(f"cfa {self.cfa!r} is not one of {BAYER_PHASES}")
        if self.domain != "bayer" and self.cfa is not None:
            raise ValueError(f"{self.domain} images have no colour filter array, found {self.cfa!r}")

    @classmethod
    def of(cls, info: FrameInfo) -> "Mosaic":
        """Return the mosaic of a frame."""
        return cls(info.domain, info.cfa)

    @property
    def plane_names(self) -> tuple[str, ...]:
        """Names of the planes that `pack` gives, in its order: G1 is the green in the rows of red."""
        return self.PLANES[self.domain]

    @property
    def period(self) -> int:
        """Photosites after which the colours repeat: windows begin at multiples of it."""
        return 1 if self.cfa is None else 2

    @property
    def phase(self) -> tuple[int, int]:
        """Row and column of the first red photosite; (0, 0) for pictures."""
        return (0, 0) if self.cfa is None else divmod(self.cfa.index("R"), 2)

    @property
    def colours(self) -> npt.NDArray[np.str_]:
        """(period, period) letters of the colours that the photosites of a layer see; one letter A for pictures."""
        return np.array(list(self.cfa or "A")).reshape(self.period, self.period)

    def place(self, plane: int) -> tuple[slice, slice]:
        """Return the rows and columns of a layer (H, W) that a plane is made of."""
        if self.cfa is None:
            return slice(None), slice(None)
        rows, columns = ((at + first) % 2 for at, first in zip(PLACES[plane], self.phase, strict=True))
        return slice(rows, None, 2), slice(columns, None, 2)

    def parts(self, image: npt.NDArray[T]) -> list[npt.NDArray[T]]:
        """Return the photosites of each plane as a view of an image; unlike `pack`, without any beyond it."""
        if self.domain == "rgb":
            return list(image)
        return [image[self.place(plane)] for plane in range(len(self.plane_names))]

    def plane_of(self, shape: tuple[int, int]) -> Index:
        """Return for every photosite of (H, W) which plane it belongs to; 0 for pictures."""
        planes = np.zeros(shape, np.intp)
        for plane in range(len(self.plane_names) if self.cfa else 0):
            planes[self.place(plane)] = plane
        return planes

    def spread(self, values: Sequence[float] | Float, shape: tuple[int, ...]) -> Float:
        """Return one value per plane as a float32 array that broadcasts over an image of ``shape``."""
        each = np.asarray(values, np.float32)
        if self.domain == "rgb":
            return each[:, None, None]
        if (each == each[0]).all():
            return each[:1]
        tile = each[self.plane_of((self.period, self.period))]
        height, width = shape
        return np.tile(tile, (-(-height // self.period), -(-width // self.period)))[:height, :width]

    def evened(self, image: Float, gains: Sequence[float]) -> Float:
        """Return an image divided by one gain per plane; windows of a mosaic begin at even rows and columns."""
        even = image.copy()
        for part, gain in zip(self.parts(even), gains, strict=True):
            part /= np.float32(gain)
        return even

    def pack(self, image: npt.NDArray[T]) -> npt.NDArray[T]:
        """Return the planes of an image.

        Parameters
        ----------
        image : (H, W) or (3, H, W) array
            A picture of one layer gives one plane, of three layers three.

        Returns
        -------
        (C, h, w) array of the same dtype
            Bayer: R, G1, G2, B whatever the phase. A mosaic whose phase is not RGGB or whose size is odd is extended by
            reflection (which keeps the phase), so every photosite is in a plane; h = ceil((H + row of the first red) /
            2). `unpack` takes the extension off again.
        """
        if self.cfa is None:
            return image[None] if image.ndim == 2 else image
        top, left = self.phase
        height, width = image.shape
        beyond = ((top, (height + top) % 2), (left, (width + left) % 2))
        padded = np.pad(image, beyond, mode="reflect") if np.any(beyond) else image
        return np.stack([padded[row::2, column::2] for row, column in PLACES])

    def unpack(self, planes: npt.NDArray[T], shape: tuple[int, ...]) -> npt.NDArray[T]:
        """Return the image of ``shape`` whose `pack` is ``planes``: the exact inverse."""
        if self.cfa is None:
            return planes.reshape(shape)
        top, left = self.phase
        _, height, width = planes.shape
        mosaic = np.empty((2 * height, 2 * width), planes.dtype)
        for plane, (row, column) in zip(planes, PLACES, strict=True):
            mosaic[row::2, column::2] = plane
        return mosaic[top : top + shape[0], left : left + shape[1]]

    def colour_planes(self, planes: Float) -> Float:
        """Return (3, h, w) red, green and blue of packed planes: the greens of a mosaic averaged, mono three times."""
        if self.domain == "mono":
            return np.repeat(planes, 3, axis=0)
        return planes if self.domain == "rgb" else np.stack([planes[0], (planes[1] + planes[2]) / 2, planes[3]])

    def turned(self, k: int, shape: tuple[int, ...]) -> "Mosaic":
        """Return the mosaic of an image after `burst_denoise.frame.geometry.dihedral` transform ``k``.

        Parameters
        ----------
        k : int
            Transform, 0 to 7.
        shape : (..., H, W)
            Shape of the image before: a flip of an even side changes the phase, of an odd side it does not.
        """
        if self.cfa is None:
            return self
        height, width = shape[-2:]
        # The colours of a mosaic of the same parity, large enough to hold its period.
        colours = np.tile(self.colours, (2, 2))[: 2 + height % 2, : 2 + width % 2]
        turned: npt.NDArray[Any] = np.rot90(colours[:, ::-1] if k >= 4 else colours, k % 4)
        return Mosaic(self.domain, "".join(turned[:2, :2].ravel()))


MONO, RGB, RGGB = Mosaic("mono"), Mosaic("rgb"), Mosaic("bayer", "RGGB")
MOSAICS = {mosaic.plane_names: mosaic for mosaic in (MONO, RGB, RGGB)}
"""One of each kind, by the names of its planes: for what does not depend on the phase."""
