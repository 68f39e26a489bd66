"""The samples: real DNG files of a simulated camera, the truth known but for hot photosites."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from burst_denoise.io.raw import read_raw
from burst_denoise.jobs.inspect import inspect
from burst_denoise.web.pictures import Layer, save_layer
from burst_denoise.web.samples import SAMPLES, make_samples, scores


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("samples")
    make_samples(place)
    return place


def test_three_shots_of_other_isos_and_scenes_and_a_burst(folder: Path) -> None:
    assert [len(sample.files(folder)) for sample in SAMPLES] == [1, 1, 1, 12]
    isos = [read_raw(sample.files(folder)[0]).info.iso for sample in SAMPLES[:3]]
    assert sorted(isos) == [1600, 6400, 25600]
    for sample in SAMPLES:
        assert cv2.imread(str(sample.thumbnail(folder))).shape[1] == 320


def test_their_noise_is_as_strong_as_the_camera_says_and_hot_photosites_do_not_count(
    folder: Path, tmp_path: Path
) -> None:
    psnr = {}
    for sample in SAMPLES[:3]:
        frame, clean = read_raw(sample.files(folder)[0]), sample.clean(folder)
        assert clean is not None
        truth = np.load(clean)
        hot = np.isnan(truth)
        assert 0 < hot.mean() < 1e-3
        layer = Layer(sample.key, "as shot", tmp_path, frame.info)
        save_layer(layer, frame.linear)
        found = scores(layer, 1.0, clean)
        psnr[sample.iso] = found.psnr_db
        expected = 10 * np.log10(1 / np.mean((frame.linear - truth)[~hot].astype(float) ** 2))
        assert found.psnr_db == pytest.approx(expected, abs=0.01)
        assert 0 < found.ssim < 1
    assert psnr[1600] > psnr[6400] > psnr[25600] > 20


def test_of_the_burst_two_frames_are_spoilt(folder: Path) -> None:
    (verdict,) = inspect([folder / "burst"]).verdicts
    assert verdict.accepted
    assert [frame.reasons for frame in verdict.frames if not frame.accepted] == [("light",), ("motion",)]
