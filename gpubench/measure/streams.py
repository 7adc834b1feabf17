"""Where a worker called from Python executes a batch: on its own thread, or on a CUDA stream."""

from __future__ import annotations

from typing import Protocol

import torch

from gpubench.engines.base import Engine
from gpubench.models.base import Tensors, as_tuple
from gpubench.spec.cell import Cell


class Execution(Protocol):
    """One worker's. Both calls are made on the worker's thread."""

    def open(self) -> None:
        """Take up what belongs to the thread."""

    def run(self, inputs: Tensors) -> Tensors:
        """The outputs of one batch, which can be read until the next one."""


class OnCpu:
    """On the thread that calls."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def open(self) -> None:
        pass

    def run(self, inputs: Tensors) -> Tensors:
        return as_tuple(self._engine.forward(*inputs))


class OnStream:
    """On a CUDA stream of its own, and waits for it.

    With `from_host`, inputs and outputs are in host memory: either go through pinned buffers of
    this worker's, which the next batch uses again. Else both stay on the device.
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
        """`tensors` in pinned memory, once the device has come so far."""
        return tuple(
            self._buffer((kind, place, tensor.shape), tensor).copy_(tensor, non_blocking=True)
            for place, tensor in enumerate(tensors)
        )

    def _buffer(self, key: tuple[str, int, torch.Size], like: torch.Tensor) -> torch.Tensor:
        if key not in self._pinned:
            self._pinned[key] = pinned_like(like)
        return self._pinned[key]


def pinned_like(tensor: torch.Tensor) -> torch.Tensor:
    """Host memory that the device copies from and to by itself, for as much as `tensor` holds."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)


def execution(engine: Engine, cell: Cell) -> Execution:
    """Where the engine's device is."""
    if engine.device.type == "cpu":
        return OnCpu(engine)
    return OnStream(engine, from_host=cell.inputs == "host", sleeps=cell.wait == "block")
