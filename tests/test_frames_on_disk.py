"""Frames that wait on disk: the same as those in memory, mapped anew each time, and gone when they are discarded."""

from mmap import mmap
from pathlib import Path

import numpy as np
import pytest

from burst_denoise.burst.frames_on_disk import HeldFrames, KeptFrame
from burst_denoise.burst.grouping import find_sources, group_series, read_series
from burst_denoise.errors import OutputError
from burst_denoise.frame.frame import Frame
from tests.shots import burst_frames, write_frames

SMALL = (48, 64)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return burst_frames(3, size=SMALL)


def test_frames_on_disk_are_those_in_memory(frames: list[Frame], tmp_path: Path) -> None:
    held = HeldFrames((frames[0], *(KeptFrame.keep(one, tmp_path / f"{one.path.stem}.dn") for one in frames[1:])))
    assert [frame.info for frame in held] == [frame.info for frame in frames]
    assert [frame.path for frame in held] == [frame.path for frame in frames]
    for found, expected in zip(held, frames, strict=True):
        assert np.array_equal(found.dn, expected.dn)
    assert [len(held), len(held[1:]), len(held.where([True, False, True])), len(held.where([True]))] == [3, 2, 2, 1]
    assert held.where([False, True, False])[0].path == frames[1].path


def test_nothing_of_a_frame_on_disk_stays_in_memory(frames: list[Frame], tmp_path: Path) -> None:
    held = HeldFrames((KeptFrame.keep(frames[0], tmp_path / "a.dn"),))
    assert held[0].dn is not held[0].dn
    memory = held[0].dn.base
    while isinstance(memory, np.ndarray):
        memory = memory.base
    assert isinstance(memory, memoryview)
    assert isinstance(memory.obj, mmap), "a map of the file"


def test_a_series_waits_where_it_is_told_and_goes_when_it_is_discarded(frames: list[Frame], tmp_path: Path) -> None:
    write_frames(tmp_path / "scene", frames)
    (tmp_path / "waiting").mkdir()
    (series,) = group_series(find_sources([tmp_path / "scene"]))
    read = read_series(series, 20, keep=tmp_path / "waiting")
    assert len(list((tmp_path / "waiting").iterdir())) == len(read.frames) == 3
    read.frames.where([False, True, True]).discard()
    assert np.array_equal(read.frames[0].dn, frames[0].dn)
    read.frames[:1].discard()
    assert list((tmp_path / "waiting").iterdir()) == []


def test_a_disk_that_refuses_is_named(frames: list[Frame], tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"no\.dn: cannot be written"):
        KeptFrame.keep(frames[0], tmp_path / "nowhere" / "no.dn")
