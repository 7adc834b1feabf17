"""The times of batches, from made-up samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from factories import samples

from gpubench.planning.service_times import added_ns


def test_the_time_of_a_batch_leaves_out_the_batches_before_it_in_the_same_worker() -> None:
    """Two workers. One has two batches in flight, each of which needs 10; the other is idle twice.

    worker 0: departs at 0, 0, 5, 50; completes at 10, 20, 30, 60
    worker 1: departs at 0, 40; completes at 15, 52
    """
    part = replace(
        samples(6),
        departed_ns=np.array([0, 0, 0, 5, 40, 50]),
        completed_ns=np.array([10, 15, 20, 30, 52, 60]),
        worker=np.array([0, 1, 0, 0, 1, 0], np.int32),
    )
    assert added_ns(part).tolist() == [10, 15, 10, 10, 12, 10]


def test_batches_that_overtake_each_other_add_up_to_the_busy_time() -> None:
    part = replace(
        samples(3),
        departed_ns=np.array([0, 1, 2]),
        completed_ns=np.array([20, 10, 25]),
        worker=np.zeros(3, np.int32),
    )
    assert added_ns(part).tolist() == [20, 0, 5]
