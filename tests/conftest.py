"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real and simulated bursts; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("BURST_DENOISE_DATA", PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no test data: {folder} is not there; set BURST_DENOISE_DATA to the folder that holds it")
    return folder
