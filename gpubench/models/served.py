"""A model that only its server knows: `--model kserve:NAME`. Its outputs have no reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gpubench.errors import GpubenchError
from gpubench.models.base import LoadedModel
from gpubench.models.described_inputs import input_maker
from gpubench.models.onnx_requests import refusal_of_requests, request
from gpubench.models.served_requests import signature
from gpubench.serving.describe import describe

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell


class OnServer(torch.nn.Module):
    """Takes the place of a module. It cannot be called; only the server executes the model."""


def load(cell: Cell) -> LoadedModel:
    """Inputs for the model, as the server describes them.

    Raises GpubenchError if none can be made.
    """
    assert cell.server is not None
    served = describe(cell.server, cell.model)
    inputs = signature(served, cell)
    if reason := refusal_of_requests(inputs, cell):  # the server may describe it in a new way
        raise GpubenchError(reason)
    described = request(inputs, cell)
    return LoadedModel(
        OnServer(),
        f"of the server: {served.name}",
        input_maker(cell, described),
        callable_on_cpu=False,
        fixed_batch=described.fixed_batch,
        batch_first=described.joinable,
        input_names=tuple(input_.name for input_ in described.inputs),
    )
