"""The sRGB curve: IEC 61966-2-1, known values and exact inverses."""

import numpy as np
import pytest

from burst_denoise.frame.mosaic import BAYER_PHASES, Mosaic
from burst_denoise.frame.srgb import developed, linear_to_srgb, srgb_to_linear
from burst_denoise.schemas import FrameInfo
from tests.sensors import mosaic


@pytest.mark.parametrize(
    ("linear", "encoded"), [(0, 0), (1, 1), (0.0031308, 0.04045), (0.18, 0.4613561), (0.5, 0.7353569)]
)
def test_known_values_of_the_curve(linear: float, encoded: float) -> None:
    assert linear_to_srgb(np.array([linear], np.float32))[0] == pytest.approx(encoded, abs=2e-6)
    assert srgb_to_linear(np.array([encoded], np.float32))[0] == pytest.approx(linear, abs=2e-6)


def test_every_8_bit_value_comes_back() -> None:
    values = np.arange(256, dtype=np.uint8)
    light = srgb_to_linear(values)
    assert light.dtype == np.float32
    assert (np.diff(light) > 0).all()
    assert np.array_equal(np.rint(linear_to_srgb(light) * 255), values)


def test_light_outside_the_picture_is_clipped() -> None:
    assert linear_to_srgb(np.array([-0.5, 1.5], np.float32)) == pytest.approx([0, 1], abs=1e-7)


@pytest.mark.parametrize("cfa", BAYER_PHASES)
@pytest.mark.parametrize("shape", [(32, 48), (31, 47)])
def test_a_neutral_patch_is_developed_to_its_grey_whatever_the_phase(cfa, shape):
    info = FrameInfo(domain="bayer", camera=None, cfa=cfa, height=shape[0], width=shape[1], black_level=(0,) * 4,
                     white_level=1000, as_shot_neutral=(0.5, 1.0, 0.65))  # fmt: skip
    levels = np.broadcast_to(np.array([0.1, 0.2, 0.2, 0.13], np.float32)[:, None, None], (4, 20, 30))
    picture = developed(mosaic(cfa).unpack(levels, shape), info)
    assert picture.shape == (*shape, 3)
    assert set(picture.ravel().tolist()) == {round(255 * float(linear_to_srgb(np.float32(0.2))))}


def test_colours_come_out_in_the_order_red_green_blue_at_their_place():
    info = FrameInfo(domain="bayer", camera=None, cfa="GBRG", height=24, width=24, black_level=(0,) * 4, white_level=1)
    planes = np.zeros((4, 13, 13), np.float32)
    planes[0, 6:] = 1
    picture = developed(Mosaic("bayer", "GBRG").unpack(planes, (24, 24)), info)
    assert picture[20, 12].tolist() == [255, 0, 0]
    assert picture[4, 12].tolist() == [0, 0, 0]


def test_developed_pictures_are_shown_as_they_are_and_those_in_linear_light_on_the_curve():
    info = FrameInfo(domain="rgb", camera=None, cfa=None, height=2, width=2, black_level=(0,) * 3, white_level=255)
    image = np.array([10, 20, 30], np.float32)[:, None, None] / 255 * np.ones((3, 2, 2), np.float32)
    assert developed(image, info)[1, 1].tolist() == [10, 20, 30]
    linear = info.model_copy(update={"white_level": 65535.0})
    assert developed(srgb_to_linear(image), linear)[1, 1].tolist() == [10, 20, 30]
    assert developed(image, linear.model_copy(update={"tone_curve": True}))[1, 1].tolist() == [10, 20, 30]
