"""One clean frame from a burst: the mean of its accepted frames, its noise variance 1 / N, in a file others read."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import rawpy
import tifffile

from burst_denoise.burst.burst import Burst
from burst_denoise.errors import InputFileError, OutputError, SeriesError, TooFewFramesError
from burst_denoise.frame.frame import Frame, to_linear
from burst_denoise.frame.synthetic import Fault, SyntheticCamera, shoot
from burst_denoise.inference.denoiser import Denoiser
from burst_denoise.io.dng import rounded_dn
from burst_denoise.io.metadata import is_denoised
from burst_denoise.io.picture import read_picture
from burst_denoise.io.raw import read_raw
from burst_denoise.jobs.ingest import ingest
from burst_denoise.jobs.merge import merge, merge_burst
from burst_denoise.session.denoisers import Denoisers
from tests.shots import (
    Recorder,
    burst_frames,
    dark_frames,
    everything_in,
    frame_of,
    scene,
    stored,
    verdicts,
    write_frames,
)

PERFECT = SyntheticCamera(hot_fraction=0, prnu=0, dark_offset_std_dn=0)
"""A camera without fixed pattern, which no averaging takes away."""


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six raw frames of which the last is shifted."""
    folder = tmp_path_factory.mktemp("shots") / "kitchen"
    write_frames(folder, burst_frames(6, faults={5: Fault(shift=(3, 2))}))
    return folder


@pytest.fixture(scope="module")
def burst(shots: Path, tmp_path_factory: pytest.TempPathFactory) -> Burst:
    return ingest([shots], tmp_path_factory.mktemp("bursts"))[0]


def description(path: Path) -> str:
    with tifffile.TiffFile(path) as file:
        return str(file.pages[0].tags["PreviewSettingsName"].value)


def test_the_mean_of_the_accepted_frames_becomes_a_dng_that_libraw_reads(tmp_path: Path, shots: Path, burst: Burst):
    before, told = everything_in(shots), Recorder()
    merged = merge([shots], tmp_path / "new" / "a.dng", None, listener=told)
    assert len(burst) == 5
    assert merged.linear == pytest.approx(np.where(merged.linear < 1, burst.mean(), merged.linear), abs=1e-6)
    with rawpy.imread(str(tmp_path / "new" / "a.dng")) as raw:
        assert np.array_equal(raw.raw_image, rounded_dn(merged.dn))
        assert raw.postprocess(use_camera_wb=True).shape == (160, 192, 3)
    written, first = read_raw(tmp_path / "new" / "a.dng").info, burst.frame(0).info
    for what in ("camera", "cfa", "black_level", "white_level", "iso", "exposure_s", "as_shot_neutral"):
        assert getattr(written, what) == getattr(first, what), what
    assert [verdict.series for verdict in told.verdicts] == ["kitchen"]
    assert merged.notes.endswith("; mean of 5 frames")
    assert description(tmp_path / "new" / "a.dng") == merged.notes
    assert is_denoised(tmp_path / "new" / "a.dng")  # so that it is no frame of the burst that it lies beside
    assert everything_in(shots) == before


def test_the_noise_profile_of_what_is_left_is_that_of_a_frame_by_their_number(
    tmp_path: Path, shots: Path, burst: Burst
):
    merged = merge([shots], tmp_path / "a.dng", None)
    count = len(burst)
    assert merged.noise_profile.shot_noise_scale == pytest.approx([s / count for s in burst.profile.shot_noise_scale])
    assert merged.noise_profile.read_noise_variance == pytest.approx(
        [o / count for o in burst.profile.read_noise_variance]
    )
    with tifffile.TiffFile(tmp_path / "a.dng") as file:
        tag = np.reshape(file.pages[0].pages[0].tags[51041].value, (3, 2))  # the tag knows one green
    for index, terms in enumerate((burst.profile.shot_noise_scale, burst.profile.read_noise_variance)):
        red, green, other_green, blue = (term / count for term in terms)
        assert tag[:, index] == pytest.approx([red, (green + other_green) / 2, blue])


@pytest.mark.parametrize("count", [4, 12])
def test_the_error_against_the_known_clean_image_falls_by_the_number_of_frames(tmp_path: Path, count: int):
    frames, clean_dn = shoot(PERFECT, scene(), 6400, count, 1)
    write_frames(tmp_path / "in", frames)
    merge([tmp_path / "in"], tmp_path / "a.dng", None)
    clean = to_linear(clean_dn, frames[0].info)
    merged = read_raw(tmp_path / "a.dng")
    errors = [np.mean((frame.linear - clean)[clean < 0.9] ** 2) for frame in (merged, frames[0])]
    assert errors[1] / errors[0] == pytest.approx(count, rel=0.05)
    # And it is what the profile says.
    planes = merged.mosaic.pack(clean)
    profile = merged.noise_profile
    expected = np.mean([s * x.mean() + o for s, o, x in zip(
        profile.shot_noise_scale, profile.read_noise_variance, planes, strict=True)])  # fmt: skip
    assert np.mean((merged.linear - clean) ** 2) == pytest.approx(expected, rel=0.1)


def test_a_dark_is_subtracted_and_the_notes_say_so(tmp_path: Path):
    write_frames(tmp_path / "in", burst_frames(4))
    write_frames(tmp_path / "darks", dark_frames(8))
    plain = merge([tmp_path / "in"], tmp_path / "plain.dng", None)
    merged = merge([tmp_path / "in"], tmp_path / "a.dng", None, [tmp_path / "darks"])
    assert "dark" not in plain.notes
    assert merged.notes.endswith("; mean of 4 frames; dark subtracted")
    assert description(tmp_path / "a.dng").endswith("; mean of 4 frames; dark subtracted")
    offset = np.mean([frame.linear for frame in dark_frames(8)], axis=0)
    calm = np.abs(offset) < 0.002
    assert np.corrcoef((plain.linear - merged.linear)[calm], offset[calm])[0, 1] > 0.8


def test_gains_are_evened_out_and_defects_repaired(tmp_path: Path):
    frames = burst_frames(3)
    defects = np.zeros(frames[0].dn.shape, np.bool_)
    defects[50, 60] = True
    for frame in frames:
        frame.dn[50, 60] = 15000
    gains = [1.0, 1.02, 0.98]
    frames = [
        frame_of(frame.linear * np.float32(gain), frame.info, path=frame.path)
        for frame, gain in zip(frames, gains, strict=True)
    ]
    burst = stored(tmp_path / "a.burst", "a", frames, verdicts(frames, gains), 0.1, 0.001, defects=defects)
    merged = merge_burst(burst, None).linear
    expected = np.mean([frame.linear / gain for frame, gain in zip(frames, gains, strict=True)], axis=0)
    unlike = defects | burst.saturated
    assert np.allclose(merged[~unlike], expected[~unlike], rtol=0, atol=1e-6)
    assert merged[50, 60] < expected[50, 60] - 0.3


def test_a_stored_burst_is_merged_too(tmp_path: Path, shots: Path, burst: Burst):
    one, other = merge([burst.folder], tmp_path / "a.dng", None), merge([shots], tmp_path / "b.dng", None)
    assert np.array_equal(one.dn, other.dn)
    assert np.array_equal(read_raw(tmp_path / "a.dng").dn, read_raw(tmp_path / "b.dng").dn)


def test_pictures_become_a_tiff_of_16_bits_that_keeps_what_averaging_gained(tmp_path: Path):
    rng = np.random.default_rng(0)
    clean = np.tile(np.linspace(90, 110, 64), (48, 1))[..., None]
    (tmp_path / "in").mkdir()
    pictures = [np.rint(clean + rng.normal(0, 3, (48, 64, 3))).astype(np.uint8) for _ in range(8)]
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(tmp_path / "in" / f"a_{number}.png"), picture)
    merge([tmp_path / "in"], tmp_path / "a.tif", None)
    written = read_picture(tmp_path / "a.tif")
    assert written.dn.dtype == np.uint16
    mean = np.moveaxis(np.mean(pictures, axis=0)[..., ::-1], 2, 0)
    assert written.dn / 257 == pytest.approx(mean, abs=1.5)  # but for gains near 1
    assert (written.dn % 257 != 0).mean() > 0.5
    merge([tmp_path / "in"], tmp_path / "a.png", None)
    assert np.array_equal(read_picture(tmp_path / "a.png").dn, written.dn)
    with pytest.raises(OutputError, match="cannot become a DNG; choose tiff or png"):
        merge([tmp_path / "in"], tmp_path / "a.dng", None)


def test_several_series_are_refused_by_name(tmp_path: Path):
    for seed, name in enumerate(("kitchen", "garden")):
        write_frames(tmp_path / "in" / name, burst_frames(3, seed=seed))
    with pytest.raises(SeriesError, match=r"2 series were accepted \(garden, kitchen\), .* name one"):
        merge([tmp_path / "in"], tmp_path / "a.dng", None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_what_cannot_be_written_is_refused_and_nothing_is_left(
    tmp_path: Path, shots: Path, monkeypatch: pytest.MonkeyPatch
):
    stored = ingest([shots], tmp_path / "bursts")
    with pytest.raises(OutputError, match="only a raw file can be developed to a picture, not a frame of a burst"):
        merge([stored[0].folder], tmp_path / "a.tif", None)
    shutil.rmtree(tmp_path / "bursts")
    with pytest.raises(TooFewFramesError):
        merge(sorted(shots.iterdir())[:2], tmp_path / "a.dng", None)
    with pytest.raises(InputFileError):
        merge([tmp_path / "nowhere"], tmp_path / "a.dng", None)
    assert not list(tmp_path.iterdir())
    (tmp_path / "a.dng").write_text("mine")
    monkeypatch.setattr("burst_denoise.io.read.read_raw", pytest.fail)  # it is refused before any work
    with pytest.raises(OutputError, match="exists already"):
        merge([shots], tmp_path / "a.dng", None)


def test_the_merged_frame_is_computed_and_the_burst_is_left_alone(burst: Burst):
    before = everything_in(burst.folder)
    merged = merge_burst(burst, None)
    assert isinstance(merged, Frame)
    assert merged.dn.dtype == np.float32
    assert everything_in(burst.folder) == before


def test_what_is_overexposed_in_every_frame_is_so_in_the_mean_whatever_gains_and_dark(tmp_path: Path):
    frames = burst_frames(3)
    defects = np.zeros(frames[0].dn.shape, np.bool_)
    defects[100, 100] = True
    for frame in frames:
        frame.dn[10:20, 30:40] = frame.dn[100, 100] = 15304
    frames[1].dn[60:70, 30:40] = 15304
    gains, dark = [1.0, 1.02, 0.99], np.full(frames[0].dn.shape, 0.01, np.float32)
    burst = stored(tmp_path / "a.burst", "a", frames, verdicts(frames, gains), 0.1, 0.001, defects=defects, dark=dark)
    merged = merge_burst(burst, None)
    assert (rounded_dn(merged.dn)[10:20, 30:40] == 15304).all()  # or else highlights would turn pink
    assert merged.linear[100, 100] < 0.9  # a hot photosite is repaired
    others = np.mean([burst.linear(0), burst.linear(2)], axis=0)
    assert merged.linear[60:70, 30:40] == pytest.approx(others[60:70, 30:40], abs=1e-6)  # a flash in one frame alone


def test_a_video_becomes_a_picture(tmp_path: Path):
    rng = np.random.default_rng(0)
    seen = cv2.resize(rng.integers(60, 180, (6, 8, 3), np.uint8), (96, 64), interpolation=cv2.INTER_CUBIC).astype(float)
    movie = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"FFV1"), 10, (96, 64))
    for _ in range(6):
        movie.write(np.clip(seen + rng.normal(0, 4, seen.shape), 0, 255).astype(np.uint8))
    movie.release()
    told = Recorder()
    merged = merge([tmp_path / "clip.avi"], tmp_path / "a.tif", Denoisers(), listener=told)
    assert merged.notes.endswith("; mean of 6 frames")
    assert [note for note in told.notes if "the mean is left as it is" in note and "picture (8 bits)" in note]
    written = read_picture(tmp_path / "a.tif").dn / 257
    assert np.std(written - np.moveaxis(seen[..., ::-1], 2, 0)) < 4 / np.sqrt(6) * 1.2


def test_the_merged_frame_carries_what_the_first_frame_says(tmp_path: Path, shots: Path):
    merge([shots], tmp_path / "a.dng", Denoisers())
    first, merged = read_raw(sorted(shots.iterdir())[0]), read_raw(tmp_path / "a.dng")
    assert merged.info.dng_tags == first.info.dng_tags
    assert merged.info.taken_at == first.info.taken_at
    with tifffile.TiffFile(tmp_path / "a.dng") as file:
        assert file.pages[0].pages[0].tags["NoiseReductionApplied"].value == (1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", [f"kodim{k:02d}_iso{iso}" for k in (1, 2, 3) for iso in (1600, 6400)])
def test_a_merged_burst_is_nearer_to_the_truth_than_its_mean(tmp_path: Path, shared_data: Path, name: str):
    (burst,) = ingest([shared_data / "sim_canon700d" / name], tmp_path)
    counts, clean = ~burst.excluded, burst.clean.astype(np.float64)
    merged, mean = merge_burst(burst, Denoiser()).linear, burst.mean()
    clean *= (mean[counts] @ clean[counts]) / (clean[counts] @ clean[counts])
    errors = [np.mean((image[counts] - clean[counts]) ** 2) for image in (mean, merged)]
    assert 10 * np.log10(errors[0] / errors[1]) > 0.15
