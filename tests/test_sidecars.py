"""Sidecars come along to the new name, and nothing but noise reduction and sharpening changes in them."""

from pathlib import Path

import pytest

from burst_denoise.io.sidecars import copy_sidecars, find_sidecars, without_denoising

LIGHTROOM = """\
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 7.0-c000 1.000000, 0000/00/00-00:00:00        ">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"
   xmp:Rating="4"
   photoshop:SidecarForExtension="CR2"
   crs:Version="15.0"
   crs:Exposure2012="+0.50"
   crs:Sharpness="40"
   crs:SharpenRadius="+1.0"
   crs:SharpenDetail="25"
   crs:LuminanceSmoothing="25"
   crs:LuminanceNoiseReductionDetail="50"
   crs:ColorNoiseReduction='25'
   crs:ColorNoiseReductionDetail="50"
   crs:RawFileName="Sharpness=&quot;40&quot;.CR2">
   <crs:ToneCurvePV2012>
    <rdf:Seq>
     <rdf:li>0, 0</rdf:li>
     <rdf:li>255, 255</rdf:li>
    </rdf:Seq>
   </crs:ToneCurvePV2012>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""

ELEMENTS = """\
<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>
<x:xmpmeta xmlns:x='adobe:ns:meta/'>
<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>
 <!-- <crs:Sharpness>11</crs:Sharpness> -->
 <rdf:Description rdf:about='' xmlns:raw='http://ns.adobe.com/camera-raw-settings/1.0/' xmlns:crs='urn:another'>
  <raw:Contrast2012>12</raw:Contrast2012>
  <raw:Sharpness>
    40
  </raw:Sharpness>
  <raw:LuminanceSmoothing>0</raw:LuminanceSmoothing>
  <raw:ColorNoiseReduction >+25</raw:ColorNoiseReduction>
  <raw:LocalSharpness/>
  <crs:Sharpness>77</crs:Sharpness>
 </rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end='w'?>"""

DARKTABLE = """\
<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:exif="http://ns.adobe.com/exif/1.0/"
    xmlns:darktable="http://darktable.sf.net/"
   exif:DateTimeOriginal="2024:08:11 23:10:05"
   darktable:xmp_version="5"
   darktable:auto_presets_applied="1"
   darktable:history_end="4">
   <darktable:history>
    <rdf:Seq>
     <rdf:li
      darktable:num="0"
      darktable:operation="exposure"
      darktable:enabled="1"
      darktable:modversion="6"
      darktable:params="00000000"/>
     <rdf:li
      darktable:num="1"
      darktable:operation="denoiseprofile"
      darktable:enabled="1"
      darktable:modversion="11"
      darktable:params="gz02eJxjYGiwZ8AA"
      darktable:multi_name=""/>
     <rdf:li darktable:enabled="1" darktable:num="2" darktable:operation="sharpen" darktable:params="0000a040"/>
     <rdf:li
      darktable:num="3"
      darktable:operation="rawdenoise"
      darktable:enabled="0"
      darktable:params="0ad7233c"/>
     <rdf:li darktable:num="4" darktable:operation="hotpixels" darktable:enabled="1" darktable:params="3e"/>
    </rdf:Seq>
   </darktable:history>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""

FORMS = {
    "attributes": (
        LIGHTROOM,
        {
            ' crs:Sharpness="40"': ' crs:Sharpness="0"',
            'LuminanceSmoothing="25"': 'LuminanceSmoothing="0"',
            "ColorNoiseReduction='25'": "ColorNoiseReduction='0'",
        },
    ),
    "elements": (ELEMENTS, {"    40\n": "    0\n", ">+25<": ">0<"}),
    "darktable": (
        DARKTABLE,
        {
            '"denoiseprofile"\n      darktable:enabled="1"': '"denoiseprofile"\n      darktable:enabled="0"',
            'darktable:enabled="1" darktable:num="2"': 'darktable:enabled="0" darktable:num="2"',
        },
    ),
}


def changed(text: str, changes: dict[str, str]) -> str:
    for before, after in changes.items():
        assert text.count(before) == 1
        text = text.replace(before, after)
    return text


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("encoding", "mark"), [("utf-8", ""), ("utf-8", "\ufeff"), ("utf-16-le", "\ufeff"),
                                                ("utf-16-be", "\ufeff")])  # fmt: skip
def test_the_characters_of_the_values_change_and_no_others(form: str, encoding: str, mark: str):
    text, changes = FORMS[form]
    text = mark + text.replace("UTF-8", "UTF-16" if encoding != "utf-8" else "UTF-8")
    assert without_denoising(text.encode(encoding)) == changed(text, changes).encode(encoding)


def test_line_ends_and_letters_beyond_ascii_stay():
    text = LIGHTROOM.replace('crs:Version="15.0"', 'crs:Version="Zoë 星"').replace("\n", "\r\n")
    after = changed(text, FORMS["attributes"][1])
    assert without_denoising(text.encode()) == after.encode()


def test_what_was_painted_goes_too():
    painted = (
        '<a xmlns:c="http://ns.adobe.com/camera-raw-settings/1.0/"><b c:LocalSharpness="-0.25" c:LocalHue="0.5"/></a>'
    )
    assert without_denoising(painted.encode()) == painted.replace("-0.25", "0").encode()


@pytest.mark.parametrize(
    "content",
    [
        LIGHTROOM.replace("</rdf:RDF>", "").encode(),
        LIGHTROOM.replace("4", "\xe9", 1).encode("latin-1"),
        LIGHTROOM.encode("utf-16")[:-1],
        b"",
        b"\0\1\2",
        LIGHTROOM.replace('"40"', '"much"').replace('"25"', '"0"').replace("'25'", "'+0.0'").encode(),
    ],
    ids=["not well-formed", "latin-1", "half a letter", "empty", "no text", "nothing on"],
)
def test_what_cannot_or_need_not_be_changed_comes_back_as_it_is(content: bytes):
    assert without_denoising(content) == content


def test_both_names_are_found_whatever_the_letters_of_the_suffix(tmp_path: Path):
    for name in ("IMG_1.CR2", "IMG_1.XMP", "IMG_1.CR2.xmp", "IMG_10.xmp", "IMG_1.JPG.xmp", "img_1.xmp.txt"):
        (tmp_path / name).touch()
    out = tmp_path / "out"
    assert find_sidecars(tmp_path / "IMG_1.CR2", out / "IMG_1-denoised.dng") == {
        tmp_path / "IMG_1.XMP": out / "IMG_1-denoised.xmp",
        tmp_path / "IMG_1.CR2.xmp": out / "IMG_1-denoised.dng.xmp",
    }


def test_a_sidecar_of_another_file_is_not_taken(tmp_path: Path):
    for name in ("a.CR2", "a.CR2.dng", "a.CR2.xmp", "b.CR2.dng", "b.CR2.xmp"):
        (tmp_path / name).touch()
    assert find_sidecars(tmp_path / "a.CR2.dng", tmp_path / "out" / "x.dng") == {}
    assert [*find_sidecars(tmp_path / "b.CR2.dng", tmp_path / "out" / "x.dng")] == [tmp_path / "b.CR2.xmp"]


def test_copies_are_written_beside_the_result(tmp_path: Path):
    (tmp_path / "a.CR2.xmp").write_text(DARKTABLE)
    (tmp_path / "a.xmp").write_text(LIGHTROOM)
    target = tmp_path / "out" / "a.dng"
    written = [target.with_name("a.dng.xmp"), target.with_name("a.xmp")]
    assert copy_sidecars(tmp_path / "a.CR2", target) == (written, [])
    assert written[0].read_text() == changed(*FORMS["darktable"])
    assert written[1].read_text() == changed(*FORMS["attributes"])
    assert copy_sidecars(tmp_path / "a.CR2", target) == ([], [])  # they are there


def test_one_sidecar_serves_a_raw_file_and_its_jpeg(tmp_path: Path):
    (tmp_path / "a.xmp").write_text(LIGHTROOM)
    copy = tmp_path / "out" / "a.xmp"
    assert copy_sidecars(tmp_path / "a.CR2", copy.with_suffix(".dng")).written == [copy]
    assert copy_sidecars(tmp_path / "a.JPG", copy.with_suffix(".tif")) == ([], [])


def test_what_is_there_is_left_and_told(tmp_path: Path):
    (tmp_path / "a.xmp").write_text(LIGHTROOM)
    mine = tmp_path / "out" / "a.xmp"
    mine.parent.mkdir()
    mine.write_text("mine")
    assert copy_sidecars(tmp_path / "a.CR2", mine.with_suffix(".dng")) == ([], [mine])
    assert mine.read_text() == "mine"


def test_a_result_beside_its_shot_shares_the_sidecar(tmp_path: Path):
    (tmp_path / "a.xmp").write_text(LIGHTROOM)
    assert copy_sidecars(tmp_path / "a.CR2", tmp_path / "a.dng") == ([], [])
    assert (tmp_path / "a.xmp").read_text() == LIGHTROOM


def test_a_folder_of_that_name_is_no_sidecar(tmp_path: Path):
    (tmp_path / "a.xmp").mkdir()
    assert copy_sidecars(tmp_path / "a.CR2", tmp_path / "out" / "a.dng") == ([], [])
