"""Writing aside: a product is whole or not there, and nothing is overwritten unasked."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from burst_denoise.errors import InputFileError, OutputError
from burst_denoise.files import refuse_existing, written_aside


def test_a_file_appears_under_its_name_when_all_went_well(tmp_path: Path):
    target = tmp_path / "new" / "folder" / "a.dng"
    with written_aside(target) as aside:
        assert aside.parent == target.parent
        assert aside.suffix == ".dng"
        aside.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert os.listdir(target.parent) == ["a.dng"]


def test_a_folder_appears_as_a_whole(tmp_path: Path):
    with written_aside(tmp_path / "scene.burst") as aside:
        (aside / "sub").mkdir(parents=True)
        (aside / "burst.json").write_text("{}")
    assert sorted(path.name for path in (tmp_path / "scene.burst").iterdir()) == ["burst.json", "sub"]


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir])
def test_what_exists_is_neither_overwritten_nor_touched(tmp_path: Path, make):
    target = tmp_path / "model.safetensors"
    make(target)
    message = "model.safetensors: exists already; delete it or name another output"
    with pytest.raises(OutputError, match=message):
        refuse_existing(target)
    with pytest.raises(OutputError, match=message), written_aside(target):
        pytest.fail("the work must not begin")
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_what_appeared_meanwhile_is_not_overwritten_either(tmp_path: Path):
    target = tmp_path / "a.dng"
    with pytest.raises(OutputError, match="exists already"), written_aside(target) as aside:
        aside.write_text("late")
        target.write_text("first")
    assert target.read_text() == "first"
    assert os.listdir(tmp_path) == ["a.dng"]


def test_our_own_working_file_is_replaced_when_asked(tmp_path: Path):
    target = tmp_path / "state"
    for text in ("old", "new"):
        with written_aside(target, overwrite=True) as aside:
            aside.write_text(text)
    assert target.read_text() == "new"


def test_a_failed_replacement_keeps_the_old_file(tmp_path: Path):
    target = tmp_path / "state"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), written_aside(target, overwrite=True) as aside:
        aside.write_text("half")
        _ = 1 / 0
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["state"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InputFileError("x.dng: damaged"), ValueError("bug")])
@pytest.mark.parametrize("folder", [True, False])
def test_nothing_is_left_behind_by_a_failure(tmp_path: Path, error: BaseException, folder: bool):
    with pytest.raises(type(error)) as caught, written_aside(tmp_path / "a.burst") as aside:
        if folder:
            aside.mkdir()
            (aside / "frame_000.npy").write_bytes(b"half")
        else:
            aside.write_bytes(b"half")
        raise error
    assert caught.value is error
    assert os.listdir(tmp_path) == []


def test_a_disk_that_refuses_is_an_output_error_in_one_line(tmp_path: Path):
    with pytest.raises(OutputError) as caught, written_aside(tmp_path / "a.dng") as aside:
        aside.write_bytes(b"half")
        raise OSError(28, os.strerror(28))
    message = str(caught.value)
    assert message.endswith(
        "a.dng: cannot be written (No space left on device); free the disk or choose another place"
    )
    assert isinstance(caught.value.__cause__, OSError)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_disk_full_while_writing_is_an_output_error(tmp_path: Path):
    with pytest.raises(OutputError, match="No space left on device"), written_aside(tmp_path / "a.dng"):
        Path("/dev/full").write_bytes(b"x" * 10_000)
    assert os.listdir(tmp_path) == []


def test_a_parent_that_is_a_file_is_an_output_error(tmp_path: Path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OutputError, match="cannot be written"), written_aside(tmp_path / "file" / "a.dng"):
        pytest.fail("the work must not begin")
    assert (tmp_path / "file").read_text() == "kept"


def test_a_name_too_long_for_the_disk_is_an_output_error(tmp_path: Path):
    with pytest.raises(OutputError, match="cannot be written"), written_aside(tmp_path / ("x" * 300 + ".dng")):
        pytest.fail("the work must not begin")


def test_a_product_that_was_never_made_is_an_output_error(tmp_path: Path):
    with pytest.raises(OutputError, match="cannot be written"), written_aside(tmp_path / "a.dng"):
        pass


def test_killed_while_writing_a_rerun_finishes(tmp_path: Path):
    target = tmp_path / "a.dng"
    code = (
        "import os, signal, sys; from pathlib import Path; from burst_denoise.files import written_aside\n"
        "with written_aside(Path(sys.argv[1])) as aside:\n"
        "    aside.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, "-c", code, str(target)], cwd=root, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not target.exists()
    with written_aside(target) as aside:
        aside.write_text("whole")
    assert target.read_text() == "whole"
    # What the killed run left is hidden, so a search for frames or bursts passes it by.
    assert all(name.startswith(".") for name in os.listdir(tmp_path) if name != "a.dng")
