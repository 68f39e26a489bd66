"""Simulated clips of a webcam: the second data set of the source paper, six static scenes of 1920x1080.

    python -m experiments.webcam_clips --output FOLDER [--frames 135] [--size 1920x1080] [--pictures FOLDER]

Kovalenko and Demyanenko, "Unsupervised training of denoising networks" (2021), filmed six scenes with a webcam, 811
frames in all, and split the clips into pictures. Here a small sensor looks at clean pictures: photon and read noise of
its mosaic, white balance, demosaicing, the sRGB curve, 8 bits, and then Motion JPEG with its halved colour. Each clip
is written as a video, FOLDER/clips/1_astronaut.avi, and decoded again to PNG files, FOLDER/frames/1_astronaut/0001.png:
the same bursts twice, so name one of the two folders. What ``burst-denoise inspect`` says of the frames is printed; it
accepts all six. All of them take some 15 minutes of one core and 3 GB::

    1_astronaut (unknown camera, ISO unknown, 1920x1080): 8 of 8 frames, mu 0.0313, sigma 0.00002: accepted

``burst-denoise ingest FOLDER/frames`` uses at most 20 frames of a clip unless ``--limit 135`` asks for all. The table
of the source paper on these frames, at most 20 of a clip as well::

    python -m experiments.table --data FOLDER/frames --minutes-each 15

Noise of such pictures is not independent from pixel to pixel: demosaicing and the codec spread it, so that horizontal
neighbours are correlated by about a half. A network that learns from pairs of frames does not mind, as long as noise is
independent from frame to frame; methods that hide pixels and guess them from their neighbours (`noise2void`,
`noise2self`) reproduce it. ``inspect`` judges time alone and does not warn of it.
"""

import argparse
import itertools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from skimage import data

import burst_denoise as bd
from burst_denoise.arrays import Picture
from burst_denoise.cli.console import verdict_text
from burst_denoise.files import refuse_existing
from burst_denoise.frame.frame import to_linear
from burst_denoise.frame.srgb import developed
from burst_denoise.frame.synthetic import SyntheticCamera, scene_from_picture, shoot
from burst_denoise.jobs.inspect import inspect
from experiments.pictures import SUFFIXES

__all__ = ["WEBCAM", "clean_pictures", "film", "fitted", "split_clip", "write_clip"]

WEBCAM = SyntheticCamera(
    name="Simulated webcam",
    black_level=(64.0,) * 4,
    white_level=1023.0,
    gain_dn_per_e=0.19,  # 5000 electrons fill a photosite
    read_noise_std_dn=(0.5, 0.7),
    row_noise_std_dn=0.05,
    prnu=0.01,
)
ISO = 400
CLIPS = 6
BUNDLED = ("astronaut", "chelsea", "coffee", "immunohistochemistry", "rocket", "stereo_motorcycle")
"""Loaders of `skimage.data` whose pictures come with the package."""
JPEG_QUALITY = 85
FRAMES_PER_SECOND = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for clips/ and frames/")
    parser.add_argument("--pictures", type=Path, help="folder of clean pictures; those of scikit-image otherwise")
    parser.add_argument("--frames", type=int, default=135, help="of each clip")
    parser.add_argument("--size", type=_size, default=(1080, 1920), metavar="WIDTHxHEIGHT")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        _write_clips(options)
    except bd.BurstDenoiseError as error:
        sys.exit(f"error: {error}")


def _write_clips(options: argparse.Namespace) -> None:
    pictures = clean_pictures(options.pictures)
    clips, frames = options.output / "clips", options.output / "frames"
    clips.mkdir(parents=True, exist_ok=True)
    for number, (name, picture) in enumerate(itertools.islice(pictures, CLIPS), 1):
        clip, folder = clips / f"{number}_{name}.avi", frames / f"{number}_{name}"
        refuse_existing(clip)
        write_clip(clip, film(fitted(picture, options.size), options.frames, [options.seed, number]))
        print(f"{clip}: {split_clip(clip, folder)} frames", flush=True)
        for verdict in inspect([folder]).verdicts:
            print(verdict_text(verdict), flush=True)


def _size(text: str) -> tuple[int, int]:
    width, height = (int(part) for part in text.split("x"))
    return height, width


def clean_pictures(folder: Path | None = None) -> Iterator[tuple[str, Picture]]:
    """Return the name and (H, W, 3) of clean pictures, decoded one by one: those of a folder, or of scikit-image.

    Raises
    ------
    InputFileError
        If the folder holds no picture, or, when its turn comes, a picture is damaged.
    """
    if folder is None:
        return ((name, _bundled(name)) for name in BUNDLED)
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not pictures:
        raise bd.InputFileError(f"{folder}: no pictures there; name a folder of {', '.join(SUFFIXES)} files")
    return ((path.stem, _decoded(path)) for path in pictures)


def _bundled(name: str) -> Picture:
    loaded = getattr(data, name)()
    picture: Picture = loaded[0] if isinstance(loaded, tuple) else loaded  # left eye of a stereo pair
    return picture


def _decoded(path: Path) -> Picture:
    bgr = cv2.imread(str(path))
    if bgr is None:
        raise bd.InputFileError(f"{path}: cannot be decoded; take it away")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def fitted(picture: Picture, size: tuple[int, int]) -> Picture:
    """Return the middle of a picture in another size (height, width), its proportions kept."""
    scale = max(wanted / found for wanted, found in zip(size, picture.shape[:2], strict=True))
    height, width = (round(wanted / scale) for wanted in size)
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    sampling = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    resized: Picture = cv2.resize(picture[top : top + height, left : left + width], size[::-1], interpolation=sampling)
    return resized


def film(picture: Picture, frames: int, seed: int | list[int]) -> Iterator[Picture]:
    """Yield frames (H, W, 3), sRGB, of the scene of a picture of even sides: nothing moves, the light is constant."""
    scene = scene_from_picture(picture, WEBCAM.as_shot_neutral)
    for shot_seed in np.random.default_rng(seed).integers(2**31, size=frames).tolist():
        (frame,), _ = shoot(WEBCAM, scene, ISO, 1, shot_seed)
        yield developed(to_linear(frame.dn, frame.info), frame.info)


def write_clip(path: Path, frames: Iterable[Picture]) -> None:
    """Write frames (H, W, 3) of one size as Motion JPEG, colour at half the resolution."""
    writer = None
    for frame in frames:
        if writer is None:
            codec = cv2.VideoWriter.fourcc(*"MJPG")
            writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, codec, FRAMES_PER_SECOND, frame.shape[1::-1])
            writer.set(cv2.VIDEOWRITER_PROP_QUALITY, JPEG_QUALITY)
            if not writer.isOpened():
                raise OSError(f"{path}: cannot be written")
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    if writer is not None:
        writer.release()


def split_clip(path: Path, folder: Path) -> int:
    """Write every frame of a video as a PNG file into a new folder, and return how many there are.

    Raises
    ------
    OutputError
        If the folder is there, or cannot be written to.
    """
    refuse_existing(folder)
    folder.mkdir(parents=True)
    video = cv2.VideoCapture(str(path))
    count = 0
    while (read := video.read())[0]:
        count += 1
        if not cv2.imwrite(str(folder / f"{count:04d}.png"), read[1]):
            raise bd.OutputError(f"{folder}: frame {count} cannot be written")
    video.release()
    return count


if __name__ == "__main__":
    main()
