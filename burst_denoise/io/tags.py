"""Numbers of TIFF, Exif and DNG: which number stands for which tag and field type, written here and nowhere else.

Adobe, "TIFF", revision 6.0; CIPA DC-008, "Exif", version 2.32; ISO 12234-2, "TIFF/EP"; Adobe, "Digital Negative (DNG)
Specification", version 1.7.1.
"""

from enum import IntEnum

import tifffile

__all__ = [
    "D65",
    "DNG_TAGS",
    "GREATER_SENSITIVITIES",
    "JPEG_TAGS",
    "LENS_TAGS",
    "MOSAIC_TAGS",
    "OPCODE_LISTS",
    "SHOT_TAGS",
    "FieldType",
    "Tag",
]

FieldType = tifffile.DATATYPE
"""How the values of a TIFF tag are stored."""


class Tag(IntEnum):
    """Tags that the code names, by the names that the specifications give them."""

    # TIFF
    NEW_SUBFILE_TYPE = 254
    COMPRESSION = 259
    PHOTOMETRIC_INTERPRETATION = 262
    IMAGE_DESCRIPTION = 270
    MAKE = 271
    MODEL = 272
    ORIENTATION = 274
    SOFTWARE = 305
    DATE_TIME = 306
    SUB_IFDS = 330
    XMP = 700
    IPTC_NAA = 33723

    # TIFF/EP
    CFA_REPEAT_PATTERN_DIM = 33421
    CFA_PATTERN = 33422

    # Exif
    EXPOSURE_TIME = 33434
    F_NUMBER = 33437
    EXIF_IFD = 34665
    GPS_IFD = 34853
    PHOTOGRAPHIC_SENSITIVITY = 34855
    SENSITIVITY_TYPE = 34864
    STANDARD_OUTPUT_SENSITIVITY = 34865
    RECOMMENDED_EXPOSURE_INDEX = 34866
    ISO_SPEED = 34867
    EXIF_VERSION = 36864
    DATE_TIME_ORIGINAL = 36867
    OFFSET_TIME_ORIGINAL = 36881
    FLASH = 37385
    FOCAL_LENGTH = 37386
    MAKER_NOTE = 37500
    SUB_SEC_TIME_ORIGINAL = 37521
    COLOR_SPACE = 40961
    CAMERA_OWNER_NAME = 42032
    BODY_SERIAL_NUMBER = 42033
    LENS_SPECIFICATION = 42034
    LENS_MODEL = 42036

    # DNG
    DNG_VERSION = 50706
    DNG_BACKWARD_VERSION = 50707
    UNIQUE_CAMERA_MODEL = 50708
    CFA_PLANE_COLOR = 50710
    CFA_LAYOUT = 50711
    LINEARIZATION_TABLE = 50712
    BLACK_LEVEL_REPEAT_DIM = 50713
    BLACK_LEVEL = 50714
    BLACK_LEVEL_DELTA_H = 50715
    BLACK_LEVEL_DELTA_V = 50716
    WHITE_LEVEL = 50717
    DEFAULT_CROP_ORIGIN = 50719
    DEFAULT_CROP_SIZE = 50720
    COLOR_MATRIX_1 = 50721
    AS_SHOT_NEUTRAL = 50728
    AS_SHOT_WHITE_XY = 50729
    CALIBRATION_ILLUMINANT_1 = 50778
    ACTIVE_AREA = 50829
    NOISE_REDUCTION_APPLIED = 50935
    PREVIEW_APPLICATION_NAME = 50966
    PREVIEW_APPLICATION_VERSION = 50967
    PREVIEW_SETTINGS_NAME = 50968
    PREVIEW_COLOR_SPACE = 50970
    OPCODE_LIST_1 = 51008
    NOISE_PROFILE = 51041
    ENHANCE_PARAMS = 51182
    CALIBRATION_ILLUMINANT_3 = 52529
    ILLUMINANT_DATA_3 = 52535  # tifffile has no name for it


D65 = 21
"""The value of Exif's LightSource, and so of a CalibrationIlluminant, that stands for daylight of 6504 K."""


def _numbers(names: str) -> frozenset[int]:
    """Return the numbers of tags by the names that tifffile has for them."""
    return frozenset(tifffile.TIFF.TAGS[name] for name in names.split())


LENS_TAGS = _numbers("FocalLength FocalLengthIn35mmFilm LensSpecification LensMake LensModel")
"""What Exif says about the lens: these belong into the Exif directory, all others of a `FrameInfo` into the first."""

GREATER_SENSITIVITIES = (Tag.RECOMMENDED_EXPOSURE_INDEX, Tag.STANDARD_OUTPUT_SENSITIVITY, Tag.ISO_SPEED)
"""Where an ISO stands that is too great for PhotographicSensitivity, which ends at 65535."""

JPEG_TAGS = _numbers("ColorSpace ComponentsConfiguration CompressedBitsPerPixel PixelXDimension PixelYDimension")
"""What Exif says about the JPEG that a camera makes of a shot; untrue of any other picture."""

OPCODE_LISTS = _numbers("OpcodeList1 OpcodeList2 OpcodeList3")
"""Lens corrections, which readers of DNG 1.3 understand."""

SHOT_NAMES = """
DocumentName ImageDescription Make Model Software DateTime Artist HostComputer
Rating RatingPercent ImageID Copyright SelfTimerMode ImageNumber SecurityClassification ImageHistory
XPTitle XPComment XPAuthor XPKeywords XPSubject IPTCNAA
TimeCodes FrameRate TStop ReelName CameraLabel TIFFEPStandardID
"""
SHOT_TAGS = _numbers(SHOT_NAMES)
"""What the image directory of any file says about a shot, whoever wrote it: words, rights, ratings, time codes."""

DNG_NAMES = """
UniqueCameraModel LocalizedCameraModel CameraSerialNumber LensInfo OriginalRawFileName
ShadowScale AnalogBalance AsShotNeutral AsShotWhiteXY AsShotICCProfile AsShotPreProfileMatrix CurrentICCProfile
CurrentPreProfileMatrix ColorimetricReference AsShotProfileName
BaselineExposure BaselineExposureOffset BaselineSharpness DefaultBlackRender LinearResponseLimit
CalibrationIlluminant1 CalibrationIlluminant2 CalibrationIlluminant3 IlluminantData1 IlluminantData2
ColorMatrix1 ColorMatrix2 ColorMatrix3 ForwardMatrix1 ForwardMatrix2 ForwardMatrix3
ReductionMatrix1 ReductionMatrix2 ReductionMatrix3 CameraCalibration1 CameraCalibration2 CameraCalibration3
CameraCalibrationSignature ProfileCalibrationSignature ProfileName ProfileCopyright ProfileEmbedPolicy
ProfileHueSatMapDims ProfileHueSatMapData1 ProfileHueSatMapData2 ProfileHueSatMapData3 ProfileHueSatMapEncoding
ProfileLookTableDims ProfileLookTableData ProfileLookTableEncoding ProfileToneCurve ProfileGroupName
ProfileDynamicRange ProfileGainTableMap2 RGBTables ImageSequenceInfo
OriginalDefaultFinalSize OriginalBestQualitySize OriginalDefaultCropSize
DepthFormat DepthNear DepthFar DepthUnits DepthMeasureType
"""
MOSAIC_NAMES = """
DefaultScale BestQualityScale DefaultCropOrigin DefaultCropSize DefaultUserCrop MaskedAreas
BayerGreenSplit ChromaBlurRadius AntiAliasStrength OpcodeList1 OpcodeList2 OpcodeList3 ProfileGainTableMap
"""
MOSAIC_TAGS = _numbers(MOSAIC_NAMES)
"""What a DNG says about its mosaic that still holds after denoising; it stands in the directory of the mosaic."""

DNG_TAGS = MOSAIC_TAGS | _numbers(DNG_NAMES) | {Tag.ILLUMINANT_DATA_3}
"""What a DNG says about camera, colours and lens that still holds after denoising.

Not what tells of the stored mosaic, which is written anew (levels, linearization table, digests); nor previews; nor the
noise of the shot before denoising; nor the original raw file that some DNGs have inside; nor RawDataUniqueID, which
tells these photosites from others.
"""
