"""The owner's whole job: what goes into a model file, what lies beside it meanwhile, and what stays after an error."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from burst_denoise.burst.darks import read_darks
from burst_denoise.burst.store import pooled_by_iso, sharing_defects
from burst_denoise.errors import (
    BurstDenoiseError,
    ConfigError,
    InputFileError,
    OutputError,
    SeriesError,
    TooFewFramesError,
)
from burst_denoise.frame.frame import to_linear
from burst_denoise.frame.mosaic import RGGB
from burst_denoise.frame.synthetic import SyntheticCamera, scene_from_picture, shoot
from burst_denoise.inference.denoiser import Denoiser
from burst_denoise.jobs.calibrate import calibrate
from burst_denoise.jobs.demo import CALIBRATION_SCENES, TEST_SCENE, _fitted
from burst_denoise.jobs.ingest import IngestSettings, ingest
from burst_denoise.jobs.listener import Listener
from burst_denoise.model.model_file import Model, load_model
from burst_denoise.model.train import Progress
from burst_denoise.schemas import TrainSettings
from burst_denoise.sensor.fixed_pattern import master_dark, photo_response
from burst_denoise.sensor.moments import frame_moments
from burst_denoise.sensor.noise_model import noise_variance
from burst_denoise.sensor.prnu_from_scenes import prnu_from_scenes
from tests.shots import Recorder, burst_frames, dark_frames, everything_in, scene, write_frames

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("little_validation")
TWO_STEPS = TrainSettings(preset="draft", steps=2, batch=2)
FROM_SCRATCH = TWO_STEPS.model_copy(update={"steps": 4, "from_scratch": True})
"""A few steps away from the prior may help nothing."""


class StopAt(Recorder):
    """Stops the work after a step as Ctrl-C does."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def on_progress(self, progress: Progress) -> None:
        super().on_progress(progress)
        if progress.step == self.step:
            raise KeyboardInterrupt


def run(
    inputs: list[Path],
    output: Path,
    settings: TrainSettings = TWO_STEPS,
    listener: Listener = Listener(),
    limit: int = 20,
    darks: Sequence[Path] = (),
) -> Model:
    return calibrate(inputs, output, darks, settings, CPU, IngestSettings(limit), listener)


def weights(model: Model) -> dict[str, np.ndarray]:
    return {key: value.numpy() for key, value in model.network.state_dict().items()}


def same_weights(one: Model, other: Model) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    write_frames(tmp_path / "shots" / "low", burst_frames(4))
    write_frames(tmp_path / "shots" / "high", burst_frames(4, seed=1, iso=6400))
    return tmp_path / "shots"


@pytest.fixture
def untuned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the strengths of baselines out of the models: tuning them takes most of the time of a short calibration."""
    monkeypatch.setattr("burst_denoise.jobs.calibrate.tuned_strengths", lambda bursts: {})


def test_a_model_belongs_to_the_sensor_of_its_frames_and_says_how_it_came_about(shots: Path, tmp_path: Path) -> None:
    before = everything_in(shots)
    listener = Recorder()
    made = run([shots], tmp_path / "new" / "model.safetensors", listener=listener)
    found = load_model(tmp_path / "new" / "model.safetensors", CPU)
    assert same_weights(made, found)
    header, record = found.header, found.header.training
    assert (header.camera, header.domain, header.cfa, header.white_level) == ("Synthetic APS-C", "bayer", "RGGB", 15304)
    assert [profile.iso for profile in header.profiles] == [1600, 6400]
    assert (record.steps_done, record.settings, record.bursts) == (2, TWO_STEPS, ("high", "low"))
    assert len(record.burst_sha256) == 8
    assert {"nlm-stabilised", "nlm-colour-8bit", "nl-means"} <= set(record.baseline_strength)
    assert {"torch", "numpy", "rawpy", "burst_denoise"} <= set(record.versions)
    assert record.best_psnr_db >= record.start_psnr_db
    assert [step for step, _ in record.curve] == [2]
    assert [progress.step for progress in listener.progress] == [1, 2]
    assert [verdict.series for verdict in listener.verdicts] == ["high", "low"]
    assert sorted(everything_in(tmp_path / "new")) == ["model.safetensors"]
    assert everything_in(shots) == before


@pytest.mark.usefixtures("untuned")
def test_frames_and_the_bursts_stored_from_them_make_the_same_model(shots: Path, tmp_path: Path) -> None:
    ingest([shots / "low"], tmp_path / "bursts")
    before = everything_in(tmp_path / "bursts")
    made = run([shots / "low"], tmp_path / "a", FROM_SCRATCH)
    assert made.header.training.best_step > 0
    assert same_weights(made, run([tmp_path / "bursts"], tmp_path / "b", FROM_SCRATCH))
    assert everything_in(tmp_path / "bursts") == before


@pytest.mark.usefixtures("untuned")
def test_an_interrupted_calibration_goes_on_and_ends_in_the_same_bits(
    shots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("burst_denoise.model.fit.SAVE_EVERY_S", 0.0)
    reference = run([shots / "low"], tmp_path / "reference", FROM_SCRATCH)
    assert reference.header.training.best_step > 0
    # The model lies in the folder of its own inputs, where the work folder must not be taken for one of them.
    output, listener = shots / "low" / "model.safetensors", Recorder()
    for step in (1, 3):
        with pytest.raises(KeyboardInterrupt):
            run([shots / "low"], output, FROM_SCRATCH, StopAt(step))
        assert not output.exists()
    again = run([shots / "low"], output, FROM_SCRATCH, listener)
    assert [progress.step for progress in listener.progress] == [4]
    assert same_weights(again, reference)
    assert not output.with_name("model.safetensors.work").exists()


def test_the_work_of_another_calibration_is_left_alone(shots: Path, tmp_path: Path) -> None:
    output = tmp_path / "model"
    with pytest.raises(KeyboardInterrupt):
        run([shots], output, listener=StopAt(1))
    before = everything_in(tmp_path)
    with pytest.raises(OutputError, match=r"model\.work: work folder of a calibration from other inputs"):
        run([shots / "low"], output)
    with pytest.raises(OutputError, match="other inputs"):
        run([shots], output, limit=3)
    assert everything_in(tmp_path) == before


def test_other_settings_do_not_go_on_from_a_checkpoint(
    shots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("burst_denoise.model.fit.SAVE_EVERY_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        run([shots], tmp_path / "model", listener=StopAt(1))
    with pytest.raises(ConfigError, match="checkpoint of another training"):
        run([shots], tmp_path / "model", TWO_STEPS.model_copy(update={"seed": 1}))
    assert (tmp_path / "model.work" / "checkpoint.safetensors").exists()


def test_a_folder_of_the_users_with_the_name_of_the_work_folder_is_left_alone(shots: Path, tmp_path: Path) -> None:
    (tmp_path / "model.work").mkdir()
    (tmp_path / "model.work" / "thesis.txt").write_text("two years")
    before = everything_in(tmp_path)
    with pytest.raises(OutputError, match=r"model\.work: exists already"):
        run([shots], tmp_path / "model")
    assert everything_in(tmp_path) == before


def two_frames(folder: Path) -> None:
    write_frames(folder, burst_frames(2))


def missing(folder: Path) -> None:
    """Make nothing."""


def no_frames(folder: Path) -> None:
    folder.mkdir()


def truncated(folder: Path) -> None:
    for path in write_frames(folder, burst_frames(4)):
        path.write_bytes(path.read_bytes()[:3000])


def small(folder: Path) -> None:
    write_frames(folder, burst_frames(4, size=(96, 128)))


def narrow(folder: Path) -> None:
    write_frames(folder, burst_frames(4, size=(192, 160)))


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (missing, InputFileError, "no such file or folder"),
        (no_frames, InputFileError, "no RAW, picture or video files"),
        (truncated, InputFileError, r"frame_000\.dng: is truncated"),
        (two_frames, TooFewFramesError, "2 of 2 frames accepted, 3 needed"),
        (small, SeriesError, "128x96 photosites are too few; training cuts squares of 130"),
        (narrow, SeriesError, "160x192 photosites are too few"),
    ],
)
def test_bad_input_leaves_nothing_behind(
    tmp_path: Path, bad: Callable[[Path], None], error: type[BurstDenoiseError], words: str
) -> None:
    bad(tmp_path / "shots")
    before = everything_in(tmp_path)
    with pytest.raises(error, match=words) as caught:
        run([tmp_path / "shots"], tmp_path / "new" / "model")
    assert "\n" not in str(caught.value)
    assert everything_in(tmp_path) == before


def test_the_paper_preset_is_refused_on_a_mosaic(shots: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the paper preset is for RGB pictures, these frames are bayer"):
        run([shots], tmp_path / "model", TrainSettings(steps=1, preset="paper"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shots"]


def test_an_existing_output_is_refused_before_any_frame_is_read(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        run([tmp_path / "nowhere"], tmp_path / "model")
    assert (tmp_path / "model").read_text() == "mine"


ISO = 1600


class HotCamera:
    """A camera with hot photosites and uneven response, three shoots of it, and what its model leaves of them."""

    def __init__(self, folder: Path, scenes: list[np.ndarray], new: np.ndarray, hot_fraction: float) -> None:
        self.camera = SyntheticCamera(prnu=0.01, hot_fraction=hot_fraction)
        size, self.folder = new.shape[:2], folder
        for seed, content in enumerate(scenes):
            write_frames(folder / "shots" / str(seed), shoot(self.camera, content, ISO, 10, seed)[0])
        darks = shoot(self.camera, np.zeros((*size, 3), np.float32), ISO, 16, 99)[0]
        write_frames(folder / "darks", darks)
        # The faintest hot photosite lies at a third of the white level.
        self.hot = np.mean([frame.linear for frame in darks], axis=0) > 0.1
        (self.frame,), clean = shoot(self.camera, new, ISO, 1, 55)
        self.clean = to_linear(clean, self.frame.info)

    def calibrated(self, settings: TrainSettings, *, darks: bool) -> Model:
        output = self.folder / f"{settings.steps}-{darks}.safetensors"
        given = [self.folder / "darks"] if darks else []
        return run([self.folder / "shots"], output, settings, darks=given)

    def hot_left(self, model: Model, *, repaired: bool) -> int:
        """Return how many truly hot photosites are over 5 noise deviations off the clean mosaic once denoised."""
        denoiser, frame = Denoiser(model), self.frame
        found = denoiser(frame).linear if repaired else denoiser.image(frame.linear, frame)
        profile = model.profile_for(frame.info, "new")
        variance = RGGB.unpack(noise_variance(RGGB.pack(self.clean), profile), found.shape)
        return int(((np.abs(found - self.clean) > 5 * np.sqrt(variance)) & self.hot).sum())


@pytest.fixture(scope="module")
def small_hot_camera(tmp_path_factory: pytest.TempPathFactory) -> HotCamera:
    scenes = [scene(seed=seed) for seed in range(3)]
    return HotCamera(tmp_path_factory.mktemp("hot"), scenes[:2], scenes[2], 1 / 500)


@pytest.mark.usefixtures("untuned")
@pytest.mark.parametrize("darks", [True, False])
def test_hot_photosites_found_at_calibration_are_gone_from_new_shots(small_hot_camera: HotCamera, darks: bool) -> None:
    camera = small_hot_camera
    model = camera.calibrated(TWO_STEPS, darks=darks)
    assert camera.hot.sum() > 40
    assert model.defect_map is not None
    assert (model.defect_map & ~camera.hot).sum() <= 3
    assert camera.hot_left(model, repaired=False) > 0.9 * camera.hot.sum()
    assert camera.hot_left(model, repaired=True) <= 1


@pytest.mark.usefixtures("untuned")
def test_calibrating_with_darks_is_reproducible_to_the_bit_and_differs_from_without(
    small_hot_camera: HotCamera, tmp_path: Path
) -> None:
    shots, darks = small_hot_camera.folder / "shots", [small_hot_camera.folder / "darks"]
    settings = TWO_STEPS.model_copy(update={"from_scratch": True})
    with_darks, again, without = (
        run([shots], tmp_path / str(k), settings, darks=given, limit=4) for k, given in enumerate((darks, darks, []))
    )
    assert same_weights(with_darks, again)
    assert with_darks.header.defects_sha256 == again.header.defects_sha256
    assert not same_weights(with_darks, without)


@pytest.mark.slow
@pytest.mark.parametrize("darks", [True, False])
def test_a_camera_of_one_hot_photosite_in_2000_leaves_less_than_one_in_100000(tmp_path: Path, darks: bool) -> None:
    from skimage import data

    content = [scene_from_picture(_fitted(getattr(data, name)())) for name in (*CALIBRATION_SCENES, TEST_SCENE)]
    camera = HotCamera(tmp_path, content[:-1], content[-1], 1 / 2000)
    model = camera.calibrated(TrainSettings(steps=300), darks=darks)
    assert camera.hot_left(model, repaired=False) > 0.9 * camera.hot.sum() > 100
    assert camera.hot_left(model, repaired=True) < camera.clean.size / 100_000
    given = read_darks([tmp_path / "darks"]) if darks else []
    bursts = ingest([tmp_path / "shots"], tmp_path / "bursts", given)
    pattern = prnu_from_scenes([burst.scene() for burst in sharing_defects(pooled_by_iso(bursts))], RGGB)
    assert pattern is not None
    assert np.sqrt(np.mean([plane.value**2 for plane in pattern.prnu])) == pytest.approx(0.01, rel=0.10)
    grey = np.full((*camera.clean.shape, 3), 0.5, np.float32)
    flats, capped = (shoot(camera.camera, level * grey, ISO, 16, 200)[0] for level in (1, 0))
    dark = master_dark([frame.linear for frame in capped], RGGB)
    for plane in photo_response(frame_moments(frame.linear for frame in flats), dark, RGGB).fine:
        assert plane.value == pytest.approx(0.01, rel=0.05)


@pytest.mark.slow
def test_dark_frames_among_the_shots_serve_as_if_they_were_named(tmp_path: Path) -> None:
    """The same defects, scores and tuned strengths; taken for a scene, dark frames would change all three."""
    start, card = 1_767_268_800.0, tmp_path / "card"
    for number in range(3):
        frames = shoot(SyntheticCamera(hot_fraction=1 / 500), scene(seed=number), 1600, 6, number)[0]
        for k, frame in enumerate(frames):
            named = replace(frame, path=Path(f"a{number}_{k}.dng"))
            write_frames(card, [named], taken_at=start + 1000 * number + k)
    for k, frame in enumerate(dark_frames(16, hot=1 / 500)):
        write_frames(card, [replace(frame, path=Path(f"dark_{k:02d}.dng"))], taken_at=start + 9000 + k)
    unnamed, named = Recorder(), Recorder()
    one = run([card], tmp_path / "unnamed", listener=unnamed)
    other = run([card], tmp_path / "named", listener=named, darks=sorted(card.glob("dark_*.dng")))
    assert unnamed.notes == ["16 dark frames among the shots are used as darks (ISO 1600 at 1/30 s)"]
    assert named.notes == []
    assert [len(verdict.frames) for verdict in unnamed.verdicts] == [6, 6, 6]
    assert one.defects is not None
    assert len(one.defects) > 30
    assert np.array_equal(one.defects, other.defects)
    mine, theirs = one.header.training, other.header.training
    assert (mine.start_psnr_db, mine.prior_psnr_db, mine.best_psnr_db) == (
        theirs.start_psnr_db, theirs.prior_psnr_db, theirs.best_psnr_db
    )  # fmt: skip
    assert mine.baseline_strength == theirs.baseline_strength != {}
    assert one.header.profiles == other.header.profiles
    assert same_weights(one, other)
