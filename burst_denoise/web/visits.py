"""What visitors have given and what was made of it: in one temporary folder, gone when they are.

The names of their files are text to be shown and the names of downloads; on disk everything has a name of ours.
"""

import asyncio
import contextlib
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from burst_denoise.errors import BurstDenoiseError, InputFileError
from burst_denoise.files import free_bytes
from burst_denoise.io.picture import PICTURE_SUFFIXES
from burst_denoise.io.raw import RAW_SUFFIXES
from burst_denoise.io.read import is_raw
from burst_denoise.schemas import MOST_FRAMES
from burst_denoise.session.names import DEFAULT_NAME, Naming, OutputFormat
from burst_denoise.session.shots import Shot
from burst_denoise.web.queue import Job
from burst_denoise.web.samples import Sample
from burst_denoise.web.tasks import Result

__all__ = [
    "LIFETIME_S",
    "MOST_BYTES",
    "Export",
    "GivenFile",
    "TooManyError",
    "Visit",
    "Visits",
    "attachment",
    "formats_of",
    "refuse_large",
    "result_name",
    "shown_name",
]

MOST_BYTES = 200_000_000
"""Largest upload, bytes."""
MOST_VISITS = 16
"""Visits at the same time: one at work, those that wait, and some that look at results."""
LIFETIME_S = 3600.0
"""Time without a request after which a visit is deleted, seconds."""
SILENCE_S = 60.0
"""Time without a byte after which an upload is given up, seconds."""
LONGEST_NAME = 120
"""Characters of a visitor's name for a file."""
SPARE_BYTES = 500_000_000
"""That must stay free on the disk."""
BYTES_ON_DISK = 8
"""Size of the layers per byte of the file: raw files are compressed."""


class TooManyError(BurstDenoiseError):
    """There is no room for more visitors or files."""


@dataclass(frozen=True)
class GivenFile:
    """A file of a visitor."""

    path: Path
    """Ours."""
    name: str
    """The visitor's, to be shown."""


@dataclass
class Export:
    """A file for the visitor to take."""

    job: Job
    path: Path
    name: str


@dataclass(eq=False)
class Visit:
    """One shot or burst of one visitor."""

    key: str
    """Nobody can guess it."""
    folder: Path
    files: list[GivenFile] = field(default_factory=list)
    sample: Sample | None = None
    job: Job | None = None
    result: Result | None = None
    """As far as it is known."""
    made: int = 0
    """How many times something was made of the files, and layers with it."""
    export: Export | None = None
    exported: int = 0
    """How many files were asked for."""
    seen_at: float = field(default_factory=time.monotonic)
    receiving: int = 0
    """Files that are under way."""
    begun_files: int = 0
    """How many files have begun to come, those that failed among them."""

    def in_words(self, text: str) -> str:
        """Return a text in which our files have the names that the visitor knows."""
        for file in self.files:
            text = text.replace(str(file.path), file.name).replace(file.path.name, file.name)
        return text.replace(f"{self.folder}/", "")


class Visits:
    """All visits, in a folder.

    Parameters
    ----------
    folder : Path
        Must exist; whoever made it takes it away.
    lifetime_s : float
        Seconds after the last sign of life when a visit is over.
    """

    def __init__(self, folder: Path, lifetime_s: float = LIFETIME_S) -> None:
        self._folder, self._lifetime_s = folder, lifetime_s
        self._visits: dict[str, Visit] = {}

    def begin(self) -> Visit:
        """Begin a visit.

        Raises
        ------
        TooManyError
            If there are as many as can be.
        """
        if len(self._visits) >= MOST_VISITS:
            raise TooManyError(f"{MOST_VISITS} shots are open on this page already; close one, or try again later")
        key = secrets.token_urlsafe(18)
        visit = Visit(key, self._folder / f"visit-{secrets.token_hex(8)}")
        visit.folder.mkdir()
        self._visits[key] = visit
        return visit

    def find(self, key: str) -> Visit | None:
        """Return the visit of a key, which is a sign of life; None if there is none, or it is over."""
        visit = self._visits.get(key)
        if visit is not None:
            visit.seen_at = time.monotonic()
        return visit

    def end(self, visit: Visit) -> None:
        """End a visit and delete all its files; its jobs must have ended."""
        self._visits.pop(visit.key, None)
        shutil.rmtree(visit.folder, ignore_errors=True)

    def expired(self) -> list[Visit]:
        """Return the visits that are over."""
        now = time.monotonic()
        return [visit for visit in self._visits.values() if now - visit.seen_at > self._lifetime_s]

    async def receive(self, visit: Visit, name: str, chunks: AsyncIterator[bytes]) -> GivenFile:
        """Write a file that comes in pieces to the folder of a visit.

        Parameters
        ----------
        visit : Visit
        name : str
            What the visitor calls it: any text.
        chunks : asynchronous iterator of bytes

        Raises
        ------
        InputFileError
            If it is of no kind that is read, too large, or stops coming.
        TooManyError
            If there is no room for it.

        Notes
        -----
        Whatever goes wrong, a visitor who is gone among that, nothing of the file is left.
        """
        name = shown_name(name)
        suffix = Path(name).suffix.lower()
        if suffix not in RAW_SUFFIXES | PICTURE_SUFFIXES:
            raise InputFileError(f"{name}: is no file that is read here; give a raw file, PNG, TIFF, JPEG or BMP")
        if len(visit.files) + visit.receiving >= MOST_FRAMES:
            raise TooManyError(f"{name}: is one file too many; {MOST_FRAMES} frames of a burst are enough")
        visit.receiving += 1
        visit.begun_files += 1
        path = visit.folder / f"shot-{visit.begun_files:02d}{suffix}"
        received = 0
        try:
            with path.open("xb") as out:
                while (chunk := await _next(chunks, name)) is not None:
                    received += len(chunk)
                    refuse_large(name, received)
                    self._refuse_full_disk(name, len(chunk))
                    out.write(chunk)
            if not received:
                raise InputFileError(f"{name}: is empty; copy it from the camera again")
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            visit.receiving -= 1
            visit.seen_at = time.monotonic()
        file = GivenFile(path, name)
        visit.files.append(file)
        return file

    def _refuse_full_disk(self, name: str, size: int) -> None:
        free = free_bytes(self._folder)
        if free < SPARE_BYTES + BYTES_ON_DISK * size:
            raise TooManyError(f"{name}: there is no room for it, {free / 1e9:.1f} GB are free; free the disk")


def refuse_large(name: str, size: int) -> None:
    """Raise `InputFileError` where a file has more bytes than are taken."""
    if size > MOST_BYTES:
        raise InputFileError(
            f"{name}: is larger than the {MOST_BYTES / 1e6:.0f} MB that this page takes; use burst-denoise denoise"
        )


def shown_name(name: str) -> str:
    """Return a visitor's name for a file as text that harms nobody: no folders, nothing that does not print."""
    last = name.replace("\\", "/").rpartition("/")[2]
    printed = "".join(letter for letter in last if letter.isprintable()).strip(" .")
    stem, point, suffix = printed.rpartition(".")
    return f"{stem[:LONGEST_NAME]}{point}{suffix[:8]}" if stem else printed[:LONGEST_NAME] or "shot"


def result_name(name: str, format: OutputFormat) -> str:
    """Return the name that a session would give the result of a file."""
    shot = Shot(name, Path(), Path(name))
    return Naming(DEFAULT_NAME, format).targets([shot], Path("results"))[shot].name


def attachment(name: str) -> str:
    """Return the header Content-Disposition of a download, RFC 6266 and RFC 5987."""
    plain = "".join(letter if letter.isascii() and letter not in '"\\%;' else "_" for letter in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def formats_of(path: Path) -> tuple[OutputFormat, ...]:
    """Return what the result of a file can be written as."""
    return ("dng", "tiff", "png") if is_raw(path) else ("tiff", "png")


async def _next(chunks: AsyncIterator[bytes], name: str) -> bytes | None:
    with contextlib.suppress(StopAsyncIteration):
        try:
            return await asyncio.wait_for(anext(chunks), SILENCE_S)
        except TimeoutError as error:
            raise InputFileError(f"{name}: stopped coming, and is given up; try again") from error
    return None
