"""The one way a file or folder of ours comes into being: written aside, flushed to disk, renamed.

Whoever is killed while writing leaves no half-written product, and nothing is overwritten unasked. What a killed
process left aside, the next one that writes in this folder takes away.
"""

import contextlib
import hashlib
import os
import platform
import re
import shutil
import time
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from burst_denoise.errors import OutputError

__all__ = [
    "HOST",
    "absolute",
    "atomic_write",
    "created_parents",
    "cut_to_bytes",
    "digest_of",
    "disk_refusals",
    "free_bytes",
    "is_running",
    "refuse_existing",
    "remove_asides",
    "remove_leftovers",
    "temporary_folder",
    "write_file",
]

HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
"""Stands for this machine in names: folders may be shared between several."""

LEFTOVER = re.compile(r"\..*\.(?P<host>[0-9a-f]{8})-(?P<process>\d+)\.partial")

ABANDONED_S = 24 * 3600.0
"""So old a file aside of another machine is nobody's any more: whether its process lives cannot be seen from here."""

LONGEST_NAME = 100
"""Bytes of the name of a product that the name aside begins with."""


def refuse_existing(path: Path) -> None:
    """Raise `OutputError` when ``path`` exists; call it before the long work, not after."""
    with disk_refusals(path):  # the disk may be unable to hold such a name
        exists = path.exists()
    if exists:
        raise OutputError(f"{path}: exists already; delete it or name another output")


def absolute(path: Path) -> Path:
    """Return a path from the root, without "..", as the user knows it: links are not followed."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (Path.absolute keeps "..", Path.resolve follows links)


@contextlib.contextmanager
def created_parents(path: Path) -> Iterator[None]:
    """Make the missing parent folders of ``path``; when the work in the ``with`` fails, take them away again.

    Raises
    ------
    OutputError
        If they cannot be made.
    """
    missing: list[Path] = []
    try:
        with disk_refusals(path):
            missing = [parent for parent in path.parents if not parent.exists()]
            path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for parent in missing:
            with contextlib.suppress(OSError):  # never made, or something else is in it by now
                parent.rmdir()
        raise


@contextlib.contextmanager
def atomic_write(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary name beside ``path`` to write to, and rename it to ``path`` when all went well.

    Parameters
    ----------
    path : Path
        The file or folder to make. Its parent folder is made when missing.
    overwrite : bool
        Replace an existing *file*; only for our own working files, never for a user's output.

    Yields
    ------
    Path
        A name in the same folder, with the same suffix, that does not exist yet.

    Raises
    ------
    OutputError
        If ``path`` exists, or the disk refuses (full, read-only, no permission). Nothing is left behind.
    """
    if not overwrite:
        refuse_existing(path)
    stem = cut_to_bytes(path.stem, LONGEST_NAME)
    aside = path.parent / f".{stem}.{HOST}-{os.getpid()}.partial{path.suffix}"
    with created_parents(path), disk_refusals(path):
        remove_leftovers(path.parent)
        try:
            _remove(aside)
            yield aside
            for item in sorted(aside.iterdir()) if aside.is_dir() else [aside]:
                _flush(item)
            if not overwrite:
                refuse_existing(path)  # it may have come while we worked
            aside.replace(path)
            _flush(path.parent)
        finally:
            _remove(aside)  # it is gone when all went well


def write_file(path: Path, content: bytes, *, overwrite: bool = False) -> None:
    """Write a file by `atomic_write`."""
    with atomic_write(path, overwrite=overwrite) as aside:
        aside.write_bytes(content)


@cache
def remove_leftovers(folder: Path) -> None:
    """Take away, once in the life of this process, what killed processes were writing aside in a folder."""
    with contextlib.suppress(OSError):  # a folder that is not there, or may not be listed
        for path in folder.iterdir():
            found = LEFTOVER.match(path.name)
            if found is None:
                continue
            with contextlib.suppress(OSError):  # another process was faster
                changed = max(path.stat().st_ctime, path.stat().st_mtime)  # the latter may be that of a shot
                if found["host"] != HOST:
                    left = time.time() - changed > ABANDONED_S
                else:
                    left = not is_running(int(found["process"]), changed)
                if left:
                    _remove(path)


def remove_asides(products: Collection[Path]) -> None:
    """Take away what killed processes, on whatever machine, wrote aside for products that nobody is at any more."""
    stems = {cut_to_bytes(path.stem, LONGEST_NAME) for path in products}
    for folder in {path.parent for path in products}:
        with contextlib.suppress(OSError):
            for path in folder.iterdir():
                # One written aside for what was itself aside has both marks; the stem is before the first.
                stem, mark, _ = path.name.lstrip(".").partition(".partial")
                if mark and stem.rpartition(".")[0] in stems and LEFTOVER.match(path.name):
                    _remove(path)


def temporary_folder(inside: Path | None = None) -> "TemporaryDirectory[str]":
    """Return a new folder for what is only needed on the way, a context manager; by default where the system has such.

    What a process leaves that is killed is taken away by the next one that asks for such a folder there.
    """
    remove_leftovers(Path(gettempdir()) if inside is None else inside)
    return TemporaryDirectory(prefix=f".burst-denoise.{HOST}-{os.getpid()}.partial-", dir=inside)


def is_running(process: int, seen_at: float) -> bool:
    """Return whether the process of this machine that was seen at a time, seconds since 1970, is still running."""
    import psutil

    try:
        # A younger one only has its number.
        return bool(psutil.Process(process).create_time() < seen_at + 1)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def free_bytes(path: Path) -> int:
    """Return how many bytes the disk has room for where ``path`` would be written."""
    there = next((place for place in (path, *path.absolute().parents) if place.is_dir()), Path())
    return shutil.disk_usage(there).free


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, hexadecimal; `OSError` where it cannot be read."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def cut_to_bytes(name: str, most: int) -> str:
    """Return the beginning of a name of a file that takes so many bytes on a disk, and no half character."""
    return os.fsencode(name)[:most].decode("utf-8", "ignore") if len(os.fsencode(name)) > most else name


@contextlib.contextmanager
def disk_refusals(path: Path) -> Iterator[None]:
    """Make an `OutputError` of what the disk refuses."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"{path}: cannot be written ({reason}); free the disk or choose another place") from error


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # mostly that it is not there; what matters will be refused again
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _flush(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows has no way to flush a folder
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
