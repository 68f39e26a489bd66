"""Scores on noisy/clean pairs: true to known noise, equal conditions for all methods, baselines tuned by true error."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from burst_denoise.errors import InputFileError, ModelFileError
from burst_denoise.frame.frame import Frame
from burst_denoise.io.pairs import NoisyCleanPair, read_pairs
from burst_denoise.score import paired
from burst_denoise.score.baselines import nlm_stabilised
from burst_denoise.score.outputs import Outputs
from burst_denoise.score.paired import paired_strengths, profiled, score_pair, source_of
from burst_denoise.score.rows import BenchmarkRow

SIZE = (160, 192)
SCALE, OFFSET = 2e-3, 1e-4
"""Of the noise of green; red has twice, blue four times as much."""


def write_pair(folder: Path, name: str, seed: int, dtype: type = np.uint16) -> None:
    """Write a smooth picture with noise of variance SCALE x + OFFSET in green, and without."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(50, 200, (SIZE[0] // 8, SIZE[1] // 8, 3), dtype=np.uint8)
    clean = cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC).astype(np.float64) / 255  # blue, green, red
    noisy = clean + np.sqrt((SCALE * clean + OFFSET) * [4, 1, 2]) * rng.standard_normal(clean.shape)
    for kind, values in (("noisy", noisy), ("clean", clean)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        most = np.iinfo(dtype).max
        cv2.imwrite(str(folder / kind / f"{name}.png"), np.clip(np.rint(values * most), 0, most).astype(dtype))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[NoisyCleanPair]:
    folder = tmp_path_factory.mktemp("pairs")
    for seed, name in enumerate(("a", "b", "c")):
        write_pair(folder, name, seed)
    return read_pairs(folder)


def identity(image: np.ndarray, frame: Frame) -> np.ndarray:
    return image


def rows(pair: NoisyCleanPair, strengths: dict[str, float] | None = None, **methods: object) -> dict[str, BenchmarkRow]:
    return {row.method: row for row in score_pair(pair, methods, strengths or {})}  # type: ignore[arg-type]


def test_the_noise_profile_is_fitted_to_noisy_minus_clean(pairs: list[NoisyCleanPair]):
    frame, clean = profiled(pairs[0])
    profile = frame.noise_profile
    assert profile is not None
    assert clean.shape == (3, *SIZE)
    for plane, factor in enumerate((2, 1, 4)):
        # The line is only known where the picture has light; there it holds.
        at = 0.5 * profile.shot_noise_scale[plane] + profile.read_noise_variance[plane]
        assert at == pytest.approx(factor * (0.5 * SCALE + OFFSET), rel=0.05)


def test_the_true_psnr_of_the_noisy_picture_is_that_of_its_noise(pairs: list[NoisyCleanPair]):
    pair = pairs[0]
    row = rows(pair)["single frame"]
    noise = (SCALE * pair.clean.linear.astype(float) + OFFSET) * np.array([2, 1, 4])[:, None, None]
    assert row.true_psnr_db == pytest.approx(-10 * math.log10(noise.mean()), abs=0.1)
    low, high = row.true_psnr_db_interval or (math.nan, math.nan)
    assert low < row.true_psnr_db < high < low + 2
    assert (row.burst, row.frames, row.brightness) == ("a", (0,), 1)


def test_there_is_no_corrected_score_and_nothing_that_one_frame_cannot_tell(pairs: list[NoisyCleanPair]):
    row = rows(pairs[0])["single frame"]
    assert row.corrected_psnr_db is row.upsnr_db is row.worth_frames is row.stabilised_psnr_db is None
    assert row.corrected_psnr_db_interval == (None, None)
    assert row.ssim is not None
    assert row.ssim_reference_psnr_db is None


def test_methods_baselines_and_differences_are_scored_alike(pairs: list[NoisyCleanPair]):
    def told(image: np.ndarray, frame: Frame) -> np.ndarray:
        assert frame.noise_profile is not None
        assert frame.info.domain == "rgb"
        return image

    def refuses(image: np.ndarray, frame: Frame) -> np.ndarray:
        raise ModelFileError("not this one")

    found = rows(pairs[0], {"nlm-stabilised": 2.0}, told=told, no=refuses, oracle=lambda *_: pairs[0].clean.linear)
    assert list(found) == ["single frame", "nlm-stabilised", "told", "oracle"]
    assert found["told"].true_psnr_db == found["single frame"].true_psnr_db
    bar = found["nlm-stabilised"]
    assert (bar.strength, bar.over_nlm_db, bar.over_nlm_db_interval) == (2.0, 0, (0, 0))
    assert found["told"].over_nlm_db == pytest.approx(found["told"].true_psnr_db - bar.true_psnr_db)
    assert bar.true_psnr_db > found["told"].true_psnr_db + 3
    assert bar.seconds_per_megapixel > 0
    assert found["oracle"].true_psnr_db is None  # no error: infinite
    assert found["oracle"].over_nlm_db is None


def test_what_was_taken_away_is_judged(pairs: list[NoisyCleanPair]):
    def blur(image: np.ndarray, frame: Frame) -> np.ndarray:
        return np.stack([cv2.GaussianBlur(plane, (0, 0), 3.0) for plane in image])

    found = rows(pairs[0], same=identity, blur=blur, oracle=lambda *_: pairs[0].clean.linear)
    assert (found["same"].residual_correlation, found["same"].signal_leak) == (0, 0)
    assert found["oracle"].signal_leak == pytest.approx(0, abs=0.02)
    assert found["oracle"].residual_correlation == pytest.approx(0, abs=1e-6)
    assert found["blur"].signal_leak > 0.5


def test_baselines_are_tuned_by_their_true_error(pairs: list[NoisyCleanPair], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(paired, "baselines_for", lambda info: {"nlm-stabilised": nlm_stabilised})
    strength = paired_strengths(pairs[:1])["nlm-stabilised"]
    scores = {
        factor: rows(pairs[0], {"nlm-stabilised": strength * factor})["nlm-stabilised"].true_psnr_db
        for factor in (0.8, 1, 1.25)
    }
    assert scores[1] > max(scores[0.8], scores[1.25])


def test_outputs_of_another_program_are_scored(tmp_path: Path, pairs: list[NoisyCleanPair]):
    pair = pairs[0]
    clean = cv2.imread(str(pair.clean_file), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(tmp_path / "a-brighter.png"), (clean // 257 + 1).astype(np.uint8))
    matched = Outputs(tmp_path).matched([source_of(one) for one in pairs])
    row = rows(pair, other=matched)["other"]
    assert row.true_psnr_db == pytest.approx(20 * math.log10(255), abs=1e-3)
    assert row.seconds_per_megapixel is None
    assert "other" not in rows(pairs[1], other=matched)


def test_pictures_of_two_kinds_are_no_pair(tmp_path: Path, pairs: list[NoisyCleanPair]):
    cv2.imwrite(str(tmp_path / "grey.png"), np.zeros(SIZE, np.uint8))
    mixed = NoisyCleanPair("a", "a", pairs[0].noisy_file, tmp_path / "grey.png")
    with pytest.raises(InputFileError, match=r"a\.png: is not of the size and kind of grey\.png"):
        rows(mixed)


def test_a_picture_without_any_light_below_white_is_refused(tmp_path: Path):
    for kind, value in (("noisy", 254), ("clean", 255)):
        (tmp_path / kind).mkdir()
        cv2.imwrite(str(tmp_path / kind / "a.png"), np.full((*SIZE, 3), value, np.uint8))
    with pytest.raises(InputFileError, match=r"a\.png: its noise cannot be measured: every photosite is at the white"):
        rows(read_pairs(tmp_path)[0])


def test_a_picture_without_noise_is_refused(pairs: list[NoisyCleanPair]):
    same = NoisyCleanPair("a", "a", pairs[0].clean_file, pairs[0].clean_file)
    with pytest.raises(InputFileError, match=r"a\.png: is equal to a\.png; a noisy picture is needed"):
        rows(same)
