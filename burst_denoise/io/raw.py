"""Raw camera files: their headers, photosites, what they say about these, and LibRaw's development of a shot.

The only file that knows rawpy (LibRaw).
"""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import astuple
from datetime import UTC
from pathlib import Path

import numpy as np
import rawpy

from burst_denoise.arrays import UInt16
from burst_denoise.errors import InputFileError
from burst_denoise.frame.frame import Frame, RawBorder
from burst_denoise.frame.mosaic import BAYER_PHASES, Mosaic
from burst_denoise.io.metadata import (
    UNKNOWN_CAMERA,
    DngMetadata,
    Exif,
    Header,
    read_dng_metadata,
    read_exif,
    refuse_incomplete,
)
from burst_denoise.io.tags import D65, PLACED_TAGS, FieldType, Tag
from burst_denoise.schemas import DngTag, FrameInfo

__all__ = ["RAW_SUFFIXES", "develop", "read_raw", "read_raw_header"]

RAW_SUFFIXES = frozenset((
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos", ".mrw",
    ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
))  # fmt: skip


EXIF_ORIENTATION = {0: 1, 1: 2, 2: 4, 3: 3, 4: 5, 5: 8, 6: 6, 7: 7}
"""LibRaw's flip (1 mirror columns, 2 mirror rows, 4 transpose, added up) to Exif orientation."""


def read_raw(path: Path) -> Frame:
    """Return the photosites of a raw file with a Bayer mosaic, as stored, and what the file says about them.

    Parameters
    ----------
    path : Path
        Any file that LibRaw reads: DNG, CR2, CR3, NEF, ARW, RAF, RW2, ORF, PEF, ...

    Returns
    -------
    Frame
        ``dn`` is the (H, W) uint16 active area, DN with the black level included; ``border`` the whole sensor array
        when that is larger, of which ``dn`` is then a view.

    Raises
    ------
    InputFileError
        If the file is missing, empty, truncated or not a raw file, or its mosaic is not 2x2 Bayer.
    """
    with _decoded(path) as raw:
        sizes = raw.sizes
        whole: UInt16 = raw.raw_image.copy()
        top, left = sizes.top_margin, sizes.left_margin
        dn = whole[top : top + sizes.height, left : left + sizes.width]
        border = RawBorder(whole, top, left) if dn.shape != whole.shape else None
        return Frame(dn, _info(raw, path), path, border)


def read_raw_header(path: Path) -> Header:
    """Return what a raw file says about its frame without decoding the photosites.

    Exif and DNG tags say it. Where those of another format than DNG leave something unsaid, the file is decoded after
    all, because rawpy tells what LibRaw knows only then: RAF, CR3, CRW and some others, whose containers exifread does
    not read. Until they are read here, such a file is decoded twice: now, and by `read_raw`.

    Raises
    ------
    InputFileError
        If the file is missing, empty, truncated or not a raw file. That its mosaic is not 2x2 Bayer, or its photosites
        are damaged, only decoding tells.
    """
    with _opened(path) as raw:
        exif, dng, sizes = read_exif(path), read_dng_metadata(path), raw.sizes
        header = Header(
            domain="bayer",
            camera=_camera(exif, () if dng is None else dng.tags),
            height=sizes.height,
            width=sizes.width,
            iso=exif.iso or None,
            exposure_s=exif.exposure_s or None,
            taken_at=exif.written_at if exif.taken_at is None else exif.taken_at,
        )
        if dng is None and None in astuple(header):
            _refuse_other_mosaics(raw, path)
            return Header.of(_info(raw, path))
        return header


def develop(source: Path, mosaic_dn: UInt16) -> UInt16:
    """Return LibRaw's development of a shot with its photosites replaced.

    White balance and colours are the camera's; no automatic brightness of any kind, so that the noisy and the
    denoised shot come out equally bright. Demosaic: DHT, the most accurate of LibRaw's on clean mosaics.

    Parameters
    ----------
    source : Path
        A raw file that `read_raw` reads.
    mosaic_dn : (H, W) uint16 array, DN
        Its active area.

    Returns
    -------
    (h, w, 3) uint16 array
        sRGB, full range, upright.

    Raises
    ------
    InputFileError
        As `read_raw`.
    ValueError
        If the shapes differ.
    """
    with _decoded(source) as raw:
        visible = raw.raw_image_visible
        if visible.shape != mosaic_dn.shape:
            raise ValueError(f"{source}: a mosaic of {mosaic_dn.shape} for an active area of {visible.shape}")
        visible[:] = mosaic_dn
        rgb = raw.postprocess(
            demosaic_algorithm=rawpy.DemosaicAlgorithm.DHT,
            use_camera_wb=True,
            no_auto_bright=True,
            adjust_maximum_thr=0.0,  # else LibRaw takes the brightest photosite for white
            output_color=rawpy.ColorSpace.sRGB,
            gamma=(2.4, 12.92),
            output_bps=16,
        )
        return rgb.view(np.uint16)  # it is: rawpy's annotation forgets 16 bits


@contextlib.contextmanager
def _decoded(path: Path) -> Iterator[rawpy.RawPy]:
    """Open and decode a raw file with a Bayer mosaic; all that can be wrong with it is an `InputFileError`."""
    with _opened(path) as raw:
        _refuse_other_mosaics(raw, path)
        yield raw


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[rawpy.RawPy]:
    """Open a raw file without decoding it, and name what is wrong with it, then or later, as an `InputFileError`."""
    refuse_incomplete(path)
    try:
        with rawpy.imread(str(path)) as raw:
            yield raw
    except rawpy.LibRawFileUnsupportedError as error:
        version = ".".join(str(part) for part in rawpy.libraw_version)
        raise InputFileError(f"{path}: is not a raw file, or of a camera that LibRaw {version} does not know; "
                             "convert it to DNG") from error  # fmt: skip
    except rawpy.LibRawError as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise InputFileError(f"{path}: cannot be decoded ({reason}), it is damaged, truncated or not a raw file; "
                             "copy it from the camera again") from error  # fmt: skip


def _refuse_other_mosaics(raw: rawpy.RawPy, path: Path) -> None:
    pattern = raw.raw_pattern
    if raw.raw_type != rawpy.RawType.Flat or pattern is None:
        found = "no colour mosaic"
    elif pattern.shape != (2, 2):
        found = f"a mosaic of {pattern.shape[0]} x {pattern.shape[1]} photosites, as X-Trans sensors have"
    elif _cfa(raw) not in BAYER_PHASES:
        found = f"a mosaic of the colours {_cfa(raw)}"
    else:
        return
    raise InputFileError(f"{path}: has {found}; only Bayer mosaics (2 x 2, red, green, blue) are supported")


def _info(raw: rawpy.RawPy, path: Path) -> FrameInfo:
    sizes, other, exif = raw.sizes, raw.other, read_exif(path)
    dng = read_dng_metadata(path) or _metadata_of_other_formats(raw, exif)
    tags = exif.lens + dng.tags
    values = {tag.code: tag.value for tag in tags}
    # LibRaw's black levels start at the ActiveArea of a DNG; its own active area starts at an even row and column.
    rows, columns = sizes.top_margin - dng.top, sizes.left_margin - dng.left
    if rows or columns:
        tags = tuple(tag for tag in tags if tag.code not in PLACED_TAGS)
    # Exif first: LibRaw has these in single precision, and makes 1 second of an unknown 0/1000000.
    exposure_s = other.shutter_speed if exif.exposure_s is None else exif.exposure_s
    f_number = other.aperture if exif.f_number is None else exif.f_number
    iso = other.iso_speed or exif.iso or None
    dated = other.timestamp.replace(tzinfo=UTC).timestamp() if other.timestamp.year > 1970 else None
    return FrameInfo(
        domain="bayer",
        camera=_camera(exif, tags),
        cfa=_cfa(raw),
        height=sizes.height,
        width=sizes.width,
        black_level=_black_level(raw, rows, columns),
        white_level=raw.white_level,
        iso=iso,
        exposure_s=exposure_s or None,
        f_number=f_number or None,
        taken_at=exif.taken_at if exif.taken_at is not None else dated,
        orientation=EXIF_ORIENTATION.get(sizes.flip, 1),
        as_shot_neutral=_neutral(values.get(Tag.AS_SHOT_NEUTRAL), raw.camera_whitebalance),
        dng_tags=tags,
        noise_profile=dng.noise_profile and dng.noise_profile.model_copy(update={"iso": iso}),
    )


def _camera(exif: Exif, tags: Iterable[DngTag]) -> str | None:
    """Return the camera as Exif names it, or else by the UniqueCameraModel of a DNG."""
    unique = next((tag.value for tag in tags if tag.code == Tag.UNIQUE_CAMERA_MODEL), UNKNOWN_CAMERA)
    return exif.camera or (unique if isinstance(unique, str) and unique != UNKNOWN_CAMERA else None)


def _cfa(raw: rawpy.RawPy) -> str:
    """Return the colours of the top left 2x2 photosites of LibRaw's active area, row by row."""
    return "".join(chr(raw.color_desc[colour]) for colour in np.asarray(raw.raw_pattern).ravel())


def _black_level(raw: rawpy.RawPy, rows: int, columns: int) -> tuple[float, ...]:
    """Return the black levels of R, G1 (in rows of red), G2, B.

    LibRaw keeps them by colour, two greens apart, assigned as if its active area began where that of the file does:
    ``rows`` and ``columns`` lie between the two.
    """
    by_place = np.array(raw.black_level_per_channel, float)[raw.raw_pattern]
    by_place = np.roll(by_place, (-rows, -columns), axis=(0, 1))
    planes = Mosaic("bayer", _cfa(raw)).pack(by_place)
    return tuple(planes[:, 0, 0].tolist())


def _neutral(tag: object, multipliers: list[float]) -> tuple[float, float, float] | None:
    """Return the R, G, B of a neutral patch, green 1, from AsShotNeutral or else from LibRaw's multipliers."""
    if isinstance(tag, tuple) and len(tag) == 6 and all(tag):
        red, green, blue = (float(tag[2 * index]) / float(tag[2 * index + 1]) for index in range(3))
    elif all(multiplier > 0 for multiplier in multipliers[:3]):
        red, green, blue = (1 / multiplier for multiplier in multipliers[:3])
    else:
        return None
    return red / green, 1.0, blue / green


def _metadata_of_other_formats(raw: rawpy.RawPy, exif: Exif) -> DngMetadata:
    """Return what a DNG made from a CR2, NEF, ... needs: camera name, LibRaw's colour matrix, the camera's crop."""
    tags = [DngTag(code=tag, dtype=FieldType.ASCII, count=len(text) + 1, value=text)
            for tag, text in ((Tag.MAKE, exif.make), (Tag.MODEL, exif.model)) if text is not None]  # fmt: skip
    sizes = raw.sizes
    top, left = sizes.crop_top_margin - sizes.top_margin, sizes.crop_left_margin - sizes.left_margin
    height, width = sizes.crop_height, sizes.crop_width
    if height > 0 and width > 0 and 0 <= top <= sizes.height - height and 0 <= left <= sizes.width - width:
        tags += [DngTag(code=Tag.DEFAULT_CROP_ORIGIN, dtype=FieldType.LONG, count=2, value=(left, top)),
                 DngTag(code=Tag.DEFAULT_CROP_SIZE, dtype=FieldType.LONG, count=2, value=(width, height))]  # fmt: skip
    matrix = raw.rgb_xyz_matrix[:3]
    if matrix.any():  # LibRaw's table holds the camera
        entries = tuple(number for entry in matrix.ravel() for number in (round(float(entry) * 10000), 10000))
        tags += [DngTag(code=Tag.COLOR_MATRIX_1, dtype=FieldType.SRATIONAL, count=9, value=entries),
                 DngTag(code=Tag.CALIBRATION_ILLUMINANT_1, dtype=FieldType.SHORT, count=1, value=(D65,))]  # fmt: skip
    return DngMetadata(tuple(tags), sizes.top_margin, sizes.left_margin)
