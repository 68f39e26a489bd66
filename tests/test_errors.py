"""Errors: one base to catch, and what a failed job tells."""

import inspect

import pytest

from burst_denoise import BurstDenoiseError, errors
from burst_denoise.errors import IncompatibleFramesError, JobError, OutputError, SeriesError, TooFewFramesError

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("cls", CLASSES)
def test_one_base_catches_every_error(cls: type[Exception]):
    assert issubclass(cls, BurstDenoiseError)
    assert cls.__doc__
    assert cls.__name__ in errors.__all__


@pytest.mark.parametrize("cls", CLASSES)
def test_no_error_passes_for_a_programmers_mistake(cls: type[Exception]):
    assert not issubclass(cls, ValueError | TypeError | OSError)


@pytest.mark.parametrize("cls", [IncompatibleFramesError, TooFewFramesError])
def test_frames_that_make_no_burst_are_series_errors(cls: type[Exception]):
    assert issubclass(cls, SeriesError)


def test_a_failed_job_says_what_failed_and_why():
    reason = OutputError("a.dng: exists already")
    error = JobError("1 of 2 files failed", {"a.dng": reason})
    assert str(error) == "1 of 2 files failed"
    assert error.failures == {"a.dng": reason}
