"""compile: torch.compile with TorchInductor, as one graph, with frozen weights."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from gpubench.engines import inductor, linear_int8, precision
from gpubench.engines.base import Engine
from gpubench.models.base import LoadedModel

if TYPE_CHECKING:
    from gpubench.spec import Spec

refusal = inductor.refusal


def build(model: LoadedModel, spec: Spec) -> Engine:
    """Compiles, which takes from seconds to minutes: a cold start shows it as build_seconds."""
    module, example = inductor.ready(model, spec)
    if spec.precision == "int8":
        linear_int8.quantise(module, example, spec)
    # What earlier cells compiled counts against a limit of versions of one function.
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, dynamic=False)
    try:
        # Not as options of torch.compile: they are set after the module was traced, by when its
        # weights have become arguments, which freezing leaves alone.
        with inductor.modes(spec), torch._inductor.config.patch(dict(inductor.OPTIONS)):
            compiled(*example)
    except Exception as error:  # whatever tracing, generating or compiling raised
        raise inductor.failure(spec, error) from error
    return Engine(
        forward=compiled,
        device=torch.device(spec.device),
        input_dtype=precision.weight_dtype(spec.precision),
        thread_modes=partial(inductor.modes, spec),
        library=inductor.library(spec),
    )
