"""The library interface: its names, its examples, and the three scripts of the README."""

import doctest
import importlib
import inspect as standard_inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import burst_denoise as bd
from burst_denoise import api
from burst_denoise.frame.synthetic import Fault, SyntheticCamera, shoot
from tests.conftest import PROJECT
from tests.shots import burst_frames, dark_frames, stored, verdicts, write_frames, write_identity_model

FUNCTIONS = [
    "read",
    "read_pairs",
    "ingest",
    "inspect",
    "profile",
    "calibrate",
    "load_model",
    "denoise",
    "merge",
    "benchmark",
    "report",
]
TYPES = ["Frame", "Burst", "SensorProfile", "Model", "Denoiser", "BenchmarkRows", "NoisyCleanPair", "Outputs"]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the examples name: frames, dark frames, other bursts, shots and a model."""
    folder = tmp_path_factory.mktemp("desk")
    frames = burst_frames(5)
    write_frames(folder / "frames", frames[:4])
    moved = burst_frames(5, faults={4: Fault(shift=(3, 2))})[4]
    write_frames(folder / "frames", [moved])
    write_frames(folder / "other_bursts", burst_frames(4, seed=5))
    write_frames(folder / "denoised_elsewhere", burst_frames(4, seed=5)[:2])
    for place, noise in (("pairs/noisy", 9), ("pairs/clean", 0), ("denoised_elsewhere", 3)):
        (folder / place).mkdir(parents=True, exist_ok=True)
        table = np.full((64, 80, 3), 90) + np.random.default_rng(0).integers(-noise, noise + 1, (64, 80, 3))
        cv2.imwrite(str(folder / place / "table_1.png"), table.astype(np.uint8))
    write_frames(folder / "darks", dark_frames(4))
    write_frames(folder / "shots", burst_frames(2, seed=7))
    (folder / "shot.dng").write_bytes((folder / "shots" / "frame_000.dng").read_bytes())
    burst = stored(folder / "own.burst", "own", frames, verdicts(frames), 0.1, 1e-4)
    write_identity_model(folder / "my_camera.safetensors", burst)
    return folder


@pytest.fixture(scope="module")
def ingested(desk: Path) -> list[bd.Burst]:
    return bd.ingest(desk / "frames")


def test_the_names_are_exact_and_sorted():
    assert bd.__all__ == sorted(bd.__all__)
    assert set(FUNCTIONS + TYPES) <= set(bd.__all__)
    assert {name for name in bd.__all__ if name.endswith("Error")} == set(bd.errors.__all__)
    assert set(api.__all__) == {name for name in bd.__all__ if not name.endswith("Error")} - {"__version__"}
    assert dir(bd) == bd.__all__


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'denoize'"):
        bd.denoize  # noqa: B018


@pytest.fixture(scope="module")
def every_module() -> None:
    """All modules imported, so that a subpackage would stand where it hides a function of the same name."""
    for module in pkgutil.walk_packages(bd.__path__, "burst_denoise."):
        if module.name != "burst_denoise.__main__":
            importlib.import_module(module.name)


@pytest.mark.usefixtures("every_module")
def test_no_name_is_shadowed_by_a_module():
    for name in bd.__all__:
        assert getattr(bd, name) is getattr(api, name, getattr(bd.errors, name, bd.__version__))
    for name in FUNCTIONS:
        assert callable(getattr(bd, name)), name
    for name in TYPES:
        assert isinstance(getattr(bd, name), type), name


@pytest.mark.usefixtures("every_module", "one_baseline", "little_validation")
@pytest.mark.parametrize("name", api.__all__)
def test_every_name_has_a_docstring_with_an_example_that_runs(desk: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    thing = getattr(api, name)
    assert re.match(r"[A-Z][^\n]*\.\n?", thing.__doc__), "the first line is a full sentence"
    found = doctest.DocTestFinder(recurse=True).find(thing, name, globs={"bd": bd})
    own = [test for test in found if test.examples and (thing.__module__ == "burst_denoise.api" or test.name == name)]
    if thing.__module__ == "burst_denoise.api":
        assert own, "no example"
    monkeypatch.chdir(desk)
    for made in ("saved.dng", "denoised.dng", "clean.dng", "merged.dng", "new_model.safetensors", "report.html"):
        (desk / made).unlink(missing_ok=True)
    runner = doctest.DocTestRunner()
    for test in own:
        lines: list[str] = []
        runner.run(test, out=lines.append)
        assert runner.failures == 0, "".join(lines)


def scripts() -> list[str]:
    """Return the Python blocks of the README that use the library."""
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    return [block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "import burst_denoise" in block]


@pytest.mark.usefixtures("one_baseline", "little_validation")
@pytest.mark.parametrize("script", scripts(), ids=["owner", "researcher"])
def test_the_scripts_of_the_readme_run(desk: Path, script: str, monkeypatch: pytest.MonkeyPatch):
    lines = [line for line in script.splitlines() if line.strip()]
    assert len(lines) <= 10
    imported = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert imported - {"burst_denoise"} <= set(sys.stdlib_module_names)
    for made in ("my_camera.safetensors", "clean.dng", "scores.csv", "table.tex"):
        if script.count(f'save("{made}")') or made != "my_camera.safetensors":
            (desk / made).unlink(missing_ok=True)
    monkeypatch.chdir(desk)
    exec(compile(re.sub(r"minutes=[\d.]+", "minutes=0.01", script), "README.md", "exec"), {"__name__": "__main__"})


def test_importing_the_package_is_quick_and_loads_no_torch():
    code = (
        "import sys, time; t = time.perf_counter(); import burst_denoise; print(time.perf_counter() - t, *sys.modules)"
    )
    commands = [[sys.executable, "-c", code]] * 3
    found = [subprocess.run(one, capture_output=True, text=True, check=True).stdout.split() for one in commands]
    assert "torch" not in found[0]
    assert min(float(one[0]) for one in found) < 0.15


def test_settings_are_keyword_only_and_few():
    for name in FUNCTIONS:
        parameters = standard_inspect.signature(getattr(api, name)).parameters.values()
        assert len(parameters) <= 7
        optional = [p for p in parameters if p.default is not p.empty and p.name not in ("model", "methods")]
        assert all(p.kind is p.KEYWORD_ONLY for p in optional), name


def test_bursts_of_two_sensors_are_refused_whoever_put_them_together(desk: Path, tmp_path: Path):
    write_frames(tmp_path / "other", burst_frames(4), camera="Other Camera")
    bursts = bd.ingest(desk / "frames") + bd.ingest(tmp_path / "other")
    for job in (bd.profile, lambda given: bd.calibrate(given, steps=1), bd.benchmark):
        with pytest.raises(bd.IncompatibleFramesError, match=r"camera .*; give the frames of one sensor at a time"):
            job(bursts)


@pytest.mark.usefixtures("one_baseline", "little_validation")
def test_bursts_ingested_one_by_one_are_pooled(desk: Path):
    apart = bd.ingest(desk / "frames") + bd.ingest(desk / "other_bursts")
    together = bd.ingest([desk / "frames", desk / "other_bursts"])
    assert apart[0].profile != together[0].profile
    one, other = (bd.calibrate(bursts, steps=1, quality="draft") for bursts in (apart, together))
    assert one.header.profiles == other.header.profiles


@pytest.mark.parametrize("job", [bd.profile, bd.calibrate, bd.benchmark])
def test_no_burst_is_a_mistake_that_is_named(job: Callable[..., object]):
    with pytest.raises(bd.SeriesError, match="no burst given; ingest the frames of a series first"):
        job([])


def test_settings_out_of_range_are_named(desk: Path):
    bursts = bd.ingest(desk / "frames")
    with pytest.raises(bd.ConfigError, match="calibrate: minutes: "):
        bd.calibrate(bursts, minutes=0)
    with pytest.raises(ValueError, match="quality 'bset' is none of draft, fast, best"):
        bd.Denoiser(quality="bset")
    model = bd.load_model(desk / "my_camera.safetensors")
    with pytest.raises(bd.ConfigError, match="give one of the two, model or noise profile"):
        bd.Denoiser(model, profile=bd.profile(bursts))


def test_bursts_and_pairs_are_not_mixed(desk: Path):
    bursts, pairs = bd.ingest(desk / "frames"), bd.read_pairs(desk / "pairs")
    for given, tune_on in ((bursts + pairs, []), (bursts, pairs), (pairs, bursts)):
        with pytest.raises(bd.ConfigError, match="bursts and noisy/clean pairs are mixed; score each kind by itself"):
            bd.benchmark(given, tune_on=tune_on)


@pytest.mark.parametrize("other", [Path("frames"), "frames", None])
def test_what_is_neither_burst_nor_pair_is_named_and_not_dropped(desk: Path, other: object):
    pairs = bd.read_pairs(desk / "pairs")
    for argument, given in (
        ("bursts", {"bursts": [*pairs, other]}),
        ("tune_on", {"bursts": pairs, "tune_on": [other]}),
    ):
        message = f"{argument}: holds {other!r}, neither a Burst nor a NoisyCleanPair; give what ingest or read_pairs"
        with pytest.raises(TypeError, match=re.escape(message)):
            bd.benchmark(**given)


def test_outputs_that_do_not_fit_are_refused_before_any_work(desk: Path, tmp_path: Path):
    cv2.imwrite(str(tmp_path / "frame_000.tif"), np.zeros((160, 192, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "table_1-x.png"), np.zeros((64, 79, 3), np.uint8))
    theirs = {"theirs": bd.Outputs(tmp_path)}
    with pytest.raises(bd.InputFileError, match=r"frame_000\.tif: is a developed picture; .* a mosaic DNG is needed"):
        bd.benchmark(bd.ingest(desk / "frames"), theirs)
    with pytest.raises(bd.InputFileError, match=r"table_1-x\.png: has 79 x 64 rgb, but table_1\.png has 80 x 64 rgb"):
        bd.benchmark(bd.read_pairs(desk / "pairs"), theirs)


@pytest.mark.parametrize("name", ["prior", "single frame", "nlm-stabilised", "tv"])
def test_a_method_named_as_a_row_of_the_benchmark_is_refused_before_any_work(
    ingested: list[bd.Burst], name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("burst_denoise.jobs.benchmark.tuned_strengths", lambda bursts: pytest.fail("tuned first"))
    with pytest.raises(bd.ConfigError, match=f"a method is called '{name}', as a row of the benchmark's own is"):
        bd.benchmark(ingested, {name: lambda image, frame: image * 0})


@pytest.mark.usefixtures("one_baseline")
def test_flats_take_what_they_show_out_of_what_judges_and_are_for_bursts_alone(desk: Path):
    bursts = bd.ingest(desk / "other_bursts")
    height, width = bursts[0].info.height, bursts[0].info.width
    lit, _ = shoot(SyntheticCamera(), np.full((height, width, 3), 0.5, np.float32), 100, 4, 9)
    write_frames(desk / "flats", lit, camera=bursts[0].info.camera)
    frame = bd.benchmark(bursts, frames=1, flats=desk / "flats")[0]
    plain = bd.benchmark(bursts, frames=1)[0]
    assert frame["method"] == plain["method"] == "single frame"
    assert (frame["pattern_source"], plain["pattern_source"]) == ("flats", "burst")
    with pytest.raises(bd.ConfigError, match="flats are for bursts"):
        bd.benchmark(bd.read_pairs(desk / "pairs"), flats=desk / "flats")


def test_a_result_is_not_denoised_again(desk: Path):
    model = bd.load_model(desk / "my_camera.safetensors")
    merged = bd.merge(bd.ingest(desk / "frames")[0])
    for result in (merged, bd.denoise(bd.read(desk / "shot.dng"), model)):
        with pytest.raises(bd.InputFileError, match="was denoised by this program and is no shot; name the original"):
            bd.denoise(result, model)


def test_a_merged_frame_is_not_developed_with_a_file_that_happens_to_have_its_name(
    desk: Path, monkeypatch: pytest.MonkeyPatch
):
    merged = bd.merge(bd.ingest(desk / "frames")[0])
    monkeypatch.chdir(desk / "frames")
    with pytest.raises(bd.OutputError, match="only a raw file can be developed"):
        merged.save(desk / "merged.tif")
