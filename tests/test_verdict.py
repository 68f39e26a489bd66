"""Verdicts on sensor calibrations: what makes one unusable, and in which words it is said."""

import pytest

from burst_denoise.config import ChannelProfile
from burst_denoise.judge.verdict import weaknesses

GOOD = ChannelProfile(
    camera="Canon EOS 700D", iso=1600, channel="R", gain_dn_per_e=7.0, gain_dn_per_e_interval=(6.9, 7.1),
    read_noise_std_dn=20.0, read_noise_std_dn_interval=(19.0, 21.0), row_noise_std_dn=1.5,
    row_noise_std_dn_interval=(1.4, 1.6), column_noise_std_dn=0.0, column_noise_std_dn_interval=(0.0, 0.2),
    prnu_percent=None, prnu_percent_interval=None, dsnu_e=None, dsnu_e_interval=None, noise_correlation=0.001,
    defects=3, shot_noise_scale=5e-4, read_noise_variance=2e-6, black_level_dn=2048, white_level_dn=15304, frames=10,
    usable=True, reasons=(),
)  # fmt: skip


def verdict(developed: bool = False, misfit: float = 0.01, drift: float = 0.0, **changes) -> tuple[bool, list[str]]:
    return weaknesses(GOOD.model_copy(update=changes), developed=developed, misfit=misfit, drift=drift)


def test_a_calibration_without_fault_is_usable_and_needs_no_words():
    assert verdict() == (True, [])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"developed": True}, "developed pictures"),
        ({"noise_correlation": 0.3}, "correlation 0.30): the camera has filtered it"),
        ({"misfit": 0.2}, "straight line with the light (20% off)"),
        ({"gain_dn_per_e_interval": (5.0, 9.0)}, "gain is known only to 29%"),
        ({"read_noise_variance": -1e-6, "read_noise_std_dn": 0.0}, "no noise is left at black"),
    ],
)
def test_a_grave_fault_makes_it_unusable(change, words):
    usable, reasons = verdict(**change)
    assert not usable
    assert len(reasons) == 1
    assert words in reasons[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"read_noise_std_dn_interval": (10.0, 30.0)}, "read noise is known only to 50%"),
        ({"read_noise_std_dn": 0.3, "read_noise_std_dn_interval": (0.29, 0.31)}, "finer than the steps"),
        ({"drift": 0.12}, "drifted during the burst"),
        ({"frames": 5}, "only 5 frames"),
    ],
)
def test_a_mild_fault_is_told_but_leaves_it_usable(change, words):
    usable, reasons = verdict(**change)
    assert usable
    assert words in " ".join(reasons)
    assert len(reasons) == 1
