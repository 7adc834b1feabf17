"""The raw samples of one cell: one row for each request, time stamps in nanoseconds.

The measured run makes them; the statistics and the sample file use them. They are plain NumPy
columns, so their users do not need the compiled core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Nanoseconds = NDArray[np.int64]

_NO_COLUMNS = frozenset(
    {"filled", "unfinished_scheduled_ns"}
)  # fields without a row for each request


@dataclass(frozen=True)
class Samples:
    """Completed requests of one run, in the order in which they were claimed from the queue.

    Every column has one entry for each request. All stamps are int64 nanoseconds of one monotonic
    clock. Requests of one batch have the same `batch` and the same stamps, except `scheduled_ns`.
    """

    scheduled_ns: Nanoseconds  # the request was due
    opened_ns: Nanoseconds  # its worker began to ask the queue for a batch
    departed_ns: Nanoseconds  # its batch was taken from the queue
    submitted_ns: Nanoseconds  # just before the first call into the model or driver
    completed_ns: Nanoseconds  # its result can be read on the host
    worker: NDArray[np.int32]
    batch: NDArray[np.int64]  # number of its batch, unique within the run
    id: NDArray[np.int64]  # open loop: position in the schedule; closed loop: client
    device_ns: Nanoseconds | None = None  # (requests, 4): e0..e3 on the host's clock
    # (requests, 2): durations of preprocess and postprocess, between submitted and completed.
    around_ns: Nanoseconds | None = None
    # (requests, 3): durations of forward, backward and optimizer in a step of training.
    step_ns: Nanoseconds | None = None
    # Whether a request belongs to the warm-up; these rows come first, and no figure counts them.
    # None: there are none, because the warm-up had a given length.
    warmup: NDArray[np.bool_] | None = None
    # Whether the CPU gathered the inputs of each batch between departed and submitted.
    filled: bool = False
    # Due times of the requests that were due and never completed.
    unfinished_scheduled_ns: Nanoseconds = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        count = len(self.scheduled_ns)
        for name in (column.name for column in fields(self)):
            column = getattr(self, name)
            if name in _NO_COLUMNS or column is None:
                continue
            if len(column) != count:
                raise ValueError(f"{name} has {len(column)} rows, scheduled_ns has {count}")

    def __len__(self) -> int:
        return len(self.scheduled_ns)

    def __repr__(self) -> str:
        """Short, because a column may have millions of entries."""
        return f"<gpubench.Samples: {len(self)} requests>"

    def rows(self, chosen: slice | NDArray[np.intp]) -> Samples:
        """These rows alone. Unfinished requests have no rows."""
        columns: dict[str, Any] = {"filled": self.filled}
        for name in (each.name for each in fields(self) if each.name not in _NO_COLUMNS):
            column = getattr(self, name)
            columns[name] = None if column is None else column[chosen]
        return Samples(**columns)

    @property
    def latency_ns(self) -> Nanoseconds:
        """Round-trip latency: completed - scheduled."""
        return self.completed_ns - self.scheduled_ns

    @property
    def batch_starts(self) -> NDArray[np.intp]:
        """The row of the first request of each batch. The rows of a batch are consecutive."""
        if len(self) == 0:
            return np.empty(0, np.intp)
        return np.flatnonzero(np.diff(self.batch, prepend=self.batch[0] - 1))

    @property
    def batch_size(self) -> NDArray[np.int64]:
        """The number of requests in the batch of each request (dynamic batching)."""
        sizes = np.diff(self.batch_starts, append=len(self))
        return np.repeat(sizes, sizes).astype(np.int64)


def concatenated(parts: Sequence[Samples]) -> Samples:
    """Samples of several runs of the same workers as one table. Batches keep different numbers.

    A column of device stamps or of durations remains only if all parts with requests have it. The
    table has the unfinished requests of the last part.
    """
    with_requests = [part for part in parts if len(part)] or parts[-1:]
    shifted = []
    batches = 0
    for part in with_requests:
        shifted.append(part.batch + batches)
        batches += int(part.batch.max()) + 1 if len(part) else 0

    def column(name: str) -> Any:
        columns = [getattr(part, name) for part in with_requests]
        if any(each is None for each in columns):
            return None
        return np.concatenate(columns)

    last = parts[-1]
    same = _NO_COLUMNS | {"batch", "warmup"}
    return Samples(
        **{each.name: column(each.name) for each in fields(Samples) if each.name not in same},
        batch=np.concatenate(shifted),
        filled=last.filled,
        unfinished_scheduled_ns=last.unfinished_scheduled_ns,
    )


def with_warm_up(warm_up: Samples, measured: Samples) -> Samples:
    """`measured` after the rows of its warm-up, which are marked."""
    marks = np.arange(len(warm_up) + len(measured)) < len(warm_up)
    return replace(concatenated([warm_up, measured]), warmup=marks)
