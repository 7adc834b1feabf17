"""Formulas of queueing theory against values from books and from the simulated queue.

tests/python/core/test_theory.py compares the same formulas with the queue of the core.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from gpubench import core
from gpubench.statistics.queueing_theory import latencies, mean_latency, mm1_latency_quantile


@pytest.mark.parametrize(
    ("load", "md1", "mm1"), [(0.0, 1.0, 1.0), (0.5, 1.5, 2.0), (0.8, 3.0, 5.0), (0.95, 10.5, 20.0)]
)
def test_mean_latencies(load: float, md1: float, mm1: float) -> None:
    assert mean_latency(load, service_variance=0) == pytest.approx(md1)
    assert mean_latency(load, service_variance=1) == pytest.approx(mm1)


def test_the_median_latency_of_mm1() -> None:
    assert mm1_latency_quantile(0.0, 0.5) == pytest.approx(math.log(2))
    assert mm1_latency_quantile(0.8, 0.95) == pytest.approx(14.978661)


def test_latencies_are_those_of_the_simulated_queue() -> None:
    due = core.poisson_arrivals(900.0, 2000, 7)
    service = core.exponential_service(1_000_000, 2000, 7)
    (timeline,) = core.simulate(core.OpenLoop(due), service_ns=service).timelines
    computed = latencies(due.astype(np.float64), service.astype(np.float64))
    assert computed == pytest.approx(timeline.completed_ns - timeline.scheduled_ns, abs=1e-3)
