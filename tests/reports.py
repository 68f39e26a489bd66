"""A report as a calibration would make it: synthetic series, channels, rows and crops, small enough for a test."""

from functools import cache

import cv2
import numpy as np
from skimage.data import coffee

from burst_denoise.burst.series_verdict import check_frames
from burst_denoise.frame.frame import Frame
from burst_denoise.frame.srgb import linear_to_srgb
from burst_denoise.frame.synthetic import Fault, SyntheticCamera, scene_from_picture, shoot
from burst_denoise.reporting.report import CropSet, JudgedSeries, MeasuredChannel, PatternMap, Report
from burst_denoise.schemas import ChannelProfile, FrameVerdict, NoiseProfile, TrainingRecord, TrainSettings
from burst_denoise.score.rows import BenchmarkRow
from burst_denoise.sensor.photon_transfer import fit_measurements, measure_noise

CAMERA = SyntheticCamera()
VERSIONS = {"burst-denoise": "0.1.0", "python": "3.11.2"}


def developed(image: np.ndarray, *, half: bool = False) -> np.ndarray:
    """Return a linear mosaic as an sRGB picture, half size or demosaiced by OpenCV."""
    planes = CAMERA.mosaic.pack(image) / np.array([0.5, 1, 1, 0.65], np.float32)[:, None, None]
    if half:
        rgb = np.stack([planes[0], (planes[1] + planes[2]) / 2, planes[3]], axis=-1)
        return np.rint(255 * linear_to_srgb(rgb)).astype(np.uint8)
    mosaic = np.empty(image.shape, np.float32)
    for plane, (row, column) in zip(planes, ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True):
        mosaic[row::2, column::2] = plane
    sixteen = np.rint(65535 * np.clip(mosaic, 0, 1)).astype(np.uint16)
    rgb = cv2.cvtColor(sixteen, cv2.COLOR_BayerRGGB2RGB) / np.float32(65535)
    return np.rint(255 * linear_to_srgb(rgb)).astype(np.uint8)


def shot(iso: float, count: int, faults: dict[int, Fault] | None = None) -> tuple[list[Frame], np.ndarray]:
    """Return frames of a cup of coffee, and the clean linear mosaic."""
    scene = scene_from_picture(coffee()[40:360, 120:560], CAMERA.as_shot_neutral)
    frames, clean = shoot(CAMERA, scene, iso, count, int(iso), faults or {})
    black, white = CAMERA.black_level[0], CAMERA.white_level
    return frames, ((clean - black) / (white - black)).astype(np.float32)


def judged(name: str, frames: list[Frame]) -> JudgedSeries:
    """Return the verdict on frames, with thumbnails."""
    small = [
        cv2.resize(developed(frame.linear, half=True), (120, 88), interpolation=cv2.INTER_AREA) for frame in frames
    ]
    return JudgedSeries(check_frames(name, frames), small)


def rejected(series: JudgedSeries) -> JudgedSeries:
    """Return a series that was given up: two frames, another camera between them."""
    frames = tuple(
        FrameVerdict(file=f"IMG_{number}.CR2", accepted=number < 2, reasons=() if number < 2 else ("incompatible",),
                     gain=None, shift_px=None, detail="" if number < 2 else "ISO 100 instead of 1600")
        for number in range(4)
    )  # fmt: skip
    verdict = series.verdict.__class__(
        series="given up <b>& \"odd\"", info=series.verdict.info, accepted=False,
        detail="2 of 4 frames accepted, 3 needed (rejected: 2 incompatible)", mu=0.05, sigma=1e-4,
        deviations=(0.0499, 0.0501), frames=frames, left_out=3,
    )  # fmt: skip
    return JudgedSeries(verdict, [None, series.thumbnails[0], series.thumbnails[1]])


def measured(frames: list[Frame], iso: float) -> list[MeasuredChannel]:
    """Return the channels of a burst; the intervals are made up."""
    found = measure_noise([frame.linear for frame in frames], CAMERA.mosaic)
    profile = fit_measurements([found], iso)
    return [channel(profile, found.bins[plane], plane) for plane in range(4)]


def channel(profile: NoiseProfile, bins: tuple[tuple[float, float, float], ...], plane: int) -> MeasuredChannel:
    """Return one channel; the blue one of ISO 6400 has a doubt."""
    white = CAMERA.white_level - CAMERA.black_level[0]
    scale, variance = profile.shot_noise_scale[plane], profile.read_noise_variance[plane]
    gain, read = scale * white, float(np.sqrt(max(variance, 1e-12))) * white
    doubts = ("the read noise is known only to 16%: shoot a scene with deep shadows, or add dark frames (--darks)",)
    return MeasuredChannel(
        ChannelProfile(
            camera=CAMERA.name, iso=profile.iso, channel=("R", "G1", "G2", "B")[plane],
            gain_dn_per_e=gain, gain_dn_per_e_interval=(0.985 * gain, 1.015 * gain),
            read_noise_std_dn=read, read_noise_std_dn_interval=(0.93 * read, 1.07 * read),
            row_noise_std_dn=1.61, row_noise_std_dn_interval=(1.52, 1.70),
            column_noise_std_dn=0.0, column_noise_std_dn_interval=(0.0, 0.34),
            prnu_percent=0.51, prnu_percent_interval=(0.47, 0.55), dsnu_e=None, dsnu_e_interval=None,
            noise_correlation=0.004, defects=14, shot_noise_scale=scale, read_noise_variance=variance,
            black_level_dn=CAMERA.black_level[plane], white_level_dn=CAMERA.white_level, frames=8, usable=True,
            reasons=doubts if plane == 3 and profile.iso == 6400 else (),
        ),
        np.array(bins).T,
    )  # fmt: skip


def row(method: str, burst: str, iso: float, score: float | None, **changes: object) -> BenchmarkRow:
    """Return a row with a score and likely numbers around it."""
    near = None if score is None else score - 0.03
    values: dict[str, object] = {
        "method": method, "burst": burst, "iso": iso, "corrected_psnr_db": score,
        "corrected_psnr_db_interval": (None, None) if score is None else (score - 0.12, score + 0.14),
        "upsnr_db": near, "true_psnr_db": near,
        "true_psnr_db_interval": None if near is None else (near - 0.11, near + 0.11), "fixed_pattern_psnr_db": 55.2,
        "stabilised_psnr_db": None if score is None else score - 36, "stabilised_psnr_db_interval": (None, 9.0),
        "over_nlm_db": None, "over_nlm_db_interval": None, "worth_frames": None, "worth_frames_interval": None,
        "ssim": 0.912, "ssim_reference_psnr_db": None, "residual_correlation": 0.01, "signal_leak": 0.02,
        "seconds_per_megapixel": 0.21, "peak_memory_mb": 612.0, "strength": None, "seed": 0, "frames": (1, 4, 8),
        "versions": VERSIONS,
    }  # fmt: skip
    return BenchmarkRow(**{**values, **changes})


def rows() -> list[BenchmarkRow]:
    """Return the rows of two bursts."""
    found = []
    for iso, single, nlm, ours in ((1600, 41.93, 43.86, 45.43), (6400, 35.84, 39.16, 41.30)):
        place = (f"coffee_iso{iso}", float(iso))
        worth = 10 ** ((ours - single) / 10)
        below, over = single - nlm, ours - nlm
        found += [
            row("single frame", *place, single, over_nlm_db=below, over_nlm_db_interval=(below - 0.05, below + 0.05),
                worth_frames=1.0, worth_frames_interval=(1.0, 1.0), residual_correlation=0.0, signal_leak=0.0),
            row("mean of 2", *place, single + 3.0, averaged=2, worth_frames=2.0, worth_frames_interval=(1.97, 2.03)),
            row("nlm-stabilised", *place, nlm, strength=0.85, signal_leak=0.08, residual_correlation=0.11,
                over_nlm_db=0.0, over_nlm_db_interval=(0.0, 0.0), worth_frames=1.56, worth_frames_interval=(1.5, 1.62)),
            row("nlm-colour-8bit", *place, nlm - 0.1, strength=7.5, signal_leak=0.09, residual_correlation=0.13),
            row("wavelet", *place, None, strength=1.0),
            row("model", *place, ours, over_nlm_db=over, over_nlm_db_interval=(over - 0.06, over + 0.06),
                worth_frames=worth, worth_frames_interval=(worth - 0.08, worth + 0.09)),
        ]  # fmt: skip
    return found


def crops(frame: Frame, mean: np.ndarray) -> CropSet:
    """Return a crop noisy, by coloured NLM, by a stand-in for a model, and from the mean of the burst."""
    noisy = developed(frame.linear)
    window = (slice(10, 290), slice(20, 400))
    versions = {
        "one noisy frame, 35.8 dB": noisy,
        "burst_denoise, 41.3 dB": developed(0.12 * frame.linear + 0.88 * mean),
        "OpenCV NLM, 39.2 dB": cv2.fastNlMeansDenoisingColored(noisy, None, 9, 9, 5, 15),
        "mean of 8 frames": developed(mean),
    }
    residual = (frame.linear - mean) / np.std(frame.linear - mean)
    return CropSet(
        "coffee at ISO 6400",
        {name: picture[window] for name, picture in versions.items()},
        {"OpenCV NLM": cv2.GaussianBlur(residual, (0, 0), 0.6)[window], "burst_denoise": 0.88 * residual[window]},
    )


@cache
def realistic_report() -> Report:
    """Return a report with every section."""
    low, _ = shot(1600, 8)
    high, _ = shot(6400, 9, {4: Fault(light=1.08), 7: Fault(shift=(1.9, 0.7)), 8: Fault(motion=24)})
    good = [high[number] for number in (0, 1, 2, 3, 5, 6)]
    mean = np.mean([frame.linear for frame in good], axis=0, dtype=np.float32)
    curve = tuple((step, 43.4 - 4.5 * np.exp(-step / 300) - 0.02 * (step == 1500)) for step in range(100, 1600, 100))
    record = TrainingRecord(
        settings=TrainSettings(minutes=4), steps_done=1500, best_step=1400, start_psnr_db=38.9, best_psnr_db=43.4,
        bursts=("astronaut_iso1600", "astronaut_iso6400"), burst_sha256=("ab" * 32, "cd" * 32), versions=VERSIONS,
        seconds=241.0, curve=curve,
    )  # fmt: skip
    pattern = np.random.default_rng(0).normal(0, 0.5, (200, 320))
    pattern += 0.4 * np.random.default_rng(1).normal(0, 1, (200, 1))
    steady = judged("coffee_iso1600", low)
    return Report(
        title="Synthetic APS-C: calibration of 21 November 2026",
        series=[steady, judged("coffee_iso6400", high), rejected(steady)],
        channels=[*measured(low, 1600), *measured(good, 6400)],
        pattern_maps=[PatternMap("Response of G1, rows 100 to 300", pattern, "%")],
        training=record,
        rows=rows(),
        model="model",
        cautions=["The model was trained on coffee_iso1600: its scores there tell nothing about new pictures."],
        crops=[crops(high[0], mean)],
        provenance={
            "command": "burst-denoise report coffee_iso1600 coffee_iso6400 --model model.safetensors",
            "date": "2026-11-21 08:12 UTC",
            "burst_denoise": "0.1.0",
            "model.safetensors, sha256": "9f" * 32,
        },
    )
