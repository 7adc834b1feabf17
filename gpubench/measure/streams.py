"""How a worker in Python executes a batch: on its thread, or on a CUDA stream."""

from __future__ import annotations

from typing import Protocol

import torch

from gpubench.engines.base import Engine
from gpubench.engines.memory_format import of_tensor
from gpubench.models.base import Tensors, as_tuple
from gpubench.spec.cell import Cell


class Execution(Protocol):
    """The execution of batches by one worker. Both methods are called on the worker's thread."""

    def open(self) -> None:
        """Set up the thread."""

    def run(self, inputs: Tensors) -> Tensors:
        """The outputs of one batch. They can be read until the next batch begins."""


class OnCpu:
    """Executes batches on the calling thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def open(self) -> None:
        pass

    def run(self, inputs: Tensors) -> Tensors:
        return as_tuple(self._engine.forward(*inputs))


class OnStream:
    """Executes batches on a separate CUDA stream, and waits for each batch.

    If `from_host` is true, inputs and outputs are in host memory. They are copied through pinned
    buffers of this worker; the next batch uses these again. Otherwise both stay on the device.
    """

    def __init__(self, engine: Engine, *, from_host: bool, sleeps: bool) -> None:
        self._engine, self._from_host, self._sleeps = engine, from_host, sleeps
        self._pinned: dict[tuple[str, int, torch.Size], torch.Tensor] = {}

    def open(self) -> None:
        torch.cuda.set_device(self._engine.device)
        torch.cuda.set_stream(torch.cuda.Stream(self._engine.device))
        self._done = torch.cuda.Event(blocking=self._sleeps)

    def run(self, inputs: Tensors) -> Tensors:
        if self._from_host:
            pinned = self._copies("input", inputs)
            inputs = tuple(part.to(self._engine.device, non_blocking=True) for part in pinned)
        outputs = as_tuple(self._engine.forward(*inputs))
        if self._from_host:
            outputs = self._copies("output", outputs)
        self._done.record()
        self._done.synchronize()
        return outputs

    def _copies(self, kind: str, tensors: Tensors) -> Tensors:
        """Copies of `tensors` in pinned memory. They are complete when the stream reaches them."""
        return tuple(
            self._buffer((kind, number, tensor.shape), tensor).copy_(tensor, non_blocking=True)
            for number, tensor in enumerate(tensors)
        )

    def _buffer(self, key: tuple[str, int, torch.Size], like: torch.Tensor) -> torch.Tensor:
        if key not in self._pinned:
            self._pinned[key] = pinned_like(like)
        return self._pinned[key]


def pinned_like(tensor: torch.Tensor) -> torch.Tensor:
    """Pinned host memory with the shape, the number format and the memory format of `tensor`."""
    return torch.empty(
        tensor.shape, dtype=tensor.dtype, pin_memory=True, memory_format=of_tensor(tensor)
    )


def execution(engine: Engine, cell: Cell) -> Execution:
    """The execution of batches on the engine's device."""
    if engine.device.type == "cpu":
        return OnCpu(engine)
    return OnStream(engine, from_host=cell.inputs == "host", sleeps=cell.wait == "block")
