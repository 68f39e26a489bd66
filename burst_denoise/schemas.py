"""The documents that cross a process boundary: what is stored in bursts, models and JSON lines.

All are frozen, refuse unknown keys and carry their format version where they are a file of their own.
What stays inside one process is a frozen dataclass in the subpackage it belongs to.
"""

import json
import math
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from burst_denoise.errors import ConfigError

__all__ = [
    "LONGEST_PAUSE_S",
    "MOST_FRAMES",
    "PLANES",
    "BurstManifest",
    "ChannelProfile",
    "DngTag",
    "Document",
    "Domain",
    "Estimate",
    "FrameInfo",
    "FrameVerdict",
    "ModelHeader",
    "NetworkPreset",
    "NoiseEntry",
    "NoiseMeasurement",
    "NoiseProfile",
    "NoiseStructure",
    "Quality",
    "Reason",
    "ShotEntry",
    "TagDirectory",
    "TrainSettings",
    "TrainingRecord",
]

Domain = Literal["bayer", "mono", "rgb"]
BayerPhase = Literal["RGGB", "GRBG", "GBRG", "BGGR"]
Reason = Literal["shift", "light", "motion", "focus", "saturation", "incompatible"]
Quality = Literal["draft", "fast", "best"]
NetworkPreset = Literal[Quality, "paper"]
TagDirectory = Literal["image", "exif", "gps"]

MOST_FRAMES = 20
"""Frames of a series used at most by default: a sensor warms up in a long burst, and its noise with it."""
LONGEST_PAUSE_S = 60.0
"""A longer pause between two frames, exposures apart, is a new series: light and scene have had time to change."""
WIDEST_GAIN = 100.0
"""Factor that the brightness of an accepted frame is nowhere near: others are rejected."""
BYTE_WHITE = 255
"""White level of a picture of 8 bits."""
PLANES = {"bayer": 4, "rgb": 3, "mono": 1}
"""Number of planes of a frame of each domain."""

Size = Annotated[int, Field(gt=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Exposure = Annotated[float, Field(gt=0, lt=1e9)]
"""ISO, seconds or f-number."""
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

TILE = 832
"""Photosites along a side of a tile: with 1,024 the margin costs less, but layers leave the cache: a sixth slower."""


class Document(BaseModel):
    """A frozen, closed document."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)

    DROPPED: ClassVar[frozenset[str]] = frozenset()
    """Fields of earlier versions: read and ignored."""

    @model_validator(mode="before")
    @classmethod
    def _without_dropped(cls, found: object) -> object:
        if isinstance(found, dict):
            return {name: value for name, value in found.items() if name not in cls.DROPPED}
        return found

    @classmethod
    def parse(cls, text: str | bytes, name: str) -> Self:
        """Read the document from JSON text; ``name`` is the file that a `ConfigError` will name."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "document"
            raise ConfigError(f"{name}: {place}: {first['msg']}") from error

    def to_json(self) -> str:
        """Return the document as indented JSON text with a final newline."""
        return json.dumps(self.model_dump(mode="json"), indent=1) + "\n"


RATIONALS = (5, 10)
"""TIFF field types of two numbers each, unsigned and signed."""


class DngTag(Document):
    """One TIFF tag copied from a source file to the denoised one (colour matrices, lens, place, ...)."""

    directory: TagDirectory = "image"
    """Where it stands: beside the image, or in the Exif or GPS directory; a number means another thing in each."""
    code: int
    dtype: int
    """TIFF field type: `burst_denoise.io.tags.FieldType`."""
    count: int
    value: tuple[int, ...] | tuple[float, ...] | str
    """Numbers as stored (rationals as numerator, denominator, ...), or text; bytes as numbers."""

    @property
    def numbers(self) -> tuple[float, ...]:
        """The numbers that it stands for, rationals divided; none where it is a text, or one of them is not finite."""
        if isinstance(self.value, str):
            return ()
        if self.dtype not in RATIONALS:
            numbers = tuple(map(float, self.value))
        elif 0 in self.value[1::2]:
            return ()
        else:
            numbers = tuple(a / b for a, b in zip(self.value[::2], self.value[1::2], strict=False))
        return numbers if all(map(math.isfinite, numbers)) else ()


class FrameInfo(Document):
    """What a file says about a frame, pixels apart."""

    domain: Domain
    camera: str | None
    """Make and model, or None where the file does not say."""
    cfa: BayerPhase | None
    """Colours of the 2x2 photosites at the top left of the active area, row by row ("RGGB"); None if no mosaic."""
    height: int = Field(gt=0)
    """Photosites of the active area, rows."""
    width: int = Field(gt=0)
    black_level: tuple[FiniteFloat, ...]
    """DN per plane as `burst_denoise.frame.mosaic.Mosaic.pack` orders them: R, G1, G2, B; R, G, B; or one."""
    white_level: FiniteFloat
    """DN at which a photosite is saturated."""
    iso: Exposure | None = None
    exposure_s: Exposure | None = None
    f_number: Exposure | None = None
    taken_at: FiniteFloat | None = None
    """Seconds since 1970 by the camera's clock."""
    tone_curve: bool = False
    """Whether the file says that its values are not linear in light."""
    orientation: int = Field(default=1, ge=1, le=8)
    """Exif orientation of the stored rows."""
    as_shot_neutral: tuple[Positive, Positive, Positive] | None = None
    """DNG AsShotNeutral: the R, G, B of a neutral patch, green 1."""
    dng_tags: tuple[DngTag, ...] = ()
    """Colour and lens tags to carry over to a DNG made from this frame."""
    noise_profile: "NoiseProfile | None" = None
    """DNG NoiseProfile of the file, as its maker or another program put it there; of this frame as shot, so it is not
    carried over."""

    @model_validator(mode="after")
    def _levels_fit(self) -> Self:
        _refuse_mosaic(self.domain, self.cfa)
        _refuse_levels(self.domain, self.black_level, self.white_level)
        if self.noise_profile is not None and self.noise_profile.planes != PLANES[self.domain]:
            raise ValueError(f"a noise profile of {self.noise_profile.planes} planes for a frame of {self.domain}")
        return self

    @property
    def developed(self) -> bool:
        """Whether it is a developed picture: the file says so, or has 8 bits, too few for linear light."""
        return self.cfa is None and (self.tone_curve or self.white_level <= BYTE_WHITE)

    @property
    def developed_in_colour(self) -> bool:
        """Whether it is a developed picture in colour: filtered, so that its noise is alike over pixels and colours."""
        return self.domain == "rgb" and self.developed

    @property
    def exposure_in_words(self) -> str:
        """ISO and exposure time, as in "ISO 1600 at 1/50 s"; what is unknown is called so."""
        iso = "unknown ISO" if self.iso is None else f"ISO {self.iso:g}"
        if self.exposure_s is None:
            return f"{iso} at unknown exposure"
        parts = round(1 / self.exposure_s) if 0 < self.exposure_s < 0.4 else 0
        whole = parts and abs(parts * self.exposure_s - 1) < 0.01
        return f"{iso} at {f'1/{parts}' if whole else f'{self.exposure_s:g}'} s"


class FrameVerdict(Document):
    """What the quality checks found about one frame of a series."""

    file: str
    accepted: bool
    reasons: tuple[Reason, ...]
    gain: float | None
    """Brightness relative to the series (1 = the same)."""
    plane_gains: tuple[float, ...] | None = None
    """The same of each plane, because the colour of light drifts too; None in bursts of version 0.4 and earlier, and
    where it is too dark to tell."""
    shift_px: float | None
    """Distance that its centre moved against the series, photosites."""
    detail: str = ""
    """The finding in words, for people."""

    def divisors(self, planes: int) -> tuple[float, ...]:
        """Return what the planes of the frame are divided by to be as bright as the series."""
        return self.plane_gains or (self.gain or 1.0,) * planes


class NoiseProfile(Document):
    """Noise variance of one sensor at one ISO, per plane: variance = S x + O at linear value x."""

    DROPPED: ClassVar[frozenset[str]] = frozenset({"row_noise_variance"})

    iso: Positive | None
    shot_noise_scale: tuple[NotNegative, ...]
    """S of the DNG NoiseProfile, linear units; its value in DN is the gain in DN per electron."""
    read_noise_variance: tuple[FiniteFloat, ...]
    """O of the DNG NoiseProfile, linear units squared; may come out negative from a fit on unsubtracted black."""

    @model_validator(mode="after")
    def _planes_fit(self) -> Self:
        if len(self.read_noise_variance) != self.planes:
            raise ValueError(
                f"{self.planes} shot noise scales and {len(self.read_noise_variance)} read noise variances"
            )
        return self

    @property
    def planes(self) -> int:
        """How many planes it is of."""
        return len(self.shot_noise_scale)

    def of_plane(self, plane: int) -> Self:
        """Return the profile of one plane alone."""
        scale, variance = self.shot_noise_scale[plane], self.read_noise_variance[plane]
        return self.model_copy(update={"shot_noise_scale": (scale,), "read_noise_variance": (variance,)})

    @property
    def colours(self) -> tuple[tuple[float, float], ...]:
        """S and O of red, green and blue of a mosaic: the DNG tag knows one green, so those of both are averaged."""
        red, (s1, o1), (s2, o2), blue = zip(self.shot_noise_scale, self.read_noise_variance, strict=True)
        return red, ((s1 + s2) / 2, (o1 + o2) / 2), blue


class NoiseMeasurement(Document):
    """What one static stack of frames says about noise: enough to fit it again together with other stacks."""

    DROPPED: ClassVar[frozenset[str]] = frozenset({"row_noise_variance"})

    bins: tuple[tuple[tuple[FiniteFloat, FiniteFloat, NotNegative], ...], ...]
    """Per plane, per bin: mean linear value, temporal variance there, number of photosites."""


class NoiseStructure(Document):
    """What noise has beside its variance; in units of the standard deviation that a noise profile tells."""

    correlation: FiniteFloat
    """Largest correlation with the noise of a neighbouring photosite, of any colour or the next of the same."""
    row_noise: NotNegative
    """Standard deviation of what all photosites of a row share in a frame."""
    column_noise: NotNegative
    excess_kurtosis: FiniteFloat
    """0 for Gaussian noise; heavy tails are above."""
    black_error_dn: FiniteFloat = 0.0
    """True black level minus that of the files, DN, where frames contradict it; else 0."""


class Estimate(Document):
    """A measured value between the ends of its 95 % interval."""

    value: float
    low: float
    high: float


class ChannelProfile(Document):
    """What `profile` found out about one channel of a sensor at one ISO; null is what the given frames cannot tell."""

    camera: str | None
    iso: Positive | None
    channel: str
    """R, G1 (green in the rows of red), G2, B of a mosaic; R, G, B of a picture; mono."""
    gain_dn_per_e: FiniteFloat
    gain_dn_per_e_interval: tuple[float, float]
    """Every interval here holds the true value in 95 of 100 measurements."""
    read_noise_std_dn: float
    """Standard deviation of one photosite in the dark, row, column and quantisation noise included."""
    read_noise_std_dn_interval: tuple[float, float]
    row_noise_std_dn: float
    """What all photosites of a row share, redrawn in every frame."""
    row_noise_std_dn_interval: tuple[float, float]
    column_noise_std_dn: float
    column_noise_std_dn_interval: tuple[float, float]
    prnu_percent: float | None
    """Photo-response non-uniformity: standard deviation of the photosites' sensitivities."""
    prnu_percent_interval: tuple[float, float] | None
    dsnu_e: float | None
    """Dark signal non-uniformity: standard deviation of the photosites' dark offsets, electrons."""
    dsnu_e_interval: tuple[float, float] | None
    residual_dsnu_e: float | None = Field(default=None, alias="dsnu_left_e")
    """What is expected to remain of it in a frame from which the master dark was subtracted; null without darks."""
    noise_correlation: float
    """Correlation of the noise of neighbouring photosites of this channel; 0 for raw data."""
    defects: int
    """Hot, dead and flickering photosites found."""
    shot_noise_scale: FiniteFloat
    """S of the DNG NoiseProfile: variance = S x + O in linear units."""
    read_noise_variance: FiniteFloat
    """O of the DNG NoiseProfile."""
    black_level_dn: FiniteFloat
    white_level_dn: FiniteFloat
    frames: int
    usable: bool
    reasons: tuple[str, ...]
    """Why it is not usable, or what to beware of, in words."""


class BurstManifest(Document):
    """The ``burst.json`` of a stored burst: the accepted frames of one scene and how they came about."""

    format: Literal[1] = 1
    series: str
    info: FrameInfo
    mu: FiniteFloat
    """Mean of the deviations e_k of the accepted frames."""
    sigma: FiniteFloat
    """Standard deviation of e_k; the source paper accepts a series up to 0.007."""
    frames: tuple[FrameVerdict, ...]
    """All frames of the series; the accepted ones are stored, in this order."""
    black_levels: tuple[tuple[FiniteFloat, ...], ...]
    """Black levels of each stored frame, DN per plane: some cameras measure them anew for every shot."""
    sha256: tuple[str, ...] = Field(min_length=1)
    """One per stored frame array, in order."""
    noise: NoiseMeasurement
    profile: NoiseProfile
    """Fitted to this burst alone."""
    defects_sha256: str | None = None
    """Digest of the stored map of defective photosites; None where none was looked for."""
    dark_sha256: str | None = None
    """Digest of the stored offset image that is subtracted from every frame; None where there were no dark frames."""
    sum_sha256: str | None = None
    """Digest of the stored sum; None in bursts of version 0.4 and earlier, as those of the other two images."""
    saturated_sha256: str | None = None
    """Digest of the stored map of saturated photosites."""
    clean_sha256: str | None = None
    """Digest of the stored clean image; None, too, where there is none."""
    version: str
    """Version of burst_denoise that wrote it."""

    @model_validator(mode="after")
    def _frames_fit(self) -> Self:
        planes = PLANES[self.info.domain]
        gains = [frame.divisors(planes) for frame in self.frames if frame.accepted]
        if not len(self.sha256) == len(self.black_levels) == len(gains):
            raise ValueError("accepted frames, black levels and digests differ in number")
        for black in self.black_levels:
            _refuse_levels(self.info.domain, black, self.info.white_level)
        if {len(self.noise.bins), self.profile.planes, *map(len, gains)} != {planes}:
            raise ValueError(f"gains or noise of other than the {planes} planes of a frame of {self.info.domain}")
        if not all(1 / WIDEST_GAIN <= gain <= WIDEST_GAIN for own in gains for gain in own):
            raise ValueError("an accepted frame of another brightness than the series")
        return self


class TrainSettings(Document):
    """What decides a training run: equal bursts, settings and steps give equal weights on one machine."""

    preset: NetworkPreset = "fast"
    optimizer: Literal["radam", "torch-radam", "adamw"] = "radam"
    steps: int | None = Field(default=None, gt=0)
    minutes: float | None = Field(default=None, gt=0)
    from_scratch: bool = False
    """Do not start from the prior that comes with the package."""
    seed: int = 0
    learning_rate: float | None = Field(default=None, gt=0)
    """None takes that of the start: `burst_denoise.model.train.LEARNING_RATES`."""
    batch: int = Field(default=8, gt=0)
    patch: int = Field(default=64, gt=0)
    """Side of a training patch, in plane pixels."""


class TrainingRecord(Document):
    """How a model came about; part of its header."""

    settings: TrainSettings
    steps_done: int
    best_step: int
    start_psnr_db: float
    """Corrected PSNR of the noisy frames themselves, on the held-out photosites."""
    prior_psnr_db: float | None = None
    """The same of the prior that the training started from; None if it started from scratch."""
    prior_sha256: str | None = None
    prior_share: float | None = Field(default=None, ge=0, le=1)
    """Share of the prior's weights in the model's, calibrated ones are the rest: 1 is the prior itself; None without a
    prior. Older models do not have it, nor what follows with a None."""
    best_psnr_db: float
    gain_db: float | None = None
    """Gain over the start on held-out photosites and on the sensor's noise on other pictures, the smaller one."""
    gain_std_error_db: float | None = None
    noise_structure: NoiseStructure | None = None
    """Structure of the noise of all bursts."""
    bursts: tuple[str, ...]
    burst_sha256: tuple[str, ...]
    versions: dict[str, str]
    seconds: float
    curve: tuple[tuple[int, float], ...] = ()
    """Every validation: step, corrected PSNR on the held-out photosites, dB."""
    baseline_strength: dict[str, float] = Field({}, validation_alias=AliasChoices("baseline_strength", "nlm_strength"))
    """Strength of each baseline tuned on the same bursts, so that a benchmark is fair to it."""


class ModelHeader(Document):
    """The JSON header of a model file: which sensor it belongs to and how it came about."""

    format: Literal[1] = 1
    preset: NetworkPreset
    domain: Domain
    camera: str | None
    cfa: BayerPhase | None
    black_level: tuple[FiniteFloat, ...]
    white_level: FiniteFloat
    size: tuple[Size, Size] | None = None
    """Rows and columns of the frames it was calibrated on; None in files of version 0.3 and earlier."""
    profiles: tuple[NoiseProfile, ...] = Field(min_length=1)
    """One per calibrated ISO, ascending."""
    training: TrainingRecord
    weights_sha256: str
    defects_sha256: str | None = None
    """Digest of the places of the sensor's defective photosites that the file holds; None where it holds none."""
    defects_shape: tuple[Size, ...] | None = None
    """Shape of the frames that those places refer to: (H, W), or (3, H, W) for pictures."""
    version: str

    @model_validator(mode="after")
    def _planes_fit(self) -> Self:
        _refuse_mosaic(self.domain, self.cfa)
        _refuse_levels(self.domain, self.black_level, self.white_level)
        if any(profile.planes != PLANES[self.domain] for profile in self.profiles):
            raise ValueError(f"a noise profile of other than the {PLANES[self.domain]} planes of {self.domain}")
        shape = self.defects_shape
        if shape is not None and (shape[:-2] != ((3,) if self.domain == "rgb" else ()) or len(shape) < 2):
            raise ValueError(f"a map of defects of shape {shape} for frames of {self.domain}")
        return self


class ShotEntry(Document):
    """A line of a session's ledger: what became of one shot."""

    record: Literal["shot"] = "shot"
    shot: str
    """Its name below the folder that was given."""
    input: str
    """Its file, from the root; of a frame of a stored burst its array."""
    input_bytes: int
    input_mtime_ns: int
    input_sha256: str | None
    """None where it could not be read."""
    info: FrameInfo | None
    """What its file says, tags apart; None where it could not be read."""
    network: str | None
    """"model" or "prior" and the SHA-256 of the weights."""
    noise: str | None
    """In a few words where its noise profile is from."""
    settings: dict[str, str | float | bool | None]
    """All else that decides about the result."""
    output: str
    """Its result, seen from the folder of the ledger."""
    output_bytes: int | None = None
    output_mtime_ns: int | None = None
    output_sha256: str | None = None
    outcome: Literal["done", "failed"]
    error: str | None = None
    kind: str | None = None
    """Name of the class of the error."""
    traceback: str | None = None
    """Traceback of an unforeseen error."""
    seconds: NotNegative
    finished_at: str
    """ISO 8601, UTC."""
    version: str


class NoiseEntry(Document):
    """A line of a session's ledger: the noise of a camera at an ISO, estimated from a sample of its shots."""

    record: Literal["noise"] = "noise"
    camera: str
    iso: Exposure
    height: Size
    width: Size
    white_level: FiniteFloat
    shots: tuple[str, ...]
    """Names of the sample."""
    profile: NoiseProfile
    structure: NoiseStructure | None = None
    """What the noise has beside that; older ledgers do not say."""
    version: str


def _refuse_mosaic(domain: Domain, cfa: BayerPhase | None) -> None:
    if (domain == "bayer") != (cfa is not None):
        raise ValueError(f"the mosaic {cfa} for a frame of {domain}")


def _refuse_levels(domain: Domain, black: tuple[float, ...], white: float) -> None:
    if len(black) != PLANES[domain]:
        raise ValueError(f"{len(black)} black levels for the {PLANES[domain]} planes of a frame of {domain}")
    if max(black) >= white:
        raise ValueError(f"black level {max(black):g} is not below white level {white:g}")
