"""What is installed: every package at a version that was tested, in CI by its hash."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PINNED = re.findall(r"^([\w.-]+==\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
HASHED = re.findall(r"^([\w.-]+==\S+)((?: --hash=sha256:[0-9a-f]{64})+)$", (ROOT / ".ci/hashes.txt").read_text(), re.M)


def test_ci_installs_the_pinned_versions_by_hash_all_but_torch():
    assert [pin for pin, _ in HASHED] == [pin for pin in PINNED if not pin.startswith("torch==")]


def test_what_the_project_needs_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    names = {re.split(r"[<>=\[]", each)[0].lower() for each in needed}
    assert names <= {pin.partition("==")[0] for pin in PINNED}
