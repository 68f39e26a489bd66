"""A night's session as it goes: several bodies, damaged files, killed processes, several at once. Real processes."""

import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from burst_denoise.session.ledger import LEDGER_NAME
from tests.command_line import PROGRAM
from tests.sessions import SMALL, results, shots_of, write_night
from tests.shots import burst_frames, everything_in, write_frames

pytestmark = pytest.mark.system


def command(*arguments: object) -> list[str]:
    return [*PROGRAM, "denoise", *map(str, arguments)]


def denoise(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False)


def begin(*arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def times_done(folder: Path) -> Counter[str]:
    return Counter(str(line["output"]) for line in shots_of(folder) if line["outcome"] == "done")


@pytest.fixture
def night(tmp_path: Path) -> Path:
    write_night(tmp_path, (1600,), 3)
    return tmp_path


@pytest.mark.slow
def test_a_night_of_three_bodies_with_every_kind_of_damage(tmp_path: Path, shared_data: Path) -> None:
    write_night(tmp_path, (400, 1600, 3200, 6400), 5)
    card, out = tmp_path / "card", tmp_path / "out"
    for number, damaged in enumerate(sorted((shared_data.parent / "cases" / "damaged").iterdir())):
        shutil.copy(damaged, card / f"damaged_{number}{damaged.suffix}")
    whole = (card / "Canon" / "400_0.dng").read_bytes()
    (card / "cut.dng").write_bytes(whole[: len(whole) // 2])
    (card / "empty.dng").touch()
    (card / "MVI_0001.MOV").write_bytes(b"movie")
    for k in range(3):
        cv2.imwrite(str(card / f"IMG_{k}.JPG"), np.zeros((48, 64, 3), np.uint8))
    (large,) = write_frames(card, [replace(burst_frames(1, 800, size=(2400, 3200))[0], path=Path("killed.dng"))])
    process = begin(card, "-m", tmp_path / "models", "-o", out)
    session = psutil.Process(process.pid)
    killed = False
    while process.poll() is None and not killed:
        for child in session.children():
            try:
                if (out / LEDGER_NAME).exists() and str(large) in [file.path for file in child.open_files()]:
                    child.kill()
                    killed = True
            except psutil.Error:
                continue
    _, told = process.communicate()
    assert (killed, process.returncode) == (True, 3)
    good = [name for name in results(out) if "/" in name]
    assert len(good) == 60
    failures = {line["shot"]: line["error"] for line in shots_of(out) if line["outcome"] == "failed"}
    assert {"cut.dng", "empty.dng", "killed.dng", "damaged_0.dng"} <= set(failures)
    assert "the process that read it was ended by SIGKILL" in failures["killed.dng"]
    assert all(Path(name).name in told for name in failures)
    assert "pictures (among raw files) and 1 videos: passed over" in told
    before = everything_in(out)
    again = denoise(card, "-m", tmp_path / "models", "-o", out)
    after = everything_in(out)
    assert again.returncode == 3
    assert {name for name in after if before.get(name) != after[name]} == {LEDGER_NAME, "killed-denoised.dng"}


def kill_and_rerun(night: Path, times: int, seed: int) -> None:
    """Kill sessions at random moments until one ends, and compare with one that nobody disturbed."""
    card, out, whole = night / "card", night / "out", night / "undisturbed"
    begun = time.monotonic()
    assert denoise(card, "-m", night / "models", "-o", whole).returncode == 0
    lasts_s = time.monotonic() - begun
    chance = random.Random(seed)
    for _ in range(times):
        process = subprocess.Popen(
            command(card, "-m", night / "models", "-o", out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(chance.uniform(0.3, 1.0) * lasts_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for path in (path for path in out.rglob("*-denoised.dng") if not path.name.startswith(".")):
            assert path.read_bytes() == (whole / path.relative_to(out)).read_bytes(), "whole, or not there"
    assert denoise(card, "-m", night / "models", "-o", out).returncode == 0
    assert results(out) == results(whole)
    assert set(times_done(out).values()) == {1}, "nothing is done twice once it stands in the ledger"


def test_a_session_that_is_killed_goes_on_to_the_same_bytes(night: Path) -> None:
    kill_and_rerun(night, 1, 0)


@pytest.mark.slow
def test_a_session_that_is_killed_30_times_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    write_night(tmp_path, (400, 1600, 6400), 5)
    kill_and_rerun(tmp_path, 30, 1)


def test_several_processes_share_a_session(night: Path) -> None:
    together = [begin(night / "card", "-o", night / "out") for _ in range(4)]
    counted = sum(process.communicate()[0].count("written to") for process in together)
    assert [process.returncode for process in together] == [0] * 4
    assert (counted, len(results(night / "out"))) == (9, 9)
    assert set(times_done(night / "out").values()) == {1}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_session_in_one_line_and_leaves_nothing(tmp_path: Path, number: int, code: int) -> None:
    write_frames(tmp_path / "card", burst_frames(60, size=SMALL))
    process = begin(tmp_path / "card", "-o", tmp_path / "out")
    assert process.stdout is not None
    process.stdout.readline()
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    _, told = process.communicate()
    assert process.returncode == code
    assert "stopped; the shot in hand is dropped, and the same command goes on where this one was" in told
    assert "Traceback" not in told
    assert len(results(tmp_path / "out")) == len(shots_of(tmp_path / "out")) < 60
    gone, left = psutil.wait_procs(children, timeout=10)
    assert (len(gone) > 0, left) == (True, [])


def test_a_session_goes_on_when_nobody_reads_what_it_prints(night: Path) -> None:
    line = " ".join(f"'{part}'" for part in command(night / "card", "-o", night / "out"))
    done = subprocess.run(["sh", "-c", f"{line} | head -1"], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert len(results(night / "out")) == 9
    neither = subprocess.run(["bash", "-c", f"{line} --overwrite 2>&1 | head -1; echo ${{PIPESTATUS[0]}}"],
                             capture_output=True, text=True, check=False)  # fmt: skip
    assert neither.stdout.splitlines()[1] == "0"
    assert sum(times_done(night / "out").values()) == 18


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full standard output needs /dev/full")
def test_a_session_goes_on_when_what_it_prints_finds_no_room(night: Path) -> None:
    line = " ".join(f"'{part}'" for part in command(night / "card", "-o", night / "out"))
    full = subprocess.run(["sh", "-c", f"{line} > /dev/full; echo $?"], capture_output=True, text=True, check=False)
    assert full.stdout.strip() == "0", full.stderr
    assert len(results(night / "out")) == 9


def test_watch_denoises_what_comes_when_it_has_been_written(night: Path, tmp_path: Path) -> None:
    shots = sorted((night / "card").rglob("*.dng"))
    into = tmp_path / "into"
    into.mkdir()
    process = subprocess.Popen(
        [*PROGRAM, "watch", str(into), "-o", str(tmp_path / "out")], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    shutil.copy(shots[0], into / "a.dng")
    content = shots[1].read_bytes()
    growing = into / "b.dng"
    growing.touch()
    for start in range(0, len(content), len(content) // 4 + 1):
        time.sleep(1)
        with growing.open("ab") as file:
            file.write(content[start : start + len(content) // 4 + 1])
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "out").glob("*-denoised.dng"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, told = process.communicate()
    assert process.returncode == 130
    assert sorted(results(tmp_path / "out")) == ["a-denoised.dng", "b-denoised.dng"]
    assert [line["outcome"] for line in shots_of(tmp_path / "out")] == ["done", "done"], told
    assert out.count("written to") == 2


@pytest.mark.slow
def test_watch_serves_the_first_shot_like_those_that_come_later_and_tells_what_is_wrong(night: Path) -> None:
    into, out = night / "into", night / "out"
    into.mkdir()
    shutil.copy(night / "card" / "Sony" / "1600_0.dng", into / "a.dng")
    process = subprocess.Popen(
        [*PROGRAM, "watch", str(into), "-m", str(night / "models"), "-o", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (out / "a-denoised.dng").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate()
    assert [(line["outcome"], line["noise"]) for line in shots_of(out)] == [
        ("done", "estimated from one shot of its camera and ISO")
    ], told
    (into / "a.dng").write_bytes(b"no raw file")
    broken = subprocess.Popen(
        [*PROGRAM, "watch", str(into), "-o", str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while len(shots_of(out)) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    broken.send_signal(signal.SIGTERM)
    assert "a.dng" in broken.communicate()[1]
