"""An engine: a model made ready for one runtime. Workers call it."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import torch

from gpubench.engines import memory_format
from gpubench.models.base import LoadedModel, Tensors, with_floats
from gpubench.registry import RUNTIMES
from gpubench.serving.served_by import ServedBy

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell


@dataclass(frozen=True)
class Engine:
    """A model made ready for one runtime, precision, device and batch size.

    `forward(*inputs)` takes tensors on `device`; floating-point tensors are in `input_dtype`, and
    tensors of four dimensions in `memory_format`. It returns tensors on `device`, which are valid
    until the next call on the same thread. Several worker threads call it at the same time. Each of
    them has entered `thread_modes()` before, since the grad, inference and autocast modes of torch
    belong to a thread.
    """

    forward: Callable[..., torch.Tensor | Tensors]
    device: torch.device
    input_dtype: torch.dtype | None  # None: inputs keep the formats in which the model makes them
    thread_modes: Callable[[], AbstractContextManager[object]]
    # `forward` of a request that is made once and sent often, if nobody reads its outputs. None:
    # there is no cheaper way than `forward`.
    execute: Callable[[Tensors], object] | None = None
    # Makes a separate forward function for each captured graph; None: all graphs use `forward`.
    for_graph: Callable[[], Callable[..., torch.Tensor | Tensors]] | None = None
    not_capturable: str | None = None  # why it cannot be a CUDA graph; None: it may be possible
    from_cache: bool | None = None  # whether the cache had it; None: this runtime caches nothing
    library: str | None = None  # the library that executes it, with its version; None: only torch
    artifact_bytes: int | None = None  # size of its file, or of its weights; None: unknown
    # The format of each input, if they differ; None: `input_dtype` says it.
    input_dtypes: tuple[torch.dtype, ...] | None = None
    # The number of programs that its library has compiled in this process until now. If it grows
    # while requests are measured, the verdict is `recompiled`. None: its library does not say.
    compilations: Callable[[], int] | None = None
    shares_threads: bool = False  # all workers compute with one pool of CPU threads
    served_by: ServedBy | None = None  # the server that executes it; None: this machine does
    # Of the inputs of four dimensions; contiguous_format: as the model makes them.
    memory_format: torch.memory_format = torch.contiguous_format

    def cast(self, inputs: Tensors) -> Tensors:
        """`inputs` in the formats that this engine takes. They stay on their device."""
        if self.input_dtypes is not None:
            inputs = tuple(map(torch.Tensor.to, inputs, self.input_dtypes))
        elif self.input_dtype is not None:
            inputs = with_floats(inputs, self.input_dtype)
        return memory_format.arrange(inputs, self.memory_format)


T = TypeVar("T")


class PerWorker(Generic[T]):
    """One object for each worker thread, for runtimes whose sessions serve one thread at a time.

    Use `entered` as the `thread_modes` of the engine. It makes the object of the thread, and drops
    it at the end. `first` is one that exists already: the first thread gets it.
    """

    def __init__(self, make: Callable[[], T], first: T | None = None) -> None:
        self._make = make
        self._ready = [] if first is None else [first]
        self._local = threading.local()

    @contextmanager
    def entered(self) -> Iterator[None]:
        try:
            self._local.value = self._ready.pop()  # of several threads, one gets it
        except IndexError:
            self._local.value = self._make()
        try:
            with torch.inference_mode():
                yield
        finally:
            del self._local.value

    @property
    def of_this_thread(self) -> T:
        value: T = self._local.value
        return value


def build(model: LoadedModel, cell: Cell) -> Engine:
    """Build the engine of `model` for the runtime of `cell`.

    Raises GpubenchError if the runtime cannot execute the model.
    """
    builder = cast(
        Callable[[LoadedModel, "Cell"], Engine],
        importlib.import_module(RUNTIMES[cell.runtime].file).build,
    )
    return builder(model, cell)
