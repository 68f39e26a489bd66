"""Frames: levels, linear units, and the way between DN and linear."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burst_denoise.frame.frame import Frame, to_dn, to_linear
from burst_denoise.frame.mosaic import BAYER_PHASES, Mosaic
from burst_denoise.schemas import Domain, FrameInfo

SIZES = st.integers(2, 9)
PHASES = st.sampled_from(BAYER_PHASES)


def info(
    domain: Domain = "bayer", cfa: str | None = "RGGB", black: tuple[float, ...] = (512.0,) * 4, white: float = 4095.0
) -> FrameInfo:
    return FrameInfo(domain=domain, camera=None, cfa=cfa, height=4, width=6, black_level=black, white_level=white)


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
    found = Mosaic("bayer", cfa).pack(to_linear(np.full((6, 8), 1000, np.uint16), info(cfa=cfa, black=black)))
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


@pytest.mark.parametrize("cfa", BAYER_PHASES)
def test_each_row_of_a_tall_frame_has_the_levels_of_its_colours(cfa: str):
    black = (100.0, 200.0, 300.0, 400.0)
    dn = np.random.default_rng(0).integers(0, 4096, (71, 6), dtype=np.uint16)
    levels = np.array(black, np.float32)[Mosaic("bayer", cfa).plane_of((71, 6))]
    linear = to_linear(dn, info(cfa=cfa, black=black))
    assert np.array_equal(linear, (dn - levels) / (4095 - levels))
    assert np.array_equal(to_dn(linear, info(cfa=cfa, black=black)), linear * (4095 - levels) + levels)


def test_linear_of_a_frame_leaves_its_dn_alone():
    dn = np.full((4, 6), 700, np.uint16)
    frame = Frame(dn, info(), Path("a.dng"))
    before = frame.dn.copy()
    assert frame.linear == pytest.approx(np.float32((700 - 512) / 3583))
    assert np.array_equal(frame.dn, before)
    assert frame.border is None
