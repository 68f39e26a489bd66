"""All that a shot says about itself to the file made from it, by exiftool: maker notes, and what only it can read.

Our own writers carry the common tags. What makers keep to themselves is full of offsets that must be moved with it, and
nobody but exiftool knows all of them.

References
----------
P. Harvey, "ExifTool", application documentation: options ``-stay_open``, ``-tagsFromFile``, ``-F``.
"""

import atexit
import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Self

from burst_denoise import __version__
from burst_denoise.errors import OutputError
from burst_denoise.files import absolute, temporary_folder

__all__ = ["ExifTool", "exiftool_on_path"]

LIMIT_S = 60.0
"""A file takes a tenth of a second, on a slow network some; whoever takes longer hangs."""

CLOSING_S = 5.0

READY = b"{ready1}"

GUARD = 'read -r _; kill "$0"'
"""Command of a shell that waits for the end of its input, which comes when we are killed: exiftool would wait for
more."""

COMMON = ("-charset", "filename=utf8", "-q", "-n", "-overwrite_original")
"""Options of every request: names in UTF-8, no reports of success, numbers as they are and not as they are printed, no
copies of what was there before."""

COPIED: tuple[str, ...] = ("-IFD0:all", "-ExifIFD:all", "-GPS:all", "-IPTC", "-Photoshop:all", "-MakerNotes")
"""The directories of a shot. exiftool leaves out by itself what lays out a stored image, and colour profiles."""

COPIED_TO_DNG: tuple[str, ...] = (
    f"-IFD0:PreviewApplicationVersion={__version__}; tags copied by exiftool",
    *("-InteropIFD:InteropIndex", "-InteropIFD:InteropVersion", "-IFD0:OriginalRawFileName"),
    "-IFD0:MakerNoteSafety#<${MakerNotes;$_=1}",  # safe to carry on; only where there are some
)

KEPT_NAMES = """
Orientation ExifImageWidth ExifImageHeight CFAPattern NoiseProfile NoiseReductionApplied
ProcessingSoftware ImageHistory
PreviewApplicationName PreviewApplicationVersion PreviewSettingsName PreviewSettingsDigest PreviewColorSpace
PreviewDateTime PreviewImage ThumbnailImage JpgFromRaw OtherImage PhotoshopThumbnail PhotoshopBGRThumbnail
IFD0:DateTimeOriginal IFD0:ISO
"""
KEPT: tuple[str, ...] = tuple(f"--{name}" for name in KEPT_NAMES.split())
"""Stays as our writers wrote it: how the image is stored and was made, and our preview; pictures of the shot before
denoising do not come. Nor do two tags of the Exif directory that some raw formats have in the first one as well."""

KEPT_IN_DNG: tuple[str, ...] = ("--ModifyDate", "--DateTimeOriginal", "--CreateDate")
"""From our own writer, which leaves out those that say nothing; exiftool would write empty ones."""

KEPT_IN_PICTURES: tuple[str, ...] = ("--ColorSpace", "-ExifIFD:ColorSpace=1")
"""They are sRGB, whatever the JPEG that the camera would have made is."""

DROPPED_XMP: tuple[str, ...] = ("-XMP-xmp:Thumbnails=", "-XMP-crs:all=", "-XMP-tiff:all=")
"""Tags not copied to
pictures: develop settings would be applied a second time, and upright pictures have another orientation."""

KEPT_OUT_OF_PNG: tuple[str, ...] = ("--IPTC:all", "--Photoshop:all")
"""A PNG has no place for them."""

NAME_PARTS = frozenset("%\n\r")
"""Characters that exiftool would replace in the name of a file to copy from."""

EXPECTED = ("Tag 'MakerNotes' not defined", "IPTCDigest is not current", "No writable tags set")
"""Remarks about what is as it should be, or as it was in the source."""


@contextlib.contextmanager
def exiftool_on_path() -> Iterator["ExifTool | None"]:
    """Give a running exiftool, the one that the PATH leads to, or None where there is none."""
    program = shutil.which("exiftool")
    if program is None:
        yield None
    else:
        with ExifTool(program) as running:
            yield running


class ExifTool:
    """An exiftool that stays, and copies tags from file to file; a context manager.

    It starts beside our own work, so that nobody waits for it, and again when it has died. Threads may share it.

    Parameters
    ----------
    program : str
        Name or path of the program.
    limit_s : float, seconds
        Whoever takes longer for one thing is killed.
    """

    def __init__(self, program: str, limit_s: float = LIMIT_S) -> None:
        self._program, self._limit_s = program, limit_s
        self._lock = threading.Lock()
        self._guard: subprocess.Popen[bytes] | None = None
        self._process = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def version(self) -> str:
        """The version that the program says it has."""
        return self._run("-ver")

    def copy_tags(self, source: Path, target: Path) -> str | None:
        """Give a file the tags of the shot that it was made from, as far as they still hold.

        Parameters
        ----------
        source : Path
            Raw file or picture; only read.
        target : Path
            DNG, TIFF or PNG of our own writers; exiftool replaces it by a whole file with the same pixels, or leaves it
            as it is.

        Returns
        -------
        str or None
            What exiftool warned about, or why it copied nothing; None when all is well.

        Notes
        -----
        A DNG has the XMP of its source from our own writer. A picture gets it here, unknown namespaces too, but without
        develop settings.
        """
        try:
            with temporary_folder() as folder:
                return self._copy(source, target, Path(folder))
        except (OutputError, OSError) as error:
            with contextlib.suppress(OSError):  # where it had not begun to write
                target.with_name(f"{target.name}_exiftool_tmp").unlink()
            return str(error)

    def _copy(self, source: Path, target: Path, folder: Path) -> str | None:
        """Copy tags; by way of a file for the XMP, of which exiftool copies all or leaves out some, but not both."""
        suffix, packet = target.suffix.lower(), folder / "packet.xmp"
        copied, kept = COPIED, KEPT
        if source.suffix.lower() == ".crw":
            # It has no directories, but records that are each like a tag of Exif. "Lens" is no standard one; the serial
            # number is stored as one that nobody prints, and our own writer has that on the camera.
            copied = ("-EXIF:all<all", "--Lens", "--SerialNumber", *copied)
        if suffix == ".dng":
            copied += COPIED_TO_DNG
            kept += KEPT_IN_DNG
        else:
            kept += KEPT_IN_PICTURES
        if suffix == ".png":
            kept += KEPT_OUT_OF_PNG
        shot = source
        if not NAME_PARTS.isdisjoint(str(absolute(source))):
            shot = folder / f"source{source.suffix}"
            shot.symlink_to(absolute(source))
        if suffix != ".dng":
            self._run("-tagsFromFile", _line(shot), "-XMP", _line(packet))
            if packet.exists():
                self._run(*DROPPED_XMP, _line(packet))
                copied = (*copied, f"-XMP<={packet}")
        if source.suffix.lower() == ".cr3":
            shot = self._with_right_offsets(shot, folder / "shot.exif")
        said = self._run("-tagsFromFile", _line(shot), *copied, *kept, _line(target))
        return "; ".join(line for line in said.splitlines() if not any(words in line for words in EXPECTED)) or None

    def _with_right_offsets(self, shot: Path, between: Path) -> Path:
        """Return a file with the tags of a CR3, whose maker notes exiftool copies without moving their offsets.

        It puts that right in a file that has them, which had better be a small one.
        """
        self._run("-tagsFromFile", _line(shot), *COPIED, _line(between))
        self._run("-F", "-tagsFromFile", "@", "-IFD0:Make", _line(between))
        return between if between.exists() else shot

    def close(self) -> None:
        """End the program; it starts again when asked for something."""
        atexit.unregister(self.close)
        with self._lock:
            self._end(b"-stay_open\nFalse\n")

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [self._program, "-stay_open", "True", "-@", "-", "-common_args", *COMMON],
            start_new_session=True,  # Ctrl+C is for us
            env=os.environ | {"LC_ALL": "C"},  # else perl complains of locales that are not installed
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,  # what it says of errors comes before the line that ends its answer
        )
        if os.name == "posix":
            command = ["sh", "-c", GUARD, str(process.pid)]
            self._guard = subprocess.Popen(command, start_new_session=True, stdin=subprocess.PIPE)
        atexit.register(self.close)
        return process

    def _end(self, last_words: bytes = b"") -> None:
        """Wait for the end of the process, or bring it about."""
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        try:
            self._process.communicate(last_words, CLOSING_S)
        except ValueError:  # its pipes are closed: it has ended before
            pass
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def _run(self, *arguments: str | bytes) -> str:
        """Have the program do one thing and return what it says; raise `OutputError` when it dies or hangs."""
        lines = [argument if isinstance(argument, bytes) else os.fsencode(argument) for argument in arguments]
        with self._lock:
            if self._process.poll() is not None:
                self._end()
                self._process = self._start()
            process, said = self._process, b""
            assert process.stdin is not None
            assert process.stdout is not None
            hung = threading.Event()

            def end() -> None:
                hung.set()
                process.kill()

            clock = threading.Timer(self._limit_s, end)
            clock.start()
            try:
                process.stdin.write(b"\n".join([*lines, b"-execute1", b""]))
                process.stdin.flush()
                for line in process.stdout:
                    if line.rstrip() == READY:
                        return said.decode(errors="replace").strip()
                    said += line
            except OSError as error:
                said += str(error).encode()
            finally:
                clock.cancel()
            self._end()
        if hung.is_set():
            raise OutputError(f"exiftool took longer than {self._limit_s:g} s and was ended; tags are missing")
        raise OutputError(f"exiftool ended unexpectedly; tags are missing ({said.decode(errors='replace').strip()})")


def _line(path: Path) -> bytes:
    """Return a file name as a line that exiftool reads arguments from."""
    name = os.fsencode(absolute(path))  # from the root, so that it never looks like an option or a comment
    if b"\n" not in name and b"\r" not in name:
        return name
    return b"#[CSTR]" + name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
