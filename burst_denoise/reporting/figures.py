"""Figures: charts and pictures to put into a page; PNG files of how steady series are and of before and after."""

import base64
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from burst_denoise.arrays import Float, Picture
from burst_denoise.burst.series_verdict import LARGEST_SIGMA, SeriesVerdict
from burst_denoise.files import atomic_write
from burst_denoise.schemas import ChannelProfile, TrainingRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "CHANNEL_COLOURS",
    "AnyFloat",
    "data_uri",
    "deviation_chart",
    "diverging",
    "draw_comparison",
    "draw_quality",
    "one_layer",
    "training_chart",
    "transfer_chart",
    "transfer_misfit_chart",
]

AnyFloat = npt.NDArray[np.floating]
"""Numbers to be drawn, of any precision."""

DARKEST_DN = 0.1
COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#7b4b94", "#b58900", "#4a4a4a")
LOOKS = [{"color": colour, "linestyle": line} for line in ("-", "--", ":") for colour in COLOURS]
"""Styles of the curves of series, one after the other."""
CHANNEL_COLOURS = {"R": "r", "G": "g", "G1": "g", "G2": "h", "B": "b"}
"""Colour of the page's style sheet for each channel; "c0" for any other."""
INK = "#000001"
PAINT = {name: f"#0000{number:02x}" for number, name in enumerate(("rule", "c0", "c1", *"rghb"), start=2)}
"""What matplotlib draws text and axes in, and the colours of the page's style sheet; the page puts its own there."""
WIDTH, HEIGHT = 400, 230
"""Size of a chart in units of its view box: about a CSS pixel each on a phone and on a desk alike."""
CHART = {
    "svg.fonttype": "none",
    "svg.hashsalt": "burst_denoise",
    "savefig.transparent": True,
    "figure.constrained_layout.use": True,
    "font.size": 12.5,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": PAINT["rule"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.6,
    "lines.markersize": 3.6,
    "lines.markeredgewidth": 0,
}
"""Style of the charts of a page."""


@contextmanager
def _style(sheet: Mapping[str, object] = MappingProxyType({})) -> Iterator[None]:
    """Draw in one style everywhere, whatever the user's own settings of matplotlib, and take no text for a formula."""
    from matplotlib import style

    with style.context(["default", {"text.parse_math": False}, dict(sheet)]):
        yield


@_style()
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

    drawn = [verdict for verdict in verdicts if len(verdict.deviations) > 1]
    figure = Figure(figsize=(12, 0.35 * len(verdicts) + 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.4, 1))
    curves = []
    for number, (verdict, look) in enumerate(zip(drawn, cycle(LOOKS), strict=False)):
        deviations = 1e4 * (np.asarray(verdict.deviations) - verdict.mu)
        width = 1e4 * max(verdict.sigma, 1e-7)
        grid = np.linspace(-4 * width, 4 * width, 200)
        curves += left.plot(grid, _density(deviations, width, grid), **look)
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
        labels = [f"{verdict.series}: mu {verdict.mu:.3f}, sigma {verdict.sigma:.1e}" for verdict in drawn]
        right.legend(curves, labels, fontsize=7, loc="lower left", frameon=False)
    with atomic_write(path) as aside:
        figure.savefig(aside, dpi=120)


@_style()
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
        above = y + 2 * height + 4 * dpi / 72  # 4 points
        figure.figimage((crop >> 8).astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1), x, y)
        figure.text(x / size[0], above / size[1], caption, fontsize=10)
    with atomic_write(path) as aside:
        figure.savefig(aside, dpi=dpi)


@_style(CHART)
def deviation_chart(name: str, verdict: SeriesVerdict, reach: float) -> Markup:
    """Return the density of a series' deviations e about their mean as SVG, one tick a frame.

    Parameters
    ----------
    name : str
        What all ids of the chart begin with: another one for every chart of a page.
    verdict : SeriesVerdict
        Of at least one accepted frame.
    reach : float
        The chart extends this far on both sides of the mean, in units of the deviations.

    References
    ----------
    Kovalenko and Demyanenko, 2021, Fig. 2.
    """
    from matplotlib.markers import TICKUP

    centred = 1e4 * (np.asarray(verdict.deviations) - verdict.mu)
    grid = np.linspace(-1e4 * reach, 1e4 * reach, 161)
    figure, axes = _chart("deviation e − μ, 1/10,000 of the mean brightness", "density")
    axes.plot(grid, _density(centred, 1e4 * verdict.sigma, grid), color=PAINT["c0"])
    axes.plot(centred, 0 * centred, linestyle="", marker=TICKUP, markersize=9, markeredgewidth=1.6, color=PAINT["c1"])
    axes.set(xlim=(grid[0], grid[-1]), ylim=(0, 1.1), yticks=[])
    label = f"Density of the deviations of {len(centred)} frames about their mean"
    return _svg(name, f"{label}; standard deviation {verdict.sigma:.1e}", figure)


@_style(CHART)
def transfer_chart(name: str, channels: Sequence[tuple[ChannelProfile, AnyFloat]]) -> Markup:
    """Return the photon transfer of the channels of a sensor at one ISO as SVG: variance over signal, with the lines.

    Parameters
    ----------
    name : str
        What all ids of the chart begin with: another one for every chart of a page.
    channels : sequence of (ChannelProfile, (3, B) array)
        The points are mean value, variance (linear units) and number of photosites.
    """
    figure, axes = _chart("signal, DN", "variance, DN²")
    axes.set_xscale("log")
    axes.set_yscale("log", nonpositive="mask")
    for paint, level, variance, line, _, _ in _transfers(channels):
        axes.plot(level, variance, "o", color=paint)
        axes.plot(level, line, color=paint)
    return _svg(name, "Variance over signal, with the fitted lines", figure)


@_style(CHART)
def transfer_misfit_chart(name: str, channels: Sequence[tuple[ChannelProfile, AnyFloat]]) -> Markup:
    """Return by how many percent the points of `transfer_chart` lie off their line, as SVG.

    The band holds the line where both its gain and its read noise lie in their 95 % intervals; as the two err against
    each other, it is wider than an interval of the line.
    """
    figure, axes = _chart("signal, DN", "variance off the line, %")
    reach = 1.0
    for paint, level, variance, line, low, high in _transfers(channels):
        below, off, above = (100 * (values / line - 1) for values in (low, variance, high))
        axes.fill_between(level, below, above, facecolor=(paint, 0.07), edgecolor=(paint, 0.6), linewidth=1)
        axes.plot(level, off, "o", color=paint)
        reach = max(reach, 1.2 * float(np.nanpercentile(np.abs(off), 98)), min(25.0, 1.1 * float(np.max(above))))
    axes.set(xscale="log", ylim=(-reach, reach))
    return _svg(name, "Departure of the variance from the fitted lines, with the intervals of the lines", figure)


def _transfers(
    channels: Sequence[tuple[ChannelProfile, AnyFloat]],
) -> Iterator[tuple[str, AnyFloat, AnyFloat, AnyFloat, AnyFloat, AnyFloat]]:
    """Yield paint, level, variance, and the line with the ends of its band there, DN, in the order of the levels."""
    for profile, bins in channels:
        white = profile.white_level_dn - profile.black_level_dn
        # Dark frames lie around black, which a logarithm draws apart without end: they are shown at a tenth of a DN.
        level, variance = np.maximum(white * bins[0], DARKEST_DN), white**2 * bins[1]
        order = np.argsort(level)
        level, variance = level[order], variance[order]
        gains = np.array([profile.shot_noise_scale * white, *profile.gain_dn_per_e_interval])
        read_low, read_high = profile.read_noise_std_dn_interval
        in_the_dark = np.array([profile.read_noise_variance * white**2, max(read_low, 0) ** 2, read_high**2])
        line, low, high = np.maximum(np.outer(gains, level) + in_the_dark[:, None], 1e-6)
        yield PAINT[CHANNEL_COLOURS.get(profile.channel, "c0")], level, variance, line, low, high


@_style(CHART)
def training_chart(name: str, record: TrainingRecord) -> Markup:
    """Return the score on held-out photosites over the steps as SVG: its best marked, its start a dashed line."""
    steps, scores = np.array(record.curve, np.float64).reshape(-1, 2).T
    figure, axes = _chart("training step", "held-out corrected PSNR, dB")
    axes.plot((0, max([record.steps_done, *steps])), [record.start_psnr_db] * 2, linestyle="--", color=PAINT["c1"])
    axes.plot(steps, scores, color=PAINT["c0"])
    axes.plot(record.best_step, record.best_psnr_db, "o", markersize=9, color=PAINT["c0"])
    label = f"From {record.start_psnr_db:.2f} dB to {record.best_psnr_db:.2f} dB at step {record.best_step}"
    return _svg(name, label, figure)


def data_uri(picture: Picture, *, lossless: bool = True) -> str:
    """Return a picture as a data URI.

    Parameters
    ----------
    picture : (h, w, 3) or (h, w) uint8 array, sRGB or grey
    lossless : bool
        WebP without loss, a sixth smaller than PNG; otherwise JPEG, where only the motif matters.
    """
    bgr = picture[..., ::-1] if picture.ndim == 3 else picture
    kind, options = ("webp", (cv2.IMWRITE_WEBP_QUALITY, 101)) if lossless else ("jpeg", (cv2.IMWRITE_JPEG_QUALITY, 75))
    _, data = cv2.imencode(f".{kind}", np.ascontiguousarray(bgr), options)
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode('ascii')}"


def one_layer(image: Float) -> Float:
    """Return an image (H, W) or (3, H, W) as one layer: the mosaic itself, or the mean of the colours of a picture."""
    return image if image.ndim == 2 else np.asarray(image.mean(axis=0), np.float32)


def diverging(values: AnyFloat, span: float, *, grey: bool = False) -> Picture:
    """Return values as a picture: blue below 0, neutral at 0, orange above; or black, grey, white.

    Parameters
    ----------
    values : (h, w) float array
    span : float
        The ends of the colours stand for -``span`` and ``span``; what lies beyond is shown as they are.
    grey : bool

    Returns
    -------
    (h, w, 3) or, if ``grey``, (h, w) uint8 array
    """
    place = np.clip(values / span, -1, 1) if span > 0 else np.zeros(values.shape)
    if grey:
        return np.asarray(np.rint(127.5 + 127.5 * place), np.uint8)
    stops = np.array([(20, 60, 130), (90, 150, 205), (240, 240, 236), (230, 145, 70), (140, 55, 5)])
    channels = [np.interp(place, np.linspace(-1, 1, 5), stops[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _density(deviations: AnyFloat, std: float, grid: AnyFloat) -> AnyFloat:
    """Return the density of deviations from their mean on a grid, its peak 1."""
    from scipy.stats import gaussian_kde

    varied = len(deviations) > 1 and np.ptp(deviations) > 0
    density = gaussian_kde(deviations)(grid) if varied else np.exp(-((grid / max(std, 1e-3)) ** 2) / 2)
    return density / max(float(density.max()), 1e-300)


def _chart(x_label: str, y_label: str) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72))
    return figure, figure.add_subplot(xlabel=x_label, ylabel=y_label)


def _svg(name: str, label: str, figure: "Figure") -> Markup:
    """Return a chart as an element of a page that may hold more of them; ``label`` is for those who cannot see it."""
    from matplotlib.ticker import LogLocator

    (axes,) = figure.axes
    axes.minorticks_off()
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            low, high = axis.get_view_interval()
            digits = (1, 2, 5) if high < 30 * low else (1, 3) if high < 1000 * low else (1,)
            axis.set_major_locator(LogLocator(subs=digits))
        axis.set_major_formatter(lambda value, _: f"{value:,.6g}".replace("-", "−"))
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    # What stands before the figure belongs to a file of its own, such as a style that would hold for the whole page.
    _, head, drawing = buffer.getvalue().partition('<g id="figure_1">')
    drawing = re.sub(r'( id="|url\(#|href="#)', rf"\1{name}-", head + drawing)
    drawing = re.sub(r" font-family: [^;\"]*;?", "", drawing)  # that of the page
    drawing = drawing.replace(INK, "currentColor")
    for variable, paint in PAINT.items():
        drawing = drawing.replace(paint, f"var(--{variable})")
    opening = '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">'
    return Markup(opening).format(WIDTH, HEIGHT, label) + Markup(drawing)
