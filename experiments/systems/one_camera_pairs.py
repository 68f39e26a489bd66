"""One-camera pair training: a denoiser for one camera, trained on tiles of exposures of the same scenes at two ISOs.

    python -m experiments.systems.one_camera_pairs      # simulates a pair and says what it holds
    python -m experiments.systems.one_camera_pairs --minutes 10 [--tile 28|56] [--pictures FOLDER] [--tile-file FILE]

After a series of articles by two makers: a scene is shot at ISO 200, which is the clean picture, and at ISO 1600 two
stops too dark, pushed by as much in the raw file: the noise of ISO 6400 at an exposure that matches. The pictures are
cut whole into tiles, of 28 pixels in one trial and of 56 in another, which are shuffled together, so that training and
validation see the same mixture; see `experiments.tiles`. Each colour channel is a monochrome picture of its own, and
the three results are put together again. Red and green were noisier than blue in their pictures; so they are here in
linear light, 0.020 and 0.018 of the white level to 0.011, but not once white balance has lifted blue the most.

They do not say which network it was. A plain one is taken here: eight 3x3 convolutions that predict the noise, as in
DnCNN but without batch normalisation, whose 17 pixels of reach suit a tile of 28.

With ``--minutes`` their experiment is run: pairs of the scenes of all pictures but the last are cut and shuffled, a
tenth of the tiles validates, and the pair of the last picture is scored. The two rows of `experiments.table` train the
same network otherwise, on random crops of 28 or 56 pixels of the pairs of the table, as all systems there are trained.
"""

import argparse
import itertools
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from skimage import data
from torch import Tensor, nn

import burst_denoise as bd
from burst_denoise.arrays import Double, Float, Picture
from burst_denoise.frame.frame import to_linear
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.frame.srgb import developed
from burst_denoise.frame.synthetic import SyntheticCamera, scene_from_picture, shoot
from burst_denoise.model.fit import FitSettings, FitState, fit
from burst_denoise.schemas import FrameInfo
from burst_denoise.score.metrics import psnr
from experiments.systems.initialisation import initialised, small
from experiments.systems.system import System, pairs_of
from experiments.tiles import TileFile, TilesInMemory, shuffled_split, tile_count, write_tiles
from experiments.webcam_clips import clean_pictures

__all__ = [
    "TILES_28",
    "TILES_56",
    "ExposurePair",
    "MonochromeNet",
    "channel_noise_std",
    "exposure_pair",
    "train_on_tiles",
]

ISO_CLEAN, ISO_NOISY = 200, 1600
PUSH_EV = 2
COLOURS = ("red", "green", "blue")
CAMERA = SyntheticCamera(hot_fraction=0)
"""Raw converters map hot photosites out."""
VALIDATION_SHARE = 0.1
MOST_VALIDATED = 2048
"""Tiles that validate a training."""
VALIDATIONS = 10
"""Over a training."""
PIXELS_OF_STEP = 96 * 28**2
"""As in the table: 32 tiles of 28 pixels or 8 of 56, each of three channels."""


class MonochromeNet(nn.Module):
    """A plain convolutional denoiser that takes every channel for a picture of its own; starts near the identity.

    125,617 parameters.

    Parameters
    ----------
    width : int
        Features of each convolution.
    depth : int
        Convolutions.
    """

    def __init__(self, width: int = 48, depth: int = 8) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True)]
        last = nn.Conv2d(width, 1, 3, padding=1)
        self.noise = initialised(nn.Sequential(*layers, last))
        small(last)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the denoised (B, C, H, W) pictures, of any number of channels."""
        noise: Tensor = self.noise(pictures.reshape(-1, 1, *pictures.shape[2:]))
        return pictures - noise.reshape(pictures.shape)


class ExposurePair(NamedTuple):
    """Two exposures of one scene, exposure matched."""

    noisy: Float
    """(H, W) mosaic, linear: the shot at the high ISO, pushed. Neither clipped nor rounded."""
    clean: Float
    """(H, W) mosaic, linear: the shot at the low ISO."""
    info: FrameInfo
    """Of both."""

    def developed(self) -> tuple[Picture, Picture]:
        """Return both as pictures (H, W, 3), sRGB: what is cut into tiles."""
        return developed(self.noisy, self.info), developed(self.clean, self.info)


def exposure_pair(picture: Picture, seed: int, camera: SyntheticCamera = CAMERA) -> ExposurePair:
    """Return what a camera would have shot of the scene of a picture (H, W, 3), sRGB, even sides."""
    scene = scene_from_picture(picture, camera.as_shot_neutral)
    (clean,), _ = shoot(camera, scene, ISO_CLEAN, 1, seed)
    (dark,), _ = shoot(camera, scene / 2**PUSH_EV, ISO_NOISY, 1, seed + 1)
    pushed = to_linear(dark.dn, dark.info) * np.float32(2**PUSH_EV)
    return ExposurePair(pushed, to_linear(clean.dn, clean.info), clean.info)


def channel_noise_std(pair: ExposurePair) -> Double:
    """Return the standard deviation of the difference of both exposures in red, green and blue, linear, (3,)."""
    planes = Mosaic.of(pair.info).pack(pair.noisy - pair.clean)
    red, *greens, blue = (plane.std(dtype=np.float64) for plane in planes)
    return np.array([red, np.sqrt(np.mean(np.square(greens))), blue])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, metavar="M", help="train for so long; otherwise only a pair is told")
    parser.add_argument("--tile", type=int, choices=tuple(SYSTEMS), default=28, help="side, pixels")
    parser.add_argument("--pictures", type=Path, help="folder of clean pictures; those of scikit-image otherwise")
    parser.add_argument("--tile-file", type=Path, help="keep tiles in this file, written anew, instead of in memory")
    parser.add_argument("--most-side", type=int, default=1024, help="the centre of larger pictures is taken, pixels")
    parser.add_argument("--narrow", action="store_true", help="a narrower network: a proof, no result")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.minutes is None:
        _tell_pair()
        return

    def scenes() -> Iterator[tuple[str, Picture]]:
        return ((name, _even_centre(each, options.most_side)) for name, each in clean_pictures(options.pictures))

    try:
        ((count, (name, held_out)),) = deque(enumerate(scenes()), maxlen=1)  # decoded one by one, never held
        if count < 1:
            raise bd.InputFileError(f"{options.pictures}: one picture only; some are trained on and the last is scored")
    except bd.InputFileError as error:
        sys.exit(f"error: {error}")
    pairs = _developed_pairs((picture for _, picture in itertools.islice(scenes(), count)), options.seed)
    tiles: TileFile | TilesInMemory
    if options.tile_file is None:
        tiles = TilesInMemory(pairs, options.tile)
    else:
        write_tiles(options.tile_file, pairs, options.tile)
        tiles = TileFile(options.tile_file, options.tile)
    print(f"{len(tiles):,} pairs of tiles of {count} pictures; {name} is held out", flush=True)
    settings = FitSettings(minutes=options.minutes, optimizer="adam", learning_rate=1e-3, dtype=torch.float32)
    system = SYSTEMS[options.tile]
    state = train_on_tiles(system, tiles, settings, narrow=options.narrow, seed=options.seed, tell=print)
    if isinstance(tiles, TileFile):
        tiles.close()
    pair = exposure_pair(held_out, seed=_shot_seed(options.seed, count))
    noisy, clean = (np.moveaxis(each.astype(np.float32) / np.float32(255), 2, 0) for each in pair.developed())
    denoised = system.denoise(state.average, noisy)
    for label, picture in (("noisy", noisy), ("denoised", denoised)):
        print(f"{name}, {label}: {psnr(picture, clean, peak=1.0):.2f} dB")
    before, after = (255 * (picture - clean).std(axis=(1, 2)) for picture in (noisy, denoised))
    for colour, linear, was, remains in zip(COLOURS, channel_noise_std(pair), before, after, strict=True):
        print(
            f"noise in {colour}: {linear:.4f} of the white level; of 255 when developed {was:.1f}, then {remains:.1f}"
        )


def train_on_tiles(
    system: System,
    tiles: TileFile | TilesInMemory,
    settings: FitSettings,
    *,
    narrow: bool = False,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _line: None,
) -> FitState:
    """Train the network of a system on pairs of tiles, shuffled together; a share of the same mixture validates.

    Parameters
    ----------
    system : System
    tiles : TileFile or TilesInMemory
    settings : FitSettings
    narrow : bool
        Whether the network is narrowed.
    seed : int
        Decides everything that is random.
    tell : callable
        Is given a line at the start and after every tenth of the training.

    Returns
    -------
    FitState
        Its ``average`` is the network; ``notes["curve"]`` holds step and mean squared error of each validation.
    """
    training, validation = shuffled_split(len(tiles), VALIDATION_SHARE, np.random.default_rng([seed, 0]))
    checked = [torch.from_numpy(part) for part in _unit(tiles[validation[:MOST_VALIDATED]])]
    side = checked[0].shape[-1]
    batch = PIXELS_OF_STEP // side**2
    steps_per_epoch = -(-len(training) // batch)

    def batches(step: int) -> Sequence[Float]:
        epoch, index = divmod(step, steps_per_epoch)
        order = np.random.default_rng([seed, 1, epoch]).permutation(training)
        return _unit(tiles[order[index * batch : (index + 1) * batch]])

    def validate(state: FitState) -> None:
        curve = state.notes.setdefault("curve", [])
        if state.done < len(curve) / VALIDATIONS:
            return
        with torch.inference_mode():
            noisy, clean = checked
            curve.append((state.step, float((state.average(noisy) - clean).square().mean())))
        tell(f"step {state.step:,}: mean squared error of the validation {curve[-1][1]:.3g}")

    torch.manual_seed(seed)
    return fit(system.build(narrow), batches, system.loss, settings, on_step=validate)


def _unit(tiles: npt.NDArray[np.uint8]) -> tuple[Float, Float]:
    """Return pairs of tiles (N, 2, side, side) as noisy and clean pictures (N, 1, side, side), 0 to 1."""
    noisy, clean = (tiles[:, part, None].astype(np.float32) / np.float32(255) for part in (0, 1))
    return noisy, clean


def _developed_pairs(pictures: Iterable[Picture], seed: int) -> Iterator[tuple[Picture, Picture]]:
    for number, picture in enumerate(pictures):
        yield exposure_pair(picture, _shot_seed(seed, number)).developed()


def _shot_seed(seed: int, number: int) -> int:
    """Return the seed of the first of the two exposures of a picture."""
    return 100_000 * seed + 2 * number


def _even_centre(picture: Picture, most: int) -> Picture:
    """Return the centre of a picture (H, W, 3), its sides even and not over ``most``."""
    height, width = (min(size, most) // 2 * 2 for size in picture.shape[:2])
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return picture[top : top + height, left : left + width]


def _tell_pair() -> None:
    """Print what a simulated pair holds."""
    pair = exposure_pair(data.coffee(), seed=0)
    noise = channel_noise_std(pair)
    noisy, clean = pair.developed()
    shown = (noisy.astype(np.float64) - clean).std(axis=(0, 1))
    print(f"mean of the pushed shot over that of the clean one: {pair.noisy.mean() / pair.clean.mean():.4f}")
    for name, linear, srgb in zip(COLOURS, noise, shown, strict=True):
        print(f"noise in {name}: {linear:.4f} of the white level, {srgb:.1f} of 255 when developed")
    for side in (28, 56):
        count = tile_count(3456, 5184, side, pictures=16)
        print(f"16 pairs of 5184x3456 give {count:,} pairs of tiles of {side}: {2 * count * side**2 / 1e9:.2f} GB")


def _build(narrow: bool) -> nn.Module:
    return MonochromeNet(width=16, depth=5) if narrow else MonochromeNet()


TILES_28 = System("One-camera pairs, tiles of 28", _build, pairs_of(32, 28), learning_rate=1e-3, residual=True)
TILES_56 = System("One-camera pairs, tiles of 56", _build, pairs_of(8, 56), learning_rate=1e-3, residual=True)
SYSTEMS = {28: TILES_28, 56: TILES_56}
"""By the side of their tiles."""

if __name__ == "__main__":
    main()
