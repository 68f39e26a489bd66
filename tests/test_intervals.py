"""Intervals by jackknife: every row in a group, closed forms of their widths, and the truth inside of 95 of 100."""

import math

import numpy as np
import pytest

from burst_denoise.sensor.intervals import (
    band_sums,
    equal_groups,
    interval,
    jackknife,
    leave_one_out,
    root_of_variance,
    row_groups,
)


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize(("rows", "groups"), [(1, 1), (2, 2), (15, 2), (64, 8), (256, 32), (3000, 32)])
def test_every_group_gets_like_many_rows_in_bands(rows: int, groups: int, interleaved: bool):
    group = row_groups(rows, interleaved=interleaved)
    members = np.bincount(group)
    assert len(members) == groups
    assert members.min() > 0
    assert members.max() - members.min() <= (8 if interleaved else 1)
    if rows >= 64:
        assert (np.diff(group)[:7] == 0).all()


def test_interleaved_groups_see_all_parts_of_a_plane_and_the_others_are_one_band_each():
    apart, together = row_groups(1024, interleaved=True), row_groups(1024, interleaved=False)
    assert all(np.ptp(np.flatnonzero(apart == group)) > 700 for group in range(32))
    assert (np.diff(together) >= 0).all()


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize("rows", [2, 30, 400])
def test_intervals_hold_the_true_mean_in_95_of_100_runs(rows: int, interleaved: bool):
    rng = np.random.default_rng(0)
    group = row_groups(rows, interleaved=interleaved)
    held = []
    for _ in range(400):
        noise = rng.standard_normal((rows, 8)) + rng.standard_normal((rows, 1))  # the second is shared along a row
        sums = leave_one_out(np.stack([np.bincount(group, row) for row in (np.full(rows, 8.0), noise.sum(axis=1))]))
        mean = jackknife(sums[1] / sums[0])
        held.append(mean.low < 0 < mean.high)
    assert 0.91 <= np.mean(held) <= 0.985


def test_sums_over_bands_add_up_and_one_is_left_out_at_a_time():
    plane = np.random.default_rng(1).random((100, 7))
    sums = band_sums(plane)
    assert sums.sum() == pytest.approx(plane.sum())
    left = leave_one_out(np.stack([sums, 2 * sums]))
    assert left.shape == (2, len(sums) + 1)
    assert left[:, 3] == pytest.approx(np.array([1, 2]) * (plane.sum() - sums[3]))
    assert left[:, -1] == pytest.approx(np.array([1, 2]) * plane.sum())


def test_stacks_of_unequal_size_are_put_in_as_many_groups_as_the_smallest_has():
    small, large = equal_groups([np.ones((2, 3)), np.arange(8.0)[None]])
    assert small.tolist() == [[1, 1, 1], [1, 1, 1]]
    assert large.tolist() == [[0 + 3 + 6, 1 + 4 + 7, 2 + 5]]


def test_variances_of_parts_and_groups_add_up():
    influences = np.random.default_rng(0).standard_normal((7, 5))
    found = interval(3.0, influences, degrees=100)
    assert found.high - 3 == pytest.approx(3 - found.low)
    assert found.high - 3 == pytest.approx(1.96 * math.sqrt((influences**2).sum()), rel=0.02)


@pytest.mark.parametrize(
    ("influences", "quantile"),
    # Student's t of 31 degrees where 32 groups count alike, and of 3 - 1 where one decides.
    [([1.0, -1.0] * 16, 2.0395), ([1.0] + [0.0] * 31, 4.3027)],
)
def test_there_are_as_many_degrees_of_freedom_as_groups_that_decide(influences: list[float], quantile: float):
    found = interval(0.0, np.array(influences))
    assert found.high == pytest.approx(quantile * math.hypot(*influences), rel=1e-3)


def test_one_group_tells_nothing_of_its_error_and_equal_ones_leave_none():
    alone = jackknife(leave_one_out(np.array([2.0])))
    assert (alone.low, alone.value, alone.high) == (-math.inf, 2, math.inf)
    equal = jackknife(np.full(9, 2.0))
    assert (equal.low, equal.value, equal.high) == (2, 2, 2)


def test_a_variance_below_zero_is_a_standard_deviation_of_zero():
    found = root_of_variance(jackknife(leave_one_out(np.array([-2.0, 1.0, 0.0]))))
    assert (found.low, found.value) == (0, 0)
    assert found.high > 0
