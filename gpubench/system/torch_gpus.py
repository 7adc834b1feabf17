"""The NVIDIA GPUs of this machine as torch can use them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpubench.errors import reason_of
from gpubench.system.gpus import OR_THE_CPU, NoCuda


@dataclass(frozen=True)
class TorchGpu:
    """A GPU as torch sees it."""

    name: str
    capability: tuple[int, int]

    @property
    def native_bf16(self) -> bool:
        return self.capability >= (8, 0)  # from Ampere on; TF32 likewise

    @property
    def has_sparse_kernels(self) -> bool:
        return self.capability >= (8, 0)

    @property
    def has_tf32(self) -> bool:
        return self.capability >= (8, 0)


def torch_gpus() -> tuple[TorchGpu, ...]:
    """Every GPU that torch finds, usable or not, in the order of their numbers.

    Raises NoCuda, with the remedy, if the driver does not fit torch.
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
                "this machine has an NVIDIA GPU but shows none to this process; check "
                f"CUDA_VISIBLE_DEVICES and the --gpus of the container, {OR_THE_CPU}",
            ) from error
        raise NoCuda(
            "driver-error",
            f"the GPU cannot be used ({reason}); install an NVIDIA driver for CUDA "
            f"{torch.version.cuda} or later, {OR_THE_CPU}",
        ) from error
    return tuple(
        TorchGpu(torch.cuda.get_device_name(n), torch.cuda.get_device_capability(n))
        for n in range(count)
    )


def unusable(gpu: TorchGpu) -> str | None:
    """A line that says that this torch has no code for the GPU, with the remedy. None if it has."""
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
    """Whether code for one of these architectures runs on a GPU.

    Machine code runs on GPUs with the same major version and the same or a later minor version. PTX
    runs on all later GPUs.
    """
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
