"""A series gets one verdict, its frames get theirs, and real bursts are judged as people judged them."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from skimage.data import astronaut

from burst_denoise.burst.grouping import find_sources, group_series, read_series
from burst_denoise.burst.series_verdict import SeriesVerdict, check_frames, check_series
from burst_denoise.frame.frame import Frame
from burst_denoise.frame.synthetic import Fault, SyntheticCamera, scene_from_picture, shoot
from burst_denoise.io.dng import write_dng
from burst_denoise.schemas import FrameVerdict

SCENE = scene_from_picture(astronaut()[:192, :256])


def reasons(verdict: SeriesVerdict) -> dict[str, tuple[str, ...]]:
    return {frame.file: frame.reasons for frame in verdict.frames if not frame.accepted}


def judge(path: Path) -> list[SeriesVerdict]:
    return [check_series(series, 20)[0] for series in group_series(find_sources([path]))]


def crop(frame: Frame, rows: slice, columns: slice) -> Frame:
    dn = np.ascontiguousarray(frame.dn[..., rows, columns])
    return replace(frame, dn=dn, info=frame.info.model_copy(update={"height": dn.shape[-2], "width": dn.shape[-1]}))


def test_deviations_follow_the_closed_form() -> None:
    """The RMS distance of frame k to a mean that contains it is the noise times sqrt((N - 1) / N)."""
    camera = SyntheticCamera(prnu=0, dark_offset_std_dn=0, hot_fraction=0, row_noise_std_dn=0)
    n, iso = 8, 800
    frames, clean = shoot(camera, SCENE, iso, n, seed=0)
    x = clean - 2048
    variance = (camera.gain(iso) * x + camera.read_noise_variance_dn(iso) + 1 / 12).mean()
    verdict = check_frames("scene", frames)
    assert verdict.mu == pytest.approx(math.sqrt(variance * (n - 1) / n) / x.mean(), rel=0.02)
    assert verdict.mu == pytest.approx(np.mean(verdict.deviations))
    assert verdict.sigma == pytest.approx(np.std(verdict.deviations))
    assert len(verdict.deviations) == n


def test_a_clean_series_is_accepted_and_says_nothing() -> None:
    frames, _ = shoot(SyntheticCamera(), SCENE, 1600, 5, seed=0)
    verdict = check_frames("scene", frames)
    assert (verdict.series, verdict.accepted, verdict.detail, verdict.left_out) == ("scene", True, "", 0)
    assert verdict.info == frames[0].info
    assert [frame.file for frame in verdict.frames] == [frame.path.name for frame in frames]
    assert all(frame.gain is not None and frame.shift_px is not None for frame in verdict.frames)


@pytest.mark.parametrize("n", [1, 2])
def test_a_pair_is_too_few_but_its_frames_are_fine(n: int) -> None:
    frames, _ = shoot(SyntheticCamera(), SCENE, 1600, n, seed=0)
    verdict = check_frames("scene", frames)
    assert all(frame.accepted for frame in verdict.frames)
    assert not verdict.accepted
    assert verdict.detail == f"{n} of {n} frames accepted, 3 needed"


def test_too_few_after_the_checks_tells_why_the_others_fell_out() -> None:
    faults = {0: Fault(light=1.2), 1: Fault(shift=(3, 0))}
    frames, _ = shoot(SyntheticCamera(), SCENE, 1600, 4, 0, faults)
    other = FrameVerdict(
        file="x.dng", accepted=False, reasons=("incompatible",), gain=None, shift_px=None, detail="ISO 1 instead of 2"
    )
    verdict = check_frames("scene", frames, [other])
    assert verdict.detail == "2 of 5 frames accepted, 3 needed (rejected: 1 light, 1 shift, 1 incompatible)"
    assert verdict.frames[-1] == other


def test_frames_that_differ_in_noise_make_an_unsteady_series() -> None:
    camera = SyntheticCamera()
    quiet, _ = shoot(camera, SCENE, 800, 3, seed=0)
    loud, _ = shoot(camera, SCENE, 3200, 3, seed=1)
    verdict = check_frames("scene", [*quiet, *(replace(frame, info=quiet[0].info) for frame in loud)])
    assert verdict.sigma > 0.007
    assert not verdict.accepted
    assert verdict.detail.startswith("not steady")


def test_frames_of_zeros_have_no_deviation() -> None:
    frames, _ = shoot(SyntheticCamera(), SCENE, 800, 3, seed=0)
    black = [replace(frame, dn=np.full_like(frame.dn, 2048)) for frame in frames]
    assert check_frames("dark", black).deviations == (0, 0, 0)


def test_the_whole_way_through_dng_files(tmp_path: Path) -> None:
    frames, _ = shoot(SyntheticCamera(cfa="GBRG"), SCENE, 1600, 6, 0, {4: Fault(light=1.015), 5: Fault(shift=(0.5, 0))})
    for frame in frames:
        write_dng(tmp_path / "tripod" / frame.path.name, frame)
    (verdict,) = judge(tmp_path)
    assert (verdict.series, verdict.accepted) == ("tripod", True)
    assert reasons(verdict) == {"frame_005.dng": ("shift",)}
    assert verdict.frames[4].gain == pytest.approx(1.015, abs=0.002)
    (series,) = group_series(find_sources([tmp_path]))
    assert check_series(series, limit=4)[0].left_out == 2


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("kodim01_iso6400", "kodim02_iso1600")]


@pytest.mark.parametrize("scene", ["kodim02_iso6400", "kodim03_iso1600", *SLOW])  # the other two: test_cli_output.py
def test_simulated_canon_bursts_lose_exactly_the_three_faulty_frames(shared_data: Path, scene: str) -> None:
    (verdict,) = judge(shared_data / "sim_canon700d" / scene)
    assert verdict.accepted
    assert reasons(verdict) == {"frame_010.dng": ("shift",), "frame_011.dng": ("light",), "frame_012.dng": ("motion",)}
    assert verdict.frames[10].shift_px == pytest.approx(math.hypot(2.3, 1.1), abs=0.1)
    assert verdict.frames[11].gain == pytest.approx(1.05, abs=0.002)


@pytest.mark.slow
def test_the_knocked_tripod_of_the_s95_is_noticed(shared_data: Path) -> None:
    (series,) = group_series(find_sources([shared_data / "s95_iso3200"]))
    frames = read_series(series, 20).frames
    # The middle of the picture, for speed; the whole gives the same verdicts.
    verdict = check_frames(series.name, [crop(frame, slice(800, 1800), slice(1200, 2400)) for frame in frames])
    assert verdict.accepted
    assert reasons(verdict) == {f"IMG_{k}.JPG": ("shift",) for k in (6885, 6886, 6887)}
    assert all(1.2 < frame.shift_px < 2 for frame in verdict.frames[6:] if frame.shift_px is not None)


def test_a_drifting_star_field_is_not_static(shared_data: Path) -> None:
    (verdict,) = judge(shared_data / "seestar" / "m94")
    assert not verdict.accepted
    assert set(reasons(verdict).values()) == {("shift",)}
    assert len(reasons(verdict)) == 3
    assert "not static" in verdict.frames[0].detail


def test_a_slow_drift_is_shown_in_photosites(shared_data: Path) -> None:
    (verdict,) = judge(shared_data / "seestar" / "ngc7023")
    shifts = [frame.shift_px for frame in verdict.frames]
    assert verdict.info.cfa == "GRBG"
    assert len(shifts) == 4
    assert 0.3 < max(shift for shift in shifts if shift is not None) < 1


def test_emva_pairs_and_stacks_are_series_of_their_own(shared_data: Path) -> None:
    found = {series.name: series for series in group_series(find_sources([shared_data / "emva_ccd12"]))}
    sizes = sorted(len(series.paths) for series in found.values())
    assert sizes == [2] * 18 + [20, 20]
    for name in ("emva_ccd12-b_s_000_snap_000", "emva_ccd12-d_s_000_snap_000"):
        assert reasons(check_series(found[name], 20)[0]) == {}
