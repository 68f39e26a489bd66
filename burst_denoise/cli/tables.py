"""Tables and paragraphs for the terminal: scores of a benchmark, channels of a sensor."""

from collections.abc import Iterable, Sequence

from rich.table import Table

from burst_denoise.schemas import ChannelProfile
from burst_denoise.score.rows import BenchmarkRow

__all__ = ["format_assessment", "score_table", "sensor_table"]


def score_table(rows: Iterable[BenchmarkRow]) -> Table:
    """Return rows as a table for the terminal; the interval of a score is half its width, after the sign ±."""
    result = Table()
    for title in ("burst", "method"):
        result.add_column(title, overflow="fold")
    for title in ("corrected PSNR dB", "over NLM dB", "worth frames", "true PSNR dB", "SSIM", "s/MP", "peak MB"):
        result.add_column(title, justify="right")
    previous = None
    for row in rows:
        if previous not in (None, row.burst):
            result.add_section()
        result.add_row(
            row.burst if row.burst != previous else "",
            row.method,
            _number(row.corrected_psnr_db, 2, row.corrected_psnr_db_interval),
            _number(row.over_nlm_db, 2, row.over_nlm_db_interval),
            _number(row.worth_frames, 1, row.worth_frames_interval),
            _number(row.true_psnr_db, 2),
            _number(row.ssim, 4),
            _number(row.seconds_per_megapixel, 3),
            _number(row.peak_memory_mb, 0),
        )
        previous = row.burst
    return result


def sensor_table(channels: Sequence[ChannelProfile]) -> Table:
    """Return channels as a table for the terminal, each value with half its 95 % interval."""
    result = Table()
    result.add_column("ISO", justify="right")
    result.add_column("channel")
    for title in ("gain DN/e-", "read noise DN", "row noise DN", "column noise DN", "PRNU %", "DSNU e-", "defects"):
        result.add_column(title, justify="right")
    previous: object = None
    for channel in channels:
        if previous not in (None, channel.iso):
            result.add_section()
        result.add_row(
            "-" if channel.iso is None else f"{channel.iso:g}",
            channel.channel,
            _with_interval(channel.gain_dn_per_e, channel.gain_dn_per_e_interval),
            _with_interval(channel.read_noise_std_dn, channel.read_noise_std_dn_interval),
            _with_interval(channel.row_noise_std_dn, channel.row_noise_std_dn_interval),
            _with_interval(channel.column_noise_std_dn, channel.column_noise_std_dn_interval),
            _with_interval(channel.prnu_percent, channel.prnu_percent_interval),
            _with_interval(channel.dsnu_e, channel.dsnu_e_interval),
            str(channel.defects),
        )
        previous = channel.iso
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


def _number(value: float | None, digits: int, interval: tuple[float | None, float | None] | None = None) -> str:
    if value is None:
        return "-"
    low, high = interval or (None, None)
    half = "" if low is None or high is None else f" ±{(high - low) / 2:.{digits}f}"
    return f"{value:.{digits}f}{half}"


def _with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None or interval is None:
        return "-"
    if interval[0] <= 0 <= value:
        return f"below {interval[1]:.2g}"
    half = (interval[1] - interval[0]) / 2
    decimals = max(0, 1 - int(f"{half:.1e}".partition("e")[2])) if half > 0 else 3  # two digits of the interval
    return f"{value:.{decimals}f} ± {half:.{decimals}f}"
