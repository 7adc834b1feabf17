"""The depth of the queue, compared with a count at every nanosecond."""

import numpy as np
import pytest

from gpubench.results.result import CountedRows
from gpubench.results.samples import Samples
from gpubench.statistics.queue_depth import queue_depth


def samples_of(due: list[int], departed: list[int], unfinished: list[int]) -> Samples:
    stamps = np.array(departed, np.int64)
    zeros = np.zeros(len(due), np.int64)
    return Samples(
        scheduled_ns=np.array(due, np.int64),
        opened_ns=stamps,
        departed_ns=stamps,
        submitted_ns=stamps,
        completed_ns=stamps + 1,
        worker=zeros.astype(np.int32),
        batch=np.arange(len(due)),
        id=zeros,
        unfinished_scheduled_ns=np.array(unfinished, np.int64),
    )


@pytest.mark.parametrize("seed", range(20))
def test_depth_is_that_of_counting(seed: int) -> None:
    random = np.random.default_rng(seed)
    due = random.integers(0, 100, 30)
    departed = due + random.integers(0, 20, 30)
    unfinished = random.integers(0, 100, 2)
    opens, closes = 20, 80
    counts = [
        int(((due <= t) & (departed > t)).sum() + (unfinished <= t).sum())
        for t in range(opens, closes)
    ]
    depth = queue_depth(
        samples_of(due.tolist(), departed.tolist(), unfinished.tolist()),
        CountedRows(stamp="scheduled_ns", from_ns=opens, to_ns=closes - 1),
    )
    assert depth is not None
    assert depth.max == max(counts)
    assert depth.mean == pytest.approx(np.mean(counts[:-1]))


def test_a_window_without_a_length_has_no_depth() -> None:
    rows = CountedRows(stamp="completed_ns", from_ns=5, to_ns=5)
    assert queue_depth(samples_of([1], [2], []), rows) is None
