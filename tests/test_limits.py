"""What a file claims is checked before anything of that size is made, and a pipe is refused before it is opened."""

import json
import os
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch

from burst_denoise.burst.burst import Burst
from burst_denoise.burst.darks import read_darks
from burst_denoise.errors import BurstDenoiseError, ConfigError, InputFileError, ModelFileError
from burst_denoise.inference.noise_source import read_measured_noise
from burst_denoise.io import limits
from burst_denoise.io.emva1288 import DESCRIPTOR, read_emva
from burst_denoise.io.picture import read_video
from burst_denoise.io.read import read_frame, read_header
from burst_denoise.io.sidecars import find_sidecars
from burst_denoise.model.model_file import load_model
from tests.shots import burst_frames, write_frames, write_identity_model
from tests.test_emva1288 import NAMES, measurement

CPU = torch.device("cpu")
HUGE = "claims 3,600 megapixels, more than the 200 that are read; if it's right, lift the limit with --max-megapixels"


def png(height: int, width: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def with_fields(path: Path, **values: int) -> None:
    """Write other numbers into the first directory of a TIFF, and into those below it that have them."""
    with tifffile.TiffFile(path) as tiff:
        pages = [page for first in tiff.pages for page in (first, *(first.pages or ()))]
        places = [(page.tags[name].valueoffset, page.tags[name].dtype, value)
                  for page in pages for name, value in values.items() if name in page.tags]  # fmt: skip
    data = bytearray(path.read_bytes())
    for place, dtype, value in places:
        struct.pack_into("<H" if dtype == 3 else "<I", data, place, value)
    path.write_bytes(data)


def dng(folder: Path) -> Path:
    frame = burst_frames(1, size=(48, 64))[0]
    return write_frames(folder, [frame])[0]


def claiming(folder: Path, suffix: str) -> Path:
    """Write a small file that claims 3,600 megapixels."""
    path = folder / f"a{suffix}"
    values = np.zeros((24, 36, 3), np.uint8)
    if suffix == ".dng":
        path = dng(folder)
        with_fields(path, ImageWidth=60_000, ImageLength=60_000)
    elif suffix == ".png":
        path.write_bytes(png(60_000, 60_000))
    elif suffix == ".tif":
        tifffile.imwrite(path, np.zeros((24, 36, 3), np.uint16), photometric="rgb")
        with_fields(path, ImageWidth=60_000, ImageLength=60_000)
    else:
        cv2.imwrite(str(path), values)
        data = path.read_bytes()
        if suffix == ".jpg":
            place = data.index(b"\xff\xc0") + 5
            data = data[:place] + struct.pack(">HH", 60_000, 60_000) + data[place + 4 :]
        else:
            data = data[:18] + struct.pack("<ii", 60_000, -60_000) + data[26:]
        path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", [".dng", ".png", ".tif", ".jpg"])
@pytest.mark.parametrize("read", [read_frame, read_header])
def test_a_claim_of_gigabytes_is_refused_before_it_is_made(tmp_path: Path, suffix: str, read) -> None:
    path = claiming(tmp_path, suffix)
    tracemalloc.start()
    with pytest.raises(InputFileError) as caught:
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(caught.value) == f"{path}: {HUGE}"
    assert peak < 10e6


def test_a_bmp_that_claims_more_than_it_holds_is_truncated(tmp_path: Path) -> None:
    for read in (read_frame, read_header):
        with pytest.raises(InputFileError, match=r"megapixels|truncated"):
            read(claiming(tmp_path, ".bmp"))


def test_a_tile_or_a_preview_may_not_claim_more_than_the_image(tmp_path: Path) -> None:
    path = dng(tmp_path)
    with_fields(path, TileWidth=60_000, TileLength=60_000)
    with pytest.raises(InputFileError, match=HUGE):
        read_frame(path)


def test_the_limit_can_be_lifted_and_lowered(tmp_path: Path) -> None:
    path = dng(tmp_path)
    assert read_frame(path, max_megapixels=0.1).dn.shape == (48, 64)
    for read in (read_frame, read_header):
        with pytest.raises(InputFileError, match=r"claims 0\.1 megapixels, more than the 0\.001 that are read"):
            read(path, max_megapixels=0.001)
    with pytest.raises(InputFileError) as caught:
        read_frame(claiming(tmp_path, ".png"), max_megapixels=5000)
    assert "megapixels" not in str(caught.value)


def test_an_uncompressed_tiff_whose_strips_overlap_is_truncated(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((24, 36), np.uint16), photometric="minisblack")
    with_fields(path, ImageLength=5000)
    with pytest.raises(InputFileError, match=r"is truncated \(\d+ of at least 360000 bytes are there\)"):
        read_frame(path)


def test_a_mosaic_of_more_rows_than_it_has_tiles_for_is_truncated(tmp_path: Path) -> None:
    path = dng(tmp_path)
    with_fields(path, ImageLength=5000)
    with pytest.raises(InputFileError, match=r"is truncated \(1 of 20 tiles are there\)"):
        read_frame(path)


def test_a_video_is_refused_by_what_it_claims(tmp_path: Path) -> None:
    movie = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    movie.write(np.zeros((48, 64, 3), np.uint8))
    movie.release()
    with pytest.raises(InputFileError, match="megapixels, more than the"):
        read_video(tmp_path / "a.avi", 1, max_megapixels=0.001)


def test_a_model_that_claims_to_be_of_gigapixels_is_refused(tmp_path: Path, burst: Burst) -> None:
    path = write_identity_model(tmp_path / "a.safetensors", burst)
    with pytest.raises(
        ModelFileError, match=r"a\.safetensors: claims 0\.1 megapixels, more than the 0\.001 that are read"
    ):
        load_model(path, CPU, max_megapixels=0.001)


def test_a_document_without_end_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_TEXT_BYTES", 1 << 20)
    (tmp_path / "a.json").write_text(json.dumps([1.0] * 1_000_000))
    with pytest.raises(ConfigError, match=r"a\.json: has 4 MB, and no document is larger than 1"):
        read_measured_noise(tmp_path / "a.json", lambda _: None)


DOORS = {
    "model": lambda path: load_model(path, CPU),
    "profile": lambda path: read_measured_noise(path, lambda _: None),
    "frame": read_frame,
    "header": read_header,
    "video": lambda path: read_video(path, 1),
    "darks": lambda path: read_darks([path]),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize(
    ("door", "name"),
    [("model", "a.safetensors"), ("profile", "a.json"), ("frame", "a.dng"), ("frame", "a.png"), ("header", "a.mp4"),
     ("header", "a.tif"), ("video", "a.avi"), ("darks", "a.dng")],
)  # fmt: skip
def test_a_pipe_is_refused_at_every_door_at_once(tmp_path: Path, door: str, name: str) -> None:
    os.mkfifo(tmp_path / name)
    began = time.monotonic()
    with pytest.raises(BurstDenoiseError, match=rf"{name}: is a pipe or a device where a file is needed"):
        DOORS[door](tmp_path / name)
    assert time.monotonic() - began < 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_beside_a_shot_and_in_a_measurement_are_passed_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.xmp")
    assert find_sidecars(tmp_path / "a.dng", tmp_path / "b.dng") == {}
    folder = measurement(tmp_path)
    (folder / NAMES[2]).unlink()
    os.mkfifo(folder / NAMES[2])
    assert len(read_emva(folder) or ()) == 2
    (folder / DESCRIPTOR).unlink()
    os.mkfifo(folder / DESCRIPTOR)
    assert read_emva(folder) is None
