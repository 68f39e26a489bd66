"""The stored burst: exact sums, targets that do not know their frame, and damage that is noticed."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burst_denoise.burst.burst import Burst
from burst_denoise.burst.store import find_bursts, open_burst, pooled_by_iso, sharing_defects
from burst_denoise.errors import BurstStoreError, OutputError, SeriesError
from burst_denoise.frame.frame import Frame
from burst_denoise.frame.mosaic import RGGB
from burst_denoise.frame.synthetic import SyntheticCamera, shoot
from burst_denoise.sensor.defects import Repair
from tests.shots import SIZE, burst_frames, everything_in, stored, verdicts

SMALL = (48, 64)


def scene_burst(
    folder: Path, frames: list[Frame], gains: list[float] | None = None, clean: np.ndarray | None = None
) -> Burst:
    return stored(folder, "scene", frames, verdicts(frames, gains), 0.05, 0.001, clean)


@pytest.fixture(scope="module")
def burst(tmp_path_factory: pytest.TempPathFactory) -> Burst:
    return scene_burst(tmp_path_factory.mktemp("store") / "scene.burst", burst_frames(5, size=SMALL))


def test_frames_come_back_as_they_were_shot(burst: Burst) -> None:
    frames = burst_frames(5, size=SMALL)
    assert (len(burst), burst.name, burst.info) == (5, "scene", frames[0].info)
    for index, frame in enumerate(frames):
        found = burst.frame(index)
        assert found.path == frame.path
        assert found.dn.dtype == np.uint16
        assert np.array_equal(found.dn, frame.dn)
        assert np.array_equal(burst.linear(index), frame.linear)


def test_the_mean_is_that_of_an_exact_sum(burst: Burst) -> None:
    exact = np.mean([burst.linear(i).astype(np.float64) for i in range(5)], axis=0)
    assert np.abs(burst.mean() - exact).max() < 1e-7


def test_a_target_is_the_mean_of_the_other_frames(burst: Burst) -> None:
    for left_out in range(5):
        others = [burst.linear(i).astype(np.float64) for i in range(5) if i != left_out]
        assert np.abs(burst.leave_one_out_mean(left_out) - np.mean(others, axis=0)).max() < 2e-7


def test_a_target_does_not_know_the_frame_that_was_left_out(tmp_path: Path) -> None:
    frames = burst_frames(4, size=SMALL)
    changed = [*frames[:2], Frame(frames[2].dn[::-1, ::-1].copy(), frames[2].info, frames[2].path), frames[3]]
    one, other = scene_burst(tmp_path / "1.burst", frames), scene_burst(tmp_path / "2.burst", changed)
    # Not equal to the bit only because the sum is rounded to float64.
    assert np.abs(one.leave_one_out_mean(2) - other.leave_one_out_mean(2)).max() < 2e-7
    assert np.abs(one.leave_one_out_mean(1) - other.leave_one_out_mean(1)).max() > 1e-3


@settings(max_examples=30)
@given(st.data())
def test_a_window_is_cut_from_the_whole(burst: Burst, data: st.DataObject) -> None:
    (top, bottom), (left, right) = (
        sorted(data.draw(st.lists(st.integers(0, size // 2).map(lambda k: 2 * k), min_size=2, max_size=2, unique=True)))
        for size in SMALL
    )
    window = (slice(top, bottom), slice(left, right))
    assert np.array_equal(burst.linear(1, window), burst.linear(1)[window])
    assert np.array_equal(burst.leave_one_out_mean(1, window), burst.leave_one_out_mean(1)[window])


def test_brightness_is_corrected_in_linear_light_but_stored_as_shot(tmp_path: Path) -> None:
    frames = burst_frames(3, size=SMALL)
    found = scene_burst(tmp_path / "a.burst", frames, gains=[1.0, 1.02, 0.98])
    assert found.gains == ((1.0,) * 4, (1.02,) * 4, (0.98,) * 4)
    assert np.array_equal(found.frame(1).dn, frames[1].dn)
    assert np.allclose(found.linear(1), frames[1].linear / 1.02, rtol=1e-6)
    assert np.allclose(
        found.mean(), (frames[0].linear + frames[1].linear / 1.02 + frames[2].linear / 0.98) / 3, atol=1e-6
    )


def test_only_accepted_frames_are_stored_but_all_verdicts_are_kept(tmp_path: Path) -> None:
    frames = burst_frames(4, size=SMALL)
    judged = verdicts(frames)
    judged[1] = judged[1].model_copy(update={"accepted": False, "reasons": ("motion",), "gain": None})
    found = stored(tmp_path / "a.burst", "a", [frames[0], *frames[2:]], judged, 0.05, 0.001)
    assert [found.frame(i).path.name for i in range(len(found))] == ["frame_000.dng", "frame_002.dng", "frame_003.dng"]
    assert [v.file for v in found.manifest.frames] == [frame.path.name for frame in frames]


def test_a_photosite_saturated_in_one_frame_counts_in_none(tmp_path: Path) -> None:
    frames = burst_frames(3, size=SMALL)
    frames[1].dn[4, 6] = 15304
    mask = np.zeros(SMALL, bool)
    for frame in frames:
        mask |= frame.dn >= 15304
    found = scene_burst(tmp_path / "a.burst", frames)
    assert found.saturated[4, 6]
    assert np.array_equal(found.saturated, mask)


def test_a_clean_reference_is_kept_where_there_is_one(tmp_path: Path, burst: Burst) -> None:
    clean = np.linspace(0, 1, SMALL[0] * SMALL[1], dtype=np.float32).reshape(SMALL)
    found = scene_burst(tmp_path / "a.burst", burst_frames(3, size=SMALL), clean=clean)
    assert found.clean is not None
    assert np.array_equal(found.clean, clean)
    assert burst.clean is None


def test_the_noise_profile_is_that_of_the_camera(tmp_path: Path) -> None:
    found = scene_burst(tmp_path / "a.burst", burst_frames(8))
    assert found.profile.iso == 1600
    assert np.mean(found.profile.shot_noise_scale) * (15304 - 2048) == pytest.approx(0.45 * 16, rel=0.05)


def test_a_burst_reopened_is_the_same(burst: Burst) -> None:
    again = open_burst(burst.folder)
    assert again.manifest == burst.manifest
    assert np.array_equal(again.mean(), burst.mean())


def test_a_stored_burst_is_not_overwritten(tmp_path: Path) -> None:
    frames = burst_frames(3, size=SMALL)
    scene_burst(tmp_path / "a.burst", frames)
    before = everything_in(tmp_path)
    with pytest.raises(OutputError, match="exists already"):
        scene_burst(tmp_path / "a.burst", frames)
    assert everything_in(tmp_path) == before


def test_copies_of_one_shot_are_no_burst(tmp_path: Path) -> None:
    frames = burst_frames(3, size=SMALL)
    frames.append(Frame(frames[1].dn.copy(), frames[1].info, Path("copy.dng")))
    with pytest.raises(SeriesError, match=r"copy\.dng and frame_001\.dng are the same shot"):
        scene_burst(tmp_path / "a.burst", frames)
    assert everything_in(tmp_path) == {}


def test_overexposed_frames_have_no_noise_to_measure(tmp_path: Path) -> None:
    frames = burst_frames(3, size=SMALL)
    white = [
        Frame(np.full_like(f.dn, 15304) - (k == np.indices(SMALL)[0]), f.info, f.path) for k, f in enumerate(frames)
    ]
    with pytest.raises(SeriesError, match=r"scene: its noise cannot be measured.*expose less"):
        scene_burst(tmp_path / "a.burst", white)
    assert everything_in(tmp_path) == {}


def drop(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def pickle(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        *(("burst.json", harm) for harm in (cut, empty)),
        *(("frame_002.npy", harm) for harm in (drop, cut, flip, empty, pickle)),
        *((name, harm) for name in ("sum.npy", "saturated.npy") for harm in (drop, cut, empty, pickle)),
    ],
)  # fmt: skip
def test_damage_is_noticed_and_said_in_one_line(tmp_path: Path, name: str, harm) -> None:
    folder = scene_burst(tmp_path / "a.burst", burst_frames(3, size=SMALL)).folder
    harm(folder / name)
    with pytest.raises(BurstStoreError, match="ingest") as caught:
        open_burst(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize(
    "name", ["frame_000.npy", "frame_002.npy", "sum.npy", "saturated.npy", "clean.npy", "defects.npy", "dark.npy"]
)
def test_one_flipped_byte_of_any_array_is_noticed(tmp_path: Path, name: str, place: float) -> None:
    frames, image = burst_frames(3, size=SMALL), np.zeros(SMALL, np.float32)
    burst = stored(
        tmp_path / "a.burst", "a", frames, verdicts(frames), 0.05, 0.001, image, np.zeros(SMALL, np.bool_), image
    )
    path = burst.folder / name
    data = bytearray(path.read_bytes())
    data[round(place * (len(data) - 1))] ^= 1
    path.write_bytes(data)
    with pytest.raises(BurstStoreError, match=rf"a\.burst/{name}: .*ingest the frames of this burst again") as caught:
        open_burst(burst.folder)
    assert "\n" not in str(caught.value)


def test_values_that_cannot_be_are_refused_in_bursts_without_digests_too(tmp_path: Path) -> None:
    folder = scene_burst(tmp_path / "a.burst", burst_frames(3, size=SMALL)).folder
    total = np.load(folder / "sum.npy")
    total[3, 3] = np.nan
    np.save(folder / "sum.npy", total)
    manifest = json.loads((folder / "burst.json").read_text())
    (folder / "burst.json").write_text(json.dumps(manifest | {"sum_sha256": None}))
    with pytest.raises(BurstStoreError, match=r"sum\.npy: damaged"):
        open_burst(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("name", ["burst.json", "frame_001.npy", "sum.npy"])
def test_a_pipe_in_a_burst_is_refused_at_once(tmp_path: Path, name: str) -> None:
    folder = scene_burst(tmp_path / "a.burst", burst_frames(3, size=SMALL)).folder
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(BurstStoreError, match=rf"{name}: is a pipe or a device where a file is needed"):
        open_burst(folder)


def test_another_format_version_is_refused(tmp_path: Path) -> None:
    folder = scene_burst(tmp_path / "a.burst", burst_frames(3, size=SMALL)).folder
    text = json.loads((folder / "burst.json").read_text())
    (folder / "burst.json").write_text(json.dumps(text | {"format": 2}))
    with pytest.raises(BurstStoreError, match=r"format.*ingest the frames again"):
        open_burst(folder)


def test_a_sum_of_another_size_is_refused(tmp_path: Path) -> None:
    folder = scene_burst(tmp_path / "a.burst", burst_frames(3, size=SMALL)).folder
    np.save(folder / "sum.npy", np.zeros((2, 2)))
    with pytest.raises(BurstStoreError, match=r"sum\.npy: is of float64, \(2, 2\), and does not fit a frame"):
        open_burst(folder)


def test_bursts_are_found_in_folders_but_not_what_is_half_done(tmp_path: Path) -> None:
    frames = burst_frames(3, size=SMALL)
    wanted = [scene_burst(tmp_path / place, frames).folder for place in ("a.burst", "sub/b.burst")]
    for passed_over in ("model.safetensors.work/bursts/c.burst", ".d.123.partial.burst"):
        scene_burst(tmp_path / passed_over, frames)
    assert find_bursts(tmp_path) == wanted
    assert find_bursts(wanted[0]) == [wanted[0]]
    assert find_bursts(tmp_path / "model.safetensors.work" / "bursts") != []
    assert find_bursts(tmp_path / "nowhere") == []


def test_digests_are_those_of_the_files(burst: Burst) -> None:
    for index, digest in enumerate(burst.manifest.sha256):
        data = (burst.folder / f"frame_{index:03d}.npy").read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest


def test_every_frame_keeps_the_black_level_its_camera_measured(tmp_path):
    scene = np.full((64, 64, 3), 0.2, np.float32)
    frames = []
    for number, black in enumerate((2048.0, 2051.0, 2047.0)):
        camera = SyntheticCamera(black_level=(black,) * 4, hot_fraction=0)
        frames.append(shoot(camera, scene, 800, 3, seed=0)[0][number])
    burst = scene_burst(tmp_path / "drift.burst", frames)
    for index, frame in enumerate(frames):
        assert burst.frame(index).info.black_level == frame.info.black_level
        assert np.array_equal(burst.linear(index), frame.linear)
    assert burst.linear(0).mean() == pytest.approx(burst.linear(1).mean(), rel=2e-3)


def test_bursts_of_one_iso_get_one_noise_profile_from_all_their_light_levels(tmp_path):
    bursts = []
    for name, level in (("dark", 0.002), ("bright", 0.5)):
        scene = np.full((64, 64, 3), level, np.float32)
        frames, _ = shoot(SyntheticCamera(hot_fraction=0, as_shot_neutral=(1, 1, 1)), scene, 1600, 8, seed=1)
        bursts.append(scene_burst(tmp_path / f"{name}.burst", frames))
    dark, bright = pooled_by_iso(bursts)
    assert dark.profile == bright.profile
    gains = np.array(dark.profile.shot_noise_scale) * (15304 - 2048)
    assert gains == pytest.approx(SyntheticCamera().gain(1600), rel=0.05)
    assert bursts[0].profile != dark.profile


def test_a_window_off_the_mosaic_grid_is_refused(burst):
    with pytest.raises(ValueError, match="does not start on an even row and column"):
        burst.linear(0, (slice(0, 10), slice(3, 13)))


def fixed(size: tuple[int, int] = SMALL) -> tuple[np.ndarray, np.ndarray]:
    """Return a map of defects and dark offsets."""
    rng = np.random.default_rng(5)
    return rng.random(size) < 0.02, (0.01 * rng.standard_normal(size)).astype(np.float32)


def test_frames_and_means_come_with_the_dark_subtracted_and_defects_repaired(tmp_path: Path) -> None:
    frames = burst_frames(4, size=SMALL)
    defects, dark = fixed()
    gains = [1.0, 1.02, 0.98, 1.0]
    found = stored(tmp_path / "a.burst", "a", frames, verdicts(frames, gains), 0.05, 0.001, defects=defects, dark=dark)
    repair = Repair(defects, RGGB)
    expected = [repair.apply((f.linear - dark) / np.float32(g)) for f, g in zip(frames, gains, strict=True)]
    for index, image in enumerate(expected):
        assert found.linear(index) == pytest.approx(image, abs=1e-6)
        others = [e.astype(np.float64) for k, e in enumerate(expected) if k != index]
        assert found.leave_one_out_mean(index) == pytest.approx(np.mean(others, axis=0), abs=1e-6)
        assert np.array_equal(found.frame(index).dn, frames[index].dn)  # as shot
        assert found.corrected(frames[index].linear, index, subtract=True) == pytest.approx(image, abs=1e-6)
        assert found.corrected(frames[index].linear - dark, index, subtract=False) == pytest.approx(image, abs=1e-6)
    assert found.mean() == pytest.approx(np.mean(expected, axis=0), abs=1e-6)
    assert np.array_equal(found.excluded, found.saturated | defects)
    assert found.scene(repaired=False).mean[~defects] == pytest.approx(found.mean()[~defects], abs=1e-6)
    hurt = stored(tmp_path / "b.burst", "a", frames, verdicts(frames, gains), 0.05, 0.001)
    assert found.fingerprint != hurt.fingerprint
    assert hurt.defects is hurt.dark is None
    assert np.array_equal(hurt.excluded, hurt.saturated)


@pytest.mark.parametrize("cfa", ["RGGB", "GBRG"])
def test_each_plane_is_divided_by_its_own_gain(tmp_path: Path, cfa: str) -> None:
    frames = burst_frames(4, size=SMALL, cfa=cfa)
    _, dark = fixed()
    planes = [(1.0, 1.0, 1.0, 1.0), (1.01, 1.0, 1.0, 0.97), (0.99, 1.0, 1.0, 1.03), (1.0, 1.02, 1.02, 1.0)]
    found = [v.model_copy(update={"plane_gains": own}) for v, own in zip(verdicts(frames), planes, strict=True)]
    burst = stored(tmp_path / "a.burst", "a", frames, found, 0.05, 0.001, dark=dark)
    expected = []
    for frame, own in zip(frames, planes, strict=True):
        even = frame.mosaic.pack(frame.linear - dark) / np.float32(own)[:, None, None]
        expected.append(frame.mosaic.unpack(even, frame.dn.shape))
    window = (slice(10, 30), slice(4, 40))
    for index, image in enumerate(expected):
        assert burst.linear(index) == pytest.approx(image, abs=1e-6)
        assert burst.linear(index, window) == pytest.approx(image[window], abs=1e-6)
        assert burst.corrected(frames[index].linear, index, subtract=True) == pytest.approx(image, abs=1e-6)
        others = np.mean([each.astype(np.float64) for k, each in enumerate(expected) if k != index], axis=0)
        assert burst.leave_one_out_mean(index) == pytest.approx(others, abs=1e-6)
        assert burst.leave_one_out_mean(index, window) == pytest.approx(others[window], abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_window_of_a_repaired_burst_is_cut_from_the_whole(corrected: Burst, data: st.DataObject) -> None:
    (top, bottom), (left, right) = (
        sorted(data.draw(st.lists(st.integers(0, size // 2).map(lambda k: 2 * k), min_size=2, max_size=2, unique=True)))
        for size in SMALL
    )
    window = (slice(top, bottom), slice(left, right))
    assert np.array_equal(corrected.linear(1, window), corrected.linear(1)[window])
    assert np.array_equal(corrected.leave_one_out_mean(1, window), corrected.leave_one_out_mean(1)[window])


@pytest.fixture(scope="module")
def corrected(tmp_path_factory: pytest.TempPathFactory) -> Burst:
    frames = burst_frames(4, size=SMALL)
    defects, dark = fixed()
    folder = tmp_path_factory.mktemp("corrected") / "a.burst"
    return stored(folder, "a", frames, verdicts(frames), 0.05, 0.001, defects=defects, dark=dark)


def test_hot_photosites_do_not_disturb_the_noise_of_repaired_frames(tmp_path: Path) -> None:
    frames = burst_frames(6)
    defects = np.zeros(frames[0].dn.shape, bool)
    defects[::9, ::11] = True
    rng = np.random.default_rng(0)
    for frame in frames:
        frame.dn[defects] = rng.integers(2048, 15000, defects.sum())
    found = stored(tmp_path / "a.burst", "a", frames, verdicts(frames), 0.05, 0.001, defects=defects)
    assert np.mean(found.profile.shot_noise_scale) * (15304 - 2048) == pytest.approx(0.45 * 16, rel=0.06)


@pytest.mark.parametrize("name", ["defects.npy", "dark.npy"])
@pytest.mark.parametrize("harm", [drop, cut, flip, empty, pickle])
def test_a_damaged_map_or_dark_is_noticed(tmp_path: Path, name: str, harm) -> None:
    frames = burst_frames(3, size=SMALL)
    defects, dark = fixed()
    folder = tmp_path / "a.burst"
    stored(folder, "a", frames, verdicts(frames), 0.05, 0.001, defects=defects, dark=dark)
    harm(folder / name)
    with pytest.raises(BurstStoreError, match="ingest") as caught:
        open_burst(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_burst_of_an_earlier_version_opens_without_a_map(burst: Burst, tmp_path: Path) -> None:
    folder = tmp_path / "old.burst"
    shutil.copytree(burst.folder, folder)
    text = json.loads((folder / "burst.json").read_text())
    (folder / "burst.json").write_text(
        json.dumps({key: value for key, value in text.items() if key not in ("defects_sha256", "dark_sha256")})
    )
    again = open_burst(folder)
    assert again.defects is again.dark is None
    assert np.array_equal(again.mean(), burst.mean())
    assert sharing_defects([again])[0].defects is None


MANIFEST_0_3 = Path(__file__).parent / "golden" / "burst_0.3.json"
"""Written by version 0.3.0 (5da30c9) for the frames of `frame_of_0_3`, one defect and a dark of 2^-10."""


def frame_of_0_3(number: int) -> np.ndarray:
    rows, columns = np.indices((16, 24))
    noise = (7 * rows + 11 * columns + 5 * number) ** 2 % 97
    return (2048 + 40 * (3 + rows + columns) + noise).astype(np.uint16)


def test_a_burst_of_version_0_3_still_opens(tmp_path: Path) -> None:
    folder = tmp_path / "kitchen.burst"
    folder.mkdir()
    shutil.copy(MANIFEST_0_3, folder / "burst.json")
    defects = np.zeros((16, 24), bool)
    defects[4, 10] = True
    frames = [frame_of_0_3(k) for k in range(3)]
    linear = [(dn - np.float64(2048 + k)) / (15304 - 2048 - k) for k, dn in enumerate(frames)]
    arrays = {f"frame_{k:03d}": dn for k, dn in enumerate(frames)}
    arrays |= {"defects": defects, "dark": np.full((16, 24), 2**-10, np.float32), "saturated": np.zeros_like(defects)}
    arrays["sum"] = np.sum([image / gain for image, gain in zip(linear, (1, 1.01, 1.02), strict=True)], axis=0)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    found = open_burst(folder)
    assert (found.manifest.version, found.name, len(found)) == ("0.3.0", "kitchen", 3)
    assert found.gains == ((1.0,) * 4, (1.01,) * 4, (1.02,) * 4)
    assert (found.info.camera, found.info.cfa, found.info.iso) == ("Canon EOS 700D", "GBRG", 1600)
    assert found.frame(2).info.black_level == (2050.0,) * 4
    assert np.argwhere(found.excluded).tolist() == [[4, 10]]
    sound = ~defects
    assert found.linear(1)[sound] == pytest.approx(((linear[1] - 2**-10) / 1.01)[sound], abs=1e-6)
    rejected = found.verdict.frames[3]
    assert (rejected.file, rejected.reasons, rejected.shift_px) == ("IMG_3.dng", ("shift",), 2.5)
    (again,) = pooled_by_iso([found])
    assert again.profile.shot_noise_scale == pytest.approx(found.profile.shot_noise_scale, abs=1e-7)
    assert "row_noise_variance" not in found.manifest.to_json()


def test_defects_found_in_one_burst_are_shared_with_all_of_its_size(tmp_path: Path) -> None:
    bursts = []
    for name, seed, size in (("a", 0, SIZE), ("b", 1, SIZE), ("small", 2, SMALL)):
        frames = burst_frames(4, seed=seed, size=size)
        defects = np.zeros(size, bool)
        defects[10, 30] = name != "b"
        bursts.append(stored(tmp_path / f"{name}.burst", name, frames, verdicts(frames), 0.05, 0.001, defects=defects))
    a, b, small = sharing_defects(bursts)
    assert a.defects is not None
    assert a.defects[10, 30]
    assert np.array_equal(a.defects, b.defects)
    assert small.defects is not None
    assert small.defects.shape == SMALL
    assert small.defects[10, 30]
    assert bursts[1].defects is not None
    assert not bursts[1].defects.any()
