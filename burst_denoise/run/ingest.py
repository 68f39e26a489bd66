"""The job before all others: whatever the user names, as opened bursts of one sensor."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tifffile

from burst_denoise.capture.grouping import CLEAN_REFERENCE, Series, find_sources, group_series, read_frames
from burst_denoise.capture.series import SeriesVerdict, check_frames
from burst_denoise.capture.store import BURST_SUFFIX, Burst, find_bursts, open_burst, store_burst
from burst_denoise.config import FrameInfo
from burst_denoise.errors import IncompatibleFramesError, InputFileError, TooFewFramesError
from burst_denoise.sensor.frame import Frame, to_linear

__all__ = ["ingest", "inspect", "open_inputs"]

Report = Callable[[SeriesVerdict], None]


def inspect(inputs: Sequence[Path], limit: int, report: Report) -> None:
    """Judge every series in files and folders; writes nothing.

    Parameters
    ----------
    inputs : sequence of Path
        RAW, picture and video files, and folders that hold them.
    limit : int
        Frames of a series looked at.
    report : callable
        Called with the verdict on each series as soon as it is known.

    Raises
    ------
    InputFileError
        If an input is missing, empty, damaged or of no known kind.
    """
    for series in group_series(find_sources(inputs)):
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
    """
    found = group_series(find_sources(inputs))
    _refuse_mixture([(series.info, series.paths[0]) for series in found])
    bursts, refused = [], []
    for series in found:
        verdict, frames = _check(series, limit)
        report(verdict)
        if not verdict.accepted:
            refused.append(verdict)
            continue
        place = folder / (series.name.replace("/", "_") + BURST_SUFFIX)
        known = open_burst(place) if find_bursts(place) else None
        if known is not None and known.manifest.frames == verdict.frames and _same_pixels(known, frames, verdict):
            bursts.append(known)
            continue
        accepted = [frame for frame, found in zip(frames, verdict.frames, strict=False) if found.accepted]
        clean = _clean_reference(series)
        bursts.append(store_burst(place, series.name, accepted, verdict.frames, verdict.mu, verdict.sigma, clean))
    if not bursts:
        _refuse(refused)
    return bursts


def open_inputs(inputs: Sequence[Path], folder: Path, limit: int, report: Report) -> list[Burst]:
    """Return the bursts that inputs name: stored bursts as they are, anything else ingested into ``folder``.

    A folder that holds stored bursts is taken for those alone. Raises what `ingest` raises, and `BurstStoreError`.
    """
    stored = [path for given in inputs for path in find_bursts(given)]
    loose = [given for given in inputs if not find_bursts(given)]
    bursts = [open_burst(path) for path in dict.fromkeys(stored)]
    if loose:
        bursts += ingest(loose, folder, limit, report)
    if not bursts:
        raise InputFileError("no input given; name frames, folders or stored bursts")
    _refuse_mixture([(burst.info, burst.folder) for burst in bursts])
    return bursts


def _check(series: Series, limit: int) -> tuple[SeriesVerdict, list[Frame]]:
    frames, left_out = read_frames(series, limit)
    return check_frames(series.name, frames, series.incompatible, left_out), frames


def _same_pixels(burst: Burst, frames: Sequence[Frame], verdict: SeriesVerdict) -> bool:
    accepted = [frame for frame, found in zip(frames, verdict.frames, strict=False) if found.accepted]
    return all(np.array_equal(burst.frame(i).dn, frame.dn) for i, frame in enumerate(accepted))


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
        for what in ("camera", "domain", "cfa", "black_level", "white_level"):
            one, other = getattr(first, what), getattr(info, what)
            if one != other:
                raise IncompatibleFramesError(
                    f"{path}: {what.replace('_', ' ')} is {other or 'unknown'}, but {first_path} has "
                    f"{one or 'unknown'}; give the frames of one sensor at a time"
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
