"""Engine files of TensorRT: a model exported to ONNX and built for one kind of GPU.

One piece of code for the libraries `tensorrt` (10 and 11) and `tensorrt_rtx`: networks are strongly
typed, so that the precision is the one of the exported model, and none of the precision flags and
calibrators is used that newer versions no longer have.

| precision | how |
|---|---|
| fp32 | exported in fp32, TF32 off |
| tf32 | exported in fp32, TF32 on |
| fp16, bf16 | exported with weights and inputs in that format |
| int8, fp8 | exported in fp16, Q/DQ nodes around the products with weights: see onnx_quantise |

An engine is for one batch size, or for a range of them (and then tuned for the largest).

With `tensorrt_rtx` all of this works on a machine without a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gpubench import cache
from gpubench.engines import origin, precision, refusals
from gpubench.engines.onnx import export, quantise
from gpubench.engines.tensorrt.library import (
    ErrorLog,
    library,
    one_line,
    version_of,
)
from gpubench.errors import GpubenchError
from gpubench.models.base import LoadedModel
from gpubench.models.onnx_file import OnnxFile
from gpubench.models.onnx_signature import request, signature
from gpubench.spec.input_shapes import RequestInput

if TYPE_CHECKING:
    import tensorrt as trt

    from gpubench.spec.cell import Cell

# Bump when the way an engine is built changes.
_RECIPE = 3

PRECISIONS = refusals.TENSORRT_PRECISIONS
_QUANTISED = refusals.TENSORRT_QUANTISED

# The first compute capability that has a precision, where not all have it.
_SINCE = {"tf32": (8, 0), "bf16": (8, 0), "fp8": (8, 9)}


missing = refusals.tensorrt_missing
compute_capability = refusals.compute_capability


def refused_on(cell: Cell, capability: tuple[int, int]) -> str | None:
    """Why no engine of `cell` can be built for GPUs of this compute capability; None: it can."""
    if reason := precision.refusal(cell, *PRECISIONS):
        return reason
    since = _SINCE.get(cell.precision, (0, 0))
    if capability < since:
        return (
            f"GPUs of {_architecture(capability)} have no {cell.precision}, which came with "
            f"{_architecture(since)}; use --precision fp16"
        )
    known = _targets(cell.runtime)
    if known and _architecture(capability) not in known:
        return (
            f"{version_of(cell.runtime)} does not build for {_architecture(capability)}; it knows "
            f"{', '.join(known)}"
        )
    return None


def _architecture(capability: tuple[int, int]) -> str:
    return f"sm_{capability[0]}{capability[1]}"


def _targets(runtime: str) -> dict[str, int]:
    """What the library builds for, by architecture. None: tensorrt builds for the GPU at hand."""
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = library(runtime)
    is_rtx = runtime == "tensorrt-rtx"
    if not is_rtx:
        return {}
    members = trt.ComputeCapability.__members__.items()
    return {f"sm_{name[2:]}": int(value) for name, value in members if name[:2] == "SM"}


@dataclass(frozen=True)
class Batches:
    """The sizes of batch that an engine takes, in samples: from `least` to `most`."""

    least: int
    most: int

    @staticmethod
    def of(cell: Cell) -> Batches:
        return Batches(cell.batch, cell.batch_limits.samples)


@dataclass(frozen=True)
class Binding:
    name: str
    dtype: str  # the library's name: FLOAT, HALF, INT64
    shape: tuple[int, ...]  # -1: the batch


@dataclass(frozen=True)
class Plan:
    """An engine file, and what is in it where this process has built it."""

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
    """The engine of `model` for GPUs of this compute capability, from the cache or built.

    `batches` are those of the cell unless told otherwise. A GPU of that capability need not be
    there with tensorrt-rtx; tensorrt builds for the GPU at hand alone. Raises GpubenchError where
    the library cannot build it.
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
    builder = _Builder(cell, source.file(model, cell), capability, batches, inputs)
    path = cache.save(path, builder.write)
    return Plan(
        path,
        False,
        time.monotonic() - started,
        layers=builder.network.num_layers,
        dtypes=builder.dtypes(),
        inputs=tuple(map(_binding, builder.inputs())),
        outputs=tuple(map(_binding, builder.outputs())),
    )


def _inputs(model: LoadedModel, cell: Cell) -> dict[str, RequestInput]:
    """Of a user's ONNX file, by name: dimensions that it leaves free have a size in the requests.

    Raises GpubenchError where the batch is not the first dimension of each.
    """
    if not isinstance(model.module, OnnxFile):
        return {}
    inputs = request(signature(model.module.path), cell).inputs
    if any(put.axis != 0 for put in inputs):
        raise GpubenchError(
            f"{cell.runtime} needs the batch in the first dimension of each input, which is not so "
            f"in {cell.model}; use --runtime onnxruntime"
        )
    return {put.name: put for put in inputs}


def _entry(source: _Source, cell: Cell, capability: tuple[int, int], batches: Batches) -> Path:
    """The same on the machine that builds and on the one that runs."""
    target: dict[str, object] = {
        "precision": cell.precision,  # fp32 and tf32 are the same network
        "batch": [batches.least, batches.most],
        "device": _architecture(capability),
        # tensorrt builds for the GPU at hand, by what it times there.
        "gpu": origin.hardware(cell) if cell.runtime == "tensorrt" else None,
        "library": version_of(cell.runtime),
    }
    if cell.dims or cell.given_inputs or cell.inputs_file:
        target["sizes"] = [dict(cell.dims), str(cell.given_inputs), str(cell.inputs_file)]
    return origin.entry(
        cell.runtime,
        ".plan",
        source.network.content,
        source.settings | target,
        export.PACKAGES,
    )


@dataclass(frozen=True)
class _Source:
    """What engines are built from: a model in ONNX, and how it is quantised before that."""

    network: export.Network
    settings: dict[str, object]  # of quantising it, with which the network is known by its content
    quantised: bool

    @staticmethod
    def of(model: LoadedModel, cell: Cell) -> _Source:
        own = isinstance(model.module, OnnxFile) and model.module.precision == cell.precision
        quantised = cell.precision in _QUANTISED and not own
        dtype = torch.float16 if quantised else precision.weight_dtype(cell.precision)
        settings: dict[str, object] = {"recipe": _RECIPE}
        if quantised:
            settings["by"] = quantise.library()
            settings["calibration"] = quantise.calibration_digest(model, cell)
        return _Source(export.network(model, cell, dtype), settings, quantised)

    def file(self, model: LoadedModel, cell: Cell) -> Path:
        """The network as a file in the cell's precision."""
        if not self.quantised:
            return self.network.file(cell)[0]
        kind = f"tensorrt-{cell.precision}"
        path = origin.entry(kind, ".onnx", self.network.content, self.settings, export.PACKAGES)
        if path.exists():
            return path
        unquantised, _ = self.network.file(cell)
        return cache.save(
            path, lambda place: quantise.for_tensorrt(unquantised, place, model, cell)
        )


class _Builder:
    """One network and its configuration, from an ONNX file to a serialized engine."""

    def __init__(
        self,
        cell: Cell,
        source: Path,
        capability: tuple[int, int],
        batches: Batches,
        asked: Mapping[str, RequestInput],
    ) -> None:
        if TYPE_CHECKING:
            import tensorrt as trt
        else:
            trt = library(cell.runtime)
        self._trt = trt
        self._cell = cell
        self._log = ErrorLog(cell.runtime)
        self._builder = trt.Builder(self._log.logger)
        # TensorRT 11 and TensorRT-RTX know no other networks, and take the flag as it is.
        strongly_typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        self.network = self._builder.create_network(strongly_typed)
        parser = trt.OnnxParser(self.network, self._log.logger)
        if not parser.parse_from_file(str(source)):
            errors = [parser.get_error(number) for number in range(parser.num_errors)]
            reasons = [f"{e.node_operator()}: {e.code().name}, {e.desc()}" for e in errors]
            raise GpubenchError(
                f"{cell.runtime} cannot parse {cell.model} ({one_line(reasons)}); "
                "use another --runtime"
            )
        self._config = self._builder.create_builder_config()
        if cell.precision != "tf32":
            self._config.clear_flag(trt.BuilderFlag.TF32)
        self._set_batches(batches, asked)
        is_rtx = cell.runtime == "tensorrt-rtx"
        if is_rtx:
            self._config.num_compute_capabilities = 1
            target = trt.ComputeCapability(_targets(cell.runtime)[_architecture(capability)])
            self._config.set_compute_capability(target, 0)
            # Without it an engine may allocate while it runs, and then it cannot be captured.
            self._config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)

    def _set_batches(self, batches: Batches, asked: Mapping[str, RequestInput]) -> None:
        """One size is the fastest; in a range, kernels are chosen for the largest."""
        profile = self._builder.create_optimization_profile()
        for put in self.inputs():
            sizes = asked[put.name].sizes if put.name in asked else tuple(put.shape)[1:]
            if any(size < 0 for size in sizes):
                raise GpubenchError(
                    f"input {put.name} has shape {tuple(put.shape)}; only the batch may vary"
                )
            least, most = (batches.least, *sizes), (batches.most, *sizes)
            profile.set_shape(put.name, least, most, most)
        self._config.add_optimization_profile(profile)

    def write(self, path: Path) -> None:
        """Build the engine into `path`. Raises GpubenchError where the library cannot."""
        timings = cache.cache_dir() / self._cell.runtime / ".timing"
        is_rtx = self._cell.runtime == "tensorrt-rtx"
        if not is_rtx:  # which times nothing when it builds
            known = self._config.create_timing_cache(_bytes_of(timings))
            self._config.set_timing_cache(known, ignore_mismatch=True)
        serialized = self._builder.build_serialized_network(self.network, self._config)
        if serialized is None:
            raise GpubenchError(
                f"{self._cell.runtime} cannot build {self._cell.model} in {self._cell.precision} "
                f"({self._log.first}); use another --precision or --runtime"
            )
        path.write_bytes(serialized)
        if not is_rtx:
            _keep(timings, bytes(self._config.get_timing_cache().serialize()))

    def inputs(self) -> list[trt.ITensor]:
        return [self.network.get_input(number) for number in range(self.network.num_inputs)]

    def outputs(self) -> list[trt.ITensor]:
        return [self.network.get_output(number) for number in range(self.network.num_outputs)]

    def dtypes(self) -> tuple[str, ...]:
        """Those of constants left out: a zero point of int8 is held in fp32."""
        layers = (self.network.get_layer(number) for number in range(self.network.num_layers))
        return tuple(
            sorted(
                {
                    layer.get_output(number).dtype.name
                    for layer in layers
                    if layer.type != self._trt.LayerType.CONSTANT
                    for number in range(layer.num_outputs)
                }
            )
        )


def _binding(put: trt.ITensor) -> Binding:
    return Binding(put.name, put.dtype.name, tuple(put.shape))


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _keep(path: Path, data: bytes) -> None:
    """What the builder has timed, for the next engine; without it that takes longer."""
    from gpubench.files.folder import write_file

    try:
        write_file(path, data)
    except OSError:
        return
