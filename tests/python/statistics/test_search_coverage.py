"""How well a search finds the highest rate, on simulated queues whose true answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from simulated_searches import SYSTEMS, outcome

RUNS = 12
REQUESTS = 4_000


@pytest.mark.parametrize("number", range(7), ids=[system.name for system in SYSTEMS[:7]])
def test_a_search_finds_the_highest_rate(number: int) -> None:
    found = outcome(number, REQUESTS, RUNS)
    assert len(found.rates) == RUNS
    error = float(np.std(found.rates, ddof=1)) / math.sqrt(RUNS)
    bias = float(np.mean(found.rates)) - found.truth
    # 4.4: Student's t of 11 degrees of freedom at 0.1%, in seven systems. One percent is allowed
    # because the fit takes a curve for a straight line.
    assert abs(bias) <= 4.4 * error + 0.01 * found.truth
    assert len(found.intervals) >= RUNS / 2
    assert found.covered >= 0.75  # of twelve: fewer than nine has a probability of 0.2%


def test_requests_that_are_too_autocorrelated_give_no_interval() -> None:
    found = outcome(7, 800, 4)  # at 94% load one late request comes with hundreds
    assert found.intervals == []
