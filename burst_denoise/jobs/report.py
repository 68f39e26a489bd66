"""The job `report`: bursts judged, their sensor calibrated, methods scored, all on one page."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np

from burst_denoise.arrays import Float, Picture
from burst_denoise.burst.burst import Burst
from burst_denoise.burst.darks import read_darks
from burst_denoise.burst.one_sensor import of_one_sensor
from burst_denoise.burst.series_verdict import SeriesVerdict
from burst_denoise.errors import ModelFileError
from burst_denoise.files import refuse_existing, temporary_folder
from burst_denoise.frame.frame import Frame
from burst_denoise.frame.srgb import developed
from burst_denoise.inference.denoiser import Denoiser, DenoiseSettings
from burst_denoise.jobs.benchmark import (
    BenchmarkSettings,
    benchmark_bursts,
    bursts_by_sensor,
    check_methods,
    same_sensor,
    strengths_for,
)
from burst_denoise.jobs.ingest import open_inputs
from burst_denoise.jobs.listener import Listener
from burst_denoise.jobs.profile import SensorProfile, profile_bursts
from burst_denoise.model.model_file import Model
from burst_denoise.reporting.figures import one_layer
from burst_denoise.reporting.report import CropSet, JudgedSeries, MeasuredChannel, PatternMap, Report, write_report
from burst_denoise.score.baselines import Method, baseline_method, nlm_stabilised
from burst_denoise.score.benchmark import REFERENCE_METHOD
from burst_denoise.score.rows import BenchmarkRow
from burst_denoise.sensor.noise_model import noise_variance

__all__ = [
    "ReportSources",
    "SeriesWatcher",
    "crop_sets",
    "measured_channels",
    "pattern_maps",
    "provenance",
    "report",
]

THUMBNAIL = 120
"""Columns of a thumbnail."""
CROP = (256, 384)
"""Rows and columns of a crop."""
CROP_MARGIN = 96
"""Photosites around a crop that methods see: more than the network's reach and NLM's window."""
MOST_CROPS = 3
WIDEST_MAP = 400


@dataclass(frozen=True)
class ReportSources:
    """What a report is made from."""

    inputs: Sequence[Path]
    """Frames, folders or stored bursts of one sensor, which no model was trained on."""
    tune_on: Sequence[Path] = ()
    """Other bursts of the sensor to tune the baselines on."""
    darks: Sequence[Path] = ()
    flats: Sequence[Path] = ()
    """As for `burst_denoise.jobs.profile.profile`."""


def report(
    sources: ReportSources,
    path: Path,
    models: Mapping[str, Model],
    settings: BenchmarkSettings,
    command: str,
    listener: Listener = Listener(),
) -> None:
    """Judge bursts, calibrate their sensor, score models and baselines on them, and write it all as one HTML page.

    Parameters
    ----------
    sources : ReportSources
    path : Path
        HTML file to write; must not exist.
    models : mapping from name to Model
        May be empty; the headline is about the first.
    settings : BenchmarkSettings
    command : str
        How the report was asked for; stands on it.
    listener : Listener
        Hears the verdict on each series, and of each stage that begins.

    Raises
    ------
    OutputError
        If ``path`` exists or cannot be written.
    BurstDenoiseError
        Whatever is wrong with the inputs.
    """
    refuse_existing(path)
    watcher = SeriesWatcher(listener)
    with temporary_folder() as folder:
        listener.note("1/4 checking every frame")
        darks = read_darks(sources.darks, keep=Path(folder))
        ingesting = replace(settings.ingest.without(sources.flats), keep=Path(folder))
        opened = open_inputs(sources.inputs, Path(folder) / "scored", darks, ingesting, watcher)
        listener.note("2/4 calibrating the sensor")
        bursts = of_one_sensor(opened.bursts)
        sensor = profile_bursts(bursts, opened.darks, sources.flats, settings.ingest, listener)
        listener.note("3/4 scoring methods")
        check_methods(models, bursts, settings)
        tuning = []
        if sources.tune_on:
            tuning = bursts_by_sensor(sources.tune_on, Path(folder) / "tuning", settings, listener)
        strengths = strengths_for(bursts, same_sensor(tuning, bursts[0]), models, watcher)
        rows = list(benchmark_bursts(bursts, models, strengths, settings, watcher, sensor.pattern))
        listener.note("4/4 drawing")
        page = Report(
            title=f"Sensor and denoising report: {bursts[0].info.camera or 'unknown camera'}",
            series=watcher.series,
            channels=measured_channels(sensor),
            pattern_maps=pattern_maps(sensor),
            training=next(iter(models.values())).header.training if models else None,
            rows=rows,
            model=next(iter(models), None),
            cautions=watcher.cautions,
            crops=crop_sets(bursts, models, strengths, any_sensor=settings.any_sensor),
            provenance=provenance(bursts, models, rows, command),
        )
        write_report(path, page)


class SeriesWatcher(Listener):
    """Keeps the verdicts on series with thumbnails of their frames, and the notes as cautions; hands all on.

    Parameters
    ----------
    listener : Listener
        Hears of what the job does.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.series: list[JudgedSeries] = []
        self.cautions: list[str] = []

    def on_series(self, verdict: SeriesVerdict, frames: Sequence[Frame]) -> None:
        """Keep the verdict and make the thumbnails, while the frames are at hand."""
        shown = {frame.path.name: _thumbnail(frame) for frame in frames}
        self.series.append(JudgedSeries(verdict, [shown.get(frame.file) for frame in verdict.frames]))
        self._listener.on_series(verdict, frames)

    def note(self, text: str) -> None:
        """Keep a caution."""
        self.cautions.append(text.removeprefix("warning: "))
        self._listener.note(text)


def measured_channels(sensor: SensorProfile) -> list[MeasuredChannel]:
    """Return the channels of a sensor with the points that their lines were fitted to."""
    return [
        MeasuredChannel(channel, measured.bins)
        for iso, noise in sensor.noise.items()
        for channel, measured in zip((c for c in sensor.channels if c.iso == iso), noise, strict=True)
    ]


def pattern_maps(sensor: SensorProfile) -> list[PatternMap]:
    """Return pictures of the dark offsets and of the unequal sensitivities, as far as frames for them were given."""
    maps = []
    span = sensor.channels[0].white_level_dn - sensor.channels[0].black_level_dn
    if sensor.dark is not None:
        offset = _central(sensor.dark.mean) * np.float32(span)
        maps.append(PatternMap(f"dark offset, mean of {sensor.dark.count} dark frames", offset, "DN"))
    if sensor.response is not None:
        maps.append(PatternMap("sensitivity, from the flats", 100 * (_central(sensor.response) - 1), "%"))
    return maps


def crop_sets(
    bursts: Sequence[Burst],
    models: Mapping[str, Model],
    strengths: Mapping[str, float],
    *,
    any_sensor: bool = False,
) -> list[CropSet]:
    """Return for some of the bursts the same crop of its first frame under several treatments."""
    chosen = np.linspace(0, len(bursts) - 1, min(len(bursts), MOST_CROPS)).astype(int)
    settings = DenoiseSettings(any_sensor=any_sensor)
    methods = {name: Denoiser(model, settings=settings).image for name, model in list(models.items())[:1]}
    return [_crop_set(bursts[index], methods, strengths) for index in chosen]


def provenance(
    bursts: Sequence[Burst], models: Mapping[str, Model], rows: Sequence[BenchmarkRow], command: str
) -> dict[str, str]:
    """Return where the numbers come from: command, date, versions, hashes."""
    found = {"command": command} if command else {}
    found["made"] = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    found |= dict(rows[0].versions) if rows else {}
    for name, model in models.items():
        found[f"weights of {name}, SHA-256"] = model.header.weights_sha256
    for burst in bursts:
        digest = hashlib.sha256("".join(burst.manifest.sha256).encode()).hexdigest()
        found[f"frames of {burst.name}, SHA-256"] = digest
    return found


def _crop_set(burst: Burst, methods: Mapping[str, Method], strengths: Mapping[str, float]) -> CropSet:
    info, mosaic, profile = burst.info, burst.mosaic, burst.profile
    mean = burst.mean()
    crop = _most_detailed(mean, burst)
    rows, columns = (
        slice(max(0, part.start - CROP_MARGIN), min(size, part.stop + CROP_MARGIN))
        for part, size in zip(crop, mean.shape[-2:], strict=True)
    )
    inside = tuple(slice(c.start - r.start, c.stop - r.start) for c, r in zip(crop, (rows, columns), strict=True))
    noisy, reference = burst.linear(0, (rows, columns)), mean[..., rows, columns]
    std = np.sqrt(mosaic.unpack(noise_variance(mosaic.pack(reference), profile), noisy.shape))
    treated = {}
    for name, method in methods.items():
        with suppress(ModelFileError):
            treated[name] = method(noisy, burst.frame(0))
    if REFERENCE_METHOD in strengths:
        filtered = baseline_method(nlm_stabilised, profile, strengths[REFERENCE_METHOD])
        treated[REFERENCE_METHOD] = filtered(noisy, burst.frame(0))
    residuals = {
        name: one_layer(np.asarray((noisy - image) / std, np.float32))[inside] for name, image in treated.items()
    }
    shown = {"one noisy frame": noisy, **treated, f"mean of {len(burst)} frames": reference}
    versions = {name: developed(image, info)[inside] for name, image in shown.items()}
    return CropSet(f"{burst.name}, {burst.frame(0).path.name}", versions, residuals)


def _most_detailed(mean: Float, burst: Burst) -> tuple[slice, slice]:
    """Return the window of crop size, on even rows and columns, with most detail that is not overexposed."""
    height, width = mean.shape[-2:]
    rows, columns = min(CROP[0], height // 2 * 2), min(CROP[1], width // 2 * 2)
    grey = one_layer(mean)
    fine = np.abs(cv2.GaussianBlur(grey, (0, 0), 2) - cv2.GaussianBlur(grey, (0, 0), 6))
    fine[one_layer(burst.excluded.astype(np.float32)) > 0] = 0
    total = cv2.boxFilter(fine, cv2.CV_64F, (columns, rows), anchor=(0, 0), normalize=False)
    inside = total[: height - rows + 1 : 2, : width - columns + 1 : 2]
    top, left = (2 * int(place) for place in np.unravel_index(int(np.argmax(inside)), inside.shape))
    return slice(top, top + rows), slice(left, left + columns)


def _central(image: Float) -> Float:
    grey = one_layer(image)
    top, left = (max(0, (size - WIDEST_MAP) // 2) for size in grey.shape)
    return grey[top : top + WIDEST_MAP, left : left + WIDEST_MAP]


def _thumbnail(shot: Frame) -> Picture:
    picture = developed(shot.linear, shot.info)
    height = max(1, round(picture.shape[0] * THUMBNAIL / picture.shape[1]))
    small: Picture = cv2.resize(picture, (THUMBNAIL, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
    return small
