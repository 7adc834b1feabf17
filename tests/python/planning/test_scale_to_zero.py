"""What an instance does that stops while it is idle: the formulas against a simulation."""

from __future__ import annotations

import numpy as np
import pytest

from gpubench.planning.scale_to_zero import ScaledToZero, break_even_idle_s, scaled_to_zero


def simulated(
    rate: float, timeout_s: float, start_s: float, requests: int, seed: int
) -> ScaledToZero:
    """One instance, request by request; an inference takes no time."""
    arrivals = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, requests))
    began_s = ready_s = last_s = float(arrivals[0])  # when it was started, ready, and last used
    waiting, billed_s = 0, 0.0
    for now in arrivals:
        if now > last_s + timeout_s:  # it has stopped
            billed_s += last_s + timeout_s - began_s
            began_s, ready_s = now, now + start_s
        waiting += now < ready_s
        last_s = max(now, ready_s)
    return ScaledToZero(waiting / requests, billed_s / arrivals[-1])


@pytest.mark.parametrize(
    ("rate", "timeout_s", "start_s"),
    [(0.01, 60.0, 6.0), (0.1, 10.0, 30.0), (1.0, 2.0, 0.5), (0.05, 0.0, 20.0)],
)
def test_shares_are_those_of_a_simulation(rate: float, timeout_s: float, start_s: float) -> None:
    found = scaled_to_zero(rate, timeout_s, start_s)
    expected = simulated(rate, timeout_s, start_s, requests=200_000, seed=1)
    assert found.waiting_share == pytest.approx(expected.waiting_share, abs=0.01)
    assert found.billed_share == pytest.approx(expected.billed_share, abs=0.01)


def test_limits() -> None:
    """An instance that never stops is always billed; requests far apart all wait."""
    never_stops = scaled_to_zero(1.0, 1e6, 10.0)
    assert (never_stops.waiting_share, never_stops.billed_share) == (0.0, 1.0)
    assert scaled_to_zero(1e-9, 60.0, 10.0).waiting_share == pytest.approx(1.0)


def test_at_the_break_even_idle_time_waiting_costs_as_much_as_a_start() -> None:
    usd_per_hour, start_s = 1.2, 6.2
    assert break_even_idle_s(start_s) * usd_per_hour == start_s * usd_per_hour
