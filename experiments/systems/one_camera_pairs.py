"""One-camera pair training: a denoiser for one camera, trained on tiles of exposures of the same scenes at two ISOs.

    python -m experiments.systems.one_camera_pairs      # simulates a pair and says what it holds

After a series of articles by two makers: a scene is shot at ISO 200, which is the clean picture, and at ISO 1600 two
stops too dark, pushed by as much in the raw file: the noise of ISO 6400 at an exposure that matches. The pictures are
cut whole into tiles, of 28 pixels in one trial and of 56 in another, which are shuffled together, so that training and
validation see the same mixture; see `experiments.tiles`. Each colour channel is a monochrome picture of its own, and
the three results are put together again. Red and green were noisier than blue in their pictures; so they are here in
linear light, 0.020 and 0.018 of the white level to 0.011, but not once white balance has lifted blue the most.

They do not say which network it was. A plain one is taken here: eight 3x3 convolutions that predict the noise, as in
DnCNN but without batch normalisation, whose 17 pixels of reach suit a tile of 28.
"""

from typing import NamedTuple

import numpy as np
from skimage import data
from torch import Tensor, nn

from burst_denoise.arrays import Double, Float, Picture
from burst_denoise.frame.frame import to_linear
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.frame.srgb import developed
from burst_denoise.frame.synthetic import SyntheticCamera, scene_from_picture, shoot
from burst_denoise.schemas import FrameInfo
from experiments.systems.initialisation import initialised, small
from experiments.systems.system import System, pairs_of
from experiments.tiles import tile_count

__all__ = ["TILES_28", "TILES_56", "ExposurePair", "MonochromeNet", "channel_noise_std", "exposure_pair"]

ISO_CLEAN, ISO_NOISY = 200, 1600
PUSH_EV = 2
CAMERA = SyntheticCamera(hot_fraction=0)
"""Raw converters map hot photosites out."""


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
    pair = exposure_pair(data.coffee(), seed=0)
    noise = channel_noise_std(pair)
    noisy, clean = pair.developed()
    shown = (noisy.astype(np.float64) - clean).std(axis=(0, 1))
    print(f"mean of the pushed shot over that of the clean one: {pair.noisy.mean() / pair.clean.mean():.4f}")
    for name, linear, srgb in zip(("red", "green", "blue"), noise, shown, strict=True):
        print(f"noise in {name}: {linear:.4f} of the white level, {srgb:.1f} of 255 when developed")
    for side in (28, 56):
        count = tile_count(3456, 5184, side, pictures=16)
        print(f"16 pairs of 5184x3456 give {count:,} pairs of tiles of {side}: {2 * count * side**2 / 1e9:.2f} GB")


def _build(narrow: bool) -> nn.Module:
    return MonochromeNet(width=16, depth=5) if narrow else MonochromeNet()


TILES_28 = System("One-camera pairs, tiles of 28", _build, pairs_of(32, 28), learning_rate=1e-3, residual=True)
TILES_56 = System("One-camera pairs, tiles of 56", _build, pairs_of(8, 56), learning_rate=1e-3, residual=True)

if __name__ == "__main__":
    main()
