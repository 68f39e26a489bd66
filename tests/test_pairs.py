"""Training pairs: targets that do not know the input's noise, in units of the noise, outside the held-out columns."""

from dataclasses import replace

import numpy as np
import pytest

from burst_denoise.frame.mosaic import BAYER_PHASES
from burst_denoise.model import pairs
from burst_denoise.model.pairs import GUARD, held_out, sample_patches
from burst_denoise.sensor.noise_model import stabilise
from tests.sensors import mosaic
from tests.shots import stored, verdicts

from .conftest import stored_burst


@pytest.fixture
def only_bursts(monkeypatch):
    monkeypatch.setattr(pairs, "CONTENT_SHARE", 0.0)


@pytest.fixture
def only_content(monkeypatch):
    monkeypatch.setattr(pairs, "CONTENT_SHARE", 1.0)


def sample(burst, count=24, patch=32, seed=0):
    return sample_patches([burst], count, patch, np.random.default_rng(seed))


def test_held_out_columns_are_the_right_eighth_and_start_even(burst):
    columns = held_out(burst)
    assert (columns.start, columns.stop) == (224, 256)


def test_a_batch_has_the_shape_asked_for_and_depends_on_the_seed_alone(burst):
    first, again, other = sample(burst), sample(burst), sample(burst, seed=1)
    assert first.noisy.shape == first.target.shape == first.valid.shape == (24, 4, 32, 32)
    assert first.noisy.dtype == first.target.dtype == np.float32
    assert np.array_equal(first.noisy, again.noisy)
    assert not np.array_equal(first.noisy, other.noisy)


@pytest.mark.usefixtures("only_bursts")
def test_noise_of_a_pair_is_one_unit_for_the_frame_and_less_for_the_mean_of_the_others(burst):
    batch = sample(burst, count=64)
    # Frame minus mean of the N - 1 others: variance 1 + 1/(N - 1); 2.6e5 values, so 0.5 % is 1.3 standard errors.
    assert (batch.noisy - batch.target).var() == pytest.approx(1 + 1 / 5, rel=0.02)


@pytest.mark.usefixtures("only_bursts")
def test_pairs_come_from_the_burst_and_never_from_its_held_out_or_guard_columns(burst, monkeypatch):
    cells = set()
    original = type(burst).linear

    def watched(self, index, window):
        cells.add((window[1].start, window[1].stop))
        return original(self, index, window)

    monkeypatch.setattr(type(burst), "linear", watched)
    sample(burst, count=64)
    assert max(stop for _, stop in cells) <= held_out(burst).start - GUARD
    assert min(start for start, _ in cells) < 20


@pytest.mark.usefixtures("only_bursts")
@pytest.mark.parametrize("cfa", BAYER_PHASES)
def test_every_flip_keeps_the_colours_in_their_planes(tmp_path, cfa):
    burst = stored_burst(tmp_path / "phase.burst", cfa=cfa)
    means = stabilise(mosaic(cfa).pack(burst.mean()), burst.profile).mean((1, 2))
    for target in sample(burst, count=40).target:
        found = target.mean((1, 2))
        assert found[0] < 0.9 * found[1]  # the scene is 0.6 : 1 : 0.7 everywhere
        assert found[3] < 0.95 * found[2]
        assert found / found[1] == pytest.approx(means / means[1], rel=0.08)


@pytest.mark.usefixtures("only_bursts")
def test_greens_keep_their_places_under_flips(tmp_path, monkeypatch):
    burst = stored_burst(tmp_path / "greens.burst")
    ramp = np.tile(0.2 + 0.002 * np.arange(256, dtype=np.float32), (176, 1))
    monkeypatch.setattr(pairs, "stabilise", lambda planes, profile: planes)
    object.__setattr__(burst, "leave_one_out_mean", lambda index, window: ramp[window])
    slopes = set()
    for target in sample(burst, count=64, seed=3).target:
        # Linear ramp: whatever the flip, R and G1 lie one photosite apart in their row, R and G2 in their column.
        across = float(np.sign((target[1] - target[0]).mean())), float(np.sign(np.diff(target[0], axis=1).mean()))
        down = float(np.sign((target[2] - target[0]).mean())), float(np.sign(np.diff(target[0], axis=0).mean()))
        moving = across if abs(np.diff(target[0], axis=1).mean()) > abs(np.diff(target[0], axis=0).mean()) else down
        slopes.add(moving[0] == moving[1])
    assert slopes == {True}


@pytest.mark.usefixtures("only_content")
def test_the_noise_of_frames_has_unit_variance_on_clean_pictures(burst):
    batch = sample(burst, count=64)
    noise = batch.noisy - batch.target
    assert noise.var() == pytest.approx(1, rel=0.02)
    assert abs(noise.mean()) < 0.02
    assert abs(np.mean(noise * (batch.target - batch.target.mean()))) < 0.05 * batch.target.std()


@pytest.mark.usefixtures("only_bursts")
def test_saturated_photosites_do_not_count(burst, tmp_path):
    saturated = np.zeros((176, 256), bool)
    saturated[40:60, 40:60] = True
    other = stored_burst(tmp_path / "white.burst")
    object.__setattr__(other, "saturated", saturated)
    valid = sample(other, count=64).valid
    assert set(np.unique(valid)) == {0.0, 1.0}
    assert valid.mean() > 0.9
    assert (sample(burst).valid == 1).all()


def test_a_burst_smaller_than_a_patch_is_refused_by_name(burst):
    with pytest.raises(ValueError, match=r"scene: 176x208 photosites are too few for patches of 258"):
        sample(burst, count=64, patch=128)


@pytest.mark.usefixtures("only_bursts")
def test_defects_do_not_count_and_are_in_neither_input_nor_target(tmp_path):
    as_shot = stored_burst(tmp_path / "as_shot.burst")
    defects = np.zeros((176, 256), bool)
    defects[::16, ::16] = True
    frames = [as_shot.frame(index) for index in range(len(as_shot))]
    frames = [replace(frame, dn=np.where(defects, 15000, frame.dn).astype(np.uint16)) for frame in frames]  # near white
    burst = stored(tmp_path / "hot.burst", "hot", frames, verdicts(frames), 0.1, 1e-4, defects=defects)
    batch = sample(burst, count=32)
    assert 0.994 < batch.valid.mean() < 0.998  # one in 256
    white = stabilise(np.full((4, 1, 1), 0.9, np.float32), burst.profile)
    assert (batch.noisy < white).all()
    assert (batch.target < white).all()
