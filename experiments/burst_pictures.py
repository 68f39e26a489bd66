"""Tripod bursts as the pictures of `experiments.pictures`: half-size RGB bursts, and the data set they train with."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

import burst_denoise as bd
from burst_denoise.arrays import Float, Mask
from burst_denoise.burst.store import open_burst, pooled_by_iso, store_burst
from burst_denoise.files import atomic_write
from burst_denoise.model.pairs import held_out
from burst_denoise.sensor.prnu_from_scenes import scene_numbers
from experiments.pictures import MOST_SIDE, DataSet, Scene, ValidationPair, centre, encoded, noise_std, random_pairs

__all__ = ["half_size", "picture_burst", "scene_name", "series_data_set", "split_by_scene"]

CONTEXT = 64
"""Columns left of the held-out ones that a network may look at when it is validated."""
GUARD = 8
"""Columns between those trained on and those held out."""


def scene_name(burst: bd.Burst) -> str:
    """Return the name of the scene of a burst: that of the burst without an ISO at its end."""
    return re.sub(r"[_ -]*iso[_ -]*\d+$", "", burst.name, flags=re.IGNORECASE)


def split_by_scene(bursts: Sequence[bd.Burst], scored: Sequence[str] = ()) -> tuple[list[bd.Burst], list[bd.Burst]]:
    """Return the bursts to train on and those to be scored on: all of the scene that comes last by name.

    Parameters
    ----------
    bursts : sequence of Burst
    scored : sequence of str
        Names of the bursts to be scored on instead; for bursts whose names do not tell that they show one scene.

    Raises
    ------
    SeriesError
        If a name is that of no burst, no burst is left to train on, or one shows a scene that is scored on.
    """
    names = [burst.name for burst in bursts]
    if unknown := set(scored) - set(names):
        raise bd.SeriesError(f"{min(unknown)}: is none of the bursts, {', '.join(names)}")
    last = max(scene_name(burst) for burst in bursts)
    chosen = scored or [burst.name for burst in bursts if scene_name(burst) == last]
    training = [burst for burst in bursts if burst.name not in chosen]
    if not training:
        raise bd.SeriesError(f"{last}: one scene only; a comparison trains on some scenes and scores on another")
    held_out = [burst for burst in bursts if burst.name in chosen]
    for burst, other in product(held_out, training):
        alike = burst.info.domain == other.info.domain and burst.saturated.shape == other.saturated.shape
        if alike and scene_numbers([burst.mean(), other.mean()], burst.mosaic) == [0, 0]:
            raise bd.SeriesError(
                f"{burst.name}: shows the scene of {other.name}, which would be trained on; name all bursts of one "
                "scene by --scored"
            )
    return training, held_out


def picture_burst(burst: bd.Burst, folder: Path) -> bd.Burst:
    """Return a burst as pictures: of a raw one the half-size RGB pictures of its frames, stored in ``folder``.

    Its clean reference goes with it. Pictures larger than `MOST_SIDE` are cut to their centre. A folder that is there
    already is opened.

    Raises
    ------
    SeriesError
        If the frames are monochrome.
    """
    if burst.info.domain == "mono":
        raise bd.SeriesError(f"{burst.name}: is monochrome; the earlier systems are for colour pictures")
    if folder.exists():
        return open_burst(folder)
    # Dark subtracted, gain evened and greens averaged, saturated pixels need not reach the white level any more.
    saturated = half_size(burst, burst.saturated.astype(np.float32)) > 0
    frames = [_frame(burst, index, saturated) for index in range(len(burst))]
    kept = [
        verdict.model_copy(update={"gain": None, "plane_gains": None})
        for verdict in burst.verdict.frames
        if verdict.accepted
    ]
    clean = None if burst.clean is None else half_size(burst, burst.clean)
    return store_burst(folder, frames, replace(burst.verdict, info=frames[0].info, frames=tuple(kept)), clean)


def _frame(burst: bd.Burst, index: int, saturated: Mask) -> bd.Frame:
    picture, frame = half_size(burst, burst.linear(index)), burst.frame(index)
    picture = np.where(saturated, np.maximum(picture, np.float32(1)), picture)
    says = {"domain": "rgb", "cfa": None, "height": picture.shape[1], "width": picture.shape[2]}
    levels = {"black_level": (0.0, 0.0, 0.0), "white_level": 1.0, "noise_profile": None}
    return bd.Frame(picture, frame.info.model_copy(update=says | levels), frame.path)


def half_size(burst: bd.Burst, linear: Float) -> Float:
    """Return the centre of the half-size picture of a mosaic, or of a picture, linear."""
    picture = burst.mosaic.colour_planes(burst.mosaic.pack(linear))
    return np.ascontiguousarray(centre(picture, MOST_SIDE), np.float32)


def series_data_set(name: str, bursts: Sequence[bd.Burst]) -> DataSet:
    """Return what systems are trained with on bursts of pictures: all but the right eighth of each, which validates.

    Every frame is paired with the mean of the others of its burst, averaged in linear light. Two frames of each burst
    validate, on photosites that no training sees and that no frame shows saturated.
    """
    scenes, validation = [], []
    for burst in pooled_by_iso(bursts):
        columns, (noisy, target) = held_out(burst), _training_pairs(burst)
        trained = (..., slice(0, columns.start - GUARD))
        scenes.append(Scene(burst.name, noisy[trained], target[trained], noise_std(burst.profile)))
        seen = (..., slice(columns.start - CONTEXT, columns.stop))
        counts = ~burst.excluded[seen]
        counts[..., :CONTEXT] = False
        for index in (0, len(burst) // 2):
            validation.append(ValidationPair(np.array(noisy[index][seen]), np.array(target[index][seen]), counts))
    return DataSet(name, random_pairs(tuple(scenes)), tuple(validation), tuple(scenes))


def _training_pairs(burst: bd.Burst) -> tuple[Float, Float]:
    """Return every frame of a burst and the mean of the others, encoded, (N, 3, H, W) each.

    They lie in a file beside the burst, which all processes that train on it share: in memory they would be a gigabyte
    for forty frames of the largest size, for each process.
    """
    digest = hashlib.sha256(burst.profile.model_dump_json().encode()).hexdigest()[:12]
    path = burst.folder.with_name(f"{burst.folder.stem}-{digest}.npy")
    if not path.exists():
        shape = (2, len(burst), 3, burst.info.height, burst.info.width)
        with atomic_write(path, overwrite=True) as aside:  # another process may have been faster
            pairs = np.lib.format.open_memmap(aside, mode="w+", dtype=np.float32, shape=shape)
            for index in range(len(burst)):
                pairs[0, index] = encoded(burst.linear(index), burst.profile)
                pairs[1, index] = encoded(burst.leave_one_out_mean(index), burst.profile)
            pairs.flush()
    noisy, target = np.asarray(np.load(path, mmap_mode="r"))
    return noisy, target
