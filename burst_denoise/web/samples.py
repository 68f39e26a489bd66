"""Sample shots of a synthetic camera, whose truth is known, and a burst of the demo."""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from burst_denoise.arrays import Mask
from burst_denoise.frame.frame import Frame, to_linear
from burst_denoise.frame.srgb import developed
from burst_denoise.frame.synthetic import HOT_PHOTOSITE_DN, SyntheticCamera, scene_from_picture, shoot
from burst_denoise.io.dng import write_dng
from burst_denoise.io.raw import read_raw
from burst_denoise.jobs.demo import shoot_scene
from burst_denoise.score.metrics import displayed_ssim, psnr
from burst_denoise.web.pictures import Layer, image_at

__all__ = ["SAMPLES", "Sample", "Scores", "make_samples", "scores"]

CAMERA = SyntheticCamera()
NOTES = "burst_denoise sample, synthetic camera"
THUMBNAIL = 320
"""Columns of a thumbnail."""


@dataclass(frozen=True)
class Sample:
    """A shot to try, or a burst."""

    key: str
    """Its name in addresses."""
    title: str
    detail: str
    scene: str
    """A picture bundled with scikit-image, which the network that comes with the program was not trained on, but for
    that of the burst."""
    iso: int
    burst: bool = False

    def files(self, folder: Path) -> list[Path]:
        """Return its files in the folder of all samples, in order."""
        return sorted((folder / self.key).glob("*.dng"))

    def clean(self, folder: Path) -> Path | None:
        """Return where the mosaic without noise lies: (H, W) float32, linear, nan where hot; None for a burst."""
        return None if self.burst else folder / f"{self.key}.npy"

    def thumbnail(self, folder: Path) -> Path:
        """Return where its thumbnail lies."""
        return folder / f"{self.key}.jpg"


SAMPLES = (
    Sample("coffee", "Coffee cup, ISO 6400", "smooth shades and fine wood", "coffee", 6400),
    Sample("motorcycle", "Workshop, ISO 1600", "many small edges, little noise", "stereo_motorcycle", 1600),
    Sample("camera", "Photographer, ISO 25600", "a dark coat in strong noise", "camera", 25600),
    Sample("burst", "Burst of 12, ISO 6400", "a cat from a tripod; two frames are spoilt", "chelsea", 6400, burst=True),
)


def make_samples(folder: Path) -> None:
    """Shoot the samples and write them as DNG files, with a thumbnail of each.

    Parameters
    ----------
    folder : Path
        Must exist.
    """
    for seed, sample in enumerate(SAMPLES):
        place = folder / sample.key
        if sample.burst:
            shoot_scene(CAMERA, sample.scene, sample.iso, seed, place)
            frame = None
        else:
            scene = scene_from_picture(_picture(sample.scene))
            (frame,), clean = shoot(CAMERA, scene, sample.iso, 1, 1000 + seed)
            write_dng(place / f"{sample.key}-iso{sample.iso}.dng", replace(frame, notes=NOTES))
            truth = to_linear(clean, frame.info)
            truth[_hot(frame, sample.iso)] = np.nan
            np.save(folder / f"{sample.key}.npy", truth)
        _write_thumbnail(sample.thumbnail(folder), frame, sample.files(folder))


@dataclass(frozen=True)
class Scores:
    """Scores of an image against the known truth, hot photosites left out."""

    psnr_db: float
    """Peak signal-to-noise ratio in linear light, dB below the white level."""
    ssim: float
    """Structural similarity of the brightness as a display shows it."""


def scores(layer: Layer, strength: float, clean: Path) -> Scores:
    """Return the scores of a layer of a sample at a strength.

    Parameters
    ----------
    layer : Layer
    strength : float, 0 to 1
    clean : Path
        From `Sample.clean`.
    """
    image, truth = image_at(layer, strength), np.load(clean)
    known = ~np.isnan(truth)
    return Scores(
        psnr(image, np.where(known, truth, image), peak=1.0, mask=known),
        displayed_ssim(image, np.where(known, truth, image), layer.info, known),
    )


def _hot(frame: Frame, iso: int) -> Mask:
    """Return which photosites are hot: a dark frame of the camera shows them far above all others."""
    (dark,), _ = shoot(CAMERA, np.zeros((*frame.dn.shape, 3), np.float32), iso, 1, 0)
    return dark.linear > min(HOT_PHOTOSITE_DN[0] / 2 * iso / 100, 0.5)  # at a high ISO they are full


def _picture(name: str) -> npt.NDArray[np.uint8]:
    """Return a picture of scikit-image in colour, its sides even."""
    from skimage import data

    found = getattr(data, name)()
    picture = found[0] if isinstance(found, tuple) else found  # the left one of two eyes
    coloured = np.dstack([picture] * 3) if picture.ndim == 2 else picture
    height, width = (side // 2 * 2 for side in coloured.shape[:2])
    return np.asarray(coloured[:height, :width], np.uint8)


def _write_thumbnail(path: Path, frame: Frame | None, files: list[Path]) -> None:
    shown = read_raw(files[0]) if frame is None else frame
    picture = developed(shown.linear, shown.info)
    size = THUMBNAIL, round(picture.shape[0] * THUMBNAIL / picture.shape[1])
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    path.write_bytes(cv2.imencode(".jpg", small[..., ::-1])[1].tobytes())
