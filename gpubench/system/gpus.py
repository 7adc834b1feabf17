"""The NVIDIA GPUs of this machine: as the CUDA driver lists them, and as torch can use them."""

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
    """A CUDA device, under the number that it has in this process (CUDA_VISIBLE_DEVICES counts)."""

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
    """CUDA cannot be used here: one line that says why and what to do.

    `reason` is "no-driver", "driver-too-old", "no-device", "driver-error" or, where torch is the
    obstacle, "torch-without-cuda".
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def driver_version() -> int:
    """The newest CUDA that the driver supports: 12080 is 12.8. Raises NoCuda."""
    from gpubench import core

    try:
        return core.cuda.driver_version()
    except core.CudaUnavailable as error:
        raise _no_cuda(error) from error


def visible_gpus() -> tuple[Gpu, ...]:
    """The GPUs that the driver shows to this process, in the order of their numbers.

    Raises NoCuda where there is no driver, one that is too old, or no GPU.
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
    """The GPUs among `devices`; none of them where CUDA cannot be asked."""
    if list(devices) == ["cpu"]:
        return ()  # a cell on the CPU leaves the driver alone
    try:
        return tuple(gpu for gpu in visible_gpus() if gpu.device in devices)
    except NoCuda:
        return ()


def _no_cuda(error: CudaUnavailable) -> NoCuda:
    return NoCuda(error.reason, " ".join(str(error).split()))


class EventCheck(Protocol):
    """A row of `core.cuda.check_event_clock`: medians over the repeats, in ns."""

    @property
    def length_ns(self) -> int: ...  # asked of the kernel
    @property
    def kernel_ns(self) -> int: ...  # what the GPU's own timer showed
    @property
    def event_ns(self) -> int: ...  # between the events around the kernel
    @property
    def empty_ns(self) -> int: ...  # between events around a kernel that does nothing
    @property
    def tick_ns(self) -> int: ...  # the step in which the timer moves
    @property
    def error_ns(self) -> int: ...  # event_ns - empty_ns - kernel_ns
    @property
    def largest_error_ns(self) -> int: ...


def check_event_clock(number: int, lengths_ns: Sequence[int], repeats: int) -> Sequence[EventCheck]:
    """The durations that the events of a GPU give for a kernel of known length; a row a length.

    Raises RuntimeError, of which core.CudaUnavailable is one, where it cannot be run.
    """
    from gpubench import core

    return core.cuda.check_event_clock(number, list(lengths_ns), repeats)
