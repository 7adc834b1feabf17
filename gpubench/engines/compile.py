"""compile: torch.compile with TorchInductor, as one graph, with frozen weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch

from gpubench.engines import inductor, linear_int8, precision
from gpubench.engines.base import Engine
from gpubench.models.base import LoadedModel, Tensors

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

refusal = inductor.refusal


def build(model: LoadedModel, cell: Cell) -> Engine:
    """Compiles, which takes from seconds to minutes: a cold start shows it as build_seconds."""
    module, example = inductor.ready(model, cell)
    if cell.precision == "int8":
        linear_int8.quantise(module, example, cell)
    compiled = torch.compile(_function(module), fullgraph=True, dynamic=False)
    try:
        # Not as options of torch.compile: they are set after the module was traced, by when its
        # weights have become arguments, which freezing leaves alone.
        with inductor.modes(cell), torch._inductor.config.patch(dict(inductor.OPTIONS)):
            compiled(*example)
    except Exception as error:  # whatever tracing, generating or compiling raised
        raise inductor.failure(cell, error) from error
    return Engine(
        forward=compiled,
        device=torch.device(cell.device),
        input_dtype=precision.weight_dtype(cell.precision),
        thread_modes=partial(inductor.modes, cell),
        library=inductor.library(cell),
    )


def _function(module: torch.nn.Module) -> Callable[..., torch.Tensor | Tensors]:
    """`module` as a function with a code object of its own.

    By code object torch.compile keeps what it compiled and counts the versions, of which it allows
    a few. Were it the same for all engines, they would use up the limit together; and forgetting
    the others' versions would have those compiled again when they are called, without freezing.
    """

    def forward(*inputs: torch.Tensor) -> torch.Tensor | Tensors:
        outputs: torch.Tensor | Tensors = module(*inputs)
        return outputs

    forward.__code__ = forward.__code__.replace()
    return forward
