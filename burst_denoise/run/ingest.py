"""The job before all others: whatever the user names, as opened bursts of one sensor."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tifffile

from burst_denoise.capture.grouping import (
    CLEAN_REFERENCE,
    LARGEST_BLACK_CHANGE,
    Series,
    find_sources,
    group_series,
    read_frames,
)
from burst_denoise.capture.series import SeriesVerdict, check_frames
from burst_denoise.capture.store import BURST_SUFFIX, Burst, find_bursts, open_burst, store_burst
from burst_denoise.config import FrameInfo
from burst_denoise.errors import BurstDenoiseError, IncompatibleFramesError, InputFileError, TooFewFramesError
from burst_denoise.files import parents_made, refuse_existing
from burst_denoise.sensor.frame import Frame, to_linear

__all__ = ["ingest", "inspect", "open_inputs", "split_inputs"]

Report = Callable[[SeriesVerdict], None]


def inspect(inputs: Sequence[Path], limit: int, report: Report) -> None:
    """Judge every series in files and folders; writes nothing. Of stored bursts, tell the verdict stored with them.

    Parameters
    ----------
    inputs : sequence of Path
        RAW, picture and video files, folders that hold them, and stored bursts.
    limit : int
        Frames of a series looked at.
    report : callable
        Called with the verdict on each series as soon as it is known.

    Raises
    ------
    InputFileError
        If an input is missing, empty, damaged or of no known kind.
    BurstStoreError
        If a stored burst is damaged.
    """
    stored, loose = split_inputs(inputs)
    for path in stored:
        report(_stored_verdict(open_burst(path)))
    for series in group_series(find_sources(loose)) if loose or not stored else ():
        report(_check(series, limit)[0])


def ingest(inputs: Sequence[Path], folder: Path, limit: int, report: Report) -> list[Burst]:
    """Judge every series in files and folders and store the accepted ones as bursts.

    Parameters
    ----------
    inputs, limit, report
        As for `inspect`.
    folder : Path
        Where the bursts go, one folder ``NAME.burst`` each. One that is there already is opened, if it came from the
        same frames, and not written again.

    Returns
    -------
    list of Burst
        All of one camera and one layout of its sensor.

    Raises
    ------
    IncompatibleFramesError
        If the frames come from several cameras, or no series is left because its frames differ.
    TooFewFramesError
        If no series is accepted.
    OutputError
        If a burst cannot be written, or another one has its name.
    SeriesError
        If frames are copies of each other, or all overexposed.

    Notes
    -----
    After an error nothing is left of what this call wrote; killed, what is whole stays and the same call goes on.
    """
    found = group_series(find_sources(inputs))
    _refuse_mixture([(series.info, series.paths[0]) for series in found])
    places = [folder / (series.name.replace("/", "_") + BURST_SUFFIX) for series in found]
    for place in places:
        if not find_bursts(place):
            refuse_existing(place)
    bursts: list[Burst] = []
    refused: list[SeriesVerdict] = []
    written: list[Path] = []
    with parents_made(places[0]):
        try:
            for series, place in zip(found, places, strict=True):
                verdict, frames = _check(series, limit)
                report(verdict)
                if not verdict.accepted:
                    refused.append(verdict)
                elif find_bursts(place):
                    bursts.append(_known_burst(place, _accepted(frames, verdict), verdict))
                else:
                    bursts.append(_store(place, series, frames, verdict))
                    written.append(place)
            if not bursts:
                _refuse(refused)
        except BurstDenoiseError:
            for place in written:
                shutil.rmtree(place, ignore_errors=True)
            raise
    return bursts


def open_inputs(inputs: Sequence[Path], folder: Path, limit: int, report: Report) -> list[Burst]:
    """Return the bursts that inputs name: stored bursts as they are, anything else ingested into ``folder``.

    A folder that holds stored bursts is taken for those alone. Raises what `ingest` raises, and `BurstStoreError`.
    """
    stored, loose = split_inputs(inputs)
    bursts = [open_burst(path) for path in stored]
    if loose:
        bursts += ingest(loose, folder, limit, report)
    if not bursts:
        raise InputFileError("no input given; name frames, folders or stored bursts")
    _refuse_mixture([(burst.info, burst.folder) for burst in bursts])
    return bursts


def _check(series: Series, limit: int) -> tuple[SeriesVerdict, list[Frame]]:
    frames, left_out = read_frames(series, limit)
    return check_frames(series.name, frames, series.incompatible, left_out), frames


def split_inputs(inputs: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return the stored bursts that inputs name, each once, and the inputs that name none."""
    named = [(given, find_bursts(given)) for given in inputs]
    stored = {path.resolve(): path for _, found in named for path in found}
    return list(stored.values()), [given for given, found in named if not found]


def _stored_verdict(burst: Burst) -> SeriesVerdict:
    manifest = burst.manifest
    return SeriesVerdict(
        series=burst.name,
        info=burst.info,
        accepted=True,
        detail="",
        mu=manifest.mu,
        sigma=manifest.sigma,
        deviations=(),
        frames=manifest.frames,
        left_out=0,
    )


def _accepted(frames: Sequence[Frame], verdict: SeriesVerdict) -> list[Frame]:
    # Verdicts on strays that were never read come after those on the frames.
    return [frame for frame, found in zip(frames, verdict.frames, strict=False) if found.accepted]


def _store(place: Path, series: Series, frames: Sequence[Frame], verdict: SeriesVerdict) -> Burst:
    accepted, clean = _accepted(frames, verdict), _clean_reference(series)
    return store_burst(place, series.name, accepted, verdict.frames, verdict.mu, verdict.sigma, clean)


def _known_burst(place: Path, accepted: Sequence[Frame], verdict: SeriesVerdict) -> Burst:
    """Open a burst that an earlier call stored; `OutputError` if it holds other frames."""
    burst = open_burst(place)
    same = burst.manifest.frames == verdict.frames
    if not (same and all(np.array_equal(burst.frame(i).dn, frame.dn) for i, frame in enumerate(accepted))):
        refuse_existing(place)
    return burst


def _clean_reference(series: Series) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None:
    """Return the clean image beside simulated frames, linear, or None for real ones."""
    path = series.paths[0].parent / CLEAN_REFERENCE
    if not path.exists():
        return None
    try:
        clean = to_linear(tifffile.imread(path), series.info)
    except (ValueError, OSError, tifffile.TiffFileError) as error:
        raise InputFileError(f"{path}: clean reference cannot be read ({error}); repair or remove it") from error
    if clean.shape != (series.info.height, series.info.width):
        raise InputFileError(
            f"{path}: clean reference is {clean.shape}, the frames are {series.info.height}x{series.info.width}; "
            "remove it"
        )
    return clean


def _refuse_mixture(found: Sequence[tuple[FrameInfo, Path]]) -> None:
    """Raise when frames come from several cameras or layouts of one: a model belongs to one sensor."""
    first, first_path = found[0]
    for info, path in found[1:]:
        differing = [
            what for what in ("camera", "domain", "cfa", "white_level") if getattr(first, what) != getattr(info, what)
        ]
        if not differing and not np.allclose(
            first.black_level, info.black_level, rtol=0, atol=LARGEST_BLACK_CHANGE * first.white_level
        ):
            differing = ["black_level"]
        if differing:
            what = differing[0]
            raise IncompatibleFramesError(
                f"{path}: {what.replace('_', ' ')} is {getattr(info, what) or 'unknown'}, but {first_path} has "
                f"{getattr(first, what) or 'unknown'}; give the frames of one sensor at a time"
            )


def _refuse(refused: Sequence[SeriesVerdict]) -> None:
    """Raise the error that says why no series was accepted."""
    worst = refused[0]
    reasons = [f"{frame.file}: {frame.detail}" for frame in worst.frames if not frame.accepted and frame.detail]
    text = f"{worst.series}: {worst.detail}" + (f" ({reasons[0]})" if reasons else "")
    text += "; shoot more frames of a static scene from a tripod"
    if any("incompatible" in frame.reasons for frame in worst.frames):
        raise IncompatibleFramesError(text + " with one camera, ISO and exposure")
    raise TooFewFramesError(text)
