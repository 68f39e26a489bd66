"""What a session of shots costs: processor seconds of each stage of a shot, megapixels a second, memory.

    python -m experiments.bench_session [FOLDER] [--shots 10] [--megapixels 24] [--threads 2] [--rounds 3]

The shots are lossless DNGs of a synthetic camera, each with noise of its own; FOLDER keeps them, and the model, for the
next run. Everything is measured with a model of that camera (the prior under the name of the sensor, with the noise and
the map of defects of a burst of 20) and without one.

Pure inference is `denoise_image` of a decoded shot in memory: its tiles cut out, stabilised, through the network, the
change taken back and added. No reading, no dark, no defects, no means of planes, no rounding, no writing. Of it the
engine, that is the frequency split and the convolutions, stands beside. The stages run on one thread. Sessions are the
command `denoise` as a process, its start counted; each is timed between two rounds of pure inference. The share of the
processor seconds stands beside that of the time: other work on the machine moves it less.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import psutil
import torch

from burst_denoise.burst.store import open_burst
from burst_denoise.frame.synthetic import SyntheticCamera, shoot
from burst_denoise.inference.denoiser import Denoiser
from burst_denoise.inference.engine import Engine, fastest_engine
from burst_denoise.inference.tiles import denoise_image
from burst_denoise.io.dng import write_dng
from burst_denoise.io.exiftool import exiftool_on_path
from burst_denoise.io.raw import read_raw
from burst_denoise.io.write import write_frame
from burst_denoise.model.device import compute_dtype
from burst_denoise.model.model_file import load_model, model_of
from burst_denoise.model.prior import load_prior
from burst_denoise.schemas import TrainingRecord, TrainSettings

CPU = torch.device("cpu")
ISO = 1600
BURST = 20
"""Frames of the burst that is ingested."""
LARGE_MEGAPIXELS = 100
REPEATED = 8
"""Times that a small frame is repeated along each side: large ones are made in a moment."""
MEMORY_INTERVAL_S = 0.02


class Ran(NamedTuple):
    """What a command cost, with all processes that it started."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    """Highest sum of the resident memory of all processes; what they share counts for each."""

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, {self.cpu_seconds:.1f} processor seconds, at most {self.peak_bytes / 1e6:.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--shots", type=int, default=10)
    parser.add_argument("--megapixels", type=float, default=24)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # of the commands
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        frames = _shots(folder / "frames", max(options.shots, BURST), options.megapixels)
        model = folder / "model.safetensors"
        if not model.exists():
            _ingest(frames[:BURST], folder / "bursts", model)
        _stages(frames[0], model, options.rounds)
        _sessions(frames[: options.shots], model, options.threads, options.rounds)
        (large,) = _shots(folder / "large", 1, LARGE_MEGAPIXELS)
        print(f"a shot of {LARGE_MEGAPIXELS} megapixels: {_run('denoise', large, '-o', Path(temporary) / 'large')}")


def _shots(folder: Path, count: int, megapixels: float) -> list[Path]:
    """Return DNGs of one scene, made where they are not there yet."""
    height = round((megapixels * 1e6 / 1.5) ** 0.5 / REPEATED / 2) * 2
    y, x = np.mgrid[:height, : height * 3 // 4 * 2]
    light = 0.3 + 0.2 * np.sin(x / 9) * np.cos(y / 7) + 0.2 * ((x + y) % 40 > 20)
    scene = (light[..., None] * np.array([0.5, 1, 0.7])).astype(np.float32)
    if not folder.exists():
        for frame in shoot(SyntheticCamera(), scene, ISO, count, 0)[0]:
            dn = np.tile(frame.dn, (REPEATED, REPEATED))
            info = frame.info.model_copy(update={"height": dn.shape[0], "width": dn.shape[1]})
            write_dng(folder / frame.path.name, replace(frame, dn=dn, info=info))
    return sorted(folder.iterdir())[:count]


def _ingest(frames: Sequence[Path], folder: Path, model: Path) -> None:
    """Print what it costs to make a burst of frames, and write a model of its sensor."""
    print(f"ingest of {len(frames)} frames: {_run('ingest', *frames, '-o', folder)}")
    (place,) = folder.iterdir()
    burst = open_burst(place)
    record = TrainingRecord(
        settings=TrainSettings(steps=1), steps_done=0, best_step=0, start_psnr_db=40.0, best_psnr_db=40.0,
        bursts=(burst.name,), burst_sha256=burst.manifest.sha256, versions={}, seconds=0.0, baseline_strength={},
    )  # fmt: skip
    model_of(load_prior("bayer", CPU).network, [burst], record).save(model)


def _stages(path: Path, model: Path, rounds: int) -> None:
    """Print the processor seconds of every stage of a shot, on one thread."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    frame, loaded = read_raw(path), load_model(model, CPU)
    with_model, alone, image = Denoiser(loaded), Denoiser(), frame.linear
    engine, profile = _engine(), loaded.profile_for(frame.info, path.name)
    clean = with_model(frame)
    in_engine: list[float] = []

    def run(planes: torch.Tensor) -> torch.Tensor:
        began = time.process_time()
        denoised = engine.run(planes)
        in_engine.append(time.process_time() - began)
        return denoised

    timed = replace(engine, run=run)
    with tempfile.TemporaryDirectory() as folder, exiftool_on_path() as exiftool:
        targets = (Path(folder) / f"{number}.dng" for number in range(rounds + 1))
        works: dict[str, Callable[[], object]] = {
            "read": lambda: read_raw(path),
            "denoise with a model": lambda: with_model(frame),
            "denoise without": lambda: alone(frame),
            "pure inference": lambda: denoise_image(image, frame.mosaic, timed, profile),
            "write": lambda: write_frame(clean, next(targets), path, exiftool),
        }
        seconds: dict[str, list[float]] = {name: [] for name in works}
        for number in range(rounds + 1):
            for name, work in works.items():
                began = _processor_seconds()
                work()
                if number:  # the first round warms up
                    seconds[name].append(_processor_seconds() - began)
    print(f"processor seconds of a shot of {frame.dn.size / 1e6:.1f} megapixels, {engine.name}, one thread:")
    for name, times in seconds.items():
        print(f"  {name:21s} {statistics.median(times):6.2f}")
    print(f"  {'of it the engine':21s} {sum(in_engine) / (rounds + 1):6.2f}")


def _sessions(shots: Sequence[Path], model: Path, threads: int, rounds: int) -> None:
    """Print how fast a session is, and what share that is of pure inference in the same minute."""
    torch.set_num_threads(threads)
    frame, engine = read_raw(shots[0]), _engine()
    image, profile = frame.linear, load_model(model, CPU).profile_for(frame.info, shots[0].name)
    megapixels = image.size / 1e6

    def inference() -> np.ndarray:
        """Return seconds and processor seconds."""
        began = np.array([time.perf_counter(), time.process_time()])
        denoise_image(image, frame.mosaic, engine, profile)
        return np.array([time.perf_counter(), time.process_time()]) - began

    inference()
    ways: dict[str, tuple[object, ...]] = {"with a model": ("-m", model), "without": ()}
    shares: dict[str, list[np.ndarray]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, arguments in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                before = inference()
                ran = _run("denoise", *shots, "-o", Path(folder) / "clean", *arguments)
                alone = (before + inference()) / 2
            shares[name].append(alone * len(shots) / (ran.seconds, ran.cpu_seconds))
            rates = megapixels / np.array([ran.seconds / len(shots), alone[0]])
            print(f"{name}: {rates[0]:.2f} megapixels a second, pure inference {rates[1]:.2f}; {ran}", flush=True)
    for name, found in shares.items():
        rate, cpu = np.median(found, axis=0)
        print(f"{len(shots)} shots {name}: {rate:.2f} of pure inference, by processor seconds {cpu:.2f}")


def _engine() -> Engine:
    return fastest_engine(load_prior("bayer", CPU).network, compute_dtype(CPU))


def _run(*arguments: object) -> Ran:
    """Run a command of the program to its end."""
    before, began, peak = _ended_children(), time.perf_counter(), 0
    with tempfile.TemporaryFile() as said:
        command = [sys.executable, "-m", "burst_denoise", *map(str, arguments)]
        process = psutil.Popen(command, stdout=said, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = max(peak, sum(_resident(each) for each in (process, *process.children(recursive=True))))
            time.sleep(MEMORY_INTERVAL_S)
        seconds = time.perf_counter() - began
        if process.returncode:
            said.seek(0)
            raise RuntimeError(said.read().decode())
    return Ran(seconds, _ended_children() - before, peak)


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _processor_seconds() -> float:
    """Return those of this process and of what it started and still runs."""
    children = (child.cpu_times() for child in psutil.Process().children(recursive=True))
    return time.process_time() + sum(times.user + times.system for times in children)


def _ended_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
