"""What was known of a shot is known of its result, with exiftool and without; previews show the result, upright."""

import io
import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import cv2
import exifread
import numpy as np
import pytest
import rawpy
import tifffile

import burst_denoise as bd
from burst_denoise.frame.frame import Frame
from burst_denoise.frame.geometry import dihedral
from burst_denoise.frame.synthetic import SyntheticCamera, shoot
from burst_denoise.inference.denoiser import Denoiser, DenoiseSettings
from burst_denoise.io.dng import write_dng
from burst_denoise.io.exiftool import exiftool_on_path
from burst_denoise.io.raw import read_raw
from burst_denoise.io.tiff_png import UPRIGHT
from burst_denoise.io.write import write_frame
from tests.shots import scene, write_frames
from tests.test_exiftool import said, with_exiftool

ENRICHED = """
-IFD0:Artist=Zoë Ångström
-IFD0:Copyright=© Zoë
-IFD0:Software=Firmware 1.1.5
-IFD0:ImageDescription=a brick wall
-IFD0:Rating=4
-GPSLatitude=47.5
-GPSLatitudeRef=N
-GPSLongitude=19.05
-GPSLongitudeRef=E
-GPSAltitude=120
-GPSDateStamp=2026:01:02
-XMP-xmp:Rating=4
-XMP-dc:Subject=sky
-XMP-dc:Subject=night
-XMP-lr:HierarchicalSubject=sky|night
-XMP-crs:Sharpness=40
-XMP-crs:Exposure2012=+0.50
-IPTC:Keywords=sky
-IPTC:City=Győr
-IPTC:codedcharacterset=utf8
-ExifIFD:SerialNumber=SN1
-ExifIFD:LensSerialNumber=L77
-ExifIFD:LensModel=EF50mm f/1.4 USM
-ExifIFD:FocalLength=50
-ExifIFD:Flash=Fired
-ExifIFD:ExposureProgram=Program AE
-ExifIFD:MeteringMode=Spot
-ExifIFD:ExposureCompensation=-0.67
-ExifIFD:CreateDate=2026:01:02 03:04:06
-ExifIFD:SubSecTimeOriginal=12
-ExifIFD:OffsetTimeOriginal=+02:00
-ExifIFD:UserComment=a comment
-ExifIFD:OwnerName=Zoë
-ExifIFD:SensitivityType=Recommended Exposure Index
-ExifIFD:RecommendedExposureIndex=1600
-IFD0:CameraSerialNumber=C5
-IFD0:TimeCodes=01:02:03.04 2026:01:02 03:04:05
-IFD0:FrameRate=24
-ExifIFD:ExposureTime=0.0046860
-ExifIFD:FNumber=5.657
-ExifIFD:ApertureValue=5.657
-ExifIFD:ColorSpace=Adobe RGB
""".strip().splitlines()

STORED = {
    *("ImageWidth", "ImageHeight", "BitsPerSample", "RowsPerStrip", "StripOffsets", "StripByteCounts"),
    *("TileOffsets", "TileByteCounts", "PreviewImage", "PreviewImageStart", "PreviewImageLength", "ThumbnailTIFF"),
    *("NoiseProfile", "NoiseReductionApplied", "PreviewSettingsName", "PreviewApplicationVersion"),
}
"""How the file is laid out, the previews and the noise: made anew."""


def tags_of(path: Path) -> dict[str, str]:
    tags = json.loads(said("-j", "-a", "-G1", "-struct", "-n", path))[0]
    outside = ("System", "File", "Composite", "ExifTool", "SourceFile")
    return {name: str(value) for name, value in tags.items() if name.split(":")[0] not in outside}


@pytest.fixture(scope="module")
def shot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw file that says about its shot all that cameras and photographers say."""
    (path,) = write_frames(tmp_path_factory.mktemp("enriched"), shoot(SyntheticCamera(), scene(), 1600, 1, 0)[0])
    if shutil.which("exiftool"):
        arguments = path.with_suffix(".args")
        arguments.write_text("\n".join(ENRICHED), encoding="utf-8")
        said("-q", "-charset", "iptc=utf8", "-overwrite_original", "-@", arguments, path)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path


def denoised(shot: Path, target: Path, *, exiftool: bool) -> Path:
    with exiftool_on_path() as tool:
        assert write_frame(Denoiser()(read_raw(shot)), target, shot, tool if exiftool else None) is None
    return target


@with_exiftool
@pytest.mark.parametrize("exiftool", [True, False], ids=["with exiftool", "without"])
def test_every_tag_of_the_shot_is_in_the_result(tmp_path: Path, shot: Path, exiftool: bool):
    target = denoised(shot, tmp_path / "a.dng", exiftool=exiftool)
    before, after = tags_of(shot), tags_of(target)
    lost = {name: value for name, value in before.items() if after.get(name) != value}
    assert {name for name in lost if name.split(":")[1] not in STORED} == {"XMP-crs:Sharpness"}
    assert after["XMP-crs:Sharpness"] == "0"
    assert after["SubIFD:NoiseReductionApplied"] == "1"
    assert after["IFD0:PreviewSettingsName"].startswith("burst_denoise denoised this: ")
    assert after["IFD0:PreviewApplicationVersion"].endswith("; tags copied by exiftool") == exiftool
    new = {line for line in said("-validate", "-warning", "-a", "-s3", target).splitlines() if "Rating" not in line}
    assert new <= {"OK", "1 Warning (minor)"}
    assert target.stat().st_mtime == shot.stat().st_mtime


@with_exiftool
def test_a_result_stays_known_as_one_when_all_tags_of_its_source_are_copied_over_it(tmp_path: Path, shot: Path):
    target = denoised(shot, tmp_path / "a.dng", exiftool=False)
    said("-q", "-overwrite_original", "-tagsFromFile", shot, "-all:all", target)
    frame = read_raw(target)
    assert frame.notes.startswith("burst_denoise denoised this: ")
    assert tags_of(target)["IFD0:ImageDescription"] == "a brick wall"


@with_exiftool
def test_empty_dates_do_not_come(tmp_path: Path, shared_data: Path):
    source = shared_data / "raw_single" / "colorchart.dng"
    assert tags_of(source)["ExifIFD:DateTimeOriginal"] == ""
    tags = tags_of(denoised(source, tmp_path / "a.dng", exiftool=True))
    assert not tags.keys() & {"IFD0:ModifyDate", "ExifIFD:DateTimeOriginal", "ExifIFD:CreateDate"}


@with_exiftool
def test_an_old_canon_keeps_the_serial_number_that_stands_on_it(tmp_path: Path, shared_data: Path):
    target = denoised(shared_data / "raw_single" / "canon_eos_d30.CRW", tmp_path / "a.dng", exiftool=True)
    tags = tags_of(target)
    assert tags["ExifIFD:SerialNumber"] == "1235-02474"
    assert (tags["IFD0:Model"], tags["ExifIFD:FocalLength"]) == ("Canon EOS D30", "31")


@with_exiftool
@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_a_developed_shot_has_the_words_of_its_source(tmp_path: Path, shot: Path, suffix: str):
    tags = tags_of(denoised(shot, tmp_path / f"a{suffix}", exiftool=True))
    assert (tags["IFD0:Artist"], tags["GPS:GPSLatitudeRef"]) == ("Zoë Ångström", "N")
    assert tags["ExifIFD:ColorSpace"] == "1", "sRGB, whatever the camera's JPEG is"
    assert "XMP-crs:Sharpness" not in tags
    assert (tmp_path / f"a{suffix}").stat().st_mtime == shot.stat().st_mtime


def test_a_frame_saved_by_the_library_has_the_tags_and_the_time_of_its_file(tmp_path: Path, shot: Path):
    frame = read_raw(shot)
    bd.Frame._of(frame).save(tmp_path / "a.dng")
    assert (tmp_path / "a.dng").stat().st_mtime == shot.stat().st_mtime
    assert read_raw(tmp_path / "a.dng").info.dng_tags == frame.info.dng_tags


# Previews


def upright(picture: np.ndarray, orientation: int) -> np.ndarray:
    return np.moveaxis(dihedral(np.moveaxis(picture, 2, 0), UPRIGHT[orientation - 1]), 0, 2)


def alike(found: np.ndarray, developed: np.ndarray) -> None:
    """Assert that two pictures are the same, at the size of the smaller, and equally bright."""
    size = found.shape[1], found.shape[0]
    expected = cv2.resize(developed, size, interpolation=cv2.INTER_AREA).astype(float)
    assert found.reshape(-1, 3).mean(0) == pytest.approx(expected.reshape(-1, 3).mean(0), rel=0.02)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99


@pytest.fixture(scope="module")
def denoised_frame(tmp_path_factory: pytest.TempPathFactory) -> Frame:
    """A shot of 320 x 480 photosites, denoised quickly."""
    noisy, _ = shoot(SyntheticCamera(hot_fraction=0), scene((320, 480)), 800, 1, 0)
    (path,) = write_frames(tmp_path_factory.mktemp("upright"), noisy)
    return Denoiser(settings=DenoiseSettings(quality="draft"))(read_raw(path))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_previews_are_the_denoised_picture_upright_and_as_bright(
    tmp_path: Path, denoised_frame: Frame, orientation: int
):
    (path,) = write_frames(tmp_path / "shots", [denoised_frame], orientation=orientation)
    info = denoised_frame.info.model_copy(update={"orientation": read_raw(path).info.orientation})
    target = tmp_path / "a.dng"
    write_dng(target, replace(denoised_frame, info=info))
    with rawpy.imread(str(target)) as raw:
        developed = raw.postprocess(use_camera_wb=True, no_auto_bright=True, adjust_maximum_thr=0.0, gamma=(2.4, 12.92))
        taken_out = raw.extract_thumb()
    assert taken_out.format == rawpy.ThumbFormat.JPEG
    tags = exifread.process_file(io.BytesIO(taken_out.data), details=False)
    assert tags["Image Orientation"].values == [orientation], "LibRaw says how to turn it"
    seen = cv2.imdecode(np.frombuffer(taken_out.data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]  # turned by OpenCV
    assert seen.shape == developed.shape
    alike(seen, developed)
    with tifffile.TiffFile(target) as tiff:
        first = tiff.pages.first
        raw_page, preview = first.pages
        assert (first.tags["Orientation"].value, max(first.shape)) == (info.orientation, 256)
        assert [page.tags["NewSubfileType"].value for page in (first, raw_page, preview)] == [1, 0, 1]
        alike(upright(first.asarray(), orientation), developed)
        alike(upright(preview.asarray(), orientation), developed)


@with_exiftool
def test_exiftool_takes_the_preview_out_as_the_jpeg_that_it_is(tmp_path: Path, shot: Path):
    target = denoised(shot, tmp_path / "a.dng", exiftool=True)
    jpeg = subprocess.run(["exiftool", "-b", "-PreviewImage", target], capture_output=True, check=True).stdout
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (*read_raw(target).dn.shape, 3)
