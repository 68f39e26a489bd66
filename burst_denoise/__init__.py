"""burst_denoise: tripod RAW bursts in, a denoiser calibrated to one camera sensor out, with proof of what it gains.

    import burst_denoise as bd

    bursts = bd.ingest("frames/", darks="darks/")    # checked, stored, noise profile fitted
    model = bd.calibrate(bursts, minutes=5)          # model.save("my_camera.safetensors")
    bd.denoise(bd.read("shot.dng"), model).save("clean.dng")

The subpackages, in the order in which data flows: `frame` (one exposure), `sensor` (what a sensor adds) beside `io`
(foreign formats), `burst` (files to accepted bursts), `score` (honest numbers), `model` (bursts to a model) beside
`reporting`, `inference` (a model and a frame to a clean frame), `session` (many shots), `jobs` (whole jobs), and the
interfaces `web`, `cli` and `api`. Each imports only from those before it. Names are loaded when first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from burst_denoise.errors import (
    BurstDenoiseError,
    BurstStoreError,
    ConfigError,
    DeviceError,
    IncompatibleFramesError,
    InputFileError,
    JobError,
    ModelFileError,
    OutputError,
    SeriesError,
    TooFewFramesError,
)

if TYPE_CHECKING:
    from burst_denoise.api import (
        BenchmarkRows,
        Burst,
        Denoiser,
        Frame,
        Listener,
        Model,
        NoisyCleanPair,
        Outputs,
        SensorProfile,
        SeriesVerdict,
        benchmark,
        calibrate,
        denoise,
        ingest,
        inspect,
        load_model,
        merge,
        profile,
        read,
        read_pairs,
        report,
    )

__all__ = [
    "BenchmarkRows",
    "Burst",
    "BurstDenoiseError",
    "BurstStoreError",
    "ConfigError",
    "Denoiser",
    "DeviceError",
    "Frame",
    "IncompatibleFramesError",
    "InputFileError",
    "JobError",
    "Listener",
    "Model",
    "ModelFileError",
    "NoisyCleanPair",
    "OutputError",
    "Outputs",
    "SensorProfile",
    "SeriesError",
    "SeriesVerdict",
    "TooFewFramesError",
    "__version__",
    "benchmark",
    "calibrate",
    "denoise",
    "ingest",
    "inspect",
    "load_model",
    "merge",
    "profile",
    "read",
    "read_pairs",
    "report",
]
__version__ = "0.8.2"


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("burst_denoise.api"), name)


def __dir__() -> list[str]:
    return __all__
