"""The priors that come with the package: networks trained on clean pictures, for every sensor at once.

A network that only ever sees stabilised planes cannot tell which sensor their noise came from. So it can be trained
beforehand, on any clean pictures seen through random cameras, and serve a sensor it never met, given that sensor's
noise profile. `experiments/train_prior.py` made them; ``prior.md`` beside this file is their model card.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from burst_denoise.errors import ModelFileError
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.model.model_file import weights_digest
from burst_denoise.model.network import FrequencySplitResNet, build_network
from burst_denoise.schemas import Domain

__all__ = ["Prior", "load_prior", "prior_file"]


@dataclass(frozen=True)
class Prior:
    """A network that knows pictures, and no sensor."""

    network: FrequencySplitResNet
    sha256: str
    """Of the weights."""


def prior_file(domain: Domain) -> Path:
    """Return where the prior of a domain lies, if there is one."""
    return Path(__file__).with_name(f"prior_{domain}.safetensors")


def load_prior(domain: Domain, device: torch.device) -> Prior:
    """Read the prior of a domain and build its network on a device.

    Raises
    ------
    ModelFileError
        If no prior comes with the package for this domain.
    """
    path = prior_file(domain)
    if not path.is_file():
        raise ModelFileError(f"no prior comes with the package for {domain} frames; calibrate a model and use that")
    network = build_network("fast", len(Mosaic.PLANES[domain]))
    network.load_state_dict(load_file(path))
    return Prior(network.to(device).eval(), weights_digest(network.state_dict()))
