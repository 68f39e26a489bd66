"""Procedural noise: its statistics in closed form, its chunks there and back, its batches whatever the processes."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

import burst_denoise as bd
from experiments.chunks import join, reflected, split
from experiments.noisy_batches import LOADED, BatchRecipe, NoisyBatches, batch_group
from experiments.procedural_noise import (
    KINDS,
    MIXTURE,
    Bounds,
    Noise,
    bundled_pictures,
    folder_pictures,
    gaussian_noise,
    held_out_scenes,
    noise_data,
    picture_files,
    procedural_noise,
    random_noise,
)

PROJECT = Path(__file__).resolve().parent.parent
GREY = np.full((3, 300, 400), 0.25, np.float32)
EVERYWHERE = 1.0


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# Noise


@pytest.mark.parametrize(
    ("kind", "variance"),
    [
        ("gaussian", 0.1**2),
        ("poisson", 0.1**2 * 0.25),  # a step of 0.01, counts of mean and variance 25: 0.01^2 x 25
        ("speckle", 0.1**2 * 0.25**2),
    ],
)
@pytest.mark.parametrize("size", [1, 3])
def test_mean_and_variance_are_those_of_the_closed_form(kind, variance, size):
    noisy = Noise(kind, 0.1, size, EVERYWHERE).add(GREY, rng())
    grains = GREY.size / size**2
    assert noisy.mean() == pytest.approx(0.25, abs=4 * math.sqrt(variance / grains))
    assert noisy.var() == pytest.approx(variance, rel=5 * math.sqrt(2 / grains))


def test_poisson_variance_grows_with_the_mean_and_speckle_with_its_square():
    def variance(kind: str, level: float) -> float:
        return float(Noise(kind, 0.1, 1, EVERYWHERE).add(np.full_like(GREY, level), rng()).var())

    assert variance("poisson", 0.8) / variance("poisson", 0.2) == pytest.approx(4, rel=0.03)
    assert variance("speckle", 0.8) / variance("speckle", 0.2) == pytest.approx(16, rel=0.03)


def test_quantity_is_the_share_of_noisy_pixels():
    noisy = Noise("gaussian", 0.1, 1, 0.3).add(GREY, rng())
    assert (noisy != GREY).mean() == pytest.approx(0.3, abs=0.005)
    assert noisy.var() == pytest.approx(0.3 * 0.1**2, rel=0.03)


def test_salt_is_white_and_pepper_black_in_the_share_asked_for():
    salted = Noise("salt", 1, 1, 0.05).add(GREY, rng())
    assert (salted == 1).mean() == pytest.approx(0.05, abs=0.002)
    assert set(np.unique(salted)) == {np.float32(0.25), np.float32(1)}
    both = Noise("salt and pepper", 1, 1, 0.05).add(GREY, rng())
    assert (both == 1).mean() == pytest.approx(0.025, abs=0.0015)
    assert (both == 0).mean() == pytest.approx(0.025, abs=0.0015)


@pytest.mark.parametrize("kind", KINDS)
def test_a_grain_is_a_square_of_equal_pixels(kind):
    change = Noise(kind, 0.5, 2, 0.5).add(GREY, rng()) - GREY
    grains = change.reshape(3, 150, 2, 200, 2)
    assert (grains == grains[:, :, :1, :, :1]).all()
    across = change[..., :-1] != change[..., 1:]
    assert across[..., 1::2].any()


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_any_size_keep_size_and_type(kind):
    clean = rng().random((3, 5, 7), np.float32)
    before = clean.copy()
    noisy = Noise(kind, 0.1, 3, 0.7).add(clean, rng())
    assert (noisy.shape, noisy.dtype) == (clean.shape, np.float32)
    np.testing.assert_array_equal(clean, before)


def test_noise_is_drawn_within_its_bounds_and_combined():
    counts = set()
    for seed in range(300):
        layers = random_noise(rng(seed))
        counts.add(len(layers))
        assert len({layer.kind for layer in layers}) == len(layers)
        for layer in layers:
            bounds = MIXTURE[layer.kind]
            for name in ("strength", "size", "quantity"):
                low, high = getattr(bounds, name)
                assert low <= getattr(layer, name) <= high
    assert counts == {1, 2, 3}


def test_both_ends_of_the_grain_size_are_drawn():
    bounds = {"gaussian": Bounds((0.1, 0.1), (1, 2), (1, 1))}
    assert {random_noise(rng(seed), bounds)[0].size for seed in range(20)} == {1, 2}


def test_intensity_is_the_root_mean_square_of_the_noise():
    noisy = procedural_noise(GREY, rng(3))
    assert noisy.intensity == pytest.approx(np.square(noisy.picture - GREY).mean() ** 0.5)
    assert 1 <= noisy.size <= 3
    gaussian = gaussian_noise(GREY, rng())
    assert (gaussian.picture - GREY).var() == pytest.approx(0.01, rel=0.02)
    assert gaussian.intensity == pytest.approx(0.1)


# Chunks


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 80), st.integers(1, 80))),
    st.sampled_from((1, 32, 48, 64)),
)
def test_a_split_picture_joins_to_the_same(picture, side):
    chunks = list(split(picture, side))
    assert all(chunk.shape == (len(picture), side, side) for chunk in chunks)
    assert len(chunks) == math.ceil(picture.shape[1] / side) * math.ceil(picture.shape[2] / side)
    joined = join(chunks, picture.shape, side)
    assert joined.dtype == picture.dtype
    np.testing.assert_array_equal(joined, picture)


def test_the_last_chunk_goes_on_by_reflection():
    np.testing.assert_array_equal(reflected(3, 8), [0, 1, 2, 1, 0, 1, 2, 1])
    picture = np.arange(6).reshape(2, 3)
    (chunk,) = split(picture, 4)
    np.testing.assert_array_equal(chunk, np.pad(picture, ((0, 2), (0, 1)), mode="reflect"))


def test_chunks_missing_or_too_many_are_refused():
    chunks = list(split(np.zeros((40, 40)), 32))
    for wrong in (chunks[:-1], [*chunks, chunks[0]]):
        with pytest.raises(ValueError, match="argument 2 is"):
            join(wrong, (40, 40), 32)


def test_a_picture_without_pixels_is_refused():
    with pytest.raises(ValueError, match="cannot split a picture of 0x5 into chunks of 32"):
        next(split(np.zeros((3, 0, 5)), 32))


def test_a_hundred_megapixels_pass_from_file_to_file_chunk_by_chunk(tmp_path):
    shape = (10_000, 10_000)
    picture = np.memmap(tmp_path / "picture", np.uint8, "w+", shape=shape)
    picture[::7] = np.arange(10_000) % 251
    copy = np.memmap(tmp_path / "copy", np.uint8, "w+", shape=shape)
    assert join(split(picture, 64), shape, 64, out=copy) is copy
    assert all((picture[row : row + 500] == copy[row : row + 500]).all() for row in range(0, 10_000, 500))


# Data sets


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Thirty-two small pictures, each of one colour and a ramp."""
    path = tmp_path_factory.mktemp("pictures")
    ramp = np.tile(np.arange(100), (90, 1))
    for index in range(32):
        colours = np.dstack((ramp, ramp + index, np.full_like(ramp, 4 * index)))
        Image.fromarray(colours.astype(np.uint8)).save(path / f"{index:02d}.png")
    (path / "README.md").write_text("not a picture")
    return path


def test_no_picture_is_trained_on_and_held_out(folder):
    training, validation, test = picture_files(folder)
    assert (len(training), len(validation), len(test)) == (29, 1, 2)
    assert len({*training, *validation, *test}) == 32
    clean = folder_pictures(folder)
    blues = [{int(picture[2, 0, 0]) for picture in part} for part in (clean.training, clean.validation, clean.test)]
    assert sum(map(len, blues)) == len(set.union(*blues)) == 32


def test_a_folder_of_few_pictures_is_refused(tmp_path):
    with pytest.raises(bd.InputFileError, match=r"has 0 pictures .* at least 16"):
        picture_files(tmp_path)
    with pytest.raises(bd.InputFileError, match=r"nowhere: has 0 pictures"):
        picture_files(tmp_path / "nowhere")


def test_drawn_pairs_follow_the_generator_alone(folder):
    data = noise_data("folder", folder_pictures(folder))
    first, again, other = (data.draw(4, 48, rng(seed)) for seed in (1, 1, 2))
    assert first.noisy.shape == first.target.shape == (4, 3, 48, 48)
    assert first.noisy.dtype == first.target.dtype == np.float32
    assert np.isnan(first.noise_std).all()
    np.testing.assert_array_equal(first.noisy, again.noisy)
    assert not np.array_equal(first.noisy, other.noisy)


def test_gaussian_pairs_tell_their_standard_deviation(folder):
    pairs = noise_data("folder", folder_pictures(folder), gaussian_noise, 0.1).draw(8, 64, rng())
    assert (pairs.noisy - pairs.target).std() == pytest.approx(float(pairs.noise_std[0, 0]), rel=0.02)


def test_validation_and_test_pictures_are_fixed_and_noisy_each_in_its_own_way():
    clean = bundled_pictures()
    for noise in (procedural_noise, gaussian_noise):
        first, again = (noise_data("bundled", clean, noise) for _ in range(2))
        assert first.validation[0].target.shape == (3, 256, 256)
        assert first.validation[0].counts.all()
        np.testing.assert_array_equal(first.validation[0].noisy, again.validation[0].noisy)
        scenes = held_out_scenes(clean, 2, noise)
        assert [scene.noisy.shape for scene in scenes] == [(1, 3, 512, 512)] * 2
        assert scenes[0].target.dtype == scenes[0].noisy.dtype == np.float32
        np.testing.assert_array_equal(scenes[1].noisy, held_out_scenes(clean, 2, noise)[1].noisy)
        assert not np.array_equal(scenes[0].noisy - scenes[0].target, scenes[1].noisy - scenes[1].target)
        assert len(held_out_scenes(clean, 1, noise)) == 1


# Batches


def test_a_batch_depends_on_seed_and_number_alone_whatever_the_processes(folder):
    recipe = BatchRecipe(tuple(picture_files(folder)[0]), count=5, side=32, seed=7)
    steps = (0, 1, LOADED - 1, LOADED, 3 * LOADED + 2, 0)
    with NoisyBatches(recipe, 0) as alone, NoisyBatches(recipe, 2) as made_ahead:
        for step in steps:
            for here, there in zip(alone(step), made_ahead(step), strict=True):
                np.testing.assert_array_equal(here, there)
    assert not np.array_equal(alone(0).clean, alone(1).clean)


def test_a_group_is_shuffled_out_of_fifteen_batches_of_chunks(folder):
    recipe = BatchRecipe(tuple(picture_files(folder)[0]), count=4, side=32)
    batches = batch_group(recipe, 0)
    assert len(batches) == LOADED
    assert all(batch.noisy.shape == (4, 3, 32, 32) for batch in batches)
    # A picture of 90x100 gives 12 chunks and is known by its blue; in order, a batch would have one blue or two.
    blues = [len(np.unique(batch.clean[:, 2, 0, 0])) for batch in batches]
    assert np.mean(blues) > 2
    assert len(np.unique([batch.clean[:, 2, 0, 0] for batch in batches])) == 60 / 12


@pytest.mark.parametrize("side", [32, 48, 64])
def test_chunks_have_the_side_asked_for(folder, side):
    batch = batch_group(BatchRecipe(tuple(picture_files(folder)[0]), 2, side), 1)[0]
    assert batch.clean.shape == (2, 3, side, side)
    np.testing.assert_allclose(np.square(batch.noisy - batch.clean).mean((1, 2, 3)) ** 0.5, batch.intensity, rtol=1e-5)


def test_other_chunks_are_refused():
    with pytest.raises(ValueError, match="chunks of 40 pixels"):
        BatchRecipe((Path("a.png"),), side=40)


def test_processes_import_no_torch(folder):
    recipe = BatchRecipe(tuple(picture_files(folder)[0]), 2)
    with NoisyBatches(recipe, 1) as batches:
        batches(0)
        (process,) = batches._processes._processes.values()
        libraries = {Path(region.path).name for region in psutil.Process(process.pid).memory_maps()}
    assert not any("torch" in name for name in libraries)


def test_closing_ends_the_processes_and_a_killed_one_is_reported(folder):
    recipe = BatchRecipe(tuple(picture_files(folder)[0]), 2)
    with NoisyBatches(recipe, 1) as batches:
        batches(0)
        (process,) = batches._processes._processes.values()
        process.kill()
        with pytest.raises(RuntimeError, match="was killed"):
            batches(10 * LOADED)
    assert not process.is_alive()


@pytest.mark.system
@pytest.mark.skipif(os.name == "nt", reason="kills as POSIX does")
def test_processes_end_with_a_parent_that_is_killed(folder, tmp_path):
    script = f"""
import time
from pathlib import Path
from experiments.noisy_batches import BatchRecipe, NoisyBatches
from experiments.procedural_noise import picture_files

if __name__ == "__main__":
    batches = NoisyBatches(BatchRecipe(tuple(picture_files(Path({str(folder)!r}))[0]), 2), 1)
    batches(0)
    print(*batches._processes._processes, flush=True)
    time.sleep(60)
"""
    path = tmp_path / "parent.py"
    path.write_text(script)
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    with subprocess.Popen([sys.executable, path], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        gone, alive = psutil.wait_procs([worker], timeout=10)
    assert gone
    assert not alive
