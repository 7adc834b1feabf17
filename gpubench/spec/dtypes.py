"""Number formats of tensors, by the names that torch, ONNX Runtime, ONNX and TensorRT give them.

This is the one table of them, and it imports nothing, so that settings are checked without torch.
"""

from __future__ import annotations

from typing import NamedTuple


class Dtype(NamedTuple):
    """One format. NumPy has the same name as torch, except for bfloat16, which it lacks."""

    name: str  # in torch, and in --input-shape
    onnx_type: str  # how ONNX Runtime writes the type of an input or output
    onnx_number: int  # onnx.TensorProto.DataType
    tensorrt: str | None  # tensorrt.DataType; None: it has no such format
    kind: str  # float, integer or bool


DTYPES: tuple[Dtype, ...] = (
    Dtype("float32", "tensor(float)", 1, "FLOAT", "float"),
    Dtype("float64", "tensor(double)", 11, None, "float"),
    Dtype("float16", "tensor(float16)", 10, "HALF", "float"),
    Dtype("bfloat16", "tensor(bfloat16)", 16, "BF16", "float"),
    Dtype("int64", "tensor(int64)", 7, "INT64", "integer"),
    Dtype("int32", "tensor(int32)", 6, "INT32", "integer"),
    Dtype("int16", "tensor(int16)", 5, None, "integer"),
    Dtype("int8", "tensor(int8)", 3, "INT8", "integer"),
    Dtype("uint64", "tensor(uint64)", 13, None, "integer"),
    Dtype("uint32", "tensor(uint32)", 12, None, "integer"),
    Dtype("uint16", "tensor(uint16)", 4, None, "integer"),
    Dtype("uint8", "tensor(uint8)", 2, "UINT8", "integer"),
    Dtype("bool", "tensor(bool)", 9, "BOOL", "bool"),
)

BY_NAME = {dtype.name: dtype for dtype in DTYPES}
BY_ONNX_TYPE = {dtype.onnx_type: dtype for dtype in DTYPES}
BY_ONNX_NUMBER = {dtype.onnx_number: dtype for dtype in DTYPES}
BY_TENSORRT = {dtype.tensorrt: dtype for dtype in DTYPES if dtype.tensorrt is not None}
