"""Rows of a benchmark as dictionaries, CSV and LaTeX: read back, they say the same numbers, whatever the names."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

from burst_denoise.errors import OutputError
from burst_denoise.score.rows import (
    COLUMNS,
    LATEX_COLUMNS,
    BenchmarkRow,
    BenchmarkRows,
    filled_columns,
    least_gain_db,
    mean_rows,
    order_open,
    rounded,
    wider_than_chance,
)
from tests.reports import row, rows

HOSTILE = r'50% of "A" & B_1 #2 $x^2$ {~} \end{tabular} ü, €'
"""A method's or a burst's name is whatever a file is called."""


@pytest.fixture
def found() -> list[BenchmarkRow]:
    return [*rows(), row(HOSTILE, HOSTILE, None, 41.25, worth_frames=3.5, worth_frames_interval=(3.25, 4.0))]  # type: ignore[arg-type]


def test_rows_are_a_list_of_dictionaries_whose_keys_are_the_fields(found: list[BenchmarkRow]):
    listed = BenchmarkRows.of(found)
    assert isinstance(listed, list)
    assert len(listed) == len(found)
    assert all(isinstance(one, dict) and list(one) == list(BenchmarkRow.model_fields) for one in listed)
    assert [BenchmarkRow.parse(json.dumps(one), "row") for one in listed] == found
    assert [one["method"] for one in listed if one["corrected_psnr_db"] is None] == ["wavelet"] * 2


# CSV


def number(text: str) -> float | None:
    return float(text) if text else None


def test_csv_read_back_says_the_same_numbers(found: list[BenchmarkRow]):
    text = BenchmarkRows.of(found).to_csv()
    read = list(csv.DictReader(io.StringIO(text)))
    assert len(read) == len(found)
    for cells, one in zip(read, found, strict=True):
        assert (cells["method"], cells["burst"]) == (one.method, one.burst)
        for name, value in one.model_dump().items():
            if name.endswith(("_interval", "_bracket")):
                ends = [number(cells[name.removesuffix("_interval") + end]) for end in ("_low", "_high")]
                assert ends == list(value or (None, None))
            elif isinstance(value, float) or value is None:
                assert number(cells[name]) == value
        assert [int(frame) for frame in cells["frames"].split(" ")] == list(one.frames)
        assert int(cells["seed"]) == one.seed
        assert {name: cells[f"version_{name}"] for name in one.versions} == one.versions
        assert None not in cells  # no row has more cells than there are titles
        assert None not in cells.values()


def test_csv_of_rows_of_several_versions_has_a_column_for_each(found: list[BenchmarkRow]):
    newer = found[0].model_copy(update={"versions": {"numpy": "9"}})
    first, second = csv.DictReader(io.StringIO(BenchmarkRows.of([found[1], newer]).to_csv()))
    assert (first["version_numpy"], second["version_numpy"]) == ("", "9")
    assert (first["version_python"], second["version_python"]) == ("3.11.2", "")


# LaTeX


def unescaped(text: str) -> str:
    words = {"textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^"}
    return re.sub(r"\\(?:(text\w+)\{\}|([&%$#_{}]))", lambda match: words[match[1]] if match[1] else match[2], text)


def table(text: str) -> list[list[str]]:
    """Return the cells of a LaTeX table; fails where it is not what LaTeX takes."""
    lines = text.splitlines()
    count = re.fullmatch(r"\\begin\{tabular\}\{(l+r+)\}", lines[0])
    assert count is not None
    assert lines[-1] == r"\end{tabular}"
    body = [line for line in lines[1:-1] if line != r"\hline"]
    cells = []
    for line in body:
        assert line.endswith(r" \\")
        plain = line.removesuffix(r" \\")
        cells.append(re.split(r"(?<!\\) & ", plain))
        assert len(cells[-1]) == len(count[1])
        depth = 0
        for brace in re.findall(r"(?<!\\)[{}]", plain):
            depth += 1 if brace == "{" else -1
            assert depth >= 0
        assert depth == 0
        assert len(re.findall(r"(?<!\\)\$", plain)) % 2 == 0
    return cells


def test_latex_read_back_says_the_same_names_and_numbers(found: list[BenchmarkRow]):
    title, *body = table(BenchmarkRows.of(found).to_latex())
    columns = filled_columns(BenchmarkRows.of(found), LATEX_COLUMNS)
    assert title == ["burst", "method", *(words for words, _, _ in columns)]
    assert len(body) == len(found)
    burst = ""
    for cells, one in zip(body, found, strict=True):
        burst = unescaped(cells[0]) or burst
        assert (burst, unescaped(cells[1])) == (one.burst, one.method)
        for cell, (_, name, digits) in zip(cells[2:], columns, strict=True):
            value, interval = getattr(one, name), getattr(one, f"{name}_interval", None)
            if value is None:
                assert cell == "--"
                continue
            match = re.fullmatch(r"\$(-?[\d.]+)(?: \\pm ([\d.]+))?\$", cell)
            assert match is not None
            assert match[1] == f"{value:.{digits}f}"
            assert (match[2] is None) == (interval is None or None in interval)
            if match[2]:
                assert float(match[2]) == pytest.approx((interval[1] - interval[0]) / 2, abs=0.51 * 10**-digits)


def test_a_burst_is_named_once_and_ruled_off(found: list[BenchmarkRow]):
    text = BenchmarkRows.of(found).to_latex()
    assert text.count(r"coffee\_iso1600") == 1
    assert text.count(r"\hline") == 3 + 2  # above, below and under the titles; between three bursts


def test_a_row_whose_order_the_pattern_may_turn_has_a_dagger_and_a_legend():
    sure = {"over_nlm_db": 0.5, "over_nlm_db_interval": (0.3, 0.7), "corrected_psnr_db_bracket": (39.5, 40.9)}
    turned = row("odd", "b", 100, 40.0, **sure, over_nlm_db_bracket=(-0.1, 1.2))
    text = BenchmarkRows.of([turned]).to_latex()
    assert r"$39.50$--$40.90$ & $0.50 \pm 0.20^\dagger$" in text
    assert r"$^\dagger$ surer than chance" in text
    closed = turned.model_copy(update={"over_nlm_db_bracket": (0.1, 1.2)})
    assert "dagger" not in BenchmarkRows.of([closed]).to_latex()


@pytest.mark.parametrize(
    ("interval", "bracket", "expected"),
    [
        ((0.3, 0.7), (-0.1, 1.2), True),
        ((-0.7, -0.3), (-1.2, 0.1), True),
        ((0.3, 0.7), (None, None), True),  # out of reach
        ((0.3, 0.7), (0.1, 1.2), False),
        ((-0.1, 0.9), (-0.5, 1.2), False),  # chance leaves it open as it is
        ((0.3, 0.7), None, False),
        (None, (-0.1, 1.2), False),
    ],
)
def test_an_order_is_open_where_the_pattern_and_not_chance_may_turn_it(interval, bracket, expected: bool):
    one = row("odd", "b", 100, 40.0, over_nlm_db=0.5, over_nlm_db_interval=interval, over_nlm_db_bracket=bracket)
    assert order_open(one.model_dump()) is expected


def test_the_least_gain_counts_chance_and_pattern():
    better, worse = row("a", "b", 100, 43.0), row("c", "b", 100, 40.0)
    chance = np.hypot(0.13, 0.13)
    assert least_gain_db(better, worse) == pytest.approx(3 - chance)
    paired = {"over_nlm_db": 1.0, "over_nlm_db_interval": (0.97, 1.03)}
    assert least_gain_db(better.model_copy(update=paired), worse.model_copy(update=paired)) == pytest.approx(
        3 - np.hypot(0.03, 0.03)
    )
    # All of a pattern of half the worse one's error may be what that one took away, and the better one kept.
    pattern = {"pattern_psnr_db_bracket": (43.0103, None), "noise_kept": 1.0}
    better, worse = (one.model_copy(update=pattern) for one in (better, worse))
    turned = 10 * np.log10((1e-4 - 5e-5) / (10**-4.3 + 5e-5))
    assert least_gain_db(better, worse) == pytest.approx(turned - chance, abs=1e-3)
    assert least_gain_db(better, row("d", "b", 100, None)) is None


def test_brackets_are_averaged_ends_and_shown_where_they_say_more_than_the_interval():
    first = row("a", "b", 100, 40.0, corrected_psnr_db_bracket=(39.8, 41.0), pattern_source="burst")
    second = row("a", "c", 100, 42.0, corrected_psnr_db_bracket=(41.8, 42.4), pattern_source="flats")
    (mean,) = mean_rows([first, second])
    assert mean.corrected_psnr_db_bracket == pytest.approx((40.8, 41.7))
    assert mean.pattern_source is None
    (none,) = mean_rows([first, second.model_copy(update={"corrected_psnr_db_bracket": (41.8, None)})])
    assert none.corrected_psnr_db_bracket == (pytest.approx(40.8), None)
    assert rounded(first.model_dump(), "corrected_psnr_db_bracket", 2) == "39.80 to 41.00"
    assert rounded(none.model_dump(), "corrected_psnr_db_bracket", 1) == "40.8 to ?"
    assert wider_than_chance(first.model_dump())
    same = row("a", "b", 100, 40.0, corrected_psnr_db_bracket=(39.88, 40.14))
    assert not wider_than_chance(same.model_dump())
    assert "corrected_psnr_db_bracket" not in [field for _, field, _ in filled_columns(BenchmarkRows.of([same]))]


# Files


@pytest.mark.parametrize("kind", ["csv", "latex"])
def test_a_file_says_what_is_returned_and_none_is_ever_overwritten(
    tmp_path: Path, found: list[BenchmarkRow], kind: str
):
    listed = BenchmarkRows.of(found)
    write = getattr(listed, f"to_{kind}")
    target = tmp_path / "new" / f"rows.{kind}"
    text = write(target)
    assert target.read_text(encoding="utf-8") == text == write()
    assert write(str(tmp_path / "again")) == text
    target.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        write(target)
    assert target.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["again", "new", f"rows.{kind}"]


def test_no_rows_are_a_table_without_rows():
    none = BenchmarkRows.of([])
    assert none.to_csv().strip() == ""
    assert len(table(none.to_latex())) == 1


# Means


def test_the_mean_of_rows_is_one_row_a_method_with_an_interval_for_these_scenes():
    first = row("ours", "a", 1600, 40.0, true_psnr_db=30.0, true_psnr_db_interval=(29.7, 30.3), ssim=0.8)
    second = row("ours", "b", 1600, 42.0, true_psnr_db=34.0, true_psnr_db_interval=(33.6, 34.4), ssim=None)
    ours, other = mean_rows([first, row("other", "a", 100, 39.0), second])
    assert (ours.method, ours.burst, ours.frames, ours.iso) == ("ours", "mean of 2", (), 1600)
    assert (ours.true_psnr_db, ours.corrected_psnr_db) == (32, 41)
    # Errors of two scenes are independent: half of the root of 0.3^2 + 0.4^2.
    assert ours.true_psnr_db_interval == pytest.approx((31.75, 32.25))
    assert ours.ssim is None  # not known for both
    assert ours.stabilised_psnr_db_interval == (None, None)
    assert ours.over_nlm_db_interval is None
    assert (other.burst, other.true_psnr_db) == ("mean of 1", 38.97)
    BenchmarkRow.parse(ours.to_json(), "row")


def test_the_mean_of_listed_rows_is_that_of_the_rows(found: list[BenchmarkRow]):
    assert BenchmarkRows.of(found).mean() == BenchmarkRows.of(mean_rows(found))


# Columns


def test_columns_that_no_row_fills_are_left_out_of_tables():
    pairs = [row("ours", "a", None, None, true_psnr_db=30.0)]  # type: ignore[arg-type]
    listed = BenchmarkRows.of(pairs)
    kept = ["true PSNR dB", "SSIM", "s/MP", "peak MB"]
    assert [title for title, _, _ in filled_columns(listed)] == kept
    assert table(listed.to_latex())[0] == ["burst", "method", *kept[:2]]
    assert filled_columns([]) == COLUMNS


def test_half_an_interval_is_shown_only_where_both_ends_are_known():
    known = row("ours", "a", 100, 50.0).model_dump()
    assert rounded(known, "corrected_psnr_db", 2) == "50.00 ±0.13"
    assert rounded(known | {"corrected_psnr_db_interval": (49.0, None)}, "corrected_psnr_db", 2) == "50.00"
