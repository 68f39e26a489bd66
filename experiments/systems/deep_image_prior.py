"""Deep Image Prior: a network is fitted to one noisy picture, and stopped before it learns the noise.

Ulyanov, Vedaldi and Lempitsky, "Deep image prior", CVPR 2018. The numbers are those of its denoising notebook: a skip
network, its input fixed uniform noise that is jittered at every step, Adam at 0.01, a running average of the outputs,
and a step back whenever the output falls 5 dB further from the noisy picture.

The source stops after a fixed number of steps. Where a second frame of the scene is at hand, the output that is nearest
to *that* one is kept here: its noise is another, so the least distance is where the error to the clean picture is
least, up to chance. The learning rate falls with the cosine, as in all trainings of the table.

One picture costs as much as others do a whole training: 295,000 multiply-adds a pixel and step, so that a picture of
256x384 takes three seconds a step on one core. The narrow network, the source's small one, takes 0.14 seconds: some
1,100 steps in 150 seconds.
The result estimates the mean of noisy values (`experiments.pictures.decoded`, ``averaged``).
"""

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from burst_denoise.arrays import Float
from burst_denoise.model.fit import FitSettings, FitState, fit
from experiments.systems.padding import padded

__all__ = ["DeepImagePriorRecord", "SkipNet", "denoise_picture", "skip_net"]

STEPS = {False: 3000, True: 2400}
"""Of the source, for the full and for the narrow network; the full one's at noise of 25 of 255."""
INPUT_SCALE = 0.1
JITTER = 1 / 30
"""Standard deviation of the noise that is added to the input at every step."""
OUTPUT_DECAY = 0.99
"""Less in the first steps, as long as the average is of few."""
WARM_UP, TIMED_STEPS = 2, 5
"""Steps whose time is not taken, and whose time is."""
LOOK_BACK = 100
"""Steps between two looks at whether the fit has collapsed."""
COLLAPSE_DB = 5.0


class _Scale(nn.Module):
    """One scale of the skip network, and within it all coarser ones."""

    def __init__(self, inputs: int, width: int, skip: int, coarser: nn.Module | None, coarser_width: int) -> None:
        super().__init__()
        self.skip = _convolution(inputs, skip, 1) if skip else None
        self.down = nn.Sequential(_convolution(inputs, width, 3, stride=2), _convolution(width, width, 3))
        self.coarser = coarser or nn.Identity()
        joined = coarser_width + skip
        self.joined = nn.Sequential(
            nn.BatchNorm2d(joined), _convolution(joined, width, 3), _convolution(width, width, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        deeper = functional.interpolate(self.coarser(self.down(x)), scale_factor=2.0, mode="bilinear")
        result: Tensor = self.joined(deeper if self.skip is None else torch.cat((self.skip(x), deeper), 1))
        return result


class SkipNet(nn.Module):
    """The skip network: an hourglass with few features at its short cuts, and a sigmoid at its end.

    Parameters
    ----------
    inputs, channels : int
        Channels of the input noise and of the picture.
    widths, skips : sequence of int
        Features of each scale and of its short cut, the finest first.
    """

    def __init__(self, inputs: int, channels: int, widths: Sequence[int], skips: Sequence[int]) -> None:
        super().__init__()
        self.inputs = inputs
        self.multiple = 2 ** len(widths)
        scale, coarser_width = None, widths[-1]
        for width, skip, above in zip(widths[::-1], skips[::-1], [*widths[:-1][::-1], inputs], strict=True):
            scale, coarser_width = _Scale(above, width, skip, scale, coarser_width), width
        self.layers = nn.Sequential(scale, nn.Conv2d(widths[0], channels, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Return the pictures (B, channels, H, W) of an input (B, inputs, H, W)."""
        height, width = x.shape[-2:]
        result: Tensor = self.layers(padded(x, self.multiple))[..., :height, :width]
        return result


def _convolution(inputs: int, outputs: int, side: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, side, stride, side // 2, padding_mode="reflect")
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2, inplace=True))


def skip_net(narrow: bool) -> SkipNet:
    """Return the network for RGB pictures: that of 2,217,831 parameters, or the small one of the same source."""
    if narrow:
        return SkipNet(3, 3, (8, 16, 32, 64, 128), (0, 0, 0, 4, 4))
    return SkipNet(32, 3, (128,) * 5, (4,) * 5)


@dataclass(frozen=True)
class DeepImagePriorRecord:
    """How a picture was denoised."""

    steps: int
    """Made in all."""
    kept_step: int
    """After which the output was kept; all steps, where there was no other frame."""
    cpu_seconds: float


def denoise_picture(
    noisy: Float,
    other: Float | None = None,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    narrow: bool = False,
    seed: int = 0,
) -> tuple[Float, DeepImagePriorRecord]:
    """Return a picture denoised by a network fitted to it alone, and the record of the fit.

    Parameters
    ----------
    noisy : (3, H, W) float32 array
        From 0 to 1, sides above 32.
    other : (3, H, W) float32 array, optional
        Another frame of the same scene, noise independent. Says which output to keep; nothing is fitted to it.
    steps : int, optional
        To be made; if neither this nor ``seconds`` is given, as many as the source makes.
    seconds : float, optional
        Processor time instead of steps: those that fit in are counted beforehand, by the time of a few.
    narrow : bool
        Take the small network.
    seed : int
        Of the weights, the input and its jitter.
    """
    torch.manual_seed(seed)
    network = skip_net(narrow)
    cpu = time.process_time()
    if steps is None:
        steps = STEPS[narrow] if seconds is None else _steps_within(seconds, network, noisy, seed)
    fitted = _Fitted(network, noisy, other, seed)
    state = fit(network, fitted.batch, fitted.loss, _settings(steps), on_step=fitted.on_step)
    record = DeepImagePriorRecord(
        steps=state.step,
        kept_step=fitted.kept_step,
        cpu_seconds=time.process_time() - cpu,
    )
    return fitted.kept.numpy(), record


def _settings(steps: int) -> FitSettings:
    return FitSettings(steps=steps, optimizer="adam", learning_rate=0.01, gradient_norm=math.inf, dtype=torch.float32)


def _steps_within(seconds: float, network: SkipNet, noisy: Float, seed: int) -> int:
    timed = _Fitted(copy.deepcopy(network), noisy, noisy, seed)
    clock = []

    def on_step(state: FitState) -> None:
        timed.on_step(state)
        clock.append(time.process_time())

    fit(timed.network, timed.batch, timed.loss, _settings(WARM_UP + TIMED_STEPS), on_step=on_step)
    each = (clock[-1] - clock[WARM_UP]) / TIMED_STEPS
    return max(1, round((seconds - clock[-1] + clock[0]) / each))


class _Fitted:
    """The fit of one picture: what the loop of the library asks for, and the output to keep."""

    def __init__(self, network: SkipNet, noisy: Float, other: Float | None, seed: int) -> None:
        self.network = network
        self.noisy = torch.from_numpy(noisy)
        self.other = None if other is None else torch.from_numpy(other)
        self.seed = seed
        shape = (1, network.inputs, *noisy.shape[1:])
        self.input = INPUT_SCALE * np.random.default_rng(seed).random(shape, np.float32)
        self.average: Tensor | None = None
        """Running average of the outputs."""
        self.outputs = 0
        self.kept = self.noisy
        self.kept_step = 0
        self.kept_error = math.inf
        self.psnr = 0.0
        """Of the output against the noisy picture, dB, at the last look."""
        self.weights: dict[str, Tensor] = {}
        """At that look."""

    def batch(self, step: int) -> tuple[Float]:
        """Return the jittered input of a step."""
        rng = np.random.default_rng([self.seed, step])
        return (self.input + np.float32(JITTER) * rng.standard_normal(self.input.shape, np.float32),)

    def loss(self, network: nn.Module, jittered: Tensor) -> Tensor:
        """Return the mean squared error to the noisy picture, and take the output into the average."""
        output = network(jittered)[0]
        shown = output.detach()
        self.outputs += 1
        decay = min(OUTPUT_DECAY, self.outputs / (10 + self.outputs))
        self.average = shown.clone() if self.average is None else self.average.lerp(shown, 1 - decay)
        return (output - self.noisy).square().mean()

    def on_step(self, state: FitState) -> None:
        """Keep the average if it is the best one, and go back to earlier weights if the fit collapsed."""
        if self.average is None:
            return
        error = -state.step if self.other is None else (self.average - self.other).square().mean().item()
        if error < self.kept_error:
            self.kept, self.kept_step, self.kept_error = self.average, state.step, error
        if state.step % LOOK_BACK == 0:
            psnr = -10 * math.log10(state.loss)
            if psnr < self.psnr - COLLAPSE_DB:
                state.network.load_state_dict(self.weights)
            else:
                self.psnr, self.weights = psnr, copy.deepcopy(state.network.state_dict())
