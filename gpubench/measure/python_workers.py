"""A worker's side of an engine: what the core calls once a batch, on the worker's own thread."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from gpubench.engines.base import Engine
from gpubench.measure.streams import execution
from gpubench.models.base import Around, LoadedModel, Tensors, seeded
from gpubench.results.samples import Samples
from gpubench.spec.cell import Cell
from gpubench.system.cpu_threads import limited

# Distinct requests made ahead, so that a run neither repeats one sample nor spends time on making
# them: as many as fit in this many bytes, within the bounds.
_POOL_BYTES = 64 << 20
_POOL_LEAST, _POOL_MOST = 4, 64


def make_pool(model: LoadedModel, engine: Engine, cell: Cell) -> list[Tensors]:
    """Seeded, distinct requests of `cell.batch` samples each, in the engine's numbers.

    They lie where the clock finds them: on the device with `inputs=device`, else in host memory.
    """
    generator = seeded(cell.seed + 1)  # not the seed of the weights

    def request() -> Tensors:
        inputs = engine.place(model.make_inputs(generator, cell.batch))
        if cell.inputs == "device":
            return tuple(tensor.to(engine.device) for tensor in inputs)
        return inputs

    pool = [request()]
    size = sum(tensor.nbytes for tensor in pool[0])
    count = min(max(_POOL_BYTES // size, _POOL_LEAST), _POOL_MOST)
    pool += [request() for _ in range(count - 1)]
    return pool


# Encoded requests are small; these many are made whatever their size.
_AROUND_REQUESTS = 16


def make_requests(around: Around, cell: Cell) -> list[object]:
    """What clients send, in requests of `cell.batch` samples, seeded and distinct."""
    generator = seeded(cell.seed + 1)
    return [around.make_requests(generator, cell.batch) for _ in range(_AROUND_REQUESTS)]


class Worker(ABC):
    """One worker of the core: where its batches execute, and what its thread needs for that."""

    def __init__(self, engine: Engine, cell: Cell) -> None:
        self._engine, self._threads = engine, cell.threads
        self._execution = execution(engine, cell)
        self._modes = ExitStack()

    def open(self) -> None:
        """Set what torch keeps per thread, and run once: the first inference compiles and plans."""
        self._execution.open()
        self._modes.enter_context(limited(self._threads))
        self._modes.enter_context(self._engine.thread_modes())
        self.run(np.zeros(1, np.int64))

    @abstractmethod
    def run(self, ids: NDArray[np.int64]) -> None:
        """One batch, of the requests with these ids. Its outputs can be read when this returns."""

    def close(self) -> None:
        self._modes.close()


class ModelWorker(Worker):
    """Runs the model alone: its requests bring the engine's inputs."""

    def __init__(self, engine: Engine, pool: Sequence[Tensors], cell: Cell) -> None:
        super().__init__(engine, cell)
        self._pool = pool

    def run(self, ids: NDArray[np.int64]) -> None:
        self._execution.run(self._inputs(ids))

    def _inputs(self, ids: NDArray[np.int64]) -> Tensors:
        return _joined([self._pool[int(number) % len(self._pool)] for number in ids])


class AroundWorker(Worker):
    """Also does what comes before and after the model, on its thread, and notes how long it takes.

    Whatever lies between the two counts as the model's: on a GPU also the copies there and back.
    """

    def __init__(
        self, engine: Engine, requests: Sequence[object], around: Around, cell: Cell
    ) -> None:
        super().__init__(engine, cell)
        self._requests, self._around = requests, around
        self.log: list[tuple[int, int, int]] = []  # per batch: began, preprocess, postprocess, ns

    def run(self, ids: NDArray[np.int64]) -> None:
        began = time.monotonic_ns()
        chosen = (self._requests[int(number) % len(self._requests)] for number in ids)
        inputs = _joined([self._engine.place(self._around.preprocess(each)) for each in chosen])
        called = time.monotonic_ns()
        outputs = self._execution.run(inputs)
        returned = time.monotonic_ns()
        self._around.postprocess(outputs)
        self.log.append((began, called - began, time.monotonic_ns() - returned))


def _joined(requests: Sequence[Tensors]) -> Tensors:
    """The inputs of one batch of these requests."""
    if len(requests) == 1:
        return requests[0]
    return tuple(torch.cat(parts) for parts in zip(*requests, strict=True))


def with_around(samples: Samples, workers: Sequence[Worker]) -> Samples:
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
