"""The shots of a session, as inputs name them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from burst_denoise.errors import InputFileError
from burst_denoise.session.shots import find_shots
from tests.shots import burst_frames, stored, verdicts, write_frames

SMALL = (48, 64)


def test_files_keep_their_place_below_the_folder_named_and_dark_frames_are_no_shots(tmp_path: Path) -> None:
    (first, dark) = write_frames(tmp_path / "shots", burst_frames(2, size=SMALL))
    (second,) = write_frames(tmp_path / "shots" / "sub", burst_frames(1, size=SMALL))
    found = find_shots([tmp_path / "shots"], tmp_path / "out", frozenset([dark])).shots
    assert [(shot.name, shot.source) for shot in found] == [("frame_000.dng", first), ("sub/frame_000.dng", second)]


def test_frames_of_a_stored_burst_know_their_burst_and_have_no_file(tmp_path: Path) -> None:
    frames = burst_frames(3, size=SMALL)
    burst = stored(tmp_path / "scene.burst", "scene", frames, verdicts(frames), 0.1, 0.001)
    found = find_shots([burst.folder], tmp_path / "out").shots
    assert [(shot.name, shot.source, shot.burst) for shot in found] == [
        (f"scene/frame_00{k}", None, burst) for k in range(3)
    ]
    assert found[1].place == burst.folder / "frame_001.npy"


def test_pictures_are_shots_where_there_are_no_raw_files_or_a_model_is_of_pictures(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((*SMALL, 3), np.uint8))
    assert [shot.name for shot in find_shots([tmp_path], tmp_path / "out", pictures=False).shots] == ["a.jpg"]
    write_frames(tmp_path, burst_frames(1, size=SMALL))
    found = find_shots([tmp_path], tmp_path / "out", pictures=False)
    assert [shot.name for shot in found.shots] == ["frame_000.dng"]
    assert found.passed_over == "1 pictures (among raw files)"
    assert len(find_shots([tmp_path], tmp_path / "out", pictures=True).shots) == 2


def test_a_folder_of_nothing_but_videos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mov").write_bytes(b"")
    with pytest.raises(InputFileError, match="videos calibrate a model but are not denoised"):
        find_shots([tmp_path], tmp_path / "out")
