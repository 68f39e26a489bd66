"""Quality checks of a series: a verdict with a reason for every frame, and one for the series.

Two layers: the checks of each frame (`burst_denoise.burst.checks`), then the deviation statistic of Kovalenko &
Demyanenko (2021) over the frames that are left.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from burst_denoise.arrays import Float
from burst_denoise.burst.checks import Findings, check_all
from burst_denoise.burst.grouping import Pause, Series, SeriesFrames, read_series
from burst_denoise.errors import SeriesError
from burst_denoise.frame.frame import Frame, to_linear
from burst_denoise.frame.geometry import row_bands
from burst_denoise.schemas import FrameInfo, FrameVerdict

__all__ = ["FEWEST_FRAMES", "SeriesVerdict", "check_frames", "check_series", "judge"]

LARGEST_SIGMA = 0.007
"""Standard deviation of the deviations up to which the source paper accepts a series."""
FEWEST_FRAMES = 3
"""A leave-one-out mean of fewer has the noise of a single frame."""


@dataclass(frozen=True)
class SeriesVerdict:
    """What the quality checks found about a series and each of its frames."""

    series: str
    info: FrameInfo
    """Metadata of the first frame."""
    accepted: bool
    detail: str
    """In words, why the series was not accepted; empty when it was."""
    mu: float
    """Mean of ``deviations``; nan when no frame was accepted."""
    sigma: float
    """Standard deviation of ``deviations``; nan when no frame was accepted."""
    deviations: tuple[float, ...]
    """e_k of every accepted frame, in order: RMS distance to the mean of the accepted ones, all scaled to mean 1."""
    frames: tuple[FrameVerdict, ...]
    """One per frame, frames that do not fit the series last."""
    left_out: int
    """Frames beyond the limit, which nobody looked at."""
    copies: tuple[tuple[str, str], ...] = ()
    """Files that are copies of frames and none of ``frames``, each with the name of the frame."""
    pause: Pause | None = None
    """What parts it from the series before, where that is all."""

    @property
    def lone(self) -> bool:
        """Whether it is but a single shot or two, which nobody took for a series."""
        return len(self.frames) < FEWEST_FRAMES and not self.copies

    @property
    def notes(self) -> list[str]:
        """What must be told of a series whether it is accepted or not, in words."""
        told = [] if self.pause is None else [str(self.pause)]
        if self.copies:
            names = [copy for copy, _ in self.copies]
            listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            what = "1 file is a copy of another" if len(names) == 1 else f"{len(names)} files are copies of others"
            told.append(f"{what}, counted once: {listed}")
        return told


def check_frames(
    name: str, frames: Sequence[Frame], incompatible: Sequence[FrameVerdict] = (), left_out: int = 0
) -> SeriesVerdict:
    """Judge the frames of a series and the series as a whole.

    Parameters
    ----------
    name : str
        Name of the series.
    frames : sequence of Frame, at least 1
        Equal in camera, size, CFA, levels, ISO and exposure. The order does not matter.
    incompatible : sequence of FrameVerdict
        Verdicts on frames that do not fit, handed on.
    left_out : int
        Handed on.

    Returns
    -------
    SeriesVerdict
        Accepted when at least 3 frames are, and their deviations spread by no more than 0.007.

    References
    ----------
    Kovalenko and Demyanenko, 2021 (deviation statistic and its limit).
    """
    found = check_all(frames)
    good = found.good()
    deviations = _deviations(found, good)
    mu = float(np.mean(deviations)) if good else float("nan")
    sigma = float(np.std(deviations)) if good else float("nan")
    detail = ""
    if len(good) < FEWEST_FRAMES:
        counts = Counter([*filter(None, found.reasons), *(reason for v in incompatible for reason in v.reasons)])
        why = ", ".join(f"{count} {reason}" for reason, count in counts.items())
        detail = f"{len(good)} of {len(frames) + len(incompatible)} frames accepted, {FEWEST_FRAMES} needed"
        detail += f" (rejected: {why})" if why else ""
    elif sigma > LARGEST_SIGMA:
        detail = f"not steady: the deviations of its frames spread by {sigma:.4f}, more than {LARGEST_SIGMA}"
    verdicts = [
        FrameVerdict(
            file=frame.path.name,
            accepted=reason is None,
            reasons=() if reason is None else (reason,),
            gain=None if np.isnan(found.gains[k]) else float(found.gains[k]),
            plane_gains=found.plane_gains(k),
            shift_px=None if np.isnan(found.shifts[k]) else float(found.shifts[k]),
            detail=found.details[k],
        )
        for k, (frame, reason) in enumerate(zip(frames, found.reasons, strict=True))
    ]
    return SeriesVerdict(
        series=name,
        info=frames[0].info,
        accepted=not detail,
        detail=detail,
        mu=mu,
        sigma=sigma,
        deviations=tuple(deviations),
        frames=(*verdicts, *incompatible),
        left_out=left_out,
    )


def check_series(series: Series, limit: int) -> tuple[SeriesVerdict, Sequence[Frame]]:
    """Decode the first ``limit`` frames of a series and judge them.

    Raises
    ------
    InputFileError
        If a file is damaged or not supported.
    SeriesError
        If there are none but dark frames.
    """
    read = read_series(series, limit)
    if not read.frames:
        raise SeriesError(f"{series.name}: holds nothing but dark frames")
    return judge(series, read), read.frames


def judge(series: Series, read: SeriesFrames) -> SeriesVerdict:
    """Return the verdict on a series, of which at least one frame was read."""
    verdict = check_frames(series.name, read.frames, read.incompatible, read.left_out)
    return replace(verdict, copies=read.copies, pause=series.pause)


def _deviations(found: Findings, good: Sequence[int]) -> list[float]:
    """Return the RMS distance of each good frame to their mean, all scaled to a mean absolute value of 1."""

    def scaled(k: int, rows: slice) -> Float:
        frame = found.frames[k]
        return to_linear(frame.dn[..., rows, :], frame.info) / scales[k]

    scales = {k: np.float32(np.abs(found.frames[k].linear).mean(dtype=np.float64) or 1) for k in good}
    squares = np.zeros(len(good))
    # Band by band, for all frames at once: their mean and distances to it would be several times a frame.
    for rows in row_bands(found.frames[0].info.height):
        bands = [scaled(k, rows) for k in good]
        mean = sum(bands, np.zeros(())) / max(len(good), 1)
        squares += [np.sum((band - mean) ** 2) for band in bands]
    return [float(np.sqrt(square / found.frames[0].dn.size)) for square in squares]
