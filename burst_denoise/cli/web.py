"""The command `web`: a page to try it on, on this machine."""

from importlib.util import find_spec
from typing import Annotated

import typer

from burst_denoise.cli.console import Console, show
from burst_denoise.cli.options import Device, MaxMegapixels, Profiles, SensorModels, session_denoisers
from burst_denoise.errors import ConfigError

__all__ = ["web_command"]


def web_command(
    model: SensorModels = None,
    profile: Profiles = None,
    port: Annotated[
        int, typer.Option(metavar="NUMBER", min=0, max=65535, help="Port of the page; 0 takes one that is free.")
    ] = 7860,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    max_megapixels: MaxMegapixels = 200.0,
    device: Device = "auto",
) -> None:
    """Open a page to try it on: sample shots or your own, before and after, until Ctrl-C.

    It answers this machine alone, asks no other, and deletes what it was given when the
    page is left, or an hour later.

    Example: burst-denoise web --open
    """
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"the page needs the extra web ({', '.join(missing)}): pip install 'burst-denoise[web]'")
    import webbrowser

    from burst_denoise.cli.session_console import ended_by_signals
    from burst_denoise.inference.denoiser import DenoiseSettings
    from burst_denoise.session.reader import ReadLimits
    from burst_denoise.web.app import served

    settings = DenoiseSettings(device=device)
    denoisers = session_denoisers(model, profile, [], settings, Console(), strict=False)
    with (
        ended_by_signals("stopped; what visitors gave is deleted"),
        served(denoisers, ReadLimits(max_megapixels), port) as page,
    ):
        show(f"{page.address}: open it in any browser; Ctrl-C ends it")
        if open_page:
            webbrowser.open(page.address)
        page.run()
