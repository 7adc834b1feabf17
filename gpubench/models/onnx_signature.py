"""What an ONNX file takes and computes in, and the requests that the settings make of that.

The graph is read with onnx alone, so that a setting which does not fit the file is refused before
torch is loaded. Dimensions of an input may be fixed in the file, or free, with a name or without.
One of them is the batch:

1. a free dimension whose name says so (batch, batch_size, N);
2. else the first one where it is free, unless its name says that it is something else (time,
   num_atoms), or the inputs name theirs differently;
3. else the batch is fixed: it is the first dimension of the first input.

All other free dimensions need a size: from --dim, --input-shape or --inputs-file.
"""

from __future__ import annotations

import functools
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpubench.errors import InputError, reason_of
from gpubench.models.inputs_file import InputsFile, check_kind
from gpubench.spec.dtypes import BY_ONNX_NUMBER, Dtype
from gpubench.spec.input_shapes import (
    GivenInput,
    Request,
    RequestInput,
)

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

# What exporters write where nobody gave a name.
_MADE_UP = re.compile(
    r"\?|unk__\d+|.*DynamicDimension\.\d+|s\d+|.*_dim_\d+|dyn\w*|None|-1", re.IGNORECASE
)
_NOT_THE_BATCH = re.compile(
    r"seq|len|time|step|frame|sample|token|word|width|height|atom|node|edge|point|position",
    re.IGNORECASE,
)

_PRECISIONS = {"float32": "fp32", "float64": "fp64", "float16": "fp16", "bfloat16": "bf16"}


@dataclass(frozen=True)
class Input:
    name: str
    dtype: Dtype | None  # None: no tensor of numbers
    type_name: str  # for messages
    dims: tuple[int | str | None, ...]  # a size, or the name of a free one, or a free one

    def __str__(self) -> str:
        if self.dtype is None:
            return f"{self.name} {self.type_name}"
        sizes = ", ".join("?" if size is None else str(size) for size in self.dims)
        return f"{self.name} {self.dtype.name} " + (f"[{sizes}]" if self.dims else "(a number)")


@dataclass(frozen=True)
class Signature:
    """What a file takes, and the precision in which it computes."""

    inputs: tuple[Input, ...]
    precision: str


def signature(path: Path) -> Signature:
    """Raises InputError where the file cannot be read."""
    try:
        status = os.stat(path)
        return _signature(path, status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise InputError(f"--model {path}: it cannot be read: {error.strerror}") from None


@functools.lru_cache(maxsize=64)  # every cell of a sweep asks
def _signature(path: Path, _mtime_ns: int, _size: int) -> Signature:
    import onnx

    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:  # protobuf's
        raise InputError(f"--model {path}: it is not an ONNX file ({reason_of(error)})") from None
    constants = {constant.name for constant in graph.initializer}
    inputs = tuple(_input(put) for put in graph.input if put.name not in constants)
    return Signature(inputs, _precision(graph, inputs))


def _input(put: Any) -> Input:
    from onnx import TensorProto

    kind = put.type.WhichOneof("value")
    if kind != "tensor_type":
        return Input(put.name, None, str(kind or "value").removesuffix("_type"), ())
    tensor = put.type.tensor_type
    dims = tuple(map(_dim, tensor.shape.dim))
    name = TensorProto.DataType.Name(tensor.elem_type).lower()
    return Input(put.name, BY_ONNX_NUMBER.get(tensor.elem_type), name, dims)


def _dim(dim: Any) -> int | str | None:
    if dim.WhichOneof("value") == "dim_value" and dim.dim_value > 0:
        return int(dim.dim_value)
    name = str(dim.dim_param)
    return None if name in {"", "?"} else name


def _precision(graph: Any, inputs: Sequence[Input]) -> str:
    """What the file computes in: the format of its products, or of most of its weights.

    Of a file without weights it is the format of its first input of floating-point numbers.
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
        elements.update(put.dtype.name for put in inputs if put.dtype and put.dtype.kind == "float")
    most = elements.most_common(1)
    return _PRECISIONS[most[0][0]] if most else "fp32"


def _graphs(graph: Any) -> Iterator[Any]:
    """`graph`, and those that its conditions and loops hold."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _float_name(onnx_number: int) -> str:
    dtype = BY_ONNX_NUMBER.get(onnx_number)
    return dtype.name if dtype is not None and dtype.kind == "float" else ""


def refusal(cell: Cell) -> str | None:
    """Why the cell cannot be measured with its file, and what to change; None where it can."""
    takes = signature(Path(cell.model))
    allowed = {takes.precision}
    if takes.precision == "fp32":
        allowed |= {"tf32", "int8", "fp8"}  # from fp32, runtimes quantise
    if cell.precision not in allowed:
        return (
            f"--precision {cell.precision}: {cell.model} computes in {takes.precision} and is run "
            f"as it is; use --precision {takes.precision}"
        )
    try:
        wanted = request(takes, cell)
    except ValueError as error:
        return str(error)
    if wanted.fixed_batch not in {None, cell.batch}:
        return _other_batch(wanted.fixed_batch, takes, cell)
    if cell.joins_requests and not wanted.joinable:
        return (
            f"--dynamic-batch: requests of {cell.model} cannot be joined, since the batch is not "
            "the first dimension of all of its inputs, or is fixed; remove it"
        )
    return None


def request(takes: Signature, cell: Cell) -> Request:
    """The inputs of one request.

    Raises ValueError: one line that names the flag and the fix.
    """
    name = cell.model
    if not takes.inputs:
        raise ValueError(f"--model {name}: it takes no input, so there are no requests to make")
    for put in takes.inputs:
        if put.dtype is None:
            raise ValueError(
                f"--model {name}: its input {put.name} is of the type {put.type_name}, and "
                "requests are made of tensors of numbers alone; cut that part off the file "
                "(onnx.utils.extract_model)"
            )
    file = InputsFile.open(cell.inputs_file) if cell.inputs_file else None
    _refuse_unknown_dims(cell.dims, takes, name)
    if cell.given_inputs is not None:
        return _by_shapes(takes, cell.given_inputs, cell.dims, file, name)
    return _by_dims(takes, cell.dims, file, name)


def _refuse_unknown_dims(dims: Mapping[str, int], takes: Signature, model: str) -> None:
    free = {dim for put in takes.inputs for dim in put.dims if isinstance(dim, str)}
    for unknown in sorted(dims.keys() - free):
        has = f"its free dimensions are {', '.join(sorted(free))}" if free else "it has none"
        raise ValueError(f"--dim: {model} has no free dimension {unknown}; {has}")


def _batch_axes(takes: Signature, dims: Mapping[str, int]) -> list[int | None]:
    """The free dimension of each input that is the batch; see the module's docstring."""

    def free(dim: int | str | None) -> bool:
        return not isinstance(dim, int) and dim not in dims

    named = [
        next((n for n, dim in enumerate(put.dims) if free(dim) and _says_batch(dim)), None)
        for put in takes.inputs
    ]
    leads = [put.dims[0] if put.dims and free(put.dims[0]) else 0 for put in takes.inputs]
    names = {lead for lead in leads if isinstance(lead, str) and _MADE_UP.fullmatch(lead) is None}
    if any(axis is not None for axis in named):
        first_is_batch = not names - {dim for dim in names if _says_batch(dim)}
    else:
        first_is_batch = not names or (len(names) == 1 and not _NOT_THE_BATCH.search(min(names)))
    return [
        0 if axis is None and lead != 0 and first_is_batch else axis
        for axis, lead in zip(named, leads, strict=True)
    ]


def _says_batch(dim: int | str | None) -> bool:
    return isinstance(dim, str) and ("batch" in dim.lower() or dim.lower() in {"n", "b", "bs"})


def _by_dims(
    takes: Signature, dims: Mapping[str, int], file: InputsFile | None, model: str
) -> Request:
    """The inputs with all but the batch as the file has it, or as --dim and --inputs-file say."""
    axes = _batch_axes(takes, dims)
    sizes = dict(dims)
    arrays = file.match([put.name for put in takes.inputs], model) if file else {}
    for put, axis in zip(takes.inputs, axes, strict=True):
        if put.name in arrays:
            _check_array(put, arrays[put.name], axis, sizes)
    missing: list[str] = []
    unnamed = False
    for put, axis in zip(takes.inputs, axes, strict=True):
        if put.name in arrays:
            continue
        unnamed |= not put.dims
        for place, dim in enumerate(put.dims):
            if isinstance(dim, int) or place == axis or dim in sizes:
                continue
            unnamed |= dim is None
            missing += [dim] if isinstance(dim, str) and dim not in missing else []
    if unnamed:
        raise ValueError(_shapes_needed(takes, axes, sizes, model))
    if missing:
        example = "+".join(f"{dim}=50" for dim in missing)
        raise ValueError(
            f"--dim: {model} leaves {_listed(missing)} free; give a size, like --dim {example} "
            f"(it takes {_listed(takes.inputs)})"
        )
    inputs = []
    for put, axis in zip(takes.inputs, axes, strict=True):
        shape = [sizes.get(dim, 0) if isinstance(dim, str) else dim or 0 for dim in put.dims]
        if put.name in arrays:
            shape = list(arrays[put.name].shape)
        inputs.append((put, shape, axis))
    fixed = None
    if not any(axis is not None for axis in axes):
        first = next((put.dims[0] for put in takes.inputs if put.dims), 1)
        fixed = first if isinstance(first, int) else 1
        inputs = [
            (put, shape, 0 if put.dims and put.dims[0] == fixed else None)
            for put, shape, _ in inputs
        ]
    return Request(
        tuple(
            RequestInput(put.name, _name(put), tuple(_without(shape, axis)), axis)
            for put, shape, axis in inputs
        ),
        fixed,
    )


def _by_shapes(
    takes: Signature,
    given: Sequence[GivenInput],
    dims: Mapping[str, int],
    file: InputsFile | None,
    model: str,
) -> Request:
    """The inputs as --input-shape has them, in order."""
    if file is not None:
        raise ValueError("--input-shape: --inputs-file has the shapes; remove one of the two")
    axes = _batch_axes(takes, dims)
    if len(given) != len(takes.inputs):
        raise ValueError(
            f"--input-shape: it has {len(given)} inputs, and {model} takes {len(takes.inputs)}: "
            f"{_listed(takes.inputs)}; {_example(takes, axes, dims)}"
        )
    inputs, fixed = [], set()
    for put, part, axis in zip(takes.inputs, given, axes, strict=True):
        dtype = _name(put)
        if part.dtype not in {None, dtype}:
            raise ValueError(
                f"--input-shape: {part.dtype} for an input that is {put}; write {dtype}, or leave "
                "the format out"
            )
        place = _place_of_batch(put, part.sizes or (), axis)
        inputs.append(RequestInput(put.name, dtype, part.sizes or (), place, part.value))
        if place is not None and isinstance(size := put.dims[place], int):
            fixed.add(size)
    if all(put.axis is None for put in inputs):
        fixed.add(1)
    return Request(tuple(inputs), min(fixed) if fixed else None)


def _place_of_batch(put: Input, sizes: tuple[int, ...], preferred: int | None) -> int | None:
    """Where the batch goes in `sizes`, those of one sample; None where they are the whole shape.

    Raises ValueError where they fit the input neither with a batch nor without one.
    """
    if len(sizes) == len(put.dims) and _fit(sizes, put.dims):
        return None
    if len(sizes) == len(put.dims) - 1:
        free = [place for place, dim in enumerate(put.dims) if not isinstance(dim, int)]
        for place in dict.fromkeys([*([] if preferred is None else [preferred]), *free, 0]):
            if _fit(sizes, (*put.dims[:place], *put.dims[place + 1 :])):
                return place
    written = "x".join(map(str, sizes)) or "scalar"
    raise ValueError(
        f"--input-shape: {written} does not fit the input {put}; give its sizes without the batch"
    )


def _fit(sizes: Sequence[int], dims: Sequence[int | str | None]) -> bool:
    return all(
        size == dim or not isinstance(dim, int) for size, dim in zip(sizes, dims, strict=True)
    )


def _check_array(put: Input, array: Any, axis: int | None, sizes: dict[str, int]) -> None:
    """Hold an array of --inputs-file against the input, and note the free sizes that it has."""
    assert put.dtype is not None
    check_kind(put.name, array, put.dtype)
    fits = len(array.shape) == len(put.dims) and all(
        place == axis or not isinstance(dim, int) or dim == size
        for place, (dim, size) in enumerate(zip(put.dims, array.shape, strict=True))
    )
    if not fits:
        raise ValueError(
            f"--inputs-file: {put.name} has the shape {list(array.shape)}, and the model "
            f"takes {put}"
        )
    for place, (dim, size) in enumerate(zip(put.dims, array.shape, strict=True)):
        if place != axis and isinstance(dim, str) and sizes.setdefault(dim, size) != size:
            raise ValueError(
                f"--inputs-file: {dim} is {size} in {put.name}, and {sizes[dim]} elsewhere; give "
                "one size"
            )


def _shapes_needed(
    takes: Signature, axes: Sequence[int | None], dims: Mapping[str, int], model: str
) -> str:
    return (
        f"--input-shape: {model} takes {_listed(takes.inputs)}, which does not say all that a "
        f"request needs; {_example(takes, axes, dims)}"
    )


def _example(takes: Signature, axes: Sequence[int | None], dims: Mapping[str, int]) -> str:
    """How --input-shape is written for this file: N stands for a size, VALUE for a number."""
    parts = []
    for put, axis in zip(takes.inputs, axes, strict=True):
        if axis is None and any(other is not None for other in axes):
            # [2, ?, 64] beside an input with a batch: this one has it somewhere else
            free = [n for n, dim in enumerate(put.dims) if dim is None]
            axis = free[0] if len(free) == 1 else None
        elif axis is None and put.dims and isinstance(put.dims[0], int):
            axis = 0
        shape = [
            str(dims.get(dim, "N") if isinstance(dim, str) else dim or "N") for dim in put.dims
        ]
        parts.append("x".join(_without(shape, axis)) if put.dims else "scalar=VALUE")
    written = "+".join(parts)
    meanings = {"N": "N: a size", "VALUE": "VALUE: a number"}
    meant = [meaning for sign, meaning in meanings.items() if sign in written]
    return f"write --input-shape {written}" + (f" ({', '.join(meant)})" if meant else "")


def _other_batch(batch: int | None, takes: Signature, cell: Cell) -> str:
    if batch == 1 and cell.given_inputs is not None:
        return (
            f"--batch {cell.batch}: {cell.model} takes no batch with this --input-shape; use "
            "--batch 1, or leave the batch out of --input-shape"
        )
    first = next(put for put in takes.inputs if put.dims)
    line = (
        f"--batch {cell.batch}: {cell.model} has a fixed batch of {batch} (it takes {first}); use "
        f"--batch {batch}"
    )
    if cell.batch == 1 and len(takes.inputs) == 1 and first.dims[0] == batch:
        whole = "x".join("N" if not isinstance(dim, int) else str(dim) for dim in first.dims)
        line += f", or --input-shape {whole} where that is one sample"
    return line


def _name(put: Input) -> str:
    assert put.dtype is not None
    return put.dtype.name


def _without(shape: Sequence[Any], axis: int | None) -> list[Any]:
    return [size for place, size in enumerate(shape) if place != axis]


def _listed(items: Sequence[object]) -> str:
    return " and ".join(
        [", ".join(map(str, items[:-1])), str(items[-1])] if items[1:] else map(str, items)
    )
