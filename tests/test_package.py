"""The order of the package: who may import whom, what loads at start, what is public."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import burst_denoise
from burst_denoise import errors

PACKAGE = Path(burst_denoise.__file__).parent
SUBPACKAGES = {
    "": "errors files arrays schemas",
    "frame": "exposure mosaic geometry frame srgb synthetic",
    "sensor": "identity intervals moments noise_model row_noise photon_transfer channel_fit single_image "
    "noise_structure fixed_pattern dark_frame prnu_from_scenes defects hot_photosites verdict",
    "io": "tags limits tiff_directories containers metadata dng_header raw tone_curve picture read pairs preview "
    "sidecars tiff_writer dng tiff_png exiftool write noise_profile_export emva1288",
    "burst": "frames_on_disk grouping alignment motion flicker checks series_verdict burst moved_frames merging store "
    "darks one_sensor accepted flats",
    "score": "metrics bracket reference unbiased residual baselines tuning outputs resources pattern rows benchmark "
    "paired",
    "model": "device content pairs network low_bands model_file prior fit validation train",
    "reporting": "figures page report",
    "inference": "engine low_bands tiles residual_noise noise_source plane_means network_change denoiser",
    "session": "ledger child reader shots names denoisers noise steps workers cluster progress",
    "jobs": "listener ingest inspect profile calibrate denoise merge benchmark benchmark_pairs report demo",
    "web": "pictures samples worker queue tasks visits app",
    "cli": "options console session_console tables inspect ingest profile calibrate denoise watch merge benchmark "
    "report demo web app",
}
"""Every subpackage and file of the package, in the order in which data flows; each may import from those before it."""

ORDER = [f"{subpackage}.{name}".lstrip(".") for subpackage, names in SUBPACKAGES.items() for name in names.split()]
ORDER += ["api", "__main__"]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def imported_modules(path: Path) -> set[str]:
    """Names of our own modules that a file imports, without the name of the package."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names] + [str(node.module)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.removeprefix("burst_denoise.") for name in names if name.startswith("burst_denoise.")}
    return {name for name in found if (PACKAGE / (name.replace(".", "/") + ".py")).exists()}


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_file_imports_only_from_files_before_it(path: Path):
    name = module_name(path)
    assert name in ORDER, f"{name} has no place in the order of subpackages; give it one in SUBPACKAGES"
    before = ORDER[: ORDER.index(name)]
    assert sorted(imported_modules(path) - set(before)) == []


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_file_says_what_lives_there_and_what_is_public(path: Path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "no module docstring"
    if path.name == "__main__.py":
        return
    module = importlib.import_module(f"burst_denoise.{module_name(path)}")
    public = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    stated = module.__all__
    assert len(stated) == len(set(stated))
    assert [name for name in stated if not hasattr(module, name)] == []
    assert public <= set(stated), "a public function or class is missing from __all__; add it, or name it with a _"


def loaded_by(statement: str) -> set[str]:
    """Names of the modules that a fresh Python has loaded after a statement."""
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


SLOW = {"torch", "torch_optimizer", "matplotlib", "skimage"}


def test_importing_the_package_loads_nothing_slow():
    loaded = loaded_by("import burst_denoise")
    assert not loaded & (SLOW | {"numpy", "cv2", "rawpy"})


def test_the_command_line_starts_without_anything_slow():
    assert not loaded_by("import burst_denoise.cli.app") & SLOW


def test_rooms_that_need_no_network_load_no_torch():
    modules = ("score.metrics", "score.baselines", "score.benchmark", "burst.store")
    assert not loaded_by(f"import {', '.join(f'burst_denoise.{module}' for module in modules)}") & SLOW


def test_the_tree_in_the_docstring_of_errors_is_the_tree_of_classes():
    drawn: dict[str, str | None] = {}
    ancestors: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^( *)(\w+Error)\b", line)
        if match is None:
            continue
        depth, name = len(match[1]), match[2]
        ancestors = [(d, n) for d, n in ancestors if d < depth]
        drawn[name] = ancestors[-1][1] if ancestors else None
        ancestors.append((depth, name))
    classes = {
        name: None if cls is errors.BurstDenoiseError else cls.__base__.__name__
        for name, cls in inspect.getmembers(errors, inspect.isclass)
    }
    assert drawn == classes


WORDS_OF_NOBODY = [
    "lens-cap",
    "examiner",
    "exam",
    "exams",
    "transplant",
    "transplanted",
    "rival",
    "rivals",
    "blind_noise",
    "WithoutModel",
    "Serve",
    "_Question",
    "_Unpredicted",
    "_Course",
    "_Watch",
    "weaknesses",
    "grave",
    "mild",
    "refuse_useless",
    "written_aside",
    "accuses",
    "strays",
]
"""What earlier versions said where the field has a word of its own."""


def test_the_words_are_those_of_the_field():
    texts = [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.html"), *PACKAGE.rglob("*.md"), PACKAGE.parent / "README.md"]
    pattern = re.compile(rf"(?<![\w-])({'|'.join(WORDS_OF_NOBODY)})(?![\w-])")
    found = {(path.name, word) for path in texts for word in pattern.findall(path.read_text(encoding="utf-8"))}
    assert found == set()


def functions(path: Path) -> list[tuple[str, int]]:
    """Return the functions of a file and how many parameters each takes, ``self`` and ``cls`` apart."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            found.append((node.name, sum(argument.arg not in ("self", "cls") for argument in every)))
    return found


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_no_function_takes_more_than_seven_parameters(path: Path):
    many = [(name, count) for name, count in functions(path) if count > 7]
    assert [name for name, _ in many if not (path.parent.name == "cli" and name.endswith("_command"))] == []
