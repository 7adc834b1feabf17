"""From an ONNX file to one with int8 or fp8 products, by ONNX Runtime's quantiser.

Activations are scaled by what the model's own made-up inputs show. The two kinds of runtime want
different things:

| | ONNX Runtime on a CPU | TensorRT |
|---|---|---|
| which | int8 | int8, fp8 (E4M3) |
| how | dynamic; static for networks with convolutions | static: explicit Q/DQ nodes |
| zero points | activations have them | none: all is symmetric |
| what | all operators the quantiser knows | products with weights, and what goes into them |
| the rest | fp32 | fp16 |

Sources: ONNX Runtime, https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html,
and the chapter on quantised types of TensorRT's documentation.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from gpubench.engines import refusals
from gpubench.errors import GpubenchError, reason_of
from gpubench.models.base import LoadedModel, Tensors, add_tensor, seeded
from gpubench.models.local_files import onnx_data

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

PACKAGES = refusals.ONNX_QUANTISER_PACKAGES

# What activations are scaled by: so many requests of so many samples.
_CALIBRATION_REQUESTS, _CALIBRATION_SAMPLES = 8, 4

# Operators that are products, with weights in all of the presets.
_PRODUCTS = ["Conv", "MatMul", "Gemm"]

_LARGEST_INT8, _LARGEST_E4M3 = 127, 448


def library() -> str:
    """What quantises, with its version."""
    import onnxruntime  # its distribution has another name for each device

    return f"onnxruntime {onnxruntime.__version__}"


def for_cpu(source: Path, target: Path, model: LoadedModel, cell: Cell) -> None:
    """Write `source`, an fp32 network, in int8 to `target`."""
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

    with _prepared(source, optimise=True) as prepared:
        operators = {node.op_type for node in onnx.load(prepared).graph.node}
        if "Conv" in operators:
            quantize_static(
                str(prepared),
                str(target),
                _Calibration(prepared, model, cell),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt8,
            )
        else:
            quantize_dynamic(
                str(prepared), str(target), per_channel=True, weight_type=QuantType.QInt8
            )


def for_tensorrt(source: Path, target: Path, model: LoadedModel, cell: Cell) -> None:
    """Write `source`, an fp16 network, with Q/DQ nodes of the cell's precision to `target`.

    Products alone are quantised, and of those of two activations none: attention stays one fused
    kernel in fp16. What they give stays fp16, so that what follows can be fused to them.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    # Not optimised: that is for CPUs, and turns what they lack in fp16 into fp32.
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
    """The Q/DQ nodes of `path` from int8 to E4M3, with the same largest values.

    ONNX Runtime's own scales for fp8 come from standard deviations and cut off what lies far out;
    TensorRT's tools scale by the largest value, as here.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(path)
    nodes = [
        node for node in model.graph.node if node.op_type in {"QuantizeLinear", "DequantizeLinear"}
    ]
    scales, zero_points = ({node.input[place] for node in nodes} for place in (1, 2))
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
    """`source` with the shapes of what is inside, as the quantiser needs it."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises preprocessing even after preprocessing
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
    """`source`, or where it has external data a copy of all in `folder`.

    The quantiser writes the network to other folders, without the data.
    """
    import onnx

    if not onnx_data(source):
        return source
    whole = folder / "whole.onnx"
    try:
        onnx.save(onnx.load(source), whole)
    except Exception as error:  # onnx's own, protobuf's and ValueError, by their versions
        raise GpubenchError(
            f"{source} cannot be quantised: with its data it does not fit into one file "
            f"({reason_of(error)}); use --precision fp32"
        ) from error
    return whole


def _calibration_requests(model: LoadedModel, cell: Cell) -> Iterator[Tensors]:
    generator = seeded(cell.seed + 3)  # not the samples that outputs are checked with
    for _ in range(_CALIBRATION_REQUESTS):
        yield model.make_inputs(generator, _CALIBRATION_SAMPLES)


def calibration_digest(model: LoadedModel, cell: Cell) -> str:
    """Of the values that activations are scaled by: the model's function of inputs may change."""
    digest = hashlib.blake2b(digest_size=16)
    for request in _calibration_requests(model, cell):
        for place, tensor in enumerate(request):
            add_tensor(digest, str(place), tensor)
    return digest.hexdigest()


class _Calibration:
    """Requests of the model's own input generator, in the form that the quantiser reads."""

    def __init__(self, network: Path, model: LoadedModel, cell: Cell) -> None:
        import onnx

        inputs = [
            (put.name, onnx.helper.tensor_dtype_to_np_dtype(put.type.tensor_type.elem_type))
            for put in onnx.load(network).graph.input
        ]
        self._requests = (
            {
                name: tensor.numpy().astype(dtype)
                for (name, dtype), tensor in zip(inputs, request, strict=True)
            }
            for request in _calibration_requests(model, cell)
        )

    def get_next(self) -> dict[str, Any] | None:
        return next(self._requests, None)
