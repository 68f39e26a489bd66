"""Each fault of a synthetic burst is found by its name, and a clean burst is left alone."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.data import astronaut, coffee

from burst_denoise.burst.checks import Findings, check_all
from burst_denoise.frame.frame import Frame
from burst_denoise.frame.synthetic import Fault, SyntheticCamera, scene_from_picture, shoot
from burst_denoise.schemas import FrameInfo
from tests.test_alignment import warped

SCENE_PATH = Path("scene.png")
SCENES = {"portrait": astronaut()[:256, :320], "cup": coffee()[60:316, 100:420]}
FAULTS = {
    2: Fault(shift=(0.5, 0.0)),
    3: Fault(focus=1.2),
    4: Fault(light=1.015),
    5: Fault(light=1.05),
    6: Fault(motion=24),
    7: Fault(saturation=0.4),
    8: Fault(shift=(-0.36, 0.36), light=0.9),
}
EXPECTED = {2: "shift", 3: "focus", 5: "light", 6: "motion", 7: "saturation", 8: "shift"}


def burst(scene: str, iso: float, seed: int, faults: dict[int, Fault], n: int = 12, cfa: str = "RGGB") -> Findings:
    camera = SyntheticCamera(cfa=cfa, seed=seed)
    frames, _ = shoot(camera, scene_from_picture(SCENES[scene]), iso, n, seed, faults)
    return check_all(frames)


@pytest.mark.parametrize(("iso", "cfa"), [(100, "RGGB"), (1600, "GRBG"), (6400, "GBRG"), (12800, "BGGR")])
@pytest.mark.parametrize("scene", SCENES)
def test_every_fault_gets_exactly_its_reason(scene: str, iso: float, cfa: str) -> None:
    found = burst(scene, iso, seed=int(iso) % 7, faults=FAULTS, cfa=cfa)
    assert found.reasons == [EXPECTED.get(k) for k in range(12)], found.details


@given(seed=st.integers(0, 10_000), iso=st.sampled_from([100, 800, 3200, 12800]), n=st.integers(2, 8))
@settings(max_examples=20, deadline=None)
def test_a_clean_burst_is_left_alone(seed: int, iso: float, n: int) -> None:
    found = burst("portrait", iso, seed, {}, n=n)
    assert found.reasons == [None] * n, found.details


@pytest.mark.parametrize("iso", [100, 1600])
def test_a_flicker_is_kept_and_its_size_reported(iso: float) -> None:
    found = burst("cup", iso, 1, {3: Fault(light=1.015), 5: Fault(light=0.985)})
    assert found.reasons == [None] * 12
    assert found.gains[3] == pytest.approx(1.015, abs=0.002)
    assert found.gains[5] == pytest.approx(0.985, abs=0.002)
    assert np.median(found.gains) == pytest.approx(1, abs=0.001)


def coloured(blues: list[float], iso: float = 800) -> list[Frame]:
    """Shoot the cup once with each blue of the light."""
    scene = scene_from_picture(SCENES["cup"])
    scenes = [scene * np.array([1, 1, blue], np.float32) for blue in blues]
    return [shoot(SyntheticCamera(cfa="GBRG"), each, iso, 1, seed)[0][0] for seed, each in enumerate(scenes)]


def test_a_drift_of_the_white_balance_is_kept_and_evened_out() -> None:
    blues = [1.0, 1.0, 0.97, 1.0, 1.03, 1.0, 1.0]
    frames = coloured(blues)
    found = check_all(frames)
    assert found.reasons == [None] * 7, found.details
    gains = np.array([found.plane_gains(k) for k in range(7)])
    np.testing.assert_allclose(gains[:, 3], blues, atol=0.004)
    np.testing.assert_allclose(gains[:, :3], 1, atol=0.004)
    means = np.array([frames[k].mosaic.pack(found.linear(k)).mean(axis=(1, 2)) for k in range(7)])
    np.testing.assert_allclose(means / means.mean(axis=0), 1, atol=0.003)


def test_a_white_balance_set_anew_is_another_light() -> None:
    found = check_all(coloured([1.0, 1.0, 1.3, 1.0, 1.0]))
    assert found.reasons == [None, None, "light", None, None]
    assert re.fullmatch(
        r"of another colour than the series: B \+2\d%|\d\.\d% brighter than the series", found.details[2]
    )


@pytest.mark.parametrize("iso", [100, 800, 3200])
def test_flicker_in_bands_is_light(iso: float) -> None:
    scene = scene_from_picture(SCENES["portrait"])
    row = np.arange(256)[:, None, None]
    lights = [1 + 0.02 * np.sin(2 * np.pi * (row / 80 + 0.37 * k)) for k in range(12)]
    frames = [shoot(SyntheticCamera(), scene * np.float32(light), iso, 1, k)[0][0] for k, light in enumerate(lights)]
    found = check_all(frames)
    assert found.reasons == ["light"] * 12
    assert set(found.details) == {"bands of brightness move from frame to frame (flicker)"}


@pytest.mark.slow
@pytest.mark.parametrize(("zoom", "degrees", "word"), [(2e-4, 0.0, "zoomed"), (0.0, 0.01, "turned")])
def test_frames_whose_corners_moved_are_shift_though_their_centre_stands(
    zoom: float, degrees: float, word: str
) -> None:
    rng = np.random.default_rng(0)
    octaves = [cv2.GaussianBlur(rng.standard_normal((1500, 2000, 3)), (0, 0), s) for s in (200, 60, 20, 6, 2.5)]
    detail = sum(o * (a / o.std()) for o, a in zip(octaves, (60, 40, 30, 20, 15), strict=True))
    scene = scene_from_picture(np.clip(110 + detail, 5, 250).astype(np.uint8))
    frames = [shoot(SyntheticCamera(), warped(scene, 1 + zoom * k, degrees * k), 1600, 1, k)[0][0] for k in range(10)]
    found = check_all(frames)
    kept = [k for k, reason in enumerate(found.reasons) if reason is None]
    assert {reason for reason in found.reasons if reason} == {"shift"}
    step = np.hypot(1000, 750) * (zoom + np.deg2rad(degrees))  # 0.25 and 0.22 photosites
    moved = np.abs(np.arange(10) - np.median(kept)) * step
    assert all((k in kept) == (moved[k] < 0.255) for k in range(10)), (kept, found.details)
    assert len(kept) == 3
    assert all(found.details[k].startswith(f"{word}") for k in range(10) if k not in kept)
    assert np.nanmax(found.shifts) < 0.05


def good_series() -> list[tuple[str, float, float, float, float]]:
    isos = (100, 400, 1600, 6400, 25600, 51200)
    return [
        (name, iso, exposure, blur, repeat)
        for iso in isos
        for exposure, repeats in ((0.8, 3), (0.04, 2))
        for blur in (0.7, 3.0)
        for repeat, name in zip(range(repeats), ("portrait", "cup", "portrait"), strict=False)
    ]


@pytest.mark.slow
def test_sixty_good_series_lose_no_frame_but_in_one() -> None:
    """Bright and dark, sharp and soft, 8 to 20 frames, the whole light flickering by 1.5 %."""
    differing = []
    for number, (name, iso, exposure, blur, _) in enumerate(good_series()):
        rng = np.random.default_rng([7, number])
        count = int(rng.integers(8, 21))
        scene = scene_from_picture(SCENES[name], exposure=exposure, blur_px=blur)
        faults = {k: Fault(light=float(rng.uniform(0.985, 1.015))) for k in range(count)}
        camera = SyntheticCamera(seed=number, cfa=("RGGB", "GRBG", "GBRG", "BGGR")[number % 4])
        found = check_all(shoot(camera, scene, iso, count, number, faults)[0])
        if any(found.reasons):
            differing.append((number, name, iso, exposure, blur, [text for text in found.details if text]))
    assert number == 59
    assert len(differing) <= 1, differing


def test_the_order_of_frames_does_not_matter() -> None:
    frames, _ = shoot(SyntheticCamera(), scene_from_picture(SCENES["cup"]), 1600, 9, 3, FAULTS)
    order = [8, 0, 7, 1, 6, 2, 5, 3, 4]
    shuffled = check_all([frames[k] for k in order])
    assert shuffled.reasons == [EXPECTED.get(k) for k in order]


def test_two_faulty_frames_do_not_hide_each_other() -> None:
    found = burst("portrait", 1600, 2, {0: Fault(motion=24), 1: Fault(motion=40), 2: Fault(focus=2), 3: Fault(focus=2)})
    assert found.reasons[:4] == ["motion", "motion", "focus", "focus"]
    assert found.reasons[4:] == [None] * 8


def test_the_finding_is_told_in_words() -> None:
    found = burst("cup", 800, 0, {0: Fault(light=1.1), 1: Fault(shift=(1.5, 0))})
    assert found.details[0] == "10.0% brighter than the series"
    assert re.fullmatch(r"moved by 1\.[45]\d px against the series", found.details[1])
    assert found.details[2] == ""


def test_dark_frames_are_not_accused_of_anything() -> None:
    frames, _ = shoot(SyntheticCamera(), np.zeros((128, 160, 3), np.float32), 1600, 8, 0)
    found = check_all(frames)
    assert found.reasons == [None] * 8
    assert np.isnan(found.gains).all()


def test_flickering_photosites_are_no_motion() -> None:
    frames, _ = shoot(SyntheticCamera(), scene_from_picture(SCENES["cup"]), 1600, 8, 0)
    rng = np.random.default_rng(0)
    struck = frames[3].dn.copy()
    struck[rng.integers(0, 256, 60), rng.integers(0, 320, 60)] = 14000
    found = check_all([*frames[:3], Frame(struck, frames[3].info, frames[3].path), *frames[4:]])
    assert found.reasons == [None] * 8


@pytest.mark.parametrize("value", [0, 255])
def test_uniform_pictures_do_no_harm(value: int) -> None:
    info = FrameInfo(domain="mono", camera=None, cfa=None, height=80, width=90, black_level=(0.0,), white_level=255.0)
    frame = Frame(np.full((80, 90), value, np.uint8), info, SCENE_PATH)
    found = check_all([frame] * 3)
    assert found.reasons == [None if value == 0 else "saturation"] * 3


def test_developed_pictures_with_a_tone_curve_may_flicker_too() -> None:
    rng = np.random.default_rng(0)
    scene = scene_from_picture(SCENES["portrait"], (1.0, 1.0, 1.0))
    info = FrameInfo(
        domain="rgb", camera=None, cfa=None, height=256, width=320, black_level=(0.0,) * 3, white_level=255.0
    )
    frames = []
    for k in range(6):
        seen = scene * (1.02 if k == 2 else 1.0) + rng.normal(0, 0.01, scene.shape)
        values = np.clip(seen, 0, 1) ** 0.45 * 255
        if k == 4:
            values[100:180, 60:140] = values[100:180, 160:240]
        frames.append(Frame(np.rint(values).astype(np.uint8).transpose(2, 0, 1), info, SCENE_PATH))
    assert check_all(frames).reasons == [None, None, None, None, "motion", None]
