"""The demo: a synthetic tripod shoot written as DNG files, then the real chain over them, through LibRaw."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
import torch
from rich.table import Table

from burst_denoise.apply.output import rounded_dn, write_dng
from burst_denoise.capture.grouping import CLEAN_REFERENCE
from burst_denoise.capture.raw import develop, read_raw
from burst_denoise.capture.series import SeriesVerdict
from burst_denoise.capture.store import Burst
from burst_denoise.config import MOST_FRAMES, TrainSettings
from burst_denoise.files import refuse_existing, written_aside
from burst_denoise.judge.baselines import nlm_stabilised
from burst_denoise.judge.report import draw_comparison, draw_quality, write_rows
from burst_denoise.judge.rows import table
from burst_denoise.learn.model_file import Model
from burst_denoise.learn.train import Progress
from burst_denoise.run.calibrate import benchmark_model, calibrate
from burst_denoise.run.ingest import ingest
from burst_denoise.run.session import DenoiseSettings, denoise_session
from burst_denoise.sensor.fixed_pattern import isolated_defects
from burst_denoise.sensor.frame import pack, unpack
from burst_denoise.sensor.metrics import frame_moments, mean_squared_error, psnr_of_mse
from burst_denoise.sensor.synthetic import Fault, SyntheticCamera, scene_from_picture, shoot

__all__ = ["DemoResult", "demo"]

CALIBRATION_SCENES = ("astronaut", "chelsea", "rocket")
TEST_SCENE = "coffee"
ISOS = (1600, 6400)
FRAMES = 10
SIZE = (448, 640)
"""Rows and columns of the synthetic sensor."""
FAULTS: Mapping[tuple[str, int], Mapping[int, Fault]] = {
    ("astronaut", 1600): {10: Fault(shift=(1.6, -0.9))},
    ("chelsea", 6400): {10: Fault(light=1.05), 11: Fault(motion=24)},
    ("rocket", 1600): {3: Fault(light=1.015), 10: Fault(focus=1.2)},
}
CROP = (slice(120, 320), slice(230, 530))


@dataclass(frozen=True)
class DemoResult:
    """What the demo shows at the end."""

    table: Table
    next_steps: str


def demo(
    folder: Path,
    minutes: float,
    device: torch.device,
    say: Callable[[str], None],
    on_series: Callable[[SeriesVerdict], None],
    on_progress: Callable[[Progress], None],
) -> DemoResult:
    """Shoot, check, calibrate, denoise and score; leave everything in a folder.

    Parameters
    ----------
    folder : Path
        Must not exist.
    minutes : float
        Training time.
    device : torch.device
    say : callable
        Called with a line of text as each stage begins.
    on_series, on_progress : callable
        As for `burst_denoise.run.calibrate.calibrate`.

    Raises
    ------
    OutputError
        If ``folder`` exists or cannot be written.
    """
    refuse_existing(folder)
    camera = SyntheticCamera()
    say(f"1/5 shooting {len(CALIBRATION_SCENES) + 1} scenes at two ISOs with a synthetic camera, to DNG files")
    for seed, scene in enumerate((*CALIBRATION_SCENES, TEST_SCENE)):
        for iso in ISOS:
            place = folder / "shots" / ("test" if scene == TEST_SCENE else "calibration") / f"{scene}_iso{iso}"
            _shoot(camera, scene, iso, seed, place)
    say("2/5 checking every frame")
    verdicts: list[SeriesVerdict] = []

    def judged(verdict: SeriesVerdict) -> None:
        verdicts.append(verdict)
        on_series(verdict)

    bursts = folder / "bursts"
    ingest([folder / "shots" / "calibration"], bursts / "calibration", MOST_FRAMES, judged)
    tests = ingest([folder / "shots" / "test"], bursts / "test", MOST_FRAMES, judged)
    draw_quality(folder / "quality.png", verdicts)
    say(f"3/5 calibrating for {minutes:g} minutes on {', '.join(CALIBRATION_SCENES)}")
    model_file = folder / "model.safetensors"
    settings = TrainSettings(minutes=minutes)
    model = calibrate([bursts / "calibration"], model_file, settings, device, MOST_FRAMES, on_series, on_progress)
    say(f"4/5 denoising a shot of {TEST_SCENE}, which the model never saw")
    shot = folder / "shots" / "test" / f"{TEST_SCENE}_iso{ISOS[1]}" / "frame_000.dng"
    for suffix in ("dng", "tif"):
        _denoise(shot, folder / f"denoised.{suffix}", model)
    say("5/5 scoring against the known clean picture")
    rows = list(
        benchmark_model(tests, [("model", model)], model.header.training.nlm_strength, augment=False, frames=3, seed=0)
    )
    write_rows(folder / "benchmark.jsonl", rows)
    _compare(folder / "before_after.png", shot, folder / "denoised.dng", tests[-1], model)
    return DemoResult(table(rows), _next_steps(folder))


def _shoot(camera: SyntheticCamera, scene: str, iso: int, seed: int, place: Path) -> None:
    """Write a burst of a picture bundled with scikit-image as DNG files, with the clean mosaic beside them."""
    from skimage import data

    picture = _fitted(getattr(data, scene)())
    faults = FAULTS.get((scene, iso), {})
    count = max(FRAMES, 1 + max(faults, default=0))
    frames, clean = shoot(
        camera, scene_from_picture(picture, camera.as_shot_neutral), iso, count, 100 * seed + iso, faults
    )
    for frame in frames:
        write_dng(place / frame.path.name, frame.info, frame.linear, notes="burst_denoise demo, synthetic camera")
    with written_aside(place / CLEAN_REFERENCE) as aside:
        tifffile.imwrite(aside, clean, compression="zlib")


def _fitted(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return a picture scaled and cut to the size of the sensor."""
    scale = max(SIZE[0] / picture.shape[0], SIZE[1] / picture.shape[1])
    large = cv2.resize(picture, None, fx=scale + 1e-3, fy=scale + 1e-3, interpolation=cv2.INTER_CUBIC)
    top, left = (large.shape[0] - SIZE[0]) // 2, (large.shape[1] - SIZE[1]) // 2
    return large[top : top + SIZE[0], left : left + SIZE[1]].astype(np.uint8)


def _denoise(shot: Path, target: Path, model: Model) -> None:
    settings = DenoiseSettings(strength=1, augment=False, tile=1024, format=None, any_sensor=False, resume=False)
    denoise_session([shot], target, model, settings, lambda *_: None)


def _compare(path: Path, shot: Path, denoised: Path, burst: Burst, model: Model) -> None:
    """Draw the same crop noisy, by tuned NLM, by the model and from the mean of the burst, all developed by LibRaw."""
    info, clean = burst.info, burst.clean
    assert clean is not None
    moments = frame_moments(burst.linear(index) for index in range(len(burst)))
    counts = ~burst.saturated & ~isolated_defects(moments, burst.profile, info.cfa)  # as in the benchmark
    noisy = read_raw(shot).linear
    strength = model.header.training.nlm_strength["nlm-stabilised"]
    filtered = nlm_stabilised(pack(noisy, info.cfa), info, burst.profile, strength)
    pictures = {
        "one noisy frame": noisy,
        "OpenCV NLM, tuned": unpack(filtered, info.cfa, noisy.shape),
        "burst_denoise": read_raw(denoised).linear,
        f"mean of all {len(burst)} frames": burst.mean(),
    }
    panels = [
        (
            f"{name}: {psnr_of_mse(mean_squared_error(picture, clean, counts), peak=1):.2f} dB",
            develop(shot, rounded_dn(picture, info))[CROP],
        )
        for name, picture in pictures.items()
    ]
    draw_comparison(
        path,
        panels,
        f"ISO {info.iso:g}, developed by LibRaw; PSNR of the whole shot, but for hot photosites, to the clean mosaic",
    )


def _next_steps(folder: Path) -> str:
    return f"""
Look at  {folder}/before_after.png   one frame, NLM, burst_denoise and the mean of all frames
         {folder}/quality.png        how steady each series was, and which frames fell out
         {folder}/denoised.dng       opens in any raw converter; denoised.tif is LibRaw's development of it
         {folder}/benchmark.jsonl    the table above, for machines

With your own camera: put it on a tripod, set RAW, a high ISO, manual exposure and focus, and take 10 to 14 frames
each of a few still, varied scenes with a remote release. Then (after `. .venv/bin/activate`, if make installed it)

  burst-denoise inspect FOLDER                                   are the frames usable, and if not, why?
  burst-denoise calibrate FOLDER -o my_camera.safetensors        eight minutes
  burst-denoise denoise SHOTS -m my_camera.safetensors -o OUT    denoised DNGs"""
