"""The NVIDIA GPUs of this machine: as the CUDA driver lists them, and as torch can use them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubench.errors import InputError, reason_of

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


@dataclass(frozen=True)
class TorchGpu:
    """A GPU as torch sees it."""

    name: str
    capability: tuple[int, int]

    @property
    def native_bf16(self) -> bool:
        return self.capability >= (8, 0)  # from Ampere on; TF32 likewise

    @property
    def has_tf32(self) -> bool:
        return self.capability >= (8, 0)


def torch_gpus() -> tuple[TorchGpu, ...]:
    """Every GPU that torch sees, usable or not, in the order of their numbers.

    Raises NoCuda with the remedy where the driver and torch do not fit together.
    """
    import torch

    if torch.version.cuda is None:
        raise NoCuda(
            "torch-without-cuda",
            "this machine has an NVIDIA GPU but the installed torch is a CPU-only build; "
            f"install torch with CUDA, {OR_THE_CPU}",
        )
    try:
        torch.cuda.init()
        count = torch.cuda.device_count()
    except (RuntimeError, AssertionError) as error:
        reason = reason_of(error)
        if "No CUDA GPUs are available" in reason:
            raise NoCuda(
                "no-device",
                "this machine has an NVIDIA GPU but shows none to this process; look at "
                f"CUDA_VISIBLE_DEVICES and at the container's --gpus, {OR_THE_CPU}",
            ) from error
        raise NoCuda(
            "driver-error",
            f"the GPU cannot be used ({reason}); install or update the NVIDIA driver: one for CUDA "
            f"{torch.version.cuda}, {OR_THE_CPU}",
        ) from error
    return tuple(
        TorchGpu(torch.cuda.get_device_name(n), torch.cuda.get_device_capability(n))
        for n in range(count)
    )


def unusable(gpu: TorchGpu) -> str | None:
    """Why this torch has no code for the GPU, with the remedy; None where it has."""
    import torch

    architectures = torch.cuda.get_arch_list()
    if compiled_for(gpu.capability, architectures):
        return None
    major, minor = gpu.capability
    return (
        f"{gpu.name} (sm_{major}{minor}) is not among the architectures of this torch "
        f"({' '.join(architectures)}); install a torch built for it, {OR_THE_CPU}"
    )


def compiled_for(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Machine code runs on the same major version from its minor on, PTX on anything newer."""
    for architecture in architectures:
        kind, _, digits = architecture.partition("_")
        digits = digits.rstrip("af")
        if not digits.isdigit():
            continue
        built = (int(digits[:-1]), int(digits[-1]))
        if kind == "sm" and built[0] == capability[0] and built[1] <= capability[1]:
            return True
        if kind == "compute" and built <= capability:
            return True
    return False
