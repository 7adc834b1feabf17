"""The signature of an ONNX file: its inputs, and the precision in which it computes.

The graph is read with onnx, without torch. A setting that does not fit the file is therefore
refused before torch is loaded.
"""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpubench.errors import InputError, reason_of
from gpubench.spec.dtypes import BY_ONNX_NUMBER, Dtype

_PRECISIONS = {"float32": "fp32", "float64": "fp64", "float16": "fp16", "bfloat16": "bf16"}


@dataclass(frozen=True)
class OnnxInput:
    """One input of an ONNX file."""

    name: str
    dtype: Dtype | None  # None: the input is not a tensor of numbers
    type_name: str  # for messages
    # For each dimension: its size, or its name if it is free, or None if it is free and unnamed.
    dims: tuple[int | str | None, ...]

    def __str__(self) -> str:
        if self.dtype is None:
            return f"{self.name} {self.type_name}"
        sizes = ", ".join("?" if size is None else str(size) for size in self.dims)
        return f"{self.name} {self.dtype.name} " + (f"[{sizes}]" if self.dims else "(a number)")


@dataclass(frozen=True)
class Signature:
    """The inputs of a file, and the precision in which it computes."""

    inputs: tuple[OnnxInput, ...]
    precision: str


def read_signature(path: Path) -> Signature:
    """The signature of a file. Raises InputError if the file cannot be read."""
    try:
        status = os.stat(path)
        return _signature(path, status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise InputError(f"--model {path}: it cannot be read: {error.strerror}") from None


@functools.lru_cache(maxsize=64)  # every cell of a sweep reads it
def _signature(path: Path, _mtime_ns: int, _size: int) -> Signature:
    import onnx

    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:  # the type depends on the version of protobuf
        raise InputError(f"--model {path}: it is not an ONNX file ({reason_of(error)})") from None
    constants = {constant.name for constant in graph.initializer}
    inputs = tuple(_input(each) for each in graph.input if each.name not in constants)
    return Signature(inputs, _precision(graph, inputs))


def _input(info: Any) -> OnnxInput:
    """From an onnx.ValueInfoProto."""
    from onnx import TensorProto

    kind = info.type.WhichOneof("value")
    if kind != "tensor_type":
        return OnnxInput(info.name, None, str(kind or "value").removesuffix("_type"), ())
    tensor = info.type.tensor_type
    dims = tuple(map(_dim, tensor.shape.dim))
    type_name = TensorProto.DataType.Name(tensor.elem_type).lower()
    return OnnxInput(info.name, BY_ONNX_NUMBER.get(tensor.elem_type), type_name, dims)


def _dim(dim: Any) -> int | str | None:
    if dim.WhichOneof("value") == "dim_value" and dim.dim_value > 0:
        return int(dim.dim_value)
    name = str(dim.dim_param)
    return None if name in {"", "?"} else name


def _precision(graph: Any, inputs: Sequence[OnnxInput]) -> str:
    """The precision in which the file computes.

    If the file is quantised it is the format of its products, else the format of most of its
    weights. In a file without weights it is the most frequent floating-point format of its inputs.
    """
    from onnx import TensorProto

    elements: Counter[str] = Counter()
    formats: dict[str, int] = {}
    nodes = []
    for part in _graphs(graph):
        nodes += part.node
        for constant in part.initializer:
            formats[constant.name] = constant.data_type
            count = 1
            for size in constant.dims:
                count *= size
            elements[_float_name(constant.data_type)] += count
    for node in nodes:
        if node.op_type == "QuantizeLinear" and len(node.input) > 2:
            eight_bit = formats.get(node.input[2])
            return "fp8" if eight_bit == TensorProto.FLOAT8E4M3FN else "int8"
        if "Integer" in node.op_type or node.op_type.startswith(("Quantize", "QLinear", "Dynamic")):
            return "int8"
    del elements[""]
    if not elements:
        floats = (each.dtype for each in inputs if each.dtype and each.dtype.kind == "float")
        elements.update(dtype.name for dtype in floats)
    most = elements.most_common(1)
    return _PRECISIONS[most[0][0]] if most else "fp32"


def _graphs(graph: Any) -> Iterator[Any]:
    """`graph`, and all graphs inside its conditions and loops."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _float_name(onnx_number: int) -> str:
    dtype = BY_ONNX_NUMBER.get(onnx_number)
    return dtype.name if dtype is not None and dtype.kind == "float" else ""
