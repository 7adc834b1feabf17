"""How fast a fleet is simulated: requests per second, compared with core.simulate and a plain loop.

    python tests/benchmarks/autoscaling.py [MILLIONS]

MILLIONS of requests (default 100) of a day with a busy noon, on 4 to 60 instances.
"""

from __future__ import annotations

import heapq
import math
import sys
import time

from common import print_table

from gpubench import core

SERVICE_NS = 50_000_000
DAY_S = 86_400
LIMIT_S = 120.0
PLAIN_REQUESTS = 1_000_000


def autoscaled_day(millions: float) -> tuple[int, float]:
    """Requests, and the seconds that they took."""
    mean = millions * 1e6 / DAY_S
    hours = range(24)
    rates = [mean * (1 - 0.8 * math.cos(2 * math.pi * hour / 24)) for hour in hours]
    # 40 instances at the mean rate and the target utilisation.
    target = mean / 40
    service_ns = core.exponential_service(0.7 / target * 1e9, 100_000, seed=1)
    began = time.perf_counter()
    outcome = core.simulate_fleet(
        [(hour + 1) * 3_600_000_000_000 for hour in hours],
        rates,
        service_ns=[service_ns],
        least=4,
        most=100,
        first=10,
        target_per_second=target,
        start_ns=90_000_000_000,
        late_after_ns=200_000_000,
        report_period_ns=3_600_000_000_000,
    )
    return int(outcome.requests.sum()), time.perf_counter() - began


def constant_fleet(count: int) -> float:
    """Requests per second of 8 instances with a shared queue."""
    rate = 0.8 * 8 / (SERVICE_NS / 1e9)
    began = time.perf_counter()
    outcome = core.simulate_fleet(
        [round(count / rate * 1e9)],
        [rate],
        service_ns=[SERVICE_NS],
        least=8,
        most=8,
        first=8,
        balancing="shared",
    )
    return int(outcome.requests.sum()) / (time.perf_counter() - began)


def core_simulate(count: int) -> float:
    rate = 0.8 * 8 / (SERVICE_NS / 1e9)
    began = time.perf_counter()
    source = core.OpenLoop(core.poisson_arrivals(rate, count, seed=1))
    core.simulate(source, executors=8, service_ns=SERVICE_NS, capacity=count)
    return count / (time.perf_counter() - began)


def plain_loop(count: int) -> float:
    """The loop that one would write in Python: the worker that is free first takes the request."""
    rate = 0.8 * 8 / (SERVICE_NS / 1e9)
    due_ns = core.poisson_arrivals(rate, count, seed=1).tolist()
    began = time.perf_counter()
    free = [0] * 8
    latencies = []
    for due in due_ns:
        end = max(due, heapq.heappop(free)) + SERVICE_NS
        heapq.heappush(free, end)
        latencies.append(end - due)
    return count / (time.perf_counter() - began)


def main() -> None:
    millions = float(sys.argv[1]) if len(sys.argv) > 1 else 100.0
    requests, seconds = autoscaled_day(millions)
    print_table(
        f"An autoscaled day (at most {LIMIT_S:g} s for 100 million requests)",
        ["requests", "seconds", "million requests /s"],
        [[f"{requests:,}", f"{seconds:.1f}", f"{requests / seconds / 1e6:.2f}"]],
    )
    fleet = constant_fleet(PLAIN_REQUESTS)
    rows = [
        [name, f"{speed / 1e6:.2f}", f"{fleet / speed:.2f}"]
        for name, speed in (
            ("simulate_fleet", fleet),
            ("core.simulate", core_simulate(PLAIN_REQUESTS)),
            ("a loop in Python", plain_loop(PLAIN_REQUESTS)),
        )
    ]
    columns = ["8 instances, one queue", "million requests /s", "simulate_fleet is faster by"]
    print_table("The same queue", columns, rows)


if __name__ == "__main__":
    main()
