"""onnxruntime: the model exported to ONNX. ONNX Runtime executes it on a CPU or with CUDA.

| precision | on a CPU | on CUDA |
|---|---|---|
| fp32 | yes | TF32 off |
| tf32 | | TF32 on |
| fp16 | | exported with fp16 weights and inputs |
| int8 | quantised | |

int8 is dynamic, or static for networks with convolutions: see gpubench.engines.onnx.quantise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gpubench import cache
from gpubench.engines import cache_key, precision, refusals
from gpubench.engines.base import Engine, PerWorker
from gpubench.engines.onnx import export, quantise
from gpubench.errors import GpubenchError, reason_of
from gpubench.models.base import LoadedModel, Tensors, torch_dtype
from gpubench.models.local_files import onnx_data
from gpubench.models.onnx_file import OnnxFile, bind_input, buffer_of, outputs_of
from gpubench.models.onnx_signature import read_signature
from gpubench.spec.dtypes import BY_ONNX_TYPE
from gpubench.system.machine import this_machine

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

# Increase this number when the way in which a model is quantised changes.
_RECIPE = 2


def refusal(cell: Cell) -> str | None:
    if reason := refusals.onnxruntime_missing():
        return reason
    of_file = _precision_of_file(cell)
    if cell.on_cpu:
        return precision.refusal(cell, "fp32", "int8", *of_file)
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return (
            "the installed onnxruntime is the package for CPUs; pip uninstall it and "
            "pip install onnxruntime-gpu, or measure with --device cpu"
        )
    return precision.refusal(cell, "fp32", "tf32", "fp16", *of_file)


def _precision_of_file(cell: Cell) -> tuple[str, ...]:
    """The precision of a user's ONNX file, which ONNX Runtime does not convert."""
    if not cell.model.lower().endswith(".onnx"):
        return ()
    return (read_signature(Path(cell.model)).precision,)


def build(model: LoadedModel, cell: Cell) -> Engine:
    path, from_cache = _model_file(model, cell)
    try:
        first = _Session(path, cell)
    except GpubenchError:
        if not from_cache:
            raise
        path.unlink(missing_ok=True)  # the cached file is damaged
        path, from_cache = _model_file(model, cell)
        first = _Session(path, cell)
    ready = [first]
    session = PerWorker(lambda: ready.pop() if ready else _Session(path, cell))
    return Engine(
        forward=lambda *inputs: session.of_this_thread.run(inputs),
        device=torch.device(cell.device),
        # The inputs of a user's file may have several formats. They are made in these formats.
        input_dtype=None if isinstance(model.module, OnnxFile) else first.input_dtype,
        thread_modes=session.entered,
        not_capturable="onnxruntime keeps a session for each thread that calls it",
        from_cache=from_cache,
        library=quantise.library(),
        artifact_bytes=_bytes(model, path),
    )


def _model_file(model: LoadedModel, cell: Cell) -> tuple[Path, bool]:
    """(the ONNX file in the cell's precision, whether it was in the cache)."""
    network = export.network(model, cell, precision.weight_dtype(cell.precision))
    if cell.precision != "int8" or _already_int8(model):
        return network.file(cell)
    path = cache_key.entry(
        "onnxruntime-int8",
        ".onnx",
        network.content,
        {
            "recipe": _RECIPE,
            "by": quantise.library(),
            "calibration": quantise.calibration_digest(model, cell),
            "reduces_range": quantise.reduces_range(this_machine().cpu_flags),
        },
        export.PACKAGES,
    )
    if path.exists():
        return path, True
    source, _ = network.file(cell)
    return cache.save(path, lambda target: quantise.for_cpu(source, target, model, cell)), False


def _bytes(model: LoadedModel, path: Path) -> int:
    """The size of the ONNX file and of its external data. Exported files have none."""
    is_users = isinstance(model.module, OnnxFile) and path == model.module.path
    data = onnx_data(path) if is_users else []
    return sum(file.stat().st_size for file in (path, *data))


def _already_int8(model: LoadedModel) -> bool:
    return isinstance(model.module, OnnxFile) and model.module.precision == "int8"


@dataclass
class _Bound:
    """A binding of the session's inputs and outputs, for requests of one shape."""

    binding: Any
    # The memory of the outputs; None: ONNX Runtime allocates it in each run, since the shapes of
    # the outputs differ between runs.
    outputs: Tensors | None


class _Session:
    """The session of one worker, with separate CPU threads or a separate CUDA stream."""

    def __init__(self, path: Path, cell: Cell) -> None:
        import onnxruntime

        self._device = torch.device(cell.device)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=[_provider(cell)]
            )
        except Exception as error:  # the exceptions of onnxruntime have no common base class
            reason = reason_of(error)
            raise GpubenchError(
                f"onnxruntime cannot run {cell.model} in {cell.precision} ({reason}); "
                "use --runtime torchscript"
            ) from error
        self._inputs = [argument.name for argument in self._session.get_inputs()]
        types = (argument.type for argument in self._session.get_inputs())
        floats = (BY_ONNX_TYPE[name] for name in types if name in BY_ONNX_TYPE)
        self.input_dtype = next(
            (torch_dtype(found.name) for found in floats if found.kind == "float"), torch.float32
        )
        self._bound: dict[tuple[torch.Size, ...], _Bound] = {}

    def run(self, inputs: Tensors) -> Tensors:
        inputs = tuple(tensor.contiguous() for tensor in inputs)
        shapes = tuple(tensor.shape for tensor in inputs)
        if shapes not in self._bound:
            return self._bind(inputs, shapes)
        bound = self._bound[shapes]
        self._bind_inputs(bound.binding, inputs)
        if bound.outputs is not None:
            self._session.run_with_iobinding(bound.binding)
            return bound.outputs
        self._bind_new_outputs(bound.binding)
        self._session.run_with_iobinding(bound.binding)
        return outputs_of(bound.binding)

    def _bind_inputs(self, binding: Any, inputs: Tensors) -> None:
        for name, tensor in zip(self._inputs, inputs, strict=True):
            bind_input(binding, name, tensor)

    def _bind_new_outputs(self, binding: Any) -> None:
        """Let ONNX Runtime allocate outputs of any shape in host memory, where they are read.

        Without this the next run would write to the memory of the last outputs.
        """
        binding.clear_binding_outputs()
        for argument in self._session.get_outputs():
            binding.bind_output(argument.name)

    def _bind(self, inputs: Tensors, shapes: tuple[torch.Size, ...]) -> Tensors:
        """The first run for inputs of these shapes. It shows the shapes of the outputs.

        If the shapes of the outputs follow from those of the inputs, the outputs get fixed memory.
        The shapes in the file alone do not show this: they may be wrong, or names of dimensions
        that no input has.
        """
        binding = self._session.io_binding()
        arguments = self._session.get_outputs()
        self._bind_new_outputs(binding)
        self._bind_inputs(binding, inputs)
        self._session.run_with_iobinding(binding)
        found = outputs_of(binding)
        sizes = self._sizes(inputs)
        if len(found) < len(arguments) or not all(
            _follows_from_inputs(argument.shape, tensor.shape, sizes)
            for argument, tensor in zip(arguments, found, strict=True)
        ):
            self._bound[shapes] = _Bound(binding, None)
            return found
        outputs = tuple(torch.empty_like(tensor, device=self._device) for tensor in found)
        binding.clear_binding_outputs()
        for argument, tensor in zip(arguments, outputs, strict=True):
            binding.bind_output(argument.name, *buffer_of(tensor))
        self._bound[shapes] = _Bound(binding, outputs)
        return found

    def _sizes(self, inputs: Tensors) -> dict[str, int]:
        """The sizes of all dimensions that have a name in the file's inputs."""
        named: dict[str, int] = {}
        for argument, tensor in zip(self._session.get_inputs(), inputs, strict=True):
            named |= {
                dim: size
                for dim, size in zip(argument.shape, tensor.shape, strict=True)
                if isinstance(dim, str)
            }
        return named


def _follows_from_inputs(
    dims: Sequence[object], shape: torch.Size, sizes: Mapping[str, int]
) -> bool:
    """Whether `shape` is what the file says: each dimension is fixed or has an input's name."""
    return len(dims) == len(shape) and all(
        size == (sizes.get(dim) if isinstance(dim, str) else dim)
        for dim, size in zip(dims, shape, strict=True)
    )


def _provider(cell: Cell) -> str | tuple[str, dict[str, str]]:
    if cell.on_cpu:
        return "CPUExecutionProvider"
    device = torch.device(cell.device)
    return (
        "CUDAExecutionProvider",
        {
            "device_id": str(device.index or 0),
            "user_compute_stream": str(torch.cuda.current_stream(device).cuda_stream),
            "use_tf32": str(int(cell.precision == "tf32")),
        },
    )
