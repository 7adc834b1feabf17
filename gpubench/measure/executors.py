"""The executors of a cell: what its workers call for each batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gpubench import core
from gpubench.measure.dispatch import most_requests_per_batch
from gpubench.results.samples import Nanoseconds
from gpubench.spec.spec import Spec

if TYPE_CHECKING:
    from gpubench.measure.python_workers import Worker

_SERVICE_TABLE = 100_000


def torch_executors(workers: Sequence[Worker]) -> list[core.Executor]:
    return [core.PythonExecutor(w.run, open=w.open, close=w.close) for w in workers]


def synthetic_executors(spec: Spec) -> list[core.Executor]:
    """One executor a worker with the spec's service time, drawn from its seed.

    On a GPU it is a kernel that waits so long, in a graph of its own for each size of batch.
    """
    return [
        core.DelayExecutor(_service_ns(spec, number))
        if device == "cpu"
        else core.cuda.SyntheticExecutor(
            int(device.removeprefix("cuda:")),
            _service_ns(spec, number),
            depth=spec.depth or 1,
            max_batch=most_requests_per_batch(spec),
        )
        for number, device in enumerate(spec.worker_devices)
    ]


def _service_ns(spec: Spec, worker: int) -> int | Nanoseconds:
    """The service time of a batch, or a table of them to use in turn."""
    mean_ns = round((spec.service_time or 0.0) * 1e9)
    if spec.service_dist != "exponential" or mean_ns == 0:
        return mean_ns
    return core.exponential_service(mean_ns, _SERVICE_TABLE, spec.seed_of_load + worker)
