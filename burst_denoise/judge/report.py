"""Figures for people: how steady the series were, and a shot before and after. They show, they never measure."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from burst_denoise.capture.series import LARGEST_SIGMA, SeriesVerdict
from burst_denoise.files import written_aside

__all__ = ["draw_comparison", "draw_quality"]

COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#7b4b94", "#b58900", "#4a4a4a")


def draw_quality(path: Path, verdicts: Sequence[SeriesVerdict]) -> None:
    """Write a picture of the density curves of the deviations of each series, rejected frames listed beside it.

    Parameters
    ----------
    path : Path
        PNG file to write; must not exist.
    verdicts : sequence of SeriesVerdict

    References
    ----------
    Kovalenko and Demyanenko, 2021, Fig. 2.
    """
    from matplotlib.figure import Figure
    from scipy.stats import gaussian_kde

    figure = Figure(figsize=(11, 0.55 * len(verdicts) + 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    limits: list[float] = []
    for number, verdict in enumerate(v for v in verdicts if len(v.deviations) > 1):
        deviations = np.asarray(verdict.deviations) - verdict.mu
        width = max(verdict.sigma, 1e-7)
        grid = np.linspace(-4 * width, 4 * width, 200)
        density = gaussian_kde(deviations)(grid) if np.ptp(deviations) > 0 else np.exp(-((grid / width) ** 2) / 2)
        colour = COLOURS[number % len(COLOURS)]
        style = ("-", "--", ":")[number // len(COLOURS) % 3]
        label = f"{verdict.series}: mu {verdict.mu:.3f}, sigma {verdict.sigma:.1e}"
        left.plot(1e4 * grid, density / density.max(), style, color=colour, label=label)
        left.plot(1e4 * deviations, np.full(len(deviations), -0.03 - 0.02 * (number % 4)), "|", color=colour)
        limits.append(4e4 * width)
    if limits:
        left.set_xlim(-float(np.median(limits)) * 1.5, float(np.median(limits)) * 1.5)
    left.set_title(
        f"How alike the accepted frames are (a series with sigma above {LARGEST_SIGMA} is rejected)", fontsize=9
    )
    left.set_xlabel("deviation e of a frame minus the series' mean mu, in 1/10,000 of the mean brightness")
    left.set_ylabel("density, highest = 1")
    left.legend(fontsize=7, loc="upper right")
    right.axis("off")
    right.set_title("Verdicts", fontsize=9, loc="left")
    lines = []
    for verdict in verdicts:
        good = sum(frame.accepted for frame in verdict.frames)
        lines.append(
            f"{verdict.series}: {good} of {len(verdict.frames)} frames" + ("" if verdict.accepted else ", REJECTED")
        )
        lines += [f"    {frame.file}: {', '.join(frame.reasons)}" for frame in verdict.frames if not frame.accepted]
    right.text(0, 1, "\n".join(lines), va="top", fontsize=7, family="monospace", transform=right.transAxes)
    _write(figure, path, dpi=120)


def draw_comparison(path: Path, panels: Sequence[tuple[str, npt.NDArray[np.uint16]]], title: str) -> None:
    """Write a picture of the same crop under several treatments, side by side, each photosite two by two pixels.

    Parameters
    ----------
    path : Path
        PNG file to write; must not exist.
    panels : sequence of (caption, (H, W, 3) uint16 array, sRGB)
        Crops of equal size.
    title : str
    """
    from matplotlib.figure import Figure

    height, width = panels[0][1].shape[:2]
    dpi, gap = 100, 12
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    size = (columns * (2 * width + gap) + gap, rows * (2 * height + gap + 26) + 40)
    figure = Figure(figsize=(size[0] / dpi, size[1] / dpi))
    figure.text(gap / size[0], 1 - 24 / size[1], title, fontsize=12)
    for number, (caption, crop) in enumerate(panels):
        row, column = divmod(number, columns)
        x = gap + column * (2 * width + gap)
        y = size[1] - 40 - (row + 1) * (2 * height + gap + 26) + gap
        axes = figure.add_axes((x / size[0], y / size[1], 2 * width / size[0], 2 * height / size[1]))
        axes.imshow((crop >> 8).astype(np.uint8), interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        axes.set_title(caption, fontsize=10, loc="left", pad=4)
    _write(figure, path, dpi)


def _write(figure: object, path: Path, dpi: int) -> None:
    with written_aside(path) as aside:
        figure.savefig(aside, dpi=dpi)  # type: ignore[attr-defined]
