"""Verdicts on sensor calibrations: what makes one unusable, and in which words it is said."""

import io

import pytest

from burst_denoise.cli.tables import format_assessment, sensor_table
from burst_denoise.errors import SeriesError
from burst_denoise.schemas import ChannelProfile, NoiseStructure, TrainingRecord, TrainSettings
from burst_denoise.sensor.verdict import (
    assess_channel,
    calibration_verdict,
    contradictions,
    interpolate_channels,
    unknown_noise,
    unknown_noise_of_shot,
)

GOOD = ChannelProfile(
    camera="Canon EOS 700D", iso=1600, channel="R", gain_dn_per_e=7.0, gain_dn_per_e_interval=(6.9, 7.1),
    read_noise_std_dn=20.0, read_noise_std_dn_interval=(19.0, 21.0), row_noise_std_dn=1.5,
    row_noise_std_dn_interval=(1.4, 1.6), column_noise_std_dn=0.0, column_noise_std_dn_interval=(0.0, 0.2),
    prnu_percent=None, prnu_percent_interval=None, dsnu_e=None, dsnu_e_interval=None, noise_correlation=0.001,
    defects=3, shot_noise_scale=5e-4, read_noise_variance=2e-6, black_level_dn=2048, white_level_dn=15304, frames=10,
    usable=True, reasons=(),
)  # fmt: skip


def verdict(developed=False, misfit=0.01, drift=0.0, flicker=0.0, **changes) -> tuple[bool, list[str]]:
    channel = GOOD.model_copy(update=changes)
    return assess_channel(channel, developed=developed, misfit=misfit, drift=drift, flicker=flicker)


def test_a_calibration_without_fault_is_usable_and_needs_no_words():
    assert verdict() == (True, [])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"developed": True}, "developed pictures"),
        ({"noise_correlation": 0.3}, "correlation 0.30): the camera has filtered it"),
        (
            {"flicker": 0.0148},
            "rows are noisier in the lights than in the darks (by 1.5% of the light): a lamp flickers",
        ),
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


def four(gains: tuple[float, ...], width: float = 0.01, **changes) -> list[ChannelProfile]:
    return [
        GOOD.model_copy(
            update={
                "channel": name,
                "gain_dn_per_e": gain,
                "gain_dn_per_e_interval": (gain * (1 - width), gain * (1 + width)),
            }
            | changes
        )
        for name, gain in zip(("R", "G1", "G2", "B"), gains, strict=True)
    ]


def test_channels_that_agree_contradict_nothing():
    assert contradictions(four((7.0, 7.1, 6.9, 7.0))) == []
    assert contradictions(four((7.0, 7.1, 7.1, 7.6))) == []  # a maker scales blue
    assert contradictions(four((20.0, 28.0, 28.0, 23.0), width=0.3)) == []  # nobody knows


def test_gains_that_disagree_by_more_than_their_intervals_are_a_contradiction():
    (reason,) = contradictions(four((20.0, 28.0, 28.0, 23.0)))
    assert reason.startswith("the channels disagree about the gain (R 20, G1 28, G2 28, B 23 DN/e-)")


def test_a_negative_variance_is_a_contradiction():
    (reason,) = contradictions(four((7.0,) * 4, read_noise_variance=-1e-6))
    assert "its variance comes out negative" in reason


def text(renderable) -> str:
    from rich.console import Console

    console = Console(width=200, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


def test_the_table_shows_each_value_with_half_its_interval_to_two_digits():
    shown = text(sensor_table([GOOD, GOOD.model_copy(update={"iso": 6400, "gain_dn_per_e_interval": (6.0, 8.0)})]))
    assert "7.00 ± 0.10" in shown
    assert "7.0 ± 1.0" in shown
    assert "20.0 ± 1.0" in shown


def test_the_words_say_each_reason_once_and_for_which_channels():
    weak = {"usable": False, "reasons": ("too dark",)}
    channels = [GOOD, GOOD.model_copy(update={"channel": "B"} | weak)]
    assert format_assessment(channels) == "Canon EOS 700D, ISO 1600: NOT usable\n  B: too dark"
    assert format_assessment([channel.model_copy(update=weak) for channel in channels]).count("too dark") == 1
    assert format_assessment([GOOD]) == "Canon EOS 700D, ISO 1600: usable"


def test_between_two_isos_the_gain_lies_between_and_the_interval_is_wider_than_at_either():
    high = GOOD.model_copy(update={"iso": 6400, "gain_dn_per_e": 28.0, "gain_dn_per_e_interval": (27.6, 28.4),
                                   "read_noise_std_dn": 70.0, "read_noise_std_dn_interval": (68.0, 72.0)})  # fmt: skip
    (found,) = interpolate_channels([GOOD, high], 3200)
    assert found.iso == 3200
    assert found.gain_dn_per_e == pytest.approx(14.0, rel=0.01)
    assert found.gain_dn_per_e_interval[0] < 14.0 < found.gain_dn_per_e_interval[1]
    assert 20 < found.read_noise_std_dn_interval[0] < found.read_noise_std_dn < found.read_noise_std_dn_interval[1] < 70
    assert found.shot_noise_scale == pytest.approx(found.gain_dn_per_e / 13256)
    assert found.dsnu_e is None
    assert found.reasons == ("interpolated between ISO 1600 and 6400",)


@pytest.mark.parametrize("iso", [800, 12800])
def test_beyond_the_calibrated_span_nothing_is_guessed(iso):
    with pytest.raises(SeriesError, match=rf"ISO {iso} is outside the calibrated span \(1600, 6400\)"):
        interpolate_channels([GOOD, GOOD.model_copy(update={"iso": 6400})], iso)


def test_an_interval_that_reaches_zero_is_told_by_its_upper_end():
    shown = text(sensor_table([GOOD]))
    assert "below 0.2" in shown  # column noise 0, interval 0 to 0.2


ORDINARY = NoiseStructure(correlation=-0.01, row_noise=0.05, column_noise=0.0, excess_kurtosis=0.1)
CALIBRATED = TrainingRecord(
    settings=TrainSettings(minutes=5), steps_done=400, best_step=300, start_psnr_db=30.0, prior_psnr_db=40.0,
    prior_sha256="0" * 64, prior_share=0.0, best_psnr_db=40.6, gain_db=0.6, gain_std_error_db=0.03, bursts=(),
    burst_sha256=(), versions={}, seconds=60.0, noise_structure=ORDINARY,
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"correlation": 0.31}, "neighbouring photosites have like noise (correlation 0.31)"),
        ({"row_noise": 0.4}, "row noise (banding) of 0.40 of a photosite's noise"),
        ({"column_noise": 0.2}, "column noise (banding) of 0.20 of a photosite's noise"),
        ({"excess_kurtosis": 2.5}, "outliers are frequent (excess kurtosis 2.5)"),
        ({"black_error_dn": -31.6}, "the true black level lies about 32 DN below the one in the files"),
        ({"black_error_dn": 12.0}, "the true black level lies about 12 DN above the one in the files"),
    ],
)
def test_what_the_prior_does_not_know_is_named(change: dict[str, float], words: str):
    found = unknown_noise(ORDINARY.model_copy(update=change))
    assert found == ([words] if words else [])
    told = calibration_verdict(CALIBRATED.model_copy(update={"noise_structure": ORDINARY.model_copy(update=change)}))
    ordinary = "the noise is ordinary: independent between photosites, without banding or heavy tails"
    assert told[1] == (f"what the prior does not know of this sensor: {words}" if words else ordinary)


def test_a_single_shot_is_believed_only_where_texture_cannot_be_meant():
    assert unknown_noise_of_shot(ORDINARY.model_copy(update={"correlation": 0.5, "excess_kurtosis": 3.0})) == []
    assert len(unknown_noise_of_shot(ORDINARY.model_copy(update={"row_noise": 0.2, "column_noise": 0.2}))) == 2


def test_a_calibration_that_pays_is_told_in_decibels_and_in_frames():
    assert calibration_verdict(CALIBRATED)[0] == (
        "calibration pays: better than the prior by 0.60 \N{PLUS-MINUS SIGN} 0.03 dB; a denoised shot is worth 11.5 "
        "averaged frames instead of 10.0"
    )


@pytest.mark.parametrize(("prior_share", "pays"), [(0.0, True), (0.75, True), (1.0, False)])
def test_it_pays_where_calibrated_weights_were_kept(prior_share: float, pays: bool):
    first, *_ = calibration_verdict(CALIBRATED.model_copy(update={"prior_share": prior_share, "gain_db": 0.02}))
    as_good = (
        "the prior with your noise profile is as good: gained 0.02 \N{PLUS-MINUS SIGN} 0.03 dB; a denoised shot is "
    )
    assert first.startswith("calibration pays: ") == pays
    assert first.startswith(as_good) != pays


def test_of_a_model_from_scratch_or_of_an_older_version_nothing_is_said():
    assert calibration_verdict(CALIBRATED.model_copy(update={"prior_psnr_db": None})) == []
    assert calibration_verdict(CALIBRATED.model_copy(update={"gain_db": None})) == []
