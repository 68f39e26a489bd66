"""The verdict on a sensor calibration in words: usable or not, because."""

from burst_denoise.config import ChannelProfile

__all__ = ["weaknesses"]

FEWEST_FRAMES = 8
WIDEST_GAIN = 0.05
"""Half an interval over its value: twice the precision that other programs' noise profiles show between copies."""
WIDEST_READ_NOISE = 0.15
LARGEST_CORRELATION = 0.05
"""Raw noise of neighbours of one colour is independent; 0.65 was measured in pictures developed by a camera."""
LARGEST_MISFIT = 0.05
"""Share by which the variance may depart from a straight line in the signal."""
LARGEST_DRIFT = 0.05
COARSEST_READ_NOISE_DN = 0.5
"""Below half a step of the converter, rounding is no longer noise of variance 1/12."""


def weaknesses(channel: ChannelProfile, *, developed: bool, misfit: float, drift: float) -> tuple[bool, list[str]]:
    """Return whether a channel's noise profile may be used, and what is wrong with it or to beware of.

    Parameters
    ----------
    channel : ChannelProfile
        Its ``usable`` and ``reasons`` are not looked at.
    developed : bool
        Whether the frames are pictures that a camera or program has developed.
    misfit : float
        Relative departure of the variance from a straight line, beyond chance.
    drift : float
        Share of the temporal variance that is slow drift.

    Returns
    -------
    usable : bool
    reasons : list of str
        Sentences for a photographer, the grave ones first; empty for a calibration without fault.
    """
    grave, mild = [], []
    if developed:
        grave.append("developed pictures: filtered and bent by a tone curve, they do not tell the sensor's own noise")
    elif channel.noise_correlation > LARGEST_CORRELATION:
        grave.append(
            f"the noise of neighbours is alike (correlation {channel.noise_correlation:.2f}): the camera has filtered "
            "it; switch its noise reduction off"
        )
    if misfit > LARGEST_MISFIT:
        grave.append(
            f"the noise does not grow in a straight line with the light ({misfit:.0%} off): "
            "lossy compression, noise reduction or a wrong black level"
        )
    gain_width = _half_width(channel.gain_dn_per_e_interval, channel.gain_dn_per_e)
    if gain_width > WIDEST_GAIN:
        grave.append(
            f"the gain is known only to {gain_width:.0%}: shoot a scene with both shadows and bright parts, more frames"
        )
    elif channel.read_noise_variance <= 0:
        grave.append(
            "no noise is left at black: the black level is wrong, or nothing dark is in the picture; add lens-cap "
            "frames (--darks)"
        )
    read_width = _half_width(channel.read_noise_std_dn_interval, channel.read_noise_std_dn)
    if channel.read_noise_variance > 0 and read_width > WIDEST_READ_NOISE:
        mild.append(
            f"the read noise is known only to {read_width:.0%}: shoot a scene with deep shadows, or add lens-cap "
            "frames (--darks)"
        )
    if 0 < channel.read_noise_std_dn < COARSEST_READ_NOISE_DN:
        mild.append(
            f"the read noise of {channel.read_noise_std_dn:.2f} DN is finer than the steps of the converter: it is "
            "known only roughly"
        )
    if drift > LARGEST_DRIFT:
        mild.append(f"the light drifted during the burst ({drift:.0%} of the variance); it was taken out")
    if channel.frames < FEWEST_FRAMES:
        mild.append(f"only {channel.frames} frames; {FEWEST_FRAMES} or more make the intervals narrower")
    return not grave, grave + mild


def _half_width(interval: tuple[float, float], value: float) -> float:
    low, high = interval
    return (high - low) / 2 / value if value > 0 else float("inf")
