"""`core.cuda.check_event_clock`, on a simulated GPU."""

from __future__ import annotations

import pytest
from fake_cuda import on_fake

from gpubench import core


@on_fake(event_tick_ns=500)
def test_events_are_compared_with_the_kernel() -> None:
    rows = core.cuda.check_event_clock(0, [10_000, 1_000_000], repeats=15)
    assert [row.length_ns for row in rows] == [10_000, 1_000_000]
    for row in rows:
        assert abs(row.error_ns) <= 1_000
        assert abs(row.error_ns) <= abs(row.largest_error_ns)
        assert row.kernel_ns == pytest.approx(row.length_ns, rel=1e-3)
        assert row.empty_ns <= 500
        assert row.tick_ns <= 2


@on_fake()
def test_what_cannot_be_checked_says_so_in_one_line() -> None:
    with pytest.raises(ValueError, match="lengths_ns holds 0; give lengths from 1 ns"):
        core.cuda.check_event_clock(0, [0], repeats=1)
    with pytest.raises(core.CudaUnavailable):
        core.cuda.check_event_clock(3, [1_000], repeats=1)
