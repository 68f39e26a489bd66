"""Results to files: figures of how steady the series were and of a shot before and after, rows as JSON lines."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from burst_denoise.capture.series import LARGEST_SIGMA, SeriesVerdict
from burst_denoise.files import written_aside
from burst_denoise.judge.rows import BenchmarkRow

__all__ = ["draw_comparison", "draw_quality", "write_rows"]

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

    drawn = [verdict for verdict in verdicts if len(verdict.deviations) > 1]
    figure = Figure(figsize=(12, 0.35 * len(verdicts) + 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.4, 1))
    for number, verdict in enumerate(drawn):
        deviations = 1e4 * (np.asarray(verdict.deviations) - verdict.mu)
        width = 1e4 * max(verdict.sigma, 1e-7)
        grid = np.linspace(-4 * width, 4 * width, 200)
        density = gaussian_kde(deviations)(grid) if np.ptp(deviations) > 0 else np.exp(-((grid / width) ** 2) / 2)
        look = {
            "color": COLOURS[number % len(COLOURS)],
            "linestyle": ("-", "--", ":")[number // len(COLOURS) % 3],
        }
        label = f"{verdict.series}: mu {verdict.mu:.3f}, sigma {verdict.sigma:.1e}"
        left.plot(grid, density / density.max(), label=label, **look)
        left.plot(deviations, np.full(len(deviations), -0.06 * (number + 1)), "|", color=look["color"], markersize=9)
    left.set_yticks([])
    left.set_title(
        f"How alike the accepted frames are (a series with sigma above {LARGEST_SIGMA} is rejected)", fontsize=9
    )
    left.set_xlabel("deviation e of a frame minus the series' mean mu, in 1/10,000 of the mean brightness", fontsize=8)
    left.set_ylabel("density of the deviations; below, one tick a frame", fontsize=8)
    right.axis("off")
    right.set_title("Verdicts", fontsize=9, loc="left")
    lines = []
    for verdict in verdicts:
        good = sum(frame.accepted for frame in verdict.frames)
        outcome = "" if verdict.accepted else ", SERIES REJECTED"
        lines.append(f"{verdict.series}: {good} of {len(verdict.frames)} frames accepted{outcome}")
        lines += [f"    {f.file}: {', '.join(f.reasons)}" for f in verdict.frames if not f.accepted]
    right.text(0, 1, "\n".join(lines), va="top", fontsize=7, family="monospace", transform=right.transAxes)
    if drawn:
        right.legend(*left.get_legend_handles_labels(), fontsize=7, loc="lower left", frameon=False)
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


def write_rows(path: Path, rows: Sequence[BenchmarkRow]) -> None:
    """Write rows as JSON lines; `OutputError` if the file exists or cannot be written."""
    with written_aside(path) as aside:
        aside.write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")


def _write(figure: object, path: Path, dpi: int) -> None:
    with written_aside(path) as aside:
        figure.savefig(aside, dpi=dpi)  # type: ignore[attr-defined]
