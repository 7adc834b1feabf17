"""onnxruntime: the model exported to ONNX, run by ONNX Runtime on a CPU or through CUDA.

| precision | on a CPU | on CUDA |
|---|---|---|
| fp32 | yes | TF32 off |
| tf32 | | TF32 on |
| fp16 | | exported with fp16 weights and inputs |
| int8 | quantised | |

int8 is dynamic, or static for networks with convolutions: see onnx_quantise.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gpubench import cache
from gpubench.engines import onnx_export, onnx_quantise, origin, precision, refusals
from gpubench.engines.base import Engine, PerWorker
from gpubench.errors import GpubenchError, first_line
from gpubench.models.base import LoadedModel, Tensors
from gpubench.models.onnx_file import OnnxFile

if TYPE_CHECKING:
    from gpubench.spec import Spec

# Bump when the way a model is quantised changes.
_RECIPE = 2

_DTYPES = {
    "tensor(float)": torch.float32,
    "tensor(float16)": torch.float16,
    "tensor(double)": torch.float64,
    "tensor(int64)": torch.int64,
    "tensor(int32)": torch.int32,
    "tensor(bool)": torch.bool,
}


def refusal(spec: Spec) -> str | None:
    if reason := refusals.onnxruntime_missing():
        return reason
    if spec.device == "cpu":
        return precision.refusal(spec, "fp32", "int8")
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return (
            "the installed onnxruntime is the one for CPUs; pip uninstall it and "
            "pip install onnxruntime-gpu, or measure with --device cpu"
        )
    return precision.refusal(spec, "fp32", "tf32", "fp16")


def build(model: LoadedModel, spec: Spec) -> Engine:
    path, kept = _model_file(model, spec)
    try:
        first = _Session(path, spec)
    except GpubenchError:
        if not kept:
            raise
        path.unlink(missing_ok=True)  # damaged
        path, kept = _model_file(model, spec)
        first = _Session(path, spec)
    ready = [first]
    session = PerWorker(lambda: ready.pop() if ready else _Session(path, spec))
    return Engine(
        forward=lambda *inputs: session.mine.run(inputs),
        device=torch.device(spec.device),
        input_dtype=first.input_dtype,
        thread_modes=session.entered,
        not_capturable="onnxruntime keeps a session for each thread that calls it",
        from_cache=kept,
        library=onnx_quantise.library(),
    )


def _model_file(model: LoadedModel, spec: Spec) -> tuple[Path, bool]:
    """(the ONNX file in the spec's precision, whether it was in the cache)."""
    network = onnx_export.network(model, spec, precision.weight_dtype(spec.precision))
    if spec.precision != "int8" or _already_int8(model):
        return network.file(spec)
    path = origin.entry(
        "onnxruntime-int8",
        ".onnx",
        network.content,
        {
            "recipe": _RECIPE,
            "by": onnx_quantise.library(),
            "calibration": onnx_quantise.calibration_digest(model, spec),
        },
        onnx_export.PACKAGES,
    )
    if path.exists():
        return path, True
    source, _ = network.file(spec)
    return cache.save(path, lambda place: onnx_quantise.for_cpu(source, place, model, spec)), False


def _already_int8(model: LoadedModel) -> bool:
    return isinstance(model.module, OnnxFile) and model.module.precision == "int8"


@dataclass
class _Bound:
    """A binding of the session's inputs and outputs for one batch size; the outputs are its own."""

    binding: Any
    outputs: Tensors


class _Session:
    """One worker's session, with the worker's own CPU threads or CUDA stream."""

    def __init__(self, path: Path, spec: Spec) -> None:
        import onnxruntime

        self._device = torch.device(spec.device)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=[_provider(spec)]
            )
        except Exception as error:  # its exceptions have no common base of their own
            reason = first_line(error)
            raise GpubenchError(
                f"onnxruntime cannot run {spec.model} in {spec.precision} ({reason}); "
                "use --runtime torchscript"
            ) from error
        self._inputs = [argument.name for argument in self._session.get_inputs()]
        formats = [_DTYPES[argument.type] for argument in self._session.get_inputs()]
        floats = (dtype for dtype in formats if dtype.is_floating_point)
        self.input_dtype = next(floats, torch.float32)
        self._bound: dict[int, _Bound] = {}

    def run(self, inputs: Tensors) -> Tensors:
        batch = len(inputs[0])
        if batch not in self._bound:
            self._bound[batch] = self._bind_outputs(batch)
        bound = self._bound[batch]
        inputs = tuple(tensor.contiguous() for tensor in inputs)
        for name, tensor in zip(self._inputs, inputs, strict=True):
            bound.binding.bind_input(name, *self._place(tensor))
        self._session.run_with_iobinding(bound.binding)
        return bound.outputs

    def _bind_outputs(self, batch: int) -> _Bound:
        binding = self._session.io_binding()
        outputs = []
        for argument in self._session.get_outputs():
            shape = [batch, *argument.shape[1:]]
            if not all(isinstance(size, int) for size in shape):
                raise GpubenchError(
                    f"output {argument.name} has shape {argument.shape}, which depends on the "
                    "data; move what makes it so (as non-maximum suppression) out of the model"
                )
            tensor = torch.empty(shape, dtype=_DTYPES[argument.type], device=self._device)
            binding.bind_output(argument.name, *self._place(tensor))
            outputs.append(tensor)
        return _Bound(binding, tuple(outputs))

    def _place(self, tensor: torch.Tensor) -> tuple[str, int, Any, list[int], int]:
        """(device, its number, NumPy's name of the format, shape, address)."""
        numpy_dtype = torch.empty(0, dtype=tensor.dtype).numpy().dtype
        shape = list(tensor.shape)
        return self._device.type, self._device.index or 0, numpy_dtype, shape, tensor.data_ptr()


def _provider(spec: Spec) -> str | tuple[str, dict[str, str]]:
    if spec.device == "cpu":
        return "CPUExecutionProvider"
    device = torch.device(spec.device)
    return (
        "CUDAExecutionProvider",
        {
            "device_id": str(device.index or 0),
            "user_compute_stream": str(torch.cuda.current_stream(device).cuda_stream),
            "use_tf32": str(int(spec.precision == "tf32")),
        },
    )
