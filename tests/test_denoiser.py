"""`Denoiser`: dark, defects, noise and network of one sensor as one object, the same in another process."""

import multiprocessing
import pickle
import re
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.pool import Pool
from pathlib import Path

import numpy as np
import pytest
import torch

from burst_denoise.burst.burst import Burst
from burst_denoise.burst.darks import DarkSet, read_darks
from burst_denoise.errors import ConfigError, DeviceError, ModelFileError
from burst_denoise.frame.frame import Frame, to_dn
from burst_denoise.frame.synthetic import SyntheticCamera, shoot
from burst_denoise.inference import denoiser as module
from burst_denoise.inference.denoiser import Denoiser, DenoiseSettings
from burst_denoise.inference.engine import fastest_engine
from burst_denoise.inference.noise_source import MeasuredNoise
from burst_denoise.inference.tiles import denoise_image
from burst_denoise.io.dng import rounded_dn
from burst_denoise.jobs.merge import merge_burst
from burst_denoise.model.device import compute_dtype
from burst_denoise.model.model_file import Model, load_model, model_of
from burst_denoise.model.prior import load_prior
from burst_denoise.schemas import FrameInfo, NoiseProfile
from burst_denoise.score.benchmark import score_methods
from burst_denoise.sensor.defects import Repair, find_defects
from tests.shots import burst_frames, dark_frames, scene, stored, verdicts, write_frames, write_identity_model
from tests.test_verdict import GOOD

CPU = torch.device("cpu")
SMALL = (64, 96)
HOT = 1 / 300
TAG = NoiseProfile(iso=1600, shot_noise_scale=(5e-4,) * 4, read_noise_variance=(4e-6,) * 4)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    """Three frames; a lamp is in them."""
    found = burst_frames(3, size=SMALL, hot=0)
    for frame in found:
        frame.dn[10:20, 30:40] = 15304
    return found


@pytest.fixture(scope="module")
def darks(tmp_path_factory: pytest.TempPathFactory) -> list[DarkSet]:
    """Dark frames with hot photosites."""
    folder = tmp_path_factory.mktemp("darks")
    write_frames(folder, dark_frames(8, size=SMALL, hot=HOT))
    return read_darks([folder])


@pytest.fixture(scope="module")
def burst(tmp_path_factory: pytest.TempPathFactory, frames: list[Frame]) -> Burst:
    """A stored burst without dark and map of defects."""
    return stored(tmp_path_factory.mktemp("bursts") / "a.burst", "a", frames, verdicts(frames), 0.1, 0.001)


@pytest.fixture(scope="module")
def defects() -> np.ndarray:
    return np.random.default_rng(3).random(SMALL) < HOT


@pytest.fixture(scope="module")
def model(burst: Burst) -> Model:
    """A model of the camera that denoises well: the prior, under the name of the sensor."""
    found = load_model(write_identity_model(burst.folder.parent / "model.safetensors", burst), CPU)
    return replace(found, network=load_prior("bayer", CPU).network)


@pytest.fixture(scope="module")
def knowing(burst: Burst, model: Model, defects: np.ndarray) -> Model:
    """The model with a map of defects."""
    return model_of(model.network, [replace(burst, shared_defects=defects)], model.header.training)


def changed(frame: Frame, **changes: object) -> Frame:
    return replace(frame, info=frame.info.model_copy(update=changes))


def by_network(image: np.ndarray, frame: Frame, model: Model) -> np.ndarray:
    """Return in DN what the network makes of an image."""
    engine = fastest_engine(model.network, compute_dtype(CPU))
    return to_dn(denoise_image(image, frame.mosaic, engine, model.header.profiles[0]), frame.info)


def prepared(frame: Frame, dark: np.ndarray | None, defects: np.ndarray | None) -> np.ndarray:
    """Return a frame, linear, as the network must see it."""
    image = frame.linear
    if dark is not None:
        image = np.where(image >= 1, image, image - dark)
    return image if defects is None else Repair(defects, frame.mosaic).apply(image)


# Dark and defects


def test_the_dark_is_subtracted_and_its_defects_are_repaired_before_the_network_sees_the_frame(
    frames: list[Frame], darks: list[DarkSet], model: Model
):
    (dark,) = darks
    hot, before = find_defects(frames[0].mosaic, [dark.master]), frames[0].dn.copy()
    assert hot.sum() > 5
    found = Denoiser(model, darks=darks)(frames[0])
    assert found.dn == pytest.approx(
        by_network(prepared(frames[0], dark.master.offset, hot), frames[0], model), abs=1e-2
    )
    assert (found.dn[10:20, 30:40] == 15304).all()  # saturated stays saturated
    assert found.notes.endswith("; strength 1; dark subtracted")
    assert np.array_equal(frames[0].dn, before)


def test_the_result_is_neither_rounded_nor_clipped_and_has_the_noise_profile_of_what_is_left(
    frames: list[Frame], model: Model
):
    found = Denoiser(model)(frames[0].with_profile(TAG))
    assert found.dn.dtype == np.float32
    assert (found.dn != np.rint(found.dn)).mean() > 0.9
    before, left = model.profile_for(frames[0].info, "", any_sensor=False), found.noise_profile
    assert left.shot_noise_scale == pytest.approx([0.01 * scale for scale in before.shot_noise_scale])
    assert found.noise_reduction == 1
    half = Denoiser(model, settings=DenoiseSettings(strength=0.5))(frames[0])
    assert half.noise_profile.shot_noise_scale == pytest.approx([0.55**2 * scale for scale in before.shot_noise_scale])
    assert half.noise_reduction == 0.5
    assert found.notes.endswith(f"; model {model.header.weights_sha256[:12]}; strength 1")
    below = replace(frames[0], dn=np.full_like(frames[0].dn, 1000))  # black is 2048
    assert Denoiser(model)(below).dn.max() < 1500


def test_the_maps_of_the_model_and_of_the_darks_are_both_repaired(
    frames: list[Frame], darks: list[DarkSet], knowing: Model, defects: np.ndarray
):
    found = Denoiser(knowing, darks=darks)(frames[1])
    both = defects | find_defects(frames[1].mosaic, [darks[0].master])
    expected = by_network(prepared(frames[1], darks[0].master.offset, both), frames[1], knowing)
    assert found.dn == pytest.approx(expected, abs=1e-2)


def test_a_frame_of_a_stored_burst_has_that_bursts_dark_and_defects_where_no_other_fits(
    tmp_path: Path, frames: list[Frame], darks: list[DarkSet], model: Model, knowing: Model, defects: np.ndarray
):
    own_dark = np.full(SMALL, 0.01, np.float32)
    own_defects = np.roll(defects, 3, axis=1)
    burst = stored(tmp_path / "b.burst", "b", frames, verdicts(frames), 0.1, 0.001, defects=own_defects, dark=own_dark)
    frame = burst.frame(0)
    found = Denoiser(model)(frame, burst)
    assert found.dn == pytest.approx(by_network(prepared(frame, own_dark, own_defects), frame, model), abs=1e-2)
    assert found.notes.endswith("; dark subtracted")
    assert Denoiser(knowing)(frame, burst).dn == pytest.approx(
        by_network(prepared(frame, own_dark, defects), frame, knowing), abs=1e-2
    )
    given = Denoiser(model, darks=darks)
    assert np.array_equal(given(frame, burst).dn, given(frame).dn)
    others = [replace(darks[0], info=darks[0].info.model_copy(update={"exposure_s": 2.0}))]
    told: list[str] = []
    found = Denoiser(model, darks=others, note=told.append)(frame, burst)
    hot = find_defects(frame.mosaic, [darks[0].master])
    assert found.dn == pytest.approx(by_network(prepared(frame, own_dark, hot), frame, model), abs=1e-2)
    assert told == []  # its own dark was subtracted


@pytest.mark.parametrize(
    "changes", [{"camera": "Nikon D5"}, {"cfa": "GBRG"}, {"white_level": 16383.0}, {"iso": 25600.0}]
)
def test_a_map_serves_its_own_camera_and_mosaic_only_whatever_the_mode(
    frames: list[Frame], knowing: Model, model: Model, changes: dict[str, object]
):
    settings = DenoiseSettings(any_sensor=True)
    frame = changed(frames[0], **changes)
    repaired = not np.array_equal(
        Denoiser(knowing, settings=settings)(frame).dn, Denoiser(model, settings=settings)(frame).dn
    )
    assert repaired == (not {"camera", "cfa"} & changes.keys())


def test_a_raw_frame_of_an_unknown_camera_is_served_only_where_asked(
    frames: list[Frame], darks: list[DarkSet], knowing: Model
):
    unknown = changed(frames[0], camera=None)
    with pytest.raises(ModelFileError, match=r"frame_000\.dng: camera unknown .*--any-sensor"):
        Denoiser(knowing)(unknown)
    asked = Denoiser(knowing, darks=darks, settings=DenoiseSettings(any_sensor=True))
    assert np.array_equal(asked(unknown).dn, Denoiser(knowing, darks=darks)(frames[0]).dn)
    told: list[str] = []
    prior = Denoiser(darks=darks, note=told.append)
    assert np.array_equal(prior(unknown).dn, Denoiser()(unknown).dn)
    assert len(told) == 2
    assert told[1].startswith("frame_000.dng: no dark frames of its camera (unknown) with ISO 1600 at 1/30 s")


# What is told


def test_what_is_told_is_told_once_per_source_camera_and_iso(frames: list[Frame], darks: list[DarkSet]):
    told: list[str] = []
    denoiser = Denoiser(note=told.append)
    named = [replace(frames[0], path=Path(f"{name}.dng")) for name in "abcdefg"]
    info = {2: {"iso": 3200.0}, 3: {"iso": 3200.0}, 4: {"camera": "another"}, 5: {"camera": "another"}}
    for k, frame in enumerate(named):
        denoiser(changed(frame, **info.get(k, {})))
    denoiser(frames[0].with_profile(TAG))
    assert [line.partition(":")[0] for line in told] == ["a.dng", "c.dng", "e.dng", "frame_000.dng"]
    assert told[0].startswith("a.dng: noise estimated from the shot itself, S ")
    assert "calibrate for better" not in told[0]
    assert told[3] == "frame_000.dng: noise as its NoiseProfile tag says, S 5.0e-04, read noise 2.0e-03"


@pytest.mark.parametrize("row_noise", [0.1, 3.0])
def test_calibrating_is_advised_where_the_shot_shows_what_the_prior_does_not_know(row_noise: float):
    told: list[str] = []
    (frame,), _ = shoot(SyntheticCamera(row_noise_std_dn=row_noise), scene((256, 384), seed=3), 1600, 1, 0)
    Denoiser(note=told.append)(frame)
    (line,) = told
    advised = re.search(r"; calibrate for better, for row noise \(banding\) of 0\.\d\d of a photosite's noise$", line)
    assert (advised is not None) == (row_noise == 3.0)


def test_a_tag_that_contradicts_the_shot_is_told_with_both_and_the_factor(frames: list[Frame]):
    told: list[str] = []
    wrong = NoiseProfile(iso=1600, shot_noise_scale=(5e-3,) * 4, read_noise_variance=(4e-6,) * 4)
    found = Denoiser(note=told.append)(frames[0].with_profile(wrong))
    assert np.array_equal(found.dn, Denoiser()(frames[0]).dn)
    (line,) = told
    assert re.fullmatch(
        r"frame_000\.dng: noise estimated from the shot itself, which contradicts its NoiseProfile tag, "
        r"S [0-9.]+e-04, read noise [0-9.]+e-03; its NoiseProfile tag says [23]\.\d times as much "
        r"\(S 5\.0e-03, read noise 2\.0e-03\)",
        line,
    )


def test_darks_that_fit_no_frame_are_told_once_per_iso_and_exposure(
    frames: list[Frame], darks: list[DarkSet], model: Model
):
    told: list[str] = []
    denoiser = Denoiser(model, darks=darks, note=told.append)
    for exposure_s in (2.0, 2.0, 4.0, frames[0].info.exposure_s):
        denoiser(changed(frames[0], exposure_s=exposure_s))
    words = "frame_000.dng: no dark frames of its camera (Synthetic APS-C) with ISO 1600 at {} s; no dark is subtracted"
    assert told == [f"{words.format(seconds)} from such shots" for seconds in (2, 4)]


def test_pictures_of_an_unknown_camera_are_taken_for_the_models_own_by_their_looks_and_that_is_told_once(
    tmp_path: Path,
):
    info = FrameInfo(domain="mono", camera=None, cfa=None, height=64, width=96, black_level=(0.0,), white_level=255.0)
    rng = np.random.default_rng(0)
    pictures = [Frame(rng.integers(90, 110, SMALL, np.uint8), info, Path(f"{k}.png")) for k in range(3)]
    burst = stored(tmp_path / "p.burst", "p", pictures, verdicts(pictures), 0.1, 0.001)
    model = load_model(write_identity_model(tmp_path / "p.safetensors", burst), CPU)
    told: list[str] = []
    denoiser = Denoiser(model, note=told.append)
    for picture in pictures:
        assert np.array_equal(rounded_dn(denoiser(picture).dn), picture.dn)
    assert told == ["0.png: camera unknown; the model is taken for its own by size, depth and kind"]
    larger = replace(pictures[0], dn=np.zeros((64, 98), np.uint8), info=info.model_copy(update={"width": 98}))
    with pytest.raises(ModelFileError, match="size 98 x 64 instead of 96 x 64 of the model"):
        denoiser(larger)


# Noise without a model


def test_a_given_noise_goes_before_the_burst_the_burst_before_the_tag_the_tag_before_an_estimate(
    frames: list[Frame], burst: Burst
):
    known = {"camera": "Synthetic APS-C", "shot_noise_scale": 9e-4}
    channels = [GOOD.model_copy(update=known | {"channel": name}) for name in ("R", "G1", "G2", "B")]
    noise = MeasuredNoise.of(channels, "sensor.json", pytest.fail)
    tagged, untagged = frames[0].with_profile(TAG), frames[0]
    images = {
        "from sensor.json": Denoiser(noise=noise)(tagged, burst),
        "as measured on its burst": Denoiser()(tagged, burst),
        "as its NoiseProfile tag says": Denoiser()(tagged),
        "estimated from the shot itself": Denoiser()(untagged),
    }
    profiles = [noise.sensors[0].profiles[0], burst.profile, TAG, Denoiser().estimate([untagged]).profile]
    for (words, found), profile in zip(images.items(), profiles, strict=True):
        assert f"; noise {words}; strength 1" in found.notes
        expected = Denoiser().image(untagged.linear, untagged.with_profile(profile))
        assert np.array_equal(found.dn, to_dn(expected, untagged.info))
    with pytest.raises(ConfigError, match=r"from Nikon D5 .*, but sensor\.json is about Synthetic APS-C"):
        Denoiser(noise=noise)(changed(tagged, camera="Nikon D5"), burst)


def test_a_prior_is_loaded_once_and_only_where_it_is_needed_and_a_domain_without_one_is_refused(
    frames: list[Frame], burst: Burst, monkeypatch: pytest.MonkeyPatch
):
    loaded: list[tuple[str, str]] = []

    def counted(domain, device, quality):
        loaded.append((domain, quality))
        return load_prior(domain, device, quality)

    monkeypatch.setattr(module, "load_prior", counted)
    module._prior_engine.cache_clear()
    found = [Denoiser()(frame) for frame in frames]
    assert loaded == [("bayer", "fast")], "once, whatever Denoiser asks for it"
    module._prior_engine.cache_clear()
    draft = Denoiser(settings=DenoiseSettings(quality="draft"))
    draft(frames[0], burst)
    assert loaded[1:] == [("bayer", "draft")]
    draft(frames[0])  # its noise must be estimated
    assert loaded[2:] == [("bayer", "fast")]
    assert f"; prior {load_prior('bayer', CPU).sha256[:12]}; " in found[2].notes
    mono = changed(frames[0], domain="mono", cfa=None, black_level=(2048.0,))
    with pytest.raises(ModelFileError, match=r"frame_000\.dng: is mono, and no best network comes .* that; take fast"):
        Denoiser(settings=DenoiseSettings(quality="best"))(mono)
    denoiser = Denoiser()
    denoiser(mono)
    developed = changed(mono, white_level=255.0, black_level=(0.0,))
    for served in (Denoiser(), denoiser):  # whatever came before
        with pytest.raises(ModelFileError, match=r"frame_000\.dng: is a developed picture \(8 bits\), and without"):
            served(developed)


# Settings


def test_strength_0_gives_the_very_dn_back(frames: list[Frame], darks: list[DarkSet], knowing: Model):
    found = Denoiser(knowing, darks=darks, settings=DenoiseSettings(strength=0))(frames[0])
    assert found.dn is frames[0].dn
    assert found.notes.endswith("; strength 0")
    with pytest.raises(ModelFileError):
        Denoiser(knowing, settings=DenoiseSettings(strength=0))(changed(frames[0], camera="Nikon D5"))


def test_strength_a_half_goes_half_the_way_and_augmentation_is_said(frames: list[Frame], model: Model):
    one, half = (Denoiser(model, settings=DenoiseSettings(strength))(frames[0]).dn for strength in (1.0, 0.5))
    assert half == pytest.approx((one + frames[0].dn) / 2, abs=1e-2)
    best = Denoiser(model, settings=DenoiseSettings(augment=True))(frames[0])
    assert best.notes.endswith("; strength 1; augmented")
    assert not np.array_equal(best.dn, one)


@pytest.mark.parametrize("augment", [False, True])
def test_what_the_network_changes_gives_every_strength_to_the_bit(
    frames: list[Frame], darks: list[DarkSet], knowing: Model, augment: bool
) -> None:
    told: list[float] = []
    change = Denoiser(knowing, None, darks, DenoiseSettings(augment=augment)).change(frames[0], progress=told.append)
    assert told[-1] == 1
    for strength in (0.0, 0.3, 1.0):
        settings = DenoiseSettings(strength=strength, augment=augment)
        there, here = Denoiser(knowing, None, darks, settings)(frames[0]), change.at(strength)
        np.testing.assert_array_equal(here.dn, there.dn)
        assert (here.info, here.notes, here.noise_reduction) == (there.info, there.notes, there.noise_reduction)
    factors = frames[0].mosaic.spread(change.factors, change.image.shape)
    full = np.where(change.image < 1, factors * (change.image + change.change), change.image)
    assert full == pytest.approx(change.at(1).linear, abs=1e-6)


def test_so_does_that_of_a_merged_frame(burst: Burst, model: Model) -> None:
    mean = merge_burst(burst, None)
    change = Denoiser(model).merged_change(mean)
    merged = Denoiser(model).merged(mean)
    np.testing.assert_array_equal(change.at(1).dn, merged.dn)
    assert (change.at(1).notes, change.at(1).info) == (merged.notes, merged.info)
    assert change.at(0).dn == pytest.approx(mean.dn, abs=1e-2)
    assert change.at(0.5).notes == f"{merged.notes}; strength 0.5"


def test_hot_photosites_are_left_where_that_is_asked() -> None:
    (frame,), clean = shoot(SyntheticCamera(hot_fraction=1 / 500), np.full((96, 96, 3), 0.2, np.float32), 1600, 1, 0)
    kept, repaired = (
        Denoiser(settings=DenoiseSettings(repair_hot_photosites=repair)).change(frame) for repair in (False, True)
    )
    np.testing.assert_array_equal(kept.image, frame.linear)
    mended = np.argwhere(repaired.image != frame.linear)
    assert 3 < len(mended) < 30
    assert (frame.dn - clean)[tuple(mended.T)].min() > 500
    assert "photosite" not in kept.at(1).notes
    assert f"; {len(mended)} hot photosites repaired" in repaired.at(1).notes


def test_what_cannot_be_is_refused_when_it_is_made():
    with pytest.raises(ValueError, match=r"strength 1\.5 is outside 0 to 1"):
        DenoiseSettings(1.5)
    with pytest.raises(DeviceError):
        Denoiser(settings=DenoiseSettings(device="abacus"))


# As a method of the benchmark


def test_a_window_of_an_image_is_denoised_as_it_is_without_dark_and_repair(
    frames: list[Frame], darks: list[DarkSet], knowing: Model
):
    denoiser = Denoiser(knowing, darks=darks)
    window = (slice(8, 56), slice(16, 80))
    image = frames[0].linear[window]
    before = image.copy()
    expected = by_network(image, frames[0], knowing)
    assert to_dn(denoiser.image(image, frames[0]), frames[0].info) == pytest.approx(expected, abs=1e-2)
    assert np.array_equal(image, before)
    with pytest.raises(ModelFileError, match="camera Nikon D5 instead of Synthetic APS-C"):
        denoiser.image(image, changed(frames[0], camera="Nikon D5"))


def test_the_benchmark_scores_a_denoiser_like_any_method(burst: Burst, model: Model):
    rows = list(score_methods([burst], {"prior": Denoiser().image, "model": Denoiser(model).image}, strengths={}))
    assert [row.method for row in rows] == ["single frame", "prior", "model"]
    assert rows[1].corrected_psnr_db > rows[0].corrected_psnr_db + 0.3
    assert rows[2].corrected_psnr_db == rows[1].corrected_psnr_db  # the same network under the same profile


# Another process


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Pool]:
    """A process started afresh, which knows nothing of this one."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        yield pool


def denoised(denoiser: Denoiser, frames: list[Frame]) -> list[Frame]:
    return [denoiser(frame) for frame in frames]


@pytest.mark.system
@pytest.mark.parametrize("kind", ["model with defects and a dark", "prior"])
@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used before"])
def test_a_denoiser_gives_the_same_bits_in_another_process(
    elsewhere: Pool, frames: list[Frame], darks: list[DarkSet], knowing: Model, kind: str, used: bool
):
    told: list[str] = []
    denoiser = Denoiser(note=told.append) if kind == "prior" else Denoiser(knowing, darks=darks, note=told.append)
    if used:
        denoiser(frames[0])
    there = elsewhere.apply(denoised, (denoiser, frames))
    here = denoised(denoiser, frames)
    for one, other in zip(there, here, strict=True):
        assert np.array_equal(one.dn, other.dn)
        assert (one.notes, one.info, one.path) == (other.notes, other.info, other.path)


def test_what_travels_is_what_was_measured_and_not_what_was_made_of_it(
    frames: list[Frame], darks: list[DarkSet], knowing: Model
):
    fresh, used = Denoiser(knowing, darks=darks), Denoiser(knowing, darks=darks, note=lambda _: None)
    used(frames[0])
    assert len(pickle.dumps(used)) < len(pickle.dumps(fresh)) + 3 * frames[0].dn.size  # the two maps
