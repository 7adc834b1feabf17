"""How many requests waited in the queue during the window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpubench.results.result import CountedRows
from gpubench.results.samples import Samples


@dataclass(frozen=True)
class QueueDepth:
    """Requests that were due, and that no worker had taken yet."""

    mean: float  # over time
    max: int  # at one time


def queue_depth(samples: Samples, window: CountedRows) -> QueueDepth | None:
    """The depth of the queue in the window. None: the window has no length.

    A request waits from the moment at which it is due until its batch leaves the queue. A request
    that never completed counts as waiting until the end.
    """
    opens, closes = window.from_ns, window.to_ns
    if closes <= opens:
        return None
    unfinished = samples.unfinished_scheduled_ns
    due = np.concatenate([samples.scheduled_ns, unfinished])
    departed = np.maximum(samples.departed_ns, samples.scheduled_ns)
    left = np.concatenate([departed, np.full(len(unfinished), closes + 1)])
    waited = np.minimum(left, closes) - np.maximum(due, opens)
    due.sort()
    left.sort()
    moments = np.append(due[(due >= opens) & (due <= closes)], opens)
    waiting = np.searchsorted(due, moments, "right") - np.searchsorted(left, moments, "right")
    mean = float(waited[waited > 0].sum()) / (closes - opens)
    return QueueDepth(mean, int(waiting.max()))
