"""Documents refuse what they do not know, never change, and come back from JSON as they were."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from burst_denoise.errors import ConfigError
from burst_denoise.schemas import (
    BurstManifest,
    FrameInfo,
    FrameVerdict,
    NoiseMeasurement,
    NoiseProfile,
    TrainingRecord,
    TrainSettings,
)

numbers = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(0, exclude_min=True, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
infos = st.builds(
    FrameInfo,
    domain=st.just("bayer"),
    camera=st.none() | texts,
    cfa=st.sampled_from(["RGGB", "GRBG", "GBRG", "BGGR"]),
    height=st.integers(1, 20_000),
    width=st.integers(1, 20_000),
    black_level=st.tuples(*(st.floats(-1e6, 1e6) for _ in range(4))),
    white_level=st.floats(1.1e6, 1e300),
    iso=st.none() | st.floats(1e-9, 1e8),
    exposure_s=st.none() | st.floats(1e-9, 1e8),
    as_shot_neutral=st.none() | st.tuples(positive, positive, positive),
)
profiles = st.builds(
    NoiseProfile,
    iso=st.none() | positive,
    shot_noise_scale=st.tuples(st.floats(0, allow_infinity=False), st.floats(0, allow_infinity=False)),
    read_noise_variance=st.tuples(numbers, numbers),
)


def manifest() -> BurstManifest:
    info = FrameInfo(domain="mono", camera=None, cfa=None, height=2, width=3, black_level=(0.0,), white_level=255.0)
    profile = NoiseProfile(iso=None, shot_noise_scale=(1e-3,), read_noise_variance=(0.0,))
    verdict = FrameVerdict(file="a.png", accepted=True, reasons=(), gain=1.0, shift_px=None)
    return BurstManifest(
        series="a",
        info=info,
        mu=0.1,
        sigma=0.0,
        frames=(verdict,),
        black_levels=((0.0,),),
        sha256=("0",),
        noise=NoiseMeasurement(bins=(((0.1, 1e-4, 100.0),),)),
        profile=profile,
        version="0",
    )


@given(infos)
def test_what_a_file_says_comes_back_from_json(info: FrameInfo) -> None:
    assert FrameInfo.parse(info.to_json(), "x") == info


@given(profiles)
def test_a_noise_profile_comes_back_from_json_to_the_bit(profile: NoiseProfile) -> None:
    assert NoiseProfile.parse(profile.to_json(), "x") == profile


def test_a_manifest_comes_back_from_json() -> None:
    assert BurstManifest.parse(manifest().to_json(), "burst.json") == manifest()


def test_documents_never_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        manifest().series = "b"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"colour": "blue"}, "colour"),
        ({"format": 2}, "format"),
        ({"mu": "much"}, "mu"),
        ({"series": None}, "series"),
        ({"info": {"domain": "bayer"}}, "info.camera"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(change: dict[str, object], place: str) -> None:
    text = json.dumps(json.loads(manifest().to_json()) | change)
    with pytest.raises(ConfigError) as caught:
        BurstManifest.parse(text, "a.burst/burst.json")
    assert str(caught.value).startswith(f"a.burst/burst.json: {place}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"mu": math.nan}, "mu: Input should be a finite number"),
        ({"profile": {"iso": None, "shot_noise_scale": [math.nan], "read_noise_variance": [0.0]}},
         "profile.shot_noise_scale.0: Input should be"),
        ({"profile": {"iso": None, "shot_noise_scale": [-1e-3], "read_noise_variance": [0.0]}},
         "profile.shot_noise_scale.0: Input should be greater than or equal to 0"),
        ({"profile": {"iso": None, "shot_noise_scale": [1e-3], "read_noise_variance": [math.inf]}},
         "profile.read_noise_variance.0: Input should be a finite number"),
        ({"profile": {"iso": None, "shot_noise_scale": [1e-3], "read_noise_variance": [0.0, 0.0]}},
         "profile: Value error, 1 shot noise scales and 2 read noise variances"),
        ({"black_levels": [[255.0]]}, "document: Value error, black level 255 is not below white level 255"),
        ({"black_levels": [[0.0, 0.0]]}, "document: Value error, 2 black levels for the 1 planes of a frame of mono"),
        ({"black_levels": []}, "document: Value error, accepted frames, black levels and digests differ in number"),
        ({"noise": {"bins": []}}, "document: Value error, gains or noise of other than the 1 planes of a frame"),
        ({"sha256": []}, "sha256: Tuple should have at least 1 item"),
    ],
)  # fmt: skip
def test_numbers_that_cannot_be_are_refused(change: dict[str, object], told: str) -> None:
    text = json.dumps(json.loads(manifest().to_json()) | change)
    with pytest.raises(ConfigError) as caught:
        BurstManifest.parse(text, "burst.json")
    assert str(caught.value).startswith(f"burst.json: {told}")


@pytest.mark.parametrize("field", ["iso", "exposure_s", "f_number"])
@pytest.mark.parametrize("wrong", [-100.0, 0.0, math.nan, math.inf])
def test_an_exposure_is_a_positive_number_or_unknown(field: str, wrong: float) -> None:
    with pytest.raises(ValidationError, match=field):
        FrameInfo.model_validate(manifest().info.model_dump() | {field: wrong})


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00\x01", '{"series": "a"'])
def test_what_is_no_json_is_named_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"burst\.json: ") as caught:
        BurstManifest.parse(text, "burst.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("document", [NoiseProfile, NoiseMeasurement])
def test_the_row_noise_of_earlier_versions_is_read_and_ignored_and_nothing_else_is(document) -> None:
    known = manifest().profile if document is NoiseProfile else manifest().noise
    earlier = json.loads(known.to_json()) | {"row_noise_variance": [1e-7]}
    assert document.parse(json.dumps(earlier), "burst.json") == known
    assert "row_noise_variance" not in known.to_json()
    with pytest.raises(ConfigError, match="column_noise_variance"):
        document.parse(json.dumps(earlier | {"column_noise_variance": [1e-7]}), "burst.json")


@pytest.mark.parametrize(
    ("iso", "exposure_s", "words"),
    [
        (1600.0, 0.02, "ISO 1600 at 1/50 s"),
        (1600.0, 1 / 3.2, "ISO 1600 at 0.3125 s"),
        (None, 30.0, "unknown ISO at 30 s"),
        (100.0, None, "ISO 100 at unknown exposure"),
    ],
)
def test_what_is_unknown_of_an_exposure_is_called_so(iso, exposure_s, words: str) -> None:
    info = manifest().info.model_copy(update={"iso": iso, "exposure_s": exposure_s})
    assert info.exposure_in_words == words


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"minutes": -1}, {"minutes": math.nan}, {"batch": 0}, {"preset": "large"}, {"optimizer": "sgd"}],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TrainSettings.model_validate(wrong)


def test_the_training_record_of_an_earlier_version_still_opens():
    record = TrainingRecord(
        settings=TrainSettings(steps=1), steps_done=1, best_step=1, start_psnr_db=40.0, best_psnr_db=41.0, bursts=(),
        burst_sha256=(), versions={}, seconds=1.0, baseline_strength={"nlm-stabilised": 0.85},
    )  # fmt: skip
    earlier = json.loads(record.to_json())
    earlier["nlm_strength"] = earlier.pop("baseline_strength")
    for later in ("curve", "prior_share", "gain_db", "gain_std_error_db", "noise_structure"):
        del earlier[later]
    assert TrainingRecord.parse(json.dumps(earlier), "model") == record
