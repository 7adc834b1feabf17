"""The NVIDIA GPUs of this machine, as the CUDA driver lists them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gpubench.errors import InputError

if TYPE_CHECKING:
    from gpubench.core import CudaUnavailable

OR_THE_CPU = "or measure the CPU with --device cpu"


@dataclass(frozen=True)
class Gpu:
    """A CUDA device. Its number is that in this process, after CUDA_VISIBLE_DEVICES."""

    number: int
    name: str
    capability: tuple[int, int]
    uuid: str  # "GPU-..." as nvidia-smi prints it
    pci_bus_id: str  # "00000000:3B:00.0"
    memory_bytes: int

    @property
    def device(self) -> str:
        return f"cuda:{self.number}"


class NoCuda(InputError):
    """CUDA cannot be used. The message has one line with the cause and the remedy.

    `reason` is "no-driver", "driver-too-old", "no-device", "driver-error" or
    "torch-without-cuda".
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def driver_version() -> int:
    """The newest CUDA version that the driver supports: 12080 is 12.8. Raises NoCuda."""
    from gpubench import core

    try:
        return core.cuda.driver_version()
    except core.CudaUnavailable as error:
        raise _no_cuda(error) from error


def visible_gpus() -> tuple[Gpu, ...]:
    """The GPUs that the driver shows to this process, in the order of their numbers.

    Raises NoCuda if there is no driver or no GPU, or if the driver is too old.
    """
    from gpubench import core

    try:
        devices = core.cuda.devices()
    except core.CudaUnavailable as error:
        raise _no_cuda(error) from error
    return tuple(
        Gpu(
            number=device.index,
            name=device.name,
            capability=device.compute_capability,
            uuid=device.uuid,
            pci_bus_id=device.pci_bus_id,
            memory_bytes=device.memory_bytes,
        )
        for device in devices
    )


def gpus_of(devices: Sequence[str]) -> tuple[Gpu, ...]:
    """The GPUs among `devices`. Empty if CUDA cannot be used."""
    if list(devices) == ["cpu"]:
        return ()  # a cell on the CPU does not load the driver
    try:
        return tuple(gpu for gpu in visible_gpus() if gpu.device in devices)
    except NoCuda:
        return ()


def _no_cuda(error: CudaUnavailable) -> NoCuda:
    return NoCuda(error.reason, " ".join(str(error).split()))


class EventCheckRow(Protocol):
    """A row of `core.cuda.check_event_clock`: medians over the repeats, in ns."""

    @property
    def length_ns(self) -> int: ...  # requested length of the kernel
    @property
    def kernel_ns(self) -> int: ...  # measured by the timer of the GPU
    @property
    def event_ns(self) -> int: ...  # between the events before and after the kernel
    @property
    def empty_ns(self) -> int: ...  # between the events before and after an empty kernel
    @property
    def tick_ns(self) -> int: ...  # resolution of the timer
    @property
    def error_ns(self) -> int: ...  # event_ns - empty_ns - kernel_ns
    @property
    def largest_error_ns(self) -> int: ...


def check_event_clock(
    number: int, lengths_ns: Sequence[int], repeats: int
) -> Sequence[EventCheckRow]:
    """The durations that the events of a GPU give for kernels of known length: a row for each.

    Raises RuntimeError (core.CudaUnavailable is one) if the kernel cannot be run.
    """
    from gpubench import core

    return core.cuda.check_event_clock(number, list(lengths_ns), repeats)
