"""A cell: what this machine will do for one Spec.

A `Spec` is what a person wrote: some settings are open, and some are text that has to be parsed. A
`Cell` has every setting filled in and typed. `gpubench.cells.resolve` makes it once, for one
machine. Everything that measures reads the cell and parses nothing again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gpubench.registry import ModelEntry, RuntimeEntry
from gpubench.spec.input_shapes import GivenInput
from gpubench.spec.server_url import ServerUrl
from gpubench.spec.settings import (
    EvalMetric,
    Inputs,
    MemoryFormat,
    Optimizer,
    Precision,
    Sparsity,
    Wait,
)
from gpubench.spec.spec import Spec

if TYPE_CHECKING:
    from gpubench.spec.trace import Trace


@dataclass(frozen=True)
class ClosedLoad:
    """A fixed number of clients. Each sends its next request when its last one completes.

    The measurement ends after `requests` or after `duration_s`, whichever comes first. At least
    one of the two is given.
    """

    clients: int
    requests: int | None
    duration_s: float | None


@dataclass(frozen=True)
class OpenLoad:
    """Requests that arrive at a given rate, even if the system is slow.

    The first `settling` requests are not counted: the queue reaches its usual length in that time.
    The following `requests` are counted. Both are whole numbers of bursts.
    """

    arrivals: Literal["poisson", "constant", "burst"]
    rate_per_second: float
    burst: int  # requests that arrive at the same time; 1 unless `arrivals` is "burst"
    settling: int
    requests: int

    @property
    def settling_ns(self) -> int:
        return round(self.settling / self.rate_per_second * 1e9)


@dataclass(frozen=True)
class TraceLoad:
    """Requests that arrive at the times in a file. All of them are measured."""

    trace: Trace
    rate_per_second: float | None  # the times are scaled to this rate; None: they are not scaled


@dataclass(frozen=True)
class BatchLimits:
    """The limits within which the queue joins requests into one batch (dynamic batching)."""

    requests: int  # 1: each request is a batch
    samples: int
    delay_ns: int  # a request waits at most this long for other requests


@dataclass(frozen=True)
class ServiceTime:
    """The service time of a batch of the model 'synthetic'."""

    mean_ns: int
    distribution: Literal["constant", "exponential"]


@dataclass(frozen=True)
class Training:
    """How the steps of a cell train its model."""

    optimizer: Optimizer
    accumulate: int  # batches of each replica in a step
    checkpointing: bool
    replicas: int  # on GPUs, each has one of the devices of the cell


@dataclass(frozen=True)
class Cell:
    """One cell, ready to be measured on this machine.

    In `spec` all defaults are filled in. The result document stores it, and the key of the cell is
    made from it. The other fields hold the same settings, parsed.
    """

    spec: Spec

    model: str
    model_entry: ModelEntry
    weights: str
    batch: int  # samples a request
    seq_len: int | None  # None: the model takes no text
    given_inputs: tuple[GivenInput, ...] | None  # --input-shape; None: not given
    dims: Mapping[str, int]
    inputs_file: Path | None
    service: ServiceTime | None  # of the model 'synthetic'; None: a real model is executed
    seed: int
    allow_code: bool
    eval: str | None  # the data of --eval; None: the accuracy is not measured
    eval_metric: EvalMetric
    max_drop: float | None  # as a share: 0.01 is one percentage point

    runtime: str
    runtime_entry: RuntimeEntry
    precision: Precision
    precision_given: bool  # False: the precision is the default, or that of the model's file
    memory_format: MemoryFormat
    sparsity: Sparsity

    devices: tuple[str, ...]  # ("cpu",), ("cuda:0", "cuda:1"), ("server",), or an accelerator
    server: ServerUrl | None  # that executes the model; None: this machine does
    inputs: Inputs
    workers: int
    depth: int
    threads: int  # CPU threads of each worker's forward pass
    cpus: tuple[int, ...] | None  # cores on which the process runs; None: --cpus is not given
    wait: Wait

    load: ClosedLoad | OpenLoad | TraceLoad
    load_seed: int
    batch_limits: BatchLimits
    warmup_s: float | None  # None: until the speed has settled
    cool_to_c: float | None  # the temperature before the warm-up; None: it does not matter

    training: Training | None = None  # None: the requests are inferences

    @property
    def samples_per_request(self) -> int:
        """Samples that one request counts for in the throughput."""
        return self.spec.samples_per_request

    @property
    def replicas(self) -> int:
        """Copies of the model that train together; 1 if nothing is trained."""
        return self.training.replicas if self.training else 1

    @property
    def device(self) -> str:
        """The first device. An engine is built for one device; see `on`."""
        return self.devices[0]

    @property
    def accelerator(self) -> str | None:
        """The accelerator that executes the model, if it is no NVIDIA GPU, such as "tpu"."""
        return self.device if self.device in self.runtime_entry.accelerators else None

    @property
    def on_cpu(self) -> bool:
        """Whether the workers use no NVIDIA GPU of this machine.

        The server may use GPUs of its own, and the library of the runtime another accelerator.
        """
        return self.devices == ("cpu",) or self.server is not None or self.accelerator is not None

    @property
    def computes_on_cpu(self) -> bool:
        """Whether the CPU of this machine executes the model."""
        return self.devices == ("cpu",)

    def cores_of(self, cores: int) -> int:
        """How many of the `cores` of the machine the cell may use."""
        return cores if self.cpus is None else min(cores, len(self.cpus))

    @property
    def worker_devices(self) -> tuple[str, ...]:
        """The device of each worker, in the order of the workers, which take devices in turn."""
        return tuple(self.devices[n % len(self.devices)] for n in range(self.workers))

    @property
    def most_in_flight(self) -> int:
        """The largest number of requests that can be in service at the same time."""
        return self.workers * self.depth * self.batch_limits.requests

    @property
    def joins_requests(self) -> bool:
        """Whether dynamic batching is on."""
        return self.batch_limits.samples > self.batch

    @property
    def is_one_stream(self) -> bool:
        """Whether one worker executes batches of one size on one GPU."""
        return not self.on_cpu and self.workers == 1 and not self.joins_requests

    def on(self, device: str) -> Cell:
        """The same cell on only one of its devices."""
        return replace(self, devices=(device,))
