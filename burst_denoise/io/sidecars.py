"""XMP sidecars: what other programs keep beside a shot goes beside its result, with noise reduction switched off.

References
----------
Adobe, "XMP Specification Part 2: Additional Properties"; P. Harvey, "ExifTool", XMP crs tags; darktable's manual,
"sidecar files".
"""

import re
from pathlib import Path
from typing import NamedTuple
from xml.parsers import expat

from burst_denoise.errors import InputFileError
from burst_denoise.files import write_file

__all__ = ["SidecarCopies", "copy_sidecars", "find_sidecars", "without_denoising"]

CAMERA_RAW = "http://ns.adobe.com/camera-raw-settings/1.0/"
DARKTABLE = "http://darktable.sf.net/"

CAMERA_RAW_AMOUNTS = frozenset(
    ("LuminanceSmoothing", "ColorNoiseReduction", "Sharpness", "LocalLuminanceNoise", "LocalSharpness")
)
"""How much, everywhere and where painted; at zero, the other settings of noise reduction and sharpening do nothing."""

DARKTABLE_OPERATIONS = frozenset(("denoiseprofile", "rawdenoise", "nlmeans", "bilateral", "sharpen"))
"""Not those that serve other ends as well, such as "diffuse" and "atrous", nor repairs of single photosites."""

ATTRIBUTE = re.compile(rb"""\s+([^\s=]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
TEXT = re.compile(rb"\s*>\s*([^<]*?)\s*<")
"""Pattern of the value of an XML element that holds nothing but text, from behind its attributes."""


class SidecarCopies(NamedTuple):
    """What became of the sidecars of a shot."""

    written: list[Path]
    left: list[Path]
    """Other files with these names, which were there before."""


def find_sidecars(source: Path, target: Path) -> dict[Path, Path]:
    """Return the sidecars of a shot, and the name that a copy of each has beside a file made from it.

    Parameters
    ----------
    source : Path
        ``X.EXT``: its sidecars are ``X.xmp`` and ``X.EXT.xmp``, with the suffix in letters of any case.
    target : Path
        ``Y.dng``: theirs are ``Y.xmp`` and ``Y.dng.xmp``.

    Returns
    -------
    dict of Path to Path
        Without sidecars that have their place already, and without those of another file: ``X.CR2.xmp`` belongs to
        ``X.CR2``, where there is one, and not to ``X.CR2.dng``.
    """
    copies: dict[Path, Path] = {}
    try:
        beside = sorted(path for path in source.parent.iterdir() if path.suffix.lower() == ".xmp")
    except OSError:  # a folder whose files may be read but not listed
        beside = []
    for path in beside:
        if path.stem not in (source.name, source.stem) or not path.is_file():
            continue
        if path.stem != source.name and path.with_suffix("").is_file():
            continue
        copy = target.with_name((target.name if path.stem == source.name else target.stem) + ".xmp")
        if copy not in copies.values() and not (copy.exists() and copy.samefile(path)):
            copies[path] = copy
    return copies


def copy_sidecars(source: Path, target: Path, *, denoised: bool = True) -> SidecarCopies:
    """Copy the sidecars of a shot beside a file made from it, with noise reduction and sharpening switched off.

    Parameters
    ----------
    source, target : Path
        See `find_sidecars`.
    denoised : bool
        Otherwise nothing is switched off.

    Returns
    -------
    SidecarCopies
        What was written and what was in the way. A copy that is there already is neither.

    Raises
    ------
    InputFileError
        If a sidecar cannot be read.
    OutputError
        If a copy cannot be written; nothing is left of it.
    """
    copies = SidecarCopies([], [])
    for path, copy in find_sidecars(source, target).items():
        content = without_denoising(_read(path)) if denoised else _read(path)
        if not copy.exists():
            write_file(copy, content)
            copies.written.append(copy)
        elif _read(copy) != content:
            copies.left.append(copy)
    return copies


def without_denoising(content: bytes) -> bytes:
    """Return XMP with noise reduction and sharpening of Camera Raw at zero and those of darktable switched off.

    Parameters
    ----------
    content : bytes
        Of an XMP file or packet.

    Returns
    -------
    bytes
        Differs in the characters of these values alone; what is no well-formed XML in UTF-8 or UTF-16 comes back as it
        is.
    """
    encoding = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}.get(content[:2], "utf-8")
    try:
        xml = content.decode(encoding).encode()
        edits = _Settings(xml).edits
    except (UnicodeError, expat.ExpatError):
        return content
    for start, end, value in sorted(edits, reverse=True):  # from the end, so that the places before stay true
        xml = xml[:start] + value + xml[end:]
    return xml.decode().encode(encoding)


class _Settings:
    """The places of settings to switch off in XML.

    The parser knows where elements begin and what belongs to them, but not where in them a value stands.
    """

    def __init__(self, xml: bytes) -> None:
        self.edits: list[tuple[int, int, bytes]] = []
        """First byte, byte after the last one, and what belongs there."""
        self._xml = xml
        self._scopes: list[dict[str, str]] = [{}]
        self._parser = expat.ParserCreate("utf-8")
        self._parser.StartElementHandler = self._on_start
        self._parser.EndElementHandler = self._on_end
        self._parser.StartDoctypeDeclHandler = self._on_doctype
        self._parser.Parse(xml, True)

    def _on_start(self, name: str, attributes: dict[str, str]) -> None:
        declared = {key.partition(":")[2]: uri for key, uri in attributes.items() if key.startswith("xmlns")}
        self._scopes.append(self._scopes[-1] | declared)
        behind = self._parser.CurrentByteIndex + 1 + len(name.encode())
        places: dict[tuple[str, str], tuple[int, int]] = {}
        while found := ATTRIBUTE.match(self._xml, behind):
            places[self._qualified(found[1].decode())] = found.span(2 if found[2] is not None else 3)
            behind = found.end()
        for (uri, setting), place in places.items():
            if uri == CAMERA_RAW and setting in CAMERA_RAW_AMOUNTS:
                self._to_zero(place)
        operation = places.get((DARKTABLE, "operation"))
        enabled = places.get((DARKTABLE, "enabled"))
        if operation and enabled and self._xml[slice(*operation)].decode() in DARKTABLE_OPERATIONS:
            self._to_zero(enabled)
        uri, setting = self._qualified(name)
        if uri == CAMERA_RAW and setting in CAMERA_RAW_AMOUNTS and (text := TEXT.match(self._xml, behind)):
            self._to_zero(text.span(1))

    def _on_doctype(self, *_: object) -> None:
        raise UnicodeError("entities would put text where it is not")

    def _on_end(self, name: str) -> None:  # noqa: ARG002 (as the parser calls it)
        self._scopes.pop()

    def _qualified(self, name: str) -> tuple[str, str]:
        prefix, _, local = name.rpartition(":")
        return self._scopes[-1].get(prefix, ""), local

    def _to_zero(self, place: tuple[int, int]) -> None:
        try:
            on = float(self._xml[slice(*place)]) != 0
        except ValueError:  # no amount
            return
        if on:
            self.edits.append((*place, b"0"))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputFileError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
