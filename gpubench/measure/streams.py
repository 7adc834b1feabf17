"""How a worker in Python executes a batch: on its thread, or on a CUDA stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from gpubench.engines.base import Engine
from gpubench.engines.memory_format import of_tensor
from gpubench.errors import GpubenchError, reason_of
from gpubench.models.base import Tensors, as_tuple
from gpubench.spec.cell import Cell
from gpubench.spec.settings import Inputs


class Execution(Protocol):
    """The execution of batches by one worker. Both methods are called on the worker's thread."""

    def open(self) -> None:
        """Set up the thread."""

    def run(self, requests: Sequence[Tensors]) -> Tensors:
        """The outputs of a batch of these requests. They can be read until the next batch begins.

        Samples are in the first dimension of each input.
        """


class OnCpu:
    """Executes batches on the calling thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def open(self) -> None:
        pass

    def run(self, requests: Sequence[Tensors]) -> Tensors:
        return as_tuple(self._engine.forward(*joined(requests)))


class OnStream:
    """Executes batches on a separate CUDA stream, and waits for each batch.

    Inputs "host": the CPU copies them into pinned buffers of this worker, from which they are
    copied to the device. Inputs "pinned": they are in pinned memory and are copied from there. In
    both cases outputs are copied to pinned buffers. The next batch uses all buffers again. Inputs
    "device": inputs and outputs stay on the device.
    """

    def __init__(self, engine: Engine, *, inputs: Inputs, sleeps: bool) -> None:
        self._engine, self._inputs, self._sleeps = engine, inputs, sleeps
        self._buffers: dict[tuple[str, int, torch.Size], torch.Tensor] = {}

    def open(self) -> None:
        torch.cuda.set_device(self._engine.device)
        torch.cuda.set_stream(torch.cuda.Stream(self._engine.device))
        self._done = torch.cuda.Event(blocking=self._sleeps)

    def run(self, requests: Sequence[Tensors]) -> Tensors:
        outputs = as_tuple(self._engine.forward(*self._on_device(requests)))
        if self._inputs != "device":
            outputs = self._copies("output", outputs)
        self._done.record()
        self._done.synchronize()
        return outputs

    def _on_device(self, requests: Sequence[Tensors]) -> Tensors:
        if self._inputs == "device":
            return joined(requests)
        if self._inputs == "pinned" and len(requests) > 1:
            return tuple(
                self._joined_on_device(number, parts)
                for number, parts in enumerate(zip(*requests, strict=True))
            )
        on_host = joined(requests)
        if self._inputs == "host":
            on_host = self._copies("input", on_host)
        return tuple(part.to(self._engine.device, non_blocking=True) for part in on_host)

    def _joined_on_device(self, number: int, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """One input of all requests in a buffer on the device, with one copy for each request."""
        first = parts[0]
        shape = torch.Size([sum(len(part) for part in parts), *first.shape[1:]])
        key = ("joined", number, shape)
        if key not in self._buffers:
            self._buffers[key] = torch.empty(
                shape,
                dtype=first.dtype,
                device=self._engine.device,
                memory_format=of_tensor(first),
            )
        places = self._buffers[key].split([len(part) for part in parts])
        for place, part in zip(places, parts, strict=True):
            place.copy_(part, non_blocking=True)
        return self._buffers[key]

    def _copies(self, kind: str, tensors: Tensors) -> Tensors:
        """Copies of `tensors` in pinned memory. They are complete when the stream reaches them."""
        return tuple(
            self._pinned((kind, number, tensor.shape), tensor).copy_(tensor, non_blocking=True)
            for number, tensor in enumerate(tensors)
        )

    def _pinned(self, key: tuple[str, int, torch.Size], like: torch.Tensor) -> torch.Tensor:
        if key not in self._buffers:
            self._buffers[key] = pinned_like(like)
        return self._buffers[key]


def pinned_like(tensor: torch.Tensor) -> torch.Tensor:
    """Pinned host memory with the shape, the number format and the memory format of `tensor`."""
    return torch.empty(
        tensor.shape, dtype=tensor.dtype, pin_memory=True, memory_format=of_tensor(tensor)
    )


def pinned(requests: Sequence[Tensors]) -> list[Tensors]:
    """Copies of the requests in pinned memory. Raises GpubenchError if there is too little."""
    try:
        return [
            tuple(pinned_like(tensor).copy_(tensor) for tensor in request) for request in requests
        ]
    except RuntimeError as error:
        size = sum(tensor.nbytes for request in requests for tensor in request)
        raise no_pinned_memory(size, error) from error


def no_pinned_memory(size: int, cause: Exception) -> GpubenchError:
    """The error for inputs of `size` bytes that do not fit into pinned memory."""
    return GpubenchError(
        f"--inputs pinned: the inputs need {size / 1e6:,.0f} MB of pinned memory "
        f"({reason_of(cause)}); use --inputs host, or a smaller --batch"
    )


def joined(requests: Sequence[Tensors]) -> Tensors:
    """The inputs of one batch that contains these requests."""
    if len(requests) == 1:
        return requests[0]
    return tuple(torch.cat(parts) for parts in zip(*requests, strict=True))


def execution(engine: Engine, cell: Cell) -> Execution:
    """The execution of batches on the engine's device."""
    if engine.device.type == "cpu":
        return OnCpu(engine)
    return OnStream(engine, inputs=cell.inputs, sleeps=cell.wait == "block")
