"""A session's shots denoised by the workers of a Dask cluster that shares the folders of shots and results.

This process takes the shots, holds their claims and writes the one ledger; a worker reads, denoises and writes a shot
under this process's claim, and tells what came of it. A worker that dies costs the shots it was at: Dask has another
one do them.

References
----------
Dask developers, "Dask.distributed", documentation: "Client", "Worker resilience", "Killed workers".
"""

import contextlib
import pickle
import platform
import queue
import shutil
import threading
import time
from collections.abc import Iterator
from functools import cache, lru_cache, partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

from burst_denoise.errors import BurstDenoiseError, ConfigError, DeviceError, InputFileError, OutputError
from burst_denoise.files import remove_asides
from burst_denoise.io.exiftool import ExifTool
from burst_denoise.model.device import choose_device, compute_dtype
from burst_denoise.schemas import NoiseEntry, ShotEntry
from burst_denoise.session.denoisers import Denoisers
from burst_denoise.session.ledger import was_written
from burst_denoise.session.noise import noise_for
from burst_denoise.session.reader import ReadLimits, shared_reader
from burst_denoise.session.shots import Shot
from burst_denoise.session.steps import (
    Outcome,
    SessionContext,
    Work,
    WorkerContext,
    close,
    denoise,
    entry_of,
    read,
    step,
    take_sidecars,
    write,
)
from burst_denoise.session.workers import until_all_ended

__all__ = ["denoise_on_cluster"]

PACKAGES = ("burst_denoise", "torch", "openvino", "numpy", "rawpy", "tifffile", "imagecodecs")
"""What decides about the bytes of a result: all machines need the same version of each."""

CONNECT_S = 20.0
WAIT_S = 0.5
LOOK_S = 5.0
"""So often new workers are looked for."""

_computing = threading.Lock()
"""Lock of a worker: while one of its threads denoises, others read and write."""


def denoise_on_cluster(
    address: str, targets: dict[Shot, Path], failed: dict[Shot, BurstDenoiseError], context: SessionContext
) -> Iterator[Outcome]:
    """Denoise shots on a cluster, each once unless its worker dies, and give what became of each.

    Parameters
    ----------
    address : str
        Of the Dask scheduler.
    targets, failed, context
        As for `burst_denoise.session.workers.denoise_shots`; all paths from the root.

    Yields
    ------
    Outcome
        As they end. When this ends early, the shots in hand are dropped.

    Raises
    ------
    ConfigError
        If Dask is not installed, or a worker has not what is needed for the same bytes.
    DeviceError
        If the scheduler cannot be reached, or is lost.
    """
    with _connected(address) as client:
        cluster = _Cluster(address, client, context)
        try:
            yield from until_all_ended(targets, failed, context, cluster.run)
        finally:
            remove_asides(cluster.written)  # what workers left that died


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Give a client of a cluster."""
    if find_spec("distributed") is None:
        raise ConfigError("--cluster needs the extra cluster: pip install 'burst-denoise[cluster]'")
    settings = {
        "distributed.admin.large-graph-warning-threshold": "1TB",  # models and dark frames are large
        "logging": {"distributed.client": "critical"},  # what is lost is told by us
    }
    with import_module("dask").config.set(settings):
        try:
            client = import_module("distributed").Client(address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise DeviceError(
                f"{address}: no Dask scheduler answers there ({reason}); start one, or correct --cluster"
            ) from error
        with client:
            yield client


class _Cluster:
    """A cluster that this process has shots denoised by.

    Parameters
    ----------
    address : str
    client : distributed.Client
    context : SessionContext
    """

    def __init__(self, address: str, client: Any, context: SessionContext) -> None:
        self._address, self._client, self._context = address, client, context
        self._accepted: set[str] = set()
        self._told: set[str] = set()
        self.written: set[Path] = set()
        """What workers write for us: results, and into claims."""
        worker = context.worker
        packed = (worker.denoisers, worker.limits, worker.exiftool is not None, worker.alone)
        # What is scattered is lost with the workers that hold it; what a task gave is made again.
        self._packed = client.submit(bytes, pickle.dumps(packed), pure=False)

    def run(self, items: Iterator[Work | Outcome]) -> Iterator[Outcome]:
        """Denoise shots, as many at a time as the workers have threads, and give what became of each."""
        suspects: list[Work] = []
        yield from self._run(items, suspects)
        for work in suspects:
            # A worker that dies takes all shots with it that it was given: alone, none suffers for another's fault.
            yield from self._run(iter([work]), None)

    def _run(self, items: Iterator[Work | Outcome], suspects: list[Work] | None) -> Iterator[Outcome]:
        """Denoise shots; with a list for them, what Dask gave up as its workers died comes there."""
        in_hand: dict[Any, Work] = {}
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        try:
            while True:
                places = self._places()
                while len(in_hand) < places and (item := next(items, None)) is not None:
                    if isinstance(item, Outcome):
                        yield item
                    elif item.error is not None:
                        yield self._closed(item)
                    else:
                        future = self._submit(item)
                        in_hand[future] = item
                        future.add_done_callback(ended.put)
                if not in_hand:
                    return
                with contextlib.suppress(queue.Empty):
                    future = ended.get(timeout=LOOK_S)
                    work = in_hand.pop(future)
                    if suspects is not None and _killed_workers(future):
                        suspects.append(work)
                    else:
                        yield self._closed(work, future)
        finally:
            for future in in_hand:
                with contextlib.suppress(Exception):  # what is left of it, Dask drops when we close
                    future.cancel()

    def _places(self) -> int:
        """Return how many threads the workers have, once each new worker was looked at; wait while there are none."""
        with self._scheduler_is_there():
            threads: dict[str, int] = self._client.nthreads()
            if not threads:
                self._note(f"{self._address}: has no workers, and is waited for")
            while not threads:
                time.sleep(WAIT_S)
                threads = self._client.nthreads()
            if new := threads.keys() - self._accepted:
                self._accept(new)
        return sum(threads.values())

    def _accept(self, workers: set[str]) -> None:
        """Refuse a worker whose results would not be those of this machine."""
        found = self._client.get_versions(packages=PACKAGES)
        own = found["client"]["packages"]
        for worker in sorted(workers & found["workers"].keys()):
            theirs = found["workers"][worker]["packages"]
            for package in PACKAGES:
                if theirs[package] != own[package]:
                    raise ConfigError(
                        f"worker {worker}: has {package} {theirs[package] or 'not at all'} instead of "
                        f"{own[package] or 'none'} as here; install the same versions on all machines"
                    )
        here = self._context.worker
        device = here.denoisers.settings.device
        precision = _precision(device)
        asked = {"workers": list(workers), "on_error": "ignore"}
        for worker, program in self._client.run(shutil.which, "exiftool", **asked).items():
            if here.exiftool is not None and program is None:
                raise ConfigError(
                    f"worker {worker}: has no exiftool on its PATH, as this machine has; install it there"
                )
        for worker, theirs in self._client.run(_precision, device, **asked).items():
            if theirs != precision:
                self._note(f"worker {worker}: computes in {theirs}, this machine in {precision}; results of the two "
                           "differ in the last bits")  # fmt: skip
        self._accepted |= workers

    def _submit(self, work: Work) -> Any:
        noise = self._context.noise.entry(work.shot)
        self.written |= {work.target, work.claim.place}
        with self._scheduler_is_there():
            key = ("denoise", work.output, uuid4().hex)
            return self._client.submit(_denoise_here, work, noise, self._packed, key=key)

    def _closed(self, work: Work, future: Any = None) -> Outcome:
        """Return what became of a shot, once it stands in the ledger."""

        def fetch(work: Work) -> None:
            if deaths := _killed_workers(future):
                died = "a worker" if deaths == 1 else f"{deaths} workers"
                raise DeviceError(
                    f"{work.shot.name}: {died} crashed on it; give workers more memory, or denoise it without --cluster"
                )
            work.entry, work.error, notes = future.result()
            for subject, text in notes:
                self._note(text, subject)

        if future is not None and future.cancelled():
            raise self._lost()
        step(fetch, last=lambda work: close(work, self._context))(work)
        return work.outcome

    def _note(self, text: str, subject: str | None = None) -> None:
        """Tell a line of text, once about a subject."""
        if subject is None or subject not in self._told:
            self._told |= {subject} if subject else set()
            self._context.worker.note(text)

    @contextlib.contextmanager
    def _scheduler_is_there(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:
            raise self._lost() from error

    def _lost(self) -> DeviceError:
        return DeviceError(
            f"{self._address}: the Dask scheduler is lost; start it again, and the same command goes on where this one "
            "was"
        )


def _killed_workers(future: Any) -> int:
    """Return how many workers died of what Dask gave up therefore, 0 where it did not."""
    error = future.exception() if future.status == "error" else None
    return error.allowed_failures + 1 if isinstance(error, import_module("distributed").KilledWorker) else 0


def _precision(device: str) -> str:
    """Return what convolutions run in on this machine."""
    return str(compute_dtype(choose_device(device))).removeprefix("torch.")


Done = tuple[ShotEntry, BurstDenoiseError | None, list[tuple[str | None, str]]]
"""The line for the ledger, what went wrong, and notes, each with what it is about if one of the kind is enough."""


def _denoise_here(work: Work, noise: NoiseEntry | None, packed: bytes) -> Done:
    """Read, denoise and write a shot in this process, a worker's, unless one that died had written it."""
    notes: list[tuple[str | None, str]] = []
    with _computing:
        denoisers, limits, with_exiftool, alone = _unpacked(packed)
    reader, exiftool = shared_reader(), _exiftool() if with_exiftool else None
    worker = WorkerContext(denoisers, limits, reader, exiftool, lambda text: notes.append((None, text)), alone)

    def read_here(work: Work) -> None:
        for place, error in ((work.claim.place, OutputError), (work.shot.place, InputFileError)):
            if not place.exists():
                raise error(
                    f"{place}: is not there on {platform.node()}, a machine of the cluster; all must have the folders "
                    "of shots and results under the same names"
                )
        read(work, worker)

    def denoise_here(work: Work) -> None:
        with _computing:
            # One shot after another is named, by many workers; what follows is the same.
            denoisers.note = lambda text: notes.append((text.partition(": ")[2], text))
            denoise(work, worker, partial(noise_for, noise))

    def write_here(work: Work) -> None:
        if not work.claim.is_held():
            raise OutputError(f"{work.target}: is not written, as whoever wanted it has given it up")
        try:
            write(work, worker)
        except OutputError:
            # Another worker may have been taken for dead, and have written it meanwhile.
            work.entry = _written(work)
            if work.entry is None:
                raise

    work.entry = _written(work)
    if work.entry is not None:
        take_sidecars(work, worker)
    else:
        for do in (read_here, denoise_here, write_here):
            step(do)(work)
    return entry_of(work), work.error, notes


def _written(work: Work) -> ShotEntry | None:
    """Return the line about the result that another worker has written for the same claim, if it has."""
    entry = work.claim.intended()
    return entry if entry is not None and was_written(entry, work.target) else None


@lru_cache(maxsize=1)
def _unpacked(packed: bytes) -> tuple[Denoisers, ReadLimits, bool, bool]:
    """Return what a session denoises with; its engines are made once a process."""
    found: tuple[Denoisers, ReadLimits, bool, bool] = pickle.loads(packed)
    return found


@cache
def _exiftool() -> ExifTool | None:
    program = shutil.which("exiftool")
    return None if program is None else ExifTool(program)
