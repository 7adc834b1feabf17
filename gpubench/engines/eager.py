"""eager: PyTorch runs the module operator by operator."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from gpubench.engines import memory_format, precision, sparse_linear, weights_bytes
from gpubench.engines.base import Engine
from gpubench.models.base import LoadedModel

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell


def refusal(cell: Cell) -> str | None:
    return precision.refusal(cell, *precision.floats_of_torch(cell))


def build(model: LoadedModel, cell: Cell) -> Engine:
    module = precision.convert(model.module, cell)
    for parameter in module.parameters():  # a ScriptModule has no requires_grad_
        if parameter.is_floating_point():
            parameter.requires_grad_(cell.precision == "amp")  # see precision.thread_modes
    if cell.sparsity == "2:4":
        sparse_linear.compress(module)
    return Engine(
        forward=module,
        device=torch.device(cell.device),
        input_dtype=precision.weight_dtype(cell.precision),
        thread_modes=partial(precision.thread_modes, cell),
        memory_format=memory_format.of_cell(cell),
        artifact_bytes=weights_bytes.of_module(module),
    )
