"""Loads an engine file of TensorRT on a GPU, and executes it with execution contexts.

A context executes one batch at a time, so each worker has a separate one. Each captured graph has a
separate context too, since it uses the memory of the context from its capture. torch allocates the
outputs and the scratch memory once; nothing is allocated while a batch runs.

TensorRT-RTX compiles kernels when it executes a batch size for the first time. It is set to do this
at once and not in the background. It captures no graphs, since gpubench captures them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gpubench.engines.tensorrt.library import ErrorLog, library, version_of
from gpubench.errors import GpubenchError
from gpubench.models.base import Tensors, torch_dtype
from gpubench.spec.dtypes import BY_TENSORRT

if TYPE_CHECKING:
    import tensorrt as trt


@dataclass(frozen=True)
class EngineInput:
    name: str
    dtype: torch.dtype
    sizes: tuple[int, ...]  # of one sample
    least: int  # the smallest batch, in samples
    most: int  # the largest batch, in samples


class LoadedEngine:
    """An engine on one GPU, with its inputs and outputs."""

    def __init__(self, path: Path, runtime: str, device: torch.device) -> None:
        """Load a file. Raises GpubenchError if it is not an engine for this GPU and library."""
        if TYPE_CHECKING:
            import tensorrt as trt
        else:
            trt = library(runtime)
        self.runtime, self.device = runtime, device
        log = ErrorLog(runtime)
        with torch.cuda.device(device):
            self._runtime = trt.Runtime(log.logger)
            engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            raise GpubenchError(
                f"{path} is not an engine for {torch.cuda.get_device_name(device)} and "
                f"{version_of(runtime)} ({log.first}); build it for both with gpubench build, or "
                "measure the model from which it was built"
            )
        self.engine = engine
        self.file_bytes = path.stat().st_size
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self.inputs = tuple(map(self._input, inputs))
        self.outputs = tuple(name for name in names if name not in inputs)

    def _input(self, name: str) -> EngineInput:
        least, _, most = (tuple(shape) for shape in self.engine.get_tensor_profile_shape(name, 0))
        if least[1:] != most[1:]:
            raise GpubenchError(
                f"input {name} takes shapes from {least} to {most}; only the batch may vary"
            )
        return EngineInput(name, self.dtype(name), least[1:], least[0], most[0])

    def dtype(self, name: str) -> torch.dtype:
        return torch_dtype(BY_TENSORRT[self.engine.get_tensor_dtype(name).name].name)

    @property
    def float_dtype(self) -> torch.dtype:
        """The format of floating-point inputs."""
        formats = (input_.dtype for input_ in self.inputs if input_.dtype.is_floating_point)
        return next(formats, torch.float32)

    def refuse_batch(self, least: int, most: int) -> None:
        """Raises GpubenchError if the engine does not take batches of `least` to `most` samples."""
        for input_ in self.inputs:
            if least < input_.least or most > input_.most:
                raise GpubenchError(
                    f"the engine takes batches of {_range(input_.least, input_.most)} samples, and "
                    f"this cell needs {_range(least, most)}; choose --batch and --dynamic-batch "
                    "within that range"
                )

    def context(self, captured: bool = False) -> Context:
        """A new context, for one worker or for one graph.

        Raises GpubenchError if the memory is too small for it.
        """
        return Context(self, captured)


def _range(least: int, most: int) -> str:
    return f"{least}" if least == most else f"{least} to {most}"


class Context:
    """Executes an engine on the current stream. Its outputs are valid until its next call."""

    def __init__(self, loaded: LoadedEngine, captured: bool) -> None:
        self._loaded, self._captured = loaded, captured
        with torch.cuda.device(loaded.device):
            self._context = _new_context(loaded)
            size = loaded.engine.device_memory_size_v2
            self._scratch = torch.empty(max(size, 1), dtype=torch.uint8, device=loaded.device)
            self._context.set_device_memory(self._scratch.data_ptr(), size)
        self._outputs: dict[int, Tensors] = {}  # by batch size

    def run(self, *inputs: torch.Tensor) -> Tensors:
        """Execute one batch. Raises GpubenchError if the engine cannot be executed or captured."""
        inputs = tuple(tensor.contiguous() for tensor in inputs)
        for input_, tensor in zip(self._loaded.inputs, inputs, strict=True):
            self._context.set_input_shape(input_.name, tuple(tensor.shape))
            self._context.set_tensor_address(input_.name, tensor.data_ptr())
        batch = len(inputs[0])
        if batch not in self._outputs:
            self._outputs[batch] = tuple(map(self._empty, self._loaded.outputs))
        outputs = self._outputs[batch]
        for name, tensor in zip(self._loaded.outputs, outputs, strict=True):
            self._context.set_tensor_address(name, tensor.data_ptr())
        stream = torch.cuda.current_stream(self._loaded.device).cuda_stream
        if self._captured:
            self._refuse_what_cannot_be_captured(stream)
        if not self._context.execute_async_v3(stream):
            raise GpubenchError("the engine could not be executed")
        return outputs

    def _empty(self, name: str) -> torch.Tensor:
        shape = tuple(self._context.get_tensor_shape(name))
        if any(size < 0 for size in shape):
            raise GpubenchError(
                f"output {name} has shape {shape}, which depends on the data; move the operators "
                "that cause this (such as non-maximum suppression) out of the model"
            )
        return torch.empty(shape, dtype=self._loaded.dtype(name), device=self._loaded.device)

    def _refuse_what_cannot_be_captured(self, stream: int) -> None:
        """Raises GpubenchError, before a capture begins, if the engine cannot be captured.

        An engine that allocates or waits makes a capture fail.
        """
        is_rtx = self._loaded.runtime == "tensorrt-rtx"
        if not is_rtx or torch.cuda.is_current_stream_capturing():
            return
        if not self._context.is_stream_capturable(stream):
            raise GpubenchError("tensorrt_rtx says that this engine cannot be captured")


def _new_context(loaded: LoadedEngine) -> trt.IExecutionContext:
    """A new context without scratch memory. The caller has to provide this memory."""
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = library(loaded.runtime)
    engine = loaded.engine
    config = engine.create_runtime_config()
    config.set_execution_context_allocation_strategy(
        trt.ExecutionContextAllocationStrategy.USER_MANAGED
    )
    is_rtx = loaded.runtime == "tensorrt-rtx"
    if is_rtx:
        config.cuda_graph_strategy = trt.CudaGraphStrategy.DISABLED
        config.dynamic_shapes_kernel_specialization_strategy = (
            trt.DynamicShapesKernelSpecializationStrategy.EAGER
        )
    context = engine.create_execution_context(config)
    if context is None:
        raise GpubenchError("no memory for another execution context; use fewer --workers")
    return context
