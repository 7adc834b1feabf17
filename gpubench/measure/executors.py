"""The executors of a cell: what its workers call for each batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from gpubench import core
from gpubench.results.samples import Nanoseconds
from gpubench.spec.cell import Cell, ServiceTime

if TYPE_CHECKING:
    from gpubench.measure.python_workers import Worker

ExecutorKind = Literal["python", "graph", "delay"]

_SERVICE_TABLE = 100_000


def executor_kind(cell: Cell, captured: bool) -> ExecutorKind:
    """How the batches of a cell are executed.

    "delay": the synthetic model on a CPU. "graph": CUDA graphs, of an engine that could be captured
    and of the synthetic model on a GPU. "python": an engine that is called from Python.
    """
    if cell.service is not None:
        return "delay" if cell.on_cpu else "graph"
    return "graph" if captured else "python"


def torch_executors(workers: Sequence[Worker]) -> list[core.Executor]:
    return [core.PythonExecutor(w.run, open=w.open, close=w.close) for w in workers]


def synthetic_executors(cell: Cell) -> list[core.Executor]:
    """One executor a worker with the cell's service time, drawn from its seed.

    On a GPU it is a kernel that waits so long, in a graph of its own for each size of batch.
    """
    assert cell.service is not None
    times = [_service_ns(cell.service, cell.load_seed + n) for n in range(cell.workers)]
    if cell.on_cpu:
        return [core.DelayExecutor(service_ns) for service_ns in times]
    return [
        core.cuda.SyntheticExecutor(
            int(device.removeprefix("cuda:")),
            service_ns,
            depth=cell.depth,
            max_batch=cell.batch_limits.requests,
        )
        for device, service_ns in zip(cell.worker_devices, times, strict=True)
    ]


def _service_ns(service: ServiceTime, seed: int) -> int | Nanoseconds:
    """The service time of a batch, or a table of them to use in turn."""
    if service.distribution == "constant" or service.mean_ns == 0:
        return service.mean_ns
    return core.exponential_service(service.mean_ns, _SERVICE_TABLE, seed)
