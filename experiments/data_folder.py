"""Where the data of the experiments lie: in `BURST_DENOISE_DATA`, or in ``shared/data`` beside the project."""

import os
from pathlib import Path

__all__ = ["DATA"]

DATA = Path(os.environ.get("BURST_DENOISE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
