"""Captures an engine as CUDA graphs: one forward pass for each worker, slot and batch size.

The core replays the graphs and makes the copies before and after them. Neither Python nor a memory
allocator runs between the first and the last time stamp of a batch (docs/cuda.md). The memory that
a graph uses must keep its address after the capture. These rules follow from that:

- Each slot has a separate stream and a separate memory pool. Graphs that share one of the two
  cannot run at the same time.
- cuBLAS keeps a workspace for each stream. The workspaces are freed before and after each capture.
  Each graph therefore has a separate workspace, from the pool of its slot.
- Warm-up calls run before each capture, on the same thread. They compile, choose and load kernels.
  All warm-up calls share a stream, so each call reuses the memory of the call before.
- Python's garbage collector is off during captures: a capture fails if a graph or its memory is
  freed meanwhile.
- Autocast casts each weight once, in the warm-up calls, and drops the casts when its block ends.
  Their memory comes from a pool that only the warm-up calls use. The pool lives as long as the
  graphs, so the casts keep their addresses.
- A model that draws random numbers is refused: a replay would draw the same numbers again.
- An object that keeps state for each execution, such as a TensorRT context, is made for each graph.
- Inputs lie in memory in the engine's memory format, in the payloads as in a batch. Outputs stay
  in the format in which the model returns them. So no graph contains a conversion.
- A replay must give the same outputs as an ordinary call.

All captures end before any worker starts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gpubench import core
from gpubench.engines.base import Engine
from gpubench.engines.memory_format import elements, of_tensor, view_like
from gpubench.errors import GpubenchError, reason_of
from gpubench.measure.graph_capture import capturing
from gpubench.measure.streams import no_pinned_memory
from gpubench.models.base import Tensors, as_tuple
from gpubench.spec.settings import Inputs
from gpubench.system.garbage import no_garbage_collection

_WARMUPS = 3

Forward = Callable[..., torch.Tensor | Tensors]


class NotCapturable(Exception):
    """The engine cannot run as a CUDA graph. The message is the reason, in one line."""


@dataclass(frozen=True)
class Shape:
    """What has to be captured for one engine."""

    workers: int
    depth: int  # slots of each worker
    most_requests: int  # in one batch
    inputs: Inputs  # unless they are on the device, they are copied, and outputs back to the host


def batch_sizes(most_requests: int) -> list[int]:
    """The batch sizes to capture: the largest, and all powers of two below it.

    A batch of another size uses the next larger graph, so less than half of that is padding.
    """
    return [2**n for n in range((most_requests - 1).bit_length())] + [most_requests]


@dataclass(frozen=True)
class CapturedSlot:
    """The graphs for one batch in flight, and everything that they use."""

    for_core: core.cuda.Slot
    graphs: dict[int, torch.cuda.CUDAGraph]  # by batch size, in requests
    forwards: list[Forward]  # the captured functions, with the state that they keep
    tensors: list[torch.Tensor]
    host_output: core.cuda.PinnedBuffer | None  # outputs of the last batch; None: not copied


@dataclass(frozen=True)
class Captured:
    """The graphs of an engine, and everything that must live as long as they do."""

    engine: Engine
    payloads: core.cuda.Payloads | None  # None: inputs are on the device
    workers: list[list[CapturedSlot]]
    warmup_memory: torch.cuda.MemPool

    def executors(self, takes_turns: bool = False) -> list[core.Executor]:
        """One executor for each worker. It replays the graphs on the engine's device.

        `takes_turns` is for closed loops, in which the id of a request is the number of a client:
        each batch then has the inputs that follow those of the last one.
        """
        return [
            core.cuda.GraphExecutor(
                self.engine.device.index,
                [slot.for_core for slot in slots],
                self.payloads,
                owner=self,
                takes_turns=takes_turns,
            )
            for slots in self.workers
        ]


def capture(engine: Engine, pool: Sequence[Tensors], shape: Shape) -> Captured:
    """Capture the graphs of `engine` for all its workers.

    `pool` holds the inputs of the requests, on the device if `shape.inputs` is "device", else in
    host memory. Raises NotCapturable, with the reason, if Python has to call the engine instead,
    and GpubenchError if there is too little pinned memory for the inputs.
    """
    if engine.not_capturable:
        raise NotCapturable(engine.not_capturable)
    payloads = None if shape.inputs == "device" else _payloads(engine, pool, shape.inputs)
    try:
        with (
            no_garbage_collection(),
            torch.cuda.device(engine.device),
            engine.thread_modes(),
        ):
            warmup = torch.cuda.MemPool(), torch.cuda.Stream(engine.device)
            captures = _Captures(engine, pool, shape, payloads, *warmup)
            workers = [
                [captures.slot(worker * shape.depth + number) for number in range(shape.depth)]
                for worker in range(shape.workers)
            ]
    except (RuntimeError, TypeError, ValueError, GpubenchError) as error:
        raise NotCapturable(reason_of(error)) from error
    return Captured(engine, payloads, workers, captures.warmup_memory)


def _payloads(engine: Engine, pool: Sequence[Tensors], inputs: Inputs) -> core.cuda.Payloads:
    """The inputs of the requests as bytes, in ordinary memory or in pinned memory."""
    rows = [
        np.stack([_bytes(tensor, engine.memory_format).numpy() for tensor in same])
        for same in zip(*pool, strict=True)
    ]
    if inputs == "host":
        return core.cuda.Payloads(rows)
    try:
        return core.cuda.Payloads(rows, pinned_on=engine.device.index)
    except RuntimeError as error:
        raise no_pinned_memory(sum(each.nbytes for each in rows), error) from error


def _bytes(tensor: torch.Tensor, memory_format: torch.memory_format) -> torch.Tensor:
    return elements(tensor, memory_format).view(torch.uint8)


@dataclass(frozen=True)
class _Captures:
    """Captures the slots of one engine, one after another."""

    engine: Engine
    pool: Sequence[Tensors]
    shape: Shape
    payloads: core.cuda.Payloads | None
    warmup_memory: torch.cuda.MemPool  # the memory of the warm-up calls
    warmup_stream: torch.cuda.Stream

    def slot(self, number: int) -> CapturedSlot:
        """Capture one slot. `number` counts the slots of all workers."""
        device = self.engine.device
        stream = torch.cuda.Stream(device)
        memory = torch.cuda.graph_pool_handle()
        sizes = batch_sizes(self.shape.most_requests)
        host, index = self.payloads is not None, device.index
        arena = output_buffer = None
        if self.payloads is not None:
            length = self.payloads.arena_bytes(sizes[-1])
            arena = torch.empty(length, dtype=torch.uint8, device=device)
        graphs: dict[int, torch.cuda.CUDAGraph] = {}
        forwards = []
        tensors = [] if arena is None else [arena]
        executables: dict[int, tuple[int, int, int]] = {}  # by batch size, as the core takes them
        for size in reversed(sizes):  # the largest first: the others fit into its memory
            requests = [self.pool[(number * sizes[-1] + n) % len(self.pool)] for n in range(size)]
            inputs = self._device_inputs(requests, arena)
            forward = self.engine.for_graph() if self.engine.for_graph else self.engine.forward
            graph, outputs = self._capture(forward, inputs, output_buffer, stream, memory)
            if output_buffer is None:  # the smaller sizes write to the memory of the largest
                output_buffer = outputs
            graphs[size] = graph
            forwards.append(forward)
            tensors += [*inputs, outputs]
            executables[size] = (
                graph.raw_cuda_graph_exec(),
                0 if self.payloads is None else self.payloads.arena_bytes(size),
                outputs.nbytes if host else 0,
            )
        assert output_buffer is not None
        host_input = None
        if arena is not None and self.payloads is not None and self.payloads.gathers(sizes[-1]):
            host_input = core.cuda.PinnedBuffer(index, arena.nbytes)
        host_output = core.cuda.PinnedBuffer(index, output_buffer.nbytes) if host else None
        return CapturedSlot(
            for_core=core.cuda.Slot(
                executables,
                host_input=host_input,
                device_input=arena.data_ptr() if arena is not None else 0,
                device_output=output_buffer.data_ptr() if host else 0,
                host_output=host_output,
            ),
            graphs=graphs,
            forwards=forwards,
            tensors=tensors,
            host_output=host_output,
        )

    def _device_inputs(self, requests: Sequence[Tensors], arena: torch.Tensor | None) -> Tensors:
        """The inputs of a batch of these requests on the device, inside `arena` if it is given.

        The warm-up calls and the check of the replay use their values.
        """
        joined = self.engine.cast(tuple(torch.cat(parts) for parts in zip(*requests, strict=True)))
        if arena is None or self.payloads is None:
            return joined
        copies = []
        for tensor, offset in zip(joined, self.payloads.offsets(len(requests)), strict=True):
            place = arena[offset : offset + tensor.nbytes].view(tensor.dtype)
            copies.append(view_like(place, tensor, self.engine.memory_format).copy_(tensor))
        return tuple(copies)

    def _capture(
        self,
        forward: Forward,
        inputs: Tensors,
        output_buffer: torch.Tensor | None,
        stream: torch.cuda.Stream,
        memory: Any,  # a handle; its type is private to torch
    ) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
        """The graph of one forward pass, and the tensor to which it writes its outputs.

        This tensor is the first part of `output_buffer` if that is given.
        """
        device, warmup = self.engine.device, self.warmup_stream
        warmup.wait_stream(torch.cuda.current_stream(device))
        random_state = torch.cuda.get_rng_state(device)
        with torch.cuda.stream(warmup), torch.cuda.use_mem_pool(self.warmup_memory, device):
            for _ in range(_WARMUPS):
                expected = _outputs(forward, inputs, None).clone()
        warmup.synchronize()
        if not torch.equal(random_state, torch.cuda.get_rng_state(device)):
            raise NotCapturable("the model draws random numbers")

        graph = torch.cuda.CUDAGraph()
        with capturing(graph, stream, memory, device):
            outputs = _outputs(forward, inputs, output_buffer)
        with torch.cuda.stream(stream):
            outputs.view(torch.uint8).fill_(0xFF)  # NaN, which the replay must overwrite
            graph.replay()
        stream.synchronize()
        if not _agree(outputs, expected):
            raise NotCapturable("a replay gives other outputs than a plain call")
        return graph, outputs


def _outputs(forward: Forward, inputs: Tensors, buffer: torch.Tensor | None) -> torch.Tensor:
    """The outputs of one forward pass, in the first part of `buffer` if it is given."""
    outputs = _concatenated(forward(*inputs))
    if buffer is None:
        return outputs
    return buffer[: len(outputs)].copy_(outputs)


def _concatenated(outputs: torch.Tensor | Tensors) -> torch.Tensor:
    """All outputs in one vector. One copy then brings them to the host."""
    tensors = as_tuple(outputs)
    vectors = [elements(tensor, of_tensor(tensor)) for tensor in tensors]
    if len(vectors) == 1:
        return vectors[0]
    if len({tensor.dtype for tensor in tensors}) == 1:
        return torch.cat(vectors)
    return torch.cat([vector.view(torch.uint8) for vector in vectors])


def _agree(replayed: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether both are equal except for rounding: torch may have chosen different kernels."""
    if not expected.is_floating_point():
        return torch.equal(replayed, expected)
    return torch.allclose(replayed, expected, rtol=2e-2, atol=2e-2 * float(expected.abs().max()))
