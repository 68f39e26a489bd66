"""A session on a Dask cluster: the bytes of a local run, whatever dies; real schedulers and workers on loopback."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from burst_denoise.errors import ConfigError, DeviceError, InputFileError, JobError
from burst_denoise.inference.denoiser import DenoiseSettings
from burst_denoise.jobs.denoise import SessionSettings, denoise_session
from burst_denoise.session import cluster as session_cluster
from burst_denoise.session.denoisers import Denoisers
from burst_denoise.session.ledger import LEDGER_NAME
from burst_denoise.session.progress import SessionProgress
from burst_denoise.session.steps import Outcome
from tests.command_line import Run
from tests.conftest import PROJECT
from tests.shots import Recorder, burst_frames, everything_in, write_frames
from tests.test_exiftool import with_exiftool

pytest.importorskip("distributed", reason="needs the extra cluster")
pytestmark = pytest.mark.system

SMALL = (48, 64)

PLUGIN = '''
import os, signal
from distributed import WorkerPlugin

class Shots(WorkerPlugin):
    """Writes down which shots a worker begins; where it is to die, it dies in the midst of one."""

    def transition(self, key, start, finish, **_):
        if not isinstance(key, tuple) or finish not in ("executing", "memory"):
            return
        if finish == "executing":
            with open(os.environ["BEGUN"], "a") as file:
                file.write(key[1] + chr(10))
        if finish == os.environ.get("DIES_AT") and os.environ.get("DIES_OF", "") in key[1]:
            os.kill(os.getpid(), signal.SIGKILL)

async def dask_setup(worker):
    await worker.plugin_add(Shots())
'''


class Cluster:
    """A scheduler and workers, processes on loopback; a folder of theirs holds what they say."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self._folder = folder
        self._begun = folder / "begun.txt"
        self._begun.touch()
        (folder / "plugin.py").write_text(PLUGIN)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start("scheduler", "--port", "0", **environment)
        end = time.monotonic() + 60
        while not (self._file.exists() and self._file.read_text()):  # it is made first, then written
            assert time.monotonic() < end
            assert self.scheduler.poll() is None
            time.sleep(0.05)
        self.address: str = json.loads(self._file.read_text())["address"]

    @property
    def _file(self) -> Path:
        return self._folder / "scheduler.json"

    def worker(self, *, within: tuple[str, ...] = (), **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker of one thread; within another command where told."""
        options = ["--no-nanny", "--nthreads", "1", "--death-timeout", "10", "--memory-limit", "0"]
        options += ["--preload", str(self._folder / "plugin.py")]
        return self._start("worker", *options, within=within, **environment)

    def begun(self) -> Counter[str]:
        """Return how often each shot was begun, by the names of the results."""
        return Counter(self._begun.read_text().split())

    def end(self) -> None:
        """Kill whatever is left."""
        for process in self.processes:
            process.kill()
            process.wait()

    def _start(
        self, what: str, *options: str, within: tuple[str, ...] = (), **environment: str
    ) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", what, "--scheduler-file", str(self._file), "--host", "127.0.0.1"]
        known = {"PYTHONPATH": str(PROJECT), "BEGUN": str(self._begun), "OMP_NUM_THREADS": "1"}
        with (self._folder / f"{what}_{len(self.processes)}.txt").open("wb") as said:
            self.processes.append(
                subprocess.Popen(
                    [*within, *command, "--no-dashboard", *options],
                    env=os.environ | known | environment,
                    cwd=self._folder,
                    stdout=said,
                    stderr=said,
                )
            )
        return self.processes[-1]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler without workers, which gives a shot up when its fourth worker has died, as Dask does."""
    yield from running(tmp_path / "cluster")


@pytest.fixture
def strict_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Another, which gives a shot up with its first worker."""
    yield from running(tmp_path / "cluster", DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0")


def running(folder: Path, **environment: str) -> Iterator[Cluster]:
    folder.mkdir()
    found = Cluster(folder, **environment)
    yield found
    found.end()


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    write_frames(tmp_path / "shots", burst_frames(6, size=SMALL))
    return tmp_path / "shots"


def denoise(shots: Path, output: Path, cluster: Cluster | None = None, listener: Recorder | None = None) -> Recorder:
    """Denoise, and return what was told."""
    listener = listener or Recorder()
    denoisers = Denoisers(settings=DenoiseSettings(device="cpu"), note=listener.note)
    settings = SessionSettings(cluster=None if cluster is None else cluster.address)
    denoise_session([shots], output, denoisers, settings, listener)
    return listener


def results(folder: Path) -> dict[str, str]:
    """Return all that is in a folder of results beside the ledger, by name."""
    return {name: digest for name, digest in everything_in(folder).items() if name != LEDGER_NAME}


def ledger(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the lines about shots that were done, by the names of the results; none is there twice."""
    lines = [json.loads(line) for line in (folder / LEDGER_NAME).read_text().splitlines()]
    done = [line for line in lines if line["record"] == "shot" and line["outcome"] == "done"]
    found = {line["output"]: line for line in done}
    assert len(found) == len(done)
    return found


class AtFirstShot(Recorder):
    """Does something when the first shot has ended."""

    def __init__(self, what: Callable[[], object]) -> None:
        super().__init__()
        self._what = what

    def on_shot(self, outcome: Outcome, standing: SessionProgress) -> None:
        super().on_shot(outcome, standing)
        if len(self.outcomes) == 1:
            self._what()


def test_a_cluster_gives_the_bytes_of_a_local_run_and_begins_each_shot_once(
    tmp_path: Path, shots: Path, cluster: Cluster
) -> None:
    denoise(shots, tmp_path / "local")
    cluster.worker()
    cluster.worker()
    command = [sys.executable, "-m", "burst_denoise", "denoise", "shots", "-o", "out", "--cluster", cluster.address]
    ended = subprocess.run(
        [*command, "--device", "cpu"],
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        cwd=tmp_path,  # the workers are elsewhere
        capture_output=True,
        text=True,
        check=True,
    )
    assert results(tmp_path / "out") == results(tmp_path / "local")
    assert sorted(ledger(tmp_path / "out")) == sorted(results(tmp_path / "out"))
    assert cluster.begun() == Counter(list(results(tmp_path / "out")))
    assert ended.stdout.count("written to") == 6
    assert ended.stderr.count("noise estimated from 3 shots of its camera and ISO") == 1  # whichever worker said so
    again = denoise(shots, tmp_path / "out", cluster)
    assert [outcome.how for outcome in again.outcomes] == ["done before"] * 6


def test_workers_that_die_cost_their_shot_alone_and_none_that_is_written_is_made_again(
    tmp_path: Path, shots: Path, cluster: Cluster
) -> None:
    denoise(shots, tmp_path / "local")
    dying = [cluster.worker(DIES_AT=at) for at in ("executing", "memory")]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".frame_000-denoised.01234567-89.partial.dng").touch()  # of one on another machine
    replaced_at: list[datetime] = []

    def replace_them() -> None:
        assert [worker.wait(60) for worker in dying] == [-signal.SIGKILL] * 2
        replaced_at.append(datetime.now(UTC))
        cluster.worker()

    replacing = threading.Thread(target=replace_them)
    replacing.start()
    denoise(shots, tmp_path / "out", cluster)
    replacing.join()
    assert results(tmp_path / "out") == results(tmp_path / "local")
    begun, lines = cluster.begun(), ledger(tmp_path / "out")
    assert begun.keys() == lines.keys()
    assert sorted(begun.values()) in ([1, 1, 1, 1, 2, 2], [1, 1, 1, 1, 1, 3])  # one, or both died of the same
    ends = [datetime.fromisoformat(line["finished_at"]) for line in lines.values()]
    assert sum(end <= replaced_at[0] for end in ends) == 1


@pytest.mark.slow
def test_a_shot_that_its_workers_die_of_is_named_and_the_rest_is_done(
    tmp_path: Path, shots: Path, strict_cluster: Cluster
) -> None:
    for _ in range(3):
        strict_cluster.worker(DIES_AT="executing", DIES_OF="frame_003")
    with pytest.raises(JobError, match="1 of 6 shots failed; the rest is done") as caught:
        denoise(shots, tmp_path / "out", strict_cluster)
    (error,) = caught.value.failures.values()
    assert str(error).startswith("frame_003.dng: a worker crashed on it; ")
    assert len(results(tmp_path / "out")) == 5


def test_when_the_scheduler_is_lost_the_same_session_goes_on_elsewhere(
    tmp_path: Path, shots: Path, cluster: Cluster
) -> None:
    denoise(shots, tmp_path / "local")
    cluster.worker()
    with pytest.raises(DeviceError, match="the Dask scheduler is lost; start it again, and the same command goes on"):
        denoise(shots, tmp_path / "out", cluster, AtFirstShot(cluster.scheduler.kill))
    hows = Counter(outcome.how for outcome in denoise(shots, tmp_path / "out").outcomes)
    assert hows["done before"] >= 1
    assert hows["done"] + hows["done before"] == 6
    assert results(tmp_path / "out") == results(tmp_path / "local")


def test_ctrl_c_gives_the_shots_in_hand_free_and_the_same_command_does_them(
    tmp_path: Path, shots: Path, cluster: Cluster
) -> None:
    denoise(shots, tmp_path / "local")
    cluster.worker()

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        denoise(shots, tmp_path / "out", cluster, AtFirstShot(interrupt))
    assert results(tmp_path / "out").items() <= results(tmp_path / "local").items()
    denoise(shots, tmp_path / "out", cluster)
    assert results(tmp_path / "out") == results(tmp_path / "local")


def test_a_session_waits_for_a_worker_and_a_damaged_shot_is_named_as_in_a_local_run(
    tmp_path: Path, shots: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hiring(Recorder):
        def note(self, text: str) -> None:
            super().note(text)
            if "has no workers, and is waited for" in text:
                cluster.worker()

    damaged = shots / "frame_002.dng"
    damaged.write_bytes(damaged.read_bytes()[:-2000])
    monkeypatch.setattr(session_cluster, "compute_dtype", lambda device: torch.float64)  # of this machine alone
    told, listener = [], Hiring()
    for name, where in (("local", None), ("out", cluster)):
        with pytest.raises(JobError) as caught:
            denoise(shots, tmp_path / name, where, listener)
        told.append({shot: (type(error), str(error)) for shot, error in caught.value.failures.items()})
    assert sum("this machine in float64; results of the two differ in the last bits" in n for n in listener.notes) == 1
    assert list(told[0]) == ["frame_002.dng"]
    assert told[0] == told[1]
    assert results(tmp_path / "out") == results(tmp_path / "local")


def test_a_worker_that_does_not_see_the_shots_is_named(tmp_path: Path, shots: Path, cluster: Cluster) -> None:
    hidden = ("unshare", "--map-root-user", "--mount", "sh", "-c", f"mount -t tmpfs none '{shots}' && exec \"$@\"", "-")
    if shutil.which("unshare") is None or subprocess.run([*hidden, "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody hide a folder from a process")
    cluster.worker(within=hidden)
    with pytest.raises(InputFileError, match=r"frame_000\.dng: is not there on .*, a machine of the cluster; all must"):
        denoise(shots, tmp_path / "out", cluster)


def test_a_worker_of_another_version_is_refused(tmp_path: Path, shots: Path, cluster: Cluster) -> None:
    installed = tmp_path / "other" / "burst_denoise-0.0.1.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: burst-denoise\nVersion: 0.0.1\n")
    cluster.worker(PYTHONPATH=f"{installed.parent}{os.pathsep}{PROJECT}")
    with pytest.raises(
        ConfigError, match=r"worker tcp:.*: has burst_denoise 0\.0\.1 instead of .* as here; install the"
    ):
        denoise(shots, tmp_path / "out", cluster)
    assert not (tmp_path / "out").exists()


@with_exiftool
def test_a_worker_without_the_exiftool_that_is_here_is_refused(tmp_path: Path, shots: Path, cluster: Cluster) -> None:
    cluster.worker(PATH=str(tmp_path))
    with pytest.raises(ConfigError, match=r"worker tcp:.*: has no exiftool on its PATH, as this machine has; install"):
        denoise(shots, tmp_path / "out", cluster)


def test_an_address_where_no_scheduler_answers_is_one_clear_line(
    tmp_path: Path, shots: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_cluster, "CONNECT_S", 0.5)
    for address in ("tcp://127.0.0.1:9", "nonsense://here"):
        error = run("denoise", shots, "-o", tmp_path / "out", "--cluster", address, "--device", "cpu").error
        assert error.startswith(f"error: {address}: no Dask scheduler answers there (")
        assert error.endswith("; start one, or correct --cluster")


def test_without_dask_the_extra_is_named(
    tmp_path: Path, shots: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_cluster, "find_spec", lambda name: None)
    ended = run("denoise", shots, "-o", tmp_path / "out", "--cluster", "tcp://127.0.0.1:9", "--device", "cpu")
    assert ended.error == "error: --cluster needs the extra cluster: pip install 'burst-denoise[cluster]'"


@pytest.mark.slow
def test_three_workers_of_which_one_is_killed_every_20_s_give_the_bytes_of_a_local_run(
    tmp_path: Path, cluster: Cluster
) -> None:
    write_frames(tmp_path / "shots", burst_frames(150, size=(1000, 1504)))
    denoise(tmp_path / "shots", tmp_path / "local")
    workers = [cluster.worker() for _ in range(3)]
    ended, killed = threading.Event(), []

    def kill() -> None:
        while len(killed) < 5 and not ended.wait(20):
            victim = workers[len(killed) % 3]
            victim.kill()
            killed.append(victim)
            workers[workers.index(victim)] = cluster.worker()

    killing = threading.Thread(target=kill)
    denoise(tmp_path / "shots", tmp_path / "out", cluster, AtFirstShot(killing.start))
    ended.set()
    killing.join()
    assert len(killed) == 5
    assert results(tmp_path / "out") == results(tmp_path / "local")
    begun = cluster.begun()
    assert begun.keys() == ledger(tmp_path / "out").keys()
    assert begun.total() - len(begun) <= 5
