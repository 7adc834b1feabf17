"""tensorrt and tensorrt-rtx: the model exported to ONNX and built into an engine for one GPU.

One piece of code for the libraries `tensorrt` (10 and 11) and `tensorrt_rtx`: networks are strongly
typed, so that the precision is the one in which the model was exported, and none of the precision
flags and calibrators is used that newer versions no longer have.

| precision | how |
|---|---|
| fp32 | exported in fp32, TF32 off |
| tf32 | exported in fp32, TF32 on |
| fp16, bf16 | exported with weights and inputs in that format |

What was proved: the tests build engines with `tensorrt_rtx` for three GPUs, on a machine without
one; that the names used here exist was checked in the Python bindings of TensorRT 10.16 and 11.4.
No engine has been run on a GPU yet, and none built with `tensorrt`. Contexts belong to the threads
that call them, so an engine is not captured as a CUDA graph yet.
"""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gpubench import cache
from gpubench.engines import onnx_export, packages, precision
from gpubench.engines.base import Engine, PerWorker
from gpubench.engines.origin import origin
from gpubench.errors import GpubenchError, InputError
from gpubench.models.base import LoadedModel, Tensors

if TYPE_CHECKING:
    from gpubench.spec import Spec

# Bump when the way an engine is built changes.
_RECIPE = 1

_LIBRARIES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}

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

_DTYPES = {
    "FLOAT": torch.float32,
    "HALF": torch.float16,
    "BF16": torch.bfloat16,
    "INT64": torch.int64,
    "INT32": torch.int32,
    "BOOL": torch.bool,
}


def missing(runtime: str) -> str | None:
    """What to install for building engines; None where all is there."""
    return packages.missing(runtime, _LIBRARIES[runtime], *onnx_export.PACKAGES)


def refusal(spec: Spec) -> str | None:
    if spec.device == "cpu":
        return (
            "it runs on NVIDIA GPUs alone; gpubench build makes its engines on a machine without "
            "one. Choose --runtime onnxruntime or torchscript here"
        )
    if spec.dynamic_batch is not None:
        return "its engines are built for one batch size; remove --dynamic-batch"
    return missing(spec.runtime) or refused_precision(spec)


def refused_precision(spec: Spec) -> str | None:
    return precision.refusal(spec, "fp32", "tf32", "fp16", "bf16")


def compute_capability(gpu: str) -> tuple[int, int]:
    """Of a GPU's name, or of sm_86. Raises InputError for what it does not know."""
    digits = gpu.lower().removeprefix("sm_").removeprefix("sm")
    if digits.isdigit() and len(digits) in {2, 3}:
        return int(digits[:-1]), int(digits[-1])
    if gpu.upper() not in _GPUS:
        raise InputError(f"--gpu {gpu}: not known; give {', '.join(_GPUS)}, or one like sm_86")
    return _GPUS[gpu.upper()]


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


def plan(model: LoadedModel, spec: Spec, capability: tuple[int, int]) -> Plan:
    """The engine of `model` for GPUs of this compute capability, from the cache or built.

    A GPU of that capability need not be there with tensorrt-rtx; tensorrt builds for the GPU at
    hand alone. Raises GpubenchError where the library cannot build it.
    """
    started = time.monotonic()
    source, _ = onnx_export.export(model, spec)
    path = _entry(model, spec, capability)
    if path.exists():
        return Plan(path, True, time.monotonic() - started)
    builder = _Builder(spec, source, capability)
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


def _entry(model: LoadedModel, spec: Spec, capability: tuple[int, int]) -> Path:
    """The same on the machine that builds and on the one that runs."""
    parts = origin(model.module, spec, _RECIPE, onnx_export.PACKAGES)
    target = {"device": f"sm_{capability[0]}{capability[1]}", "library": library(spec.runtime)}
    return cache.entry(spec.runtime, parts | target, ".plan")


def library(runtime: str) -> str:
    """'tensorrt_rtx 1.7.1.116'."""
    trt = importlib.import_module(_LIBRARIES[runtime])
    return f"{_LIBRARIES[runtime]} {trt.__version__}"


def _logger(trt: Any, errors: list[str]) -> Any:
    """A logger that keeps what is wrong in `errors`, and says nothing by itself."""

    class Keeping(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                errors.append(message)

    return Keeping()


class _Builder:
    """One network and its configuration, from an ONNX file to a serialized engine."""

    def __init__(self, spec: Spec, source: Path, capability: tuple[int, int]) -> None:
        self._trt: Any = importlib.import_module(_LIBRARIES[spec.runtime])
        self._spec = spec
        self._errors: list[str] = []
        self._logger = _logger(self._trt, self._errors)
        self._builder = self._trt.Builder(self._logger)
        self.network = self._builder.create_network(self._flags())
        parser = self._trt.OnnxParser(self.network, self._logger)
        if not parser.parse_from_file(str(source)):
            reasons = [parser.get_error(number).desc() for number in range(parser.num_errors)]
            reason = " ".join((reasons or ["no reason given"])[0].split())
            raise GpubenchError(
                f"{spec.runtime} cannot parse {spec.model} ({reason}); use --runtime torchscript"
            )
        self._config = self._builder.create_builder_config()
        if spec.precision != "tf32":
            self._config.clear_flag(self._trt.BuilderFlag.TF32)
        self._set_batch()
        self._set_target(capability)

    def _flags(self) -> int:
        """Strongly typed: by a flag where there is one, else the library knows no other."""
        flag = getattr(self._trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        return 0 if flag is None else 1 << int(flag)

    def _set_batch(self) -> None:
        """Of exactly the spec's size: the fastest, and what a captured graph needs."""
        profile = self._builder.create_optimization_profile()
        for put in self.inputs():
            if any(size < 0 for size in tuple(put.shape)[1:]):
                raise GpubenchError(
                    f"input {put.name} has shape {tuple(put.shape)}; only the batch may vary"
                )
            shape = (self._spec.batch, *tuple(put.shape)[1:])
            profile.set_shape(put.name, shape, shape, shape)
        self._config.add_optimization_profile(profile)

    def _set_target(self, capability: tuple[int, int]) -> None:
        if self._spec.runtime == "tensorrt":
            return  # the GPU at hand
        name = f"SM{capability[0]}{capability[1]}"
        target = getattr(self._trt.ComputeCapability, name, None)
        if target is None:
            raise GpubenchError(
                f"{library(self._spec.runtime)} does not build for {name}; it knows "
                f"{', '.join(n for n in dir(self._trt.ComputeCapability) if n.startswith('SM'))}"
            )
        self._config.num_compute_capabilities = 1
        self._config.set_compute_capability(target, 0)

    def write(self, path: Path) -> None:
        timing = None  # tensorrt-rtx times nothing when it builds
        if self._spec.runtime == "tensorrt":
            timing = cache.cache_dir() / self._spec.runtime / ".timing"
            known = self._config.create_timing_cache(_bytes_of(timing))
            self._config.set_timing_cache(known, ignore_mismatch=True)
        serialized = self._builder.build_serialized_network(self.network, self._config)
        if serialized is None:
            reason = " ".join((self._errors or ["no reason given"])[0].split())
            raise GpubenchError(
                f"{self._spec.runtime} cannot build {self._spec.model} in {self._spec.precision} "
                f"({reason}); use another --precision, or --runtime torchscript"
            )
        path.write_bytes(serialized)
        if timing is not None:
            _keep(timing, bytes(self._config.get_timing_cache().serialize()))

    def inputs(self) -> list[Any]:
        return [self.network.get_input(number) for number in range(self.network.num_inputs)]

    def outputs(self) -> list[Any]:
        return [self.network.get_output(number) for number in range(self.network.num_outputs)]

    def dtypes(self) -> tuple[str, ...]:
        layers = (self.network.get_layer(number) for number in range(self.network.num_layers))
        return tuple(
            sorted(
                {
                    layer.get_output(number).dtype.name
                    for layer in layers
                    for number in range(layer.num_outputs)
                }
            )
        )


def _binding(put: Any) -> Binding:
    return Binding(put.name, put.dtype.name, tuple(put.shape))


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _keep(path: Path, data: bytes) -> None:
    """What the builder has timed, for the next engine; without it that takes longer."""
    from gpubench.folder import write_file

    try:
        write_file(path, data)
    except OSError:
        return


def build(model: LoadedModel, spec: Spec) -> Engine:
    device = torch.device(spec.device)
    capability = torch.cuda.get_device_capability(device)
    trt: Any = importlib.import_module(_LIBRARIES[spec.runtime])
    runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
    made = plan(model, spec, capability)
    loaded = runtime.deserialize_cuda_engine(made.path.read_bytes())
    if loaded is None and made.from_cache:  # damaged
        made.path.unlink(missing_ok=True)
        made = plan(model, spec, capability)
        loaded = runtime.deserialize_cuda_engine(made.path.read_bytes())
    if loaded is None:
        raise GpubenchError(
            f"{library(spec.runtime)} cannot load the engine it built for "
            f"{torch.cuda.get_device_name(device)}; update the NVIDIA driver"
        )
    context = PerWorker(lambda: _Context(loaded, spec))
    return Engine(
        forward=lambda *inputs: context.mine.run(inputs),
        device=device,
        input_dtype=precision.weight_dtype(spec.precision),
        thread_modes=context.entered,
        session_per_thread=True,
        from_cache=made.from_cache,
        library=library(spec.runtime),
    )


class _Context:
    """One worker's execution context: on its stream, with outputs allocated once."""

    def __init__(self, engine: Any, spec: Spec) -> None:
        trt: Any = importlib.import_module(_LIBRARIES[spec.runtime])
        self._device = torch.device(spec.device)
        self._context = engine.create_execution_context()
        if self._context is None:
            raise GpubenchError("no memory for another execution context; use fewer --workers")
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        modes = {name: engine.get_tensor_mode(name) for name in names}
        self._inputs = [name for name in names if modes[name] == trt.TensorIOMode.INPUT]
        self._outputs: dict[str, torch.Tensor] = {}
        for name in names:
            if name in self._inputs:
                continue
            shape = (spec.batch, *tuple(engine.get_tensor_shape(name))[1:])
            dtype = _DTYPES[engine.get_tensor_dtype(name).name]
            self._outputs[name] = torch.empty(shape, dtype=dtype, device=self._device)
            self._context.set_tensor_address(name, self._outputs[name].data_ptr())

    def run(self, inputs: Tensors) -> Tensors:
        inputs = tuple(tensor.contiguous() for tensor in inputs)
        for name, tensor in zip(self._inputs, inputs, strict=True):
            self._context.set_input_shape(name, tuple(tensor.shape))
            self._context.set_tensor_address(name, tensor.data_ptr())
        stream = torch.cuda.current_stream(self._device).cuda_stream
        if not self._context.execute_async_v3(stream):
            raise GpubenchError("the engine could not be executed; its own message is above")
        return tuple(self._outputs.values())
