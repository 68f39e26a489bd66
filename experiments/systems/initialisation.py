"""Weights to start from: of deep networks without residual blocks, and of convolutions that end a residual network."""

import torch
from torch import nn

__all__ = ["initialised", "small"]


@torch.no_grad()
def initialised(network: nn.Module, slope: float = 0.0) -> nn.Module:
    """Return a network whose convolutions keep the size of their signals (He et al., 2015), without a bias.

    PyTorch's own start shrinks signals by a factor of 2.4 a layer, which a deep network pays for with its first
    thousand steps. ``slope`` is that of the network's leaky ReLUs.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            # A transposed convolution of stride 2 has its weights in the other order, and a quarter of its inputs.
            transposed = isinstance(layer, nn.ConvTranspose2d)
            inputs = layer.in_channels * layer.weight[0, 0].numel() / (layer.stride[0] ** 2 if transposed else 1)
            layer.weight.normal_(std=(2 / (1 + slope**2) / inputs) ** 0.5)
            if layer.bias is not None:
                layer.bias.zero_()
    return network


@torch.no_grad()
def small(convolution: nn.Conv2d, share: float = 0.01) -> nn.Conv2d:
    """Return a convolution with a share of its weights: what it adds to the input of a network starts near 0.

    Not at 0 itself, which would leave the layers before it without a gradient for the first step.
    """
    convolution.weight.mul_(share)
    if convolution.bias is not None:
        convolution.bias.zero_()
    return convolution
