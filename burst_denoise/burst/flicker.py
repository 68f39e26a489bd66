"""Bands of brightness that move from frame to frame: a lamp that flickers, seen by a sensor that reads row by row."""

from collections.abc import Callable, Sequence

import numpy as np

from burst_denoise.arrays import Double, Float
from burst_denoise.frame.mosaic import Mosaic

__all__ = ["band_amplitudes"]


STRIPS = 8
"""A band runs across the whole frame, so it must be alike in all strips: neither an object that moved is, nor a lamp
that lights a part of the scene."""
NARROWEST_BAND = 8
"""Rows of a plane from one band to the next; what changes faster is row noise to all that follows."""
LARGEST_TO_STRIPS = 100.0
"""Power of a band over that of its standard error, from its scatter between strips. Bands of 2 % reach 800 at ISO 800,
lamps of the S95 burst that drift apart 40, a moving object 3."""
LARGEST_TO_FLOOR = 40.0
"""Power of a band over the median of the spectrum; that of row noise exceeds it once in 10^12."""


def band_amplitudes(linear: Callable[[int], Float], frames: Sequence[int], mosaic: Mosaic) -> Double:
    """Return for each frame how strongly bands along rows or columns change its brightness against the others.

    Parameters
    ----------
    linear : callable
        Gives frame k in linear units; frames are held in memory one at a time.
    frames : sequence of int, at least 2
        The frames to compare, each with the median of the others.
    mosaic : Mosaic

    Returns
    -------
    (N,) float64 array
        Amplitude of the strongest band relative to the brightness of the scene; 0 where none stands out.

    Notes
    -----
    The sums along the rows of a strip, less those of the other frames brought to equal brightness, are analysed by
    Fourier. A band changes all light by one share, so each strip's term should be its light times that share.
    """
    profiles = [_strip_profiles(mosaic.pack(linear(k)).mean(axis=0)) for k in frames]
    return np.maximum(*(_strongest(np.stack(along)) for along in zip(*profiles, strict=True)))


def _strip_profiles(picture: Float) -> tuple[Double, Double]:
    """Return the sums along the rows, and along the columns, of the strips of a picture: (STRIPS, rows) each."""
    along_rows = [strip.sum(axis=1, dtype=np.float64) for strip in np.array_split(picture, STRIPS, axis=1)]
    along_columns = [strip.sum(axis=0, dtype=np.float64) for strip in np.array_split(picture, STRIPS, axis=0)]
    return np.stack(along_rows), np.stack(along_columns)


def _strongest(profiles: Double) -> Double:
    """Return the amplitude of the strongest band of each frame, from profiles (N, STRIPS, rows)."""
    count, strips, rows = profiles.shape
    amplitudes = np.zeros(count)
    for k, profile in enumerate(profiles):
        others = np.median(np.delete(profiles, k, axis=0), axis=0)
        light = others.sum(axis=1, keepdims=True)
        if light.sum() <= 0:
            continue  # black: nothing there can flicker
        change = profile - others * (profile.sum() / light.sum())
        # Twice the length: bands wider than the frame are there with half a cycle.
        terms = 2 * np.fft.rfft(change, 2 * rows, axis=1)[:, 1:]
        shares = terms.sum(axis=0) / light.sum()
        power = np.abs(shares) ** 2
        scatter = (np.abs(terms - shares * light) ** 2).sum(axis=0) * strips / (strips - 1) / light.sum() ** 2
        stands_out = (power > LARGEST_TO_STRIPS * scatter) & (power > LARGEST_TO_FLOOR * np.median(power))
        stands_out[2 * rows // NARROWEST_BAND :] = False
        amplitudes[k] = np.sqrt(power[stands_out].max(initial=0.0))
    return amplitudes
