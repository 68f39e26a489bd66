"""From whatever the user names to opened bursts of one sensor, and nothing left behind when it cannot be done."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from burst_denoise.burst.darks import DarkSet, read_darks
from burst_denoise.burst.grouping import find_sources, group_series
from burst_denoise.burst.store import sharing_defects
from burst_denoise.errors import (
    BurstDenoiseError,
    BurstStoreError,
    IncompatibleFramesError,
    InputFileError,
    OutputError,
    SeriesError,
    TooFewFramesError,
)
from burst_denoise.frame.synthetic import Fault, SyntheticCamera, shoot
from burst_denoise.io import read as reading
from burst_denoise.io.raw import read_raw
from burst_denoise.jobs.ingest import IngestSettings, ingest, open_inputs, store_series
from tests.shots import SIZE, Recorder, burst_frames, dark_frames, everything_in, scene, write_frames

SMALL = (96, 128)


@pytest.fixture
def shoot_folder(tmp_path: Path) -> Path:
    """Two series: one good, one of which a frame was moved."""
    write_frames(tmp_path / "shoot" / "good", burst_frames(4, size=SMALL))
    write_frames(tmp_path / "shoot" / "moved", burst_frames(5, seed=1, faults={4: Fault(shift=(3, 1))}))
    return tmp_path / "shoot"


def test_ingest_stores_the_accepted_frames_of_every_series(shoot_folder: Path, tmp_path: Path) -> None:
    before = everything_in(shoot_folder)
    bursts = ingest([shoot_folder], tmp_path / "bursts")
    assert [(b.folder.name, len(b), len(b.manifest.frames)) for b in bursts] == [
        ("good.burst", 4, 4),
        ("moved.burst", 4, 5),
    ]
    assert np.array_equal(bursts[0].frame(2).dn, burst_frames(4, size=SMALL)[2].dn)
    assert everything_in(shoot_folder) == before


def test_the_same_ingest_again_opens_what_is_there(shoot_folder: Path, tmp_path: Path) -> None:
    first = ingest([shoot_folder], tmp_path / "bursts")
    before = everything_in(tmp_path)
    again = ingest([shoot_folder], tmp_path / "bursts")
    assert [b.manifest for b in again] == [b.manifest for b in first]
    assert everything_in(tmp_path) == before


def test_another_burst_of_the_same_name_is_not_overwritten(tmp_path: Path) -> None:
    for day in ("monday", "tuesday"):
        write_frames(tmp_path / day / "scene", burst_frames(3, seed=len(day), size=SMALL))
    ingest([tmp_path / "monday"], tmp_path / "bursts")
    before = everything_in(tmp_path)
    with pytest.raises(OutputError, match="exists already"):
        ingest([tmp_path / "tuesday"], tmp_path / "bursts")
    assert everything_in(tmp_path) == before


def test_a_place_that_is_taken_is_refused_before_any_frame_is_judged(shoot_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bursts" / "moved.burst").mkdir(parents=True)
    listener = Recorder()
    with pytest.raises(OutputError, match=r"moved\.burst: exists already"):
        ingest([shoot_folder], tmp_path / "bursts", listener=listener)
    assert listener.verdicts == []


def test_after_an_error_nothing_is_left_of_what_was_stored_before_it(shoot_folder: Path, tmp_path: Path) -> None:
    (only,) = ingest([shoot_folder / "good"], tmp_path / "bursts")
    write_frames(tmp_path / "shoot" / "zzz", burst_frames(8, seed=2, size=SMALL))
    (tmp_path / "shoot" / "zzz" / "clean_mosaic_dn.tif").write_bytes(b"none")  # found only when the burst is stored
    before = everything_in(tmp_path)
    with pytest.raises(InputFileError, match="clean reference"):
        ingest([shoot_folder], tmp_path / "bursts")
    assert everything_in(tmp_path) == before
    assert only.folder.exists()


@pytest.mark.parametrize("before", [0, 1])
def test_an_error_takes_the_folders_away_that_were_made_for_the_bursts(tmp_path: Path, before: int) -> None:
    for k in range(before):
        write_frames(tmp_path / "shots" / f"a{k}", burst_frames(3, size=SMALL))
    write_frames(tmp_path / "shots" / "b", burst_frames(8, seed=1, size=SMALL))
    (tmp_path / "shots" / "b" / "clean_mosaic_dn.tif").write_bytes(b"none")
    with pytest.raises(InputFileError, match="clean reference"):
        ingest([tmp_path / "shots"], tmp_path / "new" / "folder")
    assert not (tmp_path / "new").exists()


def test_a_rejected_series_does_not_stop_the_others(tmp_path: Path) -> None:
    write_frames(
        tmp_path / "shoot" / "a_moving",
        burst_frames(4, size=SMALL, faults={k: Fault(shift=(9 * k, 5)) for k in range(4)}),
    )
    write_frames(tmp_path / "shoot" / "good", burst_frames(3, seed=1, size=SMALL))
    listener = Recorder()
    bursts = ingest([tmp_path / "shoot"], tmp_path / "bursts", listener=listener)
    assert [b.name for b in bursts] == ["good"]
    assert [v.accepted for v in listener.verdicts] == [False, True]


def test_a_clean_reference_beside_the_frames_is_stored_in_linear_units(tmp_path: Path) -> None:
    camera = SyntheticCamera()
    frames, clean = shoot(camera, scene(SMALL), 1600, 3, 0)
    write_frames(tmp_path / "shots", frames)
    tifffile.imwrite(tmp_path / "shots" / "clean_mosaic_dn.tif", clean)
    (burst,) = ingest([tmp_path / "shots"], tmp_path / "bursts")
    assert burst.clean is not None
    assert np.allclose(burst.clean, (clean - 2048) / (15304 - 2048), atol=1e-6)


@pytest.mark.parametrize("what", ["garbage", "another size"])
def test_a_clean_reference_that_is_none_is_named(tmp_path: Path, what: str) -> None:
    write_frames(tmp_path / "shots", burst_frames(3, size=SMALL))
    reference = tmp_path / "shots" / "clean_mosaic_dn.tif"
    if what == "garbage":
        reference.write_bytes(b"II*\0 no tiff")
    else:
        tifffile.imwrite(reference, np.zeros((20, 20), np.float32))
    with pytest.raises(InputFileError, match="clean reference") as caught:
        ingest([tmp_path / "shots"], tmp_path / "bursts")
    assert str(reference) in str(caught.value)
    assert not (tmp_path / "bursts").exists()


def test_frames_folders_and_stored_bursts_are_inputs_alike(shoot_folder: Path, tmp_path: Path) -> None:
    (good,) = ingest([shoot_folder / "good"], tmp_path / "bursts")
    frames = sorted((shoot_folder / "moved").iterdir())
    bursts = open_inputs([good.folder, *frames, tmp_path / "bursts"], tmp_path / "work").bursts
    assert [b.name for b in bursts] == ["good", "moved"]
    assert bursts[0].folder == good.folder


def test_a_damaged_stored_burst_is_named(shoot_folder: Path, tmp_path: Path) -> None:
    (good,) = ingest([shoot_folder / "good"], tmp_path / "bursts")
    (good.folder / "frame_001.npy").write_bytes(b"")
    with pytest.raises(BurstStoreError, match=r"good\.burst"):
        open_inputs([good.folder], tmp_path / "w")


def test_frames_of_two_cameras_are_refused_and_both_named(tmp_path: Path) -> None:
    write_frames(tmp_path / "shoot" / "a", burst_frames(3, size=SMALL))
    write_frames(tmp_path / "shoot" / "b", burst_frames(3, size=SMALL), camera="Nikon D5")
    said = r"b/frame_000\.dng: camera Nikon D5 \(bayer\) instead of Synthetic APS-C \(bayer\), which .*a/frame_000\.dng"
    with pytest.raises(IncompatibleFramesError, match=said):
        ingest([tmp_path / "shoot"], tmp_path / "bursts")
    assert not (tmp_path / "bursts").exists()


def test_stored_bursts_of_two_cameras_are_refused(tmp_path: Path) -> None:
    for name, camera in (("a", "Canon 5D"), ("b", "Nikon D5")):
        write_frames(tmp_path / name, burst_frames(3, size=SMALL), camera=camera)
        ingest([tmp_path / name], tmp_path / "bursts")
    with pytest.raises(
        IncompatibleFramesError, match=r"b\.burst: camera Nikon D5 instead of Canon 5D, which .*a\.burst has"
    ):
        open_inputs([tmp_path / "bursts"], tmp_path / "work")


def test_a_black_level_measured_anew_for_every_shot_is_still_one_sensor(tmp_path: Path) -> None:
    for name, black in (("a", 2048.0), ("b", 2051.0)):
        write_frames(tmp_path / "shoot" / name, burst_frames(3, seed=ord(name), size=SMALL), black_level=(black,) * 4)
    assert len(ingest([tmp_path / "shoot"], tmp_path / "bursts")) == 2


def test_a_mode_of_other_levels_is_refused_and_what_was_stored_before_it_is_taken_away(tmp_path: Path) -> None:
    for name, white in (("a", 15304.0), ("b", 16383.0)):
        write_frames(tmp_path / "shoot" / name, burst_frames(3, seed=ord(name), size=SMALL), white_level=white)
    with pytest.raises(IncompatibleFramesError, match=r"b/frame_000\.dng: white level 16383 instead of 15304"):
        ingest([tmp_path / "shoot"], tmp_path / "bursts")
    assert not (tmp_path / "bursts").exists()
    series = group_series(find_sources([tmp_path / "shoot"]))
    assert len(store_series(series, tmp_path / "bursts", one_sensor=False).bursts) == 2


def test_every_file_is_decoded_once(shoot_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_frames(tmp_path / "darks", dark_frames(4, size=SIZE))
    read: list[Path] = []
    monkeypatch.setattr(reading, "read_raw", lambda path, **limit: read.append(path) or read_raw(path, **limit))
    ingest([shoot_folder / "moved"], tmp_path / "bursts", read_darks([tmp_path / "darks"]))
    assert len(read) == len(set(read)) == 9


def bracketed(folder: Path) -> None:
    for k, frame in enumerate(burst_frames(4, size=SMALL)):
        write_frames(folder, [frame], exposure_s=0.01 * 2**k)


def mixed_cameras(folder: Path) -> None:
    frames = burst_frames(4, size=SMALL)
    write_frames(folder, frames[:2])
    write_frames(folder, frames[2:], camera="Nikon D5")


def two_frames(folder: Path) -> None:
    write_frames(folder, burst_frames(2, size=SMALL))


def moving(folder: Path) -> None:
    write_frames(folder, burst_frames(4, size=SMALL, faults={k: Fault(shift=(9 * k, 5)) for k in range(4)}))


def overexposed(folder: Path) -> None:
    write_frames(folder, shoot(SyntheticCamera(), np.full((*SMALL, 3), 5, np.float32), 1600, 4, 0)[0])


def identical_pictures(folder: Path) -> None:
    folder.mkdir(parents=True)
    for k in range(4):
        cv2.imwrite(str(folder / f"f_{k}.png"), (scene(SMALL) * 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (bracketed, IncompatibleFramesError),
        (mixed_cameras, IncompatibleFramesError),
        (two_frames, TooFewFramesError),
        (moving, TooFewFramesError),
        (overexposed, TooFewFramesError),
        (identical_pictures, SeriesError),
    ],
)
def test_frames_that_make_no_burst_say_why_in_one_line(tmp_path: Path, bad, error: type[BurstDenoiseError]) -> None:
    bad(tmp_path / "shots")
    before = everything_in(tmp_path)
    with pytest.raises(error) as caught:
        ingest([tmp_path / "shots"], tmp_path / "bursts")
    assert "\n" not in str(caught.value)
    assert "shots" in str(caught.value)
    assert everything_in(tmp_path) == before


def hot_shoot(folder: Path, iso: float = 1600) -> tuple[np.ndarray, list[DarkSet]]:
    """Write two bursts and dark frames of a camera with hot photosites; return where these are, and the darks."""
    camera = SyntheticCamera(hot_fraction=1 / 500)
    for name in ("a", "b"):
        write_frames(folder / "shots" / name, shoot(camera, scene(SMALL, seed=ord(name)), 1600, 4, ord(name))[0])
    frames = dark_frames(8, iso=iso, size=SMALL, hot=1 / 500)
    write_frames(folder / "darks", frames)
    return np.mean([frame.linear for frame in frames], axis=0) > 0.02, read_darks([folder / "darks"])


def test_darks_are_subtracted_and_their_defects_repaired(tmp_path: Path) -> None:
    hot, darks = hot_shoot(tmp_path)
    listener = Recorder()
    bursts = ingest([tmp_path / "shots"], tmp_path / "bursts", darks, listener=listener)
    assert listener.notes == []
    assert hot.sum() > 10
    for burst in bursts:
        assert burst.dark is not None
        assert np.array_equal(burst.dark, darks[0].master.offset)
        assert (burst.defects & hot).sum() == hot.sum()
        assert burst.defects.sum() < hot.sum() + 5
    before = everything_in(tmp_path)
    again = ingest([tmp_path / "shots"], tmp_path / "bursts", darks)
    assert [b.fingerprint for b in again] == [b.fingerprint for b in bursts]
    assert everything_in(tmp_path) == before
    with pytest.raises(OutputError, match="exists already"):
        ingest([tmp_path / "shots"], tmp_path / "bursts")


def test_darks_of_another_iso_give_their_defects_only_and_that_is_told(tmp_path: Path) -> None:
    hot, darks = hot_shoot(tmp_path, iso=6400)
    listener = Recorder()
    (a, b) = ingest([tmp_path / "shots"], tmp_path / "bursts", darks, listener=listener)
    assert a.dark is b.dark is None
    assert a.defects[hot].all()
    assert len(listener.notes) == 2
    assert listener.notes[0].startswith("a: shot with ISO 1600 at 1/30 s, the dark frames with ISO 6400 at 1/30 s")


def test_darks_inside_the_folder_of_the_shots_are_no_burst(tmp_path: Path) -> None:
    _, darks = hot_shoot(tmp_path)
    bursts = ingest([tmp_path], tmp_path / "bursts", darks)
    assert [burst.name for burst in bursts] == ["a", "b"]
    with pytest.raises(InputFileError, match="all frames given are dark frames"):
        ingest([tmp_path / "darks"], tmp_path / "none", darks)


def test_darks_of_another_camera_are_refused_before_any_frame_is_judged(tmp_path: Path) -> None:
    hot_shoot(tmp_path)
    write_frames(tmp_path / "other", dark_frames(4, size=SMALL), camera="Nikon D5")
    listener = Recorder()
    with pytest.raises(
        IncompatibleFramesError, match=r"a/frame_000\.dng: camera Synthetic APS-C instead of Nikon D5, which .*other/"
    ):
        ingest([tmp_path / "shots"], tmp_path / "bursts", read_darks([tmp_path / "other"]), listener=listener)
    assert listener.verdicts == []
    assert not (tmp_path / "bursts").exists()


def test_darks_serve_frames_of_an_unknown_camera_only_where_the_user_says_so(tmp_path: Path) -> None:
    write_frames(tmp_path / "shots", burst_frames(3, size=SMALL), camera=None)
    write_frames(tmp_path / "darks", dark_frames(4, size=SMALL), camera=None)
    darks = read_darks([tmp_path / "darks"])
    with pytest.raises(IncompatibleFramesError, match=r"shots/frame_000\.dng: camera unknown.*--any-sensor"):
        ingest([tmp_path / "shots"], tmp_path / "bursts", darks)
    assert not (tmp_path / "bursts").exists()
    (burst,) = ingest([tmp_path / "shots"], tmp_path / "bursts", darks, IngestSettings(any_sensor=True))
    assert burst.dark is not None


def test_no_more_frames_than_the_limit_are_stored(shoot_folder: Path, tmp_path: Path) -> None:
    listener = Recorder()
    (burst,) = ingest([shoot_folder / "good"], tmp_path / "bursts", (), IngestSettings(limit=3), listener)
    assert (len(burst), listener.verdicts[0].left_out) == (3, 1)


def test_without_darks_the_hot_photosites_of_the_bursts_are_found_all_the_same(tmp_path: Path) -> None:
    hot, _ = hot_shoot(tmp_path)
    bursts = sharing_defects(ingest([tmp_path / "shots"], tmp_path / "bursts"))
    assert (bursts[0].defects & hot).sum() > 0.9 * hot.sum()
    assert (bursts[0].defects & ~hot).sum() < 5


def test_darks_do_not_serve_stored_bursts_and_that_is_told(tmp_path: Path) -> None:
    _, darks = hot_shoot(tmp_path)
    ingest([tmp_path / "shots"], tmp_path / "bursts")
    listener = Recorder()
    open_inputs([tmp_path / "bursts"], tmp_path / "work", darks, listener=listener)
    assert len(listener.notes) == 1
    assert "stored bursts keep the darks they were ingested with" in listener.notes[0]


def card_with_darks(folder: Path, count: int = 16, **changes: object) -> np.ndarray:
    """Write three bursts of a camera with hot photosites and its dark frames to one folder; return where these are."""
    camera = SyntheticCamera(hot_fraction=1 / 500)
    start = 1_767_268_800.0
    for number, (name, iso) in enumerate((("a", 1600), ("b", 1600), ("d", 6400))):
        frames = shoot(camera, scene(SMALL, seed=number), iso, 4, number)[0]
        for k, frame in enumerate(frames):
            named = replace(frame, path=Path(f"{name}_{k:02d}.dng"))
            write_frames(folder, [named], taken_at=start + 1000 * number + k)
    frames = dark_frames(count, size=SMALL, hot=1 / 500)
    for k, frame in enumerate(frames):
        changed = {"taken_at": start + 5000 + k} | changes
        write_frames(folder, [replace(frame, path=Path(f"c_{k:02d}.dng"))], **changed)
    return np.mean([frame.linear for frame in frames], axis=0) > 0.02


def test_dark_frames_among_the_shots_serve_as_if_they_were_named(tmp_path: Path) -> None:
    hot = card_with_darks(tmp_path / "card")
    listener = Recorder()
    unnamed = open_inputs([tmp_path / "card"], tmp_path / "unnamed", listener=listener)
    named_darks = read_darks(sorted((tmp_path / "card").glob("c_*.dng")))
    named = open_inputs([tmp_path / "card"], tmp_path / "named", named_darks)
    assert listener.notes[0] == "16 dark frames among the shots are used as darks (ISO 1600 at 1/30 s)"
    assert listener.notes[1].startswith("card-d_00: shot with ISO 6400 at 1/30 s, the dark frames with ISO 1600")
    assert len(listener.notes) == 2
    assert [len(verdict.frames) for verdict in listener.verdicts] == [4, 4, 4]
    assert [burst.fingerprint for burst in unnamed.bursts] == [burst.fingerprint for burst in named.bursts]
    for one, other in zip(unnamed.bursts, named.bursts, strict=True):
        assert one.manifest.model_copy(update={"series": ""}) == other.manifest.model_copy(update={"series": ""})
        assert np.array_equal(one.defects, other.defects)
        assert (one.defects & hot).sum() == hot.sum()
    assert np.array_equal(unnamed.darks[0].master.offset, named_darks[0].master.offset)


def test_nothing_waits_on_disk_any_more_when_all_is_stored(tmp_path: Path) -> None:
    card_with_darks(tmp_path / "card", 4)
    ingest([tmp_path / "card"], tmp_path / "bursts")
    assert sorted(path.name for path in (tmp_path / "bursts").iterdir()) == [
        "card-a_00.burst", "card-b_00.burst", "card-d_00.burst"
    ]  # fmt: skip


def test_too_few_dark_frames_among_the_shots_are_left_out_and_that_is_told(tmp_path: Path) -> None:
    card_with_darks(tmp_path / "card", 3)
    listener = Recorder()
    bursts = ingest([tmp_path / "card"], tmp_path / "bursts", listener=listener)
    assert [burst.dark for burst in bursts] == [None] * 3
    assert [note.split(": ")[0] for note in listener.notes] == [
        "3 dark frames among the shots (ISO 1600 at 1/30 s) left out"
    ]


def test_dark_frames_of_other_levels_are_left_out_and_that_is_told(tmp_path: Path) -> None:
    card_with_darks(tmp_path / "card", 4, white_level=16383.0)
    listener = Recorder()
    bursts = ingest([tmp_path / "card"], tmp_path / "bursts", listener=listener)
    assert [burst.dark for burst in bursts] == [None] * 3
    assert listener.notes == [
        "4 dark frames among the shots (ISO 1600 at 1/30 s) left out: white level 16383 instead of 15304 of the bursts"
    ]


def test_a_folder_of_nothing_but_dark_frames_is_refused(tmp_path: Path) -> None:
    write_frames(tmp_path / "darks", dark_frames(5, size=SMALL))
    with pytest.raises(InputFileError, match="all frames given are dark frames; name the bursts too"):
        ingest([tmp_path / "darks"], tmp_path / "bursts")
    assert not (tmp_path / "bursts").exists()


def test_a_damaged_file_in_a_folder_is_told_and_left_out_and_one_that_is_named_stops_the_job(tmp_path: Path) -> None:
    shots = write_frames(tmp_path / "shots", burst_frames(5, size=SMALL))
    shots[1].write_bytes(shots[1].read_bytes()[:3000])
    listener = Recorder()
    (burst,) = ingest([tmp_path / "shots"], tmp_path / "bursts", listener=listener)
    assert len(burst) == 4
    (note,) = listener.notes
    assert note.startswith(f"left out: {shots[1]}: is truncated")
    with pytest.raises(InputFileError, match=r"frame_001\.dng: is truncated"):
        ingest(shots, tmp_path / "others")
    assert not (tmp_path / "others").exists()


def test_a_folder_of_nothing_but_damaged_files_is_refused(tmp_path: Path) -> None:
    for path in write_frames(tmp_path / "shots", burst_frames(2, size=SMALL)):
        path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputFileError, match=r"frame_000\.dng: is truncated"):
        ingest([tmp_path / "shots"], tmp_path / "bursts")


def test_copies_are_counted_once(tmp_path: Path) -> None:
    for path in write_frames(tmp_path / "shots", burst_frames(5, size=SMALL)):
        path.with_name(f"{path.stem} (1).dng").write_bytes(path.read_bytes())
    listener = Recorder()
    (burst,) = ingest([tmp_path / "shots"], tmp_path / "bursts", listener=listener)
    assert [verdict.file for verdict in burst.manifest.frames] == [f"frame_00{k}.dng" for k in range(5)]
    assert listener.verdicts[0].notes == [
        "5 files are copies of others, counted once: frame_000 (1).dng, frame_001 (1).dng, frame_002 (1).dng and 2 more"
    ]


def test_lone_shots_are_summed_up(tmp_path: Path) -> None:
    write_frames(tmp_path / "shots", burst_frames(4, size=SMALL))
    for k in range(3):
        write_frames(tmp_path / f"lone_{k}", burst_frames(1, seed=k, size=SMALL))
    listener = Recorder()
    ingest([tmp_path], tmp_path / "bursts", listener=listener)
    assert listener.notes == ["3 lone shots left out: 3 frames at least make a series"]


def test_a_video_beside_raw_files_is_left_out_unless_it_is_named(tmp_path: Path) -> None:
    write_frames(tmp_path / "card", burst_frames(4, size=SMALL))
    writer = cv2.VideoWriter(str(tmp_path / "card" / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    rng = np.random.default_rng(0)
    for _ in range(4):
        writer.write(rng.integers(90, 110, (48, 64, 3), np.uint8))
    writer.release()
    listener = Recorder()
    (burst,) = ingest([tmp_path / "card"], tmp_path / "bursts", listener=listener)
    assert burst.info.domain == "bayer"
    assert listener.notes[0].endswith("clip.avi: is a video beside raw files; name it by itself to calibrate on it")
    with pytest.raises(IncompatibleFramesError):
        ingest([tmp_path / "card", tmp_path / "card" / "clip.avi"], tmp_path / "others")


def test_a_longer_pause_joins_frames_to_one_burst(tmp_path: Path) -> None:
    for k, frame in enumerate(burst_frames(4, size=SMALL)):
        write_frames(tmp_path / "shots", [frame], taken_at=1000.0 + 75 * k)
    with pytest.raises(TooFewFramesError):
        ingest([tmp_path / "shots"], tmp_path / "bursts")
    (burst,) = ingest([tmp_path / "shots"], tmp_path / "bursts", settings=IngestSettings(pause_s=120))
    assert len(burst) == 4
