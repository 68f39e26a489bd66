"""Names of results: from a template, in the folders of the shots, no two alike on any disk."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burst_denoise.errors import ConfigError, OutputError
from burst_denoise.io.metadata import Header
from burst_denoise.session.names import Naming, results_folder
from burst_denoise.session.shots import Shot

ROOT, OUT = Path("/card"), Path("/out")


def shots(*names: str, root: Path = ROOT) -> list[Shot]:
    return [Shot(name, root, root / name) for name in names]


def named(given: list[Shot], template: str = "{stem}-denoised", **known: object) -> list[str]:
    found = Naming(template).targets(given, OUT, **known)  # type: ignore[arg-type]
    return [found[shot].relative_to(OUT).as_posix() for shot in given]


def test_a_result_has_the_name_of_its_shot_and_a_word_in_the_same_folders() -> None:
    assert named(shots("IMG_1.CR2", "a/IMG_1.CR2")) == ["IMG_1-denoised.dng", "a/IMG_1-denoised.dng"]


def test_two_shots_of_one_stem_keep_their_suffixes() -> None:
    assert named(shots("IMG_1.CR2", "IMG_1.dng", "IMG_2.CR2")) == [
        "IMG_1.CR2-denoised.dng",
        "IMG_1.dng-denoised.dng",
        "IMG_2-denoised.dng",
    ]


def test_names_that_differ_in_the_case_of_letters_alone_do_not_meet_on_a_disk_that_is_blind_to_it() -> None:
    found = named(shots("A.DNG", "a.dng"))
    assert len({name.casefold() for name in found}) == 2


def test_a_shot_whose_result_is_there_keeps_its_name_when_another_of_its_stem_comes() -> None:
    both = shots("IMG_1.CR2", "IMG_1.dng")
    known = {"/card/IMG_1.CR2": OUT / "IMG_1-denoised.dng"}
    assert named(both, known=known) == ["IMG_1-denoised.dng", "IMG_1.dng-denoised.dng"]


def test_shots_of_several_folders_go_below_these_where_their_names_meet() -> None:
    given = [*shots("a.dng", "b.dng", root=Path("/monday")), *shots("a.dng", root=Path("/tuesday"))]
    assert named(given) == ["monday/a-denoised.dng", "b-denoised.dng", "tuesday/a-denoised.dng"]


def test_a_template_may_have_iso_and_camera_and_what_no_name_can_hold_is_replaced() -> None:
    (shot,) = shots("a.dng")
    header = Header("bayer", "Make/Model: 7\n", 4, 4, 1600.0, None, None)
    assert named([shot], "{stem}-{iso}-{camera}", headers={shot: header}) == ["a-1600-Make_Model_ 7_.dng"]
    assert named([shot], "{stem}-{iso}") == ["a-unknown.dng"]


@pytest.mark.parametrize(
    "template",
    ["denoised", "{stem", "{stem}-{mood}", "x/{stem}", "{stem.__class__}", "{0}{stem}", "{stem!r}", "{stem:>400}"],
)
def test_a_template_that_names_nothing_is_refused(template: str) -> None:
    with pytest.raises(ConfigError, match="name "):
        Naming(template)


def test_a_place_that_holds_the_result_of_another_shot_is_left_to_it() -> None:
    first = OUT / "IMG_1-denoised.dng"
    assert named(shots("IMG_1.CR2"), is_of_another=lambda _, place: place == first) == ["IMG_1.CR2-denoised.dng"]
    (last,) = named(shots("IMG_1.CR2"), is_of_another=lambda *_: True)
    assert last.startswith("IMG_1-denoised-")


def test_a_result_in_the_place_of_a_shot_is_refused() -> None:
    with pytest.raises(OutputError, match="is a shot to denoise itself"):
        Naming("{stem}").targets(shots("a.dng"), ROOT)


def test_a_shot_is_no_result_by_another_name_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "card")
    shot = Shot("a.DNG", tmp_path / "link", tmp_path / "link" / "a.DNG")
    for output in (tmp_path / "card", tmp_path / "link", tmp_path / "card" / "A.dng", tmp_path / "link" / "a.DNG"):
        with pytest.raises(OutputError, match="is a shot to denoise itself"):
            Naming("{stem}").targets([shot], output)


def test_the_folder_of_a_file_holds_its_ledger() -> None:
    assert results_folder(Path("clean/a.dng")) == Path("clean")
    assert results_folder(Path("clean")) == Path("clean")


@given(st.lists(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=200), min_size=1,
                max_size=12, unique=True))  # fmt: skip
def test_names_are_all_different_and_none_is_longer_than_a_disk_takes(stems: list[str]) -> None:
    given = shots(*(f"{stem}.dng" for stem in stems))
    found = list(Naming().targets(given, OUT).values())
    assert len({str(path).casefold() for path in found}) == len(found)
    assert max(len(path.name.encode()) for path in found) <= 251
