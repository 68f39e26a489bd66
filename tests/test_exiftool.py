"""With exiftool, all that a shot says about itself comes to its result, and nothing about how the result is stored."""

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import rawpy
import tifffile

from burst_denoise.io.dng import write_dng
from burst_denoise.io.exiftool import ExifTool, exiftool_on_path
from burst_denoise.schemas import FrameInfo
from tests.shots import frame_of


def with_exiftool(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that needs exiftool."""
    reason = "no exiftool: apt-get install libimage-exiftool-perl"
    return pytest.mark.system(pytest.mark.skipif(shutil.which("exiftool") is None, reason=reason)(test))


WITH_SCRIPTS = pytest.mark.skipif(os.name == "nt", reason="a Python script is no program there")

XMP = """\
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
 <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:my="http://example.org/mine/"
   xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
   xmp:Rating="4" my:Roll="17" crs:Sharpness="40" crs:Exposure2012="+0.50" tiff:Orientation="6"/>
</rdf:RDF></x:xmpmeta>"""

WORDS = {
    "IFD0:Artist": "Zoë",
    "IFD0:Copyright": "© Zoë",
    "IFD0:ImageDescription": "a nebula",
    "IFD0:Software": "Firmware 1.0",
    "ExifIFD:SerialNumber": "SN1",
    "ExifIFD:LensSerialNumber": "L1",
    "ExifIFD:Flash": "Fired",
    "ExifIFD:UserComment": "cloudless",
    "GPS:GPSLatitude": "47.5",
    "GPS:GPSLatitudeRef": "North",
    "IPTC:City": "Győr",
    "IPTC:Keywords": ["sky", "dark"],
}
OWN = {
    "IFD0:ProcessingSoftware": "another",
    "IFD0:PreviewApplicationName": "another",
    "IFD0:NoiseReductionApplied": "0.25",
    "ExifIFD:ImageHistory": "long",
    "ExifIFD:ExifImageWidth": "777",
}
PLACED = ("IFD0:TileOffsets", "IFD0:StripOffsets", "SubIFD:TileOffsets", "SubIFD1:PreviewImageStart")
"""Where in the file something is, which may change."""


@pytest.fixture(scope="module")
def exiftool() -> Iterator[ExifTool]:
    with exiftool_on_path() as tool:
        assert tool is not None
        yield tool


def said(*arguments: object) -> str:
    done = subprocess.run(["exiftool", *map(str, arguments)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def tags_of(path: Path) -> dict[str, object]:
    """Return the tags of a file by directory and name, as an exiftool of its own reads them."""
    tags = json.loads(said("-j", "-a", "-G1", "-c", "%.1f", path))[0]
    return {name: value for name, value in tags.items() if name.split(":")[0] not in ("System", "File", "Composite")}


def dng(path: Path, orientation: int = 1) -> Path:
    info = FrameInfo(
        domain="bayer", camera="Canon EOS 700D", cfa="RGGB", height=96, width=128, black_level=(512.0,) * 4,
        white_level=15000.0, iso=800.0, exposure_s=1 / 30, taken_at=1_700_000_000.25, as_shot_neutral=(0.5, 1.0, 0.625),
        orientation=orientation,
    )  # fmt: skip
    write_dng(path, frame_of(np.random.default_rng(1).random((96, 128), np.float32), info))
    return path


def enriched(path: Path) -> Path:
    """Return a DNG that says much about its shot."""
    packet = path.with_suffix(".packet")
    packet.write_text(XMP)
    said("-q", "-codedcharacterset=utf8", f"-XMP<={packet}", "-overwrite_original",
         *(f"-{tag}={one}" for tag, value in {**WORDS, **OWN}.items() for one in np.atleast_1d(value)),
         dng(path, orientation=6))  # fmt: skip
    return path


def directory(*entries: tuple[int, int, int, int]) -> bytes:
    """Return a directory of a TIFF: tag, field type, count, and the value or where it is."""
    return struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)


def canon(suffix: str, path: Path) -> Path:
    """Return a file as a Canon makes it, in which a maker note tells its owner at a place counted from a beginning."""
    head, maker, model, owner = struct.pack("<2sHI", b"II", 42, 8), b"Canon\0", b"Canon EOS 700D\0\0", b"Its owner\0"
    names = (0x10F, 2, 6, 50), (0x110, 2, 15, 56)
    if suffix == ".tif":
        shot = directory(*names, (0x8769, 4, 1, 72)) + maker + model  # 8 to 72
        note = directory((0x09, 2, len(owner), 108)) + owner  # from 90 on; values stand behind their directory
        content = head + shot + directory((0x927C, 7, len(note), 90)) + note
    else:
        shot = box(b"CMT1", head + directory(*names, (0x112, 3, 1, 1)) + maker + model)
        note = box(b"CMT3", head + directory((0x09, 2, len(owner), 26)) + owner)
        canons = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
        content = box(b"ftyp", b"crx \0\0\0\1crx isom") + box(b"moov", box(b"uuid", canons + shot + note))
    path.with_suffix(suffix).write_bytes(content)
    return path.with_suffix(suffix)


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def pixels_of(path: Path) -> np.ndarray:
    with rawpy.imread(str(path)) as raw:
        return raw.raw_image.copy()


@with_exiftool
def test_the_words_of_a_shot_come_and_what_our_writer_says_of_the_file_stays(tmp_path: Path, exiftool: ExifTool):
    source, target = enriched(tmp_path / "a.dng"), dng(tmp_path / "b.dng")
    before, pixels = tags_of(target), pixels_of(target)
    assert exiftool.copy_tags(source, target) is None
    after = tags_of(target)
    for tag, value in WORDS.items():
        assert str(value) in str(after[tag]), tag
    assert not [tag for tag in OWN if after.get(tag) != before.get(tag)]
    assert after["IFD0:PreviewApplicationVersion"].endswith("; tags copied by exiftool")
    kept = {tag for tag in before if tag.startswith(("IFD0", "SubIFD"))} - set(WORDS) - set(PLACED)
    kept.remove("IFD0:PreviewApplicationVersion")
    assert {tag: after[tag] for tag in kept} == {tag: before[tag] for tag in kept}
    assert np.array_equal(pixels_of(target), pixels)
    assert not list(tmp_path.glob("*_exiftool_tmp")) + list(tmp_path.glob("*_original"))


@with_exiftool
@WITH_SCRIPTS
def test_it_ends_when_the_program_that_uses_it_is_killed(tmp_path: Path):
    code = "import os, sys, time; from burst_denoise.io.exiftool import ExifTool; tool = ExifTool('exiftool')"
    code += "; tool.version; print(tool._process.pid, flush=True); time.sleep(60)"
    user = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert user.stdout is not None
    served = psutil.Process(int(user.stdout.readline()))
    assert served.is_running()
    user.kill()
    user.communicate()
    served.wait(20)


@with_exiftool
@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_a_picture_gets_no_develop_settings_and_stays_upright(tmp_path: Path, exiftool: ExifTool, suffix: str):
    source, target = enriched(tmp_path / "a.dng"), tmp_path / f"b{suffix}"
    pixels = np.random.default_rng(2).integers(0, 65536, (32, 48, 3), dtype=np.uint16)
    write(target, pixels)
    assert exiftool.copy_tags(source, target) is None
    after = tags_of(target)
    assert not [tag for tag in after if tag.startswith(("XMP-crs", "XMP-tiff"))]
    assert after.get("IFD0:Orientation", "Horizontal (normal)") == "Horizontal (normal)"
    assert (after["XMP-xmp:Rating"], after["XMP-my:Roll"]) == (4, 17)
    for tag in ("IFD0:Artist", "ExifIFD:SerialNumber", "GPS:GPSLatitudeRef"):
        assert after[tag] == WORDS[tag]
    assert ("IPTC:City" in after) == (suffix == ".tif")  # a PNG has no place for it
    assert np.array_equal(read(target), pixels)


def write(path: Path, pixels: np.ndarray) -> None:
    if path.suffix == ".tif":
        tifffile.imwrite(path, pixels, photometric="rgb")
    else:
        import cv2

        cv2.imwrite(str(path), pixels)


def read(path: Path) -> np.ndarray:
    if path.suffix == ".tif":
        return tifffile.imread(path)
    import cv2

    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


@with_exiftool
@pytest.mark.parametrize("suffix", [".tif", ".cr3"])
def test_maker_notes_are_moved_with_their_offsets_and_marked_safe(tmp_path: Path, exiftool: ExifTool, suffix: str):
    source, target = canon(suffix, tmp_path / "a"), dng(tmp_path / "b.dng")
    pixels = pixels_of(target)
    assert tags_of(source)["Canon:OwnerName"] == "Its owner"
    assert exiftool.copy_tags(source, target) is None
    after = tags_of(target)
    assert (after["Canon:OwnerName"], after["IFD0:MakerNoteSafety"]) == ("Its owner", "Safe")
    assert np.array_equal(pixels_of(target), pixels)
    assert said("-validate", "-warning", "-a", "-s3", target).strip() == "OK"


@with_exiftool
def test_without_maker_notes_nothing_is_said_of_their_safety(tmp_path: Path, exiftool: ExifTool):
    target = dng(tmp_path / "b.dng")
    assert exiftool.copy_tags(dng(tmp_path / "a.dng"), target) is None
    assert "IFD0:MakerNoteSafety" not in tags_of(target)


@with_exiftool
@pytest.mark.parametrize(
    "name",
    ["-Artist=x.dng", " #[CSTR] two  spaces .dng", 'Zoë 星 %f %%d $x @y "q" \\n.dng', "two\nlines\\.dng"],
)
def test_a_name_is_a_name_whatever_is_in_it(tmp_path: Path, exiftool: ExifTool, name: str):
    source = enriched(tmp_path / "a.dng")
    odd_source, odd_target = tmp_path / name, tmp_path / "out" / name
    source.rename(odd_source)
    odd_target.parent.mkdir()
    dng(tmp_path / "b.dng").rename(odd_target)
    assert exiftool.copy_tags(odd_source, odd_target) is None
    assert sorted(path.name for path in tmp_path.rglob("*.dng")) == [name, name]
    odd_target.rename(tmp_path / "b.dng")
    assert tags_of(tmp_path / "b.dng")["IFD0:Artist"] == "Zoë"


@with_exiftool
def test_what_exiftool_refuses_is_said_and_the_file_stays_as_it_was(tmp_path: Path, exiftool: ExifTool):
    target = dng(tmp_path / "b.dng")
    before = target.read_bytes()
    assert "does not exist" in str(exiftool.copy_tags(tmp_path / "missing.cr2", target))
    assert target.read_bytes() == before
    broken = tmp_path / "c.dng"
    broken.write_bytes(b"no picture")
    assert "Error" in str(exiftool.copy_tags(dng(tmp_path / "a.dng"), broken))
    assert broken.read_bytes() == b"no picture"


@with_exiftool
def test_threads_share_one(tmp_path: Path, exiftool: ExifTool):
    source = enriched(tmp_path / "a.dng")
    targets = [dng(tmp_path / f"b{number}.dng") for number in range(4)]
    with ThreadPoolExecutor(4) as threads:
        assert [*threads.map(lambda target: exiftool.copy_tags(source, target), targets)] == [None] * 4
    assert {str(tags_of(target)["IFD0:Artist"]) for target in targets} == {"Zoë"}


@with_exiftool
def test_it_serves_again_after_it_was_closed():
    with exiftool_on_path() as tool:
        assert tool is not None
        assert float(tool.version) > 12
    tool.close()
    assert "does not exist" in str(tool.copy_tags(Path("missing"), Path("missing.dng")))
    tool.close()


def test_there_is_none_where_the_path_leads_to_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    with exiftool_on_path() as tool:
        assert tool is None


def program(folder: Path, body: str) -> str:
    """Return a program that does something to each thing that it is asked for."""
    path = folder / "exiftool"
    path.write_text(
        f"#!{sys.executable}\nimport sys, time\nfrom pathlib import Path\n"
        f"for line in sys.stdin:\n    if line != '-execute1\\n':\n        continue\n    {body}\n"
    )
    path.chmod(0o755)
    return str(path)


@WITH_SCRIPTS
def test_a_hanging_one_is_ended_and_what_it_had_begun_is_removed(tmp_path: Path):
    begun = tmp_path / "b.dng_exiftool_tmp"
    begun.touch()
    with ExifTool(program(tmp_path, "time.sleep(60)"), limit_s=0.5) as tool:
        assert tool.copy_tags(tmp_path / "a.dng", tmp_path / "b.dng") == (
            "exiftool took longer than 0.5 s and was ended; tags are missing"
        )
    assert not begun.exists()


@WITH_SCRIPTS
def test_one_that_died_is_named_with_its_last_words_and_started_again(tmp_path: Path):
    mark = tmp_path / "died"
    first = f"mark = Path({str(mark)!r}); died = mark.exists(); mark.touch()"
    body = f"{first}\n    if not died: sys.exit('out of memory')\n    print('13.0\\n{{ready1}}', flush=True)"
    with ExifTool(program(tmp_path, body)) as tool:
        assert tool.copy_tags(tmp_path / "a.dng", tmp_path / "b.dng") == (
            "exiftool ended unexpectedly; tags are missing (out of memory)"
        )
        assert tool.version == "13.0"
