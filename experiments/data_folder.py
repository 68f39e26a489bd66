"""Where the data of the experiments lie: in `BURST_DENOISE_DATA`, or in ``shared/data`` beside the project."""

import hashlib
import os
from pathlib import Path

__all__ = ["DATA", "folder_sha256"]

DATA = Path(os.environ.get("BURST_DENOISE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def folder_sha256(folder: Path | None) -> str:
    """Return a digest of the names and contents of all files in a folder; without one, of nothing."""
    digest = hashlib.sha256()
    if folder is not None:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return digest.hexdigest()
