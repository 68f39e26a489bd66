"""The demo in miniature: the real chain over DNG files, and everything it promises to leave behind."""

import numpy as np
import pytest
import rawpy
import tifffile
import torch

from burst_denoise.errors import OutputError
from burst_denoise.jobs import demo as room
from burst_denoise.jobs.demo import demo


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(room, "CALIBRATION_SCENES", ("astronaut",))
    monkeypatch.setattr(room, "SIZE", (176, 256))
    monkeypatch.setattr(room, "CROP", (slice(20, 120), slice(30, 180)))
    monkeypatch.setattr(room, "FRAMES", 6)
    monkeypatch.setattr(room, "FAULTS", {("astronaut", 1600): {5: room.Fault(shift=(2.5, 0))}})


def run(folder, verdicts=None):
    seen = [] if verdicts is None else verdicts
    return demo(folder, 0.02, torch.device("cpu"), lambda text: None, seen.append, lambda progress: None)


@pytest.mark.usefixtures("small")
def test_the_demo_leaves_bursts_plot_model_shots_picture_and_table(tmp_path):
    verdicts = []
    result = run(tmp_path / "demo", verdicts)
    names = {path.name for path in (tmp_path / "demo").iterdir()}
    assert names == {
        "shots", "bursts", "model.safetensors", "report.html", "denoised.dng", "denoised.tif", "before_after.png",
        "benchmark.jsonl",
    }  # fmt: skip
    assert len(list((tmp_path / "demo" / "bursts").rglob("*.burst"))) == 4
    assert [frame.reasons for frame in verdicts[0].frames if not frame.accepted] == [("shift",)]
    with rawpy.imread(str(tmp_path / "demo" / "denoised.dng")) as raw:
        assert raw.raw_image.shape == (176, 256)
    assert tifffile.imread(tmp_path / "demo" / "denoised.tif").dtype == np.uint16
    assert "before_after.png" in result.next_steps
    assert "calibrate FOLDER" in result.next_steps
    assert len(result.rows) == 2 * 10  # two ISOs; single frame, mean of 2, six baselines, prior, model


@pytest.mark.usefixtures("small")
def test_an_existing_folder_is_not_touched(tmp_path):
    with pytest.raises(OutputError, match="exists already"):
        run(tmp_path)


def test_the_scene_the_demo_is_judged_on_is_in_no_training():
    assert room.TEST_SCENE not in room.CALIBRATION_SCENES
