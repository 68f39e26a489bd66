"""Tags have the numbers of the specifications, which stand in one file of the package."""

import ast
from pathlib import Path

import pytest
import tifffile

import burst_denoise
from burst_denoise.io.tags import DNG_TAGS, LENS_TAGS, MOSAIC_TAGS, OPCODE_LISTS, SHOT_TAGS, FieldType, Tag

PACKAGE = Path(burst_denoise.__file__).parent
OTHER_FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "io" / "tags.py")

NAMED_OTHERWISE = {
    Tag.EXIF_IFD: "ExifTag",
    Tag.GPS_IFD: "GPSTag",
    Tag.SUB_IFDS: "SubIFDs",
    Tag.PHOTOGRAPHIC_SENSITIVITY: "ISOSpeedRatings",
}
"""By tifffile; the second is the name before Exif 2.3."""


@pytest.mark.parametrize("tag", sorted(set(Tag) - {Tag.ILLUMINANT_DATA_3}))  # which tifffile does not know
def test_tags_have_the_numbers_that_tifffile_knows(tag: Tag):
    known = NAMED_OTHERWISE.get(tag, tag.name.replace("_", ""))
    assert tifffile.TIFF.TAGS[int(tag)].lower() == known.lower()


BASELINE_NOISE, REDUCTION_MATRIX_3 = 50731, 52538


def test_field_types_have_the_numbers_of_tiff():
    assert [FieldType.BYTE, FieldType.ASCII, FieldType.SHORT, FieldType.LONG, FieldType.RATIONAL] == [1, 2, 3, 4, 5]
    assert [FieldType.UNDEFINED, FieldType.SRATIONAL, FieldType.FLOAT, FieldType.DOUBLE] == [7, 10, 11, 12]


def test_what_a_denoised_dng_takes_over():
    carried = SHOT_TAGS | DNG_TAGS
    assert {Tag.MAKE, Tag.UNIQUE_CAMERA_MODEL, Tag.COLOR_MATRIX_1, REDUCTION_MATRIX_3} <= carried
    assert {Tag.DEFAULT_CROP_ORIGIN} | OPCODE_LISTS <= MOSAIC_TAGS <= DNG_TAGS
    assert not SHOT_TAGS & DNG_TAGS
    noise = {Tag.NOISE_PROFILE, BASELINE_NOISE, Tag.NOISE_REDUCTION_APPLIED}
    mosaic = {Tag.BLACK_LEVEL, Tag.WHITE_LEVEL, Tag.ACTIVE_AREA, Tag.LINEARIZATION_TABLE, Tag.CFA_PATTERN}
    preview = {Tag.PREVIEW_APPLICATION_NAME, Tag.PREVIEW_SETTINGS_NAME, Tag.PREVIEW_COLOR_SPACE}
    assert not carried & (noise | mosaic | preview | LENS_TAGS | {Tag.ORIENTATION, Tag.EXIF_IFD})
    assert (len(SHOT_TAGS), len(DNG_TAGS)) == (28, 78)


def numbers(node: ast.AST) -> set[int]:
    return {part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and type(part.value) is int}


def compared_with_dtype(node: ast.AST) -> set[int]:
    """Numbers that a field type is compared with, or given as."""
    if isinstance(node, ast.keyword) and node.arg == "dtype":
        return numbers(node.value)
    if isinstance(node, ast.Compare) and ast.unparse(node.left).split(".")[-1] == "dtype":
        return set().union(*(numbers(other) for other in node.comparators))
    return set()


@pytest.mark.parametrize("path", OTHER_FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_other_file_spells_a_tag_or_field_type_as_a_number(path: Path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not numbers(tree) & ({*Tag} | SHOT_TAGS | DNG_TAGS | LENS_TAGS)
    if path.parent.name == "io":
        assert not {number for number in numbers(tree) if 32768 <= number < 65535}, "a tag that has no name yet"
        assert not {number for node in ast.walk(tree) for number in compared_with_dtype(node)}
