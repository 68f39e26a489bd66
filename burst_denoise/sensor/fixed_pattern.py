"""Fixed pattern: what is the same in every frame of one camera copy and is not scene.

No score made of one tripod burst sees it: it survives the mean and counts as scene.
"""

import cv2
import numpy as np
import numpy.typing as npt

from burst_denoise.config import NoiseProfile
from burst_denoise.sensor.frame import pack, unpack
from burst_denoise.sensor.metrics import FrameMoments
from burst_denoise.sensor.noise import noise_variance

__all__ = ["isolated_defects"]

Mask = npt.NDArray[np.bool_]


def isolated_defects(frames: FrameMoments, profile: NoiseProfile, cfa: str | None) -> Mask:
    """Return where single photosites stick out of a burst's mean as no picture detail does: hot and dead ones.

    Parameters
    ----------
    frames : FrameMoments
        Of all frames of the burst, linear.
    profile : NoiseProfile
    cfa : str or None
        CFA phase of the frames.

    Returns
    -------
    (H, W) or (3, H, W) bool array
        True at a defect.

    Notes
    -----
    A defect lies outside the values of its 24 nearest photosites of the same colour, by more than half their span and
    five standard deviations of the mean's noise, and departs from their median three times as far as any of its eight
    neighbours on the sensor, of whatever colour, departs from its own. An edge, a line or a star that the lens has
    spread over two photosites fails the last condition. On simulated bursts of pixel-sharp pictures it marks 5 to 50
    of 393,216 photosites, hence excludes no texture that a score could notice.
    """
    planes = pack(frames.mean.astype(np.float32), cfa)
    noise_std = np.sqrt(noise_variance(planes, profile) / frames.count)
    ring = np.ones((5, 5), np.uint8)
    ring[2, 2] = 0
    beside = np.ones((3, 3), np.uint8)
    beside[1, 1] = 0
    outside = np.empty_like(planes)
    departure = np.empty_like(planes)
    for index, plane in enumerate(planes):
        # Nothing is put beyond the border: a reflected defect would be its own neighbour there.
        highest = cv2.dilate(plane, ring)
        lowest = cv2.erode(plane, ring)
        outside[index] = np.maximum(plane - highest, lowest - plane) - (highest - lowest) / 2
        departure[index] = np.abs(plane - cv2.medianBlur(np.ascontiguousarray(plane), 5))
    shape = frames.mean.shape
    alone = unpack(departure, cfa, shape)
    layers = alone.reshape(-1, *shape[-2:])
    neighbours = np.stack([cv2.dilate(layer, beside) for layer in layers])
    lonely: Mask = alone > 3 * neighbours.reshape(shape)
    return lonely & (unpack(outside - 5 * noise_std, cfa, shape) > 0)
