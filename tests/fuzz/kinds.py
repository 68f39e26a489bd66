"""The kinds of input: what they look like when sound, and what opens them.

A new kind is a line in `KINDS`: a name, a function that makes sound inputs, one that opens what is in a folder as the
commands do, and, where the input carries digests of itself, one that makes them right again after a mutation.
"""

import hashlib
import json
import os
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import tifffile
import torch
from PIL import Image

from burst_denoise.burst.burst import Burst
from burst_denoise.burst.store import open_burst
from burst_denoise.frame.frame import Frame
from burst_denoise.inference.noise_source import read_measured_noise
from burst_denoise.io.containers import read_tags
from burst_denoise.io.emva1288 import read_emva
from burst_denoise.io.metadata import is_denoised, read_exif
from burst_denoise.io.picture import read_video
from burst_denoise.io.raw import develop
from burst_denoise.io.read import read_frame, read_header
from burst_denoise.io.sidecars import find_sidecars, without_denoising
from burst_denoise.model.fit import Checkpoint, FitSettings, fit
from burst_denoise.model.model_file import load_model
from burst_denoise.schemas import FrameInfo, NoiseEntry, NoiseProfile, ShotEntry
from burst_denoise.session.ledger import Ledger
from tests.fuzz.mutator import Files
from tests.shots import burst_frames, stored, verdicts, write_frames, write_identity_model
from tests.test_containers import SHOT, cr3, crw, jpeg, mrw, raf, rw2, tiff
from tests.test_emva1288 import measurement
from tests.test_sidecars import ELEMENTS, LIGHTROOM

__all__ = ["KINDS", "Kind"]

SMALL = (48, 64)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Kind:
    """A kind of input."""

    name: str
    sound: Callable[[Path], None]
    """Writes sound inputs into an empty folder: files, each an input, or folders, each an input of several files."""
    open: Callable[[Path], None]
    """Opens the one input that lies in a folder, and checks what comes of it."""
    sealed: Callable[[Files], Files] = lambda files: files
    """Makes the digests in an input right again."""

    def seeds(self) -> list[Files]:
        """Return the sound inputs."""
        with tempfile.TemporaryDirectory() as folder:
            self.sound(Path(folder))
            return [_files(path) for path in sorted(Path(folder).iterdir())]


def _files(path: Path) -> Files:
    inside = [path] if path.is_file() else [each for each in sorted(path.rglob("*")) if each.is_file()]
    return {str(each.relative_to(path.parent if path.is_file() else path)): each.read_bytes() for each in inside}


def _only(folder: Path) -> Path:
    return next(path for path in folder.iterdir() if path.is_file())


def _check_noise(profile: NoiseProfile) -> None:
    assert np.isfinite([*profile.shot_noise_scale, *profile.read_noise_variance]).all(), profile
    assert min(profile.shot_noise_scale) >= 0, profile


def _check_info(info: FrameInfo) -> None:
    levels = np.array(info.black_level)
    assert np.isfinite(levels).all()
    assert levels.max() < info.white_level < np.inf, info
    for number in (info.iso, info.exposure_s, info.f_number):
        assert number is None or 0 < number < 1e9, info
    if info.noise_profile is not None:
        _check_noise(info.noise_profile)


def _check_frame(frame: Frame) -> None:
    _check_info(frame.info)
    assert frame.dn.shape[-2:] == (frame.info.height, frame.info.width)
    assert np.isfinite(frame.linear).all()


def _raw(folder: Path) -> None:
    frames = burst_frames(1, size=SMALL)
    frame = frames[0]
    profile = NoiseProfile(iso=1600, shot_noise_scale=(1e-3,) * 4, read_noise_variance=(1e-6,) * 4)
    write_frames(folder, [replace(frame, path=Path("plain.dng"))], exposure_s=0.02, orientation=6, taken_at=1.7e9)
    write_frames(folder, [replace(frame.with_profile(profile), path=Path("profile.dng"), notes="a note")])
    photosites = frame.dn
    layouts: dict[str, dict[str, object]] = {"strips": {"rowsperstrip": 5}, "tiles": {"tile": (16, 16)}}
    for name, layout in layouts.items():
        black = (50714, "d", 1, 512.0, True)
        rows = (50716, "2i", 48, tuple(number for _ in range(48) for number in (1, 2)), True)
        table = (50712, "H", 4096, tuple(range(0, 65536, 16)), True)
        area = (50829, "I", 4, (2, 2, 46, 60), True)
        white = (50717, "I", 1, 16000, True)
        tags = [(50706, "B", 4, (1, 4, 0, 0), True), (33421, "H", 2, (2, 2), True), (33422, "B", 4, (0, 1, 1, 2), True)]
        tags += [black, area, white] + ([table] if name == "tiles" else [rows])
        tifffile.imwrite(folder / f"{name}.dng", photosites, photometric=32803, extratags=tags, **layout)
    for path in _real_raw_files():
        (folder / path.name).write_bytes(path.read_bytes())


def _real_raw_files() -> list[Path]:
    """Return a few of several cameras, where they are."""
    return sorted((Path(os.environ.get("BURST_DENOISE_DATA", "nowhere")) / "raw_single").glob("*"))


def _open_raw(folder: Path) -> None:
    path = _only(folder)
    read_header(path)
    is_denoised(path)
    frame = read_frame(path)
    _check_frame(frame)
    if frame.dn.size % 7 == 0:  # now and then: it is slow
        develop(path, frame.dn)


def _metadata(folder: Path) -> None:
    lens = [tag for tag in SHOT if tag.directory == "exif"]
    made = {
        "a.nef": tiff("<", SHOT), "b.nef": tiff(">", SHOT), "c.orf": tiff("<", SHOT, b"IIRO"), "d.jpg": jpeg(">", SHOT),
        "e.raf": raf("<", SHOT), "f.mrw": mrw(">", SHOT), "g.cr3": cr3("<", SHOT), "h.cr3": cr3(">", SHOT, large=True),
        "i.rw2": rw2(lens, jpeg("<", SHOT)), "j.crw": crw("<", clock=(1_068_485_966, 32400, 1 << 31)),
        "k.crw": crw(">"),
    }  # fmt: skip
    for name, data in made.items():
        (folder / name).write_bytes(data)
    for path in _real_raw_files():
        (folder / path.name).write_bytes(path.read_bytes()[: 48 << 10])


def _open_metadata(folder: Path) -> None:
    path = _only(folder)
    read_tags(path)
    read_exif(path)
    is_denoised(path)
    read_header(path)


def _pictures(folder: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65535, (24, 36, 3)).astype(np.uint16)
    eight = (values >> 8).astype(np.uint8)
    grey = values[..., 0]
    made = {"a.png": values, "b.png": grey, "c.png": eight, "d.jpg": eight, "e.bmp": eight, "f.jpg": eight[..., 0]}
    for name, picture in made.items():
        cv2.imwrite(str(folder / name), picture)
    exif = Image.Exif()
    exif[274], exif[272] = 6, "a camera"
    Image.fromarray(eight).save(folder / "progressive.jpg", progressive=True, exif=exif)
    Image.fromarray(eight).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(eight).quantize(16).save(folder / "palette.png", exif=exif)
    Image.fromarray(eight).convert("RGBA").save(folder / "alpha.png")
    Image.fromarray(eight).quantize(16).save(folder / "palette.bmp")
    Image.fromarray(eight).save(folder / "jpeg.tif", compression="jpeg")
    tifffile.imwrite(folder / "g.tif", values, photometric="rgb", rowsperstrip=7)
    tifffile.imwrite(folder / "h.tif", grey, tile=(16, 16), compression="lzw")
    tifffile.imwrite(folder / "i.tif", eight, photometric="rgb", compression="deflate", predictor=2)
    tifffile.imwrite(folder / "j.tif", eight[..., 0], photometric="minisblack", compression="packbits")


def _open_picture(folder: Path) -> None:
    path = _only(folder)
    read_header(path)
    _check_frame(read_frame(path))


def _videos(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name, codec in (("a.avi", "MJPG"), ("b.mp4", "mp4v")):
        movie = cv2.VideoWriter(str(folder / name), cv2.VideoWriter.fourcc(*codec), 10, (64, 48))
        for _ in range(3):
            movie.write(rng.integers(0, 255, (48, 64, 3), np.uint8))
        movie.release()


def _open_video(folder: Path) -> None:
    for frame in read_video(_only(folder), 3):
        _check_frame(frame)


def _stored(folder: Path) -> Burst:
    frames = burst_frames(4, size=SMALL)
    mask = np.zeros(SMALL, np.bool_)
    mask[5, 7] = mask[20, 20] = True
    dark, clean = np.full(SMALL, 1e-4, np.float32), np.full(SMALL, 0.5, np.float32)
    return stored(folder, "scene", frames, verdicts(frames), 0.05, 0.001, clean, mask, dark)


def _bursts(folder: Path) -> None:
    _stored(folder / "scene.burst")


def _open_burst(folder: Path) -> None:
    burst = open_burst(folder)
    _check_noise(burst.profile)
    for index in range(len(burst)):
        _check_info(burst.frame(index).info)
        assert burst.linear(index).shape == burst.frame(index).dn.shape
    assert burst.mean().shape == burst.excluded.shape == burst.frame(0).dn.shape
    assert burst.clean is None or burst.clean.shape == burst.excluded.shape
    assert burst.fingerprint


def _sealed_burst(files: Files) -> Files:
    """Put the digests of the frames into the manifest; without the others, it is one of an earlier version."""
    try:
        manifest = json.loads(files["burst.json"])
        frames = [name for name in sorted(files) if name.startswith("frame_")]
        manifest["sha256"] = [hashlib.sha256(files[name]).hexdigest() for name in frames]
        for name in ("sum", "saturated", "clean"):
            manifest.pop(f"{name}_sha256", None)
        for name in ("defects", "dark"):
            manifest[f"{name}_sha256"] = hashlib.sha256(files[f"{name}.npy"]).hexdigest()
    except (ValueError, TypeError, AttributeError):
        return files
    return files | {"burst.json": json.dumps(manifest).encode()}


def _models(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as beside:
        write_identity_model(folder / "a.safetensors", _stored(Path(beside) / "scene.burst"))


def _open_model(folder: Path) -> None:
    model = load_model(_only(folder), CPU)
    for profile in model.header.profiles:
        _check_noise(profile)
    assert np.isfinite([*model.header.black_level, model.header.white_level]).all()
    assert model.defect_map is None or model.defect_map.shape == model.header.defects_shape
    model.sensor  # noqa: B018


def _sealed_model(files: Files) -> Files:
    """Put the digest of its header into a model file."""
    ((name, data),) = files.items()
    size = int.from_bytes(data[:8], "little")
    try:
        head = json.loads(data[8 : 8 + size])
        metadata = head["__metadata__"]
        metadata["header_sha256"] = hashlib.sha256(metadata["burst_denoise"].encode()).hexdigest()
    except (ValueError, KeyError, TypeError, AttributeError):
        return files
    text = json.dumps(head).encode()
    return {name: struct.pack("<Q", len(text)) + text + data[8 + size :]}


def _profiles(folder: Path) -> None:
    channel = {
        "camera": "Canon EOS 700D", "gain_dn_per_e": 2.1, "gain_dn_per_e_interval": [2.0, 2.2],
        "read_noise_std_dn": 6.0, "read_noise_std_dn_interval": [5.9, 6.1], "row_noise_std_dn": 0.5,
        "row_noise_std_dn_interval": [0.4, 0.6], "column_noise_std_dn": 0.3, "column_noise_std_dn_interval": [0.2, 0.4],
        "prnu_percent": 0.6, "prnu_percent_interval": [0.5, 0.7], "dsnu_e": None, "dsnu_e_interval": None,
        "dsnu_left_e": None, "noise_correlation": 0.0, "defects": 3, "shot_noise_scale": 1.4e-4,
        "read_noise_variance": 1.6e-7, "black_level_dn": 2048.0, "white_level_dn": 15304.0, "frames": 10,
        "usable": True, "reasons": [],
    }  # fmt: skip
    listed = [channel | {"iso": iso, "channel": name} for iso in (800.0, 1600.0) for name in ("R", "G1", "G2", "B")]
    (folder / "a.json").write_text(json.dumps(listed, indent=1))
    (folder / "b.json").write_text("\n".join(map(json.dumps, listed[:4])))


def _open_profile(folder: Path) -> None:
    for sensor in read_measured_noise(_only(folder), lambda _: None).sensors:
        for profile in sensor.profiles:
            _check_noise(profile)


def _emva(folder: Path) -> None:
    (folder / "a").mkdir()
    measurement(folder / "a")


def _open_emva(folder: Path) -> None:
    for level in read_emva(folder) or ():
        assert np.isfinite(level.exposure_ns)
        for frame in level.frames:
            _check_frame(frame)


def _fit(path: Path) -> None:
    torch.manual_seed(0)

    def batches(_: int) -> list[np.ndarray]:
        return [np.ones((1, 1, 4, 4), np.float32)]

    def on_step(state: object) -> None:
        state.tensors["best"] = state.network.weight.detach().clone()  # type: ignore[attr-defined]
        state.notes["curve"] = [(1, 2.5)]  # type: ignore[attr-defined]

    network = torch.nn.Conv2d(1, 1, 3, padding=1)
    settings = FitSettings(steps=2)
    state = fit(network, batches, lambda net, x: net(x).square().mean(), settings, checkpoint=Checkpoint(path, "it"),
                on_step=on_step)  # fmt: skip
    assert all(tensor.isfinite().all() for tensor in state.network.state_dict().values())


def _checkpoints(folder: Path) -> None:
    _fit(folder / "a.safetensors")


def _open_checkpoint(folder: Path) -> None:
    _fit(_only(folder))


def _without_digest(files: Files) -> Files:
    """Make of a checkpoint one of an earlier version, which had no digest: its damage is met further on."""
    ((name, data),) = files.items()
    size = int.from_bytes(data[:8], "little")
    try:
        head = json.loads(data[8 : 8 + size])
        del head["__metadata__"]["sha256"]
    except (ValueError, KeyError, TypeError):
        return files
    text = json.dumps(head).encode()
    return {name: struct.pack("<Q", len(text)) + text + data[8 + size :]}


def _ledgers(folder: Path) -> None:
    frame = burst_frames(1, size=SMALL)[0]
    profile = NoiseProfile(iso=1600, shot_noise_scale=(1e-3,) * 4, read_noise_variance=(1e-6,) * 4)
    with Ledger(folder / "a") as ledger:
        for name in ("a", "b"):
            result = folder / "a" / f"{name}.dng"
            entry = ShotEntry(
                shot=f"{name}.dng", input=f"/card/{name}.dng", input_bytes=4, input_mtime_ns=5, input_sha256="0" * 64,
                info=frame.info, network="prior 0", noise="estimated", settings={"strength": 1.0, "format": "dng"},
                output=ledger.name_of(result), output_bytes=3, output_mtime_ns=6, output_sha256="1" * 64,
                outcome="done", seconds=0.5, finished_at="2026-11-29T12:00:00Z", version="0.4.0",
            )  # fmt: skip
            ledger.append(entry)
        noise = NoiseEntry(camera="a", iso=1600, height=48, width=64, white_level=15304, shots=("a.dng",),
                           profile=profile, version="0.4.0")  # fmt: skip
        ledger.append(noise)
        claim = ledger.claim("c.dng")
        assert claim is not None
        claim.intend(entry)
        left = claim.place.read_bytes()
    dead = json.loads(left) | {"process": 1 << 22, "started_at": 5.0}  # no process has a number so high
    claim.place.parent.mkdir()
    claim.place.write_text(json.dumps(dead))


def _open_ledger(folder: Path) -> None:
    with Ledger(folder) as ledger:
        for result in ledger.results():
            ledger.done(result)
        for entry in (ledger.of_input(Path("/card/a.dng")), ledger.done(folder / "b.dng")):
            assert entry is None or entry.info is None or _check_info(entry.info) is None
        noise = ledger.noise("a", 1600, SMALL)
        assert noise is None or _check_noise(noise.profile) is None
        if claim := ledger.claim("c.dng"):
            ledger.release(claim)


def _sidecars(folder: Path) -> None:
    for name, text in (("a.xmp", LIGHTROOM), ("b.xmp", ELEMENTS)):
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "c.xmp").write_bytes(b"\xff\xfe" + LIGHTROOM.encode("utf-16-le"))


def _open_sidecar(folder: Path) -> None:
    path = _only(folder)
    find_sidecars(path.with_suffix(".dng"), path.with_suffix(".tif"))
    without_denoising(path.read_bytes())


KINDS = (
    Kind("raw", _raw, _open_raw),
    Kind("metadata", _metadata, _open_metadata),
    Kind("picture", _pictures, _open_picture),
    Kind("video", _videos, _open_video),
    Kind("burst", _bursts, _open_burst, _sealed_burst),
    Kind("model", _models, _open_model, _sealed_model),
    Kind("checkpoint", _checkpoints, _open_checkpoint, _without_digest),
    Kind("profile", _profiles, _open_profile),
    Kind("emva", _emva, _open_emva),
    Kind("ledger", _ledgers, _open_ledger),
    Kind("sidecar", _sidecars, _open_sidecar),
)
