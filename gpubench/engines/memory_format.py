"""Memory formats: the order in which the elements of a four-dimensional tensor lie in memory.

| format | order of a batch of images in memory |
|---|---|
| contiguous | sample, channel, row, column (NCHW): tensors stay as the model makes them |
| channels_last | sample, row, column, channel (NHWC) |

The shape of a tensor is (samples, channels, rows, columns) in both. With channels_last, the weights
and buffers of four dimensions are converted when the engine is built, and the inputs of four
dimensions when the requests are made. So no forward pass converts them. Tensors with other numbers
of dimensions have only one format.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import torch

from gpubench.errors import GpubenchError

if TYPE_CHECKING:
    from gpubench.models.base import LoadedModel, Tensors
    from gpubench.spec.cell import Cell

Module = TypeVar("Module", bound=torch.nn.Module)

# The messages of torch, uncompiled and compiled, for a .view that would have to copy.
_FAILED_VIEWS = ("view size is not compatible with input tensor's", "Cannot view a tensor with")


def of_cell(cell: Cell) -> torch.memory_format:
    """The torch.memory_format of the cell's setting."""
    return torch.channels_last if _is_channels_last(cell) else torch.contiguous_format


def of_tensor(tensor: torch.Tensor) -> torch.memory_format:
    """channels_last if the elements of `tensor` lie in that order, otherwise contiguous_format.

    A tensor with one channel, or with one row and one column, lies in both orders: contiguous.
    """
    if tensor.ndim != 4 or tensor.is_contiguous():
        return torch.contiguous_format
    channels_last = tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last else torch.contiguous_format


def convert(module: Module, memory_format: torch.memory_format) -> Module:
    """`module` with its weights and buffers of four dimensions in this format."""
    if memory_format == torch.contiguous_format:
        return module
    return module.to(memory_format=memory_format)


def arrange(inputs: Tensors, memory_format: torch.memory_format) -> Tensors:
    """`inputs` with those of four dimensions in this format.

    contiguous_format changes nothing: then the inputs stay as the model makes them.
    """
    if memory_format == torch.contiguous_format:
        return inputs
    return tuple(
        tensor.contiguous(memory_format=memory_format)
        if isinstance(tensor, torch.Tensor) and tensor.ndim == 4
        else tensor
        for tensor in inputs
    )


def elements(tensor: torch.Tensor, memory_format: torch.memory_format) -> torch.Tensor:
    """All elements as a vector, in the order that they have in this format.

    It is a view if they already lie in this order.
    """
    if tensor.ndim == 4 and memory_format == torch.channels_last:
        tensor = tensor.permute(0, 2, 3, 1)
    return tensor.contiguous().reshape(-1)


def view_like(
    vector: torch.Tensor, tensor: torch.Tensor, memory_format: torch.memory_format
) -> torch.Tensor:
    """The elements of `vector`, which are in this format, as a tensor like `tensor`.

    It is the inverse of `elements`. `tensor` has been arranged in `memory_format`.
    """
    if tensor.ndim == 4 and memory_format == torch.channels_last:
        return vector.as_strided(tensor.shape, tensor.stride())
    return vector.view(tensor.shape)


def refusal(model: LoadedModel, inputs: Tensors, cell: Cell) -> str | None:
    """Why the loaded model cannot have the cell's memory format; None if it can.

    `inputs` are those of one request.
    """
    if not _is_channels_last(cell):
        return None
    flag, remedy = _flag(cell), "use --memory-format contiguous"
    if not any(tensor.ndim == 4 for tensor in inputs):
        return f"{flag}: {cell.model} has no input of four dimensions (images); {remedy}"
    weights = (*model.module.parameters(), *model.module.buffers())
    if any(tensor.ndim == 5 for tensor in weights):
        return f"{flag}: {cell.model} has weights of five dimensions; {remedy}"
    is_script = isinstance(model.module, torch.jit.ScriptModule)
    if is_script and not any(tensor.ndim == 4 for tensor in weights):
        return (
            f"{flag}: {cell.model} has no weights of four dimensions that could be converted (in a "
            f"frozen file they are constants); {remedy}, or save it without torch.jit.freeze"
        )
    return None


@contextmanager
def explained(cell: Cell) -> Iterator[None]:
    """Raises GpubenchError with the remedy if the model fails because of its memory format.

    `.view` works on a contiguous tensor, and may fail on the same tensor in channels_last.
    """
    try:
        yield
    except (RuntimeError, GpubenchError) as error:
        text = f"{error}\n{error.__cause__}"
        if _is_channels_last(cell) and any(message in text for message in _FAILED_VIEWS):
            raise GpubenchError(
                f"{_flag(cell)}: {cell.model} calls .view on a tensor that does not allow it in "
                "this format; write .reshape in the model, or use --memory-format contiguous"
            ) from error
        raise


def _is_channels_last(cell: Cell) -> bool:
    return cell.memory_format == "channels_last"


def _flag(cell: Cell) -> str:
    return f"--memory-format {cell.memory_format}"
