"""The demo in miniature: the real chain over DNG files, and everything it promises to leave behind."""

import numpy as np
import pytest
import rawpy
import tifffile
import torch

from burst_denoise.errors import OutputError
from burst_denoise.jobs import demo as job
from burst_denoise.jobs.demo import demo
from burst_denoise.score.baselines import baselines_for
from tests.shots import SIZE, Recorder


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(job, "CALIBRATION_SCENES", ("astronaut",))
    monkeypatch.setattr(job, "SIZE", SIZE)
    monkeypatch.setattr(job, "CROP", (slice(20, 120), slice(30, 160)))
    monkeypatch.setattr(job, "FRAMES", 4)
    monkeypatch.setattr(job, "DARKS", 6)
    untuned = "burst_denoise.jobs.calibrate.tuned_strengths"
    monkeypatch.setattr(untuned, lambda bursts: dict.fromkeys(baselines_for(bursts[0].info), 1.0))
    monkeypatch.setattr(job, "FAULTS", {("astronaut", 1600): {4: job.Fault(shift=(2.5, 0))}})


@pytest.mark.usefixtures("small")
@pytest.mark.slow  # as `make demo-quick` runs wherever this does
def test_the_demo_leaves_bursts_plot_model_shots_picture_and_table(tmp_path):
    told = Recorder()
    result = demo(tmp_path / "demo", 0.005, torch.device("cpu"), told)
    names = {path.name for path in (tmp_path / "demo").iterdir()}
    assert names == {
        "shots", "bursts", "model.safetensors", "report.html", "denoised.dng", "denoised.tif", "burst-denoise.jsonl",
        "merged.dng", "before_after.png", "benchmark.jsonl",
    }  # fmt: skip
    assert len(list((tmp_path / "demo" / "bursts").rglob("*.burst"))) == 4
    assert [frame.reasons for frame in told.verdicts[0].frames if not frame.accepted] == [("shift",)]
    assert [note[:4] for note in told.notes if note[1:2] == "/"] == [f"{k}/6 " for k in range(1, 7)]
    assert told.progress
    with rawpy.imread(str(tmp_path / "demo" / "denoised.dng")) as raw:
        assert raw.raw_image.shape == SIZE
    assert tifffile.imread(tmp_path / "demo" / "denoised.tif").dtype == np.uint16
    assert "before_after.png" in result.next_steps
    assert "calibrate FOLDER" in result.next_steps
    # Two ISOs; single frame, mean of 2, six baselines, prior, model, and half of the burst merged with each.
    assert len(result.rows) == 2 * 12
    assert sum("merge" in row.method for row in result.rows) == 4
    assert any("the prior" in note for note in told.notes), "the verdict on the calibration"


@pytest.mark.usefixtures("small")
def test_an_existing_folder_is_not_touched(tmp_path):
    with pytest.raises(OutputError, match="exists already"):
        demo(tmp_path, 0.02, torch.device("cpu"))


def test_the_scene_the_demo_is_judged_on_is_in_no_training():
    assert job.TEST_SCENE not in job.CALIBRATION_SCENES
