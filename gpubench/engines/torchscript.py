"""torchscript: the module traced, frozen, and kept on disk.

Freezing folds weights into the graph as constants, batch normalisations into convolutions, and the
casts of weights into the constants themselves, so nothing is cast twice.
"""

from __future__ import annotations

import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gpubench import cache
from gpubench.engines import precision
from gpubench.engines.base import Engine
from gpubench.engines.origin import origin
from gpubench.errors import GpubenchError, reason_of
from gpubench.models.base import LoadedModel, Tensors, seeded

if TYPE_CHECKING:
    from gpubench.spec import Spec

# Bump when the way a trace is made changes: older entries of the cache are then not found.
_RECIPE = 1


def refusal(spec: Spec) -> str | None:
    if sys.version_info >= (3, 14):
        return "torch.jit does not support Python 3.14; use Python 3.11 to 3.13, or --runtime eager"
    return precision.refusal(spec, *precision.floats_of_torch(spec))


def build(model: LoadedModel, spec: Spec) -> Engine:
    # A trace names the device on which it makes tensors, number and all.
    parts = origin(model, spec, _RECIPE) | {"device_number": torch.device(spec.device).index}
    path = cache.entry("torchscript", parts, ".pt")
    module = precision.convert(model.module, spec)
    dtype = precision.weight_dtype(spec.precision)
    kept = script = _from_cache(path, spec)
    if script is None:
        device = torch.device(spec.device)
        example = tuple(
            tensor.to(device, dtype if tensor.is_floating_point() else None)
            for tensor in model.make_inputs(seeded(spec.seed), spec.batch)
        )
        script = _trace(module, example, spec)
        traced = script
        with suppress(OSError, RuntimeError):  # torch reports a full disk as a RuntimeError
            cache.save(path, lambda temporary: traced.save(str(temporary)), model.weights_bytes)
    return Engine(
        forward=script,
        device=torch.device(spec.device),
        input_dtype=dtype,
        thread_modes=torch.inference_mode,  # autocast's casts are part of the trace
        from_cache=kept is not None,
    )


def _trace(module: torch.nn.Module, example: Tensors, spec: Spec) -> torch.jit.ScriptModule:
    device_type = torch.device(spec.device).type
    autocast = torch.autocast(
        device_type,
        dtype=precision.autocast_dtype(device_type),
        enabled=spec.precision == "amp",
        cache_enabled=False,  # a remembered cast would be missing from the trace
    )
    with warnings.catch_warnings(), torch.no_grad(), autocast:
        # torch.jit is deprecated but maintained, and tracing remarks on shapes that are constant
        # on purpose here.
        warnings.simplefilter("ignore")
        try:
            if isinstance(module, torch.jit.ScriptModule):  # a file of the user's
                traced = module
            else:
                traced = torch.jit.trace(module, example, check_trace=False)
            frozen: torch.jit.ScriptModule = torch.jit.freeze(traced.eval())
            return frozen
        except (RuntimeError, TypeError) as error:
            reason = reason_of(error)
            raise GpubenchError(
                f"{spec.model} cannot be traced ({reason}); use --runtime eager"
            ) from error


def _from_cache(path: Path, spec: Spec) -> torch.jit.ScriptModule | None:
    """The kept trace; None where there is none, or where it is damaged and must be made again."""
    if not path.exists():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated but maintained
        try:
            script: torch.jit.ScriptModule = torch.jit.load(str(path), map_location=spec.device)
            return script
        except (RuntimeError, ValueError, EOFError):
            path.unlink(missing_ok=True)
            return None
