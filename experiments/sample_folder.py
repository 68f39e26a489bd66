"""Folders of training samples, which stay from one run to the next: what they were made by, and that it is the same."""

import json
from collections.abc import Mapping
from pathlib import Path

import burst_denoise as bd
from burst_denoise.files import write_file

__all__ = ["made_by", "sample_folder"]

NOTE = "samples.json"


def sample_folder(folder: Path, by: Mapping[str, object]) -> Path:
    """Return a folder for samples, made where it is not yet, with a note of what makes them.

    Raises
    ------
    ConfigError
        If something else has made samples there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / NOTE).exists():
        write_file(folder / NOTE, json.dumps(by, indent=1).encode())
    if (known := made_by(folder)) != by:
        raise bd.ConfigError(f"{folder}: holds samples made by {known}, not by {by}; name another folder")
    return folder


def made_by(folder: Path) -> dict[str, object]:
    """Return what has made the samples of a folder."""
    found: dict[str, object] = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    return found
