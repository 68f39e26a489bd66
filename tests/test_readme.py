"""The README tells the truth: its Python block runs, its commands and options exist, and no command is left out."""

import contextlib
import io
import re
from pathlib import Path

import pytest
import typer

from burst_denoise.cli.app import app

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(app).commands


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == language]


def test_the_python_block_runs_and_finds_the_fault_and_the_gain():
    (block,) = blocks("python")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block, "README.md", "exec"), {})
    first, second = printed.getvalue().splitlines()
    assert first == "[('frame_007.dng', ('light',))]"
    gains = [float(number) for number in re.findall(r"\d+\.\d+", second)]
    assert gains == pytest.approx([7.2] * 4, rel=0.05)


def test_every_command_stands_in_the_readme_and_the_other_way_round():
    table = re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)
    assert set(table) == set(COMMANDS)


def test_every_option_the_readme_names_exists():
    known = {flag for command in COMMANDS.values() for option in command.params for flag in option.opts}
    known |= {"--help", "--version", "--debug"}
    assert set(re.findall(r"`(--[a-z-]+)", README)) <= known


def test_every_command_line_of_the_readme_is_understood():
    lines = [line for block in blocks("") for line in block.splitlines() if line.startswith("burst-denoise")]
    assert len(lines) >= 4
    for line in lines:
        name, *arguments = line.split("#")[0].split()[1:]
        context = COMMANDS[name].make_context(name, arguments)
        assert context.params["inputs"]


def test_every_command_has_help_of_a_full_sentence():
    for command in COMMANDS.values():
        assert command.help
        assert command.help.strip().splitlines()[0].endswith(".")
        assert all(option.help for option in command.params if option.param_type_name == "option")
