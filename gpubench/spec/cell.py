"""A cell: what this machine will do for one Spec.

A `Spec` is what a person wrote: some settings are open, and some are text that has to be parsed. A
`Cell` has every setting filled in and typed. `gpubench.cells.resolve` makes it once, for one
machine, and everything that measures reads the cell and parses nothing again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gpubench.registry import ModelEntry, RuntimeEntry
from gpubench.spec.input_shapes import GivenInput
from gpubench.spec.settings import Precision, Wait
from gpubench.spec.spec import Spec

if TYPE_CHECKING:
    from gpubench.spec.trace import Trace


@dataclass(frozen=True)
class ClosedLoad:
    """A fixed number of clients, each of which waits for its answer before it asks again.

    The measurement ends after `requests`, or after `duration_s`, whichever comes first. At least
    one of the two is given.
    """

    clients: int
    requests: int | None
    duration_s: float | None


@dataclass(frozen=True)
class OpenLoad:
    """Requests that arrive at a rate, however slow the answers are.

    `settling` requests arrive first and only fill the queue; `requests` are measured. Both are
    whole numbers of bursts.
    """

    arrivals: Literal["poisson", "constant", "burst"]
    rate_per_second: float
    burst: int  # requests that arrive together: 1, but for bursts
    settling: int
    requests: int

    @property
    def settling_ns(self) -> int:
        return round(self.settling / self.rate_per_second * 1e9)


@dataclass(frozen=True)
class TraceLoad:
    """Requests that arrive at the times of a file, which is measured whole."""

    trace: Trace
    rate_per_second: float | None  # to which the times are scaled; None: they stay as they are


@dataclass(frozen=True)
class BatchLimits:
    """How far the queue may join requests into one batch."""

    requests: int  # 1: it joins none
    samples: int
    delay_ns: int  # the longest that a request waits for others


@dataclass(frozen=True)
class ServiceTime:
    """The service time of a batch of the model 'synthetic'."""

    mean_ns: int
    distribution: Literal["constant", "exponential"]


@dataclass(frozen=True)
class Cell:
    """One cell, ready to be measured on this machine.

    `spec` has all its defaults filled in. It is what the result document stores, and what the key
    of the cell is made of; the other fields say the same, parsed.
    """

    spec: Spec

    model: str
    model_entry: ModelEntry
    weights: str
    batch: int  # samples a request
    seq_len: int | None  # None: the model takes no text
    given_inputs: tuple[GivenInput, ...] | None  # None: the model says itself what it takes
    dims: Mapping[str, int]
    inputs_file: Path | None
    service: ServiceTime | None  # of the model 'synthetic'; None: a model is executed
    seed: int
    allow_code: bool

    runtime: str
    runtime_entry: RuntimeEntry
    precision: Precision
    precision_given: bool  # False: the precision follows from the model's file, or is the default

    devices: tuple[str, ...]  # ("cpu",) or ("cuda:0", "cuda:1")
    inputs: Literal["device", "host"]
    workers: int
    depth: int
    threads: int  # CPU threads of each worker's forward pass
    wait: Wait

    load: ClosedLoad | OpenLoad | TraceLoad
    load_seed: int
    batch_limits: BatchLimits
    warmup_s: float

    @property
    def device(self) -> str:
        """The first device. An engine is built for one device: see `on`."""
        return self.devices[0]

    @property
    def on_cpu(self) -> bool:
        return self.devices == ("cpu",)

    @property
    def worker_devices(self) -> tuple[str, ...]:
        """The device of each worker, by its number: the workers take the devices in turn."""
        return tuple(self.devices[n % len(self.devices)] for n in range(self.workers))

    @property
    def most_in_flight(self) -> int:
        """Requests that can be in service at one time."""
        return self.workers * self.depth * self.batch_limits.requests

    @property
    def joins_requests(self) -> bool:
        """Whether dynamic batching is on."""
        return self.batch_limits.samples > self.batch

    def on(self, device: str) -> Cell:
        """The same cell on one of its devices alone."""
        return replace(self, devices=(device,))
