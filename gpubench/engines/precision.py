"""Precisions: the number formats that each precision means. They are set explicitly, per thread.

| precision | weights | arithmetic |
|---|---|---|
| fp32 | fp32 | IEEE fp32; TF32 off for matrix products and for cuDNN's convolutions |
| tf32 | fp32 | TF32 on, on NVIDIA GPUs from Ampere on |
| amp  | fp32, cast once | autocast: fp16 on CUDA, bf16 on a CPU |
| fp16, bf16 | cast once | the 16-bit format throughout |
| int8 | int8 with scales | int8 products where the runtime has them, the rest in fp32 or fp16 |
| fp8 | E4M3 with scales | fp8 products, the rest in fp16; on NVIDIA GPUs from Ada on |
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from gpubench.engines import memory_format, refusals
from gpubench.models.base import LoadedModel, Tensors, seeded, with_floats

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell


refusal = refusals.of_precision
floats_of_torch = refusals.floats_of_torch
int8_of_any_layer = refusals.int8_of_any_layer


def weight_dtype(precision: str) -> torch.dtype:
    """The format of weights and floating-point inputs from which the engine is built."""
    return {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision, torch.float32)


def autocast_dtype(device_type: str) -> torch.dtype:
    return torch.float16 if device_type == "cuda" else torch.bfloat16


def set_fp32_arithmetic(precision: str) -> None:
    """Set how the whole process computes fp32 products.

    The defaults of torch are not consistent: cuDNN's convolutions use TF32, and matrix products do
    not. Source: the notes on CUDA semantics in torch's documentation.
    """
    mode = "tf32" if precision == "tf32" else "ieee"
    # Also the older flags: torch's exporters read them, and fail if old and new flags differ.
    torch.backends.cuda.matmul.allow_tf32 = mode == "tf32"
    torch.backends.cudnn.allow_tf32 = mode == "tf32"
    torch.backends.cuda.matmul.fp32_precision = mode
    torch.backends.cudnn.conv.fp32_precision = mode  # type: ignore[attr-defined]
    torch.backends.cudnn.rnn.fp32_precision = mode  # type: ignore[attr-defined]
    torch.backends.mkldnn.matmul.fp32_precision = "ieee"  # type: ignore[attr-defined]
    torch.backends.mkldnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]


def convert(module: torch.nn.Module, cell: Cell) -> torch.nn.Module:
    """`module` with its weights in the cell's precision and memory format, on the cell's device."""
    module = module.to(torch.device(cell.device), weight_dtype(cell.precision))
    return memory_format.convert(module, memory_format.of_cell(cell))


def example(model: LoadedModel, cell: Cell) -> Tensors:
    """The inputs of one request as the engine takes them, to trace or to compile the model with."""
    inputs = with_floats(
        model.make_inputs(seeded(cell.seed), cell.batch), weight_dtype(cell.precision)
    )
    arranged = memory_format.arrange(inputs, memory_format.of_cell(cell))
    return tuple(tensor.to(torch.device(cell.device)) for tensor in arranged)


@contextmanager
def thread_modes(cell: Cell) -> Iterator[None]:
    """torch's modes of a worker thread that runs an eager module. They are entered once per worker.

    Autocast stores the casts of weights only under `no_grad` (not under `inference_mode`) and only
    of parameters that require grad. It drops them at the end of its outermost block. If each
    request entered autocast, each request would cast all weights again.
    """
    if cell.precision == "amp":
        device_type = torch.device(cell.device).type
        with torch.no_grad(), torch.autocast(device_type, dtype=autocast_dtype(device_type)):
            yield
    else:
        with torch.inference_mode():
            yield
