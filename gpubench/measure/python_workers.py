"""Workers in Python: the core calls them once for each batch, on the thread of the worker."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from gpubench.engines.base import Engine
from gpubench.measure.streams import execution, joined, pinned
from gpubench.models.base import LoadedModel, PrePostProcessing, Tensors, seeded
from gpubench.registry import MODELS
from gpubench.results.samples import Samples
from gpubench.spec.cell import Cell, ClosedLoad
from gpubench.spec.settings import Inputs
from gpubench.system.cpu_threads import limited

# The requests are made before the run. They differ, so a run does not repeat one sample. Their
# number is as many as fit into this many bytes, within these limits.
_POOL_BYTES = 64 << 20
_POOL_LEAST, _POOL_MOST = 4, 64


# Requests of at most this many bytes are kept for the next cell of a sweep.
_KEPT_BYTES = 256 << 20


class KeptRequests:
    """The requests of the last cell, before they were converted to the formats of its engine.

    The next cell uses them if it has the same preset, seed, length of sequences and batch.
    """

    def __init__(self) -> None:
        self._key: tuple[object, ...] | None = None
        self._made: list[Tensors] = []
        self._generator = torch.Generator()

    def has(self, cell: Cell) -> bool:
        """Whether an earlier cell has made requests that `cell` can use."""
        return self._key == _request_key(cell)

    def of(self, model: LoadedModel, cell: Cell) -> Iterator[Tensors]:
        """The requests of `cell` from its seed, one after another, without an end."""
        if cell.model not in MODELS:
            yield from _new_requests(model, cell, _generator_of(cell))
        if not self.has(cell):
            self._key, self._made = _request_key(cell), []
            self._generator = _generator_of(cell)
        yield from self._made
        for request in _new_requests(model, cell, self._generator):
            if self._key is not None:
                self._made.append(request)
                if sum(_bytes(each) for each in self._made) > _KEPT_BYTES:
                    self._key, self._made = None, []
            yield request


def _request_key(cell: Cell) -> tuple[object, ...]:
    return cell.model, cell.seed, cell.seq_len, cell.batch


def _generator_of(cell: Cell) -> torch.Generator:
    return seeded(cell.seed + 1)  # not the seed of the weights


def _new_requests(model: LoadedModel, cell: Cell, generator: torch.Generator) -> Iterator[Tensors]:
    while True:
        yield model.make_inputs(generator, cell.batch)


def _bytes(request: Tensors) -> int:
    return sum(tensor.nbytes for tensor in request)


def make_pool(
    model: LoadedModel, engine: Engine, cell: Cell, kept: KeptRequests | None = None
) -> list[Tensors]:
    """Distinct requests of `cell.batch` samples, from the seed, in the formats of the engine.

    They are on the device if `cell.inputs` is "device", else in host memory. `kept` may have made
    them for an earlier cell.
    """
    made = kept.of(model, cell) if kept else _new_requests(model, cell, _generator_of(cell))

    def request() -> Tensors:
        return _formatted(next(made), engine, cell.inputs)

    pool = [request()]
    count = min(max(_POOL_BYTES // _bytes(pool[0]), _POOL_LEAST), _POOL_MOST)
    pool += [request() for _ in range(count - 1)]
    return pool


def _formatted(request: Tensors, engine: Engine, inputs: Inputs) -> Tensors:
    """A request in the formats of the engine; on its device if `inputs` is "device"."""
    cast_inputs = engine.cast(request)
    if inputs == "device":
        return tuple(tensor.to(engine.device) for tensor in cast_inputs)
    return cast_inputs


# Requests for a preprocess function are small (encoded images, text). This many are always made.
_ENCODED_REQUESTS = 16


def make_requests(processing: PrePostProcessing, cell: Cell) -> list[object]:
    """Distinct requests of `cell.batch` samples as clients send them, from the seed."""
    generator = _generator_of(cell)
    return [processing.make_requests(generator, cell.batch) for _ in range(_ENCODED_REQUESTS)]


class Worker(ABC):
    """One worker of the core. It executes batches on its thread or on its CUDA stream."""

    def __init__(self, engine: Engine, requests: Sequence[object], cell: Cell) -> None:
        self._engine, self._threads, self._inputs = engine, cell.threads, cell.inputs
        self._execution = execution(engine, cell)
        self._modes = ExitStack()
        self._requests = requests
        self.sent: set[int] = set()  # places of the requests that this worker has executed
        # In a closed loop an id is the number of a client. Without turns, a client would send the
        # same request for ever.
        self._takes_turns = isinstance(cell.load, ClosedLoad)
        self._turn = 0

    def open(self) -> None:
        """Set torch's modes of this thread, and run one batch.

        Some runtimes compile or choose kernels in the first inference.
        """
        self._execution.open()
        self._modes.enter_context(limited(self._threads))
        self._modes.enter_context(self._engine.thread_modes())
        self.run(np.zeros(1, np.int64))
        self._turn = 0

    @abstractmethod
    def run(self, ids: NDArray[np.int64]) -> None:
        """Execute one batch: the requests with these ids. Returns when its outputs can be read."""

    @property
    def requests(self) -> Sequence[object]:
        """The requests that clients send to this worker."""
        return self._requests

    @contextmanager
    def instead(self, requests: Sequence[object]) -> Iterator[None]:
        """Execute these requests for a while: that with the id 0, 1, ... Only between two runs."""
        usual = self._requests, self._takes_turns, self._turn, self.sent
        self._requests, self._takes_turns, self._turn, self.sent = requests, False, 0, set()
        try:
            yield
        finally:
            self._requests, self._takes_turns, self._turn, self.sent = usual

    def formatted(self, request: object) -> object:
        """A new request in the format and the place of the others."""
        return request

    def _chosen(self, ids: NDArray[np.int64]) -> list[object]:
        places = [(number + self._turn) % len(self._requests) for number in ids.tolist()]
        if self._takes_turns:
            self._turn += len(places)
        self.sent.update(places)
        return [self._requests[place] for place in places]

    def close(self) -> None:
        self._modes.close()


class ModelWorker(Worker):
    """Runs only the model: the requests hold the inputs of the engine."""

    def __init__(self, engine: Engine, pool: Sequence[Tensors], cell: Cell) -> None:
        super().__init__(engine, pool, cell)

    def run(self, ids: NDArray[np.int64]) -> None:
        requests = cast(list[Tensors], self._chosen(ids))
        if self._engine.execute is not None and len(requests) == 1:
            self._engine.execute(requests[0])
        else:
            self._execution.run(requests)

    def formatted(self, request: object) -> object:
        inputs = _formatted(cast(Tensors, request), self._engine, self._inputs)
        return pinned([inputs])[0] if self._inputs == "pinned" else inputs


class ProcessingWorker(Worker):
    """Runs preprocessing, the model and postprocessing on its thread.

    It logs how long pre- and postprocessing take. The time between them counts as the model's,
    including the copies to and from a GPU.
    """

    def __init__(
        self, engine: Engine, requests: Sequence[object], processing: PrePostProcessing, cell: Cell
    ) -> None:
        super().__init__(engine, requests, cell)
        self._processing = processing
        # For each batch: its start, the time of preprocessing and the time of postprocessing, ns.
        self.log: list[tuple[int, int, int]] = []

    def run(self, ids: NDArray[np.int64]) -> None:
        began = time.monotonic_ns()
        preprocess = self._processing.preprocess
        inputs = joined([self._engine.cast(preprocess(each)) for each in self._chosen(ids)])
        called = time.monotonic_ns()
        outputs = self._execution.run([inputs])
        returned = time.monotonic_ns()
        self._processing.postprocess(outputs)
        self.log.append((began, called - began, time.monotonic_ns() - returned))


def with_processing_times(samples: Samples, workers: Sequence[Worker]) -> Samples:
    """`samples` with the times of pre- and postprocessing, if the workers logged them."""
    if not len(samples) or not all(isinstance(worker, ProcessingWorker) for worker in workers):
        return samples
    logs = []
    for worker in workers:
        assert isinstance(worker, ProcessingWorker)
        logs.append(worker.log)
    return replace(samples, around_ns=entries_of_batches(samples, logs, 3)[:, 1:])


def entries_of_batches(
    samples: Samples, logs: Sequence[Sequence[tuple[int, ...]]], numbers: int
) -> NDArray[np.int64]:
    """The entry of the batch of each request in the log of its worker, as rows of `numbers`.

    The first number of an entry is when it began. The entry of a batch is the first one that began
    after the batch left the queue: both times come from the same clock and the same thread.
    """
    found = np.empty((len(samples), numbers), np.int64)
    for number, log in enumerate(logs):
        entries = np.array(log, np.int64).reshape(-1, numbers)
        own = samples.worker == number
        found[own] = entries[np.searchsorted(entries[:, 0], samples.submitted_ns[own])]
    return found
