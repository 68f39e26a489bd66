"""The job before all others: whatever the user names, as opened bursts of one sensor."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile

from burst_denoise.arrays import Float
from burst_denoise.burst.darks import DarkSet, dark_for, read_darks, refuse_other_sensor
from burst_denoise.burst.grouping import (
    CLEAN_REFERENCE,
    LARGEST_BLACK_CHANGE,
    Series,
    find_sources,
    group_series,
    read_frames,
)
from burst_denoise.burst.series import SeriesVerdict, check_frames
from burst_denoise.burst.store import BURST_SUFFIX, Burst, find_bursts, open_burst, split_inputs, store_burst
from burst_denoise.errors import BurstDenoiseError, IncompatibleFramesError, InputFileError, TooFewFramesError
from burst_denoise.files import created_parents, refuse_existing
from burst_denoise.frame.frame import Frame, to_linear
from burst_denoise.schemas import FrameInfo
from burst_denoise.sensor.defects import find_defects
from burst_denoise.sensor.moments import frame_moments
from burst_denoise.sensor.photon_transfer import fit_noise_profile
from burst_denoise.sensor.prnu_from_scenes import SceneMean

__all__ = ["ingest", "inspect", "open_inputs"]

MEASURED_SIDE = 1024

Report = Callable[[SeriesVerdict], None]
Note = Callable[[str], None]


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


def ingest(
    inputs: Sequence[Path],
    folder: Path,
    limit: int,
    report: Report,
    darks: Sequence[Path] = (),
    note: Note = lambda _: None,
) -> list[Burst]:
    """Judge every series in files and folders and store the accepted ones as bursts.

    Parameters
    ----------
    inputs, limit, report
        As for `inspect`.
    folder : Path
        Where the bursts go, one folder ``NAME.burst`` each. One that is there already is opened, if it came from the
        same frames and darks, and not written again.
    darks : sequence of Path
        Dark frames of the same sensor, files or folders. Their defects are repaired in all bursts; their mean is
        subtracted from bursts of equal ISO and exposure. They are no frames of a burst even if ``inputs`` holds them.
    note : callable
        Called with a line of text about every burst from which no dark is subtracted though there are darks.

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
    dark_sets = read_darks(darks)
    found = group_series(_without(find_sources(inputs), darks))
    for series in found if dark_sets else ():
        refuse_other_sensor(dark_sets[0].path, dark_sets[0].info, series.paths[0], series.info)
    _refuse_mixture([(series.info, series.paths[0]) for series in found])
    places = [folder / (series.name.replace("/", "_") + BURST_SUFFIX) for series in found]
    for place in places:
        if not find_bursts(place):
            refuse_existing(place)
    bursts: list[Burst] = []
    refused: list[SeriesVerdict] = []
    written: list[Path] = []
    with created_parents(places[0]):
        try:
            for series, place in zip(found, places, strict=True):
                verdict, frames = _check(series, limit)
                report(verdict)
                if not verdict.accepted:
                    refused.append(verdict)
                    continue
                accepted = _accepted(frames, verdict)
                dark = _dark_of(series, dark_sets, note)
                defects = _defects(accepted, verdict, dark, dark_sets)
                if find_bursts(place):
                    bursts.append(_known_burst(place, accepted, verdict, dark, defects))
                    continue
                clean = _clean_reference(series)
                bursts.append(
                    store_burst(
                        place, series.name, accepted, verdict.frames, verdict.mu, verdict.sigma, clean, defects, dark
                    )
                )
                written.append(place)
            if not bursts:
                _refuse(refused)
        except BurstDenoiseError:
            for place in written:
                shutil.rmtree(place, ignore_errors=True)
            raise
    return bursts


def open_inputs(
    inputs: Sequence[Path],
    folder: Path,
    limit: int,
    report: Report,
    darks: Sequence[Path] = (),
    note: Note = lambda _: None,
) -> list[Burst]:
    """Return the bursts that inputs name: stored bursts as they are, anything else ingested into ``folder``.

    A folder that holds stored bursts is taken for those alone; ``darks`` serve what is ingested. Raises what `ingest`
    raises, and `BurstStoreError`.
    """
    stored, loose = split_inputs(inputs)
    bursts = [open_burst(path) for path in stored]
    if loose:
        bursts += ingest(loose, folder, limit, report, darks, note)
    elif darks:
        note("stored bursts keep the darks that they were ingested with; the dark frames given now are not used")
    if not bursts:
        raise InputFileError("no input given; name frames, folders or stored bursts")
    _refuse_mixture([(burst.info, burst.folder) for burst in bursts])
    return bursts


def _check(series: Series, limit: int) -> tuple[SeriesVerdict, list[Frame]]:
    frames, left_out = read_frames(series, limit)
    return check_frames(series.name, frames, series.incompatible, left_out), frames


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
    # Verdicts on incompatible frames, which were never read, come after those on the frames.
    return [frame for frame, found in zip(frames, verdict.frames, strict=False) if found.accepted]


def _without(sources: Sequence[Path], darks: Sequence[Path]) -> list[Path]:
    """Return the sources that are no dark frames."""
    dark_paths = set(find_sources(darks)) if darks else set()
    left = [path for path in sources if path not in dark_paths]
    if not left:
        raise InputFileError("all frames given are dark frames; name the bursts too")
    return left


def _dark_of(series: Series, darks: Sequence[DarkSet], note: Note) -> Float | None:
    """Return the dark offsets to subtract from a series, or None, which is told if there are darks."""
    info = series.info
    master = dark_for(darks, info)
    if master is None and darks:
        there = ", ".join(f"ISO {dark.info.iso or 0:g} at {dark.info.exposure_s or 0:g} s" for dark in darks)
        note(
            f"{series.name}: shot with ISO {info.iso or 0:g} at {info.exposure_s or 0:g} s, the dark frames with "
            f"{there}; their defects are repaired, but no dark is subtracted"
        )
    return None if master is None else master.offset


def _defects(
    accepted: Sequence[Frame], verdict: SeriesVerdict, dark: Float | None, darks: Sequence[DarkSet]
) -> npt.NDArray[np.bool_]:
    """Return the defects that darks and one burst reveal."""
    info, mosaic = accepted[0].info, accepted[0].mosaic
    gains = [found.gain or 1.0 for found in verdict.frames if found.accepted]

    def frames() -> Iterator[Float]:
        for frame, gain in zip(accepted, gains, strict=True):
            yield (frame.linear if dark is None else frame.linear - dark) / np.float32(gain)

    masters = [found.master for found in darks]
    # To tell a defect from noise, the middle of the frame says enough about the noise, in a tenth of the time.
    top, left = (max(0, size - MEASURED_SIDE) // 4 * 2 for size in (info.height, info.width))
    middle = (..., slice(top, top + MEASURED_SIDE), slice(left, left + MEASURED_SIDE))
    try:
        profile = fit_noise_profile([(frame[middle].copy() for frame in frames())], mosaic, info.iso)
    except ValueError:  # all overexposed
        return find_defects(mosaic, masters) if masters else np.zeros(accepted[0].dn.shape, np.bool_)
    moments = frame_moments(frames())
    mean, variance = moments.mean.astype(np.float32), moments.variance.astype(np.float32)
    return find_defects(mosaic, masters, [SceneMean(mean, len(accepted), profile, variance)])


def _known_burst(
    place: Path,
    accepted: Sequence[Frame],
    verdict: SeriesVerdict,
    dark: Float | None,
    defects: npt.NDArray[np.bool_],
) -> Burst:
    """Open a burst that an earlier call stored; `OutputError` if it holds other frames, darks or defects."""
    burst = open_burst(place)
    same = burst.manifest.frames == verdict.frames and _equal(burst.dark, dark)
    # Bursts of earlier versions have no map.
    same = same and (burst.defects is None or _equal(burst.defects, defects))
    if not (same and all(np.array_equal(burst.frame(i).dn, frame.dn) for i, frame in enumerate(accepted))):
        refuse_existing(place)
    return burst


def _equal(one: npt.NDArray[np.generic] | None, other: npt.NDArray[np.generic] | None) -> bool:
    return one is other is None or (one is not None and other is not None and np.array_equal(one, other))


def _clean_reference(series: Series) -> Float | None:
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
