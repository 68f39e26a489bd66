"""Devices are taken by name; one that is not there is refused with what is."""

import pytest
import torch

from burst_denoise.errors import DeviceError
from burst_denoise.model.device import autocast, choose_device, compute_dtype


def test_cpu_is_always_there_and_auto_finds_something():
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in {"cpu", "cuda", "mps"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there_is_refused_with_what_is():
    with pytest.raises(DeviceError, match=r"device 'cuda' is not available here \(found: cpu"):
        choose_device("cuda")


def test_an_unknown_device_is_refused_with_the_choices():
    with pytest.raises(DeviceError, match="device 'tpu' is unknown; choose one of auto, cpu, cuda, mps"):
        choose_device("tpu")


def test_half_precision_is_used_only_where_the_processor_multiplies_in_it():
    capable = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    assert compute_dtype(torch.device("cpu")) == (torch.bfloat16 if capable else torch.float32)


def test_in_float32_there_is_no_autocast_and_no_warning_of_one():
    with autocast(torch.device("cpu"), torch.float32):
        assert not torch.is_autocast_enabled("cpu")
    with autocast(torch.device("cpu"), torch.bfloat16):
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16
        assert torch.is_autocast_enabled("cpu")
