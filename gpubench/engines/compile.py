"""compile: torch.compile with TorchInductor, as one graph, with frozen weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch

from gpubench.engines import inductor, linear_int8, precision
from gpubench.engines.base import Engine
from gpubench.models.base import LoadedModel, Tensors

if TYPE_CHECKING:
    from gpubench.spec.spec import Spec

refusal = inductor.refusal


def build(model: LoadedModel, spec: Spec) -> Engine:
    """Compiles, which takes from seconds to minutes: a cold start shows it as build_seconds."""
    module, example = inductor.ready(model, spec)
    if spec.precision == "int8":
        linear_int8.quantise(module, example, spec)
    compiled = torch.compile(_function(module), fullgraph=True, dynamic=False)
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


def _function(module: torch.nn.Module) -> Callable[..., torch.Tensor | Tensors]:
    """`module` as a function with a code object of its own.

    By code object torch.compile keeps what it compiled and counts the versions, of which it allows
    a few. Were it the same for all engines, they would use up the limit together; and forgetting
    the others' versions would have those compiled again when they are called, without freezing.
    """

    def forward(*inputs: torch.Tensor) -> torch.Tensor | Tensors:
        outputs: torch.Tensor | Tensors = module(*inputs)
        return outputs

    forward.__code__ = forward.__code__.replace()
    return forward
