"""The process that reads strangers' files: what happens there costs one file."""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from burst_denoise.errors import InputFileError
from burst_denoise.files import digest_of
from burst_denoise.io.raw import read_raw
from burst_denoise.session.reader import Reader, ReadLimits, UnforeseenError
from tests.shots import burst_frames, write_frames

pytestmark = pytest.mark.system


def hang(path: Path, limits: ReadLimits) -> None:
    time.sleep(60)


def crash(path: Path, limits: ReadLimits) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def devour(path: Path, limits: ReadLimits) -> None:
    np.ones(1 << 33)


def stumble(path: Path, limits: ReadLimits) -> None:
    raise ZeroDivisionError("of a library")


@pytest.fixture
def reader() -> "Reader":
    return Reader()


@pytest.fixture
def shot(tmp_path: Path) -> Path:
    return write_frames(tmp_path, burst_frames(1, size=(48, 64)))[0]


def test_a_frame_comes_as_it_is_with_the_digest_of_its_file(reader: Reader, shot: Path) -> None:
    frame, digest = reader.frame(shot, ReadLimits())
    assert np.array_equal(frame.dn, read_raw(shot).dn)
    assert frame.info == read_raw(shot).info
    assert digest == digest_of(shot)
    assert reader.header(shot, ReadLimits()).camera == "Synthetic APS-C"
    reader.close()


def test_what_is_wrong_with_a_file_is_said_as_without_the_process(reader: Reader, tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"none\.dng: cannot be read \(No such file"):
        reader.frame(tmp_path / "none.dng", ReadLimits())
    reader.close()


def test_a_process_that_dies_costs_its_file_and_is_replaced(reader: Reader, shot: Path) -> None:
    with pytest.raises(InputFileError, match=r"frame_000\.dng: the process that read it was ended by SIGSEGV"):
        reader._ask(crash, shot, ReadLimits())
    assert reader.frame(shot, ReadLimits())[0].info.iso == 1600
    reader.close()


def test_a_file_that_hangs_is_given_up(reader: Reader, shot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader.frame(shot, ReadLimits())
    monkeypatch.setattr(ReadLimits, "seconds_for", lambda self, path: 0.5)
    with pytest.raises(InputFileError, match=r"was not read within 0 s and given up"):
        reader._ask(hang, shot, ReadLimits())
    monkeypatch.undo()
    assert reader.frame(shot, ReadLimits())[0].info.iso == 1600
    reader.close()


def test_memory_beyond_the_limit_is_refused_and_told(reader: Reader, shot: Path) -> None:
    with pytest.raises(InputFileError, match=r"needs more memory than the 4\.3 GB .* --max-megapixels"):
        reader._ask(devour, shot, ReadLimits())
    process = reader.pid
    assert reader.frame(shot, ReadLimits())[0].info.iso == 1600
    assert reader.pid == process, "that it refused is no reason to end it"
    reader.close()


def test_what_nobody_has_foreseen_comes_with_its_traceback(reader: Reader, shot: Path) -> None:
    with pytest.raises(UnforeseenError, match=r"cannot be read \(ZeroDivisionError: of a library\)") as caught:
        reader._ask(stumble, shot, ReadLimits())
    assert "in stumble" in caught.value.traceback
    reader.close()


def test_the_process_is_not_stopped_by_ctrl_c_and_ends_when_nobody_asks_any_more(reader: Reader, shot: Path) -> None:
    reader.frame(shot, ReadLimits())
    assert reader.pid is not None
    process = psutil.Process(reader.pid)
    process.send_signal(signal.SIGINT)
    assert reader.frame(shot, ReadLimits())[0].info.iso == 1600
    assert process.is_running()
    assert reader._process is not None
    assert reader._process.stdin is not None
    reader._process.stdin.close()
    assert process.wait(10) == 0
    reader.close()


def test_threads_may_ask_at_once(reader: Reader, shot: Path) -> None:
    found: list[float | None] = []
    threads = [
        threading.Thread(target=lambda: found.append(reader.frame(shot, ReadLimits())[0].info.iso)) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1600.0] * 6
    reader.close()
