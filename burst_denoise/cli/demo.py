"""The command `demo`: the whole chain on a synthetic shoot."""

from pathlib import Path
from typing import Annotated

import typer

from burst_denoise.cli.console import TrainingConsole, show
from burst_denoise.cli.options import OUTPUT, Device

__all__ = ["demo_command"]


def demo_command(
    output: Annotated[
        Path, typer.Option(*OUTPUT, metavar="FOLDER", help="Folder for everything the demo makes.")
    ] = Path("demo"),
    quick: Annotated[bool, typer.Option("--quick", help="A minute of training instead of four.")] = False,
    device: Device = "auto",
) -> None:
    """Shoot with a synthetic camera, then run the whole chain on its DNG files and show what it gained.

    Example: burst-denoise demo --quick
    """
    from burst_denoise.cli.tables import score_table
    from burst_denoise.jobs.demo import demo
    from burst_denoise.model.device import choose_device

    with TrainingConsole() as console:
        result = demo(output, 1.0 if quick else 4.0, choose_device(device), console)
    show(score_table(result.rows))
    show(result.next_steps)
