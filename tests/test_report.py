"""Figures are written whole, at the size of their content, and never over an existing file."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from burst_denoise.capture.series import check_frames
from burst_denoise.errors import OutputError
from burst_denoise.judge.report import draw_comparison, draw_quality
from burst_denoise.sensor.synthetic import Fault, SyntheticCamera, shoot


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
