"""Number formats: what each precision means, set explicitly and per thread.

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

from gpubench.engines import refusals

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell


refusal = refusals.of_precision
floats_of_torch = refusals.floats_of_torch
int8_of_any_layer = refusals.int8_of_any_layer


def weight_dtype(precision: str) -> torch.dtype:
    """What weights and floating-point inputs are converted to before the engine is built."""
    return {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision, torch.float32)


def autocast_dtype(device_type: str) -> torch.dtype:
    return torch.float16 if device_type == "cuda" else torch.bfloat16


def set_fp32_arithmetic(precision: str) -> None:
    """Say how fp32 products are computed, for the whole process.

    Never left to a default: cuDNN's convolutions use TF32 unless told otherwise, and matrix
    products do not. Source: the notes on CUDA semantics in torch's documentation.
    """
    mode = "tf32" if precision == "tf32" else "ieee"
    # The older flags too: torch's exporters read them, and refuse where the two do not agree.
    torch.backends.cuda.matmul.allow_tf32 = mode == "tf32"
    torch.backends.cudnn.allow_tf32 = mode == "tf32"
    torch.backends.cuda.matmul.fp32_precision = mode
    torch.backends.cudnn.conv.fp32_precision = mode  # type: ignore[attr-defined]
    torch.backends.cudnn.rnn.fp32_precision = mode  # type: ignore[attr-defined]
    torch.backends.mkldnn.matmul.fp32_precision = "ieee"  # type: ignore[attr-defined]
    torch.backends.mkldnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]


def convert(module: torch.nn.Module, cell: Cell) -> torch.nn.Module:
    """`module` with its weights in the cell's format, on its device."""
    return module.to(torch.device(cell.device), weight_dtype(cell.precision))


@contextmanager
def thread_modes(cell: Cell) -> Iterator[None]:
    """The modes in which a worker thread runs an eager module, entered once for its whole life.

    Autocast casts a weight once and remembers it only under `no_grad` (not `inference_mode`), for
    parameters that require grad, and until its outermost block is left: hence once per worker, and
    never per request.
    """
    if cell.precision == "amp":
        device_type = torch.device(cell.device).type
        with torch.no_grad(), torch.autocast(device_type, dtype=autocast_dtype(device_type)):
            yield
    else:
        with torch.inference_mode():
            yield
