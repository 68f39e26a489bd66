"""The library interface: what the command line does, as functions on objects.

    bursts = bd.ingest("frames/", darks="darks/")
    model = bd.calibrate(bursts, minutes=5)
    bd.denoise(bd.read("shot.dng"), model).save("clean.dng")

Paths may be text or `Path`; where several may be given, one alone will do. Settings are keyword-only.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from burst_denoise.burst.burst import Burst
from burst_denoise.burst.darks import read_darks
from burst_denoise.burst.one_sensor import of_one_sensor
from burst_denoise.burst.series_verdict import SeriesVerdict
from burst_denoise.errors import ConfigError
from burst_denoise.files import absolute, temporary_folder
from burst_denoise.frame import frame as stored_frame
from burst_denoise.inference import denoiser as inference
from burst_denoise.inference.denoiser import DenoiseSettings
from burst_denoise.inference.noise_source import MeasuredNoise, ShotNoise, read_measured_noise
from burst_denoise.io import pairs as io_pairs
from burst_denoise.io.exiftool import exiftool_on_path
from burst_denoise.io.pairs import NoisyCleanPair
from burst_denoise.io.read import read_frame
from burst_denoise.io.write import write_frame
from burst_denoise.jobs import benchmark as benchmark_job
from burst_denoise.jobs import inspect as inspect_job
from burst_denoise.jobs import report as report_job
from burst_denoise.jobs.benchmark import BenchmarkSettings, ScoredMethod
from burst_denoise.jobs.benchmark_pairs import benchmark_pairs
from burst_denoise.jobs.calibrate import calibrate_bursts
from burst_denoise.jobs.ingest import IngestSettings, open_inputs
from burst_denoise.jobs.listener import Listener
from burst_denoise.jobs.merge import merge_burst
from burst_denoise.jobs.profile import SensorProfile, profile_bursts
from burst_denoise.model import model_file
from burst_denoise.model.device import choose_device
from burst_denoise.model.model_file import Model
from burst_denoise.schemas import LONGEST_PAUSE_S, MOST_FRAMES, Quality, TrainSettings
from burst_denoise.score import outputs
from burst_denoise.score.rows import BenchmarkRows

__all__ = [
    "BenchmarkRows",
    "Burst",
    "Denoiser",
    "Frame",
    "Listener",
    "Model",
    "NoisyCleanPair",
    "Outputs",
    "SensorProfile",
    "SeriesVerdict",
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

PathLike = str | Path
Paths = PathLike | Sequence[PathLike]

_temporary_stores: list[TemporaryDirectory[str]] = []
"""Temporary folders of bursts stored without a given folder; removed when the process ends."""


class Frame(stored_frame.Frame):
    """One exposure, as shot or computed: its values ``dn`` and ``linear``, what its file says, its noise profile.

    Examples
    --------
    >>> frame = bd.read("shot.dng")
    >>> frame.info.iso, frame.linear.shape
    (1600.0, (160, 192))
    """

    def save(self, path: PathLike) -> None:
        """Write the frame to a file of the format that its name says.

        Parameters
        ----------
        path : str or Path
            ``.dng`` keeps the mosaic; ``.tif`` and ``.png`` are developed by LibRaw from the file that the frame came
            from, 16 bits. Must not exist.

        Raises
        ------
        OutputError
            If the file exists, cannot be written, or no frame of this kind can become one.

        Examples
        --------
        >>> bd.denoise(bd.read("shot.dng")).save("saved.dng")
        >>> bd.read("saved.dng").info.camera
        'Synthetic APS-C'
        """
        source = self.path if self.path.is_absolute() else None
        with nullcontext() if source is None else exiftool_on_path() as exiftool:
            write_frame(self, Path(path), source, exiftool)

    @classmethod
    def _of(cls, frame: stored_frame.Frame) -> "Frame":
        return cls(frame.dn, frame.info, frame.path, frame.border, frame.notes, frame.noise_reduction)


class Denoiser(inference.Denoiser):
    """What denoises frames of one sensor, made once for many: network, noise source, defects and dark.

    It can be pickled and sent to other processes.

    Parameters
    ----------
    model : Model, optional
        From `calibrate` or `load_model`. Without it the network that comes with the package serves, for raw frames and
        pictures of 16 bits in linear light.
    profile : SensorProfile or path, optional
        Without a model: the noise of the sensor, from `profile` or a file that it saved. By default the noise comes
        from the frame's ``NoiseProfile`` tag or the frame itself.
    darks : path or sequence of paths
        Dark frames, files or folders: their mean is subtracted from frames of equal sensor, ISO and exposure, their
        defects are repaired beside those that the model knows.
    strength : float
        1 denoises fully, 0 gives the frame back as it is.
    quality : "draft", "fast" or "best"
        Which of the networks that come with the package serves without a model: a larger one is better and slower. For
        monochrome and RGB frames there is fast alone.
    augment : bool
        Average over eight flips and rotations: a little better, eight times slower.
    any_sensor : bool
        Let model, profile and darks serve a frame of another sensor or ISO.

    Examples
    --------
    >>> denoiser = bd.Denoiser(bd.load_model("my_camera.safetensors"))
    >>> denoiser(bd.read("shot.dng")).save("denoised.dng")
    """

    def __init__(
        self,
        model: Model | None = None,
        *,
        profile: SensorProfile | PathLike | None = None,
        darks: Paths = (),
        strength: float = 1.0,
        quality: Quality = "fast",
        augment: bool = False,
        any_sensor: bool = False,
    ) -> None:
        settings = DenoiseSettings(strength=strength, quality=quality, augment=augment, any_sensor=any_sensor)
        super().__init__(model, _measured_noise(profile), read_darks(_paths(darks)), settings)

    def __call__(
        self, frame: stored_frame.Frame, burst: Burst | None = None, estimated: ShotNoise | None = None
    ) -> Frame:
        """Return a frame denoised: dark subtracted, defects repaired, noise taken away; see `denoise`."""
        return Frame._of(super().__call__(frame, burst, estimated))


class Outputs(outputs.Outputs):
    """A folder of files that another program made of frames: a method for `benchmark`.

    Parameters
    ----------
    folder : str or Path
        An output is named as its frame, with or without an ending (``IMG_12-denoised.dng`` of ``IMG_12.CR2``); outputs
        of several bursts lie in sub-folders named as those. Of raw frames they are mosaic DNGs, of pictures PNG, TIFF
        or JPEG of 8 or 16 bits. Brightness is not evened out.

    Examples
    --------
    >>> theirs = bd.Outputs("denoised_elsewhere/")
    >>> rows = bd.benchmark(bd.read_pairs("pairs/"), {"theirs": theirs})
    >>> rows[-1]["method"], rows[-1]["true_psnr_db"] > rows[0]["true_psnr_db"] + 8
    ('theirs', True)
    """

    def __init__(self, folder: PathLike) -> None:
        super().__init__(Path(folder))


def read(path: PathLike) -> Frame:
    """Read one raw or picture file.

    Parameters
    ----------
    path : str or Path
        DNG, CR2, NEF, ARW, ... with a Bayer mosaic; PNG, TIFF, JPEG or BMP.

    Raises
    ------
    InputFileError
        If the file is missing, damaged or not supported.

    Examples
    --------
    >>> bd.read("shot.dng").info.cfa
    'RGGB'
    """
    return Frame._of(read_frame(absolute(Path(path))))


def read_pairs(folder: PathLike) -> list[NoisyCleanPair]:
    """Find the pairs of noisy and clean pictures in a folder; they are decoded when asked for.

    Parameters
    ----------
    folder : str or Path
        Laid out as CC60, PolyU, SIDD (sRGB) or RENOIR are, or with two folders in it, ``noisy`` and ``clean`` (or
        ``reference``, ``gt``, ``mean``), whose files are called the same.

    Returns
    -------
    list of NoisyCleanPair
        With ``name``, ``scene``, and the frames ``noisy`` and ``clean``.

    Raises
    ------
    InputFileError
        If the layout is unknown, a file lacks its partner, or two sizes differ.

    Examples
    --------
    >>> for pair in bd.read_pairs("pairs/"):
    ...     print(pair.name, pair.scene, pair.noisy.linear.shape)
    table_1 table_1 (3, 64, 80)
    """
    return io_pairs.read_pairs(Path(folder))


def inspect(
    inputs: Paths,
    *,
    limit: int = MOST_FRAMES,
    pause_s: float = LONGEST_PAUSE_S,
    listener: Listener = Listener(),
) -> list[SeriesVerdict]:
    """Judge every series of frames: which are usable, and why the others are not.

    Parameters
    ----------
    inputs : path or sequence of paths
        Files, folders (searched recursively) and stored bursts.
    limit : int
        Frames of a series looked at.
    pause_s : float
        Longest pause within a series, seconds; a longer one begins another.
    listener : Listener
        Hears each verdict as soon as it is known, and of files that cannot be read, which are left out.

    Raises
    ------
    InputFileError, BurstStoreError
        If an input is missing or of no known kind, or if there is one file, or a stored burst, and it is damaged.

    Examples
    --------
    >>> for verdict in bd.inspect("frames/"):
    ...     print(verdict.series, [(f.file, f.reasons) for f in verdict.frames if not f.accepted])
    frames [('frame_004.dng', ('shift',))]
    """
    settings = IngestSettings(limit, pause_s=pause_s)
    return inspect_job.inspect(_paths(inputs), settings, listener).verdicts


def ingest(
    inputs: Paths,
    *,
    darks: Paths = (),
    store: PathLike | None = None,
    limit: int = MOST_FRAMES,
    pause_s: float = LONGEST_PAUSE_S,
    any_sensor: bool = False,
    listener: Listener = Listener(),
) -> list[Burst]:
    """Judge every series of frames of one sensor and return the accepted ones as bursts.

    Parameters
    ----------
    inputs : path or sequence of paths
        Files, folders (searched recursively) and stored bursts.
    darks : path or sequence of paths
        Dark frames: their defects are repaired in all bursts, their mean is subtracted where ISO and exposure agree.
        Those among the inputs serve so without being named.
    store : path, optional
        Folder to keep the bursts in; without it they lie in a temporary folder and go with the process.
    limit : int
        Frames of a series used at most: sensors warm up in long bursts.
    pause_s : float
        Longest pause within a series, seconds; a longer one begins another.
    any_sensor : bool
        Let dark frames serve raw files that do not name their camera.
    listener : Listener
        Hears the verdict on each series, which files are left out, and of dark frames among the shots.

    Returns
    -------
    list of Burst
        Noise profiles fitted to all bursts of an ISO together, defects shared.

    Raises
    ------
    SeriesError
        If no series is accepted, or the frames are of several sensors.
    BurstDenoiseError
        Whatever else is wrong with the inputs, or the store.

    Examples
    --------
    >>> (burst,) = bd.ingest("frames/", darks="darks/")
    >>> len(burst), burst.info.iso
    (4, 1600.0)
    """
    if store is None:
        _temporary_stores.append(temporary_folder())
        store = _temporary_stores[-1].name
    settings = IngestSettings(limit, any_sensor, pause_s=pause_s)
    opened = open_inputs(_paths(inputs), Path(store), read_darks(_paths(darks)), settings, listener)
    return of_one_sensor(opened.bursts)


def profile(
    bursts: Sequence[Burst],
    *,
    darks: Paths = (),
    flats: Paths = (),
    any_sensor: bool = False,
    listener: Listener = Listener(),
) -> SensorProfile:
    """Calibrate a sensor: gain, read and row noise, fixed pattern and defects, with 95 % intervals and a verdict.

    Parameters
    ----------
    bursts : sequence of Burst
        Of one sensor, at one or several ISOs.
    darks, flats : path or sequence of paths
        Dark frames settle the noise at black, DSNU and the defects; frames of an evenly lit surface settle PRNU.
    any_sensor : bool
        Let them serve raw files that do not name their camera.
    listener : Listener
        Hears what is rough.

    Returns
    -------
    SensorProfile
        Its ``channels`` hold the values, and ``usable`` and ``reasons``; ``save`` writes them as JSON.

    Raises
    ------
    BurstDenoiseError
        If darks or flats are not usable, or the noise cannot be measured.

    Examples
    --------
    >>> sensor = bd.profile(bd.ingest("frames/"))
    >>> [channel.channel for channel in sensor.channels]
    ['R', 'G1', 'G2', 'B']
    """
    with temporary_folder() as folder:
        sets = read_darks(_paths(darks), keep=Path(folder))
        settings = IngestSettings(any_sensor=any_sensor)
        return profile_bursts(of_one_sensor(bursts), sets, _paths(flats), settings, listener)


def calibrate(
    bursts: Sequence[Burst],
    *,
    minutes: float | None = None,
    steps: int | None = None,
    quality: Quality = "fast",
    seed: int = 0,
    device: str = "auto",
    listener: Listener = Listener(),
) -> Model:
    """Make a model of a sensor from tripod bursts.

    Parameters
    ----------
    bursts : sequence of Burst
        Of one sensor, from `ingest`.
    minutes : float, optional
        Training time at most; 5 if there are no ``steps`` either. Training from the network that comes with the package
        stops when nothing is gained any more.
    steps : int, optional
        Training steps at most instead: reproducible to the bit on one machine.
    quality : "draft", "fast" or "best"
        Size of the network: a larger one is better and slower, to train and to denoise.
    seed : int
        Decides everything that is random.
    device : "auto", "cpu", "cuda" or "mps"
    listener : Listener
        Hears where the training stands, after every step.

    Returns
    -------
    Model
        ``save`` writes it to a file; ``verdict`` says whether calibrating pays. Where it does not, the model is the
        network that comes with the package, with the noise and the defects of the sensor.

    Raises
    ------
    ConfigError, SeriesError
        If both budgets are given, or no network can learn from these bursts.

    Examples
    --------
    >>> model = bd.calibrate(bd.ingest("frames/"), steps=1)
    >>> model.save("new_model.safetensors")
    """
    if minutes is None and steps is None:
        minutes = 5.0
    given = {"preset": quality, "minutes": minutes, "steps": steps, "seed": seed}
    settings = TrainSettings.parse(json.dumps(given), "calibrate")
    with temporary_folder() as folder:
        checkpoint = Path(folder) / "checkpoint.safetensors"
        return calibrate_bursts(of_one_sensor(bursts), settings, choose_device(device), checkpoint, listener)


def load_model(path: PathLike, *, device: str = "auto") -> Model:
    """Read a model file.

    Parameters
    ----------
    path : str or Path
    device : "auto", "cpu", "cuda" or "mps"
        Where it will compute.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged or no model.
    DeviceError
        If there is no such device.

    Examples
    --------
    >>> bd.load_model("my_camera.safetensors").header.camera
    'Synthetic APS-C'
    """
    return model_file.load_model(Path(path), choose_device(device))


def denoise(
    frame: stored_frame.Frame,
    model: Model | Denoiser | None = None,
    *,
    profile: SensorProfile | PathLike | None = None,
    darks: Paths = (),
    strength: float = 1.0,
    quality: Quality = "fast",
    any_sensor: bool = False,
) -> Frame:
    """Return a frame denoised; the defects and the dark of its sensor, where they are known, are taken care of.

    Parameters
    ----------
    frame : Frame
        From `read`; not modified. For a frame of a burst, call a `Denoiser` with the burst too, whose dark and defects
        are then taken care of.
    model : Model or Denoiser, optional
        Without it the network that comes with the package serves, for raw frames and pictures of 16 bits in linear
        light. For many frames make a `Denoiser` once; it has its settings, and those here are not asked.
    profile, darks, strength, quality, any_sensor
        As for `Denoiser`.

    Returns
    -------
    Frame
        float32 DN, neither rounded nor clipped; ``save`` writes it.

    Raises
    ------
    ModelFileError
        If the model does not serve the frame's sensor or ISO.
    ConfigError
        If the profile does not.
    InputFileError
        If the frame is a result itself, or its noise must be estimated from it and it cannot tell.

    Examples
    --------
    >>> clean = bd.denoise(bd.read("shot.dng"), bd.load_model("my_camera.safetensors"), darks="darks/")
    >>> clean.save("clean.dng")
    """
    if isinstance(model, Denoiser):
        return model(frame)
    denoiser = Denoiser(model, profile=profile, darks=darks, strength=strength, quality=quality, any_sensor=any_sensor)
    return denoiser(frame)


def merge(
    burst: Burst,
    model: Model | Denoiser | None = None,
    *,
    denoise: bool = True,
    listener: Listener = Listener(),
) -> Frame:
    """Merge the frames of a burst to one, with what a single frame alone shows left out, and denoise the mean.

    Parameters
    ----------
    burst : Burst
        From `ingest`; its dark is subtracted, its gains are evened out and its defects repaired.
    model : Model or Denoiser, optional
        Without it the network that comes with the package serves, for raw frames and pictures of 16 bits in linear
        light; the mean of developed pictures stays as it is.
    denoise : bool
        Denoise the mean, as one of so many frames.
    listener : Listener
        Hears of frames of which a part is left out.

    Returns
    -------
    Frame
        With the noise profile of what is left.

    Raises
    ------
    ModelFileError
        If the model does not serve the burst's sensor or ISO.

    Examples
    --------
    >>> (burst,) = bd.ingest("frames/")
    >>> bd.merge(burst).save("merged.dng")
    >>> mean = bd.merge(burst, denoise=False)
    >>> round(burst.profile.shot_noise_scale[0] / mean.noise_profile.shot_noise_scale[0])
    4
    """
    denoiser = model if isinstance(model, Denoiser) else Denoiser(model)
    return Frame._of(merge_burst(burst, denoiser if denoise else None, listener=listener))


def benchmark(
    bursts: Sequence[Burst] | Sequence[NoisyCleanPair],
    methods: Mapping[str, ScoredMethod] | None = None,
    *,
    tune_on: Sequence[Burst] | Sequence[NoisyCleanPair] = (),
    flats: Paths = (),
    frames: int = 3,
    any_sensor: bool = False,
    listener: Listener = Listener(),
) -> BenchmarkRows:
    """Score methods beside OpenCV NLM, other classical baselines, averaging and the prior; no clean picture is needed.

    Parameters
    ----------
    bursts : sequence of Burst or of NoisyCleanPair
        Bursts of one sensor, from `ingest`, which need no clean picture, or pairs from `read_pairs`; none that a model
        was trained on.
    methods : mapping from name to method
        A `Model`, `Outputs` of another program, or any callable (image, frame) -> image: the image, linear float32
        (H, W) or (3, H, W), of the shape it returns; the frame that it is of, which carries mosaic, white balance and
        the noise profile of the burst or pair.
    tune_on : sequence of Burst or of NoisyCleanPair
        Others like those to tune the baselines on. By default those for bursts are as tuned when the first model of
        their sensor was made; without such a model, and for pairs always, they are tuned on what is scored, which
        favours them.
    flats : path or sequence of paths
        Frames of an evenly lit surface by the bursts' sensor: the uneven response that they show is taken out of the
        frames that judge. Without them it widens the bracket of the corrected PSNR. Pairs need none.
    frames : int
        Frames scored per burst and method, chosen at random, the same ones every time; a pair has one.
    any_sensor : bool
        Score models on the bursts of other sensors too.
    listener : Listener
        Hears what a reader of the rows must know.

    Returns
    -------
    BenchmarkRows
        A list of dictionaries, one a method and burst or pair, with ``to_csv``, ``to_latex`` and, over the bursts or
        pairs, ``mean``.

    Raises
    ------
    ConfigError
        If bursts and pairs are mixed, flats are given with pairs, or a method is called as a row of the benchmark's
        own.
    ModelFileError
        If a model fits none of the bursts or pairs.
    TooFewFramesError
        If a burst has fewer than three frames.
    InputFileError
        If outputs do not fit the frames.
    TypeError
        If something else than bursts and pairs is given, such as paths.

    Examples
    --------
    >>> bursts = bd.ingest("frames/")
    >>> rows = bd.benchmark(bursts, {"half": lambda image, frame: image / 2}, frames=1)
    >>> half = next(row for row in rows if row["method"] == "half")
    >>> half["corrected_psnr_db"] < rows[0]["corrected_psnr_db"]
    True
    """
    settings = BenchmarkSettings(frames=frames, any_sensor=any_sensor, flats=_paths(flats))
    scored = methods or {}
    for argument, given in (("bursts", bursts), ("tune_on", tune_on)):
        for one in given:
            if not isinstance(one, Burst | NoisyCleanPair):
                raise TypeError(
                    f"{argument}: holds {one!r}, neither a Burst nor a NoisyCleanPair; give what ingest or read_pairs "
                    "returns"
                )
    pairs, tuning_pairs = ([one for one in given if isinstance(one, NoisyCleanPair)] for given in (bursts, tune_on))
    own, tuning = ([one for one in given if isinstance(one, Burst)] for given in (bursts, tune_on))
    if (pairs or tuning_pairs) and (own or tuning):
        raise ConfigError("bursts and noisy/clean pairs are mixed; score each kind by itself, tuned on its own kind")
    if pairs:
        if settings.flats:
            raise ConfigError("flats are for bursts; the clean picture of a pair is its reference")
        return BenchmarkRows.of(benchmark_pairs(pairs, scored, tuning_pairs, settings, listener))
    own = of_one_sensor(own)
    benchmark_job.check_methods(scored, own, settings)
    matched = benchmark_job.matched_outputs(scored, own)
    strengths = benchmark_job.strengths_for(own, tuning, scored, listener)
    return BenchmarkRows.of(benchmark_job.benchmark_bursts(own, matched, strengths, settings, listener))


def report(
    inputs: Paths,
    path: PathLike,
    *,
    models: Mapping[str, Model] | None = None,
    tune_on: Paths = (),
    darks: Paths = (),
    flats: Paths = (),
    listener: Listener = Listener(),
) -> None:
    """Write one HTML page: verdicts on the frames, the sensor, scores with intervals, crops before and after.

    Parameters
    ----------
    inputs : path or sequence of paths
        Frames, folders or stored bursts of one sensor, which no model was trained on.
    path : str or Path
        HTML file to write; must not exist.
    models : mapping from name to Model
        May be empty; the headline is about the first.
    tune_on : path or sequence of paths
        Other bursts of the sensor to tune the baselines on.
    darks, flats : path or sequence of paths
        As for `profile`.
    listener : Listener

    Raises
    ------
    OutputError
        If the file exists or cannot be written.
    BurstDenoiseError
        Whatever is wrong with the inputs.

    Examples
    --------
    >>> bd.report("frames/", "report.html")
    """
    sources = report_job.ReportSources(_paths(inputs), _paths(tune_on), _paths(darks), _paths(flats))
    report_job.report(sources, Path(path), models or {}, BenchmarkSettings(), "", listener)


def _paths(given: Paths) -> list[Path]:
    return [Path(given)] if isinstance(given, str | Path) else [Path(path) for path in given]


def _measured_noise(profile: SensorProfile | PathLike | None) -> MeasuredNoise | None:
    if profile is None:
        return None
    if isinstance(profile, SensorProfile):
        return MeasuredNoise.of(profile.channels, "the sensor profile", Listener().note)
    return read_measured_noise(Path(profile), Listener().note)
