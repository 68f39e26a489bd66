"""Raw camera files: their headers, photosites, what they say about these, and LibRaw's development of a shot.

The only file that knows rawpy (LibRaw).
"""

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import astuple
from datetime import UTC
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rawpy

from burst_denoise.arrays import UInt16
from burst_denoise.errors import InputFileError
from burst_denoise.frame.frame import Frame, RawBorder
from burst_denoise.frame.mosaic import BAYER_PHASES, Mosaic
from burst_denoise.io.dng_header import Area, DngHeader, read_dng_header
from burst_denoise.io.limits import MAX_MEGAPIXELS, refuse_claim
from burst_denoise.io.metadata import UNKNOWN_CAMERA, Exif, Header, possible, read_exif
from burst_denoise.io.tags import D65, FieldType, Tag
from burst_denoise.schemas import DngTag, FrameInfo

__all__ = ["RAW_SUFFIXES", "develop", "read_raw", "read_raw_header"]

RAW_SUFFIXES = frozenset((
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".kdc", ".mef", ".mos",
    ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
))  # fmt: skip


LARGEST_DN = 65535

EXIF_ORIENTATION = {0: 1, 1: 2, 2: 4, 3: 3, 4: 5, 5: 8, 6: 6, 7: 7}
"""LibRaw's flip (1 mirror columns, 2 mirror rows, 4 transpose, added up) to Exif orientation."""


def read_raw(path: Path, *, max_megapixels: float = MAX_MEGAPIXELS) -> Frame:
    """Return the photosites of a raw file with a Bayer mosaic, as stored, and what the file says about them.

    Parameters
    ----------
    path : Path
        Any file that LibRaw reads: DNG, CR2, CR3, NEF, ARW, RAF, RW2, ORF, PEF, ...
    max_megapixels : float
        A file that claims more is refused before anything of that size is made.

    Returns
    -------
    Frame
        ``dn`` is the (H, W) uint16 active area, DN with the black level included; ``border`` the whole sensor array
        when that is larger, of which ``dn`` is then a view.

    Raises
    ------
    InputFileError
        If the file is missing, empty, truncated, too large or not a raw file, or its mosaic is not 2x2 Bayer.
    """
    with _decoded(path, max_megapixels) as (raw, dng):
        whole: UInt16 = raw.raw_image.copy()
        area = _active_area(raw, dng)
        dn = area.of(whole)
        if dn.shape != (area.height, area.width):
            raise InputFileError(f"{path}: says that it has {area.height} x {area.width} photosites, and "
                                 f"{dn.shape[0]} x {dn.shape[1]} are there; copy it from the camera again")  # fmt: skip
        info = _info(raw, dng, path)
        raised = None if dng is None else dng.black.raised(dn.shape)
        if raised is not None:
            dn[:] = np.minimum(dn.astype(np.uint32) + raised, LARGEST_DN)
        border = RawBorder(whole, area.top, area.left) if dn.shape != whole.shape else None
        note, reduction = ("", 0.0) if dng is None else (dng.note, dng.noise_reduction)
        return Frame(dn, info, path, border, note, reduction)


def read_raw_header(path: Path, *, max_megapixels: float = MAX_MEGAPIXELS) -> Header:
    """Return what a raw file says about its frame without decoding the photosites.

    Exif and DNG tags say it. Where those of another format than DNG leave something unsaid, the file is decoded after
    all, because rawpy tells what LibRaw knows only then.

    Raises
    ------
    InputFileError
        If the file is missing, empty, truncated, too large, not a raw file or of a kind that is not read here. That the
        mosaic of another format than DNG is not 2x2 Bayer, or its photosites are damaged, only decoding tells.
    """
    with _opened(path, max_megapixels) as (raw, dng):
        exif, area = read_exif(path), _active_area(raw, dng)
        header = Header(
            domain="bayer",
            camera=_camera(exif, () if dng is None else dng.tags),
            height=area.height,
            width=area.width,
            iso=exif.iso or None,
            exposure_s=exif.exposure_s or None,
            taken_at=exif.written_at if exif.taken_at is None else exif.taken_at,
        )
        if dng is None and None in astuple(header):
            _refuse_other_mosaics(raw, path)
            return Header.of(_info(raw, dng, path))
        return header


def develop(source: Path, mosaic_dn: UInt16) -> UInt16:
    """Return LibRaw's development of a shot with its photosites replaced.

    White balance and colours are the camera's, or those of daylight where the white balance is unknown; nothing is
    automatic, so that the noisy and the denoised shot come out alike. Demosaic: DHT, the most accurate of LibRaw's on
    clean mosaics.

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
    with _decoded(source, math.inf) as (raw, dng):  # it was read already
        stored = _active_area(raw, dng).of(raw.raw_image)
        if stored.shape != mosaic_dn.shape:
            raise ValueError(f"{source}: a mosaic of {mosaic_dn.shape} for an active area of {stored.shape}")
        raised = None if dng is None else dng.black.raised(stored.shape)
        stored[:] = mosaic_dn if raised is None else np.maximum(mosaic_dn, raised) - raised
        rgb = raw.postprocess(
            demosaic_algorithm=rawpy.DemosaicAlgorithm.DHT,
            # Without it LibRaw takes daylight; asked for one that is unknown, it balances to the mean of the picture.
            use_camera_wb=all(multiplier > 0 for multiplier in raw.camera_whitebalance[:3]),
            no_auto_bright=True,
            adjust_maximum_thr=0.0,  # else LibRaw takes the brightest photosite for white
            output_color=rawpy.ColorSpace.sRGB,
            gamma=(2.4, 12.92),
            output_bps=16,
        )
        return rgb.view(np.uint16)  # it is: rawpy's annotation forgets 16 bits


@contextlib.contextmanager
def _decoded(path: Path, max_megapixels: float) -> Iterator[tuple[rawpy.RawPy, DngHeader | None]]:
    """Open and decode a raw file with a Bayer mosaic; all that can be wrong with it is an `InputFileError`."""
    with _opened(path, max_megapixels) as (raw, dng):
        _refuse_other_mosaics(raw, path)
        yield raw, dng


@contextlib.contextmanager
def _opened(path: Path, max_megapixels: float) -> Iterator[tuple[rawpy.RawPy, DngHeader | None]]:
    """Open a raw file without decoding it, and name what is wrong with it, then or later, as an `InputFileError`."""
    if path.suffix.lower() == ".gpr" and path.is_file():
        raise InputFileError(f"{path}: GoPro GPR is not read here; convert it to DNG (gpr_tools, Adobe DNG Converter)")
    dng = read_dng_header(path, max_megapixels)
    if dng is not None and dng.unread is not None:
        raise InputFileError(f"{path}: {dng.unread}")
    try:
        with rawpy.imread(str(path)) as raw:
            refuse_claim(path, raw.sizes.raw_height, raw.sizes.raw_width, max_megapixels)
            refuse_claim(path, raw.sizes.height, raw.sizes.width, max_megapixels)
            yield raw, dng
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
    elif pattern.shape == (1, 1):
        found = "no colours, being from a monochrome sensor"
    elif pattern.shape != (2, 2):
        found = f"a mosaic of {pattern.shape[0]} x {pattern.shape[1]} photosites, as X-Trans sensors have"
    elif _colours(raw, pattern) not in BAYER_PHASES:
        found = f"a mosaic of the colours {_colours(raw, pattern)}"
    else:
        return
    raise InputFileError(f"{path}: has {found}; only Bayer mosaics (2 x 2, red, green, blue) are supported")


def _active_area(raw: rawpy.RawPy, dng: DngHeader | None) -> Area:
    """Return where the photosites of a shot lie: as a DNG says, else as LibRaw knows.

    Not as LibRaw has it of a DNG: its own active area begins at an even row and column.
    """
    sizes = raw.sizes
    if dng is not None:
        return dng.area or Area(0, 0, sizes.raw_height, sizes.raw_width)
    return Area(sizes.top_margin, sizes.left_margin, sizes.height, sizes.width)


def _info(raw: rawpy.RawPy, dng: DngHeader | None, path: Path) -> FrameInfo:
    other, exif = raw.other, read_exif(path)
    area = _active_area(raw, dng)
    # LibRaw's pattern and black levels are counted from its own active area.
    pattern = np.roll(
        np.asarray(raw.raw_pattern), (raw.sizes.top_margin - area.top, raw.sizes.left_margin - area.left), (0, 1)
    )
    if dng is None:
        tags = exif.tags + _lens_by_libraw(raw, exif) + _dng_tags_by_libraw(raw)
        black = np.array(raw.black_level_per_channel, float)[pattern]
    else:
        tags = exif.tags + dng.tags
        black = dng.black.per_place()
    if not 0 <= black.min() <= black.max() < raw.white_level:
        raise InputFileError(f"{path}: its black level, {black.max():g} DN, is not between 0 and its white level, "
                             f"{raw.white_level:g}; it is damaged, or was written so by mistake")  # fmt: skip
    cfa = _colours(raw, pattern)
    # Exif first: LibRaw has these in single precision, makes 1 second of an unknown 0/1000000, and ISO ends at 65535.
    exposure_s = possible(other.shutter_speed) if exif.exposure_s is None else exif.exposure_s
    f_number = possible(other.aperture) if exif.f_number is None else exif.f_number
    iso = possible(other.iso_speed) if exif.iso is None else exif.iso
    dated = other.timestamp.replace(tzinfo=UTC).timestamp() if other.timestamp.year > 1970 else None
    profile = None if dng is None else dng.noise_profile
    return FrameInfo(
        domain="bayer",
        camera=_camera(exif, tags),
        cfa=cfa,
        height=area.height,
        width=area.width,
        black_level=tuple(Mosaic("bayer", cfa).pack(black)[:, 0, 0].tolist()),
        white_level=raw.white_level,
        iso=iso or None,
        exposure_s=exposure_s or None,
        f_number=f_number or None,
        taken_at=exif.taken_at if exif.taken_at is not None else dated,
        orientation=EXIF_ORIENTATION.get(raw.sizes.flip, 1),
        as_shot_neutral=_neutral(raw, dng),
        dng_tags=tags,
        noise_profile=profile and profile.model_copy(update={"iso": iso or None}),
    )


def _camera(exif: Exif, tags: Iterable[DngTag]) -> str | None:
    """Return the camera as Exif names it, or else by the UniqueCameraModel of a DNG."""
    unique = next((tag.value for tag in tags if tag.code == Tag.UNIQUE_CAMERA_MODEL), UNKNOWN_CAMERA)
    return exif.camera or (unique if isinstance(unique, str) and unique != UNKNOWN_CAMERA else None)


def _colours(raw: rawpy.RawPy, pattern: npt.NDArray[np.uint8]) -> str:
    """Return the colours of a pattern of LibRaw's colour numbers, row by row."""
    return "".join(chr(raw.color_desc[colour]) for colour in np.ravel(pattern))


def _neutral(raw: rawpy.RawPy, dng: DngHeader | None) -> tuple[float, float, float] | None:
    """Return the R, G, B of a neutral patch, green 1, from AsShotNeutral or else from LibRaw's multipliers."""
    if dng is None:
        multipliers = raw.camera_whitebalance[:3]
        known = all(multiplier > 0 for multiplier in multipliers)
        red, green, blue = (1 / multiplier for multiplier in multipliers) if known else (0, 0, 0)
    else:
        neutral = next((tag.numbers for tag in dng.tags if tag.code == Tag.AS_SHOT_NEUTRAL), ())
        known = len(neutral) == 3 and min(neutral) > 0
        red, green, blue = neutral if known else (0, 0, 0)
    return (red / green, 1.0, blue / green) if known else None


def _lens_by_libraw(raw: rawpy.RawPy, exif: Exif) -> tuple[DngTag, ...]:
    """Return the lens that LibRaw found in maker notes, where Exif names none."""
    name = raw.lens.model.strip() if raw.lens is not None and raw.lens.model else ""
    if not name or any(tag.code == Tag.LENS_MODEL for tag in exif.lens):
        return ()
    return (DngTag(directory="exif", code=Tag.LENS_MODEL, dtype=FieldType.ASCII, count=len(name) + 1, value=name),)


def _dng_tags_by_libraw(raw: rawpy.RawPy) -> tuple[DngTag, ...]:
    """Return what a DNG made from a CR2, NEF, ... needs: LibRaw's colour matrix, the camera's crop.

    Where the white balance is unknown, that of daylight goes with the matrix, as LibRaw and dcraw have it.
    """
    tags = []
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
        if _neutral(raw, None) is None:
            red, green, blue, _ = raw.daylight_whitebalance
            neutral = tuple(number for each in (red, green, blue) for number in (round(1e6 * green / each), 1_000_000))
            tags.append(DngTag(code=Tag.AS_SHOT_NEUTRAL, dtype=FieldType.RATIONAL, count=3, value=neutral))
    return tuple(tags)
