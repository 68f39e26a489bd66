"""The job `merge`: one clean frame from all accepted frames of a burst."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from burst_denoise import __version__
from burst_denoise.arrays import Mask
from burst_denoise.burst.darks import read_darks
from burst_denoise.burst.store import Burst, pooled_by_iso
from burst_denoise.errors import SeriesError
from burst_denoise.files import refuse_existing, temporary_folder
from burst_denoise.frame.frame import Frame
from burst_denoise.io.metadata import DENOISED_MARK
from burst_denoise.io.write import write_frame
from burst_denoise.jobs.ingest import IngestSettings, open_inputs
from burst_denoise.jobs.listener import Listener

__all__ = ["merge", "merge_burst"]


def merge(
    inputs: Sequence[Path],
    output: Path,
    darks: Sequence[Path] = (),
    settings: IngestSettings = IngestSettings(),
    listener: Listener = Listener(),
) -> Frame:
    """Merge the accepted frames of one burst and write the result; each file is decoded once.

    Parameters
    ----------
    inputs : sequence of Path
        Frames or a folder of them, or a stored burst: one series.
    output : Path
        ``.dng`` for raw frames, ``.tif`` or ``.png`` for pictures; must not exist.
    darks : sequence of Path
        Dark frames of the camera; see `burst_denoise.jobs.ingest.ingest`.
    settings : IngestSettings
    listener : Listener

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
    with temporary_folder() as folder:
        bursts = open_inputs(inputs, Path(folder), read_darks(darks), settings, listener).bursts
        if len(bursts) > 1:
            names = ", ".join(burst.name for burst in bursts)
            raise SeriesError(f"{len(bursts)} series were accepted ({names}), and one is merged at a time; name one")
        merged = merge_burst(pooled_by_iso(bursts)[0])
        write_frame(merged, output, None)
    return merged


def merge_burst(burst: Burst) -> Frame:
    """Return the mean of the accepted frames of a burst as one frame, with the noise profile of what is left.

    Parameters
    ----------
    burst : Burst
        Its dark is subtracted, its gains are evened out and its defects repaired.

    Returns
    -------
    Frame
        float32 DN, with the levels, exposure and colours of the first frame. Photosites that are at the white level in
        every frame are there in the mean too. The variance of a mean of N frames is that of one frame / N.
    """
    shot, count = burst.frame(0), len(burst)
    notes = f"{DENOISED_MARK}: version {__version__}; mean of {count} frames"
    if burst.dark is not None:
        notes += "; dark subtracted"
    profile = burst.profile.model_copy(
        update={
            "shot_noise_scale": tuple(scale / count for scale in burst.profile.shot_noise_scale),
            "read_noise_variance": tuple(variance / count for variance in burst.profile.read_noise_variance),
        }
    )
    mean = burst.mean()
    overexposed = _overexposed(burst)
    mean[overexposed] = np.maximum(mean[overexposed], 1)
    return Frame.of_linear(mean, shot, notes).with_profile(profile)


def _overexposed(burst: Burst) -> Mask:
    """Return the healthy photosites at the white level in every frame: dark and gain would bring them below it."""
    always = burst.saturated.copy()
    for index in range(len(burst)):
        always &= burst.frame(index).dn >= burst.info.white_level
    return always if burst.defects is None else always & ~burst.defects
