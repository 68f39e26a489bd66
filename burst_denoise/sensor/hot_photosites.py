"""Hot and dead photosites that a single shot shows by itself: no dark frame, burst or model is asked.

They depart from their own colour in every direction, farther than the picture around changes, and alone: light, and a
star is the smallest there is of it, also falls on the photosites beside, whatever their colour.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from burst_denoise.arrays import Float, Index, Mask
from burst_denoise.frame.geometry import row_bands
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.schemas import NoiseProfile
from burst_denoise.sensor.noise_model import SMALLEST_VARIANCE

__all__ = ["find_hot_photosites"]

NOISE_SIGMA = 5.0
"""Standard deviations of the noise by which a photosite must lie outside what its own colour has on opposite sides."""
SPREAD_RATIO = 2.0
"""The same in units of how far these differ between the directions."""
TEXTURE_RATIO = 3.5
"""The same in units of the mean second difference around. Of noise alone these are 7 standard deviations: weaker ones
the network takes for noise itself, and on texture too much looks like them."""
BESIDE_SIGMA, BESIDE_SHARE = 3.5, 0.2
"""Light on three of the four photosites beside, from which light is what sticks out: in standard deviations of the
noise of one, and as a share of the departure. The greater counts."""
AROUND_SIGMA, AROUND_SHARE = 5.0, 0.3
"""The same of those three and three of the four diagonal ones together."""
LEAK_SHARE = 0.08
"""Share of a hot photosite's charge that its four neighbours get together at most; sensors leak 1 or 2 % to each."""
PICTURE_SIGMA, MOST_SIGMA = 0.5, 3.0
"""Mean light beside all that was found, in standard deviations, from which it is details of a picture that is sharp to
the photosite (1.1 to 2.3 in six such pictures; hot photosites -0.2 to -1.8), and what a single one counts at most."""
REACH = 4
"""Photosites around one that say how much the picture changes."""

DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))
BESIDE = (((-1, 0), (1, 0)), ((0, -1), (0, 1)), ((-1, -1), (-1, 1), (1, -1), (1, 1)))
"""The neighbours on the sensor, those of one colour together: above and below, left and right, diagonal."""


def find_hot_photosites(image: Float, mosaic: Mosaic, profile: NoiseProfile) -> Mask:
    """Return the photosites of one shot that are hot or dead, beyond its noise, its texture and its stars.

    Parameters
    ----------
    image : (H, W) or (3, H, W) float32 array, linear
        Not clipped at black; not modified.
    mosaic : Mosaic
        Of the image.
    profile : NoiseProfile
        Of the shot.

    Returns
    -------
    (H, W) or (3, H, W) bool array
        Nothing in a picture in RGB: demosaicing and compression have smeared what its photosites were.

    Notes
    -----
    A photosite is found that

    1. lies outside the means of all four pairs of opposite neighbours of its own colour, by five standard deviations
       of the noise and twice the spread of the four: an edge, a ramp or a line does not;
    2. does so by 3.5 times the mean second difference of the colours within four photosites: texture does not;
    3. has no light beside it. Of four neighbours the brightest does not count, for it may be hot itself.

    What they hide is looked for again beside them, once they have the median of their neighbours; two of one colour
    side by side that are about as hot as each other hide each other for good.

    Where a picture is sharp to the photosite, single details pass all three. Together they give themselves away: light
    lies beside most of them, and beside hot photosites as often less than none. Then nothing is taken for hot.
    """
    found = np.zeros(image.shape, np.bool_)
    if mosaic.domain == "rgb" or min(image.shape) <= 2 * REACH:
        return found
    height, width = image.shape
    step = mosaic.period
    scale = np.array(profile.shot_noise_scale, np.float32)
    offset = np.maximum(profile.read_noise_variance, SMALLEST_VARIANCE).astype(np.float32)
    plane = mosaic.plane_of((step, step))
    margins = np.r_[-REACH:0, width : width + REACH]
    light: list[Float] = []
    for rows in row_bands(height):
        lines = image[_inside(np.arange(rows.start - REACH, rows.stop + REACH), height, step)]
        band = np.empty((len(lines), width + 2 * REACH), np.float32)
        band[:, REACH:-REACH] = lines
        band[:, margins + REACH] = lines[:, _inside(margins, width, step)]
        patches = sliding_window_view(band, (2 * REACH + 1, 2 * REACH + 1))
        hot = found[rows]
        departure, limit = _departure(band, step, mosaic.spread(scale, hot.shape), mosaic.spread(offset, hot.shape))
        row, column = np.divmod(np.flatnonzero(np.square(departure, out=departure) > limit), width)
        while len(row):
            of_plane = plane[row % step, column % step]
            new = _hot(patches[row, column], step, scale[of_plane], offset[of_plane])
            row, column = row[new], column[new]
            hot[row, column] = True
            band[row + REACH, column + REACH] = _usual(patches[row, column], step)
            row, column = _unmarked_beside(row, column, hot, step)
        row, column = np.nonzero(hot)
        of_plane = plane[row % step, column % step]
        removed = image[rows][hot] - band[row + REACH, column + REACH]
        beside, noise_std = _light_beside(patches[row, column], np.sign(removed), scale[of_plane], offset[of_plane])
        light.append((beside[:4].sum(axis=0) - LEAK_SHARE * np.abs(removed)) / (2 * noise_std))
    if np.clip(np.concatenate(light), -MOST_SIGMA, MOST_SIGMA).sum() > PICTURE_SIGMA * found.sum():
        found[:] = False
    return found


def _usual(patches: Float, step: int) -> Float:
    """Return the median of the eight nearest photosites of the colour of the middle of patches (K, side, side)."""
    near = patches[:, REACH - step : REACH + step + 1 : step, REACH - step : REACH + step + 1 : step].reshape(-1, 9)
    usual: Float = np.median(np.delete(near, 4, axis=1), axis=1)
    return usual


def _unmarked_beside(row: Index, column: Index, marked: Mask, reach: int) -> tuple[Index, Index]:
    """Return the places of a mask within ``reach`` of others that are not marked, each once."""
    height, width = marked.shape
    span = np.arange(-reach, reach + 1)
    down, right = np.broadcast_arrays(row[:, None, None] + span[:, None], column[:, None, None] + span)
    inside = (down >= 0) & (down < height) & (right >= 0) & (right < width)
    places = np.unique(down[inside] * width + right[inside])
    return np.divmod(places[~marked.ravel()[places]], width)


def _inside(index: Index, size: int, step: int) -> Index:
    """Return indices that may lie up to `REACH` beyond an axis as ones inside of the same colour.

    The neighbour that a photosite lacks is the one opposite: by reflection it could be the photosite itself.
    """
    period = 2 * step
    before, beyond = -(index // period) * period, -((size - 1 - index) // period) * period
    return np.where(index < 0, index + before, np.where(index >= size, index - beyond, index))


def _departure(values: Float, step: int, scale: Float, offset: Float) -> tuple[Float, Float]:
    """Return how far photosites lie outside the means of opposite neighbours, and the square of what is usual.

    Parameters
    ----------
    values : (..., h + 2 REACH, w + 2 REACH) array, linear
    step : int
        Photosites to the next one of the same colour.
    scale, offset : arrays that broadcast over (..., h, w)
        S and O.

    Returns
    -------
    departure : (..., h, w) array
        Above 0 of a hot one, below of a dead one, 0 inside.
    limit : (..., h, w) array
    """
    height, width = (size - 2 * REACH for size in values.shape[-2:])

    def moved(down: int, right: int) -> Float:
        top, left = REACH + step * down, REACH + step * right
        return values[..., top : top + height, left : left + width]

    # In place, and twice the means: this goes through every photosite of a shot.
    highest, *others = (moved(down, right) + moved(-down, -right) for down, right in DIRECTIONS)
    lowest = highest.copy()
    for other in others:
        np.maximum(highest, other, out=highest)
        np.minimum(lowest, other, out=lowest)
    highest *= np.float32(0.5)
    lowest *= np.float32(0.5)
    centre = moved(0, 0)
    departure = np.minimum(centre, highest)
    np.maximum(departure, lowest, out=departure)
    np.subtract(centre, departure, out=departure)
    spread = highest - lowest
    spread *= np.float32(SPREAD_RATIO)
    np.square(spread, out=spread)
    highest += lowest
    limit = np.maximum(highest, 0, out=highest)
    limit *= np.float32(NOISE_SIGMA**2 / 2) * scale
    limit += np.float32(NOISE_SIGMA**2) * offset
    return departure, np.maximum(limit, spread, out=limit)


def _hot(patches: Float, step: int, scale: Float, offset: Float) -> Mask:
    """Return in which patches (K, side, side) the middle, which has S and O (K,), is hot or dead."""
    signed, limit = (part[:, 0, 0] for part in _departure(patches, step, scale[:, None, None], offset[:, None, None]))
    hot: Mask = signed * signed > limit
    patches, signed, scale, offset = patches[hot], signed[hot], scale[hot], offset[hot]
    patches[:, REACH, REACH] -= signed
    departure = np.abs(signed)
    texture = np.zeros_like(departure)
    for lines in (patches, patches.swapaxes(1, 2)):
        change = np.abs(lines[:, 2 * step :] - 2 * lines[:, step:-step] + lines[:, : -2 * step])
        # Another hot photosite nearby counts no more than this one.
        texture += np.minimum(change, departure[:, None, None]).mean((1, 2)) / 2
    light, noise_std = _light_beside(patches, np.sign(signed), scale, offset)
    # One of the neighbours may be hot itself.
    beside, diagonal = (np.sort(four, axis=0)[:3].sum(axis=0) for four in (light[:4], light[4:]))
    alone = beside < np.maximum(BESIDE_SIGMA * noise_std, BESIDE_SHARE * departure)
    alone &= beside + diagonal < np.maximum(AROUND_SIGMA * noise_std, AROUND_SHARE * departure)
    hot[hot] = alone & (departure > TEXTURE_RATIO * texture)
    return hot


def _light_beside(patches: Float, sign: Float, scale: Float, offset: Float) -> tuple[Float, Float]:
    """Return how far the neighbours of the middle of patches, of whatever colour, depart to the same side as it.

    Returns
    -------
    light : (8, K) array, linear
        The four beside, then the four diagonal ones, against the median of their colour farther away.
    noise_std : (K,) array, linear
        Standard deviation of one neighbour's noise.
    """
    light, variance = [], []
    for group in BESIDE:
        far = [
            patches[:, REACH + down, REACH + right]
            for down in range(group[0][0] - 2, 4, 2)
            for right in range(group[0][1] - 2, 4, 2)
            if max(abs(down), abs(right)) > 1
        ]
        level = np.median(far, axis=0)
        light += [sign * (patches[:, REACH + down, REACH + right] - level) for down, right in group]
        variance += [scale * np.maximum(level, 0) + offset] * len(group)
    return np.array(light), np.sqrt(np.mean(variance, axis=0))
