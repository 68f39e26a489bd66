"""The job for a shoot: every shot of a session denoised, each failure named, the rest done."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from burst_denoise.burst.darks import DarkSet
from burst_denoise.errors import BurstDenoiseError, JobError
from burst_denoise.inference.denoiser import Denoiser
from burst_denoise.io.exiftool import exiftool_on_path
from burst_denoise.jobs.listener import Listener
from burst_denoise.session.shots import OutputFormat, find_shots
from burst_denoise.session.workers import denoise_shots

__all__ = ["SessionSettings", "denoise_session"]


@dataclass(frozen=True)
class SessionSettings:
    """Where the results of a session go and which there are."""

    format: OutputFormat | None = None
    """None writes DNG for raw shots and TIFF for pictures."""
    resume: bool = False
    """Pass over shots whose output is there already."""


def denoise_session(
    inputs: Sequence[Path],
    output: Path,
    denoiser: Denoiser,
    darks: Sequence[DarkSet] = (),
    settings: SessionSettings = SessionSettings(),
    listener: Listener = Listener(),
) -> None:
    """Denoise every shot that inputs name.

    Parameters
    ----------
    inputs : sequence of Path
        RAW and picture files, folders (searched recursively) or stored bursts.
    output : Path
        A file, for a single shot, if it has the suffix of a format; otherwise the folder for all results. If that lies
        inside a folder of inputs, what is in it is no input.
    denoiser : Denoiser
    darks : sequence of DarkSet
        Their frames are no shots.
    settings : SessionSettings
    listener : Listener
        Hears of every shot, in order.

    Raises
    ------
    OutputError
        If an output exists and ``settings.resume`` is off, or cannot be what it is named; found before any work.
    JobError
        If some of several shots failed; the others are done.
    BurstDenoiseError
        What went wrong with a single shot, or with the first if all failed.

    Notes
    -----
    The next shot is read and the last one written while one is denoised, in a thread each; never more than these three
    are in memory.
    """
    dark_paths = {path for dark in darks for path in dark.paths}
    again = denoiser.settings.force
    shots = find_shots(inputs, output, settings.format, dark_paths, resume=settings.resume, again=again)
    failures: dict[str, BurstDenoiseError] = {}
    with exiftool_on_path() as exiftool:
        done = denoise_shots(shots, denoiser, exiftool, listener.note, resume=settings.resume)
        for number, (shot, result) in enumerate(done, 1):
            if isinstance(result, BurstDenoiseError):
                failures[shot.name] = result
            else:
                listener.on_shot(shot.name, result, number, len(shots))
    if not failures:
        return
    first = next(iter(failures.values()))
    if len(shots) == 1:
        raise first
    if len(failures) == len(shots):
        raise type(first)(f"{first} (and the other {len(shots) - 1} shots failed too)") from first
    raise JobError(f"{len(failures)} of {len(shots)} shots failed; the rest is done", failures)
