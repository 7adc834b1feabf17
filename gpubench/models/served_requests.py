"""The requests for a model that only its server knows: `--model kserve:NAME`.

The server describes its inputs as an ONNX file does, so the same rules find the batch, and the same
settings give sizes to free dimensions. A free dimension has no name on a server, so its name here
is that of the input and its number: `tokens.1` is the second dimension of `tokens`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubench.errors import InputError
from gpubench.models.onnx_requests import refusal_of_requests
from gpubench.models.onnx_signature import OnnxInput, Signature
from gpubench.serving.describe import ServedModel, ServedTensor, describe

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell


def refusal(cell: Cell) -> str | None:
    """Why the cell cannot be measured with its server, and what to change; None if it can."""
    assert cell.server is not None
    try:
        return refusal_of_requests(signature(describe(cell.server, cell.model), cell), cell)
    except InputError as error:
        return str(error)


def signature(served: ServedModel, cell: Cell) -> Signature:
    """The inputs that the server describes.

    Raises InputError if it describes none, or inputs that are no numbers.
    """
    if not served.inputs:
        raise InputError(
            f"--model {cell.model}: the server does not describe its inputs; give the model itself "
            "with --model, so that requests can be made for it"
        )
    for each in served.inputs:
        if each.dtype is None:
            raise InputError(
                f"--model {cell.model}: its input {each} is not a tensor of numbers that NumPy "
                "has; measure a model without such an input"
            )
    return Signature(tuple(map(_input, served.inputs)), cell.precision)


def _input(tensor: ServedTensor) -> OnnxInput:
    dims = tuple(
        dim if dim is not None or number == 0 else f"{tensor.name}.{number}"
        for number, dim in enumerate(tensor.dims)
    )
    return OnnxInput(tensor.name, tensor.dtype, tensor.datatype, dims)
