"""A worker's side of an engine: what the core calls once a batch, on the worker's own thread."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from gpubench.engines.base import Engine
from gpubench.models.base import Around, LoadedModel, Tensors, as_tuple, seeded
from gpubench.samples import Samples
from gpubench.spec import Spec

# Distinct requests made ahead, so that a run neither repeats one sample nor spends time on making
# them: as many as fit in this many bytes, within the bounds.
_POOL_BYTES = 64 << 20
_POOL_LEAST, _POOL_MOST = 4, 64


def make_pool(model: LoadedModel, engine: Engine, spec: Spec) -> list[Tensors]:
    """Seeded, distinct requests of `spec.batch` samples each, in the engine's numbers.

    They lie where the clock finds them: on the device with `inputs=device`, else in host memory.
    """
    generator = seeded(spec.seed + 1)  # not the seed of the weights

    def request() -> Tensors:
        inputs = engine.place(model.make_inputs(generator, spec.batch))
        if spec.inputs == "device":
            return tuple(tensor.to(engine.device) for tensor in inputs)
        return inputs

    pool = [request()]
    size = sum(tensor.nbytes for tensor in pool[0])
    count = min(max(_POOL_BYTES // size, _POOL_LEAST), _POOL_MOST)
    pool += [request() for _ in range(count - 1)]
    return pool


# Encoded requests are small; these many are made whatever their size.
_AROUND_REQUESTS = 16


def make_requests(around: Around, spec: Spec) -> list[object]:
    """What clients send, in requests of `spec.batch` samples, seeded and distinct."""
    generator = seeded(spec.seed + 1)
    return [around.make_requests(generator, spec.batch) for _ in range(_AROUND_REQUESTS)]


class CpuWorker:
    """Runs batches on the CPU, with this worker's share of the cores."""

    def __init__(self, engine: Engine, pool: list[Tensors], spec: Spec) -> None:
        self._engine, self._pool, self._spec = engine, pool, spec
        self._modes = ExitStack()

    def open(self) -> None:
        """Set what torch keeps per thread, and run once: the first inference compiles and plans."""
        if self._spec.threads is not None:
            torch.set_num_threads(self._spec.threads)
        self._modes.enter_context(self._engine.thread_modes())
        self.run(np.zeros(1, np.int64))

    def run(self, ids: NDArray[np.int64]) -> None:
        """One batch, of the requests with these ids. Its outputs can be read when this returns."""
        self._engine.forward(*self._inputs(ids))

    def close(self) -> None:
        self._modes.close()

    def _inputs(self, ids: NDArray[np.int64]) -> Tensors:
        requests = [self._pool[int(number) % len(self._pool)] for number in ids]
        if len(requests) == 1:
            return requests[0]
        return tuple(torch.cat(parts) for parts in zip(*requests, strict=True))


class AroundWorker(CpuWorker):
    """Also does what comes before and after the model, and notes how long each takes."""

    def __init__(self, engine: Engine, requests: list[object], around: Around, spec: Spec) -> None:
        super().__init__(engine, [], spec)
        self._requests, self._around = requests, around
        self.log: list[tuple[int, int, int]] = []  # per batch: began, preprocess, postprocess, ns

    def run(self, ids: NDArray[np.int64]) -> None:
        began = time.monotonic_ns()
        chosen = (self._requests[int(number) % len(self._requests)] for number in ids)
        prepared = [self._engine.place(self._around.preprocess(request)) for request in chosen]
        inputs = tuple(torch.cat(parts) for parts in zip(*prepared, strict=True))
        called = time.monotonic_ns()
        outputs = as_tuple(self._engine.forward(*inputs))
        returned = time.monotonic_ns()
        self._around.postprocess(outputs)
        self.log.append((began, called - began, time.monotonic_ns() - returned))


def with_around(samples: Samples, workers: Sequence[CpuWorker]) -> Samples:
    """`samples` with the times that workers noted of what is around the model, where they did."""
    if not len(samples) or not all(isinstance(worker, AroundWorker) for worker in workers):
        return samples
    around_ns = np.empty((len(samples), 2), np.int64)
    for number, worker in enumerate(workers):
        assert isinstance(worker, AroundWorker)
        log = np.array(worker.log, np.int64).reshape(-1, 3)
        own = samples.worker == number
        # A batch's entry is the first that began after it was submitted: one clock, one thread.
        entry = np.searchsorted(log[:, 0], samples.submitted_ns[own])
        around_ns[own] = log[entry, 1:]
    return replace(samples, around_ns=around_ns)


class CudaWorker(CpuWorker):
    """Runs batches on a CUDA stream of its own and waits for them there.

    With `inputs=host` every batch goes through pinned memory to the device and its outputs come
    back through pinned memory. With `inputs=device` inputs and outputs stay on the device.
    """

    def open(self) -> None:
        torch.cuda.set_device(self._engine.device)
        torch.cuda.set_stream(torch.cuda.Stream(self._engine.device))
        self._done = torch.cuda.Event(blocking=self._spec.wait == "block")
        self._pinned: dict[tuple[int, torch.Size], torch.Tensor] = {}
        super().open()

    def run(self, ids: NDArray[np.int64]) -> None:
        inputs = self._inputs(ids)
        if self._spec.inputs == "host":
            inputs = tuple(
                self._pin(place, tensor).to(self._engine.device, non_blocking=True)
                for place, tensor in enumerate(inputs)
            )
        outputs = self._engine.forward(*inputs)
        if self._spec.inputs == "host":
            tensors = outputs if isinstance(outputs, tuple) else (outputs,)
            for place, tensor in enumerate(tensors):
                self._buffer(-1 - place, tensor).copy_(tensor, non_blocking=True)
        self._done.record()
        self._done.synchronize()

    def _pin(self, place: int, tensor: torch.Tensor) -> torch.Tensor:
        return self._buffer(place, tensor).copy_(tensor)

    def _buffer(self, place: int, like: torch.Tensor) -> torch.Tensor:
        """The worker's pinned buffer for one input (place >= 0) or output, by its shape."""
        key = (place, like.shape)
        if key not in self._pinned:
            self._pinned[key] = torch.empty(like.shape, dtype=like.dtype, pin_memory=True)
        return self._pinned[key]


def make_worker(engine: Engine, pool: list[Tensors], spec: Spec) -> CpuWorker:
    return (CpuWorker if engine.device.type == "cpu" else CudaWorker)(engine, pool, spec)
