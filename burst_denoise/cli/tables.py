"""Tables and paragraphs for the terminal: scores of a benchmark, channels of a sensor."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from rich.table import Column, Table

from burst_denoise.cli.console import printable
from burst_denoise.schemas import ChannelProfile
from burst_denoise.score.rows import ORDER_OPEN, BenchmarkRow, filled_columns, order_open, rounded

__all__ = ["format_assessment", "score_table", "sensor_table"]


MARK = "†"
MEASURED = {
    "gain DN/e-": "gain_dn_per_e",
    "read noise DN": "read_noise_std_dn",
    "row noise DN": "row_noise_std_dn",
    "column noise DN": "column_noise_std_dn",
    "PRNU %": "prnu_percent",
    "DSNU e-": "dsnu_e",
}
"""Columns of the table of a sensor, and the fields of a channel in them."""


def score_table(rows: Iterable[BenchmarkRow]) -> Table:
    """Return rows as a table for the terminal, without the columns that no row fills.

    The interval of a score is half its width, after the sign ±; a dagger marks rows whose order the fixed pattern may
    turn.
    """
    listed = [row.model_dump() for row in rows]
    columns = filled_columns(listed)
    legend = printable(f"{MARK} {ORDER_OPEN}") if any(map(order_open, listed)) else None
    result = Table(
        Column("burst", overflow="fold"), Column("method", overflow="fold"), caption=legend, caption_justify="left"
    )
    for title, _, _ in columns:
        result.add_column(title, justify="right")
    for burst, group in groupby(listed, key=lambda row: str(row["burst"])):
        for place, row in enumerate(group):
            marks = {"over_nlm_db": MARK} if order_open(row) else {}
            cells = [(rounded(row, field, digits) or "-") + marks.get(field, "") for _, field, digits in columns]
            result.add_row(*map(printable, ("" if place else burst, row["method"], *cells)))
        result.add_section()
    return result


def sensor_table(channels: Iterable[ChannelProfile]) -> Table:
    """Return channels as a table for the terminal, each value with half its 95 % interval."""
    result = Table(Column("ISO", justify="right"), "channel")
    for title in (*MEASURED, "defects"):
        result.add_column(title, justify="right")
    for iso, group in groupby(channels, key=lambda channel: channel.iso):
        for channel in group:
            values = [
                _with_interval(getattr(channel, field), getattr(channel, f"{field}_interval"))
                for field in MEASURED.values()
            ]
            result.add_row("unknown" if iso is None else f"{iso:g}", channel.channel, *values, str(channel.defects))
        result.add_section()
    return result


def format_assessment(channels: Sequence[ChannelProfile]) -> str:
    """Return the verdict on a sensor calibration as a paragraph: usable or not, because; each reason said once."""
    lines = []
    for iso in dict.fromkeys(channel.iso for channel in channels):
        found = [channel for channel in channels if channel.iso == iso]
        usable = all(channel.usable for channel in found)
        title = f"{found[0].camera or 'unknown camera'}{'' if iso is None else f', ISO {iso:g}'}"
        lines.append(f"{title}: {'usable' if usable else 'NOT usable'}")
        told: dict[str, list[str]] = {}
        for channel in found:
            for reason in channel.reasons:
                told.setdefault(reason, []).append(channel.channel)
        for reason, names in told.items():
            lines.append(f"  {'' if len(names) == len(found) else ', '.join(names) + ': '}{reason}")
    return "\n".join(lines)


def _with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None or interval is None:
        return "-"
    if interval[0] <= 0 <= value:
        return f"below {interval[1]:.2g}"
    half = (interval[1] - interval[0]) / 2
    decimals = max(0, 1 - int(f"{half:.1e}".partition("e")[2])) if half > 0 else 3  # two digits of the interval
    return f"{value:.{decimals}f} ± {half:.{decimals}f}"
