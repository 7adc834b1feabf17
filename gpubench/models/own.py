"""A user's own model: `module:function` or `FILE.py:function`.

The function takes no arguments and returns an OwnModel, or (module, example inputs).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch

from gpubench.errors import GpubenchError
from gpubench.models.base import Around, LoadedModel, Tensors

if TYPE_CHECKING:
    from gpubench.spec import Spec

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


def load(spec: Spec) -> LoadedModel:
    """Call the function that `spec.model` names; random numbers it draws come from the seed."""
    place, _, name = spec.model.rpartition(":")
    function = getattr(_module(place), name, None)
    if not callable(function):
        raise GpubenchError(f"--model {spec.model}: {place} has no function {name}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        made = function()
    if isinstance(made, tuple) and len(made) == 2:
        module, inputs = made
        made = OwnModel(module, tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,))
    if not isinstance(made, OwnModel) or not isinstance(made.module, torch.nn.Module):
        raise GpubenchError(
            f"--model {spec.model}: {name} returned {type(made).__name__}; it must return "
            "(module, example inputs) or a gpubench.OwnModel"
        )
    if isinstance(made.inputs, tuple):
        _check_examples(made.inputs, spec.model)
    return _loaded(made, spec.model)


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
        path = Path(place)
        found = importlib.util.spec_from_file_location(path.stem, path)
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        sys.modules[path.stem] = module  # where its dataclasses look their types up
        found.loader.exec_module(module)
        return module
    if "" not in sys.path:
        sys.path.insert(0, "")  # an installed command does not look in the current folder
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        raise GpubenchError(
            f"--model: no module named {error.name}; run gpubench where it can be imported, or "
            "give FILE.py:function"
        ) from error


def _loaded(own: OwnModel, label: str) -> LoadedModel:
    inputs = own.inputs
    make = inputs if callable(inputs) else _varied(inputs)
    module = own.module.eval().float()
    if own.preprocess is None and own.postprocess is None:
        return LoadedModel(module, f"own: {label}", _typed(make), own.answers)
    preprocess = own.preprocess or _as_inputs
    around = Around(make, preprocess, own.postprocess or (lambda outputs: outputs))
    return LoadedModel(
        module,
        f"own: {label}",
        lambda generator, samples: preprocess(make(generator, samples)),
        own.answers,
        around,
    )


def _as_inputs(request: object) -> Tensors:
    return request if isinstance(request, tuple) else (request,)


def _typed(
    make: Callable[[torch.Generator, int], object],
) -> Callable[[torch.Generator, int], Tensors]:
    return lambda generator, samples: _as_inputs(make(generator, samples))


def _varied(examples: Tensors) -> Callable[[torch.Generator, int], Tensors]:
    def make(generator: torch.Generator, samples: int) -> Tensors:
        rows = torch.randint(len(examples[0]), (samples,), generator=generator)
        made = []
        for example in examples:
            tensor = example[rows]
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator)
                scale = float(example.std()) if example.numel() > 1 else 1.0
                tensor = tensor + _VARIATION * scale * noise.to(tensor.dtype)
            made.append(tensor)
        return tuple(made)

    return make
