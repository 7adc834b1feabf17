"""eager: the module as PyTorch runs it, operator by operator."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from gpubench.engines import precision
from gpubench.engines.base import Engine
from gpubench.models.base import LoadedModel

if TYPE_CHECKING:
    from gpubench.spec.spec import Spec


def refusal(spec: Spec) -> str | None:
    return precision.refusal(spec, *precision.floats_of_torch(spec))


def build(model: LoadedModel, spec: Spec) -> Engine:
    module = precision.convert(model.module, spec)
    for parameter in module.parameters():  # a ScriptModule has no requires_grad_
        if parameter.is_floating_point():
            parameter.requires_grad_(spec.precision == "amp")  # see precision.thread_modes
    return Engine(
        forward=module,
        device=torch.device(spec.device),
        input_dtype=precision.weight_dtype(spec.precision),
        thread_modes=partial(precision.thread_modes, spec),
    )
