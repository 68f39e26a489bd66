"""A session of shots: each denoised, each failure named, the rest done; outputs where they are expected."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rawpy
import tifffile
import torch

from burst_denoise.burst.burst import Burst
from burst_denoise.burst.darks import read_darks
from burst_denoise.errors import InputFileError, JobError, ModelFileError, OutputError
from burst_denoise.frame.frame import to_linear
from burst_denoise.frame.mosaic import RGGB
from burst_denoise.frame.synthetic import SyntheticCamera, shoot
from burst_denoise.inference import denoiser as inference
from burst_denoise.inference.denoiser import DenoiseSettings
from burst_denoise.io import write as writer
from burst_denoise.io.metadata import is_denoised
from burst_denoise.io.picture import read_picture
from burst_denoise.io.raw import read_raw
from burst_denoise.jobs.denoise import SessionSettings, denoise_session
from burst_denoise.jobs.ingest import ingest
from burst_denoise.model.content import content_pictures
from burst_denoise.model.model_file import Model, load_model, model_of
from burst_denoise.model.prior import load_prior
from burst_denoise.schemas import NoiseProfile
from burst_denoise.sensor.defects import Repair, find_defects
from burst_denoise.session import steps
from burst_denoise.session.denoisers import Denoisers
from burst_denoise.session.ledger import LEDGER_NAME
from tests.shots import (
    Recorder,
    burst_frames,
    dark_frames,
    everything_in,
    scene,
    stored,
    verdicts,
    write_frames,
    write_identity_model,
)

SMALL = (48, 64)


@pytest.fixture(scope="module")
def burst(tmp_path_factory: pytest.TempPathFactory) -> Burst:
    frames = burst_frames(3, size=SMALL)
    return stored(tmp_path_factory.mktemp("bursts") / "scene.burst", "scene", frames, verdicts(frames), 0.1, 0.001)


@pytest.fixture(scope="module")
def model(burst: Burst) -> Model:
    path = write_identity_model(burst.folder.parent / "model.safetensors", burst)
    return load_model(path, torch.device("cpu"))


def denoise(
    inputs: list[Path],
    output: Path,
    model: Model | None,
    darks: list[Path] | None = None,
    notes: list[str] | None = None,
    **changes: object,
) -> list[str]:
    """Denoise, and return what was reported: "number/count name -> target"."""
    listener, sets = Recorder(), read_darks(darks or [])
    names = ("format", "overwrite", "name", "shard", "max_megapixels")
    session_settings = {name: changes.pop(name) for name in names if name in changes}
    strict = bool(changes.pop("strict", False))
    settings = DenoiseSettings(device="cpu", **changes)  # type: ignore[arg-type]
    denoisers = Denoisers([] if model is None else [model], [], sets, settings, listener.note, strict=strict)
    try:
        denoise_session(inputs, output, denoisers, SessionSettings(**session_settings), listener)  # type: ignore[arg-type]
    finally:
        if notes is not None:
            notes += listener.notes
    return [
        f"{standing.ended}/{standing.count} {outcome.shot.name} -> "
        + (str(outcome.target.relative_to(output.parent)) if outcome.how == "done" else outcome.how)
        for outcome, standing in zip(listener.outcomes, listener.standings, strict=True)
    ]


def results(folder: Path) -> list[str]:
    """Return what is in a folder of results beside the ledger."""
    return sorted(name for name in everything_in(folder) if name != LEDGER_NAME)


def lines(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of the ledger about shots."""
    found = [json.loads(line) for line in (folder / LEDGER_NAME).read_text().splitlines()]
    return [line for line in found if line["record"] == "shot"]


def test_a_folder_of_shots_keeps_its_shape(tmp_path: Path, model: Model) -> None:
    frames = burst_frames(3, size=SMALL)
    write_frames(tmp_path / "shots", frames[:1])
    write_frames(tmp_path / "shots" / "sub", frames[:2])
    before = everything_in(tmp_path / "shots")
    assert denoise([tmp_path / "shots"], tmp_path / "out", model) == [
        "1/3 frame_000.dng -> out/frame_000-denoised.dng",
        "2/3 sub/frame_000.dng -> out/sub/frame_000-denoised.dng",
        "3/3 sub/frame_001.dng -> out/sub/frame_001-denoised.dng",
    ]
    assert everything_in(tmp_path / "shots") == before
    assert read_raw(tmp_path / "out" / "sub" / "frame_001-denoised.dng").info.camera == frames[0].info.camera


def test_a_single_shot_may_name_its_file(tmp_path: Path, model: Model) -> None:
    (shot, *_) = write_frames(tmp_path / "shots", burst_frames(1, size=SMALL))
    assert denoise([shot], tmp_path / "new" / "my shot.dng", model) == ["1/1 frame_000.dng -> my shot.dng"]
    denoise([shot], tmp_path / "developed.tiff", model)
    denoise([shot], tmp_path / "developed.png", model)
    one, other = (cv2.imread(str(tmp_path / f"developed.{suffix}"), cv2.IMREAD_UNCHANGED) for suffix in ("tiff", "png"))
    assert one.dtype == np.uint16
    assert one.shape == (*SMALL, 3)
    assert np.array_equal(one, other)


@pytest.mark.parametrize("cfa", ["RGGB", "GRBG", "GBRG", "BGGR"])
def test_strength_0_gives_the_mosaic_back_to_the_bit(tmp_path: Path, model: Model, cfa: str) -> None:
    (frame,) = burst_frames(1, size=SMALL, cfa=cfa)
    (shot,) = write_frames(tmp_path, [frame])
    denoise([shot], tmp_path / "out.dng", model, strength=0.0)
    assert np.array_equal(read_raw(tmp_path / "out.dng").dn, frame.dn)


@pytest.mark.parametrize(
    "name",
    [
        "raw_single/colorchart.dng",  # its array has masked borders
        "raw_single/Blackmagic.dng",
        "seestar/ngc7023",
    ],
)
def test_strength_0_gives_real_mosaics_back_with_all_that_makes_their_colours(
    tmp_path: Path, model: Model, shared_data: Path, name: str
) -> None:
    given = shared_data / name
    source = sorted(given.glob("*.dng"))[0] if given.is_dir() else given
    denoise([source], tmp_path / "out.dng", model, strength=0.0, any_sensor=True)
    one, other = read_raw(source), read_raw(tmp_path / "out.dng")
    assert np.array_equal(other.dn, one.dn)
    for what in ("camera", "cfa", "height", "width", "white_level", "orientation"):
        assert getattr(other.info, what) == getattr(one.info, what), what
    assert other.info.black_level == pytest.approx(one.info.black_level, abs=1e-3)
    assert other.info.as_shot_neutral == pytest.approx(one.info.as_shot_neutral, rel=1e-5)
    with rawpy.imread(str(source)) as before, rawpy.imread(str(tmp_path / "out.dng")) as after:
        assert np.array_equal(after.raw_image, before.raw_image)


@pytest.mark.parametrize(("suffix", "written"), [(".png", ".tif"), (".tif", ".tif"), (".jpg", ".tif")])
def test_pictures_become_pictures_of_16_bits(tmp_path: Path, suffix: str, written: str) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for k in range(3):
        values = rng.integers(90, 110, (*SMALL, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "in" / f"a_{k}{suffix}"), values)
    frames = [read_picture(tmp_path / "in" / f"a_{k}{suffix}") for k in range(3)]
    found = stored(tmp_path / "a.burst", "a", frames, verdicts(frames), 0.1, 0.001)
    model = load_model(write_identity_model(tmp_path / "m.safetensors", found), torch.device("cpu"))
    denoise([frames[0].path], tmp_path / "out", model, strength=0.0)
    result = read_picture(tmp_path / "out" / f"a_0-denoised{written}")
    assert np.array_equal(result.dn, frames[0].dn.astype(np.uint16) * 257)
    with pytest.raises(OutputError, match="cannot become a DNG"):
        denoise([frames[0].path], tmp_path / "out.dng", model)


def test_the_frames_of_a_stored_burst_are_shots(
    tmp_path: Path, model: Model, burst: Burst, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything_in(burst.folder)
    told = denoise([burst.folder], tmp_path / "out", model, strength=0.0)
    assert told[0] == "1/3 scene/frame_000 -> out/scene/frame_000-denoised.dng"
    assert np.array_equal(read_raw(tmp_path / "out" / "scene" / "frame_002-denoised.dng").dn, burst.frame(2).dn)
    assert everything_in(burst.folder) == before
    monkeypatch.setattr(inference, "denoise_image", pytest.fail)  # it is refused before any work
    with pytest.raises(OutputError, match="only a raw file can be developed to a picture"):
        denoise([burst.folder], tmp_path / "other", model, format="png")


def test_frames_of_a_stored_burst_are_repaired_by_its_own_map_and_lose_its_dark(tmp_path: Path, model: Model) -> None:
    hot = hot_shots(tmp_path)
    darks = [tmp_path / "darks"]
    frames = shoot(SyntheticCamera(hot_fraction=1 / 300), scene(SMALL), 1600, 3, 0)[0]
    found = ingest(write_frames(tmp_path / "burst", frames), tmp_path / "bursts", read_darks(darks))[0]
    assert found.defects is not None
    assert found.dark is not None
    denoise([found.folder], tmp_path / "out", model)
    written = read_raw(next((tmp_path / "out").rglob("frame_000-denoised.dng"))).linear
    change = np.abs(written - frames[0].linear)
    assert (change[hot & found.defects] > 0.02).all()
    calm = ~cv2.dilate(found.defects.astype(np.uint8), np.ones((5, 5))).astype(bool)
    assert np.abs(written - (frames[0].linear - found.dark))[calm].max() < 0.6 / 13256


def test_a_stored_video_gives_a_picture_for_every_frame(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    rng = np.random.default_rng(0)
    for _ in range(3):
        writer.write(rng.integers(90, 110, (48, 64, 3), dtype=np.uint8))
    writer.release()
    from burst_denoise.io.picture import read_video

    frames = read_video(tmp_path / "clip.avi", 3)
    found = stored(tmp_path / "clip.burst", "clip", frames, verdicts(frames), 0.1, 0.001)
    model = load_model(write_identity_model(tmp_path / "m.safetensors", found), torch.device("cpu"))
    denoise([found.folder], tmp_path / "out", model)
    names = [f"clip/clip_{k:04d}-denoised.tif" for k in range(3)]
    assert results(tmp_path / "out") == ["clip", *names]
    with pytest.raises(InputFileError, match="videos calibrate a model but are not denoised"):
        denoise([tmp_path / "clip.avi"], tmp_path / "other", model)


def test_a_file_that_cannot_be_opened_is_none_of_our_results(tmp_path: Path) -> None:
    assert not is_denoised(tmp_path / "taken away.dng")


def test_a_shot_that_memory_is_too_small_for_is_named_and_the_rest_is_done(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_frames(tmp_path / "shots", burst_frames(3, size=SMALL))
    calls: list[int] = []

    def too_large(*given: object, **named: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError
        return work(*given, **named)  # type: ignore[arg-type]

    work = inference.denoise_image
    monkeypatch.setattr(inference, "denoise_image", too_large)
    with pytest.raises(JobError, match="1 of 3 shots failed; the rest is done") as caught:
        denoise([tmp_path / "shots"], tmp_path / "out", model)
    assert "frame_001.dng: needs more memory than there is" in str(caught.value.failures["frame_001.dng"])
    assert results(tmp_path / "out") == ["frame_000-denoised.dng", "frame_002-denoised.dng"]


def test_a_truncated_shot_among_three_is_named_and_the_rest_is_done(tmp_path: Path, model: Model) -> None:
    shots = write_frames(tmp_path / "shots", burst_frames(3, size=SMALL))
    shots[1].write_bytes(shots[1].read_bytes()[:2000])
    with pytest.raises(JobError, match="1 of 3 shots failed; the rest is done") as caught:
        denoise([tmp_path / "shots"], tmp_path / "out", model)
    assert list(caught.value.failures) == ["frame_001.dng"]
    assert str(shots[1]) in str(caught.value.failures["frame_001.dng"])
    assert results(tmp_path / "out") == ["frame_000-denoised.dng", "frame_002-denoised.dng"]


def test_resume_passes_over_what_is_done_and_does_the_rest(tmp_path: Path, model: Model) -> None:
    shots = write_frames(tmp_path / "shots", burst_frames(3, size=SMALL))
    whole = shots[1].read_bytes()
    shots[1].write_bytes(whole[:2000])
    with pytest.raises(JobError):
        denoise([tmp_path / "shots"], tmp_path / "out", model)
    done = everything_in(tmp_path / "out")
    shots[1].write_bytes(whole)
    assert denoise([tmp_path / "shots"], tmp_path / "out", model) == [
        "1/3 frame_000.dng -> done before",
        "2/3 frame_001.dng -> out/frame_001-denoised.dng",
        "3/3 frame_002.dng -> done before",
    ]
    del done[LEDGER_NAME]
    assert everything_in(tmp_path / "out").items() >= done.items()


def test_when_all_shots_fail_the_job_has_failed_with_the_first(tmp_path: Path, model: Model) -> None:
    write_frames(tmp_path / "shots", burst_frames(3, size=SMALL), camera="Nikon D5")
    with pytest.raises(ModelFileError, match=r"frame_000\.dng: camera Nikon D5 instead of .*other 2 shots failed too"):
        denoise([tmp_path / "shots"], tmp_path / "out", model, strict=True)
    assert results(tmp_path / "out") == []


def test_shots_that_the_model_is_not_of_are_denoised_by_the_prior_and_that_is_told_once(
    tmp_path: Path, model: Model
) -> None:
    write_frames(tmp_path / "shots" / "own", burst_frames(2, size=SMALL))
    write_frames(tmp_path / "shots" / "other", burst_frames(2, size=SMALL), camera="Nikon D5")
    notes: list[str] = []
    assert len(denoise([tmp_path / "shots"], tmp_path / "out", model, notes=notes)) == 4
    assert "; model " in description(tmp_path / "out" / "own" / "frame_001-denoised.dng")
    assert "; prior " in description(tmp_path / "out" / "other" / "frame_001-denoised.dng")
    told = [note for note in notes if "the network that comes with the program serves such shots" in note]
    assert len(told) == 1
    assert "frame_000.dng: camera Nikon D5 instead of Synthetic APS-C of the model" in told[0]


def test_a_foreign_file_in_the_place_of_a_result_is_left_as_it_is_and_the_rest_is_done(
    tmp_path: Path, model: Model
) -> None:
    shots = write_frames(tmp_path / "shots", burst_frames(3, size=SMALL))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "frame_002-denoised.dng").write_bytes(b"mine")
    with pytest.raises(JobError) as caught:
        denoise(shots, tmp_path / "out", model)
    assert "frame_002-denoised.dng: exists already" in str(caught.value.failures["frame_002.dng"])
    assert (tmp_path / "out" / "frame_002-denoised.dng").read_bytes() == b"mine"
    assert len(results(tmp_path / "out")) == 3
    denoise(shots, tmp_path / "out", model, overwrite=True)
    assert (tmp_path / "out" / "frame_002-denoised.dng").read_bytes() != b"mine"


def test_results_inside_the_folder_of_the_shots_are_no_shots_of_the_next_run(tmp_path: Path, model: Model) -> None:
    write_frames(tmp_path / "shots", burst_frames(2, size=SMALL))
    out = tmp_path / "shots" / "out"
    assert len(denoise([tmp_path / "shots"], out, model)) == 2
    assert len(denoise([tmp_path / "shots"], out, model)) == 2


def test_results_beside_the_shots_have_names_of_their_own_and_are_no_shots_of_the_next_run(
    tmp_path: Path, model: Model
) -> None:
    write_frames(tmp_path / "shots", burst_frames(2, size=SMALL))
    before = everything_in(tmp_path)
    denoise([tmp_path / "shots"], tmp_path / "shots", model)
    assert everything_in(tmp_path).items() >= before.items()
    assert len(denoise([tmp_path / "shots"], tmp_path / "shots", model)) == 2
    with pytest.raises(OutputError, match="is a shot to denoise itself; name another folder"):
        denoise([tmp_path / "shots"], tmp_path / "shots", model, name="{stem}")


def test_a_shot_named_twice_is_denoised_once(tmp_path: Path, model: Model) -> None:
    shots = write_frames(tmp_path / "shots", burst_frames(2, size=SMALL))
    assert len(denoise([*shots, shots[0], tmp_path / "shots"], tmp_path / "out", model)) == 2


def test_two_shots_of_one_name_in_two_folders_keep_the_names_of_these(tmp_path: Path, model: Model) -> None:
    for day in ("monday", "tuesday"):
        write_frames(tmp_path / day, burst_frames(1, size=SMALL))
    denoise([tmp_path / "monday", tmp_path / "tuesday"], tmp_path / "out", model)
    assert results(tmp_path / "out") == [
        "monday", "monday/frame_000-denoised.dng", "tuesday", "tuesday/frame_000-denoised.dng",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "count", "changes", "words"),
    [
        ("out.jpg", 1, {}, r"\.jpg is not written here"),
        ("out.cr2", 1, {}, r"\.cr2 is not written here"),
        ("out.dng", 2, {}, "there are 2 shots; name a folder"),
        ("out.tif", 1, {"format": "png"}, "is no png file by its name"),
        ("taken", 1, {}, "exists already"),
    ],
)
def test_an_output_that_cannot_be_what_it_is_named_is_refused(
    tmp_path: Path, model: Model, name: str, count: int, changes: dict[str, object], words: str
) -> None:
    shots = write_frames(tmp_path / "shots", burst_frames(count, size=SMALL))
    (tmp_path / "taken").write_text("mine")
    before = everything_in(tmp_path)
    with pytest.raises(OutputError, match=words):
        denoise(shots, tmp_path / name, model, **changes)
    assert everything_in(tmp_path) == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"camera": "Nikon D5"}, "camera Nikon D5 instead of Synthetic APS-C of the model"),
        ({"iso": 12800.0}, "12800"),
        ({"white_level": 16383.0}, "white level 16383 instead of 15304"),
    ],
)
def test_a_shot_the_model_was_not_calibrated_for_is_refused_unless_asked(
    tmp_path: Path, model: Model, changes: dict[str, object], words: str
) -> None:
    (shot,) = write_frames(tmp_path / "shots", burst_frames(1, size=SMALL), **changes)
    with pytest.raises(ModelFileError, match=words) as caught:
        denoise([shot], tmp_path / "out.dng", model)
    assert "--any-sensor" in str(caught.value)
    assert not (tmp_path / "out.dng").exists()
    denoise([shot], tmp_path / "out.dng", model, any_sensor=True)
    assert (tmp_path / "out.dng").exists()


def hot_shots(folder: Path, cfa: str = "RGGB") -> np.ndarray:
    """Write a shot and dark frames of a camera with hot photosites; return where these are."""
    camera = SyntheticCamera(hot_fraction=1 / 300)
    write_frames(folder / "shots", shoot(camera, scene(SMALL), 1600, 1, 0)[0])
    frames = dark_frames(16, size=SMALL, hot=1 / 300)
    write_frames(folder / "darks", frames)
    return np.mean([frame.linear for frame in frames], axis=0) > 0.02


def test_a_shot_is_denoised_with_its_dark_subtracted_and_its_defects_repaired(tmp_path: Path, model: Model) -> None:
    hot = hot_shots(tmp_path)
    assert hot.sum() > 5
    shot = tmp_path / "shots" / "frame_000.dng"
    denoise([tmp_path], tmp_path / "out", model, [tmp_path / "darks"])
    written = sorted((tmp_path / "out").rglob("*.dng"))
    assert [path.name for path in written] == ["frame_000-denoised.dng"]  # dark frames are no shots
    (dark,) = read_darks([tmp_path / "darks"])
    repair = Repair(find_defects(RGGB, [dark.master]), RGGB)
    found, before = read_raw(written[0]), read_raw(shot)
    assert found.linear == pytest.approx(repair.apply(before.linear - dark.master.offset), abs=0.6 / 13256)
    assert found.info.black_level == before.info.black_level
    assert (np.abs(found.linear - before.linear)[hot] > 0.02).all()
    denoise([shot], tmp_path / "same.dng", model, [tmp_path / "darks"], strength=0)
    assert np.array_equal(read_raw(tmp_path / "same.dng").dn, before.dn)


def test_darks_of_another_exposure_are_not_subtracted_and_that_is_told(tmp_path: Path, model: Model) -> None:
    hot = hot_shots(tmp_path)
    write_frames(tmp_path / "long", dark_frames(8, size=SMALL, hot=1 / 300), exposure_s=2.0)
    shot, told = tmp_path / "shots" / "frame_000.dng", list[str]()
    denoise([shot], tmp_path / "o.dng", model, [tmp_path / "long"], told)
    assert len(told) == 1
    assert told[0].startswith("frame_000.dng: no dark frames of its camera (Synthetic APS-C) with ISO 1600 at 1/30 s; ")
    change = np.abs(read_raw(tmp_path / "o.dng").linear - read_raw(shot).linear)
    assert (change[hot] > 0.02).all()
    assert change[~hot].max() < 0.6 / 13256


def test_the_map_in_the_model_repairs_shots_of_its_size_only(tmp_path: Path, burst: Burst, model: Model) -> None:
    hot = hot_shots(tmp_path)
    knowing = model_of(model.network, [replace(burst, shared_defects=hot)], model.header.training)
    shot = tmp_path / "shots" / "frame_000.dng"
    denoise([shot], tmp_path / "mended.dng", knowing)
    assert (np.abs(read_raw(tmp_path / "mended.dng").linear - read_raw(shot).linear)[hot] > 0.02).all()
    (larger,) = write_frames(tmp_path / "larger", burst_frames(1, size=(64, 64)))
    denoise([larger], tmp_path / "larger.dng", knowing)
    assert np.array_equal(read_raw(tmp_path / "larger.dng").dn, read_raw(larger).dn)
    frames = shoot(SyntheticCamera(hot_fraction=0), scene(SMALL), 1600, 1, 0)[0]
    (other,) = write_frames(tmp_path / "other", frames, camera="Nikon D5")
    denoise([other], tmp_path / "other.dng", knowing, any_sensor=True)
    assert np.array_equal(read_raw(tmp_path / "other.dng").dn, read_raw(other).dn)


# Without a model


def description(path: Path) -> str:
    with tifffile.TiffFile(path) as file:
        return str(file.pages[0].tags["PreviewSettingsName"].value)


def test_without_a_model_the_prior_denoises_and_the_note_says_what_served(tmp_path: Path) -> None:
    frames, clean = shoot(SyntheticCamera(hot_fraction=0, prnu=0, dark_offset_std_dn=0), scene((160, 192)), 6400, 2, 0)
    write_frames(tmp_path / "shots", frames)
    told: list[str] = []
    denoise([tmp_path / "shots"], tmp_path / "out", None, notes=told)
    assert len(told) == 1  # once for both shots
    assert told[0].startswith("frame_000.dng: noise estimated from 2 shots of its camera and ISO")
    truth = to_linear(clean, frames[0].info)
    for frame in frames:
        found = read_raw(tmp_path / "out" / f"{frame.path.stem}-denoised.dng")
        assert np.mean((found.linear - truth) ** 2) < 0.4 * np.mean((frame.linear - truth) ** 2)
    words = description(tmp_path / "out" / "frame_000-denoised.dng")
    prior = load_prior("bayer", torch.device("cpu"))
    assert f"; prior {prior.sha256[:12]}; noise estimated from 2 shots of its camera and ISO; strength 1" in words
    assert is_denoised(tmp_path / "out" / "frame_000-denoised.dng")


def test_a_tag_serves_where_there_is_one_and_what_is_left_is_written(tmp_path: Path) -> None:
    (frame,) = burst_frames(1, size=SMALL)
    profile = NoiseProfile(iso=frame.info.iso, shot_noise_scale=(5e-4,) * 4, read_noise_variance=(1e-6,) * 4)
    write_frames(tmp_path, [frame.with_profile(profile)])
    told: list[str] = []
    denoise([tmp_path], tmp_path / "o.dng", None, notes=told)
    assert told == ["frame_000.dng: noise as its NoiseProfile tag says, S 5.0e-04, read noise 1.0e-03"]
    assert "; noise as its NoiseProfile tag says; " in description(tmp_path / "o.dng")
    left = read_raw(tmp_path / "o.dng").info.noise_profile
    assert left.shot_noise_scale == pytest.approx((5e-6,) * 4)


def test_frames_of_a_stored_burst_use_what_was_measured_on_it(tmp_path: Path, burst: Burst) -> None:
    denoise([burst.folder], tmp_path / "out", None)
    assert "; noise as measured on its burst; " in description(tmp_path / "out" / "scene" / "frame_001-denoised.dng")


def test_pictures_and_videos_among_raw_files_are_passed_over_and_that_is_told(tmp_path: Path) -> None:
    (shot,) = write_frames(tmp_path / "in", burst_frames(1, size=SMALL))
    cv2.imwrite(str(tmp_path / "in" / "a.png"), np.random.default_rng(0).integers(90, 110, (48, 64), dtype=np.uint8))
    (tmp_path / "in" / "MVI_0001.MOV").write_bytes(b"no shot")
    notes: list[str] = []
    denoise([tmp_path / "in"], tmp_path / "out", None, notes=notes)
    assert notes[0] == "1 pictures (among raw files) and 1 videos: passed over"
    assert results(tmp_path / "out") == ["frame_000-denoised.dng"]
    with pytest.raises(JobError, match="1 of 2 shots failed") as caught:  # named, it is meant
        denoise([shot, tmp_path / "in" / "a.png"], tmp_path / "other", None)
    assert "a.png: is a developed picture (8 bits)" in str(caught.value.failures["a.png"])


def picture_of_16_bits(path: Path, *, grey: bool) -> tuple[Path, np.ndarray]:
    """Write a noisy picture in linear light, and return its file and the clean one, 0 to 1, (H, W) or (H, W, 3)."""
    rng = np.random.default_rng(0)
    clean = 0.5 * content_pictures(("stereo_motorcycle",))[0][:160, :200]
    clean = clean[..., 1] if grey else clean
    noisy = rng.poisson(clean / 1e-3) * 1e-3 + 3e-3 * rng.standard_normal(clean.shape)
    values = np.clip(np.rint(65535 * noisy), 0, 65535).astype(np.uint16)
    cv2.imwrite(str(path), values if grey else values[..., ::-1])
    return path, clean


@pytest.mark.parametrize("grey", [True, False])
def test_pictures_of_16_bits_are_denoised_without_a_model_as_linear_light(tmp_path: Path, grey: bool) -> None:
    shot, clean = picture_of_16_bits(tmp_path / "a.png", grey=grey)
    notes: list[str] = []
    denoise([shot], tmp_path / "a.tif", None, notes=notes)
    assert notes[0].startswith("a.png: noise estimated from the shot itself, S ")
    assert "its values are taken for linear in light" in notes[0]
    noisy, denoised = (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) / 65535 for path in (shot, tmp_path / "a.tif"))
    seen = clean if grey else clean[..., ::-1]
    assert np.mean((denoised - seen) ** 2) < np.mean((noisy - seen) ** 2) / 3


def test_frames_of_a_monochrome_ccd_are_denoised_without_any_calibration(shared_data: Path, tmp_path: Path) -> None:
    frames = sorted((shared_data / "emva_ccd12").glob("b_s_*.png"))[:9]
    denoise(frames[:1], tmp_path / "a.tif", None)
    others = np.mean([cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in frames[1:]], axis=0)
    noisy, denoised = (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (frames[0], tmp_path / "a.tif"))
    # Both have the noise of the mean of eight, and the photosites that respond unequally.
    assert np.var(denoised - others) < np.var(noisy - others) / 2


def test_augmentation_is_said_in_the_note(tmp_path: Path, model: Model) -> None:
    (shot,) = write_frames(tmp_path, burst_frames(1, size=SMALL))
    denoise([shot], tmp_path / "o.dng", model, augment=True)
    assert "; strength 1; augmented" in description(tmp_path / "o.dng")
    assert f"; model {model.header.weights_sha256[:12]}; " in description(tmp_path / "o.dng")


# Reading, denoising and writing at the same time


def test_the_next_shot_is_read_and_the_last_one_written_while_one_is_denoised(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_frames(tmp_path / "shots", burst_frames(5, size=SMALL))
    main, lock, states = threading.get_ident(), threading.Lock(), dict.fromkeys(("read", "denoised", "written"), 0)
    most_waiting = {"read": 0, "denoised": 0}
    threads: dict[str, set[int]] = {name: set() for name in states}
    both = threading.Barrier(2, timeout=30)  # breaks, and fails the test, if only one thing is done at a time
    once = {"read": True}

    def counted(name: str, work: Callable[..., object]) -> Callable[..., object]:
        def done(*given: object, **named: object) -> object:
            if name == "read" and states["read"] == 1 and once.pop("read", False):
                both.wait()  # the second is being read ...
            if name == "denoised" and states["denoised"] == 0:
                both.wait()  # ... while the first is denoised
            found = work(*given, **named)
            with lock:
                threads[name].add(threading.get_ident())
                states[name] += 1
                most_waiting["read"] = max(most_waiting["read"], states["read"] - states["denoised"])
                most_waiting["denoised"] = max(most_waiting["denoised"], states["denoised"] - states["written"])
            return found

        return done

    monkeypatch.setattr(steps, "read_shot", counted("read", steps.read_shot))
    monkeypatch.setattr(inference, "denoise_image", counted("denoised", inference.denoise_image))
    monkeypatch.setattr(writer, "write_dng", counted("written", writer.write_dng))
    told = denoise([tmp_path / "shots"], tmp_path / "out", model)
    assert told == [f"{k + 1}/5 frame_00{k}.dng -> out/frame_00{k}-denoised.dng" for k in range(5)]
    assert states == {"read": 5, "denoised": 5, "written": 5}
    assert max(most_waiting.values()) <= 2  # the one being worked on, and one more
    assert threads["denoised"] == {main}
    assert len(threads["read"]) == len(threads["written"]) == 1
    assert len(threads["read"] | threads["written"] | {main}) == 3


def test_failures_of_reading_denoising_and_writing_are_named_in_order(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = burst_frames(5, size=SMALL)
    shots = write_frames(tmp_path / "shots", frames[:4])
    shots[0].write_bytes(shots[0].read_bytes()[:2000])
    write_frames(tmp_path / "shots", frames[4:], camera="Nikon D5")
    real = writer.write_dng

    def full(path: Path, *given: object, **named: object) -> None:
        if "frame_002" in path.name:
            raise OutputError(f"{path}: cannot be written (no space left on device)")
        real(path, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(writer, "write_dng", full)
    with pytest.raises(JobError, match="3 of 5 shots failed") as caught:
        denoise([tmp_path / "shots"], tmp_path / "out", model, strict=True)
    kinds = {name: type(error) for name, error in caught.value.failures.items()}
    assert kinds == {"frame_000.dng": InputFileError, "frame_002.dng": OutputError, "frame_004.dng": ModelFileError}
    assert list(kinds) == sorted(kinds)
    assert results(tmp_path / "out") == ["frame_001-denoised.dng", "frame_003-denoised.dng"]


def test_ctrl_c_leaves_whole_files_only_and_resume_does_the_rest(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = burst_frames(4, size=SMALL, hot=0)
    write_frames(tmp_path / "shots", frames)
    work, calls, threads = inference.denoise_image, [], set(threading.enumerate())

    def interrupted(*given: object, **named: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return work(*given, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(inference, "denoise_image", interrupted)
        with pytest.raises(KeyboardInterrupt):
            denoise([tmp_path / "shots"], tmp_path / "out", model)
    assert results(tmp_path / "out") == ["frame_000-denoised.dng", "frame_001-denoised.dng"]
    assert set(threading.enumerate()) == threads
    told = denoise([tmp_path / "shots"], tmp_path / "out", model)
    assert [line.endswith("done before") for line in told] == [True, True, False, False]
    for frame in frames:
        assert np.array_equal(read_raw(tmp_path / "out" / f"{frame.path.stem}-denoised.dng").dn, frame.dn)


def test_what_nobody_has_foreseen_costs_its_shot_and_leaves_its_traceback_in_the_ledger(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path, *given: object, **named: object) -> None:
        if "frame_000" in path.name:
            raise ZeroDivisionError
        real(path, *given, **named)  # type: ignore[arg-type]

    real = writer.write_dng
    write_frames(tmp_path / "shots", burst_frames(2, size=SMALL))
    monkeypatch.setattr(writer, "write_dng", broken)
    with pytest.raises(JobError) as caught:
        denoise([tmp_path / "shots"], tmp_path / "out", model)
    assert "frame_000.dng: failed in a way that is not foreseen" in str(caught.value.failures["frame_000.dng"])
    (entry,) = [one for one in lines(tmp_path / "out") if one["outcome"] == "failed"]
    assert "raise ZeroDivisionError" in entry["traceback"]


# Beside the pictures


def test_sidecars_go_along_and_nothing_of_others_is_replaced(tmp_path: Path, model: Model) -> None:
    shots = write_frames(tmp_path / "shots", burst_frames(2, size=SMALL))
    xmp = b'<x xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" crs:Sharpness="40" crs:Tint="7"/>'
    shots[0].with_suffix(".xmp").write_bytes(xmp)
    shots[0].with_suffix(".dng.xmp").write_bytes(b"of darktable")
    shots[1].with_suffix(".xmp").write_bytes(xmp)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "frame_001-denoised.xmp").write_bytes(b"mine")
    told: list[str] = []
    denoise([tmp_path / "shots"], tmp_path / "out", model, notes=told)
    assert (tmp_path / "out" / "frame_000-denoised.xmp").read_bytes() == xmp.replace(b'"40"', b'"0"')
    assert (tmp_path / "out" / "frame_000-denoised.dng.xmp").read_bytes() == b"of darktable"
    assert (tmp_path / "out" / "frame_001-denoised.xmp").read_bytes() == b"mine"
    assert told == [f"{tmp_path / 'out' / 'frame_001-denoised.xmp'}: was there before and is left as it is"]
    denoise([shots[0]], tmp_path / "as it is" / "a.dng", model, strength=0)
    assert (tmp_path / "as it is" / "a.xmp").read_bytes() == xmp
    denoise([shots[0]], tmp_path / "developed" / "a.tif", model)
    assert not (tmp_path / "developed" / "a.xmp").exists(), "what develops a raw file is not for its development"


def test_a_result_is_a_shot_only_when_forced(tmp_path: Path) -> None:
    write_frames(tmp_path / "shots", burst_frames(1, size=SMALL))
    denoise([tmp_path / "shots"], tmp_path / "once", None)
    for inputs in (tmp_path / "once", tmp_path / "once" / "frame_000-denoised.dng"):
        with pytest.raises(InputFileError, match=r"no RAW, picture|was denoised by this program.*--force"):
            denoise([inputs], tmp_path / "twice", None)
        told: list[str] = []
        denoise([inputs], tmp_path / f"forced {inputs.suffix}", None, notes=told, force=True)
        assert told[0].startswith("frame_000-denoised.dng: noise as its NoiseProfile tag says"), "that of what was left"
    once, twice = (
        read_raw(tmp_path / "once" / "frame_000-denoised.dng"),
        read_raw(tmp_path / "forced " / "frame_000-denoised-denoised.dng"),
    )
    assert np.abs(once.linear - twice.linear).mean() < 1e-3, "a tenth of the noise there was"
