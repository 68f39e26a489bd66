"""The job for a shoot: every shot of a session denoised, each failure named; at once, or as they come."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from burst_denoise.errors import BurstDenoiseError, InputFileError, JobError
from burst_denoise.files import absolute, digest_of, refuse_existing, remove_leftovers
from burst_denoise.frame.frame import Frame
from burst_denoise.io.exiftool import ExifTool, exiftool_on_path
from burst_denoise.io.limits import MAX_MEGAPIXELS
from burst_denoise.io.metadata import Header
from burst_denoise.io.read import FRAME_SUFFIXES
from burst_denoise.jobs.listener import Listener
from burst_denoise.session.cluster import denoise_on_cluster
from burst_denoise.session.denoisers import Denoisers
from burst_denoise.session.ledger import FileState, Ledger
from burst_denoise.session.names import DEFAULT_NAME, Naming, OutputFormat, results_folder
from burst_denoise.session.noise import Group, SessionNoise, group_of
from burst_denoise.session.progress import ProgressMeter
from burst_denoise.session.reader import ReadLimits, UnforeseenError, shared_reader
from burst_denoise.session.shots import Shot, find_shots
from burst_denoise.session.steps import SessionContext, WorkerContext, is_current, read_shot
from burst_denoise.session.workers import denoise_shots

__all__ = ["PlannedShot", "SessionSettings", "denoise_session", "plan_session", "watch_session"]

SETTLED_S = 2.0
"""A file that did not change for so long has been written to its end, or its copying has stopped."""
LOOK_S = 1.0
BASE_BYTES, BYTES_PER_PIXEL = 0.9e9, 36.0
"""Memory of a session and of the process that reads for it, and what is added by the pixels of the largest shot: three
shots in memory, one of them noisy and clean (measured: 1.44 GB in sessions of 24 megapixels)."""


@dataclass(frozen=True)
class SessionSettings:
    """Where the results of a session go and which there are."""

    format: OutputFormat | None = None
    """None writes DNG for raw shots and TIFF for pictures."""
    name: str = DEFAULT_NAME
    """Name of results, without the suffix: ``{stem}``, ``{iso}`` and ``{camera}`` are those of the shot."""
    overwrite: bool = False
    """Make all results anew, whatever lies there."""
    shard: tuple[int, int] = (1, 1)
    """Part K of N of the shots, K from 1, for jobs on many machines."""
    max_megapixels: float = MAX_MEGAPIXELS
    """Larger shots are refused; the memory that reading one may take grows with it."""
    cluster: str | None = None
    """Address of a Dask scheduler, whose workers denoise; they must see all folders under the same names."""


@dataclass(frozen=True)
class PlannedShot:
    """What a session would do about one shot."""

    shot: Shot
    target: Path
    todo: bool
    """False where its result is there, or it has a problem."""
    megapixels: float
    problem: BurstDenoiseError | None


def denoise_session(
    inputs: Sequence[Path],
    output: Path,
    denoisers: Denoisers,
    settings: SessionSettings = SessionSettings(),
    listener: Listener = Listener(),
) -> None:
    """Denoise every shot that inputs name, unless its result is there.

    Parameters
    ----------
    inputs : sequence of Path
        RAW and picture files, folders (searched recursively) or stored bursts.
    output : Path
        A file, for a single shot, if it has the suffix of a format; otherwise the folder for all results. If that lies
        inside a folder of inputs, what is in it is no input.
    denoisers : Denoisers
        The frames of their darks are no shots.
    settings : SessionSettings
    listener : Listener
        Hears of every shot, in order.

    Raises
    ------
    InputFileError
        If an input is missing or there is nothing to denoise.
    OutputError
        If ``output`` cannot be what it is named, or the ledger cannot be written.
    JobError
        If some of several shots failed; the others are done.
    BurstDenoiseError
        What went wrong with a single shot, or with the first if all failed.

    Notes
    -----
    What became of each shot stands in the ledger ``burst-denoise.jsonl`` in the folder of the results. A shot is passed
    over if its result was made from the same file by the same network with the same settings; several processes may
    work on one session. A result that was changed since, or that the ledger does not know, is not replaced.
    """
    shared_reader().start()
    if settings.cluster is not None:  # whose processes are in other folders
        inputs, output = [absolute(given) for given in inputs], absolute(output)
    with Ledger(results_folder(output)) as ledger, exiftool_on_path() as exiftool:
        session = _Session(inputs, output, denoisers, settings, ledger)
        if session.passed_over:
            listener.note(f"{session.passed_over}: passed over")
        listener.on_session(len(session.own_shots), *session.size())
        failures = session.run(session.own_shots, exiftool, listener, ProgressMeter())
        if ledger.damaged_lines:
            listener.note(f"{ledger.path}: {ledger.damaged_lines} damaged lines are passed over")
    _raise(failures, len(session.own_shots))


def plan_session(
    inputs: Sequence[Path], output: Path, denoisers: Denoisers, settings: SessionSettings = SessionSettings()
) -> list[PlannedShot]:
    """Return what `denoise_session` would do, and do nothing; parameters and errors as there."""
    shared_reader().start()
    session = _Session(inputs, output, denoisers, settings, Ledger(results_folder(output)))
    return [session.planned(shot) for shot in session.own_shots]


def watch_session(
    folders: Sequence[Path],
    output: Path,
    denoisers: Denoisers,
    settings: SessionSettings = SessionSettings(),
    listener: Listener = Listener(),
) -> None:
    """Denoise the shots in folders and those that come, each when it has been written to its end; never return.

    Parameters
    ----------
    folders, output, denoisers, settings, listener
        As for `denoise_session`. Whoever calls ends it by an exception, as Ctrl-C does. A file that failed is tried
        again when it has changed.
    """
    shared_reader().start()
    headers: _Headers = {}
    seen: dict[Path, tuple[FileState, float]] = {}
    ended: dict[Path, FileState] = {}
    meter = ProgressMeter()
    with Ledger(results_folder(output)) as ledger, exiftool_on_path() as exiftool:
        while True:
            now = time.monotonic()
            there = _files(folders) if all(folder.is_dir() for folder in folders) else {}
            for path in ledger.results():
                there.pop(path, None)
            seen = {
                path: seen[path] if path in seen and seen[path][0] == state else (state, now)
                for path, state in there.items()
            }
            ready = {path for path, (state, since) in seen.items() if now - since >= SETTLED_S}
            ready -= {path for path in ready if ended.get(path) == seen[path][0]}
            if ready:
                ended |= {path: seen[path][0] for path in ready}
                with contextlib.suppress(InputFileError):  # none of them is a shot
                    session = _Session(folders, output, denoisers, settings, ledger, headers)
                    shots = [shot for shot in session.own_shots if shot.place in ready]
                    session.run(shots, exiftool, listener, meter)
            time.sleep(LOOK_S)


def _files(folders: Sequence[Path]) -> dict[Path, FileState]:
    """Return the files in folders that may be shots."""
    found = {}
    for path in (path for folder in folders for path in folder.rglob("*")):
        if path.suffix.lower() in FRAME_SUFFIXES and not path.name.startswith("."):
            with contextlib.suppress(OSError):  # taken away again
                found[absolute(path)] = FileState.of(path)
    return found


_Headers = dict[Path, tuple[FileState, Header | BurstDenoiseError]]


class _Session:
    """The shots that inputs name, where their results go, and what they are denoised with.

    Parameters
    ----------
    inputs, output, denoisers, settings
        As for `denoise_session`.
    ledger : Ledger
    headers : dict, optional
        Of files that were read before, where others are to come; new ones are added.
    """

    def __init__(
        self,
        inputs: Sequence[Path],
        output: Path,
        denoisers: Denoisers,
        settings: SessionSettings,
        ledger: Ledger,
        headers: _Headers | None = None,
    ) -> None:
        self._denoisers, self._settings, self._ledger = denoisers, settings, ledger
        self._limits = ReadLimits(settings.max_megapixels)
        self._known = {} if headers is None else headers
        naming = Naming(settings.name, settings.format)
        again = denoisers.settings.force
        dark_paths = {path for dark in denoisers.dark_sets for path in dark.paths}
        not_shots = frozenset(dark_paths if again else dark_paths | ledger.results())
        found = find_shots(inputs, output, not_shots, pictures=denoisers.of_pictures, again=again)
        self.passed_over = found.passed_over
        """In words, which files of folders are no shots."""
        if not found.shots:
            raise InputFileError(
                f"{inputs[0]}: nothing to denoise is there but dark frames or results; name other shots"
            )
        self._headers = {shot: self._header(shot) for shot in found.shots}
        headers_read = {shot: of for shot, of in self._headers.items() if isinstance(of, Header)}
        known = {
            str(shot.place): ledger.folder / entry.output
            for shot in found.shots
            # Another shot may have been given its place since.
            if (entry := ledger.of_input(shot.place)) is not None and ledger.done(ledger.folder / entry.output) is entry
        }
        self._targets = naming.targets(found.shots, output, headers_read, known, self._is_of_another)
        number, parts = settings.shard
        self.own_shots = found.shots[number - 1 :: parts]
        """Those that this process is to denoise."""
        self._alone = headers is None and len(found.shots) == 1

    def _is_of_another(self, shot: Shot, target: Path) -> bool:
        """Return whether the result at a place is that of another shot: cameras count their files from one again."""
        entry = self._ledger.done(target)
        if entry is None or not target.exists():
            return False
        header = self._headers[shot]
        if entry.input == str(shot.place):  # the card may have been formatted since
            return (
                isinstance(header, Header)
                and entry.info is not None
                and (entry.info.taken_at, entry.info.camera) != (header.taken_at, header.camera)
            )
        try:  # the folder of shots may have been moved
            return FileState.of(shot.place).size != entry.input_bytes or digest_of(shot.place) != entry.input_sha256
        except OSError:
            return True

    def run(
        self, shots: Sequence[Shot], exiftool: ExifTool | None, listener: Listener, meter: ProgressMeter
    ) -> dict[str, BurstDenoiseError]:
        """Denoise shots, and return what was wrong with those that failed, by name."""
        for folder in {self._targets[shot].parent for shot in shots}:
            remove_leftovers(folder)
        failures: dict[str, BurstDenoiseError] = {}
        meter.expect([self._megapixels(shot) for shot in shots])
        targets = {shot: self._targets[shot] for shot in shots}
        failed = {shot: of for shot, of in self._headers.items() if isinstance(of, BurstDenoiseError)}
        address = self._settings.cluster
        run = denoise_shots if address is None else partial(denoise_on_cluster, address)
        for outcome in run(targets, failed, self._context(exiftool, listener.note)):
            if outcome.error is not None:
                failures[outcome.shot.name] = outcome.error
            listener.on_shot(outcome, meter.after(outcome, self._megapixels(outcome.shot)))
        return failures

    def planned(self, shot: Shot) -> PlannedShot:
        """Return what would be done about a shot."""
        target, header = self._targets[shot], self._headers[shot]
        problem = header if isinstance(header, BurstDenoiseError) else None
        current = False
        try:
            current = is_current(shot, target, self._planning)
            if not (current or self._settings.overwrite or self._ledger.done(target)):
                refuse_existing(target)
        except BurstDenoiseError as error:
            problem = problem or error
        except OSError as error:
            problem = problem or InputFileError(f"{shot.place}: {error}")
        return PlannedShot(shot, target, not current and problem is None, self._megapixels(shot), problem)

    @cached_property
    def _planning(self) -> SessionContext:
        return self._context(None, lambda _: None)

    def _context(self, exiftool: ExifTool | None, note: Callable[[str], None]) -> SessionContext:
        reader, limits = shared_reader(), self._limits

        def read(shot: Shot) -> Frame:
            return read_shot(shot, reader, limits)[0]

        groups: dict[Group, list[Shot]] = defaultdict(list)
        for shot, of in self._headers.items():
            if isinstance(of, Header) and (group := group_of(of.camera, of.iso, of.height, of.width)):
                groups[group].append(shot)
        overwrite = self._settings.overwrite
        noise = SessionNoise(self._ledger, {} if self._alone else groups, read, self._denoisers, anew=overwrite)
        worker = WorkerContext(self._denoisers, limits, reader, exiftool, note, self._alone)
        return SessionContext(self._ledger, noise, worker, overwrite)

    def size(self) -> tuple[float, float]:
        """Return the megapixels of this process' shots, and the bytes of memory that denoising them takes at most."""
        sizes = [self._megapixels(shot) for shot in self.own_shots]
        return sum(sizes), BASE_BYTES + BYTES_PER_PIXEL * 1e6 * max(sizes, default=0.0)

    def _megapixels(self, shot: Shot) -> float:
        of = self._headers[shot]
        return of.height * of.width / 1e6 if isinstance(of, Header) else 0.0

    def _header(self, shot: Shot) -> Header | BurstDenoiseError:
        """Return what a shot's file says, as read before where it is the same, or what is wrong with it."""
        if shot.burst is not None:
            return Header.of(shot.burst.info)
        try:
            state = FileState.of(shot.place)
        except OSError as error:
            return InputFileError(f"{shot.place}: cannot be read ({error.strerror}); check its name and rights")
        entry = self._ledger.of_input(shot.place)
        if entry is not None and entry.info is not None and state == FileState(entry.input_bytes, entry.input_mtime_ns):
            return Header.of(entry.info)
        if self._known.get(shot.place, (None,))[0] != state:
            try:
                header: Header | BurstDenoiseError = shared_reader().header(shot.place, self._limits)
            except BurstDenoiseError as error:
                header = error
            self._known[shot.place] = state, header
        return self._known[shot.place][1]


def _raise(failures: dict[str, BurstDenoiseError], count: int) -> None:
    if not failures:
        return
    first = next(iter(failures.values()))
    if count == 1:
        raise first
    if len(failures) == count:
        told = (first.traceback,) if isinstance(first, UnforeseenError) else ()
        raise type(first)(f"{first} (and the other {count - 1} shots failed too)", *told) from first
    raise JobError(f"{len(failures)} of {count} shots failed; the rest is done", failures)
