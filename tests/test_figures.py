"""Figures are written whole, at the size of their content, and never over an existing file; charts show their data."""

import base64
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from burst_denoise.burst.series import check_frames
from burst_denoise.errors import OutputError
from burst_denoise.frame.synthetic import Fault, SyntheticCamera, shoot
from burst_denoise.reporting.figures import (
    data_uri,
    deviation_chart,
    diverging,
    draw_comparison,
    draw_quality,
    pattern_figure,
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


def test_a_map_without_any_pattern_is_drawn_all_the_same():
    assert 'alt="flat &lt;1&gt;"' in pattern_figure("flat <1>", np.zeros((4, 5)), "%")


def test_a_deviation_chart_has_a_tick_for_every_accepted_frame(verdict):
    svg = deviation_chart(verdict, 4 * verdict.sigma)
    ticks = re.search(r'class="ticks c1" d="([^"]*)"', svg)[1]
    assert ticks.count("M") == len(verdict.deviations) == 5


@pytest.mark.parametrize("deviations", [(0.05,), (0.05, 0.05)])
def test_alike_deviations_are_a_narrow_peak(verdict, deviations):
    alike = replace(verdict, deviations=deviations, mu=0.05, sigma=0.0)
    assert "nan" not in deviation_chart(alike, 1e-4)


def on_the_line():
    """Return a channel whose points lie on its line."""
    channel = next(channel for channel in realistic_report().channels if channel.profile.channel == "G1")
    profile = channel.profile
    level = np.geomspace(1e-3, 0.9, 12)
    return profile, np.stack([level, profile.shot_noise_scale * level + profile.read_noise_variance, level])


def test_points_on_the_line_are_drawn_on_the_line():
    svg = transfer_chart([on_the_line()])
    dots = re.findall(r"M([\d.]+ [\d.]+)h0", re.search(r'class="dots g" d="([^"]*)"', svg)[1])
    corners = re.search(r'class="line g" d="M([^"]*)"', svg)[1].split("L")
    assert dots == corners
    assert len(dots) == 12


def test_points_on_the_line_are_off_it_by_nothing_and_inside_its_band():
    svg = transfer_misfit_chart([on_the_line()])
    heights = {float(y) for y in re.findall(r"M[\d.]+ ([\d.]+)h0", svg)}
    assert max(heights) - min(heights) < 0.11
    band = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", re.search(r'class="band g" d="([^"]*)"', svg)[1])]
    assert max(band[:12]) > max(heights)
    assert min(band[12:]) < min(heights)
    assert min(band[:12]) > max(band[12:]), "its low end lies below its high end"


def test_a_training_chart_marks_the_best_step():
    record = realistic_report().training
    best = record.model_copy(update={"best_step": 200, "best_psnr_db": 40.0, "curve": ((100, 39.0), (200, 40.0))})
    svg = training_chart(best)
    assert re.search(r'class="mark c0" d="M([\d. ]+)h0"', svg)[1] in re.search(r'class="line c0" d="([^"]*)"', svg)[1]
    assert "40.00 dB at step 200" in svg
