"""The command line: all commands, and how a mistake ends."""

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from burst_denoise import __version__
from burst_denoise.cli.benchmark import benchmark_command
from burst_denoise.cli.calibrate import calibrate_command, train_command
from burst_denoise.cli.console import fail, quiet_libraries, show
from burst_denoise.cli.demo import demo_command
from burst_denoise.cli.denoise import denoise_command
from burst_denoise.cli.ingest import ingest_command
from burst_denoise.cli.inspect import inspect_command
from burst_denoise.cli.merge import merge_command
from burst_denoise.cli.profile import profile_command
from burst_denoise.cli.report import report_command
from burst_denoise.cli.watch import watch_command
from burst_denoise.cli.web import web_command
from burst_denoise.errors import BurstDenoiseError, JobError

__all__ = ["app", "main"]


class _InPlainWords:
    """Shows no type in the help where it says nothing: behind an argument and a switch, which takes no value."""

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if param.param_type_name == "argument" or param.is_flag:
                param.display_type_rich = lambda **_: None
        return params


class _Group(_InPlainWords, TyperGroup):
    """All commands."""


class _Command(_InPlainWords, TyperCommand):
    """One of them."""


app = typer.Typer(
    cls=_Group,
    help="Turn tripod RAW bursts into a denoiser calibrated to your camera's sensor, and prove what it gains.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; a user's mistake ends in one line and exit code 1, a partly failed batch in 3."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    if not debug:
        quiet_libraries()
    try:
        app(args=arguments)
    except (BurstDenoiseError, OSError) as error:
        if debug:
            raise
        failures = error.failures if isinstance(error, JobError) else {}
        for item, failure in failures.items():
            fail(str(failure) if item in str(failure) else f"{item}: {failure}")
        fail(f"error: {error}")
        sys.exit(3 if failures else 1)
    except UnicodeEncodeError as error:  # LibRaw, safetensors and JSON take names in UTF-8 only
        if debug:
            raise
        fail(f"error: {error.object!a}: this name is not UTF-8; rename the file or folder")
        sys.exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        show(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    """Options of all commands."""


app.command("inspect", cls=_Command)(inspect_command)
app.command("profile", cls=_Command)(profile_command)
app.command("ingest", cls=_Command)(ingest_command)
app.command("calibrate", cls=_Command)(calibrate_command)
app.command("train", cls=_Command)(train_command)
app.command("denoise", cls=_Command)(denoise_command)
app.command("watch", cls=_Command)(watch_command)
app.command("merge", cls=_Command)(merge_command)
app.command("benchmark", cls=_Command)(benchmark_command)
app.command("report", cls=_Command)(report_command)
app.command("demo", cls=_Command)(demo_command)
app.command("web", cls=_Command)(web_command)
