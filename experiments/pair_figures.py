"""Figures of noisy and clean pictures: what there is before any training, and what became of it; PNG files.

Pictures are (3, H, W), 0 to 1; what lies beyond is cut off where they are drawn.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.stats import gaussian_kde

from burst_denoise.arrays import Float
from burst_denoise.score.metrics import psnr, ssim

__all__ = ["draw_densities", "draw_histograms", "draw_pairs", "draw_patches", "draw_results", "draw_scores"]

DETAIL = 160
"""Side of the detail that is drawn of a picture, pixels."""
LEVELS = np.linspace(0, 1, 257)
CHANNELS = {"red": "#c8553d", "green": "#3a7d44", "blue": "#1b6ca8"}
COLOURS = ("#1b6ca8", "#c8553d")


def draw_pairs(pictures: Sequence[tuple[str, Float, Float]], path: Path) -> None:
    """Draw pairs (name, noisy, clean) side by side, whole and the most detailed part of each."""
    figure, axes = _axes(len(pictures), 4, (2.6, 2.8))
    for row, (name, noisy, clean) in zip(axes, pictures, strict=True):
        rows, columns = _detail(clean)
        shown = {
            f"{name}\nnoisy": noisy,
            "clean": clean,
            "noisy, detail": noisy[:, rows, columns],
            "clean, detail": clean[:, rows, columns],
        }
        for axis, (title, picture) in zip(row, shown.items(), strict=True):
            _show(axis, picture, title)
    _save(figure, path)


def draw_patches(picture: Float, side: int, path: Path) -> None:
    """Draw a picture with the patches that it is cut into, and each of them."""
    count = picture.shape[-1] // side
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    left, right = figure.subfigures(1, 2)
    whole = left.subplots()
    _show(whole, picture, f"{picture.shape[-2]} x {picture.shape[-1]}")
    for index in range(count**2):
        row, column = divmod(index, count)
        corner = column * side - 0.5, row * side - 0.5
        whole.add_patch(Rectangle(corner, side, side, fill=False, edgecolor="white", linewidth=1))
    right.suptitle(f"{count**2} patches of {side} x {side}", fontsize=9)
    for index, axis in enumerate(right.subplots(count, count).flat):
        row, column = divmod(index, count)
        _show(axis, picture[:, row * side : (row + 1) * side, column * side : (column + 1) * side], "")
    _save(figure, path)


def draw_histograms(pictures: Sequence[tuple[str, Float, Float]], path: Path) -> None:
    """Draw histograms of the values of pairs (name, noisy, clean), channel by channel; clean values are dashed."""
    figure, axes = _axes(len(pictures), 3, (3.2, 2.2))
    for row, (name, noisy, clean) in zip(axes, pictures, strict=True):
        for axis, channel, noisy_plane, clean_plane in zip(row, CHANNELS, noisy, clean, strict=True):
            for plane, style in ((noisy_plane, "-"), (clean_plane, "--")):
                counts, _ = np.histogram(plane, LEVELS)
                axis.plot(LEVELS[:-1], counts / plane.size, style, color=CHANNELS[channel], linewidth=1)
            axis.set_title(channel, fontsize=9)
            axis.set_xlabel("value (noisy solid, clean dashed)", fontsize=8)
        row[0].set_ylabel(f"{name}\nshare of pixels", fontsize=6)
    _save(figure, path)


def draw_densities(values: Mapping[str, Sequence[float]], quantity: str, path: Path) -> None:
    """Draw the density and the histogram of a quantity of pictures, one curve for each kind."""
    figure, ((density, histogram),) = _axes(1, 2, (4.2, 3))
    shared = np.histogram_bin_edges(np.concatenate([*values.values()]), bins=12)
    for (kind, each), colour in zip(values.items(), COLOURS, strict=False):
        if np.ptp(each) > 0:
            margin = 0.4 * float(np.ptp(each))
            grid = np.linspace(min(each) - margin, max(each) + margin, 200)
            density.plot(grid, gaussian_kde(each)(grid), color=colour, label=kind)
        histogram.hist(each, bins=shared, histtype="step", linewidth=1.5, color=colour, label=kind)
    density.set_ylabel("density")
    histogram.set_ylabel("pictures")
    for axis in (density, histogram):
        axis.set_xlabel(quantity)
        axis.legend()
    _save(figure, path)


def draw_results(pictures: Mapping[str, Float], clean: Float, path: Path) -> None:
    """Draw a detail of pictures by name, each with its PSNR and SSIM against the clean one, whole pictures scored."""
    rows, columns = _detail(clean)
    count = -(-len(pictures) // 2)
    figure, axes = _axes(2, count, (2.6, 2.9))
    for axis in axes.flat:
        axis.axis("off")
    for axis, (name, picture) in zip(axes.flat, pictures.items(), strict=False):
        scores = f"{psnr(picture, clean, peak=1.0):.2f} dB, {ssim(picture, clean, peak=1.0):.3f}"
        _show(axis, picture[:, rows, columns], f"{name}\n{'' if picture is clean else scores}")
    _save(figure, path)


def draw_scores(scores: Mapping[str, tuple[Sequence[float], Sequence[float]]], path: Path) -> None:
    """Draw PSNR and SSIM of methods by name: a point for each picture, a line at their mean."""
    figure, ((left, right),) = _axes(1, 2, (5, 0.8 + 0.4 * len(scores)))
    for row, (psnr_db, similarity) in enumerate(scores.values()):
        for axis, each in ((left, psnr_db), (right, similarity)):
            axis.plot(each, [row] * len(each), "o", color=COLOURS[0], alpha=0.5, markersize=4)
            axis.plot([np.mean(each)] * 2, [row - 0.3, row + 0.3], color=COLOURS[1])
    for axis, quantity in ((left, "PSNR, dB"), (right, "SSIM")):
        axis.set_xlabel(quantity)
        axis.set_yticks(range(len(scores)), list(scores) if axis is left else [])
        axis.invert_yaxis()
        axis.grid(axis="x", alpha=0.3)
    _save(figure, path)


def _axes(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(columns * size[0], rows * size[1]), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _show(axis: Axes, picture: Float, title: str) -> None:
    axis.imshow(np.moveaxis(np.clip(picture, 0, 1), 0, -1), interpolation="nearest")
    axis.set_title(title, fontsize=8)
    axis.axis("off")


def _detail(clean: Float) -> tuple[slice, slice]:
    """Return rows and columns of the square of a picture that varies most."""
    grey = clean.mean(0)
    corners = [
        (top, left)
        for top in range(0, grey.shape[0] - DETAIL + 1, DETAIL // 2)
        for left in range(0, grey.shape[1] - DETAIL + 1, DETAIL // 2)
    ]
    top, left = max(corners, key=lambda corner: grey[corner[0] :, corner[1] :][:DETAIL, :DETAIL].std())
    return slice(top, top + DETAIL), slice(left, left + DETAIL)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=120)
