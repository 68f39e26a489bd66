"""Photon transfer: the fit of the noise profile against known truth, simulated and real."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from burst_denoise.frame.frame import to_linear
from burst_denoise.frame.mosaic import MONO, RGGB, Mosaic
from burst_denoise.io.raw import read_raw
from burst_denoise.schemas import FrameInfo
from burst_denoise.sensor.photon_transfer import (
    fit_measurements,
    fit_noise_profile,
    measure_pair_noise,
    ratio_of_sums,
    transfer_samples,
)
from tests.sensors import mosaic

SHOT = 4e-4
READ = 2e-6


def scene(height: int = 192, width: int = 256) -> np.ndarray:
    """Return blocks and ramps from black to 0.7."""
    rows, columns = np.mgrid[:height, :width]
    return (0.7 * columns / width * (0.4 + 0.6 * ((rows // 16 + columns // 16) % 2))).astype(np.float32)


def exposures(clean: np.ndarray, count: int, seed: int, row_noise: float = 0.0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        noisy = SHOT * rng.poisson(clean / SHOT) + math.sqrt(READ) * rng.standard_normal(clean.shape)
        noisy += row_noise * rng.standard_normal((clean.shape[0], 1))
        frames.append(noisy.astype(np.float32))
    return frames


def row_noise_variance(frames: list[np.ndarray]) -> float:
    return float(ratio_of_sums(transfer_samples(frames, MONO).rows[0].sum(axis=-1)))


@pytest.mark.parametrize("cfa", ["RGGB", "GBRG", None])
def test_fit_finds_the_two_terms_of_the_noise(cfa: str | None):
    found = fit_noise_profile([exposures(scene(512, 512), 10, 1)], mosaic(cfa), 800)
    assert found.iso == 800
    assert len(found.shot_noise_scale) == (1 if cfa is None else 4)
    assert found.shot_noise_scale == pytest.approx([SHOT] * len(found.shot_noise_scale), rel=0.01)
    assert found.read_noise_variance == pytest.approx([READ] * len(found.shot_noise_scale), rel=0.1)


@pytest.mark.parametrize("cfa", ["GBRG", None])
def test_a_noisy_and_a_clean_image_tell_the_two_terms_of_the_noise(cfa: str | None):
    clean = scene(512, 512)
    noise = measure_pair_noise(exposures(clean, 1, 4)[0], clean, mosaic(cfa))
    found = fit_measurements([noise], 800)
    assert found.shot_noise_scale == pytest.approx([SHOT] * len(found.shot_noise_scale), rel=0.03)
    assert found.read_noise_variance == pytest.approx([READ] * len(found.shot_noise_scale), rel=0.2)


def test_fit_tells_the_planes_apart():
    clean = scene()
    frames = exposures(clean, 10, 2)
    rng = np.random.default_rng(5)
    for frame in frames:
        frame[1::2, 1::2] += 0.01 * rng.standard_normal(frame[1::2, 1::2].shape, np.float32)
    found = fit_noise_profile([frames], RGGB, None)
    assert found.read_noise_variance[:3] == pytest.approx([READ] * 3, rel=0.15)
    assert found.read_noise_variance[3] == pytest.approx(READ + 1e-4, rel=0.05)


def test_several_stacks_of_two_frames_make_a_photon_transfer():
    stacks = [exposures(np.full((64, 64), level, np.float32), 2, seed) for seed, level in enumerate((0.01, 0.2, 0.6))]
    assert fit_noise_profile(stacks, MONO, None).shot_noise_scale[0] == pytest.approx(SHOT, rel=0.03)


def test_slow_drift_of_the_light_cancels():
    drifting = [frame * np.float32(1 + 0.002 * k) for k, frame in enumerate(exposures(scene(), 10, 3))]
    assert fit_noise_profile([drifting], MONO, None).shot_noise_scale[0] == pytest.approx(SHOT, rel=0.04)


def test_clipped_highlights_do_not_flatten_the_line():
    clean = 1.6 * scene()
    clipped = [np.minimum(frame, 1) for frame in exposures(clean, 10, 4)]
    assert fit_noise_profile([clipped], MONO, None).shot_noise_scale[0] == pytest.approx(SHOT, rel=0.02)


def test_flickering_defects_do_not_raise_the_noise():
    frames = exposures(scene(), 10, 5)
    rng = np.random.default_rng(6)
    rows, columns = rng.integers(0, 192, 40), rng.integers(0, 256, 40)
    for frame in frames:
        frame[rows, columns] += rng.choice([0, 0.5], 40).astype(np.float32)
    found = fit_noise_profile([frames], MONO, None)
    assert found.shot_noise_scale[0] == pytest.approx(SHOT, rel=0.03)
    assert found.read_noise_variance[0] == pytest.approx(READ, rel=0.25)


def test_row_noise_is_measured_apart():
    quiet, loud = exposures(scene(), 10, 7), exposures(scene(), 10, 7, row_noise=2e-3)
    assert row_noise_variance(quiet) < 2e-7
    assert row_noise_variance(loud) == pytest.approx(4e-6, rel=0.15)
    assert fit_noise_profile([loud], MONO, None).read_noise_variance[0] == pytest.approx(READ + 4e-6, rel=0.15)


def test_noise_that_falls_with_the_light_gets_a_flat_line():
    rng = np.random.default_rng(8)
    clean = scene()
    frames = [clean + (0.02 - 0.02 * clean) * rng.standard_normal(clean.shape).astype(np.float32) for _ in range(8)]
    assert fit_noise_profile([frames], MONO, None).shot_noise_scale == (0.0,)


def test_small_pictures_have_fewer_bins():
    found = fit_noise_profile([exposures(scene(20, 24), 40, 11)], MONO, None)
    assert found.shot_noise_scale[0] == pytest.approx(SHOT, rel=0.15)
    assert fit_noise_profile([exposures(scene(3, 4), 9, 12)], MONO, None).shot_noise_scale[0] >= 0


def test_unfit_stacks_are_refused():
    frame = np.full((32, 32), 0.2, np.float32)
    with pytest.raises(ValueError, match="no stack given"):
        fit_noise_profile([], MONO, None)
    with pytest.raises(ValueError, match=r"a stack of 1 frame\(s\) has no temporal noise; 2 are needed"):
        fit_noise_profile([[frame]], MONO, None)
    with pytest.raises(ValueError, match="white level"):
        fit_noise_profile([[frame + 1, frame + 1.001]], MONO, None)


def test_stacks_of_one_level_each_are_fitted_together():
    rng = np.random.default_rng(0)
    stacks = [
        [(level + rng.normal(0, math.sqrt(SHOT * level + READ), (60, 60))).astype(np.float32) for _ in range(8)]
        for level in (0.0, 0.4)
    ]
    found = fit_noise_profile(stacks, MONO, 800)
    assert found.shot_noise_scale[0] == pytest.approx(SHOT, rel=0.03)
    assert found.read_noise_variance[0] == pytest.approx(READ, rel=0.1)


def test_gain_of_a_real_ccd_is_that_of_the_emva_reference(shared_data: Path):
    # 0.2801 DN/e- and 3.073 DN: package emva1288 1.0.2, the EMVA 1288 reference implementation, on the full set.
    import cv2

    folder = shared_data / "emva_ccd12"
    info = FrameInfo(
        domain="mono", camera=None, cfa=None, height=480, width=640, black_level=(0.0,), white_level=4095.0
    )
    pairs = []
    for first in sorted([*folder.glob("b_0*_snap_001.png"), *folder.glob("d_0*_snap_001.png")]):
        names = (first, first.with_name(first.name.replace("001.png", "002.png")))
        pairs.append([to_linear(cv2.imread(str(name), cv2.IMREAD_UNCHANGED), info) for name in names])
    found = fit_noise_profile(pairs, MONO, None)
    assert found.shot_noise_scale[0] * 4095 == pytest.approx(0.2801, rel=0.03)


@pytest.mark.parametrize("scene", ["kodim01", "kodim02", "kodim03"])
@pytest.mark.parametrize("iso", [1600, 6400])
def test_gain_of_every_plane_of_a_simulated_burst_is_within_5_percent_of_the_truth(shared_data: Path, scene, iso):
    folder = shared_data / "sim_canon700d" / f"{scene}_iso{iso}"
    frames = [read_raw(folder / f"frame_{k:03d}.dng") for k in range(10)]
    info = frames[0].info
    profile = fit_noise_profile([[frame.linear for frame in frames]], Mosaic.of(info), info.iso)
    gains = np.array(profile.shot_noise_scale) * (info.white_level - info.black_level[0])
    truth = json.loads((folder / "truth.json").read_text())["gain_dn_per_e"]
    assert gains == pytest.approx(truth, rel=0.05)
