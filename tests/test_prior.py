"""The prior that comes with the package: small enough to ship, alive in every layer, and described as it is."""

import re

import numpy as np
import pytest
import torch
from safetensors import safe_open

from burst_denoise.errors import ModelFileError
from burst_denoise.frame.mosaic import RGGB
from burst_denoise.model.content import content_pictures
from burst_denoise.model.prior import load_prior, prior_file
from burst_denoise.schemas import NoiseProfile
from burst_denoise.score.metrics import psnr
from burst_denoise.sensor.noise_model import stabilise, unstabilise

CPU = torch.device("cpu")
CARD = prior_file("bayer").with_name("prior.md").read_text(encoding="utf-8")


def mosaics(scales):
    """Clean and noisy mosaics (RGGB) of pictures that the prior was not trained on, with their noise profiles."""
    rng = np.random.default_rng(0)
    for picture in content_pictures(("stereo_motorcycle", "camera")):
        clean = 0.6 * picture[:256, :256, 1]
        for scale in scales:
            noisy = rng.poisson(clean / scale).astype(np.float32) * np.float32(scale)
            noisy += 3 * np.float32(scale) * rng.standard_normal(clean.shape, np.float32)
            yield clean, noisy, NoiseProfile(
                iso=None,
                shot_noise_scale=(scale,) * 4,
                read_noise_variance=((3 * scale) ** 2,) * 4,
            )  # fmt: skip


def test_it_gains_where_there_is_noise_and_harms_where_there_is_hardly_any():
    network = load_prior("bayer", CPU).network
    for (clean, noisy, profile), gain_db in zip(mosaics((2e-5, 2e-3)), (-0.05, 4.0) * 2, strict=True):
        with torch.inference_mode():
            planes = network(torch.from_numpy(stabilise(RGGB.pack(noisy), profile))[None])[0].numpy()
        denoised, truth = unstabilise(planes, profile), RGGB.pack(clean)
        assert psnr(denoised, truth, peak=1.0) > psnr(RGGB.pack(noisy), truth, peak=1.0) + gain_db


def test_hardly_a_channel_is_silent():
    # Once every ReLU of the coarsest scale was 0 for any input, and no score said so.
    network = load_prior("bayer", CPU).network
    fired: dict[str, torch.Tensor] = {}

    def listen(name):
        def hook(_layer, _inputs, output):
            fired[name] = fired.get(name, torch.tensor(False)) | (output.amax((0, 2, 3)) > 0)

        return hook

    for name, layer in network.named_modules():
        if name.endswith(".first"):
            layer.register_forward_hook(listen(name))
    for _, noisy, profile in mosaics((1e-5, 1e-4, 1e-3, 1e-2)):
        with torch.inference_mode():
            network(torch.from_numpy(stabilise(RGGB.pack(noisy), profile))[None])
    assert len(fired) == 11
    assert all(channels.float().mean() > 0.5 for channels in fired.values())
    assert torch.cat([*fired.values()]).float().mean() > 0.85


def test_it_is_small_enough_for_the_wheel_and_its_card_describes_it():
    file, network = prior_file("bayer"), load_prior("bayer", CPU).network
    with safe_open(file, "pt") as handle:
        steps = int(re.search(r'"steps": (\d+)', handle.metadata()["prior"])[1])
    count = sum(weight.numel() for weight in network.parameters())
    assert file.stat().st_size < 8e6
    assert f"{count:,} parameters" in CARD
    assert f"{file.stat().st_size / 1e6:.1f} MB" in CARD
    assert f"{steps:,} steps" in CARD
    assert "@" not in CARD


def test_a_domain_without_a_prior_is_named():
    with pytest.raises(ModelFileError, match="no prior comes with the package for rgb frames; calibrate a model"):
        load_prior("rgb", CPU)
