"""ISOs and exposure times that a camera measures or rounds are compared with a tolerance of 1 %."""

import pytest

from burst_denoise.frame.exposure import first_of_each_setting, same_exposure, same_setting
from burst_denoise.frame.synthetic import SyntheticCamera, shoot
from tests.shots import scene


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (60.001, 60.002, True),
        (119.8, 120.2, True),
        (1 / 60, 0.0167, True),
        (1600.0, 1615.0, True),
        (100.0, 101.1, False),
        (1600.0, 1800.0, False),
        (None, None, True),
        (None, 1600.0, False),
    ],
)
def test_settings_within_one_percent_are_the_same(one: float | None, other: float | None, same: bool) -> None:
    assert same_setting(one, other) is same
    assert same_setting(other, one) is same


def test_an_exposure_is_iso_and_time() -> None:
    info = shoot(SyntheticCamera(), scene((48, 64)), 1600, 1, 0)[0][0].info
    assert same_exposure(info, info.model_copy(update={"iso": 1604.0, "exposure_s": 1 / 30.1}))
    assert not same_exposure(info, info.model_copy(update={"iso": 3200.0}))
    assert not same_exposure(info, info.model_copy(update={"exposure_s": 1 / 60}))


def test_every_value_is_led_back_to_the_first_of_its_setting() -> None:
    assert first_of_each_setting([1600.0, 6400.0, 1605.0, None, 6390.0]) == {
        1600.0: 1600.0, 1605.0: 1600.0, 6400.0: 6400.0, 6390.0: 6400.0, None: None
    }  # fmt: skip
