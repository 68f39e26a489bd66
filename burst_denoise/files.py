"""The one way a file or folder of ours comes into being: written aside, flushed to disk, renamed.

Whoever is killed while writing leaves no half-written product, and nothing is overwritten unasked.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from burst_denoise.errors import OutputError

__all__ = ["absolute", "atomic_write", "created_parents", "disk_refusals", "refuse_existing", "write_file"]


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
    aside = path.parent / f".{path.stem[:100]}.{os.getpid()}.partial{path.suffix}"
    with created_parents(path), disk_refusals(path):
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
