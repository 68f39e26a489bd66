"""The systematic bracket of a score: what the fixed pattern of the sensor may make of an error measured on a burst.

Frames of a burst show the scene x and the fixed pattern p. A denoised frame f = x + e + a p keeps the share a of the
pattern, so its error against them is E = |e|^2 + (1 - a)^2 |p|^2, and against the scene |e|^2 + a^2 |p|^2 =
E + (2 a - 1) |p|^2 (the mean of e p is nothing, because the pattern is white). No burst tells a, but in one frame the
pattern is as white as the noise: a method that does not know the sensor keeps the same share of both, one that knows it
less, and the share of the noise is measured. So a lies between 0 and that share, and |p|^2 in the range that flats,
framings or the burst itself leave it.
"""

import math

from burst_denoise.score.metrics import psnr_of_mse

__all__ = ["difference_bracket_db", "psnr_bracket_db", "sure_change"]


def sure_change(kept: float, pattern: tuple[float, float]) -> float:
    """Return by how much the error against the scene surely differs from the measured one, linear units squared.

    Nothing or negative: a method that keeps less than half of a pattern loses at least what the least pattern costs it.
    Arguments are those of `psnr_bracket_db`.
    """
    return min(2 * kept - 1, 0.0) * min(pattern)


def psnr_bracket_db(low: float, high: float, kept: float, pattern: tuple[float, float]) -> tuple[float, float]:
    """Return the range of the PSNR against the scene without fixed pattern, dB, peak at white.

    Parameters
    ----------
    low, high : float, linear units squared
        Ends of the interval of the measured error.
    kept : float
        Largest share of the pattern that the method keeps; 1 for frames and their means.
    pattern : tuple of float, linear units squared
        Least and largest mean square of the pattern in the references.

    Returns
    -------
    tuple of float
        The upper end is ``inf`` where the pattern may be all of the measured error.
    """
    worst = max(high + (2 * kept - 1) * square for square in pattern)
    return psnr_of_mse(worst, peak=1.0), psnr_of_mse(low - max(pattern), peak=1.0)


def difference_bracket_db(
    mine: tuple[float, float], other: tuple[float, float], pattern: tuple[float, float]
) -> tuple[float, float]:
    """Return the range of how much higher the PSNR against the scene is than that of another method, dB.

    Parameters
    ----------
    mine, other : tuple of float
        Measured error, linear units squared, and largest share of the pattern that is kept, of the two methods.
    pattern : tuple of float, linear units squared
        Least and largest mean square of the pattern, which is the same for both.

    Returns
    -------
    tuple of float
        Chance left out; an end is infinite where the pattern may be all of an error.
    """
    return -_largest_gain_db(other, mine, pattern), _largest_gain_db(mine, other, pattern)


def _largest_gain_db(mine: tuple[float, float], other: tuple[float, float], pattern: tuple[float, float]) -> float:
    """Return the gain over another if this method keeps nothing of the pattern and the other all that it can."""
    (error, _), (other_error, kept) = mine, other
    return max(_ratio_db(other_error + (2 * kept - 1) * square, error - square) for square in pattern)


def _ratio_db(above: float, below: float) -> float:
    if below <= 0:
        return math.inf
    return 10 * math.log10(above / below) if above > 0 else -math.inf
