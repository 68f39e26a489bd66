"""Charts and tables as text of a page, whose style sheet colours them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Layer", "chart", "interval_bar", "measured", "number", "table", "table_line"]

Float = npt.NDArray[np.floating]

WIDTH, HEIGHT = 400, 230
LEFT, LEFT_WITHOUT_TICKS, RIGHT, TOP, BOTTOM = 74, 26, 14, 8, 42
"""Of a chart, in units of its view box: about a CSS pixel each on a phone and on a desk alike."""


@dataclass(frozen=True)
class Layer:
    """One set of points of a chart; points that are not finite are left out."""

    x: Float
    y: Float
    kind: Literal["line", "line dashed", "dots", "mark", "band", "ticks"] = "line"
    """A band reaches from ``y`` to ``top``; ticks stand on the axis."""
    colour: str = "c0"
    """Class of the page's style sheet: c0 or c1, or r, g, h, b for the channels R, G1, G2, B."""
    top: Float | None = None


def chart(
    alt: str,
    x_label: str,
    y_label: str,
    layers: Sequence[Layer],
    *,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    log: Literal["", "x", "xy"] = "",
    y_ticks: bool = True,
) -> str:
    """Return a chart as SVG.

    Parameters
    ----------
    alt : str
        What the chart shows, for those who cannot see it.
    x_label, y_label : str
        With their units.
    layers : sequence of Layer
        Drawn in order.
    x_range, y_range : (low, high), optional
        Of the axes; what lies beyond is cut off. By default those of the data.
    log : str
        The logarithmic axes; points that are not positive there are left out.
    y_ticks : bool
        Whether the vertical axis carries numbers.
    """
    left = LEFT if y_ticks else LEFT_WITHOUT_TICKS
    x_axis = _Axis.over([layer.x for layer in layers], x_range, "x" in log, (left, WIDTH - RIGHT))
    heights = [layer.y for layer in layers] + [layer.top for layer in layers if layer.top is not None]
    y_axis = _Axis.over(heights, y_range, "y" in log, (HEIGHT - BOTTOM, TOP))
    grid = "".join(f'<path class="grid" d="M{x_axis.at(v):.1f} {TOP}V{HEIGHT - BOTTOM}"/>' for v in x_axis.ticks)
    text = "".join(
        f'<text x="{x_axis.at(v):.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{_tick(v)}</text>'
        for v in x_axis.ticks
    )
    for v in y_axis.ticks if y_ticks else ():
        grid += f'<path class="grid" d="M{left} {y_axis.at(v):.1f}H{WIDTH - RIGHT}"/>'
        text += f'<text x="{left - 5}" y="{y_axis.at(v) + 4:.1f}" text-anchor="end">{_tick(v)}</text>'
    middle = (TOP + HEIGHT - BOTTOM) / 2
    text += (
        f'<text x="{(left + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text transform="translate(13 {middle}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>'
    )
    width, height = WIDTH - left - RIGHT, HEIGHT - TOP - BOTTOM
    inner = f'x="{left}" y="{TOP}" width="{width}" height="{height}" viewBox="{left} {TOP} {width} {height}"'
    drawn = "".join(_drawn(layer, x_axis, y_axis) for layer in layers)
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(alt)}">{grid}'
        f"<svg {inner}>{drawn}</svg>"
        f'<path class="axis" d="M{left} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>{text}</svg>'
    )


def interval_bar(value: float, interval: tuple[float | None, float | None], scale: tuple[float, float]) -> str:
    """Return a value and its interval as a small SVG error bar on a scale; an open end runs to the end of the scale."""
    axis = _Axis(*scale, log=False, places=(2, 138))
    low, high = (place if end is None else axis.at(end) for end, place in zip(interval, axis.places, strict=True))
    return (
        '<svg class="bar" viewBox="0 0 140 14" width="140" height="14" aria-hidden="true">'
        f'<path class="grid" d="M2 13H138"/><path class="span c0" d="M{low:.1f} 6H{high:.1f}"/>'
        f'<path class="value c0" d="M{axis.at(value):.1f} 0V12"/></svg>'
    )


def table(name: str, titles: Sequence[str], groups: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Return a table that scrolls in its own box; titles, names of groups and lines are HTML."""
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    body = "".join(
        f'<tbody><tr class="group"><th colspan="{len(titles)}" scope="rowgroup"><span>{group}</span></th></tr>'
        f"{''.join(lines)}</tbody>"
        for group, lines in groups
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{name}"><table><thead><tr>{head}</tr></thead>'
        f"{body}</table></div>"
    )


def table_line(name: str, cells: Sequence[str], look: str = "") -> str:
    """Return a line of a table; its name and cells are HTML, ``look`` is a class of the style sheet."""
    return f'<tr class="{look}"><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def number(
    value: float | None, digits: int, interval: tuple[float | None, float | None] | None = None, sign: str = ""
) -> str:
    """Return a value with the ends of its interval below it; a dash for what is not known, "?" for an open end."""

    def rounded(value: float) -> str:
        return f"{round(value, digits) + 0.0:{sign}.{digits}f}"  # + 0.0: there is no minus zero

    if value is None:
        return "–"
    text = rounded(value)
    if interval is not None:
        low, high = ("?" if end is None else rounded(end) for end in interval)
        text += f"<small>{low} to {high}</small>"
    return text.replace("-", "−")


def measured(value: float | None, interval: tuple[float, float] | None) -> str:
    """Return a value with as many digits as its interval deserves."""
    width = interval[1] - interval[0] if interval is not None else 0.0
    digits = min(max(-math.floor(math.log10(width / 6)), 0), 5) if width > 0 else 3
    return number(value, digits, interval)


@dataclass(frozen=True)
class _Axis:
    """From values to places in a chart."""

    low: float
    high: float
    log: bool
    places: tuple[float, float]

    @classmethod
    def over(
        cls, data: Sequence[Float], span: tuple[float, float] | None, log: bool, places: tuple[float, float]
    ) -> "_Axis":
        """Return the axis that holds all data with a little air, or just the span when there is one."""
        if span is not None:
            return cls(*span, log, places)
        values = np.concatenate([np.ravel(part) for part in data] or [np.zeros(0)]).astype(np.float64)
        values = values[np.isfinite(values) & ((values > 0) | (not log))]
        low, high = (float(values.min()), float(values.max())) if len(values) else (1.0, 2.0)
        if log:
            air = max(high / low, 1.1) ** 0.04
            return cls(low / air, high * air, log, places)
        air = 0.05 * (high - low) or 0.5
        return cls(low - air, high + air, log, places)

    def at(self, value: npt.ArrayLike) -> npt.NDArray[np.float64]:
        low, high, values = float(self.low), float(self.high), np.asarray(value, np.float64)
        share = np.log(values / low) / math.log(high / low) if self.log else (values - low) / (high - low)
        place: npt.NDArray[np.float64] = self.places[0] + share * (self.places[1] - self.places[0])
        return place

    @property
    def ticks(self) -> list[float]:
        """Some four to seven round values."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            factors = (1,) if len(decades) > 4 else (1, 3) if len(decades) > 2 else (1, 2, 5)
            values = [factor * 10.0**decade for decade in decades for factor in factors]
            return [value for value in values if self.low <= value <= self.high]
        rough = (self.high - self.low) / 6
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= rough)
        return [k * step for k in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def _tick(value: float) -> str:
    return f"{value:,.6g}".replace("-", "−")


def _drawn(layer: Layer, x_axis: _Axis, y_axis: _Axis) -> str:
    tops = layer.y if layer.top is None else layer.top
    kept = np.isfinite(layer.x) & np.isfinite(layer.y) & np.isfinite(tops)
    kept &= (layer.x > 0) | (not x_axis.log)
    kept &= ((layer.y > 0) & (tops > 0)) | (not y_axis.log)
    x, y, top = x_axis.at(layer.x[kept]), y_axis.at(layer.y[kept]), y_axis.at(tops[kept])
    places = [f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True)]
    if layer.kind in ("dots", "mark"):
        path = "".join(f"M{place}h0" for place in places)
    elif layer.kind == "ticks":
        path = "".join(f"M{a:.1f} {HEIGHT - BOTTOM}v-9" for a in x)
    else:
        back = [f"{a:.1f} {b:.1f}" for a, b in zip(x[::-1], top[::-1], strict=True)] if layer.kind == "band" else []
        path = "M" + "L".join([*places, *back]) if places else ""
    return f'<path class="{layer.kind} {layer.colour}" d="{path}"/>'
