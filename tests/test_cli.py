"""The command line as a user meets it: exit codes, one clear line for each mistake, JSON for machines, plain pipes."""

import contextlib
import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from safetensors import safe_open

from burst_denoise import __version__
from burst_denoise.frame.synthetic import Fault
from burst_denoise.io.raw import read_raw
from burst_denoise.jobs.ingest import ingest
from tests.conftest import Done, Run
from tests.shots import burst_frames, dark_frames, everything_in, write_card, write_frames, write_identity_model

COMMANDS = (
    "inspect",
    "profile",
    "ingest",
    "calibrate",
    "train",
    "denoise",
    "watch",
    "merge",
    "benchmark",
    "report",
    "demo",
    "web",
)
PROGRAM = (sys.executable, "-m", "burst_denoise")
SMALL = (96, 128)


def in_a_process(*arguments: object, **environment: str) -> Done:
    """Run the command line in a process of its own, in a pipe."""
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False, env=os.environ | environment
    )
    return Done(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Shoot:
    """What most tests need; all of it is only read."""

    good: Path
    """Six frames, of which the fifth is shifted and the sixth too bright."""
    other_camera: Path
    bursts: Path
    model: Path


@pytest.fixture(scope="session")
def shoot(tmp_path_factory: pytest.TempPathFactory) -> Shoot:
    folder = tmp_path_factory.mktemp("shoot")
    faults = {4: Fault(shift=(3, 2)), 5: Fault(light=1.1)}
    write_frames(folder / "good", burst_frames(6, faults=faults))
    write_frames(folder / "other", burst_frames(3, size=SMALL), camera="Nikon D5")
    (burst,) = ingest([folder / "good"], folder / "bursts")
    model = write_identity_model(folder / "model.safetensors", burst)
    return Shoot(folder / "good", folder / "other", folder / "bursts", model)


# Help, version, usage


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run: Run, command: str) -> None:
    done = run(command, "--help")
    assert done.code == 0
    assert "Usage" in done.out
    assert len(run("--help").out.split(command)) >= 2


RARE = {
    "--limit",
    "--seed",
    "--device",
    "--tile",
    "--any-sensor",
    "--max-megapixels",
    "--shard",
    "--strict",
    "--preset",
    "--optimizer",
    "--from-scratch",
    "--pause",
    "--cluster",
    "--verbose",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_and_what_hardly_anybody_needs_apart(
    run: Run, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    text = run(command, "--help").out
    assert f" Example: burst-denoise {command} " in text
    first, _, rest = text.partition(" Rarely needed ")
    often, rarely = (set(re.findall(r"^│ \*? *(--[\w-]+)", part, re.MULTILINE)) for part in (first, rest))
    assert rarely
    assert rarely <= RARE
    assert not often & RARE
    assert "--help" in often


@pytest.mark.parametrize("command", [[], *([command] for command in COMMANDS)], ids=" ".join)
def test_help_names_no_types_of_python(run: Run, command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    text = run(*command, "--help").out
    for words in ("<bool>", "list[", "<path>", "<str>", " range>", "Path>"):
        assert words not in text
    assert re.search(r"--help +Show this message", text)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_in_the_help_are_what_the_commands_take(
    run: Run, command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    (example,) = re.findall(r"Example: burst-denoise (.*)", run(command, "--help").out)
    called: list[object] = []
    monkeypatch.setattr("typer.core.TyperCommand.invoke", lambda self, context: called.append(context.params))
    monkeypatch.chdir(tmp_path)
    done = run(*shlex.split(example))
    assert (done.code, done.err) == (0, "")
    assert len(called) == 1


def test_help_and_version_load_no_torch() -> None:
    for arguments in (["--help"], ["--version"], *([command, "--help"] for command in COMMANDS)):
        code = (
            "import sys, contextlib; from burst_denoise.cli.app import main\n"
            f"sys.argv[1:] = {arguments}\n"
            "with contextlib.suppress(SystemExit): main()\n"
            "print('torch' in sys.modules, file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stderr.strip() == "False"


def test_the_version_is_told(run: Run) -> None:
    assert run("--version").out.strip() == __version__
    assert in_a_process("--version") == Done(0, f"{__version__}\n", "")  # python -m burst_denoise


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"],
        ["inspect"],
        ["ingest", "x"],
        ["calibrate", "x"],
        ["inspect", "x", "--limit", "2"],
        ["train", "x", "-o", "m"],
        ["train", "x", "-o", "m", "--steps", "1", "--minutes", "1"],
        ["train", "x", "-o", "m", "--steps", "0"],
        ["train", "x", "-o", "m", "--steps", "1", "--preset", "huge"],
        ["train", "x", "-o", "m", "--steps", "1", "--seed", "-1"],
        ["calibrate", "x", "-o", "m", "--minutes", "inf"],
        ["calibrate", "x", "-o", "m", "--minutes", "nan"],
        ["benchmark"],
        ["benchmark", "x", "--pairs", "y"],
        ["benchmark", "--pairs", "y", "--frames", "3"],
        ["benchmark", "--pairs", "y", "--limit", "20"],
        ["benchmark", "--pairs", "y", "--flats", "z"],
        ["benchmark", "x", "--outputs", "y"],
        ["benchmark", "x", "--outputs", "=y"],
        ["benchmark", "x", "--outputs", "a=y", "--outputs", "a=z"],
        ["denoise", "x", "-m", "m"],
        ["denoise", "x", "-m", "m", "-o", "n", "--shard", "4/3"],
        ["denoise", "x", "-m", "m", "-o", "n", "--quality", "slow"],
        ["denoise", "x", "-m", "m", "-o", "n", "--strength", "1.5"],
        ["denoise", "x", "-m", "m", "-o", "n", "--strength", "nan"],
        ["denoise", "x", "-m", "m", "-o", "n", "--format", "jpg"],
    ],
    ids=" ".join,
)
def test_usage_errors_end_in_2_and_write_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.code == 2
    assert "Traceback" not in done.err
    assert done.out == ""
    assert everything_in(tmp_path) == {}


# What is printed


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


def test_inspect_of_a_card_ends_in_one_summary_and_the_next_command(run: Run, tmp_path: Path) -> None:
    write_card(tmp_path / "card")
    done = run("inspect", tmp_path / "card")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert [line.startswith("card-IMG_00") for line in lines[:4]] == [True] * 4
    assert lines[-1] == f"next: burst-denoise calibrate {tmp_path / 'card'} -o my_camera.safetensors"
    assert lines[-2] == (
        "4 of 5 series usable (30 frames), 6 lone shots, 32 dark frames, 1 damaged or foreign file, "
        "8 pictures beside raw files"
    )
    assert "6 lone shots: 3 frames at least make a series" in lines
    assert "card-IMG_0039 (Synthetic APS-C, ISO 1600 at 1/30 s): 16 dark frames" in lines
    (left_out,) = [line for line in lines if line.startswith("left out")]
    assert "IMG_0071.dng: is truncated" in left_out
    assert len(done.out.split("REJECTED")) == 2
    records = [json.loads(line) for line in run("inspect", tmp_path / "card", "--json").out.splitlines()]
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


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such terminal")
def test_inspect_is_coloured_on_a_terminal_and_plain_elsewhere(tmp_path: Path) -> None:
    write_card(tmp_path / "card")
    printed = on_a_terminal("inspect", tmp_path / "card")
    green, red, yellow, end = "\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[0m"
    assert printed.count(f"{green}accepted{end}") == 4
    assert printed.count(f"{red}REJECTED") == 1
    assert f"{green}16 dark frames{end}" in printed
    assert f"{yellow}6 lone shots: 3 frames at least make a series{end}" in printed
    lines = re.sub(r"\x1b\[[0-9;]*m", "", printed).splitlines()
    assert lines[-1] == f"next: burst-denoise calibrate {tmp_path / 'card'} -o my_camera.safetensors"
    told = [line for line in lines[:-1] if str(tmp_path) not in line]
    assert max(map(len, told)) <= 80
    piped = in_a_process("inspect", tmp_path / "card").out
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


# Jobs


def test_the_whole_way_from_frames_to_a_denoised_shot(run: Run, shoot: Shoot, tmp_path: Path) -> None:
    inputs = everything_in(shoot.good)
    done = run("ingest", shoot.good, "-o", tmp_path / "bursts")
    assert (done.code, done.out.splitlines()[0].split(":")[0]) == (0, str(tmp_path / "bursts" / "good.burst"))
    assert run("ingest", shoot.good, "-o", tmp_path / "bursts").code == 0
    done = run("train", tmp_path / "bursts", "-o", tmp_path / "m.safetensors", "--steps", 2, "--from-scratch")
    assert done.code == 0
    first, second = done.out.splitlines()
    assert first == f"{tmp_path / 'm.safetensors'}: Synthetic APS-C, ISO 1600"
    assert second.startswith("  better than a single frame by 0.0")
    assert done.err.endswith("warning: training has gained nothing yet; give it more time\n")
    done = run("denoise", shoot.good, "-m", tmp_path / "m.safetensors", "-o", tmp_path / "out")
    assert (done.code, sum("written to" in line for line in done.out.splitlines())) == (0, 6)
    assert read_raw(tmp_path / "out" / "frame_003-denoised.dng").dn.shape == (160, 192)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bursts", "m.safetensors", "out"]
    assert everything_in(shoot.good) == inputs


def test_a_burst_is_merged_to_one_frame(run: Run, shoot: Shoot, tmp_path: Path) -> None:
    done = run("merge", shoot.good, "-o", tmp_path / "a.dng")
    assert done.code == 0
    assert re.fullmatch(f"{tmp_path / 'a.dng'}: mean of 4 frames; prior [0-9a-f]{{12}}\n", done.out)
    assert "frame_004.dng: shift" in done.err
    mean = run("merge", shoot.good, "--no-denoise", "-o", tmp_path / "mean.dng")
    assert mean.out == f"{tmp_path / 'mean.dng'}: mean of 4 frames\n"
    by_model = run("merge", shoot.good, "-m", shoot.model, "-o", tmp_path / "model.dng")
    assert re.search("; model [0-9a-f]{12}$", by_model.out.strip())
    merged, plain, same = (read_raw(tmp_path / name) for name in ("a.dng", "mean.dng", "model.dng"))
    assert merged.info.noise_profile.shot_noise_scale[0] < plain.info.noise_profile.shot_noise_scale[0] / 50
    assert np.abs(same.linear - plain.linear).max() < 2e-3, "a model that changes nothing"
    run("merge", shoot.good, "-o", tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.pages[0].shape == (160, 192, 3)
    error = refused(run, ["merge", shoot.good, shoot.other_camera, "-o", tmp_path / "b.dng"], tmp_path)
    assert "give the frames of one sensor at a time" in error
    assert "only a raw file can be developed" in refused(
        run, ["merge", shoot.bursts / "good.burst", "-o", tmp_path / "b.tif"], tmp_path
    )
    error = refused(run, ["merge", shoot.other_camera, "-m", shoot.model, "-o", tmp_path / "b.dng"], tmp_path)
    assert "--any-sensor" in error


# Dark frames and flats


@pytest.fixture(scope="module")
def darks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dark frames of two ISOs in one folder, with notes of the photographer's."""
    folder = tmp_path_factory.mktemp("darks")
    for iso in (1600, 6400):
        for frame in dark_frames(6, iso=iso):
            write_frames(folder, [replace(frame, path=Path(f"iso{iso}_{frame.path.name}"))])
    (folder / "notes.txt").write_text("at 20 degrees")
    return folder


def test_darks_are_folders_files_and_quoted_patterns_and_may_be_repeated(
    run: Run, shoot: Shoot, darks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(darks.parent)
    monkeypatch.setenv("HOME", str(darks.parent))
    patterns = [
        darks / "iso1600*.dng",
        f"{darks.name}/iso1600_*",
        f"~/{darks.name}/iso1600*",
        f"**/{darks.name}/iso1*.dng",
    ]
    given: list[list[object]] = [[darks], *([pattern] for pattern in patterns)]
    given.append([darks / "iso1600*.dng", darks / "iso6400*.dng"])
    given.append(sorted(darks.glob("iso1600*")))
    for number, paths in enumerate(given):
        options = [word for path in paths for word in ("--darks", path)]
        done = run("merge", shoot.good, *options, "-o", tmp_path / f"{number}.dng")
        assert done.code == 0, done.err
        assert ": mean of 4 frames; dark subtracted; prior " in done.out
    first = read_raw(tmp_path / "0.dng").dn
    assert all(np.array_equal(read_raw(tmp_path / f"{number}.dng").dn, first) for number in range(1, len(given)))


@pytest.mark.parametrize("command", ["profile", "ingest", "calibrate", "train --steps 1", "denoise", "merge", "report"])
def test_a_pattern_that_the_shell_has_expanded_is_refused_with_the_pattern_to_type(
    run: Run, shoot: Shoot, darks: Path, tmp_path: Path, command: str
) -> None:
    name, *options = command.split()
    spread = sorted(darks.glob("*.dng"))
    output = tmp_path / ("a.html" if name == "report" else "a.dng")
    for inputs in ([shoot.good, "--darks", *spread], ["--darks", *spread, shoot.good]):
        error = refused(run, [name, *inputs, *options, "-o", output], tmp_path)
        assert f"{spread[1]}: is given as a frame of a scene, but lies beside {spread[0].name}" in error
        assert f"write it in quotes, '{darks / '*.dng'}', or name the folder" in error


def test_two_patterns_that_the_shell_has_expanded_are_refused_and_flats_too(
    run: Run, shoot: Shoot, darks: Path, tmp_path: Path
) -> None:
    low, high = (sorted(darks.glob(f"iso{iso}*.dng")) for iso in (1600, 6400))
    error = refused(run, ["merge", shoot.good, "--darks", *low, "--darks", *high, "-o", tmp_path / "a.dng"], tmp_path)
    assert f"{low[1]}: is given as a frame of a scene" in error
    other = write_frames(tmp_path / "other", burst_frames(4, size=SMALL))
    error = refused(run, ["merge", shoot.good, "--darks", darks, "--darks", *other, "-o", tmp_path / "a.dng"], tmp_path)
    assert f"{other[1]}: is given as a frame of a scene" in error
    flats = write_frames(tmp_path / "flats", burst_frames(4, size=SMALL))
    error = refused(run, ["profile", shoot.good, "--flats", *flats], tmp_path)
    assert f"write it in quotes, '{tmp_path / 'flats' / '*.dng'}'" in error


def test_shots_and_darks_of_one_folder_are_told_apart_where_each_is_named(
    run: Run, darks: Path, tmp_path: Path
) -> None:
    shots, frames = write_frames(tmp_path, burst_frames(3)), sorted(darks.glob("iso1600*"))
    named = [tmp_path / path.name for path in frames]
    for frame, copy in zip(frames, named, strict=True):
        copy.write_bytes(frame.read_bytes())
    options = [word for path in named for word in ("--darks", path)]
    assert "3 frames; dark subtracted" in run("merge", *shots, *options, "-o", tmp_path / "a.dng").out
    assert "3 frames; dark subtracted" in run("merge", tmp_path, *options, "-o", tmp_path / "b.dng").out


def test_a_pattern_that_finds_nothing_is_told(run: Run, shoot: Shoot, tmp_path: Path) -> None:
    pattern = tmp_path / "darks" / "*.dng"
    error = refused(run, ["merge", shoot.good, "--darks", pattern, "-o", tmp_path / "a.dng"], tmp_path)
    assert error == f"error: {pattern}: no file matches this pattern; check the folder"


def test_strength_0_gives_the_shot_back_at_any_tile(run: Run, shoot: Shoot, tmp_path: Path) -> None:
    shot = shoot.good / "frame_000.dng"
    for tile in (32, 33, 100):
        target = tmp_path / f"{tile}.dng"
        assert run("denoise", shot, "-m", shoot.model, "-o", target, "--strength", 0, "--tile", tile).code == 0
        assert np.array_equal(read_raw(target).dn, read_raw(shot).dn)
    assert run("denoise", shot, "-m", shoot.model, "-o", tmp_path / "1.dng", "--tile", 33).code == 0


def test_denoising_goes_without_a_model_and_says_where_the_noise_is_from(
    run: Run, shoot: Shoot, tmp_path: Path
) -> None:
    shot = shoot.good / "frame_000.dng"
    done = run("denoise", shot, "-o", tmp_path / "a.dng", "--device", "cpu")
    assert (done.code, done.out) == (0, f"1/1 frame_000.dng: written to {tmp_path / 'a.dng'}\n")
    assert done.err.startswith("frame_000.dng: noise estimated from the shot itself, S ")
    assert len(done.err.splitlines()) == 1
    write_frames(tmp_path, burst_frames(1), camera="Nikon D5")
    assert run("denoise", tmp_path / "frame_000.dng", "-o", tmp_path / "b.dng", "--quality", "best").code == 0
    assert not np.array_equal(read_raw(tmp_path / "a.dng").dn, read_raw(shot).dn)


def test_what_profile_writes_serves_denoise_as_a_file_and_as_a_tag(run: Run, tmp_path: Path) -> None:
    write_frames(tmp_path / "in", burst_frames(8))
    sensor, tagged = tmp_path / "sensor.json", tmp_path / "tagged.dng"
    assert run("profile", tmp_path / "in", "-o", sensor, "--dng", tagged).code == 0
    shot = tmp_path / "in" / "frame_000.dng"
    by_file = run("denoise", shot, "-o", tmp_path / "a.dng", "--profile", sensor)
    assert (by_file.code, by_file.err) == (0, "frame_000.dng: noise from sensor.json\n")
    by_tag = run("denoise", tagged, "-o", tmp_path / "b.dng")
    assert by_tag.code == 0
    assert by_tag.err.startswith("tagged.dng: noise as its NoiseProfile tag says, S ")
    # The tag knows one green, the file two.
    one, other = (read_raw(tmp_path / name).linear for name in ("a.dng", "b.dng"))
    assert one == pytest.approx(other, abs=5e-3)
    (higher,) = write_frames(tmp_path / "high", burst_frames(1, iso=6400))
    scaled = run("denoise", higher, "-o", tmp_path / "c.dng", "--profile", sensor)
    assert scaled.err == "frame_000.dng: noise from sensor.json, scaled to ISO 6400 from 1600\n"
    (foreign,) = write_frames(tmp_path / "foreign", burst_frames(1), camera="Nikon D5")
    job = ["denoise", foreign, "-o", tmp_path / "d.dng", "--profile", sensor]
    assert "sensor.json is about Synthetic APS-C" in refused(run, job, tmp_path)
    assert run(*job, "--any-sensor").code == 0


@pytest.mark.parametrize("given", ["missing.json", "frame_000.dng"])
def test_a_profile_that_is_none_is_one_clear_line(run: Run, tmp_path: Path, given: str) -> None:
    (shot,) = write_frames(tmp_path, burst_frames(1))
    error = refused(run, ["denoise", shot, "-o", tmp_path / "a.dng", "--profile", tmp_path / given], tmp_path)
    assert str(tmp_path / given) in error
    assert "name a file made by burst-denoise profile -o" in error


def test_a_batch_that_partly_failed_ends_in_3_and_resumes(run: Run, shoot: Shoot, tmp_path: Path) -> None:
    shots = write_frames(tmp_path / "shots", burst_frames(3))
    whole = shots[1].read_bytes()
    shots[1].write_bytes(whole[:3000])
    job = ("denoise", tmp_path / "shots", "-m", shoot.model, "-o", tmp_path / "out")
    done = run(*job)
    assert done.code == 3
    size, *rest = done.err.splitlines()
    assert size == "3 shots, 0 megapixels; at most 0.9 GB of memory"
    assert [line.split(":")[0] for line in rest] == [str(shots[1]), "error"]
    assert done.error == "error: 1 of 3 shots failed; the rest is done"
    names = ["burst-denoise.jsonl", "frame_000-denoised.dng", "frame_002-denoised.dng"]
    assert sorted(everything_in(tmp_path / "out")) == names
    shots[1].write_bytes(whole)
    done = run(*job)
    assert (done.code, done.out.count("done before"), done.out.count("written to")) == (0, 2, 1)
    assert run(*job).out.count("done before") == 3


def test_a_mistake_shows_where_it_came_from_only_with_debug(tmp_path: Path) -> None:
    plain, debug = (in_a_process("inspect", tmp_path / "nowhere", *flag) for flag in ([], ["--debug"]))
    assert plain.error.startswith(f"error: {tmp_path / 'nowhere'}: no such file")
    assert (plain.code, plain.out, len(plain.err.splitlines())) == (1, "", 1)
    assert "Traceback" in debug.err


def test_an_output_that_nobody_reads_any_more_is_no_traceback(shoot: Shoot) -> None:
    command = " ".join(f"'{part}'" for part in (*PROGRAM, "inspect", *[str(shoot.good)] * 2, "--json"))
    done = subprocess.run(["sh", "-c", f"{command} | true"], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


# Bad input: one line, exit 1, nothing written


def missing(folder: Path) -> list[Path]:
    return [folder / "nowhere.dng"]


def empty(folder: Path) -> list[Path]:
    (folder / "empty.dng").touch()
    return [folder / "empty.dng"]


def truncated(folder: Path) -> list[Path]:
    shot = write_frames(folder, burst_frames(3))[1]
    shot.write_bytes(shot.read_bytes()[: shot.stat().st_size // 2])
    return [shot]


def no_raw(folder: Path) -> list[Path]:
    (folder / "text.dng").write_text("this is no raw file, whatever its name says; " * 40)
    return [folder / "text.dng"]


def no_picture(folder: Path) -> list[Path]:
    (folder / "text.png").write_text("this is no picture; " * 40)
    return [folder / "text.png"]


def unknown_kind(folder: Path) -> list[Path]:
    (folder / "notes.txt").write_text("x")
    return [folder / "notes.txt"]


def no_frames(folder: Path) -> list[Path]:
    (folder / "notes.txt").write_text("x")
    return [folder]


def mixed_cameras(folder: Path) -> list[Path]:
    frames = burst_frames(4)
    return write_frames(folder, frames[:2]) + write_frames(folder, frames[2:], camera="Nikon D5")


def mixed_exposures(folder: Path) -> list[Path]:
    for k, frame in enumerate(burst_frames(4)):
        write_frames(folder, [frame], exposure_s=0.01 * 2**k)
    return [folder]


def two_frames(folder: Path) -> list[Path]:
    return write_frames(folder, burst_frames(2))


def three_copies(folder: Path) -> list[Path]:
    shots = write_frames(folder, burst_frames(5))
    for copy in shots[2:]:
        copy.write_bytes(shots[0].read_bytes())
    return shots


UNREADABLE = [missing, empty, truncated, no_raw, no_picture, unknown_kind, no_frames]
NO_BURST = [mixed_cameras, mixed_exposures, two_frames, three_copies]


def refused(run: Run, arguments: list[object], folder: Path) -> str:
    """Run a command that must be refused; return its error, having seen that nothing was written."""
    before = everything_in(folder)
    done = run(*arguments)
    assert done.code == 1
    assert done.out == ""
    assert everything_in(folder) == before
    return done.error


@pytest.mark.parametrize("bad", UNREADABLE)
def test_what_cannot_be_read_is_named_by_every_command(
    run: Run, shoot: Shoot, tmp_path: Path, bad: Callable[[Path], list[Path]]
) -> None:
    (tmp_path / "in").mkdir()
    inputs = bad(tmp_path / "in")
    for arguments in (
        ["inspect", *inputs, "--json"],
        ["ingest", *inputs, "-o", tmp_path / "out"],
        ["train", *inputs, "-o", tmp_path / "out" / "m", "--steps", 1],
        ["calibrate", *inputs, "-o", tmp_path / "m"],
        ["denoise", *inputs, "-m", shoot.model, "-o", tmp_path / "out"],
        ["benchmark", *inputs, "-m", shoot.model, "-o", tmp_path / "out" / "rows.jsonl"],
        ["merge", *inputs, "-o", tmp_path / "out" / "a.dng"],
    ):
        assert str(inputs[0]) in refused(run, arguments, tmp_path)


@pytest.mark.parametrize("bad", NO_BURST)
def test_frames_that_make_no_burst_are_refused_by_every_command_that_needs_one(
    run: Run, shoot: Shoot, tmp_path: Path, bad: Callable[[Path], list[Path]]
) -> None:
    inputs = bad(tmp_path / "in")
    for arguments in (
        ["ingest", *inputs, "-o", tmp_path / "out"],
        ["calibrate", *inputs, "-o", tmp_path / "m"],
        ["benchmark", *inputs, "-m", shoot.model, "-o", tmp_path / "rows.jsonl"],
    ):
        assert "in" in refused(run, arguments, tmp_path)


def test_a_film_scanner_without_a_mosaic_is_refused(run: Run, shoot: Shoot, tmp_path: Path, shared_data: Path) -> None:
    scan = shared_data / "raw_single" / "Nikon_uncompressed.nef"
    for arguments in (["inspect", scan], ["denoise", scan, "-m", shoot.model, "-o", tmp_path / "out", "--any-sensor"]):
        error = refused(run, arguments, tmp_path)
        assert str(scan) in error
        assert "only Bayer mosaics" in error


def test_a_model_of_another_camera_is_refused(run: Run, shoot: Shoot, tmp_path: Path) -> None:
    shots = sorted(shoot.other_camera.iterdir())
    for arguments in (
        ["denoise", shots[0], "-m", shoot.model, "-o", tmp_path / "a.dng"],
        ["benchmark", shoot.other_camera, "-m", shoot.model, "-o", tmp_path / "rows.jsonl", "--json"],
    ):
        error = refused(run, arguments, tmp_path)
        assert "camera Nikon D5 instead of Synthetic APS-C of the model" in error
        assert "--any-sensor" in error
    done = run("denoise", shoot.other_camera, "-m", shoot.model, "-o", tmp_path / "out", "--strict")
    assert (done.code, done.out) == (1, "")
    assert done.err.count("camera Nikon D5 instead of Synthetic APS-C of the model") == len(shots) + 1
    assert sorted(everything_in(tmp_path / "out")) == ["burst-denoise.jsonl"]


def test_training_on_two_cameras_is_refused(run: Run, shoot: Shoot, tmp_path: Path) -> None:
    error = refused(run, ["calibrate", shoot.good, shoot.other_camera, "-o", tmp_path / "m"], tmp_path)
    assert "Nikon D5" in error
    assert "Synthetic APS-C" in error


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped_weight(data: bytes) -> bytes:
    return data[:-1000] + bytes([data[-1000] ^ 1]) + data[-999:]


def garbage(_: bytes) -> bytes:
    return b"\x93garbage" * 1000


def pickled(_: bytes) -> bytes:
    return b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."


def nothing(_: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("harm", [cut, flipped_weight, garbage, pickled, nothing])
def test_a_damaged_model_is_refused(run: Run, shoot: Shoot, tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
    model = tmp_path / "model.safetensors"
    model.write_bytes(harm(shoot.model.read_bytes()))
    for arguments in (
        ["denoise", shoot.good, "-m", model, "-o", tmp_path / "out"],
        ["benchmark", shoot.bursts, "-m", model, "-o", tmp_path / "rows.jsonl"],
    ):
        assert str(model) in refused(run, arguments, tmp_path)


@pytest.mark.parametrize("what", ["missing", "folder"])
def test_a_model_that_is_no_file_is_refused(run: Run, shoot: Shoot, tmp_path: Path, what: str) -> None:
    model = tmp_path / "model"
    if what == "folder":
        model.mkdir()
    assert str(model) in refused(run, ["denoise", shoot.good, "-m", model, "-o", tmp_path / "out"], tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_utf_8_is_told(run: Run, shoot: Shoot, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    odd = Path(os.fsdecode(bytes(tmp_path) + b"/in/caf\xe9.dng"))
    odd.write_bytes((shoot.good / "frame_000.dng").read_bytes())
    for arguments in (["inspect", tmp_path / "in"], ["denoise", odd, "-m", shoot.model, "-o", tmp_path / "out"]):
        assert r"caf\udce9.dng': this name is not UTF-8" in refused(run, arguments, tmp_path)


def test_an_existing_output_is_never_touched(run: Run, shoot: Shoot, tmp_path: Path) -> None:
    taken = tmp_path / "taken.dng"
    taken.write_text("mine")
    shot = shoot.good / "frame_000.dng"
    for arguments in (
        ["ingest", shoot.good, "-o", taken],
        ["train", shoot.good, "-o", taken, "--steps", 1],
        ["calibrate", shoot.good, "-o", taken],
        ["denoise", shot, "-m", shoot.model, "-o", taken],
        ["benchmark", shoot.bursts, "-m", shoot.model, "-o", taken],
        ["merge", shoot.good, "-o", taken],
        ["demo", "-o", taken],
    ):
        error = refused(run, arguments, tmp_path)
        assert str(taken) in error
    assert "cannot be written" in refused(run, ["denoise", shot, "-m", shoot.model, "-o", taken / "a.dng"], tmp_path)


# A full disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return a function that gives a disk of so many bytes; called again, it grows."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = False

    def mount(size: str) -> Path:
        nonlocal mounted
        options = f"remount,size={size}" if mounted else f"size={size}"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("a small disk cannot be mounted here; that needs root")
        mounted = True
        return place

    yield mount
    if mounted:
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # frames may still be mapped to memory


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting a small disk needs root on Linux")
class TestFullDisk:
    """One line, exit 1, and nothing left that takes the disk's last bytes."""

    @pytest.mark.parametrize("suffix", ["dng", "tif", "png"])
    def test_denoise(self, run: Run, shoot: Shoot, disk: Callable[[str], Path], suffix: str) -> None:
        place = disk("20k")
        shot = shoot.good / "frame_000.dng"
        error = refused(run, ["denoise", shot, "-m", shoot.model, "-o", place / "new" / f"a.{suffix}"], place)
        assert "cannot be written" in error
        assert "free the disk" in error

    def test_a_session_goes_on_when_there_is_room_again(
        self, run: Run, shoot: Shoot, disk: Callable[[str], Path], tmp_path: Path
    ) -> None:
        write_frames(tmp_path / "card", burst_frames(6))
        job = ("denoise", tmp_path / "card", "-o", disk("600k") / "out")
        done = run(*job)
        assert done.code == 3
        assert 1 <= done.out.count("written to") <= 4
        assert done.err.count("free the disk or choose another place") == 6 - done.out.count("written to")
        disk("4m")
        assert run(*job).code == 0
        names = [f"frame_00{k}-denoised.dng" for k in range(6)]
        assert sorted(everything_in(tmp_path / "disk" / "out")) == ["burst-denoise.jsonl", *names]

    def test_ingest(self, run: Run, shoot: Shoot, disk: Callable[[str], Path]) -> None:
        place = disk("200k")
        assert "free the disk" in refused(run, ["ingest", shoot.good, "-o", place / "bursts"], place)

    @pytest.mark.parametrize("size", ["200k", "2m"], ids=["storing frames", "saving a checkpoint"])
    def test_calibrate(self, run: Run, shoot: Shoot, disk: Callable[[str], Path], size: str) -> None:
        place = disk(size)
        error = refused(run, ["train", shoot.good, "-o", place / "new" / "model", "--steps", 1], place)
        assert "cannot be written" in error
        assert "free the disk" in error

    def test_a_trained_model_survives_a_full_disk(
        self, run: Run, shoot: Shoot, disk: Callable[[str], Path], tmp_path: Path
    ) -> None:
        job = ["train", shoot.good, "-o", tmp_path / "disk" / "model", "--steps", 1]
        place = disk("13m")
        done = run(*job)
        assert done.code == 1
        assert "model: cannot be written" in done.error
        assert sorted(path.name for path in place.iterdir()) == ["model.work"]
        disk("40m")
        assert run(*job).code == 0
        assert sorted(path.name for path in place.iterdir()) == ["model"]

    def test_benchmark(self, run: Run, shoot: Shoot, disk: Callable[[str], Path]) -> None:
        place = disk("4k")
        (place / "full").write_bytes(bytes(4096))
        job = ["benchmark", shoot.bursts, "-m", shoot.model, "--frames", 1, "-o", place / "rows.jsonl"]
        done = run(*job)
        assert done.code == 1
        assert "free the disk" in done.error
        assert sorted(path.name for path in place.iterdir()) == ["full"]


# Killed


def weights(path: Path) -> dict[str, np.ndarray]:
    with safe_open(path, "np") as handle:
        return {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118 (no mapping)


EAGER = "import burst_denoise.model.fit as t; t.SAVE_EVERY_S = 0.0; from burst_denoise.cli.app import main; main()"


def train(frames: Path, output: Path, steps: int = 6) -> list[str]:
    """Return the command of a training of some seconds that saves its state at every step."""
    return [sys.executable, "-c", EAGER, "train", str(frames), "-o", str(output), "--steps", str(steps)]


@pytest.mark.slow
def test_killed_at_any_moment_the_same_command_finishes_in_the_same_bits(shoot: Shoot, tmp_path: Path) -> None:
    subprocess.run(train(shoot.good, tmp_path / "reference"), check=True, capture_output=True)
    output, work = tmp_path / "model", tmp_path / "model.work"
    moments: list[Callable[[], bool]] = [
        lambda: work.exists(),  # before the frames are stored
        lambda: (work / "bursts" / "good.burst").exists(),
        lambda: (work / "checkpoint.safetensors").exists(),
        lambda: (work / "checkpoint.safetensors").exists(),  # and so on, a little later each time
        lambda: (work / "checkpoint.safetensors").exists(),
    ]
    for number, moment in enumerate(moments):
        process = subprocess.Popen(train(shoot.good, output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not moment() and process.poll() is None:
            time.sleep(0.002)
        if number > 2:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2.0 + number)
        process.send_signal(signal.SIGKILL)
        process.wait()
    if not output.exists():
        done = subprocess.run(train(shoot.good, output), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    one, other = weights(output), weights(tmp_path / "reference")
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[key], other[key]) for key in one)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "reference"]


def test_a_killed_training_goes_on(run: Run, shoot: Shoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("burst_denoise.jobs.calibrate.tuned_strengths", lambda bursts: {})
    job = train(shoot.good, tmp_path / "model", steps=4)
    process = subprocess.Popen(job, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoint = tmp_path / "model.work" / "checkpoint.safetensors"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert checkpoint.exists()
    assert not (tmp_path / "model").exists()
    done = run(*job[3:])
    assert (done.code, done.err.count("error")) == (0, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_a_killed_denoise_resumes(run: Run, shoot: Shoot, tmp_path: Path) -> None:
    write_frames(tmp_path / "shots", burst_frames(6))
    job = ["denoise", str(tmp_path / "shots"), "-m", str(shoot.model), "-o", str(tmp_path / "out")]
    process = subprocess.Popen([*PROGRAM, *job], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (tmp_path / "out" / "frame_000-denoised.dng").exists() and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = run(*job)
    assert done.code == 0
    assert "1/6 frame_000.dng: done before" in done.out
    names = [f"frame_{k:03d}-denoised.dng" for k in range(6)]
    assert sorted(everything_in(tmp_path / "out")) == ["burst-denoise.jsonl", *names]
    assert all(read_raw(tmp_path / "out" / name).dn.shape == (160, 192) for name in names)


# Real and simulated bursts


def verdicts_on(run: Run, folder: Path) -> list[dict[str, object]]:
    done = run("inspect", folder, "--json")
    assert done.err == ""
    found = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == (0 if any(one["accepted"] for one in found) else 1)
    return found


def test_simulated_canon_bursts_lose_exactly_the_three_faulty_frames(run: Run, shared_data: Path) -> None:
    found = verdicts_on(run, shared_data / "sim_canon700d")
    assert [v["series"] for v in found] == [f"kodim0{k}_iso{iso}" for k in (1, 2, 3) for iso in (1600, 6400)]
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
