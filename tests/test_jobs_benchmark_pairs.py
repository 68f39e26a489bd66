"""The benchmark on pairs as a job: what is scored, what is tuned on, and what the reader is told."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from burst_denoise.errors import ConfigError, InputFileError, ModelFileError
from burst_denoise.io.pairs import NoisyCleanPair, read_pairs
from burst_denoise.jobs import benchmark_pairs as job
from burst_denoise.jobs.benchmark import BenchmarkSettings
from burst_denoise.jobs.benchmark_pairs import benchmark_pairs
from burst_denoise.jobs.ingest import ingest
from burst_denoise.model.model_file import Model, load_model
from burst_denoise.score.outputs import Outputs
from tests.shots import Recorder, burst_frames, write_frames, write_identity_model

CPU = BenchmarkSettings(device="cpu")
SIZE = (160, 192)


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.clip(np.rint(values), 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pairs, a burst of such pictures, and what another program made of two pairs, 5 % too bright."""
    folder = tmp_path_factory.mktemp("job")
    rng = np.random.default_rng(0)
    clean = cv2.resize(rng.uniform(30, 220, (20, 24, 3)), SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    for name in ("a_1", "a_2", "b_1"):
        write(folder / "pairs" / f"{name}_mean.png", clean)
        write(folder / "pairs" / f"{name}_real.png", clean + rng.normal(0, 6, clean.shape))
    for name in ("a_1", "b_1"):
        write(folder / "other" / f"{name}_real-clean.png", clean * 1.05)
    for number in range(4):
        write(folder / "burst" / f"shot_{number}.png", clean + rng.normal(0, 6, clean.shape))
    return folder


@pytest.fixture(scope="module")
def pairs(folder: Path) -> list[NoisyCleanPair]:
    return read_pairs(folder / "pairs")


@pytest.fixture
def untuned(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Record what is tuned on, without doing it."""
    tuned: list[list[str]] = []

    def strengths(pairs: list[NoisyCleanPair]) -> dict[str, float]:
        tuned.append([pair.name for pair in pairs])
        return {}

    monkeypatch.setattr(job, "paired_strengths", strengths)
    return tuned


@pytest.fixture(scope="module")
def model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model of the sensor of these pictures, which changes nothing."""
    made = tmp_path_factory.mktemp("model")
    (burst,) = ingest([folder / "burst"], made / "stored")
    return load_model(write_identity_model(made / "m.safetensors", burst), torch.device("cpu"))


def test_every_pair_has_its_rows_and_the_reader_knows_what_was_done(pairs, untuned):
    listener = Recorder()
    rows = list(benchmark_pairs(pairs, {"mine": lambda image, frame: image}, (), CPU, listener))
    assert [(row.burst, row.method) for row in rows] == [
        (name, method) for name in ("a_1_real", "a_2_real", "b_1_real") for method in ("single frame", "mine")
    ]
    assert untuned == [["a_1_real", "a_2_real", "b_1_real"]]
    assert listener.notes == [
        "the noise profile of each pair is fitted to its noisy minus its clean picture",
        "no other pairs to tune the baselines on (--tune-on); their strengths are tuned on the pairs scored here, "
        "which favours them",
    ]


def test_other_pairs_are_tuned_on_where_given(pairs, untuned):
    listener = Recorder()
    list(benchmark_pairs(pairs[:1], {}, pairs[1:], CPU, listener))
    assert untuned == [["a_2_real", "b_1_real"]]
    assert not any("favours" in note for note in listener.notes)


@pytest.mark.usefixtures("untuned")
def test_outputs_decide_which_pairs_are_scored_and_their_brightness_is_told(folder: Path, pairs):
    listener = Recorder()
    rows = list(benchmark_pairs(pairs, {"other": Outputs(folder / "other")}, pairs, CPU, listener))
    assert [(row.burst, row.method) for row in rows] == [
        (name, method) for name in ("a_1_real", "b_1_real") for method in ("single frame", "other")
    ]
    assert "2 of 3 pairs are scored, those with an output of other" in listener.notes
    assert listener.notes[-1].startswith(
        "other: the brightness of 2 of 2 results differs from that of the frames by +5.0%; it is "
    )
    assert listener.notes[-1].endswith("; it is not evened out and counts as error")
    assert all("\n" not in note for note in listener.notes)


@pytest.mark.usefixtures("untuned")
def test_outputs_of_scenes_whose_files_are_called_the_same_lie_in_folders_of_the_scenes(tmp_path: Path):
    rng = np.random.default_rng(0)
    clean = cv2.resize(rng.uniform(30, 220, (20, 24, 3)), SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    for scene, brightness in (("s1", 1.0), ("s2", 0.8)):
        write(tmp_path / "set" / scene / "clean" / "1.png", clean * brightness)
        write(tmp_path / "set" / scene / "noisy" / "1.png", clean * brightness + rng.normal(0, 6, clean.shape))
        write(tmp_path / "other" / scene / "1-denoised.png", clean * brightness + 1)
    pairs = read_pairs(tmp_path / "set")
    rows = list(benchmark_pairs(pairs, {"other": Outputs(tmp_path / "other")}, pairs, CPU))
    scores = {(row.burst, row.method): row.true_psnr_db for row in rows}
    assert {burst for burst, _ in scores} == {"s1/1", "s2/1"}
    assert all(scores[burst, "other"] > scores[burst, "single frame"] + 6 for burst, _ in scores)
    write(tmp_path / "flat" / "1.png", clean)
    message = r"1\.png: may be made of 1\.png of s1 or of 1\.png of s2; put the outputs of each into a folder of that"
    with pytest.raises(InputFileError, match=message):
        next(benchmark_pairs(pairs, {"other": Outputs(tmp_path / "flat")}, pairs, CPU))


@pytest.mark.usefixtures("untuned")
def test_a_model_of_such_pictures_is_scored(pairs, model: Model):
    rows = {row.method: row for row in benchmark_pairs(pairs[:1], {"model": model}, pairs, CPU)}
    assert rows["model"].true_psnr_db == pytest.approx(rows["single frame"].true_psnr_db, abs=0.01)


@pytest.mark.usefixtures("untuned")
def test_a_model_of_another_sensor_is_refused_before_any_work(pairs, tmp_path: Path):
    write_frames(tmp_path / "raw", burst_frames(4))
    (burst,) = ingest([tmp_path / "raw"], tmp_path / "stored")
    raw = load_model(write_identity_model(tmp_path / "m.safetensors", burst), torch.device("cpu"))
    with pytest.raises(ModelFileError, match="a_1_real: is rgb"):
        next(benchmark_pairs(pairs, {"raw": raw}, pairs, CPU))


@pytest.mark.usefixtures("untuned")
def test_who_does_not_serve_all_pairs_is_named(pairs):
    def large_only(image: np.ndarray, frame: object) -> np.ndarray:
        raise ModelFileError("too small")

    listener = Recorder()
    list(benchmark_pairs(pairs, {"large": large_only}, pairs, CPU, listener))
    assert listener.notes[-1] == "large is scored on 0 of 3 pairs; it does not serve the others"


def test_what_makes_no_benchmark_is_refused(pairs, untuned):
    with pytest.raises(InputFileError, match="no pair given; name a folder of noisy and clean pictures"):
        next(benchmark_pairs([], {}))
    with pytest.raises(ConfigError, match="a method is called 'tv', as a row of the benchmark's own is"):
        next(benchmark_pairs(pairs, {"tv": lambda image, frame: image}))
    assert untuned == []
