"""Mutated inputs of every kind, a few hundred of them; ``make fuzz`` opens more."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.fuzz.mutator import mutate


@pytest.mark.system
@pytest.mark.skipif(sys.platform != "linux", reason="memory is watched through /proc")
def test_mutated_inputs_end_in_a_result_or_in_an_error_that_names_them(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", "300", str(tmp_path / "findings"), "--seed", "7"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    told = [path.read_text() for path in tmp_path.rglob("told.txt")]
    assert (done.returncode, told) == (0, []), done.stdout + done.stderr


def test_a_seed_makes_the_same_input_again() -> None:
    files = {"a.json": b'{"a": 1, "b": [2, 3]}', "b.tif": b"II*\0" + bytes(range(200))}
    mutated = [mutate(files, random.Random(seed)) for seed in (1, 1, 2)]
    assert mutated[0] == mutated[1] != mutated[2]
    assert sum(mutated[0][name] != files[name] for name in files) <= 1
