"""Photon transfer with intervals: values and coverage against measured cameras, a real CCD and closed forms."""

import math
from pathlib import Path

import numpy as np
import pytest

from burst_denoise.frame.mosaic import MONO, RGGB
from burst_denoise.schemas import Estimate
from burst_denoise.sensor.channel_fit import ChannelNoise, estimate_at, fit_channels
from burst_denoise.sensor.photon_transfer import TransferSamples, transfer_samples
from tests.sensors import Sensor, measured_sensor, mosaic, varied_scene

CAMERAS = ["CanonEOS700D", "NikonD850", "SonyA7S2"]
GAUSSIAN = 0.1349
"""Shape at which Tukey's lambda distribution is within 0.001 of a Gaussian in its cumulative probability."""


def quiet_sensor(**changes: float) -> Sensor:
    """Return a 12-bit sensor of 2 DN per electron and 10 DN of near-Gaussian read noise."""
    terms = {"gain": 2.0, "tukey_scale": 7.0, "tukey_shape": GAUSSIAN, "row_std": 0.0, "black": 256, "white": 4095}
    return Sensor(**(terms | changes))


def measured(frames: list[np.ndarray], cfa: str | None = None) -> ChannelNoise:
    return fit_channels([transfer_samples(frames, mosaic(cfa))])[0]


def shots(sensor: Sensor, size: int, count: int, seed: int) -> ChannelNoise:
    return measured(sensor.frames(varied_scene(size, size), count, seed))


def ratios(channel: ChannelNoise, sensor: Sensor) -> np.ndarray:
    """Return (value, low, high) of gain, read noise and row noise, relative to the truth."""
    truths = (
        (channel.shot_noise_scale, sensor.gain),
        (channel.read_noise_std, math.sqrt(sensor.read_variance)),
        (channel.row_noise_std, sensor.row_std),
    )
    found = [[estimate.value, estimate.low, estimate.high] / np.array(truth) for estimate, truth in truths]
    return np.array(found) * sensor.span


def coverage(sensor: Sensor, runs: int, size: int = 512) -> np.ndarray:
    """Return how often the intervals of gain, read and row noise hold the truth, planes R and B of every run."""
    scene = varied_scene(size, size)
    held = []
    for seed in range(1000, 1000 + runs):
        frames = sensor.frames(scene, 10, seed)
        channels = fit_channels([transfer_samples(frames, RGGB, darkest=-sensor.black / sensor.span)])
        found = np.array([ratios(channels[plane], sensor) for plane in (0, 3)])
        held.append((found[..., 1] <= 1) & (found[..., 2] >= 1))
    return np.mean(held, axis=(0, 1))


def test_intervals_hold_the_truth_of_a_measured_camera_in_most_of_20_runs(shared_data: Path):
    found = coverage(measured_sensor(shared_data / "noise_params", "SonyA7S2", 6400), 20, 256)
    assert (found >= 0.85).all(), found


@pytest.mark.slow
@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("iso", [100, 6400])
def test_intervals_hold_the_truth_of_a_measured_camera_in_95_of_100_runs(shared_data: Path, camera: str, iso: float):
    found = coverage(measured_sensor(shared_data / "noise_params", camera, iso), 200)
    assert (found >= 0.9).all(), found
    assert (found <= 0.99).all(), found


@pytest.mark.parametrize(
    ("camera", "iso"),
    [
        ("SonyA7S2", 100),
        *(
            pytest.param(camera, iso, marks=pytest.mark.slow)
            for camera in (*CAMERAS, "CanonEOS5D4", "CanonEOS70D")
            for iso in (100, 400, 1600, 6400)
            if (camera, iso) != ("SonyA7S2", 100)
        ),
    ],
)
def test_noise_of_a_measured_camera_is_found(shared_data: Path, camera: str, iso: float):
    sensor = measured_sensor(shared_data / "noise_params", camera, iso)
    frames = sensor.frames(varied_scene(1024, 1024), 16, 7)
    for channel in fit_channels([transfer_samples(frames, RGGB, darkest=-sensor.black / sensor.span)]):
        gain, read, row = ratios(channel, sensor)[:, 0]
        assert gain == pytest.approx(1, abs=0.03)
        assert read == pytest.approx(1, abs=0.05)
        assert row == pytest.approx(1, abs=0.1)
        assert abs(channel.correlation) < 0.01
        assert abs(channel.drift) < 0.01
        assert channel.misfit < 0.02


@pytest.mark.slow
def test_read_noise_of_half_an_electron_is_not_biased_by_how_photosites_are_binned(shared_data: Path):
    # Binned by a mean that they are part of, photosites gave 0.7 % too much.
    sensor = measured_sensor(shared_data / "noise_params", "NikonD850", 6400)
    scene = varied_scene(512, 512)
    found = [ratios(measured(sensor.frames(scene, 10, seed), "RGGB"), sensor)[1, 0] for seed in range(12)]
    assert np.mean(found) == pytest.approx(1, abs=0.003)


def ccd_samples(folder: Path) -> tuple[list[TransferSamples], float]:
    """Return all stacks of a real 12-bit CCD in one folder, and (white - black) in DN."""
    import cv2

    def frames(*names: str) -> list[np.ndarray]:
        return [cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED).astype(np.float64) for name in names]

    darks = [path.name for path in sorted(folder.glob("d_s_*"))]
    black = float(np.mean(frames(*darks)))
    stacks = [darks, [path.name for path in sorted(folder.glob("b_s_*"))]]
    for first in sorted([*folder.glob("b_0*_001.png"), *folder.glob("d_0*_001.png")]):
        stacks.append([first.name, first.name.replace("001.png", "002.png")])
    return [
        transfer_samples(
            [((dn - black) / (4095 - black)).astype(np.float32) for dn in frames(*names)],
            MONO,
            darkest=-black / (4095 - black),
        )
        for names in stacks
    ], 4095 - black


def test_gain_and_dark_noise_of_a_real_ccd_are_those_of_the_emva_reference(shared_data: Path):
    # 0.2801 DN/e- and 3.073 DN: package emva1288 1.0.2, the EMVA 1288 reference implementation, on the full set.
    samples, span = ccd_samples(shared_data / "emva_ccd12")
    (found,) = fit_channels(samples)
    assert found.shot_noise_scale.value * span == pytest.approx(0.2801, rel=0.01)
    assert found.read_noise_std.value * span == pytest.approx(3.073, rel=0.03)
    # The darks alone give 0.504 DN; stacks at the white level must not hide it.
    assert found.row_noise_std.value * span == pytest.approx(0.504, rel=0.03)
    assert found.read_noise_std.low < found.read_noise_std.value < found.read_noise_std.high
    assert 0 < found.column_noise_std.high * span < 0.05
    assert found.highest_level < 1


@pytest.mark.parametrize("read_std", [0.5, 0.7, 2.0])
def test_rounding_to_whole_dn_is_a_twelfth_of_read_noise_variance(read_std: float):
    # Summed exactly, the variance of rounded Gaussian noise departs from sigma^2 + 1/12 by up to 2.4 % at 0.5 DN, by
    # where its mean lies between two integers, and by 0.02 % on average; at 0.4 DN by 13 % and 0.2 %.
    rng = np.random.default_rng(3)
    centre = rng.uniform(99.5, 100.5, (256, 256))
    frames = [
        np.round(centre + read_std * rng.standard_normal(centre.shape)).astype(np.float32) / 4096 for _ in "12345678"
    ]
    found = measured(frames).bins
    variance = np.average(found[1], weights=found[2]) * 4096**2
    assert variance == pytest.approx(read_std**2 + 1 / 12, rel=0.01)


def test_row_and_column_noise_are_told_apart():
    sensor = quiet_sensor(row_std=2.0)
    frames = sensor.frames(varied_scene(384, 384), 10, 1)
    rows = measured(frames)
    columns = measured([frame.T.copy() for frame in frames])
    assert rows.row_noise_std.value * sensor.span == pytest.approx(2, rel=0.08)
    assert rows.column_noise_std.value * sensor.span < 0.3
    assert columns.column_noise_std.value == pytest.approx(rows.row_noise_std.value, rel=0.05)
    assert columns.row_noise_std.value * sensor.span < 0.3


def test_noise_correlated_over_neighbours_is_found_and_row_noise_is_not_taken_for_it():
    rng = np.random.default_rng(4)
    white = [rng.standard_normal((129, 129)) for _ in range(6)]
    # The mean of 2 x 2 white values correlates with its neighbour by 1/2.
    smooth = [0.2 + 0.01 * (a[1:, 1:] + a[1:, :-1] + a[:-1, 1:] + a[:-1, :-1]).astype(np.float32) for a in white]
    assert measured(smooth).correlation == pytest.approx(0.5, abs=0.01)
    striped = [
        (0.2 + 0.01 * (a + rng.standard_normal((129, 1)) + rng.standard_normal(129))).astype(np.float32) for a in white
    ]
    assert measured(striped).correlation == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("shape", [(8, 12), (16, 16)])
def test_white_noise_of_small_pictures_is_not_taken_for_correlated(shape: tuple[int, int]):
    rng = np.random.default_rng(5)
    found = [
        measured([0.2 + 0.01 * rng.standard_normal(shape).astype(np.float32) for _ in range(6)]).correlation
        for _ in range(60)
    ]
    assert np.mean(found) == pytest.approx(0, abs=0.02)


def test_a_flickering_lamp_does_not_raise_the_noise():
    sensor = quiet_sensor(row_std=0.5)
    frames = sensor.frames(varied_scene(384, 384), 10, 6)
    rng = np.random.default_rng(7)
    flickering = [frame * np.float32(1 + 0.02 * rng.standard_normal()) for frame in frames]
    steady, found = measured(frames), measured(flickering)
    assert steady.drift == pytest.approx(0, abs=0.01)
    assert found.drift > 0.1
    assert found.shot_noise_scale.value == pytest.approx(steady.shot_noise_scale.value, rel=0.02)
    assert found.read_noise_std.value == pytest.approx(steady.read_noise_std.value, rel=0.02)
    assert found.row_noise_std.value == pytest.approx(steady.row_noise_std.value, rel=0.2)


def test_what_drifts_slowly_is_reported_and_not_taken_for_noise():
    sensor = quiet_sensor()
    scene = varied_scene(384, 384)
    # A tripod that sinks: a twentieth of a photosite from frame to frame.
    frames = [
        shot + np.float32(0.05 * k) * (np.roll(scene, 1, axis=0) - scene).astype(np.float32)
        for k, shot in enumerate(sensor.frames(scene, 12, 8))
    ]
    found = measured(frames)
    assert found.drift > 0.1
    assert found.read_noise_std.value * sensor.span == pytest.approx(math.sqrt(sensor.read_variance), rel=0.03)


def test_flickering_photosites_are_left_out():
    sensor = quiet_sensor(row_std=0.5)
    clean = sensor.frames(varied_scene(256, 256), 10, 9)
    rng = np.random.default_rng(10)
    rows, columns = rng.integers(0, 256, 60), rng.integers(0, 256, 60)
    faulty = [frame.copy() for frame in clean]
    for frame in faulty:
        frame[rows, columns] += rng.choice([0, 0.5], 60).astype(np.float32)
    expected, found = measured(clean), measured(faulty)
    assert found.shot_noise_scale.value == pytest.approx(expected.shot_noise_scale.value, rel=0.02)
    assert found.read_noise_std.value == pytest.approx(expected.read_noise_std.value, rel=0.02)
    assert found.row_noise_std.value == pytest.approx(expected.row_noise_std.value, rel=0.2)


@pytest.mark.parametrize("frames", [2, 3, 10])
def test_heavy_tails_are_noise_and_no_defects(shared_data: Path, frames: int):
    # The heaviest tails of the measured cameras: cut at five standard deviations, two frames would lose 3.5 % of it.
    sensor = measured_sensor(shared_data / "noise_params", "NikonD850", 100)
    dark = np.zeros((512, 512))
    found = fit_channels([transfer_samples(sensor.frames(dark, frames, seed), MONO) for seed in range(3)])[0].bins
    std = math.sqrt(np.average(found[1], weights=found[2]))
    assert std * sensor.span == pytest.approx(math.sqrt(sensor.read_variance), rel=0.015)


def test_noise_cut_off_at_black_is_left_out_where_the_file_says_so():
    sensor = quiet_sensor(black=0)
    frames = sensor.frames(varied_scene(512, 512), 10, 11)
    truth = sensor.read_variance / sensor.span**2
    (found,) = fit_channels([transfer_samples(frames, MONO, darkest=0.0)])
    (fooled,) = fit_channels([transfer_samples(frames, MONO)])
    assert found.read_noise_variance.low < truth < found.read_noise_variance.high
    assert fooled.read_noise_variance.high < 0.7 * truth
    assert found.lowest_level > 3 * math.sqrt(truth)


def test_a_curve_that_is_no_line_is_reported_as_misfit():
    rng = np.random.default_rng(12)
    clean = varied_scene(256, 256)
    std = 0.02 * np.sqrt(0.01 + clean) * (1 + clean)
    curved = measured([(clean + std * rng.standard_normal(clean.shape)).astype(np.float32) for _ in range(8)])
    assert curved.misfit > 0.1
    assert shots(quiet_sensor(), 256, 8, 12).misfit < 0.02


def test_a_dark_stack_narrows_the_read_noise_and_a_scene_gives_the_gain():
    sensor = quiet_sensor()
    scene = transfer_samples(sensor.frames(0.1 + 0.5 * varied_scene(256, 256), 8, 13), MONO)
    dark = transfer_samples(sensor.frames(np.zeros((128, 256)), 8, 14), MONO)
    (alone,), (both,) = fit_channels([scene]), fit_channels([scene, dark])
    truth = math.sqrt(sensor.read_variance) / sensor.span
    for found in (alone, both):
        assert found.read_noise_std.low < truth < found.read_noise_std.high
        assert found.shot_noise_scale.value * sensor.span == pytest.approx(sensor.gain, rel=0.05)
    widths = [found.read_noise_std.high - found.read_noise_std.low for found in (alone, both)]
    assert widths[1] < widths[0] / 3
    assert both.bins.shape[0] == 3
    assert (np.diff(both.bins[0]) >= 0).all()


def test_dark_frames_alone_leave_the_gain_open():
    sensor = quiet_sensor()
    found = measured(sensor.frames(np.zeros((256, 256)), 10, 16))
    assert found.shot_noise_scale.low == 0
    assert found.shot_noise_scale.high * sensor.span > sensor.gain
    assert found.read_noise_std.value * sensor.span == pytest.approx(math.sqrt(sensor.read_variance), rel=0.01)


def test_small_pictures_have_wide_intervals_that_hold_the_truth():
    sensor = quiet_sensor()
    scene = np.tile(np.linspace(0, 0.8, 32) ** 2, (32, 1))
    found = [measured(sensor.frames(scene, 6, seed)).shot_noise_scale for seed in range(60)]
    truth = sensor.gain / sensor.span
    assert np.mean([gain.low <= truth <= gain.high for gain in found]) >= 0.88
    assert np.median([gain.high / gain.low for gain in found]) > 1.1
    tiny = measured([np.float32(0.2 + 0.01 * k * np.arange(12).reshape(1, 12)) for k in (1, 2, 1, 3)])
    assert tiny.read_noise_variance.low == -math.inf


def test_inputs_stay_as_they_are():
    frames = quiet_sensor().frames(varied_scene(64, 64), 4, 15)
    copies = [frame.copy() for frame in frames]
    measured(frames, "GBRG")
    assert all((a == b).all() for a, b in zip(frames, copies, strict=True))


def test_what_cannot_be_fitted_is_refused():
    frame = np.full((32, 32), 0.2, np.float32)
    with pytest.raises(ValueError, match="no stack given"):
        fit_channels([])
    with pytest.raises(ValueError, match=r"a stack of 1 frame\(s\)"):
        transfer_samples([frame], MONO)
    with pytest.raises(ValueError, match="white level"):
        fit_channels([transfer_samples([frame + 1, frame + 1.001], MONO)])


def estimate(value: float, half: float) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half)


def test_gain_between_two_isos_is_proportional_to_the_iso():
    found = estimate_at(100, estimate(2e-5, 2e-7), 6400, estimate(128e-5, 128e-7), 800, power=1)
    assert found.value == pytest.approx(16e-5)
    # Both ends are known to 1 %: the mean of their logarithms, halfway, to 1 % / sqrt(2).
    assert found.high - found.value == pytest.approx(16e-7 / math.sqrt(2), rel=1e-6)
    assert found.value - found.low == pytest.approx(16e-7 / math.sqrt(2), rel=1e-6)


@pytest.mark.parametrize("iso", [200, 400, 800, 1600, 3200])
def test_read_noise_between_two_isos_holds_noise_before_and_after_the_amplifier(iso: float):
    def variance(iso: float) -> float:
        return (1.2 * iso / 100) ** 2 + 4.0**2

    found = estimate_at(100, estimate(variance(100), 0.5), 6400, estimate(variance(6400), 50), iso)
    assert found.low < variance(iso) < found.high
    assert found.low < found.value < found.high


def test_an_estimate_at_a_calibrated_iso_is_that_estimate():
    low, high = estimate(3.0, 0.1), estimate(90.0, 2.0)
    for iso, end in ((100, low), (1600, high)):
        found = estimate_at(100, low, 1600, high, iso)
        assert (found.value, found.low, found.high) == pytest.approx((end.value, end.low, end.high))
    assert estimate_at(100, low, 100, low, 100) == low


def test_a_negative_variance_is_interpolated_linearly_and_beyond_the_span_is_refused():
    found = estimate_at(100, estimate(-1.0, 0.5), 400, estimate(3.0, 0.5), 200)
    assert found.value == pytest.approx(1.0)
    assert found.low < found.value < found.high
    with pytest.raises(ValueError, match="does not lie between"):
        estimate_at(100, estimate(1.0, 0.1), 400, estimate(3.0, 0.5), 800)
