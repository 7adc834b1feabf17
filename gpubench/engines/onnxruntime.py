"""onnxruntime: the model exported to ONNX. ONNX Runtime executes it on a CPU or with CUDA.

| precision | on a CPU | on CUDA |
|---|---|---|
| fp32 | yes | TF32 off |
| tf32 | | TF32 on |
| fp16 | | exported with fp16 weights and inputs |
| int8 | quantised | |

int8 is dynamic, or static for networks with convolutions: see gpubench.engines.onnx.quantise.

On CUDA, each session executes on the stream of its worker. Inputs are read where they are on the
device, and outputs are written to fixed memory there. A run returns as soon as its kernels are
enqueued, and the worker waits for the outputs on its stream.

ONNX Runtime can capture such a run as a CUDA graph itself (its option enable_cuda_graph), and then
replays the graph instead of launching each kernel. The rules of its documentation are: all nodes
run on CUDA, no shape and no address changes, and one thread captures at a time. So a session
captures one shape of inputs; it copies the inputs of each request to the addresses that the graph
reads; and only cells with one worker and one batch size have sessions that capture. If a model
cannot be captured, its sessions run without a graph, and the result says why.

gpubench cannot capture these sessions itself, as it does with other runtimes. Without
enable_cuda_graph a run may enqueue a host function that frees memory; each replay would free it
again. With it, ONNX Runtime launches a graph inside the capture, which CUDA refuses
(https://github.com/microsoft/onnxruntime/pull/32081). So Python calls the session for each batch.

Nothing of what is said here about CUDA was run on a GPU yet.
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
from gpubench.models.base import LoadedModel, Tensors, seeded, torch_dtype, with_floats
from gpubench.models.local_files import onnx_data
from gpubench.models.onnx_file import OnnxFile, bind_input, buffer_of, is_int8_file, outputs_of
from gpubench.models.onnx_signature import read_signature
from gpubench.spec.dtypes import BY_ONNX_TYPE
from gpubench.system.machine import this_machine

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

_ONE_WORKER = "onnxruntime captures its own CUDA graphs only with one worker and one batch size"
_OWN_GRAPH = "onnxruntime replays a CUDA graph of its own, and Python calls it for each batch"

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
    first, path, from_cache = cache_key.loaded(
        lambda: _model_file(model, cell), lambda path: _Session(path, cell)
    )
    # The inputs of a user's file may have several formats. They are made in these formats.
    input_dtype = None if isinstance(model.module, OnnxFile) else first.input_dtype
    not_captured = None if cell.on_cpu else _why_not_captured(path, model, cell, input_dtype)
    captures = not cell.on_cpu and not_captured is None
    session = PerWorker(lambda: _Session(path, cell, captures), None if captures else first)
    return Engine(
        forward=lambda *inputs: session.of_this_thread.run(inputs),
        device=torch.device(cell.device),
        input_dtype=input_dtype,
        thread_modes=session.entered,
        not_capturable=not_captured or _OWN_GRAPH,
        from_cache=from_cache,
        library=quantise.library(),
        artifact_bytes=_bytes(model, path),
    )


def _why_not_captured(
    path: Path, model: LoadedModel, cell: Cell, input_dtype: torch.dtype | None
) -> str | None:
    """Why ONNX Runtime does not capture the model. None: a session of its own has captured it."""
    if not cell.is_one_stream:
        return _ONE_WORKER
    inputs = model.make_inputs(seeded(cell.seed), cell.batch)
    if input_dtype is not None:
        inputs = with_floats(inputs, input_dtype)
    try:
        with torch.inference_mode():
            trial = _Session(path, cell, captures=True)
            trial.run(tuple(tensor.to(cell.device) for tensor in inputs))
    except Exception as error:  # the exceptions of onnxruntime have no common base class
        return f"onnxruntime cannot capture it ({reason_of(error)})"
    return None if trial.captured else "the shapes of its outputs depend on the data"


def _model_file(model: LoadedModel, cell: Cell) -> tuple[Path, bool]:
    """(the ONNX file in the cell's precision, whether it was in the cache)."""
    network = export.network(model, cell, precision.weight_dtype(cell.precision))
    if cell.precision != "int8" or is_int8_file(model.module):
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


@dataclass
class _Bound:
    """A binding of the session's inputs and outputs, for requests of one shape."""

    binding: Any
    # The memory of the outputs; None: ONNX Runtime allocates it in each run, since the shapes of
    # the outputs differ between runs.
    outputs: Tensors | None
    inputs: Tensors | None = None  # the memory that a captured graph reads; None: no graph


class _Session:
    """The session of one worker, with separate CPU threads or a separate CUDA stream.

    `captures`: the first run with inputs of fixed shapes is captured as a CUDA graph. Other shapes
    run without a graph, since ONNX Runtime may use again what a graph reads from host memory.
    """

    def __init__(self, path: Path, cell: Cell, captures: bool = False) -> None:
        import onnxruntime

        self._device = torch.device(cell.device)
        self._stream = _stream(self._device)
        self._captures, self.captured = captures, False
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors
        provider = _provider(cell, self._stream, captures)
        try:
            self._session = onnxruntime.InferenceSession(
                # Without this, a session that cannot be made for CUDA would run on the CPU.
                str(path),
                options,
                providers=[provider],
                enable_fallback=0,
            )
        except Exception as error:  # the exceptions of onnxruntime have no common base class
            reason = reason_of(error)
            raise GpubenchError(
                f"onnxruntime cannot run {cell.model} in {cell.precision} ({reason}); "
                "use --runtime torchscript"
            ) from error
        wanted = provider if isinstance(provider, str) else provider[0]
        if wanted not in self._session.get_providers():
            raise GpubenchError(
                f"onnxruntime could not load its {wanted}, so it would run on the CPU; install the "
                "CUDA and cuDNN libraries that its version needs, or use --runtime torchscript"
            )
        self._inputs = [argument.name for argument in self._session.get_inputs()]
        types = (argument.type for argument in self._session.get_inputs())
        floats = (BY_ONNX_TYPE[name] for name in types if name in BY_ONNX_TYPE)
        self.input_dtype = next(
            (torch_dtype(found.name) for found in floats if found.kind == "float"), torch.float32
        )
        self._bound: dict[tuple[torch.Size, ...], _Bound] = {}
        self._plain = self._enqueued = self._graph = None
        if self._stream is not None:
            self._plain = _run_options(gpu_graph_id="-1")  # no graph, and the host waits
            # Outputs on the device need no waiting: whoever reads them waits for the stream.
            self._enqueued = _run_options(
                gpu_graph_id="-1", disable_synchronize_execution_providers="1"
            )
            self._graph = _run_options(gpu_graph_id="1")  # any positive number: there is one graph

    def run(self, inputs: Tensors) -> Tensors:
        """The outputs, which are complete when the caller's stream reaches them."""
        if self._stream is None:
            return self._run(inputs)
        caller = torch.cuda.current_stream(self._device)
        if caller == self._stream:
            return self._run(inputs)
        self._stream.wait_stream(caller)
        with torch.cuda.stream(self._stream):
            outputs = self._run(inputs)
        caller.wait_stream(self._stream)
        return outputs

    def _run(self, inputs: Tensors) -> Tensors:
        inputs = tuple(tensor.contiguous() for tensor in inputs)
        shapes = tuple(tensor.shape for tensor in inputs)
        if shapes not in self._bound:
            return self._bind(inputs, shapes)
        bound = self._bound[shapes]
        if bound.inputs is not None:
            for place, tensor in zip(bound.inputs, inputs, strict=True):
                place.copy_(tensor, non_blocking=True)
            self._session.run_with_iobinding(bound.binding, self._graph)
            assert bound.outputs is not None
            return bound.outputs
        self._bind_inputs(bound.binding, inputs)
        if bound.outputs is not None:
            self._session.run_with_iobinding(bound.binding, self._enqueued)
            return bound.outputs
        self._bind_new_outputs(bound.binding)
        self._session.run_with_iobinding(bound.binding, self._plain)
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
        self._session.run_with_iobinding(binding, self._plain)
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
        if self._captures and not self.captured:
            return self._capture(self._bound[shapes], inputs, outputs)
        return found

    def _capture(self, bound: _Bound, inputs: Tensors, outputs: Tensors) -> Tensors:
        """Capture the run of this binding. The same call also replays it once."""
        bound.inputs = tuple(tensor.clone() for tensor in inputs)
        self._bind_inputs(bound.binding, bound.inputs)
        self._session.run_with_iobinding(bound.binding, self._graph)
        self.captured = True
        return outputs

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


def _run_options(**entries: str) -> Any:
    import onnxruntime

    options = onnxruntime.RunOptions()
    for name, value in entries.items():
        options.add_run_config_entry(name, value)
    return options


def _stream(device: torch.device) -> torch.cuda.Stream | None:
    """The stream of a new session: that of this thread, or a new one in place of the default one.

    The default stream cannot be captured. Its address is 0, which ONNX Runtime takes for no stream.
    """
    if device.type == "cpu":
        return None
    current = torch.cuda.current_stream(device)
    return current if current.cuda_stream else torch.cuda.Stream(device)


def _provider(
    cell: Cell, stream: torch.cuda.Stream | None, captures: bool
) -> str | tuple[str, dict[str, str]]:
    if stream is None:
        return "CPUExecutionProvider"
    return (
        "CUDAExecutionProvider",
        {
            "device_id": str(torch.device(cell.device).index or 0),
            "user_compute_stream": str(stream.cuda_stream),
            "use_tf32": str(int(cell.precision == "tf32")),
            "enable_cuda_graph": str(int(captures)),
        },
    )
