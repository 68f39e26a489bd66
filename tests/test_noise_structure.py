"""What noise has beside its variance: closed forms of noise made to have it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from burst_denoise.sensor.noise_structure import noise_structure

SHAPE = (300, 400)
ALL = np.ones(SHAPE, bool)


def white(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(SHAPE, np.float32)


def test_independent_gaussian_noise_has_none_of_it():
    found = noise_structure((white(seed), ALL) for seed in range(4))
    assert abs(found.correlation) < 0.01
    assert max(found.row_noise, found.column_noise) < 0.03
    assert abs(found.excess_kurtosis) < 0.05


@settings(max_examples=10, deadline=None)
@given(row=st.floats(0.1, 1.5), column=st.floats(0.1, 1.5), seed=st.integers(0, 9))
def test_what_rows_and_columns_share_is_found_beside_each_other(row: float, column: float, seed: int):
    rng = np.random.default_rng([1, seed])
    banding = row * rng.standard_normal((SHAPE[0], 1)) + column * rng.standard_normal((1, SHAPE[1]))
    found = noise_structure([((white(seed) + banding).astype(np.float32), ALL)])
    # A standard deviation told by n lines is good to 1 / sqrt(2 n): 0.04 of 300.
    assert found.row_noise == pytest.approx(row, rel=0.2)
    assert found.column_noise == pytest.approx(column, rel=0.2)
    assert abs(found.correlation) < 0.02


def test_blotches_are_correlated_as_their_closed_form_says():
    # White noise through a Gaussian of standard deviation s has correlation exp(-d^2 / (4 s^2)) at distance d.
    blotches = gaussian_filter(white(), 1.0, mode="wrap")
    found = noise_structure([(blotches / blotches.std(), ALL)])
    assert found.correlation == pytest.approx(np.exp(-1 / 4), abs=0.02)


def test_correlation_between_photosites_of_one_colour_is_found_where_neighbours_have_none():
    noise = white()
    alike = (noise + np.roll(noise, 2, axis=1)) / np.sqrt(2)
    assert noise_structure([(alike, ALL)]).correlation == pytest.approx(0.5, abs=0.02)


def test_the_tails_are_those_of_the_distribution():
    rng = np.random.default_rng(0)
    logistic = (rng.logistic(size=SHAPE) * np.sqrt(3) / np.pi).astype(np.float32)
    assert noise_structure([(logistic, ALL)]).excess_kurtosis == pytest.approx(1.2, abs=0.2)


def test_where_nothing_counts_or_nothing_varies_nothing_is_found():
    nothing = {"correlation": 0, "row_noise": 0, "column_noise": 0, "excess_kurtosis": 0, "black_error_dn": 0}
    assert noise_structure([]).model_dump() == nothing
    assert noise_structure([(white(), ~ALL)]).model_dump() == nothing
    assert noise_structure([(np.zeros(SHAPE, np.float32), ALL)]).correlation == 0


def test_what_does_not_count_has_no_influence():
    noise, counts = white(), np.random.default_rng(1).random(SHAPE) < 0.8
    spoilt = np.where(counts, noise, 1e3).astype(np.float32)
    assert noise_structure([(spoilt, counts)]) == noise_structure([(noise, counts)])
    assert abs(noise_structure([(noise, counts)]).correlation) < 0.02
