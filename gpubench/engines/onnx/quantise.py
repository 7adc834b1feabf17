"""Quantises an ONNX file: int8 or fp8 products, made with ONNX Runtime's quantiser.

Calibration with generated inputs of the model determines the scales of activations. The runtimes
need different files:

| | ONNX Runtime on a CPU | TensorRT |
|---|---|---|
| precisions | int8 | int8, fp8 (E4M3) |
| method | dynamic; static for networks with convolutions | static: explicit Q/DQ nodes |
| zero points | for activations | none: all scales are symmetric |
| weights | 8 bits; 7 on x86 CPUs without VNNI | 8 bits |
| quantised | all operators that the quantiser supports | products with weights, and their inputs |
| other operators | fp32 | fp16 |

Sources: ONNX Runtime, https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html,
and the chapter on quantised types of TensorRT's documentation.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from gpubench.engines import calibration, refusals
from gpubench.errors import GpubenchError, reason_of
from gpubench.models.base import LoadedModel, Tensors
from gpubench.models.local_files import onnx_data
from gpubench.system.machine import this_machine

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

PACKAGES = refusals.ONNX_QUANTISER_PACKAGES

_CALIBRATION_SAMPLES = 4  # in each request

# Operators that are products. In all presets one of their inputs is a weight.
_PRODUCTS = ["Conv", "MatMul", "Gemm"]

_LARGEST_INT8, _LARGEST_E4M3 = 127, 448

_ADDS_IN_32_BITS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})


def library() -> str:
    """The library that quantises, with its version."""
    import onnxruntime  # the name of its distribution depends on the device

    return f"onnxruntime {onnxruntime.__version__}"


def reduces_range(cpu_flags: frozenset[str]) -> bool:
    """Whether weights get 7 bits instead of 8 on a CPU with these flags.

    x86 CPUs without VNNI add pairs of products in 16 bits (VPMADDUBSW), and such a sum of 8-bit
    values can exceed them. The outputs are then wrong. See "When and why do I need to try U8U8?" in
    https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html.
    """
    return "sse2" in cpu_flags and not cpu_flags & _ADDS_IN_32_BITS


def for_cpu(source: Path, target: Path, model: LoadedModel, cell: Cell) -> None:
    """Quantise `source`, an fp32 network, to int8 and write it to `target`."""
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

    reduce_range = reduces_range(this_machine().cpu_flags)
    with _prepared(source, optimise=True) as prepared:
        operators = {node.op_type for node in onnx.load(prepared).graph.node}
        if "Conv" in operators:
            quantize_static(
                str(prepared),
                str(target),
                _Calibration(prepared, model, cell),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=reduce_range,
                weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt8,
            )
        else:
            quantize_dynamic(
                str(prepared),
                str(target),
                per_channel=True,
                reduce_range=reduce_range,
                weight_type=QuantType.QInt8,
            )


def for_tensorrt(source: Path, target: Path, model: LoadedModel, cell: Cell) -> None:
    """Add Q/DQ nodes of the cell's precision to `source`, an fp16 network; write it to `target`.

    Only products with weights are quantised. Products of two activations are not: attention stays
    one fused kernel in fp16. The outputs of products stay fp16, so TensorRT can fuse them with the
    operators that follow.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    # Not optimised: the optimisation is for CPUs. It changes operators that CPUs do not have in
    # fp16 to fp32.
    with _prepared(source, optimise=False) as prepared:
        quantize_static(
            str(prepared),
            str(target),
            _Calibration(prepared, model, cell),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_PRODUCTS,
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QInt8,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "AddQDQPairToWeight": True,
                "MatMulConstBOnly": True,
                "OpTypesToExcludeOutputQuantization": _PRODUCTS,
            },
        )
    if cell.precision == "fp8":
        _to_fp8(target)


def _to_fp8(path: Path) -> None:
    """Change the Q/DQ nodes of `path` from int8 to E4M3. The largest values stay the same.

    ONNX Runtime computes scales for fp8 from standard deviations, which clips extreme values.
    TensorRT's tools compute them from the largest value, as this function does.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(path)
    nodes = [
        node for node in model.graph.node if node.op_type in {"QuantizeLinear", "DequantizeLinear"}
    ]
    scales, zero_points = ({node.input[number] for node in nodes} for number in (1, 2))
    for constant in model.graph.initializer:
        if constant.name in scales:
            scale = numpy_helper.to_array(constant)
            wider = scale.astype(np.float32) * _LARGEST_INT8 / _LARGEST_E4M3
            constant.CopyFrom(numpy_helper.from_array(wider.astype(scale.dtype), constant.name))
        elif constant.name in zero_points:
            zeros = bytes(int(np.prod(constant.dims)))
            constant.CopyFrom(
                helper.make_tensor(
                    constant.name, TensorProto.FLOAT8E4M3FN, list(constant.dims), zeros, raw=True
                )
            )
    onnx.save(model, path)


@contextmanager
def _prepared(source: Path, optimise: bool) -> Iterator[Path]:
    """`source` with the shapes of all intermediate tensors, which the quantiser needs."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises to preprocess the file, even after it did so
    try:
        with TemporaryDirectory() as folder:
            prepared = Path(folder) / "prepared.onnx"
            quant_pre_process(
                str(_in_one_file(source, Path(folder))),
                str(prepared),
                skip_symbolic_shape=True,
                skip_optimization=not optimise,
            )
            yield prepared
    finally:
        root.setLevel(level)


def _in_one_file(source: Path, folder: Path) -> Path:
    """`source`; or, if it has external data, a copy in `folder` that contains the data.

    The quantiser writes the network to other folders, without its external data.
    """
    import onnx

    if not onnx_data(source):
        return source
    whole = folder / "whole.onnx"
    try:
        onnx.save(onnx.load(source), whole)
    except Exception as error:  # the type depends on the versions of onnx and protobuf
        raise GpubenchError(
            f"{source} cannot be quantised: with its data it does not fit into one file "
            f"({reason_of(error)}); use --precision fp32"
        ) from error
    return whole


def calibration_requests(model: LoadedModel, cell: Cell) -> Iterator[Tensors]:
    """The generated requests that determine the scales of activations."""
    return calibration.requests(model, cell, _CALIBRATION_SAMPLES)


def calibration_digest(model: LoadedModel, cell: Cell) -> str:
    return calibration.digest(model, cell, _CALIBRATION_SAMPLES)


class _Calibration:
    """Generated requests of the model, in the form that the quantiser reads."""

    def __init__(self, network: Path, model: LoadedModel, cell: Cell) -> None:
        import onnx

        inputs = [
            (info.name, onnx.helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type))
            for info in onnx.load(network).graph.input
        ]
        self._requests = (
            {
                name: tensor.numpy().astype(dtype)
                for (name, dtype), tensor in zip(inputs, request, strict=True)
            }
            for request in calibration_requests(model, cell)
        )

    def get_next(self) -> dict[str, Any] | None:
        return next(self._requests, None)
