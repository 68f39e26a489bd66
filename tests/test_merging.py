"""Merging: what a single frame shows is no part of the mean; what is overexposed in some frames is not darkened."""

from pathlib import Path

import numpy as np
import pytest

from burst_denoise.burst.merging import _censored_mean, merge_frames
from burst_denoise.frame.frame import Frame, to_linear
from burst_denoise.frame.synthetic import SyntheticCamera, shoot
from burst_denoise.jobs.ingest import ingest
from burst_denoise.sensor.noise_model import noise_variance
from tests.shots import burst_frames, scene, stored, verdicts, write_frames

PERFECT = SyntheticCamera(hot_fraction=0, prnu=0, dark_offset_std_dn=0)
SIZE = (192, 224)


def with_object(frame: Frame, place: tuple[slice, slice], deviations: float) -> Frame:
    """Return a frame with something in it that is brighter by so many standard deviations of the noise."""
    light = np.maximum(frame.dn[place].astype(float) - 2048, 0)
    added = deviations * np.sqrt(PERFECT.gain(1600) * light + PERFECT.read_noise_variance_dn(1600))
    frame.dn[place] = np.rint(frame.dn[place] + added).astype(frame.dn.dtype)
    return frame


def test_an_object_in_one_frame_costs_nothing_beside_the_merge_without_that_frame(tmp_path: Path):
    frames, clean_dn = shoot(PERFECT, scene(SIZE), 1600, 10, 1)
    clean = to_linear(clean_dn, frames[0].info)
    place = (slice(60, 72), slice(80, 92))
    frames[3] = with_object(frames[3], place, 5)
    write_frames(tmp_path / "in", frames)
    (burst,) = ingest([tmp_path / "in"], tmp_path / "bursts")
    assert len(burst) == 10, "the quality checks keep it"
    around = (slice(52, 80), slice(72, 100))
    merged, without = merge_frames(burst), merge_frames(burst, [0, 1, 2, *range(4, 10)])

    def error(image: np.ndarray) -> float:
        return float(np.mean((image[around] - clean[around]) ** 2))

    assert 10 * np.log10(error(burst.mean()) / error(without.mean)) > 0.7
    assert 10 * np.log10(error(merged.mean) / error(without.mean)) < 0.1
    assert merged.left_out[3] > 144 / clean.size
    assert sum(merged.left_out) - merged.left_out[3] < 0.001
    assert merged.count == 10


@pytest.mark.parametrize("iso", [100, 1600, 12800])
@pytest.mark.parametrize("count", [3, 10])
def test_of_frames_that_show_the_same_hardly_a_photosite_is_left_out(tmp_path: Path, iso: int, count: int):
    frames, _ = shoot(SyntheticCamera(), scene(SIZE), iso, count, iso)
    burst = stored(tmp_path / "a.burst", "a", frames, verdicts(frames), 0.1, 0.001)
    assert max(merge_frames(burst).left_out) < 2e-3


def test_a_leaf_that_moves_in_all_frames_stays_what_it_is(tmp_path: Path):
    frames = burst_frames(6, size=SIZE)
    rng = np.random.default_rng(0)
    for frame in frames:  # another one in each frame
        frame.dn[40:60, 40:60] += rng.integers(0, 3000, (20, 20), dtype=np.uint16)
    burst = stored(tmp_path / "a.burst", "a", frames, verdicts(frames), 0.1, 0.001)
    merged = merge_frames(burst)
    assert max(merged.left_out) < 0.002
    assert np.median(np.abs(merged.mean - burst.mean())[40:60, 40:60]) < 1e-6


def test_a_cosmic_ray_in_one_photosite_is_left_out(tmp_path: Path):
    frames, clean_dn = shoot(PERFECT, scene(SIZE), 1600, 4, 1)
    clean = to_linear(clean_dn, frames[0].info)
    frames[2].dn[101, 77] += 2000
    burst = stored(tmp_path / "a.burst", "a", frames, verdicts(frames), 0.1, 0.001)
    noise = np.sqrt(noise_variance(burst.mosaic.pack(clean), burst.profile)).max()
    assert abs(merge_frames(burst).mean[101, 77] - clean[101, 77]) < 3 * noise / np.sqrt(3)


@pytest.mark.parametrize("above", [-1.0, -0.5, 0.0])
def test_what_noise_brings_to_the_white_level_in_some_frames_is_not_darkened(above: float):
    std, white = 0.01, 1.0
    true = white + above * std
    shots = np.random.default_rng(0).normal(true, std, (10, 20_000)).astype(np.float32)
    over = shots >= white
    seen = np.minimum(shots, white)
    some = over.any(axis=0) & ~over.all(axis=0)
    found = seen.mean(axis=0)
    darkened = np.where(over, 0, seen).sum(axis=0) / np.maximum((~over).sum(axis=0), 1)
    bias = (np.where(some, darkened, found).mean() - true) / std
    found[some] = _censored_mean(seen[:, some], over[:, some], ~over[:, some], np.full(some.sum(), std, np.float32))
    assert bias < -0.25
    assert abs(found.mean() - true) / std < 0.05


def test_frames_of_another_number_are_merged_alone_and_two_are_averaged(tmp_path: Path):
    frames = burst_frames(5, size=SIZE)
    burst = stored(tmp_path / "a.burst", "a", frames, verdicts(frames), 0.1, 0.001)
    two = merge_frames(burst, [1, 3])
    counts = ~burst.saturated
    assert np.abs(two.mean - np.mean([burst.linear(1), burst.linear(3)], axis=0))[counts].max() < 1e-6
    assert (two.count, two.left_out) == (2, (0.0, 0.0))


def test_the_profile_of_a_mean_is_that_of_a_frame_by_their_number(tmp_path: Path):
    frames = burst_frames(4)
    burst = stored(tmp_path / "a.burst", "a", frames, verdicts(frames), 0.1, 0.001)
    profile, mean = burst.profile, merge_frames(burst).profile
    planes = np.full((4, 2, 2), 0.3, np.float32)
    assert noise_variance(planes, mean) == pytest.approx(noise_variance(planes, profile) / 4, rel=1e-5)
