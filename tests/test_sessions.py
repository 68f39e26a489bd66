"""Sessions by the command line: who denoises what, what is done again, what is told; one process, so quick."""

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from burst_denoise.io.raw import read_raw
from tests.command_line import Run
from tests.sessions import SMALL, results, shots_of, write_night
from tests.shots import burst_frames, dark_frames, write_frames


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A night's shots of three bodies and models of two, only read."""
    folder = tmp_path_factory.mktemp("night")
    write_night(folder, (1600,), 3)
    return folder


@pytest.fixture
def night(written: Path, tmp_path: Path) -> Path:
    """A night's shots and models, to do with as one likes."""
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_each_body_is_served_by_its_model_the_other_by_the_prior_with_one_estimate(night: Path, run: Run) -> None:
    out = night / "out"
    job = ("denoise", night / "card", "-m", night / "models", "-o", out)
    done = run(*job)
    assert (done.code, len(results(out))) == (0, 9)
    networks = {line["shot"].split("/")[0]: line["network"].split()[0] for line in shots_of(out)}
    assert networks == {"Canon": "model", "Nikon": "model", "Sony": "prior"}
    noises = {line["noise"] for line in shots_of(out) if line["shot"].startswith("Sony")}
    assert noises == {"estimated from 3 shots of its camera and ISO"}
    assert done.err.count("until then the network that comes with the program serves such shots") == 1
    again = run(*job)
    assert (again.code, again.out.count("done before"), len(shots_of(out))) == (0, 9, 9)


def test_only_what_changed_is_done_again_and_what_somebody_edited_is_left(night: Path, run: Run) -> None:
    out = night / "out"
    job = ("denoise", night / "card", "-m", night / "models", "-o", out)
    assert run(*job).code == 0
    before = results(out)
    shots = sorted((night / "card").rglob("*.dng"))
    os.utime(shots[0])
    content = bytearray(shots[1].read_bytes())
    content[-200] ^= 1
    shots[1].write_bytes(content)
    edited = out / "Sony" / "1600_2-denoised.dng"
    edited.write_bytes(edited.read_bytes() + b"by hand")
    done = run(*job)
    assert done.code == 3
    assert [line.split(":")[0] for line in done.out.splitlines() if "written to" in line] == ["2/9 Canon/1600_1.dng"]
    assert f"{edited}: was changed since it was written and is left as it is" in done.err
    assert {name for name, digest in results(out).items() if before[name] != digest} - {
        "Canon/1600_1-denoised.dng"
    } == {"Sony/1600_2-denoised.dng"}
    other = run(*job, "--strength", 0.5)
    assert (other.code, other.out.count("written to")) == (3, 8)
    anew = run(*job, "--overwrite")
    assert (anew.code, anew.out.count("written to")) == (0, 9)
    assert read_raw(edited).dn.shape == SMALL


def test_another_model_makes_the_shots_of_its_camera_anew_and_no_others(night: Path, run: Run) -> None:
    out = night / "out"
    job = ("denoise", night / "card", "-o", out, "-m")
    assert run(*job, night / "models" / "Canon EOS 700D.safetensors").code == 0
    done = run(*job, night / "models")
    written = [line.split()[1].split("/")[0] for line in done.out.splitlines() if "written to" in line]
    assert written == ["Nikon"] * 3


def test_a_damaged_shot_does_not_take_its_earlier_result_along(night: Path, run: Run) -> None:
    job = ("denoise", night / "card", "-m", night / "models", "-o", night / "out")
    assert run(*job).code == 0
    before = results(night / "out")
    shot = night / "card" / "Sony" / "1600_0.dng"
    whole = shot.read_bytes()
    shot.write_bytes(whole[:3000])
    assert run(*job).code == 3
    assert results(night / "out") == before
    shot.write_bytes(whole)
    done = run(*job)
    assert (done.code, done.out.count("done before")) == (0, 9)


def test_a_dry_run_tells_and_does_nothing(night: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("burst_denoise.session.denoisers.TRIAL_SIDE", 128)
    done = run("denoise", night / "card", "-o", night / "out", "--dry-run")
    assert done.code == 0
    assert done.out.count("would be written to") == 9
    assert "9 of 9 shots to denoise, 0 megapixels: about 0.0 min at " in done.out
    assert not (night / "out").exists()


def test_json_prints_the_lines_of_the_ledger(night: Path, run: Run) -> None:
    done = run("denoise", night / "card", "-m", night / "models", "-o", night / "out", "--json")
    assert [json.loads(line) for line in done.out.splitlines()] == shots_of(night / "out")


def test_the_end_is_a_table_of_bodies_and_isos(night: Path, run: Run) -> None:
    done = run("denoise", night / "card", "-m", night / "models", "-o", night / "out")
    rows = [[cell.strip() for cell in line.split("│")[1:5]] for line in done.out.splitlines() if "│" in line]
    assert rows == [[f"{body}", "1600", "3", ""] for body in ("Canon EOS 700D", "Nikon D5", "Sony ILCE-7M3")]


def test_shards_divide_a_session(night: Path, run: Run) -> None:
    job = ("denoise", night / "card", "-m", night / "models", "-o")
    assert run(*job, night / "whole").code == 0
    for number in (1, 2, 3):
        done = run(*job, night / "parts", "--shard", f"{number}/3")
        assert (done.code, done.out.count("written to")) == (0, 3)
    assert results(night / "parts") == results(night / "whole")


def test_a_pipe_is_refused_at_once(tmp_path: Path, run: Run) -> None:
    os.mkfifo(tmp_path / "a.dng")
    begun = time.monotonic()
    done = run("denoise", tmp_path / "a.dng", "-o", tmp_path / "out.dng")
    assert done.code == 1
    assert "a.dng: is a pipe or a device where a file is needed" in done.err
    assert time.monotonic() - begun < 15


def test_long_names_and_those_of_other_languages_are_kept_as_far_as_a_disk_can(tmp_path: Path, run: Run) -> None:
    frames = burst_frames(2, size=SMALL)
    names = ["n" * 246 + ".dng", "夜" * 80 + ".dng"]
    shots = write_frames(tmp_path / "card", [replace(frame, path=Path(f"{k}.dng")) for k, frame in enumerate(frames)])
    for shot, name in zip(shots, names, strict=True):
        shot.rename(shot.with_name(name))
    done = run("denoise", tmp_path / "card", "-o", tmp_path / "out")
    assert done.code == 0, done.err
    assert len(list((tmp_path / "out").glob("*.dng"))) == 2
    assert run("denoise", tmp_path / "card", "-o", tmp_path / "out").out.count("done before") == 2


def test_a_result_is_not_replaced_by_that_of_another_shot(tmp_path: Path, run: Run) -> None:
    shots = write_frames(tmp_path / "card", burst_frames(2, size=SMALL))
    assert run("denoise", shots[0], "-o", tmp_path / "clean.dng").code == 0
    done = run("denoise", shots[1], "-o", tmp_path / "clean.dng")
    assert done.code == 1
    assert f"clean.dng: exists already, made of {shots[0]}; name another output" in done.err
    assert run("denoise", shots[0], "-o", tmp_path / "clean.dng").out.count("done before") == 1
    assert run("denoise", shots[0], "-o", tmp_path / "clean.dng", "--strength", 0.5).out.count("written to") == 1
    moved = shots[0].rename(tmp_path / "moved.dng")
    assert run("denoise", moved, "-o", tmp_path / "clean.dng", "--strength", 0.5).out.count("done before") == 1


def test_a_ledger_with_a_broken_line_is_told_and_costs_no_result(night: Path, run: Run) -> None:
    job = ("denoise", night / "card", "-m", night / "models", "-o", night / "out")
    assert run(*job).code == 0
    ledger = night / "out" / "burst-denoise.jsonl"
    whole = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(whole[:-1]) + whole[-1][:50])
    before = results(night / "out")
    done = run(*job)
    assert (done.code, done.out.count("done before"), done.out.count("written to")) == (0, 8, 1)
    assert "1 damaged lines are passed over" in done.err
    assert results(night / "out") == before
    ledger.unlink()
    done = run(*job, "--strength", 0.5)
    assert done.code == 1, "of another session"
    assert done.err.count("exists already and is no result of this session") == 10
    assert results(night / "out") == before


def test_a_shot_is_not_overwritten_by_its_own_result(night: Path, run: Run) -> None:
    (shot,) = write_frames(night, burst_frames(1, size=SMALL))
    before = shot.read_bytes()
    done = run("denoise", shot, "-o", shot, "--overwrite")
    assert (done.code, shot.read_bytes() == before) == (1, True)
    assert "is a shot to denoise itself" in done.err


def test_a_shot_whose_place_another_took_gets_another(tmp_path: Path, run: Run) -> None:
    for suffix, seed in (("dng", 1), ("DNG", 2)):
        frame = burst_frames(1, seed=seed, size=SMALL)[0]
        write_frames(tmp_path / "card", [replace(frame, path=Path(f"a.{suffix}"))])
        assert run("denoise", tmp_path / "card" / f"a.{suffix}", "-o", tmp_path / "out", "--overwrite").code == 0
    done = run("denoise", tmp_path / "card", "-o", tmp_path / "out")
    assert done.code == 0, done.err
    assert sorted(results(tmp_path / "out")) == ["a-denoised.dng", "a.DNG-denoised.dng"]


def test_a_body_whose_model_is_of_other_isos_is_told_so(night: Path, run: Run) -> None:
    (shot,) = write_frames(night / "far", burst_frames(1, 12800, size=SMALL), camera="Nikon D5")
    done = run("denoise", shot, "-m", night / "models", "-o", night / "out")
    assert (done.code, "ISO 12800 is outside the calibrated span (1600)" in done.err) == (1, True)


def test_a_dry_run_tells_of_a_result_that_cannot_be_read(night: Path, run: Run) -> None:
    out = night / "out"
    job = ("denoise", night / "card" / "Sony", "-o", out)
    assert run(*job).code == 0
    (out / "1600_0-denoised.dng").unlink()
    (out / "1600_0-denoised.dng").symlink_to("nowhere")
    done = run(*job, "--dry-run")
    assert (done.code, done.out.count("done before")) == (0, 2)


def test_two_cards_with_the_same_names_do_not_meet_in_one_folder_of_results(tmp_path: Path, run: Run) -> None:
    for day in (1, 2):
        write_frames(tmp_path / f"day{day}", burst_frames(2, seed=day, size=SMALL), taken_at=1e9 * day)
        assert run("denoise", tmp_path / f"day{day}", "-o", tmp_path / "out").code == 0
    names = [f"frame_00{k}{suffix}-denoised.dng" for k in (0, 1) for suffix in ("", ".dng")]
    assert sorted(results(tmp_path / "out")) == sorted(names)
    for day in (1, 2):
        assert run("denoise", tmp_path / f"day{day}", "-o", tmp_path / "out").out.count("done before") == 2


def test_a_card_that_was_formatted_and_filled_again_does_not_cost_the_results_of_yesterday(
    tmp_path: Path, run: Run
) -> None:
    for day in (1, 2):
        (shot,) = write_frames(tmp_path / "card", burst_frames(1, seed=day, size=SMALL), taken_at=1e9 * day)
        assert run("denoise", tmp_path / "card", "-o", tmp_path / "out").code == 0
        before = results(tmp_path / "out")
        shot.unlink()
    assert len(before) == 2


def test_a_folder_of_shots_that_was_moved_is_known_again(night: Path, run: Run) -> None:
    assert run("denoise", night / "card", "-m", night / "models", "-o", night / "out").code == 0
    moved = (night / "card").rename(night / "elsewhere")
    done = run("denoise", moved, "-m", night / "models", "-o", night / "out")
    assert (done.code, done.out.count("done before")) == (0, 9)
    assert {Path(line["input"]).parent.parent for line in shots_of(night / "out")[9:]} == {moved}


def test_dark_frames_of_one_body_make_the_shots_of_no_other_anew(night: Path, run: Run) -> None:
    write_frames(night / "darks", dark_frames(4, size=SMALL), camera="Nikon D5")
    job = ("denoise", night / "card", "-m", night / "models", "-o", night / "out")
    assert run(*job).code == 0
    done = run(*job, "--darks", night / "darks")
    written = [line.split()[1].split("/")[0] for line in done.out.splitlines() if "written to" in line]
    assert written == ["Nikon"] * 3


def test_a_broken_model_in_a_folder_is_told_and_the_others_serve(night: Path, run: Run) -> None:
    broken = night / "models" / "broken.safetensors"
    broken.write_bytes(b"no model")
    done = run("denoise", night / "card", "-m", night / "models", "-o", night / "out")
    assert (done.code, f"{broken}: is not a readable model file" in done.err) == (0, True)
    assert run("denoise", night / "card", "-m", broken, "-o", night / "other").code == 1
