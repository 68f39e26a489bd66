"""The prior that comes with the package: small enough to ship, alive in every layer, and described as it is."""

import re

import numpy as np
import pytest
import torch
from safetensors import safe_open

from burst_denoise.errors import ModelFileError
from burst_denoise.frame.mosaic import RGGB
from burst_denoise.model.content import content_pictures
from burst_denoise.model.network import SIZES
from burst_denoise.model.prior import load_prior, prior_file, why_no_prior
from burst_denoise.schemas import PLANES, Domain, FrameInfo, NoiseProfile, Quality
from burst_denoise.score.metrics import psnr
from burst_denoise.sensor.noise_model import stabilise, unstabilise

CPU = torch.device("cpu")
PRIORS: list[tuple[Domain, Quality]] = [
    ("bayer", "draft"),
    ("bayer", "fast"),
    ("bayer", "best"),
    ("mono", "fast"),
    ("rgb", "fast"),
]
CARD = prior_file("bayer").with_name("prior.md").read_text(encoding="utf-8")
each = pytest.mark.parametrize(("domain", "quality"), PRIORS)


def frames(domain, scales, side=256):
    """Clean and noisy planes of pictures that no prior was trained on, with their noise profiles."""
    rng = np.random.default_rng(0)
    for picture in content_pictures(("stereo_motorcycle", "camera")):
        colours = 0.6 * np.moveaxis(picture[:side, :side], 2, 0)
        clean = {"bayer": RGGB.pack(colours[1]), "mono": colours[1:2], "rgb": colours[:, : side // 2, : side // 2]}[
            domain
        ]
        for scale in scales:
            noisy = rng.poisson(clean / scale).astype(np.float32) * np.float32(scale)
            noisy += 3 * np.float32(scale) * rng.standard_normal(clean.shape, np.float32)
            planes = len(clean)
            yield clean, noisy, NoiseProfile(
                iso=None,
                shot_noise_scale=(scale,) * planes,
                read_noise_variance=((3 * scale) ** 2,) * planes,
            )  # fmt: skip


@each
def test_it_gains_where_there_is_noise_and_harms_where_there_is_hardly_any(domain, quality):
    network = load_prior(domain, CPU, quality).network
    for (clean, noisy, profile), gain_db in zip(frames(domain, (2e-5, 2e-3)), (-0.05, 4.0) * 2, strict=True):
        with torch.inference_mode():
            planes = network(torch.from_numpy(stabilise(noisy, profile))[None])[0].numpy()
        assert psnr(unstabilise(planes, profile), clean, peak=1.0) > psnr(noisy, clean, peak=1.0) + gain_db


@each
def test_hardly_a_channel_is_silent(domain, quality):
    # Once every ReLU of the coarsest scale was 0 for any input, and no score said so.
    network = load_prior(domain, CPU, quality).network
    fired: dict[str, torch.Tensor] = {}

    def listen(name):
        def hook(_layer, _inputs, output):
            fired[name] = fired.get(name, torch.tensor(False)) | (output.amax((0, 2, 3)) > 0)

        return hook

    for name, layer in network.named_modules():
        if name.endswith(".first"):
            layer.register_forward_hook(listen(name))
    for _, noisy, profile in frames(domain, (1e-5, 1e-4, 1e-3, 1e-2), side=160):
        with torch.inference_mode():
            network(torch.from_numpy(stabilise(noisy, profile))[None])
    assert len(fired) == sum(SIZES[quality].blocks)
    assert all(channels.float().mean() > 0.5 for channels in fired.values())
    assert torch.cat([*fired.values()]).float().mean() > 0.85


@each
def test_its_card_describes_it(domain, quality):
    file, network = prior_file(domain, quality), load_prior(domain, CPU, quality).network
    card = next(card for card in CARD.split("# Model card: ") if card.startswith(file.name))
    with safe_open(file, "pt") as handle:
        steps = int(re.search(r'"steps": (\d+)', handle.metadata()["prior"])[1])
    count = sum(weight.numel() for weight in network.parameters())
    assert f"{count:,} parameters" in card
    assert f"{file.stat().st_size / 1e6:.1f} MB" in card
    assert f"{steps:,} steps" in card
    assert "silent" in card


def test_together_they_are_small_enough_for_the_wheel():
    files = [*prior_file("bayer").parent.glob("*.safetensors")]
    assert {prior_file(*of) for of in PRIORS} < set(files)
    assert sum(file.stat().st_size for file in files) < 24e6
    assert "@" not in CARD


def info(domain="bayer", white_level=65535.0):
    planes = PLANES[domain]
    return FrameInfo(
        domain=domain, camera=None, cfa="RGGB" if domain == "bayer" else None, height=8, width=8,
        black_level=(0.0,) * planes, white_level=white_level,
    )  # fmt: skip


def test_a_prior_that_is_not_there_is_named_with_what_is():
    with pytest.raises(ModelFileError, match="no best network comes with the package for rgb frames; take fast"):
        load_prior("rgb", CPU, "best")
    assert why_no_prior(info("mono"), "best") == (
        "is mono, and no best network comes with the package for that; take fast"
    )
    assert why_no_prior(info("mono")) is why_no_prior(info("rgb")) is why_no_prior(info(), "best") is None


def test_developed_pictures_of_8_bits_are_served_by_none():
    for domain in ("mono", "rgb"):
        assert why_no_prior(info(domain, 255.0)).startswith("is a developed picture (8 bits), and without a model")
    assert why_no_prior(info("bayer", 255.0)) is None  # an 8-bit mosaic is raw all the same
