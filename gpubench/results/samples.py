"""The raw samples of one cell: one row per request, time stamps in nanoseconds.

This is the value that passes from the measured run to statistics and to the sample file. It holds
plain NumPy columns, so nothing downstream needs the compiled core.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

Nanoseconds = NDArray[np.int64]


@dataclass(frozen=True)
class Samples:
    """Completed requests of one run, in the order in which they were claimed from the queue.

    Every column has one entry per request. All stamps are int64 nanoseconds of one monotonic
    clock. Requests of one batch share `batch` and every stamp but `scheduled_ns`.
    """

    scheduled_ns: Nanoseconds  # when the request was due
    opened_ns: Nanoseconds  # its worker turned to the queue for its batch
    departed_ns: Nanoseconds  # its batch was taken from the queue
    submitted_ns: Nanoseconds  # just before the first call into the model or driver
    completed_ns: Nanoseconds  # its result could be read on the host
    worker: NDArray[np.int32]
    batch: NDArray[np.int64]  # number of its batch, unique within the run
    id: NDArray[np.int64]  # open loop: place on the schedule; closed loop: client
    device_ns: Nanoseconds | None = None  # (requests, 4): e0..e3 on the host's clock
    # (requests, 2): how long preprocess and postprocess took, as parts of submitted to completed
    around_ns: Nanoseconds | None = None
    # Due times of the requests that were offered and never completed.
    unfinished_scheduled_ns: Nanoseconds = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        count = len(self.scheduled_ns)
        for name in (column.name for column in fields(self)):
            column = getattr(self, name)
            if name == "unfinished_scheduled_ns" or column is None:
                continue
            if len(column) != count:
                raise ValueError(f"{name} has {len(column)} rows, scheduled_ns has {count}")

    def __len__(self) -> int:
        return len(self.scheduled_ns)

    @property
    def latency_ns(self) -> Nanoseconds:
        """Round trip: completed - scheduled."""
        return self.completed_ns - self.scheduled_ns

    @property
    def batch_starts(self) -> NDArray[np.intp]:
        """Row of the first request of each batch: a batch is claimed whole, so its rows touch."""
        if len(self) == 0:
            return np.empty(0, np.intp)
        return np.flatnonzero(np.diff(self.batch, prepend=self.batch[0] - 1))

    @property
    def batch_size(self) -> NDArray[np.int64]:
        """How many requests departed together with each request (dynamic batching)."""
        sizes = np.diff(self.batch_starts, append=len(self))
        return np.repeat(sizes, sizes).astype(np.int64)
