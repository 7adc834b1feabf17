"""A worker's side of an engine: what the core calls once a batch, on the worker's own thread."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import torch
from numpy.typing import NDArray

from gpubench.engines.base import Engine
from gpubench.models.base import LoadedModel, Tensors, seeded
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


class CudaWorker(CpuWorker):
    """Runs batches on a CUDA stream of its own and waits for them there.

    With `inputs=host` every batch goes through pinned memory to the device and its outputs come
    back through pinned memory. With `inputs=device` inputs and outputs stay on the device.
    """

    def open(self) -> None:
        torch.cuda.set_device(self._engine.device)
        torch.cuda.set_stream(torch.cuda.Stream(self._engine.device))
        self._done = torch.cuda.Event(blocking=False)
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
