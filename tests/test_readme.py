"""The README tells the truth: its commands and options exist, and no command is left out."""

import re
from pathlib import Path

import typer
import yaml

from burst_denoise import __version__
from burst_denoise.cli.app import app

PROJECT = Path(__file__).parent.parent
README = (PROJECT / "README.md").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(app).commands


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == language]


def test_an_owner_reads_it_in_five_minutes():
    assert len(README.splitlines()) <= 200


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
        assert name == "web" or context.params["inputs"] or context.params["pairs"]


def test_every_command_has_help_of_a_full_sentence():
    for command in COMMANDS.values():
        assert command.help
        assert command.help.strip().splitlines()[0].endswith(".")
        assert all(option.help for option in command.params if option.param_type_name == "option")


def test_the_citation_names_this_version_and_is_valid():
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert citation["license"] == "MIT"
    for field in ("cff-version", "message", "title", "authors", "date-released"):
        assert citation[field], field
    assert all(author.get("name") or author.get("family-names") for author in citation["authors"])
    assert all({"type", "title", "authors"} <= set(reference) for reference in citation["references"])
