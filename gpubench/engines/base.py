"""What a runtime gives to the workers: an engine."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch

from gpubench.engines import RUNTIMES
from gpubench.models.base import LoadedModel, Tensors

if TYPE_CHECKING:
    from gpubench.spec import Spec


@dataclass(frozen=True)
class Engine:
    """A model made ready for one runtime, precision, device and batch size.

    `forward(*inputs)` takes tensors on `device`, already in `input_dtype` where they are floating
    point, and returns tensors on it, which stand until the thread's next call. It is called by
    several worker threads at once, each of which has entered `thread_modes()` before: grad,
    inference and autocast modes are per thread in torch.
    """

    forward: Callable[..., torch.Tensor | Tensors]
    device: torch.device
    input_dtype: torch.dtype
    thread_modes: Callable[[], AbstractContextManager[object]]
    from_cache: bool | None = None  # whether what is costly was there; None: nothing is kept

    def place(self, inputs: Tensors) -> Tensors:
        """`inputs` in the numbers this engine takes, on the device they are on."""
        return tuple(
            tensor.to(self.input_dtype) if tensor.is_floating_point() else tensor
            for tensor in inputs
        )


def build(model: LoadedModel, spec: Spec) -> Engine:
    """Make `model` ready for the runtime that `spec` names.

    Raises GpubenchError where the runtime cannot take the model.
    """
    builder = cast(
        Callable[[LoadedModel, "Spec"], Engine],
        importlib.import_module(RUNTIMES[spec.runtime]).build,
    )
    return builder(model, spec)
