"""The devices of a cell: those that `--device` names, as far as this machine can use them."""

from __future__ import annotations

from gpubench.errors import InputError
from gpubench.spec.cell import Cell
from gpubench.spec.spec import Spec
from gpubench.system import gpus, torch_gpus
from gpubench.system.machine import Machine
from gpubench.system.torch_gpus import TorchGpu


def chosen_devices(spec: Spec, machine: Machine) -> tuple[str, ...]:
    """('cpu',) or GPUs by number. Never the CPU in place of a GPU that is there but unusable."""
    wanted, synthetic = spec.device, spec.synthetic
    if wanted == "cpu" or (wanted == "auto" and not machine.gpus):
        return ("cpu",)
    if synthetic and wanted == "auto":
        return ("cpu",)  # its service time is known; it needs no device
    if synthetic:  # torch plays no part
        return _chosen(wanted, len(gpus.visible_gpus()))
    if not machine.gpus and not _driver_shows_gpus():
        raise InputError(
            f"--device {wanted}: this machine has no NVIDIA device; use --device cpu or auto"
        )
    seen = torch_gpus.torch_gpus()
    chosen = _chosen(wanted, len(seen))
    for gpu in dict.fromkeys(seen[_number(device)] for device in chosen):
        if reason := torch_gpus.unusable(gpu):
            raise InputError(reason)
        _refuse_precision_on_gpu(spec, gpu)
    return chosen


def _driver_shows_gpus() -> bool:
    """The driver may show what the kernel does not, as under WSL and in some sandboxes."""
    try:
        return bool(gpus.visible_gpus())
    except gpus.NoCuda:
        return False


def _chosen(wanted: str, count: int) -> tuple[str, ...]:
    """The devices that --device names, of `count` GPUs."""
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
    """Whether the cell's device computes in the cell's precision, rather than imitating it."""
    if cell.on_cpu:
        native = {"amp": "bf16", "bf16": "bf16", "fp16": "fp16"}.get(cell.precision)
        return native is None or machine.computes_natively(native)
    if cell.precision != "bf16":
        return True
    seen = torch_gpus.torch_gpus()
    return all(seen[_number(device)].native_bf16 for device in cell.devices)
