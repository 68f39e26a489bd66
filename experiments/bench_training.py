"""A training step's rate, in shares of the machine's matrix products, and what was tried to raise it.

    python -m experiments.bench_training [--quality fast best] [--runs 5]

The step is that of `burst_denoise.model.fit.fit`: forward and backward under autocast, gradients cut, RAdam, running
average. Multiply-adds count three times each: forward, and for the gradients of inputs and of weights.
The product is that of two square matrices in the same precision, at its best over sizes; all on one thread, in turn.
"""

import argparse
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import nn

from burst_denoise.model.fit import make_optimizer, masked_mse
from burst_denoise.model.network import build_network
from burst_denoise.schemas import Quality
from experiments.rows import complexity
from experiments.timing import Work, in_turn, matrix_product
from experiments.train_prior import STAGES

PRODUCTS = (1024, 2048, 4096)
GRADIENT_NORM, AVERAGE_DECAY = 0.05, 0.999


@dataclass(frozen=True)
class Way:
    """How a step is computed; by default as the trainings do."""

    batch: tuple[int, int] = STAGES[-1]
    """Samples and their side in plane pixels."""
    channels_last: bool = True
    optimizer: str = "torch-radam"
    """A name that `make_optimizer` knows, or fused-adamw."""
    half_weights: bool = False
    """Weights and gradients in bfloat16, a copy in float32 for the optimiser."""
    compiled: bool = False


WAYS = {
    "as it is": Way(),
    "wider tiles, 3 x 256": Way(batch=(3, 256)),
    "more samples, 12 x 128": Way(batch=(12, 128)),
    "small tiles, 8 x 64": Way(batch=STAGES[0]),
    "channels first": Way(channels_last=False),
    "AdamW, fused": Way(optimizer="fused-adamw"),
    "weights in bfloat16": Way(half_weights=True),
    "torch.compile": Way(compiled=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quality", nargs="+", choices=get_args(Quality), default=["fast", "best"])
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    products = [matrix_product(side, torch.bfloat16) for side in PRODUCTS]
    for quality in options.quality:
        kmac = complexity(build_network(quality, 4), 4)[1]
        for name, way in WAYS.items():
            try:
                seconds, *multiplied = in_turn([_step(quality, way), *products], options.runs, min)
            except Exception as error:  # noqa: BLE001 (a machine without a compiler)
                print(f"{quality:6s} {name:24s} cannot be done here: {str(error).splitlines()[0][:80]}", flush=True)
                continue
            samples, side = way.batch
            rate = 3 * 1000 * kmac * samples * side**2 / seconds
            peak = max(size**3 / each for size, each in zip(PRODUCTS, multiplied, strict=True))
            told = f"{rate / 1e9:4.0f} of {peak / 1e9:4.0f} GMAC/s: {rate / peak:.0%}"
            print(f"{quality:6s} {name:24s} {seconds:6.3f} s, {told}", flush=True)


def _step(quality: Quality, way: Way) -> Work:
    """Return what makes a step."""
    torch.manual_seed(0)
    layout = torch.channels_last if way.channels_last else torch.contiguous_format
    network: nn.Module = build_network(quality, 4).to(memory_format=layout)  # type: ignore[call-overload]
    average = [parameter.detach().clone() for parameter in network.parameters()]
    kept = [parameter.detach().clone() for parameter in network.parameters()]
    if way.half_weights:
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module is not network.head:
                module.bfloat16()
    optimizer = _optimizer(way, kept if way.half_weights else list(network.parameters()))
    noisy = torch.randn(way.batch[0], 4, way.batch[1], way.batch[1]).to(memory_format=layout)
    target, valid = torch.zeros_like(noisy), torch.ones_like(noisy)
    seen = torch.compile(network) if way.compiled else network

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            error = masked_mse(seen, noisy, target, valid)
        error.backward()
        nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_NORM)
        if way.half_weights:
            for own, parameter in zip(kept, network.parameters(), strict=True):
                own.grad = None if parameter.grad is None else parameter.grad.float()
        optimizer.step()
        network.zero_grad()
        with torch.no_grad():
            for own, parameter, mean in zip(kept, network.parameters(), average, strict=True):
                if way.half_weights:
                    parameter.copy_(own)
                mean.lerp_(own if way.half_weights else parameter, 1 - AVERAGE_DECAY)

    return run


def _optimizer(way: Way, parameters: list[Any]) -> torch.optim.Optimizer:
    if way.optimizer == "fused-adamw":
        return torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    return make_optimizer(way.optimizer, parameters, 1e-4)


if __name__ == "__main__":
    main()
