"""The requests for an ONNX file: which sizes its inputs have, and which dimension is the batch.

A dimension of an input may be fixed in the file, or free. A free dimension may have a name. The
batch of an input is found by these rules:

1. It is a free dimension whose name says so (batch, batch_size, N).
2. Otherwise it is the first dimension if that is free. This rule does not hold if the name of the
   dimension means something else (time, num_atoms), or if the inputs have different names for it.
3. Otherwise the batch is fixed: it is the first dimension of the first input.

All other free dimensions need a size: from --dim, --input-shape or --inputs-file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpubench.models.inputs_file import InputsFile, check_kind
from gpubench.models.onnx_signature import OnnxInput, Signature, read_signature
from gpubench.spec.input_shapes import (
    GivenInput,
    Request,
    RequestInput,
)

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

# Names that exporters make up for dimensions to which the user gave no name.
_MADE_UP = re.compile(
    r"\?|unk__\d+|.*DynamicDimension\.\d+|s\d+|.*_dim_\d+|dyn\w*|None|-1", re.IGNORECASE
)
_NOT_THE_BATCH = re.compile(
    r"seq|len|time|step|frame|sample|token|word|width|height|atom|node|edge|point|position",
    re.IGNORECASE,
)


def refusal(cell: Cell) -> str | None:
    """Why the cell cannot be measured with its file, and what to change; None if it can."""
    signature = read_signature(Path(cell.model))
    allowed = {signature.precision}
    if signature.precision == "fp32":
        # The runtimes make these from fp32.
        allowed |= {"tf32", "int8", "fp8", *cell.runtime_entry.of_fp32_files}
    if cell.precision not in allowed and cell.server is None:  # a server converts as it likes
        return (
            f"--precision {cell.precision}: {cell.model} computes in {signature.precision} and is "
            f"not converted; use --precision {signature.precision}"
        )
    return refusal_of_requests(signature, cell)


def refusal_of_requests(signature: Signature, cell: Cell) -> str | None:
    """Why no requests for inputs with this signature can be made; None if they can."""
    try:
        described = request(signature, cell)
    except ValueError as error:
        return str(error)
    if described.fixed_batch not in {None, cell.batch}:
        return _other_batch(described.fixed_batch, signature, cell)
    if cell.joins_requests and not described.joinable:
        return (
            f"--dynamic-batch: requests of {cell.model} cannot be joined, since the batch is fixed "
            "or is not the first dimension of every input; remove --dynamic-batch"
        )
    return None


def request(signature: Signature, cell: Cell) -> Request:
    """The inputs of one request.

    Raises ValueError if a setting does not fit the file. Its message is one line that names the
    flag and the fix.
    """
    name = cell.model
    if not signature.inputs:
        raise ValueError(f"--model {name}: it has no inputs, so no requests can be made for it")
    for input_ in signature.inputs:
        if input_.dtype is None:
            raise ValueError(
                f"--model {name}: its input {input_.name} is of the type {input_.type_name}, but "
                "requests hold only tensors of numbers; remove that part of the file "
                "(onnx.utils.extract_model)"
            )
    file = InputsFile.open(cell.inputs_file) if cell.inputs_file else None
    _refuse_unknown_dims(cell.dims, signature, name)
    if cell.given_inputs is not None:
        return _by_shapes(signature, cell.given_inputs, cell.dims, file, name)
    return _by_dims(signature, cell.dims, file, name)


def _refuse_unknown_dims(dims: Mapping[str, int], signature: Signature, model: str) -> None:
    free = {dim for input_ in signature.inputs for dim in input_.dims if isinstance(dim, str)}
    for unknown in sorted(dims.keys() - free):
        has = f"its free dimensions are {', '.join(sorted(free))}" if free else "it has none"
        raise ValueError(f"--dim: {model} has no free dimension {unknown}; {has}")


def _batch_axes(signature: Signature, dims: Mapping[str, int]) -> list[int | None]:
    """For each input the free dimension that is the batch; None if there is none.

    The docstring of this module has the rules.
    """

    def free(dim: int | str | None) -> bool:
        return not isinstance(dim, int) and dim not in dims

    named = [
        next((n for n, dim in enumerate(input_.dims) if free(dim) and _says_batch(dim)), None)
        for input_ in signature.inputs
    ]
    leads = [
        input_.dims[0] if input_.dims and free(input_.dims[0]) else 0 for input_ in signature.inputs
    ]
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
    signature: Signature, dims: Mapping[str, int], file: InputsFile | None, model: str
) -> Request:
    """The inputs. All sizes but the batch come from the file, from --dim or from --inputs-file."""
    axes = _batch_axes(signature, dims)
    sizes = dict(dims)
    arrays = file.match([input_.name for input_ in signature.inputs], model) if file else {}
    for input_, axis in zip(signature.inputs, axes, strict=True):
        if input_.name in arrays:
            _check_array(input_, arrays[input_.name], axis, sizes)
    missing: list[str] = []
    unnamed = False
    for input_, axis in zip(signature.inputs, axes, strict=True):
        if input_.name in arrays:
            continue
        unnamed |= not input_.dims
        for number, dim in enumerate(input_.dims):
            if isinstance(dim, int) or number == axis or dim in sizes:
                continue
            unnamed |= dim is None
            missing += [dim] if isinstance(dim, str) and dim not in missing else []
    if unnamed:
        raise ValueError(_shapes_needed(signature, axes, sizes, model))
    if missing:
        example = "+".join(f"{dim}=50" for dim in missing)
        raise ValueError(
            f"--dim: {model} leaves {_listed(missing)} free; give a size, like --dim {example} "
            f"(it takes {_listed(signature.inputs)})"
        )
    inputs = []
    for input_, axis in zip(signature.inputs, axes, strict=True):
        shape = [sizes.get(dim, 0) if isinstance(dim, str) else dim or 0 for dim in input_.dims]
        if input_.name in arrays:
            shape = list(arrays[input_.name].shape)
        inputs.append((input_, shape, axis))
    fixed = None
    if not any(axis is not None for axis in axes):
        first = next((input_.dims[0] for input_ in signature.inputs if input_.dims), 1)
        fixed = first if isinstance(first, int) else 1
        inputs = [
            (input_, shape, 0 if input_.dims and input_.dims[0] == fixed else None)
            for input_, shape, _ in inputs
        ]
    return Request(
        tuple(
            RequestInput(input_.name, _name(input_), tuple(_without(shape, axis)), axis)
            for input_, shape, axis in inputs
        ),
        fixed,
    )


def _by_shapes(
    signature: Signature,
    given: Sequence[GivenInput],
    dims: Mapping[str, int],
    file: InputsFile | None,
    model: str,
) -> Request:
    """The inputs with the sizes of --input-shape, in order."""
    if file is not None:
        raise ValueError(
            "--input-shape and --inputs-file are mutually exclusive: the file has the shapes; "
            "remove one of them"
        )
    axes = _batch_axes(signature, dims)
    if len(given) != len(signature.inputs):
        raise ValueError(
            f"--input-shape: it has {len(given)} inputs, and {model} takes "
            f"{len(signature.inputs)}: {_listed(signature.inputs)}; "
            f"{_example(signature, axes, dims)}"
        )
    inputs, fixed = [], set()
    for input_, part, axis in zip(signature.inputs, given, axes, strict=True):
        dtype = _name(input_)
        if part.dtype not in {None, dtype}:
            raise ValueError(
                f"--input-shape: {part.dtype} is given for the input {input_}; write {dtype}, or "
                "no format"
            )
        batch_axis = _batch_axis(input_, part.sizes or (), axis)
        inputs.append(RequestInput(input_.name, dtype, part.sizes or (), batch_axis, part.value))
        if batch_axis is not None and isinstance(size := input_.dims[batch_axis], int):
            fixed.add(size)
    if all(input_.axis is None for input_ in inputs):
        fixed.add(1)
    return Request(tuple(inputs), min(fixed) if fixed else None)


def _batch_axis(input_: OnnxInput, sizes: tuple[int, ...], preferred: int | None) -> int | None:
    """The dimension of the batch, if `sizes` are those of one sample.

    None if `sizes` are already the whole shape of the input. Raises ValueError if they do not fit
    the input, neither with a batch nor without one.
    """
    if len(sizes) == len(input_.dims) and _fit(sizes, input_.dims):
        return None
    if len(sizes) == len(input_.dims) - 1:
        free = [axis for axis, dim in enumerate(input_.dims) if not isinstance(dim, int)]
        for axis in dict.fromkeys([*([] if preferred is None else [preferred]), *free, 0]):
            if _fit(sizes, (*input_.dims[:axis], *input_.dims[axis + 1 :])):
                return axis
    written = "x".join(map(str, sizes)) or "scalar"
    raise ValueError(
        f"--input-shape: {written} does not fit the input {input_}; give the shape of one sample"
    )


def _fit(sizes: Sequence[int], dims: Sequence[int | str | None]) -> bool:
    return all(
        size == dim or not isinstance(dim, int) for size, dim in zip(sizes, dims, strict=True)
    )


def _check_array(input_: OnnxInput, array: Any, axis: int | None, sizes: dict[str, int]) -> None:
    """Raises ValueError if an array does not fit the input. Adds its free dimensions to `sizes`."""
    assert input_.dtype is not None
    check_kind(input_.name, array, input_.dtype)
    fits = len(array.shape) == len(input_.dims) and all(
        number == axis or not isinstance(dim, int) or dim == size
        for number, (dim, size) in enumerate(zip(input_.dims, array.shape, strict=True))
    )
    if not fits:
        raise ValueError(
            f"--inputs-file: {input_.name} has the shape {list(array.shape)}, and the model "
            f"takes {input_}"
        )
    for number, (dim, size) in enumerate(zip(input_.dims, array.shape, strict=True)):
        if number != axis and isinstance(dim, str) and sizes.setdefault(dim, size) != size:
            raise ValueError(
                f"--inputs-file: {dim} is {size} in {input_.name}, and {sizes[dim]} in another "
                "array or in --dim; give the same size"
            )


def _shapes_needed(
    signature: Signature, axes: Sequence[int | None], dims: Mapping[str, int], model: str
) -> str:
    return (
        f"--input-shape: {model} takes {_listed(signature.inputs)}; this leaves a size or a value "
        f"unknown; {_example(signature, axes, dims)}"
    )


def _example(signature: Signature, axes: Sequence[int | None], dims: Mapping[str, int]) -> str:
    """An example of --input-shape for this file. N stands for a size, VALUE for a number."""
    parts = []
    for input_, axis in zip(signature.inputs, axes, strict=True):
        if axis is None and any(other is not None for other in axes):
            # Another input has a batch. If this one has a single free dimension without a name,
            # as in [2, ?, 64], that is its batch.
            free = [n for n, dim in enumerate(input_.dims) if dim is None]
            axis = free[0] if len(free) == 1 else None
        elif axis is None and input_.dims and isinstance(input_.dims[0], int):
            axis = 0
        shape = [
            str(dims.get(dim, "N") if isinstance(dim, str) else dim or "N") for dim in input_.dims
        ]
        parts.append("x".join(_without(shape, axis)) if input_.dims else "scalar=VALUE")
    written = "+".join(parts)
    meanings = {"N": "N: a size", "VALUE": "VALUE: a number"}
    meant = [meaning for sign, meaning in meanings.items() if sign in written]
    return f"write --input-shape {written}" + (f" ({', '.join(meant)})" if meant else "")


def _other_batch(batch: int | None, signature: Signature, cell: Cell) -> str:
    if batch == 1 and cell.given_inputs is not None:
        return (
            f"--batch {cell.batch}: with this --input-shape {cell.model} takes no batch; use "
            "--batch 1, or give the shape of one sample with --input-shape"
        )
    first = next(input_ for input_ in signature.inputs if input_.dims)
    line = (
        f"--batch {cell.batch}: {cell.model} has a fixed batch of {batch} (it takes {first}); use "
        f"--batch {batch}"
    )
    if cell.batch == 1 and len(signature.inputs) == 1 and first.dims[0] == batch:
        whole = "x".join("N" if not isinstance(dim, int) else str(dim) for dim in first.dims)
        line += f", or --input-shape {whole} if that is the shape of one sample"
    return line


def _name(input_: OnnxInput) -> str:
    assert input_.dtype is not None
    return input_.dtype.name


def _without(shape: Sequence[Any], axis: int | None) -> list[Any]:
    return [size for number, size in enumerate(shape) if number != axis]


def _listed(items: Sequence[object]) -> str:
    return " and ".join(
        [", ".join(map(str, items[:-1])), str(items[-1])] if items[1:] else map(str, items)
    )
