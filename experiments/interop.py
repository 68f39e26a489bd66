"""What other programs make of our DNGs: each source and its denoised DNG, developed by four of them and compared.

    python -m experiments.interop [FOLDER ...]

Sources are the raw files of the test data, or of the folders named, and one synthetic DNG for each family of tags. Each
goes through the job that the command line calls twice, at strength 0, which leaves every photosite as it is, and
denoised. Source and results are developed alike by LibRaw, dcraw, darktable-cli and rawtherapee-cli, as far as these
are on the PATH. For each: is the result as large as the source, how much do the means of its colours differ, at
strength 0 / denoised, and how far has the denoised one moved (phase correlation). The DNG SDK (dngpy) and exiftool say
what they do not like in the denoised one and liked in the source. Prints a Markdown table; what is beyond the limits is
bold. Ends with 1 where a result of strength 0 is.

LibRaw and dcraw develop to linear light. Through the tone curves of the other two, and where black is clipped, noise
changes a mean, and so does its absence: the synthetic sources have little of it, pictures of stars little else.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rawpy
import tifffile
from scipy.ndimage import gaussian_filter
from skimage.registration import phase_cross_correlation

from burst_denoise.errors import BurstDenoiseError
from burst_denoise.inference.denoiser import DenoiseSettings
from burst_denoise.io.tags import FieldType
from burst_denoise.jobs.denoise import denoise_session
from burst_denoise.session.denoisers import Denoisers
from experiments.data_folder import DATA

MOST_COLOUR, MOST_SHIFT_PX = 0.005, 0.05
"""What a result may differ from its source."""
Picture = npt.NDArray[np.float64]

MATRIX = (7034, -804, -1014, -4420, 12564, 2058, -851, 1994, 5758)
"""XYZ to camera, times 10000: much as Canon's."""
BLACK, WHITE = 1024, 15000
SHAPE = (480, 640)


def synthetic_mosaic(shape: tuple[int, int] = SHAPE, cfa: str = "RGGB", seed: int = 0) -> npt.NDArray[np.uint16]:
    """Return the DN of a scene of soft blobs and edges with a little noise, neutral (0.55, 1, 0.7)."""
    rng = np.random.default_rng(seed)
    height, width = shape
    grey = 0.1 + 0.35 * np.arange(width) / width + 0.1 * np.arange(height)[:, None] / height
    grey += 0.6 * gaussian_filter(rng.standard_normal(shape), 12) + 0.05 * (gaussian_filter(rng.random(shape), 3) > 0.5)
    grey = np.clip(grey, 0.03, 0.6)
    levels = {"R": 0.55, "G": 1.0, "B": 0.7}
    gains = np.array([levels[colour] for colour in cfa]).reshape(2, 2)
    signal = grey * np.tile(gains, (-(-height // 2), -(-width // 2)))[:height, :width] * (WHITE - BLACK)
    return np.rint(rng.normal(signal, np.sqrt(0.2 * signal + 4))).astype(np.uint16)


def rationals(*values: float) -> tuple[int, ...]:
    """Return numbers as a TIFF holds them: numerator, denominator, ..."""
    return tuple(number for value in values for number in (round(value * 10000), 10000))


def write_source(
    path: Path, mosaic: npt.NDArray[np.uint16], *tags: tuple, without: Sequence[int] = (), **layout
) -> None:
    """Write a DNG with tifffile alone; ``tags`` replace those of the same number, ``without`` are left out."""
    known = [
        (254, 4, 1, 0, True), (271, 2, 0, "Testmaker", True), (272, 2, 0, "Testcam", True), (274, 3, 1, 1, True),
        (33421, 3, 2, (2, 2), True), (33422, 1, 4, bytes((0, 1, 1, 2)), True),
        (33434, 5, 1, (1, 60), True), (33437, 5, 1, (28, 10), True), (34855, 3, 1, 800, True),
        (50706, 1, 4, bytes((1, 4, 0, 0)), True), (50708, 2, 0, "Testmaker Testcam", True),
        (50714, 5, 1, (BLACK, 1), True), (50717, 4, 1, WHITE, True),
        (50721, 10, 9, rationals(*(entry / 10000 for entry in MATRIX)), True),
        (50728, 5, 3, rationals(0.55, 1, 0.7), True),
        (50778, 3, 1, 21, True),
    ]  # fmt: skip
    chosen = {tag[0]: tag for tag in (*known, *tags) if tag[0] not in without}
    tifffile.imwrite(
        path, mosaic, photometric=32803, metadata=None, extratags=[chosen[code] for code in sorted(chosen)], **layout
    )


def families(folder: Path) -> Iterator[tuple[str, Path]]:
    """Write one synthetic DNG for each family of tags and give its name."""
    height, width = SHAPE
    plain = synthetic_mosaic() + BLACK
    signed, unsigned = int(FieldType.SRATIONAL), int(FieldType.RATIONAL)

    def made(name: str, mosaic: npt.NDArray[np.uint16], *tags: tuple, **layout) -> tuple[str, Path]:
        path = folder / f"{name.replace(' ', '_')}.dng"
        write_source(path, mosaic, *tags, **layout)
        return name, path

    for cfa in ("RGGB", "GRBG", "GBRG", "BGGR"):
        pattern = bytes("RGB".index(colour) for colour in cfa)
        yield made(f"CFA {cfa}", synthetic_mosaic(cfa=cfa) + BLACK, (33422, 1, 4, pattern, True))
    whole = np.full((height + 9, width + 11), BLACK, np.uint16)
    whole[3 : 3 + height, 5 : 5 + width] = plain
    area, crop = (50829, 4, 4, (3, 5, 3 + height, 5 + width), True), (4, 4)
    crops = [(50719, 4, 2, crop, True), (50720, 4, 2, (width - 8, height - 8), True)]
    yield made("odd ActiveArea and crop", whole, area, *crops)
    four = (BLACK, BLACK + 6, BLACK + 14, BLACK + 20)
    levels = np.tile(np.array(four).reshape(2, 2), (height // 2, width // 2)).astype(np.uint16)
    dims = (50713, 3, 2, (2, 2), True)
    yield made("four black levels", synthetic_mosaic() + levels, dims, (50714, unsigned, 4, rationals(*four), True))
    columns = np.tile([0, 24], width // 2)
    tag = (50715, signed, width, rationals(*columns), True)
    yield made("BlackLevelDeltaH", plain + columns.astype(np.uint16), tag)
    yield made("BlackLevelDeltaV", plain + np.uint16(24), (50716, signed, height, rationals(*[24] * height), True))
    table = np.clip(np.arange(4096) * 4, 0, WHITE).astype(np.uint16)
    yield made("LinearizationTable", plain // 4, (50712, 3, 4096, tuple(table.tolist()), True))
    yield made("no white balance", plain, without=[50728])
    white = (50729, unsigned, 2, rationals(0.3457, 0.3585), True)
    yield made("AsShotWhiteXY", plain, white, without=[50728])
    second = (50722, signed, 9, rationals(*(entry / 11000 for entry in MATRIX)), True)
    yield made("two illuminants", plain, (50778, 3, 1, 17, True), (50779, 3, 1, 21, True), second)
    yield made("AnalogBalance, baseline exposure", plain, (50727, unsigned, 3, rationals(1, 1, 1), True),
               (50730, signed, 1, rationals(0.5), True))  # fmt: skip
    for orientation in range(2, 9):
        yield made(f"orientation {orientation}", plain, (274, 3, 1, orientation, True))
    yield made("lossless JPEG", plain, tile=(256, 256), compression="jpeg",
               compressionargs={"lossless": True, "predictor": 1, "bitspersample": 16})  # fmt: skip
    yield made("big-endian", plain, byteorder=">")
    yield made("odd size", synthetic_mosaic((479, 637)) + BLACK)
    yield made(
        "lens corrections", plain, (50707, 1, 4, bytes((1, 3, 0, 0)), True), (51022, 7, len(VIGNETTE), VIGNETTE, True)
    )


VIGNETTE = np.array([1, 3, 0x01030000, 0, 56], ">u4").tobytes() + np.array([0.1, 0, 0, 0, 0, 0.5, 0.5], ">f8").tobytes()
"""OpcodeList3 with FixVignetteRadial."""


def by_libraw(path: Path, folder: Path) -> Picture:  # noqa: ARG001
    """Develop as LibRaw does, linear."""
    with rawpy.imread(str(path)) as raw:
        known = all(multiplier > 0 for multiplier in raw.camera_whitebalance[:3])
        picture = raw.postprocess(use_camera_wb=known, no_auto_bright=True, adjust_maximum_thr=0.0, gamma=(1, 1),
                                  output_bps=16)  # fmt: skip
    return picture.view(np.uint16).astype(float)


def by_dcraw(path: Path, folder: Path) -> Picture:
    """Develop as dcraw does, linear."""
    with rawpy.imread(str(path)) as raw:
        known = all(multiplier > 0 for multiplier in raw.camera_whitebalance[:3])
    file = folder / "dcraw.tif"
    command = ["dcraw", *(["-w"] if known else []), "-W", "-4", "-T", "-c", path]
    file.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    return tifffile.imread(file).astype(float)


def by_darktable(path: Path, folder: Path) -> Picture:
    """Develop as darktable does, with its default modules."""
    file = folder / "darktable.tif"
    file.unlink(missing_ok=True)
    own = ["--core", "--configdir", folder / "darktable", "--library", ":memory:"]
    own += ["--conf", "plugins/imageio/format/tiff/bpp=16"]
    _run(["darktable-cli", path, file, "--apply-custom-presets", "false", *own])
    return tifffile.imread(file).astype(float)


def by_rawtherapee(path: Path, folder: Path) -> Picture:
    """Develop as RawTherapee does, with its neutral profile."""
    file = folder / "rawtherapee.tif"
    _run(["rawtherapee-cli", "-Y", "-q", "-t", "-b16", "-o", file, "-c", path])
    return tifffile.imread(file).astype(float)


def _run(command: Sequence[object]) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()[-300:]}")


DEVELOPERS: dict[str, Callable[[Path, Path], Picture]] = {
    "LibRaw": by_libraw,
    "dcraw": by_dcraw,
    "darktable-cli": by_darktable,
    "rawtherapee-cli": by_rawtherapee,
}


@dataclass(frozen=True)
class Comparison:
    """A result beside its source, developed by one program."""

    colour: float
    """Largest relative difference of the means of red, green and blue; infinite where the size differs."""
    shift_px: float

    @property
    def holds(self) -> bool:
        """Whether the result may pass for its source."""
        return self.colour <= MOST_COLOUR and self.shift_px <= MOST_SHIFT_PX


def compared(source: Picture, result: Picture) -> Comparison:
    """Return how a developed result differs from its developed source."""
    if source.shape != result.shape:
        return Comparison(np.inf, np.inf)
    means = source.reshape(-1, 3).mean(0), result.reshape(-1, 3).mean(0)
    shift, *_ = phase_cross_correlation(source[..., 1], result[..., 1], upsample_factor=100)
    return Comparison(float(np.abs(means[1] / means[0] - 1).max()), float(np.abs(shift).max()))


def in_words(same: Comparison, denoised: Comparison) -> str:
    """Return the cell of two comparisons."""
    if np.isinf(same.colour):
        return "**other size**"
    text = f"{100 * same.colour:.2f} / {100 * denoised.colour:.2f} %, {denoised.shift_px:.2f} px"
    return text if same.holds and denoised.holds else f"**{text}**"


def sdk_warnings(path: Path) -> set[str] | None:
    """Return what Adobe's DNG SDK does not like in a DNG; None where it does not read it."""
    code = "import sys, dngpy; dngpy.Dng(sys.argv[1]).raw_pixels"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    lines = (done.stdout + done.stderr).splitlines()
    return {line.strip("* ") for line in lines if line.strip()}


def exiftool_warnings(path: Path) -> set[str]:
    """Return what exiftool does not like in a file."""
    command = ["exiftool", "-validate", "-warning", "-error", "-a", "-s3", path]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return set(said[1:]) if said[0] != "OK" else set()


def row(name: str, source: Path, folder: Path, programs: Sequence[str]) -> tuple[list[str], bool]:
    """Return the cells of a table's row, and whether a result with unchanged photosites passes for its source."""
    results = [folder / f"result_{strength}" / f"{source.stem}.dng" for strength in (0, 1)]
    try:
        for strength, result in enumerate(results):
            result.parent.mkdir(exist_ok=True)
            result.unlink(missing_ok=True)
            denoise_session([source], result, Denoisers(settings=DenoiseSettings(strength=strength)))
    except BurstDenoiseError as error:
        return [name, f"refused: {str(error).partition(': ')[2]}", *[""] * (len(programs) + 1)], True
    cells, holds = [name], True
    for program in programs:
        try:
            before = DEVELOPERS[program](source, folder)
        except (RuntimeError, subprocess.CalledProcessError):
            cells.append("does not read the source")
            continue
        try:
            same, denoised = (compared(before, DEVELOPERS[program](result, folder)) for result in results)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            cells.append(f"**does not read the result: {error}**")
            holds = False
            continue
        cells.append(in_words(same, denoised))
        holds &= same.holds
    is_dng = source.suffix.lower() == ".dng"
    for warnings in (sdk_warnings, exiftool_warnings):
        if is_dng and (known := warnings(source)) is None:
            cells.append("does not read the source")
            continue
        new = (warnings(results[1]) or set()) - (known if is_dng else set())
        cells.append("; ".join(sorted(new)) or "none")
        holds &= not new
    return cells, holds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*", default=[*DATA.glob("raw_single"), *DATA.glob("seestar/*")])
    options = parser.parse_args()
    programs = [name for name in DEVELOPERS if name == "LibRaw" or shutil.which(name)]
    if shutil.which("exiftool") is None or find_spec("dngpy") is None:
        sys.exit("error: DNGs are validated by exiftool and by the package dngpy (Adobe's DNG SDK); install both")
    missing = [name for name in DEVELOPERS if name not in programs]
    if missing:
        print(f"not on the PATH, left out: {', '.join(missing)}", file=sys.stderr)
    failed = []
    print("| source | " + " | ".join(programs) + " | new warnings of the DNG SDK | of exiftool |")
    print("|---" * (len(programs) + 3) + "|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sources").mkdir()
        real = [(path.name, path) for root in options.folders for path in sorted(root.iterdir()) if path.is_file()]
        for title, source in (*real, *families(folder / "sources")):
            cells, holds = row(title, source, folder, programs)
            print("| " + " | ".join(cells) + " |", flush=True)
            if not holds:
                failed.append(title)
    sys.exit(f"other than their source, or with new warnings: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
