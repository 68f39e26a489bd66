"""Simulated webcam clips: video files and their frames, whose noise is independent in time and not in space."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import chelsea

import burst_denoise as bd
from burst_denoise.burst.grouping import find_sources, group_series
from burst_denoise.burst.series_verdict import check_series
from experiments.webcam_clips import clean_pictures, film, fitted, main, split_clip, write_clip

SIZE = (96, 128)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of eight frames, and the folder it was split into."""
    clip = tmp_path_factory.mktemp("clips") / "cat.avi"
    write_clip(clip, film(fitted(chelsea(), SIZE), 8, seed=1))
    assert split_clip(clip, clip.with_suffix("")) == 8
    return clip.with_suffix("")


def frames_in(folder: Path) -> np.ndarray:
    return np.stack([cv2.imread(str(path)) for path in sorted(folder.glob("*.png"))]).astype(np.float64)


def temporal_noise(frames: np.ndarray) -> np.ndarray:
    return (frames - frames.mean(axis=0)) * np.sqrt(len(frames) / (len(frames) - 1))


def test_a_clip_is_split_into_its_frames(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [f"{number:04d}.png" for number in range(1, 9)]
    assert frames_in(folder).shape == (8, *SIZE, 3)


def test_frames_differ_by_noise_of_a_small_sensor(folder: Path) -> None:
    noise = temporal_noise(frames_in(folder)).std(axis=(0, 1, 2))
    assert (noise > 1.5).all()
    assert (noise < 8).all()


def test_noise_is_correlated_in_space_and_not_in_time(folder: Path) -> None:
    noise = temporal_noise(frames_in(folder))
    neighbours = (noise[:, :, 1:] * noise[:, :, :-1]).mean() / np.square(noise).mean()
    assert neighbours > 0.25
    frames = frames_in(folder)
    changes = np.diff(frames, axis=0)
    # Of independent frames, each difference shares half its variance with the next, with the opposite sign.
    shared = (changes[1:] * changes[:-1]).mean() / np.square(changes).mean()
    assert shared == pytest.approx(-0.5, abs=0.05)


def test_the_scene_stands_still_and_is_the_picture(folder: Path) -> None:
    mean = frames_in(folder).mean(axis=0)[..., ::-1]
    picture = fitted(chelsea(), SIZE).astype(np.float64)
    assert np.corrcoef(mean.ravel(), picture.ravel())[0, 1] > 0.97


def test_clips_are_seeded() -> None:
    picture = fitted(chelsea(), SIZE)
    first, again, other = (next(film(picture, 1, seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_pictures_are_fitted_without_a_change_of_proportions() -> None:
    wide = np.zeros((40, 100, 3), np.uint8)
    wide[:, 30:70] = 255  # the middle of 40 x 40
    assert fitted(wide, (20, 20)).mean() == 255
    assert fitted(wide, (80, 80)).shape == (80, 80, 3)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".WEBP"])
def test_clean_pictures_come_from_a_folder_too(tmp_path: Path, suffix: str) -> None:
    content = cv2.imencode(suffix.lower(), np.full((8, 8, 3), (0, 0, 255), np.uint8))[1]
    (tmp_path / f"red{suffix}").write_bytes(content.tobytes())
    (tmp_path / "notes.txt").write_text("no picture")
    ((name, picture),) = clean_pictures(tmp_path)
    assert name == "red"
    assert picture[0, 0] == pytest.approx([255, 0, 0], abs=5)
    assert len(list(clean_pictures())) == 6


def test_a_folder_without_pictures_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    for folder in (tmp_path, tmp_path / "nowhere"):
        arguments = ["--output", str(tmp_path / "output"), "--pictures", str(folder)]
        monkeypatch.setattr(sys, "argv", ["webcam_clips", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == (
            f"error: {folder}: no pictures there; name a folder of .bmp, .jpeg, .jpg, .png, .tif, .tiff, .webp files"
        )
    assert not (tmp_path / "output").exists()


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.webp").write_bytes(b"RIFF")
    with pytest.raises(bd.InputFileError, match=r"a\.webp: cannot be decoded; take it away"):
        next(clean_pictures(tmp_path))


def test_the_library_accepts_a_clip_and_its_frames(folder: Path) -> None:
    for source in (folder, folder.with_suffix(".avi")):
        (series,) = group_series(find_sources([source]))
        verdict, frames = check_series(series, limit=8)
        assert verdict.accepted
        assert len(frames) == 8


def test_the_command_writes_six_clips_and_tells_the_verdicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--output", str(tmp_path), "--frames", "5", "--size", "128x96"]
    monkeypatch.setattr(sys, "argv", ["webcam_clips", *arguments])
    main()
    told = capsys.readouterr().out
    assert len(list((tmp_path / "clips").glob("*.avi"))) == 6
    assert len(list((tmp_path / "frames").glob("*/*.png"))) == 30
    assert told.count("5 of 5 frames") == 6
    for folder in ("clips", "frames"):
        assert len(group_series(find_sources([tmp_path / folder]))) == 6
