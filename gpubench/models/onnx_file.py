"""An ONNX file of the user's: FILE.onnx, run by onnxruntime as it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gpubench.errors import GpubenchError
from gpubench.models.base import LoadedModel, Tensors

if TYPE_CHECKING:
    from gpubench.spec import Spec

_DTYPES = {
    "tensor(float)": torch.float32,
    "tensor(int64)": torch.int64,
    "tensor(int32)": torch.int32,
    "tensor(bool)": torch.bool,
}


class OnnxFile(torch.nn.Module):
    """The file as a module: ONNX Runtime on the CPU, in fp32. The reference for its engines."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        import onnxruntime

        self.path = path
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no common base of their own
            reason = str(error).strip().splitlines()[0]
            raise GpubenchError(f"{path} cannot be read by onnxruntime ({reason})") from error
        self.inputs: list[Any] = self._session.get_inputs()

    def forward(self, *inputs: torch.Tensor) -> Tensors:
        feed = {put.name: tensor.numpy() for put, tensor in zip(self.inputs, inputs, strict=True)}
        return tuple(torch.from_numpy(output) for output in self._session.run(None, feed))


def load(spec: Spec) -> LoadedModel:
    path = Path(spec.model)
    if not path.is_file():
        raise GpubenchError(f"--model {path}: no such file")
    module = OnnxFile(path)
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

    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        return tuple(
            torch.randn(samples, *put.shape[1:], generator=generator)
            if put.type == "tensor(float)"
            # 0 and 1 are an index and a mask in every model
            else torch.randint(0, 2, (samples, *put.shape[1:]), generator=generator).to(
                _DTYPES[put.type]
            )
            for put in module.inputs
        )

    return LoadedModel(module, f"local: {path.name}", make_inputs)
