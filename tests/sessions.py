"""A night's shots of three bodies, and what a session left of them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from burst_denoise.session.ledger import LEDGER_NAME
from tests.shots import burst_frames, everything_in, stored, verdicts, write_frames, write_identity_model

SMALL = (48, 64)
BODIES = ("Canon EOS 700D", "Nikon D5", "Sony ILCE-7M3")


def write_night(folder: Path, isos: tuple[int, ...], count: int, size: tuple[int, int] = SMALL) -> list[Path]:
    """Write shots of three bodies, and models of two of them."""
    written = []
    for number, camera in enumerate(BODIES):
        for iso in isos:
            frames = burst_frames(count, iso, 10 * number + iso % 7, size=size)
            named = [replace(frame, path=Path(f"{iso}_{k}.dng")) for k, frame in enumerate(frames)]
            written += write_frames(folder / "card" / camera.split()[0], named, camera=camera)
    for camera in BODIES[:2]:
        frames = [
            replace(frame, info=frame.info.model_copy(update={"camera": camera}))
            for iso in (isos[0], isos[-1])
            for frame in burst_frames(3, iso, 5, size=size)[:3]
        ]
        burst = stored(folder / f"{camera}.burst", "b", frames[:3], verdicts(frames[:3]), 0.1, 0.001)
        write_identity_model(folder / "models" / f"{camera}.safetensors", burst)
        shutil.rmtree(folder / f"{camera}.burst")
    return written


def shots_of(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of the ledger about shots; each must be whole."""
    found = [json.loads(line) for line in (folder / LEDGER_NAME).read_text().splitlines()]
    return [line for line in found if line["record"] == "shot"]


def results(folder: Path) -> dict[str, str]:
    """Return the results in a folder with digests, and see that there is nothing else but a ledger."""
    found = everything_in(folder)
    assert found.pop(LEDGER_NAME)
    found = {name: digest for name, digest in found.items() if digest != "folder"}
    assert not [name for name in found if not name.endswith("-denoised.dng")], "nothing is left of killed runs"
    return found
