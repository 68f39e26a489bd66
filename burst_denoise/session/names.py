"""Where results go: a name of its own for each shot, made from a template, in the folders of the shots."""

import hashlib
import os
import string
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from burst_denoise.errors import ConfigError, OutputError
from burst_denoise.files import cut_to_bytes, refuse_existing
from burst_denoise.io.metadata import Header
from burst_denoise.io.read import FRAME_SUFFIXES
from burst_denoise.session.shots import Shot

__all__ = ["DEFAULT_NAME", "Naming", "OutputFormat", "results_folder"]

OutputFormat = Literal["dng", "tiff", "png"]
SUFFIXES = {"dng": ".dng", "tiff": ".tif", "png": ".png"}
FORMATS = {".dng": "dng", ".tif": "tiff", ".tiff": "tiff", ".png": "png"}

DEFAULT_NAME = "{stem}-denoised"
FIELDS = ("stem", "iso", "camera")
LONGEST_NAME = 251
"""Bytes of a name: file systems take 255, and a sidecar's has four more."""


@dataclass(frozen=True)
class Naming:
    """How results are named.

    Raises
    ------
    ConfigError
        If the template names a field that there is not, or a folder.
    """

    template: str = DEFAULT_NAME
    """With ``{stem}``, ``{iso}`` and ``{camera}`` of the shot, and without the suffix."""
    format: OutputFormat | None = None
    """None writes DNG for raw shots and TIFF for pictures."""

    def __post_init__(self) -> None:
        try:
            parts = [part for part in string.Formatter().parse(self.template) if part[1] is not None]
            self.template.format(**dict.fromkeys(FIELDS, ""))
            fields = {field for _, field, _, _ in parts}
            if not {"stem"} <= fields <= set(FIELDS) or any(layout or change for _, _, layout, change in parts):
                raise KeyError
        except (ValueError, KeyError, IndexError, AttributeError) as error:
            raise ConfigError(
                f"name {self.template!r}: needs {{stem}}, and may have {{iso}} and {{camera}}, as in {DEFAULT_NAME}"
            ) from error
        if set(self.template) & set("/\\\0"):
            raise ConfigError(f"name {self.template!r}: has a folder in it; name that with -o")

    def targets(
        self,
        shots: Sequence[Shot],
        output: Path,
        headers: Mapping[Shot, Header] = {},
        known: Mapping[str, Path] = {},
        is_of_another: Callable[[Shot, Path], bool] = lambda *_: False,
    ) -> dict[Shot, Path]:
        """Return where the result of each shot goes, no two to one place, letters' case apart.

        Parameters
        ----------
        shots : sequence of Shot
        output : Path
            A file, for a single shot, if it has the suffix of a format; otherwise the folder for all results.
        headers : mapping of Shot to Header
            What their files say, as far as known.
        known : mapping of str to Path
            By its file, where the result of a shot went in an earlier session.
        is_of_another : callable
            Tells whether a place holds the result of another shot, from an earlier session.

        Raises
        ------
        OutputError
            If a target is a shot itself, or ``output`` cannot be what it is named.
        """
        if _is_one_file(output, len(shots), self.format):
            _refuse_shots([output], shots)
            return {shots[0]: output}
        several = len({shot.root for shot in shots}) > 1
        choices = {}
        for shot in shots:
            *named, last = self._choices(shot, output, headers.get(shot), several)
            choices[shot] = [place for place in named if not is_of_another(shot, place)] + [last]
        found = {
            shot: known[str(shot.place)] for shot in shots if known.get(str(shot.place)) in choices[shot]
        }  # as it is there
        level = dict.fromkeys(choices, 0)
        while True:
            wanted: dict[str, list[Shot]] = defaultdict(list)
            for shot in shots:
                wanted[str(found.get(shot, choices[shot][level[shot]])).casefold()].append(shot)
            clashing = [shot for group in wanted.values() if len(group) > 1 for shot in group if shot not in found]
            if not clashing:
                break
            for shot in clashing:
                level[shot] += 1
        targets = {shot: found.get(shot, choices[shot][level[shot]]) for shot in shots}
        _refuse_shots(list(targets.values()), shots)
        return targets

    def _choices(self, shot: Shot, output: Path, header: Header | None, several: bool) -> Iterator[Path]:
        """Give names for the result of a shot, the best first, the last one that of no other shot."""
        suffix = SUFFIXES[self.format or ("dng" if shot.is_raw else "tiff")]
        iso, camera, taken_at = (None,) * 3 if header is None else (header.iso, header.camera, header.taken_at)
        words = {"iso": "unknown" if iso is None else f"{iso:g}", "camera": _in_a_name(camera or "unknown")}

        def named(stem: str, mark: str = "") -> str:
            name = self.template.format(stem=stem, **words)
            return cut_to_bytes(name, LONGEST_NAME - len(mark) - len(suffix)) + mark + suffix

        below = Path(shot.name)
        # What is behind the last point of a frame in a stored burst is part of its name.
        short, full = (below.stem, below.name) if shot.source else (below.name, below.name)
        folders = [output / below.parent]
        if several and shot.root.name:
            folders.append(output / shot.root.name / below.parent)
        for folder in folders:
            yield folder / named(short)
            yield folder / named(full)
        whose = f"{shot.place} {taken_at}".encode(errors="replace")
        yield folders[0] / named(short, "-" + hashlib.sha256(whose).hexdigest()[:12])


def results_folder(output: Path) -> Path:
    """Return the folder that results go to, that of the file where ``output`` names one."""
    return output.parent if output.suffix.lower() in FRAME_SUFFIXES and not output.is_dir() else output


def _refuse_shots(targets: Sequence[Path], shots: Sequence[Shot]) -> None:
    """Raise `OutputError` where a target is the file of a shot, by another path or on a case-blind disk, too."""
    folder = cache(os.path.realpath)

    def place(path: Path) -> str:
        return os.path.join(folder(path.parent), path.name).casefold()  # noqa: PTH118 (thousands of shots)

    sources = {place(shot.source) for shot in shots if shot.source is not None}
    for target in targets:
        if place(target) in sources:
            raise OutputError(f"{target}: is a shot to denoise itself; name another folder for the results")


def _in_a_name(words: str) -> str:
    return "".join("_" if letter in '/\\:*?"<>|' or not letter.isprintable() else letter for letter in words)


def _is_one_file(output: Path, shots: int, format: OutputFormat | None) -> bool:
    """Return whether ``output`` names a file, by its suffix; refuse a name that promises what will not be written."""
    suffix = output.suffix.lower()
    if output.is_file() and suffix not in FORMATS:
        refuse_existing(output)
    if output.is_dir() or suffix not in FRAME_SUFFIXES:
        return False
    if suffix not in FORMATS:
        raise OutputError(f"{output}: {suffix} is not written here; name a {', '.join(FORMATS)} file, or a folder")
    if shots != 1:
        raise OutputError(f"{output}: is the name of one file, but there are {shots} shots; name a folder")
    if format not in (None, FORMATS[suffix]):
        raise OutputError(f"{output}: is no {format} file by its name; rename it, or leave --format out")
    return True
