"""An ONNX file of the user's: FILE.onnx, run by ONNX Runtime or built into a TensorRT engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gpubench.errors import GpubenchError, first_line
from gpubench.models.base import LoadedModel, Tensors, random_inputs
from gpubench.models.local_files import onnx_digest

if TYPE_CHECKING:
    from gpubench.spec import Spec

_DTYPES = {
    "tensor(float)": torch.float32,
    "tensor(int64)": torch.int64,
    "tensor(int32)": torch.int32,
    "tensor(bool)": torch.bool,
}


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
            reason = first_line(error)
            raise GpubenchError(f"{path} cannot be read by onnxruntime ({reason})") from error
        self.inputs: list[Any] = self._session.get_inputs()
        self.precision = _precision(path)

    def forward(self, *inputs: torch.Tensor) -> Tensors:
        feed = {put.name: tensor.numpy() for put, tensor in zip(self.inputs, inputs, strict=True)}
        return tuple(torch.from_numpy(output) for output in self._session.run(None, feed))


def _precision(path: Path) -> str:
    """What the file computes in: the format of its products, or of its weights."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    formats = {constant.name: constant.data_type for constant in graph.initializer}
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and len(node.input) > 2:
            eight_bit = formats.get(node.input[2])
            return "fp8" if eight_bit == onnx.TensorProto.FLOAT8E4M3FN else "int8"
        if "Integer" in node.op_type or node.op_type.startswith(("Quantize", "QLinear", "Dynamic")):
            return "int8"
    found = set(formats.values())
    if onnx.TensorProto.FLOAT16 in found:
        return "fp16"
    return "bf16" if onnx.TensorProto.BFLOAT16 in found else "fp32"


def load(spec: Spec) -> LoadedModel:
    path = Path(spec.model)
    module = OnnxFile(path)
    # From fp32, runtimes quantise; the other way there is none.
    if module.precision not in {spec.precision, "fp32"} or (
        module.precision == "fp32" and spec.precision in {"fp16", "bf16", "amp"}
    ):
        raise GpubenchError(
            f"{path} computes in {module.precision} and is run as it is; use --precision "
            f"{module.precision}"
        )
    for put in module.inputs:
        if put.type not in _DTYPES or not all(isinstance(size, int) for size in put.shape[1:]):
            raise GpubenchError(
                f"{path}: input {put.name} is {put.type} {put.shape}; only the batch may vary: "
                "export it again with the other sizes fixed"
            )
        if isinstance(put.shape[0], int):
            raise GpubenchError(
                f"{path}: input {put.name} has a fixed batch of {put.shape[0]}; export it again "
                "with a batch that may vary (torch.onnx.export with dynamic_shapes)"
            )

    shapes = [(tuple(put.shape[1:]), _DTYPES[put.type]) for put in module.inputs]

    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        return random_inputs(shapes, generator, samples)

    return LoadedModel(module, f"local: {path.name}", make_inputs)
