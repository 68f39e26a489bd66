"""The demo: a synthetic tripod shoot written as DNG files, then the real chain over them, through LibRaw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
import torch

from burst_denoise.burst.burst import Burst
from burst_denoise.burst.darks import read_darks
from burst_denoise.burst.grouping import CLEAN_REFERENCE
from burst_denoise.burst.one_sensor import of_one_sensor
from burst_denoise.burst.store import sharing_defects
from burst_denoise.files import atomic_write, refuse_existing, temporary_folder
from burst_denoise.frame.frame import Frame, to_dn
from burst_denoise.frame.synthetic import Fault, SyntheticCamera, scene_from_picture, shoot
from burst_denoise.io.dng import rounded_dn, write_dng
from burst_denoise.io.raw import develop, read_raw
from burst_denoise.jobs.benchmark import benchmark_bursts
from burst_denoise.jobs.calibrate import calibrate
from burst_denoise.jobs.denoise import denoise_session
from burst_denoise.jobs.ingest import ingest
from burst_denoise.jobs.listener import Listener
from burst_denoise.jobs.merge import merge
from burst_denoise.jobs.profile import profile_bursts
from burst_denoise.jobs.report import SeriesWatcher, crop_sets, measured_channels, pattern_maps, provenance
from burst_denoise.model.model_file import Model
from burst_denoise.reporting.figures import draw_comparison
from burst_denoise.reporting.report import Report, write_report, write_rows
from burst_denoise.schemas import TrainSettings
from burst_denoise.score.baselines import baseline_method, nlm_stabilised
from burst_denoise.score.benchmark import REFERENCE_METHOD
from burst_denoise.score.metrics import mean_squared_error, psnr_of_mse
from burst_denoise.score.rows import BenchmarkRow
from burst_denoise.session.denoisers import Denoisers

__all__ = ["DemoResult", "demo", "shoot_scene"]

CALIBRATION_SCENES = ("astronaut", "chelsea", "rocket")
TEST_SCENE = "coffee"
ISOS = (1600, 6400)
FRAMES = 10
DARKS = 16
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

    rows: list[BenchmarkRow]
    next_steps: str


def demo(folder: Path, minutes: float, device: torch.device, listener: Listener = Listener()) -> DemoResult:
    """Shoot, check, calibrate, denoise and score; leave everything in a folder.

    Parameters
    ----------
    folder : Path
        Must not exist.
    minutes : float
        Training time.
    device : torch.device
    listener : Listener
        Hears of each stage that begins, the verdict on each series, and of every training step.

    Raises
    ------
    OutputError
        If ``folder`` exists or cannot be written.
    """
    refuse_existing(folder)
    camera, shots, stored = SyntheticCamera(), folder / "shots", folder / "bursts"
    listener.note(
        f"1/6 shooting {len(CALIBRATION_SCENES) + 1} scenes and dark frames at two ISOs with a synthetic camera, "
        "to DNG files"
    )
    for seed, scene in enumerate((*CALIBRATION_SCENES, TEST_SCENE)):
        for iso in ISOS:
            place = shots / ("test" if scene == TEST_SCENE else "calibration") / f"{scene}_iso{iso}"
            shoot_scene(camera, scene, iso, seed, place)
    for iso in ISOS:
        _write(shots / "darks", shoot(camera, np.zeros((*SIZE, 3), np.float32), iso, DARKS, 7 * iso)[0], f"iso{iso}_")
    listener.note("2/6 checking every frame")
    watcher = SeriesWatcher(listener)
    with temporary_folder() as kept:
        darks = read_darks([shots / "darks"], keep=Path(kept))
        ingested = ingest([shots / "calibration"], stored / "calibration", darks, listener=watcher)
        tests = ingest([shots / "test"], stored / "test", darks, listener=watcher)
        sensor = profile_bursts(sharing_defects(ingested + tests), darks, listener=listener)
    listener.note(f"3/6 calibrating on {', '.join(CALIBRATION_SCENES)}, {minutes:g} minutes at most")
    model_file = folder / "model.safetensors"
    model = calibrate(
        [stored / "calibration"], model_file, [], TrainSettings(minutes=minutes), device, listener=listener
    )
    for line in model.verdict:
        listener.note(f"  {line}")
    listener.note(f"4/6 denoising a shot of {TEST_SCENE}, which the model never saw")
    shot = shots / "test" / f"{TEST_SCENE}_iso{ISOS[1]}" / "frame_000.dng"
    for suffix in ("dng", "tif"):
        denoise_session([shot], folder / f"denoised.{suffix}", Denoisers([model]))
    listener.note(f"5/6 merging the whole burst of {TEST_SCENE} to one picture")
    merged = merge([shot.parent], folder / "merged.dng", Denoisers([model]), [shots / "darks"])
    listener.note("6/6 scoring against the known clean picture")
    models = {"model": model}
    strengths = model.header.training.baseline_strength
    tests = of_one_sensor(tests)
    rows = list(benchmark_bursts(tests, models, strengths, listener=listener))
    write_rows(folder / "benchmark.jsonl", rows)
    _compare(folder / "before_after.png", shot, folder / "denoised.dng", merged, tests[-1], model)
    report = Report(
        title=f"{camera.name}: the demo",
        series=watcher.series,
        channels=measured_channels(sensor),
        pattern_maps=pattern_maps(sensor),
        training=model.header.training,
        rows=rows,
        model="model",
        crops=crop_sets(tests, models, strengths),
        provenance=provenance(tests, models, rows, "burst-denoise demo"),
    )
    write_report(folder / "report.html", report)
    return DemoResult(rows, _next_steps(folder))


def shoot_scene(camera: SyntheticCamera, scene: str, iso: int, seed: int, place: Path) -> None:
    """Write a burst of the demo as DNG files, with the clean mosaic beside them.

    Parameters
    ----------
    camera : SyntheticCamera
    scene : str
        A picture bundled with scikit-image, by the name of its loader.
    iso, seed : int
    place : Path
        Folder for the files.
    """
    from skimage import data

    picture = _fitted(getattr(data, scene)())
    faults = FAULTS.get((scene, iso), {})
    count = max(FRAMES, 1 + max(faults, default=0))
    frames, clean = shoot(
        camera, scene_from_picture(picture, camera.as_shot_neutral), iso, count, 100 * seed + iso, faults
    )
    _write(place, frames)
    with atomic_write(place / CLEAN_REFERENCE) as aside:
        tifffile.imwrite(aside, clean, compression="zlib")


def _write(place: Path, frames: Sequence[Frame], prefix: str = "") -> None:
    for frame in frames:
        write_dng(place / (prefix + frame.path.name), replace(frame, notes="burst_denoise demo, synthetic camera"))


def _fitted(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return a picture scaled and cut to the size of the sensor."""
    scale = max(SIZE[0] / picture.shape[0], SIZE[1] / picture.shape[1])
    large = cv2.resize(picture, None, fx=scale + 1e-3, fy=scale + 1e-3, interpolation=cv2.INTER_CUBIC)
    top, left = (large.shape[0] - SIZE[0]) // 2, (large.shape[1] - SIZE[1]) // 2
    return large[top : top + SIZE[0], left : left + SIZE[1]].astype(np.uint8)


def _compare(path: Path, shot: Path, denoised: Path, merged: Frame, burst: Burst, model: Model) -> None:
    """Draw the same crop noisy, by tuned NLM, by the model and from the merged burst, all developed by LibRaw."""
    info, clean = burst.info, burst.clean
    assert clean is not None
    counts = ~burst.excluded  # as in the benchmark
    noisy = burst.linear(0)
    strength = model.header.training.baseline_strength[REFERENCE_METHOD]
    filtered = baseline_method(nlm_stabilised, burst.profile, strength)(noisy, burst.frame(0))
    pictures = {
        "one noisy frame": noisy,
        "OpenCV NLM, tuned": filtered,
        "burst_denoise": read_raw(denoised).linear,
        f"{len(burst)} frames merged": merged.linear,
    }
    panels = [
        (
            f"{name}: {psnr_of_mse(mean_squared_error(picture, clean, counts), peak=1):.2f} dB",
            develop(shot, rounded_dn(to_dn(picture, info)))[CROP],
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
Look at  {folder}/report.html        all of it on one page: the sensor, the gain with intervals, before and after
         {folder}/before_after.png   one frame, NLM, burst_denoise and the merged burst
         {folder}/denoised.dng       opens in any raw converter; denoised.tif is LibRaw's development of it
         {folder}/merged.dng         all frames of the burst as one picture
         {folder}/benchmark.jsonl    the table above, for machines

With your own camera: put it on a tripod, set RAW, a high ISO, manual exposure and focus, and take 10 to 14 frames
each of a few still, varied scenes with a remote release. Then (after `. .venv/bin/activate`, if make installed it)

  burst-denoise inspect FOLDER                                   are the frames usable, and if not, why?
  burst-denoise calibrate FOLDER -o my_camera.safetensors        five minutes
  burst-denoise denoise SHOTS -m my_camera.safetensors -o OUT    denoised DNGs
  burst-denoise merge BURST -m my_camera.safetensors -o ONE.dng  a whole burst as one picture"""
