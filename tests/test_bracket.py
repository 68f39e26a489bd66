"""The systematic bracket: it holds the error against the scene, whatever share of the pattern a method keeps."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burst_denoise.score.bracket import difference_bracket_db, psnr_bracket_db, sure_change

SQUARES = st.floats(1e-8, 1e-3)
SHARES = st.floats(0, 1)


def measured(own: float, share: float, pattern: float) -> float:
    """Return the error against frames that hold the pattern, of which a method keeps a share."""
    return own + (1 - share) ** 2 * pattern


def true_db(own: float, share: float, pattern: float) -> float:
    return -10 * math.log10(own + share**2 * pattern)


@given(own=SQUARES, pattern=SQUARES, share=SHARES, more=SHARES, wider=st.floats(1, 4))
def test_the_bracket_holds_the_truth_whatever_is_kept_of_a_pattern_in_its_range(own, pattern, share, more, wider):
    error, kept = measured(own, share, pattern), share + (1 - share) * more
    low, high = psnr_bracket_db(error, error, kept, (pattern / wider, pattern * wider))
    assert low - 1e-9 <= true_db(own, share, pattern) <= high + 1e-9


@given(own=SQUARES, pattern=SQUARES)
def test_ends_are_all_removed_and_all_kept(own: float, pattern: float):
    removed, kept = measured(own, 0, pattern), measured(own, 1, pattern)
    assert psnr_bracket_db(removed, removed, 1, (pattern, pattern))[1] == pytest.approx(true_db(own, 0, pattern), 1e-6)
    assert psnr_bracket_db(kept, kept, 1, (pattern, pattern))[0] == pytest.approx(true_db(own, 1, pattern), 1e-6)


@given(low=SQUARES, wider=st.floats(1, 2), kept=SHARES)
def test_without_pattern_there_is_chance_only(low: float, wider: float, kept: float):
    expected = -10 * math.log10(wider * low), -10 * math.log10(low)
    assert psnr_bracket_db(low, wider * low, kept, (0, 0)) == pytest.approx(expected)


def test_a_pattern_as_strong_as_the_error_may_be_all_of_it():
    assert psnr_bracket_db(1e-5, 1e-5, 0.2, (0, 1e-5))[1] == math.inf


@given(owns=st.tuples(SQUARES, SQUARES), pattern=SQUARES, shares=st.tuples(SHARES, SHARES))
def test_the_bracket_of_a_difference_holds_the_true_one_and_turns_with_it(owns, pattern, shares):
    mine, other = ((measured(own, share, pattern), share) for own, share in zip(owns, shares, strict=True))
    low, high = difference_bracket_db(mine, other, (0, pattern))
    truth = true_db(owns[0], shares[0], pattern) - true_db(owns[1], shares[1], pattern)
    assert low - 1e-6 <= truth <= high + 1e-6
    assert difference_bracket_db(other, mine, (0, pattern)) == (-high, -low)


def test_methods_that_keep_little_are_told_apart_where_the_pattern_is_no_small_part_of_their_error():
    # Both smooth the pattern away, which is half of their error: it is the same half.
    low, high = difference_bracket_db((1.0e-5, 0.02), (1.5e-5, 0.02), (0, 5e-6))
    assert 1.5 < low < high < 3.1
    # A mean of frames keeps it.
    low, high = difference_bracket_db((1.0e-5, 1), (1.5e-5, 0.02), (0, 5e-6))
    assert low < 0 < high


@given(own=SQUARES, pattern=SQUARES, share=SHARES, wider=st.floats(1, 4))
def test_the_sure_change_never_promises_more_than_the_truth(own: float, pattern: float, share: float, wider: float):
    error, span = measured(own, share, pattern), (pattern / wider, pattern * wider)
    change = sure_change(share, span)
    assert change <= 0
    if share < 0.5:
        assert own + share**2 * pattern <= (error + change) * (1 + 1e-9)
    # What is left is the lower end of the bracket, so the score lies in it.
    low, high = psnr_bracket_db(error, error, share, span)
    assert low - 1e-9 <= -10 * math.log10(error + change) <= high + 1e-9
