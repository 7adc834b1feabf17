"""Why a runtime cannot do what was asked, as far as that is known without importing torch.

Torch takes seconds to import, and a refusal should be there at once. `on_cpu` is asked first; what
only torch or a library can tell is in the `refusal` functions of the runtimes' own files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gpubench.engines.tensorrt.library import LIBRARIES
from gpubench.errors import InputError
from gpubench.registry import model_entry
from gpubench.system import packages

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

# What exporting to ONNX and quantising an ONNX file need.
ONNX_PACKAGES = ("onnx", "onnxscript")
ONNX_QUANTISER_PACKAGES = ("onnxruntime",)
INT8_PACKAGE = "torchao"
TENSORRT_PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "int8", "fp8")
TENSORRT_QUANTISED = frozenset({"int8", "fp8"})

# Compute capabilities of GPUs that clouds rent out, by the names of the price catalog.
_GPUS = {
    "T4": (7, 5),
    "A100": (8, 0),
    "A10": (8, 6),
    "A10G": (8, 6),
    "L4": (8, 9),
    "L40S": (8, 9),
    "H100": (9, 0),
    "H200": (9, 0),
}


def on_cpu(cell: Cell) -> str | None:
    """Why the cell's runtime cannot do it on a CPU; None where nothing is known against it."""
    check = _ON_CPU.get(cell.runtime)
    return check(cell) if check else None


def of_precision(cell: Cell, *supported: str) -> str | None:
    """Why a runtime that has these precisions cannot do the cell's; None where it can."""
    if cell.precision in supported:
        return None
    advice = f"choose {' or '.join(supported)}"
    if others := _quantising_runtimes(cell):
        advice += f", or --runtime {' or '.join(others)}"
        advice += " on a GPU from Ada on (L4, H100)" if cell.precision == "fp8" else ""
    return f"it has no {cell.precision} on this device; {advice}"


def floats_of_torch(cell: Cell) -> tuple[str, ...]:
    """What torch computes in on the cell's kind of device, quantised formats apart."""
    return "fp32", *(() if cell.on_cpu else ("tf32",)), "amp", "fp16", "bf16"


def int8_of_any_layer(cell: Cell) -> str:
    """The runtime that has int8 on the cell's kind of device whatever a model's layers are."""
    return "onnxruntime" if cell.on_cpu else "tensorrt"


def of_torch(cell: Cell) -> str | None:
    return of_precision(cell, *floats_of_torch(cell))


def of_linear_int8(cell: Cell) -> str | None:
    known = model_entry(cell.model)
    if known is not None and known.convolutional:
        return (
            f"it has int8 for linear layers alone, and {cell.model} has hardly any; use "
            f"--runtime {int8_of_any_layer(cell)}"
        )
    return packages.missing(INT8_PACKAGE, INT8_PACKAGE)


def _of_inductor(cell: Cell) -> str | None:
    return of_linear_int8(cell) if cell.precision == "int8" else of_torch(cell)


def onnxruntime_missing() -> str | None:
    """What to install for onnxruntime; None where all is there."""
    return packages.missing("onnxruntime", "onnxruntime", *ONNX_PACKAGES)


def _of_onnxruntime(cell: Cell) -> str | None:
    if reason := onnxruntime_missing():
        return reason
    if cell.model.lower().endswith(".onnx"):  # it has a precision of its own
        return None
    return of_precision(cell, "fp32", "int8")


def of_tensorrt_on_cpu(cell: Cell) -> str:
    return (
        "it runs on NVIDIA GPUs alone; gpubench build makes its engines on a machine without "
        "one. Choose --runtime onnxruntime or torchscript here"
    )


def tensorrt_missing(cell: Cell) -> str | None:
    """What to install for building an engine of `cell`; None where all is there."""
    quantiser = ONNX_QUANTISER_PACKAGES if cell.precision in TENSORRT_QUANTISED else ()
    return packages.missing(cell.runtime, LIBRARIES[cell.runtime], *ONNX_PACKAGES, *quantiser)


def compute_capability(gpu: str) -> tuple[int, int]:
    """Of a GPU's name, or of sm_86. Raises InputError for what it does not know."""
    digits = gpu.lower().removeprefix("sm_").removeprefix("sm")
    if digits.isascii() and digits.isdigit() and len(digits) in {2, 3}:
        return int(digits[:-1]), int(digits[-1])
    if gpu.upper() not in _GPUS:
        raise InputError(f"--gpu {gpu}: not known; give {', '.join(_GPUS)}, or one like sm_86")
    return _GPUS[gpu.upper()]


def _quantising_runtimes(cell: Cell) -> tuple[str, ...]:
    """Those that have the cell's int8 or fp8 for its model; none for other precisions."""
    known = model_entry(cell.model)
    if known is None or cell.precision not in {"int8", "fp8"}:
        return ()
    if cell.precision == "fp8":
        runtimes: tuple[str, ...] = ("tensorrt",)
    elif known.convolutional:
        runtimes = (int8_of_any_layer(cell),)
    else:
        runtimes = (int8_of_any_layer(cell), "compile", "aotinductor")
    return tuple(name for name in runtimes if known.runtimes is None or name in known.runtimes)


_ON_CPU: dict[str, Callable[[Cell], str | None]] = {
    "eager": of_torch,
    "torchscript": of_torch,
    "compile": _of_inductor,
    "aotinductor": _of_inductor,
    "onnxruntime": _of_onnxruntime,
    "tensorrt": of_tensorrt_on_cpu,
    "tensorrt-rtx": of_tensorrt_on_cpu,
}
