"""Engine files of TensorRT in the cache: the model exported to ONNX, and built for one kind of GPU.

| precision | how |
|---|---|
| fp32 | exported in fp32, TF32 off |
| tf32 | exported in fp32, TF32 on |
| fp16, bf16 | exported with weights and inputs in that format |
| int8, fp8 | exported in fp16, with Q/DQ nodes: see gpubench.engines.onnx.quantise |

An engine takes one batch size or a range of batch sizes. In a range it is tuned for the largest.
With `tensorrt_rtx` engines can be built on a machine without a GPU. `tensorrt` builds only for the
GPU of the machine.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gpubench import cache
from gpubench.engines import cache_key, precision, refusals
from gpubench.engines.onnx import export, quantise
from gpubench.engines.tensorrt.builder import (
    Batches,
    Binding,
    Builder,
    architecture,
    binding,
    targets,
)
from gpubench.engines.tensorrt.library import version_of
from gpubench.errors import GpubenchError
from gpubench.models.base import LoadedModel
from gpubench.models.onnx_file import OnnxFile
from gpubench.models.onnx_requests import request
from gpubench.models.onnx_signature import read_signature
from gpubench.spec.input_shapes import RequestInput

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

# Increase this number when the way in which an engine is built changes.
_RECIPE = 3

PRECISIONS = refusals.TENSORRT_PRECISIONS
_QUANTISED = refusals.TENSORRT_QUANTISED

# The first compute capability that has a precision. All GPUs have the other precisions.
_SINCE = {"tf32": (8, 0), "bf16": (8, 0), "fp8": (8, 9)}


missing = refusals.tensorrt_missing
compute_capability = refusals.compute_capability


def refused_on(cell: Cell, capability: tuple[int, int]) -> str | None:
    """Why no engine of `cell` can be built for this compute capability; None if it can."""
    if reason := precision.refusal(cell, *PRECISIONS):
        return reason
    since = _SINCE.get(cell.precision, (0, 0))
    if capability < since:
        return (
            f"GPUs of {architecture(capability)} have no {cell.precision}, which needs "
            f"{architecture(since)} or later; use --precision fp16"
        )
    supported = targets(cell.runtime)
    if supported and architecture(capability) not in supported:
        return (
            f"{version_of(cell.runtime)} does not build for {architecture(capability)}; it builds "
            f"for {', '.join(supported)}"
        )
    return None


@dataclass(frozen=True)
class Plan:
    """An engine file. Its content is described if this process has built it."""

    path: Path
    from_cache: bool
    build_seconds: float
    layers: int | None = None
    dtypes: tuple[str, ...] = ()  # of everything that layers compute, sorted
    inputs: tuple[Binding, ...] = ()
    outputs: tuple[Binding, ...] = ()


def plan(
    model: LoadedModel, cell: Cell, capability: tuple[int, int], batches: Batches | None = None
) -> Plan:
    """The engine of `model` for GPUs of this compute capability, from the cache or newly built.

    `batches` are the batch sizes; the default is those of the cell. tensorrt-rtx needs no GPU;
    tensorrt builds only for the GPU of the machine. Raises GpubenchError if the library cannot
    build the engine.
    """
    started = time.monotonic()
    if reason := refused_on(cell, capability):
        raise GpubenchError(f"--runtime {cell.runtime}: {reason}")
    batches = batches or Batches.of(cell)
    source = _Source.of(model, cell)
    path = _entry(source, cell, capability, batches)
    if path.exists():
        return Plan(path, True, time.monotonic() - started)
    inputs = _inputs(model, cell)
    builder = Builder(cell, source.file(model, cell), capability, batches, inputs)
    path = cache.save(path, builder.write)
    return Plan(
        path,
        False,
        time.monotonic() - started,
        layers=builder.network.num_layers,
        dtypes=builder.dtypes(),
        inputs=tuple(map(binding, builder.inputs())),
        outputs=tuple(map(binding, builder.outputs())),
    )


def _inputs(model: LoadedModel, cell: Cell) -> dict[str, RequestInput]:
    """The inputs of a user's ONNX file, by name, with sizes for all its free dimensions.

    Empty for other models. Raises GpubenchError if the batch is not the first dimension of each.
    """
    if not isinstance(model.module, OnnxFile):
        return {}
    inputs = request(read_signature(model.module.path), cell).inputs
    if any(input_.axis != 0 for input_ in inputs):
        raise GpubenchError(
            f"{cell.runtime} needs the batch as the first dimension of each input, and "
            f"{cell.model} has an input with another first dimension; use --runtime onnxruntime"
        )
    return {input_.name: input_ for input_ in inputs}


def _entry(source: _Source, cell: Cell, capability: tuple[int, int], batches: Batches) -> Path:
    """The path of the engine in the cache.

    It is the same on the machine that builds the engine and on the machine that executes it.
    """
    target: dict[str, object] = {
        "precision": cell.precision,  # fp32 and tf32 are the same network
        "batch": [batches.least, batches.most],
        "device": architecture(capability),
        # tensorrt times kernels on the GPU of the machine, and builds for this GPU.
        "gpu": cache_key.hardware(cell) if cell.runtime == "tensorrt" else None,
        "library": version_of(cell.runtime),
    }
    if cell.sparsity != "none":
        target["sparsity"] = cell.sparsity
    if cell.dims or cell.given_inputs or cell.inputs_file:
        target["sizes"] = [dict(cell.dims), str(cell.given_inputs), str(cell.inputs_file)]
    return cache_key.entry(
        cell.runtime,
        ".plan",
        source.network.content,
        source.settings | target,
        export.PACKAGES,
    )


@dataclass(frozen=True)
class _Source:
    """The input of a build: a model in ONNX, and the settings with which it is quantised."""

    network: export.Network
    settings: dict[str, object]  # the settings of the quantisation, for the key in the cache
    quantised: bool

    @staticmethod
    def of(model: LoadedModel, cell: Cell) -> _Source:
        file = model.module if isinstance(model.module, OnnxFile) else None
        already_quantised = file is not None and file.precision == cell.precision
        quantised = cell.precision in _QUANTISED and not already_quantised
        dtype = torch.float16 if quantised else precision.weight_dtype(cell.precision)
        settings: dict[str, object] = {"recipe": _RECIPE}
        if quantised:
            settings["by"] = quantise.library()
            settings["calibration"] = quantise.calibration_digest(model, cell)
        return _Source(export.network(model, cell, dtype), settings, quantised)

    def file(self, model: LoadedModel, cell: Cell) -> Path:
        """The ONNX file of the network in the cell's precision."""
        if not self.quantised:
            return self.network.file(cell)[0]
        kind = f"tensorrt-{cell.precision}"
        path = cache_key.entry(kind, ".onnx", self.network.content, self.settings, export.PACKAGES)
        if path.exists():
            return path
        unquantised, _ = self.network.file(cell)
        return cache.save(
            path, lambda target: quantise.for_tensorrt(unquantised, target, model, cell)
        )
