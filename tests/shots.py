"""Small real shoots for the tests: DNG files of a synthetic camera, and a model of it that changes nothing."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from burst_denoise.burst.burst import Burst
from burst_denoise.burst.series_verdict import SeriesVerdict
from burst_denoise.burst.store import store_burst
from burst_denoise.frame.frame import Frame, RawBorder, to_dn
from burst_denoise.frame.synthetic import Fault, SyntheticCamera, scene_from_picture, shoot
from burst_denoise.io.dng import write_dng
from burst_denoise.jobs.listener import Listener
from burst_denoise.schemas import FrameInfo, FrameVerdict, TrainingRecord, TrainSettings
from burst_denoise.session.progress import SessionProgress
from burst_denoise.session.steps import Outcome

SIZE = (160, 192)
"""Rows and columns: the least that training patches of 130 photosites fit in, and a little more."""


class Recorder(Listener):
    """Keeps all that a job tells."""

    def __init__(self) -> None:
        self.verdicts: list[SeriesVerdict] = []
        self.notes: list[str] = []
        self.outcomes: list[Outcome] = []
        self.standings: list[SessionProgress] = []
        self.progress: list[object] = []

    def on_series(self, verdict: SeriesVerdict, frames: Sequence[Frame]) -> None:
        self.verdicts.append(verdict)

    def on_progress(self, progress: object) -> None:
        self.progress.append(progress)

    def on_shot(self, outcome: Outcome, standing: SessionProgress) -> None:
        self.outcomes.append(outcome)
        self.standings.append(standing)

    def note(self, text: str) -> None:
        self.notes.append(text)


def scene(size: tuple[int, int] = SIZE, seed: int = 0) -> np.ndarray:
    """Return soft blobs of colour."""
    coarse = np.random.default_rng(seed).integers(20, 235, (size[0] // 8, size[1] // 8, 3), dtype=np.uint8)
    return scene_from_picture(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC))


def burst_frames(count: int = 4, iso: float = 1600, seed: int = 0, cfa: str = "RGGB", size: tuple[int, int] = SIZE,
                 faults: Mapping[int, Fault] | None = None, hot: float = 1e-4) -> list[Frame]:  # fmt: skip
    """Return the frames of a burst, of which a share ``hot`` of the photosites are hot."""
    frames = _shot(count, iso, seed, cfa, size, tuple((faults or {}).items()), hot)
    return [replace(frame, dn=frame.dn.copy()) for frame in frames]


@lru_cache(64)
def _shot(count: int, iso: float, seed: int, cfa: str, size: tuple[int, int], faults: tuple[tuple[int, Fault], ...],
          hot: float) -> list[Frame]:  # fmt: skip
    """Return the frames of a burst, once for all tests that shoot the same."""
    return shoot(SyntheticCamera(cfa=cfa, hot_fraction=hot), scene(size, seed), iso, count, seed, dict(faults))[0]


def dark_frames(count: int = 6, iso: float = 1600, size: tuple[int, int] = SIZE, hot: float = 1e-4) -> list[Frame]:
    """Return dark frames of the camera of `burst_frames`, of which a share ``hot`` of the photosites are hot."""
    return shoot(SyntheticCamera(hot_fraction=hot), np.zeros((*size, 3), np.float32), iso, count, 1000)[0]


def write_frames(folder: Path, frames: list[Frame], **changes: object) -> list[Path]:
    """Write frames as DNG files, with other metadata where told."""
    for frame in frames:
        write_dng(folder / frame.path.name, replace(frame, info=frame.info.model_copy(update=changes)))
    return [folder / frame.path.name for frame in frames]


def frame_of(
    linear: np.ndarray, info: FrameInfo, border: RawBorder | None = None, notes: str = "", path: Path = Path("a.dng")
) -> Frame:
    """Return a computed frame of linear values."""
    return Frame(to_dn(linear, info), info, path, border, notes)


def stored(
    folder: Path,
    series: str,
    frames: Sequence[Frame],
    found: Sequence[FrameVerdict],
    mu: float,
    sigma: float,
    clean: np.ndarray | None = None,
    defects: np.ndarray | None = None,
    dark: np.ndarray | None = None,
) -> Burst:
    """Store accepted frames under verdicts as told."""
    verdict = SeriesVerdict(series, frames[0].info, True, "", mu, sigma, (), tuple(found), 0)
    return store_burst(folder, frames, verdict, clean, defects, dark)


def verdicts(frames: list[Frame], gains: list[float] | None = None) -> list[FrameVerdict]:
    """Return verdicts that accept all frames."""
    return [
        FrameVerdict(file=frame.path.name, accepted=True, reasons=(), gain=gain, shift_px=0.0)
        for frame, gain in zip(frames, gains or [1.0] * len(frames), strict=True)
    ]


def write_identity_model(path: Path, burst: Burst) -> Path:
    """Write a model of the burst's sensor with an untrained network, which gives its input back."""
    from burst_denoise.model.model_file import model_of
    from burst_denoise.model.network import build_network

    record = TrainingRecord(
        settings=TrainSettings(preset="draft", steps=1), steps_done=0, best_step=0, start_psnr_db=40.0,
        best_psnr_db=40.0, bursts=(burst.name,), burst_sha256=burst.manifest.sha256, versions={}, seconds=0.0,
        baseline_strength={"nlm-stabilised": 0.85},
    )  # fmt: skip
    model_of(build_network(record.settings.preset, len(burst.mosaic.plane_names)), [burst], record).save(path)
    return path


def everything_in(folder: Path) -> dict[str, str]:
    """Return every file and folder below a folder, hidden ones too, with a digest of what it holds."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in folder.rglob("*")
    }


def write_card(folder: Path, size: tuple[int, int] = (96, 128)) -> None:
    """Write a card: 4 bursts of 8 (the last never still), 6 lone shots, 2 x 16 dark frames, a damaged file, a movie.

    The first burst has a picture beside each raw file.
    """
    start = 1_767_268_800.0
    shots = [(burst_frames(8, iso, seed, size=size), 1000.0 * seed) for seed, iso in enumerate((1600, 1600, 6400))]
    moving = {k: Fault(shift=(9 * k, 5)) for k in range(8)}
    shots.append((burst_frames(8, 6400, 3, size=size, faults=moving), 3000.0))
    shots += [(burst_frames(1, 800, 50 + k, size=size), 10_000.0 + 1000 * k) for k in range(6)]
    shots += [(dark_frames(16, iso, size), 20_000.0 + iso) for iso in (1600, 6400)]
    shots.append((burst_frames(9, 1600, 1, size=size)[8:], 1008.0))
    written: list[Path] = []
    for frames, after in shots:
        for k, frame in enumerate(frames):
            named = replace(frame, path=Path(f"IMG_{len(written) + 1:04d}.dng"))
            written += write_frames(folder, [named], taken_at=start + after + k)
    for path in written[:8]:
        cv2.imwrite(str(path.with_suffix(".JPG")), np.zeros((*size, 3), np.uint8))
    written[-1].write_bytes(written[-1].read_bytes()[:3000])
    movie = cv2.VideoWriter(str(folder / "MVI_0001.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    rng = np.random.default_rng(0)
    seen = cv2.resize(rng.integers(60, 180, (6, 8, 3), np.uint8), (64, 48)).astype(float)
    for _ in range(6):
        movie.write(np.clip(seen + rng.normal(0, 6, seen.shape), 0, 255).astype(np.uint8))
    movie.release()
