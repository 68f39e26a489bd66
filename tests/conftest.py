"""Fixtures shared by all tests."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from burst_denoise.burst.burst import Burst
from burst_denoise.cli.app import main
from burst_denoise.frame import synthetic
from burst_denoise.frame.frame import to_linear
from burst_denoise.frame.synthetic import Fault, SyntheticCamera
from burst_denoise.jobs.ingest import ingest
from burst_denoise.model import validation
from burst_denoise.model.content import validation_content
from burst_denoise.score import tuning
from burst_denoise.score.benchmark import REFERENCE_METHOD
from tests.command_line import PROJECT, SMALL, Done, Run, Shoot
from tests.shots import burst_frames, stored, verdicts, write_frames, write_identity_model
from tests.web_server import Server, serving

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--force-color-profile=srgb",
)


@pytest.fixture(autouse=True)
def needs_no_other_program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide exiftool from the tests that are not of the system: starting it takes longer than a small shot."""
    if request.node.get_closest_marker("system") is None:
        on_path = shutil.which
        monkeypatch.setattr(
            shutil, "which", lambda name, *more, **named: on_path(name, *more, **named) if name != "exiftool" else None
        )


@pytest.fixture(autouse=True)
def does_not_wait_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave what is written to the system's memory: no test takes the power away, and hundreds would wait."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real and simulated bursts; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("BURST_DENOISE_DATA", PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no test data: {folder} is not there; set BURST_DENOISE_DATA to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def burst(tmp_path_factory: pytest.TempPathFactory) -> Burst:
    """A stored burst of 6 frames of a small synthetic scene at ISO 3200, with its clean image."""
    return stored_burst(tmp_path_factory.mktemp("bursts") / "scene.burst")


def stored_burst(folder: Path, *, cfa: str = "RGGB", seed: int = 0, frames: int = 6, iso: float = 3200) -> Burst:
    """Shoot a scene of waves and edges with a synthetic camera and store it."""
    y, x = np.mgrid[:176, :256]
    grey = 0.25 + 0.2 * np.sin(x / (7 + seed)) * np.cos(y / 11) + 0.2 * ((x + y) % 60 > 30)
    scene = (grey[..., None] * np.array([0.6, 1.0, 0.7])).astype(np.float32)
    camera = SyntheticCamera(cfa=cfa, hot_fraction=0, prnu=0, dark_offset_std_dn=0)
    shots, clean = synthetic.shoot(camera, scene, iso, frames, seed)
    return stored(folder, folder.stem, shots, verdicts(shots), 0.1, 1e-4, clean=to_linear(clean, shots[0].info))


@pytest.fixture
def little_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validate on a patch of each of two clean pictures: it takes most of the time of a training of a few steps."""
    monkeypatch.setattr(validation, "SYNTHETIC_PATCHES", 1)
    monkeypatch.setattr(validation, "validation_content", lambda: validation_content()[:2])


@pytest.fixture
def one_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tune the strength of OpenCV NLM alone: that of all baselines takes seconds."""
    every = tuning.baselines_for
    monkeypatch.setattr(tuning, "baselines_for", lambda info: {REFERENCE_METHOD: every(info)[REFERENCE_METHOD]})


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the command line in this process."""

    def command(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["burst-denoise", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Done(code, captured.out, captured.err)

    return command


@pytest.fixture(scope="session")
def shoot(tmp_path_factory: pytest.TempPathFactory) -> Shoot:
    folder = tmp_path_factory.mktemp("shoot")
    faults = {4: Fault(shift=(3, 2)), 5: Fault(light=1.1)}
    write_frames(folder / "good", burst_frames(6, faults=faults))
    write_frames(folder / "other", burst_frames(3, size=SMALL), camera="Nikon D5")
    (burst,) = ingest([folder / "good"], folder / "bursts")
    model = write_identity_model(folder / "model.safetensors", burst)
    return Shoot(folder / "good", folder / "other", folder / "bursts", model)


@pytest.fixture(scope="session")
def web_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The page, served by a process of its own, with the network that comes with the program."""
    with serving(tmp_path_factory.mktemp("web") / "tmp") as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """A browser that asks nobody for anything by itself."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=list(QUIET))
        yield started
        started.close()
