"""Jobs of the command line on a full disk, or killed: nothing half-written, and the same command goes on."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from burst_denoise.io.raw import read_raw
from tests.command_line import PROGRAM, Run, Shoot, refused
from tests.shots import burst_frames, everything_in, write_frames

pytestmark = pytest.mark.system

# A full disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return a function that gives a disk of so many bytes; called again, it grows."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = False

    def mount(size: str) -> Path:
        nonlocal mounted
        options = f"remount,size={size}" if mounted else f"size={size}"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("a small disk cannot be mounted here; that needs root")
        mounted = True
        return place

    yield mount
    if mounted:
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # frames may still be mapped to memory


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting a small disk needs root on Linux")
class TestFullDisk:
    """One line, exit 1, and nothing left that takes the disk's last bytes."""

    @pytest.mark.parametrize("suffix", ["dng", "tif", "png"])
    def test_denoise(self, run: Run, shoot: Shoot, disk: Callable[[str], Path], suffix: str) -> None:
        place = disk("20k")
        shot = shoot.good / "frame_000.dng"
        error = refused(run, ["denoise", shot, "-m", shoot.model, "-o", place / "new" / f"a.{suffix}"], place)
        assert "cannot be written" in error
        assert "free the disk" in error

    def test_a_session_goes_on_when_there_is_room_again(
        self, run: Run, shoot: Shoot, disk: Callable[[str], Path], tmp_path: Path
    ) -> None:
        write_frames(tmp_path / "card", burst_frames(6))
        job = ("denoise", tmp_path / "card", "-o", disk("600k") / "out")
        done = run(*job)
        assert done.code == 3
        assert 1 <= done.out.count("written to") <= 4
        assert done.err.count("free the disk or choose another place") == 6 - done.out.count("written to")
        disk("4m")
        assert run(*job).code == 0
        names = [f"frame_00{k}-denoised.dng" for k in range(6)]
        assert sorted(everything_in(tmp_path / "disk" / "out")) == ["burst-denoise.jsonl", *names]

    def test_ingest(self, run: Run, shoot: Shoot, disk: Callable[[str], Path]) -> None:
        place = disk("200k")
        assert "free the disk" in refused(run, ["ingest", shoot.good, "-o", place / "bursts"], place)

    @pytest.mark.parametrize("size", ["200k", "2m"], ids=["storing frames", "saving a checkpoint"])
    def test_calibrate(self, run: Run, shoot: Shoot, disk: Callable[[str], Path], size: str) -> None:
        place = disk(size)
        error = refused(run, ["train", shoot.good, "-o", place / "new" / "model", "--steps", 1], place)
        assert "cannot be written" in error
        assert "free the disk" in error

    def test_a_trained_model_survives_a_full_disk(
        self, run: Run, shoot: Shoot, disk: Callable[[str], Path], tmp_path: Path
    ) -> None:
        job = ["train", shoot.good, "-o", tmp_path / "disk" / "model", "--steps", 1]
        place = disk("13m")
        done = run(*job)
        assert done.code == 1
        assert "model: cannot be written" in done.error
        assert sorted(path.name for path in place.iterdir()) == ["model.work"]
        disk("40m")
        assert run(*job).code == 0
        assert sorted(path.name for path in place.iterdir()) == ["model"]

    def test_benchmark(self, run: Run, shoot: Shoot, disk: Callable[[str], Path]) -> None:
        place = disk("4k")
        (place / "full").write_bytes(bytes(4096))
        job = ["benchmark", shoot.bursts, "-m", shoot.model, "--frames", 1, "-o", place / "rows.jsonl"]
        done = run(*job)
        assert done.code == 1
        assert "free the disk" in done.error
        assert sorted(path.name for path in place.iterdir()) == ["full"]


# Killed


def weights(path: Path) -> dict[str, np.ndarray]:
    with safe_open(path, "np") as handle:
        return {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118 (no mapping)


EAGER = "import burst_denoise.model.fit as t; t.SAVE_EVERY_S = 0.0; from burst_denoise.cli.app import main; main()"


def train(frames: Path, output: Path, steps: int = 6) -> list[str]:
    """Return the command of a training of some seconds that saves its state at every step."""
    return [sys.executable, "-c", EAGER, "train", str(frames), "-o", str(output), "--steps", str(steps)]


@pytest.mark.slow
def test_killed_at_any_moment_the_same_command_finishes_in_the_same_bits(shoot: Shoot, tmp_path: Path) -> None:
    subprocess.run(train(shoot.good, tmp_path / "reference"), check=True, capture_output=True)
    output, work = tmp_path / "model", tmp_path / "model.work"
    moments: list[Callable[[], bool]] = [
        lambda: work.exists(),  # before the frames are stored
        lambda: (work / "bursts" / "good.burst").exists(),
        lambda: (work / "checkpoint.safetensors").exists(),
        lambda: (work / "checkpoint.safetensors").exists(),  # and so on, a little later each time
        lambda: (work / "checkpoint.safetensors").exists(),
    ]
    for number, moment in enumerate(moments):
        process = subprocess.Popen(train(shoot.good, output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not moment() and process.poll() is None:
            time.sleep(0.002)
        if number > 2:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2.0 + number)
        process.send_signal(signal.SIGKILL)
        process.wait()
    if not output.exists():
        done = subprocess.run(train(shoot.good, output), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    one, other = weights(output), weights(tmp_path / "reference")
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[key], other[key]) for key in one)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "reference"]


def test_a_killed_training_goes_on(run: Run, shoot: Shoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("burst_denoise.jobs.calibrate.tuned_strengths", lambda bursts: {})
    job = train(shoot.good, tmp_path / "model", steps=4)
    process = subprocess.Popen(job, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoint = tmp_path / "model.work" / "checkpoint.safetensors"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert checkpoint.exists()
    assert not (tmp_path / "model").exists()
    done = run(*job[3:])
    assert (done.code, done.err.count("error")) == (0, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_a_killed_denoise_resumes(run: Run, shoot: Shoot, tmp_path: Path) -> None:
    write_frames(tmp_path / "shots", burst_frames(6))
    job = ["denoise", str(tmp_path / "shots"), "-m", str(shoot.model), "-o", str(tmp_path / "out")]
    process = subprocess.Popen([*PROGRAM, *job], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (tmp_path / "out" / "frame_000-denoised.dng").exists() and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = run(*job)
    assert done.code == 0
    assert "1/6 frame_000.dng: done before" in done.out
    names = [f"frame_{k:03d}-denoised.dng" for k in range(6)]
    assert sorted(everything_in(tmp_path / "out")) == ["burst-denoise.jsonl", *names]
    assert all(read_raw(tmp_path / "out" / name).dn.shape == (160, 192) for name in names)
