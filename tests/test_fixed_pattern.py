"""Fixed pattern: what is found of it, against known truth."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from burst_denoise.frame.mosaic import MONO
from burst_denoise.sensor.fixed_pattern import flat_field, master_dark, photo_response, sensitivity
from burst_denoise.sensor.moments import frame_moments
from tests.sensors import mosaic


def sensor(size: tuple[int, ...] = (256, 320), dsnu: float = 0.001, prnu: float = 0.01, seed: int = 0):
    """Return the dark offsets and sensitivities of a sensor, and a function that takes frames of a light level."""
    rng = np.random.default_rng(seed)
    offset = dsnu * rng.standard_normal(size)
    sensitivity = 1 + prnu * rng.standard_normal(size)

    def shoot(level: np.ndarray | float, count: int) -> list[np.ndarray]:
        clean = level * sensitivity + offset
        noise = np.sqrt(1e-4 * np.maximum(level, 0) + 1e-6)
        return [(clean + noise * rng.standard_normal(size)).astype(np.float32) for _ in range(count)]

    return offset, sensitivity, shoot


@pytest.mark.parametrize(("cfa", "planes"), [("RGGB", 4), ("GBRG", 4), (None, 1)])
def test_non_uniformity_of_darks_and_flats_is_the_true_one(cfa: str | None, planes: int):
    offset, _, shoot = sensor()
    dark = master_dark(shoot(0.0, 16), mosaic(cfa))
    assert np.allclose(dark.mean, offset, rtol=0, atol=6 * 1e-3 / 4)
    assert (dark.count, len(dark.dsnu.fine)) == (16, planes)
    flat = photo_response(frame_moments(shoot(0.5, 16)), dark, mosaic(cfa))
    for found, true in ((dark.dsnu, 0.001), (flat, 0.01)):
        for estimate in (*found.fine, *found.whole):
            assert estimate.value == pytest.approx(true, rel=0.05)
            assert estimate.low < estimate.value < estimate.high < estimate.low + 0.2 * true
    assert dark.variance.mean() == pytest.approx(1e-6, rel=0.01)


def test_the_noise_of_few_frames_is_no_pattern():
    *_, shoot = sensor(dsnu=0, prnu=0)
    assert master_dark(shoot(0.0, 3), MONO).dsnu.fine[0].low == 0
    assert photo_response(frame_moments(shoot(0.5, 3)), None, MONO).fine[0].low == 0


def test_shading_is_told_apart_from_what_differs_from_photosite_to_photosite():
    *_, shoot = sensor()
    rows = np.linspace(-1, 1, 256)[:, None]
    flats = frame_moments(shoot(0.5 * (1 - 0.2 * rows**2), 16))
    flat = photo_response(flats, master_dark(shoot(0.0, 16), MONO), MONO)
    assert flat.fine[0].value == pytest.approx(0.01, rel=0.05)
    assert flat.whole[0].value == pytest.approx(np.hypot(0.01, np.std(0.2 * rows**2) / (1 - 0.2 / 3)), rel=0.05)


def test_hot_photosites_are_no_dark_signal_non_uniformity():
    *_, shoot = sensor()
    hot = np.zeros((256, 320))
    hot[::40, ::40] = 0.3
    found = master_dark([frame + hot.astype(np.float32) for frame in shoot(0.0, 16)], MONO)
    assert found.dsnu.fine[0].value == pytest.approx(0.001, rel=0.06)
    assert found.offset[40, 80] == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize(("dsnu", "count"), [(0.0, 16), (0.0002, 16), (0.001, 16), (0.001, 4)])
def test_what_is_subtracted_leaves_no_more_pattern_than_there_was(dsnu: float, count: int):
    offset, _, shoot = sensor(dsnu=dsnu)
    dark = master_dark(shoot(0.0, count), MONO)
    left, plain = ((image - offset).std() for image in (dark.offset, dark.mean))
    noise_std = 1e-3 / np.sqrt(count)
    assert left < 1.02 * plain
    # The least error of a linear estimate; 1/31 of the noise is in the shading.
    assert left == pytest.approx(dsnu * noise_std / np.hypot(dsnu, noise_std), abs=0.06 * noise_std)
    assert dark.residual_std[0] == pytest.approx(left, abs=0.06 * noise_std)


def test_slow_dark_shading_is_subtracted_in_full():
    *_, shoot = sensor(dsnu=0.0)
    glow = 0.01 * np.linspace(0, 1, 320) ** 2
    dark = master_dark([frame + glow.astype(np.float32) for frame in shoot(0.0, 16)], MONO)
    assert (dark.offset - glow).std() < 1e-4


@pytest.mark.parametrize(("prnu", "count"), [(0.0, 16), (0.002, 16), (0.01, 16), (0.01, 4)])
def test_what_is_divided_by_leaves_no_more_pattern_than_there_was(prnu: float, count: int):
    rng = np.random.default_rng(12)
    response = 1 + prnu * rng.standard_normal((256, 320))
    frames = [(0.5 * response + 4e-3 * rng.standard_normal(response.shape)).astype(np.float32) for _ in range(count)]
    frames[0][40, 80] = frames[1][40, 80] = 0.0
    flats = frame_moments(frames)
    field = flat_field(flats, None, MONO, photo_response(flats, None, MONO), sensitivity(flats, None, MONO))
    left = (response / field.sensitivity).std()
    noise_std = 8e-3 / np.sqrt(count)
    # The least error of a linear estimate; 1/31 of the noise is in the shading.
    assert left == pytest.approx(prnu * noise_std / np.hypot(prnu, noise_std), abs=0.06 * noise_std)
    (least,), (most,) = field.residual_prnu
    assert least < left + 0.05 * noise_std
    assert left - 0.05 * noise_std < most < least + 0.2 * noise_std
    assert field.sensitivity[40, 80] == 1  # a defect is repaired, not divided


def test_a_dark_flat_and_a_single_frame_are_refused():
    *_, shoot = sensor((32, 32))
    with pytest.raises(ValueError, match="the flats are dark"):
        photo_response(frame_moments(shoot(0.0, 4)), None, MONO)
    with pytest.raises(ValueError, match="2 are needed"):
        master_dark(shoot(0.0, 1), MONO)


def test_inputs_are_not_changed():
    *_, shoot = sensor((32, 32))
    frames = shoot(0.5, 3)
    before = [frame.copy() for frame in frames]
    photo_response(frame_moments(frames), master_dark(shoot(0.0, 3), MONO), MONO)
    assert all(np.array_equal(a, b) for a, b in zip(frames, before, strict=True))


def test_the_figures_of_the_emva_reference_are_met(shared_data: Path):
    # Golden: package emva1288 1.0.2 on 50 dark and 50 bright frames of the set, of which these are 20 and 20.
    folder = shared_data / "emva_ccd12"
    darks, flats = (
        [cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.float32) for path in sorted(folder.glob(f"{kind}_s_*"))]
        for kind in "db"
    )
    black = np.float32(np.mean(darks))
    span, gain = 4095 - black, 0.2801
    dark = master_dark([(frame - black) / span for frame in darks], MONO)
    flat = photo_response(frame_moments((frame - black) / span for frame in flats), dark, MONO)
    (dsnu,), (prnu,) = dark.dsnu.whole, flat.whole
    assert dsnu.value * span / gain == pytest.approx(0.553, rel=0.15)
    assert prnu.value == pytest.approx(0.00433, rel=0.10)
    assert prnu.low < 0.00433 < prnu.high
    # Nearly all of it is the shading of sensor and lamp.
    assert flat.fine[0].value < 0.7 * prnu.value
    assert dark.dsnu.fine[0].value < 0.5 * dsnu.value
