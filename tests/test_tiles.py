"""Inference gives the same picture for any tiles, and exactly the input where nothing is to change."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch

from burst_denoise.errors import DeviceError
from burst_denoise.frame.mosaic import BAYER_PHASES, RGGB
from burst_denoise.inference.engine import fastest_engine
from burst_denoise.inference.tiles import denoise_image
from burst_denoise.model.network import Size, TwoScaleNet
from burst_denoise.schemas import NoiseProfile
from tests.sensors import mosaic

NARROW = Size((8, 8), (1, 6, 4))
"""Widths of a network with the geometry of the real one and a sixteenth of its work."""
PROFILE = NoiseProfile(
    iso=1600,
    shot_noise_scale=(5e-4, 6e-4, 6e-4, 5e-4),
    read_noise_variance=(4e-6, 5e-6, 4e-6, 3e-6),
)


@pytest.fixture(scope="module")
def trained() -> TwoScaleNet:
    """A network with weights of the size that training gives, so that every part of it matters."""
    torch.manual_seed(0)
    net = TwoScaleNet(4, NARROW)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0, 0.08)
    return net.to(memory_format=torch.channels_last).eval()


def picture(height=276, width=303, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    scene = 0.3 + 0.25 * np.sin(x / 9) * np.cos(y / 13) + 0.3 * (x > y)
    return (scene + 0.02 * rng.standard_normal((height, width))).astype(np.float32)


@lru_cache(1)
def engine_of(net):
    return fastest_engine(net, torch.float32)


def run(net, image, cfa="RGGB", profile=PROFILE, low_bands=True, **options):
    engine = engine_of(net)
    return denoise_image(
        image, mosaic(cfa), engine if low_bands else replace(engine, low_bands=None), profile, **options
    )


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("cfa", ["RGGB", "GBRG"])
def test_the_result_does_not_depend_on_the_tiles(trained, cfa, augment):
    image = picture(138, 151)
    whole = run(trained, image, cfa, tile=4096, augment=augment)
    assert np.abs(whole - image).max() > 0.01
    for tile in (64, 128):
        assert np.abs(run(trained, image, cfa, tile=tile, augment=augment) - whole).max() < 1e-5


def test_no_seam_shows_at_tile_borders(trained):
    image = picture(200, 520)
    whole, tiled = run(trained, image, tile=4096), run(trained, image, tile=136)
    steps = np.abs(np.diff(tiled - whole, axis=1))
    assert steps.max() < 1e-5


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("cfa", BAYER_PHASES)
def test_an_identity_network_gives_the_input_back_exactly(cfa, augment):
    image = picture(101, 87)
    assert np.array_equal(run(TwoScaleNet(4, NARROW), image, cfa, tile=64, augment=augment), image)


@pytest.mark.parametrize("level", [-0.01, 0.0, 0.18, 0.9])
def test_an_identity_network_gives_a_constant_back_exactly(level):
    image = np.full((90, 130), level, np.float32)
    assert np.array_equal(run(TwoScaleNet(4, NARROW), image, augment=True, tile=64), image)


def test_strength_zero_gives_the_input_back_and_one_half_goes_half_the_way(trained):
    image = picture(96, 96)
    full, half = run(trained, image), run(trained, image, strength=0.5)
    assert np.array_equal(run(trained, image, strength=0.0), image)
    assert np.allclose(half - image, (full - image) / 2, atol=1e-6)


def test_tiles_side_by_side_give_what_one_after_another_gives(trained):
    image, threads = picture(), torch.get_num_threads()
    alone = fastest_engine(trained, torch.float32)
    torch.set_num_threads(3)
    try:
        shared = fastest_engine(trained, torch.float32)
        assert shared.lanes == (1 if shared.name == "torch" else 3)
        found = [denoise_image(image, RGGB, engine, PROFILE, tile=64) for engine in (alone, shared)]
        assert torch.get_num_threads() == 3
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(threads)
    assert np.abs(found[0] - found[1]).max() < 1e-6


def test_values_below_black_are_not_clipped(trained):
    image = picture(96, 96) - 0.5
    assert run(trained, image).min() < -0.3


def test_saturated_photosites_come_back_unchanged(trained):
    image = picture(96, 96)
    image[20:30, 40:50] = 1.0
    assert (run(trained, image)[20:30, 40:50] == 1.0).all()


def test_the_input_is_not_modified(trained):
    image = picture(96, 96)
    before = image.copy()
    run(trained, image, augment=True)
    assert np.array_equal(image, before)


def test_augmentation_makes_the_result_equal_under_flips_of_the_shot(trained):
    image = picture(97, 97)  # odd: a flip keeps the phase
    # The means that the low bands are made of are counted from the top left.
    flipped, plain = (run(trained, each, augment=True, low_bands=False) for each in (image[:, ::-1], image))
    assert np.allclose(plain[:, ::-1], flipped, atol=1e-6)


@pytest.mark.parametrize(("planes", "shape"), [(1, (90, 70)), (3, (3, 90, 70))])
def test_pictures_without_a_mosaic_pass_through_too(planes, shape):
    profile = NoiseProfile(
        iso=None,
        shot_noise_scale=(1e-4,) * planes,
        read_noise_variance=(1e-5,) * planes,
    )
    image = np.random.default_rng(0).random(shape, np.float32)
    assert np.array_equal(run(TwoScaleNet(planes, NARROW), image, None, profile, augment=True, tile=48), image)


def test_a_strength_outside_0_to_1_is_refused(trained):
    with pytest.raises(ValueError, match=r"strength 1.5 is outside 0 to 1"):
        run(trained, picture(64, 64), strength=1.5)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_too_little_memory_names_the_remedy(error):
    class Greedy(TwoScaleNet):
        def forward(self, planes):
            raise error

    with pytest.raises(DeviceError, match="take a smaller --tile"):
        run(Greedy(4, NARROW), picture(64, 64))
