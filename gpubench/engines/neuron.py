"""neuron: the model compiled for the NeuronCores of AWS Inferentia2 and Trainium (torch-neuronx).

It has never been run: torch-neuronx can be had only from AWS. The code follows its documentation.
tests/neuron_api checks that the names and arguments used here are those of the documentation, and
tests/python/engines/test_neuron.py runs this file with a fake in place of torch-neuronx.

`torch_neuronx.trace` compiles the module for one shape of its inputs, so dynamic batching is
refused. This takes minutes. The result is a TorchScript file, which the cache keeps. It takes
tensors of the CPU and returns such; the copies to and from the NeuronCore are part of each call.

Each worker loads the file once more, onto the NeuronCore that is used least. So up to the number of
NeuronCores (2 for each chip of inf2 and trn1), each worker has its own. NEURON_RT_VISIBLE_CORES
limits those of the process.

| precision | weights and inputs | what the compiler casts (`--auto-cast`) |
|---|---|---|
| fp32 | fp32 | nothing |
| amp | fp32 | products of matrices, to bf16: this is the default of the compiler |
| tf32 | fp32 | products of matrices, to TF32 |
| fp16, bf16 | in that format | nothing |

Sources: "PyTorch NeuronX Tracing API for Inference", "PyTorch NeuronX NeuronCore Placement APIs"
and "Neuron Compiler CLI Reference Guide (neuronx-cc)" in the AWS Neuron documentation.
"""

from __future__ import annotations

import os
import tempfile
import threading
import warnings
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gpubench import cache
from gpubench.engines import cache_key, precision, program, refusals
from gpubench.engines.base import Engine, PerWorker
from gpubench.errors import GpubenchError, reason_of
from gpubench.models.base import LoadedModel, Tensors, TupleOfTensors, seeded, with_floats
from gpubench.system.machine import this_machine

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

# Increase this number when the way in which a model is compiled changes.
_RECIPE = 1

_COMPILER_ARGUMENTS = {
    "fp32": ["--auto-cast", "none"],
    "amp": ["--auto-cast", "matmult", "--auto-cast-type", "bf16"],
    "tf32": ["--auto-cast", "matmult", "--auto-cast-type", "tf32"],
    "fp16": ["--auto-cast", "none"],
    "bf16": ["--auto-cast", "none"],
}
# Variables that change what the compiler makes.
_ENVIRONMENT = ("NEURON_CC_FLAGS", "NEURON_LOGICAL_NC_CONFIG")

# The context that chooses a NeuronCore is not safe for several threads.
_loading = threading.Lock()

refusal = refusals.of_neuron


def build(model: LoadedModel, cell: Cell) -> Engine:
    if isinstance(model.module, torch.jit.ScriptModule):
        raise GpubenchError(
            f"{cell.model} is TorchScript, which is not compiled for NeuronCores; give the Python "
            "module, or use --runtime torchscript"
        )
    dtype = precision.weight_dtype(cell.precision)
    module = TupleOfTensors(model.module.to(dtype).requires_grad_(False)).eval()
    example = with_floats(model.make_inputs(seeded(cell.seed), cell.batch), dtype)
    path = _entry(module, example, cell)
    from_cache = path.exists()
    if not from_cache:
        path = cache.save(
            path, lambda target: _compile(module, example, cell, target), model.weights_bytes
        )
    load = partial(_load, path, cell)
    on_core = PerWorker(load, load())
    return Engine(
        forward=lambda *inputs: on_core.of_this_thread(*inputs),
        device=torch.device("cpu"),
        input_dtype=dtype,
        thread_modes=on_core.entered,
        from_cache=from_cache,
        library=", ".join(f"{name} {version(name)}" for name in refusals.NEURON_DISTRIBUTIONS),
        artifact_bytes=path.stat().st_size,
    )


def _entry(module: torch.nn.Module, example: Tensors, cell: Cell) -> Path:
    """The path of the compiled file in the cache. A program that cannot be exported has none."""
    content = None
    with cache_key.searching(), torch.no_grad():
        try:
            exported = torch.export.export(module, example)
        except Exception:  # tracing may accept what torch.export refuses
            pass
        else:
            content = program.digest_of(exported, torch.device("cpu"))
    machine = this_machine()
    settings = {
        "recipe": _RECIPE,
        "arguments": _COMPILER_ARGUMENTS[cell.precision],
        "family": (machine.instance or machine.cpu).partition(".")[0],  # inf2, trn1, trn2
        "environment": [os.environ.get(name) for name in _ENVIRONMENT],
    }
    return cache_key.entry("neuron", ".pt", content, settings, refusals.NEURON_DISTRIBUTIONS)


def _compile(module: torch.nn.Module, example: Tensors, cell: Cell, target: Path) -> None:
    import torch_neuronx

    with tempfile.TemporaryDirectory() as workdir, warnings.catch_warnings(), torch.no_grad():
        # torch.jit is deprecated but maintained. Tracing also warns about constant shapes, which
        # are intended here.
        warnings.simplefilter("ignore")
        try:
            traced = torch_neuronx.trace(
                module,
                example,
                compiler_workdir=workdir,
                compiler_args=_COMPILER_ARGUMENTS[cell.precision],
            )
        except Exception as error:  # any error of the model, of tracing or of the compiler
            raise GpubenchError(
                f"{cell.model} cannot be compiled for NeuronCores in {cell.precision} "
                f"({reason_of(error)}); use --runtime torchscript on a CPU or a GPU"
            ) from error
        torch.jit.save(traced, str(target))


def _load(path: Path, cell: Cell) -> torch.jit.ScriptModule:
    """The compiled model on the NeuronCore that is used least."""
    import torch_neuronx

    try:
        with (
            _loading,
            warnings.catch_warnings(),
            torch_neuronx.experimental.neuron_cores_context(start_nc=-1, nc_count=1),
        ):
            warnings.simplefilter("ignore")  # torch.jit is deprecated but maintained
            loaded: torch.jit.ScriptModule = torch.jit.load(str(path))
            return loaded
    except (RuntimeError, ValueError) as error:
        raise GpubenchError(
            f"{cell.model} cannot be loaded onto a NeuronCore ({reason_of(error)}); end other "
            "programs that use them (neuron-ls lists these), use fewer --workers, or clear the "
            "cache (gpubench cache clear)"
        ) from error
