"""The job `merge`: one clean frame from all frames of a burst that show the same scene."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from burst_denoise import __version__
from burst_denoise.burst.burst import Burst
from burst_denoise.burst.darks import read_darks
from burst_denoise.burst.frames_on_disk import KeptFrame
from burst_denoise.burst.merging import merge_frames
from burst_denoise.burst.moved_frames import MovedFrame, move_into_place
from burst_denoise.burst.series_verdict import SeriesVerdict
from burst_denoise.burst.store import pooled_by_iso
from burst_denoise.errors import SeriesError
from burst_denoise.files import refuse_existing, temporary_folder
from burst_denoise.frame.frame import Frame
from burst_denoise.inference.denoiser import Denoiser
from burst_denoise.io.exiftool import exiftool_on_path
from burst_denoise.io.metadata import DARK_MARK, DENOISED_MARK
from burst_denoise.io.write import refuse_unwritable, write_frame
from burst_denoise.jobs.ingest import IngestSettings, open_inputs
from burst_denoise.jobs.listener import Listener
from burst_denoise.model.prior import why_no_prior
from burst_denoise.session.denoisers import Denoisers

__all__ = ["MergeInputs", "merge", "merge_burst", "merge_inputs"]

NOTABLE_SHARE = 0.001
"""Share of a frame missing from the mean from which on it is reported."""


@dataclass(frozen=True)
class MergeInputs:
    """What one series has become before it is merged."""

    burst: Burst
    source: Path | None
    """The file of its first frame, whose tags a result has; None for a stored burst."""
    moved: Sequence[MovedFrame]
    """Frames of it that are none of the burst, because the camera had moved by whole pairs of photosites."""


def merge(
    inputs: Sequence[Path],
    output: Path,
    denoisers: Denoisers | None,
    darks: Sequence[Path] = (),
    settings: IngestSettings = IngestSettings(),
    listener: Listener = Listener(),
) -> Frame:
    """Merge the frames of one burst, denoise the mean and write it; each file is decoded once.

    Parameters
    ----------
    inputs : sequence of Path
        Frames or a folder of them, or a stored burst: one series.
    output : Path
        ``.dng`` for raw frames, ``.tif`` or ``.png`` for pictures and, developed by LibRaw, for raw files; must not
        exist. It has all that the first frame's file says.
    denoisers : Denoisers or None
        What denoises the mean, the first that fits; None leaves it as it is. Without a model there is a network for raw
        frames and pictures of 16 bits in linear light.
    darks : sequence of Path
        Dark frames of the camera; see `burst_denoise.jobs.ingest.ingest`.
    settings : IngestSettings
    listener : Listener
        Hears the verdict on each series, which frames were moved into place, and where frames have no part.

    Raises
    ------
    SeriesError
        If the inputs are several series.
    OutputError
        If ``output`` exists or cannot be written, or frames of this kind cannot become one.
    BurstDenoiseError
        Whatever is wrong with the inputs.
    """
    refuse_existing(output)
    with temporary_folder() as name, exiftool_on_path() as exiftool:
        folder = Path(name)
        given = merge_inputs(inputs, folder, darks, settings, listener)
        source, first = given.source, given.burst.frame(0)
        refuse_unwritable(first, output, source)
        denoiser = None
        if denoisers is not None:
            denoiser = denoisers.serving(first.info, first.path.name, alone=True).denoiser
        merged = merge_burst(given.burst, denoiser, given.moved, listener)
        warning = write_frame(merged, output, source, exiftool)
        if warning:
            listener.note(f"{output.name}: exiftool: {warning}")
    return merged


def merge_inputs(
    inputs: Sequence[Path],
    folder: Path,
    darks: Sequence[Path] = (),
    settings: IngestSettings = IngestSettings(),
    listener: Listener = Listener(),
) -> MergeInputs:
    """Judge the one series that inputs name, and return it ready to be merged.

    Parameters
    ----------
    inputs, darks, settings, listener
        As for `merge`, whose errors are those of this one, too, but for those of the output.
    folder : Path
        For the frames; needed as long as the burst is.
    """
    series = _SeriesFiles(listener, folder)
    bursts = open_inputs(inputs, folder / "bursts", read_darks(darks), settings, series).bursts
    if len(bursts) > 1:
        names = ", ".join(burst.name for burst in bursts)
        raise SeriesError(f"{len(bursts)} series were accepted ({names}), and one is merged at a time; name one")
    burst = pooled_by_iso(bursts)[0]
    return MergeInputs(burst, series.first.get(burst.name), series.moved(burst))


def merge_burst(
    burst: Burst,
    denoiser: Denoiser | None,
    moved: Sequence[MovedFrame] = (),
    listener: Listener = Listener(),
) -> Frame:
    """Return the frames of a burst merged and denoised, with the noise profile of what is left.

    Parameters
    ----------
    burst : Burst
    denoiser : Denoiser or None
        What denoises the mean; None leaves it as it is.
    moved : sequence of MovedFrame
        More frames of the scene.
    listener : Listener

    Returns
    -------
    Frame
        float32 DN, with the levels, exposure and colours of the first frame. Photosites that are at the white level in
        every frame are there in the mean too.
    """
    mean = merge_frames(burst, moved=moved)
    names = [frame.path.name for frame in map(burst.frame, range(len(burst)))] + [frame.name for frame in moved]
    for name, share in zip(names, mean.left_out, strict=True):
        if share > NOTABLE_SHARE:
            listener.note(f"{name}: {share:.1%} of it shows something else than the other frames and is left out")
    notes = f"{DENOISED_MARK}: version {__version__}; mean of {len(names)} frames"
    if burst.dark is not None:
        notes += f"; {DARK_MARK}"
    merged = Frame.of_linear(mean.mean, burst.frame(0), notes).with_profile(mean.profile)
    if denoiser is None:
        return merged
    if denoiser.model is None and (reason := why_no_prior(burst.info, denoiser.settings.quality)) is not None:
        listener.note(f"the mean is left as it is: {burst.name} {reason}")
        return merged
    return denoiser.merged(merged)


class _SeriesFiles(Listener):
    """Keeps of each accepted series where its first frame lies, and the frames that have moved; hands all on."""

    def __init__(self, listener: Listener, folder: Path) -> None:
        self._listener, self._folder = listener, folder
        self._moved: dict[str, list[KeptFrame]] = {}
        self.first: dict[str, Path] = {}
        """First file of each series, by its name."""

    def on_series(self, verdict: SeriesVerdict, frames: Sequence[Frame]) -> None:
        """Keep what has moved, while it is at hand."""
        self._listener.on_series(verdict, frames)
        if not verdict.accepted:
            return
        found = list(zip(frames, verdict.frames, strict=False))  # those that do not fit the series come last
        self.first[verdict.series] = next(frame.path for frame, of in found if of.accepted)
        apart = [frame for frame, of in found if of.reasons == ("shift",)]
        self._moved[verdict.series] = [
            KeptFrame.keep(frame, self._folder / f"{len(self._moved)}-{number}.dn")
            for number, frame in enumerate(apart)
        ]

    def note(self, text: str) -> None:
        """Hand it on."""
        self._listener.note(text)

    def moved(self, burst: Burst) -> list[MovedFrame]:
        """Return the frames of a series that had moved by whole pairs of photosites, in their place; tell of them."""
        apart = self._moved.get(burst.name)
        if not apart:
            return []
        placed: list[MovedFrame] = []
        mean = burst.mean()
        for kept in apart:
            try:
                moved = move_into_place(kept.frame, burst, mean, self._folder)
            except SeriesError:  # the verdict has told why it is no frame of the series
                continue
            self._listener.note(f"{moved.name}: moved back by ({moved.down}, {moved.right}) photosites and merged too")
            placed.append(moved)
        return placed
