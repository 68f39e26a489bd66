"""The mosaic as one object: from image to planes and back, its phase under flips, what each photosite sees."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from burst_denoise.frame.geometry import DIHEDRAL, dihedral
from burst_denoise.frame.mosaic import BAYER_PHASES, MONO, RGB, RGGB, Mosaic

COLOUR_OF_PLANE = ("R", "G", "G", "B")
SIZES = st.integers(2, 9)
PHASES = st.sampled_from(BAYER_PHASES)


def bayer(cfa: str) -> Mosaic:
    return Mosaic("bayer", cfa)


def numbered(height: int, width: int) -> np.ndarray:
    return np.arange(height * width, dtype=np.float32).reshape(height, width)


@given(height=SIZES, width=SIZES, cfa=PHASES)
def test_unpack_gives_back_what_was_packed(height: int, width: int, cfa: str):
    image = numbered(height, width)
    assert np.array_equal(bayer(cfa).unpack(bayer(cfa).pack(image), image.shape), image)


@given(height=SIZES, width=SIZES, cfa=PHASES)
def test_every_plane_holds_one_colour_whatever_the_phase(height: int, width: int, cfa: str):
    rows, columns = np.indices((height, width))
    tile = np.array(["RGB".index(colour) for colour in cfa], np.float32).reshape(2, 2)
    planes = bayer(cfa).pack(tile[rows % 2, columns % 2])
    for plane, colour in zip(planes, COLOUR_OF_PLANE, strict=True):
        assert (plane == "RGB".index(colour)).all()


@pytest.mark.parametrize("cfa", BAYER_PHASES)
def test_g1_lies_in_the_rows_of_red_and_g2_in_the_rows_of_blue(cfa: str):
    rows = np.repeat(np.arange(8, dtype=np.float32)[:, None] % 2, 8, axis=1)
    red, g1, g2, blue = bayer(cfa).pack(rows)
    assert (g1 == red[0, 0]).all()
    assert (g2 == blue[0, 0]).all()
    assert red[0, 0] != blue[0, 0]


def test_an_rggb_mosaic_of_even_size_is_packed_without_padding():
    mosaic = numbered(4, 6)
    planes = RGGB.pack(mosaic)
    assert planes.shape == (4, 2, 3)
    assert np.array_equal(planes[0], mosaic[0::2, 0::2])
    assert np.array_equal(planes[1], mosaic[0::2, 1::2])
    assert np.array_equal(planes[2], mosaic[1::2, 0::2])
    assert np.array_equal(planes[3], mosaic[1::2, 1::2])


@pytest.mark.parametrize(("cfa", "height", "width"), [("RGGB", 3, 3), ("GBRG", 4, 3), ("GRBG", 3, 4), ("BGGR", 4, 4)])
def test_size_of_the_planes_is_that_of_the_docstring(cfa: str, height: int, width: int):
    row, column = divmod(cfa.index("R"), 2)
    assert bayer(cfa).pack(numbered(height, width)).shape == (4, -(-(height + row) // 2), -(-(width + column) // 2))


def test_mono_and_rgb_images_pass_through():
    mono, rgb = numbered(3, 4), np.zeros((3, 4, 5), np.float32)
    assert MONO.pack(mono).shape == (1, 3, 4)
    assert np.array_equal(MONO.unpack(MONO.pack(mono), mono.shape), mono)
    assert RGB.unpack(RGB.pack(rgb), rgb.shape).shape == rgb.shape


@pytest.mark.parametrize("cfa", ["RGBG", "XTRANS", "", "GGRB"])
def test_a_phase_that_is_no_bayer_phase_is_refused(cfa: str):
    with pytest.raises(ValueError, match="is not one of"):
        bayer(cfa)


def test_a_picture_has_no_colour_filter_array():
    with pytest.raises(ValueError, match="rgb images have no colour filter array"):
        Mosaic("rgb", "RGGB")


@pytest.mark.parametrize("mosaic", [*map(bayer, BAYER_PHASES), MONO])
def test_planes_photosites_and_places_tell_the_same(mosaic: Mosaic):
    image = numbered(6, 8)
    owner = mosaic.plane_of(image.shape)
    for number, plane in enumerate(mosaic.pack(image)):
        assert set(image[mosaic.place(number)].ravel()) <= set(plane.ravel())
        assert (owner[mosaic.place(number)] == number).all()


@pytest.mark.parametrize("cfa", BAYER_PHASES)
def test_one_value_per_plane_lies_where_the_plane_lies(cfa: str):
    spread = bayer(cfa).spread((1, 2, 3, 4), (5, 7))
    assert spread.shape == (5, 7)
    assert all((spread[bayer(cfa).place(plane)] == plane + 1).all() for plane in range(4))
    assert RGB.spread((1, 2, 3), (3, 5, 7)).shape == (3, 1, 1)


def test_greens_are_averaged_into_one():
    planes = np.arange(4, dtype=np.float32)[:, None, None]
    assert RGGB.colour_planes(planes).ravel().tolist() == [0, 1.5, 3]
    assert MONO.colour_planes(planes[2:3]).ravel().tolist() == [2, 2, 2]


@given(st.tuples(SIZES, SIZES), st.sampled_from(BAYER_PHASES), st.sampled_from(DIHEDRAL))
def test_the_phase_named_after_a_transform_is_the_phase_the_photosites_have(shape, cfa, k):
    height, width = shape
    colours = np.array(list(cfa)).reshape(2, 2)[np.arange(height)[:, None] % 2, np.arange(width) % 2]
    codes = np.vectorize({"R": 0.0, "G": 1.0, "B": 2.0}.get)(colours).astype(np.float32)
    turned = dihedral(codes, k)
    found = "".join("RGB"[int(code)] for code in turned[:2, :2].ravel())
    assert bayer(cfa).turned(k, shape).cfa == found


def test_pictures_without_a_mosaic_have_no_phase():
    assert RGB.turned(3, (3, 8, 9)) == RGB


def test_an_image_that_is_packed_stays_as_it_was():
    image = numbered(5, 5)
    planes = bayer("BGGR").pack(image)
    planes[:] = -1
    assert np.array_equal(image, numbered(5, 5))


@pytest.mark.parametrize("cfa", BAYER_PHASES)
def test_the_parts_of_a_mosaic_are_its_photosites_plane_by_plane(cfa):
    image = np.random.default_rng(0).random((5, 8))
    planes = bayer(cfa).plane_of(image.shape)
    for plane, part in enumerate(bayer(cfa).parts(image)):
        assert np.array_equal(part.ravel(), image[planes == plane])
        assert np.shares_memory(part, image)


def test_the_parts_of_a_picture_are_its_layers():
    picture = np.random.default_rng(0).random((3, 5, 7))
    assert np.array_equal(RGB.parts(picture), picture)
    assert np.array_equal(MONO.parts(picture[0]), picture[:1])
