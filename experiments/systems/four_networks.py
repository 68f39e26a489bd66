"""A study of four networks on pairs of noisy and clean pictures: its exploration, its recipe, its results.

    python -m experiments.systems.four_networks --pairs FOLDER --output FOLDER [--epochs-share 0.01] [--narrow]
                                                  [--loss study|own]

Pictures are brought to 1024 x 1024 and cut into 16 patches of 256 x 256. Of the pictures, not of the patches, four
fifths are trained on; the others are scored, whole. A convolutional autoencoder, CBDNet, PRIDNet and RIDNet learn the
mean squared error in batches of 32 for 15, 30, 30 and 25 epochs; non-local means and the noisy pictures are compared.
``--loss own`` trains each network on the loss of its own paper instead: PRIDNet and RIDNet on the mean absolute error,
CBDNet on its three parts, of which the one about the noise level is 0, because that level is not known here. The study
went on to recommend HINet, Uformer and MIRNet, which are not built here.

What differs: the loop and its running average of weights are `burst_denoise.model.fit.fit`, the learning rates those
of our table. The whole recipe is days of a processor: ``--epochs-share`` takes a share of the epochs, ``--batch`` fewer
patches a step (a batch of 32 of the full PRIDNet needs some 10 GB), ``--narrow`` narrower networks; all are told in the
results. To enlarge a smaller picture correlates its noise. Pictures of one scene can end on both sides, as they did in
the study: `experiments.table` splits by scene.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import nn

import burst_denoise as bd
from burst_denoise.arrays import Float
from burst_denoise.files import refuse_existing, write_file
from burst_denoise.model.fit import FitSettings, FitState, fit
from burst_denoise.score.metrics import psnr, ssim
from experiments import pair_figures
from experiments.pictures import DataSet, Pairs, spread
from experiments.systems.autoencoder import AUTOENCODER
from experiments.systems.cbdnet import CBDNET, CBDNET_MSE
from experiments.systems.pridnet import PRIDNET
from experiments.systems.ridnet import RIDNET
from experiments.systems.system import System, mean_squared_error

__all__ = [
    "EPOCHS",
    "LOSSES",
    "Result",
    "StudyPair",
    "as_trained",
    "patches_of",
    "split_by_picture",
    "study_pair",
    "train_network",
]

Levels = npt.NDArray[np.uint8]

SIDE = 1024
"""Of a picture, pixels."""
PATCH = 256
BATCH = 32
HELD_OUT_SHARE = 0.2
EPOCHS = {AUTOENCODER: 15, CBDNET_MSE: 30, PRIDNET: 30, RIDNET: 25}
LOSSES = ("study", "own")
"""The mean squared error for all, as in the study, or of each network that of its paper."""
NLM_STRENGTHS = (2, 3, 5, 7, 10, 14, 20)
"""Of 255; the best on the training pictures is taken. OpenCV's default is 3, its tutorials take 10."""
TUNING_PATCHES = 8
MOST_GRADIENT = 1.0
"""Norm to which gradients are cut, as in the table."""
PICTURES_SHOWN = 3


@dataclass(frozen=True)
class StudyPair:
    """A noisy and a clean picture, (3, 1024, 1024), 8 bits: red, green, blue."""

    name: str
    noisy: Levels
    clean: Levels


@dataclass(frozen=True)
class Result:
    """A method on the held-out pictures."""

    method: str
    psnr_db: tuple[float, ...]
    """Of each picture."""
    ssim: tuple[float, ...]
    seconds: float
    """For one picture."""
    parameters: int | None = None
    weights_mb: float | None = None
    """Size of the file of weights, 10^6 bytes."""
    steps: int | None = None
    minutes: float | None = None
    """Of training."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True, help="folder of noisy and clean pictures")
    parser.add_argument("--output", type=Path, required=True, help="folder for figures, weights and results")
    parser.add_argument("--epochs-share", type=float, default=1.0, help="share of the epochs of the study, 0 to 1")
    parser.add_argument("--batch", type=int, default=BATCH, help="patches of a step")
    parser.add_argument("--narrow", action="store_true", help="narrower networks: a proof, no result")
    parser.add_argument("--loss", choices=LOSSES, default="study", help="mean squared error, or those of the papers")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        refuse_existing(options.output)
        _study(options)
    except bd.BurstDenoiseError as error:
        sys.exit(f"error: {error}")


def _study(options: argparse.Namespace) -> None:
    """Explore, train and score, and write all of it to a new folder."""
    options.output.mkdir(parents=True)
    pairs = [study_pair(pair.name, pair.noisy.linear, pair.clean.linear) for pair in bd.read_pairs(options.pairs)]
    training, held_out = split_by_picture(pairs, options.seed)
    print(f"{len(training)} pictures to train on, {len(held_out)} held out", flush=True)
    _explore(pairs, options.output)
    strength = nlm_strength(training)
    denoisers: dict[str, Callable[[Float], Float]] = {
        "Noisy": lambda picture: picture,
        f"Non-local means, h = {strength:g}": lambda picture: non_local_means(picture, strength),
    }
    results = [score(name, denoise, held_out) for name, denoise in denoisers.items()]
    for system, epochs in EPOCHS.items():
        system = as_trained(system, options.loss)
        network, state = train_network(
            system, training, epochs * options.epochs_share, options.batch, narrow=options.narrow, seed=options.seed
        )
        weights = options.output / f"{system.name.split(',')[0].replace(' ', '_').lower()}.safetensors"
        save_file({key: weight.contiguous() for key, weight in network.state_dict().items()}, weights)
        name = f"{system.name} (narrowed)" if options.narrow else system.name
        denoisers[name] = lambda picture, system=system, network=network: system.denoise(network, picture)
        results.append(
            replace(
                score(name, denoisers[name], held_out),
                parameters=sum(parameter.numel() for parameter in network.parameters()),
                weights_mb=weights.stat().st_size / 1e6,
                steps=state.step,
                minutes=state.seconds / 60,
            )
        )
        print(markdown(results[-1:]).splitlines()[-1], flush=True)
    _report(results, denoisers, held_out, options)


def study_pair(name: str, noisy: Float, clean: Float) -> StudyPair:
    """Return pictures (3, H, W), 0 to 1, brought to the size of the study, whatever their shape was."""
    return StudyPair(name, _resized(noisy), _resized(clean))


def _resized(picture: Float) -> Levels:
    shrinks = min(picture.shape[1:]) > SIDE
    pixels = np.ascontiguousarray(np.moveaxis(picture, 0, -1))
    pixels = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.moveaxis(np.rint(255 * np.clip(pixels, 0, 1)).astype(np.uint8), -1, 0)


def patches_of(picture: Levels) -> Levels:
    """Return the patches (16, 3, 256, 256) that a picture is cut into, row by row."""
    count = SIDE // PATCH
    patches = picture.reshape(3, count, PATCH, count, PATCH).transpose(1, 3, 0, 2, 4)
    return patches.reshape(-1, 3, PATCH, PATCH)


def split_by_picture(pairs: Sequence[StudyPair], seed: int = 0) -> tuple[list[StudyPair], list[StudyPair]]:
    """Return four fifths of the pictures to train on, and the others to score; each in the order given.

    Raises
    ------
    SeriesError
        If there are fewer than two.
    """
    if len(pairs) < 2:
        raise bd.SeriesError(f"{len(pairs)} pair; training and scoring need one each, name a folder of more")
    count = max(1, round(HELD_OUT_SHARE * len(pairs)))
    held_out = set(np.random.default_rng(seed).permutation(len(pairs))[:count].tolist())
    return (
        [pair for index, pair in enumerate(pairs) if index not in held_out],
        [pair for index, pair in enumerate(pairs) if index in held_out],
    )


def as_trained(system: System, loss: str) -> System:
    """Return a system of `EPOCHS` with one of `LOSSES`."""
    if loss == "study":
        return replace(system, loss=mean_squared_error)
    return CBDNET if system is CBDNET_MSE else system


def train_network(
    system: System, pairs: Sequence[StudyPair], epochs: float, batch: int, *, narrow: bool, seed: int = 0
) -> tuple[nn.Module, FitState]:
    """Return the network of a system trained as in the study, and how the training ended.

    Parameters
    ----------
    system : System
        From `as_trained`; its loss is used, and of its batches the parts, on the patches of the study.
    pairs : sequence of StudyPair
    epochs : float
        Passes over all patches; parts of one count.
    batch : int
        Patches of a step.
    narrow : bool
        Whether the network is narrowed.
    seed : int
        Decides everything that is random.
    """
    noisy = np.concatenate([patches_of(pair.noisy) for pair in pairs])
    clean = np.concatenate([patches_of(pair.clean) for pair in pairs])
    steps_per_epoch = -(-len(noisy) // batch)

    def batches(step: int) -> Sequence[Any]:
        epoch, index = divmod(step, steps_per_epoch)
        order = np.random.default_rng([seed, epoch]).permutation(len(noisy))
        chosen = order[index * batch : (index + 1) * batch]
        unknown = np.full((len(chosen), 3), np.nan, np.float32)
        drawn = Pairs(_picture(noisy[chosen]), _picture(clean[chosen]), noise_std=unknown)
        return system.batch(DataSet("patches", lambda _count, _side, _rng: drawn, ()), np.random.default_rng())

    torch.manual_seed(seed)
    network = system.build(narrow)
    settings = FitSettings(
        steps=max(1, round(epochs * steps_per_epoch)),
        optimizer=system.optimizer,
        learning_rate=system.learning_rate,
        gradient_norm=MOST_GRADIENT,
        dtype=torch.float32,
    )
    state = fit(network, batches, system.loss, settings)
    return state.average, state


def _picture(levels: Levels) -> Float:
    return levels.astype(np.float32) / np.float32(255)


def non_local_means(picture: Float, strength: float) -> Float:
    """Return a picture (3, H, W) denoised by OpenCV's coloured non-local means with its default windows."""
    bgr = np.ascontiguousarray(np.moveaxis(np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)[::-1], 0, -1))
    filtered = cv2.fastNlMeansDenoisingColored(bgr, None, strength, strength, 7, 21)
    return np.moveaxis(_picture(filtered)[..., ::-1], -1, 0)


def nlm_strength(pairs: Sequence[StudyPair]) -> float:
    """Return the strength of non-local means that scores best on patches of pairs."""
    spread = np.linspace(0, len(pairs) - 1, min(len(pairs), TUNING_PATCHES)).astype(int)
    middle = slice((SIDE - PATCH) // 2, (SIDE + PATCH) // 2)
    patches = [[_picture(x[:, middle, middle]) for x in (pairs[i].noisy, pairs[i].clean)] for i in spread]

    def mean_psnr(strength: float) -> float:
        scores = [psnr(non_local_means(noisy, strength), clean, peak=1.0) for noisy, clean in patches]
        return float(np.mean(scores))

    return max(NLM_STRENGTHS, key=mean_psnr)


def score(method: str, denoise: Callable[[Float], Float], pairs: Sequence[StudyPair]) -> Result:
    """Return how a method does on whole pictures."""
    began = time.perf_counter()
    denoised = [denoise(_picture(pair.noisy)) for pair in pairs]
    seconds = (time.perf_counter() - began) / len(pairs)
    clean = [_picture(pair.clean) for pair in pairs]
    scored = list(zip(denoised, clean, strict=True))
    return Result(
        method,
        psnr_db=tuple(psnr(one, other, peak=1.0) for one, other in scored),
        ssim=tuple(ssim(one, other, peak=1.0) for one, other in scored),
        seconds=seconds,
    )


def markdown(results: Sequence[Result]) -> str:
    """Return results as a table; PSNR and SSIM are means over the pictures."""
    lines = [
        "| | PSNR, dB | SSIM | s/picture | parameters | weights, MB | steps | minutes |",
        "|---" + "|---:" * 7 + "|",
    ]
    for result in results:
        cells = [
            f"{np.mean(result.psnr_db):.2f}",
            f"{np.mean(result.ssim):.4f}",
            f"{result.seconds:.2f}",
            "" if result.parameters is None else f"{result.parameters:,}",
            "" if result.weights_mb is None else f"{result.weights_mb:.1f}",
            "" if result.steps is None else f"{result.steps:,}",
            "" if result.minutes is None else f"{result.minutes:.1f}",
        ]
        lines.append(f"| {result.method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _explore(pairs: Sequence[StudyPair], output: Path) -> None:
    """Draw what there is to see before any network is trained."""
    shown = spread(pairs, PICTURES_SHOWN)
    pictures = [(pair.name, _picture(pair.noisy), _picture(pair.clean)) for pair in shown]
    pair_figures.draw_pairs(pictures, output / "pairs.png")
    pair_figures.draw_patches(pictures[0][1], PATCH, output / "patches.png")
    pair_figures.draw_histograms(pictures, output / "histograms.png")
    means = {kind: [float(getattr(pair, kind).mean()) / 255 for pair in pairs] for kind in ("noisy", "clean")}
    pair_figures.draw_densities(means, "mean of a picture", output / "means.png")
    before = score("Noisy", lambda picture: picture, pairs)
    pair_figures.draw_densities({"noisy": before.psnr_db}, "PSNR before, dB", output / "psnr_before.png")
    pair_figures.draw_densities({"noisy": before.ssim}, "SSIM before", output / "ssim_before.png")


def _report(
    results: Sequence[Result],
    denoisers: dict[str, Callable[[Float], Float]],
    held_out: Sequence[StudyPair],
    options: argparse.Namespace,
) -> None:
    """Write results as JSON and as a table, and draw pictures before and after."""
    told = (
        f"{len(held_out)} held-out pictures of {options.pairs.name}; {options.epochs_share:g} of the study's epochs, "
        f"batches of {options.batch}, {'mean squared error' if options.loss == 'study' else 'losses of the papers'}"
        f"{', networks narrowed' if options.narrow else ''}."
    )
    table = f"{told}\n\n{markdown(results)}\n"
    write_file(options.output / "results.md", table.encode(), overwrite=True)
    rows = json.dumps([asdict(result) for result in results], indent=1)
    write_file(options.output / "results.json", rows.encode(), overwrite=True)
    for pair in held_out[:PICTURES_SHOWN]:
        noisy, clean = _picture(pair.noisy), _picture(pair.clean)
        pictures = {name: denoise(noisy) for name, denoise in denoisers.items()} | {"Clean": clean}
        pair_figures.draw_results(pictures, clean, options.output / f"result_{pair.name.replace('/', '_')}.png")
    pair_figures.draw_scores(
        {result.method: (result.psnr_db, result.ssim) for result in results}, options.output / "scores.png"
    )
    print(table)


if __name__ == "__main__":
    main()
