"""Folders of noisy and clean pictures of the same scenes, as published data sets lay them out.

A layout is known by the names of files and folders; pictures are decoded when they are asked for.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from burst_denoise.errors import InputFileError
from burst_denoise.files import absolute
from burst_denoise.frame.frame import Frame
from burst_denoise.io.picture import PICTURE_SUFFIXES
from burst_denoise.io.raw import RAW_SUFFIXES
from burst_denoise.io.read import read_frame, read_header

__all__ = ["LAYOUTS", "Layout", "NoisyCleanPair", "read_pairs"]


@dataclass(frozen=True)
class NoisyCleanPair:
    """A noisy picture and the clean one of the same scene; a file is decoded when it is asked for."""

    name: str
    """Name of the noisy file, without its suffix; after its folders where another file is called the same, or where
    several folders noisy/ are scenes. No two pairs of one folder have the same."""
    scene: str
    """What the picture shows. Pairs of one scene belong on one side where some are learnt from and others scored."""
    noisy_file: Path
    clean_file: Path

    @property
    def noisy(self) -> Frame:
        """The noisy picture, decoded anew; raises `InputFileError`."""
        return read_frame(self.noisy_file)

    @property
    def clean(self) -> Frame:
        """The clean picture, decoded anew; raises `InputFileError`."""
        return read_frame(self.clean_file)


@dataclass(frozen=True)
class Layout:
    """How a data set names its files: patterns of whole paths, in lower or upper case, without the suffix.

    Noisy and clean files belong together where all groups of the two patterns are equal, ``scene`` apart.
    """

    name: str
    noisy: str
    clean: str
    folders_are_scenes: bool = False
    """Whether several folders that hold such pairs are scenes; files of the same name in two of them are two pairs."""


FOLDER = r"(?P<folder>.*/)"
LAYOUTS = (
    Layout(
        "CC_Noisy_X_1.png and CC_Mean_X_1.png (CC60)",
        FOLDER + r"CC_Noisy_(?P<key>(?P<scene>[^/]+?)(_\d+)?)",
        FOLDER + r"CC_Mean_(?P<key>[^/]+)",
    ),
    Layout(
        "X_1_real.jpg and X_1_mean.jpg (PolyU)",
        FOLDER + r"(?P<key>(?P<scene>[^/]+?)(_\d+)?)_real",
        FOLDER + r"(?P<key>[^/]+)_mean",
    ),
    Layout(
        "0001_001_.../NOISY_SRGB_010.png and GT_SRGB_010.png (SIDD)",
        r"(?P<folder>(.*/)?\d+_(?P<scene>\d+)_[^/]+/)(?P<instance>[^/]*)NOISY_SRGB_(?P<number>\d+)",
        FOLDER + r"(?P<instance>[^/]*)GT_SRGB_(?P<number>\d+)",
    ),
    Layout(
        "noisy/X.png and clean/X.png (or reference/, gt/, mean/)",
        FOLDER + r"noisy/(?P<key>((?P<scene>.+)/)?[^/]+)",
        FOLDER + r"(clean|reference|gt|mean)/(?P<key>.+)",
        folders_are_scenes=True,
    ),
    Layout(
        "Batch_001/ANoisy.bmp and BReference.bmp (RENOIR)",
        r"(?P<folder>(.*/)?(?P<scene>[^/]+)/)[^/]+Noisy",
        FOLDER + r"[^/]+Reference",
    ),
)
"""The layouts that `read_pairs` knows; the first that fits counts."""


def read_pairs(folder: Path) -> list[NoisyCleanPair]:
    """Return the pairs of noisy and clean pictures in a folder and all folders in it, in the order of their files.

    Parameters
    ----------
    folder : Path
        In one of `LAYOUTS`; files that fit it as neither noisy nor clean are passed over. It tells the scenes: what
        the name says before the number of the crop (CC60, PolyU), the scene number (SIDD), the batch (RENOIR). In a
        folder noisy/ each sub-folder is a scene, and each file that lies in none; where there are several folders
        noisy/, as in s1/noisy/1.png and s2/noisy/1.png, the folders that hold them are the scenes, s1 and s2. In RENOIR
        a clean picture may serve several noisy ones.

    Raises
    ------
    InputFileError
        If there is no such folder, its layout is unknown, a file lacks its partner, two sizes differ, or a file is
        damaged, as far as its header tells.
    """
    if not folder.is_dir():
        raise InputFileError(f"{folder}: no such folder; name one that holds noisy and clean pictures")
    root = absolute(folder)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    pictures = [path for path in files if path.suffix.lower() in PICTURE_SUFFIXES | RAW_SUFFIXES]
    for layout in LAYOUTS:
        noisy = _matches(layout.noisy, pictures, root)
        if noisy:
            return _paired(noisy, _matches(layout.clean, pictures, root), _labels(layout, noisy, root))
    if any(path.suffix.lower() == ".mat" for path in files):
        raise InputFileError(f"{folder}: holds .MAT files only, as SIDD's raw pairs; name the sRGB ones (PNG)")
    known = "; ".join(layout.name for layout in LAYOUTS)
    raise InputFileError(f"{folder}: no noisy and clean pictures in a layout known here; name them like {known}")


def _matches(pattern: str, pictures: list[Path], root: Path) -> dict[Path, re.Match[str]]:
    """Return the pictures whose path, that of the folder of ``root`` left out, fits a pattern."""
    found = {
        path: re.fullmatch(pattern, path.relative_to(root.parent).with_suffix("").as_posix(), re.IGNORECASE)
        for path in pictures
    }
    return {path: match for path, match in found.items() if match is not None}


def _labels(layout: Layout, noisy: dict[Path, re.Match[str]], root: Path) -> dict[Path, tuple[str, str]]:
    """Return the name and the scene of every pair, by its noisy file."""
    folders = {match["folder"] for match in noisy.values()}
    if layout.folders_are_scenes and len(folders) > 1:
        # Relative to the folder that was named, unless that is a scene itself.
        base = root.parent if root in {root.parent / folder for folder in folders} else root
        scenes = {path: (root.parent / match["folder"]).relative_to(base).as_posix() for path, match in noisy.items()}
        names = {path: f"{scenes[path]}/{match['key']}" for path, match in noisy.items()}
    else:
        scenes = {path: match["scene"] or path.stem for path, match in noisy.items()}
        names = _shortest_names(noisy, root)
    uses = Counter(names.values())
    # Two files that differ in their suffix alone.
    return {path: (name if uses[name] == 1 else name + path.suffix, scenes[path]) for path, name in names.items()}


def _shortest_names(paths: Iterable[Path], root: Path) -> dict[Path, str]:
    """Return the stem of each path after as many of its folders as tell it from the other paths."""
    parts = {path: path.relative_to(root.parent).with_suffix("").parts for path in paths}
    tails = {path: [whole[-count:] for count in range(1, len(whole) + 1)] for path, whole in parts.items()}
    uses = Counter(tail for found in tails.values() for tail in found)
    return {
        path: "/".join(next((tail for tail in found if uses[tail] == 1), found[-1])) for path, found in tails.items()
    }


def _paired(
    noisy: dict[Path, re.Match[str]], clean: dict[Path, re.Match[str]], labels: dict[Path, tuple[str, str]]
) -> list[NoisyCleanPair]:
    """Return pairs of the files that match one layout, every file with its partner."""
    partners: dict[tuple[str, ...], Path] = {}
    for path, match in clean.items():
        if (other := partners.setdefault(_key(match), path)) != path:
            raise InputFileError(f"{path}: is a clean picture as {other.name} is; leave one for each noisy picture")
    wanted = {_key(match) for match in noisy.values()}
    alone = [(path, "clean") for path, match in noisy.items() if _key(match) not in partners]
    alone += [(path, "noisy") for key, path in partners.items() if key not in wanted]
    for path, kind in alone:
        raise InputFileError(f"{path}: has no {kind} partner; add it, or take this file away")
    for path, match in noisy.items():
        _refuse_other_size(path, partners[_key(match)])
    return [NoisyCleanPair(*labels[path], path, partners[_key(match)]) for path, match in noisy.items()]


def _key(match: re.Match[str]) -> tuple[str, ...]:
    """Return what the names of a noisy and a clean file that belong together have in common."""
    return tuple(text for name, text in match.groupdict().items() if name != "scene")


def _refuse_other_size(noisy: Path, clean: Path) -> None:
    """Raise `InputFileError` when the pictures of a pair differ in size or kind, as far as their headers tell."""
    one, other = read_header(noisy), read_header(clean)
    if (one.domain, one.width, one.height) != (other.domain, other.width, other.height):
        raise InputFileError(
            f"{noisy}: {one.width} x {one.height}, {one.domain}, while {clean.name} has "
            f"{other.width} x {other.height}, {other.domain}; the pictures of a pair must agree"
        )
