"""Flips and rotations have inverses; tiles cover an image once."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from burst_denoise.frame.geometry import (
    BAND,
    DIHEDRAL,
    dihedral,
    dihedral_inverse,
    plan_tiles,
    reflected,
    row_bands,
    spread_windows,
)

sizes = st.tuples(st.integers(2, 9), st.integers(2, 9))


@given(sizes, st.sampled_from(DIHEDRAL))
def test_every_transform_has_its_inverse(shape, k):
    image = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    assert np.array_equal(dihedral_inverse(dihedral(image, k), k), image)


def test_the_eight_transforms_are_all_different():
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert len({(dihedral(image, k).shape, dihedral(image, k).tobytes()) for k in DIHEDRAL}) == 8


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.integers(0, 3), st.sampled_from([1, 4, 8]))
def test_tiles_write_every_photosite_once_and_read_what_belongs_there(height, width, tile, margins, step):
    margin = margins * step
    image, written = np.arange(height * width).reshape(height, width), np.zeros((height, width), int)
    for piece in plan_tiles(height, width, tile, margin, step):
        assert piece.read[0].start % step == piece.read[1].start % step == 0
        read = reflected(image, piece.read)
        assert read.shape[0] % step == read.shape[1] % step == 0
        expected = image[piece.write]
        rows, columns = expected.shape
        assert np.array_equal(read[margin : margin + rows, margin : margin + columns], expected)
        written[piece.write] += 1
    assert (written == 1).all()


@given(sizes, st.tuples(st.integers(0, 20), st.integers(0, 20)), st.tuples(st.integers(0, 20), st.integers(0, 20)))
def test_beyond_its_border_an_image_is_reflected(shape, before, after):
    image = np.random.default_rng(0).random((3, *shape))
    window = tuple(slice(-b, size + a) for b, size, a in zip(before, shape, after, strict=True))
    padded = np.pad(image, [(0, 0), *zip(before, after, strict=True)], mode="reflect")
    assert np.array_equal(reflected(image, window), padded)
    assert np.array_equal(reflected(image[:, :1, :1], window), np.broadcast_to(image[:, :1, :1], padded.shape))


@pytest.mark.parametrize("height", [1, BAND, BAND + 1, 3 * BAND])
def test_bands_hold_each_row_once(height):
    rows = [row for band in row_bands(height) for row in range(height)[band]]
    assert rows == list(range(height))
    assert all(band.start % BAND == 0 and band.stop - band.start <= BAND for band in row_bands(height))


def test_a_margin_off_the_grid_is_refused():
    with pytest.raises(ValueError, match="margin 6 is not a multiple of step 4"):
        list(plan_tiles(8, 8, 8, 6, 4))


@given(st.tuples(st.integers(1, 90), st.integers(1, 90)), st.sampled_from((8, 16)))
def test_windows_of_a_small_image_cover_it(shape, side):
    seen = np.zeros(shape, int)
    for window in spread_windows(shape, side, 1000):
        seen[window] += 1
        assert all(part.start % 2 == 0 for part in window)
        assert all(len(range(size)[part]) == min(side, size) for size, part in zip(shape, window, strict=True))
    assert seen[: shape[0] - 1, : shape[1] - 1].all(), "a last odd row or column may be left out"


def test_windows_of_a_large_image_are_a_sample_from_edge_to_edge():
    windows = spread_windows((4000, 6000), 128, 150)
    assert 120 <= len(windows) <= 180
    assert windows[0] == (slice(0, 128), slice(0, 128))
    assert windows[-1] == (slice(3872, 4000), slice(5872, 6000))
