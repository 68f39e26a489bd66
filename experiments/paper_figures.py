"""The figures of the source paper, repeated on our pictures; each title names the figure and what differs.

`experiments.table` draws them at its end, with what the systems made of the pictures when they had been trained.

Kovalenko and Demyanenko, "Unsupervised Training of Denoising Networks" (2021). Not repeated are its drawings of the
method (3, 4, 6).
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file
from scipy.stats import gaussian_kde

import burst_denoise as bd
from burst_denoise.arrays import Float
from burst_denoise.model.network import FrequencySplit
from burst_denoise.score.baselines import Method, baseline_method, nlm_stabilised
from burst_denoise.score.metrics import psnr
from experiments.burst_pictures import picture_burst
from experiments.crops import SIDE, Crop, crop_of, first_frame, kept_crops, shown
from experiments.entries import Comparison
from experiments.pictures import centre, encoded
from experiments.rows import kept_rows
from experiments.scoring import SeriesTest, picture_method
from experiments.systems.paper import PAPER
from experiments.training import WEIGHTS

__all__ = ["draw_figures", "series_deviations"]

SIGMA_LIMIT = 0.007
"""Standard deviation of the deviations above which the paper rejects a series."""
LIGHT = 0.4
"""By how much the light changes from the left to the right of the picture, at the end of a series of changing light."""
NLM = "nlm-stabilised"


def draw_figures(comparison: Comparison, table: Path, second: Path) -> Iterator[Path]:
    """Draw all figures that the rows of a table allow, and yield their files.

    Parameters
    ----------
    comparison : Comparison
        On bursts.
    table : Path
        The output folder of `experiments.table`.
    second : Path
        Frames of a second camera; without them there is no figure 9.
    """
    assert isinstance(comparison.test, SeriesTest)
    folder, scored = table / "figures", comparison.test.bursts
    folder.mkdir(parents=True, exist_ok=True)
    yield _saved(_changed_light(scored[0]), folder / "paper_1_changed_light.png")
    yield _saved(_deviation_densities([*comparison.bursts, *scored]), folder / "paper_2_deviation_densities.png")
    yield _saved(_frequency_split(scored[0]), folder / "paper_5_frequency_split.png")
    strength = comparison.test.strengths[NLM]
    for number, burst in zip((7, 8), (scored[0], scored[-1]), strict=True):
        nlm = crop_of(NLM, 0.0, _nlm(strength, burst.linear(0), first_frame(burst)), burst)
        crops = [nlm, *kept_crops(table / "rows" / comparison.name, burst.name)]
        yield _saved(_visual_comparison(number, burst, crops), folder / f"paper_{number}_comparison.png")
    paper = _paper(comparison, table)
    if paper is not None and second.is_dir():
        other = max(bd.ingest(second), key=len)
        pictures = picture_burst(other, table / "bursts" / f"second_{second.resolve().name}" / f"{other.name}.burst")
        yield _saved(_other_sensor(scored[-1], pictures, paper), folder / "paper_9_other_sensor.png")
    else:
        print(
            f"no figure 9: it needs {PAPER.name}, trained in this run, and frames of a second camera in {second} "
            "(--second)"
        )


def _nlm(strength: float, image: Float, frame: bd.Frame) -> Float:
    assert frame.noise_profile is not None
    return baseline_method(nlm_stabilised, frame.noise_profile, strength)(image, frame)


def _paper(comparison: Comparison, table: Path) -> Method | None:
    """Return the paper's system with the weights that it was scored with; None where these are not there."""
    for row in kept_rows(table / "rows"):
        weights = table / "work" / row.training / WEIGHTS
        if (row.system, row.data) == (PAPER.name, comparison.name) and weights.is_file():
            network = PAPER.build(row.narrow).eval()
            network.load_state_dict(load_file(weights))
            return picture_method(partial(PAPER.denoise, network), averaged=PAPER.averaged)
    return None


def _saved(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)
    return path


def series_deviations(frames: Sequence[Float]) -> Float:
    """Return e_k of the frames of a series: RMS distance of each to their mean, all scaled to mean 1 first."""
    scaled = np.stack([frame / np.abs(frame).mean() for frame in frames])
    deviations: Float = np.sqrt(((scaled - scaled.mean(0)) ** 2).mean((1, 2, 3)))
    return deviations


def _under_changing_light(frames: Sequence[Float]) -> list[Float]:
    """Return frames as if the light had moved from one side to the other in the course of the series."""
    ramp = np.linspace(-0.5, 0.5, frames[0].shape[-1], dtype=np.float32)
    shares = np.linspace(0, 1, len(frames))
    return [frame * (1 + np.float32(LIGHT * share) * ramp) for frame, share in zip(frames, shares, strict=True)]


def _changed_light(burst: bd.Burst) -> Figure:
    frames = [burst.linear(index) for index in range(len(burst))]
    changing = _under_changing_light(frames)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), gridspec_kw={"width_ratios": (1, 1.3)})
    for label, series in (("constant light", frames), ("changing light", changing)):
        deviations = series_deviations(series)
        right.plot(range(len(series)), deviations, "o-", label=f"{label}: sigma {deviations.std():.5f}")
    right.set(xlabel="frame", ylabel="deviation e")
    right.legend()
    left.imshow(shown(changing[-1], burst))
    left.set_title("last frame under changing light", fontsize=9)
    left.axis("off")
    figure.suptitle(
        f"Figure 1 of the paper: changed light raises sigma. Here {burst.name} at half size; "
        f"the light was changed afterwards, by {LIGHT:.0%} from side to side",
        fontsize=9,
    )
    return figure


def _deviation_densities(bursts: Sequence[bd.Burst]) -> Figure:
    figure, panels = plt.subplots(1, 2, figsize=(12, 4.2), gridspec_kw={"width_ratios": (1.4, 1)})
    series = {burst.name: [burst.linear(index) for index in range(len(burst))] for burst in bursts}
    changed = {f"{bursts[0].name}, changing light": _under_changing_light(series[bursts[0].name])}
    for axes, drawn in zip(panels, (series, changed), strict=True):
        for name, frames in drawn.items():
            deviations = series_deviations(frames)
            around = deviations - deviations.mean()
            grid = np.linspace(-4 * deviations.std(), 4 * deviations.std(), 200)
            label = f"{name}: mu {deviations.mean():.4f}, sigma {deviations.std():.5f}"
            axes.plot(grid, gaussian_kde(around)(grid), label=label)
        axes.set(xlabel="deviation e - mu", ylabel="density")
        axes.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1))
    figure.suptitle(
        "Figure 2 of the paper: densities of the deviations of series. Here half-size pictures; "
        f"the paper accepts a series up to sigma {SIGMA_LIMIT}",
        fontsize=9,
        y=1.22,
    )
    return figure


def _frequency_split(burst: bd.Burst) -> Figure:
    picture = encoded(burst.linear(0), burst.profile)
    grey = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), picture, 1)
    low, high = (band[0, 0].numpy() for band in FrequencySplit()(torch.from_numpy(grey)[None, None]))
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.4))
    for axis, (title, band, span) in zip(
        axes, (("picture", grey, (0, 1)), ("low band", low, (0, 1)), ("high band", high, (-0.1, 0.1))), strict=True
    ):
        axis.imshow(band, cmap="gray", vmin=span[0], vmax=span[1])
        axis.set_title(f"{title}, {span[0]:g} to {span[1]:g}", fontsize=9)
        axis.axis("off")
    figure.suptitle(
        f"Figure 5 of the paper: low and high band of the Butterworth filter, order 1, cut-off 0.141 cycles/pixel. "
        f"Here {burst.name}, half size, low + high = picture",
        fontsize=9,
    )
    return figure


def _visual_comparison(number: int, burst: bd.Burst, crops: Sequence[Crop]) -> Figure:
    clean = burst.leave_one_out_mean(0) if burst.clean is None else burst.clean
    panels = [
        (f"{fill(crop.system, 28)}\n{crop.psnr_db:.2f} dB", crop.picture)
        for crop in (crop_of("noisy", 0.0, burst.linear(0), burst), *crops)
    ]
    panels.append(("mean of the other frames" if burst.clean is None else "clean", shown(centre(clean, SIDE), burst)))
    columns = 5
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.9 * columns, 3.3 * rows), layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for axis, (title, picture) in zip(axes.flat, panels, strict=False):
        axis.imshow(picture, interpolation="nearest")
        axis.set_title(title, fontsize=8)
    figure.suptitle(
        f"Figure {number} of the paper: systems side by side. "
        f"Here the first frame of {burst.name}, half size; PSNR of all of it",
        fontsize=10,
    )
    return figure


def _other_sensor(own: bd.Burst, other: bd.Burst, paper: Method) -> Figure:
    figure, axes = plt.subplots(2, 3, figsize=(11, 7.6))
    for line, burst in zip(axes, (own, other), strict=True):
        noisy, mean = burst.linear(0), burst.leave_one_out_mean(0)
        clean = paper(noisy, first_frame(burst))
        for axis, (title, picture) in zip(
            line, (("noisy", noisy), ("denoised", clean), ("mean of the other frames", mean)), strict=True
        ):
            axis.imshow(shown(centre(picture, SIDE), burst), interpolation="nearest")
            decibels = "" if picture is mean else f", {psnr(picture, mean, peak=1.0):.2f} dB to the mean"
            axis.set_title(f"{burst.info.camera or burst.name}\n{title}{decibels}", fontsize=8)
            axis.axis("off")
    kind = "developed pictures, whose noise may be correlated" if other.info.as_shot_neutral is None else "raw files"
    figure.suptitle(
        "Figure 9 of the paper: a network trained on one camera, on frames of that camera (above)\n"
        f"and of another (below). Here the other one's frames are {kind}",
        fontsize=9,
    )
    return figure
