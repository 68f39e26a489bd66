"""`BenchmarkRow`: the scores of one method on one burst."""

from burst_denoise.schemas import Document

__all__ = ["BenchmarkRow"]


class BenchmarkRow(Document):
    """The scores of one method on one burst."""

    method: str
    burst: str
    iso: float | None
    corrected_psnr_db: float | None
    """Leave-one-out-corrected PSNR in linear light, peak at the white level; null where the error is too small for this
    burst to measure. It takes the fixed pattern of the sensor for scene."""
    corrected_psnr_db_interval: tuple[float | None, float | None]
    """Its 95 % interval; an end is null where it is out of reach of this burst."""
    upsnr_db: float | None
    """The same error measured with three frames besides the scored one (uPSNR), for comparison; null without them."""
    true_psnr_db: float | None
    """PSNR against the clean reference, brought to the brightness of the burst; null without one."""
    fixed_pattern_psnr_db: float | None
    """PSNR that the burst's fixed pattern alone would leave against the clean reference, the same for all methods: by
    this error the two scores above may differ. Null without a clean reference."""
    stabilised_psnr_db: float | None
    """As the corrected PSNR, but every photosite counts in units of its own noise: 0 dB is the noise of one frame, so
    shadows count as much as highlights."""
    stabilised_psnr_db_interval: tuple[float | None, float | None]
    over_nlm_db: float | None
    """Corrected PSNR minus that of the row ``nlm-stabilised`` on the same frames and photosites (paired)."""
    over_nlm_db_interval: tuple[float, float] | None
    worth_frames: float | None
    """How many averaged frames leave the same error as one frame through this method."""
    worth_frames_interval: tuple[float, float] | None
    ssim: float | None
    """Structural similarity of the brightness of a developed rendering (half size, white balance, sRGB curve) with that
    of the clean reference, or else of the mean of the other frames; null for pictures too small for its window."""
    ssim_reference_psnr_db: float | None
    """PSNR of that reference itself: the noise it still holds. Null for a clean one."""
    residual_correlation: float
    """Largest correlation of what was taken away between neighbouring photosites of a colour, beyond the noise's own; 0
    for a method that takes away nothing but noise."""
    signal_leak: float
    """Share of the local structure of the scene that was taken away with the noise: 0 none, 1 all."""
    seconds_per_megapixel: float
    """Median over the scored frames; megapixels of the image, photosites for a mosaic."""
    peak_memory_mb: float
    """Highest resident memory of the whole process while the method ran, million bytes."""
    strength: float | None
    """Strength of a baseline, in noise standard deviations; null for what has none."""
    seed: int
    """Chose the frames."""
    frames: tuple[int, ...]
    """Numbers of the scored frames in the burst, from 0."""
    versions: dict[str, str]
