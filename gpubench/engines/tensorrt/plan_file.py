"""A user's engine file of TensorRT: FILE.plan, executed without changes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gpubench.engines.tensorrt.context import LoadedEngine
from gpubench.models.base import LoadedModel, Tensors, random_inputs
from gpubench.spec.input_shapes import RequestInput

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell


class PlanFile(torch.nn.Module):
    """Takes the place of a module. It cannot be called; only TensorRT can execute the engine."""

    def __init__(self, engine: LoadedEngine) -> None:
        super().__init__()
        self.engine = engine


def load(cell: Cell) -> LoadedModel:
    """The engine on the first GPU of the cell. There is no reference for its outputs."""
    path = Path(cell.model)
    engine = LoadedEngine(path, cell.runtime, torch.device(cell.devices[0]))
    inputs = [
        RequestInput(input_.name, str(input_.dtype).removeprefix("torch."), input_.sizes)
        for input_ in engine.inputs
    ]

    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        return random_inputs(inputs, generator, samples)

    return LoadedModel(PlanFile(engine), f"local: {path.name}", make_inputs, callable_on_cpu=False)
