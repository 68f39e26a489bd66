"""Frames: levels, linear units, and the way between a mosaic and its planes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burst_denoise.frame.frame import BAYER_PHASES, Frame, pack, plane_count, to_dn, to_linear, unpack
from burst_denoise.schemas import Domain, FrameInfo

COLOUR_OF_PLANE = ("R", "G", "G", "B")
SIZES = st.integers(2, 9)
PHASES = st.sampled_from(BAYER_PHASES)


def info(
    domain: Domain = "bayer", cfa: str | None = "RGGB", black: tuple[float, ...] = (512.0,) * 4, white: float = 4095.0
) -> FrameInfo:
    return FrameInfo(domain=domain, camera=None, cfa=cfa, height=4, width=6, black_level=black, white_level=white)


def numbered(height: int, width: int) -> np.ndarray:
    return np.arange(height * width, dtype=np.float32).reshape(height, width)


@given(height=SIZES, width=SIZES, cfa=PHASES)
def test_unpack_gives_back_what_was_packed(height: int, width: int, cfa: str):
    mosaic = numbered(height, width)
    assert np.array_equal(unpack(pack(mosaic, cfa), cfa, mosaic.shape), mosaic)


@given(height=SIZES, width=SIZES, cfa=PHASES)
def test_every_plane_holds_one_colour_whatever_the_phase(height: int, width: int, cfa: str):
    rows, columns = np.indices((height, width))
    tile = np.array(["RGB".index(colour) for colour in cfa], np.float32).reshape(2, 2)
    planes = pack(tile[rows % 2, columns % 2], cfa)
    for plane, colour in zip(planes, COLOUR_OF_PLANE, strict=True):
        assert (plane == "RGB".index(colour)).all()


@pytest.mark.parametrize("cfa", BAYER_PHASES)
def test_g1_lies_in_the_rows_of_red_and_g2_in_the_rows_of_blue(cfa: str):
    rows = np.repeat(np.arange(8, dtype=np.float32)[:, None] % 2, 8, axis=1)
    red, g1, g2, blue = pack(rows, cfa)
    assert (g1 == red[0, 0]).all()
    assert (g2 == blue[0, 0]).all()
    assert red[0, 0] != blue[0, 0]


def test_an_rggb_mosaic_of_even_size_is_packed_without_padding():
    mosaic = numbered(4, 6)
    planes = pack(mosaic, "RGGB")
    assert planes.shape == (4, 2, 3)
    assert np.array_equal(planes[0], mosaic[0::2, 0::2])
    assert np.array_equal(planes[1], mosaic[0::2, 1::2])
    assert np.array_equal(planes[2], mosaic[1::2, 0::2])
    assert np.array_equal(planes[3], mosaic[1::2, 1::2])


@pytest.mark.parametrize(("cfa", "height", "width"), [("RGGB", 3, 3), ("GBRG", 4, 3), ("GRBG", 3, 4), ("BGGR", 4, 4)])
def test_size_of_the_planes_is_that_of_the_docstring(cfa: str, height: int, width: int):
    row, column = divmod(cfa.index("R"), 2)
    assert pack(numbered(height, width), cfa).shape == (4, -(-(height + row) // 2), -(-(width + column) // 2))


def test_mono_and_rgb_images_pass_through():
    mono, rgb = numbered(3, 4), np.zeros((3, 4, 5), np.float32)
    assert pack(mono, None).shape == (1, 3, 4)
    assert np.array_equal(unpack(pack(mono, None), None, mono.shape), mono)
    assert unpack(pack(rgb, None), None, rgb.shape).shape == rgb.shape


@pytest.mark.parametrize("cfa", ["RGBG", "XTRANS", "", "GGRB"])
def test_a_phase_that_is_no_bayer_phase_is_refused(cfa: str):
    with pytest.raises(ValueError, match="is not one of"):
        pack(numbered(4, 4), cfa)
    with pytest.raises(ValueError, match="is not one of"):
        unpack(np.zeros((4, 2, 2), np.float32), cfa, (4, 4))


def test_linear_is_zero_at_black_and_one_at_white_and_never_clipped():
    dn = np.array([[512, 4095], [0, 5000]], np.uint16)
    linear = to_linear(dn, info())
    assert linear.dtype == np.float32
    assert linear[0].tolist() == [0, 1]
    assert linear[1, 0] == pytest.approx(-512 / 3583)
    assert linear[1, 1] > 1


@pytest.mark.parametrize("cfa", BAYER_PHASES)
def test_black_levels_go_with_the_colours_not_with_the_positions(cfa: str):
    black = (100.0, 200.0, 300.0, 400.0)
    found = pack(to_linear(np.full((6, 8), 1000, np.uint16), info(cfa=cfa, black=black)), cfa)
    for plane, level in zip(found, black, strict=True):
        assert plane == pytest.approx((1000 - level) / (4095 - level))


def test_black_levels_of_a_picture_are_per_colour():
    linear = to_linear(np.full((3, 2, 2), 100, np.uint8), info("rgb", None, (0.0, 50.0, 100.0), 255.0))
    assert linear[:, 0, 0].tolist() == pytest.approx([100 / 255, 50 / 205, 0])


def test_one_black_level_serves_a_mono_frame():
    assert to_linear(np.full((2, 3), 64, np.uint16), info("mono", None, (64.0,), 1023.0)).tolist() == [[0] * 3] * 2


@settings(max_examples=50)
@given(
    cfa=PHASES,
    height=SIZES,
    width=SIZES,
    black=st.tuples(*[st.floats(0, 2048, width=32)] * 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_linear_to_dn_and_back_is_exact_to_the_rounding(cfa, height, width, black, seed):
    dn = np.random.default_rng(seed).integers(0, 65536, (height, width), dtype=np.uint16)
    levels = info(cfa=cfa, black=black, white=15304.0)
    back = to_dn(to_linear(dn, levels), levels)
    assert back.dtype == np.float32
    assert np.array_equal(np.rint(back), dn)


@pytest.mark.parametrize(("domain", "planes"), [("bayer", 4), ("mono", 1), ("rgb", 3)])
def test_plane_count_is_what_pack_makes(domain: Domain, planes: int):
    assert plane_count(domain) == planes


def test_linear_of_a_frame_leaves_its_dn_alone():
    dn = np.full((4, 6), 700, np.uint16)
    frame = Frame(dn, info(), Path("a.dng"))
    before = frame.dn.copy()
    assert frame.linear == pytest.approx(np.float32((700 - 512) / 3583))
    assert np.array_equal(frame.dn, before)
    assert frame.border is None


def test_inputs_stay_as_they_were():
    mosaic = numbered(5, 5)
    planes = pack(mosaic, "BGGR")
    planes[:] = -1
    assert np.array_equal(mosaic, numbered(5, 5))
