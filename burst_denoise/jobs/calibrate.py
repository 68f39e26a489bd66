"""The calibration of a sensor: frames in, a model out."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from burst_denoise.arrays import Float, Mask
from burst_denoise.burst.burst import Burst
from burst_denoise.burst.darks import read_darks
from burst_denoise.burst.grouping import find_sources
from burst_denoise.burst.one_sensor import of_one_sensor
from burst_denoise.burst.store import WORK_SUFFIX, find_bursts
from burst_denoise.errors import BurstDenoiseError, ConfigError, OutputError, SeriesError
from burst_denoise.files import atomic_write, created_parents, refuse_existing
from burst_denoise.frame.geometry import blocks, centre_window
from burst_denoise.jobs.ingest import IngestSettings, open_inputs
from burst_denoise.jobs.listener import Listener
from burst_denoise.model.model_file import Model, model_of
from burst_denoise.model.pairs import GUARD, held_out, noise_of
from burst_denoise.model.train import train
from burst_denoise.schemas import NoiseStructure, TrainSettings
from burst_denoise.score.tuning import tuned_strengths
from burst_denoise.sensor.noise_model import noise_variance
from burst_denoise.sensor.noise_structure import noise_structure

__all__ = ["calibrate", "calibrate_bursts"]

STRUCTURE_SIDE, STRUCTURE_FRAMES = 1024, 4
"""Photosites along a side of the window, and frames of each burst at most, that tell the structure of the noise."""
DARK_SIDE, LEAST_BLACK_ERROR = 8, 0.3
"""Plane pixels along a side of a dark part, and how far below black it must lie, in units of one frame's noise there:
the mean of 64 pixels in three frames varies by 0.07."""


def calibrate(
    inputs: Sequence[Path],
    output: Path,
    darks: Sequence[Path],
    settings: TrainSettings,
    device: torch.device,
    ingest_settings: IngestSettings = IngestSettings(),
    listener: Listener = Listener(),
) -> Model:
    """Make a model of one sensor from frames, folders or stored bursts, and write it.

    Parameters
    ----------
    inputs : sequence of Path
        Files, folders (searched recursively) or stored bursts of one camera.
    output : Path
        The model file to write; must not exist. Work in progress lies beside it, in ``OUTPUT.work``, until the model is
        written: killed at any moment, the same call goes on where it was. After an error that folder is kept only if
        it holds a checkpoint, which is work worth keeping.
    darks : sequence of Path
        Dark frames of the camera; see `burst_denoise.jobs.ingest.ingest`.
    settings : TrainSettings
    device : torch.device
    ingest_settings : IngestSettings
    listener : Listener
        Hears the verdict on each series, and of every training step.

    Returns
    -------
    Model

    Raises
    ------
    OutputError
        If ``output`` exists or cannot be written, or its work folder belongs to another calibration.
    BurstDenoiseError
        Whatever is wrong with the inputs.
    """
    refuse_existing(output)
    job = _job(inputs, darks, ingest_settings)
    work = output.with_name(output.name + WORK_SUFFIX)
    checkpoint = work / "checkpoint.safetensors"
    with created_parents(work):
        _claim(work, job)
        try:
            opened = open_inputs(inputs, work / "bursts", read_darks(darks), ingest_settings, listener)
            bursts = of_one_sensor(opened.bursts)
            model = calibrate_bursts(bursts, settings, device, checkpoint, listener)
            model.save(output)
        except BurstDenoiseError:
            if not checkpoint.exists():
                shutil.rmtree(work, ignore_errors=True)
            raise
    shutil.rmtree(work, ignore_errors=True)
    return model


def calibrate_bursts(
    bursts: Sequence[Burst],
    settings: TrainSettings,
    device: torch.device,
    checkpoint: Path,
    listener: Listener = Listener(),
) -> Model:
    """Make a model of one sensor from its bursts.

    Parameters
    ----------
    bursts : sequence of Burst
        Pooled by ISO, defects shared.
    settings : TrainSettings
    device : torch.device
    checkpoint : Path
        Where the state of the training lives; if it exists, the training goes on from it.
    listener : Listener

    Raises
    ------
    ConfigError, SeriesError
        If no network of these settings can learn from these bursts.
    """
    _refuse_untrainable(bursts, settings)
    network, record = train(bursts, settings, checkpoint, device, listener.on_progress)
    measured = {
        "baseline_strength": tuned_strengths(bursts),
        "noise_structure": _noise_structure(bursts) if bursts[0].info.domain != "rgb" else None,
    }
    return model_of(network, bursts, record.model_copy(update=measured))


def _noise_structure(bursts: Sequence[Burst]) -> NoiseStructure:
    """Return what the noise of one-layer frames has beside its variance, and how far black is off."""
    errors = [_black_error_dn(burst) for burst in bursts]
    return noise_structure(_noise_fields(bursts)).model_copy(update={"black_error_dn": max(errors, key=abs)})


def _black_error_dn(burst: Burst) -> float:
    """Return by how much the true black level lies above the told one, as far as a burst shows it; else 0.

    Parts of the mean well below black tell that black lies lower; noise that would vanish above black, that it lies
    there, at least.
    """
    info, profile = burst.info, burst.profile
    planes = burst.mosaic.pack(burst.mean())
    darkest = min(float(blocks(plane, DARK_SIDE, DARK_SIDE).mean(axis=(-3, -1)).min()) for plane in planes)
    span = info.white_level - max(info.black_level)
    terms = zip(profile.shot_noise_scale, profile.read_noise_variance, strict=True)
    above = max(-offset / scale if scale > 0 else 0.0 for scale, offset in terms)
    if above > 0:
        return above * span
    at_black = float(np.sqrt(noise_variance(np.zeros((len(planes), 1, 1), np.float32), profile)).max())
    return darkest * span if darkest < -LEAST_BLACK_ERROR * at_black else 0.0


def _noise_fields(bursts: Sequence[Burst]) -> Iterator[tuple[Float, Mask]]:
    """Yield the noise of frames in a window at the centre of every burst, and which photosites count."""
    for burst in bursts:
        whole = [size // 2 * 2 for size in burst.excluded.shape]  # an odd row or column has no other colours beside it
        window = centre_window(tuple(whole), STRUCTURE_SIDE)
        counts = ~burst.excluded[window]
        if counts.any():
            for index in range(min(len(burst), STRUCTURE_FRAMES)):
                yield burst.mosaic.unpack(noise_of(burst, index, window), counts.shape), counts


def _refuse_untrainable(bursts: Sequence[Burst], settings: TrainSettings) -> None:
    """Raise when no network of these settings can learn from these bursts."""
    for burst in bursts:
        info = burst.info
        if settings.preset == "paper" and info.domain != "rgb":
            raise ConfigError(
                f"{burst.name}: the paper preset is for RGB pictures, these frames are {info.domain}; "
                "use the fast preset"
            )
        least = burst.mosaic.period * (settings.patch + 2) - 2
        if min(info.height, held_out(burst).start - GUARD) < least:
            raise SeriesError(
                f"{burst.name}: {info.width}x{info.height} photosites are too few; training cuts squares of {least} "
                "from 7/8 of the width; give whole frames"
            )


def _job(inputs: Sequence[Path], darks: Sequence[Path], settings: IngestSettings) -> str:
    """Return what tells one calibration from another, training apart: its files, the limit and the pause."""
    files = [path for given in inputs for path in (find_bursts(given) or find_sources([given]))]
    kinds = [files, find_sources(darks)] if darks else [files]
    numbers = [settings.limit, settings.pause_s]
    return json.dumps([*numbers, *([(str(path.resolve()), path.stat().st_size) for path in kind] for kind in kinds)])


def _claim(work: Path, job: str) -> None:
    """Make the work folder, or make sure that the one there is ours and of the same job."""
    note = work / "inputs.json"
    if not note.is_file():
        with atomic_write(work) as aside:
            aside.mkdir()
            (aside / note.name).write_text(job, encoding="utf-8")
    elif note.read_text(encoding="utf-8") != job:
        raise OutputError(f"{work}: work folder of a calibration from other inputs; delete it, or name another output")
