"""A denoised frame: what the network changes in it at any strength, what its note says, what noise is left in it."""

from dataclasses import dataclass, replace

from burst_denoise.arrays import Float
from burst_denoise.frame.frame import Frame
from burst_denoise.inference.plane_means import keep_means, mean_factors
from burst_denoise.inference.tiles import blend
from burst_denoise.schemas import NoiseProfile
from burst_denoise.sensor.noise_model import scaled_profile

__all__ = ["NetworkChange", "ProcessingNotes", "denoised_frame"]

REMAINING_STD = 0.1
"""Share of the noise's standard deviation that the prior leaves on flat fields at most: 0.06 in the darks to 0.10."""


@dataclass(frozen=True)
class ProcessingNotes:
    """The processing note of a frame, but for the strength."""

    source: str
    repairs: str = ""
    augmented: bool = False
    merged: bool = False

    def at(self, strength: float) -> str:
        """Return the note of the frame denoised at a strength; it goes without saying that a mean is so fully."""
        if self.merged and strength == 1:
            return self.source
        augmented = "; augmented" if self.augmented else ""
        return f"{self.source}; strength {strength:g}{augmented}{self.repairs if strength > 0 else ''}"


@dataclass(frozen=True)
class NetworkChange:
    """A frame and what the network changes in it: the frame denoised at any strength, without asking it again."""

    frame: Frame
    """As it was shot, or merged."""
    image: Float
    """Its image, linear: dark subtracted, defects and hot photosites repaired."""
    change: Float
    """What is added to that at full strength, linear; see `burst_denoise.inference.tiles.image_change`."""
    profile: NoiseProfile
    """Noise profile of the image."""
    notes: ProcessingNotes

    def at(self, strength: float) -> Frame:
        """Return the frame denoised at a strength, equal to the bit to what a `Denoiser` of that strength gives.

        Parameters
        ----------
        strength : float, 0 to 1
            0 gives a shot back as it is, and of a merged frame the mean.
        """
        if strength == 0 and not self.notes.merged:
            return replace(self.frame, notes=self.notes.at(0))
        image = blend(self.image, self.change, strength)
        keep_means(self.image, image, self.frame.mosaic, self.profile)
        return denoised_frame(image, self.frame, self.profile, self.notes.at(strength), strength)

    @property
    def factors(self) -> tuple[float, ...]:
        """Factors, one a plane, that keep the means of the planes at full strength."""
        clean = blend(self.image, self.change, 1.0)
        return tuple(mean_factors(self.image, clean, self.frame.mosaic, self.profile).tolist())


def denoised_frame(image: Float, frame: Frame, profile: NoiseProfile, notes: str, strength: float) -> Frame:
    """Return the frame that a denoised image is, with the noise that is left in it.

    Parameters
    ----------
    image : (H, W) or (3, H, W) float32 array, linear
        Denoised.
    frame : Frame
        As it was shot, or merged.
    profile : NoiseProfile
        Of the noise it had.
    notes : str
        Its processing note.
    strength : float, 0 to 1
        At which it was denoised.
    """
    left = scaled_profile(profile, (1 - strength * (1 - REMAINING_STD)) ** 2)
    return replace(Frame.of_linear(image, frame, notes).with_profile(left), noise_reduction=strength)
