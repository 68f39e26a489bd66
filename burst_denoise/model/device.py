"""Where a network runs, and in which precision."""

from typing import Literal, get_args

import torch

from burst_denoise.errors import DeviceError

__all__ = ["DeviceName", "autocast", "choose_device", "compute_dtype"]

DeviceName = Literal["auto", "cpu", "cuda", "mps"]


def choose_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` takes cuda, then mps, then cpu.

    Raises
    ------
    DeviceError
        If there is no such device here.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(device for device in ("cuda", "mps", "cpu") if there[device])
    if name not in there:
        raise DeviceError(f"device {name!r} is unknown; choose one of {', '.join(get_args(DeviceName))}")
    if not there[name]:
        found = ", ".join(device for device, present in there.items() if present)
        raise DeviceError(f"device {name!r} is not available here (found: {found}); choose another --device")
    return torch.device(name)


def compute_dtype(device: torch.device) -> torch.dtype:
    """Return the precision convolutions run in: bfloat16 where the hardware multiplies in it, else float32.

    The frequency split and the residual stay in float32 on every device.
    """
    if device.type == "cpu":
        capable = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        capable = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if capable else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Return the context in which convolutions run in a precision from `compute_dtype`; float32 leaves all as it is."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
