"""A user's TorchScript file. --input-shape or --inputs-file describes its inputs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from gpubench.errors import GpubenchError, reason_of
from gpubench.models.base import (
    LoadedModel,
    MakeInputs,
    Tensors,
    draw_samples,
    in_reference_dtype,
    random_inputs,
    with_floats,
)
from gpubench.models.inputs_file import InputsFile
from gpubench.spec.cell import Cell
from gpubench.spec.input_shapes import GivenInput, RequestInput


def load(cell: Cell) -> LoadedModel:
    path = Path(cell.model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit is deprecated but maintained
            loaded = torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise GpubenchError(
            f"{path} is not a TorchScript file ({reason_of(error)}); save one with torch.jit.save, "
            "or give a function that loads it, as FILE.py:function"
        ) from error
    module, dtype = in_reference_dtype(loaded, cell)
    if cell.inputs_file is not None:
        make, axes = _from_file(cell.inputs_file)
    else:
        make, axes = _from_shapes(cell.given_inputs or ())
    if cell.joins_requests and any(axis is None for axis in axes):
        raise GpubenchError(
            "--dynamic-batch: requests whose inputs include a single number cannot be joined; "
            "remove --dynamic-batch"
        )

    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        return with_floats(make(generator, samples), dtype)

    batch_first = all(axis == 0 for axis in axes)
    return LoadedModel(module, f"local: {path.name}", make_inputs, batch_first=batch_first)


def _from_shapes(given_inputs: Sequence[GivenInput]) -> tuple[MakeInputs, list[int | None]]:
    inputs = [
        RequestInput(
            f"input_{number}",
            given.dtype or "float32",
            given.sizes or (),
            None if given.sizes is None else 0,
            given.value,
        )
        for number, given in enumerate(given_inputs)
    ]
    return partial(random_inputs, inputs), [input_.axis for input_ in inputs]


def _from_file(path: Path) -> tuple[MakeInputs, list[int | None]]:
    """The arrays of the file, in its order. The first dimension of each holds the samples."""
    arrays = InputsFile.open(path).arrays
    lengths = {len(array) for array in arrays.values() if array.ndim}
    if len(lengths) != 1 or 0 in lengths:
        raise GpubenchError(
            f"--inputs-file: the arrays of {path} have {sorted(lengths)} samples in "
            "their first dimensions; give all arrays the same number, at least one"
        )
    axes: list[int | None] = [0 if array.ndim else None for array in arrays.values()]
    tensors = [torch.from_numpy(array) for array in arrays.values()]
    return partial(draw_samples, tensors, axes), axes
