"""What visitors give lies under names of ours, within bounds, and is gone when they are; their names harm nobody."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from burst_denoise.errors import BurstDenoiseError, InputFileError
from burst_denoise.web import visits as module
from burst_denoise.web.visits import MOST_VISITS, TooManyError, Visits, attachment, result_name, shown_name

HOSTILE = {
    "../../../etc/passwd.dng": "passwd-denoised.dng",
    "..\\..\\windows\\evil.dng": "evil-denoised.dng",
    "nul\0byte.dng": "nulbyte-denoised.dng",
    "<img src=x onerror=alert(1)>.dng": "<img src=x onerror=alert(1)>-denoised.dng",
    'quote";filename="other.dng': 'quote";filename="other-denoised.dng',
    "line\r\nSet-Cookie: a=b.dng": "lineSet-Cookie: a=b-denoised.dng",
    "Übermaß 写真.dng": "Übermaß 写真-denoised.dng",
    "\u202egnd.dng": "gnd-denoised.dng",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_text_and_that_of_a_download(name: str) -> None:
    found = result_name(shown_name(name), "dng")
    assert found == HOSTILE[name]
    header = attachment(found)
    header.encode("ascii")
    assert header.isprintable()
    plain, _, encoded = header.partition("; filename*=UTF-8''")
    assert unquote(encoded) == found
    assert plain.count('"') == 2
    assert "\\" not in plain


@pytest.mark.parametrize("name", ["", ".", "..", "/", "\\", "\0", "...dng", "a" * 5000 + ".dng", "a." + "b" * 5000])
def test_odd_names_become_some_name(name: str) -> None:
    found = shown_name(name)
    assert 0 < len(found) < 140
    assert found.strip(". ")


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    for piece in given:
        yield piece


def test_a_file_lies_under_a_name_of_ours_and_is_called_as_the_visitor_knows_it(tmp_path: Path) -> None:
    visits = Visits(tmp_path)
    visit = visits.begin()
    for name in ("../a.NEF", "b.dng"):
        asyncio.run(visits.receive(visit, name, pieces(b"raw", b"file")))
    assert [(file.path.relative_to(visit.folder), file.name) for file in visit.files] == [
        (Path("shot-01.nef"), "a.NEF"), (Path("shot-02.dng"), "b.dng")
    ]  # fmt: skip
    assert visit.files[0].path.read_bytes() == b"rawfile"
    text = f"{visit.files[1].path}: is damaged; shot-01.nef is not"
    assert visit.in_words(text) == "b.dng: is damaged; a.NEF is not"


async def _breaking_off(error: BaseException) -> AsyncIterator[bytes]:
    yield b"half of it"
    raise error


@pytest.mark.parametrize(
    ("chunks", "error", "words"),
    [
        (lambda: pieces(), InputFileError, "a.dng: is empty; copy it from the camera again"),
        (lambda: pieces(bytes(600), bytes(600)), InputFileError, "a.dng: is larger than the 0 MB that this page takes"),
        (lambda: _breaking_off(ConnectionResetError()), ConnectionResetError, None),
    ],
)
def test_of_a_file_that_does_not_come_whole_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunks, error: type[Exception], words: str | None
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    visits = Visits(tmp_path)
    visit = visits.begin()
    with pytest.raises(error, match=words):
        asyncio.run(visits.receive(visit, "a.dng", chunks()))
    assert list(visit.folder.iterdir()) == []
    assert visit.files == []


def test_a_file_that_stops_coming_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent() -> AsyncIterator[bytes]:
        yield b"half of it"
        await asyncio.sleep(60)

    monkeypatch.setattr(module, "SILENCE_S", 0.05)
    visits = Visits(tmp_path)
    visit = visits.begin()
    with pytest.raises(InputFileError, match=r"a\.dng: stopped coming, and is given up; try again"):
        asyncio.run(visits.receive(visit, "a.dng", silent()))
    assert list(visit.folder.iterdir()) == []


def test_no_more_files_are_taken_than_a_burst_has_use_for_nor_than_the_disk_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visits = Visits(tmp_path)
    visit = visits.begin()

    def give() -> None:
        asyncio.run(visits.receive(visit, "a.dng", pieces(b"raw")))

    for _ in range(20):
        give()
    with pytest.raises(TooManyError, match="20 frames of a burst are enough"):
        give()
    visit.files.clear()
    monkeypatch.setattr(module, "SPARE_BYTES", 1 << 60)
    with pytest.raises(BurstDenoiseError, match="there is no room for it"):
        give()


def test_who_says_nothing_for_long_is_gone_with_the_files(tmp_path: Path) -> None:
    visits = Visits(tmp_path, lifetime_s=0.05)
    silent, talking = visits.begin(), visits.begin()
    (silent.folder / "shot-01.dng").write_bytes(b"raw")
    time.sleep(0.1)
    assert visits.find(talking.key) is talking
    assert visits.expired() == [silent]
    visits.end(silent)
    assert list(tmp_path.iterdir()) == [talking.folder]
    assert visits.find(silent.key) is None


def test_more_visitors_than_there_is_room_for_are_told(tmp_path: Path) -> None:
    visits = Visits(tmp_path)
    begun = [visits.begin() for _ in range(MOST_VISITS)]
    with pytest.raises(TooManyError, match="16 shots are open on this page already; close one, or try again later"):
        visits.begin()
    visits.end(begun[0])
    assert visits.begin().key not in {visit.key for visit in begun}
