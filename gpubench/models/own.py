"""A user's own model: `module:function` or `FILE.py:function`.

The function takes no arguments. It returns an OwnModel, or (module, example inputs).
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch

from gpubench.errors import GpubenchError
from gpubench.models.base import (
    LoadedModel,
    PrePostProcessing,
    Tensors,
    in_reference_dtype,
    select_rows,
    with_floats,
)
from gpubench.models.own_source import importable
from gpubench.system import jax_threads

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

# Samples made from examples differ from them by this share of their standard deviation.
_VARIATION = 0.25


@dataclass(frozen=True)
class OwnModel:
    """A model, and how to make requests for it.

    `inputs` is a function of (generator, samples) that makes the inputs of the module. Or it is a
    tuple of example tensors, with the batch as the first dimension of each; requests are then made
    from the examples by small changes of their floating-point tensors. A function is better.

    With `preprocess`, `inputs` makes what a client sends, and `preprocess` turns that into the
    inputs of the module. `postprocess` takes the outputs of the module. `answers` names the meaning
    of the largest value of each output, for example "top1".

    With `--runtime jax`, `module` is a function of JAX, and inputs may be arrays.
    `loss` is for training: it takes what the module returned, and returns one number, a tensor with
    a gradient. Without it, models with `answers` have the cross-entropy against random classes, and
    others the mean squared error against random numbers.
    """

    module: torch.nn.Module | Callable[..., object]
    inputs: tuple[object, ...] | Callable[[torch.Generator, int], object]
    preprocess: Callable[..., Tensors] | None = None
    postprocess: Callable[..., object] | None = None
    answers: tuple[str, ...] = ()
    loss: Callable[..., torch.Tensor] | None = None


def load(cell: Cell) -> LoadedModel:
    """Call the function that `cell.model` names. Its random numbers come from the seed."""
    if cell.runtime == "jax":
        jax_threads.start(cell.workers * cell.threads)  # before the user's function starts it
        if cell.computes_on_cpu:
            jax_threads.refuse_other_number(cell.workers * cell.threads)
    with user_function(cell.model, "--model") as function, torch.random.fork_rng(devices=[]):
        torch.manual_seed(cell.seed)
        model = function()
    name = cell.model.rpartition(":")[2]
    if isinstance(model, tuple) and len(model) == 2:
        module, inputs = model
        model = OwnModel(module, tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,))
    if not isinstance(model, OwnModel):
        raise GpubenchError(
            f"--model {cell.model}: {name} returned {type(model).__name__}; it must return "
            "(module, example inputs) or a gpubench.OwnModel"
        )
    if cell.runtime == "jax":
        return _loaded_of_jax(model, cell)
    if not isinstance(model.module, torch.nn.Module):
        raise GpubenchError(
            f"--model {cell.model}: {name} returned {_kind(model.module)} in place of a module; "
            "return a torch.nn.Module whose forward calls it, or use --runtime jax if it is a "
            "function of JAX"
        )
    return _loaded(model, model.module, cell)


def _loaded_of_jax(model: OwnModel, cell: Cell) -> LoadedModel:
    """The model as a torch module that calls its function of JAX, with tensors as inputs."""
    from gpubench.models.jax_function import JaxFunction, as_tensor, with_tensors

    if isinstance(model.module, torch.nn.Module) or not callable(model.module):
        raise GpubenchError(
            f"--model {cell.model}: it returned {_kind(model.module)}, and --runtime jax needs a "
            "function of JAX; return one, or use --runtime torchscript for a torch.nn.Module"
        )
    inputs, preprocess = model.inputs, model.preprocess
    if not callable(inputs):
        inputs = tuple(map(as_tensor, inputs))
    elif preprocess is None:
        inputs = with_tensors(inputs)
    else:
        preprocess = with_tensors(preprocess)
    module = JaxFunction(model.module)
    loaded = _loaded(replace(model, inputs=inputs, preprocess=preprocess), module, cell)
    return replace(loaded, input_names=module.input_names)


@contextmanager
def user_function(name: str, flag: str) -> Iterator[Callable[[], object]]:
    """The function `name`, which `flag` gives. In the block it can import modules of its folder.

    Raises GpubenchError if there is no such function.
    """
    source, _, function_name = name.rpartition(":")  # a file or a module, and its function
    folder = os.path.dirname(os.path.abspath(source)) if source.endswith(".py") else ""
    with importable(folder):
        function = getattr(_module(source, flag), function_name, None)
        if not callable(function):
            raise GpubenchError(f"{flag} {name}: {source} has no function {function_name}")
        yield function


def _kind(value: object) -> str:
    if isinstance(value, torch.nn.Module):
        return "a torch.nn.Module"
    if isinstance(value, type) and issubclass(value, torch.nn.Module):
        return f"the class {value.__name__} (not an instance)"
    return "a function" if callable(value) else type(value).__name__


def _checked(examples: tuple[object, ...], model: str) -> Tensors:
    """Raises GpubenchError for wrong example inputs: a user's function may return anything."""
    tensors = tuple(each for each in examples if isinstance(each, torch.Tensor) and each.ndim)
    if (
        not examples
        or len(tensors) < len(examples)
        or any(len(each) != len(tensors[0]) for each in tensors)
    ):
        raise GpubenchError(
            f"--model {model}: its example inputs must be one tensor or a tuple of tensors, all "
            "with the same number of samples in the first dimension"
        )
    return tensors


def _module(source: str, flag: str) -> ModuleType:
    if source.endswith(".py"):
        return _run_file(Path(source), flag)
    try:
        return importlib.import_module(source)
    except ModuleNotFoundError as error:
        raise GpubenchError(
            f"{flag}: no module named {error.name}; run gpubench in the folder of the module, "
            "install it, or give FILE.py:function"
        ) from error


def _run_file(path: Path, flag: str) -> ModuleType:
    """The module of a file. Its name is unique, even if files have the same name.

    A file that has both the model and the labelled data is executed once for each: the classes of
    the model stay in the module in which they were made.
    """
    digest = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]
    name = f"gpubench_user_{flag.removeprefix('--')}_{digest}"
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses and pickle look up classes here
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _loaded(model: OwnModel, module: torch.nn.Module, cell: Cell) -> LoadedModel:
    inputs = model.inputs
    make = inputs if callable(inputs) else _varied(_checked(inputs, cell.model))
    label = f"own: {cell.model}"
    module, dtype = in_reference_dtype(module.eval(), cell)
    if model.preprocess is None and model.postprocess is None:
        return LoadedModel(module, label, _with_dtype(make, dtype), model.answers, loss=model.loss)
    preprocess = model.preprocess or _as_inputs
    postprocess = model.postprocess or (lambda outputs: outputs)
    return LoadedModel(
        module,
        label,
        lambda generator, samples: with_floats(preprocess(make(generator, samples)), dtype),
        model.answers,
        PrePostProcessing(make, preprocess, postprocess),
        loss=model.loss,
    )


def _as_inputs(request: object) -> Tensors:
    return request if isinstance(request, tuple) else (request,)


def _with_dtype(
    make: Callable[[torch.Generator, int], object], dtype: torch.dtype
) -> Callable[[torch.Generator, int], Tensors]:
    return lambda generator, samples: with_floats(_as_inputs(make(generator, samples)), dtype)


def _varied(examples: Tensors) -> Callable[[torch.Generator, int], Tensors]:
    """A function that makes samples from examples, with small changes."""

    def make(generator: torch.Generator, samples: int) -> Tensors:
        rows = torch.randint(len(examples[0]), (samples,), generator=generator)
        varied = []
        for example in examples:
            tensor = select_rows(example, 0, rows)
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator)
                scale = float(example.float().std()) if example.numel() > 1 else 1.0
                tensor = tensor + _VARIATION * scale * noise.to(tensor.dtype)
            varied.append(tensor)
        return tuple(varied)

    return make
