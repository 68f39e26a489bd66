"""Hot and dead photosites of a single shot: found among noise and stars, and nothing that is picture."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import erf

from burst_denoise.frame.frame import Frame
from burst_denoise.frame.mosaic import BAYER_PHASES, MONO, RGB, RGGB, Mosaic
from burst_denoise.frame.synthetic import SyntheticCamera, shoot
from burst_denoise.inference import denoiser as denoiser_module
from burst_denoise.inference.denoiser import Denoiser
from burst_denoise.schemas import NoiseProfile
from burst_denoise.sensor.hot_photosites import find_hot_photosites
from burst_denoise.sensor.noise_model import noise_variance
from tests.sensors import mosaic
from tests.test_defects import places

SIZE = (96, 130)
LEVEL = 0.02
SHOT, READ_STD = 5e-4, 1.5e-3
"""Of the noise: variance = SHOT x + READ_STD^2."""
STD = (SHOT * LEVEL + READ_STD**2) ** 0.5
COLOURS = {"R": 0.5, "G": 1.0, "B": 0.65, "A": 1.0}
FWHM = 2.3548
"""Full width at half maximum of a Gaussian, in standard deviations."""


def profile(planes: int) -> NoiseProfile:
    return NoiseProfile(iso=800, shot_noise_scale=(SHOT,) * planes, read_noise_variance=(READ_STD**2,) * planes)


def noisy(clean: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return a clean image with noise."""
    std = np.sqrt(SHOT * np.maximum(clean, 0) + READ_STD**2)
    return (clean + std * np.random.default_rng(seed).standard_normal(clean.shape)).astype(np.float32)


def flat(seed: int = 0, level: float = LEVEL, size: tuple[int, int] = SIZE) -> np.ndarray:
    return noisy(np.full(size, level), seed)


def with_hot(image: np.ndarray, at: list[tuple[int, int]], sigmas: float = 40) -> np.ndarray:
    hot = image.copy()
    for place in at:
        hot[place] += sigmas * STD
    return hot


def found(image: np.ndarray, kind: Mosaic = RGGB) -> list[tuple[int, ...]]:
    return places(find_hot_photosites(image, kind, profile(len(kind.plane_names))))


def star(size: tuple[int, int], centre: tuple[float, float], fwhm: float, kind: Mosaic = RGGB) -> np.ndarray:
    """Return the light of a star on the photosites of an image, 1 on the brightest."""
    rows, columns = (
        erf((np.arange(side)[:, None] - at + [-0.5, 0.5]) / (fwhm / FWHM) / 2**0.5) @ [-0.5, 0.5]
        for side, at in zip(size, centre, strict=True)
    )
    tile = np.vectorize(COLOURS.get)(kind.colours)
    repeats = [-(-side // kind.period) for side in size]
    light = np.outer(rows, columns) * np.tile(tile, repeats)[: size[0], : size[1]]
    return light / light.max()


@pytest.mark.parametrize("cfa", [*BAYER_PHASES, None])
@pytest.mark.parametrize("level", [0.0, 0.02, 0.3])
def test_photosites_twenty_deviations_above_or_below_the_rest_are_found_and_nothing_else(cfa: str | None, level: float):
    kind, image, rng = mosaic(cfa), flat(3, level), np.random.default_rng(5)
    std = (SHOT * level + READ_STD**2) ** 0.5
    at = sorted({(int(r), int(c)) for r, c in rng.integers(0, SIZE, (12, 2))})
    for number, place in enumerate(at):
        image[place] = level + (20 if number % 2 else -20) * std
    assert found(image, kind) == at


def test_noise_alone_is_left_as_it_is():
    assert found(flat(1, size=(1024, 1024))) == []


def test_the_image_is_not_modified():
    image = with_hot(flat(), [(20, 21), (20, 22)])
    before = image.copy()
    assert len(found(image)) == 2
    assert np.array_equal(image, before)


@pytest.mark.parametrize("place", [(0, 0), (1, 1), (0, 64), (1, 65), (95, 129), (94, 128), (50, 0), (50, 129), (31, 1)])
def test_a_hot_photosite_at_the_border_is_found(place: tuple[int, int]):
    for kind in (RGGB, MONO):
        assert found(with_hot(flat(2), [place]), kind) == [place]


@pytest.mark.parametrize(
    "cluster",
    [
        [(40, 40), (40, 41)],
        [(40, 40), (41, 41)],
        [(40, 40), (40, 42)],
        [(40, 40), (42, 42), (44, 44)],
        [(40, 40), (40, 41), (41, 40)],
        [(40, 40), (40, 41), (40, 42)],
    ],
)
def test_hot_photosites_beside_each_other_are_all_found(cluster: list[tuple[int, int]]):
    image = with_hot(flat(4), cluster)
    for number, place in enumerate(cluster):
        image[place] += 200 * number * STD  # two of one colour that are equally hot hide each other
    assert found(image) == cluster


def test_a_saturated_photosite_in_the_dark_is_hot_and_a_saturated_star_is_not():
    dark = flat(6)
    dark[50, 50] = 1.0
    assert found(dark) == [(50, 50)]
    bright = np.minimum(noisy(LEVEL + 4 * star(SIZE, (50.2, 50.3), 1.5)), 1)
    assert (bright == 1).sum() > 1
    assert found(bright) == []


@given(
    st.floats(40, 42), st.floats(40, 42), st.floats(1.5, 4), st.floats(20, 1000), st.sampled_from([RGGB, MONO]),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_a_star_is_never_found_wherever_it_falls(
    down: float, right: float, fwhm: float, peak: float, kind: Mosaic, seed: int
):
    assert found(noisy(LEVEL + peak * STD * star((84, 84), (down, right), fwhm, kind), seed), kind) == []


def test_hot_photosites_among_stars_are_found():
    rng = np.random.default_rng(8)
    size = (256, 256)
    light = sum(
        float(np.exp(rng.uniform(3, 6.9))) * STD * star(size, rng.uniform(8, 248, 2), rng.uniform(1.5, 4))
        for _ in range(40)
    )
    image = noisy(LEVEL + light, 9)
    far = np.argwhere(light < 0.1 * STD)
    at = sorted({(int(r), int(c)) for r, c in far[rng.permutation(len(far))[:20]]})
    assert found(with_hot(image, at)) == at


def test_edges_lines_and_waves_are_left_as_they_are():
    rows, columns = np.indices(SIZE)
    slanted = np.where(3 * rows + columns > 200, 0.3, 0.02)
    line = np.where(columns == 40, 0.3, 0.02)
    short = np.where((columns == 40) & (rows > 60), 0.3, 0.02)
    waves = 0.2 + 0.15 * np.sin(rows / 1.3) * np.cos(columns / 1.7)
    for scene in (slanted, line, short, waves):
        assert found(noisy(scene)) == []


def test_details_sharp_to_the_photosite_are_told_from_hot_photosites_by_the_light_beside_all_of_them():
    rng = np.random.default_rng(11)
    dots = np.zeros((256, 256))
    dots[tuple(rng.integers(8, 248, (2, 30)))] = 12
    around = sum(np.roll(dots, shift, axis) for axis in (0, 1) for shift in (1, -1))
    assert len(found(noisy(LEVEL + STD * dots, 12))) > 20
    assert found(noisy(LEVEL + STD * (dots + 0.12 * around), 12)) == []


def test_pictures_in_rgb_and_images_without_surroundings_are_left_as_they_are():
    picture = np.stack([with_hot(flat(k), [(20, 20)]) for k in range(3)])
    assert not find_hot_photosites(picture, RGB, profile(3)).any()
    assert found(with_hot(flat(size=(8, 64)), [(4, 20)])) == []


# Through the denoiser, with the noise estimated from the shot itself


CAMERA = SyntheticCamera(hot_fraction=0, prnu=0, dark_offset_std_dn=0)
SPAN = CAMERA.white_level - CAMERA.black_level[0]


def shot(scene: np.ndarray, iso: float, seed: int) -> tuple[Frame, np.ndarray, np.ndarray]:
    """Return a shot of a scene (H, W), in what is clean DN, and standard deviation of its noise."""
    (frame,), clean = shoot(CAMERA, np.repeat(scene[..., None], 3, axis=2).astype(np.float32), iso, 1, seed)
    variance = CAMERA.gain(iso) * (clean - CAMERA.black_level[0]) + CAMERA.read_noise_variance_dn(iso)
    return frame, clean, np.sqrt(variance)


def heated(frame: Frame, seed: int) -> tuple[Frame, np.ndarray]:
    """Return a frame of which one photosite in 2,000 is hot, and by how many DN each is."""
    rng = np.random.default_rng(seed)
    hot = rng.random(frame.dn.shape) < 1 / 2000
    offset = hot * rng.exponential(400, hot.shape)
    offset += (hot & (rng.random(hot.shape) < 0.03)) * rng.uniform(1000, 20000, hot.shape)
    dn = np.minimum(frame.dn + np.rint(offset), CAMERA.white_level).astype(np.uint16)
    return replace(frame, dn=dn), offset


def test_the_notes_say_how_many_were_repaired_and_an_image_of_the_benchmark_keeps_them():
    plain, _, _ = shot(np.full((96, 128), 0.02), 1600, 1)
    dn, denoise = plain.dn.copy(), Denoiser()
    dn[40, 41] += 3000
    one = denoise(replace(plain, dn=dn))
    assert one.notes.endswith("; strength 1; 1 hot photosite repaired")
    assert one.dn[40, 41] < 3000
    dn[60, 70] = 15304
    two = denoise(replace(plain, dn=dn))
    assert two.notes.endswith("; strength 1; 2 hot photosites repaired")
    assert two.dn[60, 70] < 3000
    assert "repaired" not in denoise(plain).notes
    kept = replace(plain, dn=dn).with_profile(two.noise_profile)
    assert denoise.image(kept.linear, kept)[60, 70] == 1.0


@pytest.mark.slow
def test_in_even_fields_one_hot_photosite_in_a_hundred_is_left_at_most_and_nothing_beside_them():
    left = strong = 0
    beside, elsewhere = [], []
    for seed, (level, iso) in enumerate([(0.002, 3200), (0.02, 1600), (0.1, 1600), (0.02, 6400)] * 2, 300):
        frame, clean, std = shot(np.full((512, 768), level), iso, seed)
        hot, offset = heated(frame, seed)
        away = (Denoiser()(hot).dn - clean) / std
        is_strong = offset > 5 * std
        left += int((away[is_strong] > 2).sum())
        strong += int(is_strong.sum())
        far, near = (
            cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5) for mask in (offset > 0, is_strong)
        )
        beside.append(away[(near >= 3) & (near <= 8) & (offset == 0)])
        elsewhere.append(away[far > 8])
    assert strong > 400
    assert left <= 0.01 * strong
    assert np.concatenate(beside).std() < 1.1 * np.concatenate(elsewhere).std()


@pytest.mark.slow
@pytest.mark.parametrize(("level", "iso"), [(0.002, 1600), (0.005, 6400)])
def test_flux_and_peak_of_stars_are_those_of_the_same_shot_denoised_without_repair(
    level: float, iso: float, monkeypatch: pytest.MonkeyPatch
):
    rng, size = np.random.default_rng(17), (512, 768)
    std = (CAMERA.gain(iso) * level * SPAN + CAMERA.read_noise_variance_dn(iso)) ** 0.5 / SPAN
    scene, stars = np.full(size, level), []
    for centre in [(y, x) for y in range(16, 500, 34) for x in range(16, 750, 50)][:200]:
        at, fwhm = centre + rng.uniform(-0.5, 0.5, 2), rng.uniform(1.5, 4)
        window = tuple(slice(c - 14, c + 14) for c in centre)
        scene[window] += 20 ** rng.uniform(1, 2.306) * std * star((28, 28), at - centre + 14, fwhm, MONO)
        stars.append(window)
    frame, _, _ = shot(scene, iso, 18)
    repaired = Denoiser()(frame).linear
    monkeypatch.setattr(denoiser_module, "find_hot_photosites", lambda image, *_: np.zeros(image.shape, np.bool_))
    plain = Denoiser()(frame).linear
    assert len(stars) == 200
    for window in stars:
        one, other = repaired[window] - level, plain[window] - level
        assert one.sum() == pytest.approx(other.sum(), rel=0.02)
        assert one.max() == pytest.approx(other.max(), rel=0.05)


@pytest.mark.slow
def test_hot_photosites_hardly_change_the_noise_that_is_estimated_from_a_shot():
    for seed, (level, iso) in enumerate([(0.02, 1600), (0.1, 1600), (0.02, 6400)], 400):
        frame, _, _ = shot(np.full((512, 768), level), iso, seed)
        variances = [
            noise_variance(np.full((4, 1, 1), level, np.float32), Denoiser().estimate([one]).profile)
            for one in (frame, heated(frame, seed)[0])
        ]
        assert variances[1] == pytest.approx(variances[0], rel=0.06)
