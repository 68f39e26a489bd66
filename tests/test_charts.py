"""Charts put values where they belong; tables and numbers say no more than is known."""

import re

import numpy as np
import pytest

from burst_denoise.reporting.charts import Layer, chart, interval_bar, measured, number, table, table_line


def places(svg: str, kind: str) -> list[tuple[float, float]]:
    """Return the places of a layer's dots or corners."""
    path = re.search(rf'class="{kind} c0" d="([^"]*)"', svg)[1]
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", path)]


def test_points_of_equal_distance_are_drawn_at_equal_distance():
    layer = Layer(np.array([0.0, 1.0, 2.0]), np.array([10.0, 20.0, 30.0]), "dots")
    (x0, y0), (x1, y1), (x2, y2) = places(chart("", "x", "y", [layer]), "dots")
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.11)
    assert x0 < x1
    assert y0 > y1, "up is more"


def test_on_logarithmic_axes_a_factor_is_a_distance():
    layer = Layer(np.array([1.0, 10.0, 100.0]), np.array([2.0, 20.0, 200.0]), "dots")
    (x0, y0), (x1, y1), (x2, y2) = places(chart("", "x", "y", [layer], log="xy"), "dots")
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.11)


def test_the_ends_of_a_given_range_are_the_ends_of_the_axis():
    svg = chart("", "x", "y", [Layer(np.array([0.0, 4.0]), np.array([0.0, 1.0]))], x_range=(0, 4), y_range=(0, 1))
    (left, bottom), (right, top) = places(svg, "line")
    axis = re.search(r'class="axis" d="M(\d+) (\d+)V(\d+)H(\d+)"', svg)
    assert (left, top, bottom, right) == tuple(float(place) for place in axis.groups())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0, -1.0])
def test_what_cannot_be_drawn_is_left_out(bad: float):
    layer = Layer(np.array([1.0, bad, 3.0]), np.array([1.0, 2.0, 3.0]), "dots")
    assert len(places(chart("", "x", "y", [layer], log="xy"), "dots")) == 2


@pytest.mark.parametrize("values", [[], [5.0], [7.0, 7.0], [float("nan")]])
def test_few_or_equal_or_no_points_make_a_chart_all_the_same(values: list[float]):
    points = np.array(values)
    for log in ("", "x", "xy"):
        svg = chart("", "x", "y", [Layer(points, points)], log=log)
        assert "nan" not in svg
        assert "inf" not in svg


def test_axes_are_labelled_with_round_numbers():
    svg = chart("", "x", "y", [Layer(np.array([0.0, 9731.0]), np.array([-0.31, 0.42]))])
    labels = re.findall(r'text-anchor="(?:middle|end)">([^<]*)</text>', svg)
    assert labels == ["0", "2,000", "4,000", "6,000", "8,000", "10,000", "−0.2", "0", "0.2", "0.4", "x", "y"]


def test_words_from_outside_are_text_in_a_chart():
    svg = chart('"><script>', "<b>", "a & b", [])
    assert "<script>" not in svg
    assert "&lt;b&gt;" in svg
    assert "a &amp; b" in svg


def test_an_error_bar_reaches_from_end_to_end_of_its_interval():
    svg = interval_bar(45.0, (44.0, 46.0), (40.0, 50.0))
    low, high, value = (float(x) for x in re.search(r"M([\d.]+) 6H([\d.]+).*M([\d.]+) 0", svg).groups())
    assert (low, value, high) == pytest.approx((2 + 0.4 * 136, 2 + 0.5 * 136, 2 + 0.6 * 136), abs=0.06)


def test_an_open_end_of_an_interval_runs_to_the_end_of_the_scale():
    assert "M2.0 6H138.0" in interval_bar(45.0, (None, None), (40.0, 50.0))


def test_numbers_tell_what_is_not_known():
    assert number(None, 2) == "–"
    assert number(None, 2, (1.0, 2.0)) == "–"
    assert number(-1.234, 2, sign="+") == "−1.23"
    assert number(1.234, 1, (None, 2.0)) == "1.2<small>? to 2.0</small>"


def test_nothing_is_minus_zero():
    assert number(-0.004, 2, (-0.004, 0.004)) == "0.00<small>0.00 to 0.00</small>"
    assert number(-0.004, 2, (-0.006, -0.0), sign="+") == "+0.00<small>−0.01 to +0.00</small>"


@pytest.mark.parametrize(
    ("value", "interval", "shown"),
    [
        (7.2163, (7.11, 7.32), "7.22<small>7.11 to 7.32</small>"),
        (76.91, (71.5, 82.3), "77<small>72 to 82</small>"),
        (0.00512, (0.0047, 0.0055), "0.0051<small>0.0047 to 0.0055</small>"),
        (3.0, None, "3.000"),
        (3.0, (3.0, 3.0), "3.000<small>3.000 to 3.000</small>"),
        (None, None, "–"),
    ],
)
def test_a_measured_value_has_the_digits_that_its_interval_deserves(value, interval, shown):
    assert measured(value, interval) == shown


def test_a_table_has_a_head_for_every_column_and_a_name_for_every_line():
    text = table("scores", ("method", "dB"), [("burst", [table_line("nlm", ["1"]), table_line("model", ["2"])])])
    assert text.count('scope="col"') == 2
    assert text.count('scope="row"') == 2
    assert 'colspan="2" scope="rowgroup"' in text
