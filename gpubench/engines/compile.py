"""compile: torch.compile with TorchInductor, as one graph, with frozen weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch

from gpubench.engines import inductor, linear_int8, memory_format, precision, weights_bytes
from gpubench.engines.base import Engine
from gpubench.models.base import LoadedModel, Tensors

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

refusal = inductor.refusal


def build(model: LoadedModel, cell: Cell) -> Engine:
    """Compile the model. This takes seconds to minutes, which the result shows as build_seconds."""
    module, example = inductor.ready(model, cell)
    if cell.precision == "int8":
        linear_int8.quantise(module, example, cell)
    stored = weights_bytes.of_module(module)
    compiled = torch.compile(function_of(module), fullgraph=True, dynamic=False)
    try:
        # Not as options of torch.compile: those are set after the module was traced. By then its
        # weights are arguments of the graph, and freezing does not change arguments.
        with inductor.modes(cell), torch._inductor.config.patch(dict(inductor.OPTIONS)):
            compiled(*example)
    except Exception as error:  # any error of tracing, of generating code or of compiling it
        raise inductor.failure(cell, error) from error
    return Engine(
        forward=compiled,
        device=torch.device(cell.device),
        input_dtype=precision.weight_dtype(cell.precision),
        thread_modes=partial(inductor.modes, cell),
        library=inductor.library(cell),
        memory_format=memory_format.of_cell(cell),
        artifact_bytes=stored,
    )


def function_of(module: torch.nn.Module) -> Callable[..., torch.Tensor | Tensors]:
    """`module` as a function with a new code object.

    torch.compile stores its compiled versions at the code object, and limits their number. If all
    engines had the same code object, they would share this limit. If the versions of the other
    engines were dropped, their next call would compile them again, without freezing.
    """

    def forward(*inputs: torch.Tensor) -> torch.Tensor | Tensors:
        outputs: torch.Tensor | Tensors = module(*inputs)
        return outputs

    forward.__code__ = forward.__code__.replace()
    return forward
