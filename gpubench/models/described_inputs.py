"""Makes the inputs of a model that its signature describes: an ONNX file, or a served model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gpubench.models.base import MakeInputs, Tensors, draw_samples, random_inputs, torch_dtype
from gpubench.models.inputs_file import InputsFile
from gpubench.spec.input_shapes import Request

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell


def input_maker(cell: Cell, described: Request) -> MakeInputs:
    """A function that makes inputs: from the arrays of --inputs-file, and random for the others."""
    names = [input_.name for input_ in described.inputs]
    file = InputsFile.open(cell.inputs_file) if cell.inputs_file else None
    arrays = file.match(names, cell.model) if file else {}
    in_file = [input_ for input_ in described.inputs if input_.name in arrays]
    others = [input_ for input_ in described.inputs if input_.name not in arrays]
    tensors = [torch.from_numpy(arrays[each.name]).to(torch_dtype(each.dtype)) for each in in_file]

    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        samples = described.fixed_batch or samples
        drawn = draw_samples(tensors, [each.axis for each in in_file], generator, samples)
        inputs = dict(zip((each.name for each in in_file), drawn, strict=True))
        random = random_inputs(others, generator, samples)
        inputs |= zip((each.name for each in others), random, strict=True)
        return tuple(inputs[name] for name in names)

    return make_inputs
