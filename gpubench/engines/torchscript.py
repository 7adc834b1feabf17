"""torchscript: the module, traced and frozen.

Freezing makes the weights constants of the graph. It also folds batch normalisations into
convolutions, and the casts of weights into the constants, so no weight is cast twice.

Nothing is cached on disk, since it would save little. Tracing and freezing take 0.4 s of CPU time
for ResNet50 and 0.7 s for BERT-base. Reading a cached trace, and hashing the weights to find the
right one, took 0.1 s and 0.5 s.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

import torch

from gpubench.engines import memory_format, precision, weights_bytes
from gpubench.engines.base import Engine
from gpubench.errors import GpubenchError, reason_of
from gpubench.models.base import LoadedModel, Tensors, TupleOfTensors

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell


def refusal(cell: Cell) -> str | None:
    if sys.version_info >= (3, 14):
        return "torch.jit does not support Python 3.14; use Python 3.11 to 3.13, or --runtime eager"
    return precision.refusal(cell, *precision.floats_of_torch(cell))


def build(model: LoadedModel, cell: Cell) -> Engine:
    module = precision.convert(model.module, cell)
    frozen = _trace(module, precision.example(model, cell), cell)
    return Engine(
        forward=frozen,
        device=torch.device(cell.device),
        input_dtype=precision.weight_dtype(cell.precision),
        thread_modes=torch.inference_mode,  # the casts of autocast are part of the trace
        memory_format=memory_format.of_cell(cell),
        artifact_bytes=weights_bytes.of_frozen(frozen),
    )


def _trace(module: torch.nn.Module, example: Tensors, cell: Cell) -> torch.jit.ScriptModule:
    device_type = torch.device(cell.device).type
    autocast = torch.autocast(
        device_type,
        dtype=precision.autocast_dtype(device_type),
        enabled=cell.precision == "amp",
        cache_enabled=False,  # a cast from autocast's cache would be missing in the trace
    )
    with warnings.catch_warnings(), torch.no_grad(), autocast:
        # torch.jit is deprecated but maintained. Tracing also warns about constant shapes, which
        # are intended here.
        warnings.simplefilter("ignore")
        try:
            if isinstance(module, torch.jit.ScriptModule):  # a user's file
                traced = module
            else:
                traced = torch.jit.trace(TupleOfTensors(module), example, check_trace=False)
            frozen: torch.jit.ScriptModule = torch.jit.freeze(traced.eval())
            return frozen
        except (RuntimeError, TypeError) as error:
            reason = reason_of(error)
            raise GpubenchError(
                f"{cell.model} cannot be traced ({reason}); use --runtime eager"
            ) from error
