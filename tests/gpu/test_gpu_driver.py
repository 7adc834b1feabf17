"""Tests of the driver functions and of the classes that own GPU memory, on a real GPU."""

from __future__ import annotations

import numpy as np
import pytest

from gpubench import core


@pytest.mark.gpu
def test_the_driver_is_new_enough_and_lists_its_gpus() -> None:
    assert core.cuda.driver_version() >= 12000
    for number, device in enumerate(core.cuda.devices()):
        assert device.index == number
        assert device.uuid.startswith("GPU-")
        assert device.memory_bytes > 0
        assert device.compute_capability >= (7, 0)


@pytest.mark.gpu
def test_pinned_memory_begins_as_zeros_and_is_written_through() -> None:
    buffer = core.cuda.PinnedBuffer(0, 1 << 20)
    assert not buffer.array.any()
    buffer.array[:] = 7
    assert (buffer.array == 7).all()


@pytest.mark.gpu(real=True)
def test_memory_comes_back() -> None:
    """Allocate and free pieces one after another: together much more than the GPU has."""
    half = core.cuda.devices()[0].memory_bytes // 2
    for _ in range(8):
        core.cuda.DeviceBuffer(0, half // 2)


@pytest.mark.gpu(real=True)
def test_too_much_memory_is_an_error_that_leaves_the_gpu_usable() -> None:
    with pytest.raises(RuntimeError, match=r"cuMemAlloc.*CUDA_ERROR_OUT_OF_MEMORY"):
        core.cuda.DeviceBuffer(0, 1 << 50)
    assert core.cuda.DeviceBuffer(0, 4096).bytes == 4096


@pytest.mark.gpu(torch=True)
def test_torch_and_the_core_see_the_same_gpus_and_the_same_bytes() -> None:
    import torch

    names = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    assert [device.name for device in core.cuda.devices()] == names
    buffer = core.cuda.DeviceBuffer(0, 1000)
    seen = torch.as_tensor(buffer, device="cuda:0")
    assert seen.data_ptr() == buffer.address
    seen.copy_(torch.arange(1000, dtype=torch.int64).to(torch.uint8))
    again = torch.as_tensor(buffer, device="cuda:0").cpu().numpy()
    assert (again == np.arange(1000).astype(np.uint8)).all()
