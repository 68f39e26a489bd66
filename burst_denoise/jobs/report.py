"""The job `report`: bursts judged, their sensor calibrated, methods scored, all on one page."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from burst_denoise.arrays import Float, Picture
from burst_denoise.burst.grouping import find_sources, group_series, read_frames
from burst_denoise.burst.series import SeriesVerdict
from burst_denoise.burst.store import Burst, open_burst, pooled_by_iso, sharing_defects, split_inputs
from burst_denoise.errors import ModelFileError
from burst_denoise.files import refuse_existing
from burst_denoise.frame.frame import Frame
from burst_denoise.frame.srgb import developed
from burst_denoise.jobs.benchmark import (
    ScoreSettings,
    bursts_by_sensor,
    check_models_match,
    denoiser,
    score_bursts,
    sensor_of,
    strengths_for,
)
from burst_denoise.jobs.ingest import open_inputs
from burst_denoise.jobs.profile import SensorProfile, profile_bursts
from burst_denoise.model.model_file import Model
from burst_denoise.reporting.report import CropSet, JudgedSeries, MeasuredChannel, PatternMap, Report, write_report
from burst_denoise.score.baselines import nlm_stabilised
from burst_denoise.score.benchmark import Denoiser
from burst_denoise.score.rows import BenchmarkRow
from burst_denoise.sensor.noise_model import noise_variance

__all__ = ["crop_sets", "judged_series", "make_report", "measured_channels", "pattern_maps", "provenance"]


THUMBNAIL = 120
"""Columns of a thumbnail."""
CROP = (256, 384)
"""Rows and columns of a crop."""
CROP_MARGIN = 96
"""Photosites around a crop that methods see: more than the network's reach and NLM's window."""
MOST_CROPS = 3
WIDEST_MAP = 400


def make_report(
    inputs: Sequence[Path],
    path: Path,
    models: Sequence[tuple[str, Model]],
    tune_on: Sequence[Path],
    darks: Sequence[Path],
    flats: Sequence[Path],
    settings: ScoreSettings,
    command: str,
    on_series: Callable[[SeriesVerdict], None],
    say: Callable[[str], None],
) -> None:
    """Judge bursts, calibrate their sensor, score models and baselines on them, and write it all as one HTML page.

    Parameters
    ----------
    inputs : sequence of Path
        Frames, folders or stored bursts of one sensor, which no model was trained on.
    path : Path
        HTML file to write; must not exist.
    models : sequence of (name, Model)
        May be empty; the headline is about the first.
    tune_on : sequence of Path
        Other bursts of the sensor to tune the baselines on.
    darks, flats : sequence of Path
        As for `burst_denoise.jobs.profile.profile_bursts`.
    settings : ScoreSettings
    command : str
        How the report was asked for, to be told on it.
    on_series : callable
        Called with the verdict on each series.
    say : callable
        Called with a line of text as each stage begins.

    Raises
    ------
    OutputError
        If ``path`` exists or cannot be written.
    BurstDenoiseError
        Whatever is wrong with the inputs.
    """
    refuse_existing(path)
    verdicts: list[SeriesVerdict] = []
    cautions: list[str] = []

    def caution(text: str) -> None:
        cautions.append(text.removeprefix("warning: "))
        say(text)

    def judged(verdict: SeriesVerdict) -> None:
        verdicts.append(verdict)
        on_series(verdict)

    with TemporaryDirectory(prefix="burst_denoise_") as folder:
        say("1/4 checking every frame")
        opened = open_inputs(inputs, Path(folder) / "scored", settings.limit, judged, darks, caution)
        say("2/4 calibrating the sensor")
        bursts = sharing_defects(pooled_by_iso(opened))
        sensor = profile_bursts(bursts, darks, flats, say)
        say("3/4 scoring methods")
        check_models_match(models, bursts, settings)
        tuning = bursts_by_sensor(tune_on, Path(folder) / "tuning", settings.limit, on_series) if tune_on else {}
        strengths = strengths_for(bursts, tuning.get(sensor_of(bursts[0].info), []), models, caution)
        rows = list(score_bursts(bursts, models, strengths, settings, caution))
        say("4/4 drawing")
        camera = bursts[0].info.camera or "a camera that is not named"
        report = Report(
            title=f"Sensor and denoising report: {camera}",
            series=judged_series(inputs, verdicts, settings.limit),
            channels=measured_channels(sensor),
            pattern_maps=pattern_maps(sensor),
            training=models[0][1].header.training if models else None,
            rows=rows,
            model=models[0][0] if models else None,
            cautions=cautions,
            crops=crop_sets(bursts, models, strengths, any_sensor=settings.any_sensor),
            provenance=provenance(bursts, models, rows, command),
        )
        write_report(path, report)


def judged_series(inputs: Sequence[Path], verdicts: Sequence[SeriesVerdict], limit: int) -> list[JudgedSeries]:
    """Return each verdict with thumbnails of its frames; of a stored burst only the accepted frames are left."""
    stored, loose = split_inputs(inputs)
    frames: dict[str, dict[str, Frame]] = {}
    for path in stored:
        burst = open_burst(path)
        shots = [burst.frame(index) for index in range(len(burst))]
        frames[burst.name] = {shot.path.name: shot for shot in shots}
    for series in group_series(find_sources(loose)) if loose else ():
        frames[series.name] = {shot.path.name: shot for shot in read_frames(series, limit)[0]}
    found = []
    for verdict in verdicts:
        shots_by_name = frames.get(verdict.series, {})
        shown = [shots_by_name.get(frame.file) for frame in verdict.frames]
        found.append(JudgedSeries(verdict, [None if shot is None else _thumbnail(shot) for shot in shown]))
    return found


def measured_channels(sensor: SensorProfile) -> list[MeasuredChannel]:
    """Return the channels of a sensor with the points that their lines were fitted to."""
    places: dict[float | None, int] = {}
    found = []
    for channel in sensor.channels:
        index = places.get(channel.iso, 0)
        places[channel.iso] = index + 1
        found.append(MeasuredChannel(channel, sensor.noise[channel.iso][index].bins))
    return found


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
    models: Sequence[tuple[str, Model]],
    strengths: Mapping[str, float],
    *,
    any_sensor: bool = False,
) -> list[CropSet]:
    """Return for some of the bursts the same crop of its first frame under several treatments."""
    chosen = np.linspace(0, len(bursts) - 1, min(len(bursts), MOST_CROPS)).astype(int)
    denoisers = [(name, denoiser(model, augment=False, any_sensor=any_sensor)) for name, model in models[:1]]
    return [_crop_set(bursts[index], denoisers, strengths) for index in chosen]


def provenance(
    bursts: Sequence[Burst], models: Sequence[tuple[str, Model]], rows: Sequence[BenchmarkRow], command: str
) -> dict[str, str]:
    """Return where the numbers come from: command, date, versions, hashes."""
    found = {"command": command} if command else {}
    found["made"] = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    found |= dict(rows[0].versions) if rows else {}
    for name, model in models:
        found[f"weights of {name}, SHA-256"] = model.header.weights_sha256
    for burst in bursts:
        digest = hashlib.sha256("".join(burst.manifest.sha256).encode()).hexdigest()
        found[f"frames of {burst.name}, SHA-256"] = digest
    return found


def _crop_set(burst: Burst, models: Sequence[tuple[str, Denoiser]], strengths: Mapping[str, float]) -> CropSet:
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
    treated = {"one noisy frame": noisy}
    for name, method in models:
        try:
            treated[name] = method(noisy, info)
        except ModelFileError:
            continue
    if "nlm-stabilised" in strengths:
        planes = nlm_stabilised(mosaic.pack(noisy), info, profile, strengths["nlm-stabilised"])
        treated["nlm-stabilised"] = mosaic.unpack(planes, noisy.shape)
    residuals = {
        name: _grey(np.asarray((noisy - image) / std, np.float32))[inside]
        for name, image in treated.items()
        if name != "one noisy frame"
    }
    treated[f"mean of {len(burst)} frames"] = reference
    versions = {name: developed(image, info)[inside] for name, image in treated.items()}
    return CropSet(f"{burst.name}, {burst.frame(0).path.name}", versions, residuals)


def _most_detailed(mean: Float, burst: Burst) -> tuple[slice, slice]:
    """Return the window of crop size, on even rows and columns, with most detail that is not overexposed."""
    height, width = mean.shape[-2:]
    rows, columns = min(CROP[0], height // 2 * 2), min(CROP[1], width // 2 * 2)
    grey = _grey(mean)
    fine = np.abs(cv2.GaussianBlur(grey, (0, 0), 2) - cv2.GaussianBlur(grey, (0, 0), 6))
    fine[_grey(burst.excluded.astype(np.float32)) > 0] = 0
    total = cv2.integral(fine.astype(np.float64))
    tops, lefts = np.arange(0, height - rows + 1, 2), np.arange(0, width - columns + 1, 2)
    bottom, right = tops + rows, lefts + columns
    inside = (
        total[np.ix_(bottom, right)]
        - total[np.ix_(tops, right)]
        - total[np.ix_(bottom, lefts)]
        + total[np.ix_(tops, lefts)]
    )
    row, column = np.unravel_index(int(np.argmax(inside)), inside.shape)
    top, left = int(tops[row]), int(lefts[column])
    return slice(top, top + rows), slice(left, left + columns)


def _grey(image: Float) -> Float:
    """Return one layer: the mosaic itself, or the mean of the colours of a picture."""
    return image if image.ndim == 2 else np.asarray(image.mean(axis=0), np.float32)


def _central(image: Float) -> Float:
    grey = _grey(image)
    top, left = (max(0, (size - WIDEST_MAP) // 2) for size in grey.shape)
    return grey[top : top + WIDEST_MAP, left : left + WIDEST_MAP]


def _thumbnail(shot: Frame) -> Picture:
    picture = developed(shot.linear, shot.info)
    height = max(1, round(picture.shape[0] * THUMBNAIL / picture.shape[1]))
    small: Picture = cv2.resize(picture, (THUMBNAIL, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
    return small
