"""The command line as a user meets it: help, usage errors, exit codes, and the whole way of a shot."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from burst_denoise import __version__
from burst_denoise.io.raw import read_raw
from tests.command_line import PROGRAM, SMALL, Done, Run, Shoot, in_a_process, refused
from tests.shots import burst_frames, everything_in, write_frames

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
    asked = [["--help"], ["--version"], *([command, "--help"] for command in COMMANDS)]
    code = (
        "import sys, contextlib; from burst_denoise.cli.app import main\n"
        f"for sys.argv[1:] in {asked}:\n"
        "    with contextlib.suppress(SystemExit): main()\n"
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("Usage: ") == len(asked) - 1
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


# Jobs


@pytest.mark.usefixtures("one_baseline", "little_validation")
def test_the_whole_way_from_frames_to_a_denoised_shot(run: Run, shoot: Shoot, tmp_path: Path) -> None:
    inputs = everything_in(shoot.good)
    done = run("ingest", shoot.good, "-o", tmp_path / "bursts")
    assert (done.code, done.out.splitlines()[0].split(":")[0]) == (0, str(tmp_path / "bursts" / "good.burst"))
    assert run("ingest", shoot.good, "-o", tmp_path / "bursts").code == 0
    little = ("--steps", 2, "--from-scratch", "--preset", "draft")
    done = run("train", tmp_path / "bursts", "-o", tmp_path / "m.safetensors", *little)
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
    run("merge", shoot.good, "--no-denoise", "-o", tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.pages[0].shape == (160, 192, 3)
    error = refused(run, ["merge", shoot.good, shoot.other_camera, "-o", tmp_path / "b.dng"], tmp_path)
    assert "give the frames of one sensor at a time" in error
    assert "only a raw file can be developed" in refused(
        run, ["merge", shoot.bursts / "good.burst", "-o", tmp_path / "b.tif"], tmp_path
    )
    error = refused(run, ["merge", shoot.other_camera, "-m", shoot.model, "-o", tmp_path / "b.dng"], tmp_path)
    assert "--any-sensor" in error


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
    write_frames(tmp_path, burst_frames(1, size=SMALL), camera="Nikon D5")
    assert run("denoise", tmp_path / "frame_000.dng", "-o", tmp_path / "b.dng", "--quality", "best").code == 0
    assert not np.array_equal(read_raw(tmp_path / "a.dng").dn, read_raw(shot).dn)


def test_what_profile_writes_serves_denoise_as_a_file_and_as_a_tag(run: Run, tmp_path: Path) -> None:
    write_frames(tmp_path / "in", burst_frames(8))
    denoise = ("denoise", "--quality", "draft")
    sensor, tagged = tmp_path / "sensor.json", tmp_path / "tagged.dng"
    assert run("profile", tmp_path / "in", "-o", sensor, "--dng", tagged).code == 0
    shot = tmp_path / "in" / "frame_000.dng"
    by_file = run(*denoise, shot, "-o", tmp_path / "a.dng", "--profile", sensor)
    assert (by_file.code, by_file.err) == (0, "frame_000.dng: noise from sensor.json\n")
    by_tag = run(*denoise, tagged, "-o", tmp_path / "b.dng")
    assert by_tag.code == 0
    assert by_tag.err.startswith("tagged.dng: noise as its NoiseProfile tag says, S ")
    # The tag knows one green, the file two.
    one, other = (read_raw(tmp_path / name).linear for name in ("a.dng", "b.dng"))
    assert one == pytest.approx(other, abs=5e-3)
    (higher,) = write_frames(tmp_path / "high", burst_frames(1, iso=6400))
    scaled = run(*denoise, higher, "-o", tmp_path / "c.dng", "--profile", sensor)
    assert scaled.err == "frame_000.dng: noise from sensor.json, scaled to ISO 6400 from 1600\n"
    (foreign,) = write_frames(tmp_path / "foreign", burst_frames(1), camera="Nikon D5")
    job = [*denoise, foreign, "-o", tmp_path / "d.dng", "--profile", sensor]
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


@pytest.mark.system
def test_an_output_that_nobody_reads_any_more_is_no_traceback(shoot: Shoot) -> None:
    command = " ".join(f"'{part}'" for part in (*PROGRAM, "inspect", *[str(shoot.good)] * 2, "--json"))
    done = subprocess.run(["sh", "-c", f"{command} | true"], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
