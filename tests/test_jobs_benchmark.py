"""The benchmark as a job: several sensors in one call, baselines tuned fairly, models only where they fit."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from burst_denoise.burst.burst import Burst
from burst_denoise.errors import BurstDenoiseError, InputFileError, ModelFileError
from burst_denoise.frame.frame import Frame
from burst_denoise.frame.synthetic import SyntheticCamera, shoot
from burst_denoise.io.dng import write_dng
from burst_denoise.jobs import benchmark as job
from burst_denoise.jobs.benchmark import (
    BenchmarkSettings,
    benchmark,
    benchmark_bursts,
    bursts_by_sensor,
    sensor_pattern,
    strengths_for,
)
from burst_denoise.jobs.ingest import ingest
from burst_denoise.model.model_file import Model, load_model
from burst_denoise.reporting.page import best_method
from burst_denoise.score.outputs import Outputs
from burst_denoise.score.pattern import SensorPattern
from tests.shots import Recorder, burst_frames, write_frames, write_identity_model

CPU = torch.device("cpu")
ONE = BenchmarkSettings(frames=1, device="cpu")


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two series of a raw camera and one of pictures."""
    folder = tmp_path_factory.mktemp("sensors")
    for seed in (0, 1):
        write_frames(folder / f"raw_{seed}", burst_frames(5, seed=seed))
    rng = np.random.default_rng(0)
    coarse = rng.integers(30, 220, (20, 24, 3), dtype=np.uint8)
    clean = cv2.resize(coarse, (192, 160), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    (folder / "pictures").mkdir()
    for number in range(5):
        noisy = np.clip(np.rint(clean + rng.normal(0, 6, clean.shape)), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / "pictures" / f"shot_{number}.png"), noisy)
    return folder


@pytest.fixture(scope="module")
def raw_burst(shots: Path, tmp_path_factory: pytest.TempPathFactory) -> Burst:
    return ingest([shots / "raw_0"], tmp_path_factory.mktemp("stored"))[0]


@pytest.fixture(scope="module")
def model(raw_burst: Burst, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(write_identity_model(tmp_path_factory.mktemp("model") / "m.safetensors", raw_burst), CPU)


def test_frames_of_several_sensors_are_told_apart(shots: Path, tmp_path: Path):
    found = bursts_by_sensor([shots], tmp_path, ONE, Recorder())
    assert sorted([burst.name for burst in bursts] for bursts in found) == [["pictures"], ["raw_0", "raw_1"]]


def test_a_model_is_scored_on_its_own_sensor_and_passed_over_on_others(
    shots: Path, model: Model, tmp_path, monkeypatch
):
    monkeypatch.setattr(job, "tuned_strengths", lambda bursts: {})
    listener = Recorder()
    rows = list(benchmark([shots], {"mine": model}, [], ONE, tmp_path, listener))
    methods = {burst: [row.method for row in rows if row.burst == burst] for burst in ("raw_0", "raw_1", "pictures")}
    assert "mine" in methods["raw_1"]
    assert methods["pictures"] == ["single frame", "mean of 2"]
    assert any(note.startswith("mine is not scored on pictures: is rgb, ") for note in listener.notes)
    assert "warning: mine was trained on raw_0; its score there proves nothing" in listener.notes
    assert sorted(verdict.series for verdict in listener.verdicts) == ["pictures", "raw_0", "raw_1"]


def test_another_camera_of_the_same_kind_is_passed_over_unless_told_otherwise(model: Model, tmp_path):
    write_frames(tmp_path / "other", burst_frames(4), camera="Nikon D5")
    bursts = ingest([tmp_path / "other"], tmp_path / "bursts")
    told_otherwise = BenchmarkSettings(augment=True, frames=1, any_sensor=True, device="cpu")
    plain, told = (
        [row.method for row in benchmark_bursts(bursts, {"m": model}, {}, settings)]
        for settings in (ONE, told_otherwise)
    )
    assert plain == ["single frame", "mean of 2", "prior", "merge 2"]
    assert told == ["single frame", "mean of 2", "prior", "m", "m + augmentation", "merge 2", "m merge 2"]


def test_a_model_that_fits_nothing_is_refused_before_any_work(model: Model, tmp_path):
    write_frames(tmp_path / "other", burst_frames(4), camera="Nikon D5")
    with pytest.raises(ModelFileError, match="other: camera Nikon D5 instead of Synthetic APS-C of the model"):
        list(benchmark([tmp_path / "other"], {"m": model}, [], ONE, tmp_path / "b"))


def test_strengths_come_from_other_bursts_then_from_the_model_then_from_the_scored_ones(raw_burst, model, monkeypatch):
    monkeypatch.setattr(job, "tuned_strengths", lambda bursts: {"tuned on": len(bursts)})
    listener = Recorder()
    assert strengths_for([raw_burst], [raw_burst] * 3, {"m": model}, listener) == {"tuned on": 3}
    assert strengths_for([raw_burst], [], {"m": model}, listener)["nlm-stabilised"] == 0.85
    assert listener.notes == []
    record = model.header.training.model_copy(update={"baseline_strength": {}})
    ignorant = Model(model.network, model.header.model_copy(update={"training": record}))
    assert strengths_for([raw_burst], [], {"m": ignorant}, listener) == {"tuned on": 1}
    assert "which favours them" in listener.notes[0]


def test_a_function_of_the_user_is_a_method_and_may_refuse(raw_burst: Burst):
    def refuses(image: np.ndarray, frame: Frame) -> np.ndarray:
        raise ModelFileError("not this one")

    listener = Recorder()
    rows = list(benchmark_bursts([raw_burst], {"mine": lambda image, frame: image, "no": refuses}, {}, ONE, listener))
    assert [row.method for row in rows] == ["single frame", "mean of 2", "prior", "mine", "merge 2"]
    assert rows[-2].corrected_psnr_db == rows[0].corrected_psnr_db
    assert listener.notes == []


def test_outputs_are_matched_over_all_bursts_and_told_about(shots: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(job, "tuned_strengths", lambda bursts: {})
    monkeypatch.setattr(job, "why_no_prior", lambda info: "is not served")
    frames = [replace(frame, dn=frame.dn + np.uint16(40)) for frame in burst_frames(5, seed=1)[1:3]]
    write_frames(tmp_path / "outputs" / "raw_1", frames)
    listener = Recorder()
    methods = {"other": Outputs(tmp_path / "outputs")}
    rows = list(benchmark([shots / "raw_0", shots / "raw_1"], methods, [], ONE, tmp_path / "b", listener))
    other = [row for row in rows if row.method == "other"]
    assert [(row.burst, len(row.frames)) for row in other] == [("raw_1", 1)]
    assert set(other[0].frames) < {1, 2}
    assert "other is not scored on raw_0: no output is named after one of its frames" in listener.notes
    assert listener.notes[-1].startswith("other: the brightness of 1 of 1 results differs from that of the frames by +")


def test_outputs_without_a_frame_in_common_are_refused_before_any_work(shots: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(job, "tuned_strengths", lambda bursts: pytest.fail("tuned before the outputs were checked"))
    shot = {seed: burst_frames(5, seed=seed) for seed in (0, 1)}
    for name, numbers in (("a", (1, 2)), ("b", (3, 4))):
        write_frames(tmp_path / name / "raw_0", shot[0])
        (tmp_path / name / "raw_1").mkdir(parents=True)
        for number in numbers:
            write_dng(tmp_path / name / "raw_1" / f"frame_{number:03d}.dng", shot[1][number])
    methods = {name: Outputs(tmp_path / name) for name in "ab"}
    with pytest.raises(InputFileError, match="raw_1: no frame has an output of all of a, b; score them one by one"):
        next(benchmark([shots / "raw_0", shots / "raw_1"], methods, [], ONE, tmp_path / "stored"))


def test_no_input_is_an_error_of_the_user(tmp_path):
    with pytest.raises(BurstDenoiseError):
        bursts_by_sensor([tmp_path], tmp_path / "b", ONE, Recorder())


def test_half_of_a_burst_merged_is_judged_by_the_other_half(tmp_path):
    write_frames(tmp_path / "in", burst_frames(10, 6400))
    bursts = ingest([tmp_path / "in"], tmp_path / "bursts")
    rows = {row.method: row for row in benchmark_bursts(bursts, {}, {}, ONE)}
    merged, alone = rows["merge 5"], rows["prior"]
    assert (merged.averaged, alone.averaged, rows["mean of 2"].averaged) == (5, 1, 2)
    assert merged.corrected_psnr_db > alone.corrected_psnr_db + 1
    assert merged.worth_frames > 5
    assert best_method(list(rows.values())) == "prior", "what takes five frames is no method for one"


def test_flats_settle_the_pattern_or_else_several_scenes_do(raw_burst: Burst, tmp_path: Path):
    assert sensor_pattern([raw_burst], BenchmarkSettings()) == SensorPattern()
    lit, _ = shoot(SyntheticCamera(), np.full((*raw_burst.saturated.shape, 3), 0.5, np.float32), 100, 4, 9)
    flats = tuple(write_frames(tmp_path, lit, camera=raw_burst.info.camera))
    found = sensor_pattern([raw_burst], BenchmarkSettings(flats=flats, any_sensor=True))
    assert found.framings is None
    assert found.flat.sensitivity.shape == raw_burst.saturated.shape
    row = next(benchmark_bursts([raw_burst], {}, {}, ONE, pattern=found))
    assert row.pattern_psnr_db_bracket[0] < row.pattern_psnr_db_bracket[1] < np.inf
