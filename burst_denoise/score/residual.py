"""`ResidualScore`: whether what a denoiser took away ("method noise") was noise only, or picture too.

The residual, noisy minus denoised, of a perfect denoiser is the noise itself: no more alike between neighbours than the
noise is, and without a trace of the scene.
"""

from collections.abc import Callable

import cv2
import numpy as np

from burst_denoise.arrays import Double, Float, Mask
from burst_denoise.frame.mosaic import Mosaic

__all__ = ["ResidualScore", "shifted"]


NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Rows and columns to half of the eight neighbours; the others are the same pairs seen from the other side."""
STRUCTURE_STD = 2.0
"""Local structure is what a Gaussian blur of this standard deviation takes away, plane pixels."""
LEAST_STRUCTURE = 0.01
"""Local structure below this share of one frame's noise variance is none; nothing of it can leak."""


class ResidualScore:
    """The residuals of denoisers on one burst: correlation between neighbours, and structure of the scene in them.

    Parameters
    ----------
    read : callable index -> (H, W) or (3, H, W) float32 array, linear
        A frame of the burst.
    count : int
        Frames of the burst; at least two.
    mask : bool array of a frame's shape
        True where a photosite counts.
    variance : float32 array of that shape, linear units squared
        Expected noise variance of one frame: residual and structure count in units of the noise.
    mosaic : Mosaic
        CFA phase; everything is looked at within planes of one colour.

    References
    ----------
    Buades, Coll and Morel, "A review of image denoising algorithms, with a new one", SIAM Multiscale Modeling and
    Simulation 4(2), 2005 (method noise).
    """

    def __init__(self, read: Callable[[int], Float], count: int, mask: Mask, variance: Float, mosaic: Mosaic) -> None:
        self._mosaic = mosaic
        self._counts = mosaic.pack(mask.astype(np.float32))
        # 0 where nothing counts: products there vanish by themselves.
        self._weight = (self._counts / np.sqrt(mosaic.pack(variance))).astype(np.float32)
        self._share = _blurred(self._counts)
        self._noise = np.zeros(1 + len(NEIGHBOURS))
        halves = np.zeros((2, *mask.shape), np.float32)
        halves[0] = previous = read(0)
        for index in range(1, count):
            frame = read(index)
            self._noise += self._neighbour_products(frame - previous)
            halves[index % 2] += frame
            previous = frame
        sizes = ((count + 1) // 2, count // 2)
        # Halves of the burst have independent noise: their product holds the structure and nothing else, on average.
        self._structure_power = _dot(*(self._structure(h / np.float32(n)) for h, n in zip(halves, sizes, strict=True)))

    def measure(self, noisy: Float, denoised: Float, others: Float) -> Double:
        """Return the sums that `correlation` and `leak` need, for one denoised frame; add them up over frames.

        Parameters
        ----------
        noisy, denoised : float32 arrays, linear
            Not modified.
        others : float32 array, linear
            Mean of the frames that ``denoised`` was not made from: structure whose noise is not in the residual.

        Returns
        -------
        (7,) float64 array
            Squares of the residual, products with four neighbours, product with the structure, frames.
        """
        residual = noisy - denoised
        leaked = _dot(self._structure(residual), self._structure(others))
        return np.array([*self._neighbour_products(residual), leaked, 1.0])

    def correlation(self, sums: Double) -> float:
        """Return the correlation of the residual with one of its eight neighbours, less that of the noise itself.

        The largest one, as an absolute value; the noise is that of the differences of consecutive frames. 0 where
        nothing was taken away.
        """
        squares, products = sums[0], sums[1:-2]
        if squares == 0 or self._noise[0] == 0:
            return 0.0
        return float(np.abs(products / squares - self._noise[1:] / self._noise[0]).max())

    def leak(self, sums: Double) -> float:
        """Return the share of the local structure that is in the residual: 0 only noise, 1 all structure.

        Notes
        -----
        The regression of the residual's local structure on that of the scene; local structure is a plane minus its
        Gaussian blur. Numerator: structure of the residual times that of the other frames. Denominator: structure of
        one half of the burst times that of the other half. In neither has the noise a mean. A filter that passes the
        share R of a sine leaks 1 - R of it. Fixed pattern is structure here. A result below 0 is sharpening.
        """
        if self._structure_power <= LEAST_STRUCTURE * float(self._counts.sum()):
            return 0.0
        return float(sums[-2] / (sums[-1] * self._structure_power))

    def _structure(self, image: Float) -> Float:
        """Return the local structure of planes in units of the noise; what does not count is not blurred in."""
        planes = self._mosaic.pack(image)
        around = _blurred(planes * self._counts) / np.maximum(self._share, np.float32(1e-6))
        return ((planes - around) * self._weight).astype(np.float32)

    def _neighbour_products(self, image: Float) -> Double:
        """Return mean square and mean products with four neighbours in units of the noise, over what counts."""
        planes = self._mosaic.pack(image) * self._weight
        found = []
        for down, right in ((0, 0), *NEIGHBOURS):
            pairs = _dot(*shifted(self._counts, down, right))
            found.append(_dot(*shifted(planes, down, right)) / pairs if pairs else 0.0)
        return np.array(found)


def shifted(planes: Float, down: int, right: int) -> tuple[Float, Float]:
    """Return the overlap of planes (C, h, w) with themselves moved, as views: (here, neighbour down and right)."""
    height, width = planes.shape[1:]
    here = planes[:, : max(height - down, 0), max(-right, 0) : width - max(right, 0)]
    return here, planes[:, down:, max(right, 0) : width + min(right, 0)]


def _blurred(planes: Float) -> Float:
    return np.stack([cv2.GaussianBlur(plane, (0, 0), STRUCTURE_STD, borderType=cv2.BORDER_REFLECT) for plane in planes])


def _dot(a: Float, b: Float) -> float:
    """Return the sum of products: rows in float32, the sum of the rows in float64."""
    return float(np.einsum("chw,chw->ch", a, b).sum(dtype=np.float64))
