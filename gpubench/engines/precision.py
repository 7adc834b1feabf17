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

from gpubench.models import preset

if TYPE_CHECKING:
    from gpubench.spec import Spec


def refusal(spec: Spec, *supported: str) -> str | None:
    """Why a runtime that has these precisions cannot do the spec's; None where it can."""
    if spec.precision in supported:
        return None
    advice = f"choose {' or '.join(supported)}"
    if others := _quantising_runtimes(spec):
        advice += f", or --runtime {' or '.join(others)}"
        advice += " on a GPU from Ada on (L4, H100)" if spec.precision == "fp8" else ""
    return f"it has no {spec.precision} on this device; {advice}"


def floats_of_torch(spec: Spec) -> tuple[str, ...]:
    """What torch computes in on the spec's kind of device, quantised formats apart."""
    return "fp32", *(() if spec.device == "cpu" else ("tf32",)), "amp", "fp16", "bf16"


def int8_of_any_layer(spec: Spec) -> str:
    """The runtime that has int8 on the spec's kind of device whatever a model's layers are."""
    return "onnxruntime" if spec.device == "cpu" else "tensorrt"


def _quantising_runtimes(spec: Spec) -> tuple[str, ...]:
    """Those that have the spec's int8 or fp8 for its model; none for other precisions."""
    known = preset(spec.model)
    if known is None or spec.precision not in {"int8", "fp8"}:
        return ()
    if spec.precision == "fp8":
        runtimes: tuple[str, ...] = ("tensorrt",)
    elif known.convolutional:
        runtimes = (int8_of_any_layer(spec),)
    else:
        runtimes = (int8_of_any_layer(spec), "compile", "aotinductor")
    return tuple(name for name in runtimes if known.runtimes is None or name in known.runtimes)


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


def convert(module: torch.nn.Module, spec: Spec) -> torch.nn.Module:
    """`module` with its weights in the spec's format, on its device."""
    return module.to(torch.device(spec.device), weight_dtype(spec.precision))


@contextmanager
def thread_modes(spec: Spec) -> Iterator[None]:
    """The modes in which a worker thread runs an eager module, entered once for its whole life.

    Autocast casts a weight once and remembers it only under `no_grad` (not `inference_mode`), for
    parameters that require grad, and until its outermost block is left: hence once per worker, and
    never per request.
    """
    if spec.precision == "amp":
        device_type = torch.device(spec.device).type
        with torch.no_grad(), torch.autocast(device_type, dtype=autocast_dtype(device_type)):
            yield
    else:
        with torch.inference_mode():
            yield
