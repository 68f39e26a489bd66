"""`FrameMoments`: mean and temporal variance of frames of one static scene, per photosite."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from burst_denoise.arrays import Double, Float
from burst_denoise.frame.geometry import row_bands

__all__ = ["FrameMoments", "frame_moments"]


@dataclass(frozen=True)
class FrameMoments:
    """Mean and spread of frames of one static scene, per photosite: what a score without a clean reference needs."""

    count: int
    mean: Double
    """Mean of the frames, linear; the shape of a frame."""
    squares: Double
    """Sum of the squared distances of the frames to their mean."""

    @property
    def variance(self) -> Double:
        """Unbiased temporal variance of one frame, per photosite; needs two frames."""
        if self.count < 2:
            raise ValueError(f"{self.count} frame has no temporal variance; 2 are needed")
        return self.squares / (self.count - 1)

    def without(self, *frames: Float) -> "FrameMoments":
        """Return the moments of all frames but these, which must be among those counted.

        Taking frames out of the sums costs a fraction of summing the others anew, and is exact to float64.
        """
        count, mean, squares = self.count, self.mean, self.squares
        for frame in frames:
            if count < 2:
                raise ValueError(f"{len(frames)} of {self.count} frames taken out; one must remain")
            count -= 1
            rest = mean + (mean - frame) / count
            squares = squares - (frame - mean) * (frame - rest)
            mean = rest
        return FrameMoments(count, mean, np.maximum(squares, 0.0))


def frame_moments(frames: Iterable[Float]) -> FrameMoments:
    """Return the moments of frames of one static scene; each is read once.

    Parameters
    ----------
    frames : iterable of float32 arrays of one shape, linear
        At least one.

    Notes
    -----
    Welford's recurrence, because the difference of two large sums would lose the noise of bright photosites.
    """
    count, mean, squares = 0, np.zeros(()), np.zeros(())
    for frame in frames:
        if not count:
            mean, squares = np.zeros(frame.shape), np.zeros(frame.shape)
        count += 1
        # Band by band, in place: whole steps in float64 would take as much memory again as the moments.
        for rows in row_bands(frame.shape[-2]):
            part, middle = frame[..., rows, :], mean[..., rows, :]
            step = part - middle
            middle += step / count
            squares[..., rows, :] += step * (part - middle)
    if not count:
        raise ValueError("no frame given")
    return FrameMoments(count, mean, squares)
