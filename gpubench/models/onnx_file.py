"""An ONNX file of the user's: FILE.onnx, run by ONNX Runtime or built into a TensorRT engine."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gpubench.errors import GpubenchError, reason_of
from gpubench.models.base import LoadedModel, Tensors, random_inputs, rows_of, torch_dtype
from gpubench.models.inputs_file import InputsFile
from gpubench.models.local_files import onnx_digest
from gpubench.models.onnx_signature import refusal, request, signature
from gpubench.spec.dtypes import BY_NAME, BY_ONNX_NUMBER
from gpubench.spec.input_shapes import Request

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell


class OnnxFile(torch.nn.Module):
    """The file as a module: ONNX Runtime on the CPU. The reference for its engines."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        import onnxruntime

        self.path = path
        # What engines made from it are kept by. It also refuses data outside of the file's folder,
        # before ONNX Runtime reads it.
        self.digest = onnx_digest(path)
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no common base of their own
            reason = reason_of(error)
            raise GpubenchError(f"{path} cannot be read by onnxruntime ({reason})") from error
        self.inputs = [put.name for put in self._session.get_inputs()]
        self.precision = signature(path).precision

    def forward(self, *inputs: torch.Tensor) -> Tensors:
        binding = self._session.io_binding()
        for name, tensor in zip(self.inputs, inputs, strict=True):
            bind_input(binding, name, tensor.contiguous())
        for put in self._session.get_outputs():
            binding.bind_output(put.name)
        self._session.run_with_iobinding(binding)
        return outputs_of(binding)


def bind_input(binding: Any, name: str, tensor: torch.Tensor) -> None:
    """Let a session read a tensor, which must be contiguous and live as long as the binding."""
    binding.bind_input(name, *place_of(tensor))


def place_of(tensor: torch.Tensor) -> tuple[str, int, int, list[int], int]:
    """(device, its number, ONNX's number of the format, shape, address)."""
    number = BY_NAME[str(tensor.dtype).removeprefix("torch.")].onnx_number
    device = tensor.device
    return device.type, device.index or 0, number, list(tensor.shape), tensor.data_ptr()


def outputs_of(binding: Any) -> Tensors:
    """Copies of the outputs that the last run left in host memory, in tensors of numbers.

    Strings, sequences and maps, as converted scikit-learn models give them, are left out.
    """
    return tuple(
        _copy(output)
        for output in binding.get_outputs()
        if output.has_value() and output.is_tensor() and output.element_type() in BY_ONNX_NUMBER
    )


def _copy(output: Any) -> torch.Tensor:
    """Not by way of NumPy, which has no bfloat16."""
    dtype, shape = torch_dtype(BY_ONNX_NUMBER[output.element_type()].name), output.shape()
    size = math.prod(shape) * dtype.itemsize
    if size == 0:
        return torch.empty(shape, dtype=dtype)
    memory = (ctypes.c_uint8 * size).from_address(output.data_ptr())
    return torch.frombuffer(memory, dtype=dtype).view(shape).clone()


def load(cell: Cell) -> LoadedModel:
    path = Path(cell.model)
    if reason := refusal(cell):  # which has been asked before, except where Python calls this
        raise GpubenchError(reason)
    wanted = request(signature(path), cell)
    make_inputs = _inputs_from(cell, wanted)
    return LoadedModel(
        OnnxFile(path),
        f"local: {path.name}",
        make_inputs,
        fixed_batch=wanted.fixed_batch,
        batch_first=wanted.joinable,
    )


def _inputs_from(cell: Cell, wanted: Request) -> Callable[[torch.Generator, int], Tensors]:
    """Random inputs, with those in their places that --inputs-file has."""
    names = [put.name for put in wanted.inputs]
    file = InputsFile.open(cell.inputs_file) if cell.inputs_file else None
    arrays = file.match(names, cell.model) if file else {}
    given = [put for put in wanted.inputs if put.name in arrays]
    tensors = [torch.from_numpy(arrays[put.name]).to(torch_dtype(put.dtype)) for put in given]

    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        samples = wanted.fixed_batch or samples
        rows = rows_of(tensors, [put.axis for put in given], generator, samples)
        real = dict(zip((put.name for put in given), rows, strict=True))
        rest = [put for put in wanted.inputs if put.name not in real]
        made = dict(
            zip((put.name for put in rest), random_inputs(rest, generator, samples), strict=True)
        )
        return tuple(real[name] if name in real else made[name] for name in names)

    return make_inputs
