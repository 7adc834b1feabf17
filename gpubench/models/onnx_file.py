"""A user's ONNX file, run by ONNX Runtime or OpenVINO, or built into a TensorRT engine."""

from __future__ import annotations

import ctypes
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gpubench.errors import GpubenchError, reason_of
from gpubench.models.base import LoadedModel, Tensors, torch_dtype
from gpubench.models.described_inputs import input_maker
from gpubench.models.local_files import onnx_digest
from gpubench.models.onnx_requests import refusal, request
from gpubench.models.onnx_signature import read_signature
from gpubench.spec.dtypes import BY_NAME, BY_ONNX_NUMBER

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell


class OnnxFile(torch.nn.Module):
    """The file as a module that ONNX Runtime runs on the CPU. It is the reference for engines."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        import onnxruntime

        self.path = path
        # The cache finds engines made from this file by its digest. Making the digest also refuses
        # external data outside the file's folder, before ONNX Runtime reads it.
        self.digest = onnx_digest(path)
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the exceptions of onnxruntime have no common base class
            reason = reason_of(error)
            raise GpubenchError(f"{path} cannot be read by onnxruntime ({reason})") from error
        self.inputs = [input_.name for input_ in self._session.get_inputs()]
        self.outputs = [output.name for output in self._session.get_outputs()]
        self.precision = read_signature(path).precision

    def forward(self, *inputs: torch.Tensor) -> Tensors:
        binding = self._session.io_binding()
        for name, tensor in zip(self.inputs, inputs, strict=True):
            bind_input(binding, name, tensor.contiguous())
        for output in self._session.get_outputs():
            binding.bind_output(output.name)
        self._session.run_with_iobinding(binding)
        return outputs_of(binding)


def is_int8_file(module: torch.nn.Module) -> bool:
    """Whether the model is a user's ONNX file that is quantised already."""
    return isinstance(module, OnnxFile) and module.precision == "int8"


def bind_input(binding: Any, name: str, tensor: torch.Tensor) -> None:
    """Bind a tensor as an input. It must be contiguous and live as long as the binding."""
    binding.bind_input(name, *buffer_of(tensor))


def buffer_of(tensor: torch.Tensor) -> tuple[str, int, int, list[int], int]:
    """The memory of a tensor, as onnxruntime's bindings take it.

    (device, number of the device, ONNX's number of the format, shape, address).
    """
    number = BY_NAME[str(tensor.dtype).removeprefix("torch.")].onnx_number
    device = tensor.device
    return device.type, device.index or 0, number, list(tensor.shape), tensor.data_ptr()


def outputs_of(binding: Any) -> Tensors:
    """Copies of the outputs of the last run, which are in host memory.

    Only tensors of numbers are returned. Converted scikit-learn models may also have outputs that
    are strings, sequences or maps.
    """
    return tuple(
        _copy(output)
        for output in binding.get_outputs()
        if output.has_value() and output.is_tensor() and output.element_type() in BY_ONNX_NUMBER
    )


def _copy(output: Any) -> torch.Tensor:
    """A copy of an output. It does not use NumPy, which has no bfloat16."""
    dtype, shape = torch_dtype(BY_ONNX_NUMBER[output.element_type()].name), output.shape()
    size = math.prod(shape) * dtype.itemsize
    if size == 0:
        return torch.empty(shape, dtype=dtype)
    memory = (ctypes.c_uint8 * size).from_address(output.data_ptr())
    return torch.frombuffer(memory, dtype=dtype).view(shape).clone()


def load(cell: Cell) -> LoadedModel:
    path = Path(cell.model)
    if reason := refusal(cell):  # resolve has checked it already, unless a program calls `load`
        raise GpubenchError(reason)
    described = request(read_signature(path), cell)
    make_inputs = input_maker(cell, described)
    return LoadedModel(
        module := OnnxFile(path),
        f"local: {path.name}",
        make_inputs,
        fixed_batch=described.fixed_batch,
        batch_first=described.joinable,
        input_names=tuple(input_.name for input_ in described.inputs),
        output_names=tuple(module.outputs),
    )
