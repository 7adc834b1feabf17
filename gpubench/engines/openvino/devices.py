"""The devices that OpenVINO finds on this machine, and the precisions that they have.

It does not import torch, so that a cell is refused at once. Importing OpenVINO takes 0.3 s.

When a process first asks for devices, OpenVINO finds out on which cores it may run. It binds its
threads to these cores until the process ends, whatever their affinity is then. So the first
question is asked on the cores of the cell (`--cpus`), and cells on other cores are refused.

| `--device` | OpenVINO's device |
|---|---|
| cpu | CPU |
| igpu | the first GPU that is part of the processor |
| npu | NPU, the neural processing unit of Intel's processors |
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from gpubench.errors import GpubenchError
from gpubench.spec.cpus import cpus_text
from gpubench.system.affinity import on_cores, usable_now

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

# OpenVINO's name of each precision, in the list of what a device can compute without emulation.
_CAPABILITIES = {"fp32": "FP32", "bf16": "BF16", "fp16": "FP16", "int8": "INT8"}


_cores: frozenset[int] | None = None  # that OpenVINO knows; None: it was not asked yet


@cache
def core() -> Any:
    """OpenVINO's object that finds devices, reads networks and compiles them."""
    global _cores
    import openvino

    made = openvino.Core()
    _ = made.available_devices  # the first question
    _cores = usable_now()
    return made


def found() -> tuple[str, ...]:
    """The names that OpenVINO gives to the devices of this machine: ("CPU", "GPU.0")."""
    return tuple(core().available_devices)


def name_of(cell: Cell) -> str | None:
    """OpenVINO's name of the cell's device; None if it does not find the device."""
    wanted = {"cpu": _is_cpu, "igpu": _is_integrated_gpu, "npu": _is_npu}[cell.device]
    with on_cores(cell.cpus):
        return next((name for name in found() if wanted(name)), None)


def refuse_other_cores() -> None:
    """Raises GpubenchError if OpenVINO would bind threads to other cores than those of the cell."""
    core()
    if _cores is not None and _cores != usable_now():
        raise GpubenchError(
            f"OpenVINO has started on other cores ({cpus_text(_cores)}) in this process, and "
            "cannot change them; measure this cell with a separate gpubench run"
        )


def _is_cpu(name: str) -> bool:
    return name == "CPU"


def _is_integrated_gpu(name: str) -> bool:
    if not name.startswith("GPU"):
        return False
    from openvino.properties.device import Type

    return bool(core().get_property(name, "DEVICE_TYPE") == Type.INTEGRATED)


def _is_npu(name: str) -> bool:
    return name.startswith("NPU")


def precisions(name: str) -> tuple[str, ...]:
    """The precisions of gpubench that OpenVINO's device `name` has."""
    capabilities = core().get_property(name, "OPTIMIZATION_CAPABILITIES")
    return tuple(each for each, capability in _CAPABILITIES.items() if capability in capabilities)
