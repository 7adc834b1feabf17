"""The devices that OpenVINO finds on this machine, and the precisions that they have.

It does not import torch, so that a cell is refused at once. Importing OpenVINO takes 0.3 s.

| `--device` | OpenVINO's device |
|---|---|
| cpu | CPU |
| igpu | the first GPU that is part of the processor |
| npu | NPU, the neural processing unit of Intel's processors |
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

# OpenVINO's name of each precision, in the list of what a device can compute without emulation.
_CAPABILITIES = {"fp32": "FP32", "bf16": "BF16", "fp16": "FP16", "int8": "INT8"}


@cache
def core() -> Any:
    """OpenVINO's object that finds devices, reads networks and compiles them."""
    import openvino

    return openvino.Core()


def found() -> tuple[str, ...]:
    """The names that OpenVINO gives to the devices of this machine: ("CPU", "GPU.0")."""
    return tuple(core().available_devices)


def name_of(cell: Cell) -> str | None:
    """OpenVINO's name of the cell's device; None if it does not find the device."""
    wanted = {"cpu": _is_cpu, "igpu": _is_integrated_gpu, "npu": _is_npu}[cell.device]
    return next((name for name in found() if wanted(name)), None)


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
