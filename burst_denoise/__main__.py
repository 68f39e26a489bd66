"""``python -m burst_denoise``: the command line."""

from burst_denoise.cli.app import main

main()
