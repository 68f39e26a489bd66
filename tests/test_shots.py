"""The shots of a session, as inputs name them, and where their results go."""

from pathlib import Path

import pytest

from burst_denoise.errors import OutputError
from burst_denoise.session.shots import find_shots
from tests.shots import burst_frames, stored, verdicts, write_frames

SMALL = (48, 64)


def test_files_keep_their_place_below_the_folder_named_and_dark_frames_are_no_shots(tmp_path: Path) -> None:
    (first, dark) = write_frames(tmp_path / "shots", burst_frames(2, size=SMALL))
    (second,) = write_frames(tmp_path / "shots" / "sub", burst_frames(1, size=SMALL))
    found = find_shots([tmp_path / "shots"], tmp_path / "out", "tiff", {dark}, resume=False)
    assert [(shot.name, shot.source) for shot in found] == [("frame_000.dng", first), ("sub/frame_000.dng", second)]
    assert [shot.target.relative_to(tmp_path / "out").as_posix() for shot in found] == [
        "frame_000.tif",
        "sub/frame_000.tif",
    ]


def test_frames_of_a_stored_burst_know_their_burst_and_have_no_file(tmp_path: Path) -> None:
    frames = burst_frames(3, size=SMALL)
    burst = stored(tmp_path / "scene.burst", "scene", frames, verdicts(frames), 0.1, 0.001)
    found = find_shots([burst.folder], tmp_path / "out", None, set(), resume=False)
    assert [shot.target.relative_to(tmp_path / "out").as_posix() for shot in found] == [
        f"scene/frame_00{k}.dng" for k in range(3)
    ]
    assert [(shot.source, shot.burst) for shot in found] == [(None, burst)] * 3


def test_a_target_that_exists_is_refused_unless_the_rest_is_to_be_done(tmp_path: Path) -> None:
    shots = write_frames(tmp_path / "shots", burst_frames(2, size=SMALL))
    write_frames(tmp_path / "out", burst_frames(1, size=SMALL))
    with pytest.raises(OutputError, match=r"frame_000\.dng: exists"):
        find_shots(shots, tmp_path / "out", None, set(), resume=False)
    assert len(find_shots(shots, tmp_path / "out", None, set(), resume=True)) == 2
