"""Numbers of TIFF, Exif and DNG: which number stands for which tag and field type, written here and nowhere else.

Adobe, "TIFF", revision 6.0; CIPA DC-008, "Exif", version 2.32; ISO 12234-2, "TIFF/EP"; Adobe, "Digital Negative (DNG)
Specification", version 1.7.1.
"""

from enum import IntEnum

import tifffile

__all__ = ["CARRIED_TAGS", "D65", "LENS_TAGS", "OPCODE_LISTS", "PLACED_TAGS", "FieldType", "Tag"]

FieldType = tifffile.DATATYPE
"""How the values of a TIFF tag are stored."""


class Tag(IntEnum):
    """Tags that the code names, by the names that the specifications give them."""

    # TIFF
    NEW_SUBFILE_TYPE = 254
    PHOTOMETRIC_INTERPRETATION = 262
    IMAGE_DESCRIPTION = 270
    MAKE = 271
    MODEL = 272
    ORIENTATION = 274
    DATE_TIME = 306

    # TIFF/EP
    CFA_REPEAT_PATTERN_DIM = 33421
    CFA_PATTERN = 33422

    # Exif
    EXPOSURE_TIME = 33434
    F_NUMBER = 33437
    EXIF_IFD = 34665
    PHOTOGRAPHIC_SENSITIVITY = 34855
    SENSITIVITY_TYPE = 34864
    RECOMMENDED_EXPOSURE_INDEX = 34866
    EXIF_VERSION = 36864
    DATE_TIME_ORIGINAL = 36867
    SUB_SEC_TIME_ORIGINAL = 37521

    # DNG
    DNG_VERSION = 50706
    DNG_BACKWARD_VERSION = 50707
    UNIQUE_CAMERA_MODEL = 50708
    CFA_PLANE_COLOR = 50710
    CFA_LAYOUT = 50711
    LINEARIZATION_TABLE = 50712
    BLACK_LEVEL_REPEAT_DIM = 50713
    BLACK_LEVEL = 50714
    WHITE_LEVEL = 50717
    DEFAULT_CROP_ORIGIN = 50719
    DEFAULT_CROP_SIZE = 50720
    COLOR_MATRIX_1 = 50721
    AS_SHOT_NEUTRAL = 50728
    AS_SHOT_WHITE_XY = 50729
    CALIBRATION_ILLUMINANT_1 = 50778
    ACTIVE_AREA = 50829
    OPCODE_LIST_1 = 51008
    NOISE_PROFILE = 51041
    CALIBRATION_ILLUMINANT_3 = 52529
    ILLUMINANT_DATA_3 = 52535  # tifffile has no name for it


D65 = 21
"""The value of Exif's LightSource, and so of a CalibrationIlluminant, that stands for daylight of 6504 K."""


def _numbers(names: str) -> frozenset[int]:
    """Return the numbers of tags by the names that tifffile has for them."""
    return frozenset(tifffile.TIFF.TAGS[name] for name in names.split())


LENS_TAGS = _numbers("FocalLength FocalLengthIn35mmFilm LensSpecification LensMake LensModel")
"""What Exif says about the lens: these belong into the Exif directory, all others of a `FrameInfo` into the first."""

OPCODE_LISTS = _numbers("OpcodeList1 OpcodeList2 OpcodeList3")
"""Lens corrections, which readers of DNG 1.3 understand."""

PLACED_TAGS = OPCODE_LISTS | _numbers("DefaultCropOrigin DefaultCropSize DefaultUserCrop")
"""Crops and lens corrections: their coordinates are counted from the ActiveArea."""

CARRIED_NAMES = """
Make Model UniqueCameraModel LocalizedCameraModel CameraSerialNumber LensInfo
DefaultScale BestQualityScale ShadowScale AnalogBalance AsShotNeutral AsShotWhiteXY
BaselineExposure BaselineExposureOffset BaselineSharpness DefaultBlackRender
BayerGreenSplit LinearResponseLimit ChromaBlurRadius AntiAliasStrength
CalibrationIlluminant1 CalibrationIlluminant2 CalibrationIlluminant3 IlluminantData1 IlluminantData2
ColorMatrix1 ColorMatrix2 ColorMatrix3 ForwardMatrix1 ForwardMatrix2 ForwardMatrix3
ReductionMatrix1 ReductionMatrix2 ReductionMatrix3 CameraCalibration1 CameraCalibration2 CameraCalibration3
CameraCalibrationSignature ProfileCalibrationSignature ProfileName ProfileCopyright ProfileEmbedPolicy
ProfileHueSatMapDims ProfileHueSatMapData1 ProfileHueSatMapData2 ProfileHueSatMapData3 ProfileHueSatMapEncoding
ProfileLookTableDims ProfileLookTableData ProfileLookTableEncoding ProfileToneCurve
"""
CARRIED_TAGS = PLACED_TAGS | _numbers(CARRIED_NAMES) | {Tag.ILLUMINANT_DATA_3}
"""What a DNG says about camera, colours and lens that still holds after denoising.

Not what tells of the stored mosaic, which is written anew; nor the linearization table, which LibRaw has applied; nor
the noise of the shot before denoising.
"""
