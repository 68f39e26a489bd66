"""All is asked that later jobs ask, told as soon as it is known, and nothing is written."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from burst_denoise.errors import BurstStoreError, InputFileError
from burst_denoise.frame.synthetic import Fault
from burst_denoise.jobs.ingest import IngestSettings, ingest
from burst_denoise.jobs.inspect import inspect
from tests.shots import Recorder, burst_frames, dark_frames, everything_in, write_card, write_frames

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
    found = inspect([shots], listener=listener)
    assert [(v.series, v.accepted, [f.reasons for f in v.frames if not f.accepted]) for v in found.verdicts] == [
        ("good", True, []),
        ("moved", True, [("shift",)]),
    ]
    assert listener.verdicts == found.verdicts == found.usable
    assert [places for _, places in found.sensors] == [[shots]]
    assert everything_in(shots.parent) == before


def test_a_stored_burst_has_the_verdict_that_it_was_stored_with(shots: Path, tmp_path: Path) -> None:
    fresh = Recorder()
    ingest([shots], tmp_path / "bursts", listener=fresh)
    before = everything_in(tmp_path)
    stored = inspect([tmp_path / "bursts"])
    assert [(v.series, v.mu, v.sigma, v.frames) for v in stored.verdicts] == [
        (v.series, v.mu, v.sigma, v.frames) for v in fresh.verdicts
    ]
    assert stored.usable == stored.verdicts
    assert [places for _, places in stored.sensors] == [[tmp_path / "bursts"]]
    assert everything_in(tmp_path) == before


def test_frames_beyond_the_limit_are_told_not_judged(shots: Path) -> None:
    (verdict,) = inspect([shots / "good"], IngestSettings(limit=3)).verdicts
    assert (len(verdict.frames), verdict.left_out) == (3, 1)


def test_a_damaged_stored_burst_is_named(shots: Path, tmp_path: Path) -> None:
    (good,) = ingest([shots / "good"], tmp_path / "bursts")
    (good.folder / "frame_001.npy").write_bytes(b"")
    with pytest.raises(BurstStoreError, match=r"good\.burst"):
        inspect([good.folder])


def test_a_card_as_it_comes_from_the_camera(tmp_path: Path) -> None:
    write_card(tmp_path / "card")
    listener = Recorder()
    found = inspect([tmp_path / "card"], listener=listener)
    series = [verdict for verdict in found.verdicts if not verdict.lone]
    assert [(verdict.series, verdict.accepted) for verdict in series] == [
        ("card-IMG_0001", True),
        ("card-IMG_0009", True),
        ("card-IMG_0017", True),
        ("card-IMG_0025", False),
        ("card-MVI_0001", True),
    ]
    assert sum(len(verdict.frames) for verdict in found.verdicts if verdict.lone) == 6
    assert [(dark.series, dark.count, dark.info.iso) for dark in found.darks] == [
        ("card-IMG_0039", 16, 1600.0),
        ("card-IMG_0055", 16, 6400.0),
    ]
    assert [path.name for path, _ in found.left_out] == ["IMG_0071.dng"]
    assert "is truncated" in str(found.left_out[0][1])
    assert listener.notes == [f"left out: {found.left_out[0][1]}"]
    assert (found.pictures_beside_raw, found.videos_beside_raw) == (8, 1)
    assert [places for _, places in found.sensors] == [[tmp_path / "card"]]


def test_a_film_scanner_without_a_mosaic_among_the_shots_is_left_out(tmp_path: Path, shared_data: Path) -> None:
    write_frames(tmp_path / "card", burst_frames(4, size=SMALL))
    scan = tmp_path / "card" / "SCAN.NEF"
    scan.write_bytes((shared_data / "raw_single" / "Nikon_uncompressed.nef").read_bytes())
    found = inspect([tmp_path / "card"])
    assert [verdict.accepted for verdict in found.verdicts] == [True]
    ((path, error),) = found.left_out
    assert path == scan
    assert "only Bayer mosaics" in str(error)


def test_a_single_file_that_cannot_be_read_is_an_error_and_one_among_others_is_not(tmp_path: Path) -> None:
    shots = write_frames(tmp_path, burst_frames(4, size=SMALL))
    shots[0].write_bytes(shots[0].read_bytes()[:3000])
    with pytest.raises(InputFileError, match="is truncated"):
        inspect([shots[0]])
    found = inspect(shots)
    assert (len(found.left_out), len(found.usable)) == (1, 1)


def test_a_series_whose_noise_cannot_be_measured_is_not_accepted(tmp_path: Path) -> None:
    for k in range(4):
        cv2.imwrite(str(tmp_path / f"w_{k}.png"), np.full((64, 64), 100, np.uint8))
    (verdict,) = inspect([tmp_path]).verdicts
    assert not verdict.accepted
    assert verdict.detail.startswith("its noise cannot be measured: ")


def test_several_cameras_each_get_their_folders(tmp_path: Path) -> None:
    for place, camera in (("a/one", "Canon 5D"), ("a/two", "Canon 5D"), ("x", "Nikon D5")):
        write_frames(tmp_path / place, burst_frames(3, seed=len(place), size=SMALL), camera=camera)
    found = inspect([tmp_path])
    assert [(info.camera, places) for info, places in found.sensors] == [
        ("Canon 5D", [tmp_path / "a" / "one", tmp_path / "a" / "two"]),
        ("Nikon D5", [tmp_path / "x"]),
    ]
    for frame in burst_frames(3, seed=9, size=SMALL):
        write_frames(tmp_path / "x", [replace(frame, path=Path("x" + frame.path.name))], camera="Canon 5D")
    assert [places for _, places in inspect([tmp_path]).sensors] == [[], []]


def test_frames_75_s_apart_are_lone_shots_that_say_what_joins_them(tmp_path: Path) -> None:
    for k, frame in enumerate(burst_frames(4, size=SMALL)):
        write_frames(tmp_path / "slow", [frame], taken_at=1000.0 + 75 * k)
    found = inspect([tmp_path])
    assert [verdict.lone for verdict in found.verdicts] == [True] * 4
    assert [verdict.pause.joined_by_s for verdict in found.verdicts if verdict.pause] == [120] * 3
    (joined,) = inspect([tmp_path], IngestSettings(pause_s=120)).verdicts
    assert joined.accepted
    assert (len(joined.frames), joined.notes) == (4, [])


def test_dark_frames_after_a_burst_of_the_same_exposure_are_told_apart(tmp_path: Path) -> None:
    darks = [replace(frame, path=Path(f"x{frame.path.name}")) for frame in dark_frames(5, size=SMALL)]
    write_frames(tmp_path / "shots", burst_frames(4, size=SMALL))
    for k, frame in enumerate(darks):
        write_frames(tmp_path / "shots", [frame], taken_at=(frame.info.taken_at or 0) + 20 + k)
    found = inspect([tmp_path])
    assert [(len(verdict.frames), verdict.accepted) for verdict in found.verdicts] == [(4, True)]
    assert [dark.count for dark in found.darks] == [5]


def test_a_movie_is_named_itself_where_nothing_else_is_usable(tmp_path: Path) -> None:
    write_card(tmp_path)
    for path in tmp_path.glob("IMG_00[0-3]*.dng"):
        path.unlink()
    found = inspect([tmp_path])
    assert [verdict.series for verdict in found.usable] == [f"{tmp_path.name}-MVI_0001"]
    assert [places for _, places in found.sensors] == [[tmp_path / "MVI_0001.avi"]]
