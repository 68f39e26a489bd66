"""Every series is judged and told as soon as it is known, and nothing is written."""

from pathlib import Path

import pytest

from burst_denoise.errors import BurstStoreError
from burst_denoise.frame.synthetic import Fault
from burst_denoise.jobs.ingest import IngestSettings, ingest
from burst_denoise.jobs.inspect import inspect
from tests.shots import Recorder, burst_frames, everything_in, write_frames

SMALL = (96, 128)


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Two series: one good, one of which a frame was moved."""
    write_frames(tmp_path / "shots" / "good", burst_frames(4, size=SMALL))
    write_frames(tmp_path / "shots" / "moved", burst_frames(5, seed=1, faults={4: Fault(shift=(3, 1))}))
    return tmp_path / "shots"


def test_every_series_is_judged_and_nothing_is_written(shots: Path) -> None:
    before = everything_in(shots.parent)
    listener = Recorder()
    found = inspect([shots], listener=listener).verdicts
    assert [(v.series, v.accepted, [f.reasons for f in v.frames if not f.accepted]) for v in found] == [
        ("good", True, []),
        ("moved", True, [("shift",)]),
    ]
    assert listener.verdicts == found
    assert everything_in(shots.parent) == before


def test_a_stored_burst_has_the_verdict_that_it_was_stored_with(shots: Path, tmp_path: Path) -> None:
    fresh = Recorder()
    ingest([shots], tmp_path / "bursts", listener=fresh)
    before = everything_in(tmp_path)
    stored = inspect([tmp_path / "bursts"]).verdicts
    assert [(v.series, v.mu, v.sigma, v.frames) for v in stored] == [
        (v.series, v.mu, v.sigma, v.frames) for v in fresh.verdicts
    ]
    assert all(verdict.accepted for verdict in stored)
    assert everything_in(tmp_path) == before


def test_frames_beyond_the_limit_are_told_not_judged(shots: Path) -> None:
    (verdict,) = inspect([shots / "good"], IngestSettings(limit=3)).verdicts
    assert (len(verdict.frames), verdict.left_out) == (3, 1)


def test_a_damaged_stored_burst_is_named(shots: Path, tmp_path: Path) -> None:
    (good,) = ingest([shots / "good"], tmp_path / "bursts")
    (good.folder / "frame_001.npy").write_bytes(b"")
    with pytest.raises(BurstStoreError, match=r"good\.burst"):
        inspect([good.folder])
