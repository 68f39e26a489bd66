"""Clean content: bundled pictures through a random camera."""

import numpy as np
import pytest

from burst_denoise.frame.mosaic import RGGB
from burst_denoise.model.content import (
    PICTURES,
    VALIDATION_PICTURES,
    content_patch,
    content_pictures,
    rggb_planes,
    training_content,
    validation_content,
)
from tests.sensors import seen_through


def test_the_pictures_come_with_scikit_image_and_leave_out_the_scene_of_the_demo():
    pictures = content_pictures() + content_pictures(VALIDATION_PICTURES)
    assert len(pictures) == len(PICTURES) + len(VALIDATION_PICTURES)
    assert "coffee" not in PICTURES + VALIDATION_PICTURES
    assert all(
        p.ndim == 3 and p.shape[2] == 3 and p.dtype == np.float32 and 0 <= p.min() < p.max() <= 1 for p in pictures
    )


def test_no_picture_is_both_trained_on_and_examined_on():
    assert not set(PICTURES) & set(VALIDATION_PICTURES)
    whole, training, validation = content_pictures(), training_content(), validation_content()
    parts = list(validation[len(VALIDATION_PICTURES) :])
    for picture, seen in zip(whole, training, strict=True):
        unseen = parts.pop(0) if seen.shape != picture.shape else picture[:, :0]
        assert np.array_equal(np.hstack([seen, unseen]), picture)
    assert not parts


def test_a_gain_is_measured_on_ten_pictures_at_least():
    assert len(validation_content()) >= 10


@pytest.mark.parametrize(("domain", "planes"), [("bayer", 4), ("mono", 1), ("rgb", 3)])
def test_a_patch_has_the_planes_of_its_domain_and_stays_below_white(domain, planes):
    rng = np.random.default_rng(1)
    for _ in range(20):
        patch = content_patch(content_pictures(), domain, 24, rng)
        assert patch.shape == (planes, 24, 24)
        assert patch.dtype == np.float32
        assert 0 <= patch.min() <= patch.max() <= 1


def test_a_mosaic_sees_red_at_its_top_left_blue_at_its_bottom_right_and_green_between():
    picture = np.arange(2 * 4 * 3, dtype=np.float32).reshape(2, 4, 3)
    red, green_1, green_2, blue = (plane.tolist() for plane in rggb_planes(picture))
    assert red == [[picture[0, 0, 0], picture[0, 2, 0]]]
    assert green_1 == [[picture[0, 1, 1], picture[0, 3, 1]]]
    assert green_2 == [[picture[1, 0, 1], picture[1, 2, 1]]]
    assert blue == [[picture[1, 1, 2], picture[1, 3, 2]]]
    assert np.array_equal(rggb_planes(picture), RGGB.pack(seen_through("RGGB", picture)))


def test_a_mosaic_patch_lays_the_picture_out_as_rggb():
    y, x = np.mgrid[:200, :200].astype(np.float32) / 200
    ramp = np.stack((x, (x + y) / 2, y), 2)
    patch = content_patch([ramp], "bayer", 32, np.random.default_rng(5))
    assert np.allclose(patch[1], patch[2], atol=0.1 * patch.max())  # the two greens see nearly the same


def test_content_for_developed_pictures_is_on_a_curve_and_other_is_linear():
    linear, curved = (
        content_patch(content_pictures(), "rgb", 16, np.random.default_rng(3), developed=developed)
        for developed in (False, True)
    )
    assert curved == pytest.approx(np.sqrt(linear))


def test_the_same_seed_gives_the_same_patch():
    first, second = (content_patch(content_pictures(), "rgb", 16, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first, second)
