"""openvino: the model converted to OpenVINO's format, and executed by it on a CPU, iGPU or NPU.

| precision | weights in the file | arithmetic | devices |
|---|---|---|---|
| fp32 | fp32 | fp32 | CPU, iGPU |
| bf16 | fp32, converted when the network is compiled | bf16 | CPUs with bf16 |
| fp16 | fp32, converted when the network is compiled | fp16 | iGPU, NPU, CPUs with fp16 |
| int8 | int8 | int8 products; the rest fp32 on a CPU, fp16 elsewhere | all |

Inputs and outputs are fp32 in host memory for all precisions. OpenVINO would choose the precision
itself (bf16 where the CPU has it), so it is always given, and checked after compiling.

The network is compiled once for all workers, with the shapes of the cell's requests. On a CPU each
worker has one stream with `threads` threads, which OpenVINO binds to different cores. A worker has
one infer request. It starts the request and waits for it: OpenVINO's own threads execute it, so
that two workers never wait for the same stream. Input tensors are shared with OpenVINO, not copied.

What is tested: CPUs. No iGPU and no NPU has executed anything yet.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gpubench.engines import cache_key, refusals
from gpubench.engines.base import Engine, PerWorker
from gpubench.engines.openvino import devices, network
from gpubench.errors import GpubenchError, reason_of
from gpubench.models.base import LoadedModel, Tensors, seeded
from gpubench.models.local_files import onnx_data
from gpubench.models.onnx_file import OnnxFile

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

_TYPES = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


def refusal(cell: Cell) -> str | None:
    if not cell.on_cpu:
        return "it runs on CPUs, and on the igpu and npu of Intel's processors; add --device cpu"
    return refusals.of_openvino(cell)


def build(model: LoadedModel, cell: Cell) -> Engine:
    if cell.computes_on_cpu:
        devices.refuse_other_cores()
    compiled, path, from_cache = cache_key.loaded(
        lambda: network.file_of(model, cell), lambda path: _Compiled(path, model, cell)
    )
    session: PerWorker[_Session] = PerWorker(compiled.session)
    return Engine(
        forward=lambda *inputs: session.of_this_thread.run(inputs),
        device=torch.device("cpu"),  # where inputs and outputs are
        # The inputs of a user's file may have several formats. They are made in these formats.
        input_dtype=None if isinstance(model.module, OnnxFile) else torch.float32,
        thread_modes=session.entered,
        not_capturable="openvino executes nothing on NVIDIA GPUs",
        from_cache=from_cache,
        library=_library(cell),
        artifact_bytes=sum(file.stat().st_size for file in (path, *onnx_data(path))),
    )


def _library(cell: Cell) -> str:
    names = ("openvino", "nncf") if cell.precision == "int8" else ("openvino",)
    return ", ".join(f"{name} {version(name)}" for name in names)


class _Compiled:
    """A network compiled for the device and the workers of a cell."""

    def __init__(self, path: Path, model: LoadedModel, cell: Cell) -> None:
        device = devices.name_of(cell)
        assert device is not None  # `refusal` has looked for it
        asked = compile_properties(cell)
        try:
            # The network reads its weights from the memory that _memory holds.
            read, self._memory = network.read(path)
            read.reshape(_shapes(model, cell))
            self._compiled = devices.core().compile_model(read, device, asked)
        except Exception as error:  # OpenVINO raises RuntimeError, and others for a damaged file
            raise GpubenchError(
                f"openvino cannot run {cell.model} in {cell.precision} on {device} "
                f"({reason_of(error)}); use --runtime torchscript or onnxruntime"
            ) from error
        _refuse_other_properties(self._compiled, asked, cell)
        self._has_fixed_shapes = all(
            output.get_partial_shape().is_static for output in self._compiled.outputs
        )

    def session(self) -> _Session:
        return _Session(self._compiled.create_infer_request(), self._has_fixed_shapes)


class _Session:
    """The infer request of one worker."""

    def __init__(self, request: Any, has_fixed_shapes: bool) -> None:
        import openvino

        self._tensor = openvino.Tensor
        self._request = request
        # The outputs have the same memory in each run if their shapes are fixed.
        self._outputs = self._read() if has_fixed_shapes else None
        self._inputs: Tensors = ()

    def run(self, inputs: Tensors) -> Tensors:
        # They are kept until the next call, since the request reads their memory.
        self._inputs = tuple(tensor.contiguous() for tensor in inputs)
        for number, tensor in enumerate(self._inputs):
            shared = self._tensor(tensor.numpy(), shared_memory=True)
            self._request.set_input_tensor(number, shared)
        self._request.start_async()
        self._request.wait()
        return self._read() if self._outputs is None else self._outputs

    def _read(self) -> Tensors:
        """The memory of the outputs as tensors. The next run writes to it."""
        tensors = self._request.output_tensors
        return tuple(torch.from_numpy(tensor.data) for tensor in tensors)


def _shapes(model: LoadedModel, cell: Cell) -> dict[int, Any]:
    """The shape of each input. The batch is free, up to the largest, with dynamic batching."""
    import openvino

    request = model.make_inputs(seeded(cell.seed), model.fixed_batch or cell.batch)
    shapes = {}
    for number, tensor in enumerate(request):
        dims: list[Any] = list(tensor.shape)
        if cell.joins_requests and dims:
            dims[0] = openvino.Dimension(1, cell.batch_limits.samples)
        shapes[number] = openvino.PartialShape(dims)
    return shapes


def compile_properties(cell: Cell) -> dict[str, object]:
    """The properties of OpenVINO with which the network of a cell is compiled."""
    import openvino

    rest_of_int8 = "f32" if cell.computes_on_cpu else "f16"
    type_ = getattr(openvino.Type, _TYPES.get(cell.precision, rest_of_int8))
    properties: dict[str, object] = {"INFERENCE_PRECISION_HINT": type_}
    if not cell.computes_on_cpu:
        hint = "THROUGHPUT" if cell.workers > 1 else "LATENCY"
        return properties | {"PERFORMANCE_HINT": hint}
    return properties | {
        "NUM_STREAMS": cell.workers,
        "INFERENCE_NUM_THREADS": cell.workers * cell.threads,
        # Otherwise OpenVINO may use one thread of each core, and fewer threads than asked for.
        "ENABLE_HYPER_THREADING": True,
    }


def _refuse_other_properties(compiled: Any, asked: dict[str, object], cell: Cell) -> None:
    """Raises GpubenchError if OpenVINO has compiled for other streams, threads or precision."""
    precision = "INFERENCE_PRECISION_HINT"
    if compiled.get_property(precision) != asked[precision]:
        raise GpubenchError(
            f"openvino does not compute {cell.model} in {cell.precision} on this device; use "
            "--precision fp32"
        )
    if not cell.computes_on_cpu:
        return
    streams, threads = (
        compiled.get_property(name) for name in ("NUM_STREAMS", "INFERENCE_NUM_THREADS")
    )
    if (streams, threads) != (asked["NUM_STREAMS"], asked["INFERENCE_NUM_THREADS"]):
        raise GpubenchError(
            f"openvino has {streams} streams with {threads} threads together for {cell.workers} "
            f"workers with {cell.threads} threads each; use fewer --workers or --threads"
        )
