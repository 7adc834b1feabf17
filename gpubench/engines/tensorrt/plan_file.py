"""An engine file of TensorRT's: FILE.plan, executed as it is."""

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
    """The engine in place of a module: nothing but its runtime can call it."""

    def __init__(self, engine: LoadedEngine) -> None:
        super().__init__()
        self.engine = engine


def load(cell: Cell) -> LoadedModel:
    """The engine on the cell's (first) GPU. It carries nothing to compare its answers with."""
    path = Path(cell.model)
    engine = LoadedEngine(path, cell.runtime, torch.device(cell.devices[0]))
    inputs = [
        RequestInput(put.name, str(put.dtype).removeprefix("torch."), put.sizes)
        for put in engine.inputs
    ]

    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        return random_inputs(inputs, generator, samples)

    return LoadedModel(PlanFile(engine), f"local: {path.name}", make_inputs, callable_on_cpu=False)
