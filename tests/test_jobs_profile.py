"""The sensor calibrated as a user does it: golden values of a real camera, known truth of a synthetic one."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from burst_denoise.errors import IncompatibleFramesError
from burst_denoise.frame.frame import Frame
from burst_denoise.frame.mosaic import RGGB
from burst_denoise.frame.synthetic import SyntheticCamera, scene_from_picture, shoot
from burst_denoise.io import read as reading
from burst_denoise.io.raw import read_raw
from burst_denoise.jobs.ingest import IngestSettings, ingest
from burst_denoise.jobs.profile import profile
from burst_denoise.schemas import ChannelProfile
from tests.command_line import Run
from tests.shots import Recorder, burst_frames, dark_frames, stored, verdicts, write_frames

CAMERA = SyntheticCamera(prnu=0.01, dark_offset_std_dn=0.4, row_noise_std_dn=0.4, hot_fraction=1 / 2000)
ISO = 800
SIZE = (400, 480)
KEYS = {
    *("camera", "iso", "channel", "gain_dn_per_e", "read_noise_std_dn", "row_noise_std_dn"),
    *("prnu_percent", "dsnu_e", "usable", "reasons"),
}


def rows(text: str) -> list[ChannelProfile]:
    return [ChannelProfile.model_validate_json(line) for line in text.splitlines()]


def picture(seed: int, size: tuple[int, int]) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(5, 250, (size[0] // 10, size[1] // 10, 3), dtype=np.uint8)
    return scene_from_picture(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC))


@dataclass(frozen=True)
class Shoot:
    bursts: Path
    darks: Path
    flats: Path


def written(folder: Path, size: tuple[int, int], of_scene: int, dark_or_flat: int) -> Shoot:
    """Write frames of two scenes, dark frames and flats, so many of each."""
    grey = np.full((*size, 3), 0.5, np.float32)
    for name, scene, count in (
        ("bursts/one", picture(1, size), of_scene),
        ("bursts/two", picture(2, size), of_scene),
        ("darks", 0 * grey, dark_or_flat),
        ("flats", grey, dark_or_flat),
    ):
        write_frames(folder / name, shoot(CAMERA, scene, ISO, count, seed=len(name))[0])
    return Shoot(folder / "bursts", folder / "darks", folder / "flats")


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Shoot:
    """Enough to know the sensor by."""
    return written(tmp_path_factory.mktemp("sensor"), SIZE, 8, 16)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Shoot:
    """Enough to have a result."""
    return written(tmp_path_factory.mktemp("few"), (200, 240), 4, 6)


def test_a_real_ccd_has_the_figures_of_the_emva_reference(run: Run, shared_data: Path):
    # 0.2801 DN/e-, 3.073 DN, 0.433 %, 0.553 e-: package emva1288 1.0.2, the EMVA 1288 reference implementation, on the
    # full set, of which these are 76 of 300 pictures.
    done = run("profile", shared_data / "emva_ccd12", "--json")
    assert done.code == 0
    assert set(json.loads(done.out)) >= KEYS
    (ccd,) = rows(done.out)
    assert ccd.gain_dn_per_e == pytest.approx(0.2801, rel=0.01)
    assert ccd.read_noise_std_dn == pytest.approx(3.073, rel=0.03)
    assert ccd.prnu_percent == pytest.approx(0.433, rel=0.10)
    assert ccd.dsnu_e == pytest.approx(0.553, rel=0.15)
    assert ccd.usable
    low, high = ccd.gain_dn_per_e_interval
    assert low < ccd.gain_dn_per_e < high < 1.01 * low


def test_bursts_darks_and_flats_give_the_synthetic_camera_back(run: Run, shots: Shoot):
    done = run("profile", shots.bursts, "--darks", shots.darks, "--flats", shots.flats, "--json")
    assert done.code == 0, done.err
    found = rows(done.out)
    assert [channel.channel for channel in found] == ["R", "G1", "G2", "B"]
    row_std = CAMERA.row_noise_std_dn * ISO / 100
    read_std = np.sqrt(CAMERA.read_noise_variance_dn(ISO) + row_std**2 + 1 / 12)
    for channel in found:
        assert (channel.camera, channel.iso, channel.frames) == (CAMERA.name, ISO, 16)
        assert channel.gain_dn_per_e == pytest.approx(CAMERA.gain(ISO), rel=0.03)
        assert channel.read_noise_std_dn == pytest.approx(read_std, rel=0.05)
        assert channel.row_noise_std_dn == pytest.approx(row_std, rel=0.10)
        assert channel.prnu_percent == pytest.approx(100 * CAMERA.prnu, rel=0.10)
        assert channel.dsnu_e == pytest.approx(CAMERA.dark_offset_std_dn / CAMERA.gain_dn_per_e, rel=0.15)
        # What 16 darks leave: read noise / 4, and the offsets themselves, combined as the best linear estimate does.
        noise_e, there_e = read_std / 4 / CAMERA.gain(ISO), CAMERA.dark_offset_std_dn / CAMERA.gain_dn_per_e
        assert channel.residual_dsnu_e == pytest.approx(noise_e * there_e / np.hypot(noise_e, there_e), rel=0.1)
        assert channel.usable, channel.reasons
    defects = sum(channel.defects for channel in found)
    assert defects == pytest.approx(SIZE[0] * SIZE[1] / 2000, rel=0.25)


def test_two_scenes_give_the_fixed_pattern_without_darks_or_flats(run: Run, shots: Shoot):
    found = rows(run("profile", shots.bursts, "--json").out)
    prnu = [channel.prnu_percent for channel in found]
    assert np.mean(prnu) == pytest.approx(100 * CAMERA.prnu, rel=0.10)
    alone = rows(run("profile", shots.bursts / "one", "--json").out)
    assert {channel.prnu_percent for channel in alone} == {None}


def test_the_verdict_is_said_in_words(run: Run, shots: Shoot):
    done = run("profile", shots.bursts / "one", "--limit", "4")
    assert done.code == 0
    assert f"{CAMERA.name}, ISO 800: " in done.out
    assert "only 4 frames; 8 or more make the intervals narrower" in done.out


def test_developed_pictures_are_not_usable(run: Run, tmp_path: Path):
    rng = np.random.default_rng(0)
    clean = cv2.resize(rng.integers(30, 220, (20, 24, 3), dtype=np.uint8), (192, 160), interpolation=cv2.INTER_CUBIC)
    for number in range(6):
        noisy = clean + rng.normal(0, 4, clean.shape)
        cv2.imwrite(str(tmp_path / f"shot_{number}.png"), np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    found = rows(run("profile", tmp_path, "--json").out)
    assert [channel.channel for channel in found] == ["R", "G", "B"]
    assert not any(channel.usable for channel in found)
    assert "developed pictures" in found[0].reasons[0]


def test_exports_are_written_and_never_overwritten(run: Run, few: Shoot, tmp_path: Path):
    targets = {"--output": tmp_path / "s.json", "--dng": tmp_path / "s.dng", "--darktable": tmp_path / "dt.json"}
    options = [part for pair in targets.items() for part in pair]
    assert run("profile", few.bursts, *options).code == 0
    assert len(json.loads((tmp_path / "s.json").read_text())) == 4
    assert json.loads((tmp_path / "dt.json").read_text())["noiseprofiles"][0]["maker"] == "Synthetic"
    before = {path: path.read_bytes() for path in targets.values()}
    for option, path in targets.items():
        assert "exists" in run("profile", few.bursts, option, path).error
    assert {path: path.read_bytes() for path in targets.values()} == before


def test_an_iso_in_between_is_interpolated_and_one_beyond_refused(run: Run, tmp_path: Path):
    for iso in (800, 3200):
        write_frames(tmp_path / f"iso{iso}", burst_frames(5, iso=iso, size=(256, 256)))
    found = rows(run("profile", tmp_path, "--at-iso", 1600, "--json").out)
    assert [channel.iso for channel in found] == [800] * 4 + [1600] * 4 + [3200] * 4
    low, between, high = (found[index].gain_dn_per_e for index in (0, 4, 8))
    assert low < between < high
    assert len(rows(run("profile", tmp_path, "--at-iso", 800, "--json").out)) == 8  # calibrated, not interpolated
    assert "ISO 6400 is outside the calibrated span (800, 3200)" in run("profile", tmp_path, "--at-iso", 6400).error


def test_a_scene_is_no_flat_nor_is_a_dark_or_an_overexposed_one(run: Run, few: Shoot, tmp_path: Path):
    bright = shoot(CAMERA, np.full((200, 240, 3), 2.0, np.float32), ISO, 4, 0)[0]
    write_frames(tmp_path, bright)
    for flats, words in (
        (few.bursts / "one", "is not evenly lit: neighbouring photosites differ by"),
        (few.darks, "cannot serve as a flat: the flats are dark"),
        (tmp_path, "overexposed; expose flats to about half of white"),
    ):
        error = run("profile", few.bursts / "two", "--flats", flats).error
        assert ".dng: " in error
        assert words in error


def test_what_is_not_usable_is_not_exported_to_other_programs(run: Run, few: Shoot, tmp_path: Path):
    for option, name in (("--dng", "x.dng"), ("--darktable", "x.json")):
        error = run("profile", few.flats, option, tmp_path / name).error
        assert "not usable, so no profile is exported" in error
    assert not list(tmp_path.iterdir())


def shots_of(clean: np.ndarray, gains: tuple[float, ...], flicker: float = 0.0, black: float = 2048.0) -> list[Frame]:
    """Return 10 frames of a clean mosaic (0 to 1), in bands of light, by a sensor with a gain per plane.

    Its read noise is 9 DN; the files give ``black`` as the black level.
    """
    (like,) = burst_frames(1, size=clean.shape)
    info = like.info.model_copy(update={"black_level": (black,) * 4})
    gain = np.asarray(gains)[RGGB.plane_of(clean.shape)]
    row = np.arange(len(clean))[:, None]
    frames = []
    for k in range(10):
        rng = np.random.default_rng(k)
        light = clean * (1 + flicker * np.sin(2 * np.pi * (row / 80 + 0.37 * k))) * 13256
        dn = gain * rng.poisson(light / gain) + rng.normal(0, 9, clean.shape) + 2048
        frames.append(Frame(np.rint(dn).astype(np.uint16), info, Path(f"IMG_{k}.dng")))
    return frames


def ramp() -> np.ndarray:
    row, column = np.mgrid[:240, :320]
    return 0.01 + 0.5 * column / 320 * (0.6 + 0.4 * np.sin(row / 9))


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (shots_of(ramp(), (12.0,) * 4, black=1900.0), "no noise is left at black (its variance comes out negative)"),
        (shots_of(ramp(), (20.0, 28.0, 28.0, 23.0)), "the channels disagree about the gain (R 20"),
        (shots_of(ramp(), (12.0,) * 4, flicker=0.02), "rows are noisier in the lights than in the darks"),
    ],
    ids=["negative", "four gains", "rows"],
)
def test_what_cannot_be_true_is_not_usable_because_and_not_exported(
    run: Run, tmp_path: Path, frames: list[Frame], words: str
):
    burst = tmp_path / "a.burst"
    stored(burst, "a", frames, verdicts(frames), 0.05, 0.001)
    done = run("profile", burst, "-o", tmp_path / "sensor.json")
    assert done.code == 0
    assert "NOT usable" in done.out
    assert words in done.out
    for option, name in (("--dng", "a.dng"), ("--darktable", "a.json")):
        refused = run("profile", burst, option, tmp_path / name)
        assert refused.code == 1
        assert "not usable, so no profile is exported" in refused.error
        assert not (tmp_path / name).exists()
    write_frames(tmp_path / "shots", frames[:1])
    denoised = run("denoise", tmp_path / "shots", "--profile", tmp_path / "sensor.json", "-o", tmp_path / "out")
    assert denoised.code == 1
    assert "holds no usable noise profile" in denoised.error
    assert not (tmp_path / "out").exists()


def test_what_two_scenes_tell_is_called_rough(run: Run, few: Shoot):
    assert "from the scenes of bursts is rough" in run("profile", few.bursts).err


@pytest.mark.parametrize("option", ["--darks", "--flats"])
def test_darks_and_flats_of_another_sensor_are_refused_by_name(run: Run, few: Shoot, tmp_path: Path, option: str):
    write_frames(tmp_path, shoot(CAMERA, np.zeros((200, 240, 3), np.float32), ISO, 4, 0)[0], camera="Nikon D5")
    error = run("profile", few.bursts, option, tmp_path).error
    assert "frame_000.dng" in error
    assert "Nikon D5" in error


def test_every_file_is_decoded_once(few: Shoot, monkeypatch: pytest.MonkeyPatch):
    read: list[Path] = []
    monkeypatch.setattr(reading, "read_raw", lambda path, **limit: read.append(path) or read_raw(path, **limit))
    profile([few.bursts], [few.darks], [few.flats])
    assert len(read) == len(set(read)) == 4 + 4 + 6 + 6


def test_darks_and_flats_of_an_unknown_camera_serve_only_where_the_user_says_so(tmp_path: Path):
    frames = {
        "burst": burst_frames(4),
        "darks": dark_frames(4),
        "flats": shoot(SyntheticCamera(), np.full((160, 192, 3), 0.5, np.float32), 1600, 4, 5)[0],
    }
    for name, found in frames.items():
        write_frames(tmp_path / name, found, camera=None)
    for given in ({"darks": [tmp_path / "darks"]}, {"flats": [tmp_path / "flats"]}):
        with pytest.raises(IncompatibleFramesError, match="camera unknown, so nothing tells"):
            profile([tmp_path / "burst"], **given)
        assert profile([tmp_path / "burst"], **given, settings=IngestSettings(any_sensor=True)).channels


def test_stored_bursts_are_profiled_with_the_darks_given_now_and_that_is_told(shots: Shoot, tmp_path: Path):
    ingest([shots.bursts / "one"], tmp_path)
    listener = Recorder()
    found = profile([tmp_path], [shots.darks], listener=listener)
    assert found.channels[0].dsnu_e == pytest.approx(CAMERA.dark_offset_std_dn / CAMERA.gain_dn_per_e, rel=0.15)
    assert "ingested with; from them those given are not subtracted" in listener.notes[0]


def test_flats_among_the_inputs_are_no_scene_and_are_decoded_once(
    few: Shoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    card = tmp_path / "card"
    shutil.copytree(few.bursts, card / "bursts")
    shutil.copytree(few.flats, card / "flats")
    read: list[Path] = []
    monkeypatch.setattr(reading, "read_raw", lambda path, **limit: read.append(path) or read_raw(path, **limit))
    listener = Recorder()
    found = profile([card], flats=[card / "flats"], listener=listener)
    assert len(read) == len(set(read)) == 4 + 4 + 6
    assert found.channels == profile([few.bursts], flats=[few.flats]).channels


def test_dark_frames_among_the_bursts_serve_as_if_they_were_named(few: Shoot, tmp_path: Path):
    shutil.copytree(few.bursts, tmp_path / "card")
    shutil.copytree(few.darks, tmp_path / "card" / "z_darks")
    listener = Recorder()
    found = profile([tmp_path / "card"], listener=listener)
    assert listener.notes[0] == "6 dark frames among the shots are used as darks (ISO 800 at 1/30 s)"
    assert found.channels == profile([few.bursts], [few.darks]).channels
    assert found.dark is not None
