"""The table of the earlier systems: pictures, training, scores, rows, and the source paper's recipe."""

import json
import math
import subprocess
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import burst_denoise as bd
from burst_denoise.files import write_file
from burst_denoise.frame.frame import to_linear
from burst_denoise.frame.synthetic import SyntheticCamera, shoot
from burst_denoise.schemas import NoiseProfile
from experiments.burst_pictures import half_size, picture_burst, scene_name, series_data_set, split_by_scene
from experiments.crops import crop_of, crops_of, kept_crops, save_crops
from experiments.entries import NOISE_SYSTEMS, PAIR_SYSTEMS, SERIES_SYSTEMS, Comparison, Made, _long_enough, entries
from experiments.pair_pictures import PairTest, pair_data_set
from experiments.paper_figures import draw_figures
from experiments.pictures import DataSet, Scene, decoded, encoded, noise_std, random_crops, random_pairs
from experiments.rows import Row, complexity, kept_rows, markdown, row_file, save_rows
from experiments.scoring import SeriesTest, true_errors
from experiments.systems.cbdnet import CBDNET
from experiments.systems.one_camera_pairs import TILES_28
from experiments.systems.paper import NOISE2NOISE, PAPER, REACH, augmented, on_a_grid, valid_mse
from experiments.systems.system import System, whole_picture
from experiments.table import Job, Source
from experiments.training import CHECKPOINT, WEIGHTS, Budget, planned_steps, train_system
from tests.command_line import experiment
from tests.shots import burst_frames, scene, stored, verdicts, write_frames

NOISE = NoiseProfile(iso=None, shot_noise_scale=(1e-3, 5e-4, 1e-3), read_noise_variance=(1e-6, 5e-7, 1e-6))


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> list[bd.Burst]:
    """Bursts of two scenes at two ISOs, with their clean mosaics."""
    folder = tmp_path_factory.mktemp("raw")
    return [_shot(folder, number, iso) for number in (1, 2) for iso in (1600, 6400)]


def _shot(folder: Path, number: int, iso: float, size: tuple[int, int] = (192, 320)) -> bd.Burst:
    camera = SyntheticCamera(hot_fraction=0, prnu=0, dark_offset_std_dn=0)
    frames, clean = shoot(camera, scene(size, number), iso, 5, number)
    name = f"scene{number}_iso{iso:g}"
    clean_linear = to_linear(clean, frames[0].info)
    return stored(folder / f"{name}.burst", name, frames, verdicts(frames), 0.1, 1e-4, clean=clean_linear)


@pytest.fixture(scope="module")
def pictures(raw: list[bd.Burst], tmp_path_factory: pytest.TempPathFactory) -> list[bd.Burst]:
    folder = tmp_path_factory.mktemp("pictures")
    return [picture_burst(burst, folder / f"{burst.name}.burst") for burst in raw]


@pytest.fixture(scope="module")
def comparison(pictures: list[bd.Burst], raw: list[bd.Burst]) -> Comparison:
    training, scored = split_by_scene(pictures)
    test = SeriesTest(scored, {"nlm-stabilised": 0.85})
    return Comparison(series_data_set("series", training), test, tuple(training), tuple(raw[:2]), tuple(raw[2:]))


def test_an_encoded_picture_is_black_at_0_white_at_1_and_its_noise_the_same_everywhere():
    rng = np.random.default_rng(0)
    clean = np.linspace(0.05, 0.95, 6, dtype=np.float32)[None, :, None] * np.ones((3, 1, 60_000), np.float32)
    variance = (
        np.array(NOISE.shot_noise_scale)[:, None, None] * clean + np.array(NOISE.read_noise_variance)[:, None, None]
    )
    noisy = (clean + rng.normal(0, np.sqrt(variance))).astype(np.float32)
    assert encoded(np.zeros((3, 1, 1), np.float32), NOISE).ravel() == pytest.approx([0, 0, 0])
    assert encoded(np.ones((3, 1, 1), np.float32), NOISE).ravel() == pytest.approx([1, 1, 1])
    assert encoded(noisy, NOISE).std(-1) == pytest.approx(np.repeat(noise_std(NOISE)[:, None], 6, 1), rel=0.03)


def test_decoding_undoes_encoding_and_of_averaged_noisy_values_it_gives_the_mean():
    linear = np.random.default_rng(1).uniform(-0.01, 1, (3, 40, 40)).astype(np.float32)
    assert decoded(encoded(linear, NOISE), NOISE) == pytest.approx(linear, abs=2e-6)
    noise = NoiseProfile(iso=None, shot_noise_scale=(0.01,) * 3, read_noise_variance=(1e-5,) * 3)
    noisy = 0.01 * np.random.default_rng(2).poisson(0.3 / 0.01, (3, 1, 400_000)).astype(np.float32)
    average = encoded(noisy, noise).mean(-1, keepdims=True)
    assert decoded(average, noise, averaged=True).ravel() == pytest.approx([0.3] * 3, rel=0.003)
    assert decoded(average, noise).max() < 0.299, "without it the curve pulls averages down"


def test_crops_of_a_pair_show_the_same_place_turned_alike():
    rng = np.random.default_rng(3)
    picture = rng.random((3, 30, 40)).astype(np.float32)
    for _ in range(10):
        first, second = random_crops((picture, picture + 1), 8, rng)
        assert (second == first + 1).all()
    with pytest.raises(bd.SeriesError, match="pictures of 30x40 to train on, but patches are of 64x64; take larger"):
        random_crops((picture,), 64, rng)


def test_a_raw_burst_becomes_half_size_pictures_with_its_clean_reference(raw: list[bd.Burst], pictures: list[bd.Burst]):
    burst, made = raw[0], pictures[0]
    assert (made.info.domain, made.info.height, made.info.width, len(made)) == ("rgb", 96, 160, len(burst))
    mosaic = burst.linear(2)
    greens = (mosaic[0::2, 1::2] + mosaic[1::2, 0::2]) / 2
    assert made.linear(2) == pytest.approx(np.stack([mosaic[0::2, 0::2], greens, mosaic[1::2, 1::2]]), abs=1e-6)
    assert made.clean is not None
    assert made.clean == pytest.approx(half_size(burst, burst.clean))
    red, green, _ = made.profile.shot_noise_scale
    assert green == pytest.approx(red / 2, rel=0.1), "the mean of two greens has half their variance"


def test_all_isos_of_the_last_scene_are_scored_on_and_nothing_else(raw: list[bd.Burst]):
    training, scored = split_by_scene(raw)
    assert [burst.name for burst in training] == ["scene1_iso1600", "scene1_iso6400"]
    assert {scene_name(burst) for burst in scored} == {"scene2"}
    with pytest.raises(bd.SeriesError, match="scene2: one scene only; a comparison trains on some scenes"):
        split_by_scene(scored)
    named = split_by_scene(raw, ["scene1_iso1600", "scene1_iso6400"])
    assert [burst.name for burst in named[1]] == ["scene1_iso1600", "scene1_iso6400"], "or those that are named"
    with pytest.raises(bd.SeriesError, match="scene1_iso1600: shows the scene of scene1_iso6400, which would"):
        split_by_scene(raw, ["scene1_iso1600"])
    with pytest.raises(bd.SeriesError, match="kitchen: is none of the bursts, scene1_iso1600, "):
        split_by_scene(raw, ["kitchen"])


def test_targets_are_leave_one_out_means_and_validation_shows_what_training_never_sees(pictures: list[bd.Burst]):
    data = series_data_set("series", pictures[:1])
    (trained,), burst = data.scenes, pictures[0]
    width = trained.noisy.shape[-1]
    mean = encoded(burst.leave_one_out_mean(1), burst.profile)
    assert trained.target[1] == pytest.approx(mean[..., :width])
    assert width < 160 * 7 / 8
    for pair in data.validation:
        assert not pair.counts[..., :64].any(), "the context of what is held out does not count"
        assert pair.counts[..., 64:].all()
        assert pair.counts.shape[-1] - 64 == 160 / 8


def test_the_network_of_the_paper_has_511_390_parameters_and_every_one_of_them_learns():
    torch.manual_seed(0)  # a ReLU that is silent by chance has no gradient
    network = PAPER.build(False)
    assert sum(parameter.numel() for parameter in network.parameters()) == 511_390
    noisy = torch.rand(1, 3, 2 * REACH + 8, 2 * REACH + 8)
    valid_mse(network, noisy, noisy).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in network.parameters())


def test_a_picture_on_a_grid_is_the_same_whatever_the_tile():
    network = PAPER.build(False)
    picture = np.random.default_rng(4).random((3, 26, 21)).astype(np.float32)
    whole = on_a_grid(network, picture)
    assert whole.shape == picture.shape
    assert on_a_grid(network, picture, tile=16) == pytest.approx(whole, abs=1e-6)


def test_augmentation_at_inference_is_the_mean_over_all_turns_and_flips():
    class Right(torch.nn.Module):
        """A network that moves the picture to the right by a pixel: no turn of it is like another."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.roll(x, 1, -1)

    picture = np.zeros((3, 9, 9), np.float32)
    picture[:, 4, 4] = 8
    network = Right()
    network.register_parameter("_", torch.nn.Parameter(torch.zeros(1)))
    turned = augmented(network, picture, denoise=whole_picture)
    assert turned[0, 4, [3, 5]].tolist() == turned[0, [3, 5], 4].tolist() == [2, 2]
    assert turned.sum() == pytest.approx(3 * 8)


def test_noise2noise_learns_from_two_different_frames():
    noisy = np.stack([np.full((3, 300, 300), value, np.float32) for value in range(3)])
    frames = Scene("frames", noisy, noisy, np.zeros(3, np.float32))
    data = DataSet("frames", random_pairs((frames,)), (), (frames,))
    seen = [NOISE2NOISE.batch(data, np.random.default_rng(seed)) for seed in range(30)]
    values = {(float(first.flat[0]), float(second.flat[0])) for first, second in seen}
    assert values == {(a, b) for a in (0, 1, 2) for b in (0, 1, 2) if a != b}


def test_a_budget_becomes_steps_once(tmp_path: Path):
    assert planned_steps(tmp_path, Budget(minutes=2, least_steps=10), lambda: 0.5) == (240, 0.5)
    assert planned_steps(tmp_path, Budget(minutes=9), lambda: 0.1)[0] == 240, "a training that goes on keeps its plan"
    assert planned_steps(tmp_path / "other", Budget(minutes=0.01, least_steps=100), lambda: 0.5)[0] == 100


def test_a_quick_proof_takes_the_steps_that_a_system_needs_and_no_other_training_does():
    proof = Budget(1, 100, narrow=True)
    assert [_long_enough(proof, system).least_steps for system in (TILES_28, CBDNET)] == [100, 800]
    assert _long_enough(Budget(15, 100), CBDNET) == Budget(15, 100)


def test_training_keeps_the_best_validated_weights_and_tells_what_it_took(comparison: Comparison, tmp_path: Path):
    trained = train_system(TILES_28, comparison.data, Budget(minutes=0, least_steps=24, narrow=True), tmp_path)
    assert trained.steps == 24
    assert len(trained.curve) >= 8
    best = min(trained.curve, key=lambda entry: entry[1])
    assert trained.best_step == best[0]
    assert 0 < trained.minutes < 1
    assert (tmp_path / WEIGHTS).exists()
    before = true_errors(comparison.test, trained.untrained)
    assert true_errors(comparison.test, trained.denoise) < before


def test_a_training_that_was_stopped_ends_where_an_undisturbed_one_does(
    comparison: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    budget = Budget(minutes=0, least_steps=8, narrow=True)
    whole = train_system(TILES_28, comparison.data, budget, tmp_path / "whole")
    monkeypatch.setattr("experiments.training.SAVE_EVERY_S", 0.0)
    stopping = replace(TILES_28, batch=_stopped_after(TILES_28.batch, 8))
    with pytest.raises(KeyboardInterrupt):
        train_system(stopping, comparison.data, budget, tmp_path / "stopped")
    assert (tmp_path / "stopped" / CHECKPOINT).exists()
    resumed = train_system(TILES_28, comparison.data, budget, tmp_path / "stopped")
    (noisy, _), *_ = comparison.test.pictures()
    assert (whole.denoise(noisy) == resumed.denoise(noisy)).all()
    assert resumed.curve == whole.curve


def _stopped_after(batch: object, calls: int) -> object:
    """Return a function of training batches that is interrupted, timing included, after so many calls of it."""
    made = []

    def stopping(data: DataSet, rng: np.random.Generator) -> object:
        made.append(rng)
        if len(made) > calls + 5:
            raise KeyboardInterrupt
        return batch(data, rng)

    return stopping


def test_every_system_has_its_place_and_a_name_of_its_own(comparison: Comparison):
    names = [entry.name for entry in entries(comparison)]
    systems = SERIES_SYSTEMS + PAIR_SYSTEMS + NOISE_SYSTEMS
    assert len(names) == len(set(names))
    assert {system.name for system in systems} < set(names)
    pairs = Comparison(DataSet("pairs", comparison.data.draw, ()), PairTest("pairs", ()))
    assert [entry.name for entry in entries(pairs)][1:] == [system.name for system in PAIR_SYSTEMS]


def test_scores_of_the_noisy_pictures_agree_with_the_known_noise(comparison: Comparison):
    scores = comparison.test.score(lambda picture: picture)
    assert [score["burst"] for score in scores] == ["scene2_iso1600", "scene2_iso6400"]
    for score, burst in zip(scores, comparison.test.bursts, strict=True):
        expected = -10 * math.log10(((burst.linear(0) - burst.clean) ** 2).mean())
        assert score["true_psnr_db"] == pytest.approx(expected, abs=0.1)
        assert score["corrected_psnr_db"] == pytest.approx(score["true_psnr_db"], abs=0.1)


def test_pairs_are_held_out_by_scene_and_their_score_is_the_mean(tmp_path: Path):
    rng = np.random.default_rng(5)
    for kind in ("noisy", "clean"):
        for name in "abcdef":
            (tmp_path / kind / name).mkdir(parents=True)
    for name in "abcdef":
        clean = rng.integers(60, 190, (210, 220, 3)).astype(np.uint8)
        for folder, picture in (("clean", clean), ("noisy", clean + 2 * (np.indices(clean.shape).sum(0) % 2))):
            write_file(tmp_path / folder / name / "1.png", cv2.imencode(".png", picture)[1].tobytes())
    data, test = pair_data_set(tmp_path)
    assert [len(data.scenes), len(data.validation), len(test.pairs)] == [3, 1, 2]
    trained = {scene.name for scene in data.scenes}
    assert trained.isdisjoint({pair.name for pair in test.pairs})
    (score,) = test.score(lambda noisy: noisy)
    assert score["true_psnr_db"] == pytest.approx(-10 * math.log10(2 / 255**2), abs=0.01), (
        "half of the values are 2 off"
    )
    assert score["true_psnr_db_interval"][0] <= score["true_psnr_db"] <= score["true_psnr_db_interval"][1]


def test_parameters_and_multiply_adds_are_counted():
    network = torch.nn.Conv2d(3, 5, 3, padding=1)
    assert complexity(network) == (3 * 5 * 9 + 5, 3 * 5 * 9 / 1000)


@pytest.mark.slow
@pytest.mark.parametrize("system", [PAPER, NOISE2NOISE], ids=lambda system: system.name)
def test_the_paper_s_network_more_than_halves_its_error_in_a_minute(system: System, tmp_path: Path):
    folder = tmp_path / "raw"
    folder.mkdir()
    pictures = picture_burst(_shot(folder, 1, 1600, size=(560, 640)), tmp_path / "pictures.burst")
    data = series_data_set("series", [pictures])
    trained = train_system(system, data, Budget(minutes=0, least_steps=40), tmp_path / "work")
    corners = (image[:, :100, :100] for image in (pictures.linear(0), pictures.clean))
    noisy, clean = (encoded(corner, pictures.profile) for corner in corners)
    first, last = (((f(noisy) - clean) ** 2).mean() for f in (trained.untrained, trained.denoise))
    assert last < first / 2


@pytest.mark.slow
def test_the_command_trains_scores_goes_on_where_it_was_and_draws(tmp_path: Path):
    shoots = tmp_path / "shoots"
    for number in (1, 2):
        for iso in (1600, 6400):
            frames = burst_frames(5, iso, number, size=(320, 384))
            write_frames(shoots / f"scene{number}_iso{iso}", frames)
    systems = ["classical methods", "Four-layer CNN", "burst_denoise from scratch"]
    arguments = ["--data", shoots, "--pairs", "--quick", "--output", "out", "--only", *systems]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return experiment(tmp_path, "table", *arguments, *more)

    first = run()
    assert first.returncode == 0, first.stdout + first.stderr
    assert "trained on: scene1_iso1600, scene1_iso6400" in first.stdout
    assert "### shoots" in first.stdout
    figures = {path.name for path in (tmp_path / "out" / "figures").glob("*.png")}
    assert figures >= {f"paper_{name}.png" for name in ("1_changed_light", "7_comparison", "8_comparison")}
    logged = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert {(run["data"], run["entry"]) for run in logged} >= {("shoots", "Four-layer CNN")}
    assert "0 to do" in run().stdout
    assert "error: no system is called 'RIDNET'; there are classical methods, " in run("--only", "RIDNET").stderr


def _row(system: str, psnr_db: float, minutes: float, **more: object) -> Row:
    score = {
        "burst": "scene",
        "corrected_psnr_db": psnr_db,
        "true_psnr_db": psnr_db,
        "ssim": 0.9,
        "seconds_per_megapixel": 1.0,
    }
    return Row(system, "data", [score], minutes=minutes, **more)


def test_of_each_system_the_longest_training_is_shown_the_best_first_and_narrowed_networks_are_marked(tmp_path: Path):
    made = [_row("A", 40, 1), _row("A", 41, 15), _row("A", 45, 60, narrow=True), _row("B", 42, 1, narrow=True)]
    for number, row in enumerate(made):
        save_rows(row_file(tmp_path, "data", f"{row.system} {number}", row.minutes, narrow=row.narrow), [row])
    rows = kept_rows(tmp_path)
    assert {row.system: row.scores[0]["true_psnr_db"] for row in rows} == {"A": 41, "B": 42}
    lines = [line for line in markdown(rows).splitlines() if line.startswith(("| A", "| B"))]
    assert [line.split("|")[1].strip() for line in lines] == ["B (narrowed)", "A"]


def test_of_each_system_the_crop_of_the_longest_training_is_kept(tmp_path: Path, pictures: list[bd.Burst]):
    burst = pictures[0]
    noisy = crop_of("A", 1, burst.linear(0), burst)
    assert noisy.picture.shape == (96, 120, 3), "the whole height of a small picture"
    assert noisy.psnr_db == pytest.approx(-10 * math.log10(((burst.linear(0) - burst.clean) ** 2).mean()), abs=1e-3)
    save_crops(tmp_path / "a-1min.npz", [noisy, replace(noisy, burst="another")])
    save_crops(tmp_path / "a-15min.npz", [replace(noisy, minutes=15.0, psnr_db=50.0)])
    save_crops(tmp_path / "b-1min.npz", [replace(noisy, system="B", psnr_db=60.0)])
    found = kept_crops(tmp_path, burst.name)
    assert [(crop.system, crop.minutes, crop.psnr_db) for crop in found] == [("B", 1, 60), ("A", 15, 50)]
    assert np.array_equal(found[0].picture, noisy.picture)


def test_a_narrowed_network_is_not_shown_beside_the_whole_one(tmp_path: Path, pictures: list[bd.Burst]):
    burst = pictures[0]
    narrow = crop_of("A (narrowed)", 1, burst.linear(0), burst)
    save_crops(tmp_path / "a-quick.npz", [narrow, replace(narrow, system="B (narrowed)")])
    save_crops(tmp_path / "a-15min.npz", [replace(narrow, system="A", minutes=0.5, psnr_db=50.0)])
    assert [crop.system for crop in kept_crops(tmp_path, burst.name)] == ["A", "B (narrowed)"]


def test_the_figures_show_every_system_and_the_paper_s_network_on_another_camera(
    comparison: Comparison, tmp_path: Path
):
    rows, weights = tmp_path / "rows" / comparison.name, tmp_path / "work" / "paper" / WEIGHTS
    weights.parent.mkdir(parents=True)
    network = PAPER.build(True)
    save_file({key: weight.contiguous() for key, weight in network.state_dict().items()}, weights)
    row = replace(_row(PAPER.name, 40, 1, narrow=True, training="paper"), data=comparison.name)
    save_rows(rows / "paper-quick.json", [row])
    made = [Made(row, lambda _burst: lambda image, _frame: image), Made(_row("classical", 41, 0))]
    crops = crops_of(made, comparison.test)
    assert [(crop.system, crop.burst) for crop in crops] == [
        (f"{PAPER.name} (narrowed)", f"scene2_iso{iso}") for iso in (1600, 6400)
    ]
    save_crops(rows / "paper-quick.npz", crops)
    write_frames(tmp_path / "second", burst_frames(4, size=(96, 128)))
    drawn = [path.name for path in draw_figures(comparison, tmp_path, tmp_path / "second")]
    assert drawn[-3:] == ["paper_7_comparison.png", "paper_8_comparison.png", "paper_9_other_sensor.png"]
    weights.unlink()
    assert len(list(draw_figures(comparison, tmp_path, tmp_path / "second"))) == 5, "no figure 9 without the network"


def test_training_pairs_lie_in_one_file_that_all_processes_share(pictures: list[bd.Burst]):
    (scene_of_it,) = series_data_set("series", pictures[1:2]).scenes
    files = list(pictures[1].folder.parent.glob(f"{pictures[1].name}-*.npy"))
    (again,) = series_data_set("series", pictures[1:2]).scenes
    assert list(pictures[1].folder.parent.glob(f"{pictures[1].name}-*.npy")) == files
    assert not scene_of_it.noisy.flags.writeable
    assert np.array_equal(scene_of_it.target, again.target)


def test_rows_stay_with_the_files_that_they_were_made_from(tmp_path: Path):
    pairs = tmp_path / "pairs"
    (pairs / "noisy").mkdir(parents=True)
    (pairs / "noisy" / "1.png").write_bytes(b"a picture")
    job = Job(Source("pairs", pairs), "A", Budget(minutes=15), tmp_path)
    assert not job.is_done()
    save_rows(job.target, [replace(_row("A", 40, 15), data_sha256=job.source.sha256)])
    assert job.is_done()
    (pairs / "noisy" / "1.png").write_bytes(b"another")
    with pytest.raises(bd.ConfigError, match=r"a-15min\.json: is of other files than .*pairs holds now; name another"):
        Job(Source("pairs", pairs), "A", Budget(minutes=15), tmp_path).is_done()


def test_what_cannot_be_compared_on_is_refused_in_one_line(tmp_path: Path):
    grey = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    for kind in ("noisy", "clean"):
        (tmp_path / kind).mkdir()
        for name in "abc":
            cv2.imwrite(str(tmp_path / kind / f"{name}.png"), grey)
    with pytest.raises(bd.SeriesError, match=r"\.png: is mono; earlier systems are for RGB pictures"):
        Source("pairs", tmp_path).comparison(tmp_path)
    with pytest.raises(bd.InputFileError, match=r"nowhere: has 0 pictures"):
        Source("noise", tmp_path / "nowhere").comparison(tmp_path)


def test_a_pixel_of_which_one_green_is_saturated_is_so_itself(tmp_path: Path):
    frames = burst_frames(4, size=(96, 128))
    for frame in frames:
        frame.dn[0::2, 1] = frame.info.white_level
    burst = stored(tmp_path / "a.burst", "a", frames, verdicts(frames), 0.1, 1e-4)
    saturated = picture_burst(burst, tmp_path / "pictures.burst").saturated
    assert saturated[1, :, 0].all()
    assert np.array_equal(saturated[:, :, 1:], half_size(burst, burst.saturated.astype(np.float32))[:, :, 1:] > 0)
    assert not saturated[0, :, 0].all()


def test_a_system_has_learnt_when_its_error_fell_far_enough():
    errors = {"error_noisy": 4.0, "error_untrained": 10.0}
    assert _row("direct", 40, 1, error_trained=4.9, **errors).has_learnt
    assert not _row("direct", 40, 1, error_trained=5.1, **errors).has_learnt
    assert _row("residual", 40, 1, residual=True, error_trained=3.9, **errors).has_learnt
    assert not _row("residual", 40, 1, residual=True, error_trained=4.1, **errors).has_learnt
    assert _row("classical", 40, 1).has_learnt is None
