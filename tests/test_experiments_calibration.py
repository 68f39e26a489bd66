"""Simulated sensors: their noise is what they say, it is named in words, and a calibration that says it pays does."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from burst_denoise.burst.burst import Burst
from burst_denoise.jobs.calibrate import _noise_structure
from burst_denoise.schemas import TrainSettings
from burst_denoise.sensor.verdict import unknown_noise
from experiments.bench_calibration import SENSORS, calibrated
from experiments.simulated_sensors import SimulatedSensor, shoot_burst

ORDINARY = ("canon", "sony, soft", "nikon, sharp", "canon 5D")


def picture() -> np.ndarray:
    """Soft colours, half of them dark: noise that is not of the light shows there."""
    coarse = np.random.default_rng(0).integers(0, 200, (6, 9, 3), dtype=np.uint8)
    coarse[:, :5] //= 4
    return cv2.resize(coarse, (288, 192), interpolation=cv2.INTER_LINEAR)


def shot(sensor: SimulatedSensor, folder: Path, frames: int = 5) -> Burst:
    return shoot_burst(sensor, picture(), folder / "scene.burst", frames=frames)


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_sensors_have_nothing_that_the_prior_does_not_know(name: str, tmp_path: Path):
    assert unknown_noise(_noise_structure([shot(SENSORS[name], tmp_path)])) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("correlated", "neighbouring photosites have like noise"),
        ("banding", "row noise (banding) of "),
        ("heavy tails", "outliers are frequent"),
        ("wrong black", "the true black level lies about "),
    ],
)
def test_what_others_have_is_named(name: str, words: str, tmp_path: Path):
    found = unknown_noise(_noise_structure([shot(SENSORS[name], tmp_path)]))
    assert any(sentence.startswith(words) for sentence in found), found


@pytest.mark.parametrize("name", SENSORS)
def test_a_burst_has_the_noise_its_sensor_says(name: str, tmp_path: Path):
    sensor = SENSORS[name]
    frames = np.stack([sensor.expose(np.full((64, 96), 0.3, np.float32), np.random.default_rng(k)) for k in range(60)])
    level = 0.3 * (sensor.white - sensor.black)
    expected = sensor.gain * level + sensor.read_noise**2 + sensor.correlated_noise**2
    expected += sensor.row_noise**2 + sensor.column_noise**2
    assert frames.mean() == pytest.approx(sensor.black + sensor.black_error + level, rel=0.01)
    assert frames.var(axis=0, ddof=1).mean() == pytest.approx(expected, rel=0.1)


@pytest.mark.slow
@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize("name", ["banding", "canon"])
def test_a_calibration_says_that_it_pays_where_it_does(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("burst_denoise.jobs.calibrate.tuned_strengths", lambda bursts: {})
    model, gains = calibrated(SENSORS[name], TrainSettings(steps=100, batch=4))
    pays = model.verdict[0].startswith("calibration pays: ")
    assert pays == (name == "banding") == (gains[:, 0].mean() >= 0.05)
    assert gains[:, 0].min() >= -0.02
