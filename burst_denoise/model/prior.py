"""The priors that come with the package: networks trained on clean pictures, for every sensor at once.

A network that only ever sees stabilised planes cannot tell which sensor their noise came from. So it can be trained
beforehand, on any clean pictures seen through random cameras, and serve a sensor it never met, given that sensor's
noise profile. `experiments/train_prior.py` made them; ``prior.md`` beside this file are their model cards.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch
from safetensors.torch import load_file

from burst_denoise.errors import ModelFileError
from burst_denoise.model.model_file import weights_digest
from burst_denoise.model.network import FrequencySplitResNet, build_network
from burst_denoise.schemas import PLANES, Domain, FrameInfo, Quality

__all__ = ["Prior", "load_prior", "prior_file", "why_no_prior"]


@dataclass(frozen=True)
class Prior:
    """A network that knows pictures, and no sensor."""

    network: FrequencySplitResNet
    sha256: str
    """Digest of the weights."""


def prior_file(domain: Domain, quality: Quality = "fast") -> Path:
    """Return where the prior of a domain and quality lies, if there is one."""
    return Path(__file__).with_name(f"prior_{domain}_{quality}.safetensors")


def why_no_prior(info: FrameInfo, quality: Quality = "fast") -> str | None:
    """Return why no prior serves frames like one, as a sentence goes on after the frame's name; None if one does."""
    if info.developed:
        return (
            f"is a developed picture ({'its colour profile has a tone curve' if info.tone_curve else '8 bits'}), and "
            "without a model only raw files and pictures of 16 bits in linear light are denoised; calibrate a model of "
            "its camera and name it with -m"
        )
    if not prior_file(info.domain, quality).is_file():
        there = [each for each in get_args(Quality) if prior_file(info.domain, each).is_file()]
        return f"is {info.domain}, and no {quality} network comes with the package for that; take {' or '.join(there)}"
    return None


def load_prior(domain: Domain, device: torch.device, quality: Quality = "fast") -> Prior:
    """Read the prior of a domain and quality and build its network on a device.

    Raises
    ------
    ModelFileError
        If none comes with the package.
    """
    path = prior_file(domain, quality)
    if not path.is_file():
        raise ModelFileError(f"no {quality} network comes with the package for {domain} frames; take fast")
    network = build_network(quality, PLANES[domain])
    network.load_state_dict(load_file(path))  # stored in 16 bits, some of them; computed with 32
    return Prior(network.to(device).eval(), weights_digest(network.state_dict()))
