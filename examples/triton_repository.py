"""Writes a model repository for the Triton Inference Server from a model that gpubench knows.

    python examples/triton_repository.py --model resnet50 --max-batch 16 repository
    tritonserver --model-repository=repository
    gpubench run --model resnet50 --runtime kserve --server grpc://localhost:8001/resnet50

The weights of a preset follow from its seed. So gpubench can compare the answers of the server with
those of the same model. Triton's ONNX Runtime backend finds the inputs and outputs in the file
itself. This repository was never loaded by a real Triton: its configuration follows
https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_configuration.html
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

from gpubench import Spec
from gpubench.cells.resolve import resolve
from gpubench.engines.onnx.export import export
from gpubench.engines.precision import weight_dtype
from gpubench.models.base import load
from gpubench.system.machine import this_machine


def write(model: str, name: str, max_batch: int, folder: Path, precision: str = "fp32") -> Path:
    """Write FOLDER/NAME/config.pbtxt and FOLDER/NAME/1/model.onnx. Returns FOLDER/NAME.

    Raises GpubenchError if the model cannot be loaded or exported.
    """
    spec = Spec(model=model, runtime="onnxruntime", device="cpu")
    cell = resolve(spec, this_machine())
    file, _ = export(load(cell), cell, weight_dtype(precision))
    target = folder / name
    (target / "1").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target / "1" / "model.onnx")
    (target / "config.pbtxt").write_text(
        f'name: "{name}"\n'
        'backend: "onnxruntime"\n'
        f"max_batch_size: {max_batch}\n"
        # Triton then joins requests of several connections, and waits for none.
        "dynamic_batching { }\n"
    )
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description="A model repository for Triton.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="resnet50", help="as --model of gpubench run")
    parser.add_argument("--name", help="the name of the model on the server")
    parser.add_argument("--max-batch", type=int, default=16)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "fp16"])
    given = parser.parse_args()
    name = given.name or re.sub(r"\W+", "_", given.model)
    print(write(given.model, name, given.max_batch, given.folder, given.precision))


if __name__ == "__main__":
    main()
