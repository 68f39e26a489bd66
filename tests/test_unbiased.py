"""Scores without a clean picture: true to known truth, honest intervals, and worth as many frames as averaging says."""

import logging
import math
from collections.abc import Callable
from typing import ClassVar

import cv2
import numpy as np
import pytest

from burst_denoise.frame.mosaic import RGGB
from burst_denoise.score.metrics import corrected_mse, mean_squared_error, psnr_of_mse
from burst_denoise.score.unbiased import BurstScore, paired_bracket_db, paired_difference_db
from burst_denoise.sensor.moments import frame_moments

Denoise = Callable[[np.ndarray], np.ndarray]

SHOT_NOISE_SCALE = {"low": 2e-5, "middle": 2e-4, "high": 1.5e-3}
"""Linear units. About ISO 100, 1600 and 12800 of a camera."""


def scene(side: int = 128) -> np.ndarray:
    """Return waves, edges and, in the lower half, fine texture: its blocks differ in how hard they are."""
    y, x = np.mgrid[:side, :side]
    grey = 0.3 + 0.15 * np.sin(x / 7 + y / 19) * np.cos(y / 11) + 0.2 * ((x + y) % 60 > 30)
    texture = cv2.GaussianBlur(np.random.default_rng(5).standard_normal((side // 2, side)), (0, 0), 1.0)
    grey[side - side // 2 :] += 0.06 * texture
    return np.maximum(grey, 0.01).astype(np.float32)


def noise_variance(clean: np.ndarray, scale: float) -> np.ndarray:
    return (scale * clean + 20 * scale**2).astype(np.float32)


def shoot(clean: np.ndarray, scale: float, count: int, seed: int, row_noise: float = 0.1) -> np.ndarray:
    """Return frames with photon and read noise, and a little row noise."""
    rng = np.random.default_rng([seed, round(1e6 * scale)])
    std = np.sqrt(noise_variance(clean, scale))
    rows = row_noise * std.mean() * rng.standard_normal((count, clean.shape[0], 1))
    return (clean + std * rng.standard_normal((count, *clean.shape)) + rows).astype(np.float32)


def score_of(frames: np.ndarray, results: dict[tuple[int, ...], np.ndarray], variance=None, mask=None) -> BurstScore:
    shape = frames.shape[1:]
    mask = np.ones(shape, bool) if mask is None else mask
    variance = np.ones(shape, np.float32) if variance is None else variance
    score = BurstScore(lambda index, window: frames[index][..., window[0], window[1]], len(frames), mask, variance)
    for used, image in results.items():
        score.add(image, used)
    return score


def identity(frame: np.ndarray, scale: float) -> np.ndarray:
    return frame


def nlm(frame: np.ndarray, scale: float) -> np.ndarray:
    """Filter on the square root, where photon noise is uniform."""
    uniform = np.sqrt(np.maximum(frame, 0))
    levels = np.rint(np.clip(uniform, 0, 1.2) * 50000).astype(np.uint16)
    strength = 0.85 * math.sqrt(scale) / 2 * 50000
    filtered = cv2.fastNlMeansDenoising(levels, [strength], None, 7, 21, cv2.NORM_L1).astype(np.float32) / 50000
    return filtered**2 + np.float32(scale / 4)


def blur(frame: np.ndarray, scale: float) -> np.ndarray:
    return cv2.GaussianBlur(frame, (0, 0), 0.8)


def test_the_error_is_that_of_the_leave_one_out_form_on_the_photosites_that_count():
    frames = shoot(scene(64), 1e-3, 6, 0)
    mask = np.random.default_rng(1).random((64, 64)) < 0.7
    results = {(index,): blur(frames[index], 0) for index in (0, 2, 5)}
    spoiled = {used: np.where(mask, image, 99) for used, image in results.items()}
    moments = frame_moments(frames)
    expected = np.mean([corrected_mse(image, moments.without(frames[i]), mask) for (i,), image in results.items()])
    assert score_of(frames, spoiled, mask=mask).mse().value == pytest.approx(expected, rel=1e-6)


def test_pictures_of_three_planes_and_odd_sizes_are_scored_alike():
    clean = np.stack([scene(77)] * 3)
    frames = clean + np.float32(0.01) * np.random.default_rng(0).standard_normal((5, *clean.shape), np.float32)
    moments = frame_moments(frames)
    score = score_of(frames, {(1,): frames[1]})
    assert score.mse().value == pytest.approx(corrected_mse(frames[1], moments.without(frames[1])), rel=1e-6)


def test_a_frame_is_worth_one_and_an_average_as_many_as_it_holds():
    frames = shoot(scene(), 1e-3, 12, 3)
    assert score_of(frames, {(i,): frames[i] for i in range(12)}).worth_frames().value == pytest.approx(1, abs=1e-9)
    for k in (2, 4):
        groups = [tuple(range(first, first + k)) for first in range(0, 12, k)]
        worth = score_of(frames, {group: frames[list(group)].mean(0) for group in groups}).worth_frames()
        assert worth.low < k < worth.high
        assert worth.value == pytest.approx(k, rel=0.03)


def test_the_temporal_variance_is_that_of_the_frames():
    frames = shoot(scene(64), 1e-3, 7, 3)
    variance = score_of(frames, {(0,): frames[0], (4,): frames[4]}).temporal_variance()
    assert variance.value == pytest.approx(frames.astype(np.float64).var(axis=0, ddof=1).mean(), rel=1e-6)
    assert variance.low < noise_variance(scene(64), 1e-3).mean() * 1.01 < variance.high


def test_upsnr_is_that_of_its_authors():
    frames = shoot(scene(64), 1e-3, 6, 4).astype(np.float64)
    f = blur(frames[4].astype(np.float32), 0)
    a, b, c = frames[5], frames[0], frames[1]
    expected = np.mean((a - f) ** 2 - (b - c) ** 2 / 2)
    assert score_of(frames, {(4,): f}).upsnr_db() == pytest.approx(psnr_of_mse(expected, peak=1), abs=1e-5)
    assert score_of(frames[:4], {(0,): f}).upsnr_db() is not None
    assert score_of(frames[:3], {(0,): f}).upsnr_db() is None


def variances(
    count: int, image_of: Callable[[np.ndarray], np.ndarray], per_result: int = 1, quantity: str = "mse"
) -> tuple[float, float]:
    """Return the mean of the estimated variances over 80 runs of white noise, and the variance that the runs show."""
    found = []
    for seed in range(80):
        frames = np.random.default_rng(seed).standard_normal((count, 64, 64)).astype(np.float32)
        groups = [tuple(range(first, first + per_result)) for first in range(0, count, per_result)]
        score = score_of(frames, {group: image_of(frames[list(group)]) for group in groups})
        found.append(getattr(score, quantity)())
    estimated = [((estimate.high - estimate.low) / 4.0) ** 2 for estimate in found]
    return float(np.mean(estimated)), float(np.var([estimate.value for estimate in found], ddof=1))


def test_the_variance_of_an_average_frame_is_that_of_its_closed_form():
    # Mean of squares 2 / N, products of two frames 2 / (N (N - 1)): no frame's error, but its temporal variance.
    expected = (2 / 6 + 2 / (6 * 5)) / 64**2
    assert variances(6, lambda own: own[0])[0] == pytest.approx(expected, rel=0.2)
    assert variances(6, lambda own: own[0], quantity="temporal_variance")[0] == pytest.approx(expected, rel=0.2)


def test_products_of_two_frames_are_not_counted_twice():
    """The score of a perfect result consists of nothing else; left uncorrected, its variance comes out 2.5 fold."""
    expected = 2 / (6 * 5) / 64**2
    assert expected < variances(6, lambda own: 0 * own[0])[0] < 1.7 * expected


def test_means_of_frames_are_judged_with_caution():
    estimated, seen = variances(12, lambda own: own.mean(axis=0), per_result=2)
    assert seen < estimated < 2.5 * seen


def test_one_result_is_judged_by_how_its_blocks_differ():
    frames = np.random.default_rng(3).standard_normal((6, 64, 64)).astype(np.float32)
    image = frames[0] + np.repeat([1.0, 3.0], 32)[:, None]
    alone = score_of(frames, {(0,): image}).mse()
    # Eight blocks, four of the one error and four of the other.
    std = np.std([1 + 1, 1 + 9] * 4, ddof=1) / math.sqrt(8)
    assert alone.high - alone.value == pytest.approx(2.365 * std, rel=0.1)
    assert alone.value == pytest.approx(1 + (1 + 9) / 2, rel=0.1)


def test_stabilised_0_db_is_one_frame_whatever_the_light():
    clean = scene()
    clean[:64] /= 300  # shadows weigh nothing in the plain score
    frames = shoot(clean, 1e-3, 8, 5, row_noise=0)
    score = score_of(frames, {(i,): frames[i] for i in (0, 3, 6)}, noise_variance(clean, 1e-3))
    assert score.stabilised_psnr_db().value == pytest.approx(0, abs=0.05)
    assert score.stabilised_psnr_db().low < 0 < score.stabilised_psnr_db().high
    blurred = {(i,): blur(frames[i], 0) for i in (0, 3, 6)}
    expected = np.mean([(image - clean) ** 2 / noise_variance(clean, 1e-3) for image in blurred.values()])
    blurred_score = score_of(frames, blurred, noise_variance(clean, 1e-3)).stabilised_psnr_db()
    assert blurred_score.value == pytest.approx(-10 * math.log10(expected), abs=0.05)


def test_an_error_that_may_be_nothing_has_no_upper_end_in_db():
    clean = scene()
    frames = shoot(clean, 1e-3, 8, 6)
    score = score_of(frames, {(i,): clean for i in (0, 3, 6)})
    assert score.mse().low < 0 < score.mse().high
    assert score.psnr_db().high == math.inf
    assert score.worth_frames().high == math.inf
    assert 30 < score.worth_frames().low < math.inf
    too_good = score_of(frames, {(0,): frames[1:].mean(axis=0)})  # it knows its references: below nothing
    assert too_good.psnr_db().value == too_good.worth_frames().value == math.inf
    assert paired_difference_db(too_good, score) is None


@pytest.mark.parametrize(("count", "scored"), [(3, 3), (8, 1), (4, 2)])
def test_where_frames_are_too_few_to_leave_one_out_the_interval_is_wide_but_there(count: int, scored: int):
    frames = shoot(scene(), 1e-3, count, 7)
    score = score_of(frames, {(i,): frames[i] for i in range(scored)})
    interval = score.psnr_db()
    truth = psnr_of_mse(float(noise_variance(scene(), 1e-3).mean()) * 1.01, peak=1)
    assert interval.low < truth < interval.high < interval.low + 3


def test_unfit_results_are_refused():
    frames = shoot(scene(64), 1e-3, 4, 8)
    score = score_of(frames, {(0,): frames[0]})
    with pytest.raises(ValueError, match=r"image of shape \(32, 64\) against a burst of shape \(64, 64\)"):
        score.add(frames[1][:32], (1,))
    with pytest.raises(ValueError, match="3 of 4 frames used; 2 must remain"):
        score.add(frames[1], (1, 2, 3))
    with pytest.raises(ValueError, match=r"frames \[0, 1\]: one of them was used for another result"):
        score.add(frames[1], (0, 1))
    with pytest.raises(ValueError, match="no result to score"):
        score_of(frames, {}).mse()
    with pytest.raises(ValueError, match="the mask leaves no value"):
        score_of(frames, {}, mask=np.zeros((64, 64), bool))
    with pytest.raises(ValueError, match="no frame in common"):
        paired_difference_db(score, score_of(frames, {(1,): frames[1]}))


def test_a_paired_difference_is_surer_than_two_scores():
    frames = shoot(scene(), 1e-3, 10, 9)
    better = score_of(frames, {(i,): nlm(frames[i], 1e-3) for i in (1, 4, 8)})
    # A tenth of the noise back: worse by little, on the very same noise.
    worse = score_of(frames, {(i,): 0.9 * nlm(frames[i], 1e-3) + 0.1 * frames[i] for i in (1, 4, 8)})
    gain = paired_difference_db(better, worse)
    assert gain.value == pytest.approx(better.psnr_db().value - worse.psnr_db().value, abs=1e-9)
    assert gain.high - gain.low < 0.6 * (better.psnr_db().high - better.psnr_db().low)
    back = paired_difference_db(worse, better)
    assert (back.low, back.value, back.high) == pytest.approx((-gain.high, -gain.value, -gain.low))
    same = paired_difference_db(better, better)
    assert (same.low, same.value, same.high) == (0, 0, 0)


def test_an_average_is_compared_with_the_result_of_one_of_its_frames():
    frames = shoot(scene(), 1e-3, 10, 9)
    single = score_of(frames, {(i,): frames[i] for i in (1, 4, 8)})
    pairs = score_of(frames, {(i, j): (frames[i] + frames[j]) / 2 for i, j in ((1, 0), (8, 5))})
    gain = paired_difference_db(pairs, single)
    assert gain.low < 10 * math.log10(2) < gain.high
    assert gain.value == pytest.approx(10 * math.log10(2), abs=0.1)


@pytest.fixture(scope="module")
def network() -> Callable[[np.ndarray, float], np.ndarray]:
    """Return the fast network after a short training on other scenes of the same kind."""
    import torch

    from burst_denoise.model.network import build_network

    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = build_network("fast", 4)
    optimizer = torch.optim.RAdam(net.parameters(), 6e-3)
    rng = np.random.default_rng(77)
    y, x = np.mgrid[:64, :64]
    # After 120 steps it left half of the noise, where the errors of the score against the full mean cancel by chance.
    for _ in range(240):
        batch = []
        for scale in np.exp(rng.uniform(np.log(1e-5), np.log(3e-3), 8)):
            a, b, c, angle = rng.uniform(4, 20, 4)
            grey = 0.3 + 0.15 * np.sin(x / a + y / b) * np.cos(y / c)
            grey += 0.2 * ((np.cos(angle) * x + np.sin(angle) * y) % 60 > 30)
            grey += rng.uniform(0, 0.06) * cv2.GaussianBlur(rng.standard_normal((64, 64)), (0, 0), 1.0)
            batch.append(RGGB.pack((2 * np.sqrt(np.maximum(grey, 0.01) / scale)).astype(np.float32)))
        clean = torch.from_numpy(np.stack(batch))
        loss = ((net(clean + torch.from_numpy(rng.standard_normal(clean.shape, np.float32))) - clean) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 0.05)
        optimizer.step()
    net.eval()

    def denoise(frame: np.ndarray, scale: float) -> np.ndarray:
        uniform = 2 * np.sqrt(np.maximum(frame, 0) / np.float32(scale))
        with torch.inference_mode():
            planes = net(torch.from_numpy(RGGB.pack(uniform))[None])[0].numpy()
        return RGGB.unpack(planes, frame.shape) ** 2 * np.float32(scale / 4) + np.float32(scale / 4)

    return denoise


class Trials:
    """Scores of one method over seeded bursts, each scored with its first 4, 8 and 14 frames.

    Results are those of three frames, but of all where there are four: see the notes of `BurstScore`.
    """

    SCORED: ClassVar = {4: range(4), 8: range(3), 14: range(3)}
    COUNTS = tuple(SCORED)

    def __init__(self, denoise: Callable[[np.ndarray, float], np.ndarray], scale: float, runs: int) -> None:
        clean = scene()
        variance = noise_variance(clean, scale)
        self.true = np.empty(runs)
        self.scores = {count: [] for count in self.COUNTS}
        naive = {count: np.empty((runs, 2)) for count in self.COUNTS}
        for run in range(runs):
            frames = shoot(clean, scale, max(self.COUNTS), run)
            images = [denoise(frames[index], scale) for index in self.SCORED[4]]
            self.true[run] = np.mean([mean_squared_error(image, clean) for image in images])
            for count, scored in self.SCORED.items():
                results = {(index,): images[index] for index in scored}
                score = score_of(frames[:count], results, variance)
                self.scores[count].append((score.mse(), score.psnr_db(), score.upsnr_db()))
                mean = frames[:count].mean(axis=0, dtype=np.float64)
                others = [(count * mean - frames[index]) / (count - 1) for index in scored]
                naive[count][run] = [
                    np.mean([mean_squared_error(image, mean) for image in results.values()]),
                    np.mean([mean_squared_error(i, o) for i, o in zip(results.values(), others, strict=True)]),
                ]
        truth = psnr_of_mse(self.true.mean(), peak=1)
        self.bias_db = {c: np.mean([psnr.value for _, psnr, _ in s]) - truth for c, s in self.scores.items()}
        self.std_db = {c: np.std([psnr.value for _, psnr, _ in s], ddof=1) for c, s in self.scores.items()}
        self.upsnr_std_db = {c: np.std([u for _, _, u in s], ddof=1) for c, s in self.scores.items()}
        self.coverage = {
            c: np.mean([mse.low <= self.true.mean() <= mse.high for mse, _, _ in s]) for c, s in self.scores.items()
        }
        self.against_full_mean_db, self.uncorrected_db = (
            {c: np.mean(-10 * np.log10(n[:, k])) - truth for c, n in naive.items()} for k in (0, 1)
        )


@pytest.mark.parametrize("denoise", [identity, nlm], ids=["identity", "nlm"])
def test_scores_are_true_and_intervals_hold_in_a_few_runs(denoise: Denoise):
    trials = Trials(denoise, SHOT_NOISE_SCALE["middle"], runs=12)
    for count in trials.COUNTS:
        assert abs(trials.bias_db[count]) < 0.01 + 4 * trials.std_db[count] / math.sqrt(12)
        assert trials.coverage[count] >= 9 / 12
        assert trials.std_db[count] < trials.upsnr_std_db[count]
        assert trials.uncorrected_db[count] < -10 * math.log10(1 + 0.9 / (count - 1))
        assert abs(trials.against_full_mean_db[count]) > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("level", SHOT_NOISE_SCALE)
@pytest.mark.parametrize("method", ["identity", "nlm", "network"])
def test_scores_are_true_and_intervals_hold_in_200_runs(method: str, level: str, network: Denoise):
    denoise = {"identity": identity, "nlm": nlm, "network": network}[method]
    trials = Trials(denoise, SHOT_NOISE_SCALE[level], runs=200)
    noise = noise_variance(scene(), SHOT_NOISE_SCALE[level]).mean()
    for count in trials.COUNTS:
        logging.getLogger(__name__).info(
            "%s %s N=%d: error %.3f of one frame's variance, bias %+.4f dB, std %.4f (uPSNR %.4f), covers %.3f; "
            "against the full mean %+.2f dB, uncorrected %+.2f",
            *(method, level, count, trials.true.mean() / noise, trials.bias_db[count], trials.std_db[count]),
            *(trials.upsnr_std_db[count], trials.coverage[count]),
            *(trials.against_full_mean_db[count], trials.uncorrected_db[count]),
        )
    for count in trials.COUNTS:
        assert abs(trials.bias_db[count]) < 0.03
        assert 0.90 <= trials.coverage[count] <= 0.99
        assert trials.std_db[count] < trials.upsnr_std_db[count]
        # The naive scores fail where the corrected one holds.
        assert trials.uncorrected_db[count] < -0.1
    assert max(abs(bias) for bias in trials.against_full_mean_db.values()) > 0.2


# Fixed pattern


def pattern_score(frames: np.ndarray, results: dict[tuple[int, ...], np.ndarray]) -> BurstScore:
    ones = np.ones_like(frames[0])
    score = BurstScore(lambda k, w: frames[k][w], len(frames), ones > 0, ones, 1e-4 * ones, 4e-5)
    for used, result in results.items():
        score.add(result, used)
    return score


def test_frames_and_their_means_keep_all_of_their_noise():
    frames = shoot(scene(64), 1e-3, 8, 4)
    assert pattern_score(frames, {(1,): frames[1], (5,): frames[5]}).noise_kept() == pytest.approx(1, abs=1e-6)
    means = {(0, 2): frames[[0, 2]].mean(axis=0), (3, 7): frames[[3, 7]].mean(axis=0)}
    assert pattern_score(frames, means).noise_kept() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_a_linear_method_keeps_the_share_that_it_keeps(share: float):
    clean = scene()
    frames = shoot(clean, 1e-3, 8, 5)
    blurred = cv2.GaussianBlur(clean, (0, 0), 3)
    results = {(k,): share * frames[k] + (1 - share) * blurred for k in (0, 3, 6)}
    assert pattern_score(frames, results).noise_kept() == pytest.approx(share, abs=0.02)


def test_a_method_keeps_as_much_of_a_fixed_pattern_as_of_noise():
    clean, scale = scene(), 1e-3
    pattern = 0.01 * np.random.default_rng(8).standard_normal(clean.shape).astype(np.float32)
    frames = shoot(clean, scale, 12, 6) + pattern
    results = {(k,): nlm(frames[k], scale) for k in range(10)}
    kept = np.mean([((result - clean) * pattern).mean() for result in results.values()]) / (pattern**2).mean()
    assert pattern_score(frames, results).noise_kept() == pytest.approx(kept, abs=0.04)


def test_brackets_are_intervals_where_no_pattern_is_told_of_and_wider_where_one_is():
    frames = shoot(scene(), 1e-3, 8, 7)
    found = {(k,): nlm(frames[k], 1e-3) for k in (0, 3, 6)}
    plain, interval = score_of(frames, found), score_of(frames, found).psnr_db()
    assert plain.psnr_db_bracket() == pytest.approx((interval.low, interval.high))
    score = pattern_score(frames, found)
    assert score.pattern_range == pytest.approx((4e-5, 1e-4))
    assert score.psnr_db_bracket()[1] > interval.high + 0.5
    raw = pattern_score(frames, {(k,): frames[k] for k in (0, 3, 6)})
    assert raw.psnr_db_bracket()[0] < raw.psnr_db().low
    # The same pattern is in both, and neither keeps more than noise.
    gain, (low, high) = paired_difference_db(score, raw), paired_bracket_db(score, raw)
    assert low < gain.low
    assert gain.high < high
    assert paired_bracket_db(raw, score) == pytest.approx((-high, -low))
