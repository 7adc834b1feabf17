"""An engine as CUDA graphs: one forward pass captured per worker, slot and size of batch.

The core replays them, with the copies around them, so no Python and no allocator runs between the
first and the last stamp of a batch (docs/cuda.md). What a graph uses must stay where it was when it
was captured; hence the rules below.

- A slot has a stream and a memory pool of its own. Graphs that share either never run at once.
- cuBLAS keeps a workspace per stream. It is given back before and after each capture, so that
  every graph brings its own, from its slot's pool.
- Warm-ups go before each capture, on the same thread: they compile, choose kernels and load them.
  All share a stream, so that each finds the memory of the one before.
- Nothing is garbage-collected meanwhile: to free a graph or its memory breaks a capture off.
- Autocast casts every weight once, in the warm-ups, and forgets the casts when its block ends. They
  come from a pool that nobody else takes memory from, so they stay in place as long as the graphs.
- A model that draws random numbers is refused: a replay would draw the same ones again.
- What keeps state for each execution, as TensorRT's contexts, is made anew for every graph.
- A replay must give the outputs of a plain call.

All captures end before any worker starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gpubench import core
from gpubench.engines.base import Engine
from gpubench.errors import GpubenchError, reason_of
from gpubench.models.base import Tensors, as_tuple
from gpubench.system.garbage import no_garbage_collection

_WARMUPS = 3

Forward = Callable[..., torch.Tensor | Tensors]


class NotCapturable(Exception):
    """Why an engine cannot run as a graph, in one line."""


@dataclass(frozen=True)
class Shape:
    """What has to be captured for one engine."""

    workers: int
    depth: int  # slots of each worker
    most_requests: int  # of one batch
    host_inputs: bool  # each batch comes from the host, and its outputs go back there


def batch_sizes(most_requests: int) -> list[int]:
    """Sizes of batch to capture: powers of two below the largest, and the largest.

    A batch in between takes the next larger graph, so less than half of its places are padding.
    """
    return [2**n for n in range((most_requests - 1).bit_length())] + [most_requests]


@dataclass(frozen=True)
class CapturedSlot:
    """What the core replays for one batch in flight, and what the graphs use."""

    for_core: core.cuda.Slot
    graphs: dict[int, torch.cuda.CUDAGraph]  # by size of batch, in requests
    forwards: list[Forward]  # what was captured, with the state that it keeps
    tensors: list[torch.Tensor]
    answers: core.cuda.PinnedBuffer | None  # outputs of the last batch, where they go to the host


@dataclass(frozen=True)
class Captured:
    """An engine's graphs, and everything that has to live as long as they do."""

    engine: Engine
    payloads: core.cuda.Payloads | None  # None: inputs lie on the device
    workers: list[list[CapturedSlot]]
    warmup_memory: torch.cuda.MemPool

    def executors(self) -> list[core.Executor]:
        """One per worker, that replays the graphs on the engine's device."""
        return [
            core.cuda.GraphExecutor(
                self.engine.device.index,
                [slot.for_core for slot in slots],
                self.payloads,
                owner=self,
            )
            for slots in self.workers
        ]


def capture(engine: Engine, pool: Sequence[Tensors], shape: Shape) -> Captured:
    """The graphs of `engine` for all of its workers.

    `pool` are the requests' inputs, in host memory or on the device as `shape` says. Raises
    NotCapturable, with the reason, where the engine has to be called from Python instead.
    """
    if engine.not_capturable:
        raise NotCapturable(engine.not_capturable)
    payloads = _payloads(pool) if shape.host_inputs else None
    try:
        with (
            no_garbage_collection(),
            torch.cuda.device(engine.device),
            engine.thread_modes(),
        ):
            warmup = torch.cuda.MemPool(), torch.cuda.Stream(engine.device)
            captures = _Captures(engine, pool, shape, payloads, *warmup)
            workers = [
                [captures.slot(worker * shape.depth + place) for place in range(shape.depth)]
                for worker in range(shape.workers)
            ]
    except (RuntimeError, TypeError, ValueError, GpubenchError) as error:
        raise NotCapturable(reason_of(error)) from error
    return Captured(engine, payloads, workers, captures.warmup_memory)


def _payloads(pool: Sequence[Tensors]) -> core.cuda.Payloads:
    """The requests' bytes, as the core writes them into pinned memory."""
    return core.cuda.Payloads(
        [np.stack([_bytes(tensor).numpy() for tensor in same]) for same in zip(*pool, strict=True)]
    )


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


@dataclass(frozen=True)
class _Captures:
    """Captures slot after slot of one engine."""

    engine: Engine
    pool: Sequence[Tensors]
    shape: Shape
    payloads: core.cuda.Payloads | None
    warmup_memory: torch.cuda.MemPool  # takes what warm-ups leave behind
    warmup_stream: torch.cuda.Stream

    def slot(self, number: int) -> CapturedSlot:
        """`number` counts the slots of all workers."""
        device = self.engine.device
        stream = torch.cuda.Stream(device)
        memory = torch.cuda.graph_pool_handle()
        sizes = batch_sizes(self.shape.most_requests)
        host, index = self.payloads is not None, device.index
        arena = answers = None
        if self.payloads is not None:
            length = self.payloads.arena_bytes(sizes[-1])
            arena = torch.empty(length, dtype=torch.uint8, device=device)
        graphs: dict[int, torch.cuda.CUDAGraph] = {}
        forwards = []
        tensors = [] if arena is None else [arena]
        ladder: dict[int, tuple[int, int, int]] = {}
        for size in reversed(sizes):  # the largest first: the others fit into its memory
            requests = [self.pool[(number * sizes[-1] + n) % len(self.pool)] for n in range(size)]
            inputs = self._place(requests, arena)
            forward = self.engine.for_graph() if self.engine.for_graph else self.engine.forward
            graph, outputs = self._capture(forward, inputs, answers, stream, memory)
            if answers is None:  # all sizes leave their outputs where the largest does
                answers = outputs
            graphs[size] = graph
            forwards.append(forward)
            tensors += [*inputs, outputs]
            ladder[size] = (
                graph.raw_cuda_graph_exec(),
                0 if self.payloads is None else self.payloads.arena_bytes(size),
                outputs.nbytes if host else 0,
            )
        assert answers is not None
        host_input = core.cuda.PinnedBuffer(index, arena.nbytes) if arena is not None else None
        host_output = core.cuda.PinnedBuffer(index, answers.nbytes) if host else None
        return CapturedSlot(
            for_core=core.cuda.Slot(
                ladder,
                host_input=host_input,
                device_input=arena.data_ptr() if arena is not None else 0,
                device_output=answers.data_ptr() if host else 0,
                host_output=host_output,
            ),
            graphs=graphs,
            forwards=forwards,
            tensors=tensors,
            answers=host_output,
        )

    def _place(self, requests: Sequence[Tensors], arena: torch.Tensor | None) -> Tensors:
        """The inputs of a batch of these requests, on the device, in the arena where there is one.

        They are real ones: a graph is warmed up and tried on them.
        """
        joined = tuple(torch.cat(parts) for parts in zip(*requests, strict=True))
        if arena is None or self.payloads is None:
            return joined
        placed = []
        for tensor, offset in zip(joined, self.payloads.offsets(len(requests)), strict=True):
            view = arena[offset : offset + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
            placed.append(view.copy_(tensor))
        return tuple(placed)

    def _capture(
        self,
        forward: Forward,
        inputs: Tensors,
        answers: torch.Tensor | None,
        stream: torch.cuda.Stream,
        memory: Any,  # a handle whose type torch keeps to itself
    ) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
        """The graph of one forward pass, and the tensor in which its outputs lie.

        That is the beginning of `answers` where it is given.
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
        with _capturing(graph, stream, memory):
            outputs = _outputs(forward, inputs, answers)
        with torch.cuda.stream(stream):
            outputs.view(torch.uint8).fill_(0xFF)  # NaN: nothing but the replay can mend it
            graph.replay()
        stream.synchronize()
        if not _agree(outputs, expected):
            raise NotCapturable("a replay gives other outputs than a plain call")
        return graph, outputs


@contextmanager
def _capturing(
    graph: torch.cuda.CUDAGraph, stream: torch.cuda.Stream, memory: Any
) -> Iterator[None]:
    """Capture what the block does; where it fails, the error is the one that came first.

    To end a capture that failed fails as well, and in torch 2.11 it leaves `stream` current.
    """
    first: Exception | None = None
    torch._C._cuda_clearCublasWorkspaces()
    try:
        with (
            torch.cuda.stream(torch.cuda.current_stream()),  # which is so again afterwards
            torch.cuda.graph(graph, pool=memory, stream=stream, capture_error_mode="thread_local"),
        ):
            try:
                yield
            except Exception as error:
                first = error
                raise
    except Exception as error:
        raise first or error from None
    finally:
        torch._C._cuda_clearCublasWorkspaces()


def _outputs(forward: Forward, inputs: Tensors, place: torch.Tensor | None) -> torch.Tensor:
    """One forward pass, with its outputs at the beginning of `place` where that is given."""
    outputs = _together(forward(*inputs))
    if place is None:
        return outputs
    return place[: len(outputs)].copy_(outputs)


def _together(outputs: torch.Tensor | Tensors) -> torch.Tensor:
    """All outputs in one line of memory, which one copy brings to the host."""
    tensors = as_tuple(outputs)
    if len(tensors) == 1:
        return tensors[0].contiguous().reshape(-1)
    if len({tensor.dtype for tensor in tensors}) == 1:
        return torch.cat([tensor.reshape(-1) for tensor in tensors])
    return torch.cat([_bytes(tensor) for tensor in tensors])


def _agree(replayed: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether both are the same but for rounding: the kernels chosen may differ."""
    if not expected.is_floating_point():
        return torch.equal(replayed, expected)
    return torch.allclose(replayed, expected, rtol=2e-2, atol=2e-2 * float(expected.abs().max()))
