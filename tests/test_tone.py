"""The sRGB curve: IEC 61966-2-1, known values and exact inverses."""

import numpy as np
import pytest

from burst_denoise.sensor.tone import linear_to_srgb, srgb_to_linear


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
