"""A user's own model: `module:function` or `FILE.py:function`.

The function takes no arguments and returns an OwnModel, or (module, example inputs).
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch

from gpubench.errors import GpubenchError
from gpubench.models.base import (
    Around,
    LoadedModel,
    Tensors,
    in_reference_dtype,
    taken,
    with_floats,
)
from gpubench.models.own_source import importable

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

# Made-up samples differ from the examples by this share of their scale.
_VARIATION = 0.25


@dataclass(frozen=True)
class OwnModel:
    """A model and how to make requests for it.

    `inputs` are example tensors, the batch first in each, of which as many samples as are needed
    are made by small changes to the floating-point ones; or, better, a function of (generator,
    samples) that makes them. With `preprocess`, that function makes what a client sends instead,
    and `preprocess` turns it into the module's inputs. `postprocess` takes the module's outputs.
    `answers` names what the largest value of each output stands for, as "top1".
    """

    module: torch.nn.Module
    inputs: Tensors | Callable[[torch.Generator, int], object]
    preprocess: Callable[..., Tensors] | None = None
    postprocess: Callable[..., object] | None = None
    answers: tuple[str, ...] = ()


def load(cell: Cell) -> LoadedModel:
    """Call the function that `cell.model` names; random numbers it draws come from the seed."""
    place, _, name = cell.model.rpartition(":")
    folder = os.path.dirname(os.path.abspath(place)) if place.endswith(".py") else ""
    with importable(folder):
        function = getattr(_module(place), name, None)
        if not callable(function):
            raise GpubenchError(f"--model {cell.model}: {place} has no function {name}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(cell.seed)
            made = function()
    if isinstance(made, tuple) and len(made) == 2:
        module, inputs = made
        made = OwnModel(module, tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,))
    if not isinstance(made, OwnModel):
        raise GpubenchError(
            f"--model {cell.model}: {name} returned {type(made).__name__}; it must return "
            "(module, example inputs) or a gpubench.OwnModel"
        )
    if not isinstance(made.module, torch.nn.Module):
        raise GpubenchError(
            f"--model {cell.model}: {name} returned {_kind(made.module)} in place of a module; "
            "return a torch.nn.Module whose forward calls it"
        )
    if isinstance(made.inputs, tuple):
        _check_examples(made.inputs, cell.model)
    return _loaded(made, cell)


def _kind(thing: object) -> str:
    if isinstance(thing, type) and issubclass(thing, torch.nn.Module):
        return f"the class {thing.__name__}, and no object of it,"
    return "a function" if callable(thing) else type(thing).__name__


def _check_examples(examples: Tensors, model: str) -> None:
    """What a user's function gives may be anything."""
    if not examples or not all(
        isinstance(each, torch.Tensor) and each.ndim and len(each) == len(examples[0])
        for each in examples
    ):
        raise GpubenchError(
            f"--model {model}: its example inputs must be one tensor or a tuple of tensors, each "
            "with as many samples in its first dimension"
        )


def _module(place: str) -> ModuleType:
    if place.endswith(".py"):
        return _run_file(Path(place))
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        raise GpubenchError(
            f"--model: no module named {error.name}; run gpubench where it can be imported, or "
            "give FILE.py:function"
        ) from error


def _run_file(path: Path) -> ModuleType:
    """The module of a file, under a name that no other has, whatever the file is called."""
    digest = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]
    name = f"gpubench_user_model_{digest}"
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # where dataclasses and pickle look their classes up
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _loaded(own: OwnModel, cell: Cell) -> LoadedModel:
    inputs = own.inputs
    make = inputs if callable(inputs) else _varied(inputs)
    label = f"own: {cell.model}"
    module, dtype = in_reference_dtype(own.module.eval(), cell)
    if own.preprocess is None and own.postprocess is None:
        return LoadedModel(module, label, _typed(make, dtype), own.answers)
    preprocess = own.preprocess or _as_inputs
    around = Around(make, preprocess, own.postprocess or (lambda outputs: outputs))
    return LoadedModel(
        module,
        label,
        lambda generator, samples: with_floats(preprocess(make(generator, samples)), dtype),
        own.answers,
        around,
    )


def _as_inputs(request: object) -> Tensors:
    return request if isinstance(request, tuple) else (request,)


def _typed(
    make: Callable[[torch.Generator, int], object], dtype: torch.dtype
) -> Callable[[torch.Generator, int], Tensors]:
    return lambda generator, samples: with_floats(_as_inputs(make(generator, samples)), dtype)


def _varied(examples: Tensors) -> Callable[[torch.Generator, int], Tensors]:
    def make(generator: torch.Generator, samples: int) -> Tensors:
        rows = torch.randint(len(examples[0]), (samples,), generator=generator)
        made = []
        for example in examples:
            tensor = taken(example, 0, rows)
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator)
                scale = float(example.float().std()) if example.numel() > 1 else 1.0
                tensor = tensor + _VARIATION * scale * noise.to(tensor.dtype)
            made.append(tensor)
        return tuple(made)

    return make
