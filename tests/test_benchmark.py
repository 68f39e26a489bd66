"""The benchmark: rows true to known truth, equal conditions for all methods, and the table people see."""

import io
import json
import logging
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from burst_denoise.burst.burst import Burst
from burst_denoise.cli.tables import score_table
from burst_denoise.errors import ModelFileError, TooFewFramesError
from burst_denoise.frame.frame import Frame, to_linear
from burst_denoise.frame.synthetic import SyntheticCamera, shoot
from burst_denoise.jobs.ingest import open_inputs
from burst_denoise.schemas import FrameInfo, FrameVerdict
from burst_denoise.score import benchmark as module
from burst_denoise.score.baselines import nlm_stabilised
from burst_denoise.score.benchmark import score_methods
from burst_denoise.score.metrics import mean_squared_error
from burst_denoise.score.rows import BenchmarkRow
from burst_denoise.score.tuning import tune
from burst_denoise.sensor.defects import find_defects
from tests.shots import stored

STRENGTH = {"nlm-stabilised": 0.9, "nlm-colour-8bit": 0.5}
CAMERA = SyntheticCamera(prnu=0.002, dark_offset_std_dn=0.0, hot_fraction=3e-4)


def picture(side: int = 160) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] / side
    waves = 0.3 + 0.2 * np.sin(9 * rows + 4 * columns) * np.cos(6 * columns)
    scene = np.stack([0.5 * waves, waves, 0.65 * waves], axis=2)
    scene[20:60, 30:90] *= 1.8
    scene[:8, :8] = 1.5  # a lamp: saturated in every frame
    return scene.astype(np.float32)


def store(
    folder: Path, frames: list[Frame], clean: np.ndarray | None, gains: list[float] | None = None, name: str = "waves"
) -> Burst:
    verdicts = [
        FrameVerdict(file=str(frame.path), accepted=True, reasons=(), gain=gain, shift_px=0.0)
        for frame, gain in zip(frames, gains or [1.0] * len(frames), strict=True)
    ]
    burst = stored(folder / f"{name}.burst", name, frames, verdicts, 0.01, 0.001, clean)
    return replace(burst, shared_defects=find_defects(burst.mosaic, scenes=[burst.scene()]))


@pytest.fixture(scope="module")
def shot() -> tuple[list[Frame], np.ndarray]:
    frames, clean_dn = shoot(CAMERA, picture(), 3200, 8, 1)
    return frames, to_linear(clean_dn, frames[0].info)


@pytest.fixture(scope="module")
def burst(tmp_path_factory, shot) -> Burst:
    return store(tmp_path_factory.mktemp("bursts"), *shot)


def identity(image: np.ndarray, frame: Frame) -> np.ndarray:
    return image


def run(burst: Burst, means=module.MEANS, **settings) -> dict[str, BenchmarkRow]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "MEANS", means)
        rows = score_methods([burst], settings.pop("methods", {}), strengths=settings.pop("strengths", {}), **settings)
        return {row.method: row for row in rows}


@pytest.fixture(scope="module")
def rows(burst) -> dict[str, BenchmarkRow]:
    return run(burst, methods={"model": identity}, strengths=STRENGTH, means=(2, 4))


def test_every_method_has_its_row(rows):
    expected = ["single frame", "mean of 2", "mean of 4", "nlm-colour-8bit", "nlm-stabilised", "model"]
    assert list(rows) == expected
    assert {row.burst for row in rows.values()} == {"waves"}
    assert rows["nlm-stabilised"].strength == 0.9
    assert rows["model"].strength is None


def test_corrected_psnr_is_the_true_one_for_every_method(rows):
    for row in rows.values():
        assert row.corrected_psnr_db == pytest.approx(row.true_psnr_db, abs=0.1), row.method


def test_the_true_score_has_an_interval_that_holds_what_all_frames_say(burst, rows):
    expected = run(burst, frames=8, methods={"model": identity})["model"].true_psnr_db
    low, high = rows["model"].true_psnr_db_interval
    assert low < rows["model"].true_psnr_db < high < low + 0.5
    assert low < expected < high


def test_the_true_score_lies_in_the_interval_widened_by_the_fixed_pattern(rows):
    for method, row in rows.items():
        low, high = row.corrected_psnr_db_interval
        assert low - 0.1 < row.true_psnr_db < high + 0.05, row.method
        # Of the mean of four there are only two results.
        assert low < row.corrected_psnr_db < high < low + (1.5 if method == "mean of 4" else 0.5)
        assert row.upsnr_db == pytest.approx(row.corrected_psnr_db, abs=0.3)


def test_a_method_is_worth_as_many_frames_as_averaging_says(rows):
    for method, frames in (("single frame", 1), ("mean of 2", 2), ("mean of 4", 4)):
        low, high = rows[method].worth_frames_interval
        assert low < frames < high
        assert rows[method].worth_frames == pytest.approx(frames, rel=0.05)
        # In units of its own noise one frame scores 0 dB.
        assert rows[method].stabilised_psnr_db == pytest.approx(10 * np.log10(frames), abs=0.2)
        assert rows[method].stabilised_psnr_db_interval[0] < rows[method].stabilised_psnr_db
    assert rows["nlm-stabilised"].worth_frames > 1.05


def test_every_row_is_compared_with_nlm_on_the_same_frames(burst, rows):
    bar = rows["nlm-stabilised"]
    assert (bar.over_nlm_db, bar.over_nlm_db_interval) == (0, (0, 0))
    for method in ("single frame", "nlm-colour-8bit", "model"):
        row = rows[method]
        assert row.over_nlm_db == pytest.approx(row.corrected_psnr_db - bar.corrected_psnr_db, abs=1e-9)
        low, high = row.over_nlm_db_interval
        assert low < row.over_nlm_db < high
    without = run(burst)["single frame"]
    assert without.over_nlm_db is without.over_nlm_db_interval is None


def test_what_was_taken_away_is_judged(burst: Burst, rows):
    def blur(image: np.ndarray, frame: Frame) -> np.ndarray:
        planes = [cv2.GaussianBlur(image[r::2, c::2], (0, 0), 1.0) for r, c in np.ndindex(2, 2)]
        blurred = np.empty_like(image)
        for plane, (r, c) in zip(planes, np.ndindex(2, 2), strict=True):
            blurred[r::2, c::2] = plane
        return blurred

    assert (rows["model"].residual_correlation, rows["model"].signal_leak) == (0, 0)
    assert rows["mean of 2"].signal_leak == pytest.approx(0, abs=0.02)
    assert rows["mean of 2"].residual_correlation < 0.03
    blurred = run(burst, methods={"blur": blur})["blur"]
    assert blurred.signal_leak > rows["nlm-stabilised"].signal_leak + 0.1
    assert blurred.residual_correlation > 0.1


def test_a_model_of_another_sensor_is_passed_over(burst: Burst):
    def refuses(image: np.ndarray, frame: Frame) -> np.ndarray:
        raise ModelFileError("other.safetensors: belongs to another sensor")

    assert list(run(burst, methods={"other": refuses, "model": identity})) == ["single frame", "mean of 2", "model"]


def test_no_frame_is_in_two_means(burst: Burst):
    found = run(burst, means=(2, 3, 4, 6))
    assert [len(found[f"mean of {count}"].frames) for count in (2, 3, 4, 6)] == [3, 2, 2, 1]
    assert found["mean of 6"].worth_frames == pytest.approx(6, rel=0.15)


def test_known_averages_come_out_as_the_closed_form_says(rows):
    single = rows["single frame"].true_psnr_db
    assert rows["mean of 2"].corrected_psnr_db == pytest.approx(single + 3.01, abs=0.15)
    assert rows["mean of 4"].corrected_psnr_db == pytest.approx(single + 6.02, abs=0.2)
    assert rows["model"].corrected_psnr_db == rows["single frame"].corrected_psnr_db
    assert rows["model"].true_psnr_db == single
    assert rows["model"].ssim == rows["single frame"].ssim < rows["nlm-stabilised"].ssim < 1


def test_the_difference_of_the_scores_is_the_fixed_pattern(tmp_path: Path):
    camera = SyntheticCamera(prnu=0.02, dark_offset_std_dn=0.0, hot_fraction=0.0)
    frames, clean_dn = shoot(camera, picture(), 400, 10, 3)
    row = run(store(tmp_path, frames, to_linear(clean_dn, frames[0].info)))["mean of 2"]

    def error(db: float) -> float:
        return 10 ** (-db / 10)

    difference = error(row.true_psnr_db) - error(row.corrected_psnr_db)
    assert difference > 0.3 * error(row.true_psnr_db)  # here it matters, and the row says how much
    assert difference == pytest.approx(error(row.fixed_pattern_psnr_db), rel=0.05)


def test_all_methods_count_on_the_same_photosites_and_saturated_ones_on_none(burst: Burst):
    def spoils_the_lamp(image: np.ndarray, frame: Frame) -> np.ndarray:
        spoiled = image.copy()
        spoiled[:8, :8] = 99
        return spoiled

    found = run(burst, methods={"model": identity, "spoiler": spoils_the_lamp})
    assert burst.saturated[:8, :8].all()
    assert found["spoiler"].corrected_psnr_db == found["model"].corrected_psnr_db
    assert found["spoiler"].true_psnr_db == found["model"].true_psnr_db


def test_a_clean_reference_is_brought_to_the_brightness_of_the_burst(tmp_path: Path, burst: Burst, shot):
    frames, clean = shot
    dimmer = run(store(tmp_path, frames, clean * np.float32(0.8)))["single frame"]
    assert dimmer.true_psnr_db == pytest.approx(run(burst)["single frame"].true_psnr_db, abs=0.01)


def test_flicker_that_was_corrected_costs_nothing(tmp_path: Path, burst: Burst):
    from burst_denoise.frame.synthetic import Fault

    frames, clean_dn = shoot(CAMERA, picture(), 3200, 8, 1, {k: Fault(light=1.015) for k in range(1, 8, 2)})
    clean = to_linear(clean_dn, frames[0].info)
    flickering = run(store(tmp_path, frames, clean, [1.0, 1.015] * 4))
    for method, row in run(burst).items():
        assert flickering[method].corrected_psnr_db == pytest.approx(row.corrected_psnr_db, abs=0.15)


def test_a_burst_without_clean_reference_has_no_true_score(tmp_path: Path, burst: Burst, shot):
    blind = run(store(tmp_path, shot[0], None))["single frame"]
    assert blind.true_psnr_db is blind.true_psnr_db_interval is None
    assert blind.fixed_pattern_psnr_db is None
    assert blind.corrected_psnr_db == run(burst)["single frame"].corrected_psnr_db
    seen = run(burst)["single frame"]
    assert 0 < blind.ssim < seen.ssim  # its reference is noisy
    # Seven frames' mean: as far above one frame as averaging brings it.
    assert blind.ssim_reference_psnr_db == pytest.approx(blind.corrected_psnr_db + 10 * np.log10(7), abs=0.1)
    assert seen.ssim_reference_psnr_db is None


def test_the_seed_chooses_the_frames_and_equal_seeds_give_equal_scores(burst: Burst):
    first, again, other = (run(burst, seed=seed)["mean of 2"] for seed in (0, 0, 1))
    assert first.frames == again.frames != other.frames
    assert (first.corrected_psnr_db, first.ssim) == (again.corrected_psnr_db, again.ssim)
    assert len(first.frames) == 3
    assert len(run(burst, frames=99)["single frame"].frames) == 8
    assert [k * 8 // 3 <= frame <= (k + 1) * 8 // 3 for k, frame in enumerate(first.frames)] == [True] * 3


def test_a_burst_too_short_for_a_mean_goes_without_its_row(tmp_path: Path, shot):
    four = store(tmp_path, shot[0][:4], None)
    assert list(run(four, means=(2, 3))) == ["single frame", "mean of 2"]
    two = store(tmp_path, shot[0][:2], None, name="short")
    with pytest.raises(TooFewFramesError, match="short: 2 frames; a benchmark needs at least 3"):
        run(two)


def test_seconds_per_megapixel_and_memory_are_those_of_the_method(burst: Burst):
    def slow(image: np.ndarray, frame: Frame) -> np.ndarray:
        time.sleep(0.1)
        return image

    def hungry(image: np.ndarray, frame: Frame) -> np.ndarray:
        held = np.ones(300_000_000, np.uint8)
        time.sleep(0.02)
        return image + np.float32(held[0] - 1)

    found = run(burst, methods={"slow": slow, "hungry": hungry, "after": slow})
    assert found["slow"].seconds_per_megapixel == pytest.approx(0.1 / (160 * 160 / 1e6), rel=0.3)
    assert found["hungry"].peak_memory_mb > found["slow"].peak_memory_mb + 250
    assert found["after"].peak_memory_mb < found["hungry"].peak_memory_mb - 250


def test_methods_are_told_what_the_file_says_and_the_noise_profile_of_the_burst(burst: Burst):
    told = []

    def curious(image: np.ndarray, frame: Frame) -> np.ndarray:
        told.append((image.shape, frame.info.iso, frame.info.cfa, frame.noise_profile))
        return image

    run(burst, methods={"model": curious})
    assert told == [((160, 160), 3200, "RGGB", burst.profile)] * 3


def test_a_row_is_a_json_object_with_the_promised_keys(rows):
    row = json.loads(rows["single frame"].to_json())
    promised = {"method", "burst", "corrected_psnr_db", "true_psnr_db", "ssim", "seconds_per_megapixel"}
    assert promised | {"peak_memory_mb", "versions", "seed", "frames"} <= set(row)
    assert {"burst-denoise", "numpy", "opencv", "python", "torch"} <= set(row["versions"])
    assert BenchmarkRow.parse(json.dumps(row), "row") == rows["single frame"]


def test_an_error_too_small_to_measure_is_null(burst: Burst):
    def oracle(image: np.ndarray, frame: Frame) -> np.ndarray:
        return np.array(burst.clean)

    perfect = run(burst, methods={"model": oracle}, frames=8)["model"]
    assert perfect.corrected_psnr_db is None or perfect.corrected_psnr_db > 55
    assert perfect.corrected_psnr_db_interval[1] is None
    assert perfect.worth_frames_interval is None
    assert perfect.true_psnr_db > 60  # a scale of the reference apart
    assert json.loads(perfect.model_copy(update={"corrected_psnr_db": None}).to_json())["corrected_psnr_db"] is None


@pytest.mark.parametrize("domain", ["mono", "rgb"])
def test_pictures_without_a_mosaic_are_benchmarked_too(tmp_path: Path, domain):
    rng = np.random.default_rng(5)
    scene = np.moveaxis(picture(96), 2, 0) * 200
    scene = scene[0] if domain == "mono" else scene
    info = FrameInfo(
        domain=domain, camera=None, cfa=None, height=96, width=96,
        black_level=(0.0,) * (1 if domain == "mono" else 3), white_level=255.0,
    )  # fmt: skip
    noisy = [np.clip(np.rint(scene + 8 * rng.standard_normal(scene.shape)), 0, 255).astype(np.uint8) for _ in range(6)]
    frames = [Frame(dn, info, Path(f"{k}.png")) for k, dn in enumerate(noisy)]
    found = run(store(tmp_path, frames, None), strengths=STRENGTH)
    nlm = ["nlm-stabilised"] if domain == "mono" else ["nlm-colour-8bit", "nlm-stabilised"]
    assert list(found) == ["single frame", "mean of 2", *nlm]
    assert found["nlm-stabilised"].corrected_psnr_db > found["single frame"].corrected_psnr_db + 2


@pytest.mark.slow
def test_worth_frames_is_the_number_of_real_averaged_frames_with_the_same_true_error(tmp_path: Path, shared_data: Path):
    """Bursts of an independent generator: Poisson, heavy-tailed read noise, row noise, uneven response, hot photosites.

    The true error is that against the clean mosaic, defects left out, uneven response (0.5 %) left in: it is the same
    in one frame, in averages and in the denoised frame.
    """
    bursts = open_inputs([shared_data / "sim_canon700d"], tmp_path).bursts
    assert len(bursts) == 6
    for burst in bursts:
        others = [other for other in bursts if other.name.split("_")[0] != burst.name.split("_")[0]]
        row = run(burst, strengths={"nlm-stabilised": tune(nlm_stabilised, others)}, frames=10)["nlm-stabilised"]
        counts = ~burst.excluded
        frames = [burst.linear(index) for index in range(len(burst))]
        seen, clean = burst.mean()[counts].astype(float), burst.clean[counts].astype(float)
        truth = burst.clean * np.float32((seen @ clean) / (clean @ clean))
        errors = []
        for count in range(1, len(frames) + 1):
            groups = [frames[first : first + count] for first in range(0, len(frames) - count + 1, count)]
            errors.append(np.mean([mean_squared_error(np.mean(group, axis=0), truth, counts) for group in groups]))
        own = 10 ** (-row.true_psnr_db / 10)
        averaged = np.exp(np.interp(-np.log(own), -np.log(errors), np.log(np.arange(1, len(frames) + 1))))
        logging.getLogger(__name__).info(
            "%s: worth %.3f [%.3f, %.3f], averaging says %.3f; corrected %.2f, true %.2f, fixed pattern %.2f dB",
            *(burst.name, row.worth_frames, *row.worth_frames_interval, averaged),
            *(row.corrected_psnr_db, row.true_psnr_db, row.fixed_pattern_psnr_db),
        )
        assert row.worth_frames == pytest.approx(averaged, rel=0.1)


def test_pictures_too_small_for_ssim_have_none(tmp_path: Path):
    frames, _ = shoot(CAMERA, picture()[40:60, 40:60], 3200, 4, 1)
    assert run(store(tmp_path, frames, None))["single frame"].ssim is None


def test_the_table_shows_what_the_rows_say(rows):
    console = Console(file=io.StringIO(), width=140)
    console.print(
        score_table([*rows.values(), rows["model"].model_copy(update={"burst": "other", "true_psnr_db": None})])
    )
    text = console.file.getvalue()
    for row in rows.values():
        assert row.method in text
        assert f"{row.corrected_psnr_db:.2f}" in text
    assert text.count("waves") == 1
    assert " - " in text.splitlines()[-2]
