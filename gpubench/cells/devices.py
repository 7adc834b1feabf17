"""The devices of a cell: the devices that `--device` names and that this machine can use."""

from __future__ import annotations

from gpubench.errors import InputError
from gpubench.registry import RUNTIMES
from gpubench.spec.cell import Cell
from gpubench.spec.spec import Spec
from gpubench.system import gpus, torch_gpus
from gpubench.system.machine import Machine
from gpubench.system.torch_gpus import TorchGpu


def chosen_devices(spec: Spec, machine: Machine) -> tuple[str, ...]:
    """("cpu",), or GPUs such as ("cuda:0", "cuda:1"), or ("server",) for a model server.

    Another accelerator, such as ("tpu",), is one that the runtime has. Its `refusal` looks for it.

    If the machine has a GPU that cannot be used, the CPU never takes its place. Raises InputError,
    with the reason and the fix, if a device is missing or cannot be used.
    """
    if spec.served and not spec.synthetic:
        return ("server",)
    if spec.device in RUNTIMES[spec.runtime].accelerators:
        return (spec.device,)
    wanted, synthetic = spec.device, spec.synthetic
    if wanted == "cpu" or (wanted == "auto" and not machine.gpus):
        return ("cpu",)
    if synthetic and wanted == "auto":
        return ("cpu",)  # the synthetic model computes nothing, so it needs no GPU
    if synthetic:  # torch is not used
        return _chosen(wanted, len(gpus.visible_gpus()))
    if not machine.gpus and not _driver_shows_gpus():
        raise InputError(
            f"--device {wanted}: this machine has no NVIDIA device; use --device cpu or auto"
        )
    available = torch_gpus.torch_gpus()
    chosen = _chosen(wanted, len(available))
    for gpu in dict.fromkeys(available[_number(device)] for device in chosen):
        if reason := torch_gpus.unusable(gpu):
            raise InputError(reason)
        _refuse_precision_on_gpu(spec, gpu)
    return chosen


def _driver_shows_gpus() -> bool:
    """Whether the driver shows GPUs.

    Under WSL and in some sandboxes the driver shows GPUs that the operating system does not show.
    """
    try:
        return bool(gpus.visible_gpus())
    except gpus.NoCuda:
        return False


def _chosen(wanted: str, count: int) -> tuple[str, ...]:
    """The devices that --device names, on a machine with `count` GPUs."""
    if wanted == "all":
        return tuple(f"cuda:{number}" for number in range(count))
    numbers = [0] if wanted in {"auto", "cuda"} else [_number(name) for name in wanted.split(",")]
    for number in numbers:
        if number >= count:
            names = f"cuda:0 to cuda:{count - 1}" if count > 1 else "cuda:0"
            raise InputError(f"--device cuda:{number}: this machine has {names}")
    return tuple(f"cuda:{number}" for number in numbers)


def _number(device: str) -> int:
    return int(device.removeprefix("cuda:"))


def _refuse_precision_on_gpu(spec: Spec, gpu: TorchGpu) -> None:
    if spec.precision == "tf32" and not gpu.has_tf32:
        raise InputError(
            f"--precision tf32: {gpu.name} has no TF32 (it came with Ampere); use fp32 or amp"
        )
    if spec.precision == "bf16" and not gpu.native_bf16 and not spec.allow_emulated:
        raise InputError(
            f"--precision bf16: {gpu.name} only emulates it; use fp16, or add --allow-emulated"
        )


def native_precision(cell: Cell, machine: Machine) -> bool:
    """Whether the cell's device has the cell's precision and does not emulate it.

    Nothing is known about the device of a server, or of an accelerator that is no GPU, so it is not
    said to emulate.
    """
    if cell.server is not None or cell.accelerator is not None:
        return True
    if cell.on_cpu:
        native = {"amp": "bf16", "bf16": "bf16", "fp16": "fp16"}.get(cell.precision)
        return native is None or machine.computes_natively(native)
    if cell.precision != "bf16":
        return True
    available = torch_gpus.torch_gpus()
    return all(available[_number(device)].native_bf16 for device in cell.devices)


def without_sparse_kernels(cell: Cell) -> str | None:
    """The name of a GPU of the cell that cannot multiply 2:4 sparse weights; None if all can."""
    available = torch_gpus.torch_gpus()
    chosen = (available[_number(device)] for device in cell.devices)
    return next((gpu.name for gpu in chosen if not gpu.has_sparse_kernels), None)
