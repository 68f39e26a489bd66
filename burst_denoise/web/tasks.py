"""What the worker does for a visitor: a shot denoised, a burst merged, a result written, a report made.

Each task leaves layers on disk for the page to be drawn from, and returns what is to be told of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from burst_denoise.arrays import Float
from burst_denoise.burst.burst import Burst
from burst_denoise.errors import ModelFileError
from burst_denoise.files import temporary_folder
from burst_denoise.frame.frame import Frame
from burst_denoise.frame.geometry import centre_window
from burst_denoise.inference.network_change import NetworkChange, ProcessingNotes
from burst_denoise.io.exiftool import exiftool_on_path
from burst_denoise.io.write import write_frame
from burst_denoise.jobs.benchmark import BenchmarkSettings
from burst_denoise.jobs.listener import Listener
from burst_denoise.jobs.merge import MergeInputs, merge_burst, merge_inputs
from burst_denoise.jobs.report import ReportSources, SeriesWatcher, report
from burst_denoise.model.prior import why_no_prior
from burst_denoise.schemas import FrameInfo, Quality
from burst_denoise.score.metrics import corrected_mse
from burst_denoise.sensor.moments import frame_moments
from burst_denoise.session.denoisers import ChosenDenoiser, Denoisers
from burst_denoise.web.pictures import Layer, image_at, save_layer
from burst_denoise.web.queue import Progress
from burst_denoise.web.samples import make_samples
from burst_denoise.web.worker import Bench

__all__ = [
    "BurstTask",
    "Changed",
    "Facts",
    "JudgedFrame",
    "ReportTask",
    "Result",
    "SamplesTask",
    "ShotTask",
    "WriteTask",
]

SCORED_SIDE = 2048
"""Side of the centre of the frames on which it is measured what a denoised one is worth, photosites."""
NO_NETWORK = (
    "This is a picture that a camera or a program has developed, and no network comes with the program for such: its "
    "noise is smoothed, sharpened and rounded to 8 bits already, by every camera in its own way, so that noise and "
    "fine detail cannot be told apart as in a raw file. What can be done: give the raw file of the same shot; give "
    "several frames of it from a tripod, whose mean has less noise without any network; or calibrate a model on "
    "bursts of such pictures (burst-denoise calibrate) and start this page with it (burst-denoise web -m)."
)


@dataclass(frozen=True)
class Facts:
    """What there is to know about a shot, told as soon as it is known."""

    rows: tuple[tuple[str, str], ...]
    """Name and value."""
    cautions: tuple[str, ...] = ()
    notice: str = ""
    """Why nothing was denoised, and what can be done."""


@dataclass(frozen=True)
class JudgedFrame:
    """A frame of a burst and what the checks say."""

    file: str
    accepted: bool
    words: str


@dataclass(frozen=True)
class Changed:
    """What can be written to a file: a `NetworkChange`, its arrays on disk, or a mean that no network has seen."""

    layer: Layer
    source: Path | None
    """The file that a result has its tags from."""
    notes: ProcessingNotes | None = None
    """None where no network has seen it: then it is written as it is."""
    mean: Frame | None = None
    """Merged frame without its values."""


@dataclass(frozen=True)
class Result:
    """What has become of a visitor's files."""

    facts: Facts
    layers: tuple[Layer, ...] = ()
    changed: Changed | None = None
    frames: tuple[JudgedFrame, ...] = ()
    verdict: str = ""
    """Verdict on the burst, in words."""
    accepted: bool = True
    worth: str = ""
    """How much less noise there is, in words."""


@dataclass(frozen=True)
class SamplesTask:
    """Shoot the samples."""

    folder: Path

    def do(self, bench: Bench) -> None:  # noqa: ARG002 (as all tasks)
        """Write them to the folder."""
        make_samples(self.folder)


@dataclass(frozen=True)
class ShotTask:
    """Denoise one shot."""

    file: Path
    folder: Path
    """Folder for the layers."""
    quality: Quality = "fast"
    repair_hot_photosites: bool = True
    clean: Path | None = None
    """The known truth."""

    def do(self, bench: Bench) -> Result:
        """Tell `Facts` and the noisy layer as soon as they are there, then denoise."""
        bench.tell(Progress("reading the file", 0.0))
        frame, _ = bench.reader.frame(self.file, bench.limits)
        noisy = Layer("noisy", "as shot", self.folder, frame.info)
        save_layer(noisy, frame.linear)
        notes: list[str] = []
        chosen = _chosen(bench.denoisers, self.quality, self.repair_hot_photosites, frame, notes)
        facts = _facts(frame.info, chosen)
        layers = [noisy]
        if self.clean is not None:
            truth = Layer("truth", "truth (simulated without noise)", self.folder, frame.info)
            save_layer(truth, _without_gaps(np.load(self.clean), frame.linear))
            layers.append(truth)
        if chosen is None:
            return Result(replace(facts, cautions=_cautions(notes, frame), notice=NO_NETWORK), tuple(layers))
        bench.tell(Result(facts, tuple(layers)))
        bench.tell(Progress("estimating the noise", 0.03))
        change = chosen.denoiser.change(frame, progress=_stage(bench, "denoising", 0.05, 0.9))
        bench.tell(Progress("developing", 0.9))
        denoised = _changed_layer("denoised", "denoised", self.folder, change)
        facts = replace(facts, rows=facts.rows + _noise_facts(notes, frame), cautions=_cautions(notes, frame))
        changed = Changed(denoised, self.file, change.notes)
        return Result(facts, (noisy, denoised, *layers[1:]), changed)


@dataclass(frozen=True)
class BurstTask:
    """Judge and merge the frames of a burst, and denoise one of them beside."""

    files: tuple[Path, ...]
    folder: Path
    quality: Quality = "fast"
    repair_hot_photosites: bool = True

    def do(self, bench: Bench) -> Result:
        """Tell the verdicts as soon as they are there; leave thumbnails ``frame-K.jpg``, K from 0, in the folder."""
        bench.tell(Progress(f"checking {len(self.files)} frames", 0.0))
        notes: list[str] = []
        watcher = SeriesWatcher(_Notes(notes))
        with temporary_folder(self.folder) as name:
            try:
                given = merge_inputs(self.files, Path(name), listener=watcher)
            finally:  # the verdicts tell why, if it is refused
                if watcher.series:
                    bench.tell(self._judged(watcher))
            burst, first = given.burst, given.burst.frame(0)
            chosen = _chosen(bench.denoisers, self.quality, self.repair_hot_photosites, first, notes)
            bench.tell(Progress(f"merging {len(burst)} frames", 0.35))
            mean = merge_burst(burst, None, given.moved, _Notes(notes))
            noisy = Layer("noisy", "one frame as shot", self.folder, first.info)
            save_layer(noisy, first.linear)
            changed, layers = self._changed(bench, chosen, given, mean)
            count = len(burst) + len(given.moved)
            worth = f"The mean of {count} frames has {count**0.5:.1f} times less noise than one of them."
            if chosen is not None and (frames := _worth(burst, layers[0])) is not None:
                worth += f" One frame, denoised, is worth {frames:.1f} averaged frames."
        bench.tell(Progress("developing", 0.95))
        facts = _facts(burst.info, chosen)
        facts = replace(
            facts,
            rows=facts.rows + _noise_facts(notes, first),
            cautions=_cautions(notes, first),
            notice="" if chosen else NO_NETWORK,
        )
        return replace(self._judged(watcher), facts=facts, layers=(noisy, *layers), changed=changed, worth=worth)

    def _changed(
        self, bench: Bench, chosen: ChosenDenoiser | None, given: MergeInputs, mean: Frame
    ) -> tuple[Changed, list[Layer]]:
        """Return what can be written, and the layers of one frame denoised, of the mean, and of the mean denoised."""
        burst = given.burst
        plain = Layer("mean", f"mean of {len(burst) + len(given.moved)} frames", self.folder, mean.info)
        save_layer(plain, mean.linear)
        valueless = replace(mean, dn=np.zeros((0, 0), np.float32))
        if chosen is None:
            np.save(plain.file("dn"), mean.dn)
            return Changed(plain, given.source, None, valueless), [plain]
        one = chosen.denoiser.change(burst.frame(0), burst, progress=_stage(bench, "denoising one frame", 0.45, 0.65))
        single = _changed_layer("denoised", "one frame denoised", self.folder, one)
        merged = chosen.denoiser.merged_change(mean, _stage(bench, "denoising the mean", 0.7, 0.9))
        layer = _changed_layer("merged", "merged and denoised", self.folder, merged)
        return Changed(layer, given.source, merged.notes, valueless), [single, plain, layer]

    def _judged(self, watcher: SeriesWatcher) -> Result:
        series = max(watcher.series, key=lambda one: len(one.verdict.frames))
        verdict = series.verdict
        for number, picture in enumerate(series.thumbnails):
            if picture is not None:
                encoded = cv2.imencode(".jpg", picture[..., ::-1])[1]
                (self.folder / f"frame-{number}.jpg").write_bytes(encoded.tobytes())
        frames = tuple(
            JudgedFrame(frame.file, frame.accepted, frame.detail or ", ".join(frame.reasons))
            for frame in verdict.frames
        )
        good = sum(frame.accepted for frame in frames)
        words = f"{good} of {len(frames)} frames can be used" + (f": {verdict.detail}" if verdict.detail else "")
        return Result(_facts(verdict.info, None), frames=frames, verdict=words, accepted=verdict.accepted)


@dataclass(frozen=True)
class WriteTask:
    """Write a result to a file as the commands do."""

    changed: Changed
    strength: float
    target: Path
    """Must not exist."""

    def do(self, bench: Bench) -> str:
        """Return what exiftool warned about; empty when all is well."""
        bench.tell(Progress("writing the file"))
        with exiftool_on_path() as exiftool:
            return write_frame(self._frame(bench), self.target, self.changed.source, exiftool) or ""

    def _frame(self, bench: Bench) -> Frame:
        of, layer = self.changed, self.changed.layer
        if of.notes is None:
            assert of.mean is not None
            return replace(of.mean, dn=np.asarray(layer.array("dn")))
        image, change = (np.asarray(layer.array(what)) for what in ("image", "change"))
        if of.mean is not None:
            frame = replace(of.mean, dn=image)  # whose values are not asked for
        else:
            assert of.source is not None
            frame, _ = bench.reader.frame(of.source, bench.limits)
        assert layer.profile is not None
        return NetworkChange(frame, image, change, layer.profile, of.notes).at(self.strength)


@dataclass(frozen=True)
class ReportTask:
    """Make the report on a burst."""

    files: tuple[Path, ...]
    target: Path
    command: str = "burst-denoise web"

    def do(self, bench: Bench) -> None:
        """Write the page to the target, which must not exist."""
        bench.tell(Progress("1/4 checking every frame"))
        frame, _ = bench.reader.frame(self.files[0], bench.limits)
        chosen = _chosen(bench.denoisers, "fast", True, frame, [])
        model = None if chosen is None else chosen.denoiser.model
        models = {} if model is None else {"model": model}
        report(ReportSources(self.files), self.target, models, BenchmarkSettings(), self.command, _Stages(bench))


class _Notes(Listener):
    """Keeps what is noted."""

    def __init__(self, kept: list[str]) -> None:
        self._kept = kept

    def note(self, text: str) -> None:
        """Keep it."""
        self._kept.append(text)


class _Stages(Listener):
    """Tells the stages of a report as progress."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def note(self, text: str) -> None:
        """Tell it, if it names a stage."""
        number, of, _ = text.partition("/4 ")
        if of and number.isdigit():
            self._bench.tell(Progress(text))


def _chosen(
    denoisers: Denoisers, quality: Quality, repair: bool, frame: Frame, notes: list[str]
) -> ChosenDenoiser | None:
    """Return what denoises a frame, under the settings of a visitor; None for a picture that nothing serves.

    Where no network of that quality comes with the program, the fast one serves, which is noted.
    """
    refused = why_no_prior(frame.info)
    lacking = None if refused else why_no_prior(frame.info, quality)
    quality = "fast" if lacking else quality
    settings = replace(denoisers.settings, strength=1.0, quality=quality, repair_hot_photosites=repair)
    try:
        chosen = denoisers.under(settings, notes.append).serving(frame.info, frame.path.name)
    except ModelFileError as error:
        if frame.info.cfa is not None:
            raise
        notes.append(str(error))
        return None
    if chosen.denoiser.model is not None:
        return chosen
    if lacking:
        notes.append(f"{frame.path.name}: {lacking}, which serves here")
    return None if refused else chosen


def _facts(info: FrameInfo, chosen: ChosenDenoiser | None) -> Facts:
    """Return what a file says, and what serves."""
    exposure = info.exposure_in_words + ("" if info.f_number is None else f", f/{info.f_number:.2g}")
    if info.cfa is not None:
        kind = f"a raw file, {info.cfa} mosaic, white at {info.white_level:g}"
    else:
        kind = "a developed picture" if info.developed else "a picture of 16 bits, taken for linear light"
    rows = [
        ("Camera", info.camera or "unknown"),
        ("Exposure", exposure),
        ("Size", f"{info.width} x {info.height}, {info.width * info.height / 1e6:.1f} megapixels"),
        ("Kind", kind),
    ]
    if chosen is not None:
        model = chosen.denoiser.model
        if model is None:
            rows.append(("Network", "the one that comes with the program, as no model of this camera was given"))
        else:
            rows.append(("Network", f"your model of {model.header.camera or 'an unknown camera'}"))
            rows.append(("Noise", "as measured when the model was calibrated"))
    return Facts(tuple(rows))


def _noise_facts(notes: Sequence[str], frame: Frame) -> tuple[tuple[str, str], ...]:
    """Return where the noise profile is from, and whether it is as a network expects it."""
    mark = f"{frame.path.name}: noise "
    told = next((note.removeprefix(mark) for note in notes if note.startswith(mark)), None)
    if told is None:
        return ()
    source, *doubts = told.split("; ")
    verdict = "usable as it is" if not doubts else f"usable with care: {'; '.join(doubts)}"
    return ("Noise", source), ("Verdict", verdict)


def _cautions(notes: Sequence[str], frame: Frame) -> tuple[str, ...]:
    """Return what else is to be told."""
    return tuple(note for note in notes if not note.startswith(f"{frame.path.name}: noise "))


def _changed_layer(key: str, title: str, folder: Path, change: NetworkChange) -> Layer:
    layer = Layer(key, title, folder, change.frame.info, change.factors, change.profile)
    save_layer(layer, change.image, change.change)
    return layer


def _without_gaps(truth: Float, noisy: Float) -> Float:
    """Return a truth to look at: where it is not known, at hot photosites, the shot itself."""
    return np.where(np.isnan(truth), noisy, truth)


def _worth(burst: Burst, layer: Layer) -> float | None:
    """Return how many averaged frames leave the error of the first one denoised; None where the burst cannot tell."""
    rows, columns = centre_window((burst.info.height, burst.info.width), SCORED_SIDE)
    others = frame_moments(burst.linear(index, (rows, columns)) for index in range(1, len(burst)))
    denoised = burst.mosaic.evened(image_at(layer, 1.0, (rows, columns)), burst.gains[0])
    counted = ~np.asarray(burst.excluded[..., rows, columns])
    if not counted.any():
        return None
    noisy, clean = (corrected_mse(image, others, counted) for image in (burst.linear(0, (rows, columns)), denoised))
    return noisy / clean if min(noisy, clean) > 0 else None


def _stage(bench: Bench, stage: str, begin: float, end: float) -> Callable[[float], None]:
    return lambda share: bench.tell(Progress(stage, begin + (end - begin) * share))
