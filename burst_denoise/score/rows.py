"""`BenchmarkRow`: the scores of one method on one burst; `BenchmarkRows`: rows as dictionaries, CSV and LaTeX."""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator

from burst_denoise.files import atomic_write
from burst_denoise.schemas import Document, Estimate
from burst_denoise.score.bracket import difference_bracket_db, sure_change

__all__ = [
    "COLUMNS",
    "ORDER_OPEN",
    "BenchmarkRow",
    "BenchmarkRows",
    "filled_columns",
    "least_gain_db",
    "mean_rows",
    "order_open",
    "rounded",
    "wider_than_chance",
    "with_interval",
]

COLUMNS = (
    ("corrected PSNR dB", "corrected_psnr_db", 2),
    ("fixed pattern counted dB", "corrected_psnr_db_bracket", 2),
    ("over NLM dB", "over_nlm_db", 2),
    ("worth frames", "worth_frames", 1),
    ("true PSNR dB", "true_psnr_db", 2),
    ("SSIM", "ssim", 4),
    ("s/MP", "seconds_per_megapixel", 3),
    ("peak MB", "peak_memory_mb", 0),
)
"""Title, field and digits of the columns of a table."""
LATEX_COLUMNS = COLUMNS[:6]
ORDER_OPEN = "surer than chance, but the fixed pattern of the sensor may turn the order against NLM"
"""Legend of the mark of rows that are `order_open`."""
WIDER_DB = 0.05
"""Width beyond the interval from which on the bracket is shown beside it, dB."""
LATEX_LETTERS = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
)


Finite = Annotated[float | None, AfterValidator(lambda value: value if math.isfinite(value or 0) else None)]
"""A score; None where it is infinite or unknown, which JSON cannot say otherwise."""
FiniteInterval = Annotated[
    tuple[float, float] | None, AfterValidator(lambda ends: ends if all(map(math.isfinite, ends or ())) else None)
]
"""An interval; None where one of its ends is out of reach."""


Bracket = tuple[Finite, Finite] | None


class BenchmarkRow(Document):
    """The scores of one method on one burst."""

    method: str
    burst: str
    averaged: int = 1
    """Frames averaged or merged for each result."""
    iso: float | None
    corrected_psnr_db: Finite
    """Leave-one-out-corrected PSNR in linear light, peak at the white level; null where the error is too small for this
    burst to measure. It takes the fixed pattern of the sensor for scene, or what flats have left of it, but for what a
    method that keeps less than half of it surely loses by that."""
    corrected_psnr_db_interval: tuple[Finite, Finite]
    """Its 95 % interval, chance alone; an end is null where it is out of reach of this burst."""
    corrected_psnr_db_bracket: Bracket = None
    """Between these the PSNR against the scene without fixed pattern lies: the interval, widened by what the pattern
    may do, from all of it removed by the method to as much kept as of the noise. Null for developed pictures and pairs;
    an end is null where the pattern may be all of the error."""
    upsnr_db: Finite
    """The same error measured with three frames besides the scored one (uPSNR), for comparison; null without them."""
    true_psnr_db: Finite
    """PSNR against the clean reference, brought to the brightness of the burst; null without one."""
    true_psnr_db_interval: FiniteInterval = None
    """Its 95 % interval, for the expected error on this scene at this noise. Where one frame alone was scored, as of a
    noisy/clean pair, by the spread over blocks of rows, content and all: too wide."""
    fixed_pattern_psnr_db: Finite
    """PSNR that the burst's fixed pattern alone would leave against the clean reference, the same for all methods: by
    this error the two scores above may differ. Null without a clean reference."""
    pattern_psnr_db_bracket: Bracket = None
    """Between these the PSNR that the fixed pattern in the reference frames alone would leave lies; the upper end is
    null where there may be none."""
    pattern_source: str | None = None
    """Who says so: "flats", "framings" (bursts of several scenes), "burst" (what its own texture leaves room for), or
    "assumed" (PRNU 1 %, DSNU a fifth of the read noise)."""
    noise_kept: Finite = None
    """Share of the noise of its frames that the method keeps, and so of the pattern at most; 1 for frames and means."""
    stabilised_psnr_db: Finite
    """As the corrected PSNR, but every photosite counts in units of its own noise: 0 dB is the noise of one frame, so
    shadows count as much as highlights."""
    stabilised_psnr_db_interval: tuple[Finite, Finite]
    over_nlm_db: Finite
    """Corrected PSNR minus that of the row ``nlm-stabilised`` on the same frames and photosites (paired); of a
    noisy/clean pair the true PSNR."""
    over_nlm_db_interval: FiniteInterval
    over_nlm_db_bracket: Bracket = None
    """As ``corrected_psnr_db_bracket``, for the difference: where it holds 0, the pattern may turn the order."""
    worth_frames: Finite
    """How many averaged frames leave the same error as one frame through this method."""
    worth_frames_interval: FiniteInterval
    ssim: Finite
    """Structural similarity of the brightness of a developed rendering (half size, white balance, sRGB curve) with that
    of the clean reference, or else of the mean of the other frames; null for pictures too small for its window."""
    ssim_reference_psnr_db: Finite
    """PSNR of that reference itself: the noise it still holds. Null for a clean one."""
    residual_correlation: float
    """Largest correlation of what was taken away between neighbouring photosites of a colour, beyond the noise's own; 0
    for a method that takes away nothing but noise."""
    signal_leak: float
    """Share of the local structure of the scene that was taken away with the noise: 0 none, 1 all."""
    brightness: Finite = None
    """Mean of the results relative to that of the noisy frames. It is not evened out, so it counts as error."""
    seconds_per_megapixel: float | None
    """Median over the scored frames; megapixels of the image, photosites for a mosaic. Null for files that another
    program made."""
    peak_memory_mb: float | None
    """Highest resident memory of the whole process while the method ran, million bytes; null likewise."""
    strength: float | None
    """Strength of a baseline, in noise standard deviations; null for what has none."""
    seed: int
    """Chose the frames."""
    frames: tuple[int, ...]
    """Numbers of the scored frames in the burst, from 0."""
    versions: dict[str, str]


class BenchmarkRows(list[dict[str, Any]]):
    """Rows of a benchmark as dictionaries, one a method and burst, whose keys are the fields of `BenchmarkRow`."""

    @classmethod
    def of(cls, rows: Iterable[BenchmarkRow]) -> Self:
        """Return rows as dictionaries."""
        return cls(row.model_dump(mode="json") for row in rows)

    def mean(self) -> Self:
        """Return one row a method: the means over its bursts or pairs."""
        return self.of(mean_rows([BenchmarkRow.model_validate(row) for row in self]))

    def to_csv(self, path: Path | str | None = None) -> str:
        """Return the rows as CSV, and write them to a file where one is named.

        An interval becomes two columns, ``_low`` and ``_high``, a bracket ``_bracket_low`` and ``_bracket_high``;
        numbers of frames are parted by spaces; what is not known is empty. Raises `OutputError` if the file exists or
        cannot be written.
        """
        flat = [dict(_columns(row)) for row in self]
        text = io.StringIO()
        writer = csv.DictWriter(text, list(dict.fromkeys(name for row in flat for name in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(flat)
        return _written(text.getvalue(), path)

    def to_latex(self, path: Path | str | None = None) -> str:
        """Return the main scores as a LaTeX ``tabular``, and write it to a file where one is named.

        Intervals are half their width, after plus-minus; a dagger marks rows whose order the fixed pattern may turn.
        Columns that no row fills are left out. Raises `OutputError` if the file exists or cannot be written.
        """
        columns = filled_columns(self, LATEX_COLUMNS)
        titles = " & ".join(["burst", "method", *(title for title, _, _ in columns)])
        lines = [r"\begin{tabular}{ll" + "r" * len(columns) + "}", r"\hline", titles + r" \\", r"\hline"]
        for burst, rows in groupby(self, key=lambda row: str(row["burst"])):
            for place, row in enumerate(rows):
                cells = [name.translate(LATEX_LETTERS) for name in ("" if place else burst, row["method"])]
                for _, field, digits in columns:
                    number = rounded(row, field, digits, r" \pm ", "$--$")
                    mark = r"^\dagger" if field == "over_nlm_db" and order_open(row) else ""
                    cells.append(f"${number}{mark}$" if number else "--")
                lines.append(" & ".join(cells) + r" \\")
            lines.append(r"\hline")
        if any(map(order_open, self)):
            lines.append(rf"\multicolumn{{{len(columns) + 2}}}{{l}}{{$^\dagger$ {ORDER_OPEN}}} \\")
        return _written("\n".join([*lines, r"\end{tabular}", ""]), path)


def mean_rows(rows: Sequence[BenchmarkRow]) -> list[BenchmarkRow]:
    """Return one row a method: the means over its bursts or pairs, "mean of 27", of what all of them know.

    Intervals are for the mean over these very scenes, their errors independent; they tell nothing of other scenes. dB
    are averaged as such, as is usual.
    """
    found: dict[str, list[BenchmarkRow]] = {}
    for row in rows:
        found.setdefault(row.method, []).append(row)
    return [own[0].model_copy(update=_mean_fields(own)) for own in found.values()]


def _mean_fields(rows: Sequence[BenchmarkRow]) -> dict[str, Any]:
    """Return what is another in the mean of rows than in the first of them."""
    means: dict[str, Any] = {"burst": f"mean of {len(rows)}", "frames": ()}
    columns = {name: [getattr(row, name) for row in rows] for name in BenchmarkRow.model_fields}
    for name, values in columns.items():
        if name.endswith("_interval"):
            value, halves = means[name.removesuffix("_interval")], [_half(ends) for ends in values]
            half = None if value is None or None in halves else math.hypot(*filter(None, halves)) / len(rows)
            unknown = (None, None) if values[0] is not None and None in values[0] else None
            means[name] = unknown if half is None else (value - half, value + half)
        elif name.endswith("_bracket"):
            # What the pattern does is alike in all bursts of a sensor, so it does not average out.
            known = None not in values
            means[name] = tuple(_mean_or_none(ends) for ends in zip(*values, strict=True)) if known else None
        elif name in ("iso", "strength", "pattern_source"):
            means[name] = values[0] if len(set(values)) == 1 else None
        elif name not in ("averaged", "burst", "frames", "method", "seed", "versions"):
            means[name] = _mean_or_none(values)
    return means


def _mean_or_none(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _half(ends: tuple[float | None, float | None] | None) -> float | None:
    low, high = ends or (None, None)
    return None if low is None or high is None else (high - low) / 2


def filled_columns(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[tuple[str, str, int]] = COLUMNS
) -> Sequence[tuple[str, str, int]]:
    """Return the columns of a table that some row has a value for; all if there are no rows.

    The bracket of the corrected PSNR has one where it says more than the interval.
    """

    def fills(row: Mapping[str, Any], field: str) -> bool:
        return wider_than_chance(row) if field == "corrected_psnr_db_bracket" else row[field] is not None

    return [column for column in columns if any(fills(row, column[1]) for row in rows)] if rows else columns


def wider_than_chance(row: Mapping[str, Any]) -> bool:
    """Return whether the fixed pattern may change the corrected PSNR by more than its interval says."""
    bracket, ends = row.get("corrected_psnr_db_bracket"), row["corrected_psnr_db_interval"]
    if bracket is None or row["corrected_psnr_db"] is None:
        return False
    pairs = zip(bracket, ends, strict=True)
    return any(b != e if None in (b, e) else abs(b - e) > WIDER_DB for b, e in pairs)


def order_open(row: Mapping[str, Any]) -> bool:
    """Return whether chance leaves no doubt which of the row and NLM is better, but the fixed pattern does."""
    ends, bracket = row["over_nlm_db_interval"], row.get("over_nlm_db_bracket")
    if ends is None or bracket is None or ends[0] <= 0 <= ends[1]:
        return False
    low, high = bracket
    return (low is None or low <= 0) and (high is None or high >= 0)


def least_gain_db(row: BenchmarkRow, other: BenchmarkRow) -> float | None:
    """Return how many dB a row lies above another of its burst at least, chance and fixed pattern counted.

    None where one has no score, ``-inf`` where the pattern may be all of the other's error. Chance is that of the
    paired differences to NLM where both have one, else that of the two scores.
    """
    if row.corrected_psnr_db is None or other.corrected_psnr_db is None:
        return None
    halves = [_half(one.over_nlm_db_interval) for one in (row, other)]
    if None in halves:
        halves = [_half(one.corrected_psnr_db_interval) for one in (row, other)]
    # The upper end of the PSNR is the least pattern.
    most, least = (0.0 if end is None else 10 ** (-end / 10) for end in row.pattern_psnr_db_bracket or (None, None))
    mine, theirs = (
        (10 ** (-score / 10) - sure_change(kept, (least, most)), kept)
        for score, kept in (
            (row.corrected_psnr_db, _kept(row)),
            (other.corrected_psnr_db, _kept(other)),
        )
    )
    low, _ = difference_bracket_db(mine, theirs, (least, most))
    return low - math.hypot(*(half or 0.0 for half in halves))


def with_interval(field: str, estimate: Estimate | None) -> dict[str, Any]:
    """Return a field of a row and the one that holds its interval."""
    return {field: estimate and estimate.value, f"{field}_interval": estimate and (estimate.low, estimate.high)}


def _columns(row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if name.endswith(("_interval", "_bracket")):
            stem = name.removesuffix("_interval")
            ends = (f"{stem}_low", f"{stem}_high")
            yield from zip(ends, value or (None, None), strict=True)
        elif isinstance(value, dict):
            yield from ((f"version_{key}", each) for key, each in value.items())
        else:
            yield name, " ".join(map(str, value)) if isinstance(value, list) else value


def rounded(row: Mapping[str, Any], field: str, digits: int, plus_minus: str = " ±", to: str = " to ") -> str | None:
    """Return a value of a row as text, with half its interval where it has one; None where it is not known.

    A bracket is its two ends, a question mark for one out of reach.
    """
    if row[field] is None:
        return None
    if field.endswith("_bracket"):
        return to.join("?" if end is None else f"{end:.{digits}f}" for end in row[field])
    interval = row.get(f"{field}_interval")
    half = f"{plus_minus}{(interval[1] - interval[0]) / 2:.{digits}f}" if interval and None not in interval else ""
    return f"{row[field]:.{digits}f}{half}"


def _written(text: str, path: Path | str | None) -> str:
    if path is not None:
        with atomic_write(Path(path)) as aside:
            aside.write_text(text, encoding="utf-8")
    return text


def _kept(row: BenchmarkRow) -> float:
    return 1.0 if row.noise_kept is None else row.noise_kept
