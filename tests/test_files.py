"""Writing aside: a product is whole or not there, and nothing is overwritten unasked."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from burst_denoise import files
from burst_denoise.errors import InputFileError, OutputError
from burst_denoise.files import atomic_write, refuse_existing


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(target: Path, text: str, *, failing: BaseException | None = None, overwrite: bool = False) -> None:
    """Write a file aside, and fail after that where asked to."""
    with atomic_write(target, overwrite=overwrite) as aside:
        aside.write_text(text)
        if failing is not None:
            raise failing


def test_what_was_written_is_on_the_disk_before_it_has_its_name_and_then_the_name_is(tmp_path: Path, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append((os.fstat(handle).st_ino, names_in(tmp_path))))
    write(tmp_path / "a.dng", "whole")
    (content, before), (folder, after) = flushed
    assert (content, folder) == ((tmp_path / "a.dng").stat().st_ino, tmp_path.stat().st_ino)
    assert "a.dng" not in before
    assert after == ["a.dng"]


def test_a_file_appears_under_its_name_when_all_went_well(tmp_path: Path):
    target = tmp_path / "new" / "folder" / "a.dng"
    with atomic_write(target) as aside:
        assert aside.parent == target.parent
        assert aside.suffix == ".dng"
        aside.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert names_in(target.parent) == ["a.dng"]


def test_a_folder_appears_as_a_whole(tmp_path: Path):
    with atomic_write(tmp_path / "scene.burst") as aside:
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
    with pytest.raises(OutputError, match=message), atomic_write(target):
        pytest.fail("the work must not begin")
    assert names_in(tmp_path) == ["model.safetensors"]


def test_what_appeared_meanwhile_is_not_overwritten_either(tmp_path: Path):
    target = tmp_path / "a.dng"

    def work() -> None:
        with atomic_write(target) as aside:
            aside.write_text("late")
            target.write_text("first")

    with pytest.raises(OutputError, match="exists already"):
        work()
    assert target.read_text() == "first"
    assert names_in(tmp_path) == ["a.dng"]


def test_our_own_working_file_is_replaced_when_asked(tmp_path: Path):
    target = tmp_path / "state"
    for text in ("old", "new"):
        write(target, text, overwrite=True)
    assert target.read_text() == "new"


def test_a_failed_replacement_keeps_the_old_file(tmp_path: Path):
    target = tmp_path / "state"
    target.write_text("old")
    with pytest.raises(ValueError, match="bug"):
        write(target, "half", failing=ValueError("bug"), overwrite=True)
    assert target.read_text() == "old"
    assert names_in(tmp_path) == ["state"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InputFileError("x.dng: damaged"), ValueError("bug")])
def test_nothing_is_left_behind_by_a_failure(tmp_path: Path, error: BaseException):
    with pytest.raises(type(error)) as caught:
        write(tmp_path / "a.dng", "half", failing=error)
    assert caught.value is error
    assert names_in(tmp_path) == []


def test_nothing_is_left_behind_of_a_folder(tmp_path: Path):
    def work() -> None:
        with atomic_write(tmp_path / "a.burst") as aside:
            aside.mkdir()
            (aside / "frame_000.npy").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert names_in(tmp_path) == []


def test_a_disk_that_refuses_is_an_output_error_in_one_line(tmp_path: Path):
    with pytest.raises(OutputError) as caught:
        write(tmp_path / "a.dng", "half", failing=OSError(28, os.strerror(28)))
    message = str(caught.value)
    assert message.endswith("a.dng: cannot be written (No space left on device); free the disk or choose another place")
    assert isinstance(caught.value.__cause__, OSError)
    assert names_in(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_disk_full_while_writing_is_an_output_error(tmp_path: Path):
    with pytest.raises(OutputError, match="No space left on device"), atomic_write(tmp_path / "a.dng"):
        Path("/dev/full").write_bytes(b"x" * 10_000)
    assert names_in(tmp_path) == []


def test_a_parent_that_is_a_file_is_an_output_error(tmp_path: Path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OutputError, match="cannot be written"), atomic_write(tmp_path / "file" / "a.dng"):
        pytest.fail("the work must not begin")
    assert (tmp_path / "file").read_text() == "kept"


def test_the_longest_name_the_disk_holds_will_do(tmp_path: Path):
    target = tmp_path / ("x" * 251 + ".dng")
    with atomic_write(target) as aside:
        aside.write_text("whole")
    assert target.read_text() == "whole"


def test_a_name_too_long_for_the_disk_is_an_output_error(tmp_path: Path):
    with pytest.raises(OutputError, match="cannot be written"), atomic_write(tmp_path / ("x" * 300 + ".dng")):
        pytest.fail("the work must not begin")


def test_a_product_that_was_never_made_is_an_output_error(tmp_path: Path):
    with pytest.raises(OutputError, match="cannot be written"), atomic_write(tmp_path / "a.dng"):
        pass


def test_killed_while_writing_a_rerun_finishes(tmp_path: Path):
    target = tmp_path / "a.dng"
    code = (
        "import os, signal, sys; from pathlib import Path; from burst_denoise.files import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as aside:\n"
        "    aside.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, "-c", code, str(target)], cwd=root, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not target.exists()
    write(target, "whole")
    assert target.read_text() == "whole"
    # What the killed run left is hidden, so a search for frames or bursts passes it by.
    assert all(name.startswith(".") for name in names_in(tmp_path) if name != "a.dng")


def test_what_killed_processes_left_is_taken_away_and_what_living_ones_write_is_not(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = tmp_path / f".a.{files.HOST}-{ended.pid}.partial.dng"
    folder = tmp_path / f".burst-denoise.{files.HOST}-{ended.pid}.partial-xyz"
    own = tmp_path / f".b.{files.HOST}-{os.getpid()}.partial.dng"
    of_another_machine = tmp_path / f".c.0badcafe-{ended.pid}.partial.dng"
    for path in (left, own, of_another_machine):
        path.touch()
    folder.mkdir()
    (folder / "f").touch()
    files.remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([own, of_another_machine])


def test_a_name_is_cut_by_bytes_and_not_within_a_letter() -> None:
    assert files.cut_to_bytes("a夜夜", 5) == "a夜"
    assert files.cut_to_bytes("abc", 3) == "abc"
