"""Padding by reflection: how networks that halve their input take pictures of any size."""

from torch import Tensor
from torch.nn import functional

__all__ = ["padded"]


def padded(pictures: Tensor, multiple: int) -> Tensor:
    """Return pictures (B, C, H, W) reflected at the bottom and the right, so that a number divides both sides.

    Pictures are reflected as often as it takes.

    Raises
    ------
    ValueError
        If a side is a single pixel, which nothing can be reflected at.
    """
    height, width = pictures.shape[-2:]
    if min(height, width) < 2:
        raise ValueError(f"pictures of {height}x{width} are too small to be reflected")
    rows, columns = -height % multiple, -width % multiple
    if not rows and not columns:
        return pictures
    border = (0, min(columns, width - 1), 0, min(rows, height - 1))
    return padded(functional.pad(pictures, border, mode="reflect"), multiple)
