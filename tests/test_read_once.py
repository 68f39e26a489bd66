"""Each raw file that a command is given is decoded once at most; its header may be opened as often as one likes."""

from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pytest
import rawpy

from burst_denoise.frame.synthetic import SyntheticCamera, shoot
from burst_denoise.session.reader import Reader
from tests.command_line import Run
from tests.shots import SIZE, burst_frames, dark_frames, stored, verdicts, write_frames, write_identity_model

HEADER = {"sizes", "color_desc", "close"}
"""What LibRaw tells without unpacking a file: everything else that rawpy offers unpacks it."""


class Watched:
    """A raw file that notes when it is unpacked."""

    def __init__(self, raw: rawpy.RawPy, path: str, decoded: Counter[str]) -> None:
        self._raw, self._path, self._decoded, self._unpacked = raw, path, decoded, False

    def __enter__(self) -> "Watched":
        self._raw.__enter__()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._raw.__exit__(kind, error, trace)

    def __getattr__(self, name: str) -> Any:
        if name not in HEADER and not self._unpacked:
            self._unpacked = True
            self._decoded[Path(self._path).parent.name + "/" + Path(self._path).name] += 1
        return getattr(self._raw, name)


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two series at two ISOs, dark frames, flats, and a model."""
    folder = tmp_path_factory.mktemp("card")
    for iso in (1600, 6400):
        write_frames(folder / "frames" / f"iso{iso}", burst_frames(4, iso=iso, seed=iso))
    write_frames(folder / "darks", dark_frames(4))
    flats, _ = shoot(SyntheticCamera(), np.full((*SIZE, 3), 0.4, np.float32), 1600, 4, 77)
    write_frames(folder / "flats", flats)
    frames = burst_frames(4)
    burst = stored(folder / "own.burst", "own", frames, verdicts(frames), 0.1, 1e-4)
    write_identity_model(folder / "model.safetensors", burst)
    return folder


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was decoded, by folder and name."""
    counts: Counter[str] = Counter()
    opened = rawpy.imread
    monkeypatch.setattr(rawpy, "imread", lambda path, *rest: Watched(opened(path, *rest), path, counts))
    # What a session has read by a process of its own is read here, to be counted.
    monkeypatch.setattr(Reader, "_ask", lambda self, work, path, limits: work(path, limits))
    return counts


LITTLE = ("--steps", "1", "--preset", "draft")
COMMANDS = {
    "inspect": ("inspect", "{frames}"),
    "ingest": ("ingest", "{frames}", "--darks", "{darks}", "-o", "{out}/bursts"),
    "profile": ("profile", "{frames}", "--darks", "{darks}", "--flats", "{flats}", "-o", "{out}/sensor.json"),
    "calibrate": ("train", "{frames}", "--darks", "{darks}", *LITTLE, "-o", "{out}/m.safetensors"),
    "denoise": ("denoise", "{frames}", "-m", "{model}", "--any-sensor", "--darks", "{darks}", "-o", "{out}/clean"),
    "denoise without a model": ("denoise", "{frames}", "--quality", "draft", "-o", "{out}/clean"),
    "merge": ("merge", "{frames}/iso1600", "--darks", "{darks}", "-o", "{out}/merged.dng"),
    "benchmark": ("benchmark", "{frames}", "-m", "{model}", "--any-sensor", "--frames", "1"),
    "report": ("report", "{frames}", "--darks", "{darks}", "--flats", "{flats}", "--frames", "1", "-o", "{out}/r.html"),
}


def arguments(card: Path, out: Path, template: tuple[str, ...]) -> list[str]:
    places = {"frames": card / "frames", "darks": card / "darks", "flats": card / "flats", "out": out}
    return [part.format(**places, model=card / "model.safetensors") for part in template]


@pytest.mark.usefixtures("one_baseline", "little_validation")
@pytest.mark.parametrize("name", COMMANDS)
def test_no_raw_file_is_decoded_twice(card: Path, tmp_path: Path, run: Run, decoded: Counter[str], name: str):
    done = run(*arguments(card, tmp_path, COMMANDS[name]))
    assert done.code == 0, done.err
    named = {path for path in COMMANDS[name] if path.strip("{}").split("}")[0] in ("frames", "darks", "flats")}
    folders = {"{darks}": "darks", "{flats}": "flats"}
    for place in named & set(folders):
        assert sum(key.startswith(folders[place] + "/") for key in decoded) == 4, f"all of {place} were decoded"
    assert sum(key.startswith("iso1600/") for key in decoded) == 4
    twice = {key for key, count in decoded.items() if count > 1}
    sample = {f"iso{iso}/frame_{k:03d}.dng" for iso in (1600, 6400) for k in (0, 2, 3)}
    assert twice == (sample if name == "denoise without a model" else set()), "but for the sample of a noise estimate"
    assert max(decoded.values()) <= 2


@pytest.mark.parametrize(
    "command",
    [
        ("inspect",),
        ("ingest", "-o", "{out}/bursts"),
        ("profile", "-o", "{out}/sensor.json"),
        pytest.param(("train", "--steps", "1", "-o", "{out}/m.safetensors"), marks=pytest.mark.slow),
        pytest.param(("benchmark", "--frames", "1"), marks=pytest.mark.slow),
        pytest.param(("report", "--frames", "1", "-o", "{out}/r.html"), marks=pytest.mark.slow),
    ],
    ids=lambda command: command[0],
)
def test_dark_frames_among_the_shots_are_decoded_once_like_all_others(
    card: Path, tmp_path: Path, run: Run, decoded: Counter[str], command: tuple[str, ...]
):
    name, *rest = arguments(card, tmp_path, command)
    done = run(name, card / "frames", card / "darks", *rest)
    assert done.code == 0, done.err
    assert set(decoded.values()) == {1}
    assert sum(key.startswith("darks/") for key in decoded) == 4
    if name != "inspect":
        assert "4 dark frames among the shots are used as darks (ISO 1600 at 1/30 s)" in done.err


def test_a_shot_that_libraw_develops_is_decoded_once_more(card: Path, tmp_path: Path, run: Run, decoded: Counter[str]):
    job = ("denoise", card / "frames" / "iso1600", "-m", card / "model.safetensors", "--any-sensor", "--format", "tiff")
    done = run(*job, "-o", tmp_path / "tiffs")
    assert done.code == 0, done.err
    assert set(decoded.values()) == {2}


def test_grouping_a_card_decodes_nothing(card: Path, decoded: Counter[str]):
    from burst_denoise.burst.grouping import find_sources, group_series

    assert len(group_series(find_sources([card]))) == 4
    assert decoded == Counter()
