"""Pictures and videos come in as stored, and damaged ones are refused although OpenCV would fill them silently."""

import contextlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import IFDRational

from burst_denoise.errors import InputFileError
from burst_denoise.io import picture
from burst_denoise.io.metadata import Header
from burst_denoise.io.picture import (
    PICTURE_SUFFIXES,
    VIDEO_SUFFIXES,
    read_picture,
    read_picture_header,
    read_video,
    read_video_header,
)
from burst_denoise.io.tags import Tag


def random_values(shape: tuple[int, ...], dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(5).integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


def write(path: Path, values: np.ndarray) -> Path:
    """Write (H, W) or (H, W, 3) RGB values with programs other than the one that reads them, where they can."""
    if path.suffix == ".png" and values.dtype == np.uint16:
        cv2.imwrite(str(path), values if values.ndim == 2 else values[..., ::-1])
    elif path.suffix.startswith(".tif"):
        tifffile.imwrite(path, values, photometric="rgb" if values.ndim == 3 else "minisblack")
    else:
        Image.fromarray(values).save(path)
    return path


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [(suffix, dtype) for suffix in (".png", ".tif", ".tiff") for dtype in (np.uint8, np.uint16)] + [(".bmp", np.uint8)],
)
@pytest.mark.parametrize("shape", [(31, 45), (31, 45, 3)], ids=["mono", "rgb"])
def test_lossless_pictures_are_read_exactly(tmp_path: Path, shape, suffix, dtype):
    values = random_values(shape, dtype)
    frame = read_picture(write(tmp_path / f"a{suffix}", values))
    np.testing.assert_array_equal(frame.dn, values if values.ndim == 2 else np.moveaxis(values, 2, 0))
    assert frame.dn.dtype == dtype
    assert frame.border is None
    info = frame.info
    assert (info.domain, info.cfa) == ("mono" if len(shape) == 2 else "rgb", None)
    assert (info.height, info.width) == (31, 45)
    assert info.white_level == np.iinfo(dtype).max
    assert info.black_level == (0.0,) * (1 if len(shape) == 2 else 3)
    assert frame.linear.shape == frame.dn.shape
    assert read_picture_header(frame.path) == Header.of(info)


def test_a_jpeg_is_read_with_its_exif_and_stored_rows(tmp_path: Path):
    values = np.zeros((40, 64, 3), np.uint8)
    values[:, 32:] = (200, 100, 50)
    exif = Image.Exif()
    exif[271], exif[272], exif[274] = "Canon", "Canon PowerShot S95", 6
    exif.get_ifd(0x8769).update(
        {33434: IFDRational(1, 4), 33437: IFDRational(8), 34855: 3200, 36867: "2020:04:26 21:25:50", 37521: "50"}
    )
    Image.fromarray(values).save(tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
    frame = read_picture(tmp_path / "a.jpg")
    assert frame.dn.shape == (3, 40, 64), "rows stay as stored"
    assert frame.dn[:, 20, 60] == pytest.approx([200, 100, 50], abs=3)
    info = frame.info
    assert (info.camera, info.orientation, info.iso, info.f_number) == ("Canon PowerShot S95", 6, 3200, 8)
    assert info.exposure_s == 0.25
    assert info.taken_at == 1587936350.5
    assert read_picture_header(tmp_path / "a.jpg") == Header.of(info)


def upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """Return (H, W) values turned by Pillow."""
    exif = Image.Exif()
    exif[Tag.ORIENTATION] = orientation
    image = Image.fromarray(values)
    image.info["exif"] = exif.tobytes()
    return np.asarray(ImageOps.exif_transpose(image))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_rows_and_orientation_make_an_upright_picture(tmp_path: Path, suffix: str, orientation: int):
    """Rows stay as stored in JPEG and PNG; those of a TIFF OpenCV turns, so it must not be turned again."""
    path = tmp_path / f"a{suffix}"
    stored = np.kron(random_values((3, 5), np.uint8), np.ones((8, 8), np.uint8))
    exif = Image.Exif()
    exif[Tag.ORIENTATION] = orientation
    Image.fromarray(stored).save(path, exif=exif)
    frame = read_picture(path)
    assert frame.info.orientation == (1 if suffix == ".tif" else orientation)
    assert read_picture_header(path) == Header.of(frame.info)
    np.testing.assert_allclose(
        upright(frame.dn, frame.info.orientation).astype(int), upright(stored, orientation), rtol=0, atol=9
    )


def test_a_header_is_read_without_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    paths = [write(tmp_path / f"a{suffix}", random_values((31, 45, 3))) for suffix in (".png", ".jpg", ".tif")]
    expected = [Header.of(read_picture(path).info) for path in paths]
    monkeypatch.delattr(picture, "read_picture")
    assert [read_picture_header(path) for path in paths] == expected


@pytest.mark.parametrize("mode", ["1", "P", "CMYK"])
def test_the_header_of_an_unusual_picture_is_what_decoding_gives(tmp_path: Path, mode: str):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.fromarray(random_values((31, 45, 3))).convert(mode).save(path)
    assert read_picture_header(path) == Header.of(read_picture(path).info)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
def test_a_header_with_wrong_bytes_is_read_or_refused(tmp_path: Path, suffix: str):
    random = np.random.default_rng(7)
    whole = write(tmp_path / f"a{suffix}", random_values((31, 45, 3))).read_bytes()
    for _ in range(200):
        data = bytearray(whole)
        for place in np.minimum(random.exponential(100, 3).astype(int), len(data) - 1):
            data[place] = random.integers(256)
        path = tmp_path / f"wrong{suffix}"
        path.write_bytes(data)
        with contextlib.suppress(InputFileError):
            read_picture_header(path)


def test_real_jpegs(shared_data: Path):
    frame = read_picture(shared_data / "s95_iso3200" / "IMG_6879.JPG")
    assert frame.dn.shape == (3, 3648, 2736) or frame.dn.shape == (3, 2736, 3648)
    assert (frame.info.camera, frame.info.iso, frame.info.exposure_s) == ("Canon PowerShot S95", 3200, 0.25)
    assert read_picture_header(frame.path) == Header.of(frame.info)


@pytest.mark.parametrize(
    "name", ["a.jpg", "progressive.jpg", "a.bmp", "a.png", "deep.png", "plain.tif", "big.tif", "zlib.tif", "lzw.tif"]
)
def test_a_truncated_picture_is_refused_wherever_it_ends(tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str):
    values = cv2.GaussianBlur(random_values((90, 120, 3), np.uint16), (0, 0), 2)
    path = tmp_path / name
    if name.endswith(".jpg"):
        exif = Image.Exif()
        exif[270] = "a whole \xff\xd8 thumbnail \xff\xd9 in the Exif"
        Image.fromarray((values // 257).astype(np.uint8)).save(path, progressive="prog" in name, exif=exif)
    elif name.endswith((".png", ".bmp")):
        write(path, values if name == "deep.png" else (values // 257).astype(np.uint8))
    else:
        packing = None if name in ("plain.tif", "big.tif") else path.stem
        tifffile.imwrite(
            path,
            values,
            photometric="rgb",
            compression=packing,
            predictor=packing is not None,
            bigtiff=name == "big.tif",
        )
    data = path.read_bytes()
    read_picture(path)
    for cut in {1, 2, 3, 7, 8, 20, 60, 150, *np.linspace(200, len(data) - 1, 40).astype(int).tolist()}:
        path.write_bytes(data[:cut])
        with pytest.raises(InputFileError) as error:
            read_picture(path)
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


def test_a_changed_byte_in_a_png_is_seen(tmp_path: Path):
    path = write(tmp_path / "a.png", random_values((40, 50, 3)))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(InputFileError, match="damaged"):
        read_picture(path)


def test_bytes_after_the_end_do_no_harm(tmp_path: Path):
    """Some cameras and programs append a second picture or their own data."""
    for suffix in (".png", ".jpg", ".bmp"):
        path = write(tmp_path / f"a{suffix}", random_values((40, 50, 3)))
        before = read_picture(path).dn
        path.write_bytes(path.read_bytes() + bytes(500))
        np.testing.assert_array_equal(read_picture(path).dn, before)


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("alpha.png", np.zeros((20, 20, 4), np.uint8), "transparency"),
        ("float.tif", np.zeros((20, 20), np.float32), "float32; save it with 8 or 16 bits"),
        ("signed.tif", np.zeros((20, 20), np.int16), "int16"),
    ],
)
def test_other_kinds_of_values_are_refused(tmp_path: Path, name: str, values: np.ndarray, reason: str):
    if name.endswith(".png"):
        Image.fromarray(values).save(tmp_path / name)
    else:
        tifffile.imwrite(tmp_path / name, values)
    for read in (read_picture, read_picture_header):
        with pytest.raises(InputFileError, match=reason):
            read(tmp_path / name)


def test_missing_empty_and_other_files_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("notes\n" * 100)
    (tmp_path / "text.tif").write_bytes(b"II*\0" + bytes(200))
    (tmp_path / "folder.png").mkdir()
    wanted = {"none.png": "No such file", "empty.png": "empty", "text.jpg": "not a picture",
              "text.tif": "truncated", "folder.png": "a folder"}  # fmt: skip
    for name, reason in wanted.items():
        messages = set()
        for read in (read_picture, read_picture_header):
            with pytest.raises(InputFileError, match=reason) as error:
                read(tmp_path / name)
            messages.add(str(error.value))
        assert len(messages) == 1, "header and frame are refused in the same words"
        assert "\n" not in messages.pop()
    assert capfd.readouterr().err == ""


def make_video(path: Path, frames: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (160, 120))
    for index in range(frames):
        writer.write(np.full((120, 160, 3), (10, 100, 20 + 30 * index), np.uint8))
    writer.release()


def test_a_video_gives_its_first_frames(tmp_path: Path):
    make_video(tmp_path / "clip.avi", 6)
    frames = read_video(tmp_path / "clip.avi", 4)
    assert [frame.path.name for frame in frames] == [f"clip.avi#{index:04d}" for index in range(4)]
    for index, frame in enumerate(frames):
        assert (frame.dn.shape, frame.dn.dtype, frame.info.domain) == ((3, 120, 160), np.uint8, "rgb")
        assert frame.dn.mean(axis=(1, 2)) == pytest.approx([20 + 30 * index, 100, 10], abs=4)
    assert len(read_video(tmp_path / "clip.avi", 100)) == 6
    assert read_video_header(tmp_path / "clip.avi") == Header.of(frames[0].info)


def test_a_file_that_is_no_video_is_refused(tmp_path: Path):
    (tmp_path / "a.mp4").write_text("notes\n" * 100)
    with pytest.raises(InputFileError, match="not a video") as error:
        read_video(tmp_path / "a.mp4", 3)
    assert "\n" not in str(error.value)
    with pytest.raises(InputFileError, match="No such file"):
        read_video(tmp_path / "none.mp4", 3)


def test_suffixes_are_lower_case():
    assert {".png", ".tif", ".tiff", ".jpg", ".jpeg"} <= PICTURE_SUFFIXES
    assert {".mp4", ".mov", ".avi"} <= VIDEO_SUFFIXES
    assert all(suffix == suffix.lower() for suffix in PICTURE_SUFFIXES | VIDEO_SUFFIXES)
    assert not PICTURE_SUFFIXES & VIDEO_SUFFIXES
