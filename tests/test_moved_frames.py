"""A camera that moved by whole pairs of photosites: its frames are moved back to the bit and merged."""

from pathlib import Path

import numpy as np
import pytest

from burst_denoise.burst.merging import merge_frames
from burst_denoise.burst.moved_frames import move_into_place
from burst_denoise.errors import SeriesError
from burst_denoise.frame.frame import Frame
from burst_denoise.frame.synthetic import Fault, SyntheticCamera, shoot
from burst_denoise.jobs.merge import merge
from tests.shots import Recorder, burst_frames, scene, stored, verdicts, write_frames

SIZE = (192, 224)
PERFECT = SyntheticCamera(hot_fraction=0, prnu=0, dark_offset_std_dn=0)


def moved_shoot(count: int, down: int, right: int, cfa: str = "RGGB") -> tuple[list[Frame], list[Frame]]:
    """Return frames of one place, and those of the camera after it moved: the same scene ``down`` and ``right``."""
    camera = SyntheticCamera(hot_fraction=0, prnu=0, dark_offset_std_dn=0, cfa=cfa)
    height, width = SIZE
    large = scene((height + 32, width + 32))

    def cut(top: int, left: int) -> np.ndarray:
        return np.ascontiguousarray(large[top : top + height, left : left + width])

    still, _ = shoot(camera, cut(16, 16), 1600, count, 1)
    after, _ = shoot(camera, cut(16 - down, 16 - right), 1600, 2 * count, 2)
    return still, after[count:]


@pytest.mark.parametrize("cfa", ["RGGB", "GBRG"])
@pytest.mark.parametrize(("down", "right"), [(2, -4), (-6, 0), (8, 10)])
def test_a_shift_by_whole_pairs_is_taken_back_exactly(tmp_path: Path, down: int, right: int, cfa: str):
    still, (shot, *_) = moved_shoot(4, down, right, cfa)
    burst = stored(tmp_path / "a.burst", "a", still, verdicts(still), 0.1, 0.001)
    moved = move_into_place(shot, burst, burst.mean(), tmp_path)
    assert (moved.down, moved.right) == (down, right)
    seen = np.isfinite(moved.linear)
    assert seen.sum() == (SIZE[0] - abs(down)) * (SIZE[1] - abs(right))
    back = np.roll(shot.linear, (-down, -right), axis=(0, 1))
    assert np.allclose(moved.linear[seen], back[seen], rtol=0.01, atol=0)  # but for the gain, measured anew
    assert np.abs(np.mean(moved.linear[seen] - burst.mean()[seen])) < 2e-4


@pytest.mark.parametrize("shift", [(3.0, 2.0), (1.0, 0.0), (2.5, 4.0)])
def test_any_other_shift_is_refused_in_words(tmp_path: Path, shift: tuple[float, float]):
    frames = burst_frames(5, size=SIZE, faults={4: Fault(shift=shift)})
    burst = stored(tmp_path / "a.burst", "a", frames[:4], verdicts(frames[:4]), 0.1, 0.001)
    with pytest.raises(SeriesError, match="no whole number of pairs"):
        move_into_place(frames[4], burst, burst.mean(), tmp_path)


def test_another_light_is_refused(tmp_path: Path):
    frames = burst_frames(5, size=SIZE, faults={4: Fault(shift=(2, 2), light=1.1)})
    burst = stored(tmp_path / "a.burst", "a", frames[:4], verdicts(frames[:4]), 0.1, 0.001)
    with pytest.raises(SeriesError, match="light is another"):
        move_into_place(frames[4], burst, burst.mean(), tmp_path)


def test_moved_frames_are_merged_with_the_others_and_told(tmp_path: Path):
    still, moved = moved_shoot(6, 2, -4)
    names = [Path(f"frame_{number:03d}.dng") for number in range(9)]
    frames = [Frame(shot.dn, shot.info, name) for shot, name in zip([*still, *moved[:3]], names, strict=True)]
    write_frames(tmp_path / "in", frames)
    told = Recorder()
    merged = merge([tmp_path / "in"], tmp_path / "a.dng", None, listener=told)
    assert merged.notes.endswith("mean of 9 frames")
    assert [note for note in told.notes if "moved back by (2, -4) photosites" in note and note.startswith("frame_00")]
    assert merged.dn.shape == SIZE
    alone = merge([tmp_path / "in" / name for name in names[:6]], tmp_path / "b.dng", None)
    _, clean_dn = shoot(PERFECT, scene((224, 256))[16:208, 16:240], 1600, 1, 1)
    inner = (slice(8, -8), slice(8, -8))
    errors = [np.mean((frame.dn[inner] - clean_dn[inner]) ** 2) for frame in (merged, alone)]
    assert errors[1] / errors[0] == pytest.approx(9 / 6, rel=0.08)


def test_a_hot_photosite_is_replaced_by_what_moved_frames_saw_there(tmp_path: Path):
    still, moved = moved_shoot(4, 2, -4)
    for frame in [*still, *moved]:
        frame.dn[100, 120] = 15000
    defects = np.zeros(SIZE, np.bool_)
    defects[100, 120] = True
    burst = stored(tmp_path / "a.burst", "a", still, verdicts(still), 0.1, 0.001, defects=defects)
    placed = move_into_place(moved[0], burst, burst.mean(), tmp_path)
    assert np.isnan(placed.linear[98, 124])
    merged = merge_frames(burst, moved=[placed])
    assert merged.mean[100, 120] == placed.linear[100, 120]
