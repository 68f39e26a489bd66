"""The ledger: lines that survive whoever was killed while writing, and one process at a time on one shot."""

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from burst_denoise.errors import OutputError
from burst_denoise.files import digest_of
from burst_denoise.schemas import NoiseEntry, NoiseProfile, ShotEntry
from burst_denoise.session.ledger import LEDGER_NAME, FileState, Ledger, was_written


def entry(output: str = "a-denoised.dng", outcome: str = "done", **changes: object) -> ShotEntry:
    values = {
        "shot": "a.dng", "input": "/card/a.dng", "input_bytes": 1, "input_mtime_ns": 1, "input_sha256": "0",
        "info": None, "network": "prior 0", "noise": None, "settings": {"strength": 1.0}, "output": output,
        "outcome": outcome, "seconds": 1.0, "finished_at": "2026-01-01T00:00:00+00:00", "version": "0",
    }  # fmt: skip
    return ShotEntry.model_validate(values | changes)


def test_what_one_process_writes_another_reads(tmp_path: Path) -> None:
    one, other = Ledger(tmp_path / "out"), Ledger(tmp_path / "out")
    target = tmp_path / "out" / "a-denoised.dng"
    one.append(entry())
    assert other.done(target) is None
    other.refresh()
    assert other.done(target) == entry()
    assert other.of_this_session(target) == entry()
    assert Ledger(tmp_path / "out").of_this_session(target) is None
    assert Ledger(tmp_path / "out").of_input(Path("/card/a.dng")) == entry()


def test_a_failure_does_not_make_a_result_forgotten(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.append(entry())
    ledger.append(entry(outcome="failed", error="damaged"))
    target = tmp_path / "a-denoised.dng"
    last = ledger.of_this_session(target)
    assert last is not None
    assert last.error == "damaged"
    assert ledger.done(target) == entry()


def test_a_broken_last_line_is_ended_and_costs_no_other(tmp_path: Path) -> None:
    Ledger(tmp_path).append(entry("a"))
    with (tmp_path / LEDGER_NAME).open("ab") as file:
        file.write(b'{"record": "shot", "shot": "b')
    ledger = Ledger(tmp_path)
    ledger.append(entry("c"))
    found = Ledger(tmp_path)
    assert found.damaged_lines == 1
    assert found.done(tmp_path / "a")
    assert found.done(tmp_path / "c")
    assert not found.done(tmp_path / "b")


@pytest.mark.parametrize("line", [b"\xff\xfe", b"[]", b"{}", b"null", b'{"record": "noise"}', b"[" * 100_000, b"1e999"])
def test_lines_of_nonsense_are_passed_over(tmp_path: Path, line: bytes) -> None:
    (tmp_path / LEDGER_NAME).write_bytes(line + b"\n" + json.dumps(entry("a").model_dump(mode="json")).encode() + b"\n")
    found = Ledger(tmp_path)
    assert found.damaged_lines == 1
    assert found.done(tmp_path / "a") == entry("a")


def test_the_noise_of_a_camera_is_kept_by_iso_and_size(tmp_path: Path) -> None:
    profile = NoiseProfile(iso=800, shot_noise_scale=(1e-4,) * 4, read_noise_variance=(1e-6,) * 4)
    noise = NoiseEntry(
        camera="C", iso=800, height=4, width=6, white_level=255, shots=("a",), profile=profile, version="0"
    )
    ledger = Ledger(tmp_path)
    ledger.append(noise)
    assert ledger.noise("C", 800.0, (4, 6)) == noise
    assert ledger.noise("C", 800.0, (6, 4)) is None
    assert Ledger(tmp_path).noise("C", 800.0, (4, 6), of_this_session=True) is None


def test_only_one_process_has_a_claim_until_it_is_released(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        claim = ledger.claim("a")
        assert claim is not None
        code = "import sys; from pathlib import Path; from burst_denoise.session.ledger import Ledger\n"
        code += "print(Ledger(Path(sys.argv[1])).claim('a') is None, Ledger(Path(sys.argv[1])).claim('b') is None)"
        other = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
        assert other.stdout.split() == ["True", "False"]
        ledger.release(claim)
        assert ledger.claim("a") is not None
        assert ledger.claim("b") is not None, "whose process has ended without releasing it"
    assert list(tmp_path.iterdir()) == []


def _claim_and_die(folder: Path, intended: ShotEntry | None) -> None:
    claim = Ledger(folder).claim(intended.output if intended else "a")
    assert claim is not None
    if intended is not None:
        claim.intend(intended)
    os._exit(1)


def die_with_a_claim(folder: Path, intended: ShotEntry | None) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_claim_and_die, args=(folder, intended))
    process.start()
    process.join()


def test_who_dies_between_the_result_and_its_line_has_left_both(tmp_path: Path) -> None:
    target = tmp_path / "a-denoised.dng"
    target.write_bytes(b"a result")
    intended = entry(output_bytes=8, output_mtime_ns=FileState.of(target).mtime_ns, output_sha256=digest_of(target))
    die_with_a_claim(tmp_path, intended)
    ledger = Ledger(tmp_path)
    claim = ledger.claim("a-denoised.dng")
    assert claim is not None
    assert claim.before == intended
    assert was_written(intended, target)
    target.write_bytes(b"another!")
    assert not was_written(intended, target)
    target.unlink()
    assert not was_written(intended, target)


def test_a_claim_whose_line_was_written_is_swept_away(tmp_path: Path) -> None:
    target = tmp_path / "a-denoised.dng"
    target.write_bytes(b"a result")
    intended = entry(output_bytes=8, output_mtime_ns=FileState.of(target).mtime_ns, output_sha256=digest_of(target))
    die_with_a_claim(tmp_path, intended)
    with Ledger(tmp_path) as ledger:
        ledger.append(entry("b"))
    assert len(list((tmp_path / ".burst-denoise-claims").iterdir())) == 1, "its shot's turn has not come"
    with Ledger(tmp_path) as ledger:
        ledger.append(intended)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-denoised.dng", LEDGER_NAME]


def test_the_claims_of_the_dead_are_swept_away(tmp_path: Path) -> None:
    die_with_a_claim(tmp_path, None)
    with Ledger(tmp_path) as ledger:
        ledger.append(entry())
    assert [path.name for path in tmp_path.iterdir()] == [LEDGER_NAME]


def test_a_folder_made_for_nothing_is_taken_away_again(tmp_path: Path) -> None:
    with Ledger(tmp_path / "new" / "out") as ledger:
        assert ledger.claim("a") is not None
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / LEDGER_NAME).mkdir()
    with pytest.raises(OutputError, match=rf"{LEDGER_NAME}: cannot be read \(Is a directory\)"):
        Ledger(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_in_place_of_the_ledger_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / LEDGER_NAME)
    with pytest.raises(OutputError, match=r"burst-denoise\.jsonl: is a pipe where the ledger belongs; take it away"):
        Ledger(tmp_path)


@pytest.mark.parametrize("wrong", [{"process": -1}, {"process": 1 << 40}, {"started_at": None}, {"node": 7}])
def test_a_damaged_claim_is_nobodys(tmp_path: Path, wrong: dict[str, object]) -> None:
    with Ledger(tmp_path) as ledger:
        claim = ledger.claim("a.dng")
        assert claim is not None
        claim.place.write_text(json.dumps(json.loads(claim.place.read_text()) | wrong))
        assert ledger.claim("a.dng") is not None
