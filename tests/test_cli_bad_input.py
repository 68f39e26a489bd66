"""Bad input on the command line: one clear line, exit 1, nothing written."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command_line import Run, Shoot, refused
from tests.shots import burst_frames, everything_in, write_frames


def missing(folder: Path) -> list[Path]:
    return [folder / "nowhere.dng"]


def empty(folder: Path) -> list[Path]:
    (folder / "empty.dng").touch()
    return [folder / "empty.dng"]


def truncated(folder: Path) -> list[Path]:
    shot = write_frames(folder, burst_frames(3))[1]
    shot.write_bytes(shot.read_bytes()[: shot.stat().st_size // 2])
    return [shot]


def no_raw(folder: Path) -> list[Path]:
    (folder / "text.dng").write_text("this is no raw file, whatever its name says; " * 40)
    return [folder / "text.dng"]


def no_picture(folder: Path) -> list[Path]:
    (folder / "text.png").write_text("this is no picture; " * 40)
    return [folder / "text.png"]


def unknown_kind(folder: Path) -> list[Path]:
    (folder / "notes.txt").write_text("x")
    return [folder / "notes.txt"]


def no_frames(folder: Path) -> list[Path]:
    (folder / "notes.txt").write_text("x")
    return [folder]


def mixed_cameras(folder: Path) -> list[Path]:
    frames = burst_frames(4)
    return write_frames(folder, frames[:2]) + write_frames(folder, frames[2:], camera="Nikon D5")


def mixed_exposures(folder: Path) -> list[Path]:
    for k, frame in enumerate(burst_frames(4)):
        write_frames(folder, [frame], exposure_s=0.01 * 2**k)
    return [folder]


def two_frames(folder: Path) -> list[Path]:
    return write_frames(folder, burst_frames(2))


def three_copies(folder: Path) -> list[Path]:
    shots = write_frames(folder, burst_frames(5))
    for copy in shots[2:]:
        copy.write_bytes(shots[0].read_bytes())
    return shots


UNREADABLE = [missing, empty, truncated, no_raw, no_picture, unknown_kind, no_frames]
NO_BURST = [mixed_cameras, mixed_exposures, two_frames, three_copies]


@pytest.mark.parametrize("bad", UNREADABLE)
def test_what_cannot_be_read_is_named_by_every_command(
    run: Run, shoot: Shoot, tmp_path: Path, bad: Callable[[Path], list[Path]]
) -> None:
    (tmp_path / "in").mkdir()
    inputs = bad(tmp_path / "in")
    for arguments in (
        ["inspect", *inputs, "--json"],
        ["ingest", *inputs, "-o", tmp_path / "out"],
        ["train", *inputs, "-o", tmp_path / "out" / "m", "--steps", 1],
        ["calibrate", *inputs, "-o", tmp_path / "m"],
        ["denoise", *inputs, "-m", shoot.model, "-o", tmp_path / "out"],
        ["benchmark", *inputs, "-m", shoot.model, "-o", tmp_path / "out" / "rows.jsonl"],
        ["merge", *inputs, "-o", tmp_path / "out" / "a.dng"],
    ):
        assert str(inputs[0]) in refused(run, arguments, tmp_path)


@pytest.mark.parametrize("bad", NO_BURST)
def test_frames_that_make_no_burst_are_refused_by_every_command_that_needs_one(
    run: Run, shoot: Shoot, tmp_path: Path, bad: Callable[[Path], list[Path]]
) -> None:
    inputs = bad(tmp_path / "in")
    for arguments in (
        ["ingest", *inputs, "-o", tmp_path / "out"],
        ["calibrate", *inputs, "-o", tmp_path / "m"],
        ["benchmark", *inputs, "-m", shoot.model, "-o", tmp_path / "rows.jsonl"],
    ):
        assert "in" in refused(run, arguments, tmp_path)


def test_a_film_scanner_without_a_mosaic_is_refused(run: Run, shoot: Shoot, tmp_path: Path, shared_data: Path) -> None:
    scan = shared_data / "raw_single" / "Nikon_uncompressed.nef"
    for arguments in (["inspect", scan], ["denoise", scan, "-m", shoot.model, "-o", tmp_path / "out", "--any-sensor"]):
        error = refused(run, arguments, tmp_path)
        assert str(scan) in error
        assert "only Bayer mosaics" in error


def test_a_model_of_another_camera_is_refused(run: Run, shoot: Shoot, tmp_path: Path) -> None:
    shots = sorted(shoot.other_camera.iterdir())
    for arguments in (
        ["denoise", shots[0], "-m", shoot.model, "-o", tmp_path / "a.dng"],
        ["benchmark", shoot.other_camera, "-m", shoot.model, "-o", tmp_path / "rows.jsonl", "--json"],
    ):
        error = refused(run, arguments, tmp_path)
        assert "camera Nikon D5 instead of Synthetic APS-C of the model" in error
        assert "--any-sensor" in error
    done = run("denoise", shoot.other_camera, "-m", shoot.model, "-o", tmp_path / "out", "--strict")
    assert (done.code, done.out) == (1, "")
    assert done.err.count("camera Nikon D5 instead of Synthetic APS-C of the model") == len(shots) + 1
    assert sorted(everything_in(tmp_path / "out")) == ["burst-denoise.jsonl"]


def test_training_on_two_cameras_is_refused(run: Run, shoot: Shoot, tmp_path: Path) -> None:
    error = refused(run, ["calibrate", shoot.good, shoot.other_camera, "-o", tmp_path / "m"], tmp_path)
    assert "Nikon D5" in error
    assert "Synthetic APS-C" in error


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped_weight(data: bytes) -> bytes:
    return data[:-1000] + bytes([data[-1000] ^ 1]) + data[-999:]


def garbage(_: bytes) -> bytes:
    return b"\x93garbage" * 1000


def pickled(_: bytes) -> bytes:
    return b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."


def nothing(_: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("harm", [cut, flipped_weight, garbage, pickled, nothing])
def test_a_damaged_model_is_refused(run: Run, shoot: Shoot, tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
    model = tmp_path / "model.safetensors"
    model.write_bytes(harm(shoot.model.read_bytes()))
    for arguments in (
        ["denoise", shoot.good, "-m", model, "-o", tmp_path / "out"],
        ["benchmark", shoot.bursts, "-m", model, "-o", tmp_path / "rows.jsonl"],
    ):
        assert str(model) in refused(run, arguments, tmp_path)


@pytest.mark.parametrize("what", ["missing", "folder"])
def test_a_model_that_is_no_file_is_refused(run: Run, shoot: Shoot, tmp_path: Path, what: str) -> None:
    model = tmp_path / "model"
    if what == "folder":
        model.mkdir()
    assert str(model) in refused(run, ["denoise", shoot.good, "-m", model, "-o", tmp_path / "out"], tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_utf_8_is_told(run: Run, shoot: Shoot, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    odd = Path(os.fsdecode(bytes(tmp_path) + b"/in/caf\xe9.dng"))
    odd.write_bytes((shoot.good / "frame_000.dng").read_bytes())
    for arguments in (["inspect", tmp_path / "in"], ["denoise", odd, "-m", shoot.model, "-o", tmp_path / "out"]):
        assert r"caf\udce9.dng': this name is not UTF-8" in refused(run, arguments, tmp_path)


def test_an_existing_output_is_never_touched(run: Run, shoot: Shoot, tmp_path: Path) -> None:
    taken = tmp_path / "taken.dng"
    taken.write_text("mine")
    shot = shoot.good / "frame_000.dng"
    for arguments in (
        ["ingest", shoot.good, "-o", taken],
        ["train", shoot.good, "-o", taken, "--steps", 1],
        ["calibrate", shoot.good, "-o", taken],
        ["denoise", shot, "-m", shoot.model, "-o", taken],
        ["benchmark", shoot.bursts, "-m", shoot.model, "-o", taken],
        ["merge", shoot.good, "-o", taken],
        ["demo", "-o", taken],
    ):
        error = refused(run, arguments, tmp_path)
        assert str(taken) in error
    assert "cannot be written" in refused(run, ["denoise", shot, "-m", shoot.model, "-o", taken / "a.dng"], tmp_path)
