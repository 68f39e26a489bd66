"""Figures are written whole, at the size of their content, and never over an existing file; charts show their data."""

import base64
import re
from dataclasses import replace

import cv2
import matplotlib
import numpy as np
import pytest

from burst_denoise.burst.series_verdict import check_frames
from burst_denoise.errors import OutputError
from burst_denoise.frame.synthetic import Fault, SyntheticCamera, shoot
from burst_denoise.reporting.figures import (
    data_uri,
    deviation_chart,
    diverging,
    draw_comparison,
    draw_quality,
    training_chart,
    transfer_chart,
    transfer_misfit_chart,
)
from tests.reports import realistic_report


@pytest.fixture(scope="module")
def verdict():
    y, x = np.mgrid[:128, :160]
    scene = np.repeat((0.3 + 0.2 * np.sin(x / 5) * np.cos(y / 7))[..., None], 3, 2).astype(np.float32)
    frames, _ = shoot(SyntheticCamera(), scene, 1600, 6, 0, {5: Fault(light=1.1)})
    return check_frames("waves", frames)


def test_density_curves_are_drawn_for_accepted_and_rejected_series(verdict, tmp_path):
    empty = replace(verdict, series="empty", accepted=False, deviations=(), mu=float("nan"), sigma=float("nan"))
    draw_quality(tmp_path / "quality.png", [verdict, empty])
    picture = cv2.imread(str(tmp_path / "quality.png"))
    assert picture.shape[1] == 1440
    assert (picture.std(axis=(0, 1)) > 10).all()


@pytest.mark.parametrize("name", ["$\\frac{$ ^_", "_hidden", "<b>&"])
def test_any_name_of_a_series_can_be_drawn(verdict, name: str, tmp_path):
    draw_quality(tmp_path / "plain.png", [replace(verdict, series="")])
    draw_quality(tmp_path / "named.png", [replace(verdict, series=name)])
    plain, named = (cv2.imread(str(tmp_path / f"{one}.png")) for one in ("plain", "named"))
    assert named.shape == plain.shape
    for part in (slice(0, 100), slice(-100, None)):
        assert (named[part, 860:] != plain[part, 860:]).any(), "among the verdicts, and beside its curve"


def test_a_comparison_shows_every_pixel_of_the_crops_two_by_two(tmp_path):
    rng = np.random.default_rng(0)
    crops = [rng.integers(0, 65535, (60, 80, 3)).astype(np.uint16) for _ in range(3)]
    draw_comparison(tmp_path / "c.png", [("a", crops[0]), ("b", crops[1]), ("c", crops[2])], "title")
    picture = cv2.imread(str(tmp_path / "c.png"))[..., ::-1]
    shown = np.repeat(np.repeat((crops[0] >> 8).astype(np.uint8), 2, 0), 2, 1)
    found = cv2.matchTemplate(np.ascontiguousarray(picture), shown, cv2.TM_SQDIFF).min()
    assert found < 1e-3 * np.sum(shown.astype(float) ** 2)


def test_an_existing_figure_is_not_overwritten(verdict, tmp_path):
    (tmp_path / "quality.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        draw_quality(tmp_path / "quality.png", [verdict])
    assert (tmp_path / "quality.png").read_bytes() == b"mine"


@pytest.mark.parametrize("shape", [(20, 30, 3), (20, 30)])
def test_a_lossless_picture_comes_back_to_the_bit(shape: tuple[int, ...]):
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    kind, data = data_uri(picture).split(",")
    assert kind == "data:image/webp;base64"
    back = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_UNCHANGED)
    back = back[..., ::-1] if picture.ndim == 3 else back[..., 0]  # grey comes back as three equal colours
    np.testing.assert_array_equal(back, picture)


def test_a_thumbnail_is_small():
    picture = cv2.resize(np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8), (120, 80))
    uri = data_uri(picture, lossless=False)
    assert uri.startswith("data:image/jpeg;base64,")
    assert len(uri) < 6000


def test_colours_tell_the_sign_and_stay_within_the_span():
    values = np.array([[-9.0, -1.0, 0.0, 1.0, 9.0]])
    (least, low, middle, high, most), *_ = diverging(values, 1.0).astype(int)
    assert (least == low).all()
    assert (most == high).all()
    assert low[2] > low[0], "blue below"
    assert high[0] > high[2], "orange above"
    assert np.ptp(middle) < 10
    np.testing.assert_array_equal(diverging(values, 1.0, grey=True), [[0, 0, 128, 255, 255]])


def test_a_map_without_any_pattern_is_grey():
    assert np.ptp(diverging(np.zeros((4, 5)), 0.0)) < 10


def dots(svg: str, colour: str) -> list[tuple[float, float]]:
    """Return the places of the dots or ticks of a colour."""
    found = re.findall(rf'<use [^>]*x="([\d.]+)" y="([\d.]+)" style="fill: var\(--{colour}\)', svg)
    return [(float(x), float(y)) for x, y in found if float(x) > 0]  # a band is drawn from the corner


def line(svg: str, colour: str) -> list[tuple[float, float]]:
    """Return the corners of the first line of a colour."""
    path = re.search(rf'<path d="([^"]*)"[^>]* style="fill: none; stroke[^"]*: var\(--{colour}\)', svg)[1]
    return [(float(x), float(y)) for x, y in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path)]


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_a_deviation_chart_has_a_tick_for_every_accepted_frame(verdict):
    svg = deviation_chart("a", verdict, 4 * verdict.sigma)
    assert len(dots(svg, "c1")) == len(verdict.deviations) == 5
    assert 'aria-label="Density of the deviations of 5 frames about their mean; standard deviation' in svg


@pytest.mark.parametrize("deviations", [(0.05,), (0.05, 0.05)])
def test_alike_deviations_are_a_narrow_peak(verdict, deviations):
    alike = replace(verdict, deviations=deviations, mu=0.05, sigma=0.0)
    peak = line(deviation_chart("a", alike, 1e-4), "c0")
    bottom, top = max(y for _, y in peak), min(y for _, y in peak)
    assert len({x for x, y in peak if y < (bottom + top) / 2}) < 3


def on_the_line(*levels: float):
    """Return a channel whose points lie on its line."""
    channel = next(channel for channel in realistic_report().channels if channel.profile.channel == "G1")
    profile = channel.profile
    level = np.array(levels or np.geomspace(1e-3, 0.9, 12))
    return profile, np.stack([level, profile.shot_noise_scale * level + profile.read_noise_variance, level])


def test_points_on_the_line_are_drawn_on_the_line():
    svg = transfer_chart("a", [on_the_line()])
    assert dots(svg, "g") == pytest.approx(np.array(line(svg, "g")), abs=0.01)
    assert len(dots(svg, "g")) == 12


def test_on_logarithmic_axes_a_factor_is_a_distance():
    profile, bins = on_the_line(0.001, 0.01, 0.1)
    bins[1] = 1e-5 * bins[0]
    (x0, y0), (x1, y1), (x2, y2) = dots(transfer_chart("a", [(profile, bins)]), "g")
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.01)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.01)
    assert x0 < x1
    assert y0 > y1, "up is more"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0, -1.0])
def test_a_variance_that_cannot_be_drawn_is_left_out(bad: float):
    profile, bins = on_the_line()
    bins[1, 3] = bad
    assert len(dots(transfer_chart("a", [(profile, bins)]), "g")) == 11


@pytest.mark.parametrize("levels", [(0.1,), (0.1, 0.1), (0.0,)])
def test_few_or_equal_points_make_a_chart_all_the_same(levels: tuple[float, ...]):
    for chart in (transfer_chart, transfer_misfit_chart):
        svg = chart("a", [on_the_line(*levels)])
        assert len(dots(svg, "g")) == len(levels)
        assert len(texts(svg)) > 4, "numbers at both axes"


def test_points_on_the_line_are_off_it_by_nothing_and_inside_its_band():
    svg = transfer_misfit_chart("a", [on_the_line()])
    heights = [y for _, y in dots(svg, "g")]
    assert len(heights) == 12
    assert np.ptp(heights) < 0.01
    path = re.search(r'<path id="[^"]*" d="([^"]*)" style="stroke: var\(--g\); stroke-opacity', svg)[1]
    band = np.array([(float(x), 230 + float(y)) for x, y in re.findall(r"[ML] ([\d.]+) ([-\d.]+)", path)])
    for x, y in dots(svg, "g"):
        ends = band[np.abs(band[:, 0] - x) < 0.01, 1]
        assert min(ends) < y < max(ends)


def test_a_training_chart_marks_the_best_step():
    record = realistic_report().training
    best = record.model_copy(update={"best_step": 200, "best_psnr_db": 40.0, "curve": ((100, 39.0), (200, 40.0))})
    svg = training_chart("a", best)
    (mark,) = dots(svg, "c0")
    assert mark == pytest.approx(line(svg, "c0")[1], abs=0.01)
    assert "40.00 dB at step 200" in svg


def test_axes_are_labelled_with_round_numbers():
    assert texts(transfer_chart("a", [on_the_line()])) == [
        "10", "100", "1,000", "10,000", "signal, DN", "1,000", "3,000", "10,000", "30,000", "100,000", "variance, DN²",
    ]  # fmt: skip
    assert "−5" in texts(transfer_misfit_chart("a", [on_the_line()]))
    record = realistic_report().training
    assert texts(training_chart("a", record))[:3] == ["0", "200", "400"]


def test_a_chart_is_an_element_that_can_be_put_into_a_page():
    svg = transfer_chart("a", [on_the_line()])
    assert svg.startswith('<svg class="chart" viewBox="0 0 400 230" role="img" aria-label="Variance over signal')
    assert svg.endswith("</svg>\n")
    for word in ("<?xml", "<!DOCTYPE", "<style", "<metadata", "font-family", "nan", "http", "#0"):
        assert word not in svg


def test_charts_of_one_page_share_no_id():
    first, second = (
        set(re.findall(r' id="([^"]*)"', transfer_chart(name, [on_the_line()]))) for name in ("first", "second")
    )
    assert first
    assert not first & second


def test_a_chart_is_the_same_again_whatever_the_settings_of_matplotlib():
    svg = transfer_misfit_chart("a", [on_the_line()])
    with matplotlib.rc_context({"text.usetex": True, "lines.linewidth": 9, "font.size": 30, "svg.fonttype": "path"}):
        assert transfer_misfit_chart("a", [on_the_line()]) == svg
        assert matplotlib.rcParams["lines.linewidth"] == 9, "the user's settings are left alone"
