"""Dark frames and flats on the command line: folders, files and quoted patterns."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from burst_denoise.io.raw import read_raw
from tests.command_line import SMALL, Run, Shoot, refused
from tests.shots import burst_frames, dark_frames, write_frames


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
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, darks = tmp_path / "good", tmp_path / "darks"
    write_frames(good, burst_frames(4, size=SMALL))
    for iso in (1600, 6400):
        for frame in dark_frames(4, iso=iso, size=SMALL):
            write_frames(darks, [replace(frame, path=Path(f"iso{iso}_{frame.path.name}"))])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
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
        done = run("merge", good, *options, "--no-denoise", "-o", tmp_path / f"{number}.dng")
        assert done.code == 0, done.err
        assert ": mean of 4 frames; dark subtracted" in done.out
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
