"""The model file: weights and header come back, damage is seen, another sensor is refused."""

import hashlib
import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from burst_denoise.errors import ModelFileError, OutputError
from burst_denoise.frame.mosaic import Mosaic
from burst_denoise.model.model_file import load_model, model_of
from burst_denoise.model.network import TwoScaleNet
from burst_denoise.schemas import ModelHeader, TrainingRecord, TrainSettings
from burst_denoise.sensor.identity import Sensor

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(burst):
    torch.manual_seed(1)
    network = TwoScaleNet(4).to(memory_format=torch.channels_last)
    torch.nn.init.normal_(network.tail.weight)
    record = TrainingRecord(
        settings=TrainSettings(steps=5),
        steps_done=5,
        best_step=5,
        start_psnr_db=40,
        best_psnr_db=41,
        bursts=(burst.name,),
        burst_sha256=burst.manifest.sha256,
        versions={"torch": torch.__version__},
        seconds=1.5,
    )
    return model_of(network, [burst], record)


@pytest.fixture
def path(model, tmp_path):
    model.save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_weights_and_header_come_back(model, path):
    loaded = load_model(path, CPU)
    assert loaded.header == model.header
    planes = torch.randn(1, 4, 32, 32)
    assert torch.equal(loaded.network(planes), model.network(planes))


def test_the_header_says_which_sensor_the_model_belongs_to(model, burst):
    header = model.header
    assert (header.camera, header.cfa, header.white_level) == ("Synthetic APS-C", "RGGB", 15304)
    assert header.size == (176, 256)
    assert model.sensor == Sensor.of(burst.info)
    assert [profile.iso for profile in header.profiles] == [3200]
    assert header.profiles[0].shot_noise_scale == burst.profile.shot_noise_scale
    assert header.training.burst_sha256 == burst.manifest.sha256


def test_the_file_holds_no_pickle(path):
    with pytest.raises(pickle.UnpicklingError), path.open("rb") as handle:
        pickle.load(handle)


def test_an_existing_file_is_not_overwritten(model, path):
    before = path.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        model.save(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("keep", [0, 4, 100, 5000, -1])
def test_a_truncated_file_is_refused_by_name(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelFileError, match=r"model\.safetensors: is not a readable model file"):
        load_model(path, CPU)


def test_one_flipped_byte_in_the_weights_is_seen(path):
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="weights differ from what was written"):
        load_model(path, CPU)


def test_a_changed_digit_in_the_header_is_seen(path):
    content = path.read_bytes()
    assert content.count(b"Synthetic APS-C") == 1
    path.write_bytes(content.replace(b"Synthetic APS-C", b"Synthetic APS-D"))
    with pytest.raises(ModelFileError, match="header differs from what was written"):
        load_model(path, CPU)


def test_black_levels_that_cameras_measure_anew_do_not_matter(model, burst):
    info = burst.info.model_copy(update={"black_level": (2049.0, 2048.0, 2047.0, 2048.0)})
    assert model.profile_for(info, "a.dng") == model.header.profiles[0]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelFileError, match=r"none\.safetensors: is missing"):
        load_model(tmp_path / "none.safetensors", CPU)


def test_tensors_of_somebody_else_are_refused(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelFileError, match="holds tensors but no burst_denoise header"):
        load_model(tmp_path / "other.safetensors", CPU)


@pytest.mark.parametrize(("change", "message"), [({"format": 2}, "format"), ({"colour": "red"}, "colour")])
def test_a_header_of_another_version_is_refused(model, path, change, message):
    header = json.loads(model.header.model_dump_json()) | change
    text = json.dumps(header)
    digest = hashlib.sha256(text.encode()).hexdigest()
    save_file(load_file(path), path, {"burst_denoise": text, "header_sha256": digest})
    with pytest.raises(ModelFileError, match=message):
        load_model(path, CPU)


def test_a_shot_of_the_same_sensor_gets_the_calibrated_profile(model, burst):
    assert model.profile_for(burst.info, "a.dng") == model.header.profiles[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"camera": "Other X"}, r"a\.dng: camera Other X instead of Synthetic APS-C of the model"),
        ({"camera": None}, r"a\.dng: camera unknown instead of Synthetic APS-C of the model"),
        ({"iso": 6400.0}, r"a\.dng: ISO 6400 is outside the calibrated span \(3200\)"),
        ({"white_level": 16383.0}, r"a\.dng: white level 16383 instead of 15304 of the model"),
        ({"black_level": (1024.0,) * 4}, r"a\.dng: black level 1024 instead of 2048 of the model"),
    ],
)
def test_a_shot_of_another_sensor_or_iso_is_refused_unless_overridden(model, burst, change, message):
    info = burst.info.model_copy(update=change)
    with pytest.raises(ModelFileError, match=message + ".*--any-sensor"):
        model.profile_for(info, "a.dng")
    own = model.header.profiles[0]
    scale = (info.iso or 0) / (own.iso or 1)
    served = model.profile_for(info, "a.dng", any_sensor=True)
    assert served.shot_noise_scale == pytest.approx(np.array(own.shot_noise_scale) * scale)
    assert (served == own) == (scale == 1)


def test_a_shot_that_does_not_say_its_iso_is_served_by_a_model_of_one_iso_only(model, burst):
    info = burst.info.model_copy(update={"iso": None})
    assert model.profile_for(info, "a.dng") == model.header.profiles[0]
    other = model.header.profiles[0].model_copy(update={"iso": 6400.0})
    header = model.header.model_copy(update={"profiles": (*model.header.profiles, other)})
    for any_sensor in (False, True):
        with pytest.raises(ModelFileError, match=r"ISO unknown .* \(3200, 6400\); name a model of one ISO"):
            replace(model, header=header).profile_for(info, "a.dng", any_sensor=any_sensor)


def test_a_model_of_an_unknown_raw_camera_serves_only_where_the_user_says_so(model, burst):
    unknown = replace(model, header=model.header.model_copy(update={"camera": None}))
    for camera, words in (
        (None, "camera unknown, so nothing tells whether the sensor is that of the model"),
        ("Synthetic APS-C", "camera Synthetic APS-C instead of unknown of the model"),
    ):
        info = burst.info.model_copy(update={"camera": camera})
        with pytest.raises(ModelFileError, match=rf"a\.dng: {words}; .*--any-sensor"):
            unknown.profile_for(info, "a.dng")
        assert unknown.profile_for(info, "a.dng", any_sensor=True) == model.header.profiles[0]


def test_another_crop_and_phase_of_the_sensor_is_served(model, burst):
    info = burst.info.model_copy(update={"cfa": "GBRG", "height": 100, "width": 90})
    assert model.profile_for(info, "a.dng") == model.header.profiles[0]


def test_a_picture_cannot_be_served_by_a_raw_model_at_all(model, burst):
    info = burst.info.model_copy(update={"domain": "rgb", "cfa": None})
    with pytest.raises(ModelFileError, match="is rgb, the model was calibrated on bayer"):
        model.profile_for(info, "a.jpg", any_sensor=True)


def test_the_header_is_a_closed_document(model):
    assert ModelHeader.model_validate_json(model.header.model_dump_json()) == model.header


@pytest.fixture(scope="module")
def mapped(model, burst):
    """The same model of a burst whose defects are known."""
    known = np.zeros((176, 256), bool)
    known[[3, 170], [200, 0]] = True
    return model_of(model.network, [replace(burst, shared_defects=known)], model.header.training), known


def test_the_map_of_defects_travels_with_the_model(mapped, tmp_path):
    model, known = mapped
    model.save(tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors", CPU)
    assert loaded.defects.tolist() == [[3, 200], [170, 0]]
    assert np.array_equal(loaded.defect_map, known)
    assert loaded.header.defects_shape == (176, 256)
    assert loaded.header == model.header


def test_a_header_without_map_and_size_opens(model, path):
    header = json.loads(model.header.model_dump_json())
    old = {key: value for key, value in header.items() if not key.startswith("defects")}
    text = json.dumps(old)
    save_file(
        load_file(path), path, {"burst_denoise": text, "header_sha256": hashlib.sha256(text.encode()).hexdigest()}
    )
    loaded = load_model(path, CPU)
    assert loaded.header == model.header
    assert loaded.defects is loaded.defect_map is None


def test_a_burst_without_defects_gives_an_empty_map(model, burst, tmp_path):
    whole = replace(burst, shared_defects=np.zeros((176, 256), bool))
    model_of(model.network, [whole], model.header.training).save(tmp_path / "m.safetensors")
    assert not load_model(tmp_path / "m.safetensors", CPU).defect_map.any()


@pytest.mark.parametrize("places", [[[3, 201], [170, 0]], [[3, 200]], None])
def test_a_changed_map_is_seen(mapped, tmp_path, places):
    path = tmp_path / "m.safetensors"
    mapped[0].save(path)
    with safe_open(path, "pt") as handle:
        metadata = handle.metadata()
    tensors = load_file(path)
    del tensors["defects"]
    if places:
        tensors["defects"] = torch.tensor(places, dtype=torch.int32)
    save_file(tensors, path, metadata)
    with pytest.raises(ModelFileError, match="map of defects differs from what was written"):
        load_model(path, CPU)


def test_a_map_that_points_outside_the_frame_is_refused(mapped, tmp_path):
    model = mapped[0]
    small = model.header.model_copy(update={"defects_shape": (100, 256)})
    replace(model, header=small).save(tmp_path / "m.safetensors")
    with pytest.raises(ModelFileError, match="map of defects"):
        load_model(tmp_path / "m.safetensors", CPU)


HEADER_0_3 = (Path(__file__).parent / "golden" / "model_header_0.3.json").read_text()
"""Written by version 0.3.0 (5da30c9) for a network of zeros, calibrated on the burst of `golden/burst_0.3.json`: the
header has no size, and its profile the variance of row noise."""
DIGEST_0_3 = "5be198a1178f01d802a55f21b9f0a28dd68b4899ab1ca70203a345dfbc3c3ef1"


def test_a_model_of_version_0_3_still_opens(tmp_path):
    network = TwoScaleNet(4)
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    tensors = network.state_dict() | {"defects": torch.tensor([[4, 10]], dtype=torch.int32)}
    save_file(tensors, tmp_path / "old.safetensors", {"burst_denoise": HEADER_0_3, "header_sha256": DIGEST_0_3})
    model = load_model(tmp_path / "old.safetensors", CPU)
    header = model.header
    assert (header.version, header.size, header.training.best_psnr_db) == ("0.3.0", None, 44.25)
    assert header.training.baseline_strength == {"nlm-stabilised": 0.85}
    assert np.argwhere(model.defect_map).tolist() == [[4, 10]]
    assert model.sensor == Sensor("Canon EOS 700D", Mosaic("bayer", "GBRG"), (16, 24), (2048.0,) * 4, 15304.0)
    model.save(tmp_path / "new.safetensors")
    assert load_model(tmp_path / "new.safetensors", CPU).header == header


def test_of_a_model_of_version_0_3_without_a_map_of_defects_the_size_is_unknown(model, burst):
    old = replace(model, header=model.header.model_copy(update={"size": None}))
    assert old.sensor.size is None
    assert old.profile_for(burst.info, "a.dng") == model.header.profiles[0]
