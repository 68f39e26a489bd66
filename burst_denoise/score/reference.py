"""`ReferenceScore`: the error of denoised frames against the clean image of their scene, with its interval."""

import math
from typing import NamedTuple

import numpy as np

from burst_denoise.arrays import Double, Float, Mask
from burst_denoise.schemas import Estimate
from burst_denoise.score.metrics import psnr_of_mse
from burst_denoise.sensor.intervals import group_influences, interval, leave_one_out, row_blocks

__all__ = ["ReferenceScore", "reference_difference_db"]

DECIBELS = 10 / math.log(10)
"""The logarithm's slope: a relative error of 1 is 4.3 dB."""


class ReferenceScore:
    """The error of one method on frames of one scene against its clean image; `add` its results, then ask.

    Parameters
    ----------
    clean : (H, W) or (3, H, W) float array, linear
    mask : bool array of that shape
        True where a photosite counts.

    Raises
    ------
    ValueError
        If the mask leaves nothing.

    Notes
    -----
    With two results or more the interval is for the method's expected error on this very scene at this noise: the
    variance between results in each block of rows, added up, because the noise of blocks is independent, as is that of
    frames. The fixed pattern is the same in all results, so it is no part of the interval. A single result leaves only
    the spread over the blocks (delete-a-block jackknife), which takes differences of content for noise: too wide, the
    more so the more the scene differs from block to block.
    """

    def __init__(self, clean: Float, mask: Mask) -> None:
        if not mask.any():
            raise ValueError("the mask leaves no value to score")
        self._clean = clean
        self._mask = mask
        self._blocks = [rows for rows in row_blocks(mask.shape[-2]) if mask[..., rows, :].any()]
        self._counts = np.array([mask[..., rows, :].sum() for rows in self._blocks], np.float64)
        self._squares: list[list[float]] = []

    def add(self, denoised: Float) -> None:
        """Count a result in; those of one score must be of different frames.

        Parameters
        ----------
        denoised : float array, linear
            Not modified.

        Raises
        ------
        ValueError
            If its shape is another than that of the clean image.
        """
        if denoised.shape != self._clean.shape:
            raise ValueError(f"image of shape {denoised.shape} against a reference of shape {self._clean.shape}")
        self._squares.append([self._block_squares(denoised, rows) for rows in self._blocks])

    def _block_squares(self, denoised: Float, rows: slice) -> float:
        counts = self._mask[..., rows, :]
        distances = denoised[..., rows, :][counts].astype(np.float64) - self._clean[..., rows, :][counts]
        return float(distances @ distances)

    def psnr_db(self) -> Estimate:
        """Return the peak signal-to-noise ratio, dB, peak at white; ``inf`` for results without error."""
        return _estimate(self._psnr())

    def _psnr(self) -> "_Influenced":
        if not self._squares:
            raise ValueError("no result to score")
        squares = np.array(self._squares)
        results, blocks = squares.shape
        mse = float(squares.mean(axis=0).sum() / self._counts.sum())
        value = psnr_of_mse(mse, peak=1.0)
        if mse == 0 or results == blocks == 1:
            return _Influenced(value, np.zeros((1, 1)), 1)
        if results > 1:
            apart = (squares - squares.mean(axis=0)) / self._counts.sum()
            slope = -DECIBELS / mse
            return _Influenced(value, slope * apart / math.sqrt(results * (results - 1)), results - 1)
        errors = leave_one_out(squares[0]) / leave_one_out(self._counts)
        without = np.array([psnr_of_mse(error, peak=1.0) for error in errors])
        return _Influenced(value, group_influences(without)[None], 1)


def reference_difference_db(a: ReferenceScore, b: ReferenceScore) -> Estimate | None:
    """Return how much higher the PSNR of one method is than that of another on the same frames (paired), dB.

    Parameters
    ----------
    a, b : ReferenceScore
        With the same clean image and mask, and results of the same frames in the same order.

    Returns
    -------
    Estimate or None
        PSNR of ``a`` minus that of ``b``; None where one of them makes no error.
    """
    mine, other = a._psnr(), b._psnr()
    if math.isinf(mine.value) or math.isinf(other.value):
        return None
    return _estimate(_Influenced(mine.value - other.value, mine.influences - other.influences, mine.degrees))


class _Influenced(NamedTuple):
    """A value with its influences, of every result in every block, as `interval` takes them."""

    value: float
    influences: Double
    degrees: int


def _estimate(of: _Influenced) -> Estimate:
    if math.isinf(of.value):
        return Estimate(value=of.value, low=of.value, high=of.value)
    return interval(of.value, of.influences, of.degrees)
