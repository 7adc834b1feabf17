"""What a runtime gives to the workers: an engine."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import torch

from gpubench.models.base import LoadedModel, Tensors, with_floats
from gpubench.registry import RUNTIMES

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell


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
    input_dtype: torch.dtype | None  # None: whatever the model makes them in
    thread_modes: Callable[[], AbstractContextManager[object]]
    # Makes a forward pass of its own for each captured graph; None: `forward` serves them all.
    for_graph: Callable[[], Callable[..., torch.Tensor | Tensors]] | None = None
    not_capturable: str | None = None  # why it cannot be a CUDA graph; None: it can be tried
    from_cache: bool | None = None  # whether what is costly was there; None: nothing is kept
    library: str | None = None  # what executes it, with its version; None: torch as it is

    def place(self, inputs: Tensors) -> Tensors:
        """`inputs` in the numbers this engine takes, on the device they are on."""
        return inputs if self.input_dtype is None else with_floats(inputs, self.input_dtype)


Own = TypeVar("Own")


class PerWorker(Generic[Own]):
    """What each worker thread has one of, for runtimes whose sessions serve one thread at a time.

    `entered` is such an engine's `thread_modes`: it makes the thread's own, and drops it at the
    end.
    """

    def __init__(self, make: Callable[[], Own]) -> None:
        self._make = make
        self._thread = threading.local()

    @contextmanager
    def entered(self) -> Iterator[None]:
        self._thread.own = self._make()
        try:
            with torch.inference_mode():
                yield
        finally:
            del self._thread.own

    @property
    def mine(self) -> Own:
        own: Own = self._thread.own
        return own


def build(model: LoadedModel, cell: Cell) -> Engine:
    """Make `model` ready for the runtime that `cell` names.

    Raises GpubenchError where the runtime cannot take the model.
    """
    builder = cast(
        Callable[[LoadedModel, "Cell"], Engine],
        importlib.import_module(RUNTIMES[cell.runtime].file).build,
    )
    return builder(model, cell)
