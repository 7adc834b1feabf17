"""The reasons why a runtime cannot execute a cell that can be found without importing torch.

Importing torch takes seconds, and a refusal should come at once. `on_cpu` is called first. The
`refusal` functions in the files of the runtimes find the reasons that need torch or a library.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gpubench.engines.openvino import devices
from gpubench.engines.tensorrt.library import LIBRARIES
from gpubench.errors import InputError
from gpubench.models.onnx_signature import read_signature
from gpubench.registry import is_function, model_entry
from gpubench.serving import client
from gpubench.serving.describe import describe
from gpubench.system import packages
from gpubench.system.machine import this_machine
from gpubench.system.neuron_devices import neuron_devices

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

# The packages that exporting to ONNX and quantising an ONNX file need.
ONNX_PACKAGES = ("onnx", "onnxscript")
ONNX_QUANTISER_PACKAGES = ("onnxruntime",)
INT8_PACKAGE = "torchao"
NEURON_PACKAGES = ("torch_neuronx", "neuronxcc")
NEURON_DISTRIBUTIONS = ("torch-neuronx", "neuronx-cc")
TENSORRT_PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "int8", "fp8")
TENSORRT_QUANTISED = frozenset({"int8", "fp8"})

# Compute capabilities of the GPUs in the price catalog.
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
    """Why the cell's runtime cannot execute it on a CPU; None if no reason is known."""
    check = _ON_CPU.get(cell.runtime)
    return check(cell) if check else None


def of_precision(cell: Cell, *supported: str) -> str | None:
    """Why a runtime with the `supported` precisions cannot execute the cell; None if it can."""
    if cell.precision in supported:
        return None
    advice = f"choose {' or '.join(supported)}"
    if others := _quantising_runtimes(cell):
        advice += f", or --runtime {' or '.join(others)}"
        advice += " on a GPU from Ada on (L4, H100)" if cell.precision == "fp8" else ""
    return f"it has no {cell.precision} on this device; {advice}"


def floats_of_torch(cell: Cell) -> tuple[str, ...]:
    """The precisions of torch on the cell's kind of device, without quantised ones."""
    return "fp32", *(() if cell.on_cpu else ("tf32",)), "amp", "fp16", "bf16"


def int8_of_any_layer(cell: Cell) -> str:
    """The runtime that has int8 for all kinds of layers on the cell's kind of device."""
    return "onnxruntime" if cell.on_cpu else "tensorrt"


def of_torch(cell: Cell) -> str | None:
    return of_precision(cell, *floats_of_torch(cell))


def of_linear_int8(cell: Cell) -> str | None:
    known = model_entry(cell.model)
    if known is not None and known.convolutional:
        return (
            f"it has int8 only for linear layers, and {cell.model} has very few; use "
            f"--runtime {int8_of_any_layer(cell)}"
        )
    return packages.missing(INT8_PACKAGE, INT8_PACKAGE)


def _of_inductor(cell: Cell) -> str | None:
    return of_linear_int8(cell) if cell.precision == "int8" else of_torch(cell)


def onnxruntime_missing() -> str | None:
    """What to install for onnxruntime; None if everything is installed."""
    return packages.missing("onnxruntime", "onnxruntime", *ONNX_PACKAGES)


def _of_onnxruntime(cell: Cell) -> str | None:
    if reason := onnxruntime_missing():
        return reason
    if cell.model.lower().endswith(".onnx"):  # the file determines the precision
        return None
    return of_precision(cell, "fp32", "int8")


def of_openvino(cell: Cell) -> str | None:
    quantiser = ("nncf",) if cell.precision == "int8" else ()
    if reason := packages.missing("openvino", "openvino", *quantiser):
        return reason
    is_onnx_file = cell.model.lower().endswith(".onnx")
    if is_onnx_file and (reason := packages.missing("onnxruntime", "onnxruntime")):
        return f"the outputs for an ONNX file are compared with those of ONNX Runtime; {reason}"
    name = devices.name_of(cell)
    if name is None:
        return (
            f"OpenVINO finds no {cell.device} on this machine, only {', '.join(devices.found())}; "
            "install its driver, or choose --device cpu"
        )
    if is_onnx_file and read_signature(Path(cell.model)).precision not in {"fp32", "int8"}:
        return (
            "it takes ONNX files in fp32 and int8, and converts them to other precisions; give the "
            "model in fp32, or choose --runtime onnxruntime"
        )
    if cell.device == "npu" and cell.joins_requests:
        return "an NPU takes batches of one size; remove --dynamic-batch"
    threads, cores = cell.workers * cell.threads, cell.cores_of(this_machine().cores)
    if cell.computes_on_cpu and threads > cores:
        return (
            f"it uses at most one thread for each of the {cores} cores, and not {threads} "
            f"({cell.workers} workers with {cell.threads} threads each); lower --workers or "
            "--threads"
        )
    return of_precision(cell, *devices.precisions(name))


def of_executorch(cell: Cell) -> str | None:
    """Why ExecuTorch cannot execute the cell; None if it can."""
    quantiser = (INT8_PACKAGE,) if cell.precision == "int8" else ()
    if reason := packages.missing("executorch", "executorch", *quantiser):
        return reason
    if not cell.on_cpu:
        return "it runs on the CPU, with XNNPACK; measure with --device cpu"
    if cell.workers > 1:
        return (
            f"its Python interface runs one forward pass at a time, so {cell.workers} workers "
            "would wait for each other; use --workers 1, whose forward pass has all --threads"
        )
    if cell.joins_requests:
        return (
            "its programs are made for one batch size; remove --dynamic-batch, or choose "
            "--runtime onnxruntime"
        )
    return of_precision(cell, "fp32", "int8")


def of_tensorrt_on_cpu(cell: Cell) -> str:
    return (
        "it runs only on NVIDIA GPUs (gpubench build makes its engines on a machine without a "
        "GPU); choose --runtime onnxruntime or torchscript on this machine"
    )


def tensorrt_missing(cell: Cell) -> str | None:
    """What to install to build an engine of `cell`; None if everything is installed."""
    quantiser = ONNX_QUANTISER_PACKAGES if cell.precision in TENSORRT_QUANTISED else ()
    return packages.missing(cell.runtime, LIBRARIES[cell.runtime], *ONNX_PACKAGES, *quantiser)


def compute_capability(gpu: str) -> tuple[int, int]:
    """The compute capability of a GPU's name, or of 'sm_86'.

    Raises InputError for any other name.
    """
    digits = gpu.lower().removeprefix("sm_").removeprefix("sm")
    if digits.isascii() and digits.isdigit() and len(digits) in {2, 3}:
        return int(digits[:-1]), int(digits[-1])
    if gpu.upper() not in _GPUS:
        raise InputError(
            f"--gpu {gpu}: this GPU is not known; give {', '.join(_GPUS)}, or an architecture like "
            "sm_86"
        )
    return _GPUS[gpu.upper()]


def _quantising_runtimes(cell: Cell) -> tuple[str, ...]:
    """The runtimes that have the cell's precision, int8 or fp8, for its model."""
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


def of_jax(cell: Cell) -> str | None:
    """Why JAX cannot execute the cell, as far as this is known without importing it."""
    if reason := packages.missing("jax", "jax", "jaxlib"):
        return reason
    if not is_function(cell.model):
        return (
            f"it executes functions of JAX, and {cell.model} is none; give --model "
            "FILE.py:function (docs/extending.md), or choose --runtime torchscript"
        )
    return _of_host_inputs(cell) or of_precision(
        cell, "fp32", *(() if cell.on_cpu else ("tf32",)), "fp16", "bf16"
    )


def of_neuron(cell: Cell) -> str | None:
    """Why the cell cannot be measured on NeuronCores, as far as this is known without loading."""
    absent = [name for name in NEURON_PACKAGES if find_spec(name) is None]
    if absent:
        return (
            f"{' and '.join(absent)} cannot be imported; install torch-neuronx and neuronx-cc on "
            "an Inf2 or Trn instance, as the AWS Neuron documentation describes"
        )
    if cell.accelerator is None:
        return "it computes on NeuronCores; add --device neuron"
    if not neuron_devices():
        return (
            "this machine has no Neuron device (/dev/neuron0); measure on an Inf2 or Trn instance "
            "with the Neuron driver, or choose another --runtime"
        )
    if cell.joins_requests:
        return "it is compiled for one batch size; remove --dynamic-batch, or raise --batch"
    return _of_host_inputs(cell) or of_precision(cell, "fp32", "tf32", "amp", "fp16", "bf16")


def _of_host_inputs(cell: Cell) -> str | None:
    """Inputs are copied to an accelerator that is no GPU in each request."""
    if cell.accelerator is None or cell.inputs == "host":
        return None
    return f"--device {cell.accelerator} takes its inputs from host memory; use --inputs host"


def of_kserve(cell: Cell) -> str | None:
    """Why the cell's server cannot be measured; None if it can.

    Raises InputError if it cannot be reached, or if it does not serve the model.
    """
    if reason := client.missing():
        return reason
    assert cell.server is not None
    served = describe(cell.server, cell.model)
    samples = cell.batch_limits.samples
    if served.max_batch is not None and samples > served.max_batch:
        flag = "--dynamic-batch" if cell.joins_requests else "--batch"
        return (
            f"{flag}: the server takes at most {served.max_batch} samples in a request to "
            f"{served.name} (max_batch_size), and not {samples}; use {served.max_batch} or fewer"
        )
    return None


def of_xla(cell: Cell) -> str | None:
    """Why torch_xla cannot execute the cell, as far as it is known without importing it."""
    if not cell.on_cpu:
        return (
            "torch_xla has no GPUs any more; use --device cpu or tpu, or --runtime compile for a "
            "GPU"
        )
    if reason := packages.missing("xla", "torch_xla"):
        return reason
    library, torch = packages.version("torch_xla"), packages.version("torch")
    if _minor(library) != _minor(torch):
        return (
            f"torch_xla {library} needs torch {_minor(library)}, and torch {torch} is installed; "
            f"install both in an environment of their own: pip install torch=={_minor(library)}.* "
            f"torch_xla=={library} torchvision"
        )
    if cell.accelerator is not None and packages.missing("xla", "libtpu"):
        return "libtpu, the driver of TPUs, is not installed; pip install 'torch_xla[tpu]'"
    if cell.workers > 1:
        return "torch_xla serves one thread of a process; use --workers 1"
    if cell.inputs == "device":
        return (
            "its inputs begin in the memory of the host, and are copied to the device in the round "
            "trip; use --inputs host"
        )
    return of_precision(cell, "fp32", "bf16")


def _minor(version: str) -> str:
    """The first two numbers of a version: "2.9" of "2.9.1+cu128"."""
    return ".".join(version.split(".")[:2])


_ON_CPU: dict[str, Callable[[Cell], str | None]] = {
    "eager": of_torch,
    "torchscript": of_torch,
    "compile": _of_inductor,
    "aotinductor": _of_inductor,
    "onnxruntime": _of_onnxruntime,
    "executorch": of_executorch,
    "tensorrt": of_tensorrt_on_cpu,
    "tensorrt-rtx": of_tensorrt_on_cpu,
    "openvino": of_openvino,
    "kserve": of_kserve,
    "jax": of_jax,
    "neuron": of_neuron,
    "xla": of_xla,
}
