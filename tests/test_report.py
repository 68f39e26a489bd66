"""The report is one page that says what it was given, no more and no less, and keeps strings strings."""

import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from pydantic import BaseModel

from burst_denoise.errors import OutputError
from burst_denoise.reporting.report import Report, write_report, write_rows
from burst_denoise.schemas import FrameVerdict
from burst_denoise.score.rows import BenchmarkRow
from tests.reports import realistic_report, row, rows

VOID = {"meta", "link", "img", "br", "input"}


class Page(HTMLParser):
    """What a page holds, as a reader gets it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.lines: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.lines.append([])
        if tag in ("td", "th"):
            self.lines[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("style", "script"):
            return
        self.text += data
        if {"td", "th"} & set(self.open) and self.lines:
            self.lines[-1][-1] += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def line(self, name: str) -> list[str]:
        """Return the first line of a table whose name begins so."""
        return next(line for line in self.lines if line[0].startswith(name))


def page(report: Report) -> Page:
    """Return the page of a report."""
    return Page(realistic_text() if report is realistic_report() else text_of(report))


@cache
def realistic_text() -> str:
    """Return the page that most tests look at; making it takes a second."""
    return text_of(realistic_report())


def text_of(report: Report) -> str:
    with TemporaryDirectory() as folder:
        write_report(Path(folder) / "report.html", report)
        return (Path(folder) / "report.html").read_text(encoding="utf-8")


def headline(page: Page) -> str:
    return re.sub(r"\s+", " ", re.split("Denoiser:|Best classical method:", page.text)[0])


def test_an_existing_report_is_not_overwritten(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        write_report(path, Report("title"))
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


def test_a_page_needs_nothing_from_anywhere_else():
    for _, attributes in page(realistic_report()).tags:
        for name in ("src", "href", "action", "data", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:")


def test_a_page_is_well_nested_and_its_headings_are_in_order():
    whole = page(realistic_report())
    assert whole.open == []
    assert whole.named("html") == [{"lang": "en"}]
    levels = [int(tag[1]) for tag, _ in whole.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_every_picture_has_a_text_and_every_control_a_name():
    whole = page(realistic_report())
    assert all(image["alt"] for image in whole.named("img"))
    assert all(svg.get("aria-label") or svg.get("aria-hidden") for svg in whole.named("svg"))
    assert all(control["aria-label"] for control in (*whole.named("input"), *whole.named("select")))


def test_what_is_not_given_has_no_section():
    assert [tag for tag, _ in page(Report("bare")).tags if tag in ("section", "h2", "h3", "table")] == []
    only_rows = page(Report("rows", rows=rows()))
    assert [section["id"] for section in only_rows.named("section")] == ["headline", "scores"]
    assert len(page(realistic_report()).named("section")) == 8


def test_the_same_report_gives_the_same_page():
    assert text_of(realistic_report()) == realistic_text()


def saying(text: str, value: object) -> object:
    """Return a report, or a part of one, all of whose strings are this text."""
    if isinstance(value, str):
        return text
    if isinstance(value, tuple | list):
        return type(value)(saying(text, one) for one in value)
    if isinstance(value, Mapping):
        return {f"{text} {number}": saying(text, one) for number, one in enumerate(value.values())}
    names = [one.name for one in fields(value)] if is_dataclass(value) else []
    names = list(type(value).model_fields) if isinstance(value, BaseModel) else names
    changed = {name: saying(text, getattr(value, name)) for name in names}
    if isinstance(value, FrameVerdict):
        changed["reasons"] = value.reasons  # words of our own
    if isinstance(value, BaseModel):
        return value.model_copy(update=changed)
    return replace(value, **changed) if names else value


HOSTILE = (
    "\" onload=\"alert(1)\" ' onerror='alert(1)'"
    "$title &lt;b&gt; &amp; \\N{DIGIT ONE} %s"
    "{{ 7 * 7 }} {% raw %} {# note #} {{ title.__class__ }}"
    "</td></title></style><script>alert(1)</script>"
    "</svg><svg onload=alert(1)><![CDATA[ ]]> <!-- "
)


def test_a_page_is_the_same_page_whatever_its_strings_say():
    plain, hostile = (page(saying(words, realistic_report())) for words in ("abracadabra", HOSTILE))
    expected = [
        (tag, {name: value and value.replace("abracadabra", HOSTILE) for name, value in attributes.items()})
        for tag, attributes in plain.tags
    ]
    assert hostile.tags == expected
    assert len(hostile.named("script")) == 1, "our own"
    assert hostile.text == plain.text.replace("abracadabra", HOSTILE)


def test_a_name_that_is_no_text_is_shown_all_the_same():
    assert "folder \\udcff" in page(Report("folder \udcff", rows=rows())).text


def test_ids_are_unique_and_what_refers_to_one_finds_it():
    whole = page(realistic_report())
    ids = [attributes["id"] for _, attributes in whole.tags if "id" in attributes]
    assert len(ids) == len(set(ids)) > 100
    values = [value or "" for _, attributes in whole.tags for value in attributes.values()]
    wanted = {name for value in values for name in re.findall(r"^#(.*)|url\(#([^)]*)\)", value)}
    assert {name for pair in wanted for name in pair if name} <= set(ids)


def test_a_chart_is_drawn_in_colours_of_the_style_sheet():
    text = realistic_text()
    used, known = (set(re.findall(pattern, text)) for pattern in (r"var\((--\w+)\)", r"(--\w+):"))
    assert {"--rule", "--c0", "--c1", "--r", "--g", "--h", "--b"} <= used <= known


def test_every_line_of_a_table_has_a_cell_for_every_column():
    whole = page(realistic_report())
    columns = 0
    for line in whole.lines:
        columns = len(line) if line[0] in ("channel", "method") else columns
        assert len(line) in (1, 2, columns), "or it names a group, or it is a line of the record"
    heads = [cell.get("scope") for cell in whole.named("th")]
    assert (heads.count("col"), heads.count("rowgroup")) == (11 + 8 + 5, 2 + 2 + 2)


@pytest.mark.parametrize(
    ("interval", "span"), [((44.0, 46.5), "M44.0 6H46.5"), ((None, 46.5), "M40 6H46.5"), ((None, None), "M40 6H48")]
)
def test_an_error_bar_reaches_from_end_to_end_of_its_interval_or_of_the_scale(interval, span: str):
    few = [
        row("single frame", "b", 100, 40.9, corrected_psnr_db_interval=(40.3, 47.1)),
        row("odd", "b", 100, 45.2, corrected_psnr_db_interval=interval),
    ]
    whole = page(Report("t", rows=few))
    assert whole.named("svg")[-1]["viewbox"] == "40 0 8 14"
    assert [path["d"] for path in whole.named("path")][-2:] == [span, "M45.2 0V12"]
    assert "bars 40 to 48 dB" in whole.text


@pytest.mark.parametrize(
    ("value", "interval", "shown"),
    [
        (None, None, "–"),
        (-1.234, None, "−1.23"),
        (-0.004, (-0.006, -0.0), "+0.00−0.01 to +0.00"),
    ],
)
def test_a_difference_has_a_sign_but_zero_is_never_negative(value, interval, shown: str):
    few = only("odd", over_nlm_db=value, over_nlm_db_interval=interval)
    assert page(Report("t", rows=few)).line("★ odd")[2] == shown


@pytest.mark.parametrize(
    ("value", "interval", "shown"),
    [
        (7.2163, (7.11, 7.32), "7.227.11 to 7.32"),
        (76.91, (71.5, 82.3), "7772 to 82"),
        (0.00512, (0.0047, 0.0055), "0.00510.0047 to 0.0055"),
        (3.0, (3.0, 3.0), "3.0003.000 to 3.000"),
        (3.0, None, "3.000"),
        (None, None, "–"),
    ],
)
def test_a_measured_value_has_the_digits_that_its_interval_deserves(value, interval, shown: str):
    channel = realistic_report().channels[0]
    profile = channel.profile.model_copy(update={"dsnu_e": value, "dsnu_e_interval": interval})
    whole = page(Report("t", channels=[replace(channel, profile=profile)]))
    assert [line[2] for line in whole.lines if line[0] == "R"][1] == shown


def test_rows_are_shown_as_they_are():
    found = [cell.strip() for cell in page(realistic_report()).line("★ model")]
    assert found == [
        "★ model", "45.4345.31 to 45.57", "+1.57+1.51 to +1.63", "2.22.2 to 2.3", "0.01", "0.02", "45.4045.29 to 45.51",
        "9.43? to 9.00", "45.40", "0.912", "0.21612 MB",
    ]  # fmt: skip


def test_a_score_that_could_not_be_measured_is_a_dash():
    assert page(realistic_report()).line("wavelet")[1] == "–"


def test_the_best_method_is_one_that_sees_a_single_frame():
    few = [
        row("single frame", "b", 100, 40.0),
        row("mean of 4", "b", 100, 46.0, averaged=4),
        row("nlm-stabilised", "b", 100, 43.0),
    ]
    names = [line[0] for line in page(Report("t", rows=few)).lines if len(line) > 1]
    assert [name for name in names if "★" in name] == ["★ nlm-stabilised"]


def test_the_headline_tells_the_gain_over_all_bursts():
    text = headline(page(realistic_report()))
    # The ends of intervals that are worst for it, so that no two numbers pass for an interval.
    assert "One denoised shot is worth at least 2.2 (3.4) averaged frames and lies at least" in text
    assert "3.4 dB (5.4 dB) over the noisy one, at least 1.5 dB (2.1 dB) over the best classical method." in text
    assert "In brackets: the best of the 2 bursts." in text


def test_the_headline_compares_with_the_best_classical_method_of_each_burst():
    few = [
        row("single frame", "a", 100, 40.0), row("nlm-stabilised", "a", 100, 42.0, strength=1.0),
        row("wavelet", "a", 100, 42.5, strength=1.0), row("mean of 4", "a", 100, 46.0), row("model", "a", 100, 43.0),
        row("single frame", "b", 100, 40.0), row("nlm-stabilised", "b", 100, 42.2, strength=1.0),
        row("wavelet", "b", 100, 41.0, strength=1.0), row("model", "b", 100, 44.0),
    ]  # fmt: skip
    assert "at least 0.3 dB (1.6 dB) over the best classical method." in headline(
        page(Report("t", rows=few, model="model"))
    )


def test_without_a_model_the_headline_is_about_the_best_classical_method_and_never_plainly_good():
    sure = {"strength": 1.0, "over_nlm_db": 0.5, "over_nlm_db_interval": (0.3, 0.7)}
    few = [*only("wavelet", **sure), row("nlm-stabilised", "b", 100, 42.5, strength=1.0), row("odd", "b", 100, 44.0)]
    whole = page(Report("t", rows=few))
    assert "One shot through wavelet lies at least 2.8 dB over the noisy one, at least 0.3 dB over the best other" in (
        headline(whole)
    )
    assert "Best classical method: usable with careNo model was given; this is about wavelet." in whole.text
    assert "Denoiser" not in whole.text
    assert "No model was given." in page(Report("t", rows=only("odd"))).text


def test_cautions_stand_between_the_headline_and_the_lights_and_are_at_best_care():
    good = {"over_nlm_db": 0.5, "over_nlm_db_interval": (0.3, 0.7)}
    plain = Report("t", rows=only("model", **good), model="model")
    text = re.sub(r"\s+", " ", page(replace(plain, cautions=["trained on b", "second"])).text)
    assert re.search(r"Usable with care One denoised shot.*trained on b second Denoiser: usable with care", text)
    worse = Report("t", rows=only("model", corrected_psnr_db=39.0), model="model", cautions=["trained on b"])
    assert "Denoiser: not usable" in page(worse).text
    assert "trained on b" in page(Report("t", cautions=["trained on b"])).text, "even when there is nothing else"


def test_nlm_is_the_reference_of_the_differences_to_nlm():
    assert page(realistic_report()).line("nlm-stabilised")[2] == "reference"


def test_the_headline_says_plainly_when_nothing_is_gained_over_classical_methods():
    worse = Report("t", rows=[*only("model"), row("wavelet", "b", 100, 43.04, strength=1.0)], model="model")
    assert "2.8 dB over the noisy one, but not surely over the best classical method." in headline(page(worse))


def test_the_star_is_given_where_neither_chance_nor_fixed_pattern_may_put_another_first():
    def stars(**changes: object) -> list[str]:
        few = [
            *only("model", **changes),
            row("mean of 2", "b", 100, 46.0, averaged=2),
            row("nlm-stabilised", "b", 100, 42.5),
        ]
        return [line[0] for line in page(Report("t", rows=few)).lines if "★" in line[0]]

    assert stars() == ["★ model"]
    assert stars(corrected_psnr_db=42.6) == []  # within the interval of another
    # Half of the error of NLM may be pattern that it took away, the model's is kept.
    assert stars(noise_kept=1.0, pattern_psnr_db_bracket=(45.5, None), pattern_source="assumed") == []


def test_a_score_that_the_fixed_pattern_may_change_says_so_and_a_dagger_where_it_may_turn_the_order():
    sure = {"over_nlm_db": 0.5, "over_nlm_db_interval": (0.3, 0.7), "corrected_psnr_db_bracket": (42.5, None)}
    open_ = only("odd", **sure, over_nlm_db_bracket=(-0.2, 0.9), pattern_psnr_db_bracket=(50.0, None))
    whole = page(Report("t", rows=open_))
    corrected, over = (cell.strip() for cell in whole.line("★ odd")[1:3])
    assert corrected == "43.0042.88 to 43.1442.50 to ? with fixed pattern"
    assert over == "+0.50+0.30 to +0.70 †"
    assert "† surer than chance, but the fixed pattern" in whole.text
    assert "the fixed pattern alone: at worst 50.0 dB, assumed" in page(Report("t", rows=open_[1:])).text
    closed = page(Report("t", rows=only("odd", **sure, over_nlm_db_bracket=(0.1, None))))
    assert "†" not in closed.text


def only(method: str, **changes: object) -> list[BenchmarkRow]:
    return [row("single frame", "b", 100, 40.0), row(method, "b", 100, 43.0, **changes)]


@pytest.mark.parametrize(
    ("report", "word"),
    [
        (Report("t", rows=only("model", over_nlm_db=0.5, over_nlm_db_interval=(0.3, 0.7)), model="model"), "Usable"),
        (
            Report("t", rows=only("model", over_nlm_db=0.1, over_nlm_db_interval=(-0.1, 0.3)), model="model"),
            "Usable with care",
        ),
        (Report("t", rows=only("model", corrected_psnr_db=39.0), model="model"), "Not usable"),
        (Report("t", rows=only("model"), model="another"), "Usable with care"),
        (Report("t", rows=only("model", corrected_psnr_db=None), model="model"), "Usable with care"),
    ],
)
def test_a_denoiser_is_judged_by_what_it_gains(report: Report, word: str):
    assert headline(page(report)).strip().endswith(("over the noisy one.", "Not scored on these bursts."))
    assert re.search(r"(Usable with care|Usable|Not usable)", headline(page(report)))[1] == word


@pytest.mark.parametrize(("chosen", "word"), [((0, 1), "Usable"), ((0, 2), "Usable with care"), ((2,), "Not usable")])
def test_series_are_judged_by_how_many_were_accepted(chosen: tuple[int, ...], word: str):
    text = page(Report("t", series=[realistic_report().series[number] for number in chosen])).text
    assert re.search(r"(Usable with care|Usable|Not usable)", text)[1] == word


@pytest.mark.parametrize(
    ("usable", "reasons", "word"),
    [(True, (), "Usable"), (True, ("beware",), "Usable with care"), (False, ("filtered",), "Not usable")],
)
def test_a_noise_profile_is_judged_by_its_channels(usable: bool, reasons: tuple[str, ...], word: str):
    channel = realistic_report().channels[0]
    profile = channel.profile.model_copy(update={"usable": usable, "reasons": reasons})
    text = page(Report("t", channels=[replace(channel, profile=profile)])).text
    assert re.search(r"(Usable with care|Usable|Not usable)", text)[1] == word
    assert all(reason in text for reason in reasons)


def test_every_rejected_frame_is_named_with_its_reason_in_words():
    text = page(realistic_report()).text
    for words in (
        "5, frame_004.dng: light changed (8.",
        "8, frame_007.dng: camera moved (moved by 2.0",
        "9, frame_008.dng: subject moved (something moved",
        "4, IMG_3.CR2: other settings (ISO 100 instead of 1600)",
        "3 beyond the limit, not looked at",
    ):
        assert words in text


def test_channels_are_shown_with_their_intervals_and_doubts():
    whole = page(realistic_report())
    line = whole.line("R")
    assert re.fullmatch(r"7\.\d\d7\.\d\d to 7\.\d\d", line[2]), "gain: 16 times 0.45 is 7.2"
    assert "Synthetic APS-C, ISO 6400, B: the read noise is known only to 16%" in whole.text


@pytest.mark.parametrize("bins", [None, np.zeros((3, 0)), np.array([[0.0, -1e-5], [1e-6, 2e-6], [9, 9]])])
def test_a_channel_without_points_above_black_is_shown_all_the_same(bins: np.ndarray | None):
    changes = {"camera": None, "iso": None, "channel": "mono", "prnu_percent": None, "prnu_percent_interval": None}
    channel = realistic_report().channels[0]
    profile = channel.profile.model_copy(update=changes)
    whole = page(Report("t", channels=[replace(channel, profile=profile, bins=bins)]))
    assert whole.line("mono")[1] == "Usable"
    assert "unknown camera, ISO unknown" in whole.text
    assert [cell for line in whole.lines for cell in line if line[0] == "mono"][-1] == "14", "defects"


def test_a_series_without_an_accepted_frame_has_no_curve():
    series = realistic_report().series[2]
    nothing = replace(series.verdict, deviations=(), mu=float("nan"), sigma=float("nan"))
    whole = page(Report("t", series=[replace(series, verdict=nothing, thumbnails=())]))
    assert whole.named("svg") == []
    assert "nan" not in whole.text


def test_six_series_of_twenty_frames_fit_into_five_megabytes(tmp_path):
    report = realistic_report()
    long = report.series[1]
    frames = (long.verdict.frames * 3)[:20]
    many = replace(long, verdict=replace(long.verdict, frames=frames), thumbnails=(list(long.thumbnails) * 3)[:20])
    write_report(tmp_path / "r.html", replace(report, series=[many] * 6, crops=[*report.crops] * 2))
    assert (tmp_path / "r.html").stat().st_size < 5e6


def test_rows_are_written_as_lines_of_json(tmp_path):
    write_rows(tmp_path / "rows.jsonl", rows())
    lines = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    assert [BenchmarkRow.model_validate(json.loads(line)) for line in lines] == rows()
