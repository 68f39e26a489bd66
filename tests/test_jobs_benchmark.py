"""The benchmark as a job: several sensors in one call, baselines tuned fairly, models only where they fit."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from burst_denoise.burst.store import Burst
from burst_denoise.errors import BurstDenoiseError, ModelFileError
from burst_denoise.jobs import benchmark as room
from burst_denoise.jobs.benchmark import ScoreSettings, bursts_by_sensor, score, score_bursts, strengths_for
from burst_denoise.jobs.ingest import ingest
from burst_denoise.model.model_file import Model, load_model
from tests.shots import burst_frames, write_frames, write_identity_model

CPU = torch.device("cpu")
ONE = ScoreSettings(frames=1)


def ignore(_: object) -> None:
    """Take no notice."""


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
    return ingest([shots / "raw_0"], tmp_path_factory.mktemp("stored"), 20, ignore)[0]


@pytest.fixture(scope="module")
def model(raw_burst: Burst, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(write_identity_model(tmp_path_factory.mktemp("model") / "m.safetensors", raw_burst), CPU)


def test_frames_of_several_sensors_are_told_apart(shots: Path, tmp_path: Path):
    found = bursts_by_sensor([shots], tmp_path, 20, ignore)
    assert sorted([burst.name for burst in bursts] for bursts in found.values()) == [["pictures"], ["raw_0", "raw_1"]]


def test_a_model_is_scored_on_its_own_sensor_and_passed_over_on_others(
    shots: Path, model: Model, tmp_path, monkeypatch
):
    monkeypatch.setattr(room, "tuned_strengths", lambda bursts: {})
    notes: list[str] = []
    rows = list(score([shots], [("mine", model)], [], ONE, tmp_path, ignore, notes.append))
    methods = {burst: [row.method for row in rows if row.burst == burst] for burst in ("raw_0", "raw_1", "pictures")}
    assert "mine" in methods["raw_1"]
    assert methods["pictures"] == ["single frame", "mean of 2"]
    assert any(note.startswith("mine is not scored on pictures") for note in notes)
    assert "warning: mine was trained on raw_0; its score there proves nothing" in notes


def test_another_camera_of_the_same_kind_is_passed_over_unless_told_otherwise(model: Model, tmp_path):
    write_frames(tmp_path / "other", burst_frames(4), camera="Nikon D5")
    bursts = ingest([tmp_path / "other"], tmp_path / "bursts", 20, ignore)
    plain = [row.method for row in score_bursts(bursts, [("m", model)], {}, ONE, ignore)]
    told = [
        row.method for row in score_bursts(bursts, [("m", model)], {}, ScoreSettings(True, 1, any_sensor=True), ignore)
    ]
    assert plain == ["single frame", "mean of 2", "prior"]
    assert told == ["single frame", "mean of 2", "prior", "m", "m + augmentation"]


def test_a_model_that_fits_nothing_is_refused_before_any_work(model: Model, tmp_path):
    write_frames(tmp_path / "other", burst_frames(4), camera="Nikon D5")
    with pytest.raises(ModelFileError, match="other: from camera Nikon D5, but the model belongs to Synthetic APS-C"):
        list(score([tmp_path / "other"], [("m", model)], [], ONE, tmp_path / "b", ignore, ignore))


def test_strengths_come_from_other_bursts_then_from_the_model_then_from_the_scored_ones(raw_burst, model, monkeypatch):
    monkeypatch.setattr(room, "tuned_strengths", lambda bursts: {"tuned on": len(bursts)})
    notes: list[str] = []
    assert strengths_for([raw_burst], [raw_burst] * 3, [("m", model)], notes.append) == {"tuned on": 3}
    assert strengths_for([raw_burst], [], [("m", model)], notes.append)["nlm-stabilised"] == 0.85
    assert notes == []
    record = model.header.training.model_copy(update={"baseline_strength": {}})
    ignorant = Model(model.network, model.header.model_copy(update={"training": record}))
    assert strengths_for([raw_burst], [], [("m", ignorant)], notes.append) == {"tuned on": 1}
    assert "which favours them" in notes[0]


def test_no_input_is_an_error_of_the_user(tmp_path):
    with pytest.raises(BurstDenoiseError):
        bursts_by_sensor([tmp_path], tmp_path / "b", 20, ignore)
