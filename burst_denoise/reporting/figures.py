"""Figures: charts and pictures to put into a page; PNG files of how steady series are and of before and after."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from burst_denoise.arrays import Picture
from burst_denoise.burst.series import LARGEST_SIGMA, SeriesVerdict
from burst_denoise.files import atomic_write
from burst_denoise.reporting.charts import Layer, chart
from burst_denoise.schemas import ChannelProfile, TrainingRecord

__all__ = [
    "CHANNEL_COLOURS",
    "data_uri",
    "deviation_chart",
    "diverging",
    "draw_comparison",
    "draw_quality",
    "pattern_figure",
    "training_chart",
    "transfer_chart",
    "transfer_misfit_chart",
]

Float = npt.NDArray[np.floating]

DARKEST_DN = 0.1
COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#7b4b94", "#b58900", "#4a4a4a")
CHANNEL_COLOURS = {"R": "r", "G": "g", "G1": "g", "G2": "h", "B": "b"}
"""Class of the page's style sheet for each channel."""


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
    for number, verdict in enumerate(drawn):
        deviations = 1e4 * (np.asarray(verdict.deviations) - verdict.mu)
        width = 1e4 * max(verdict.sigma, 1e-7)
        grid = np.linspace(-4 * width, 4 * width, 200)
        look = {
            "color": COLOURS[number % len(COLOURS)],
            "linestyle": ("-", "--", ":")[number // len(COLOURS) % 3],
        }
        label = f"{verdict.series}: mu {verdict.mu:.3f}, sigma {verdict.sigma:.1e}"
        left.plot(grid, _density(deviations, width, grid), label=label, **look)
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


def deviation_chart(verdict: SeriesVerdict, reach: float) -> str:
    """Return the density of a series' deviations e about their mean as SVG, one tick a frame.

    Parameters
    ----------
    verdict : SeriesVerdict
        Of at least one accepted frame.
    reach : float
        The chart extends this far on both sides of the mean, in units of the deviations.

    References
    ----------
    Kovalenko and Demyanenko, 2021, Fig. 2.
    """
    centred = 1e4 * (np.asarray(verdict.deviations) - verdict.mu)
    grid = np.linspace(-1e4 * reach, 1e4 * reach, 161)
    return chart(
        f"Density of the deviations of {len(centred)} frames about their mean; standard deviation {verdict.sigma:.1e}",
        "deviation e − μ, 1/10,000 of the mean brightness",
        "density",
        [Layer(grid, _density(centred, 1e4 * verdict.sigma, grid)), Layer(centred, 0 * centred, "ticks", "c1")],
        x_range=(-1e4 * reach, 1e4 * reach),
        y_range=(0, 1.1),
        y_ticks=False,
    )


def transfer_chart(channels: Sequence[tuple[ChannelProfile, Float]]) -> str:
    """Return the photon transfer of the channels of a sensor at one ISO as SVG: variance over signal, with the lines.

    Parameters
    ----------
    channels : sequence of (ChannelProfile, (3, B) array)
        The points are mean value, variance (linear units) and number of photosites.
    """
    layers = []
    for profile, bins in channels:
        level, variance, line, _, _ = _transfer(profile, bins)
        colour = CHANNEL_COLOURS.get(profile.channel, "c0")
        layers += [Layer(level, variance, "dots", colour), Layer(level, line, "line", colour)]
    return chart("Variance over signal, with the fitted lines", "signal, DN", "variance, DN²", layers, log="xy")


def transfer_misfit_chart(channels: Sequence[tuple[ChannelProfile, Float]]) -> str:
    """Return by how many percent the points of `transfer_chart` lie off their line, as SVG.

    The band holds the line where both its gain and its read noise lie in their 95 % intervals; as the two err against
    each other, it is wider than an interval of the line.
    """
    layers: list[Layer] = []
    reach = 1.0
    for profile, bins in channels:
        level, variance, line, low, high = _transfer(profile, bins)
        colour = CHANNEL_COLOURS.get(profile.channel, "c0")
        off = 100 * (variance / line - 1)
        band = Layer(level, 100 * (low / line - 1), "band", colour, 100 * (high / line - 1))
        layers = [band, *layers, Layer(level, off, "dots", colour)]  # bands below all points
        reach = max(
            reach, 1.2 * float(np.nanpercentile(np.abs(off), 98)), min(25.0, 110 * float(np.max(high / line - 1)))
        )
    alt = "Departure of the variance from the fitted lines, with the intervals of the lines"
    return chart(alt, "signal, DN", "variance off the line, %", layers, y_range=(-reach, reach), log="x")


def _transfer(profile: ChannelProfile, bins: Float) -> tuple[Float, Float, Float, Float, Float]:
    """Return level, variance, and the line with the ends of its band there, DN, in the order of the levels."""
    white = profile.white_level_dn - profile.black_level_dn
    # Dark frames lie around black, which a logarithm draws apart without end: they are shown at a tenth of a DN.
    level, variance = np.maximum(white * bins[0], DARKEST_DN), white**2 * bins[1]
    order = np.argsort(level)
    level, variance = level[order], variance[order]

    def line(gain: float, read_noise_variance: float) -> Float:
        above: Float = np.maximum(gain * np.maximum(level, 0) + read_noise_variance, 1e-6)
        return above

    (gain_low, gain_high), (read_low, read_high) = profile.gain_dn_per_e_interval, profile.read_noise_std_dn_interval
    return (
        level,
        variance,
        line(profile.shot_noise_scale * white, profile.read_noise_variance * white**2),
        line(gain_low, max(read_low, 0) ** 2),
        line(gain_high, read_high**2),
    )


def training_chart(record: TrainingRecord) -> str:
    """Return the score on held-out photosites over the steps as SVG: its best marked, its start a dashed line."""
    steps, scores = np.array(record.curve, np.float64).reshape(-1, 2).T
    end = max([record.steps_done, *steps])
    layers = [
        Layer(np.array([0.0, end]), np.full(2, record.start_psnr_db), "line dashed", "c1"),
        Layer(steps, scores),
        Layer(np.array([float(record.best_step)]), np.array([record.best_psnr_db]), "mark"),
    ]
    alt = f"From {record.start_psnr_db:.2f} dB to {record.best_psnr_db:.2f} dB at step {record.best_step}"
    return chart(alt, "training step", "held-out corrected PSNR, dB", layers)


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


def diverging(values: Float, span: float, *, grey: bool = False) -> Picture:
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


def pattern_figure(caption: str, values: Float, unit: str) -> str:
    """Return a map of what is the same in every frame, (h, w) floats coloured about their median, with its scale."""
    middle = float(np.nanmedian(values))
    span = float(np.nanpercentile(np.abs(values - middle), 99.5))
    low, high = (f"{end:.2g}".replace("-", "−") for end in (middle - span, middle + span))
    picture = data_uri(diverging(values - middle, span))
    return (
        f'<figure><img class="map" src="{picture}" alt="{escape(caption)}"><figcaption>{escape(caption)}'
        f'<br>{low}<span class="scale"></span>{high} {escape(unit)}</figcaption></figure>'
    )


def _density(deviations: Float, std: float, grid: Float) -> Float:
    """Return the density of deviations from their mean on a grid, its peak 1."""
    from scipy.stats import gaussian_kde

    varied = len(deviations) > 1 and np.ptp(deviations) > 0
    density = gaussian_kde(deviations)(grid) if varied else np.exp(-((grid / max(std, 1e-3)) ** 2) / 2)
    scaled: Float = density / max(float(density.max()), 1e-300)
    return scaled


def _write(figure: object, path: Path, dpi: int) -> None:
    with atomic_write(path) as aside:
        figure.savefig(aside, dpi=dpi)  # type: ignore[attr-defined]
