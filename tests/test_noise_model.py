"""Noise: the stabilising transform against its sentences, and profiles between ISOs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from burst_denoise.schemas import NoiseProfile
from burst_denoise.sensor.noise_model import (
    SMALLEST_VARIANCE,
    extrapolate_profile,
    interpolate_profile,
    noise_variance,
    stabilise,
    unstabilise,
    unstabilise_mean,
)

SHOT = 4e-4
READ = 2e-6


def profile(scale: float, offset: float, iso: float | None = 100) -> NoiseProfile:
    return NoiseProfile(iso=iso, shot_noise_scale=(scale,), read_noise_variance=(offset,))


def exposure(level: float, side: int, seed: int) -> np.ndarray:
    """Return one evenly lit plane (1, side, side) with photon and read noise."""
    rng = np.random.default_rng(seed)
    noisy = SHOT * rng.poisson(level / SHOT, (1, side, side)) + math.sqrt(READ) * rng.standard_normal((1, side, side))
    return noisy.astype(np.float32)


def test_variance_is_the_line_and_never_below_its_floor():
    planes = np.array([[[-0.5, 0.0, 0.5]]], np.float32)
    assert noise_variance(planes, profile(SHOT, READ)).ravel().tolist() == pytest.approx([READ, READ, SHOT / 2 + READ])
    assert noise_variance(planes, profile(SHOT, -1e-3)).min() == pytest.approx(SMALLEST_VARIANCE)


@given(
    scale=st.sampled_from([0.0, 1e-6, 1e-4, 1e-2]),
    offset=st.sampled_from([-1e-7, 0.0, 1e-8, 1e-5, 1e-3]),
    value=st.floats(-0.25, 1.5, width=32),
)
def test_unstabilise_is_the_inverse_of_stabilise(scale: float, offset: float, value: float):
    planes = np.full((1, 1, 1), value, np.float32)
    model = profile(scale, offset)
    back = unstabilise(stabilise(planes, model), model)
    assert back.dtype == np.float32
    assert back[0, 0, 0] == pytest.approx(value, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("level", [0.0, 0.01, 0.1, 0.5, 1.0])
def test_stabilised_noise_has_unit_standard_deviation_at_every_light_level(level: float):
    frame = exposure(level, 400, 9)[0]
    # Black itself lies on the bend between root and straight line.
    tolerance = 0.07 if level == 0 else 0.01
    assert stabilise(frame[None], profile(SHOT, READ)).std() == pytest.approx(1, rel=tolerance)


def test_black_is_zero_and_the_transform_is_straight_below_it():
    model = profile(SHOT, READ)
    values = np.array([-0.02, -0.01, 0.0, 1e-6], np.float32)[None, None]
    out = stabilise(values, model)[0, 0]
    assert out[2] == 0
    assert out[0] == pytest.approx(2 * out[1])
    assert out[3] / 1e-6 == pytest.approx(out[1] / -0.01, rel=0.01)  # no bend at black, no jump
    assert (np.diff(stabilise(np.linspace(-1, 2, 999, dtype=np.float32)[None, None], model)) > 0).all()


def test_without_shot_noise_the_transform_is_a_division_by_the_standard_deviation():
    planes = np.array([[[-0.1, 0.2, 0.9]]], np.float32)
    assert stabilise(planes, profile(0.0, 1e-4)) == pytest.approx(100 * planes)


@pytest.mark.parametrize("level", [0.002, 0.01, 0.1, 0.5])
def test_unstabilise_mean_takes_off_what_averaging_below_the_root_has_cost(level: float):
    model = profile(SHOT, READ)
    frame = exposure(level, 500, 10)
    average = np.mean(stabilise(frame, model), axis=(1, 2), keepdims=True, dtype=np.float64).astype(np.float32)
    std = math.sqrt(SHOT * level + READ)
    corrected = float(unstabilise_mean(average, model)[0, 0, 0]) - level
    uncorrected = float(unstabilise(average, model)[0, 0, 0]) - level
    assert abs(corrected) < 0.02 * std
    assert uncorrected == pytest.approx(-SHOT / 4, rel=0.5)


def test_profile_between_two_isos_lies_on_the_straight_line_of_logarithms():
    profiles = [profile(1e-4, 1e-6, 100), profile(4e-4, 16e-6, 400)]
    between = interpolate_profile(profiles, 200)
    assert between.iso == 200
    assert between.shot_noise_scale == pytest.approx((2e-4,))
    assert between.read_noise_variance == pytest.approx((4e-6,))
    for measured in profiles:
        same = interpolate_profile(profiles, measured.iso)
        assert same.shot_noise_scale == pytest.approx(measured.shot_noise_scale)


def test_a_term_that_is_not_positive_is_interpolated_linearly():
    between = interpolate_profile([profile(1e-4, -1e-6, 100), profile(4e-4, 1e-6, 400)], 200)
    assert between.read_noise_variance == pytest.approx((0.0,), abs=1e-12)


def test_a_single_profile_serves_its_own_iso_and_an_unknown_one():
    only = profile(1e-4, 1e-6, 800)
    assert interpolate_profile([only], 800) is only
    assert interpolate_profile([only], None) is only
    assert interpolate_profile([profile(1e-4, 1e-6, None)], 3200).iso is None


@pytest.mark.parametrize("iso", [98.0, 405.0, None])
def test_an_iso_outside_the_calibrated_span_is_refused(iso: float | None):
    with pytest.raises(ValueError, match="outside the calibrated"):
        interpolate_profile([profile(1e-4, 1e-6, 100), profile(4e-4, 16e-6, 400)], iso)


def test_within_the_span_a_scaled_profile_is_the_interpolated_one():
    profiles = [profile(1e-4, 1e-6, 100), profile(4e-4, 16e-6, 400)]
    for iso in (100, 150, 400):
        assert extrapolate_profile(profiles, iso) == interpolate_profile(profiles, iso)
    only = profile(1e-4, 1e-6, None)
    assert extrapolate_profile([only], None) is only


@pytest.mark.parametrize(("iso", "ratio", "read_ratio"), [(3200, 4, 16), (200, 1 / 4, 1 / 4)])
def test_a_single_iso_is_scaled_by_the_gain_and_read_noise_as_if_before_it_upwards(iso, ratio, read_ratio):
    scaled = extrapolate_profile([profile(1e-4, 1e-6, 800)], iso)
    assert scaled.iso == iso
    assert scaled.shot_noise_scale == pytest.approx((1e-4 * ratio,))
    assert scaled.read_noise_variance == pytest.approx((1e-6 * read_ratio,))


@pytest.mark.parametrize("iso", [100, 200, 6400, 25600])
def test_two_isos_tell_how_much_read_noise_arises_before_the_gain_and_how_much_after(iso):
    def truth(at: float) -> NoiseProfile:
        return profile(at * 1e-6, 2e-7 + 3e-13 * at**2, at)

    scaled = extrapolate_profile([truth(400), truth(800), truth(3200)], iso)
    assert scaled.shot_noise_scale == pytest.approx(truth(iso).shot_noise_scale)
    assert scaled.read_noise_variance == pytest.approx(truth(iso).read_noise_variance)


@pytest.mark.parametrize("iso", [50, 6400])
@pytest.mark.parametrize(("low", "high"), [(1e-6, 9e-7), (1e-8, 1e-6), (0.0, 1e-6), (1e-6, 0.0)])
def test_read_noise_that_no_such_sensor_has_is_scaled_within_what_one_can_have(iso, low, high):
    profiles = [profile(1e-4, low, 400), profile(2e-4, high, 800)]
    near = profiles[0] if iso < 400 else profiles[1]
    (scaled,) = extrapolate_profile(profiles, iso).read_noise_variance
    ends = sorted(near.read_noise_variance[0] * (iso / near.iso) ** power for power in (0, 2))
    assert ends[0] * (1 - 1e-9) <= scaled <= ends[1] * (1 + 1e-9)


def test_an_unknown_iso_is_not_scaled():
    with pytest.raises(ValueError, match="outside the calibrated"):
        extrapolate_profile([profile(1e-4, 1e-6, 100), profile(4e-4, 16e-6, 400)], None)


def test_a_black_level_left_in_the_data_is_stabilised_all_the_same():
    rng = np.random.default_rng(0)
    pedestal, gain, read_std, peak = 2000.0, 1.0, 3.0, 65535.0
    electrons = np.repeat([0.0, 50.0, 500.0, 5000.0], 40_000).reshape(4, 200, 200)
    truth = NoiseProfile(
        iso=None,
        shot_noise_scale=(gain / peak,),
        read_noise_variance=((read_std**2 - gain * pedestal) / peak**2,),
    )
    for level in electrons:
        dn = gain * rng.poisson(level) + pedestal + read_std * rng.standard_normal(level.shape)
        planes = (dn / peak).astype(np.float32)[None]
        assert stabilise(planes, truth).std() == pytest.approx(1, abs=0.12)
        assert np.allclose(unstabilise(stabilise(planes, truth), truth), planes, rtol=1e-4, atol=0)
