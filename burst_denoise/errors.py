"""Every error a user can cause, in one tree.

Catch `BurstDenoiseError` to catch them all; a programmer's mistake stays a ``ValueError`` or ``TypeError``.
Every message is one line: what was found, what was needed, what to do; the file is named in it.

    BurstDenoiseError
      ConfigError                 a setting or document with an unknown key, a wrong type or range
      InputFileError              a RAW, picture or video file: missing, empty, damaged, unsupported
      SeriesError                 the frames do not make a burst
        IncompatibleFramesError   camera, size, CFA, exposure or levels differ
        TooFewFramesError         too few frames, before or after quality checks
      BurstStoreError             a stored burst: damaged, or of another format version
      ModelFileError              a model file: damaged, of another format, or of another sensor
      DeviceError                 no such device, or out of memory
      OutputError                 would overwrite, or cannot write
      JobError                    some items of a job failed, the rest is done
"""

__all__ = [
    "BurstDenoiseError",
    "BurstStoreError",
    "ConfigError",
    "DeviceError",
    "IncompatibleFramesError",
    "InputFileError",
    "JobError",
    "ModelFileError",
    "OutputError",
    "SeriesError",
    "TooFewFramesError",
]


class BurstDenoiseError(Exception):
    """Something the user can put right; the message says how."""


class ConfigError(BurstDenoiseError):
    """A setting or a document has an unknown key, or a value of the wrong type or range."""


class InputFileError(BurstDenoiseError):
    """A RAW, picture or video file is missing, empty, damaged or not supported."""


class SeriesError(BurstDenoiseError):
    """The frames given do not make a burst."""


class IncompatibleFramesError(SeriesError):
    """Frames differ in camera, size, CFA, exposure or levels; the message names two of the files."""


class TooFewFramesError(SeriesError):
    """Too few frames are left to calibrate from; the message says how many and why the others fell out."""


class BurstStoreError(BurstDenoiseError):
    """A stored burst is damaged or of another format version."""


class ModelFileError(BurstDenoiseError):
    """A model file is damaged, of another format version, or belongs to another sensor."""


class DeviceError(BurstDenoiseError):
    """The compute device does not exist or has too little memory."""


class OutputError(BurstDenoiseError):
    """An output exists already, or cannot be written."""


class JobError(BurstDenoiseError):
    """Some items of a job failed while the rest was done; ``failures`` maps each item to its error."""

    def __init__(self, message: str, failures: dict[str, BurstDenoiseError]) -> None:
        super().__init__(message)
        self.failures = failures
