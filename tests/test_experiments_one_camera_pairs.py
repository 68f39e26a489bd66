"""One-camera pair training: matched exposures, tiles that stay paired, and a file of them that saves memory."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage.data import astronaut, coffee

from burst_denoise.arrays import Picture
from burst_denoise.frame.srgb import srgb_to_linear
from burst_denoise.model.fit import FitSettings, fit
from experiments.pictures import DataSet, Scene, random_pairs
from experiments.systems.one_camera_pairs import (
    CAMERA,
    ISO_NOISY,
    PUSH_EV,
    TILES_28,
    TILES_56,
    ExposurePair,
    MonochromeNet,
    channel_noise_std,
    exposure_pair,
    main,
    train_on_tiles,
)
from experiments.systems.system import System
from experiments.tiles import TileFile, TilesInMemory, cut_tiles, shuffled_split, tile_count, write_tiles

SYSTEMS = [TILES_28, TILES_56]
LIMIT_MB = 300
"""Measured: 137."""


def picture_pairs(count: int = 3, height: int = 65, width: int = 90) -> Iterator[tuple[Picture, Picture]]:
    """Yield pairs of random pictures; the noisy one is the clean one inverted, so that pairs are recognised."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        clean = rng.integers(256, size=(height, width, 3), dtype=np.uint8)
        yield 255 - clean, clean


@pytest.fixture(scope="module")
def pair() -> ExposurePair:
    return exposure_pair(coffee()[:200, :300], seed=0)


def test_sixteen_pairs_give_as_many_tiles_as_the_source_says() -> None:
    assert tile_count(3456, 5184, 28, pictures=16) == 185 * 123 * 16 * 3 == 1_092_240
    size = 2 * 1_092_240 * 28**2
    assert size == pytest.approx(1.71e9, rel=0.01)


def test_tiles_are_the_squares_of_each_channel() -> None:
    picture = next(picture_pairs())[0]
    tiles = cut_tiles(picture, 28)
    assert len(tiles) == tile_count(65, 90, 28) == 2 * 3 * 3
    row, column, channel = 1, 2, 1
    number = (row * 3 + column) * 3 + channel
    np.testing.assert_array_equal(tiles[number], picture[28:56, 56:84, channel])


@pytest.mark.parametrize("side", [8, 28])
def test_a_file_of_tiles_holds_the_same_as_memory(tmp_path: Path, side: int) -> None:
    memory = TilesInMemory(picture_pairs(), side)
    count = write_tiles(tmp_path / "tiles", picture_pairs(), side)
    file = TileFile(tmp_path / "tiles", side)
    assert len(file) == len(memory) == count == tile_count(65, 90, side, pictures=3)
    training, validation = shuffled_split(count, 0.1, np.random.default_rng(0))
    for numbers in (training, validation):
        np.testing.assert_array_equal(file[numbers], memory[numbers])
    file.close()


def test_a_damaged_file_of_tiles_is_refused(tmp_path: Path) -> None:
    write_tiles(tmp_path / "tiles", picture_pairs(), 8)
    with pytest.raises(ValueError, match="no whole number of pairs"):
        TileFile(tmp_path / "tiles", 28)


def test_pictures_of_two_sizes_are_no_pair() -> None:
    one, other = (np.zeros((height, 40, 3), np.uint8) for height in (40, 41))
    with pytest.raises(ValueError, match="two sizes"):
        TilesInMemory([(one, other)], 8)


def test_pairs_stay_pairs_when_they_are_shuffled() -> None:
    tiles = TilesInMemory(picture_pairs(), 8)
    training, validation = shuffled_split(len(tiles), 0.2, np.random.default_rng(0))
    drawn = tiles[training]
    np.testing.assert_array_equal(drawn[:, 0], 255 - drawn[:, 1])
    assert sorted([*training, *validation]) == list(range(len(tiles)))
    assert len(validation) == round(0.2 * len(tiles))


def test_training_and_validation_hold_the_same_mixture_of_pictures_and_channels() -> None:
    count, pictures = 30_000, 16
    for numbers in shuffled_split(count, 0.1, np.random.default_rng(0)):
        for kind, kinds in ((numbers % 3, 3), (numbers * pictures // count, pictures)):
            share = np.bincount(kind, minlength=kinds) / len(numbers)
            assert np.abs(share * kinds - 1).max() < 0.25


def test_the_pushed_exposure_matches_the_clean_one(pair: ExposurePair) -> None:
    noisy, clean = pair.noisy, pair.clean
    # The standard error of the mean is 2e-4 of the white level; sensitivity and offsets differ by pixel, not by shot.
    assert noisy.mean() == pytest.approx(clean.mean(), abs=1e-3)
    bright = clean > 0.4
    assert noisy[bright].mean() == pytest.approx(clean[bright].mean(), rel=0.01)


def test_a_pushed_exposure_is_neither_clipped_nor_raised() -> None:
    black = exposure_pair(np.zeros((100, 100, 3), np.uint8), seed=0)
    assert black.noisy.min() < -0.01
    assert black.noisy.mean() == pytest.approx(0, abs=1e-3)


def test_noise_of_each_channel_is_that_of_the_camera() -> None:
    grey = exposure_pair(np.full((300, 300, 3), 128, np.uint8), seed=0)
    measured = channel_noise_std(grey)
    span = CAMERA.white_level - CAMERA.black_level[0]
    light = 0.8 * float(srgb_to_linear(np.uint8([128]))[0]) * np.array(CAMERA.as_shot_neutral)
    push = 2**PUSH_EV
    variance = CAMERA.gain(ISO_NOISY) * light / push / span + CAMERA.read_noise_variance_dn(ISO_NOISY) / span**2
    # The fixed pattern, noise of rows and the clean shot's noise come on top.
    expected = push * np.sqrt(variance)
    assert (measured > 0.97 * expected).all()
    assert (measured < 1.2 * expected).all()
    assert measured[1] > measured[2] > measured[0]  # as the filters let light through


def test_the_command_tells_noise_and_tiles(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["one_camera_pairs"])
    main()
    told = capsys.readouterr().out
    assert "noise in red" in told
    assert "1,092,240 pairs of tiles of 28: 1.71 GB" in told


def test_training_on_tiles_is_the_same_from_a_file_and_lowers_the_error(tmp_path: Path, pair: ExposurePair) -> None:
    memory = TilesInMemory([pair.developed()], 28)
    write_tiles(tmp_path / "tiles", [pair.developed()], 28)
    settings = FitSettings(steps=10, optimizer="adam", learning_rate=3e-3, dtype=torch.float32)
    told: list[str] = []
    state = train_on_tiles(TILES_28, memory, settings, narrow=True, tell=told.append)
    curve = state.notes["curve"]
    assert len(curve) == len(told) == 11
    assert (curve[0][0], curve[-1][0]) == (0, 10)
    assert curve[-1][1] < 0.97 * curve[0][1]
    file = TileFile(tmp_path / "tiles", 28)
    assert train_on_tiles(TILES_28, file, settings, narrow=True).notes["curve"] == curve
    file.close()


@pytest.mark.parametrize("in_file", [False, True])
def test_the_command_trains_and_scores_the_last_picture(
    in_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, picture in (("a", astronaut()), ("b", coffee()[:121, :171])):
        cv2.imwrite(str(tmp_path / f"{name}.webp"), picture[..., ::-1])
    arguments = ["--minutes", "0.02", "--tile", "56", "--pictures", str(tmp_path), "--most-side", "200", "--narrow"]
    arguments += ["--tile-file", str(tmp_path / "tiles")] * in_file
    monkeypatch.setattr(sys, "argv", ["one_camera_pairs", *arguments])
    main()
    told = capsys.readouterr().out
    assert "27 pairs of tiles of 1 pictures; b is held out" in told
    for words in ("step 0: mean squared error", "b, noisy: ", "b, denoised: ", "noise in red: ", "noise in blue: "):
        assert words in told
    assert (tmp_path / "tiles").exists() == in_file


def test_a_folder_of_one_picture_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), coffee())
    monkeypatch.setattr(sys, "argv", ["one_camera_pairs", "--minutes", "1", "--pictures", str(tmp_path)])
    with pytest.raises(SystemExit, match="one picture only; some are trained on and the last is scored"):
        main()


def test_the_network_has_the_size_it_says() -> None:
    network = MonochromeNet()
    count = (9 * 48 + 48) + 6 * (9 * 48 * 48 + 48) + (9 * 48 + 1)
    assert sum(parameter.numel() for parameter in network.parameters()) == count == 125_617


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
@pytest.mark.parametrize("narrow", [False, True])
def test_any_size_comes_back_and_gradients_reach_every_weight(system: System, narrow: bool) -> None:
    network = system.build(narrow)
    pictures = torch.rand(2, 3, 29, 41)
    result = network(pictures)
    assert result.shape == pictures.shape
    assert (result - pictures).abs().max() < 0.1
    (result - pictures - 1).square().mean().backward()
    assert all(parameter.grad.abs().sum() > 0 for name, parameter in network.named_parameters() if "weight" in name)


def test_channels_are_denoised_apart() -> None:
    network = TILES_28.build(True)
    pictures = torch.rand(2, 3, 28, 28)
    together = network(pictures)
    for channel in range(3):
        alone = network(pictures[:, channel : channel + 1])
        torch.testing.assert_close(together[:, channel : channel + 1], alone)


@pytest.mark.parametrize(("system", "side"), [(TILES_28, 28), (TILES_56, 56)])
def test_a_step_sees_as_many_pixels_whatever_the_tiles(system: System, side: int) -> None:
    noisy, target = system.batch(_data_set(), np.random.default_rng(0))
    assert noisy.shape == target.shape == (32 * 28**2 // side**2, 3, side, side)


def _data_set() -> DataSet:
    clean = np.moveaxis(astronaut()[:160, 120:300], 2, 0).astype(np.float32) / 255
    noise = np.random.default_rng(1).standard_normal((2, *clean.shape), np.float32)
    noisy = clean + np.float32(0.05) * noise
    scene = Scene("astronaut", noisy, np.stack([clean, clean]), np.full(3, 0.05, np.float32))
    return DataSet("one scene", random_pairs((scene,)), (), (scene,))


MEASURED = textwrap.dedent("""
    import sys
    from pathlib import Path
    import numpy as np
    from experiments.tiles import TileFile, shuffled_split, write_tiles

    path, pictures, height, width = Path(sys.argv[1]), *map(int, sys.argv[2:])
    def pairs():
        for seed in range(pictures):
            clean = np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8)
            yield clean, clean
    count = write_tiles(path, pairs(), 28)
    tiles = TileFile(path, 28)
    total = 0
    for numbers in shuffled_split(count, 0.1, np.random.default_rng(0)):
        for start in range(0, len(numbers), 256):
            total += len(tiles[numbers[start : start + 256]])
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(total, int(peak.split()[1]) / 1024)
""")


def _streamed(path: Path, pictures: int, height: int, width: int) -> tuple[int, float]:
    """Return how many tiles were written and read again, and the most memory that took, MB."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of a process is measured on Linux only")
    command = [sys.executable, "-c", MEASURED, str(path), *map(str, (pictures, height, width))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent)
    count, peak = done.stdout.split()
    return int(count), float(peak)


def test_streamed_tiles_take_little_memory(tmp_path: Path) -> None:
    count, peak = _streamed(tmp_path / "tiles", 4, 864, 1296)
    assert count == tile_count(864, 1296, 28, pictures=4)
    assert peak < 100


@pytest.mark.slow
def test_a_million_tiles_are_streamed_in_300_mb(tmp_path: Path) -> None:
    count, peak = _streamed(tmp_path / "tiles", 16, 3456, 5184)
    assert count == 1_092_240
    assert peak < LIMIT_MB


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_a_minute_of_training_brings_the_picture_nearer_to_the_clean_one(system: System) -> None:
    data = _data_set()
    noisy, clean = data.scenes[0].noisy[0], data.scenes[0].target[0]
    torch.manual_seed(0)
    settings = FitSettings(
        steps=300, optimizer=system.optimizer, learning_rate=system.learning_rate, dtype=torch.float32
    )
    state = fit(
        system.build(True), lambda step: system.batch(data, np.random.default_rng([0, step])), system.loss, settings
    )
    error = np.square(system.denoise(state.average, noisy) - clean).mean()
    assert error < np.square(noisy - clean).mean()


@pytest.mark.slow
def test_the_network_learns_from_tiles_of_simulated_exposures(tmp_path: Path) -> None:
    pictures = [exposure_pair(picture, seed=10 * number) for number, picture in enumerate((astronaut(), coffee()))]
    count = write_tiles(tmp_path / "tiles", (each.developed() for each in pictures), 28)
    tiles = TileFile(tmp_path / "tiles", 28)
    training, validation = shuffled_split(count, 0.1, np.random.default_rng(0))

    def batch(step: int) -> tuple[np.ndarray, ...]:
        drawn = np.random.default_rng([0, step]).choice(training, 64)
        noisy, clean = np.moveaxis(tiles[drawn], 1, 0)[:, :, None].astype(np.float32) / 255
        return noisy, clean

    torch.manual_seed(0)
    state = fit(TILES_28.build(True), batch, TILES_28.loss, FitSettings(steps=300, optimizer="adam", learning_rate=1e-3,
                                                                       dtype=torch.float32))  # fmt: skip
    noisy, clean = (torch.from_numpy(each[:, None] / np.float32(255)) for each in np.moveaxis(tiles[validation], 1, 0))
    with torch.inference_mode():
        error = (state.average(noisy) - clean).square().mean()
    assert error < (noisy - clean).square().mean() / 2
    tiles.close()
