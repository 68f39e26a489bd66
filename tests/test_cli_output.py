"""What the command line prints: tables for people, JSON for machines, plain pipes, colour on a terminal."""

import contextlib
import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from burst_denoise.frame.synthetic import Fault
from tests.command_line import PROGRAM, SMALL, Run, Shoot, in_a_process, refused
from tests.shots import burst_frames, everything_in, write_card, write_frames


def test_inspect_tells_people_which_frames_are_usable(run: Run, shoot: Shoot) -> None:
    done = run("inspect", shoot.good)
    first, *rest, summary, following = done.out.splitlines()
    assert done.code == 0
    assert first.startswith("good (Synthetic APS-C, ISO 1600, 192x160): 4 of 6 frames, mu 0.0")
    assert first.endswith(": accepted")
    assert [line.split(": ")[:2] for line in rest] == [["  frame_004.dng", "shift"], ["  frame_005.dng", "light"]]
    assert summary == "1 of 1 series usable (4 frames)"
    assert following == f"next: burst-denoise calibrate {shoot.good} -o my_camera.safetensors"
    assert done.err == ""


def test_inspect_tells_machines_the_same_in_one_line_per_series(run: Run, shoot: Shoot) -> None:
    done = run("inspect", shoot.good, shoot.other_camera, "--json")
    assert done.err == ""
    good, other = (json.loads(line) for line in done.out.splitlines())
    assert list(good) == ["series", "camera", "iso", "accepted", "mu", "sigma", "frames", "detail", "notes"]
    assert (good["series"], good["camera"], good["iso"], good["accepted"]) == ("good", "Synthetic APS-C", 1600, True)
    assert all(list(frame) == ["file", "accepted", "reasons", "gain", "shift_px"] for frame in good["frames"])
    assert [frame["reasons"] for frame in good["frames"]] == [[], [], [], [], ["shift"], ["light"]]
    assert [frame["accepted"] for frame in good["frames"]] == [True] * 4 + [False] * 2
    assert other["camera"] == "Nikon D5"


def test_json_holds_null_where_there_is_no_number(run: Run, tmp_path: Path) -> None:
    write_frames(tmp_path / "moving", burst_frames(3, faults={k: Fault(shift=(9 * k, 5 * k)) for k in range(3)}))
    (tmp_path / "grey").mkdir()
    for k in range(3):
        cv2.imwrite(str(tmp_path / "grey" / f"a_{k}.png"), np.zeros((40, 40), np.uint8))
    done = run("inspect", tmp_path, "--json")
    assert done.code == 1

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    grey, moving = (json.loads(line, parse_constant=refuse) for line in done.out.splitlines())
    assert (grey["camera"], grey["iso"], grey["accepted"]) == (None, None, False)
    assert grey["detail"].startswith("its noise cannot be measured: ")
    assert moving["accepted"] is False


def test_what_is_piped_is_plain_and_not_wrapped(run: Run, shoot: Shoot, tmp_path: Path) -> None:
    name = "a very long name of a series " * 5 + "[red] :smile: end"
    write_frames(tmp_path / name, burst_frames(3, size=SMALL))
    done = run("inspect", tmp_path / name)
    assert len(done.out.splitlines()) == 3
    assert done.out.startswith(name)
    assert "\x1b" not in done.out
    table = run("benchmark", shoot.bursts, "-m", shoot.model, "--frames", 1)
    assert table.code == 0
    assert "\x1b" not in table.out
    for words in ("single frame", "mean of 2", "nlm-stabilised", "corrected PSNR dB", "peak MB"):
        assert words in table.out


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A card as it comes from a camera."""
    folder = tmp_path_factory.mktemp("cards") / "card"
    write_card(folder)
    return folder


def test_inspect_of_a_card_ends_in_one_summary_and_the_next_command(run: Run, card: Path) -> None:
    done = run("inspect", card)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert [line.startswith("card-IMG_00") for line in lines[:4]] == [True] * 4
    assert lines[-1] == f"next: burst-denoise calibrate {card} -o my_camera.safetensors"
    assert lines[-2] == (
        "4 of 5 series usable (30 frames), 6 lone shots, 32 dark frames, 1 damaged or foreign file, "
        "8 pictures beside raw files"
    )
    assert "6 lone shots: 3 frames at least make a series" in lines
    assert "card-IMG_0039 (Synthetic APS-C, ISO 1600 at 1/30 s): 16 dark frames" in lines
    (left_out,) = [line for line in lines if line.startswith("left out")]
    assert "IMG_0071.dng: is truncated" in left_out
    assert len(done.out.split("REJECTED")) == 2
    records = [json.loads(line) for line in run("inspect", card, "--json").out.splitlines()]
    assert [record["dark_frames"] for record in records if "dark_frames" in record] == [16, 16]
    (damaged,) = [record for record in records if "error" in record]
    assert Path(damaged["file"]).name == "IMG_0071.dng"
    assert sum("mu" in record for record in records) == 5 + 6


def on_a_terminal(*arguments: object, columns: int = 80) -> str:
    """Return what the command line prints on a terminal, colours included."""
    import fcntl
    import pty
    import struct
    import termios

    own, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "FORCE_COLOR")}
    process = subprocess.Popen(
        [*PROGRAM, *map(str, arguments)], stdout=terminal, stderr=terminal, env=plain | {"TERM": "xterm-256color"}
    )
    os.close(terminal)
    printed = b""
    with contextlib.suppress(OSError):  # so ends a terminal that nobody writes to any more
        while part := os.read(own, 65536):
            printed += part
    os.close(own)
    process.wait()
    return printed.decode().replace("\r\n", "\n")


@pytest.mark.system
@pytest.mark.skipif(sys.platform == "win32", reason="there is no such terminal")
def test_inspect_is_coloured_on_a_terminal_and_plain_elsewhere(card: Path) -> None:
    printed = on_a_terminal("inspect", card)
    green, red, yellow, end = "\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[0m"
    assert printed.count(f"{green}accepted{end}") == 4
    assert printed.count(f"{red}REJECTED") == 1
    assert f"{green}16 dark frames{end}" in printed
    assert f"{yellow}6 lone shots: 3 frames at least make a series{end}" in printed
    lines = re.sub(r"\x1b\[[0-9;]*m", "", printed).splitlines()
    assert lines[-1] == f"next: burst-denoise calibrate {card} -o my_camera.safetensors"
    told = [line for line in lines[:-1] if str(card) not in line]
    assert max(map(len, told)) <= 80
    piped = in_a_process("inspect", card).out
    assert "\x1b" not in piped
    assert "".join(piped.split()) == "".join("".join(lines).split())


def test_inspect_ends_in_1_where_nothing_is_usable_and_says_what_to_do(run: Run, tmp_path: Path) -> None:
    for k, frame in enumerate(burst_frames(4, size=SMALL)):
        write_frames(tmp_path / "slow", [frame], taken_at=1000.0 + 75 * k)
    done = run("inspect", tmp_path / "slow")
    assert (done.code, done.err) == (1, "")
    assert done.out.splitlines() == [
        "4 lone shots: 3 frames at least make a series; --pause 120 joins 4 of them",
        "no series, 4 lone shots",
        f"next: burst-denoise inspect {tmp_path / 'slow'} --pause 120",
    ]
    joined = run("inspect", tmp_path / "slow", "--pause", "120")
    assert joined.code == 0
    assert joined.out.splitlines()[-1].endswith("slow --pause 120 -o my_camera.safetensors")
    write_frames(tmp_path / "two", burst_frames(2, size=SMALL))
    done = run("inspect", tmp_path / "two")
    assert done.code == 1
    assert done.out.splitlines()[-1].startswith("next: shoot 10 frames or more of a static scene from a tripod")


def test_damaged_files_never_change_whether_frames_are_usable(run: Run, tmp_path: Path) -> None:
    shots = write_frames(tmp_path / "shots", burst_frames(5, size=SMALL))
    shots[2].write_bytes(b"")
    (tmp_path / "shots" / "text.dng").write_text("no raw file")
    done = run("inspect", tmp_path / "shots")
    assert done.code == 0
    assert "1 of 1 series usable (4 frames), 2 damaged or foreign files" in done.out
    for path in shots:
        path.write_bytes(b"")
    done = run("inspect", tmp_path / "shots")
    assert (done.code, done.err) == (1, "")
    assert done.out.count("left out: ") == 6


def test_inspect_names_the_command_of_each_camera(run: Run, shoot: Shoot) -> None:
    done = run("inspect", shoot.good, shoot.other_camera)
    assert done.code == 0
    assert done.out.splitlines()[-3:] == [
        "2 sensors are here, and a model belongs to one:",
        f"next, Synthetic APS-C: burst-denoise calibrate {shoot.good} -o synthetic_aps_c.safetensors",
        f"next, Nikon D5: burst-denoise calibrate {shoot.other_camera} -o nikon_d5.safetensors",
    ]


def test_benchmark_prints_json_lines_and_writes_the_same(run: Run, shoot: Shoot, tmp_path: Path) -> None:
    before = everything_in(shoot.good.parent)
    done = run(
        "benchmark", shoot.good, "-m", shoot.model, "--frames", 1, "--json", "-o", tmp_path / "new" / "rows.jsonl"
    )
    assert done.code == 0
    assert "frame_004.dng: shift" in done.err
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["method"] for row in rows] == [
        *("single frame", "mean of 2", "nlm-stabilised", "prior", "model", "merge 2", "model merge 2")
    ]
    keys = {"method", "burst", "corrected_psnr_db", "true_psnr_db", "seconds_per_megapixel", "peak_memory_mb"}
    assert all(keys <= set(row) and {"versions", "seed"} <= set(row) for row in rows)
    assert all(row["true_psnr_db"] is None and row["burst"] == "good" for row in rows)
    assert (tmp_path / "new" / "rows.jsonl").read_text() == done.out
    assert everything_in(shoot.good.parent) == before


def test_benchmark_writes_csv_and_latex_of_the_rows_it_prints(run: Run, shoot: Shoot, tmp_path: Path) -> None:
    job = ["benchmark", shoot.bursts, "-m", shoot.model, "--frames", 1, "--json"]
    table, paper = tmp_path / "rows.csv", tmp_path / "rows.tex"
    done = run(*job, "--csv", table, "--latex", paper)
    assert done.code == 0
    rows = [json.loads(line) for line in done.out.splitlines()]
    with table.open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [(one["method"], float(one["corrected_psnr_db"])) for one in read] == [
        (row["method"], row["corrected_psnr_db"]) for row in rows
    ]
    assert paper.read_text().count(r" \\") == 1 + len(rows)
    assert all(f"{row['corrected_psnr_db']:.2f}" in paper.read_text() for row in rows)
    for option, path in (("--csv", table), ("--latex", paper)):
        assert f"{path}: exists already" in refused(run, [*job[:-1], option, path], tmp_path)


def test_benchmark_tunes_baselines_on_other_bursts_where_asked(run: Run, shoot: Shoot, tmp_path: Path) -> None:
    write_frames(tmp_path / "more", burst_frames(4, seed=5))
    done = run("benchmark", shoot.bursts, "--tune-on", tmp_path / "more", "--frames", 1, "--json")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 0
    assert [row["method"] for row in rows] == [
        *("single frame", "mean of 2", "nlm-colour-8bit", "nlm-16bit", "nlm-stabilised", "tv", "wavelet", "nl-means"),
        *("prior", "merge 2"),
    ]
    assert "favours them" not in done.err
    assert all(row["strength"] > 0 for row in rows[2:-2])


def write_pairs(folder: Path) -> None:
    """Write two pairs of pictures, the folders called as in a set of one's own."""
    rng = np.random.default_rng(3)
    clean = cv2.resize(rng.uniform(30, 220, (12, 16, 3)), SMALL[::-1], interpolation=cv2.INTER_CUBIC)
    for name in ("a", "b"):
        for kind, std in (("noisy", 8), ("clean", 0), ("other", 2)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            values = np.clip(np.rint(clean + rng.normal(0, std, clean.shape)), 0, 255)
            cv2.imwrite(str(folder / kind / f"{name}.png"), values.astype(np.uint8))


def test_benchmark_on_pairs_shows_means_and_lists_every_pair(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("burst_denoise.jobs.benchmark_pairs.paired_strengths", lambda pairs: {"nlm-stabilised": 2.0})
    write_pairs(tmp_path / "set")
    table, paper = tmp_path / "rows.csv", tmp_path / "rows.tex"
    files = ("--csv", table, "--latex", paper)
    done = run("benchmark", "--pairs", tmp_path / "set", "--outputs", f"other={tmp_path / 'set' / 'other'}", *files)
    assert done.code == 0
    for words in ("mean of 2", "single frame", "nlm-stabilised", "other", "true PSNR dB", "±"):
        assert words in done.out
    assert "corrected" not in done.out
    assert "fitted to its noisy minus its clean picture" in done.err
    assert "which favours them" in done.err
    with table.open(newline="") as file:
        read = list(csv.DictReader(file))
    methods = ("single frame", "nlm-stabilised", "other")
    assert [(one["burst"], one["method"]) for one in read] == [(pair, method) for pair in "ab" for method in methods]
    assert float(read[2]["true_psnr_db"]) > float(read[0]["true_psnr_db"]) + 10
    assert read[0]["corrected_psnr_db"] == read[2]["seconds_per_megapixel"] == ""
    assert paper.read_text().count(r" \\") == 1 + len(methods)


def test_benchmark_on_pairs_says_which_options_are_for_bursts(run: Run, tmp_path: Path) -> None:
    for option in ("--frames", "--limit"):
        done = run("benchmark", "--pairs", tmp_path, option, 5)
        assert done.code == 2
        assert f"{option}: is for bursts; a pair has one noisy picture" in " ".join(done.err.split())


def test_benchmark_scores_what_another_program_made(run: Run, shoot: Shoot, tmp_path: Path) -> None:
    write_frames(tmp_path / "other", burst_frames(2))
    job = ["benchmark", shoot.bursts, "-m", shoot.model, "--frames", 1, "--json"]
    done = run(*job, "--outputs", f"other={tmp_path / 'other'}")
    assert done.code == 0
    rows = {row["method"]: row for row in map(json.loads, done.out.splitlines())}
    assert rows["other"]["corrected_psnr_db"] == pytest.approx(rows["single frame"]["corrected_psnr_db"], abs=1e-6)
    assert rows["other"]["frames"] == rows["single frame"]["frames"]
    assert rows["other"]["seconds_per_megapixel"] is None
    for outputs, message in (
        (f"other={tmp_path}", "no file in it is named after a frame"),
        ("x=none", "no such folder"),
    ):
        assert message in refused(run, [*job, "--outputs", outputs], tmp_path)
    assert run(*job, "--outputs", f"model={tmp_path}").code == 2


# Real and simulated bursts


def verdicts_on(run: Run, *folders: Path) -> list[dict[str, object]]:
    done = run("inspect", *folders, "--json")
    assert done.err == ""
    found = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == (0 if any(one["accepted"] for one in found) else 1)
    return found


def test_simulated_canon_bursts_lose_exactly_the_three_faulty_frames(run: Run, shared_data: Path) -> None:
    names = ["kodim01_iso1600", "kodim03_iso6400"]  # the others' verdicts: test_series_verdict.py
    found = verdicts_on(run, *(shared_data / "sim_canon700d" / name for name in names))
    assert [v["series"] for v in found] == names
    for verdict in found:
        assert verdict["accepted"] is True
        frames = {frame["file"]: frame["reasons"] for frame in verdict["frames"]}  # type: ignore[attr-defined]
        good = {f"frame_{k:03d}.dng": [] for k in range(10)}
        faulty = {"frame_010.dng": ["shift"], "frame_011.dng": ["light"], "frame_012.dng": ["motion"]}
        assert frames == good | faulty


@pytest.mark.slow
def test_real_bursts_are_judged_as_they_are(run: Run, shared_data: Path) -> None:
    (s95,) = verdicts_on(run, shared_data / "s95_iso3200")
    frames = {frame["file"]: frame for frame in s95["frames"]}  # type: ignore[attr-defined]
    for k in range(6879, 6888):
        assert frames[f"IMG_{k}.JPG"]["reasons"] == ([] if k < 6885 else ["shift"])
    assert s95["accepted"] is True
    (m94,) = verdicts_on(run, shared_data / "seestar" / "m94")
    assert m94["accepted"] is False
    (ngc7023,) = verdicts_on(run, shared_data / "seestar" / "ngc7023")
    assert all(frame["shift_px"] is not None for frame in ngc7023["frames"])  # type: ignore[attr-defined]


def test_inspect_draws_the_density_curves_where_asked_and_nowhere_else(run: Run, shoot: Shoot, tmp_path: Path) -> None:
    assert run("inspect", shoot.good, "--plot", tmp_path / "quality.png").code == 0
    assert (tmp_path / "quality.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["quality.png"]
    again = run("inspect", shoot.good, "--plot", tmp_path / "quality.png")
    assert again.code == 1
    assert "exists already" in again.err


def test_control_characters_in_names_are_spelled_and_not_sent_to_the_terminal(tmp_path: Path, run: Run):
    done = run("inspect", tmp_path / "\x1b[2Jcard\x07")
    assert done.code == 1
    assert "\x1b" not in done.err
    assert "\\x1b[2Jcard\\x07: no such file or folder" in done.err


def test_the_camera_of_a_file_cannot_speak_to_the_terminal(tmp_path: Path, run: Run):
    write_frames(tmp_path / "card", burst_frames(3), camera="Evil\x1b]0;title\x07 cam")
    done = run("inspect", tmp_path / "card")
    assert "\x1b" not in done.out + done.err
    assert "Evil\\x1b]0;title\\x07 cam" in done.out
