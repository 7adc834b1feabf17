"""The timelines of the workers as one table of samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpubench import core
from gpubench.results.samples import Nanoseconds, Samples


def _device_stamps(timeline: core.Timeline) -> Nanoseconds | None:
    """e0..e3 of each request's batch; None where they are not all there.

    A worker that had to be given up took the last of them with it.
    """
    stamps = timeline.device_ns
    if stamps is None or len(stamps) < len(timeline.size):
        return None
    return stamps[timeline.batch]


def collect(outcome: core.Outcome) -> Samples:
    """The workers' timelines as one table of requests, in the order they were claimed."""
    parts: list[Samples] = []
    batches_before = 0
    for worker, timeline in enumerate(outcome.timelines):
        batch = timeline.batch
        parts.append(
            Samples(
                scheduled_ns=timeline.scheduled_ns,
                opened_ns=timeline.opened_ns[batch],
                departed_ns=timeline.departed_ns[batch],
                submitted_ns=timeline.submitted_ns[batch],
                completed_ns=timeline.completed_ns[batch],
                worker=np.full(len(batch), worker, np.int32),
                batch=batch + batches_before,
                id=timeline.id,
                device_ns=_device_stamps(timeline),
            )
        )
        batches_before += len(timeline.size)
    order = np.argsort(np.concatenate([part.departed_ns for part in parts]), kind="stable")

    def column(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts])[order]

    has_device_stamps = all(part.device_ns is not None for part in parts)
    return Samples(
        scheduled_ns=column("scheduled_ns"),
        opened_ns=column("opened_ns"),
        departed_ns=column("departed_ns"),
        submitted_ns=column("submitted_ns"),
        completed_ns=column("completed_ns"),
        worker=column("worker"),
        batch=column("batch"),
        id=column("id"),
        device_ns=column("device_ns") if has_device_stamps else None,
        unfinished_scheduled_ns=outcome.unfinished_scheduled_ns,
    )
